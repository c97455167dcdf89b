"""``create_audio_generator``: the pool inside a host program, by one flat configuration.

Owns: the flat keys, what each means in the pool's configuration, prefetching, and the caller's last metadata.
Must not know: anything of how a sound is made or found.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import dataclasses
import secrets
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from audio_pool.config import load_config
from audio_pool.config.sections import Seconds
from audio_pool.engines import engine_info, engine_names
from audio_pool.errors import InvalidConfig, UnknownEngine, nearest_name
from audio_pool.packs.names import slug
from audio_pool.pending import Pending
from audio_pool.pool.pool import AudioPool
from audio_pool.results import AudioResult
from audio_pool.types import (
    FORMATS,
    AudioRequest,
    Candidates,
    Cosine,
    Duration,
    Guidance,
    Lufs,
    PeakDb,
    SampleRate,
    Steps,
)
from audio_pool.validation import parse

__all__ = ["AudioGenerator", "GeneratedPath", "GeneratorConfig", "create_audio_generator"]

Metadata = dict[str, Any]
"""Plain data as on the wire; docs/protocol.md lists the keys."""

_last: contextvars.ContextVar[Metadata | None] = contextvars.ContextVar("audio_pool_last_metadata", default=None)


class GeneratorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every key of ``create_audio_generator`` with its default. docs/embedding.md tells each one's effect."""

    strategy: Literal["prompt2audio", "mock_audio"] = "prompt2audio"
    model_name: str | None = None
    """An engine ("tangoflux"), a model id that an engine has by default, or ENGINE:MODEL; None: procedural."""
    models_dir: str | None = None
    output_dir: str | None = None
    cache_dir: str | None = None
    render_dir: str | None = None
    cuda_visible_devices: str | Annotated[list[str], Meta(min_length=1, max_length=64)] | None = None
    """One worker sees these GPUs; a list: one worker per entry."""
    device: str | None = None
    """"cuda", "cuda:1", "cpu"; None: the engine's own choice. This and the next keys are the engine's settings."""
    dtype: str | None = None
    quantization: str | None = None
    offload: str | None = None
    offload_modules: list[str] | None = None
    max_memory: str | None = None
    use_subprocess: bool = True
    subprocess_timeout_seconds: Seconds = 300.0
    """One task's work."""
    subprocess_max_retries: Annotated[int, Meta(ge=0, le=9)] = 3
    timeout: Seconds | None = None
    """The caller's whole wait; None: as long as the limits let a request live."""
    pre_warm: bool = False
    """Start the workers at once, not at the first request."""
    duration_s: Duration = 24.0
    sample_rate: SampleRate = 44_100
    normalize_loudness: bool = True
    target_lufs: Lufs = -23.0
    true_peak_dbfs: PeakDb = -2.0
    apply_highpass_filter: bool = True
    highpass_cutoff_hz: Annotated[float, Meta(ge=1.0, le=1000.0)] = 80.0
    highpass_filter_order: Annotated[int, Meta(ge=1, le=8)] = 4
    enable_seamless_loop: bool = True
    tail_duration_s: Annotated[float, Meta(ge=0.0, le=10.0)] = 1.5
    steps: Steps = 30
    guidance_scale: Guidance = 4.5
    candidates: Candidates = 2
    tau_use: Cosine = 0.35
    tau_accept_new: Cosine = 0.40
    tau_prompt_sem: Cosine = 0.70
    temperature: Annotated[float, Meta(ge=0.0, le=10.0)] = 0.25
    reuse_k: Annotated[int, Meta(ge=1, le=100)] = 8
    prefetch_new: bool = False
    """After each answer, make further variants of that prompt until there are ``target_per_prompt``."""
    prefetch_in_background: bool = True
    """False: the call returns when its prompt's variants are made, too."""
    target_per_prompt: Annotated[int, Meta(ge=1, le=1000)] = 3
    max_new_when_prefetch: Annotated[int, Meta(ge=0, le=100)] = 2
    """Most new variants for one answer."""
    max_per_prompt: Annotated[int, Meta(ge=1, le=1000)] = 5
    cap_strategy: Literal["quality", "diversity"] = "quality"
    clap_model: str | None = None
    use_bge: bool | None = None
    """None: whatever encoder is installed and local; False: none."""
    bge_model: str | None = None


class GeneratedPath(str):
    """The finished sound's path, as a str, with its ``metadata``."""

    metadata: Metadata

    def __new__(cls, path: str, metadata: Metadata) -> GeneratedPath:
        made = super().__new__(cls, path)
        made.metadata = metadata
        return made


def create_audio_generator(config: Any = None, output_dir: str | Path | None = None) -> AudioGenerator:
    """Return a generator for a host program.

    Args:
        config: the flat keys of GeneratorConfig, in a mapping or as an object's attributes.
        output_dir: gets a copy of every result; wins over the key of that name.

    Raises:
        InvalidConfig: an unknown key (with the nearest known one) or a value out of its bounds.
    """
    keys = dict(_keys_of(config))
    if output_dir is not None:
        keys["output_dir"] = str(output_dir)
    generator = AudioGenerator(parse(GeneratorConfig, keys, error=InvalidConfig, what="create_audio_generator"))
    if generator.config.pre_warm:
        generator.start(wait=False)
    return generator


