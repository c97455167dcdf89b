"""What would be evicted, told to a person: nothing is taken away.

Owns: the report of ``AudioSemanticCache.plan_eviction``.
Must not know: which sound goes first (eviction.py), the terminal.
"""

from __future__ import annotations

from typing import Any

from audio_pool.cache.eviction import Victim, held_in, victims
from audio_pool.cache.limits import Limits
from audio_pool.cache.store import Store

__all__ = ["eviction_plan"]

_MB = 1024 * 1024
Json = dict[str, Any]  # the documented results of docs/manager.md


def eviction_plan(store: Store, limits: Limits, now: float, limit: int) -> Json:
    """Return what a process that has just begun would take away.

    Args:
        now: seconds since 1970.
        limit: how many are listed; all are counted.

    Returns:
        bounded, held_items, held_mb, items, size_mb, delivered_just_now, and victims: of each what its worth
        consists of, and the bound (``why``) of which namespace (``scope``, "" for the whole) it goes for.

    Raises:
        StorageError.
    """
    if not store.read_only:
        while store.uses.catch_up():
            pass
    held, grace_s = held_in(store)[""], store.leaving.grace_s
    listed: list[Json] = []
    items = size_bytes = recent = 0
    for one in victims(store, limits, now, is_recent=lambda sound: abs(now - sound.last_used) < grace_s):
        items, size_bytes = items + 1, size_bytes + one.sound.size_bytes
        recent += one.delivered_just_now
        if items <= limit:
            listed.append(_victim(one))
    return {
        "bounded": bool(limits),
        "held_items": held.items,
        "held_mb": held.size_bytes / _MB,
        "items": items,
        "size_mb": size_bytes / _MB,
        "delivered_just_now": recent,
        "victims": listed,
    }


def _victim(one: Victim) -> Json:
    sound = one.sound._asdict()
    for name in ("entry_id", "size_bytes", "rank"):
        del sound[name]
    return {
        "id": one.sound.entry_id,
        **sound,
        "size_kb": one.sound.size_bytes / 1024,
        "worth": one.worth,
        "why": one.why,
        "scope": one.scope,
        "delivered_just_now": one.delivered_just_now,
    }
