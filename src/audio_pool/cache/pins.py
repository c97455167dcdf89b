"""The interface to pinned entries: sounds that stay whatever is removed around them.

Owns: the protocol Pins.
Must not know: any database (``sqlite/pins.py`` is the implementation); what removes entries, and by which rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

__all__ = ["Pins"]


class Pins(Protocol):
    """Entries that no rule removes (a cap, age, eviction, a pattern), only a person who means them."""

    def pinned(self) -> set[int]:
        """Return every pinned entry."""

    def pin(self, ids: Iterable[int]) -> list[int]:
        """Pin entries; return those that were not pinned before.

        Raises:
            NotFound: one does not exist; nothing was pinned.
            StorageError.
        """

    def unpin(self, ids: Iterable[int]) -> list[int]:
        """Take pins off; return the entries that had one. Raises StorageError."""
