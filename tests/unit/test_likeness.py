"""Close vectors among many are found by keys they have in common, as comparing all finds them."""

from __future__ import annotations

import numpy as np
import pytest

from audio_pool.cache import likeness
from audio_pool.cache.likeness import Points, close_pairs

COUNT, D = 6_000, 48


def spread(rng: np.random.Generator, unit: bool) -> np.ndarray:
    """In clumps; every tenth has a neighbour at up to the distance asked for, some a whole row of the very same."""
    rows = rng.standard_normal((60, D))[rng.integers(60, size=COUNT)] + 0.8 * rng.standard_normal((COUNT, D))
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) if unit else 8 * rows
    near = rng.permutation(COUNT)[: COUNT // 5].reshape(2, -1)
    far = rng.uniform(0, 0.2 if unit else 0.5, (near.shape[1], 1))
    side = rng.standard_normal((near.shape[1], D))
    rows[near[1]] = rows[near[0]] + far * side / np.linalg.norm(side, axis=1, keepdims=True)
    rows[100:400] = rows[99]
    return rows.astype(np.float32)


@pytest.mark.parametrize(("unit", "distance"), [(True, 0.2), (False, 0.5)], ids=["direction", "distance"])
def test_what_is_close_is_found_and_nothing_else(
    unit: bool, distance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(11)
    rows = spread(rng, unit)
    ids = rng.permutation(COUNT).astype(np.int64) + 7
    points = Points(ids, rng.integers(2, size=COUNT), rng.choice([2.0, 2.05, 4.0], COUNT).astype(np.float32))
    points.kinds[:1_000] = 0
    known = dict(zip(ids.tolist(), rows, strict=True))
    fetched: list[int] = []

    def vectors_of(asked: list[int]) -> dict[int, np.ndarray]:
        fetched.append(len(asked))
        return {one: known[one] for one in asked}

    order = np.argsort(ids)
    batches = [(ids[part], rows[part]) for part in np.array_split(order, 5)]
    found = close_pairs(points, batches, vectors_of, distance=distance, unit=unit, slack=0.05)
    assert sum(fetched) < 2 * COUNT, "few vectors are looked at twice"
    monkeypatch.setattr(likeness, "_ALL_BELOW", COUNT)
    wanted = close_pairs(points, batches, lambda asked: known, distance=distance, unit=unit, slack=0.05)
    crowd = set(ids[99:400].tolist())
    pairs, all_pairs = (
        {(a, b) for a, others in one.items() for b in others if not {a, b} <= crowd} for one in (found, wanted)
    )
    assert len(all_pairs) > 300
    assert pairs <= all_pairs
    assert len(pairs) > 0.97 * len(all_pairs)
    for leader in {min((one for one in crowd if one in found), key=ids.tolist().index)}:
        assert set(found[leader]) == set(wanted[leader]), "the first of the very same leads all of its size"


def test_nothing_and_vectors_of_odd_sizes_are_no_trouble() -> None:
    points = Points(np.array([1, 2, 3]), np.zeros(3, np.int64), np.ones(3, np.float32))
    odd = {1: np.ones(4, np.float32), 2: np.ones(3, np.float32), 3: np.ones(4, np.float32)}
    assert close_pairs(points, [], lambda ids: {}, distance=0.2, unit=True, slack=0.05) == {}
    assert close_pairs(points, [], lambda ids: odd, distance=0.2, unit=True, slack=0.05) == {1: [3], 3: [1]}
