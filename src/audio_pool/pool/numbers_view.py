"""The numbers of ``status``: what was counted, what is under way, what the machine has left.

Owns: NumbersView, which puts a PoolNumbers together.
Must not know: who asks.
"""

from __future__ import annotations

import time

from audio_pool.numbers import EngineLoad, PoolNumbers, TaskAtWork
from audio_pool.pool.executor import Executor
from audio_pool.pool.machine import Machine, Seen
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.under_way import under_way
from audio_pool.scheduler.events import PRIORITIES, Submit
from audio_pool.scheduler.scheduler import Scheduler
from audio_pool.scheduler.worker_state import WorkerState

__all__ = ["NumbersView", "at_work"]


class NumbersView:
    """Router's thread only."""

    def __init__(self, scheduler: Scheduler, executor: Executor, requests: RequestTable, machine: Machine) -> None:
        self._scheduler = scheduler
        self._executor = executor
        self._requests = requests
        self._machine = machine

    def seen(self) -> Seen:
        """Return what the machine has left."""
        return self._machine.seen(graphics=any(device != "cpu" for device in self._executor.devices.values()))

    def numbers(self, *, discreet: bool) -> PoolNumbers:
        """Return everything; ``discreet``: nothing of what was asked for."""
        tally, seen = self._requests.tally, self.seen()
        return PoolNumbers(
            started=tally.started,
            requests=tally.requests,
            load=self._load(),
            under_way=() if discreet else under_way(self._scheduler, self._requests, time.monotonic()),
            request_seconds=tally.request_seconds,
            stage_seconds=tally.stage_seconds,
            generate_seconds=tally.generate_seconds,
            audio_seconds=tally.audio_seconds,
            lookups=dict(tally.lookups),
            hits=tally.hits,
            rerolls=dict(self._scheduler.rerolls),
            loop_rejects=tally.loop_rejects,
            model_loads=tally.model_loads,
            worker_bytes=seen.worker_bytes,
            gpus=seen.gpus,
            disk=seen.disk,
            errors=tally.errors(discreet=discreet),
        )

    def _load(self) -> tuple[EngineLoad, ...]:
        counts: dict[tuple[str, int], list[int]] = {}
        waiting = self._scheduler.waiting
        for number, job in self._scheduler.jobs.items():
            asked = job.asked
            if isinstance(asked, Submit):
                key = asked.recipe.engine, job.priority
                known = counts.get(key)
                if known is None:
                    known = counts[key] = [0, 0]
                known[number in waiting] += 1
        return tuple(
            EngineLoad(engine=engine, priority=PRIORITIES[priority], running=running, waiting=waits)
            for (engine, priority), (running, waits) in sorted(counts.items())
        )


def at_work(worker: WorkerState, now: float) -> tuple[TaskAtWork, ...]:
    """Return what a worker's threads are at."""
    return tuple(
        TaskAtWork(
            role=held.kind.role,
            engine=held.kind.name,
            busy_s=round(max(0.0, now - held.since), 3),
            sounds=len(held.jobs),
            stage=held.progress.stage if held.progress is not None else "",
            fraction=held.progress.fraction if held.progress is not None else 0.0,
        )
        for held in worker.heads()
    )
