"""vLLM-Omni's ``/v1/audio/generate``.

Owns: that request. Its answers and errors are OpenAI's (openai.py).
Must not know: how a sound is made.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, Router, post
from msgspec import Meta, Struct

from audio_pool.errors import NotSupported
from audio_pool.gateway.dialects.answers import STREAMED, documented, request_of
from audio_pool.gateway.dialects.fields import read_json, take
from audio_pool.gateway.dialects.names import Names
from audio_pool.gateway.dialects.openai import ERRORS, OpenAIError, StreamFormat, answer, live_answer, rendition_of
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.types import STREAMABLE, Duration, Prompt, Steps

__all__ = ["router"]


class GenerateBody(Struct, frozen=True, kw_only=True):
    """A sound to make. Fields of our own API may stand beside these."""

    input: Prompt
    model: str | None = None
    """None: the pool's default engine."""
    response_format: str = "wav"
    speed: Annotated[float, Meta(ge=0.25, le=4.0)] = 1.0
    audio_length: Duration | None = None
    """Seconds."""
    audio_start: Annotated[float, Meta(ge=0.0)] = 0.0
    num_inference_steps: Steps | None = None
    stream_format: StreamFormat | None = None
    """Given, and with wav or pcm: the sound is sent while it is made."""


def router(door: Door) -> Router:
    """Return the route."""
    names = Names(door)

    @post("/v1/audio/generate", status_code=200, summary="vLLM-Omni: make a sound", tags=["vLLM-Omni"], opt=documented(
        OpenAIError, STREAMED, body=GenerateBody,
    ))  # fmt: skip
    async def generate(request: HttpRequest) -> Response[Any]:
        taken = take(GenerateBody, await read_json(request))
        body = taken.body
        if body.audio_start:
            raise NotSupported("audio_start: every sound begins at its start here; leave it out, or give 0")
        own = {
            "prompt": body.input,
            "engine": (await names.model(body.model)).engine,
            "duration_s": body.audio_length,
            "steps": body.num_inference_steps,
        }
        asked = request_of(own, taken.native, rendition_of(body.response_format))
        ignored = (*taken.ignored, "speed") if body.speed != 1.0 else taken.ignored
        if body.stream_format is not None and asked.format in STREAMABLE:
            return live_answer(await door.stream(asked, request), body.stream_format, body.input, ignored)
        sound = await door.make(asked, request)
        return answer(sound, body.response_format, body.stream_format, body.input, ignored)

    return Router("/", route_handlers=[generate], exception_handlers=ERRORS)
