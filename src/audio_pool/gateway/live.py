"""``/v1/live``: the pool as it is, second by second, for those who watch it; and a sound of anybody's stopped.

Owns: the routes.
Must not know: what is seen (pool_look.py), how often the pool is asked (pool_watch.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
from litestar import Response, Router, delete, get
from litestar.response import ServerSentEvent
from litestar.response.sse import ServerSentEventMessage

from audio_pool.api import Cancellation
from audio_pool.errors import NotFound, Refused
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.http_request import ENDLESS
from audio_pool.gateway.pool_look import PoolLook
from audio_pool.gateway.pool_watch import PoolWatch
from audio_pool.gateway.sound_report import json_response

__all__ = ["router"]

_RETRY_MS = 1000
_TAGS = ["Pool"]


def router(door: Door) -> Router:
    """Return the routes."""
    watch = PoolWatch(door.client)

    @get("/v1/live", summary="Tell what the pool is doing, and how fast it is", tags=_TAGS, opt=described(
        Answer(200, "Workers, cards, queue, hits, times, last errors", PoolLook),
    ))  # fmt: skip
    async def look(request: HttpRequest) -> Response[bytes]:
        return json_response(await watch.look(discreet=not door.caller(request).operator))

    @get("/v1/live/events", summary="Watch what the pool is doing", tags=_TAGS, opt=described(
        Answer(200, "Events `look`, once a second: first all of /v1/live, then the fields that have changed",
               media=("text/event-stream",)),
    ))  # fmt: skip
    async def events(request: HttpRequest) -> ServerSentEvent:
        request.scope["state"][ENDLESS] = True
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        caller = door.caller(request)
        told = _messages(watch, discreet=not caller.operator, stands=lambda: door.stands(caller))
        return ServerSentEvent(told, headers=headers)

    @delete("/v1/live/{request_id:str}", status_code=200, summary="Stop anybody's sound", tags=_TAGS, opt=described(
        Answer(200, "It ends as cancelled", Cancellation),
    ))  # fmt: skip
    async def cancel(request: HttpRequest, request_id: str) -> Response[bytes]:
        if not door.caller(request).operator:
            raise Refused("only an operator's key may stop what others asked for", hint="DELETE /v1/jobs/{id}")
        for client in door.clients:  # a durable job may be stopped by the connection alone that it came by
            told = await client.cancel(request_id)
            if told.cancelled:
                return json_response(told)
        raise NotFound(f"nothing is under way as {request_id!r:.80}", hint="it may have ended meanwhile")

    return Router("/", route_handlers=[look, events, cancel])


async def _messages(
    watch: PoolWatch, *, discreet: bool, stands: Callable[[], bool]
) -> AsyncIterator[ServerSentEventMessage]:
    """Yield what is seen for as long as whoever looks may: a key that is revoked, or loses rights, has to ask anew."""
    yield ServerSentEventMessage(data=None, retry=_RETRY_MS)
    async for change in watch.changes(discreet=discreet):
        if not stands():
            return
        yield ServerSentEventMessage(event="look", data=msgspec.json.encode(change))
