"""How much a cache may hold, and for how long.

Owns: Bounds (of the whole, or of one namespace), Limits.
Must not know: the configuration, what is held, which sounds go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["UNBOUNDED", "Bounds", "Limits"]


class Bounds(NamedTuple):
    """0 is no bound."""

    max_bytes: int = 0
    """Of masters and their renditions."""
    max_items: int = 0

    def __bool__(self) -> bool:
        return self.max_bytes > 0 or self.max_items > 0


class Limits(NamedTuple):
    """What a cache may hold."""

    whole: Bounds = Bounds()
    namespaces: Mapping[str, Bounds] = {}
    """Of each by itself, beside the whole's."""
    ttl_s: float = 0.0
    """A sound goes when it was made this long ago; 0: never."""
    ttls_s: Mapping[str, float] = {}
    """By namespace, instead of ``ttl_s``."""
    low_water: float = 0.9
    """Where there is too much, so much of the bound is left."""

    def __bool__(self) -> bool:
        return bool(self.whole or any(self.namespaces.values()) or self.ttl_s or any(self.ttls_s.values()))

    def ttl_of(self, namespace: str) -> float:
        """Return the seconds that a namespace's sounds live; 0: for ever."""
        return self.ttls_s.get(namespace, self.ttl_s)


UNBOUNDED = Limits()
