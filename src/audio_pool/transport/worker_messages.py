"""Messages between the router and its workers, decoded straight into structs.

Owns: every message of that conversation, grouped by recipient.
Must not know: sockets, processes, clients.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from audio_pool.errors import BadMessage
from audio_pool.results import SoundMetadata
from audio_pool.types import Recipe, Rendition, Shape

__all__ = [
    "Beat",
    "CancelJob",
    "CandidateRef",
    "ClapTask",
    "Done",
    "EchoTask",
    "EmbedTask",
    "Failed",
    "Finish",
    "FinishTask",
    "FromWorker",
    "Hello",
    "Job",
    "Load",
    "LoadFailed",
    "MakePart",
    "MakeTask",
    "Progress",
    "Ready",
    "RenderTask",
    "Stop",
    "Task",
    "ToWorker",
    "from_worker",
    "to_worker",
]


class Load(Struct, frozen=True, kw_only=True, tag_field="type", tag="load"):
    """Everything a worker needs to know: it reads no configuration of its own."""

    engines: dict[str, dict[str, Any]]
    """Engine name -> the settings for ``load_engine``."""
    roles: list[str]
    """Of "make", "master", "embed", "score"."""
    heartbeat_s: float
    arena: str = ""
    """Directory of slots; "": this worker hands over inline."""


class CandidateRef(Struct, frozen=True, kw_only=True):
    """One raw candidate on its way from the worker that made it to the one that finishes it."""

    seed: int
    sample_rate: int
    looped: bool
    notes: dict[str, Any]
    tensor: dict[str, Any] | None = None
    """A tensors.TensorRef into the arena; None: the tensor is inline, in binary frames ``frame`` and
    ``frame + 1`` (header, payload)."""
    frame: int = -1


class Finish(Struct, frozen=True, kw_only=True):
    """How candidates become a file: shape, judge, master."""

    shape: Shape
    rendition: Rendition
    directory: str
    name: str
    tau_accept_new: float | None
    metadata: SoundMetadata


class MakePart(Struct, frozen=True, kw_only=True):
    """The candidates of one sound, within one batch."""

    work: int
    recipe: Recipe
    seeds: list[int]
    finish: Finish
    init_audio: str | None = None
    """Path of the file to start from."""


class MakeTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="make"):
    """Generate; finish too where the worker has that duty (``finish_here``)."""

    engine: str
    parts: list[MakePart]
    finish_here: bool


class FinishTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="finish"):
    """Shape, judge and master candidates that another worker made."""

    work: int
    recipe: Recipe
    finish: Finish
    candidates: list[CandidateRef]
    made: SoundMetadata
    """What the worker that made them says of them: engine, licence, timings, warnings."""


class EmbedTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="embed"):
    """Text vectors of one text, from each named embedder or scorer."""

    engines: list[str]
    text: str


class RenderTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="render"):
    """A rendition of a kept master."""

    master: str
    out: str
    rendition: Rendition
    loop: bool
    comment: str


class EchoTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="echo"):
    """Nothing but the way there and back."""

    payload: bytes


class ClapTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="clap"):
    """A ClapRequest, carried out by a scorer."""

    engine: str
    operation: Literal["embed", "similarity", "zero-shot"]
    texts: list[str]
    paths: list[str]


Task = MakeTask | FinishTask | EmbedTask | RenderTask | EchoTask | ClapTask


class Job(Struct, frozen=True, kw_only=True, tag_field="type", tag="job"):
    """One task for one worker. Its answers carry the same (incarnation, job, attempt)."""

    job: int
    attempt: int
    incarnation: int
    task: Task
    grants: list[dict[str, Any]] = []
    """Slots of the arena to write results into (tensors.Grant as mappings); valid until the reply."""
    request_ids: list[str] = []


class CancelJob(Struct, frozen=True, kw_only=True, tag_field="type", tag="cancel_job"):
    job: int
    attempt: int


class Stop(Struct, frozen=True, kw_only=True, tag_field="type", tag="stop"):
    """Finish what is in hand, then exit."""


ToWorker = Load | Job | CancelJob | Stop


class Hello(Struct, frozen=True, kw_only=True, tag_field="type", tag="hello"):
    incarnation: int
    pid: int
    protocol: int
    python: str = ""


class Ready(Struct, frozen=True, kw_only=True, tag_field="type", tag="ready"):
    """Everything is loaded. ``engines``: name -> EngineInfo as a mapping."""

    incarnation: int
    engines: dict[str, dict[str, Any]]
    device: str = "cpu"
    load_s: float = 0.0


class LoadFailed(Struct, frozen=True, kw_only=True, tag_field="type", tag="load_failed"):
    incarnation: int
    error: dict[str, Any]


class Beat(Struct, frozen=True, kw_only=True, tag_field="type", tag="beat"):
    incarnation: int


class Progress(Struct, frozen=True, kw_only=True, tag_field="type", tag="progress"):
    incarnation: int
    job: int
    attempt: int
    stage: str
    done: int
    total: int


class Done(Struct, frozen=True, kw_only=True, tag_field="type", tag="done"):
    """A job's result; its shape depends on the task. Binary frames may follow."""

    incarnation: int
    job: int
    attempt: int
    result: dict[str, Any]


class Failed(Struct, frozen=True, kw_only=True, tag_field="type", tag="failed"):
    incarnation: int
    job: int
    attempt: int
    error: dict[str, Any]


FromWorker = Hello | Ready | LoadFailed | Beat | Progress | Done | Failed


# Between router and workers the frames go straight into their types: a third of the time of unpacking
# them first, on a private socket where sizes need no limit.
_TO_WORKER: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)


_FROM_WORKER: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def to_worker(data: bytes) -> ToWorker:
    """What a worker received. Raises BadMessage."""
    try:
        return _TO_WORKER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadMessage(f"message to a worker: {exc}") from None


def from_worker(data: bytes) -> FromWorker:
    """What the router received from a worker. Raises BadMessage."""
    try:
        return _FROM_WORKER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadMessage(f"message from a worker: {exc}") from None
