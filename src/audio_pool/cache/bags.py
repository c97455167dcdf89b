"""Shuffle bags: whoever asks for the same words again gets each of their sounds once before any comes again.

Owns: Bags: what was given to whom of what, lately.
Must not know: how a sound is chosen among those that are left (selection.py), clients.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from audio_pool.cache.entry import Row

__all__ = ["Bags"]

_KEPT = 4096
"""Bags; beyond it the one that was reached into longest ago is forgotten."""


class _Bag:
    __slots__ = ("given", "last")

    def __init__(self) -> None:
        self.given: set[int] = set()
        self.last = 0


class Bags:
    """By who asks and what for. On any thread."""

    def __init__(self, most: int = _KEPT) -> None:
        """``most``: bags that are kept."""
        self._most = most
        self._lock = threading.Lock()
        self._bags: dict[tuple[str, str, str], _Bag] = {}

    def left(self, at: tuple[str, str, str], rows: Sequence[Row]) -> list[Row]:
        """Return those of the rows that have not been given yet; where all have been, all but the last begin anew.

        Args:
            at: client, namespace and prompt.
            rows: at least one.
        """
        with self._lock:
            bag = self._bags.get(at)
            if bag is None:
                return list(rows)
            fresh = [row for row in rows if row.id not in bag.given]
            if not fresh:
                bag.given.clear()
                fresh = [row for row in rows if row.id != bag.last] or list(rows)
            return fresh

    def give(self, at: tuple[str, str, str], entry_id: int) -> None:
        """Note what is given."""
        with self._lock:
            bag = self._bags.pop(at, None) or _Bag()
            bag.given.add(entry_id)
            bag.last = entry_id
            self._bags[at] = bag  # the last in the dict
            if len(self._bags) > self._most:
                del self._bags[next(iter(self._bags))]
