"""Work that ends the worker it runs on: remembered, tried once more on its own, then refused for a while. Pure.

Owns: how often what was asked for has ended a worker, with what the workers' ends said.
Must not know: workers, queues, who asked.

A worker's end counts against what it was at first: a prompt that makes an engine crash would take one worker after
the other. After one end it is *suspected*: its next try is alone on a worker, so that nothing else dies or is blamed
with it. After a second (``limits.poison_after``) it is *poison* until a time has passed. Any answer, be it an
error, clears it: that worker lived.
"""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Struct

from audio_pool.config import LimitsConfig
from audio_pool.errors import Poisoned
from audio_pool.scheduler.events import Submit
from audio_pool.scheduler.jobs import Job, Stage
from audio_pool.types import Recipe

__all__ = ["PoisonRegister"]

_MOST_MARKS = 1024

Subject = tuple[Stage, Recipe | bytes]
"""A stage, and what was asked for: a recipe, or the hash of a call."""


class _Mark(Struct):
    """What one subject has done."""

    ends: list[str]
    """How each worker ended, the oldest first."""
    until: float
    last: tuple[str, int] = ("", 0)
    """The worker that ended last, and its incarnation: it may have held the same more than once."""


class PoisonRegister:
    """Marks by subject, the latest last; the oldest are forgotten when there are too many."""

    def __init__(self, limits: LimitsConfig) -> None:
        self.limits = limits
        self._marks: dict[Subject, _Mark] = {}

    def __len__(self) -> int:
        return len(self._marks)

    def blame(self, job: Job, worker: str, incarnation: int, end: str, now: float) -> None:
        """Note that a worker has ended while it was at the job's stage. ``end``: how, in words."""
        subject = _subject(job)
        mark = self._mark(subject, now) or _Mark(ends=[], until=0.0)
        if mark.last == (worker, incarnation):
            return
        self._marks.pop(subject, None)
        mark.ends = [*mark.ends, f"worker {worker!r}: {end}"][-self.limits.poison_after :]
        mark.until, mark.last = now + self.limits.poison_s, (worker, incarnation)
        self._marks[subject] = mark
        if len(self._marks) > _MOST_MARKS:
            del self._marks[next(iter(self._marks))]

    def clear(self, job: Job) -> None:
        """Note that a worker has answered, and lives."""
        if self._marks:
            self._marks.pop(_subject(job), None)

    def suspects(self, job: Job, now: float) -> bool:
        """Return True if a worker has ended at this work already."""
        return bool(self._marks) and self._mark(_subject(job), now) is not None

    def verdict(self, job: Job, now: float) -> Poisoned | None:
        """Return why this work is not tried any more; None: it may be."""
        mark = self._mark(_subject(job), now) if self._marks else None
        if mark is None or len(mark.ends) < self.limits.poison_after:
            return None
        wait_s = mark.until - now
        return Poisoned(
            f"{len(mark.ends)} workers have ended at this very request: {'; '.join(mark.ends)}",
            hint=f"it is not tried again for {wait_s:.0f} s; change the request, or see the workers' logs",
            retry_after_ms=max(1, round(wait_s * 1000)),
        )

    def _mark(self, subject: Subject, now: float) -> _Mark | None:
        mark = self._marks.get(subject)
        if mark is not None and now >= mark.until:
            del self._marks[subject]
            return None
        return mark


def _subject(job: Job) -> Subject:
    if isinstance(job.asked, Submit):
        return job.stage, job.asked.recipe
    return job.stage, hashlib.sha256(msgspec.msgpack.encode(job.asked.task)).digest()
