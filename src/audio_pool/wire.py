"""Messages and their bytes: msgpack maps, an explicit table of types, a protocol version.

Owns: every message between clients, router and workers, grouped by recipient, and ``pack``/``unpack``.
Must not know: sockets, processes, what the messages make anybody do.

Clients' messages are checked field by field (they come from anywhere). Messages between router and
workers are checked too: a worker may run another version of this package under its own interpreter.
docs/protocol.md tells the clients' half for other languages.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgpack
import msgspec
from msgspec import Meta, Struct

from audio_pool.errors import AudioPoolError, BadMessage, Busy, error_from_code
from audio_pool.types import Metadata, Name, Recipe, Rendition, RequestId, Shape, parse

__all__ = [
    "MAX_CLIENT_BYTES",
    "PROTOCOL_VERSION",
    "CancelJob",
    "CancelRequest",
    "ClapRequest",
    "Done",
    "EchoRequest",
    "Failed",
    "Feedback",
    "Generate",
    "Hello",
    "Job",
    "Load",
    "MakePart",
    "MakeTask",
    "Query",
    "Stop",
    "decode_client",
    "error_body",
    "error_of",
    "from_worker",
    "pack",
    "to_worker",
    "unpack",
]

PROTOCOL_VERSION = 1
MAX_CLIENT_BYTES = 1 << 20
"""Largest message map a client may send; the socket closes connections that exceed it."""

_LIMITS = {
    "max_str_len": 1 << 16,
    "max_bin_len": 1 << 20,
    "max_array_len": 4096,
    "max_map_len": 256,
    "max_ext_len": 0,
}
_WORKER_LIMITS = {
    "max_str_len": 1 << 22,
    "max_bin_len": 1 << 26,
    "max_array_len": 1 << 20,
    "max_map_len": 1 << 16,
    "max_ext_len": 0,
}


def pack(message: Any) -> bytes:
    """A message (a Struct of this module or a plain mapping) as msgpack bytes."""
    if isinstance(message, Struct):
        return msgspec.msgpack.encode(message)
    return msgpack.packb(message, default=msgspec.to_builtins)  # type: ignore[no-any-return]


def unpack(data: bytes, *, trusted: bool = False) -> dict[str, Any]:
    """The map in ``data``.

    Raises:
        BadMessage: not msgpack, not a map, or beyond the size limits.
    """
    try:
        value = msgpack.unpackb(data, raw=False, **(_WORKER_LIMITS if trusted else _LIMITS))
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as exc:
        raise BadMessage(f"not a msgpack map within the size limits: {type(exc).__name__}: {exc}"[:200]) from None
    if not isinstance(value, dict):
        raise BadMessage(f"given a msgpack {type(value).__name__}, allowed is a map")
    return value


# -- client -> router ------------------------------------------------------------------------------


class Generate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="generate"):
    """Asks for a sound. ``request`` is an AudioRequest, checked by the router."""

    v: Literal[1]
    request_id: RequestId
    request: dict[str, Any]
    events: bool = False


class CancelRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="cancel"):
    """Asks that the request ``target`` be cancelled."""

    v: Literal[1]
    request_id: RequestId
    target: RequestId


class Query(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """status, health, engines, cache_stats: a question about the pool itself."""

    v: Literal[1]
    request_id: RequestId


class Status(Query, frozen=True, kw_only=True, tag="status"): ...


class Health(Query, frozen=True, kw_only=True, tag="health"): ...


class Engines(Query, frozen=True, kw_only=True, tag="engines"): ...


class CacheStats(Query, frozen=True, kw_only=True, tag="cache_stats"): ...


class Feedback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="feedback"):
    """What the caller thought of a result: written to the server's log and counted, nothing else."""

    v: Literal[1]
    request_id: RequestId
    target: RequestId
    verdict: Literal["good", "wrong", "bad_sound"]
    comment: Annotated[str, Meta(max_length=1000)] = ""


class EchoRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="echo"):
    """Sends ``payload`` through the scheduler and a worker and back: measures the path."""

    v: Literal[1]
    request_id: RequestId
    payload: Annotated[bytes, Meta(max_length=1 << 16)] = b""
    worker: Name | None = None


class ClapRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="clap"):
    """CLAP as a service: vectors, similarities, or labels with scores.

    ``embed`` answers a vector a text and a path; ``similarity`` the matrix of all against all;
    ``zero-shot`` a score for every label (``texts``) of every path.
    """

    v: Literal[1]
    request_id: RequestId
    operation: Literal["embed", "similarity", "zero-shot"]
    texts: Annotated[list[Annotated[str, Meta(min_length=1, max_length=2000)]], Meta(max_length=256)] = []
    paths: Annotated[list[Annotated[str, Meta(min_length=1, max_length=4096)]], Meta(max_length=64)] = []


ClientMessage = Generate | CancelRequest | Status | Health | Engines | CacheStats | Feedback | EchoRequest | ClapRequest
_CLIENT_TYPES: dict[str, type[Any]] = {
    "generate": Generate,
    "cancel": CancelRequest,
    "status": Status,
    "health": Health,
    "engines": Engines,
    "cache_stats": CacheStats,
    "feedback": Feedback,
    "echo": EchoRequest,
    "clap": ClapRequest,
}


def decode_client(message: dict[str, Any]) -> ClientMessage:
    """The typed message of a client.

    Raises:
        BadMessage: naming the field, what was given and what is allowed.
    """
    kind = message.get("type")
    try:
        if message.get("v") != PROTOCOL_VERSION:
            raise BadMessage(f"field 'v': given {message.get('v')!r:.40}, allowed is {PROTOCOL_VERSION}")
        cls = _CLIENT_TYPES.get(kind) if isinstance(kind, str) else None
        if cls is None:
            raise BadMessage(f"field 'type': given {kind!r:.40}, allowed is one of {', '.join(_CLIENT_TYPES)}")
        try:  # the usual case at once; what is inside ``request`` is checked when it becomes an AudioRequest
            return msgspec.convert(message, cls, builtin_types=(bytes,))  # type: ignore[no-any-return]
        except msgspec.ValidationError:
            return parse(cls, message, error=BadMessage, what=f"message {kind!r}")  # type: ignore[no-any-return]
    except RecursionError:  # msgpack nests deeper than Python's own stack, even where a value is only shown
        raise BadMessage("nested too deep") from None


# -- router -> client ------------------------------------------------------------------------------


def error_body(error: AudioPoolError) -> dict[str, Any]:
    """What crosses the wire of an error: code, message, hint, whether a retry can help."""
    body: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "retryable": error.retryable,
    }
    if isinstance(error, Busy):
        body["retry_after_ms"] = error.retry_after_ms
    return body


def error_of(body: dict[str, Any]) -> AudioPoolError:
    """The exception that an error reply stands for."""
    code = str(body.get("code", "internal"))
    error = error_from_code(code, str(body.get("message", "")), hint=str(body.get("hint", "")))
    wait_ms = body.get("retry_after_ms")
    if isinstance(error, Busy) and isinstance(wait_ms, int):  # an error must not fail for what comes with it
        error.retry_after_ms = wait_ms
    return error


# -- router -> worker ------------------------------------------------------------------------------


class Load(Struct, frozen=True, kw_only=True, tag_field="type", tag="load"):
    """Everything a worker needs to know: it reads no configuration of its own."""

    engines: dict[str, dict[str, Any]]
    """Engine name -> the settings for ``load_engine``."""
    duties: list[str]
    """Of "make", "master", "embed", "score"."""
    beat_s: float
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
    metadata: Metadata


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
    made: Metadata
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


# -- worker -> router ------------------------------------------------------------------------------


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
