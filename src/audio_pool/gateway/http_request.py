"""A request over HTTP: who sent it, under which id, and whether anybody still waits for its answer.

Owns: the framework's types as this product uses them; what the guard has noted of a request; ``while_connected``.
Must not know: routes, the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State

from audio_pool.gateway.callers import HttpCaller
from audio_pool.gateway.problems import ClientGone

__all__ = ["ENDLESS", "Connection", "HttpRequest", "caller_of", "header_of", "request_id_of", "while_connected"]

T = TypeVar("T")
ENDLESS = "endless"
"""Set in a request's state, it says that its answer has no end of its own: the gateway's end cuts it."""
_SOON_S = 0.005
"""What is there within this is answered whoever has gone: to watch a client costs as much as a hit."""
# Any: users and sessions of the framework, which this product has no use for
Connection = ASGIConnection[Any, Any, Any, State]
HttpRequest = Request[Any, Any, State]


def caller_of(http: HttpRequest) -> HttpCaller:
    """Return who asks, as the guard recognised it."""
    caller: HttpCaller = http.scope["state"]["caller"]
    return caller


def request_id_of(http: HttpRequest) -> str:
    """Return the ``x-request-id`` of the answer."""
    return str(http.scope["state"]["request_id"])


def header_of(http: HttpRequest, name: bytes) -> str:
    """Return a header by its name in lower case; "": there is none. The framework makes all into objects each time."""
    return next((value.decode("latin-1") for given, value in http.scope["headers"] if given == name), "")


async def while_connected(http: HttpRequest, work: Awaitable[T]) -> T:
    """Return what ``work`` comes to; end it when the HTTP client goes away. The body must have been read.

    Raises:
        ClientGone: it went away first.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,), timeout=_SOON_S)
        if task.done():
            return task.result()
        return await _before_it_goes(http, task)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _before_it_goes(http: HttpRequest, task: asyncio.Future[T]) -> T:
    gone = asyncio.ensure_future(_gone(http))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone("the client closed the connection")
    finally:
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)


async def _gone(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
