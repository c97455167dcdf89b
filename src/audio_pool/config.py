"""Configuration: a dict or a TOML file plus the environment, once, into frozen strict structs.

Owns: every setting, its default and its bounds; the order command line > environment > file > default.
Must not know: what the settings make anybody do; workers never read this (they get a Load message).

Environment: ``AUDIO_POOL_<SECTION>_<KEY>``, e.g. ``AUDIO_POOL_CACHE_DIR``, ``AUDIO_POOL_QUEUE_MAX_REQUESTS``.
"""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from audio_pool.errors import InvalidConfig, NotFound, nearest_name
from audio_pool.types import (
    BitDepth,
    Candidates,
    Cosine,
    Duration,
    Format,
    Guidance,
    Label,
    Lufs,
    Match,
    Name,
    OptionalText,
    PeakDb,
    SameSettings,
    SampleRate,
    Steps,
    Unit,
)
from audio_pool.validation import parse

__all__ = [
    "CacheConfig",
    "Config",
    "DefaultsConfig",
    "EngineConfig",
    "EngineDefaults",
    "LimitsConfig",
    "PolicyConfig",
    "QueueConfig",
    "ServerConfig",
    "SoundConfig",
    "WorkerConfig",
    "load_config",
    "process_names",
]

PREFIX = "AUDIO_POOL_"
_READ_ELSEWHERE = ("AUDIO_POOL_LOG_LEVEL",)
"""Variables with the prefix that are no key of the configuration: workers read this one when they start."""
Seconds = Annotated[float, Meta(gt=0.0, le=86_400.0)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=1 << 20)]
Role = Literal["generate", "master", "embed", "score"]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True): ...


class DefaultsConfig(_Section, frozen=True, kw_only=True):
    """What a request means where it says nothing."""

    engine: Name = "procedural"
    duration_s: Duration = 8.0
    loop: bool = False
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    candidates: Candidates = 1
    format: Format = "wav"
    bit_depth: BitDepth = 16


class SoundConfig(_Section, frozen=True, kw_only=True):
    """The craft: rate, loudness, filter, loop."""

    sample_rate: SampleRate = 44_100
    normalize_loudness: bool = True
    target_lufs: Lufs = -23.0
    true_peak_dbfs: PeakDb = -2.0
    apply_highpass_filter: bool = True
    highpass_cutoff_hz: Annotated[float, Meta(ge=1.0, le=1000.0)] = 80.0
    highpass_filter_order: Annotated[int, Meta(ge=1, le=8)] = 4
    tail_duration_s: Annotated[float, Meta(ge=0.0, le=10.0)] = 1.5


class CacheConfig(_Section, frozen=True, kw_only=True):
    """The store of finished sounds and what counts as a hit."""

    enabled: bool = True
    dir: str = ""
    """Empty: ``$XDG_CACHE_HOME/audio_pool`` or ``~/.cache/audio_pool``."""
    render_dir: str = ""
    """Where results that are not kept go; empty: ``dir/renders``."""
    match: Match = "tolerant"
    duration_tolerance: Unit = 0.2
    encoder: Name = "auto"
    """``auto`` (what is installed and local), ``off``, or an embedder engine's name."""
    scorer: Name = "off"
    """``off`` or a scorer engine's name (``clap``)."""
    tau_use: Cosine = 0.35
    tau_accept_new: Cosine = 0.40
    tau_prompt_sem: Cosine = 0.70
    reuse_k: Annotated[int, Meta(ge=1, le=100)] = 8
    temperature: Annotated[float, Meta(ge=0.0, le=10.0)] = 0.0
    max_per_prompt: Annotated[int, Meta(ge=1, le=1000)] = 5
    cap_strategy: Literal["quality", "diversity"] = "quality"
    same_settings: SameSettings = "model"
    """Whose sounds may answer: those of the same named model and revision, of the same implementation, or any."""
    min_steps_ratio: Annotated[float, Meta(ge=0.0, le=1.0)] = 1.0
    """Least steps of a kept sound against those asked for; 0.5 accepts one made in half the steps."""
    guidance_tolerance: Annotated[float, Meta(ge=0.0, le=100.0)] = 1.0
    """Greatest difference of guidance between a kept sound and what is asked for."""


