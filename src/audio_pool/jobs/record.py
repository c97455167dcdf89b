"""What the journal knows of one durable job.

Owns: JobRecord, and what changes it: Outcome. Admission, the journal's answer to a new request. Look, what a head
of several is told of its jobs and of those that others have.
Must not know: how records are kept (sqlite.py), who asks, how a sound is made.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec
from msgspec import Struct

from audio_pool.api import JobReport, JobState
from audio_pool.results import Failure, SoundMetadata
from audio_pool.types import AudioRequest

__all__ = ["FINAL", "Admission", "Held", "JobKey", "JobRecord", "Look", "Outcome", "body_of", "report_of"]

JobKey = tuple[str, str]
"""(owner, request_id): ids of different owners have nothing to do with each other."""
FINAL: tuple[JobState, ...] = ("done", "failed", "cancelled", "expired")


class JobRecord(Struct, frozen=True, kw_only=True):
    """One durable job. Times are wall-clock seconds since 1970, because they outlive processes."""

    owner: str
    request_id: str
    request: AudioRequest
    body: bytes
    """``body_of`` the request."""
    created_at: float
    deadline_at: float | None = None
    rights: bytes = b""
    """What its owner may do, as the pool wrote it: another server must not let them do more."""
    state: JobState = "pending"
    attempts: int = 0
    """Times that a worker was given its sound to make, by however many servers."""
    lives: int = 0
    """Servers that found it unfinished when they started."""
    finished_at: float | None = None
    expires_at: float | None = None
    """When a finished job is forgotten."""
    path: str | None = None
    """The kept copy of the sound."""
    metadata: SoundMetadata | None = None
    failure: Failure | None = None
    number: int = 0
    """The row, where several heads share the journal."""
    head: str = ""
    """Who has it in hand, or has finished it; "": nobody, or the only server there is."""
    attempt: int = 0
    """Times that a head took it in hand. With number and head the fence: nothing is written under a former one."""
    cancelled: bool = False
    """Its owner wants no more of it, whoever has it in hand."""
    entry_id: int = 0
    """The entry that was made for it, which is kept though the job has not ended; 0: none, or it has been removed."""

    @property
    def key(self) -> JobKey:
        """What the journal finds it by."""
        return self.owner, self.request_id


class Outcome(Struct, frozen=True, kw_only=True):
    """What a job came to."""

    state: JobState
    finished_at: float
    expires_at: float
    path: str | None = None
    size_bytes: int = 0
    """Of the kept copy."""
    metadata: SoundMetadata | None = None
    failure: Failure | None = None


class Admission(Struct, frozen=True, kw_only=True):
    """The journal's answer to a new request."""

    record: JobRecord
    new: bool
    """False: it was asked for before, with the same words."""
    mine: bool = True
    """This server has it in hand; else another one has, or nobody yet."""


class Held(NamedTuple):
    """A job that this head has in hand, as the journal has it."""

    attempt: int
    cancelled: bool


class Look(Struct, frozen=True, kw_only=True):
    """What a head of several is told when it looks round."""

    held: dict[int, Held] = {}
    """By number: all that it has in hand. What it believes to have beside that is another's now."""
    again: list[int] = []
    """Of those, what it had lost and has anew, by another attempt, before anybody else took it."""
    taken: list[JobRecord] = []
    """What it has in hand since this look, or without having been told."""
    ended: list[JobRecord] = []
    """Of those it watches, the ones that have ended."""
    gone: list[int] = []
    """Of those it watches, the ones that are not there any more."""
    more: bool = False
    """There were more to be had than it had room for."""


def body_of(request: AudioRequest) -> bytes:
    """Return a hash that is equal for equal requests, whoever wrote their fields in whichever order."""
    return hashlib.sha256(msgspec.json.encode(request, order="deterministic")).digest()


def report_of(record: JobRecord, *, whole: bool = True) -> JobReport:
    """Return what a job's owner is told of it; ``whole``: with the sound's metadata."""
    return JobReport(
        request_id=record.request_id,
        state=record.state,
        prompt=record.request.prompt,
        created_at=record.created_at,
        finished_at=record.finished_at,
        expires_at=record.expires_at,
        attempts=record.attempts,
        path=record.path,
        metadata=record.metadata if whole else None,
        error=record.failure,
    )
