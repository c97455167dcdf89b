"""Whom an event is about: the requests that are owed an answer when it could not be handled. Pure.

Owns: the way from any event to requests.
Must not know: what went wrong, how anybody is answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from audio_pool.scheduler import events
from audio_pool.scheduler.jobs import Job

__all__ = ["requests_of"]


def requests_of(event: events.Event, jobs: Mapping[int, Job]) -> list[int]:
    """Return the requests that an event is about, each once; none for what is about no request at all."""
    match event:
        case events.Submit() | events.Call() | events.Cancel():
            return [event.request]
        case _:
            found = (request for job in _jobs_of(event, jobs) for request in job.requests)
            return list(dict.fromkeys(found))


def _jobs_of(event: events.Event, jobs: Mapping[int, Job]) -> Iterator[Job]:
    match event:
        case events.LookupDone() | events.Claimed() | events.Stored():
            yield from (jobs[number] for number in (event.job,) if number in jobs)
        case events.TaskDone():
            # those in the answer may have been taken off the task before the handling failed
            yield from (job for job in jobs.values() if event.task in job.tasks or job.job in event.results)
        case events.TaskFailed() | events.TaskReturned() | events.TaskProgress() | events.TaskChunk():
            yield from (job for job in jobs.values() if event.task in job.tasks)
        case events.WorkerExited():
            here = event.worker, event.incarnation
            for job in jobs.values():
                if any((ref.worker, ref.incarnation) == here for ref in job.tasks.values()):
                    yield job
        case _:
            return
