"""Messages between the router and its workers.

Owns: every message of that conversation, grouped by recipient, and its decoding.
Must not know: sockets, processes, clients.

Worker messages are decoded directly into structs (about three times faster than unpacking them first).
No size limits: the socket is private. What a worker sends is checked all the same: a message that does not
decode is that worker's fault alone.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from audio_pool.engine_info import EngineInfo
from audio_pool.errors import BadMessage
from audio_pool.results import Failure, SampleEncoding, TaskRole
from audio_pool.tasks import EngineSetup, Grant, LaneReport, Task, TaskResult

__all__ = [
    "WORKER_PROTOCOL",
    "CancelTask",
    "EngineSetup",
    "FromWorker",
    "Heartbeat",
    "Hello",
    "Load",
    "LoadFailed",
    "Ready",
    "RecallTask",
    "RunTask",
    "Stop",
    "TaskChunk",
    "TaskDone",
    "TaskFailed",
    "TaskProgress",
    "TaskReturned",
    "ToWorker",
    "from_worker",
    "to_worker",
    "worker_identity",
]

WORKER_PROTOCOL = 4
"""Of this conversation. Router and workers run the same files, so that another number means that they do not."""


# -- router -> worker ------------------------------------------------------------------------------


class Load(Struct, frozen=True, kw_only=True, tag_field="type", tag="load"):
    """Everything a worker needs to know: it reads no configuration of its own."""

    engines: dict[str, EngineSetup]
    """By name."""
    later: list[str] = []
    """Those of them that are loaded when a task says so."""
    one_by_one: bool = False
    """All that generate are, where there are several: this worker has ended before while it loaded."""
    roles: list[str]
    """Of "generate", "master", "embed", "score"."""
    heartbeat_s: float
    arena: str = ""
    """Directory of slots; "": this worker hands over inline."""
    models_dir: str = ""
    """Directory of models, beside the usual places."""
    max_input_s: float = 600.0
    """Longest sound of a caller's own that is decoded."""


class RunTask(Struct, frozen=True, kw_only=True, tag_field="type", tag="run_task"):
    """Carry out a task. Its answers carry the same (incarnation, task_id, attempt)."""

    task_id: int
    attempt: int
    incarnation: int
    task: Task
    grants: tuple[Grant, ...] = ()
    """Slots of the arena to write results into; valid until the reply."""
    request_ids: tuple[str, ...] = ()
    """For the worker's log."""
    files: tuple[str, ...] = ()
    """To a worker on another machine: paths in the task whose bytes are the last frames."""
    placed: dict[str, str] = {}
    """To such a worker: where files lie on its machine already, by their paths in the task."""


class CancelTask(Struct, frozen=True, kw_only=True, tag_field="type", tag="cancel_task"):
    """Nobody wants the result any more."""

    task_id: int
    attempt: int


class RecallTask(Struct, frozen=True, kw_only=True, tag_field="type", tag="recall_task"):
    """Give the task back if it has not begun (TaskReturned); else go on, and say nothing."""

    task_id: int
    attempt: int


class Stop(Struct, frozen=True, kw_only=True, tag_field="type", tag="stop"):
    """Finish what is in hand, then exit."""


ToWorker = Load | RunTask | CancelTask | RecallTask | Stop


# -- worker -> router ------------------------------------------------------------------------------


class Hello(Struct, frozen=True, kw_only=True, tag_field="type", tag="hello"):
    """The process runs and wants its Load message."""

    incarnation: int
    protocol: int
    """Another one than ours is refused."""
    python: str = ""
    pid: int = 0


class Ready(Struct, frozen=True, kw_only=True, tag_field="type", tag="ready"):
    """It can work; said again when what was still coming is there, too."""

    incarnation: int
    engines: dict[str, EngineInfo]
    """Those that are loaded, by name."""
    later: dict[str, EngineInfo | None] = {}
    """Those that can be loaded, with what is known of them before."""
    failed: dict[str, Failure] = {}
    """Those of them that were to be there from the start, and why they are not; told once."""
    sizes: dict[str, int] = {}
    """Bytes that the loaded ones take, by name."""
    coming: tuple[str, ...] = ()
    """Those that are still being loaded: encoders, for which neither generating nor mastering waits."""
    device: str = "cpu"
    load_s: float = 0.0


class LoadFailed(Struct, frozen=True, kw_only=True, tag_field="type", tag="load_failed"):
    """Something could not be loaded."""

    incarnation: int
    failure: Failure


class Heartbeat(Struct, frozen=True, kw_only=True, tag_field="type", tag="heartbeat"):
    """A sign of life; also a thread's first message, so that the router can address it."""

    incarnation: int
    lanes: tuple[LaneReport, ...] = ()
    """What each thread of tasks is doing; only from the control thread, once it has loaded."""
    tasks: frozenset[int] = frozenset()
    """All that was received and is not answered."""


class TaskProgress(Struct, frozen=True, kw_only=True, tag_field="type", tag="progress"):
    """A task has got on."""

    incarnation: int
    task_id: int
    attempt: int
    stage: TaskRole
    done: int
    total: int


class TaskChunk(Struct, frozen=True, kw_only=True, tag_field="type", tag="chunk"):
    """Samples of a sound that is being made; one frame with them follows. None is missed: the file has them, too."""

    incarnation: int
    task_id: int
    attempt: int
    job: int
    start: Annotated[int, Meta(ge=0)]
    """Frames before them."""
    frames: Annotated[int, Meta(ge=1)]
    sample_rate: Annotated[int, Meta(ge=1)]
    channels: Annotated[int, Meta(ge=1, le=2)]
    encoding: SampleEncoding


class TaskDone(Struct, frozen=True, kw_only=True, tag_field="type", tag="done"):
    """A task's results, one per job. Binary frames may follow."""

    incarnation: int
    task_id: int
    attempt: int
    results: dict[int, TaskResult]
    unwritable: tuple[int, ...] = ()
    """Generations of granted slots that could not be written."""
    files: tuple[str, ...] = ()
    """From a worker on another machine: paths in the results whose bytes are the last frames."""


class TaskFailed(Struct, frozen=True, kw_only=True, tag_field="type", tag="failed"):
    """A task that came to nothing for all its jobs."""

    incarnation: int
    task_id: int
    attempt: int
    failure: Failure


class TaskReturned(Struct, frozen=True, kw_only=True, tag_field="type", tag="returned"):
    """A recalled task that had not begun, and will not: nothing was done for it."""

    incarnation: int
    task_id: int
    attempt: int


FromWorker = Hello | Ready | LoadFailed | Heartbeat | TaskProgress | TaskChunk | TaskDone | TaskFailed | TaskReturned



def worker_identity(worker: str, incarnation: int, thread: str, secret: str) -> bytes:
    """Return the routing id of one of a worker's sockets: every message says who sent it, and proves it.

    The secret is the one that this incarnation was started with: a stranger on the socket does not know it.
    """
    return f"{worker}:{incarnation}:{thread}:{secret}".encode()


_TO_WORKER: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_FROM_WORKER: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def to_worker(data: bytes) -> ToWorker:
    """Decode what a worker received. Raises BadMessage."""
    try:
        return _TO_WORKER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadMessage(f"message to a worker: {exc}") from None


def from_worker(data: bytes | memoryview) -> FromWorker:
    """Decode what the router received from a worker. Raises BadMessage."""
    try:
        return _FROM_WORKER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadMessage(f"message from a worker: {exc}") from None
