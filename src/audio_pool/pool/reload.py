"""What a running pool makes of a changed configuration. Pure.

Owns: which keys take effect at once and which need a restart.
Must not know: who asked for it, how the parts take new settings over.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from audio_pool.config import ClientConfig, Config

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


def reload_plan(old: Config, new: Config) -> Reload:
    """Return what becomes of ``old`` where the configuration says ``new``."""
    applied: list[str] = []
    restart: list[str] = []
    sections: dict[str, Struct | dict[str, ClientConfig]] = {}
    for section in Config.__struct_fields__:
        was, wanted = getattr(old, section), getattr(new, section)
        if section == "clients":
            if was != wanted:
                applied.append(section)
                sections[section] = wanted
            continue
        if not isinstance(was, Struct):  # engines, workers
            restart += [section] if was != wanted else []
            continue
        changed = [key for key in was.__struct_fields__ if getattr(was, key) != getattr(wanted, key)]
        live = [key for key in changed if key in LIVE.get(section, ())]
        applied += [f"{section}.{key}" for key in live]
        restart += [f"{section}.{key}" for key in changed if key not in live]
        if live:
            sections[section] = msgspec.structs.replace(was, **{key: getattr(wanted, key) for key in live})
    return Reload(
        config=msgspec.structs.replace(old, **sections), applied=tuple(applied), restart=tuple(restart)
    )
