"""What the configuration says of how much the cache may hold.

Owns: the step from ``[cache]`` and ``[cache.namespaces.NAME]`` to Limits.
Must not know: what is held, which sounds go.
"""

from __future__ import annotations

from audio_pool.cache.limits import Bounds, Limits
from audio_pool.config import CacheConfig, NamespaceConfig

__all__ = ["limits_of"]

_GIB = 1 << 30
_DAY_S = 86_400.0


def limits_of(config: CacheConfig) -> Limits:
    """Return the limits of a cache."""
    own = config.namespaces
    return Limits(
        whole=_bounds(config),
        namespaces={name: bounds for name, one in own.items() if (bounds := _bounds(one))},
        ttl_s=config.ttl_days * _DAY_S,
        ttls_s={name: one.ttl_days * _DAY_S for name, one in own.items() if one.ttl_days is not None},
        low_water=config.low_water,
    )


def _bounds(config: CacheConfig | NamespaceConfig) -> Bounds:
    return Bounds(int(config.max_size_gb * _GIB), config.max_items)
