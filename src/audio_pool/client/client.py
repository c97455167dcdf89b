"""Clients of a served pool: AudioClient blocks, AsyncAudioClient awaits; both share one dialogue.

Owns: who waits for an answer, and how it reaches them: threads here, tasks there.
Must not know: what messages look like (dialogue.py), how a connection is kept (line.py), the pool's inside.

Many requests may be in flight on one client, from many threads or tasks. zmq reconnects with back-off
(50 ms to 2 s). What was in flight when the connection broke ends as Disconnected at once: the server
answers to connections, so no answer could come any more. Ask again; ``retryable`` says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from audio_pool.client.connection import Keys, Line
from audio_pool.client.control import QUESTION_TIMEOUT_S, Questions
from audio_pool.client.progress import ProgressBar
from audio_pool.client.session import Dialogue, Final, generate_fields
from audio_pool.errors import AudioPoolError, Busy, Disconnected, PoolClosed
from audio_pool.results import AudioResult, Event
from audio_pool.transport.endpoints import default_bind
from audio_pool.transport.sockets import Poller, Waker
from audio_pool.types import AudioRequest

__all__ = ["AsyncAudioClient", "AsyncPending", "AudioClient", "Pending", "ProgressBar"]

log = logging.getLogger(__name__)

OnEvent = Callable[[Event], None]
_GRACE_S = 5.0
"""A blocked caller waits this much beyond its deadline for the client's own thread."""


# --- blocking


class Pending:
    """A request in flight: its events, its result, and the way to stop it."""

    def __init__(self, client: AudioClient, timeout_s: float) -> None:
        self._client = client
        self._until = time.monotonic() + timeout_s + _GRACE_S
        self._future: Future[Any] = Future()
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self.request_id = ""

    def result(self) -> Any:
        """The AudioResult (of a question: its answer), waiting for it until the request's timeout.

        Raises:
            AudioPoolError: what the request came to instead.
        """
        try:
            return self._future.result(max(0.0, self._until - time.monotonic()))
        except TimeoutError:
            raise Disconnected(f"request {self.request_id}: this client's own thread does not answer") from None

    def events(self) -> Iterator[Event]:
        """What happens to the request until its end; ``submit(..., events=True)`` asks for it."""
        while True:
            try:
                event = self._events.get(timeout=max(0.0, self._until - time.monotonic()))
            except Empty:
                return
            if event is None:
                self._events.put(None)
                return
            yield event

    def done(self) -> bool:
        return self._future.done()

    def cancel(self) -> None:
        """Asks the server to stop it; ``result`` then raises Cancelled, unless it was done before."""
        self._client._cancel(self.request_id)

    def _finish(self, final: Final) -> None:
        if isinstance(final, AudioPoolError):
            self._future.set_exception(final)
        else:
            self._future.set_result(final)
        self._events.put(None)


