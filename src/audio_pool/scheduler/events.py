"""What happens to the scheduler, as data.

Owns: every event, and which requests share a job. All of them can be encoded and read back.
Must not know: how the scheduler decides, what it wants done.
"""

from __future__ import annotations

from msgspec import Struct

from audio_pool.config import ClientConfig, LimitsConfig, QueueConfig
from audio_pool.residents import ModelOrder
from audio_pool.results import Chunk, Failure, Progress
from audio_pool.scheduler.answers import HitFile, StoredSound
from audio_pool.scheduler.batches import Batching
from audio_pool.scheduler.worker_state import WorkerPlan
from audio_pool.tasks import CallTask, LaneReport, TaskResult
from audio_pool.types import Query, Recipe, Rendition

__all__ = [
    "PRIORITIES",
    "AddWorker",
    "AskInTime",
    "Call",
    "Cancel",
    "Claimed",
    "Drain",
    "DrainWorker",
    "EndLease",
    "Event",
    "Heartbeat",
    "HostModel",
    "JoinKey",
    "LoadFailed",
    "LookupDone",
    "MemoryRead",
    "OrderModel",
    "Reconfigure",
    "RemoveWorker",
    "RetireModel",
    "Stored",
    "Submit",
    "TakeLease",
    "TaskChunk",
    "TaskDone",
    "TaskFailed",
    "TaskProgress",
    "TaskReturned",
    "Tick",
    "WorkerExited",
    "WorkerHello",
    "WorkerMisspoke",
    "WorkerPending",
    "WorkerReady",
]

PRIORITIES = ("interactive", "normal", "background")


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
    stands_in: bool = False
    """Of what stands in for another sound: it may be a looser match of it."""
    like: Recipe | None = None
    """The other sound."""


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
    keep: bool = False
    """Candidates that are not chosen are wanted, too."""
    stands_in: bool = False
    """It stands in for another sound, and is made when it is time for that (ladders.py)."""
    looser: bool = False
    """Look for a kept sound that is like the other one, short of what would be a hit; only where it stands in."""
    makes: bool = True
    """False: nothing here can make what stands in."""


class AskInTime(Struct, frozen=True, kw_only=True, tag=True):
    """A request that wants the best there is by its deadline, or something at once and the real sound later.

    The sound as it is asked for is another request, and so is what may stand in for it: see ladders.py.
    """

    request: int
    wanted: Submit
    """As it is asked for; its number is that of the better sound, where that is announced later."""
    stand_in: Submit | None = None
    deadline: float | None = None
    """On the scheduler's clock."""
    at_once: bool = False
    """Whatever is at hand is the answer."""
    upgrade: bool = False
    """Where something stands in, the sound as it is asked for is made all the same, and announced."""


class Call(Struct, frozen=True, kw_only=True, tag=True):
    """A small task that is not a sound. It has one caller and no cache."""

    request: int
    task: CallTask
    client: str = ""
    """Whose share this counts against; empty: nobody's own."""
    worker: str = ""
    """Empty: any that can."""
    size_bytes: int = 0
    priority: int = 1
    """Index into PRIORITIES."""
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


class WorkerPending(Struct, frozen=True, kw_only=True, tag=True):
    """A worker that is being started waits for a place, or has found one."""

    worker: str
    incarnation: int
    why: str = ""
    """What it lacks; "": nothing is known of that."""
    within_s: float = 0.0
    """How long it may wait, from now on; 0: it has its place, and is expected to say hello."""


class WorkerReady(Struct, frozen=True, kw_only=True, tag=True):
    """A worker has loaded what it generates and masters with, or (again) what was coming."""

    worker: str
    incarnation: int
    engines: frozenset[str]
    """Names of the engines it hosts."""
    loaded: frozenset[str] | None = None
    """Those of them that it has in memory; None: all."""
    sizes: dict[str, int] = {}
    """Bytes that those take."""
    failed: dict[str, Failure] = {}
    """Why it could not load some that it was to have in memory from its start."""
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


class MemoryRead(Struct, frozen=True, kw_only=True, tag=True):
    """What is free on devices was looked at."""

    spare_bytes: dict[str, int | None]
    """By device: what is free beyond the reserve, less than nothing where that is not whole; None: not known."""
    own_bytes: dict[str, int] = {}
    """What this pool's workers have on a device, where that is known."""
    others_bytes: dict[str, int] = {}
    """What all other programs have there, likewise."""


class OrderModel(Struct, frozen=True, kw_only=True, tag=True):
    """Somebody who may wants an engine in a worker's memory, out of it, or kept there."""

    order: ModelOrder
    engine: str
    worker: str = ""
    """Empty: loaded where it disturbs least; else all that host it."""


class HostModel(Struct, frozen=True, kw_only=True, tag=True):
    """Another model is to come in the place of an engine's: it is loaded, and makes what asks for it."""

    engine: str
    model: str
    """As recipes have it."""
    hosted: str
    """The name that it is filed under on the workers that host the engine."""


class RetireModel(Struct, frozen=True, kw_only=True, tag=True):
    """What is filed under this name makes only what has been asked of it, and goes."""

    hosted: str


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
    lost: bool = False
    """Its machine, or what held it there, has gone: nothing is known against the worker or what it was at."""


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


class TakeLease(Struct, frozen=True, kw_only=True, tag=True):
    """Somebody wants a device for a while: answered by TellLease."""

    asked: int
    """The request that is answered when the device is free; 0: nobody waits."""
    device: str
    holder: str
    """Who has it, for people; the same one may ask again, to have it longer."""
    within_s: float
    """The device is to be free after so long."""
    for_s: float | None = None
    """How long it is lent, from when it is free; None: until it is returned."""


class EndLease(Struct, frozen=True, kw_only=True, tag=True):
    """A device is returned."""

    device: str


class AddWorker(Struct, frozen=True, kw_only=True, tag=True):
    """There is one more worker, to be started."""

    plan: WorkerPlan


class DrainWorker(Struct, frozen=True, kw_only=True, tag=True):
    """A worker is to take nothing new, though it stays up; TellWorker follows when it has done what it holds."""

    worker: str
    drained: bool = True
    """False: it is to work again."""


class RemoveWorker(Struct, frozen=True, kw_only=True, tag=True):
    """A worker is to do what it holds, and end for good; TellWorker follows."""

    worker: str
    within_s: float | None = None
    """After so long it is ended whatever it is at."""


class Reconfigure(Struct, frozen=True, kw_only=True, tag=True):
    """From now on other limits hold, for what is under way, too; what has been taken in stays."""

    limits: LimitsConfig
    queue: QueueConfig
    clients: dict[str, ClientConfig] = {}
    concurrency: dict[str, int] = {}
    """On how many workers an engine may be at work at a time."""


Event = (
    Submit
    | AskInTime
    | Call
    | Cancel
    | LookupDone
    | Claimed
    | Stored
    | WorkerHello
    | WorkerReady
    | LoadFailed
    | Heartbeat
    | MemoryRead
    | OrderModel
    | HostModel
    | RetireModel
    | WorkerMisspoke
    | WorkerPending
    | WorkerExited
    | TaskProgress
    | TaskChunk
    | TaskDone
    | TaskFailed
    | TaskReturned
    | Tick
    | Drain
    | TakeLease
    | EndLease
    | AddWorker
    | DrainWorker
    | RemoveWorker
    | Reconfigure
)
