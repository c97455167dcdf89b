"""Durable jobs as the journal has them, made from requests and from what those come to.

Owns: the record of a new job, the orders that write it down or open it again, its outcome, and the reply of one read.
Must not know: who waits for the job (durable_jobs.py), SQL, threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import structs

from audio_pool.api import JobState
from audio_pool.config import JobsConfig
from audio_pool.errors import InvalidRequest, StorageError
from audio_pool.jobs.journal import Journal
from audio_pool.jobs.record import FINAL, Admission, JobKey, JobRecord, Outcome, body_of
from audio_pool.pool.caller import Caller
from audio_pool.pool.job_reports import cancelled, conflict, full, unknown
from audio_pool.pool.replies import Reply
from audio_pool.scheduler.actions import ReplyKind
from audio_pool.transport import packing
from audio_pool.types import AudioRequest

__all__ = ["admitting", "cancelling", "ended", "outcome_of", "record_of", "reopening"]

Order = Callable[[Journal], Admission]
_TRIES = 5
"""Of finding or adding a job that other heads add and forget at the same time."""
_STATES: Mapping[ReplyKind, JobState] = {"result": "done", "cancelled": "cancelled", "expired": "expired"}
"""What a final reply makes of a job; anything else is "failed"."""
_KINDS: Mapping[JobState, ReplyKind] = {state: kind for kind, state in _STATES.items()}


def record_of(caller: Caller, request: AudioRequest, request_id: str, now: float) -> JobRecord:
    """Return the record of a new job.

    Args:
        now: seconds since 1970.
    """
    return JobRecord(
        owner=caller.job_owner,
        request_id=request_id,
        request=request,
        body=body_of(request),
        rights=packing.pack(caller.for_job()),
        created_at=now,
        deadline_at=_deadline(request, now),
    )


def admitting(record: JobRecord, size_bytes: int, sent: bytes, settings: JobsConfig, *, take: bool = True) -> Order:
    """Return what has a job written down: the same request under the same id is the job that is there.

    Args:
        size_bytes: of the message that asked for it.
        sent: the sound that came with it.
        take: take it in hand at once, where several heads might.
    """

    def admit(journal: Journal) -> Admission:
        now = journal.now()
        new = structs.replace(record, created_at=now, deadline_at=_deadline(record.request, now))
        for _ in range(_TRIES):
            known = journal.find(record.key)
            if known is not None:
                if known.body != record.body:
                    raise conflict(record.request_id)
                return Admission(record=known, new=False, mine=known.head == journal.head)
            jobs, size = journal.totals()
            if jobs >= settings.max_jobs or size >= settings.max_bytes:
                raise full(jobs, size, now, journal.soonest_expiry())
            added = journal.add(new, size_bytes, sent, take=take)
            if added is not None:
                return Admission(record=added, new=True, mine=added.head == journal.head)
        raise StorageError(f"job {record.request_id!r} comes and goes on another head", hint="ask again")

    return admit


def cancelling(key: JobKey, ttl_s: float) -> Callable[[Journal], JobRecord | None]:
    """Return what has a job end that is not in this head's hand; None: there is none that has not ended.

    Args:
        ttl_s: how long it is known after that.
    """

    def cancel(journal: Journal) -> JobRecord | None:
        now = journal.now()
        return journal.cancel(key, outcome_of(cancelled(), None, 0, now, now + ttl_s))

    return cancel


def reopening(key: JobKey) -> Order:
    """Return what has a job that ended without a sound be pending again."""

    def reopen(journal: Journal) -> Admission:
        target = key[1]
        record = journal.find(key)
        if record is None:
            raise unknown(target)
        if record.state == "done":
            raise InvalidRequest(f"job {target!r} is done; fetch its result, or ask anew under another id")
        if record.state not in FINAL:
            return Admission(record=record, new=False)
        journal.reopen(key, _deadline(record.request, journal.now()))
        reopened = journal.find(key)
        assert reopened is not None
        return Admission(record=reopened, new=True)

    return reopen


def outcome_of(reply: Reply, path: str | None, size_bytes: int, now: float, expires_at: float) -> Outcome:
    """Return what a job came to.

    Args:
        path, size_bytes: of the kept copy of its sound.
    """
    return Outcome(
        state=_STATES.get(reply.kind, "failed"),
        finished_at=now,
        expires_at=expires_at,
        path=path,
        size_bytes=size_bytes,
        metadata=reply.metadata,
        failure=reply.failure,
    )


def ended(record: JobRecord) -> Reply:
    """Return the final reply of a job that ended without a sound."""
    return Reply(kind=_KINDS.get(record.state, "error"), failure=record.failure)


def _deadline(request: AudioRequest, now: float) -> float | None:
    return None if request.deadline_ms is None else now + request.deadline_ms / 1000
