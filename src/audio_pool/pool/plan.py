"""Derives worker plans, process specs, load messages and engines' infos from the configuration. Pure.

Owns: counts unfolded, engines hosted beside those named, settings handed to each, names of vector spaces;
what is refused at start.
Must not know: processes, sockets, how a pool is put together (pool.py).
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping

import msgspec

from audio_pool.cache.encoders import encoder_of, same_model
from audio_pool.config import Config, EngineConfig, WorkerConfig, process_names
from audio_pool.engine_info import EngineInfo
from audio_pool.engines import configured_info, engine_info, engine_infos, precision_of
from audio_pool.engines.options import checked_options
from audio_pool.errors import AudioPoolError, EngineUnavailable, InvalidConfig, InvalidRequest, Refused, UnknownEngine
from audio_pool.gpu import parse_bytes
from audio_pool.models.encoders import is_here, pick_encoder
from audio_pool.models.shipping import Shipped, shipped
from audio_pool.pool.device_keys import DEVICE_VARIABLE, card_key, logical_key, remote_key
from audio_pool.pool.launchers import ProcessSpec
from audio_pool.pool.resolve import refuse_silent
from audio_pool.scheduler.worker_state import OnDemand, WorkerPlan
from audio_pool.tasks import SOUND_PREFIX
from audio_pool.transport.worker_messages import EngineSetup, Load

__all__ = [
    "concurrency_of",
    "configured",
    "devices_of",
    "encoder_infos",
    "encoders_of",
    "former_encoder",
    "hosted_infos",
    "is_remote",
    "load_message",
    "models_of",
    "process_spec",
    "refuse_non_commercial",
    "searched_space",
    "spec_of",
    "told_bytes",
    "vector_space",
    "worker_plan",
    "workers_of",
]

_NO_ENGINE_CONFIG = EngineConfig()
_QUANTIZED_BYTES = {"8bit": 1.2, "4bit": 0.9}
"""Of a parameter, with the layers that stay as they are (docs/small-gpus.md)."""


def workers_of(config: Config) -> list[WorkerConfig]:
    """Return one entry per process: counts unfolded, the default where none is given."""
    given = config.workers
    if not given:
        # asked before it is loaded: a missing model would be told first, and be fetched in vain
        refuse_silent(engine_info(_implementation(config.defaults.engine, config), role="generator"))
        given = [WorkerConfig(name="built-in", engines=[config.defaults.engine])]
    workers = []
    for worker in given:
        workers += [msgspec.structs.replace(worker, name=name, count=1) for name in process_names(worker)]
    return workers


def encoders_of(config: Config) -> tuple[str, ...]:
    """Return the embedder and scorer that texts are put through; () where look-up by meaning is off."""
    encoder = pick_encoder(config.cache.encoder, encoder_infos(config), models_dir=config.policy.models_dir)
    if encoder is not None and importlib.util.find_spec("faiss") is None:
        if config.cache.encoder != "auto":
            raise EngineUnavailable(
                f"cache.encoder = {encoder!r} needs faiss, which is not installed",
                hint="pip install 'audio-pool[semantic]', or set cache.encoder = \"off\"",
            )
        encoder = None
    scorer = None if config.cache.scorer == "off" else config.cache.scorer
    role = engine_info(_implementation(scorer, config)).role if scorer else "scorer"
    if role != "scorer":
        raise InvalidConfig(f"cache.scorer {scorer!r} is a {role}; allowed is off or a scorer such as clap")
    return tuple(name for name in (encoder, scorer) if name)


def former_encoder(config: Config, encoders: tuple[str, ...], counts: Mapping[str, int]) -> tuple[str, str]:
    """Return the engine and the space of the encoder that most kept sounds still have their vectors from.

    The engine is "" where the present one's vectors can be compared with its; both are where there is none to be had:
    its engine, model and precision must be those that this configuration means by its name.

    Args:
        encoders: as ``encoders_of`` returns them.
        counts: kept vectors by space.
    """
    present = next((name for name in encoders if name != config.cache.scorer), None)
    if present is None or not config.cache.ask_former_encoder:
        return "", ""
    own = vector_space(present, config)
    infos = {info.name: info for info in encoder_infos(config) if info.role == "embedder" and info.name != present}
    for space in sorted(counts, key=lambda space: (-counts[space], space)):
        name = encoder_of(space)
        if counts[space] <= counts.get(own, 0):
            break
        if same_model(space, own):
            return "", space
        if name in infos and vector_space(name, config) == space and is_here(infos[name], config.policy.models_dir):
            return name, space
    return "", ""


def encoder_infos(config: Config) -> list[EngineInfo]:
    """Return every engine that could be an encoder: the implementations, and named models of the configuration."""
    own = [name for name, engine in config.engines.items() if engine.implementation is not None]
    names = [*(info.name for info in engine_infos()), *own]
    infos = []
    for name in names:
        try:
            infos.append(configured(name, config))
        except UnknownEngine:  # another interpreter's, or an error that whoever hosts it meets
            if name == config.cache.encoder:
                raise
    return infos


def searched_space(name: str, config: Config) -> str:
    """Return the space in which this encoder's neighbours are looked for: a scorer's are sounds."""
    space = vector_space(name, config)
    return SOUND_PREFIX + space if name == config.cache.scorer else space


def vector_space(name: str, config: Config) -> str:
    """Return what the cache files an encoder's vectors under.

    Those of another model are not comparable, nor those of another precision: a shift of 0.004 is more than lies
    between two neighbours.
    """
    sound, colon, engine = name.rpartition(":")
    own = config.engines.get(engine, _NO_ENGINE_CONFIG)
    implementation = own.implementation or engine
    space, model = f"{sound}{colon}{engine}", own.settings.get("model")
    if model and model != _default_model(implementation):
        space += f"@{model}"
    precision = _precision(implementation, msgspec.json.encode(own.settings, enc_hook=str))
    return f"{space}@{precision}" if precision else space


@functools.cache
def _precision(implementation: str, settings: bytes) -> str:
    """Return how exactly its vectors are computed, where that is not the usual."""
    try:
        return precision_of(implementation, msgspec.json.decode(settings))
    except AudioPoolError:  # another interpreter's, or settings that will be refused where it is loaded
        return ""


@functools.cache
def _default_model(implementation: str) -> str:
    """Return the model that is loaded where none is configured: naming it makes its vectors no others."""
    try:
        return engine_info(implementation).model
    except UnknownEngine:  # another interpreter's
        return ""


def refuse_non_commercial(infos: list[EngineInfo]) -> None:
    """Raise Refused for an engine whose licence does not allow commercial use."""
    for info in infos:
        if not info.commercial_use:
            raise Refused(
                f"engine {info.name!r} has licence {info.licence!r}, which does not allow commercial use",
                hint="policy.commercial_only is set; take the engine out of the workers and of [cache]",
            )


def worker_plan(worker: WorkerConfig, config: Config, infos: Mapping[str, EngineInfo] | None = None) -> WorkerPlan:
    """Return what the scheduler needs to know of a worker.

    Args:
        infos: what is known of engines before they are loaded.
    """
    known, own = infos or {}, config.engines
    return WorkerPlan(
        name=worker.name,
        engines=frozenset(worker.engines),
        roles=frozenset(worker.roles),
        device=remote_key(worker.name) if is_remote(worker, config) else _device(worker),
        on_demand={
            name: OnDemand(
                preload=own[name].preload,
                keep_alive_s=own[name].keep_alive_s,
                size_bytes=told_bytes(own[name], known.get(name), on_gpu=bool(worker.gpu or worker.gpus)),
            )
            for name in worker.engines
            if name in own and (own[name].preload is not True or own[name].keep_alive_s is not None)
        },
        credit=worker.credit,
        aux_credit=worker.aux_credit,
        devices=() if is_remote(worker, config) else devices_of(worker),
    )


def is_remote(worker: WorkerConfig, config: Config) -> bool:
    """Return True for a worker that is started elsewhere, or treated so."""
    return config.cluster.launcher != "local" and not worker.local


def concurrency_of(config: Config) -> dict[str, int]:
    """Return on how many workers an engine may be at work at a time, for those that are bounded."""
    return {name: engine.concurrency for name, engine in config.engines.items() if engine.concurrency}


def devices_of(worker: WorkerConfig) -> tuple[str, ...]:
    """Return the devices that a worker is on and can leave: those that it is pinned to, in a process of its own."""
    if worker.thread:
        return ()
    if worker.device:
        return (worker.device,)
    if worker.gpu is None:
        return ()
    return tuple(dict.fromkeys(part for part in worker.gpu.split(",") if part))


def _device(worker: WorkerConfig) -> str:
    """Return whose memory a worker's engines take; workers that say the same share it."""
    return logical_key(worker.device) if worker.device else card_key(worker.gpu)


