"""AudioClient: a served pool for callers that block.

Owns: the client's thread, which alone uses the socket, and the lock around the session.
Must not know: what messages look like (session.py), how a connection is kept (connection.py), the pool's inside.

Many requests may be in flight on one client, from many threads. zmq reconnects with back-off (50 ms to 2 s).
What was in flight when the connection broke ends as Disconnected at once: the server answers to
connections, so no answer could come any more. Ask again; ``retryable`` says so. With several addresses that is done
here: see moving.py.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from audio_pool.api import (
    Asked,
    OnEvent,
    OnUpgrade,
    as_request,
    check_timeout,
    variant_requests,
)
from audio_pool.client import control
from audio_pool.client.addresses import Addresses, parse_addresses
from audio_pool.client.connection import Keys
from audio_pool.client.control import FETCH_WAIT_S, RECONNECT_S, Question
from audio_pool.client.heads import connect
from audio_pool.client.questions import ClientQuestions
from audio_pool.client.roaming import Order
from audio_pool.client.session import ClientSession, Frames, check_request_id, new_request_id
from audio_pool.errors import AudioPoolError, Busy, Disconnected, PoolClosed, Timeout
from audio_pool.init_audio import split_sent
from audio_pool.pending import Pending, wait_all
from audio_pool.results import AudioResult
from audio_pool.tracing import asked_traceparent
from audio_pool.transport.poller import Poller
from audio_pool.transport.sockets import Channel
from audio_pool.transport.waker import Waker
from audio_pool.types import Delivery

__all__ = ["AudioClient"]

log = logging.getLogger(__name__)

_GRACE_S = 5.0
"""A blocked caller waits this much beyond its deadline for the client's own thread."""
T = TypeVar("T")


