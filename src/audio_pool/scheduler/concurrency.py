"""How many workers may be at one engine at a time: ``[engines.NAME] concurrency``. Pure.

Owns: which workers an engine that is bounded may go to, and what is asked back so that none is idle for it.
Must not know: whose turn it is (dispatch.py), why an engine is bounded.

A worker generates one thing at a time. So at most N tasks of an engine are generated at a time where at most N workers
hold any of it: further ones may wait behind those, on the same workers, and be there when these end. Where a worker
holds one behind something else while another worker is idle, that one is asked back: the idle one takes it, and the
bound keeps nobody idle who could be at work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from audio_pool.scheduler.actions import RecallTask
from audio_pool.scheduler.queue import Need
from audio_pool.scheduler.serving import serves
from audio_pool.scheduler.worker_state import HeldTask, WorkerState
from audio_pool.scheduler.workers import WorkerTable

__all__ = ["EngineBounds"]


class EngineBounds:
    """Bounds by engine; one that has none, or 0, is not bounded."""

    def __init__(self, bounds: Mapping[str, int], workers: WorkerTable) -> None:
        self.bounds = dict(bounds)
        self._workers = workers

    def within(self, need: Need, fit: list[WorkerState]) -> list[WorkerState]:
        """Return those of the workers with room to which the bound lets a task go."""
        if not fit or not self._bounds(need):
            return fit
        at_it = self._at(need)
        return fit if len(at_it) < self.bounds[need.name] else [one for one in fit if one.plan.name in at_it]

    def ask_back(self, waiting: Iterable[Need], now: float) -> list[RecallTask]:
        """Ask back what waits in a worker behind something else while an idle one could begin it."""
        asked: list[RecallTask] = []
        for need in waiting:
            if not self._bounds(need):
                continue
            at_it = self._at(need)
            idle = (one for one in self._workers.vacancies.with_room("generate", now) if one.head("generate") is None)
            if len(at_it) < self.bounds[need.name] or not any(serves(one, need) for one in idle):
                continue
            for worker in at_it.values():
                own = _of(worker, need)
                if own[0] is worker.head("generate") or worker.killed or worker.state != "ready":
                    continue
                for held in own:
                    if not held.recalled:
                        held.recalled = True
                        asked.append(
                            RecallTask(
                                worker=worker.plan.name,
                                incarnation=worker.incarnation,
                                task=held.task,
                                attempt=held.attempt,
                            )
                        )
                break  # one idle worker, one place
        return asked

    def _bounds(self, need: Need) -> bool:
        return need.role == "generate" and self.bounds.get(need.name, 0) > 0

    def _at(self, need: Need) -> dict[str, WorkerState]:
        """Return the workers that hold any of an engine, by name."""
        return {name: one for name, one in self._workers.workers.items() if one.tasks and _of(one, need)}


def _of(worker: WorkerState, need: Need) -> list[HeldTask]:
    kind = need.role, need.name
    return [held for held in worker.tasks.values() if (held.kind.role, held.kind.name) == kind]