def _keys_of(config: Any) -> Mapping[str, Any]:
    if config is None:
        return {}
    if isinstance(config, Mapping):
        return config
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    if isinstance(config, Struct):
        return msgspec.structs.asdict(config)
    try:
        return {name: value for name, value in vars(config).items() if not name.startswith("_")}
    except TypeError:
        raise InvalidConfig(
            f"create_audio_generator: given a {type(config).__name__}, allowed is a dict or an object with attributes"
        ) from None


class AudioGenerator:
    """The pool inside a host program. Thread-safe; starts at the first request."""

    def __init__(self, config: GeneratorConfig) -> None:
        self.config = config
        self.engine, model = _engine_of(config)
        self._pool = AudioPool(load_config(_pool_config(config, self.engine, model), environment={}))
        self._lock = threading.Lock()
        self._pending: set[Pending] = set()
        self._prefetching: set[Pending] = set()
        """Those of them that are made ahead of any caller."""
        self._last: Metadata | None = None
        self._of_thread = threading.local()
        self._stopped = False
        if not config.use_subprocess:
            warnings.warn(
                "use_subprocess = false: the engine runs on a thread of this process, which no timeout can "
                "kill and whose memory is this process's",
                RuntimeWarning,
                stacklevel=3,
            )

    # -- life --------------------------------------------------------------------------------------

    def start(self, *, wait: bool = True) -> None:
        """Start the workers; with ``wait`` return when they are ready. Raises their start-up error."""
        self._stopped = False
        self._pool.start(wait=wait)

    def stop(self) -> None:
        """Cancel prefetching, let what callers wait for finish, and end the workers."""
        self._stopped = True
        for pending in self._background():
            pending.cancel()
        self._pool.stop()

    def __enter__(self) -> AudioGenerator:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # -- asking ------------------------------------------------------------------------------------

    async def generate_audio(
        self,
        prompt: str,
        duration_s: float | None = None,
        force_generation: bool = False,
        seed: int | None = None,
        **fields: Any,
    ) -> GeneratedPath:
        """Return the finished sound's path, with ``.metadata``.

        Args:
            prompt: the words.
            duration_s: seconds; None: the configured ones.
            force_generation: make a new one whatever the cache holds.
            seed: the same seed gives the same sound.
            fields: further fields of AudioRequest.

        Raises:
            InvalidRequest, Timeout, and whatever the pool says went wrong.
        """
        if not self._pool.running and not self._stopped:
            await asyncio.to_thread(self.start)
        request = self._request(prompt, duration_s, force_generation, seed, fields)
        result = await self._result(request)
        metadata = result.metadata.to_dict()
        self._remember(metadata)
        if self.config.prefetch_new and request.seed is None:
            await self._prefetch(request)
        return GeneratedPath(result.path, metadata)

    async def _result(self, request: AudioRequest) -> AudioResult:
        pending = self._submit(request)
        return await pending.wait_async(self.config.timeout or self._pool.patience_s)

    def _request(
        self, prompt: str, duration_s: float | None, force: bool, seed: int | None, fields: Mapping[str, Any]
    ) -> AudioRequest:
        asked = {"prompt": prompt, "duration_s": duration_s, "force": force, "seed": seed, **fields}
        request = parse(AudioRequest, asked)
        if self.config.output_dir is not None and request.output_path is None:
            ending = request.format or "wav"
            target = Path(self.config.output_dir).absolute() / f"{slug(prompt, 48)}_{secrets.token_hex(4)}.{ending}"
            request = msgspec.structs.replace(request, output_path=str(target))
        return request

    def _submit(self, request: AudioRequest) -> Pending:
        pending = self._pool.submit(request)
        with self._lock:
            self._pending.add(pending)
        pending.add_done_callback(self._done)
        return pending

    def _done(self, pending: concurrent.futures.Future[AudioResult]) -> None:
        with self._lock:
            self._pending.discard(pending)
            self._prefetching.discard(pending)

    def _remember(self, metadata: Metadata) -> None:
        _last.set(metadata)
        self._of_thread.metadata = metadata
        self._last = metadata

    # -- prefetching -------------------------------------------------------------------------------

    async def _prefetch(self, request: AudioRequest) -> None:
        """Make more variants of what was just asked for, behind every caller's request and bounded."""
        under_way = sum(1 for pending in self._background())
        have = await asyncio.to_thread(self._pool.count_variants, request)
        missing = min(self.config.target_per_prompt - have, self.config.max_new_when_prefetch)
        if missing <= 0 or under_way >= 4 * max(1, self.config.max_new_when_prefetch) or self._stopped:
            return
        more = msgspec.structs.replace(
            request, force=True, replace=False, priority="background", output_path=None, deadline_ms=None
        )
        started = [self._submit(more) for _ in range(missing)]
        with self._lock:
            self._prefetching.update(pending for pending in started if not pending.done())
        if not self.config.prefetch_in_background:
            await asyncio.wait([asyncio.wrap_future(pending) for pending in started], timeout=self._pool.patience_s)

    def _background(self) -> list[Pending]:
        with self._lock:
            return list(self._prefetching)

    # -- looking -----------------------------------------------------------------------------------

    def clear_pending_requests(self) -> int:
        """Cancel everything under way and waiting; return how many that were."""
        with self._lock:
            pending = list(self._pending)
        return sum(1 for one in pending if one.cancel())

    def get_last_generation_metadata(self) -> Metadata | None:
        """Return the metadata of this task's or thread's last sound, else of the most recent; None before the first."""
        return _last.get() or getattr(self._of_thread, "metadata", None) or self._last

    def get_supported_capabilities(self) -> dict[str, Any]:
        """Return what the engine can do, and which parts of the pool are on."""
        info = engine_info(self.engine)
        cache = self._pool.config.cache
        return {
            **msgspec.to_builtins(info),
            "strategy": self.config.strategy,
            "seamless_loop": True,
            "formats": list(FORMATS),
            "semantic_cache": cache.encoder,
            "clap": cache.scorer != "off",
        }


