"""``/v1/models``, which two APIs have at the same path: the key's header says whose client asks.

Owns: the routes.
Must not know: anything else of either API.
"""

from __future__ import annotations

from litestar import Response, Router, get
from msgspec import Struct

from audio_pool.gateway.described import Answer
from audio_pool.gateway.dialects import elevenlabs, openai
from audio_pool.gateway.dialects.answers import documented, json_of
from audio_pool.gateway.dialects.names import Names
from audio_pool.gateway.door import Door, HttpRequest

__all__ = ["router"]


class ModelList(Struct, frozen=True, kw_only=True):
    """Models as OpenAI lists them."""

    object: str = "list"
    data: list[openai.Model]


def router(door: Door) -> Router:
    """Return the routes."""
    names = Names(door)

    @get("/v1/models", summary="OpenAI, ElevenLabs: names of models", tags=["OpenAI", "ElevenLabs"], opt=documented(
        openai.OpenAIError,
        Answer(200, "A list; with the header xi-api-key a bare one", ModelList | list[elevenlabs.Model]),
        headers=(("xi-api-key", "ElevenLabs' clients send their key so, and get their own answer"),),
    ))  # fmt: skip
    async def models(request: HttpRequest) -> Response[bytes]:
        known = await names.models()
        if "xi-api-key" in request.headers:
            return json_of([elevenlabs.model_object(name) for name in known])
        return json_of(ModelList(data=[openai.model_object(name) for name in known]))

    @get("/v1/models/{model:path}", summary="OpenAI: one model", tags=["OpenAI"], opt=documented(
        openai.OpenAIError, Answer(200, "It", openai.Model),
    ))  # fmt: skip
    async def model(model: str) -> Response[bytes]:
        name = model.removeprefix("/")
        await names.model(name)
        return json_of(openai.model_object(name))

    return Router("/", route_handlers=[models, model], exception_handlers=openai.ERRORS)
