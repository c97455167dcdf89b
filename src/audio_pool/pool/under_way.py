"""The sounds that are being made or wait, each by name: for whoever watches the pool and may cancel any of them.

Owns: which are told, and how. Must not know: who asks.
"""

from __future__ import annotations

from collections.abc import Mapping

from audio_pool.numbers import UnderWay
from audio_pool.pool.requests import OpenRequest
from audio_pool.scheduler.events import PRIORITIES, Submit
from audio_pool.scheduler.jobs import Job
from audio_pool.scheduler.scheduler import Scheduler

__all__ = ["under_way"]

_RUNNING = 32
_WAITING = 32
"""At most: whoever watches asks once a second, on the router's thread."""


def under_way(scheduler: Scheduler, requests: Mapping[int, OpenRequest], now: float) -> tuple[UnderWay, ...]:
    """Return those in work, then those that wait; of each the first that came."""
    running: list[UnderWay] = []
    waiting: list[UnderWay] = []
    for number, job in scheduler.jobs.items():  # in the order in which they came
        if len(running) >= _RUNNING and len(waiting) >= _WAITING:
            break
        waits = number in scheduler.waiting
        told, most = (waiting, _WAITING) if waits else (running, _RUNNING)
        if len(told) < most and isinstance(job.asked, Submit):
            one = _told(scheduler, requests, job, job.asked, waits, now)
            if one is not None:
                told.append(one)
    return (*running, *waiting)


def _told(
    scheduler: Scheduler, requests: Mapping[int, OpenRequest], job: Job, asked: Submit, waits: bool, now: float
) -> UnderWay | None:
    first = next((requests[number] for number in job.requests if number in requests), None)
    if first is None:  # its end is on its way
        return None
    stage, fraction, worker = ("waiting", 0.0, "") if waits else (job.stage, 0.0, "")
    for task, ref in job.tasks.items():
        worker = ref.worker
        state = scheduler.workers.workers.get(worker)
        held = None if state is None else state.tasks.get(task)
        if held is not None and held.progress is not None:
            stage, fraction = held.progress.stage, held.progress.fraction
    return UnderWay(
        request_id=first.sink.request_id,
        prompt=asked.recipe.prompt,
        engine=asked.recipe.engine,
        priority=PRIORITIES[job.priority],
        stage=stage,
        fraction=fraction,
        worker=worker,
        age_s=round(max(0.0, now - job.arrival), 3),
        callers=len(job.requests),
    )
