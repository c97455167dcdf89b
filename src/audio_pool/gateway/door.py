"""What every route needs: the one client of the pool, the settings, and a sound for whoever still waits for it.

Owns: Door and Sound; that a request ends with the connection it came on; the limits of one request; keys' accounts.
Must not know: how any dialect reads a request or writes an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import msgspec
from litestar.handlers import BaseRouteHandler
from msgspec import UNSET, Struct, structs

from audio_pool.api import Health
from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.config import HttpConfig
from audio_pool.errors import AudioPoolError, InvalidRequest, PathNotAllowed, QualityError
from audio_pool.gateway.accounts import Accounts
from audio_pool.gateway.batch_jobs import BatchJobs
from audio_pool.gateway.callers import HttpCaller
from audio_pool.gateway.http_request import Connection, HttpRequest, caller_of, request_id_of, while_connected
from audio_pool.gateway.keyring import Keyring
from audio_pool.gateway.live_jobs import LiveJobs
from audio_pool.gateway.live_sound import LiveSound
from audio_pool.gateway.memory import FileMemory
from audio_pool.gateway.problems import ClientGone
from audio_pool.gateway.ready_files import ReadyFiles
from audio_pool.gateway.tally import HttpTally
from audio_pool.gateway.told import public
from audio_pool.gateway.webhooks import Webhooks
from audio_pool.pending import Pending
from audio_pool.results import AudioResult, Chunk, SoundMetadata
from audio_pool.sound_stream import SoundStream
from audio_pool.types import AudioRequest

__all__ = ["Door", "HttpRequest", "Sound"]

T = TypeVar("T")

_REACH_S = 3.0
"""A pool that has gone is waited for so long: it may be about to be back."""
_OF_THE_GATEWAY = "/schema"
"""What is answered without a pool."""


class Sound(Struct, frozen=True, kw_only=True):
    """A finished sound as it goes out over HTTP: its bytes, and metadata that name no path."""

    request_id: str
    data: bytes
    metadata: SoundMetadata


class Door:
    """One gateway's state.

    Args:
        connect: makes a client of the pool.
        settings: of ``[http]``.
        keyring: None: there are no keys, and only this machine gets in.
    """

    def __init__(
        self, connect: Callable[[], AsyncAudioClient], settings: HttpConfig, keyring: Keyring | None = None
    ) -> None:
        self._accounts = Accounts(connect, keyring)
        self.client = self._accounts.client
        """For questions, and for sounds where there are no keys."""
        self.settings = settings
        self.services: dict[int, str] = {}
        """By port, the services that are bound."""
        self.tally = HttpTally()
        self._reaching: dict[AsyncAudioClient, asyncio.Future[Health]] = {}
        self.jobs = LiveJobs(self)
        self.batches = BatchJobs(self, settings.max_count)
        self.webhooks = Webhooks(settings)
        self.ready_files = ReadyFiles(settings.memory_bytes // 2)
        self._memory = FileMemory(settings.memory_bytes // 2)

    async def close(self) -> None:
        """Close every connection to the pool."""
        await self.webhooks.close()
        await self.batches.close()
        await self.jobs.close()
        await self._accounts.close()

    @property
    def clients(self) -> tuple[AsyncAudioClient, ...]:
        """Every connection to the pool."""
        return self._accounts.clients

    @property
    def has_keys(self) -> bool:
        """True where a key must be shown."""
        return self._accounts.has_keys

    async def admit(self, http: Connection, handler: BaseRouteHandler) -> None:
        """Before any route: know who asks, and that there is a pool to ask. Litestar's guard.

        Raises:
            Unauthenticated: no key that is known.
            TooMany: its requests of this minute are used up.
            Disconnected: the pool cannot be reached.
        """
        if handler.opt.get("public"):
            return
        if self.has_keys:
            given = http.headers.get("authorization", ""), http.headers.get("xi-api-key", "")
            http.scope["state"]["caller"] = self._accounts.admit(*given)
        if not http.scope["path"].startswith(_OF_THE_GATEWAY):
            await self._reach(self.client_of(http.scope["state"]["caller"]))

    async def _reach(self, client: AsyncAudioClient) -> None:
        """Return if the pool is there, or comes soon; many may wait for it, and one question is asked."""
        if client.connected:
            return
        reaching = self._reaching.get(client)
        if reaching is None:
            reaching = self._reaching[client] = asyncio.ensure_future(client.health(timeout_s=_REACH_S))
            reaching.add_done_callback(lambda done: self._reached(client, done))
        await asyncio.shield(reaching)

    def _reached(self, client: AsyncAudioClient, done: asyncio.Future[Health]) -> None:
        del self._reaching[client]
        if not done.cancelled():
            done.exception()  # whoever waited has it

    def caller(self, http: HttpRequest) -> HttpCaller:
        """Return who asks, as the guard recognised it."""
        return caller_of(http)

    def service_named(self, http: HttpRequest) -> str | None:
        """Return which of ``[http.services]`` the address is that a request came to; None: none, the door's own."""
        server = http.scope.get("server")
        return self.services.get(int(server[1] or 0)) if server else None

    def request_id(self, http: HttpRequest) -> str:
        """Return this HTTP request's id: the ``x-request-id`` of its answer, and the pool's name for its sound."""
        return request_id_of(http)

    def _next_name(self, http: HttpRequest) -> str:
        """Return the pool's name of a request's next sound: the first has the HTTP request's own."""
        state = http.scope["state"]
        number = state["sounds"] = state.get("sounds", 0) + 1
        return self.request_id(http) if number == 1 else f"{self.request_id(http)}.{number}"

    async def make(
        self,
        request: AudioRequest,
        http: HttpRequest,
        *,
        init_audio: bytes = b"",
        timeout_s: float | None = None,
        linger_s: float = 0.0,
    ) -> Sound:
        """Make or find a sound. Where the HTTP client goes away first, the pool stops working for it.

        Args:
            request: from ``as_request``; its namespace is checked against the caller's, its delivery is inline.
            init_audio: the file of a sound to start from, where one came with the request.
            timeout_s: longest wait; never more than the configured one.
            linger_s: so long the pool works on for a client that went away: one that comes back with the same request
                then joins what it began, or finds it.

        Raises:
            AudioPoolError: what it came to instead; problems.py says which status that is.
            ClientGone: nobody waits any more.
        """
        asked, caller = self.admitted(request, http), self.caller(http)
        if asked.keep_candidates:
            raise InvalidRequest("keep_candidates: given where nobody could hear them; ask POST /v1/sounds for them")
        limit_s = min(self.settings.timeout_s, timeout_s or self.settings.timeout_s)

        name = self._next_name(http)

        key = msgspec.msgpack.encode(asked)
        path, data = ("", b"") if init_audio else self._memory.find(key)

        async def made() -> AudioResult:
            async with self.turn(caller):
                pending = self.client_of(caller).submit(
                    asked, timeout_s=limit_s, request_id=name, init_audio=init_audio or None, known=path
                )
                result = await pending.wait_async()
                if pending.upgraded is not None:
                    result = await self._going_on(result, asked, pending.upgraded, caller)
                if result.data is None and path and result.path == path:
                    return structs.replace(result, data=data)
                if result.data is not None and asked.store and not init_audio:
                    self._memory.keep(key, result.path, result.data)
                return result

        if not linger_s:
            return _noted(http, sound_of(await self.while_connected(http, made())))
        work = asyncio.ensure_future(made())
        try:
            return _noted(http, sound_of(await self.while_connected(http, asyncio.shield(work))))
        except ClientGone:
            self._accounts.close_later(_ended(work, linger_s))
            raise
        except BaseException:
            work.cancel()
            raise

    async def _going_on(
        self, first: AudioResult, asked: AudioRequest, better: Pending, caller: HttpCaller
    ) -> AudioResult:
        """Have a better sound made as a job of the caller's; return the first result, which names that job."""
        told = first.metadata
        try:
            told = structs.replace(told, upgrade_id=await self.jobs.go_on(asked, better, caller))
        except AudioPoolError as exc:
            warning = f"no_upgrade: {exc.message}"
            told = structs.replace(told, upgrade_id=UNSET, warnings=(*told.warnings, warning))
        return structs.replace(first, metadata=told)

    async def stream(self, request: AudioRequest, http: HttpRequest, *, init_audio: bytes = b"") -> LiveSound:
        """Have a sound made; return once its first chunk is there. Where the HTTP client goes away, it is cancelled.

        Args:
            request: from ``as_request``; its format is wav or pcm, or none.

        Raises:
            AudioPoolError, ClientGone: as ``make``.
        """
        asked = structs.replace(self.admitted(request, http), delivery="path", format=request.format or "wav")
        caller, name = self.caller(http), self._next_name(http)
        turn = self.turn(caller)
        await self.while_connected(http, turn.__aenter__())

        def leave(result: AudioResult | None) -> None:
            if result is not None:
                http.scope["state"]["answered"] = result.metadata.engine, result.metadata.cache_type
            self._accounts.close_later(_left(turn))

        stream: SoundStream | None = None
        try:
            stream = self.client_of(caller).stream(
                asked, timeout_s=self.settings.timeout_s, request_id=name, init_audio=init_audio or None
            )
            first = await self.while_connected(http, _first(stream))
            return LiveSound(stream, first, asked, leave)
        except BaseException:
            if stream is not None:
                stream.close()
            leave(None)
            raise

    def stands(self, caller: HttpCaller) -> bool:
        """Return whether a caller that was admitted would be so now: what has no end is told no longer than that."""
        return self._accounts.stands(caller)

    def turn(self, caller: HttpCaller) -> AbstractAsyncContextManager[None]:
        """Return what waits for, and holds, a place of the caller's to make a sound in. Raises TooMany."""
        return self._accounts.turn(caller)

    def take(self, caller: HttpCaller) -> Callable[[], None]:
        """Count a sound that the pool is asked for at once; return what ends it. Raises TooMany."""
        return self._accounts.take(caller)

    def client_of(self, caller: HttpCaller) -> AsyncAudioClient:
        """Return the connection that a caller's sounds are asked on: to the pool each key is a client of its own."""
        return self._accounts.client_of(caller)

    def admitted(self, request: AudioRequest, http: HttpRequest) -> AudioRequest:
        """Return what the pool is asked for this request.

        Raises:
            Refused: the namespace is not the caller's.
            PathNotAllowed: it names a file of the server's.
            InvalidRequest: it asks for more than the configuration allows.
        """
        http.scope["state"]["asked"] = True
        for name, value in (("output_path", request.output_path), ("init_audio", request.init_audio)):
            if value is not None:
                raise PathNotAllowed(f"{name}: over HTTP no path on the server can be named", hint="leave it out")
        longest_s = self.settings.max_duration_s
        if request.duration_s is not None and request.duration_s > longest_s:
            raise InvalidRequest(f"duration_s: given {request.duration_s:g}, allowed is at most {longest_s:g} here")
        named = None if request.namespace == "default" else request.namespace
        namespace = self.caller(http).namespace_of(named)
        return structs.replace(request, namespace=namespace, delivery="inline")

    async def while_connected(self, http: HttpRequest, work: Awaitable[T]) -> T:
        """Return what ``work`` comes to; end it when the HTTP client goes away. Raises ClientGone."""
        return await while_connected(http, work)


def _noted(http: HttpRequest, sound: Sound) -> Sound:
    """Note with a request what it was answered with, for whoever counts it."""
    http.scope["state"]["answered"] = sound.metadata.engine, sound.metadata.cache_type
    return sound


async def _first(stream: SoundStream) -> Chunk:
    async for chunk in stream:
        return chunk
    raise QualityError("the sound has no samples")


async def _left(turn: AbstractAsyncContextManager[None]) -> None:
    await turn.__aexit__(None, None, None)


async def _ended(work: asyncio.Future[AudioResult], within_s: float) -> None:
    """Let work go on for so long that nobody waits for, and end it."""
    await asyncio.wait((work,), timeout=within_s)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def sound_of(result: AudioResult) -> Sound:
    """Return a result without the server's paths."""
    assert result.data is not None, "the pool was asked for inline delivery"
    return Sound(request_id=result.request_id, data=result.data, metadata=public(result.metadata))

