"""What a running pool makes of a changed configuration. Pure.

Owns: which keys take effect at once and which need a restart.
Must not know: who asked for it, how the parts take new settings over.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from audio_pool.config import ClientConfig, Config, EngineConfig, PresetConfig, WorkerConfig, process_names

__all__ = ["LIVE", "Reload", "reload_plan"]

LIVE: dict[str, tuple[str, ...]] = {
    "limits": (
        "task_timeout_s",
        "max_attempts",
        "max_rounds",
        "embed_timeout_s",
        "await_encoder",
        "hello_timeout_s",
        "load_timeout_s",
        "missed_heartbeats",
        "restart_backoff_s",
        "restart_backoff_max_s",
        "max_restarts",
        "breaker_s",
        "breaker_max_s",
        "poison_after",
        "poison_s",
        "suspect_wait_s",
        "claim_wait_s",
        "hang_factor",
        "hang_floor_s",
        "hang_unknown_s",
        "cancel_grace_s",
        "memory_wait_s",
        "drain_timeout_s",
        "term_timeout_s",
    ),
    "queue": (
        "max_requests",
        "max_bytes",
        "max_requests_per_client",
        "max_bytes_per_client",
        "max_running_per_client",
        "batch_window_s",
    ),
    "cache": ("max_size_gb", "max_items", "ttl_days", "low_water", "namespaces"),
    "provenance": ("sign", "certificate", "private_key"),
    "logs": ("format", "max_bytes", "files", "prompts"),
}
"""Keys that take effect at once. The others are built into workers, sockets and the opened cache."""


class Reload(Struct, frozen=True, kw_only=True):
    """What follows from a changed configuration."""

    config: Config
    """What holds from now on: the old one with the live keys of the new."""
    applied: tuple[str, ...] = ()
    """Changed keys that are live, as ``section.key``."""
    restart: tuple[str, ...] = ()
    """Changed keys that take effect at the next start."""
    added: tuple[WorkerConfig, ...] = ()
    """Workers that there are now, one entry per process."""
    removed: tuple[str, ...] = ()
    """Workers that are gone."""


def reload_plan(old: Config, new: Config) -> Reload:
    """Return what becomes of ``old`` where the configuration says ``new``."""
    applied: list[str] = []
    restart: list[str] = []
    sections: dict[
        str, Struct | dict[str, ClientConfig] | dict[str, EngineConfig] | dict[str, PresetConfig] | list[WorkerConfig]
    ] = {}
    added, removed = _staff(old, new)
    for section in Config.__struct_fields__:
        was, wanted = getattr(old, section), getattr(new, section)
        if section in ("clients", "presets"):
            if was != wanted:
                applied.append(section)
                sections[section] = wanted
            continue
        if section == "engines":
            engines = {name: _bounded(one, new.engines.get(name)) for name, one in old.engines.items()}
            applied += [f"engines.{name}.concurrency" for name, one in engines.items() if one != old.engines[name]]
            restart += [section] if engines != new.engines else []
            sections[section] = engines
            continue
        if section == "workers":
            kept = [one for one in _processes(old) if one.name not in removed]
            applied += [f"workers.{name}" for name in (*(one.name for one in added), *removed)]
            sections[section] = [*kept, *added] if added or removed else was
            there = {one.name: one for one in (*kept, *added)}
            restart += [section] if there != {one.name: one for one in _processes(new)} else []
            continue
        if not isinstance(was, Struct):
            restart += [section] if was != wanted else []
            continue
        changed = [key for key in was.__struct_fields__ if getattr(was, key) != getattr(wanted, key)]
        live = [key for key in changed if key in LIVE.get(section, ())]
        applied += [f"{section}.{key}" for key in live]
        restart += [f"{section}.{key}" for key in changed if key not in live]
        if live:
            sections[section] = msgspec.structs.replace(was, **{key: getattr(wanted, key) for key in live})
    return Reload(
        config=msgspec.structs.replace(old, **sections),
        applied=tuple(applied),
        restart=tuple(restart),
        added=added,
        removed=removed,
    )


def _bounded(was: EngineConfig, wanted: EngineConfig | None) -> EngineConfig:
    """Return an engine's settings with the one among them that takes effect at once."""
    return was if wanted is None else msgspec.structs.replace(was, concurrency=wanted.concurrency)


def _processes(config: Config) -> list[WorkerConfig]:
    return [
        msgspec.structs.replace(one, name=name, count=1) for one in config.workers for name in process_names(one)
    ]


def _staff(old: Config, new: Config) -> tuple[tuple[WorkerConfig, ...], tuple[str, ...]]:
    """Return the workers that come, whose engines are the same as before, and those that go.

    One whose settings have changed stays as it is until the next start, as do all where there were none, or are none
    now: then there is one that does it all.
    """
    if not old.workers or not new.workers:
        return (), ()
    was, wanted = _processes(old), _processes(new)
    before, after = {one.name for one in was}, {one.name for one in wanted}
    added = [
        one
        for one in wanted
        if one.name not in before
        and all(_alike(old.engines.get(name), new.engines.get(name)) for name in one.engines)
    ]
    return tuple(added), tuple(one.name for one in was if one.name not in after)


def _alike(was: EngineConfig | None, wanted: EngineConfig | None) -> bool:
    return (was and _bounded(was, wanted)) == wanted

