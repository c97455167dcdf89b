"""AudioClient: a served pool for callers that block.

Owns: the client's thread, which alone uses the socket, and the lock around the session.
Must not know: what messages look like (session.py), how a connection is kept (connection.py), the pool's inside.

Many requests may be in flight on one client, from many threads. zmq reconnects with back-off (50 ms to 2 s).
What was in flight when the connection broke ends as Disconnected at once: the server answers to
connections, so no answer could come any more. Ask again; ``retryable`` says so.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
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
    check_timeout,
    variant_requests,
)
from audio_pool.client import control
from audio_pool.client.candidates import ClientCandidates
from audio_pool.client.connection import Connection, Keys
from audio_pool.client.control import FETCH_WAIT_S, QUESTION_TIMEOUT_S, RECONNECT_S, EchoAnswer, Question
from audio_pool.client.library import ClientLibrary
from audio_pool.client.models import ClientModels
from audio_pool.client.presets import ClientPresets
from audio_pool.client.session import ClientSession, Frames, check_request_id, new_request_id
from audio_pool.client.staff import ClientLeases, ClientWorkers
from audio_pool.craft import Craft, CraftReport
from audio_pool.errors import AudioPoolError, Busy, Disconnected, PoolClosed, Timeout
from audio_pool.init_audio import split_sent
from audio_pool.origin import VerifyReport
from audio_pool.pending import Pending, wait_all
from audio_pool.results import AudioResult
from audio_pool.tracing import asked_traceparent
from audio_pool.transport.client_messages import MAX_WAIT_MS
from audio_pool.transport.endpoints import default_connect
from audio_pool.transport.poller import Poller
from audio_pool.transport.waker import Waker
from audio_pool.types import Delivery

__all__ = ["AudioClient"]

log = logging.getLogger(__name__)

_GRACE_S = 5.0
"""A blocked caller waits this much beyond its deadline for the client's own thread."""
T = TypeVar("T")