def told_bytes(engine: EngineConfig, info: EngineInfo | None, *, on_gpu: bool) -> int:
    """Return what a model takes, from its parameters alone; 0: not known."""
    dtype = str(engine.settings.get("dtype", "auto"))
    quantization = str(engine.settings.get("quantization", "none"))
    half = dtype in ("float16", "bfloat16") or (dtype == "auto" and on_gpu)
    each = _QUANTIZED_BYTES.get(quantization, 2.0 if half else 4.0)
    return 0 if info is None else round(info.parameters * each)


def load_message(worker: WorkerConfig, config: Config, encoders: tuple[str, ...], arena: str) -> Load:
    """Return what a worker is told to load."""
    return Load(
        engines={name: _setup(name, config) for name in _hosted(worker, config, encoders)},
        later=[name for name in worker.engines if name in config.engines and config.engines[name].preload is not True],
        roles=list(worker.roles),
        heartbeat_s=config.limits.heartbeat_s,
        arena="" if is_remote(worker, config) else arena,
        models_dir=config.policy.models_dir,
        max_input_s=config.limits.max_input_s,
    )


def models_of(worker: WorkerConfig, config: Config, encoders: tuple[str, ...]) -> tuple[Shipped, ...]:
    """Return the models of this machine that a worker on another may lack; () where none are brought to it."""
    if config.cluster.launcher != "ray" or worker.local or not config.cluster.ship_models:
        return ()
    found: dict[str, Shipped] = {}
    for name in _hosted(worker, config, encoders):
        settings = config.engines.get(name, _NO_ENGINE_CONFIG).settings
        models_dir = str(settings.get("models_dir") or config.policy.models_dir)
        revision = str(settings.get("revision") or "")
        try:
            info = configured(name, config)
        except UnknownEngine:  # its own interpreter's
            continue
        own = shipped(info.model, models_dir=models_dir, revision=revision, packaged=info.packaged)
        for one in (own, *(shipped(other.model, models_dir=models_dir) for other in info.companions)):
            if one is not None:
                found[one.source] = one
    return tuple(found.values())


