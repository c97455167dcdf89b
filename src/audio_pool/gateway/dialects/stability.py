"""Stability's ``/v2beta/audio/stable-audio-2``: forms in, bytes or JSON out.

Owns: those requests, answers and errors.
Must not know: how a sound is made.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from litestar import Response, Router, post
from litestar.datastructures import UploadFile
from msgspec import Meta, Struct, structs

from audio_pool.errors import AudioPoolError
from audio_pool.gateway.dialects.answers import FILE, bytes_of, documented, error_handlers, json_of, request_of
from audio_pool.gateway.dialects.fields import BadFields, Fault, Taken, read_form, take
from audio_pool.gateway.dialects.names import Names
from audio_pool.gateway.door import Door, HttpRequest, Sound
from audio_pool.types import AudioRequest, Prompt

__all__ = ["router"]

_PATH = "/v2beta/audio/stable-audio-2"
_DONE = "SUCCESS"
_NAMES = {400: "bad_request", 401: "unauthorized", 403: "permission_denied", 404: "not_found", 413: "payload_too_large",
          422: "invalid_prompts", 429: "rate_limit_exceeded"}  # fmt: skip


class TextBody(Struct, frozen=True, kw_only=True):
    """A sound in words. Fields of our own API may stand beside these."""

    prompt: Prompt
    duration: Annotated[float, Meta(ge=1.0, le=190.0)] | None = None
    """None: the pool's default length."""
    seed: Annotated[int, Meta(ge=0, le=4_294_967_294)] = 0
    """0: any."""
    steps: Annotated[int, Meta(ge=4, le=100)] | None = None
    cfg_scale: Annotated[float, Meta(ge=1.0, le=25.0)] | None = None
    model: str = "stable-audio-2"
    output_format: Literal["mp3", "wav"] = "mp3"


class AudioBody(TextBody, frozen=True, kw_only=True):
    """A sound to start from, and words."""

    strength: Annotated[float, Meta(ge=0.01, le=1.0)] = 1.0
    """0.01 keeps nearly all of it, 1 nothing."""


class AudioForm(AudioBody, frozen=True, kw_only=True):
    """All of that form, its file too."""

    audio: bytes


class InpaintBody(TextBody, frozen=True, kw_only=True):
    """A sound of which a part is made anew, and words."""

    mask_start: Annotated[float, Meta(ge=0.0, le=190.0)] = 30.0
    mask_end: Annotated[float, Meta(ge=0.0, le=190.0)] | None = None
    """None: ``duration``."""


class InpaintForm(InpaintBody, frozen=True, kw_only=True):
    """All of that form, its file too."""

    audio: bytes


class StabilityError(Struct, frozen=True, kw_only=True):
    """An error of this API."""

    id: str
    name: str
    errors: list[str]


def router(door: Door) -> Router:
    """Return the routes."""
    names = Names(door)
    tags = ["Stability"]

    @post(f"{_PATH}/text-to-audio", status_code=200, summary="Stability: make a sound", tags=tags, opt=documented(
        StabilityError, FILE, form=TextBody,
    ))  # fmt: skip
    async def text_to_audio(request: HttpRequest) -> Response[bytes]:
        taken = take(TextBody, await read_form(request), texts=True)
        return _answer(await door.make(await _asked(taken, names), request), request, taken.ignored)

    @post(f"{_PATH}/audio-to-audio", status_code=200, summary="Stability: start from one", tags=tags, opt=documented(
        StabilityError, FILE, form=AudioForm,
    ))  # fmt: skip
    async def audio_to_audio(request: HttpRequest) -> Response[bytes]:
        fields, start = await _form(request)
        taken = take(AudioBody, fields, texts=True)
        asked = structs.replace(await _asked(taken, names), init_strength=taken.body.strength)
        sound = await door.make(asked, request, init_audio=start)
        return _answer(sound, request, taken.ignored)

    @post(f"{_PATH}/inpaint", status_code=200, summary="Stability: make a part anew", tags=tags, opt=documented(
        StabilityError, FILE, form=InpaintForm,
    ))  # fmt: skip
    async def inpaint(request: HttpRequest) -> Response[bytes]:
        fields, start = await _form(request)
        taken = take(InpaintBody, fields, texts=True)
        end = taken.body.duration if taken.body.mask_end is None else taken.body.mask_end
        if end is None:
            raise BadFields(Fault("mask_end", "is missing, and duration, which would say it", missing=True))
        asked = structs.replace(await _asked(taken, names), mask_start_s=taken.body.mask_start, mask_end_s=end)
        sound = await door.make(asked, request, init_audio=start)
        return _answer(sound, request, taken.ignored)

    return Router("/", route_handlers=[text_to_audio, audio_to_audio, inpaint], exception_handlers=ERRORS)


async def _form(request: HttpRequest) -> tuple[dict[str, Any], bytes]:  # Any: values before they are checked
    """Return a form's fields, and its file."""
    fields = await read_form(request)
    file = fields.pop("audio", None)
    if not isinstance(file, UploadFile):
        raise BadFields(Fault("audio", "is missing", missing=True))
    start = await file.read()
    if not start:
        raise BadFields(Fault("audio", "is an empty file"))
    return fields, start


async def _asked(taken: Taken[TextBody] | Taken[AudioBody] | Taken[InpaintBody], names: Names) -> AudioRequest:
    body = taken.body
    own = {
        "prompt": body.prompt,
        "duration_s": body.duration,
        "seed": body.seed or None,
        "steps": body.steps,
        "guidance_scale": body.cfg_scale,
        "engine": (await names.model(body.model)).engine,
        "format": body.output_format,
    }
    return request_of(own, taken.native)


def _answer(sound: Sound, request: HttpRequest, ignored: tuple[str, ...]) -> Response[bytes]:
    seed = sound.metadata.base_seed or 0
    if "application/json" not in request.headers.get("accept", ""):
        return bytes_of(sound, ignored=ignored, finish_reason=_DONE, seed=str(seed))
    return json_of({"audio": base64.b64encode(sound.data).decode(), "finish_reason": _DONE, "seed": seed})


def _error(error: AudioPoolError, status: int, request_id: str) -> StabilityError:
    name = _NAMES.get(status, "internal_error" if status >= 500 else "bad_request")
    faults = [f"{fault.name}: {fault.message}" for fault in error.faults] if isinstance(error, BadFields) else []
    return StabilityError(id=request_id, name=name, errors=faults or [error.message])


ERRORS = error_handlers(_error, {"bad_request": 400, "unknown_engine": 400})
