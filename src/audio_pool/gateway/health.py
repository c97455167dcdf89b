"""``GET /health``: that the gateway runs.

Owns: the route.
Must not know: the pool's own state, which /v1/health tells.
"""

from __future__ import annotations

from litestar import Router, get
from msgspec import Struct

from audio_pool import __version__
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.door import Door, HttpRequest

__all__ = ["router"]


class Alive(Struct, frozen=True, kw_only=True):
    """The gateway runs."""

    status: str
    service: str
    version: str


def router(door: Door) -> Router:
    """Return the route."""

    @get("/health", summary="Say that the gateway runs", opt={
        "public": True, **described(Answer(200, "It runs", Alive)),
    })  # fmt: skip
    async def health(request: HttpRequest) -> Alive:
        return Alive(status="ok", service=door.service_named(request) or "audio_pool", version=__version__)

    return Router("/", route_handlers=[health])