def _engine_of(config: GeneratorConfig) -> tuple[str, str | None]:
    """Return the engine that ``strategy`` and ``model_name`` mean, and the model it is to load."""
    if config.strategy == "mock_audio":
        return "mock", None
    name = config.model_name
    if name is None:
        return "procedural", None
    known = [engine for engine in engine_names() if engine_info(engine).role == "generator"]
    engine, colon, model = name.partition(":")
    if engine in known:
        return engine, model if colon else None
    for candidate in known:
        if engine_info(candidate).model.lower() == name.lower():
            return candidate, name
    models = [engine_info(candidate).model for candidate in known]
    near = nearest_name(name, [*known, *models])
    hint = f"did you mean {near!r}?" if near else f"engines: {', '.join(known)}; or ENGINE:MODEL"
    raise UnknownEngine(f"model_name: given {name!r}, which no engine has by default; {hint}")


def _pool_config(config: GeneratorConfig, engine: str, model: str | None) -> dict[str, Any]:
    """Return the pool's configuration that the flat keys stand for."""
    engines: dict[str, dict[str, Any]] = {
        engine: {name: value for name, value in _settings(config) if value is not None}
    }
    if model is not None:
        engines[engine]["model"] = model
    if config.clap_model is not None:
        engines["clap"] = {"model": config.clap_model}
    if config.bge_model is not None:
        engines["bge"] = {"model": config.bge_model}
    encoder = {None: "auto", True: "bge", False: "off"}[config.use_bge]
    if config.use_bge is None and config.bge_model is not None:
        encoder = "bge"
    return {
        "defaults": {
            "engine": engine,
            "duration_s": config.duration_s,
            "loop": config.enable_seamless_loop,
            "steps": config.steps,
            "guidance_scale": config.guidance_scale,
            "candidates": config.candidates,
        },
        "sound": {
            "sample_rate": config.sample_rate,
            "normalize_loudness": config.normalize_loudness,
            "target_lufs": config.target_lufs,
            "true_peak_dbfs": config.true_peak_dbfs,
            "apply_highpass_filter": config.apply_highpass_filter,
            "highpass_cutoff_hz": config.highpass_cutoff_hz,
            "highpass_filter_order": config.highpass_filter_order,
            "tail_duration_s": config.tail_duration_s,
        },
        "cache": {
            "dir": config.cache_dir or "",
            "render_dir": config.render_dir or "",
            "encoder": encoder,
            "scorer": "off" if config.clap_model is None else "clap",
            "tau_use": config.tau_use,
            "tau_accept_new": config.tau_accept_new,
            "tau_prompt_sem": config.tau_prompt_sem,
            "temperature": config.temperature,
            "reuse_k": config.reuse_k,
            "max_per_prompt": config.max_per_prompt,
            "cap_strategy": config.cap_strategy,
        },
        "limits": {
            "task_timeout_s": config.subprocess_timeout_seconds,
            "max_attempts": 1 + config.subprocess_max_retries,
        },
        "policy": {"models_dir": config.models_dir or ""},
        "engines": engines,
        "workers": _workers(config, engine),
    }


def _settings(config: GeneratorConfig) -> list[tuple[str, str | list[str] | None]]:
    """Return the settings of the engine; which of them it knows, and what they may be, it says itself at load."""
    return [
        ("device", config.device),
        ("dtype", config.dtype),
        ("quantization", config.quantization),
        ("offload", config.offload),
        ("offload_modules", config.offload_modules),
        ("max_memory", config.max_memory),
    ]


def _workers(config: GeneratorConfig, engine: str) -> list[dict[str, Any]]:
    """Return one worker, or one per entry of a list of GPUs."""
    given = config.cuda_visible_devices
    gpus = given if isinstance(given, list) else [given]
    names = ["generator"] if len(gpus) == 1 else [f"generator-{number}" for number in range(1, len(gpus) + 1)]
    return [
        {"name": name, "engines": [engine], "gpu": gpu, "thread": not config.use_subprocess}
        for name, gpu in zip(names, gpus, strict=True)
    ]
