"""AsyncAudioClient: a served pool for asyncio.

Owns: the readers and the timer in the event loop that drive the session.
Must not know: what messages look like (session.py), how a connection is kept (connection.py), the pool's inside.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from audio_pool.api import (
    Asked,
    OnEvent,
    OnUpgrade,
    as_request,
    variant_requests,
)
from audio_pool.client import control
from audio_pool.client.addresses import Addresses, parse_addresses
from audio_pool.client.connection import Connection, Keys
from audio_pool.client.control import FETCH_WAIT_S, RECONNECT_S, Question
from audio_pool.client.heads import Heads, connect
from audio_pool.client.questions import AsyncClientQuestions
from audio_pool.client.roaming import Order
from audio_pool.client.session import ClientSession, check_request_id, new_request_id
from audio_pool.errors import AudioPoolError, Disconnected, PoolClosed, Timeout
from audio_pool.init_audio import split_sent
from audio_pool.pending import Pending, wait_all_async
from audio_pool.results import AudioResult
from audio_pool.tracing import asked_traceparent
from audio_pool.transport.sockets import Channel
from audio_pool.types import Delivery

__all__ = ["AsyncAudioClient"]

T = TypeVar("T")


class AsyncAudioClient(AsyncClientQuestions):
    """As AudioClient, for one event loop: the one it is first used in. Takes the same arguments."""

    def __init__(
        self,
        endpoint: Addresses = None,
        *,
        timeout_s: float = 300.0,
        keys: Keys = None,
        resume: bool = False,
        order: Order = "random",
    ) -> None:
        self._addresses = parse_addresses(endpoint)
        self.timeout_s = timeout_s
        moves = len(self._addresses) > 1
        self._resume = resume or moves
        self._session = ClientSession(", ".join(self._addresses), resume=resume, moves=moves)
        self._keys = keys
        self._order: Order = order
        self._connection: Connection | Heads | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._timer: asyncio.TimerHandle | None = None
        self._reading = False
        self._sent_meanwhile = False
        self._closed = False

    # -- sounds

    async def generate(
        self,
        prompt: Asked,
        *,
        timeout_s: float | None = None,
        on_event: OnEvent | None = None,
        on_upgrade: OnUpgrade | None = None,
        **fields: Any,
    ) -> AudioResult:
        """As AudioClient.generate. Cancelling the task cancels the request."""
        pending = self.submit(prompt, events=on_event is not None, timeout_s=timeout_s, **fields)
        result = await pending.wait_async(on_event=on_event)
        if on_upgrade is not None:
            pending.call_when_upgraded(on_upgrade)
        return result

    def submit(
        self,
        prompt: Asked,
        *,
        events: bool = False,
        timeout_s: float | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
        known: str = "",
        **fields: Any,
    ) -> Pending:
        """As AudioClient.submit, from within a running loop; ``await`` what it returns."""
        fields, sent = split_sent(fields)
        request = as_request(prompt, fields)
        connection = self._connect()
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        name = new_request_id() if request_id is None else check_request_id(request_id)
        trace = asked_traceparent(traceparent)
        pending = Pending(name, lambda: self._cancel(name), delivered_by=self._thread, goes_on=request.durable)
        frames = self._session.submit(
            request,
            pending,
            now=time.monotonic(),
            timeout_s=timeout_s,
            events=events,
            sent=sent,
            traceparent=trace,
            known=known,
            better=lambda better: Pending(
                better, lambda: self._cancel(better), delivered_by=self._thread, goes_on=True
            ),
        )
        if frames:
            connection.offer(frames)  # not taken: it then ends by its timeout
        self._on_readable()
        return pending

    async def variants(
        self, prompt: Asked, count: int, *, timeout_s: float | None = None, **fields: Any
    ) -> list[AudioResult]:
        """As AudioClient.variants. Cancelling the task cancels the requests."""
        asked = variant_requests(prompt, count, fields)
        return await wait_all_async([self.submit(one, timeout_s=timeout_s) for one in asked])

    # -- durable jobs

    async def fetch(
        self, request_id: str, *, delivery: Delivery = "path", timeout_s: float | None = None
    ) -> AudioResult:
        """As AudioClient.fetch."""
        until = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            left_s = max(0.0, until - time.monotonic())
            try:
                if self._session.away and left_s > 0.0:  # a question now would not show the next server who asks
                    await asyncio.sleep(min(left_s, RECONNECT_S))
                    continue
                report = await self.job(request_id, wait_s=min(left_s, FETCH_WAIT_S), delivery=delivery)
                result = control.result_of(report)
                if result is not None:
                    return result
            except Disconnected:
                if not self._resume or left_s == 0.0:
                    raise
                await asyncio.sleep(min(left_s, RECONNECT_S))
            if left_s == 0.0:
                raise Timeout(f"job {request_id} has not ended in time", hint="it goes on; fetch it again")

    async def _ask(self, question: Question[T], timeout_s: float) -> T:
        connection = self._connect()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def on_result(result: T) -> None:
            if not answer.done():  # else the task that waited was cancelled
                answer.set_result(result)

        def on_error(error: AudioPoolError) -> None:
            if not answer.done():
                answer.set_exception(error)

        frames = self._session.ask(
            question,
            request_id=new_request_id(),
            now=time.monotonic(),
            timeout_s=timeout_s,
            on_result=on_result,
            on_error=on_error,
        )
        connection.offer(frames)  # not taken: it then ends by its timeout
        self._on_readable()
        return await answer

    # -- life

    @property
    def connected(self) -> bool:
        """True while a server is at the other end, as far as is known; False before anything was asked."""
        return self._session.connected

    @property
    def address(self) -> str:
        """As AudioClient.address; "" before anything was asked."""
        return "" if self._connection is None else self._connection.address

    @property
    def server_instance(self) -> str:
        """Which start of the server answered last: another one means that it has been restarted. Only with resume."""
        return self._session.server_instance

    async def close(self) -> None:
        """End what is in flight (PoolClosed) and the connection."""
        self._closed = True
        self._session.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def __aenter__(self) -> AsyncAudioClient:
        self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connect(self) -> Connection | Heads:
        if self._closed:
            raise PoolClosed("the client is closed")
        if self._connection is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.get_ident()
            sources = _Sources(self._loop, self._on_readable)
            self._connection = connect(self._addresses, self._keys, self._session, sources, order=self._order)
        return self._connection

    def _cancel(self, request_id: str) -> None:
        if threading.get_ident() != self._thread and self._loop is not None:  # a Pending may be anywhere
            self._loop.call_soon_threadsafe(self._cancel, request_id)
            return
        frames = self._session.cancel(request_id)
        if frames is not None and self._connection is not None:
            self._connection.offer(frames)
            self._on_readable()

    # -- the event loop's calls

    def _on_readable(self) -> None:
        """Take in whatever there is: zmq's descriptors report a change once, and a send may swallow it."""
        self._sent_meanwhile = True
        if self._connection is None or self._reading:  # a Pending's done callback that asks again
            return
        self._reading = True
        try:
            while self._sent_meanwhile:
                self._sent_meanwhile = False
                self._connection.tend()
        finally:
            self._reading = False
        self._arm_timer()

    def _arm_timer(self) -> None:
        """Set the timer to the next deadline."""
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._connection.due() if self._connection is not None else None
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._on_readable)


class _Sources:
    """What the event loop waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_readable: Callable[[], None]) -> None:
        self._loop = loop
        self._on_readable = on_readable

    def add(self, source: Channel) -> None:
        self._loop.add_reader(source.fileno(), self._on_readable)

    def remove(self, source: Channel) -> None:
        self._loop.remove_reader(source.fileno())
