"""``Prefer: wait=N`` and ``respond-async`` (RFC 7240): how long a client wants to wait.

Owns: Preference and how the header is read.
Must not know: routes, jobs.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Preference", "preference_in"]


@dataclass(frozen=True, kw_only=True)
class Preference:
    """What was asked for: the answer within ``wait_s``, else the address of a job."""

    wait_s: float
    applied: str
    """What Preference-Applied says."""


def preference_in(header: str) -> Preference | None:
    """Return what a Prefer header asks for; None: nothing that is known. What cannot be read is ignored."""
    wait_s: float | None = None
    respond_async = False
    for part in header.lower().replace(";", ",").split(","):
        name, _, value = part.strip().partition("=")
        value = value.strip(' "')
        if name.strip() == "wait" and value.isascii() and value.isdecimal() and wait_s is None and len(value) < 10:
            wait_s = float(value)
        respond_async = respond_async or name.strip() == "respond-async"
    if wait_s is not None:
        return Preference(wait_s=wait_s, applied=f"wait={wait_s:.0f}")
    return Preference(wait_s=0.0, applied="respond-async") if respond_async else None
