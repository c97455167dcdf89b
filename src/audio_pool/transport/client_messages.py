"""Protocol version 1: every message between a client and a served pool.

Owns: the messages' fields and bounds, by recipient, and their decoding.
Must not know: sockets, processes, what a message makes anybody do.

Clients' messages come from anywhere and are checked field by field, unknown fields refused. A server's
messages are read leniently: a newer server may send fields that this client does not know.
docs/protocol.md describes all of them for other languages.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Generic, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from audio_pool.api import ClapOperation, FeedbackVerdict, JobState
from audio_pool.craft import MOST_SOUNDS, Craft, CraftForm
from audio_pool.errors import BadMessage
from audio_pool.library import EntryId
from audio_pool.results import Failure, RawSamples, SoundMetadata
from audio_pool.tracing import Traceparent
from audio_pool.transport.asked import Asked
from audio_pool.transport.kept_sound_messages import (
    CandidateFileRequest,
    CandidatesRequest,
    ChooseRequest,
    MarkManyRequest,
    MarkRequest,
    RemoveManyRequest,
    RemoveRequest,
    SoundFileRequest,
    SoundRequest,
    SoundsRequest,
    WaveformRequest,
)
from audio_pool.transport.operator_messages import (
    DuplicatesRequest,
    EvictionRequest,
    LeaseRequest,
    LeaseReturnRequest,
    ModelOrderRequest,
    ModelsRequest,
    ModelSwitchRequest,
    WorkerAddRequest,
    WorkerDrainRequest,
    WorkerRemoveRequest,
    WorkersScaleRequest,
)
from audio_pool.transport.preset_messages import (
    PresetRemoveRequest,
    PresetRequest,
    PresetSetRequest,
    PresetsRequest,
)
from audio_pool.types import Delivery, Name, Picture, RequestId
from audio_pool.validation import parse

__all__ = [
    "MAX_CLIENT_BYTES",
    "MAX_WAIT_MS",
    "MOST_SENT_FRAMES",
    "PROTOCOL_VERSION",
    "BodyReply",
    "CacheStatsRequest",
    "CancelRequest",
    "CandidateFileRequest",
    "CandidatesRequest",
    "ChooseRequest",
    "ClapRequest",
    "ClientMessage",
    "CraftRequest",
    "DuplicatesRequest",
    "EchoRequest",
    "EnginesRequest",
    "ErrorReply",
    "EvictionRequest",
    "ExplainRequest",
    "FeedbackRequest",
    "GenerateRequest",
    "HealthRequest",
    "JobRequest",
    "JobsRequest",
    "LeaseRequest",
    "LeaseReturnRequest",
    "MarkManyRequest",
    "MarkRequest",
    "ModelOrderRequest",
    "ModelSwitchRequest",
    "ModelsRequest",
    "PresetRemoveRequest",
    "PresetRequest",
    "PresetSetRequest",
    "PresetsRequest",
    "RemoveManyRequest",
    "RemoveRequest",
    "ReplyHead",
    "RetryRequest",
    "SoundFileRequest",
    "SoundReply",
    "SoundRequest",
    "SoundsRequest",
    "SpectrogramRequest",
    "StatusRequest",
    "VerifyRequest",
    "WaveformRequest",
    "WorkerAddRequest",
    "WorkerDrainRequest",
    "WorkerRemoveRequest",
    "WorkersScaleRequest",
    "decode_client",
]

PROTOCOL_VERSION: Final = 1
MAX_CLIENT_BYTES = 1 << 20
"""Largest frame a client may send; the socket closes connections that exceed it."""

MOST_SENT_FRAMES = 1024
"""In which the sound that comes with a ``generate`` may be parted."""

MAX_WAIT_MS = 60_000
"""Longest wait of one ``job`` question; who wants to wait longer asks again."""

T = TypeVar("T")

# -- client -> server ------------------------------------------------------------------------------


class GenerateRequest(Asked, frozen=True, kw_only=True, tag="generate"):
    """Asks for a sound. The bytes of one to start from may follow, in frames of their own."""

    request: dict[str, Any]  # an AudioRequest's mapping, checked when it becomes one
    events: bool = False
    traceparent: Traceparent | UnsetType = UNSET
    """The trace that it belongs to, and the span that caused it."""
    known: Annotated[str, Meta(max_length=4096)] | UnsetType = UNSET
    """A ``path`` of an earlier result whose bytes the client still has: that file is not sent inline again."""


class CancelRequest(Asked, frozen=True, kw_only=True, tag="cancel"):
    """Asks that the request ``target`` be cancelled."""

    target: RequestId


class StatusRequest(Asked, frozen=True, kw_only=True, tag="status"):
    """Asks what the pool is doing."""

    numbers: bool = False


class HealthRequest(Asked, frozen=True, kw_only=True, tag="health"): ...


class EnginesRequest(Asked, frozen=True, kw_only=True, tag="engines"): ...


class CacheStatsRequest(Asked, frozen=True, kw_only=True, tag="cache_stats"): ...


class JobRequest(Asked, frozen=True, kw_only=True, tag="job"):
    """Asks what has become of a durable job of one's own; waits for its end, if it is to."""

    target: RequestId
    wait_ms: Annotated[int, Meta(ge=0, le=MAX_WAIT_MS)] = 0
    delivery: Delivery = "path"


