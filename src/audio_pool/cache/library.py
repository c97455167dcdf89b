"""The interface to kept sounds as a library: searched by what is known of them, a page at a time.

Owns: Wanted, Place, and the protocols Library and Words.
Must not know: any database (``sqlite/library.py`` is the implementation); what words and meaning come to (search.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from audio_pool.library import KeptSound, SoundSort

__all__ = ["Library", "Place", "Wanted", "Words", "kept_sounds"]


class Place(NamedTuple):
    """Where a page ended: the next begins behind it, whatever came or went before it meanwhile."""

    value: float
    """What it is sorted by."""
    id: int


class Wanted(NamedTuple):
    """What entries must be like; None asks for nothing."""

    namespace: str
    ids: Sequence[int] | None = None
    """Only these."""
    tags: Sequence[str] = ()
    engine: str | None = None
    engines: Sequence[str] = ()
    """One of these; none: any."""
    shortest_s: float | None = None
    longest_s: float | None = None
    loop: bool | None = None
    min_quality: float | None = None
    min_rating: int | None = None
    favourite: bool | None = None
    pinned: bool | None = None
    commercial_use: bool | None = None


class Library(Protocol):
    """Kept sounds, by a connection that no look-up waits for."""

    def page(self, wanted: Wanted, sort: SoundSort, limit: int, after: Place | None) -> list[tuple[KeptSound, Place]]:
        """Return the next sounds in order, each with its place; what has no value to sort by comes last."""

    def sounds(self, wanted: Wanted) -> dict[int, KeptSound]:
        """Return all that fit, by id; for a ``wanted`` that names ids."""

    def ids(self, wanted: Wanted, limit: int) -> list[int]:
        """Return the ids of up to so many that fit, the newest first."""

    def prompts_of(self, ids: Iterable[int]) -> list[tuple[int, str]]:
        """Return id and prompt of those of the entries that exist."""

    def prompts_after(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Return id and prompt of the next entries by ascending id."""

    def with_words(self, namespace: str, words: Sequence[str]) -> list[int]:
        """Return the ids of entries in whose prompt each of the words begins a word, read one by one."""


def kept_sounds(library: Library, places: Iterable[tuple[str, int]]) -> dict[int, KeptSound]:
    """Return those of the sounds that exist, by id; each is named by its namespace and id."""
    ids: dict[str, list[int]] = {}
    for namespace, entry_id in places:
        ids.setdefault(namespace, []).append(entry_id)
    found: dict[int, KeptSound] = {}
    for namespace, some in ids.items():
        found |= library.sounds(Wanted(namespace, ids=some))
    return found


class Words(Protocol):
    """Kept prompts by their words."""

    def find(self, namespace: str, words: str) -> list[int]:
        """Return the ids of entries whose prompt has all these words, the newest first.

        Args:
            namespace: that is searched at least; others' may be among what is found.
            words: whole ones, but for English endings; with a star behind it the beginning of one.
        """

    def close(self) -> None:
        """Close what it holds open."""
