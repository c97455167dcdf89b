"""Which variants of a prompt go when there are more than wanted.

Owns: ``surplus``, a pure function.
Must not know: the store, sound.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from audio_pool.cache.entry import Row

__all__ = ["CapStrategy", "Variant", "surplus"]

CapStrategy = Literal["quality", "diversity"]


class Variant(NamedTuple):
    id: int | None
    """None: the newcomer."""
    score: float
    created_at: float
    vector: npt.NDArray[np.float32] | None
    """float32 [D], describes the sound; compared by Euclidean distance."""


def surplus(variants: Sequence[Variant], most: int, strategy: CapStrategy) -> set[int | None]:
    """The ids of those that must go so that ``most`` are left.

    ``quality``: the lowest score goes, among equals the oldest. ``diversity``: of the two most alike the one
    with the lower score goes; where a vector is missing it is as ``quality``.
    """
    left, gone = list(variants), set()
    while len(left) > most:
        pair = _most_alike(left) if strategy == "diversity" else left
        worst = min(pair, key=lambda variant: (variant.score, variant.created_at))
        left.remove(worst)
        gone.add(worst.id)
    return gone


def _most_alike(variants: Sequence[Variant]) -> Sequence[Variant]:
    vectors = [variant.vector for variant in variants]
    known = [vector for vector in vectors if vector is not None]
    if len(known) < len(vectors) or len(known) < 2 or len({len(vector) for vector in known}) > 1:
        return variants
    matrix = np.stack(known).astype(np.float64)
    apart = np.linalg.norm(matrix[:, None] - matrix[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    first, second = divmod(int(apart.argmin()), len(known))
    return [variants[first], variants[second]]


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
