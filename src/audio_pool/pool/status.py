"""What the pool is doing: health, status and engines, from what the workers sent last.

Owns: StatusView, which builds the reports of api.py.
Must not know: who asks.
"""

from __future__ import annotations

import collections
import secrets
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec

from audio_pool import __version__
from audio_pool.api import EngineReport, Engines, Health, HealthState, PoolStatus, WorkerStatus
from audio_pool.cache.keeper import CacheKeeper
from audio_pool.config import Config
from audio_pool.engine_info import EngineInfo
from audio_pool.pool.executor import Executor
from audio_pool.pool.model_orders import models_on
from audio_pool.pool.numbers_view import NumbersView, at_work
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.router import FrontEnd, Router
from audio_pool.scheduler.worker_state import WorkerState
from audio_pool.staffing import LeaseReport
from audio_pool.transport.arena import Arena

__all__ = ["StatusView"]

_LEAST_FREE_BYTES = 64 << 20
"""With less room on the disk than a few sounds take, the next one may not find any."""


class StatusView:
    """Reads the pool's tables. Router's thread only."""

    def __init__(
        self,
        config: Config,
        router: Router,
        executor: Executor,
        requests: RequestTable,
        *,
        cache: CacheKeeper | None,
        arena: Arena,
        numbers: NumbersView,
        infos: Mapping[str, EngineInfo],
        encoders: tuple[str, ...],
    ) -> None:
        self.feedback_counts: collections.Counter[str] = collections.Counter()
        """Feedback by verdict, as ``feedback_VERDICT``."""
        self.instance = secrets.token_hex(8)
        """Of this start of the pool."""
        self.watched: list[Callable[[], str]] = []
        """Further parts that may fail: each says how, or "" while all is well."""
        self.embedding: Callable[[], str] = str
        """How far embedding kept sounds anew is; "" where nothing is lacking."""
        self.leases: Callable[[], tuple[LeaseReport, ...]] = tuple
        """Devices that are lent."""
        self._config = config
        self._router = router
        self._executor = executor
        self._requests = requests
        self._cache = cache
        self._arena = arena
        self._numbers = numbers
        self._infos = infos
        self._encoders = encoders

    def health(self, *, discreet: bool = False) -> Health:
        """Report whether a real job could run now.

        Args:
            discreet: without errors' words, which may hold what others asked for, and paths.
        """
        if self._router.failure is not None:
            reason = "see the server's log" if discreet else str(self._router.failure)
            return Health(state="down", reasons=(reason,), instance=self.instance, blockers=(reason,))
        scheduler = self._router.scheduler
        workers = scheduler.workers.workers
        now = time.monotonic()
        most_silent_s = max(2.5 * self._config.limits.heartbeat_s, 0.5)
        reasons: list[str] = []
        engines: dict[str, str] = {}
        coming = False
        for name, worker in workers.items():
            silent_s = now - worker.last_sign
            alive = worker.state == "ready" and not worker.killed and silent_s < most_silent_s
            if worker.state in ("starting", "loading") and worker.failure is None:
                coming = coming or not worker.pending or not self._is_covered(worker)
            elif not alive or worker.breaker.half_open or not worker.wanted:
                away = scheduler.staffing.away(worker, now)
                trouble = worker.condition if discreet else away or _trouble(worker, silent_s, now)
                reasons.append(f"worker {name!r}: {trouble}")
            for engine in worker.plan.engines:
                state = worker.condition if alive or worker.state != "ready" else "silent"
                barred = worker.barred.get(engine) if alive and engine not in worker.loaded else None
                if barred is not None:
                    state = "failed" if state == "ready" else state
                    elsewhere = any(one.ready and engine in one.loaded for one in workers.values())
                    if self._is_asked(engine) and not elsewhere:
                        why = barred.failure.code if discreet else barred.failure.message
                        reasons.append(f"engine {engine!r} on worker {name!r} could not be loaded: {why}")
                if engines.get(engine) != "ready":
                    engines[engine] = state
        if self._cache is not None and self._cache.trouble:
            reasons.append(f"cache: {self._cache.trouble}")
        reasons += [trouble for watch in self.watched if (trouble := watch())]
        masters = any(worker.state == "ready" and "master" in worker.plan.roles for worker in workers.values())
        overall: HealthState
        if scheduler.drain_deadline is not None:
            overall = "draining"
        elif reasons:
            overall = "degraded"
        else:
            overall = "starting" if coming or not masters else "ready"
        return Health(
            state=overall,
            reasons=tuple(reasons),
            engines=engines,
            instance=self.instance,
            blockers=tuple(self._blockers(engines, masters=masters, now=now)),
        )

    def _is_asked(self, hosted: str) -> bool:
        """Return False for a model that has not come in the place of another, or in whose place another has come."""
        name = hosted.partition("@")[0]
        return hosted == self._executor.present.get(name, name)

    def _is_covered(self, worker: WorkerState) -> bool:
        """Return whether others that are ready do all that a worker without a place would do: it may take its time."""
        ready = [one for one in self._router.scheduler.workers.workers.values() if one.ready]
        roles = {role for one in ready for role in one.plan.roles}
        engines = {engine for one in ready for engine in one.plan.engines}
        return worker.plan.roles <= roles and set(worker.plan.engines) <= engines

    def _blockers(self, engines: Mapping[str, str], *, masters: bool, now: float) -> Iterator[str]:
        """Yield what keeps every new sound from being made and kept."""
        scheduler = self._router.scheduler
        if scheduler.drain_deadline is not None:
            yield "it is stopping"
        makers = {
            engine
            for worker in scheduler.workers.workers.values()
            if "generate" in worker.plan.roles
            for engine in worker.plan.engines
        }
        if not any(engines[engine] in ("ready", "half_open") for engine in makers):
            yield "no worker that generates is ready"
        if not masters:
            yield "no worker that masters is ready"
        if scheduler.full(now):
            yield "the queue is full"
        disk = self._numbers.seen().disk
        if disk.total_bytes and disk.free_bytes < _LEAST_FREE_BYTES:
            yield f"the disk is full: {disk.free_bytes >> 20} MiB are free, needed are {_LEAST_FREE_BYTES >> 20}"
        elif self._cache is not None and not self._cache.takes_sounds:
            yield "the cache takes no sounds"

    def status(self, *, discreet: bool = False, numbers: bool = False) -> PoolStatus:
        """Report what the pool is doing; ``discreet``: as ``health``; ``numbers``: and all that was measured."""
        scheduler = self._router.scheduler
        return PoolStatus(
            version=__version__,
            health=self.health().state,
            requests=len(scheduler.requests) - scheduler.ladders.doubles,
            waiting=len(scheduler.waiting),
            workers={name: self._worker(name, worker, discreet) for name, worker in scheduler.workers.workers.items()},
            semantic=self._semantic().partition(":")[0] if discreet else self._semantic(),
            cache="off" if self._cache is None else "on" if discreet else str(self._config.cache_dir),
            answers=dict(self._requests.answers),
            cache_types=dict(self._executor.cache_types),
            replies=self._summed(lambda front_end: front_end.reply_counts),
            clients={**self._summed(lambda front_end: front_end.message_counts), **self.feedback_counts},
            strangers_refused=self._router.link_counts.get("strangers_refused", 0),
            arena=self._arena.stats(),
            leases=() if discreet else self.leases(),
            heads=() if discreet or self._cache is None else self._cache.current.store.others,
            numbers=self._numbers.numbers(discreet=discreet) if numbers else None,
        )

    def engines(self) -> Engines:
        """Report the engines that workers host."""
        workers = self._router.scheduler.workers.workers.values()
        hosted = {engine for worker in workers for engine in worker.plan.engines}
        states = self.health().engines
        return Engines(
            engines=tuple(
                EngineReport(**msgspec.structs.asdict(self._infos[name]), state=states.get(name, "not hosted"))
                for name in sorted(hosted)
                if name in self._infos
            ),
            default=self._config.defaults.engine,
        )

    def _worker(self, name: str, worker: WorkerState, discreet: bool) -> WorkerStatus:
        return WorkerStatus(
            state=worker.condition,
            incarnation=worker.incarnation,
            engines=tuple(sorted(worker.plan.engines)),
            roles=tuple(sorted(worker.plan.roles)),
            device=self._executor.devices.get(name, ""),
            gpus=worker.plan.devices,
            tasks=len(worker.tasks),
            tasks_done=worker.tasks_done,
            crashes=worker.breaker.crashes,
            models=tuple(models_on(worker, time.monotonic(), discreet=discreet)),
            room_bytes=worker.room_bytes,
            at_work=at_work(worker, time.monotonic()),
            pending=worker.pending or None,
            error=None if worker.failure is None else worker.failure.code if discreet else worker.failure.message,
        )

    def _summed(self, counts_of: Callable[[FrontEnd], Mapping[str, int]]) -> dict[str, int]:
        total: collections.Counter[str] = collections.Counter()
        for front_end in self._router.front_ends:
            total.update(counts_of(front_end))
        return dict(total)

    def _semantic(self) -> str:
        """Return the encoders that look-ups by meaning use, or that and why there are none."""
        if not self._encoders:
            return "off"
        off = self._cache.current.near_off if self._cache is not None else ""
        building = self._cache.current.spaces.building() if self._cache is not None else {}
        if building and not off:
            off = "the index is being built: " + ", ".join(f"{name} {done:.0%}" for name, done in building.items())
        former = self._cache.current.spaces.former if self._cache is not None else ""
        rest = f"{former} for what has no vector of theirs yet" if former else ""
        return f"off: {off}" if off else "; ".join(filter(None, (", ".join(self._encoders), rest, self.embedding())))


def _trouble(worker: WorkerState, silent_s: float, now: float) -> str:
    if worker.condition == "half_open" and worker.ready:
        return "half_open: it is up again, and its next task decides whether it is well"
    why = worker.failure.message if worker.failure else f"{worker.state}, last heard of {silent_s:.1f} s ago"
    if worker.state == "broken" and worker.due is not None:
        return f"{why}; broken: it is tried again in {max(0.0, worker.due - now):.0f} s"
    return why + ("; it is started again" if worker.state in ("down", "starting", "loading") else "")
