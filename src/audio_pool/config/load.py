"""Configuration: a dict or a TOML file plus the environment, once, into frozen strict structs.

Owns: the order command line > environment > file > default; which combinations of settings are refused.
Must not know: what the settings make anybody do; workers never read this (they get a Load message).

Environment: ``AUDIO_POOL_<SECTION>_<KEY>``, e.g. ``AUDIO_POOL_CACHE_DIR``, ``AUDIO_POOL_QUEUE_MAX_REQUESTS``.
"""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from audio_pool.config.cluster_checks import cluster_refusals
from audio_pool.config.sections import Config, EngineConfig, process_names
from audio_pool.errors import InvalidConfig, InvalidRequest, NotFound, nearest_name
from audio_pool.validation import parse

__all__ = ["check_config", "load_config"]

PREFIX = "AUDIO_POOL_"
_SIGNABLE = ("wav", "flac", "mp3")
"""What C2PA's library writes into."""
_READ_ELSEWHERE = ("AUDIO_POOL_LOG_LEVEL", "AUDIO_POOL_DEVICE")
"""Variables with the prefix that are no key of the configuration: workers read the first when they start, the second
says whose memory a process takes."""


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
    check_config(config, where)
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


def check_config(config: Config, where: str) -> None:
    """Refuse combinations that no single field can. Raises InvalidConfig."""
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
    _check_memory(config, where)
    if refusal := config.provenance.refusal():
        raise InvalidConfig(f"{where}: {refusal}")
    for name, preset in config.presets.items():
        try:
            preset.preset(name)
        except InvalidRequest as exc:
            raise InvalidConfig(f"{where}: presets.{name}: {exc.message}") from None
    if config.provenance.sign == "on" and config.defaults.format not in _SIGNABLE:
        raise InvalidConfig(
            f"{where}: defaults.format: given {config.defaults.format!r}, which cannot be signed while provenance.sign "
            f"is 'on'; allowed are {', '.join(_SIGNABLE)}"
        )
    for refusal in cluster_refusals(config.cluster, config.workers):
        raise InvalidConfig(f"{where}: {refusal}")
    if bool(config.server.pull_bind) != bool(config.server.push_bind):
        raise InvalidConfig(f"{where}: server.pull_bind and server.push_bind are set together or not at all")
    if config.defaults.bit_depth == 32 and config.defaults.format != "wav":
        raise InvalidConfig(f"{where}: defaults.bit_depth 32 is for wav only, given format {config.defaults.format!r}")


def _check_memory(config: Config, where: str) -> None:
    """Refuse engines and devices that come and go where they cannot."""
    for name in (config.cache.encoder, config.cache.scorer):
        if config.engines.get(name, EngineConfig()).preload is not True:
            raise InvalidConfig(
                f"{where}: engines.{name}.preload: given {config.engines[name].preload!r}, allowed is true: "
                "[cache] asks it with every request"
            )
    for worker in config.workers:
        if worker.device and worker.device not in config.devices:
            near = nearest_name(worker.device, config.devices)
            hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(config.devices)) or 'none'}"
            raise InvalidConfig(f"{where}: workers: {worker.name!r} names the device {worker.device!r}; {hint}")
        if worker.device and worker.gpu:
            raise InvalidConfig(f"{where}: workers: {worker.name!r} has a gpu and a logical device; allowed is one")
