"""Which devices are left because other programs have taken their memory, and when they are taken back. Pure.

Owns: the rule, and since when a device has been short or has had enough.
Must not know: how memory is read, what leaving takes (staffing.py).

A device is *short* where less than the reserve is free and it would be whole without the other programs: what the
pool's own workers take too much of is no reason to go. Short for ``leave_after_s`` it is left; it is taken back when
what the workers had, and the reserve, has been free for ``take_back_after_s``. So neither a moment's need of others nor
a moment's room moves anybody, and what comes back does not make it short again.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from audio_pool.config import MemoryConfig

__all__ = ["Shortages"]


class _Device(Struct, kw_only=True):
    since: float | None = None
    """Since when it has been short; or, where it was left, has had enough."""
    had_bytes: int = 0
    """What the workers had on it when they left."""


class Shortages:
    """What is known of each device's memory."""

    def __init__(self, memory: MemoryConfig) -> None:
        self._memory = memory
        self._devices: dict[str, _Device] = {}

    def look(
        self, device: str, spare: int | None, own: int, others: int, now: float, *, left: bool
    ) -> Literal["", "leave", "take back"]:
        """Return what is to be done about a device.

        Args:
            spare: bytes that are free beyond the reserve, negative where it is not whole; None: nobody knows.
            own: bytes that this pool's workers have.
            others: bytes that all other programs have.
            left: it was left for want of memory, and nobody is on it any more.
        """
        leave_after_s = self._memory.leave_after_s
        known = self._devices.setdefault(device, _Device())
        if spare is None or leave_after_s is None:
            known.since = None
            return ""
        if left:
            holds, lasts_s = spare >= known.had_bytes, self._memory.take_back_after_s
        else:
            holds, lasts_s = spare < 0 <= spare + others and own > 0, leave_after_s
        if not holds:
            known.since = None
            return ""
        known.since = now if known.since is None else known.since
        if now - known.since < lasts_s:
            return ""
        known.since = None
        if left:
            return "take back"
        known.had_bytes = own
        return "leave"
