"""What every route needs: the one client of the pool, the settings, and a sound for whoever still waits for it.

Owns: Door and Sound; that a request ends with the connection it came on; the limits of one request.
Must not know: how any dialect reads a request or writes an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from litestar import Request
from litestar.datastructures import State
from msgspec import Struct, structs

from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.client.control import new_request_id
from audio_pool.config import HttpConfig
from audio_pool.errors import InvalidRequest, PathNotAllowed
from audio_pool.gateway.callers import HttpCaller
from audio_pool.gateway.problems import ClientGone
from audio_pool.pending import Pending
from audio_pool.results import AudioResult, SoundMetadata
from audio_pool.types import AudioRequest

__all__ = ["Door", "HttpRequest", "Sound"]

T = TypeVar("T")
HttpRequest = Request[Any, Any, State]
"""Litestar's, whose user and session this product has no use for."""


class Sound(Struct, frozen=True, kw_only=True):
    """A finished sound as it goes out over HTTP: its bytes, and metadata that name no path."""

    request_id: str
    data: bytes
    metadata: SoundMetadata


class Door:
    """One gateway's state.

    Args:
        client: of the pool; made within the loop that it is used in.
        settings: of ``[http]``.
    """

    def __init__(self, client: AsyncAudioClient, settings: HttpConfig) -> None:
        self.client = client
        self.settings = settings

    def caller(self, http: HttpRequest) -> HttpCaller:
        """Return who asks, as the guard recognised it."""
        caller: HttpCaller = http.scope["state"]["caller"]
        return caller

    def request_id(self, http: HttpRequest) -> str:
        """Return this HTTP request's id: the ``x-request-id`` of its answer, and the pool's name for its sound."""
        return str(http.scope["state"]["request_id"])

    async def make(self, request: AudioRequest, http: HttpRequest, *, timeout_s: float | None = None) -> Sound:
        """Make or find a sound. Where the HTTP client goes away first, the pool stops working for it.

        Args:
            request: from ``as_request``; its namespace is checked against the caller's, its delivery is inline.
            timeout_s: longest wait; never more than the configured one.

        Raises:
            AudioPoolError: what it came to instead; problems.py says which status that is.
            ClientGone: nobody waits any more.
        """
        asked = self.admitted(request, http)
        pending = self.submit(asked, http, timeout_s=timeout_s)
        return sound_of(await self.while_connected(http, pending.wait_async()))

    def submit(
        self, request: AudioRequest, http: HttpRequest, *, events: bool = False, timeout_s: float | None = None
    ) -> Pending:
        """Ask the pool for a sound that was admitted, and return at once."""
        return self.client.submit(
            request,
            events=events,
            timeout_s=min(self.settings.timeout_s, timeout_s or self.settings.timeout_s),
            request_id=new_request_id(),
        )

    def admitted(self, request: AudioRequest, http: HttpRequest) -> AudioRequest:
        """Return what the pool is asked for this request.

        Raises:
            Refused: the namespace is not the caller's.
            PathNotAllowed: it names a file of the server's.
            InvalidRequest: it asks for more than the configuration allows.
        """
        for name, value in (("output_path", request.output_path), ("init_audio", request.init_audio)):
            if value is not None:
                raise PathNotAllowed(f"{name}: over HTTP no path on the server can be named", hint="leave it out")
        longest_s = self.settings.max_duration_s
        if request.duration_s is not None and request.duration_s > longest_s:
            raise InvalidRequest(f"duration_s: given {request.duration_s:g}, allowed is at most {longest_s:g} here")
        namespace = self.caller(http).namespace_of(request.namespace)
        return structs.replace(request, namespace=namespace, delivery="inline")

    async def while_connected(self, http: HttpRequest, work: Awaitable[T]) -> T:
        """Return what ``work`` comes to; end it when the HTTP client goes away. The body must have been read.

        Raises:
            ClientGone: it went away first.
        """
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_gone(http))
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise ClientGone("the client closed the connection")
        finally:
            task.cancel()
            gone.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)


def sound_of(result: AudioResult) -> Sound:
    """Return a result without the server's paths."""
    assert result.data is not None, "the pool was asked for inline delivery"
    return Sound(request_id=result.request_id, data=result.data, metadata=result.metadata)


async def _gone(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