class AudioClient(Questions[dict[str, Any]]):
    """Talks to ``audio-pool serve``; may be used by many threads at once.

    Args:
        endpoint: what the server prints when it is ready, e.g. ``tcp://127.0.0.1:5555``; None: where a
            server of this user on this machine binds by default.
        timeout_s: most seconds from asking to the answer, where a call does not say otherwise.
        keys: for a server with CURVE keys: the directory with ``client.key_secret`` and ``server.key``.
    """

    def __init__(self, endpoint: str | None = None, *, timeout_s: float = 300.0, keys: Keys = None) -> None:
        endpoint = default_bind() if endpoint is None else endpoint
        self.timeout_s = timeout_s
        self._dialogue = Dialogue(endpoint)
        self._line = Line(endpoint, keys, self._dialogue)
        self._waker = Waker()
        self._lock = threading.Lock()
        self._chores: deque[Callable[[], None]] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"audio-client {endpoint}", daemon=True)
        self._thread.start()

    def generate(
        self,
        prompt: str | AudioRequest,
        *,
        timeout_s: float | None = None,
        on_event: OnEvent | None = None,
        **options: Any,
    ) -> AudioResult:
        """A finished sound; waits for it.

        Args:
            prompt: words, or a whole AudioRequest.
            timeout_s: seconds until Timeout is raised and the request cancelled.
            on_event: called in this thread with each accepted and progress event, e.g. a ProgressBar.
            options: fields of AudioRequest: duration_s, loop, seed, delivery, ...

        Raises:
            InvalidRequest, Timeout, Disconnected, Busy, ...: see errors.py.
        """
        pending = self.submit(prompt, timeout_s=timeout_s, events=on_event is not None, **options)
        try:
            if on_event is not None:
                for event in pending.events():
                    on_event(event)
            result: AudioResult = pending.result()
        except BaseException:
            pending.cancel()  # Ctrl-C, or on_event raised: nobody waits any more
            raise
        return result

    def submit(
        self, prompt: str | AudioRequest, *, timeout_s: float | None = None, events: bool = False, **options: Any
    ) -> Pending:
        """Asks for a sound without waiting. Raises InvalidRequest."""
        fields = {"request": generate_fields(prompt, options)}
        return self._ask("generate", fields, self.timeout_s if timeout_s is None else timeout_s, events)

    def ask(self, kind: str, fields: dict[str, Any], *, timeout_s: float = QUESTION_TIMEOUT_S) -> dict[str, Any]:
        body: dict[str, Any] = self._ask(kind, fields, timeout_s, False).result()
        return body

    def close(self) -> None:
        """Ends what is in flight (PoolClosed) and the connection."""
        self._closing = True
        self._waker.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(_GRACE_S)

    def __enter__(self) -> AudioClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, kind: str, fields: dict[str, Any], timeout_s: float, events: bool) -> Pending:
        pending = Pending(self, timeout_s)
        with self._lock:  # the dialogue's tables; the socket itself is the thread's alone
            if self._closing:
                raise PoolClosed("the client is closed")
            pending.request_id, frames = self._dialogue.ask(
                kind,
                fields,
                now=time.monotonic(),
                timeout_s=timeout_s,
                on_final=pending._finish,
                on_event=pending._events.put if events else None,
            )
        self._do(lambda: self._line.send(frames))
        return pending

    def _cancel(self, request_id: str) -> None:
        with self._lock:
            frames = self._dialogue.cancel(request_id)
        if frames is not None:
            self._do(lambda: self._line.send(frames))

    def _do(self, chore: Callable[[], None]) -> None:
        self._chores.append(chore)
        self._waker.wake()

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as exc:
            log.exception("the client's thread failed")
            with self._lock:
                self._dialogue.lose(AudioPoolError(f"the client failed: {type(exc).__name__}: {exc}"))
        finally:
            with self._lock:
                self._closing = True
                self._dialogue.close()
            self._line.close()
            self._waker.close()

    def _serve(self) -> None:
        poller = Poller()
        poller.add(self._waker, "waker")
        poller.add(self._line.channel, "channel")
        poller.add(self._line.monitor, "monitor")
        while not self._closing:
            with self._lock:
                due = self._dialogue.next_deadline()
            news = poller.wait(3600.0 if due is None else max(0.0, due - time.monotonic()))
            if "waker" in news:
                self._waker.clear()
                while self._chores:
                    with contextlib.suppress(Busy):  # it then ends by its timeout
                        self._chores.popleft()()
            with self._lock:
                self._line.hear()
                self._line.watch()
                self._line.expire()


# --- awaiting


