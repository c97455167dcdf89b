"""Hugging Face's inference API: ``/hf/MODEL``, for an InferenceClient with that address as its model.

Owns: that request, answer and error.
Must not know: how a sound is made.
"""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, post
from msgspec import Struct

from audio_pool.errors import AudioPoolError
from audio_pool.gateway.dialects.answers import FILE, bytes_of, documented, error_handlers, request_of
from audio_pool.gateway.dialects.fields import read_json, take
from audio_pool.gateway.dialects.names import DEFAULT_MODEL, Names
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.types import Duration, Prompt, Steps

__all__ = ["router"]


class InferenceBody(Struct, frozen=True, kw_only=True):
    """What an InferenceClient sends."""

    inputs: Prompt
    parameters: dict[str, Any] = {}  # opaque until it is read as Parameters


class Parameters(Struct, frozen=True, kw_only=True):
    """How it is to be made. Fields of our own API may stand beside these."""

    audio_length_in_s: Duration | None = None
    num_inference_steps: Steps | None = None


class HuggingFaceError(Struct, frozen=True):
    """An error of this API."""

    error: str


def router(door: Door) -> Router:
    """Return the route."""
    names = Names(door)

    @post(["/hf", "/hf/{model:path}"], status_code=200, summary="Hugging Face: make a sound",
          tags=["Hugging Face"], opt=documented(HuggingFaceError, FILE, body=InferenceBody))  # fmt: skip
    async def infer(request: HttpRequest, model: str = DEFAULT_MODEL) -> Response[bytes]:
        body = take(InferenceBody, await read_json(request)).body
        taken = take(Parameters, body.parameters)
        told = taken.body
        own = {
            "prompt": body.inputs,
            "engine": (await names.model(model.strip("/"))).engine,
            "duration_s": told.audio_length_in_s,
            "steps": told.num_inference_steps,
        }
        sound = await door.make(request_of({"format": "flac"}, own, taken.native), request)
        return bytes_of(sound, ignored=taken.ignored)

    return Router("/", route_handlers=[infer], exception_handlers=ERRORS)


def _error(error: AudioPoolError, status: int, request_id: str) -> HuggingFaceError:
    return HuggingFaceError(error.message)


ERRORS = error_handlers(_error, {"unknown_engine": 404})
