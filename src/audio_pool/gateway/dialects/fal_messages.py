"""What fal's API says: the arguments of apps of sounds and music, how a request stands, results, errors.

Owns: those structs.
Must not know: routes, jobs.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from audio_pool.gateway.dialects.fields import FieldFault
from audio_pool.types import MAX_DURATION_S, Duration, Moment, Prompt, Steps, Unit

__all__ = [
    "Cancelled",
    "FalBody",
    "FalError",
    "FalFile",
    "HookQuery",
    "Log",
    "LogsQuery",
    "Payload",
    "Standing",
    "Submitted",
]


class FalBody(Struct, frozen=True, kw_only=True):
    """Arguments as the apps of sounds and music have them. Fields of our own API may stand beside these."""

    prompt: Prompt | None = None
    text: Prompt | None = None
    seconds_total: Duration | None = None
    duration: Duration | None = None
    duration_seconds: Duration | None = None
    num_inference_steps: Steps | None = None
    output_format: str = "wav"
    """wav, flac, ogg, opus or mp3, or as ElevenLabs writes them, such as mp3_44100_128."""
    audio_url: str | None = None
    """A sound to start from, as a data URI."""
    strength: Unit | None = None
    mask_start: Moment | None = None
    """With ``mask_end``: only this part of that sound is made anew."""
    mask_end: Moment | None = None
    start_time: Moment | None = None
    """As some apps call ``mask_start``."""
    end_time: Moment | None = None
    extend_after_duration: Annotated[float, Meta(ge=0.0, le=MAX_DURATION_S)] | None = None
    """Seconds by which that sound is continued; 0: none."""
    extend_before_duration: Annotated[float, Meta(ge=0.0, le=0.0)] | None = None
    """Nothing is put before a sound."""


class HookQuery(Struct, frozen=True):
    """What stands in a submission's address."""

    fal_webhook: str | None = None
    """Where its end is posted to."""


class LogsQuery(Struct, frozen=True):
    """What stands in the address of a status."""

    logs: bool = False


class Submitted(Struct, frozen=True, kw_only=True):
    """A request in the queue."""

    status: str = "IN_QUEUE"
    request_id: str
    queue_position: int
    response_url: str
    status_url: str
    cancel_url: str


class Log(Struct, frozen=True, kw_only=True):
    """A line about a request."""

    message: str
    level: str = "INFO"
    source: str = "audio_pool"
    timestamp: str


class Standing(Struct, frozen=True, kw_only=True):
    """How a request stands."""

    status: Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    request_id: str
    logs: list[Log] | None = None
    queue_position: int | UnsetType = UNSET
    metrics: dict[str, float] | UnsetType = UNSET
    error: str | UnsetType = UNSET
    error_type: str | UnsetType = UNSET


class Cancelled(Struct, frozen=True):
    """What came of cancelling."""

    status: Literal["CANCELLATION_REQUESTED", "ALREADY_COMPLETED", "NOT_FOUND"]


class FalFile(Struct, frozen=True, kw_only=True):
    """A file of a result."""

    url: str
    content_type: str
    file_name: str
    file_size: int


class Payload(Struct, frozen=True, kw_only=True):
    """What an app answers with; some call the file ``audio`` and some ``audio_file``."""

    audio: FalFile
    audio_file: FalFile
    seed: int | None
    prompt: str
    duration: float
    timings: dict[str, float]


class FalError(Struct, frozen=True, kw_only=True):
    """An error of this API."""

    detail: str | list[FieldFault]
    error_type: str