class AsyncPending:
    """A request in flight: await it, iterate over its events, or cancel it."""

    def __init__(self, client: AsyncAudioClient) -> None:
        self._client = client
        self._future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # a failed request that nobody awaits is not worth a message of asyncio's
        self._future.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self.request_id = ""

    async def result(self) -> Any:
        """As Pending.result. The request goes on when the task that waits is cancelled; ``cancel`` stops it."""
        return await asyncio.shield(self._future)

    def __await__(self) -> Generator[Any, None, Any]:
        return self.result().__await__()

    async def events(self) -> AsyncIterator[Event]:
        """What happens to the request until its end; ``submit(..., events=True)`` asks for it."""
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)

    def done(self) -> bool:
        return self._future.done()

    def cancel(self) -> None:
        """Asks the server to stop it; ``result`` then raises Cancelled, unless it was done before."""
        self._client._cancel(self.request_id)

    def _finish(self, final: Final) -> None:
        if not self._future.done():
            if isinstance(final, AudioPoolError):
                self._future.set_exception(final)
            else:
                self._future.set_result(final)
        self._events.put_nowait(None)


class AsyncAudioClient(Questions[Awaitable[dict[str, Any]]]):
    """As AudioClient, for one event loop: the one it is first used in. Takes the same arguments."""

    def __init__(self, endpoint: str | None = None, *, timeout_s: float = 300.0, keys: Keys = None) -> None:
        endpoint = default_bind() if endpoint is None else endpoint
        self.timeout_s = timeout_s
        self._dialogue = Dialogue(endpoint)
        self._address = (endpoint, keys)
        self._line: Line | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def generate(
        self,
        prompt: str | AudioRequest,
        *,
        timeout_s: float | None = None,
        on_event: OnEvent | None = None,
        **options: Any,
    ) -> AudioResult:
        """As AudioClient.generate."""
        pending = self.submit(prompt, timeout_s=timeout_s, events=on_event is not None, **options)
        try:
            if on_event is not None:
                async for event in pending.events():
                    on_event(event)
            result: AudioResult = await pending
        except BaseException:
            pending.cancel()
            raise
        return result

    def submit(
        self, prompt: str | AudioRequest, *, timeout_s: float | None = None, events: bool = False, **options: Any
    ) -> AsyncPending:
        """Asks for a sound without waiting; from within a running loop. Raises InvalidRequest."""
        fields = {"request": generate_fields(prompt, options)}
        return self._ask("generate", fields, self.timeout_s if timeout_s is None else timeout_s, events)

    async def ask(
        self, kind: str, fields: dict[str, Any], *, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> dict[str, Any]:
        body: dict[str, Any] = await self._ask(kind, fields, timeout_s, False)
        return body

    async def close(self) -> None:
        """Ends what is in flight (PoolClosed) and the connection."""
        self._closed = True
        self._dialogue.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._line is not None and self._loop is not None:
            for source in (self._line.channel, self._line.monitor):
                self._loop.remove_reader(source.fileno())
            self._line.close()
            self._line = None

    async def __aenter__(self) -> AsyncAudioClient:
        self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connect(self) -> Line:
        if self._closed:
            raise PoolClosed("the client is closed")
        if self._line is None:
            self._loop = asyncio.get_running_loop()
            self._line = Line(*self._address, self._dialogue)
            for source in (self._line.channel, self._line.monitor):
                self._loop.add_reader(source.fileno(), self._news)
        return self._line

    def _ask(self, kind: str, fields: dict[str, Any], timeout_s: float, events: bool) -> AsyncPending:
        line = self._connect()
        pending = AsyncPending(self)
        pending.request_id, frames = self._dialogue.ask(
            kind,
            fields,
            now=time.monotonic(),
            timeout_s=timeout_s,
            on_final=pending._finish,
            on_event=pending._events.put_nowait if events else None,
        )
        line.channel.send(frames)  # not taken: it then ends by its timeout
        self._news()
        return pending

    def _cancel(self, request_id: str) -> None:
        frames = self._dialogue.cancel(request_id)
        if frames is not None and self._line is not None:
            self._line.channel.send(frames)
            self._news()

    def _news(self) -> None:
        """Takes in whatever there is: zmq's descriptors tell of a change once, a send may swallow it."""
        if self._line is None:
            return
        self._line.hear()
        self._line.watch()
        self._line.expire()
        self._wind()

    def _wind(self) -> None:
        """Sets the timer to the next deadline."""
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._dialogue.next_deadline()
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._news)


