"""When a sound will be there: what workers have in hand, what waits before it, what making it takes. Pure.

Owns: Forecast, the times that are promised by, and learning from what was made.
Must not know: what a forecast makes anybody do (ladders.py).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from audio_pool.scheduler.dispatch import Dispatch
from audio_pool.scheduler.events import Submit
from audio_pool.scheduler.jobs import Job
from audio_pool.scheduler.queue import Need
from audio_pool.scheduler.serving import serves_now
from audio_pool.scheduler.spreads import Span, Spreads
from audio_pool.scheduler.worker_state import HeldTask
from audio_pool.scheduler.workers import WorkerTable
from audio_pool.types import Recipe

__all__ = ["Forecast", "Forecasts"]

_SURE_OF = 16
"""Sounds of its like that must have been made before anything is called certain."""
_TELLING_OF = 8
_SURELY = 1.3
"""Times the slowest of those remembered."""


class Forecast(NamedTuple):
    """When a sound will be there, on the scheduler's clock."""

    low: float
    """Hardly before."""
    high: float
    """Hardly later, as far as that can be said."""
    sure: bool
    """A worker is at it, and enough is known of its like to rely on ``high``."""
    telling: bool
    """Enough is known of its like to rely on ``low``."""


class Forecasts:
    """Of the jobs of one scheduler."""

    def __init__(self, workers: WorkerTable, dispatcher: Dispatch) -> None:
        self._workers = workers
        self._dispatcher = dispatcher
        self._spreads = Spreads()

    # -- learning ----------------------------------------------------------------------------------

    def task_done(self, held: HeldTask, now: float) -> None:
        """Learn from a task that generated."""
        if held.sound_s:
            self._spreads.learn(held.kind.name, held.kind.steps, held.sound_s, now - held.since)

    def job_done(self, job: Job, now: float) -> None:
        """Learn from a sound that was made and kept."""
        if job.begun_at is not None and isinstance(job.asked, Submit):
            recipe = job.asked.recipe
            name, sound_s = self._dispatcher.hosted(recipe), recipe.duration_s * recipe.candidates
            self._spreads.note(name, recipe.steps or 0, sound_s, now - job.begun_at)

    # -- forecasts ---------------------------------------------------------------------------------

    def span(self, recipe: Recipe) -> Span | None:
        """Return how long making a sound takes once a worker begins; None: too little is known."""
        sound_s = recipe.duration_s * recipe.candidates
        return self._spreads.span(self._dispatcher.hosted(recipe), recipe.steps or 0, sound_s)

    def running(self, job: Job, now: float) -> Forecast | None:
        """Return when a job will be done that a worker has; None: none has it, or too little is known of its like."""
        span = None if job.failures or job.round else self.span(job.sound.recipe)
        begun = None if span is None else self._begun(job, now)
        if span is None or begun is None:
            return None
        telling, sure = span.known >= _TELLING_OF, begun <= now and span.known >= _SURE_OF
        return Forecast(max(now, begun + span.low), begun + _SURELY * span.high, sure, telling)

    def hardly_before(self, job: Job, now: float) -> float:
        """Return before when a job that has missed will hardly be done, whatever waits before it; minus infinity where
        too little is known of its like."""
        span = None if job.failures or job.round else self.span(job.sound.recipe)
        if span is None or span.known < _TELLING_OF:
            return -math.inf
        begun = self._begun(job, now)
        if begun is None:
            begun = now + min((low for low, _ in self._free(job, now)), default=0.0)
        return begun + span.low

    def wait_s(self, job: Job, now: float, urgent: int) -> Span:
        """Return how long a job that is to be generated waits for a worker, seconds; infinite where none is up.

        Args:
            urgent: how many as urgent as it wait in its line, or are about to.
        """
        free = self._free(job, now)
        if not free:
            return Span(0.0, math.inf, math.inf, 0)
        recipe = job.sound.recipe
        queue, need = self._dispatcher.queue, Need("generate", self._dispatcher.hosted(recipe))
        own = self.span(recipe)
        likely, high = (1.0, 2.0) if own is None else (own.likely, own.high)
        # of each client one that has waited long may be as urgent by now
        ahead = min(queue.backlog(need).jobs, urgent + queue.clients(need)) / len(free)
        soonest, latest = min(one[0] for one in free), min(one[1] for one in free)
        return Span(soonest, soonest + ahead * likely, latest + ahead * high, len(free))

    def _free(self, job: Job, now: float) -> list[tuple[float, float]]:
        """Return for each worker that could make a job in how many seconds it is free: hardly sooner, hardly later."""
        need = Need("generate", self._dispatcher.hosted(job.sound.recipe))
        serving = [one for one in self._workers.workers.values() if one.ready and serves_now(one, need)]
        return [self._free_in(list(one.tasks.values()), now) for one in serving]

    def impossible_by(self, recipe: Recipe, seconds: float) -> bool:
        """Return True where no such sound was ever made in so short a time, with nobody before it."""
        span = self.span(recipe)
        return span is not None and span.known >= _TELLING_OF and span.low > seconds

    def _free_in(self, tasks: list[HeldTask], now: float) -> tuple[float, float]:
        """Return in how many seconds a worker's generating thread is through with what it holds: hardly sooner, and
        hardly later."""
        low = high = 0.0
        first = True
        for held in tasks:
            if held.thread != "generate":
                continue
            span = self._spreads.span(held.kind.name, held.kind.steps, held.sound_s) if held.sound_s else None
            least, most = (held.expected_s, 2 * held.expected_s or 1.0) if span is None else (span.low, span.high)
            if first:
                gone_s = max(0.0, now - held.since)
                # one that is later than any before it may well be as late again
                least, most = max(0.0, least - gone_s), max(most - gone_s, 0.1 * gone_s)
                first = False
            low, high = low + least, high + most
        return low, high

    def _begun(self, job: Job, now: float) -> float | None:
        """Return when a worker has begun with a job, or will, behind what it holds before it; None: it waits."""
        for number, ref in job.tasks.items():
            worker = self._workers.current(ref.worker, ref.incarnation)
            held = worker.tasks.get(number) if worker is not None else None
            if worker is None or held is None or held.thread != "generate":
                continue
            before = []
            for other in worker.tasks.values():
                if other is held:
                    break
                if other.thread == "generate":
                    before.append(other)
            return held.since if not before else now + self._free_in(before, now)[1]
        return None
