"""What happens to the scheduler (events) and what it wants done (actions), as data.

Owns: every event and every action, and what they carry. All of them can be encoded and read back.
Must not know: how the scheduler decides, how an action is executed.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from audio_pool.config import ClientConfig, LimitsConfig, QueueConfig
from audio_pool.results import (
    Accepted,
    CacheType,
    CandidateReport,
    Chunk,
    Failure,
    Progress,
    RenditionReport,
    SoundMetadata,
)
from audio_pool.scheduler.batches import Batching
from audio_pool.tasks import (
    Called,
    ClapTask,
    DrawTask,
    EchoTask,
    Embedded,
    EmbedTask,
    LaneReport,
    MasteredSound,
    RawSounds,
    Rendered,
    RenderTask,
    TaskResult,
    Thread,
)
from audio_pool.trace_record import Mark
from audio_pool.types import Query, Recipe, Rendition

__all__ = [
    "PRIORITIES",
    "Action",
    "Call",
    "CallReply",
    "CallWork",
    "Cancel",
    "CancelTask",
    "Claim",
    "Claimed",
    "Discard",
    "Doubt",
    "Drain",
    "EmbedWork",
    "Event",
    "FindExact",
    "FindNear",
    "GenerateWork",
    "Heartbeat",
    "HitFile",
    "JobClosed",
    "JobRound",
    "JoinKey",
    "KillWorker",
    "LoadFailed",
    "LookupDone",
    "MasterWork",
    "RecallTask",
    "RenderWork",
    "RenderedHit",
    "ReplyKind",
    "ReplyValue",
    "SendAccepted",
    "SendChunk",
    "SendProgress",
    "SendReply",
    "SendTask",
    "SpawnWorker",
    "StopWorker",
    "Store",
    "Stored",
    "StoredSound",
    "Submit",
    "TaskChunk",
    "TaskDone",
    "TaskFailed",
    "TaskProgress",
    "TaskReturned",
    "TaskWork",
    "Thread",
    "Tick",
    "WorkerExited",
    "WorkerHello",
    "WorkerMisspoke",
    "WorkerReady",
    "thread_of",
]

PRIORITIES = ("interactive", "normal", "background")
ReplyKind = Literal["result", "error", "cancelled", "expired", "busy"]


# -- what they carry -------------------------------------------------------------------------------


class JoinKey(Struct, frozen=True, kw_only=True):
    """Requests with equal keys share one job."""

    recipe: Recipe
    rendition: Rendition
    query: Query
    tau_accept_new: float | None
    min_quality: float = 0.0
    deliver_best: bool = False
    store: bool = True
    stream: bool = False


class HitFile(Struct, frozen=True, kw_only=True, tag=True):
    """A kept sound that answers a job."""

    entry: int
    master: str
    """Path of the 24-bit master."""
    path: str | None
    """The file as asked for; None: that rendition must be made first."""
    metadata: SoundMetadata
    """Of the master, and why it is a hit."""
    comment: str = ""
    """The recipe for a rendition's file; only where ``path`` is None."""


class RenderedHit(Struct, frozen=True, kw_only=True, tag=True):
    """A hit whose rendition has just been made."""

    hit: HitFile
    path: str
    """The rendition, not kept yet."""
    report: RenditionReport


class StoredSound(Struct, frozen=True, kw_only=True, tag=True):
    """A new sound in its place."""

    path: str
    metadata: SoundMetadata


class CallReply(Struct, frozen=True, kw_only=True, tag=True):
    """The answer to an echo or CLAP call, a prompt's vector, or a rendition of a kept sound."""

    called: Called | Embedded | Rendered


ReplyValue = HitFile | RenderedHit | StoredSound | CallReply


class JobRound(Struct, frozen=True, kw_only=True):
    """One job of a batch: whose request it is, and which round of fresh seeds."""

    job: int
    request: int
    round: int


class GenerateWork(Struct, frozen=True, kw_only=True, tag="generate"):
    """Candidates for one batch of jobs."""

    jobs: tuple[JobRound, ...]
    master_here: bool
    """The worker masters what it generates."""
    stream: bool = False
    """The one job's sound is sent while it is made."""


class MasterWork(Struct, frozen=True, kw_only=True, tag="master"):
    """Candidates that another worker generated."""

    job: int
    round: int
    raw: RawSounds


class EmbedWork(Struct, frozen=True, kw_only=True, tag="embed"):
    """The text vector of a request's prompt."""

    job: int
    request: int
    encoder: str


class RenderWork(Struct, frozen=True, kw_only=True, tag="render"):
    """A rendition of a hit."""

    job: int
    request: int
    hit: HitFile


class CallWork(Struct, frozen=True, kw_only=True, tag="call"):
    """An echo or CLAP call, a prompt to embed, or a kept sound to draw or to write in another format."""

    job: int
    task: DrawTask | RenderTask | EchoTask | ClapTask | EmbedTask


TaskWork = GenerateWork | MasterWork | EmbedWork | RenderWork | CallWork


def thread_of(work: TaskWork) -> Thread:
    """Return which of a worker's threads carries the work out."""
    return "generate" if isinstance(work, GenerateWork) else "aux"


# -- events ----------------------------------------------------------------------------------------


