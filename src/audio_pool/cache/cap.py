"""Which variants of a prompt go when there are more than wanted.

Owns: ``surplus``, a pure function.
Must not know: the store, sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

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