class JobsRequest(Asked, frozen=True, kw_only=True, tag="jobs"):
    """Asks for one's own durable jobs, the newest first."""

    states: Annotated[list[JobState], Meta(max_length=6)] = []
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    before: float | None = None


class RetryRequest(Asked, frozen=True, kw_only=True, tag="retry"):
    """Asks that a durable job of one's own that ended without a sound be done again."""

    target: RequestId


class FeedbackRequest(Asked, frozen=True, kw_only=True, tag="feedback"):
    """The caller's judgement of a result: ``wrong`` and ``right`` decide future look-ups, all are counted."""

    target: RequestId
    verdict: FeedbackVerdict
    comment: Annotated[str, Meta(max_length=1000)] = ""


class ExplainRequest(Asked, frozen=True, kw_only=True, tag="explain"):
    """Asks why a request would hit or miss; nothing is made."""

    request: dict[str, Any]  # an AudioRequest's mapping, checked when it becomes one
    across_namespaces: bool = True
    """False: sounds of other namespaces are not named, though this client may see them."""


class SpectrogramRequest(Asked, frozen=True, kw_only=True, tag="spectrogram"):
    """Asks for a picture of a kept sound: drawn where there is none yet."""

    entry: EntryId
    namespace: Name | None = None
    mel_bands: Annotated[int, Meta(ge=0, le=320)] = 0
    highest_hz: Annotated[float, Meta(ge=500.0, le=96_000.0)] | None = None
    dark: bool = False
    tile: bool = False
    """Small, and nothing but the levels; the three fields before it say nothing then."""
    delivery: Delivery = "path"

    @property
    def picture(self) -> Picture:
        if self.tile:
            return Picture(tile=True)
        return Picture(mel_bands=self.mel_bands, highest_hz=self.highest_hz, dark=self.dark)


class EchoRequest(Asked, frozen=True, kw_only=True, tag="echo"):
    """Sends ``payload`` through the scheduler and a worker and back: measures the path."""

    payload: Annotated[bytes, Meta(max_length=1 << 16)] = b""
    worker: Name | None = None


class ClapRequest(Asked, frozen=True, kw_only=True, tag="clap"):
    """CLAP as a service: vectors, similarities, or labels with scores.

    ``embed`` answers one vector per text, path and sound; ``similarity`` the matrix of all against all;
    ``zero-shot`` a score for every label (``texts``) of every path and sound.
    """

    operation: ClapOperation
    texts: Annotated[list[Annotated[str, Meta(min_length=1, max_length=2000)]], Meta(max_length=256)] = []
    paths: Annotated[list[Annotated[str, Meta(min_length=1, max_length=4096)]], Meta(max_length=64)] = []
    sounds: Annotated[list[Annotated[int, Meta(ge=0, le=2**40)]], Meta(max_length=64)] = []
    """Bytes of each sound that comes along: their files follow in further frames, one after the other."""


