"""Which workers may have room, and when the busy ones open: found without looking at every worker. Pure.

Owns: who may have room on which thread, who holds something behind what it is at, and when a busy worker opens.
Must not know: what waits, who serves it (dispatch.py), what changes a worker (workers.py, which tells of every change).

A worker that is busy *opens* for its next task shortly before it is expected to be done: until then that task waits in
the queue, where company can still join its batch and something more urgent can still go first. An idle worker is always
open: nothing is held back from it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

from audio_pool.scheduler.worker_state import WorkerState
from audio_pool.tasks import Thread

__all__ = ["Vacancies"]

_LEAD_S = 0.5
"""So long before its end the next task is sent: it must be there when the thread is free, also where that is sooner."""


class Vacancies:
    """Workers by what they may have room for."""

    def __init__(self, window_s: float) -> None:
        """``window_s``: how long at most a busy worker stays closed; 0: it never is."""
        self.window_s = window_s
        # more than have room, never fewer: who has none is dropped when that is seen
        self._open: dict[Thread, dict[str, WorkerState]] = {"generate": {}, "aux": {}}
        self._found: dict[Thread, tuple[float, list[WorkerState]]] = {}
        """What ``with_room`` has said, and when, since anything changed."""
        self._fresh: dict[str, WorkerState] = {}
        """Those that have changed since who generates was looked at."""
        self._crowded: dict[str, WorkerState] = {}
        self._opening: list[tuple[float, str]] = []
        self._shut: dict[str, tuple[float, WorkerState]] = {}
        """Those that are closed, and until when."""
        self._order: dict[str, int] = {}

    def changed(self, worker: WorkerState) -> None:
        """Note that a worker is new, or is not what it was."""
        name = worker.plan.name
        self._order.setdefault(name, len(self._order))
        for open_ones in self._open.values():
            open_ones[name] = worker
        self._fresh[name] = worker
        self._found.clear()
        if len(worker.tasks) > 1:
            self._crowded[name] = worker

    def with_room(self, thread: Thread, now: float) -> list[WorkerState]:
        """Return the workers to which one more task may be sent now, in the order in which they came to be."""
        self.open_due(now)
        last = self._found.get(thread)
        if last is not None and last[0] == now:
            return last[1]
        found, shut = [], []
        for name, worker in self._open[thread].items():
            if self._may_be_sent(name, worker, thread, now):
                found.append(worker)
            else:
                shut.append(name)
        for name in shut:
            del self._open[thread][name]
        if thread == "generate":
            self._fresh.clear()
        if len(found) > 1:
            found.sort(key=lambda worker: self._order[worker.plan.name])
        self._found[thread] = now, found
        return found

    def any_idle(self, now: float) -> bool:
        """Return True if a worker that generates may be sent a task now, and has none."""
        self.open_due(now)
        fresh, self._fresh = self._fresh, {}
        for name, worker in fresh.items():  # when these open is to be known, too
            if name in self._open["generate"] and not self._may_be_sent(name, worker, "generate", now):
                del self._open["generate"][name]
        return any(not worker.tasks and worker.has_room("generate") for worker in self._open["generate"].values())

    def _may_be_sent(self, name: str, worker: WorkerState, thread: Thread, now: float) -> bool:
        """Return True if one more task may be sent now; when it opens is noted of one that is closed."""
        if not worker.has_room(thread):
            return False
        if not worker.tasks or (opens_at := self._opens_at(worker, thread)) <= now:
            return True
        if self._shut.get(name) != (opens_at, worker):
            self._shut[name] = opens_at, worker
            heapq.heappush(self._opening, (opens_at, name))
        return False

    def with_more_in_hand(self) -> Iterator[WorkerState]:
        """Yield the workers that hold more than one task."""
        for name, worker in list(self._crowded.items()):
            if len(worker.tasks) > 1:
                yield worker
            else:
                del self._crowded[name]

    def next_opening(self) -> float | None:
        """Return when the next busy worker opens; None: none will before something happens to it."""
        return self._opening[0][0] if self._opening else None

    def open_due(self, now: float) -> bool:
        """Open the busy workers whose time has come; return whether there were any."""
        opened = False
        while self._opening and self._opening[0][0] <= now:
            _, name = heapq.heappop(self._opening)
            if name in self._shut:  # looked at once more: meanwhile it may be at another task
                self._open["generate"][name] = self._fresh[name] = self._shut.pop(name)[1]
                self._found.pop("generate", None)
                opened = True
        return opened

    def _opens_at(self, worker: WorkerState, thread: Thread) -> float:
        """Return when a busy worker is open for the next task of a thread; what is long past where it always is."""
        head = worker.head(thread) if thread == "generate" and self.window_s else None
        if head is None or not head.expected_s:  # idle, or at something of which nothing is known
            return -math.inf
        return head.since + min(self.window_s, head.expected_s - _LEAD_S)