class AudioClient(PoolApi):
    """Talks to ``audio-pool serve``; may be used by many threads at once.

    Args:
        endpoint: what the server prints when it is ready, e.g. ``tcp://127.0.0.1:5555``; None: where a
            server of this user on this machine binds by default.
        timeout_s: most seconds from asking to the answer, where a call does not say otherwise.
        keys: for a server with CURVE keys: the directory with ``client.key_secret`` and ``server.key``.
        resume: durable requests outlive a lost server: they are picked up when it, or its successor, is there.
    """

    def __init__(
        self, endpoint: str | None = None, *, timeout_s: float = 300.0, keys: Keys = None, resume: bool = False
    ) -> None:
        endpoint = default_connect() if endpoint is None else endpoint
        self.timeout_s = timeout_s
        self._resume = resume
        self._session = ClientSession(endpoint, resume=resume)
        self._connection = Connection(endpoint, keys, self._session)
        self._waker = Waker()
        # of the session; re-entrant because a Pending's done callbacks run under it and may ask again
        self._lock = threading.RLock()
        self._pending_sends: deque[Frames] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"audio-client {endpoint}", daemon=True)
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

    def job(
        self,
        request_id: str,
        *,
        wait_s: float = 0.0,
        delivery: Delivery = "path",
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> JobReport:
        """Get what has become of a durable job; wait up to ``wait_s`` (60 s at most) for its end. Raises NotFound."""
        return self._ask(control.job(request_id, wait_s, delivery), timeout_s + min(wait_s, MAX_WAIT_MS / 1000))

    def jobs(
        self,
        states: Sequence[JobState] = (),
        limit: int = 100,
        before: float | None = None,
        *,
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> Jobs:
        """Get your durable jobs, the newest first; ``before``: those created earlier (seconds since 1970)."""
        return self._ask(control.jobs(states, limit, before), timeout_s)

    def retry(self, request_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> JobReport:
        """Have a durable job that ended without a sound done again."""
        return self._ask(control.retry(request_id), timeout_s)

    def fetch(
        self, request_id: str, *, delivery: Delivery = "path", timeout_s: float | None = None
    ) -> AudioResult:
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

    # -- questions

    def cancel(self, request_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Cancellation:
        """Stop any client's request of that id, which then ends as Cancelled."""
        return self._ask(control.cancel(request_id), timeout_s)

    def engines(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Engines:
        """Get the engines that can be asked for, and what each can do."""
        return self._ask(control.ENGINES, timeout_s)

    def health(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Health:
        """Get the state (starting, ready, degraded, draining), its reasons, and each engine's state."""
        return self._ask(control.HEALTH, timeout_s)

    def status(self, *, numbers: bool = False, timeout_s: float = QUESTION_TIMEOUT_S) -> PoolStatus:
        """Get requests, workers, cache and counters; ``numbers``: with all that was counted and measured."""
        return self._ask(control.status(numbers), timeout_s)

    def cache_stats(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> CacheStats:
        """Get figures about the whole cache. Raises NotFound where it is off."""
        return self._ask(control.CACHE_STATS, timeout_s)

    def feedback(
        self, target: str, verdict: FeedbackVerdict, comment: str = "", *, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> FeedbackNoted:
        """Note what the result of request ``target`` was like."""
        return self._ask(control.feedback(target, verdict, comment), timeout_s)

    def explain(
        self,
        prompt: Asked,
        *,
        across_namespaces: bool = True,
        timeout_s: float = QUESTION_TIMEOUT_S,
        **fields: Any,
    ) -> Explanation:
        """Get why a request would hit or miss, as ``generate`` would ask for it; nothing is made."""
        return self._ask(control.explain(prompt, fields, across_namespaces=across_namespaces), timeout_s)

    def verify(
        self,
        path: str | Path | None = None,
        *,
        sound: bytes | Path | None = None,
        namespace: str | None = None,
        timeout_s: float | None = None,
    ) -> VerifyReport:
        """Ask where a file comes from: whether it was made here, when and by what, and what was changed since.

        Args:
            path: a file that the server reads.
            sound: a file that is read here and sent, or its bytes.
            namespace: whose sounds may be told by their prompt and entry; None: all that this client may name.

        Raises:
            InvalidAudio, NotFound, PathNotAllowed: the file. Busy: too many of this client's are under way.
        """
        return self._ask(
            control.verify(path, sound, namespace), self.timeout_s if timeout_s is None else timeout_s
        )

    def craft(
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
        """Have given sounds worked on: looped, mastered, converted, mixed, put in sequence, or checked.

        Args:
            craft: what is done, e.g. ``craft.Loop(duration_s=8)``; see ``audio_pool.craft``.
            paths: files that the server can read.
            sounds: files that are read here and sent to it, or their bytes; they come after ``paths``.
            output_path: where the server puts the result; None: where results lie that are not kept.
            delivery: ``inline`` gives the file as ``data``.
            timeout_s: None: as long as for a sound.
            form: how it is written; of CraftForm, e.g. ``format="ogg"``, ``target_lufs=-18.0``.
        """
        asked = control.craft(craft, paths, sounds, output_path, delivery, form)
        return self._ask(asked, self.timeout_s if timeout_s is None else timeout_s)

    def clap(
        self,
        operation: ClapOperation,
        texts: Sequence[str] = (),
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> ClapAnswer:
        """Compute CLAP vectors, similarities, or scores of labels (``texts``) for sounds: ``paths`` that the server
        can read, and ``sounds`` that are sent to it, as bytes or read here.

        Whole sounds are embedded, so allow more than the default timeout for many.
        """
        return self._ask(control.clap(operation, texts, paths, sounds), timeout_s)

    def spectrogram(
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
        return self._ask(asked, timeout_s)

    def echo(
        self, payload: bytes = b"", worker: str | None = None, *, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> EchoAnswer:
        """Send bytes through the server and a worker and back, to measure the way."""
        return self._ask(control.echo(payload, worker), timeout_s)

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

    @property
    def library(self) -> ClientLibrary:
        """Kept sounds: searched, listened to, marked; see LibraryApi."""
        return ClientLibrary(self._ask)

    @property
    def candidates(self) -> ClientCandidates:
        """Candidates that were not chosen: heard, or chosen instead; see CandidatesApi."""
        return ClientCandidates(self._ask)

    @property
    def leases(self) -> ClientLeases:
        """Devices lent to other programs, and returned."""
        return ClientLeases(self._ask)

    @property
    def models(self) -> ClientModels:
        """Models in memory: listed, loaded, taken out, kept."""
        return ClientModels(self._ask)

    @property
    def presets(self) -> ClientPresets:
        """Named sets of words and parameters: listed, set, removed."""
        return ClientPresets(self._ask)

    @property
    def workers(self) -> ClientWorkers:
        """Workers added, drained and removed while the server runs."""
        return ClientWorkers(self._ask)

    # -- life

    @property
    def connected(self) -> bool:
        """True while a server is at the other end, as far as is known; False before anything was asked."""
        return self._session.connected

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
        if not frames:
            return
        self._pending_sends.append(frames)
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
        poller = Poller[str]()
        poller.add(self._waker, "waker")
        poller.add(self._connection.channel, "channel")
        poller.add(self._connection.monitor, "monitor")
        while not self._closing:
            with self._lock:
                due = self._session.next_deadline()
            ready = poller.wait(3600.0 if due is None else max(0.0, due - time.monotonic()))
            if "waker" in ready:
                self._waker.clear()
                while self._pending_sends:
                    with contextlib.suppress(Busy):  # it then ends by its timeout
                        self._connection.send(self._pending_sends.popleft())
            with self._lock:
                self._connection.receive()
                self._connection.poll_monitor()
                self._connection.expire()
