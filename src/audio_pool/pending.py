"""A request in flight, for callers that block, poll or await.

Owns: Pending, the one handle that a pool in this process and both clients return from ``submit``.
Must not know: who makes the sound, how its events and its result arrive.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from audio_pool.errors import AudioPoolError, Timeout
from audio_pool.results import AudioResult, Event

if TYPE_CHECKING:
    import asyncio

__all__ = ["Events", "Pending", "wait_all", "wait_all_async"]


class Pending(concurrent.futures.Future[AudioResult]):
    """A ``concurrent.futures.Future`` of an AudioResult, with events; it may be awaited, too.

    ``await pending`` gives the AudioResult; whoever cancels the task that awaits cancels the request.
    ``for event in pending.events()`` and ``async for event in pending.events()`` end with the request.

    Its owner calls ``on_event`` for each event, then ``on_result`` or ``on_error`` once; from any thread.
    """

    def __init__(
        self,
        request_id: str,
        on_cancel: Callable[[], object],
        *,
        patience_s: float | None = None,
        delivered_by: int = 0,
        goes_on: bool = False,
    ) -> None:
        """
        Args:
            request_id: names the request everywhere.
            on_cancel: asks for the end of the work; called in the thread that cancels, and must not block.
            patience_s: longest wait where a call names none; None: no limit.
            delivered_by: ``threading.get_ident()`` of the thread that calls ``on_result``, where it may be a
                caller's own: waiting in that thread is refused, because it would never end.
            goes_on: a durable request: ``cancel`` alone ends its work, not whoever stops waiting.
        """
        super().__init__()
        self.request_id = request_id
        self.upgraded: Pending | None = None
        """The better sound, from when the result is there: where one was asked for, and is being made."""
        self._on_cancel = on_cancel
        self._cancel_asked = False
        self._goes_on = goes_on
        self._until = None if patience_s is None else time.monotonic() + patience_s
        self._delivered_by = delivered_by
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        """None: the request has ended; it stays in the queue."""
        self._listeners: list[tuple[asyncio.Future[None], int]] = []
        """Tasks that wait for an event: each one's waiter, and the thread of its loop."""

    # -- for whoever asked

    def result(self, timeout_s: float | None = None) -> AudioResult:
        """Return the finished sound; wait for it. The request goes on when the wait ends without it.

        Raises:
            Timeout: not there within ``timeout_s``.
            AudioPoolError: what the request came to instead.
        """
        try:
            return super().result(self._limit(timeout_s) if self.done() else self._checked_limit(timeout_s))
        except concurrent.futures.TimeoutError:
            raise self._no("result", timeout_s) from None

    def wait(
        self, timeout_s: float | None = None, on_event: Callable[[Event], object] | None = None
    ) -> AudioResult:
        """Do as ``result``, but whoever stops waiting (by a timeout, Ctrl-C, an exception) cancels the request.

        Args:
            timeout_s: seconds until Timeout is raised.
            on_event: called in this thread with each event.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            if on_event is not None:
                while (event := self._next(None if until is None else until - time.monotonic())) is not None:
                    on_event(event)
            return self.result(None if until is None else until - time.monotonic())
        except BaseException as exc:
            waited_out = isinstance(exc, Timeout) and timeout_s is not None and not self.done()
            self._abandon()
            if waited_out:
                raise Timeout(f"no sound within {timeout_s:g} s", hint="raise timeout_s, or see status()") from None
            raise

    async def wait_async(
        self, timeout_s: float | None = None, on_event: Callable[[Event], object] | None = None
    ) -> AudioResult:
        """Do as ``wait``, for asyncio."""
        import asyncio

        limit = None if timeout_s is None else asyncio.timeout(timeout_s)
        try:
            async with limit or contextlib.nullcontext():
                if on_event is not None:
                    async for event in self.events():
                        on_event(event)
                return await self
        except TimeoutError:
            if limit is None or not limit.expired():  # on_event's own
                raise
            raise Timeout(f"no sound within {timeout_s:g} s", hint="raise timeout_s, or see status()") from None
        finally:
            self._abandon()

    def call_when_upgraded(self, on_upgrade: Callable[[AudioResult], object]) -> None:
        """Have something called with the better sound once it is there; not where none is made, or it fails.

        It is called in the thread that delivers. To be asked once the result is there.
        """
        if self.upgraded is not None:
            self.upgraded.add_done_callback(lambda done: None if done.exception() else on_upgrade(done.result()))

    def cancel(self) -> bool:
        """Ask for the end of the work; ``result`` then raises Cancelled. False where it is done already."""
        if self.done():
            return False
        if not self._cancel_asked:
            self._cancel_asked = True
            self._on_cancel()
        return True

    def _abandon(self) -> None:
        """Nobody waits any more."""
        if not self._goes_on:
            self.cancel()

    def events(self, timeout_s: float | None = None) -> Events:
        """Return the request's events until its end; none unless ``submit(..., events=True)`` asked for them.

        Raises:
            Timeout: while iterating, when nothing came for ``timeout_s``.
        """
        return Events(self, timeout_s)

    def __await__(self) -> Generator[object, None, AudioResult]:
        return self._awaited().__await__()

    async def _awaited(self) -> AudioResult:
        import asyncio  # where somebody awaits, it is there; a command's start does not wait for it

        if not self.done():
            # not asyncio.wrap_future: shielded, it would leave an exception that nobody reads when the task is
            # cancelled; and it wakes the loop by a system call even from within it
            waiter, thread = asyncio.get_running_loop().create_future(), threading.get_ident()
            self.add_done_callback(lambda _: _wake(waiter, thread))
            try:
                await waiter
            except asyncio.CancelledError:
                self._abandon()
                raise
        return super().result(0)

    # -- for its owner

    def on_event(self, event: Event) -> None:
        """Queue an event."""
        self._put(event)

    def on_result(self, result: AudioResult) -> None:
        """End the request with its sound, unless it has ended."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # somebody else set the future's result
            self.set_result(result)
        self._put(None)

    def on_error(self, error: AudioPoolError) -> None:
        """End the request with what it came to instead, unless it has ended."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.set_exception(error)
        self._put(None)

    def _put(self, event: Event | None) -> None:
        self._events.put(event)
        # after the put: a listener looks into the queue once more after it has enlisted
        while self._listeners:
            with contextlib.suppress(IndexError):  # another thread was quicker
                _wake(*self._listeners.pop())

    # -- waiting

    def _next(self, timeout_s: float | None) -> Event | None:
        """Return the next event; None: the request has ended. Raises Timeout."""
        try:
            return self._take(0.0)
        except queue.Empty:
            pass
        try:
            return self._take(self._checked_limit(timeout_s))
        except queue.Empty:
            raise self._no("event", timeout_s) from None

    async def _next_async(self, timeout_s: float | None) -> Event | None:
        import asyncio

        try:
            return self._take(0.0)
        except queue.Empty:
            pass
        try:
            async with asyncio.timeout(self._limit(timeout_s)):
                while True:
                    waiter = asyncio.get_running_loop().create_future()
                    self._listeners.append((waiter, threading.get_ident()))
                    with contextlib.suppress(queue.Empty):
                        return self._take(0.0)
                    await waiter
        except TimeoutError:
            raise self._no("event", timeout_s) from None

    def _take(self, limit_s: float | None) -> Event | None:
        event = self._events.get(limit_s != 0.0, limit_s)
        if event is None:
            self._events.put(None)  # for whoever looks next
        return event

    def _limit(self, timeout_s: float | None) -> float | None:
        if timeout_s is None and self._until is not None:
            timeout_s = self._until - time.monotonic()
        # beyond TIMEOUT_MAX a lock refuses to wait; infinity, say
        return None if timeout_s is None else min(max(0.0, timeout_s), threading.TIMEOUT_MAX)

    def _checked_limit(self, timeout_s: float | None) -> float | None:
        if threading.get_ident() == self._delivered_by:
            raise AudioPoolError(
                f"request {self.request_id}: this thread would wait for itself: it is the one that delivers",
                hint="in asyncio write 'await pending' and 'async for event in pending.events()'",
            )
        return self._limit(timeout_s)

    def _no(self, what: str, timeout_s: float | None) -> Timeout:
        within = "the time that a request may take" if timeout_s is None else f"{timeout_s:g} s"
        return Timeout(f"request {self.request_id}: no {what} within {within}", hint="the request goes on")


class Events(Iterator[Event], AsyncIterator[Event]):
    """The events of one request, for ``for`` and ``async for``."""

    def __init__(self, pending: Pending, timeout_s: float | None) -> None:
        self._pending = pending
        self._timeout_s = timeout_s

    def __next__(self) -> Event:
        event = self._pending._next(self._timeout_s)
        if event is None:
            raise StopIteration
        return event

    async def __anext__(self) -> Event:
        event = await self._pending._next_async(self._timeout_s)
        if event is None:
            raise StopAsyncIteration
        return event


def wait_all(pendings: Sequence[Pending], timeout_s: float | None = None) -> list[AudioResult]:
    """Return the sounds of several requests, in order; where one has none, or the wait ends, the rest is cancelled.

    Raises:
        Timeout: not all were there within ``timeout_s``.
        AudioPoolError: what the first that has no sound came to.
    """
    until = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        return [one.wait(None if until is None else max(1e-3, until - time.monotonic())) for one in pendings]
    finally:
        for one in pendings:
            one._abandon()


async def wait_all_async(pendings: Sequence[Pending]) -> list[AudioResult]:
    """Do as ``wait_all``, for asyncio."""
    try:
        return [await one for one in pendings]
    finally:
        for one in pendings:
            one._abandon()


def _wake(waiter: asyncio.Future[None], thread: int) -> None:
    """End a task's wait, from any thread; ``thread`` is its loop's."""
    with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits in it
        if threading.get_ident() == thread:
            _release(waiter)
        else:
            waiter.get_loop().call_soon_threadsafe(_release, waiter)


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
