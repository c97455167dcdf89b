"""Figures about how a cache is used and what it holds, and the interface to where they are kept.

Owns: Figures, and what it gives; how entries are spread over ages, qualities and similarities.
Must not know: any database, what the figures are shown in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol, Self

from audio_pool.cache.uses import Answers, Missed

__all__ = ["CLAP_STEP", "QUALITY_STEP", "AnswersTold", "Figures", "Kept", "UsedPrompt"]

QUALITY_STEP = 5
"""Points of the quality gate that count as one."""
CLAP_STEP = 0.05
"""Likewise of CLAP similarity, from -1 to 1."""


class Kept(NamedTuple):
    """What was kept on one day and is still there."""

    day: int
    """Days since 1970."""
    entries: int
    size_bytes: int


class UsedPrompt(NamedTuple):
    """A prompt and how often its sounds were delivered from the cache."""

    namespace: str
    prompt: str
    hits: int
    last: float
    """Seconds since 1970."""


class AnswersTold(NamedTuple):
    """Answers by stage, counted three times over."""

    ever: list[Answers]
    """``hour`` says nothing."""
    hourly: list[Answers]
    """The oldest hour first."""
    daily: list[Answers]
    """Likewise; ``hour`` is the day's first."""

    @classmethod
    def of(cls, rows: Iterable[tuple[str, int, str, int, float]]) -> Self:
        """Return what is told by rows of: period, hour, stage, answers, seconds saved."""
        told = cls([], [], [])
        periods = {"ever": told.ever, "hour": told.hourly, "day": told.daily}
        for period, *row in rows:
            periods[period].append(Answers._make(row))
        return told


class Figures(Protocol):
    """Each question costs some rows, however large the cache is."""

    def answers(self, since_hour: int, since_day: int) -> AnswersTold:
        """Return the answers of all times, of the hours and of the days, as they were at one moment."""

    def days(self) -> list[Kept]:
        """Return what was kept on each day, the oldest first."""

    def qualities(self) -> dict[int, int]:
        """Return the number of entries by quality score, in steps of ``QUALITY_STEP``; 100 counts to the last."""

    def similarities(self) -> dict[int, int]:
        """Return the number of entries by CLAP similarity, in steps of ``CLAP_STEP`` from -1."""

    def top_prompts(self, limit: int) -> list[UsedPrompt]:
        """Return the prompts whose sounds were delivered most often."""

    def worth_warming(self, limit: int) -> list[Missed]:
        """Return the prompts that were missed most often and have no sound even now."""
