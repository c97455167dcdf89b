"""AudioPool: a pool of warm workers within this process, and the only place where a request's way can
be read in order.

Owns: building a pool from its configuration, its start and stop, and the callers' handles.

A request's way (``submit``): *validate* and *settle* here; then, on the router's thread, *exact look-up*,
*look-up by meaning*, *join or queue*, *generate*, *shape, judge, master* on a worker, *store* on the
clerk's thread, *reply*. The order and every retry is schedule.py's; how each step is done, hands.py's.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import queue
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from audio_pool.cache.sound_cache import SoundCache
from audio_pool.config import Config, load_config
from audio_pool.engines import engine_info
from audio_pool.errors import AudioPoolError, PoolClosed, Timeout, WorkerStartFailed
from audio_pool.pool.clerk import Clerk
from audio_pool.pool.delivery import Delivery
from audio_pool.pool.executor import PoolHands
from audio_pool.pool.plan import (
    encoders_of,
    infos_of,
    limits_of,
    load_of,
    plan_of,
    process_of,
    refuse_non_commercial,
    searched_space,
    workers_of,
)
from audio_pool.pool.replies import Final, HostCaller
from audio_pool.pool.resolve import settle
from audio_pool.pool.router import Router
from audio_pool.pool.status import health, status
from audio_pool.pool.supervisor import Factory
from audio_pool.results import AudioResult, Event
from audio_pool.scheduler import events
from audio_pool.scheduler.scheduler import Schedule
from audio_pool.server.image_server import ImageDoor
from audio_pool.server.zmq_frontend import Reception
from audio_pool.telemetry import Telemetry
from audio_pool.transport.arena import Arena
from audio_pool.transport.endpoints import default_bind, local_endpoint
from audio_pool.transport.keys import ServerKeys
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

__all__ = ["AudioPool", "Pending"]

log = logging.getLogger(__name__)

_END = object()


class Pending(concurrent.futures.Future[AudioResult]):
    """A request under way: a future with events.

    ``result(timeout)`` gives the AudioResult or raises what went wrong; ``cancel()`` stops the work
    between two steps.
    """

    def __init__(self, request_id: str, cancel: Callable[[], None]) -> None:
        super().__init__()
        self.request_id = request_id
        self.background = False
        """Made ahead of any caller: nobody waits for it."""
        self._ask_cancel = cancel
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.set_running_or_notify_cancel()

    def cancel(self) -> bool:
        """Asks for the end of the work; ``result`` then raises Cancelled. False where it is done already."""
        if self.done():
            return False
        self._ask_cancel()
        return True

    def events(self, timeout_s: float | None = None) -> Iterator[Event]:
        """What happens to the request until its end.

        Raises:
            Timeout: nothing for ``timeout_s``.
        """
        while True:
            try:
                event = self._events.get(timeout=timeout_s)
            except queue.Empty:
                raise Timeout(f"request {self.request_id}: no event within {timeout_s:g} s") from None
            if event is _END:
                return
            yield event

    def _notify(self, kind: Any, body: dict[str, Any]) -> None:
        self._events.put(Event(request_id=self.request_id, type=kind, body=body))

    def _finish(self, final: Final) -> None:
        self._events.put(_END)
        if final.error is not None:
            self.set_exception(final.error)
        else:
            self.set_result(
                AudioResult(
                    request_id=self.request_id, path=final.path or "", metadata=final.metadata or {}, data=final.data
                )
            )


class AudioPool:
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
            telemetry: hears counters and timings; see telemetry.py.
        """
        self._telemetry = telemetry
        self.config = config or load_config()
        self._serve = serve
        self._lock = threading.Lock()
        self._router: Router | None = None
        self._hands: PoolHands | None = None
        self._stop_rest: contextlib.ExitStack = contextlib.ExitStack()

    @classmethod
    def from_config(
        cls,
        source: Mapping[str, Any] | str | Path | None = None,
        *,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        serve: bool = False,
    ) -> AudioPool:
        """A pool from a dict, a TOML file, or nothing (the built-in default).

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
        """Spawns the workers; with ``wait`` returns when all are ready.

        Raises:
            WorkerStartFailed, EngineUnavailable, ...: the real reason why a worker did not come up.
        """
        with self._lock:
            if self._router is not None:
                return self
            try:
                self._build()
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
        """Returns when every worker is ready.

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
                lambda router: [(w.state, w.error) for w in router.schedule.roster.workers.values()]
            )
            for state, error in workers:
                if state == "failed":
                    raise error or WorkerStartFailed("a worker failed to start")
            if all(state == "ready" for state, _ in workers):
                return
            time.sleep(0.01)
        raise Timeout(f"the workers were not ready within {timeout_s:g} s", hint="see the workers' logs")

    def stop(self, drain_timeout_s: float | None = None) -> None:
        """Finishes what is under way (for at most ``drain_timeout_s``), then ends every worker."""
        with self._lock:
            router, self._router = self._router, None
        if router is None:
            return
        limits = self.config.limits
        drain = limits.drain_timeout_s if drain_timeout_s is None else drain_timeout_s
        router.post(events.Drain(deadline=time.monotonic() + drain))
        if not router.join(drain + limits.term_timeout_s + 15.0):
            log.error("the router did not end in time")
        self._stop_rest.close()

    def _build(self) -> None:
        """Everything a pool is made of, in the order in which each part needs the others."""
        config, rest = self.config, self._stop_rest
        cache = self._open_cache()
        arena = Arena.create(quota_bytes=config.queue.arena_bytes)
        rest.callback(arena.close)
        encoders = encoders_of(config) if cache is not None else ()
        if cache is not None:
            # here and not at the first look-up: that one would wait for it on the router's thread
            cache.prepare(searched_space(name, config) for name in encoders)
        workers = workers_of(config)
        infos = infos_of(workers)  # may refuse: nothing that has to be undone is there yet
        if config.policy.commercial_only:
            refuse_non_commercial([*infos.values(), *map(engine_info, encoders)])
        endpoint = local_endpoint(arena.directory / "workers.sock")
        schedule = Schedule([plan_of(worker, encoders) for worker in workers], limits_of(config))
        keys = ServerKeys.read(Path(config.server.keys_dir)) if self._serve and config.server.keys_dir else None
        router = Router(
            schedule,
            endpoint,
            clients_endpoint=(config.server.bind or default_bind()) if self._serve else None,
            keys=keys,
            parked_bytes=config.server.parked_bytes,
            telemetry=self._telemetry,
        )
        rest.callback(router.close)
        if self._serve and config.server.pull_bind:
            router.image_door = ImageDoor(config.server.pull_bind, config.server.push_bind)
        log_dir = Path(config.server.log_dir).expanduser() if config.server.log_dir else config.cache_dir / "logs"
        factory = Factory(
            endpoint,
            log_dir,
            lambda name, incarnation, reason: router.post(lambda: router.died(name, incarnation, reason)),
        )
        rest.callback(factory.close)
        clerk = Clerk()
        rest.callback(clerk.close)
        self._hands = PoolHands(
            config,
            router,
            cache=cache,
            arena=arena,
            factory=lambda: factory,
            clerk=clerk,
            processes={worker.name: process_of(worker) for worker in workers},
            loads={worker.name: load_of(worker, config, encoders, str(arena.directory)) for worker in workers},
            infos=infos,
            encoders=encoders,
            incoming=cache.incoming if cache is not None else self._scratch(),
            delivery=Delivery(clerk, cache, config.render_dir, config.server.max_inline_bytes),
        )
        self._hands.reception = Reception(self._hands)
        router.hands = self._hands
        self._router = router
        router.start()

    def _open_cache(self) -> SoundCache | None:
        config = self.config
        if not config.cache.enabled:
            return None
        cache = SoundCache(
            config.cache_dir,
            max_per_prompt=config.cache.max_per_prompt,
            cap_strategy=config.cache.cap_strategy,
            render_dir=config.render_dir,
        )
        self._stop_rest.callback(cache.close)
        return cache

    def _scratch(self) -> Path:
        self.config.render_dir.mkdir(parents=True, exist_ok=True)
        return Path(self._stop_rest.enter_context(tempfile.TemporaryDirectory(dir=self.config.render_dir)))

    # -- asking ------------------------------------------------------------------------------------

    def submit(self, prompt: str | AudioRequest | Mapping[str, Any], **fields: Any) -> Pending:
        """Asks for a sound and returns at once.

        Args:
            prompt: the words, or a whole request.
            fields: of AudioRequest, e.g. ``duration_s=8, loop=True``.

        Raises:
            InvalidRequest: the field, what was given, what is allowed.
            PoolClosed: the pool is not running.
        """
        if isinstance(prompt, AudioRequest):
            prompt = msgspec.to_builtins(prompt)  # its constructor has checked nothing
        words = prompt if isinstance(prompt, Mapping) else {"prompt": prompt}
        request = parse(AudioRequest, {**words, **fields})
        router, hands = self._running()
        settled = None
        if request.init_audio is None:
            settled = settle(request, self.config, dict(hands.infos))
        ticket: list[int] = []

        def cancel() -> None:
            router.post(lambda: hands.cancel(ticket[0]) if ticket else None)

        pending = Pending(secrets.token_hex(8), cancel)
        caller = HostCaller(request_id=pending.request_id, on_final=pending._finish, on_event=pending._notify)

        def take_in() -> None:
            try:
                if settled is not None:
                    ticket.append(hands.submit_settled(settled, caller, events=True))
                else:
                    ticket.append(hands.submit(request, caller, events=True))
            except AudioPoolError as exc:
                caller.finish(Final(kind="error", error=exc))

        router.post(take_in)
        if router.stopped.is_set() and not pending.done():
            raise PoolClosed("the pool has stopped")
        return pending

    def generate(
        self, prompt: str | AudioRequest | Mapping[str, Any], *, timeout_s: float | None = None, **fields: Any
    ) -> AudioResult:
        """Asks for a sound and waits for it.

        Args:
            timeout_s: the longest wait; None: as long as the configured limits let a request live.

        Raises:
            Timeout: the sound was not there in time (the work is cancelled).
            AudioPoolError: what went wrong.
        """
        pending = self.submit(prompt, **fields)
        limit = self.patience_s if timeout_s is None else timeout_s
        try:
            return pending.result(limit)
        except concurrent.futures.TimeoutError:
            pending.cancel()
            raise Timeout(f"no sound within {limit:g} s", hint="raise timeout_s, or see status()") from None

    async def agenerate(
        self, prompt: str | AudioRequest | Mapping[str, Any], *, timeout_s: float | None = None, **fields: Any
    ) -> AudioResult:
        """As ``generate``, for asyncio. Cancelling the task cancels the work."""
        pending = self.submit(prompt, **fields)
        limit = self.patience_s if timeout_s is None else timeout_s
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(pending)), limit)
        except TimeoutError:
            pending.cancel()
            raise Timeout(f"no sound within {limit:g} s", hint="raise timeout_s, or see status()") from None
        except asyncio.CancelledError:
            pending.cancel()
            raise

    @property
    def patience_s(self) -> float:
        """Longer than any request can take: queueing, every round, every retry."""
        limits = self.config.limits
        return limits.load_timeout_s + limits.task_timeout_s * (limits.max_attempts + 1) * limits.max_rounds

    def count_variants(self, request: AudioRequest) -> int:
        """How many kept sounds the cache could offer for the very words of this request."""
        _, hands = self._running()
        settled = settle(request, self.config, dict(hands.infos))
        cache = hands.cache
        if cache is None:
            return 0
        count: int = self._on_router(lambda _: cache.count(settled.recipe, settled.query))
        return count

    # -- looking -----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What the pool is doing: workers, queue, counters."""
        _, hands = self._running()
        answer: dict[str, Any] = self._on_router(lambda _: status(hands))
        return answer

    def health(self) -> dict[str, Any]:
        """``state`` (starting, ready, degraded, draining), the ``reasons``, and each engine's state."""
        _, hands = self._running()
        answer: dict[str, Any] = self._on_router(lambda _: health(hands))
        return answer

    @property
    def endpoint(self) -> str | None:
        """Where clients connect, when serving."""
        router, _ = self._running()
        return router.endpoint

    @property
    def running(self) -> bool:
        router = self._router
        return router is not None and not router.stopped.is_set()

    def _running(self) -> tuple[Router, PoolHands]:
        router, hands = self._router, self._hands
        if router is None or hands is None or router.stopped.is_set():
            raise PoolClosed("the pool is not running", hint="use it as a context manager, or call start()")
        return router, hands

    def _on_router(self, ask: Callable[[Router], Any], timeout_s: float = 10.0) -> Any:
        """The answer of a question that only the router's thread may ask."""
        router, _ = self._running()
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def put() -> None:
            try:
                answer.set_result(ask(router))
            except BaseException as exc:
                answer.set_exception(exc)

        router.post(put)
        try:
            return answer.result(timeout_s)
        except concurrent.futures.TimeoutError:
            if router.failure is not None:
                raise PoolClosed(f"the pool has failed: {router.failure}") from router.failure
            raise Timeout(f"the router did not answer within {timeout_s:g} s") from None