class CraftRequest(Asked, frozen=True, kw_only=True, tag="craft"):
    """Has given sounds worked on: those at ``paths`` first, then those that came along."""

    craft: Craft
    form: CraftForm = CraftForm()
    paths: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=4096)], ...], Meta(max_length=MOST_SOUNDS)] = ()
    sounds: Annotated[tuple[Annotated[int, Meta(ge=0, le=2**40)], ...], Meta(max_length=MOST_SOUNDS)] = ()
    """Bytes of each sound that comes along: their files follow in further frames, one after the other."""
    output_path: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    delivery: Delivery = "path"


class VerifyRequest(Asked, frozen=True, kw_only=True, tag="verify"):
    """Asks where a file comes from: that at ``path``, or the one that comes along."""

    path: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    sound: Annotated[int, Meta(ge=1, le=2**40)] | None = None
    """Bytes of the sound that comes along: its file follows in further frames."""
    name: Annotated[str, Meta(max_length=4096)] = ""
    """Of that, in the answer."""
    namespace: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """Whose sounds may be told by their prompt and entry; None: all that the client may name."""


ClientMessage = (
    GenerateRequest
    | CancelRequest
    | StatusRequest
    | HealthRequest
    | EnginesRequest
    | CacheStatsRequest
    | JobRequest
    | JobsRequest
    | RetryRequest
    | FeedbackRequest
    | ExplainRequest
    | SpectrogramRequest
    | SoundsRequest
    | SoundRequest
    | SoundFileRequest
    | WaveformRequest
    | MarkRequest
    | RemoveRequest
    | MarkManyRequest
    | RemoveManyRequest
    | EvictionRequest
    | DuplicatesRequest
    | CandidatesRequest
    | CandidateFileRequest
    | ChooseRequest
    | EchoRequest
    | ClapRequest
    | CraftRequest
    | VerifyRequest
    | LeaseRequest
    | LeaseReturnRequest
    | WorkerAddRequest
    | WorkerDrainRequest
    | WorkerRemoveRequest
    | WorkersScaleRequest
    | ModelsRequest
    | ModelOrderRequest
    | ModelSwitchRequest
    | PresetsRequest
    | PresetRequest
    | PresetSetRequest
    | PresetRemoveRequest
)
_CLIENT_TYPES: dict[str, type[ClientMessage]] = {
    str(cls.__struct_config__.tag): cls for cls in get_args(ClientMessage)
}


def decode_client(message: dict[str, Any]) -> ClientMessage:  # opaque until it is decoded
    """Return the typed message of a client, from what ``packing.unpack`` gave.

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
            return msgspec.convert(message, cls, builtin_types=(bytes,))
        except msgspec.ValidationError:
            return parse(cls, message, error=BadMessage, what=f"message {kind!r}")
    except RecursionError:  # msgpack nests deeper than Python's own stack, even where a value is only shown
        raise BadMessage("nested too deep") from None


# -- server -> client ------------------------------------------------------------------------------
# Their fields in this order: docs/protocol.md shows the bytes.


class ReplyHead(Struct, frozen=True, kw_only=True):
    """The fields of every message of a server: read first, to know which of the following types it is."""

    v: int = PROTOCOL_VERSION
    type: str
    """accepted or progress; else the final reply: result, error, cancelled, expired or busy."""
    request_id: str


class SoundReply(ReplyHead, frozen=True, kw_only=True):
    """The ``result`` of a generate. The file's bytes, or samples, may follow as a second frame."""

    path: str | None
    """None: delivered as bytes alone."""
    metadata: SoundMetadata
    samples: RawSamples | UnsetType = UNSET
    """What follows is samples, and which."""


class BodyReply(ReplyHead, Generic[T], frozen=True, kw_only=True):
    """An event (Accepted, Progress), or the ``result`` of anything but a generate (a report of api.py)."""

    body: T


class ErrorReply(ReplyHead, frozen=True, kw_only=True):
    """A final reply that is no result."""

    error: Failure | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET
    """Of ``busy`` only; as in ``error``."""
