"""What would be evicted, told to a person: nothing is taken away.

Owns: the reports of ``AudioSemanticCache.plan_eviction`` and of a running pool's operators.
Must not know: which sound goes first (eviction.py), the terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from audio_pool.cache.eviction import Victim, held_in, next_out, victims
from audio_pool.cache.library import kept_sounds
from audio_pool.cache.limits import Limits
from audio_pool.cache.store import Store
from audio_pool.cache.uses import Candidate
from audio_pool.stock import EvictionPlan, Leaver

__all__ = ["coming_eviction", "eviction_plan"]

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


def coming_eviction(
    store: Store, limits: Limits, now: float, limit: int, *, is_recent: Callable[[Candidate], bool]
) -> EvictionPlan:
    """Return what goes now and what goes next, by the rules that a running pool keeps to.

    Args:
        now: seconds since 1970.
        limit: how many are listed; all that are due are counted.
        is_recent: whether a sound was delivered or made within the grace time, as that pool knows it.

    Raises:
        StorageError.
    """
    while store.uses.catch_up():
        pass
    held, listed = held_in(store)[""], list[Victim]()
    due_items = due_bytes = 0
    for one in next_out(store, limits, now, is_recent=is_recent):
        if not one.why and len(listed) >= limit:
            break
        due_items, due_bytes = due_items + bool(one.why), due_bytes + one.sound.size_bytes * bool(one.why)
        if len(listed) < limit:
            listed.append(one)
    known = kept_sounds(store.library, ((one.sound.namespace, one.sound.entry_id) for one in listed))
    return EvictionPlan(
        held_items=held.items,
        held_bytes=held.size_bytes,
        max_items=limits.whole.max_items,
        max_bytes=limits.whole.max_bytes,
        ttl_s=limits.ttl_s,
        low_water=limits.low_water,
        due_items=due_items,
        due_bytes=due_bytes,
        pinned=len(store.pins.pinned()),
        next=tuple(
            Leaver(
                sound=known[one.sound.entry_id],
                worth=one.worth,
                why=one.why,
                scope=one.scope,
                delivered_just_now=one.delivered_just_now,
            )
            for one in listed
            if one.sound.entry_id in known  # somebody may have removed it meanwhile
        ),
    )


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
