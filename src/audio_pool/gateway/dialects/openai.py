"""OpenAI's ``/v1/audio/speech``, for its SDKs and for all that speak like it.

Owns: that API's request, answers and errors; what its models look like (models.py has the route).
Must not know: how a sound is made.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, Router, post
from litestar.response import Stream
from msgspec import Meta, Struct

from audio_pool.errors import AudioPoolError, InvalidRequest, NotFound, UnknownEngine
from audio_pool.gateway.dialects.answers import (
    STREAMED,
    bytes_of,
    documented,
    error_handlers,
    headers_with,
    ignored_header,
    request_of,
)
from audio_pool.gateway.dialects.fields import BadFields, Fault, Taken, read_json, take
from audio_pool.gateway.dialects.names import Names
from audio_pool.gateway.door import Door, HttpRequest, Sound
from audio_pool.gateway.live_sound import LiveAnswer, LiveSound
from audio_pool.types import STREAMABLE, AudioRequest, Duration, Prompt

__all__ = [
    "ERRORS", "Model", "OpenAIError", "StreamFormat", "answer", "live_answer", "model_object", "rendition_of", "router",
]  # fmt: skip

RETRY_S = 5.0
"""Within which the SDK's first and second retry come."""
_CHUNK_BYTES = 48 * 1024
"""Of one event: a multiple of three, so that base64 needs no padding between them."""
_RENDITIONS: dict[str, dict[str, Any]] = {
    "mp3": {"format": "mp3"},
    "opus": {"format": "opus", "rendition_rate": 48_000},
    "flac": {"format": "flac"},
    "wav": {"format": "wav"},
    "pcm": {"format": "pcm", "rendition_rate": 24_000},
}
_MEDIA_TYPES = {"opus": "audio/opus"}
_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {"bad_request": "invalid_value", "unauthenticated": "invalid_api_key", "too_many": "rate_limit_exceeded"}
_STATUSES = {"bad_request": 400, "not_supported": 400, "bad_audio": 400, "unknown_engine": 404}


StreamFormat = Literal["audio", "sse"]


class Voice(Struct, frozen=True):
    """A voice by its id."""

    id: str


class SpeechBody(Struct, frozen=True, kw_only=True):
    """A request for audio. Fields of our own API may stand beside these."""

    input: Prompt
    """The sound in words; what is said, of an engine that speaks."""
    model: Annotated[str, Meta(min_length=1)]
    voice: str | Voice = ""
    """Of an engine that speaks; sounds have none."""
    instructions: str = ""
    """How it is to sound."""
    response_format: str = "mp3"
    """mp3, opus, flac, wav, or pcm: 24 kHz, 16 bits, one channel, no header."""
    speed: Annotated[float, Meta(ge=0.25, le=4.0)] = 1.0
    """Of an engine that has an option of this name; elsewhere one that is not 1 is named in ``x-ignored-fields``."""
    stream_format: StreamFormat | None = None
    """Given, and with wav or pcm: the sound is sent while it is made."""
    duration_seconds: Duration | None = None
    """Not OpenAI's: how long it is to be."""


