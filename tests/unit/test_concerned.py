"""Whom an event is about."""

from __future__ import annotations

from tests.support.recipes import recipe
from tests.unit.scheduler_world import World, plan

from audio_pool.scheduler import events
from audio_pool.scheduler.concerned import requests_of


def test_every_event_about_requests_names_them() -> None:
    one = World([plan("w", "tone hum")]).start()
    first = one.submit(join=1)
    joined = one.submit(join=1)
    other = one.submit(recipe=recipe(prompt="other"))
    jobs = one.scheduler.jobs
    (task, _) = one.process().tasks
    job = next(number for number, known in jobs.items() if first in known.requests)
    here = {"worker": "w", "incarnation": 1}
    about = [
        events.LookupDone(job=job),
        events.Stored(job=job),
        events.TaskDone(task=task, attempt=1, results={}, **here),
        events.TaskDone(task=99, attempt=1, results={job: one.mastered()}, **here),
        events.TaskReturned(task=task, attempt=1, **here),
    ]
    assert [requests_of(event, jobs) for event in about] == [[first, joined]] * len(about)
    assert requests_of(events.WorkerExited(reason="x", **here), jobs) == [first, joined, other]
    assert requests_of(events.WorkerExited(worker="w", incarnation=9, reason="x"), jobs) == []
    assert requests_of(events.Cancel(request=7), jobs) == [7]
    assert requests_of(events.Stored(job=99), jobs) == requests_of(events.Tick(), jobs) == []
