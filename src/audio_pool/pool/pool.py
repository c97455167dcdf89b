"""AudioPool: a pool of warm workers within this process.

Owns: a pool's start and stop, and the verbs that its callers use.
Must not know: what a pool is made of (assembly.py), how any step of a request is done.

A request's way: *resolve* (resolve.py), then on the router's thread *look-up*, *join or queue*, *generate*,
*master*, *store*, *reply*: the order is ``stages.py: next_stage``'s, what each step comes to executor.py's.
"""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from audio_pool.api import (
    Asked,
    CacheStats,
    Cancellation,
    ClapAnswer,
    Engines,
    Explanation,
    FeedbackNoted,
    FeedbackVerdict,
    Health,
    OnEvent,
    OnUpgrade,
    PictureReport,
    PoolApi,
    PoolStatus,
    as_request,
    check_timeout,
    variant_requests,
)
from audio_pool.config import Config, load_config
from audio_pool.craft import Craft, CraftReport
from audio_pool.errors import InvalidRequest, PoolClosed, Timeout, WorkerStartFailed
from audio_pool.init_audio import read_sent, split_sent
from audio_pool.origin import VerifyReport
from audio_pool.pending import Pending, wait_all
from audio_pool.pool.assembly import Parts, assemble
from audio_pool.pool.cache_limits import limits_of
from audio_pool.pool.caller import HOST
from audio_pool.pool.intake import refuse_durable
from audio_pool.pool.own_craft import own_craft, own_verify
from audio_pool.pool.own_rooms import OwnRooms
from audio_pool.pool.pending_sink import sink_of
from audio_pool.pool.plan import concurrency_of
from audio_pool.pool.questions import QUESTION_TIMEOUT_S, answer_of, on_router
from audio_pool.pool.reload import Reload, reload_plan
from audio_pool.pool.replies import LocalSink
from audio_pool.pool.resolve import ResolvedRequest
from audio_pool.pool.signing import signing_of
from audio_pool.results import AudioResult
from audio_pool.scheduler import events
from audio_pool.tasks import Called, ClapOperation
from audio_pool.telemetry import GuardedTelemetry, Telemetry
from audio_pool.tracing import asked_traceparent
from audio_pool.transport.client_messages import (
    PROTOCOL_VERSION,
    CancelRequest,
    ClapRequest,
    FeedbackRequest,
    SpectrogramRequest,
)
from audio_pool.types import AudioRequest, Delivery
from audio_pool.validation import parse

__all__ = ["AudioPool"]

log = logging.getLogger(__name__)

T = TypeVar("T")
Answer = TypeVar("Answer", bound=msgspec.Struct)
_ENVELOPE = {"v": PROTOCOL_VERSION, "request_id": "local"}
"""What a message has beside its own fields; they are checked the same here as on the wire."""


