"""What the scheduler wants done, as data.

Owns: every action. All of them can be encoded and read back.
Must not know: how the scheduler decides, how an action is executed.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from audio_pool.reports import CacheType, CandidateReport, Rung
from audio_pool.results import Accepted, Chunk, Failure, Progress
from audio_pool.scheduler.answers import RenderedHit, ReplyValue
from audio_pool.scheduler.work import TaskWork
from audio_pool.tasks import MasteredSound, TaskResult
from audio_pool.trace_record import Mark

__all__ = [
    "Action",
    "CancelTask",
    "Claim",
    "Discard",
    "Doubt",
    "FindExact",
    "FindLooser",
    "FindNear",
    "ForgetRequest",
    "JobClosed",
    "KillWorker",
    "RecallTask",
    "ReplyKind",
    "SendAccepted",
    "SendChunk",
    "SendProgress",
    "SendReply",
    "SendTask",
    "SpawnWorker",
    "StopWorker",
    "Store",
    "TellLease",
    "TellWorker",
]

ReplyKind = Literal["result", "error", "cancelled", "expired", "busy", "upgraded"]
"""``upgraded`` is a result that is better than the one before it."""


class SendReply(Struct, frozen=True, kw_only=True, tag=True):
    """The one final reply to a request: ``value`` for a result, else ``failure``."""

    request: int
    kind: ReplyKind
    value: ReplyValue | None = None
    failure: Failure | None = None
    cache_type: CacheType | None = None
    """new_generation or joined for new sounds; None for hits (the hit says) and calls."""
    times_ms: dict[str, float] = {}
    warnings: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    """Of its job's stages, where they are wanted."""
    rung: Rung | None = None
    """How the answer came about, where it had to be there in time; None: nobody was in a hurry."""
    upgrade: int = 0
    """The request under which a better sound is announced; 0: none is made."""


class FindLooser(Struct, frozen=True, kw_only=True, tag=True):
    """Look for a kept sound that is like the one asked for, short of what would be a hit; answered by LookupDone."""

    job: int
    request: int
    vectors: dict[str, bytes]
    """float32 [D] of the prompt, by encoder."""


class ForgetRequest(Struct, frozen=True, kw_only=True, tag=True):
    """Part of another request that needs no answer: whatever is remembered of it can go."""

    request: int
    made: RenderedHit | None = None
    """A rendition that was made for it, to be kept beside its master."""


class SendAccepted(Struct, frozen=True, kw_only=True, tag=True):
    """An ``accepted`` event for a caller that wants events."""

    request: int
    body: Accepted


class SendProgress(Struct, frozen=True, kw_only=True, tag=True):
    """A ``progress`` event for a caller that wants events."""

    request: int
    body: Progress


class SendChunk(Struct, frozen=True, kw_only=True, tag=True):
    """A part of the sound, for a caller that wants events."""

    request: int
    chunk: Chunk
    """Not counted."""


class FindExact(Struct, frozen=True, kw_only=True, tag=True):
    """Look for a kept sound of the same words; answered by LookupDone."""

    job: int
    request: int


class FindNear(Struct, frozen=True, kw_only=True, tag=True):
    """Look for a kept sound of the same meaning; answered by LookupDone."""

    job: int
    request: int
    vectors: dict[str, bytes]
    """float32 [D] of the prompt, by encoder."""


class Claim(Struct, frozen=True, kw_only=True, tag=True):
    """Claim the making of a job's sound among all pools on the cache directory; answered by Claimed.

    It is held until JobClosed.
    """

    job: int
    request: int


class SendTask(Struct, frozen=True, kw_only=True, tag=True):
    """Send a task to a worker. It is held from now on, until TaskDone, TaskFailed or WorkerExited."""

    worker: str
    incarnation: int
    task: int
    attempt: int
    work: TaskWork


class CancelTask(Struct, frozen=True, kw_only=True, tag=True):
    """Nobody wants the task's result any more: stop it between two steps."""

    worker: str
    incarnation: int
    task: int
    attempt: int


class RecallTask(Struct, frozen=True, kw_only=True, tag=True):
    """Something more urgent waits: give the task back if it has not begun. Answered by TaskReturned, or by nothing."""

    worker: str
    incarnation: int
    task: int
    attempt: int


class StopWorker(Struct, frozen=True, kw_only=True, tag=True):
    """Finish what is in hand, then exit."""

    worker: str
    incarnation: int


class Store(Struct, frozen=True, kw_only=True, tag=True):
    """Keep the finished sound (or, not accepted, put it where results that are not kept go); answered by Stored."""

    job: int
    requests: tuple[int, ...]
    """Who waits for it; () where nobody does any more."""
    sound: MasteredSound
    rounds: int
    tried: tuple[CandidateReport, ...]
    """Candidates of all rounds."""
    vectors: dict[str, bytes]
    """float32 [D] of the prompt, by encoder."""
    losers: tuple[MasteredSound, ...] = ()
    """Candidates that were not chosen, where somebody wants them."""


class Discard(Struct, frozen=True, kw_only=True, tag=True):
    """The files and slots of a result that nobody wants (any more)."""

    job: int
    result: TaskResult


class Doubt(Struct, frozen=True, kw_only=True, tag=True):
    """The master of a kept sound could not be decoded: it is offered no more until its content was compared."""

    entry: int


class JobClosed(Struct, frozen=True, kw_only=True, tag=True):
    """The job has ended: whatever is remembered of it can go."""

    job: int


class SpawnWorker(Struct, frozen=True, kw_only=True, tag=True):
    """Start a worker's process."""

    worker: str
    incarnation: int


class KillWorker(Struct, frozen=True, kw_only=True, tag=True):
    """End the process now; WorkerExited follows when it is gone."""

    worker: str
    incarnation: int
    why: str
    at_once: bool = False
    """Without being asked to end first: it hears nothing any more."""


class TellLease(Struct, frozen=True, kw_only=True, tag=True):
    """What has become of a lease, for who asked for it."""

    asked: int
    """The request of TakeLease; 0: of none, for the log."""
    device: str
    state: Literal["free", "refused", "ended"]
    failure: Failure | None = None
    """Why it was refused."""
    begun_again: int = 0
    """Jobs that were stopped for it."""


class TellWorker(Struct, frozen=True, kw_only=True, tag=True):
    """A worker has done what it held (drained), or has ended for good (removed); closed: the pool stops before."""

    worker: str
    state: Literal["drained", "removed", "closed"]


Action = (
    SendReply
    | SendAccepted
    | SendProgress
    | SendChunk
    | FindExact
    | FindNear
    | FindLooser
    | ForgetRequest
    | Claim
    | SendTask
    | CancelTask
    | RecallTask
    | StopWorker
    | Store
    | Discard
    | Doubt
    | JobClosed
    | SpawnWorker
    | KillWorker
    | TellLease
    | TellWorker
)
