"""``/v1/models``, which two APIs have at the same path: the key's header says whose client asks.

Owns: the routes.
Must not know: anything else of either API.
"""

from __future__ import annotations

from litestar import Response, Router, get

from audio_pool.gateway.dialects import elevenlabs, openai
from audio_pool.gateway.dialects.answers import json_of
from audio_pool.gateway.dialects.names import Names
from audio_pool.gateway.door import Door, HttpRequest

__all__ = ["router"]


def router(door: Door) -> Router:
    """Return the routes."""
    names = Names(door)

    @get("/v1/models", summary="OpenAI, ElevenLabs: names of models", tags=["OpenAI", "ElevenLabs"])
    async def models(request: HttpRequest) -> Response[bytes]:
        known = await names.models()
        if "xi-api-key" in request.headers:
            return json_of([elevenlabs.model_object(name) for name in known])
        return json_of({"object": "list", "data": [openai.model_object(name) for name in known]})

    @get("/v1/models/{model:path}", summary="OpenAI: one model", tags=["OpenAI"])
    async def model(model: str) -> Response[bytes]:
        name = model.removeprefix("/")
        await names.model(name)
        return json_of(openai.model_object(name))

    return Router("/", route_handlers=[models, model], exception_handlers=openai.ERRORS)