class Submit(Struct, frozen=True, kw_only=True, tag=True):
    """One caller's request, resolved: everything the scheduler needs of it."""

    request: int
    """Unique for the pool's life; the key of the one table that sends final replies."""
    recipe: Recipe
    client: str = ""
    """Whose share this counts against; empty: nobody's own."""
    join_key: JoinKey | None = None
    """None never joins."""
    priority: int = 1
    """Index into PRIORITIES."""
    deadline: float | None = None
    """On the scheduler's clock."""
    events: bool = False
    """The caller wants accepted and progress events."""
    size_bytes: int = 0
    lookup: bool = True
    near: bool = True
    """Look up by meaning too (only where ``encoders`` are there)."""
    encoders: tuple[str, ...] = ()
    """Embedders and scorers whose text vectors are wanted, for the look-up and for the store."""
    claims: bool = False
    """It is made by one of the pools on a cache directory: the others wait for its sound."""
    max_rounds: int = 1
    stream: bool = False
    """The sound is sent while it is made: alone, and not again once some of it has been sent."""
    traced: bool = False
    """The times of its stages are wanted."""


class Call(Struct, frozen=True, kw_only=True, tag=True):
    """A small task that is not a sound. It has one caller and no cache."""

    request: int
    task: DrawTask | RenderTask | EchoTask | ClapTask | EmbedTask
    client: str = ""
    """Whose share this counts against; empty: nobody's own."""
    worker: str = ""
    """Empty: any that can."""
    size_bytes: int = 0
    deadline: float | None = None


class Cancel(Struct, frozen=True, kw_only=True, tag=True):
    """A caller does not want its request any more."""

    request: int


class LookupDone(Struct, frozen=True, kw_only=True, tag=True):
    """The answer to FindExact or FindNear; no ``hit`` is a miss."""

    job: int
    hit: HitFile | None = None
    warning: str = ""


class Claimed(Struct, frozen=True, kw_only=True, tag=True):
    """The answer to Claim."""

    job: int
    mine: bool
    """False: another pool is making this sound."""


class Stored(Struct, frozen=True, kw_only=True, tag=True):
    """The answer to Store: the sound's place, or why it has none."""

    job: int
    sound: StoredSound | None = None
    failure: Failure | None = None


class WorkerHello(Struct, frozen=True, kw_only=True, tag=True):
    """A worker process runs, and wants its Load message."""

    worker: str
    incarnation: int


class WorkerReady(Struct, frozen=True, kw_only=True, tag=True):
    """A worker has loaded what it generates and masters with, or (again) what was coming."""

    worker: str
    incarnation: int
    engines: frozenset[str]
    """Names of the engines it hosts."""
    coming: frozenset[str] = frozenset()
    """Names of those that it is still loading."""
    batching: dict[str, Batching] = {}
    """Of those of them that gain from batches."""


class LoadFailed(Struct, frozen=True, kw_only=True, tag=True):
    """A worker could not load."""

    worker: str
    incarnation: int
    failure: Failure


class Heartbeat(Struct, frozen=True, kw_only=True, tag=True):
    """A sign of life, and what the worker is at."""

    worker: str
    incarnation: int
    lanes: tuple[LaneReport, ...] = ()
    """One for each thread of tasks; none: the worker says nothing of them."""
    tasks: frozenset[int] = frozenset()
    """All that it has received and not answered."""


class WorkerMisspoke(Struct, frozen=True, kw_only=True, tag=True):
    """A worker sent what is no message: nothing that it says can be relied on."""

    worker: str
    incarnation: int
    reason: str


class WorkerExited(Struct, frozen=True, kw_only=True, tag=True):
    """The process is gone for sure: it was waited for."""

    worker: str
    incarnation: int
    reason: str
    """E.g. "exit code 1" or "signal SIGKILL"."""


class TaskProgress(Struct, frozen=True, kw_only=True, tag=True):
    """A worker has got on with a task."""

    worker: str
    incarnation: int
    task: int
    attempt: int
    progress: Progress


class TaskChunk(Struct, frozen=True, kw_only=True, tag=True):
    """A worker has made a part of a sound that is sent while it is made."""

    worker: str
    incarnation: int
    task: int
    attempt: int
    job: int
    chunk: Chunk
    """Not counted."""


class TaskDone(Struct, frozen=True, kw_only=True, tag=True):
    """A worker has finished a task: one result per job."""

    worker: str
    incarnation: int
    task: int
    attempt: int
    results: dict[int, TaskResult]


class TaskFailed(Struct, frozen=True, kw_only=True, tag=True):
    """A task came to nothing, for all its jobs."""

    worker: str
    incarnation: int
    task: int
    attempt: int
    failure: Failure


class TaskReturned(Struct, frozen=True, kw_only=True, tag=True):
    """A worker has given a recalled task back: it had not begun, and will not."""

    worker: str
    incarnation: int
    task: int
    attempt: int


class Tick(Struct, frozen=True, kw_only=True, tag=True):
    """Time has passed."""


class Drain(Struct, frozen=True, kw_only=True, tag=True):
    """Take nothing new; what is here has until ``deadline``, then it is answered ``closed``."""

    deadline: float


class Reconfigure(Struct, frozen=True, kw_only=True, tag=True):
    """From now on other limits hold, for what is under way, too; what has been taken in stays."""

    limits: LimitsConfig
    queue: QueueConfig
    clients: dict[str, ClientConfig] = {}


Event = (
    Submit
    | Call
    | Cancel
    | LookupDone
    | Claimed
    | Stored
    | WorkerHello
    | WorkerReady
    | LoadFailed
    | Heartbeat
    | WorkerMisspoke
    | WorkerExited
    | TaskProgress
    | TaskChunk
    | TaskDone
    | TaskFailed
    | TaskReturned
    | Tick
    | Drain
    | Reconfigure
)


# -- actions ---------------------------------------------------------------------------------------


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
    request: int
    """A caller that waits for it; 0: none does any more."""
    sound: MasteredSound
    rounds: int
    tried: tuple[CandidateReport, ...]
    """Candidates of all rounds."""
    vectors: dict[str, bytes]
    """float32 [D] of the prompt, by encoder."""


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


Action = (
    SendReply
    | SendAccepted
    | SendProgress
    | SendChunk
    | FindExact
    | FindNear
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
)
