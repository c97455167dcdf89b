"""When something is due of any worker: the first of many times, found without looking at every worker. Pure.

Owns: a time for each worker, in order. Must not know: what is due then (workers.py, which tells of every change).

Most changes put a worker's time off: a sign of life, a task that is done. Those cost nothing here; a time is reckoned
anew when it comes up.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from audio_pool.scheduler.worker_state import WorkerState

__all__ = ["WorkerDues"]


class WorkerDues:
    """Times by worker, the first of all at hand."""

    def __init__(self, due_of: Callable[[WorkerState], float]) -> None:
        """``due_of``: when something is due of a worker, as it is now; infinity: never."""
        self._due_of = due_of
        self._heap: list[tuple[float, str]] = []
        self._noted: dict[str, tuple[float, WorkerState]] = {}

    def changed(self, worker: WorkerState) -> None:
        """Note that a worker's time may be earlier than it was."""
        name, due = worker.plan.name, self._due_of(worker)
        noted = self._noted.get(name)
        if due < math.inf and (noted is None or due < noted[0] or noted[1] is not worker):
            self._noted[name] = due, worker
            heapq.heappush(self._heap, (due, name))

    def first(self) -> float | None:
        """Return the first time of all; None: nothing is due of any worker."""
        while self._heap:
            at, name = self._heap[0]
            noted = self._noted.get(name)
            if noted is None or noted[0] != at:  # it was told of an earlier one since
                heapq.heappop(self._heap)
                continue
            due = self._due_of(noted[1])
            if due == at:
                return at
            if due == math.inf:
                heapq.heappop(self._heap)
                del self._noted[name]
            else:
                heapq.heapreplace(self._heap, (due, name))
                self._noted[name] = due, noted[1]
        return None
