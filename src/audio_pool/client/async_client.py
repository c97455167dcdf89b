"""AsyncAudioClient: a served pool for asyncio.

Owns: the readers and the timer in the event loop that drive the session.
Must not know: what messages look like (session.py), how a connection is kept (connection.py), the pool's inside.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from audio_pool.api import (
    Asked,
    CacheStats,
    Cancellation,
    ClapAnswer,
    ClapOperation,
    Engines,
    Explanation,
    FeedbackNoted,
    FeedbackVerdict,
    Health,
    JobReport,
    Jobs,
    JobState,
    OnEvent,
    OnUpgrade,
    PictureReport,
    PoolApi,
    PoolStatus,
    as_request,
    variant_requests,
)
from audio_pool.client import control
from audio_pool.client.candidates import AsyncClientCandidates
from audio_pool.client.connection import Connection, Keys
from audio_pool.client.control import FETCH_WAIT_S, QUESTION_TIMEOUT_S, RECONNECT_S, EchoAnswer, Question
from audio_pool.client.library import AsyncClientLibrary
from audio_pool.client.models import AsyncClientModels
from audio_pool.client.presets import AsyncClientPresets
from audio_pool.client.session import ClientSession, check_request_id, new_request_id
from audio_pool.client.staff import AsyncClientLeases, AsyncClientWorkers
from audio_pool.craft import Craft, CraftReport
from audio_pool.errors import AudioPoolError, Disconnected, PoolClosed, Timeout
from audio_pool.init_audio import split_sent
from audio_pool.origin import VerifyReport
from audio_pool.pending import Pending, wait_all_async
from audio_pool.results import AudioResult
from audio_pool.tracing import asked_traceparent
from audio_pool.transport.client_messages import MAX_WAIT_MS
from audio_pool.transport.endpoints import default_connect
from audio_pool.types import Delivery

__all__ = ["AsyncAudioClient"]

T = TypeVar("T")


class AsyncAudioClient(PoolApi):
    """As AudioClient, for one event loop: the one it is first used in. Takes the same arguments."""

    def __init__(
        self, endpoint: str | None = None, *, timeout_s: float = 300.0, keys: Keys = None, resume: bool = False
    ) -> None:
        endpoint = default_connect() if endpoint is None else endpoint
        self.timeout_s = timeout_s
        self._resume = resume
        self._session = ClientSession(endpoint, resume=resume)
        self._address = (endpoint, keys)
        self._connection: Connection | None = None
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

    async def job(
        self,
        request_id: str,
        *,
        wait_s: float = 0.0,
        delivery: Delivery = "path",
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> JobReport:
        """As AudioClient.job."""
        return await self._ask(control.job(request_id, wait_s, delivery), timeout_s + min(wait_s, MAX_WAIT_MS / 1000))

    async def jobs(
        self,
        states: Sequence[JobState] = (),
        limit: int = 100,
        before: float | None = None,
        *,
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> Jobs:
        """As AudioClient.jobs."""
        return await self._ask(control.jobs(states, limit, before), timeout_s)

    async def retry(self, request_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> JobReport:
        """As AudioClient.retry."""
        return await self._ask(control.retry(request_id), timeout_s)

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

    # -- questions

    async def cancel(self, request_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Cancellation:
        """As AudioClient.cancel."""
        return await self._ask(control.cancel(request_id), timeout_s)

    async def engines(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Engines:
        """As AudioClient.engines."""
        return await self._ask(control.ENGINES, timeout_s)

    async def health(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Health:
        """As AudioClient.health."""
        return await self._ask(control.HEALTH, timeout_s)

    async def status(self, *, numbers: bool = False, timeout_s: float = QUESTION_TIMEOUT_S) -> PoolStatus:
        """As AudioClient.status."""
        return await self._ask(control.status(numbers), timeout_s)

    async def cache_stats(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> CacheStats:
        """As AudioClient.cache_stats."""
        return await self._ask(control.CACHE_STATS, timeout_s)

    async def feedback(
        self, target: str, verdict: FeedbackVerdict, comment: str = "", *, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> FeedbackNoted:
        """As AudioClient.feedback."""
        return await self._ask(control.feedback(target, verdict, comment), timeout_s)

    async def explain(
        self,
        prompt: Asked,
        *,
        across_namespaces: bool = True,
        timeout_s: float = QUESTION_TIMEOUT_S,
        **fields: Any,
    ) -> Explanation:
        """As AudioClient.explain."""
        return await self._ask(control.explain(prompt, fields, across_namespaces=across_namespaces), timeout_s)

    async def verify(
        self,
        path: str | Path | None = None,
        *,
        sound: bytes | Path | None = None,
        namespace: str | None = None,
        timeout_s: float | None = None,
    ) -> VerifyReport:
        """As AudioClient.verify."""
        return await self._ask(
            control.verify(path, sound, namespace), self.timeout_s if timeout_s is None else timeout_s
        )

    async def craft(
        self,
        craft: Craft,
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
        output_path: str | Path | None = None,
        delivery: Delivery = "path",
        timeout_s: float | None = None,
        **form: Any,
    ) -> CraftReport:
        """As AudioClient.craft."""
        asked = control.craft(craft, paths, sounds, output_path, delivery, form)
        return await self._ask(asked, self.timeout_s if timeout_s is None else timeout_s)

    async def clap(
        self,
        operation: ClapOperation,
        texts: Sequence[str] = (),
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> ClapAnswer:
        """As AudioClient.clap."""
        return await self._ask(control.clap(operation, texts, paths, sounds), timeout_s)

    async def spectrogram(
        self,
        entry: int,
        *,
        namespace: str = "default",
        mel_bands: int = 0,
        highest_hz: float | None = None,
        dark: bool = False,
        delivery: Delivery = "path",
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> PictureReport:
        """Get a picture (PNG) of a kept sound, by its entry's id: drawn by a worker where there is none yet.

        Args:
            namespace: that the entry is of.
            mel_bands: how many the frequencies are parted into, up to 320; 0: one for each row.
            highest_hz: top of the picture; None: 20 kHz, or half the sample rate.
            dark: light text on a dark ground.
            delivery: ``inline`` gives the file as ``data``.
        """
        asked = control.spectrogram(entry, namespace, mel_bands, highest_hz, dark, delivery)
        return await self._ask(asked, timeout_s)

    async def echo(
        self, payload: bytes = b"", worker: str | None = None, *, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> EchoAnswer:
        """As AudioClient.echo."""
        return await self._ask(control.echo(payload, worker), timeout_s)

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

    @property
    def candidates(self) -> AsyncClientCandidates:
        """As AudioClient.candidates; awaited."""
        return AsyncClientCandidates(self._ask)

    @property
    def library(self) -> AsyncClientLibrary:
        """As AudioClient.library; awaited."""
        return AsyncClientLibrary(self._ask)

    @property
    def leases(self) -> AsyncClientLeases:
        """As AudioClient.leases; awaited."""
        return AsyncClientLeases(self._ask)

    @property
    def models(self) -> AsyncClientModels:
        """As AudioClient.models; awaited."""
        return AsyncClientModels(self._ask)

    @property
    def presets(self) -> AsyncClientPresets:
        """As AudioClient.presets; awaited."""
        return AsyncClientPresets(self._ask)

    @property
    def workers(self) -> AsyncClientWorkers:
        """As AudioClient.workers; awaited."""
        return AsyncClientWorkers(self._ask)

    # -- life

    @property
    def connected(self) -> bool:
        """True while a server is at the other end, as far as is known; False before anything was asked."""
        return self._session.connected

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
        if self._connection is not None and self._loop is not None:
            for source in (self._connection.channel, self._connection.monitor):
                self._loop.remove_reader(source.fileno())
            self._connection.close()
            self._connection = None

    async def __aenter__(self) -> AsyncAudioClient:
        self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connect(self) -> Connection:
        if self._closed:
            raise PoolClosed("the client is closed")
        if self._connection is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.get_ident()
            self._connection = Connection(*self._address, self._session)
            for source in (self._connection.channel, self._connection.monitor):
                self._loop.add_reader(source.fileno(), self._on_readable)
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
                self._connection.receive()
                self._connection.poll_monitor()
                self._connection.expire()
        finally:
            self._reading = False
        self._arm_timer()

    def _arm_timer(self) -> None:
        """Set the timer to the next deadline."""
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._session.next_deadline()
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._on_readable)