class LimitsConfig(_Section, frozen=True, kw_only=True):
    """How long and how often anything may try."""

    task_timeout_s: Seconds = 300.0
    """One task's work on a worker; beyond it the worker is killed and the request fails: it is not tried again."""
    max_attempts: Annotated[int, Meta(ge=1, le=10)] = 2
    """Times a task is tried when its worker dies."""
    max_rounds: Annotated[int, Meta(ge=1, le=10)] = 2
    """Rounds of fresh seeds when no candidate is good enough."""
    embed_timeout_s: Seconds = 5.0
    """A look-up by meaning that takes longer counts as a miss, with a warning."""
    hello_timeout_s: Seconds = 60.0
    load_timeout_s: Seconds = 600.0
    heartbeat_s: Annotated[float, Meta(ge=0.05, le=60.0)] = 1.0
    missed_heartbeats: Annotated[int, Meta(ge=2, le=100)] = 10
    """Heartbeats a worker may miss before it is taken for dead and killed."""
    restart_backoff_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 0.25
    """First pause before a restart; doubles with each crash in a row."""
    restart_backoff_max_s: Seconds = 30.0
    max_restarts: Annotated[int, Meta(ge=0, le=1000)] = 5
    """Crashes in a row (without a finished task) after which a worker stays down."""
    drain_timeout_s: Seconds = 30.0
    term_timeout_s: Seconds = 5.0


class QueueConfig(_Section, frozen=True, kw_only=True):
    """How much may wait."""

    max_requests: Count = 1024
    max_bytes: Bytes = 64 << 20
    ageing_s: Seconds = 30.0
    """Waiting this long lifts a request by one priority."""
    arena_bytes: Bytes = 1 << 30
    """Shared memory for sounds between workers; beyond it they travel inline."""
    max_batch: Annotated[int, Meta(ge=1, le=64)] = 4
    """Sounds generated in one batch, where the engine can."""


class ServerConfig(_Section, frozen=True, kw_only=True):
    """The socket that clients talk to."""

    bind: str = ""
    """Empty: ``ipc://`` in the user's runtime directory."""
    keys_dir: str = ""
    """CURVE keys as made by ``audio-pool keys create``; needed for binds beyond this machine."""
    pull_bind: str = ""
    """The image server's PUSH messages arrive here; with ``push_bind``, else both empty."""
    push_bind: str = ""
    """The answers to the image server leave here."""
    log_dir: str = ""
    max_inline_bytes: Bytes = 64 << 20
    parked_bytes: Bytes = 64 << 20
    """Replies kept for slow clients."""


class PolicyConfig(_Section, frozen=True, kw_only=True):
    """Which licences may be used, and where models lie."""

    commercial_only: bool = False
    accepted_licences: list[str] = []
    """Engines whose non-commercial licence was read and accepted."""
    models_dir: str = ""


class EngineDefaults(_Section, frozen=True, kw_only=True):
    """What a request to this engine means where it says nothing; stronger than ``[defaults]``."""

    duration_s: Duration | None = None
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    candidates: Candidates | None = None
    negative_prompt: OptionalText | None = None
    options: dict[Name, Label] = {}


class EngineConfig(_Section, frozen=True, kw_only=True):
    """A named model: which implementation, with which settings, asked for under which kinds.

    In a file every further key of ``[engines.NAME]`` is a setting of the implementation.
    """

    implementation: Name | None = None
    """The engine that implements it; None: the one called NAME."""
    kinds: list[Name] | None = None
    """What it is asked for by ``engine = "kind:..."``; None: what the implementation says."""
    defaults: EngineDefaults = EngineDefaults()
    settings: dict[str, Any] = {}  # opaque: each implementation checks its own


class WorkerConfig(_Section, frozen=True, kw_only=True):
    """One worker process (or ``count`` alike)."""

    name: Name
    engines: list[Name] = []
    roles: list[Role] = msgspec.field(default_factory=lambda: ["generate", "master", "embed", "score"])
    """What it does: generates candidates, masters the best, embeds texts, scores sounds."""
    gpu: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9,\-]*\Z", max_length=200)] | None = None
    """CUDA_VISIBLE_DEVICES and HIP_VISIBLE_DEVICES, e.g. "0"; "" hides every GPU; None leaves them alone."""
    python: str = ""
    """Another interpreter; empty: this one."""
    thread: bool = False
    """Run on a thread of the pool's process, where no timeout can kill it. For hosts that may not spawn."""
    env: dict[str, str] = {}
    count: Annotated[int, Meta(ge=1, le=64)] = 1
    credit: Annotated[int, Meta(ge=1, le=64)] = 2
    """Sounds to generate that a worker may hold, so that the next is there when one ends."""
    aux_credit: Annotated[int, Meta(ge=1, le=64)] = 8
    """Short tasks (embed, master, render) that it may hold."""
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    """OMP/MKL threads; 0: the libraries' own choice."""


