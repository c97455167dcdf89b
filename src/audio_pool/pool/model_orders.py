"""Models ordered in and out of workers' memory: who may, what is told.

Owns: ModelOrders, and ``models_on``: a worker's models for reports. Router's thread only.
Must not know: what an order takes (scheduler/loads.py), messages, sockets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from audio_pool.errors import InvalidRequest, NotFound, nearest_name
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.lending import only_operators
from audio_pool.pool.router import Router
from audio_pool.residents import ModelOrder, ModelReport, ModelsReport, ModelState
from audio_pool.scheduler import events
from audio_pool.scheduler.worker_state import WorkerState

__all__ = ["ModelOrders", "models_on"]

log = logging.getLogger(__name__)


class ModelOrders:
    """Orders models, and tells where they are."""

    def __init__(self, router: Router, encoders: tuple[str, ...]) -> None:
        """``encoders``: those that every request needs."""
        self._router = router
        self._encoders = encoders

    def list(self, *, caller: Caller = HOST) -> ModelsReport:
        """Return every engine on every worker that hosts it."""
        return self._report("", discreet=not caller.operator)

    def order(
        self, order: ModelOrder, engine: str, *, worker: str | None = None, caller: Caller = HOST
    ) -> ModelsReport:
        """Have something done with an engine; return how far it is.

        Raises:
            Refused, NotFound, InvalidRequest.
        """
        only_operators(caller, "models")
        workers = self._router.scheduler.workers.workers
        hosts = [one for one in workers.values() if engine in one.plan.engines and worker in (None, one.plan.name)]
        if not hosts:
            raise self._not_hosted(engine, worker)
        if order == "unload" and any(engine in one.pinned for one in hosts):
            raise InvalidRequest(f"engine {engine!r} is pinned", hint=f"audio-pool models unpin {engine}")
        if order == "unload" and engine in self._encoders:
            raise InvalidRequest(f"engine {engine!r} is asked with every request, as [cache] has it: it stays")
        log.info("models: %s %s%s", order, engine, f" on {worker}" if worker else "")
        self._router.feed(events.OrderModel(order=order, engine=engine, worker=worker or ""))
        return self._report(engine)

    def _not_hosted(self, engine: str, worker: str | None) -> NotFound:
        workers = self._router.scheduler.workers.workers
        if worker is not None and worker not in workers:
            return NotFound(f"no worker is named {worker!r}; there are: {', '.join(sorted(workers))}")
        hosted = {name for one in workers.values() for name in one.plan.engines}
        near = nearest_name(engine, hosted)
        there = f"did you mean {near!r}?" if near else f"hosted are: {', '.join(sorted(hosted))}"
        where = f"worker {worker!r} does not host" if worker else "no worker hosts"
        return NotFound(f"{where} engine {engine!r}; {there}")

    def _report(self, engine: str, *, discreet: bool = False) -> ModelsReport:
        workers = self._router.scheduler.workers.workers.values()
        found = [one for worker in workers for one in models_on(worker, time.monotonic(), discreet=discreet)]
        found.sort(key=lambda one: (one.engine, one.worker))
        return ModelsReport(models=tuple(one for one in found if engine in ("", one.engine)))


def models_on(worker: WorkerState, now: float, *, discreet: bool = False) -> Iterator[ModelReport]:
    """Yield what is known of each engine that a worker hosts.

    Args:
        discreet: without errors' words.
    """
    name = worker.plan.name
    for engine in sorted(worker.plan.engines):
        state = _state(worker, engine)
        barred = worker.barred.get(engine) if state == "failed" else None
        told = "" if barred is None else barred.failure.code if discreet else barred.failure.message
        yield ModelReport(
            engine=engine,
            worker=name,
            state=state,
            memory_bytes=worker.sizes.get(engine, 0),
            pinned=engine in worker.pinned,
            idle_s=round(max(0.0, now - worker.used_at.get(engine, now)), 3) if state == "loaded" else None,
            error=told or None,
            retry_in_s=None if barred is None else round(max(0.0, barred.until - now), 3),
        )


def _state(worker: WorkerState, engine: str) -> ModelState:
    if engine in worker.loaded:
        return "loaded"
    if engine in worker.changing:
        return "loading" if worker.loading == engine else "leaving"
    if worker.state != "ready":
        return "down"
    return "failed" if engine in worker.barred else "out"
