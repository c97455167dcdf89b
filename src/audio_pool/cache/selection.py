"""Choosing among variants of one prompt: which is offered, and which goes when there are too many.

Owns: the draw, and the cap's strategies. Pure but for the random numbers passed in.
Must not know: the store, files.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from audio_pool.cache.entry import Row
from audio_pool.cache.store import Vector

__all__ = [
    "CapStrategy",
    "Standing",
    "Variant",
    "draw",
    "of_nearest_length",
    "of_nearest_prompts",
    "preferred",
    "surplus",
]

CapStrategy = Literal["quality", "diversity"]
Standing = Literal["variant", "preferred", "instead"]
"""Of a new sound among those of its words and settings: one of them, offered before them, or in their place."""
_EQUAL_LENGTH_S = 1e-3


# -- the draw --------------------------------------------------------------------------------------


def of_nearest_length(rows: Sequence[Row], duration_s: float) -> list[Row]:
    """Return those whose length differs least; a millisecond more or less is the same length."""
    least = min(abs(row.duration_s - duration_s) for row in rows)
    return [row for row in rows if abs(row.duration_s - duration_s) <= least + _EQUAL_LENGTH_S]


def of_nearest_prompts(
    rows: Iterable[Row], cosines: Mapping[int, float], count: int, blur: float = 0.0
) -> list[Row]:
    """Return the rows of the ``count`` nearest prompts, nearest first; with ``blur``, of those that may be among them.

    Args:
        cosines: by id; each may be wrong by half of ``blur``.
    """
    nearest = sorted(rows, key=lambda row: -cosines[row.id])
    best: dict[str, float] = {}
    for row in nearest:
        best.setdefault(row.prompt, cosines[row.id])
    chosen = dict(list(best.items())[:count])
    least = min(chosen.values(), default=0.0) - blur
    return [row for row in nearest if row.prompt in chosen or (blur and best[row.prompt] >= least)]


def draw(
    rows: Sequence[Row],
    scores: Mapping[int, float],
    temperature: float,
    variant_seed: int | None,
    rng: random.Random,
) -> Row:
    """Draw one row, with softmax weights of the scores; of its prompt the one preferred, unless there is a seed.

    By the Gumbel-max trick, with noise that depends on the seed and the entry alone: a seed goes on
    drawing the same entry when others come or go, which a draw from cumulated weights would not.

    Args:
        rows: at least one.
        scores: by id.
        temperature: 0 takes the best, among equals the oldest.
        variant_seed: makes the draw reproducible.
        rng: draws where there is no seed.
    """
    if len(rows) == 1:
        return rows[0]
    if temperature <= 0:
        drawn = max(rows, key=lambda row: (scores[row.id], -row.id))
    else:
        drawn = max(rows, key=lambda row: scores[row.id] / temperature + _gumbel(row.id, variant_seed, rng))
    if variant_seed is not None:
        return drawn
    return preferred(row for row in rows if row.prompt == drawn.prompt) or drawn


def preferred(rows: Iterable[Row]) -> Row | None:
    """Return the one that was last asked for in place of what was offered; None where there is none."""
    # rows that were made anew of masters have other ids
    return max((row for row in rows if row.preferred), key=lambda row: (row.created_at, row.id), default=None)


def _gumbel(entry_id: int, variant_seed: int | None, rng: random.Random) -> float:
    if variant_seed is None:
        uniform = rng.random()
    else:
        digest = hashlib.blake2b(f"{variant_seed}:{entry_id}".encode(), digest_size=8).digest()
        uniform = int.from_bytes(digest, "little") / 2**64
    return -math.log(-math.log(min(max(uniform, 1e-12), 1 - 1e-12)))


# -- the cap ---------------------------------------------------------------------------------------


class Variant(NamedTuple):
    """One of several sounds of the same words and settings."""

    id: int | None
    """None: the newcomer."""
    score: float
    created_at: float
    vector: Vector | None
    """Describes the sound; compared by Euclidean distance."""
    pinned: bool = False
    """It does not go."""


def surplus(variants: Sequence[Variant], most: int, strategy: CapStrategy) -> set[int | None]:
    """Return the ids of those that must go so that ``most`` are left.

    ``quality``: the lowest score goes, among equals the oldest. ``diversity``: of the two most alike the one
    with the lower score goes; where a vector is missing it is as ``quality``. Pinned ones stay.
    """
    left, gone = list(variants), set()
    while len(left) > most:
        movable = [variant for variant in left if not variant.pinned]
        if not movable:
            break
        pair = _most_alike(left) if strategy == "diversity" else left
        movable = [variant for variant in pair if not variant.pinned] or movable
        worst = min(movable, key=lambda variant: (variant.score, variant.created_at))
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
