"""The entries as a whole: what is counted, listed and compared, and the interface to it.

Owns: Inventory, and what it gives.
Must not know: the database, what is done with the figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

from audio_pool.cache.settings import Settings
from audio_pool.types import Label

__all__ = ["EVERYTHING", "Chosen", "Inventory", "Item", "Length", "Only", "Ranked", "Share", "Sort", "Totals"]

Sort = Literal["created_at", "clap_similarity", "duration_s", "prompt", "size_bytes", "hits", "last_used"]


class Only(NamedTuple):
    """Which entries are listed; None asks for nothing."""

    tag: str | None = None
    """They carry it."""
    label: tuple[str, Label] | None = None
    """Name and value; a text also finds the number or truth value that is written so."""
    engine: str | None = None
    namespace: str | None = None
    since: float | None = None
    """Seconds since 1970, itself included."""
    until: float | None = None
    """Likewise, itself not included."""
    min_quality: float | None = None
    min_clap: float | None = None
    loop: bool | None = None
    min_rating: int | None = None
    favourite: bool | None = None


EVERYTHING = Only()


class Totals(NamedTuple):
    """Sums over all entries; None where no entry has the value."""

    entries: int
    size_bytes: int
    oldest: float | None
    newest: float | None
    average_duration_s: float | None
    prompts: int
    average_clap_similarity: float | None
    duration_s: float
    renditions: int
    renditions_size_bytes: int


class Share(NamedTuple):
    """What one engine has in one namespace."""

    namespace: str
    engine: str
    entries: int
    size_bytes: int
    """Of masters."""
    renditions_size_bytes: int
    duration_s: float


class Item(NamedTuple):
    """One entry as a person sees it in a list."""

    id: int
    file: str
    prompt: str
    duration_s: float
    clap_similarity: float | None
    quality: float | None
    created_at: float
    size_bytes: int
    engine: str
    namespace: str
    loop: bool
    tags: tuple[str, ...]
    labels: dict[str, Label]
    pinned: bool = False
    hits: int = 0
    last_used: float | None = None
    """Seconds since 1970; None: it was never delivered from the cache."""
    rating: int | None = None
    """1..5."""
    favourite: bool = False


class Ranked(NamedTuple):
    """The columns that duplicates are found by."""

    id: int
    text_key: bytes
    sha256: bytes
    settings: Settings


class Length(NamedTuple):
    """What is compared of an entry beside how it sounds."""

    id: int
    namespace: str
    loop: bool
    duration_s: float


class Chosen(NamedTuple):
    """An entry that may be removed."""

    id: int
    size_bytes: int
    """Of its master and renditions."""
    pinned: bool


class Inventory(Protocol):
    """The entries as a whole: counted, listed, compared."""

    def totals(self) -> Totals:
        """Return figures about the whole cache."""

    def engines(self) -> dict[str, int]:
        """Number of entries by engine."""

    def shares(self) -> list[Share]:
        """Return what each engine has in each namespace."""

    def missing_files(self) -> int:
        """Number of masters that are gone; of folders with more files than one question looks at, as last seen."""

    def items(
        self,
        *,
        sort: Sort = "created_at",
        descending: bool = True,
        limit: int | None = None,
        only: Only = EVERYTHING,
    ) -> list[Item]:
        """Return entries in order, those without the value sorted by last."""

    def items_by_id(self, ids: Iterable[int]) -> list[Item]:
        """Return those of the entries that exist, by id."""

    def chosen(self, ids: Sequence[int] | None = None, *, before: float | None = None) -> Iterator[Chosen]:
        """Yield what is to be known of entries that are removed.

        Args:
            ids: only these.
            before: only entries older than this moment, the oldest first.
        """

    def items_by_prompt(self, limit: int | None) -> list[list[Item]]:
        """Return entries of one text each, the most numerous texts first, within each the newest first."""

    def prompts(self) -> Iterator[tuple[int, str]]:
        """Yield every entry's id and prompt."""

    def same_texts(self) -> Iterator[list[Ranked]]:
        """Yield entries of one text each where there are several, best score first, among equals the newest."""

    def same_bytes(self) -> Iterator[list[Ranked]]:
        """Yield entries of one content each, as ``same_texts``."""

    def lengths(self) -> Iterator[Length]:
        """Yield every entry, in the same order."""
