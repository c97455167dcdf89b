"""What a cache's bounds leave for sounds that are taken in: what would be evicted at once is not taken.

Owns: Room.
Must not know: the configuration, how sounds are prepared.
"""

from __future__ import annotations

import time

from audio_pool.cache.eviction import Held, held_in
from audio_pool.cache.limits import Bounds, Limits
from audio_pool.cache.store import Store

__all__ = ["Room"]


class Room:
    """As it is when a batch begins; a server may keep sounds meanwhile."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._limits = limits
        self._held = held_in(store) if limits else {}
        self._now = time.time()

    def refusal(self, namespace: str, size_bytes: int, created_at: float) -> str:
        """Return the bound that another sound would break, by its key and value; "" where it may come in."""
        ttl_s = self._limits.ttl_of(namespace)
        if ttl_s and created_at < self._now - ttl_s:
            return f"older than ttl_days = {ttl_s / 86_400:g}"
        for name, bounds in (("", self._limits.whole), (namespace, self._limits.namespaces.get(namespace, Bounds()))):
            excess = self._with(name, size_bytes).excess(bounds)
            if excess:
                told = bounds.max_items if excess == "max_items" else f"{bounds.max_bytes / (1 << 30):g}"
                return f"{excess} = {told}" + (f" of namespace {name}" if name else "")
        return ""

    def take(self, namespace: str, size_bytes: int) -> None:
        """Count a sound that comes in."""
        for name in {"", namespace}:
            self._held[name] = self._with(name, size_bytes)

    def _with(self, name: str, size_bytes: int) -> Held:
        held = self._held.get(name, Held())
        return Held(held.items + 1, held.size_bytes + size_bytes)
