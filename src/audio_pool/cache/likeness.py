"""Which of very many vectors lie close to each other, in one pass over them and in bounded memory.

Owns: Points, and ``close_pairs``: pairs that may be close, by keys that close vectors have in common, then compared
by the vectors themselves.
Must not know: sounds, the store, what follows from likeness.

Each vector is projected on random directions; cut into steps, some of them make one key, and twenty keys are made of
each. Two vectors at the distance asked for have each key in common with a chance of a fifth, so that
about one such pair in a hundred is missed; of those at half the distance none in a million. A sketch of signs sorts out
nearly all others before their vectors are fetched. A neighbour search of each among all was rejected: a million
searches take minutes, and these keys some seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Points", "close_pairs"]

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

_KEYS, _STEPS_IN_KEY = 20, 14
_STEP = 8.0
"""Width of a step, in distances asked for."""
_SKETCH_BITS = 64
_SKETCH_MOST = 16
"""Signs that two close vectors may have different: at the distance asked for it is five on the average."""
_NEIGHBOURS = 16
"""Others of the same key that each is compared with."""
_PAIRS_AT_ONCE = 20_000
_ALL_BELOW = 2_048
"""Points up to which each is compared with each: a tenth of a second, and none is missed."""
_ROUNDING = 1e-5


class Points(NamedTuple):
    """What is known of each, beside its vector."""

    ids: Ids
    """Those that lead come first."""
    kinds: npt.NDArray[np.int64]
    """Only points of one kind can be a pair."""
    sizes: Floats
    """Two of a pair differ by ``slack`` of the first at most."""


class _Marks(NamedTuple):
    """What stays of the vectors after the pass over them."""

    keys: npt.NDArray[np.uint32]
    """[keys, points]."""
    sketch: npt.NDArray[np.uint64]
    there: npt.NDArray[np.bool_]
    """False: it has no vector."""


def close_pairs(
    points: Points,
    batches: Iterable[tuple[Ids, Floats]],
    vectors_of: Callable[[list[int]], Mapping[int, Floats]],
    *,
    distance: float,
    unit: bool,
    slack: float,
) -> dict[int, list[int]]:
    """Return by id those that are close to it.

    Args:
        batches: ids and vectors of all, float32 [N, D]; unknown ids are passed over.
        vectors_of: gives vectors once more, by id.
        distance: Euclidean, up to which two are close.
        unit: vectors are brought to unit length first: close are those of nearly one direction.
        slack: relative difference of sizes.
    """
    if len(points.ids) <= _ALL_BELOW:
        return _among_few(points, vectors_of(points.ids.tolist()), distance, unit, slack)
    marks = _marked(points, batches, distance, unit)
    found: dict[int, list[int]] = {}
    first, second = _candidates(points, marks, slack)
    for start in range(0, len(first), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        a, b = points.ids[first[part]], points.ids[second[part]]
        for one, other in _really_close(a, b, vectors_of, distance, unit):
            found.setdefault(one, []).append(other)
            found.setdefault(other, []).append(one)
    return found


def _among_few(
    points: Points, known: Mapping[int, Floats], distance: float, unit: bool, slack: float
) -> dict[int, list[int]]:
    size = len(next(iter(known.values()), ()))
    at = np.array([n for n, one in enumerate(points.ids.tolist()) if len(known.get(one, ())) == size > 0], np.int64)
    found: dict[int, list[int]] = {}
    if len(at) < 2:
        return found
    rows = _brought(np.stack([known[one] for one in points.ids[at].tolist()]), unit).astype(np.float64)
    squares = (rows**2).sum(axis=1)
    for n, here in enumerate(at):
        apart = squares[n] + squares - 2 * (rows @ rows[n])
        fits = (apart <= (distance * (1 + _ROUNDING)) ** 2) & (points.kinds[at] == points.kinds[here])
        # the leader's size counts, and whoever comes first leads
        fits &= _of_one_size(points, np.minimum(at, here), np.maximum(at, here), slack)
        fits[n] = False
        if fits.any():
            found[int(points.ids[here])] = points.ids[at[fits]].tolist()
    return found


def _marked(points: Points, batches: Iterable[tuple[Ids, Floats]], distance: float, unit: bool) -> _Marks:
    count, rng = len(points.ids), np.random.default_rng(0)
    order = np.argsort(points.ids, kind="stable")
    marks = _Marks(
        np.zeros((_KEYS, count), np.uint32), np.zeros(count, np.uint64), np.zeros(count, np.bool_)
    )
    factors = rng.integers(1 << 31, size=(_KEYS, _STEPS_IN_KEY), dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    directions, usual = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
    offsets = rng.uniform(0, 1, _KEYS * _STEPS_IN_KEY).astype(np.float32)
    for ids, vectors in batches:
        at = order[np.minimum(np.searchsorted(points.ids, ids, sorter=order), count - 1)]
        known = points.ids[at] == ids
        at, rows = at[known], _brought(vectors[known], unit)
        if not len(at):
            continue
        first = not len(directions)
        if first:
            directions = rng.standard_normal((rows.shape[1], _KEYS * _STEPS_IN_KEY)).astype(np.float32)
        if rows.shape[1] != len(directions):
            continue
        projected = rows @ directions
        if first:
            usual = np.median(projected[:, :_SKETCH_BITS], axis=0)
        signs = np.packbits(projected[:, :_SKETCH_BITS] > usual, axis=1)
        marks.sketch[at] = np.ascontiguousarray(signs).view(np.uint64)[:, 0]
        steps = np.floor(projected / (_STEP * distance) + offsets).astype(np.int32).view(np.uint32)
        hashed = (steps.reshape(len(at), _KEYS, _STEPS_IN_KEY) * factors).sum(axis=2, dtype=np.uint32)
        marks.keys[:, at] = (hashed ^ (hashed >> np.uint32(15))).T
        marks.there[at] = True
    return marks


def _brought(vectors: Floats, unit: bool) -> Floats:
    if not unit:
        return vectors
    lengths: Floats = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return vectors / lengths


def _candidates(points: Points, marks: _Marks, slack: float) -> Pairs:
    """Return positions of pairs that may be close, each once, the leader first."""
    there = np.flatnonzero(marks.there)
    same = _twins(points, marks, there)
    alone = np.setdiff1d(there, same[1], assume_unique=True)
    count = len(points.ids)
    codes = [same[0] * count + same[1]]
    for keys in marks.keys:
        order = alone[np.lexsort((alone, keys[alone], points.kinds[alone]))]
        for offset in range(1, _NEIGHBOURS + 1):
            a, b = order[:-offset], order[offset:]
            equal = (keys[a] == keys[b]) & (points.kinds[a] == points.kinds[b])
            if not equal.any():
                break
            a, b = a[equal], b[equal]
            differing = np.bitwise_count(marks.sketch[a] ^ marks.sketch[b])
            fits = (differing <= _SKETCH_MOST) & _of_one_size(points, a, b, slack)
            a, b = a[fits], b[fits]
            codes.append(np.minimum(a, b) * count + np.maximum(a, b))
    unique = np.unique(np.concatenate(codes))
    first, second = unique // count, unique % count
    more = _with_twins(first, second, same)
    first, second = np.concatenate([first, more[0]]), np.concatenate([second, more[1]])
    fits = _of_one_size(points, first, second, slack)
    return first[fits], second[fits]


def _of_one_size(points: Points, a: Ids, b: Ids, slack: float) -> npt.NDArray[np.bool_]:
    apart = np.abs(points.sizes[a] - points.sizes[b])
    return np.asarray(apart <= slack * points.sizes[a])


def _twins(points: Points, marks: _Marks, there: Ids) -> Pairs:
    """Return those that have every key and the size in common with one before them: it, and they.

    However many there are of one, they are compared with that one alone.
    """
    mixed = marks.sketch[there] * np.uint64(0x9E3779B97F4A7C15)
    for keys in marks.keys:
        mixed = (mixed ^ keys[there].astype(np.uint64)) * np.uint64(0x100000001B3)
    order = np.lexsort((there, points.sizes[there], points.kinds[there], mixed))
    sizes, kinds, mixed = points.sizes[there][order], points.kinds[there][order], mixed[order]
    starts = np.ones(len(order), np.bool_)
    starts[1:] = (mixed[1:] != mixed[:-1]) | (kinds[1:] != kinds[:-1]) | (sizes[1:] != sizes[:-1])
    ranked = there[order]
    leaders = ranked[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    return leaders[~starts], ranked[~starts]


def _with_twins(first: Ids, second: Ids, same: Pairs) -> Pairs:
    """Return pairs of a leader and the twins of those that are paired with it."""
    order = np.argsort(same[0], kind="stable")
    leaders, twins = same[0][order], same[1][order]
    low, high = np.searchsorted(leaders, second), np.searchsorted(leaders, second, side="right")
    counts = high - low
    if not counts.sum():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(first, counts), twins[np.repeat(low, counts) + within]


def _really_close(
    a: Ids, b: Ids, vectors_of: Callable[[list[int]], Mapping[int, Floats]], distance: float, unit: bool
) -> list[tuple[int, int]]:
    known = vectors_of(np.unique(np.concatenate([a, b])).tolist())
    pairs = [
        (one, other)
        for one, other in zip(a.tolist(), b.tolist(), strict=True)
        if one in known and other in known and len(known[one]) == len(known[other])
    ]
    if not pairs:
        return []
    first = _brought(np.stack([known[one] for one, _ in pairs]), unit)
    second = _brought(np.stack([known[other] for _, other in pairs]), unit)
    apart = np.linalg.norm(first - second, axis=1)
    return [pair for pair, found in zip(pairs, apart.tolist(), strict=True) if found <= distance * (1 + _ROUNDING)]
