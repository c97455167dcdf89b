"""Models ordered in and out of workers' memory: who may, what is told.

Owns: ModelOrders, and ``models_on``: a worker's models for reports. Router's thread only.
Must not know: what an order takes (scheduler/loads.py), messages, sockets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from msgspec import structs

from audio_pool.config import Config, EngineConfig
from audio_pool.engine_info import EngineInfo
from audio_pool.engines import configured_info
from audio_pool.errors import InvalidRequest, NotFound, UnknownEngine, nearest_name
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.executor import Executor
from audio_pool.pool.lending import only_operators
from audio_pool.pool.plan import refuse_non_commercial
from audio_pool.pool.router import Router
from audio_pool.residents import ModelOrder, ModelReport, ModelsReport, ModelState
from audio_pool.scheduler import events
from audio_pool.scheduler.worker_state import WorkerState
from audio_pool.tasks import EngineSetup
from audio_pool.transport.worker_messages import Load

__all__ = ["ModelOrders", "models_on"]

log = logging.getLogger(__name__)


class ModelOrders:
    """Orders models, and tells where they are."""

    def __init__(
        self,
        config: Config,
        router: Router,
        executor: Executor,
        *,
        loads: dict[str, Load],
        infos: dict[str, EngineInfo],
        encoders: tuple[str, ...],
    ) -> None:
        """
        Args:
            loads: what each worker is told to load when it starts; changed by a switch, as are ``infos``.
            encoders: those that every request needs.
        """
        self._config = config
        self._router = router
        self._executor = executor
        self._loads = loads
        self._infos = infos
        self._encoders = encoders
        self._coming: dict[str, EngineInfo] = {}
        """Models that are to come in the place of others, by what they are filed under."""
        executor.on_loaded = self._loaded

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

    def switch(self, engine: str, model: str, *, revision: str | None = None, caller: Caller = HOST) -> ModelsReport:
        """Have another model come in the place of an engine's: from when it is loaded, it makes what is asked for.

        What has been asked of the former one is still made by it. It lasts until the server ends.

        Returns:
            how far it is, under the name that it is filed under until then.

        Raises:
            Refused, NotFound. InvalidRequest: no generator; it is that model already.
        """
        only_operators(caller, "models")
        hosts = [one.plan.name for one in self._router.scheduler.workers.workers.values() if engine in one.plan.engines]
        if not hosts:
            raise self._not_hosted(engine, None)
        own = self._config.engines.get(engine, EngineConfig())
        settings = {key: value for key, value in own.settings.items() if key != "revision"} | {"model": model}
        settings |= {"revision": revision} if revision else {}
        implementation, models_dir = own.implementation or engine, self._config.policy.models_dir
        present = self._infos.get(engine)
        try:
            info = configured_info(engine, implementation, kinds=own.kinds, settings=settings, models_dir=models_dir)
        except UnknownEngine:  # its worker's interpreter alone knows it
            if present is None:
                raise
            info = structs.replace(present, model=model, model_revision=revision or "")
        if info.role != "generator":
            raise InvalidRequest(f"engine {engine!r} is a {info.role}; allowed is a generator: kept vectors are of one")
        if present is not None and present.model == info.model:
            raise InvalidRequest(f"engine {engine!r} has the model {info.model!r} already")
        if self._config.policy.commercial_only:
            refuse_non_commercial([info])
        hosted = f"{engine}@{info.model}"
        kinds = None if own.kinds is None else tuple(own.kinds)
        setup = EngineSetup(implementation=implementation, kinds=kinds, settings=settings, name=engine)
        self._executor.setups[hosted] = setup
        for name in hosts:
            load = self._loads[name]
            engines = {**load.engines, hosted: setup}
            self._loads[name] = structs.replace(load, engines=engines, later=[*load.later, hosted])
        self._coming[hosted] = info
        log.info("models: %s switches to %s", engine, model)
        self._router.feed(events.HostModel(engine=engine, model=info.model, hosted=hosted))
        return self._report(hosted)

    def _loaded(self, hosted: str) -> None:
        """Note that a task has loaded an engine: what was to come in the place of another is asked from now on."""
        info = self._coming.pop(hosted, None)
        if info is None:
            return
        former = self._executor.present.get(info.name, info.name)
        self._executor.present[info.name] = hosted
        self._infos[info.name] = info
        for name, load in self._loads.items():
            if hosted in load.engines:  # a worker that is started again has the new one when it had the former
                kept = former not in load.later
                later = [one for one in load.later if one not in (former, *((hosted,) if kept else ()))]
                self._loads[name] = structs.replace(load, later=[*later, former])
        log.info("models: %s is %s now", info.name, info.model)
        self._router.post(events.RetireModel(hosted=former))

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
