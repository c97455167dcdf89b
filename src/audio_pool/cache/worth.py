"""What a kept sound is worth: the figure by which one goes before another when room is wanted.

Owns: the formula. Pure.
Must not know: the store, limits, who is spared.

    worth = cost_s * quality * uses / megabytes / place

``uses`` counts the making and every hit, each halved for every ``HALF_LIFE_S`` that it is ago. All sounds' uses are
halved at the same pace, so their order stays what it is while nothing is used. It is therefore kept as a logarithm in
which time stands as a summand (forward decay: Cormode et al., 2009): such a *rank* changes by a use only, never by
time, and can be indexed. ``place`` is a sound's place among the variants of its prompt, the worthiest first: the
fifth of five counts a fifth, and the last of a prompt in full.
"""

from __future__ import annotations

import math

__all__ = ["HALF_LIFE_S", "base_of", "heat_of", "heated", "worth_at"]

HALF_LIFE_S = 14 * 86_400.0
_LEAST_COST_S = 0.01
_LEAST_QUALITY = 0.01
_LEAST_BYTES = 4096
_MEGABYTE = 1 << 20


def base_of(cost_s: float, quality: float | None, size_bytes: int) -> float:
    """Return the part of the rank that never changes.

    Args:
        cost_s: seconds of generating.
        quality: the gate's score, 0 to 100; None counts in full.
        size_bytes: of the master.
    """
    kept = 1.0 if quality is None else max(_LEAST_QUALITY, quality / 100)
    return (
        math.log2(max(_LEAST_COST_S, cost_s)) + math.log2(kept) - math.log2(max(_LEAST_BYTES, size_bytes) / _MEGABYTE)
    )


def heat_of(uses: int, at: float) -> float:
    """Return the logarithm of so many uses at one moment (seconds since 1970)."""
    return math.log2(uses) + at / HALF_LIFE_S


def heated(heat: float, uses: int, at: float) -> float:
    """Return the heat after so many further uses at one moment."""
    more = heat_of(uses, at)
    return max(heat, more) + math.log2(1 + 2.0 ** -min(60.0, abs(heat - more)))


def worth_at(rank: float, place: int, now: float) -> float:
    """Return the worth at a moment: seconds of generating per megabyte, weighted."""
    return float(2.0 ** min(1000.0, rank - now / HALF_LIFE_S)) / place