class Config(_Section, frozen=True, kw_only=True):
    """A whole pool."""

    defaults: DefaultsConfig = DefaultsConfig()
    sound: SoundConfig = SoundConfig()
    cache: CacheConfig = CacheConfig()
    limits: LimitsConfig = LimitsConfig()
    queue: QueueConfig = QueueConfig()
    server: ServerConfig = ServerConfig()
    policy: PolicyConfig = PolicyConfig()
    engines: dict[Name, EngineConfig] = {}
    """Named models, and settings of engines under their own names."""
    workers: list[WorkerConfig] = []
    """Empty: one worker that does it all with the default engine."""

    @property
    def cache_dir(self) -> Path:
        """Absolute."""
        if self.cache.dir:
            return Path(self.cache.dir).expanduser().absolute()
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(base).expanduser().absolute() / "audio_pool"

    @property
    def render_dir(self) -> Path:
        """Absolute."""
        if self.cache.render_dir:
            return Path(self.cache.render_dir).expanduser().absolute()
        return self.cache_dir / "renders"


def load_config(
    source: Mapping[str, Any] | str | Path | None = None,
    *,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Return the configuration, every value checked.

    Args:
        source: a mapping, a TOML file's path, or nothing for the built-in default.
        overrides: section -> key -> value from the command line; the strongest.
        environment: ``os.environ`` where None.

    Raises:
        InvalidConfig: naming the key, what was given, what is allowed and the nearest name.
        NotFound: there is no such file.
    """
    where = "configuration"
    tree: dict[str, Any]
    if source is None:
        tree = {}
    elif isinstance(source, Mapping):
        tree = _copied(source)
    else:
        tree, where = _read_toml(Path(source)), str(source)
    _merge(tree, _from_environment(os.environ if environment is None else environment))
    _merge(tree, {section: dict(keys) for section, keys in (overrides or {}).items()})
    if isinstance(tree.get("workers"), dict):
        raise InvalidConfig(f"{where}: 'workers' is one table; allowed is a list of them: head each with [[workers]]")
    _refuse_renamed(tree, where)
    config = parse(Config, _engines_parted(tree), error=InvalidConfig, what=where)
    _check(config, where)
    return config


_RENAMED = {
    ("limits", "beat_s"): "heartbeat_s",
    ("limits", "missed_beats"): "missed_heartbeats",
    ("limits", "job_timeout_s"): "task_timeout_s",
    ("workers", "duties"): "roles (make is called generate)",
    ("workers", "quick_credit"): "aux_credit",
}
"""(section, old key) -> the key's name now."""


def _refuse_renamed(tree: Mapping[str, Any], where: str) -> None:
    for (section, old), new in _RENAMED.items():
        found = tree.get(section)
        for table in found if isinstance(found, list) else [found]:
            if isinstance(table, Mapping) and old in table:
                raise InvalidConfig(f"{where}: {section}.{old} is now called {new}")


def _engines_parted(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree with each engine's own settings apart from what the pool reads of its table."""
    parted = dict(tree)
    engines = parted.get("engines")
    if isinstance(engines, Mapping):
        known = {field.name for field in msgspec.structs.fields(EngineConfig)} - {"settings"}
        parted["engines"] = {
            name: {
                **{key: value for key, value in table.items() if key in known},
                "settings": {key: value for key, value in table.items() if key not in known},
            }
            if isinstance(table, Mapping)
            else table
            for name, table in engines.items()
        }
    return parted


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise NotFound(f"no configuration file at {path}", hint="configs/ holds examples") from None
    except OSError as exc:
        raise InvalidConfig(f"{path} cannot be read: {exc.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidConfig(f"{path} is not TOML: {exc}") from None


def _merge(tree: dict[str, Any], stronger: Mapping[str, Any]) -> None:
    for section, keys in stronger.items():
        tree.setdefault(section, {})
        if isinstance(tree[section], dict):
            tree[section].update(keys)


def _sections() -> dict[str, type[Struct]]:
    return {
        field.name: field.type
        for field in msgspec.structs.fields(Config)
        if isinstance(field.type, type) and issubclass(field.type, Struct)
    }


def _from_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    known = _variables()
    sections = {section for section, _ in known.values()}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX):
            continue
        if variable in _READ_ELSEWHERE:
            continue
        if variable not in known:  # another program's, unless it looks like one of ours mistyped
            renamed = _renamed_variable(variable)
            near = renamed or _nearest_variable(variable, known)
            if not near and variable.removeprefix(PREFIX).lower().partition("_")[0] not in sections:
                continue
            hint = f"did you mean {near}?" if near else f"known: {', '.join(known)}"
            hint = f"it is called {near} now" if renamed else hint
            raise InvalidConfig(f"environment: unknown variable {variable}; {hint}")
        section, key = known[variable]
        cls = _sections()[section]
        fields = {field.name: field.type for field in msgspec.structs.fields(cls)}
        try:
            found.setdefault(section, {})[key] = msgspec.convert(_text_value(text), fields[key], strict=False)
        except msgspec.ValidationError as exc:
            if "enum" in str(exc):  # this one names the choices
                parse(cls, {key: text}, error=InvalidConfig, what=f"environment: {variable}")
            allowed = str(exc).replace("Expected", "allowed is")
            raise InvalidConfig(f"environment: {variable}: given {text!r}, {allowed}") from None
    return found


@functools.cache
def _variables() -> dict[str, tuple[str, str]]:
    """Map every variable that is read to its (section, key)."""
    return {
        f"{PREFIX}{section}_{field.name}".upper(): (section, field.name)
        for section, cls in _sections().items()
        for field in msgspec.structs.fields(cls)
    }


def _renamed_variable(variable: str) -> str:
    """Return what a variable of an earlier version is called now, or ""."""
    for (section, old), new in _RENAMED.items():
        if section in _sections() and variable == f"{PREFIX}{section}_{old}".upper():
            return f"{PREFIX}{section}_{new}".upper()
    return ""


def _nearest_variable(variable: str, known: Iterable[str]) -> str:
    """Return the variable that a mistyped one comes near, or ""."""
    # without the prefix, which would make any two look alike
    names = [name.removeprefix(PREFIX) for name in (*known, *_READ_ELSEWHERE)]
    near = nearest_name(variable.removeprefix(PREFIX), names)
    return f"{PREFIX}{near}" if near else ""


def _text_value(text: str) -> Any:
    return [part.strip() for part in text[1:-1].split(",")] if text.startswith("[") and text.endswith("]") else text


def process_names(worker: WorkerConfig) -> list[str]:
    """Return the names of a worker's processes: its own, or one numbered from 1 for each of several."""
    if worker.count == 1:
        return [worker.name]
    return [f"{worker.name}-{number}" for number in range(1, worker.count + 1)]


def _check(config: Config, where: str) -> None:
    """Refuse combinations that no single field can."""
    names = [name for worker in config.workers for name in process_names(worker)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidConfig(f"{where}: workers: the name {twice[0]!r} is given twice; names must differ")
    if config.workers:
        if not any("master" in worker.roles for worker in config.workers):
            raise InvalidConfig(f"{where}: workers: none has the role 'master'; give it to at least one")
        if not any(worker.engines and "generate" in worker.roles for worker in config.workers):
            raise InvalidConfig(f"{where}: workers: none has an engine and the role 'generate'; give one 'engines'")
        hosted = {engine for worker in config.workers for engine in worker.engines}
        if config.defaults.engine not in hosted:
            near = nearest_name(config.defaults.engine, hosted)
            hint = f"did you mean {near!r}?" if near else f"hosted: {', '.join(sorted(hosted)) or 'none'}"
            raise InvalidConfig(f"{where}: defaults.engine {config.defaults.engine!r} is hosted by no worker; {hint}")
        if config.cache.scorer != "off":
            for worker in config.workers:
                if "master" in worker.roles and "score" not in worker.roles:
                    raise InvalidConfig(
                        f"{where}: workers: {worker.name!r} has the role 'master' but not 'score'; with cache.scorer "
                        f"{config.cache.scorer!r} whoever masters judges, so give it both"
                    )
    if bool(config.server.pull_bind) != bool(config.server.push_bind):
        raise InvalidConfig(f"{where}: server.pull_bind and server.push_bind are set together or not at all")
    if config.defaults.bit_depth == 32 and config.defaults.format != "wav":
        raise InvalidConfig(f"{where}: defaults.bit_depth 32 is for wav only, given format {config.defaults.format!r}")
