"""The interface to what people mark of kept sounds: a rating, a favourite, tags, a pin.

Owns: Marked (what is in force), and the protocol Marks.
Must not know: any database (``sqlite/marks.py`` is the implementation); who may mark, and what is found by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from audio_pool.errors import AudioPoolError
from audio_pool.library import SoundMarks

__all__ = ["Marked", "Marks"]


class Marked(NamedTuple):
    """The marks of one sound that leave the cache with it; pins and uses have their own places."""

    rating: int | None = None
    favourite: bool = False
    tags: tuple[str, ...] | None = None
    """In order of the alphabet; None: those of its metadata."""


class Marks(Protocol):
    """Marks by entry; they go with it."""

    def mark(self, entry_id: int, change: SoundMarks) -> None:
        """Change the marks of an entry; seen by every process on the directory when this returns.

        Raises:
            NotFound: there is no such entry. InvalidRequest: it would have more tags than an entry may.
            StorageError: nothing was changed.
        """

    def mark_many(self, ids: Iterable[int], change: SoundMarks) -> dict[int, AudioPoolError]:
        """Change the marks of several entries in one transaction; return why not, by the entry that was not changed.

        Raises:
            StorageError: nothing was changed.
        """

    def of(self, ids: Iterable[int]) -> dict[int, Marked]:
        """Return the marks of these entries, as far as they differ from what an entry begins with."""
