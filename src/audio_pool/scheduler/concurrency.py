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
from audio_pool.scheduler.serving import serves_now
from audio_pool.scheduler.worker_state import HeldTask, WorkerState
from audio_pool.scheduler.workers import WorkerTable

__all__ = ["EngineBounds"]


class EngineBounds:
    """Bounds by engine; one that has none, or 0, is not bounded."""

    def __init__(self, bounds: Mapping[str, int], workers: WorkerTable) -> None:
        self.bounds = dict(bounds)
        self._workers = workers
        self._models_of: dict[str, str] = {}
        """Engines in whose place other models have come, by what those are filed under."""

    def come_in_place(self, hosted: str, engine: str) -> None:
        """Note that what is filed under a name shares the bound of an engine."""
        self._models_of[hosted] = self._models_of.get(engine, engine)

    def within(self, need: Need, fit: list[WorkerState]) -> list[WorkerState]:
        """Return those of the workers with room to which the bound lets a task go."""
        if not fit or not self._bounds(need):
            return fit
        at_it = self._at(need)
        return fit if len(at_it) < self._bound(need) else [one for one in fit if one.plan.name in at_it]

    def ask_back(self, waiting: Iterable[Need], now: float) -> list[RecallTask]:
        """Ask back what waits in a worker behind something else while an idle one could begin it."""
        asked: list[RecallTask] = []
        for need in waiting:
            if not self._bounds(need):
                continue
            at_it = self._at(need)
            idle = (one for one in self._workers.vacancies.with_room("generate", now) if one.head("generate") is None)
            if len(at_it) < self._bound(need) or not any(serves_now(one, need) for one in idle):
                continue
            for worker in at_it.values():
                own = self._of(worker, need)
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
        return need.role == "generate" and self._bound(need) > 0

    def _bound(self, need: Need) -> int:
        return self.bounds.get(self._models_of.get(need.name, need.name), 0)

    def _at(self, need: Need) -> dict[str, WorkerState]:
        """Return the workers that hold any of an engine, by name."""
        return {name: one for name, one in self._workers.workers.items() if one.tasks and self._of(one, need)}

    def _of(self, worker: WorkerState, need: Need) -> list[HeldTask]:
        names, engine = self._models_of, self._models_of.get(need.name, need.name)
        return [
            held
            for held in worker.tasks.values()
            if held.kind.role == need.role and names.get(held.kind.name, held.kind.name) == engine
        ]