class AudioClient(ClientQuestions):
    """Talks to ``audio-pool serve``; may be used by many threads at once.

    Args:
        endpoint: what the server prints when it is ready, e.g. ``tcp://127.0.0.1:5555``; None: where a
            server of this user on this machine binds by default. Several heads of one cache, as a list or with commas
            between them: one is asked, and when it is lost the next; see docs/cluster.md.
        timeout_s: most seconds from asking to the answer, where a call does not say otherwise.
        keys: for a server with CURVE keys: the directory with ``client.key_secret`` and ``server.key``.
        resume: durable requests outlive a lost server: they are picked up when it, or its successor, is there.
            With several addresses they always do.
        order: of several addresses the one to begin with: any (so that clients spread over the heads), or ``given``.
    """

    def __init__(
        self,
        endpoint: Addresses = None,
        *,
        timeout_s: float = 300.0,
        keys: Keys = None,
        resume: bool = False,
        order: Order = "random",
    ) -> None:
        addresses = parse_addresses(endpoint)
        self.timeout_s = timeout_s
        self._moves = len(addresses) > 1
        self._resume = resume or self._moves
        self._session = ClientSession(", ".join(addresses), resume=resume, moves=self._moves)
        self._sources = _Sources()
        self._connection = connect(addresses, keys, self._session, self._sources, order=order)
        self._waker = Waker()
        self._sources.poller.add(self._waker, "waker")
        # of the session; re-entrant because a Pending's done callbacks run under it and may ask again
        self._lock = threading.RLock()
        self._pending_sends: deque[Frames] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"audio-client {addresses[0]}", daemon=True)
        self._thread.start()

    # -- sounds

    def generate(
        self,
        prompt: Asked,
        *,
        timeout_s: float | None = None,
        on_event: OnEvent | None = None,
        on_upgrade: OnUpgrade | None = None,
        **fields: Any,
    ) -> AudioResult:
        """Make or find a sound, and wait for it. Whoever stops waiting cancels the request.

        Args:
            prompt: words, or a whole AudioRequest.
            timeout_s: seconds until Timeout is raised and the request cancelled.
            on_event: called in this thread with each accepted and progress event, e.g. a ProgressBar.
            on_upgrade: called in the client's own thread with the better sound, where ``upgrade`` or ``stand_in``
                asked for one and the answer stands in for it.
            fields: of AudioRequest: duration_s, loop, seed, delivery, ...; and ``request_id``, as for ``submit``.
                ``init_audio`` as text names a file where the server is; as bytes, or a Path of here, it is sent.

        Raises:
            InvalidRequest, Timeout, Disconnected, Busy, ...: see errors.py.
        """
        pending = self.submit(prompt, events=on_event is not None, timeout_s=timeout_s, **fields)
        result = pending.wait(on_event=on_event)
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
        """Ask for a sound without waiting. Raises InvalidRequest.

        Args:
            events: have accepted and progress events sent, for ``Pending.events``.
            timeout_s: seconds until the request ends as Timeout and is cancelled; a durable one goes on.
            fields: as ``generate``'s.
            request_id: names a durable request: the same id with the same request is the same job, whenever and
                from wherever it is asked for; None: a fresh one.
            traceparent: W3C's, of the trace that it belongs to; None: of the span that is open here, if one is.
            known: with ``delivery="inline"`` the ``path`` of an earlier result whose bytes you still have: where this
                one is the same file it is not sent again, and ``data`` is None.
        """
        fields, sent = split_sent(fields)
        request = as_request(prompt, fields)
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        check_timeout(timeout_s)
        name = new_request_id() if request_id is None else check_request_id(request_id)
        trace = asked_traceparent(traceparent)
        pending = self._pending(name, timeout_s + _GRACE_S, goes_on=request.durable)
        with self._lock:
            self._check_open()
            frames = self._session.submit(
                request,
                pending,
                now=time.monotonic(),
                timeout_s=timeout_s,
                events=events,
                sent=sent,
                traceparent=trace,
                known=known,
                better=lambda better: self._pending(better, None, goes_on=True),
            )
        self._send(frames)
        return pending

    def _pending(self, name: str, patience_s: float | None, *, goes_on: bool) -> Pending:
        return Pending(
            name,
            lambda: self._cancel(name),
            patience_s=patience_s,
            delivered_by=self._thread.ident or 0,
            goes_on=goes_on,
        )

    def variants(
        self, prompt: Asked, count: int, *, timeout_s: float | None = None, **fields: Any
    ) -> list[AudioResult]:
        """Get so many (1..100) different sounds of a prompt: those that are kept, and new ones for the rest.

        Raises:
            InvalidRequest, Timeout, ...: what one of them came to; the others are cancelled.
        """
        asked = variant_requests(prompt, count, fields)
        return wait_all([self.submit(one, timeout_s=timeout_s) for one in asked])

    # -- durable jobs

    def fetch(self, request_id: str, *, delivery: Delivery = "path", timeout_s: float | None = None) -> AudioResult:
        """Get the sound of a durable job, whoever asked for it under this owner; wait for it.

        Raises:
            NotFound: no such job. Timeout: it has not ended within ``timeout_s``; it goes on.
            AudioPoolError: what it ended with.
        """
        until = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            left_s = max(0.0, until - time.monotonic())
            try:
                if self._session.away and left_s > 0.0:  # a question now would not show the next server who asks
                    time.sleep(min(left_s, RECONNECT_S))
                    continue
                report = self.job(request_id, wait_s=min(left_s, FETCH_WAIT_S), delivery=delivery)
                result = control.result_of(report)
                if result is not None:
                    return result
            except Disconnected:
                if not self._resume or left_s == 0.0:
                    raise
                time.sleep(min(left_s, RECONNECT_S))
            if left_s == 0.0:
                raise Timeout(f"job {request_id} has not ended in time", hint="it goes on; fetch it again")

    def _ask(self, question: Question[T], timeout_s: float) -> T:
        answer: Future[T] = Future()
        if threading.current_thread() is self._thread:
            raise AudioPoolError(
                f"{question.kind}: this thread would wait for itself: it is the one that delivers",
                hint="ask in another thread than the one that calls a Pending's done callbacks",
            )
        with self._lock:
            self._check_open()
            frames = self._session.ask(
                question,
                request_id=new_request_id(),
                now=time.monotonic(),
                timeout_s=timeout_s,
                on_result=answer.set_result,
                on_error=answer.set_exception,
            )
        self._send(frames)
        try:
            return answer.result(min(timeout_s + _GRACE_S, threading.TIMEOUT_MAX))
        except TimeoutError:
            raise Disconnected(f"{question.kind}: this client's own thread does not answer") from None

    # -- life

    @property
    def connected(self) -> bool:
        """True while a server is at the other end, as far as is known; False before anything was asked."""
        return self._session.connected

    @property
    def address(self) -> str:
        """Which of several addresses is asked now; "": none answers; of one alone that."""
        return self._connection.address

    @property
    def server_instance(self) -> str:
        """Which start of the server answered last: another one means that it has been restarted. Only with resume."""
        return self._session.server_instance

    def close(self) -> None:
        """End what is in flight (PoolClosed) and the connection."""
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

    def _check_open(self) -> None:
        if self._closing:
            raise PoolClosed("the client is closed")

    def _cancel(self, request_id: str) -> None:
        with self._lock:
            frames = self._session.cancel(request_id)
        if frames is not None:
            self._send(frames)

    def _send(self, frames: Frames) -> None:
        """Have the client's thread send the frames, if any: a socket belongs to one thread."""
        if frames:
            self._pending_sends.append(frames)
        if frames or self._moves:
            self._waker.wake()

    # -- the client's thread

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as exc:
            log.exception("the client's thread failed")
            with self._lock:
                self._session.lose(AudioPoolError(f"the client failed: {type(exc).__name__}: {exc}"))
        finally:
            with self._lock:
                self._closing = True
                self._session.close()
            self._connection.close()
            self._waker.close()

    def _serve(self) -> None:
        poller = self._sources.poller
        while not self._closing:
            with self._lock:
                due = self._connection.due()
            ready = poller.wait(3600.0 if due is None else max(0.0, due - time.monotonic()))
            if "waker" in ready:
                self._waker.clear()
                while self._pending_sends:
                    with contextlib.suppress(Busy):  # it then ends by its timeout
                        self._connection.send(self._pending_sends.popleft())
            with self._lock:
                self._connection.tend()


class _Sources:
    """What the client's thread waits for."""

    def __init__(self) -> None:
        self.poller = Poller[str]()

    def add(self, source: Channel) -> None:
        self.poller.add(source, "connection")

    def remove(self, source: Channel) -> None:
        self.poller.remove(source)
