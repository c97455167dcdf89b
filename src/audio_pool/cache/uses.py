"""How kept sounds and look-ups are used: what is counted, and the interface to where it is kept.

Owns: Counted (what was counted since the last time), the answers to questions about it, the protocol Uses.
Must not know: who counts (usage.py), any database, which sounds go (eviction.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from audio_pool.reports import CacheType

__all__ = ["Answers", "Candidate", "Counted", "Missed", "Reach", "Use", "Uses"]


class Counted(NamedTuple):
    """What was counted since the last time that it was written down."""

    hits: dict[int, int]
    """By entry."""
    answers: Mapping[CacheType, tuple[int, float]]
    """Their number, and the seconds of generating that they saved."""
    missed: Mapping[tuple[str, str], int]
    """By namespace and prompt."""

    def part(self, entries: int) -> tuple[Counted, Counted]:
        """Part off what one transaction writes, hits of so many entries; return that and the rest."""
        hits = dict(self.hits.popitem() for _ in range(min(entries, len(self.hits))))
        return Counted(hits, self.answers, self.missed), Counted(self.hits, {}, {})

    @property
    def is_empty(self) -> bool:
        return not (self.hits or self.answers or self.missed)


class Use(NamedTuple):
    """How an entry has been used. Times never go back, whatever the clock does."""

    hits: int
    last_used: float
    """Seconds since 1970; of an entry that was never hit, when it was made."""
    cost_s: float
    """Seconds of generating that it took."""


class Answers(NamedTuple):
    """The answers of one stage in one hour."""

    hour: int
    """Hours since 1970."""
    stage: CacheType
    answers: int
    saved_s: float
    """Seconds of generating that they saved."""


class Missed(NamedTuple):
    """A prompt for which nothing kept was found."""

    namespace: str
    prompt: str
    times: int
    last: float
    """Seconds since 1970."""


class Candidate(NamedTuple):
    """An entry that might go, and what its worth consists of."""

    entry_id: int
    namespace: str
    prompt: str
    size_bytes: int
    """Of the master and its renditions."""
    rank: float
    """See worth.py."""
    cost_s: float
    hits: int
    last_used: float
    quality: float | None
    created_at: float
    place: int
    """Among the variants of its prompt, the worthiest being the first."""
    variants: int
    """Of its prompt, this one included."""


class Reach(NamedTuple):
    """How far a list has been read: the figure that it is sorted by, and the id, of the last that was read."""

    figure: float
    entry_id: int


class Uses(Protocol):
    """Hits and last use of every entry, look-ups by stage and hour, and prompts that were missed."""

    def record(self, counted: Counted, now: float) -> None:
        """Add what was counted, in one transaction; entries that are gone are passed over. ``now``: seconds since 1970.

        Raises:
            StorageError: nothing was added.
        """

    def of(self, ids: Iterable[int]) -> dict[int, Use]:
        """Return how these entries have been used; one that is not known yet is left out."""

    def answers(self, since_hour: int = 0) -> list[Answers]:
        """Return the answers by hour and stage, the oldest first."""

    def missed(self, limit: int = 100) -> list[Missed]:
        """Return prompts that were missed, the most frequent first."""

    def least(self, namespace: str, after: Reach | None, limit: int) -> list[Candidate]:
        """Return entries that are not pinned, by rising rank; of every namespace where it is ""."""

    def made_before(self, namespace: str, moment: float, after: Reach | None, limit: int) -> list[Candidate]:
        """Return a namespace's entries that are not pinned and were made before a moment, the oldest first."""

    def catch_up(self) -> bool:
        """Begin to keep the uses of some entries that an earlier version kept; return True where there are more."""