class AudioPool(OwnRooms, PoolApi):
    """Sound on demand. Use it as a context manager, or call ``start`` and ``stop``.

    All methods may be called from any thread.
    """

    def __init__(
        self, config: Config | None = None, *, serve: bool = False, telemetry: Telemetry | None = None
    ) -> None:
        """
        Args:
            config: from ``load_config``; the built-in default where None.
            serve: bind ``server.bind`` for clients, too.
            telemetry: gets counters and timings; see telemetry.py.
        """
        self.config = config or load_config()
        self._telemetry = GuardedTelemetry(telemetry) if telemetry else Telemetry()
        self._serve = serve
        self._lock = threading.Lock()
        self._parts: Parts | None = None
        self._stop_rest: contextlib.ExitStack = contextlib.ExitStack()

    @classmethod
    def from_config(
        cls,
        source: Mapping[str, Any] | str | Path | None = None,  # opaque until load_config has checked it
        *,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,  # opaque, as the source
        serve: bool = False,
    ) -> AudioPool:
        """Return a pool from a dict, a TOML file, or nothing (the built-in default).

        Raises:
            InvalidConfig, NotFound.
        """
        return cls(load_config(source, overrides=overrides), serve=serve)

    # -- life --------------------------------------------------------------------------------------

    def __enter__(self) -> AudioPool:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop(drain_timeout_s=0.0 if exc[0] is not None else None)

    def start(self, *, wait: bool = True) -> AudioPool:
        """Start the workers; with ``wait`` return when all are ready.

        Raises:
            WorkerStartFailed, EngineUnavailable, ...: the real reason why a worker did not come up.
        """
        with self._lock:
            if self._parts is not None:
                return self
            try:
                self._parts = assemble(self.config, self._telemetry, self._stop_rest, serve=self._serve)
            except BaseException:
                self._stop_rest.close()
                raise
        if wait:
            try:
                self.wait_ready()
            except BaseException:
                self.stop(drain_timeout_s=0.0)
                raise
        return self

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Return when every worker is ready, but for those that have no place yet on another machine.

        Raises:
            AudioPoolError: the start-up error of the first worker that failed.
            Timeout: not all were ready within ``timeout_s`` (default: the configured load timeouts).
        """
        limits = self.config.limits
        if timeout_s is None:
            timeout_s = limits.hello_timeout_s + limits.load_timeout_s + 5.0
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            workers = self._on_router(
                lambda parts: [
                    ("loading" if w.coming else "ready" if w.pending else w.state, w.failure)
                    for w in parts.router.scheduler.workers.workers.values()
                ]
            )
            for state, failure in workers:
                if state == "broken":
                    raise failure.error() if failure else WorkerStartFailed("a worker failed to start")
            if all(state == "ready" for state, _ in workers):
                return
            time.sleep(0.01)
        raise Timeout(f"the workers were not ready within {timeout_s:g} s", hint="see the workers' logs")

    def reload(self, config: Config) -> Reload:
        """Take over what a changed configuration says and a running pool can change; report the rest.

        Raises:
            PoolClosed: the pool is not running. AudioPoolError: a worker that is new cannot be; nothing is changed.
        """
        plan = reload_plan(self.config, config)
        signing = signing_of(plan.config.provenance)  # another certificate may lie where the former one did

        def configure(parts: Parts) -> None:
            parts.service.staff.follow(plan.config, plan.added, plan.removed)
            parts.intake.configure(plan.config, signing)
            changed = plan.config
            if parts.cache is not None:
                parts.cache.limit(limits_of(changed.cache))
            parts.router.feed(
                events.Reconfigure(
                    limits=changed.limits,
                    queue=changed.queue,
                    clients=changed.clients,
                    concurrency=concurrency_of(changed),
                )
            )

        self._on_router(configure)
        self.config = plan.config
        return plan

    def stop(self, drain_timeout_s: float | None = None) -> None:
        """Finish what is under way (for at most ``drain_timeout_s``), then end every worker."""
        with self._lock:
            parts, self._parts = self._parts, None
        if parts is None:
            return
        limits = self.config.limits
        drain = limits.drain_timeout_s if drain_timeout_s is None else drain_timeout_s
        parts.router.post(events.Drain(deadline=time.monotonic() + drain))
        if not parts.router.join(drain + limits.term_timeout_s + 15.0):
            log.error("the router did not end in time")
        self._stop_rest.close()

    # -- asking ------------------------------------------------------------------------------------

    def submit(
        self,
        prompt: Asked,
        *,
        events: bool = False,
        timeout_s: float | None = None,
        traceparent: str | None = None,
        **fields: Any,  # opaque until as_request has checked them
    ) -> Pending:
        """Ask for a sound and return at once.

        Args:
            prompt: the words, or a whole request.
            events: accepted and progress events are wanted; see ``Pending.events``.
            timeout_s: seconds until the request ends as Timeout; None: as long as the limits let it live.
            traceparent: W3C's, of the trace that it belongs to; None: of the span that is open here, if one is.
            fields: of AudioRequest, e.g. ``duration_s=8, loop=True``; ``init_audio`` also as bytes or a Path.

        Raises:
            InvalidRequest: the field, what was given, what is allowed.
            PoolClosed: the pool is not running.
        """
        fields, sent = split_sent(fields)
        request = as_request(prompt, fields)
        if timeout_s is not None:
            check_timeout(timeout_s)
        refuse_durable(request)
        trace = asked_traceparent(traceparent)
        caller = structs.replace(HOST, trace=trace) if trace else HOST
        parts = self._running()
        resolved: ResolvedRequest | None = None
        if request.init_audio is None and not sent:
            resolved = parts.intake.resolve(request)
        number: list[int] = []

        def cancel() -> None:
            parts.router.post(lambda: parts.intake.cancel(number[0]) if number else None)

        pending = Pending(
            secrets.token_hex(8),
            cancel,
            patience_s=self.patience_s if timeout_s is None else timeout_s,
            delivered_by=parts.router.thread_id,
        )
        own_deadline_s = request.deadline_ms / 1000 if request.deadline_ms is not None else math.inf
        sink = sink_of(pending, timeout_s if timeout_s is not None and timeout_s < own_deadline_s else None)

        def better(request_id: str, its_number: int) -> LocalSink:
            pending.upgraded = Pending(
                request_id,
                lambda: parts.router.post(lambda: parts.intake.cancel(its_number)),
                patience_s=self.patience_s,
                delivered_by=parts.router.thread_id,
                goes_on=True,
            )
            return sink_of(pending.upgraded, None)

        def take_in() -> None:
            try:
                intake = parts.intake
                if resolved is not None:
                    taken = intake.submit_resolved(
                        resolved, sink, events_wanted=events, timeout_s=timeout_s, caller=caller, upgraded=better
                    )
                else:
                    frames = [sent] if sent else ()
                    taken = intake.submit(
                        request, sink, events_wanted=events, timeout_s=timeout_s, sent=frames, caller=caller,
                        upgraded=better,
                    )  # fmt: skip
                number.append(taken)
            except Exception as exc:  # a bug, too, must not leave the caller waiting
                pending.on_error(parts.service.refusal(exc))

        parts.router.post(take_in)
        if parts.router.stopped.is_set() and not pending.done():
            raise PoolClosed("the pool has stopped")
        return pending

    def generate(
        self,
        prompt: Asked,
        *,
        timeout_s: float | None = None,
        on_event: OnEvent | None = None,
        on_upgrade: OnUpgrade | None = None,
        **fields: Any,  # opaque until as_request has checked them
    ) -> AudioResult:
        """Ask for a sound and wait for it.

        Args:
            timeout_s: the longest wait; None: as long as the configured limits let a request live.
            on_event: called in this thread with each accepted and progress event.
            on_upgrade: called in another thread, with the better sound, where the answer stands in for one.

        Raises:
            Timeout: the sound was not there in time (the work is cancelled).
            AudioPoolError: what went wrong.
        """
        limit = self._limit(timeout_s)
        pending = self.submit(prompt, events=on_event is not None, **fields)
        result = pending.wait(limit, on_event)
        if on_upgrade is not None:
            pending.call_when_upgraded(on_upgrade)
        return result

    async def agenerate(
        self,
        prompt: Asked,
        *,
        timeout_s: float | None = None,
        on_upgrade: OnUpgrade | None = None,
        **fields: Any,  # opaque, as generate's
    ) -> AudioResult:
        """Do as ``generate``, for asyncio. Cancelling the task cancels the work."""
        limit, pending = self._limit(timeout_s), self.submit(prompt, **fields)
        result = await pending.wait_async(limit)
        if on_upgrade is not None:
            pending.call_when_upgraded(on_upgrade)
        return result

    def variants(
        self, prompt: Asked, count: int, *, timeout_s: float | None = None, **fields: Any  # opaque, as generate's
    ) -> list[AudioResult]:
        """Get so many (1..100) different sounds of a prompt: kept ones, and new ones for the rest; see PoolApi."""
        limit, asked = self._limit(timeout_s), variant_requests(prompt, count, fields)
        return wait_all([self.submit(one) for one in asked], limit)

    def _limit(self, timeout_s: float | None) -> float:
        if timeout_s is None:
            return self.patience_s
        check_timeout(timeout_s)
        return timeout_s

    @property
    def patience_s(self) -> float:
        """Seconds longer than any request can take: queueing, every round, every retry."""
        limits = self.config.limits
        return limits.load_timeout_s + limits.task_timeout_s * (limits.max_attempts + 1) * limits.max_rounds

    def count_variants(self, request: AudioRequest) -> int:
        """Count the kept sounds that the cache could offer for the very words of this request."""
        parts = self._running()
        cache = parts.cache
        if cache is None:
            return 0
        resolved = parts.intake.resolve(request)
        return self._on_router(lambda _: cache.current.count(resolved.recipe, resolved.query))

    # -- looking, and the rest of the API ----------------------------------------------------------

    def cancel(self, request_id: str) -> Cancellation:
        """Stop a request by its id, whoever asked for it; it then ends as Cancelled."""
        asked = parse(CancelRequest, {**_ENVELOPE, "target": request_id}, error=InvalidRequest, what="cancel")
        return self._on_router(lambda parts: parts.service.cancel(asked.target))

    def status(self, *, numbers: bool = False) -> PoolStatus:
        """Report what the pool is doing: workers, queue, counters; ``numbers``: and all that was measured."""
        return self._on_router(lambda parts: parts.service.view.status(numbers=numbers))

    def health(self) -> Health:
        """Report whether a real job could run now, and why not."""
        parts = self._parts
        if parts is not None and parts.router.stopped.is_set() and parts.router.failure is not None:
            return Health(state="down", reasons=(str(parts.router.failure),))
        return self._on_router(lambda parts: parts.service.view.health())

    def engines(self) -> Engines:
        """Report the engines that can be asked for, and what each can do."""
        return self._on_router(lambda parts: parts.service.view.engines())

    def cache_stats(self) -> CacheStats:
        """Report figures about the whole cache. Raises NotFound where it is off."""
        return self._ask(CacheStats, lambda parts, sink: parts.service.cache_stats(sink))

    def feedback(self, target: str, verdict: FeedbackVerdict, comment: str = "") -> FeedbackNoted:
        """Tell what the result of request ``target`` was like."""
        fields = {"target": target, "verdict": verdict, "comment": comment}
        asked = parse(FeedbackRequest, {**_ENVELOPE, **fields}, error=InvalidRequest, what="feedback")
        return self._ask(
            FeedbackNoted, lambda parts, sink: parts.service.feedback(asked.target, asked.verdict, asked.comment, sink)
        )

    # opaque fields, as those of ``submit``
    def explain(self, prompt: Asked, *, timeout_s: float = QUESTION_TIMEOUT_S, **fields: Any) -> Explanation:
        """Get why a request would hit or miss, as ``generate`` would ask for it; nothing is made."""
        asked = msgspec.to_builtins(as_request(prompt, fields))
        return self._ask(Explanation, lambda parts, sink: parts.service.explaining.ask(asked, sink), timeout_s)

    def verify(
        self,
        path: str | Path | None = None,
        *,
        sound: bytes | Path | None = None,
        namespace: str | None = None,
        timeout_s: float | None = None,
    ) -> VerifyReport:
        """Ask where a file comes from; see PoolApi."""
        parts = self._running()
        wait_s = self.config.limits.task_timeout_s if timeout_s is None else timeout_s
        return own_verify(parts.router, parts.service, path, sound, namespace, wait_s)

    def craft(
        self,
        craft: Craft,
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
        output_path: str | Path | None = None,
        delivery: Delivery = "path",
        timeout_s: float | None = None,
        **form: Any,  # opaque until it is parsed
    ) -> CraftReport:
        """Have given sounds worked on; see PoolApi."""
        parts = self._running()
        fields = {"craft": craft, "form": form, "paths": paths, "output_path": output_path, "delivery": delivery}
        wait_s = self.config.limits.task_timeout_s if timeout_s is None else timeout_s
        return own_craft(parts.router, parts.service, fields, sounds, wait_s)

    def clap(
        self,
        operation: ClapOperation,
        texts: Sequence[str] = (),
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
        timeout_s: float | None = None,
    ) -> ClapAnswer:
        """Ask the configured scorer for vectors, similarities, or labels with scores. Raises EngineUnavailable."""
        sent = [[read_sent("sounds", one)] for one in sounds]
        fields = {"operation": operation, "texts": list(texts), "paths": [str(path) for path in paths]}
        asked = parse(ClapRequest, {**_ENVELOPE, **fields}, error=InvalidRequest, what="clap")
        return self._ask(
            Called,
            lambda parts, sink: parts.service.hearing.ask(
                asked.operation, asked.texts, asked.paths, sink, sounds=sent
            ),
            self.config.limits.task_timeout_s if timeout_s is None else timeout_s,
        ).body

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
        """Get a picture (PNG) of a kept sound, by its entry's id: drawn by a worker where there is none yet; see
        PoolApi."""
        fields = {"entry": entry, "namespace": namespace, "mel_bands": mel_bands, "highest_hz": highest_hz}
        fields |= {"dark": dark, "delivery": delivery}
        asked = parse(SpectrogramRequest, {**_ENVELOPE, **fields}, error=InvalidRequest, what="spectrogram")
        parts = self._running()

        def order(sink: LocalSink) -> None:
            parts.service.pictures.ask(asked.entry, asked.namespace, asked.picture, asked.delivery, sink)

        report, data = answer_of(parts.router, PictureReport, order, timeout_s)
        return report if data is None else structs.replace(report, data=data)

    @property
    def endpoint(self) -> str | None:
        """Where clients connect, when serving."""
        return self._running().endpoint

    @property
    def running(self) -> bool:
        """True between ``start`` and ``stop``, unless the pool has failed."""
        parts = self._parts
        return parts is not None and not parts.router.stopped.is_set()

    def worker_pids(self) -> dict[str, int]:
        """Return the process ids of the workers that run now, by name."""
        return self._running().pids()

    # -- inside ------------------------------------------------------------------------------------

    def _running(self) -> Parts:
        parts = self._parts
        if parts is not None and parts.router.stopped.is_set() and parts.router.failure is not None:
            raise PoolClosed(f"the pool is down: {parts.router.failure}", hint="stop it, and start another")
        if parts is None or parts.router.stopped.is_set():
            raise PoolClosed("the pool is not running", hint="use it as a context manager, or call start()")
        return parts

    def _on_router(self, ask: Callable[[Parts], T]) -> T:
        parts = self._running()
        return on_router(parts.router, lambda: ask(parts))

    def _ask(
        self,
        answered_by: type[Answer],
        order: Callable[[Parts, LocalSink], object],  # opaque: what it returns is dropped
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> Answer:
        parts = self._running()
        return answer_of(parts.router, answered_by, lambda sink: order(parts, sink), timeout_s)[0]
