"""What one of a worker's threads for tasks is at, as its heartbeats tell it.

Owns: the task in hand, when it began and last got on, and how long such tasks go without a sign.
Must not know: sockets, engines, what is made of a report (scheduler/workers.py).

Written by the lane's own thread, read by the control thread: what changes together is replaced as one object.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from audio_pool.tasks import LaneReport, Thread

__all__ = ["Lane"]


@dataclass(frozen=True, kw_only=True)
class _Work:
    """The task in hand."""

    task: int
    attempt: int
    kind: str
    began: float
    last: float
    """When it last got on."""
    longest: float | None = None
    """The longest time between two signs so far; None: it has given none."""


class Lane:
    """One thread of tasks."""

    def __init__(self, thread: Thread, restart_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            restart_s: what a restart of this worker takes. Waiting as long for a task of which nothing is known
                costs no more than killing the worker would.
        """
        self.thread: Thread = thread
        self._restart_s = restart_s
        self._clock = clock
        self._work: _Work | None = None
        self._gaps: dict[str, float] = {}
        """Longest time between two signs of tasks that give some, by kind."""
        self._spans: dict[str, float] = {}
        """Longest task of those that give none, by kind."""

    @contextmanager
    def at(self, task: int, attempt: int, kind: str) -> Iterator[None]:
        """Inside, the lane is at this task. ``kind``: tasks of one kind take steps of about one length."""
        now = self._clock()
        self._work = _Work(task=task, attempt=attempt, kind=kind, began=now, last=now)
        try:
            yield
        finally:
            self._end()

    def got_on(self) -> None:
        """Note that the task in hand has got on."""
        work = self._work
        if work is not None:
            now = self._clock()
            self._work = replace(work, last=now, longest=max(work.longest or 0.0, now - work.last))

    def report(self) -> LaneReport:
        """Say what the lane is at; from any thread."""
        work, now = self._work, self._clock()
        if work is None:
            return LaneReport(thread=self.thread)
        return LaneReport(
            thread=self.thread,
            task=work.task,
            attempt=work.attempt,
            busy_s=max(0.0, now - work.began),
            quiet_s=max(0.0, now - work.last),
            grace_s=self._grace_s(work),
        )

    def _grace_s(self, work: _Work) -> float:
        gaps = [gap for gap in (self._gaps.get(work.kind), work.longest) if gap is not None]
        if gaps:
            return 2 * max(gaps)
        span = self._spans.get(work.kind)
        return self._restart_s if span is None else min(2 * span, self._restart_s)

    def _end(self) -> None:
        work, self._work = self._work, None
        assert work is not None, "a lane ends what it began"
        now = self._clock()
        if work.longest is None:
            self._spans[work.kind] = max(self._spans.get(work.kind, 0.0), now - work.began)
        else:
            longest = max(work.longest, now - work.last)
            self._gaps[work.kind] = max(self._gaps.get(work.kind, 0.0), longest)
