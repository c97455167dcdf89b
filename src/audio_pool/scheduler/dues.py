"""When jobs have waited too long in their stage. Pure.

Owns: the times, in order. Must not know: what waits for what; who asks says which times still hold.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from audio_pool.scheduler.jobs import Job

__all__ = ["Dues"]


class Dues:
    """Times by job; a job has one at a time, the latest that was set."""

    def __init__(self, holds: Callable[[int, float], bool]) -> None:
        """``holds``: whether a job still waits for what it was given that time for."""
        self._holds = holds
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, job: Job, due: float) -> None:
        """Give a job until then."""
        job.due = due
        heapq.heappush(self._heap, (due, job.job))

    def first(self) -> float | None:
        """Return the first time that still holds."""
        while self._heap and not self._holds(self._heap[0][1], self._heap[0][0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def passed(self, now: float) -> Iterator[int]:
        """Yield the jobs whose time has come, each once."""
        while self._heap and self._heap[0][0] <= now:
            due, job = heapq.heappop(self._heap)
            if self._holds(job, due):
                yield job