def spec_of(worker: WorkerConfig, config: Config, encoders: tuple[str, ...], fair_threads: int) -> ProcessSpec:
    """Return how a worker's process is started, wherever the configuration has it started."""
    remote, models = is_remote(worker, config), models_of(worker, config, encoders)
    return process_spec(worker, fair_threads, remote=remote, models=models)


def process_spec(
    worker: WorkerConfig, fair_threads: int = 0, *, remote: bool = False, models: tuple[Shipped, ...] = ()
) -> ProcessSpec:
    """Return how a worker's process is started.

    Args:
        fair_threads: its share of the cores.
        remote: it is started elsewhere, or treated so.
        models: that its node may lack.

    Raises:
        InvalidConfig: its ``memory`` is no size.
    """
    return ProcessSpec(
        name=worker.name,
        python=worker.python,
        gpu="" if worker.device else worker.gpu,  # a logical device is instead of a card
        env={**worker.env, DEVICE_VARIABLE: worker.device} if worker.device else worker.env,
        threads=worker.threads,
        fair_threads=fair_threads,
        niceness=worker.niceness,
        thread=worker.thread,
        remote=remote,
        models=models,
        gpus=worker.gpus,
        resources=worker.resources,
        memory_bytes=parse_bytes(worker.memory, "memory") if worker.memory else 0,
    )


def hosted_infos(workers: list[WorkerConfig], config: Config) -> dict[str, EngineInfo]:
    """Return what is known of the engines before they are loaded; a worker's own interpreter may know others.

    Raises:
        UnknownEngine: no such implementation. InvalidConfig: default options that an engine does not take.
    """
    infos: dict[str, EngineInfo] = {}
    for worker in workers:
        for name in worker.engines:
            try:
                infos[name] = configured(name, config)
                _check_options(infos[name], config)
            except UnknownEngine:
                if not worker.python:
                    raise
    return infos


def _check_options(info: EngineInfo, config: Config) -> None:
    try:
        checked_options(info, config.engines.get(info.name, _NO_ENGINE_CONFIG).defaults.options)
    except InvalidRequest as exc:  # at start, not as the fault of each caller
        raise InvalidConfig(f"engines.{info.name}.defaults.{exc}") from None


def _implementation(name: str, config: Config) -> str:
    return config.engines.get(name, _NO_ENGINE_CONFIG).implementation or name


def configured(name: str, config: Config) -> EngineInfo:
    """Return what a named model is, as far as that is known without loading it."""
    own = config.engines.get(name, _NO_ENGINE_CONFIG)
    return configured_info(
        name,
        own.implementation or "",
        kinds=own.kinds,
        settings=own.settings,
        models_dir=config.policy.models_dir,
    )


def _hosted(worker: WorkerConfig, config: Config, encoders: tuple[str, ...]) -> list[str]:
    names = list(worker.engines)
    for name in encoders:
        role = "score" if name == config.cache.scorer else "embed"
        if role in worker.roles and name not in names:
            names.append(name)
    return names


def _setup(name: str, config: Config) -> EngineSetup:
    own = config.engines.get(name, _NO_ENGINE_CONFIG)
    kinds = None if own.kinds is None else tuple(own.kinds)
    return EngineSetup(implementation=own.implementation or name, kinds=kinds, settings=own.settings)
