"""The requests and jobs under way: how each begins, and how it ends. Pure, like the scheduler.

Owns: every request and job, which jobs can be joined, and what has been decided of them so far. The only place
where a request is answered, and the only one where a job is forgotten.
Must not know: what moves a job on (scheduler.py), who makes it (dispatch.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal, NamedTuple

from audio_pool.errors import AudioPoolError
from audio_pool.reports import CacheType
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import Action, Discard, JobClosed, SendReply
from audio_pool.scheduler.answers import StoredSound
from audio_pool.scheduler.jobs import Job
from audio_pool.scheduler.requests import WaitingRequests
from audio_pool.tasks import MasteredSound, TaskResult

__all__ = ["Ledger", "Sizes"]


class Sizes(NamedTuple):
    """How much the scheduler remembers; all zero when nothing is under way."""

    requests: int
    jobs: int
    waiting: int
    joinable: int
    deadlines: int
    bytes: int
    in_time: int = 0
    """Requests that are to be answered in time, and better sounds under way for those that were."""


class Ledger:
    """Requests and jobs by number."""

    def __init__(self, leave_queue: Callable[[int], object]) -> None:  # opaque: what it returns does not matter
        """``leave_queue``: takes a job that ends out of where it waits."""
        self.requests = WaitingRequests()
        self.jobs: dict[int, Job] = {}
        self.by_join_key: dict[events.JoinKey, int] = {}
        self.out: list[Action] = []
        """What has been decided and not handed out yet."""
        self.now = 0.0
        self.on_reply: dict[int, Callable[[SendReply], None]] = {}
        """Who gets a request's final reply in place of its caller: it is part of another request."""
        self._leave_queue = leave_queue
        self._numbers = itertools.count(1)

    def open(self, asked: events.Submit | events.Call) -> Job:
        """Open a job."""
        job = Job(
            job=next(self._numbers), asked=asked, priority=asked.priority, arrival=self.now, stage_at=self.now
        )
        if isinstance(asked, events.Submit) and asked.traced:
            job.marks = []
        self.jobs[job.job] = job
        return job

    def add_request(self, job: Job, asked: events.Submit | events.Call, *, joined: bool) -> None:
        """Take a request in, for a job."""
        self.requests.add(asked, job.job, joined=joined)
        job.requests.append(asked.request)
        job.keep = job.keep or (isinstance(asked, events.Submit) and asked.keep)

    def refuse(self, request: int, error: AudioPoolError, kind: Literal["error", "expired", "busy"] = "error") -> None:
        """Answer a request that was not taken in."""
        self._hand_over(SendReply(request=request, kind=kind, failure=Failure.of(error)))

    def reply_all(self, job: Job) -> None:
        """Answer every request of a job with what it came to."""
        job.times_ms["total"] = (self.now - job.arrival) * 1000
        for request in job.requests:
            cache_type: CacheType | None = None  # a hit says itself what it is
            if isinstance(job.value, StoredSound):
                cache_type = "joined" if self.requests[request].joined else "new_generation"
            self.final(
                SendReply(
                    request=request,
                    kind="result",
                    value=job.value,
                    cache_type=cache_type,
                    times_ms=dict(job.times_ms),
                    warnings=tuple(job.warnings),
                    marks=tuple(job.marks or ()),
                )
            )
        job.requests = []
        self.close(job)

    def fail_all(self, job: Job, failure: Failure, kind: Literal["error", "busy"] = "error") -> None:
        """Answer every request of a job with why there is no sound."""
        warnings, marks = tuple(job.warnings), job.marks_until(self.now)
        for request in job.requests:
            self.final(SendReply(request=request, kind=kind, failure=failure, warnings=warnings, marks=marks))
        job.requests = []
        self.close(job)

    def final(self, reply: SendReply) -> None:
        """Send a final reply. The only place where a request ends."""
        self.requests.remove(reply.request)
        self._hand_over(reply)

    def _hand_over(self, reply: SendReply) -> None:
        taker = self.on_reply.pop(reply.request, None) if self.on_reply else None
        if taker is None:
            self.out.append(reply)
        else:
            taker(reply)

    def close(self, job: Job) -> None:
        """End a job: out of every table, its leftovers discarded. The only place where a job ends."""
        for left in (job.best, job.raw, *job.losers):
            self.discard(job, left)
        job.stage, job.tasks = "done", {}
        self._leave_queue(job.job)
        del self.jobs[job.job]
        key = job.asked.join_key if isinstance(job.asked, events.Submit) else None
        if key is not None and self.by_join_key.get(key) == job.job:
            del self.by_join_key[key]
        self.out.append(JobClosed(job=job.job))

    def lose(self, job: Job, sound: MasteredSound) -> None:
        """Put a sound that is not chosen among those that are kept, where somebody wants to hear them."""
        if job.keep:
            job.losers.append(sound)
        else:
            self.discard(job, sound)

    def losers_of(self, job: Job) -> tuple[MasteredSound, ...]:
        """Hand out what was kept beside the sound that a job has chosen."""
        if job.best is not None and job.best is not job.chosen:
            self.lose(job, job.best)
        losers, job.best, job.losers = tuple(job.losers), None, []
        return losers

    def discard(self, job: Job, result: TaskResult | None) -> None:
        """Give back what a result holds that nobody wants."""
        if result is not None:
            self.out.append(Discard(job=job.job, result=result))
