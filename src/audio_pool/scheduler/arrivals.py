"""Requests as they come: taken in, joined to one of their kind, or turned away. Pure.

Owns: who is refused on arrival and who joins whom; what a job that needs a worker awaits before.
Must not know: a job's way from there (scheduler.py: it is handed to ``advance``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from audio_pool.config import LimitsConfig
from audio_pool.errors import Expired, PoolClosed
from audio_pool.results import Accepted, Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import SendAccepted
from audio_pool.scheduler.admission import Admission
from audio_pool.scheduler.dispatch import Dispatch
from audio_pool.scheduler.dues import Dues
from audio_pool.scheduler.jobs import Job
from audio_pool.scheduler.ledger import Ledger

__all__ = ["Arrivals"]


class Arrivals:
    """Opens jobs, or turns requests away."""

    def __init__(
        self,
        ledger: Ledger,
        admission: Admission,
        dispatcher: Dispatch,
        dues: Dues,
        limits: LimitsConfig,
        *,
        closed: Callable[[], bool],
        advance: Callable[[Job], None],
    ) -> None:
        """``closed``: whether nothing new is taken."""
        self.limits = limits
        self._ledger = ledger
        self._admission = admission
        self._dispatcher = dispatcher
        self._dues = dues
        self._closed = closed
        self._advance = advance

    def submit(self, asked: events.Submit, vectors: Mapping[str, bytes] | None = None) -> None:
        """Take a request for a sound in, join it to one of its kind, or turn it away.

        Args:
            vectors: float32 [D] of its prompt, by encoder, where they are known already.
        """
        if self._closed():
            self._ledger.refuse(asked.request, PoolClosed("the pool is stopping and takes no new requests"))
            return
        if asked.deadline is not None and asked.deadline <= self._ledger.now:
            self._ledger.refuse(asked.request, Expired("the deadline had passed on arrival"), kind="expired")
            return
        joined = self._ledger.by_join_key.get(asked.join_key) if asked.join_key is not None else None
        if joined is not None:
            self._join(self._ledger.jobs[joined], asked)
            return
        job = self._ledger.open(asked)
        self._ledger.add_request(job, asked, joined=False)
        if asked.join_key is not None:
            self._ledger.by_join_key[asked.join_key] = job.job
        job.vectors.update(vectors or {})
        if asked.lookup or self.admit(job):
            self._advance(job)

    def call(self, asked: events.Call) -> None:
        """Take a small task in, or turn it away."""
        if self._closed():
            self._ledger.refuse(asked.request, PoolClosed("the pool is stopping and takes no new requests"))
            return
        job = self._ledger.open(asked)
        self._ledger.add_request(job, asked, joined=False)
        if not self.too_full(job):
            self._advance(job)

    def _join(self, job: Job, asked: events.Submit) -> None:
        busy = self._admission.refusal(asked.client, self._ledger.now, asked.size_bytes)
        if busy is not None:
            self._ledger.refuse(asked.request, busy, kind="busy")
            return
        self._ledger.add_request(job, asked, joined=True)
        if asked.priority < job.priority:
            job.priority = asked.priority
            if not job.tasks:  # among the first client's own it would wait behind all that came long before
                job.joined_by = asked.client
            if job.job in self._dispatcher.queue:
                self._dispatcher.put(job)
        self._send_accepted(job, asked.request)

    def admit(self, job: Job) -> bool:
        """Let a job that needs a worker in, and note which vectors it awaits; False: it was turned away."""
        if self.too_full(job):
            return False
        for request in job.requests:
            self._send_accepted(job, request)
        encoders = job.sound.encoders
        hosted = {name for name in encoders if self._dispatcher.hosts(name)}
        coming = {name for name in encoders if name not in hosted and self._dispatcher.awaits(name)}
        job.missing = hosted | coming if self.limits.await_encoder else hosted
        for name in encoders:
            if name not in job.missing:
                why = f"{name!r} is still being loaded" if name in coming else f"no worker that hosts {name!r} is ready"
                job.warnings.append(f"semantic_unavailable: {why}")
        if job.missing:
            self._dues.set(job, self._ledger.now + self.limits.embed_timeout_s)
        return True

    def too_full(self, job: Job) -> bool:
        """Turn a job away if the queue is full; asked only when it is about to wait for a worker."""
        busy = self._admission.refusal(job.asked.client, self._ledger.now)
        if busy is None:
            return False
        self._ledger.fail_all(job, Failure.of(busy), kind="busy")
        return True

    def _send_accepted(self, job: Job, request: int) -> None:
        state = self._ledger.requests[request]
        if state.events:
            body = Accepted(queue_position=self._dispatcher.ahead(job), joined=state.joined)
            self._ledger.out.append(SendAccepted(request=request, body=body))
