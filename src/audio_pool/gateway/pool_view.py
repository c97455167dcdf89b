"""``/v1/engines``, ``/v1/status``, ``/v1/health``, ``/v1/explain``: the pool as its callers may see it.

Owns: the routes.
Must not know: how the pool comes by its answers, what is left out of them (told.py).
"""

from __future__ import annotations

import msgspec
from litestar import Response, Router, get, post

from audio_pool.api import EngineReport, Engines, Explanation, Health, PoolStatus
from audio_pool.errors import NotFound, nearest_name
from audio_pool.gateway.asked import SOUND_BODY, asked_of
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.sound_report import json_response
from audio_pool.gateway.told import public_health, public_status, without_paths

__all__ = ["router"]

_TAGS = ["Pool"]


def router(door: Door) -> Router:
    """Return the routes."""

    @get("/v1/engines", summary="List the engines that can be asked for", tags=_TAGS, opt=described(
        Answer(200, "What each can do, its options and voices, and whether it is ready", Engines),
    ))  # fmt: skip
    async def engines(request: HttpRequest) -> Response[bytes]:
        found = await door.client_of(door.caller(request)).engines()
        return json_response(Engines(engines=tuple(_told(engine) for engine in found.engines), default=found.default))

    @get("/v1/engines/{name:str}", summary="Tell of one engine", tags=_TAGS, opt=described(
        Answer(200, "What it can do", EngineReport),
    ))  # fmt: skip
    async def engine(request: HttpRequest, name: str) -> Response[bytes]:
        found = {one.name: one for one in (await door.client_of(door.caller(request)).engines()).engines}
        if name not in found:
            near = nearest_name(name, found)
            hint = f"did you mean {near!r}?" if near else "GET /v1/engines lists them"
            raise NotFound(f"there is no engine {name!r:.80}", hint=hint)
        return json_response(_told(found[name]))

    @get("/v1/status", summary="Tell what the pool is doing", tags=_TAGS, opt=described(
        Answer(200, "Requests, workers, counters", PoolStatus),
    ))  # fmt: skip
    async def status(request: HttpRequest) -> Response[bytes]:
        caller = door.caller(request)
        found = await door.client_of(caller).status()
        return json_response(public_status(found, discreet=not caller.operator))

    @get("/v1/health", summary="Tell whether a sound could be made now", tags=_TAGS, opt=described(
        Answer(200, "State, reasons, engines", Health),
    ))  # fmt: skip
    async def health(request: HttpRequest) -> Response[bytes]:
        caller = door.caller(request)
        found = await door.client_of(caller).health()
        return json_response(public_health(found, discreet=not caller.operator))

    @post("/v1/explain", status_code=200, summary="Tell why a request would hit or miss", tags=_TAGS, opt=described(
        Answer(200, "What would be offered, what came near, and why", Explanation), body=SOUND_BODY,
    ))  # fmt: skip
    async def explain(request: HttpRequest) -> Response[bytes]:
        asked, caller = door.admitted((await asked_of(request)).request, request), door.caller(request)
        everywhere = caller.operator and caller.namespace is None
        told = door.client_of(caller).explain(asked, across_namespaces=everywhere)
        return json_response(await door.while_connected(request, told))

    return Router("/", route_handlers=[engines, engine, status, health, explain])


def _told(engine: EngineReport) -> EngineReport:
    """Return an engine without the paths of the server's files."""
    plain = msgspec.to_builtins(engine)
    return msgspec.convert(_without_paths(plain), EngineReport)


def _without_paths(value: object) -> object:
    if isinstance(value, str):
        return without_paths(value)
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items()}
    return [_without_paths(item) for item in value] if isinstance(value, list | tuple) else value
