"""Which of several fitting entries answers.

Owns: the choice by length and the draw by score; pure.
Must not know: why they fit.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence

from audio_pool.cache.row import Row

__all__ = ["draw", "of_nearest_length"]


def of_nearest_length(rows: Sequence[Row], duration_s: float) -> list[Row]:
    """Those whose length differs least; a millisecond more or less is the same length."""
    least = min(abs(row.duration_s - duration_s) for row in rows)
    return [row for row in rows if abs(row.duration_s - duration_s) <= least + 1e-3]


def draw(
    rows: Sequence[Row],
    scores: Mapping[int, float],
    temperature: float,
    variant_seed: int | None,
    rng: random.Random,
) -> Row:
    """One row, with softmax weights of the scores.

    Drawn by the Gumbel-max trick with noise that depends on the seed and the entry alone: a seed goes on
    drawing the same entry when others come or go, which a draw from cumulated weights would not.
    """
    if len(rows) == 1:
        return rows[0]
    if temperature <= 0:
        return max(rows, key=lambda row: (scores[row.id], -row.id))

    def weight(row: Row) -> float:
        if variant_seed is None:
            uniform = rng.random()
        else:
            digest = hashlib.blake2b(f"{variant_seed}:{row.id}".encode(), digest_size=8).digest()
            uniform = int.from_bytes(digest, "little") / 2**64
        return scores[row.id] / temperature - math.log(-math.log(min(max(uniform, 1e-12), 1 - 1e-12)))

    return max(rows, key=weight)
