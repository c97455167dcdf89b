"""Who works here: what a configuration means for workers, their engines and their processes. Pure.

Owns: counts unfolded, engines hosted beside what is named, settings handed to each; what is refused at start.
Must not know: processes, sockets, how a pool is put together (pool.py).
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from typing import Any

import msgspec

from audio_pool.cache.entry import SOUND_PREFIX
from audio_pool.config import Config, WorkerConfig, process_names
from audio_pool.engine_info import EngineInfo
from audio_pool.engines import engine_info
from audio_pool.engines._encoders import pick_encoder
from audio_pool.errors import (
    AudioPoolError,
    EngineUnavailable,
    InvalidConfig,
    Refused,
    UnknownEngine,
)
from audio_pool.models import weights
from audio_pool.pool.resolve import refuse_silent
from audio_pool.pool.supervisor import ProcessPlan
from audio_pool.scheduler.scheduler import Limits
from audio_pool.scheduler.workers import WorkerLimits, WorkerPlan
from audio_pool.transport import worker_messages

__all__ = [
    "encoders_of",
    "infos_of",
    "limits_of",
    "load_of",
    "plan_of",
    "process_of",
    "refuse_non_commercial",
    "searched_space",
    "workers_of",
]


def workers_of(config: Config) -> list[WorkerConfig]:
    """One entry a process: counts unfolded, the default where none is given."""
    given = config.workers
    if not given:
        # asked before it is loaded: a missing model would be told first, and be fetched in vain
        refuse_silent(engine_info(config.defaults.engine))
        given = [WorkerConfig(name="built-in", engines=[config.defaults.engine])]
    workers = []
    for worker in given:
        workers += [msgspec.structs.replace(worker, name=name, count=1) for name in process_names(worker)]
    return workers


def encoders_of(config: Config) -> tuple[str, ...]:
    """Embedder and scorer that texts are put through; () where look-up by meaning is off."""
    encoder = pick_encoder(config.cache.encoder, models_dir=config.policy.models_dir)
    if encoder is not None and importlib.util.find_spec("faiss") is None:
        if config.cache.encoder != "auto":
            raise EngineUnavailable(
                f"cache.encoder = {encoder!r} needs faiss, which is not installed",
                hint="pip install 'audio-pool[semantic]', or set cache.encoder = \"off\"",
            )
        encoder = None
    scorer = None if config.cache.scorer == "off" else config.cache.scorer
    kind = engine_info(scorer).role if scorer else "scorer"
    if kind != "scorer":
        raise InvalidConfig(f"cache.scorer {scorer!r} is a {kind}; allowed is off or a scorer such as clap")
    return tuple(name for name in (encoder, scorer) if name)


def searched_space(name: str, config: Config) -> str:
    """The space in which this encoder's neighbours are looked for: a scorer's are sounds."""
    space = vector_space(name, config)
    return SOUND_PREFIX + space if name == config.cache.scorer else space


def refuse_non_commercial(infos: list[EngineInfo]) -> None:
    for info in infos:
        if not info.commercial_use:
            raise Refused(
                f"engine {info.name!r} has licence {info.licence!r}, which does not allow commercial use",
                hint="policy.commercial_only is set; take the engine out of the workers and of [cache]",
            )


def _hosted(worker: WorkerConfig, config: Config, encoders: tuple[str, ...]) -> list[str]:
    names = list(worker.engines)
    for name in encoders:
        duty = "score" if name == config.cache.scorer else "embed"
        if duty in worker.roles and name not in names:
            names.append(name)
    return names


def plan_of(worker: WorkerConfig, encoders: tuple[str, ...]) -> WorkerPlan:
    return WorkerPlan(
        name=worker.name,
        engines=frozenset(worker.engines),
        roles=frozenset(worker.roles),
        credit=worker.credit,
        aux_credit=worker.aux_credit,
    )


def load_of(worker: WorkerConfig, config: Config, encoders: tuple[str, ...], arena: str) -> worker_messages.Load:
    return worker_messages.Load(
        engines={name: _engine_settings(name, config) for name in _hosted(worker, config, encoders)},
        roles=list(worker.roles),
        heartbeat_s=config.limits.heartbeat_s,
        arena=arena,
    )


def _engine_settings(name: str, config: Config) -> dict[str, Any]:
    """As configured; a model that lies in ``policy.models_dir`` by its path there."""
    settings = dict(config.engines.get(name, {}))
    if config.policy.models_dir:
        with contextlib.suppress(AudioPoolError):
            info = engine_info(name)
            found = weights.find(str(settings.get("model", info.model)), models_dir=config.policy.models_dir)
            if found is not None and info.requires:
                settings["model"] = str(found.path)
    return settings


def process_of(worker: WorkerConfig) -> ProcessPlan:
    return ProcessPlan(
        name=worker.name,
        python=worker.python,
        gpu=worker.gpu,
        env=worker.env,
        threads=worker.threads,
        thread=worker.thread,
    )


def limits_of(config: Config) -> Limits:
    limits, waiting = config.limits, config.queue
    return Limits(
        max_requests=waiting.max_requests,
        max_bytes=waiting.max_bytes,
        ageing_s=waiting.ageing_s,
        max_batch=waiting.max_batch,
        max_attempts=limits.max_attempts,
        embed_timeout_s=limits.embed_timeout_s,
        worker=WorkerLimits(
            hello_timeout_s=limits.hello_timeout_s,
            load_timeout_s=limits.load_timeout_s,
            heartbeat_s=limits.heartbeat_s,
            missed_heartbeats=limits.missed_heartbeats,
            restart_backoff_s=limits.restart_backoff_s,
            restart_backoff_max_s=limits.restart_backoff_max_s,
            max_restarts=limits.max_restarts,
            task_timeout_s=limits.task_timeout_s,
            term_timeout_s=limits.term_timeout_s,
        ),
    )


def infos_of(workers: list[WorkerConfig]) -> dict[str, EngineInfo]:
    """What is known of the engines before they are loaded; a worker's own interpreter may know others."""
    infos: dict[str, EngineInfo] = {}
    for worker in workers:
        for name in worker.engines:
            try:
                infos[name] = engine_info(name)
            except UnknownEngine:
                if not worker.python:
                    raise
    return infos


def vector_space(name: str, config: Config) -> str:
    """What the cache files an encoder's vectors under: those of another model are not comparable."""
    sound, colon, engine = name.rpartition(":")
    model = config.engines.get(engine, {}).get("model")
    return f"{sound}{colon}{engine}@{model}" if model and model != _default_model(engine) else name


@functools.cache
def _default_model(engine: str) -> str:
    """The one that an engine loads where nothing is said: naming it makes its vectors no others."""
    try:
        return engine_info(engine).model
    except UnknownEngine:  # another interpreter's
        return ""