class Model(Struct, frozen=True, kw_only=True):
    """A model as this API lists it."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "audio_pool"


class ErrorDetail(Struct, frozen=True, kw_only=True):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    """The field at fault."""
    code: str


class OpenAIError(Struct, frozen=True):
    """An error of this API."""

    error: ErrorDetail


def router(door: Door) -> Router:
    """Return the route."""
    names = Names(door)

    @post("/v1/audio/speech", status_code=200, summary="OpenAI: make audio", tags=["OpenAI"], opt=documented(
        OpenAIError, STREAMED, body=SpeechBody,
    ))  # fmt: skip
    async def speech(request: HttpRequest) -> Response[Any]:
        taken = take(SpeechBody, await read_json(request))
        body = taken.body
        # its SDK comes back where it has waited too long, with the very same request
        linger_s = RETRY_S if "x-stainless-retry-count" in request.headers else 0.0
        asked, ignored = await _asked(taken, names)
        if body.stream_format is not None and asked.format in STREAMABLE:
            return live_answer(await door.stream(asked, request), body.stream_format, body.input, ignored)
        sound = await door.make(asked, request, linger_s=linger_s)
        return answer(sound, body.response_format, body.stream_format, body.input, ignored)

    return Router("/", route_handlers=[speech], exception_handlers=ERRORS)


async def _asked(taken: Taken[SpeechBody], names: Names) -> tuple[AudioRequest, tuple[str, ...]]:
    """Return what is asked for, and the fields that say nothing here."""
    body = taken.body
    model = await names.model(body.model)
    model = await names.voice(body.voice.id if isinstance(body.voice, Voice) else body.voice, model)
    unheard = body.speed != 1.0 and not model.has_speed
    ignored = (*taken.ignored, "speed") if unheard else taken.ignored
    words = body.input
    if body.instructions and model.speech:  # they would be spoken
        ignored = (*ignored, "instructions")
    elif body.instructions:
        words = f"{body.input}, {body.instructions}"
    own = {"prompt": words, "engine": model.engine, "voice": model.voice, "duration_s": body.duration_seconds}
    faster = {"options": {"speed": body.speed} if body.speed != 1.0 and model.has_speed else None}
    return request_of(own, faster, taken.native, rendition_of(body.response_format)), ignored


def rendition_of(response_format: str) -> dict[str, Any]:
    """Return the fields of a request that ask for a format. Raises BadFields."""
    if response_format not in _RENDITIONS:
        allowed = ", ".join(_RENDITIONS)
        raise BadFields(Fault("response_format", f"given {response_format!r:.60}, allowed is one of {allowed}"))
    return _RENDITIONS[response_format]


def answer(
    sound: Sound, response_format: str, stream_format: StreamFormat | None, words: str, ignored: tuple[str, ...]
) -> Response[Any]:
    """Answer with the file, or with events that hold it."""
    if stream_format == "sse":
        return Stream(_events(sound, words), media_type="text/event-stream", headers=headers_with(sound, ignored))
    return bytes_of(sound, ignored=ignored, media_type=_MEDIA_TYPES.get(response_format))


def live_answer(
    sound: LiveSound, stream_format: StreamFormat, words: str, ignored: tuple[str, ...]
) -> Stream | LiveAnswer:
    """Answer with a sound while it is made: its bytes, or events that hold them."""
    if stream_format == "sse":
        headers = {**sound.headers, **ignored_header(ignored)}
        del headers["content-type"]
        return Stream(_live_events(sound, words), media_type="text/event-stream", headers=headers)
    return LiveAnswer(sound, ignored_header(ignored))


async def _events(sound: Sound, words: str) -> AsyncIterator[bytes]:
    for start in range(0, len(sound.data), _CHUNK_BYTES):
        yield _delta(sound.data[start : start + _CHUNK_BYTES])
    yield _done(words)


async def _live_events(sound: LiveSound, words: str) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(sound.parts()) as parts:
        async for part in parts:
            for start in range(0, len(part), _CHUNK_BYTES):
                yield _delta(part[start : start + _CHUNK_BYTES])
    yield _done(words)


def _delta(data: bytes) -> bytes:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})


def _done(words: str) -> bytes:
    tokens = len(words.split())
    usage = {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens}
    return _event({"type": "speech.audio.done", "usage": usage})


def _event(body: dict[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def model_object(name: str) -> Model:
    """Return a model as this API lists it."""
    return Model(id=name)


def _error(error: AudioPoolError, status: int, request_id: str) -> OpenAIError:
    code, param = _CODES.get(error.code, error.code), None
    if isinstance(error, BadFields):
        fault = error.faults[0]
        code, param = "missing_required_parameter" if fault.missing else "invalid_value", fault.name
    elif isinstance(error, UnknownEngine):
        code, param = "model_not_found", "model"
    elif isinstance(error, NotFound | InvalidRequest):
        param = error.message.partition(":")[0] if ":" in error.message[:32] else None
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    return OpenAIError(ErrorDetail(message=message, type=kind, param=param, code=code))


ERRORS = error_handlers(_error, _STATUSES)
