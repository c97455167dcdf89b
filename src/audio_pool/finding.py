"""What ``audio-pool doctor`` has found of one thing.

Owns: Finding.
Must not know: who looks, at what.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["Finding"]


class Finding(Struct, frozen=True):
    """One thing looked at. ``problem`` fails the check; ``note`` does not."""

    what: str
    state: Literal["ok", "note", "problem"]
    told: str
    mend: str = ""
