"""Inverted lists over vectors of one byte per dimension: how many, trained on what, and tidied without training.

Owns: the FAISS structure for many vectors: its making, removal from it, its numbers in order again, the order
within a list.
Must not know: ids, groups, where the vectors are kept.

One byte per dimension and not two: a quarter of the memory of float32 and, with the nearest compared anew by their
exact vectors, the same neighbours. One range for all dimensions: as good for unit vectors, and quicker to compare. The
means are found by a loop of our own because it can be stopped between two steps: FAISS's training of a million vectors
cannot, for tens of seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_pool.cache.faiss_library import faiss_here

__all__ = ["SAMPLE_PER_LIST", "Stopped", "add_rows", "arrange", "lists_for", "purge", "trained_lists"]

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
GoOn = Callable[[], bool]

SAMPLE_PER_LIST = 40
"""Vectors that the training looks at for each list; FAISS warns below 39."""
_ROUNDS = 6
_ROWS_AT_ONCE = 4096


class Stopped(Exception):
    """Whoever asked for the work wants it no more."""


def lists_for(count: int) -> int:
    """Return the number of lists for so many vectors: the power of two nearest 2 sqrt(N)."""
    return max(1, min(1 << round(math.log2(2.0 * math.sqrt(max(1, count)))), count // SAMPLE_PER_LIST))


def trained_lists(sample: Floats, lists: int, go_on: GoOn = lambda: True) -> Any:  # Any: FAISS's structure
    """Return empty lists around the means of a sample of unit vectors.

    Raises:
        Stopped: ``go_on`` said no.
    """
    faiss = faiss_here()
    dimensions = sample.shape[1]
    coarse = faiss.IndexFlatIP(dimensions)
    coarse.add(_means(sample, lists, go_on))
    structure = faiss.IndexIVFScalarQuantizer(
        coarse, dimensions, lists, faiss.ScalarQuantizer.QT_8bit_uniform, faiss.METRIC_INNER_PRODUCT, False
    )
    structure.train(sample)  # the means are there: what is left is the range of values
    return structure


def _means(sample: Floats, lists: int, go_on: GoOn) -> Floats:
    rng = np.random.default_rng(0)
    means: Floats = sample[rng.choice(len(sample), lists, replace=False)].copy()
    for _ in range(_ROUNDS):
        nearest = _nearest(means, sample, go_on)
        order = np.argsort(nearest, kind="stable")
        there, starts = np.unique(nearest[order], return_index=True)
        sums = np.add.reduceat(sample[order], starts, axis=0)
        means[there] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        gone = np.setdiff1d(np.arange(lists), there)
        means[gone] = sample[rng.choice(len(sample), len(gone), replace=False)]
    return means


def _nearest(means: Floats, rows: Floats, go_on: GoOn) -> Ids:
    coarse = faiss_here().IndexFlatIP(means.shape[1])
    coarse.add(means)
    found: Ids = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        if not go_on():
            raise Stopped
        part = slice(start, start + _ROWS_AT_ONCE)
        found[part] = coarse.search(rows[part], 1)[1][:, 0]
    return found


def add_rows(structure: Any, rows: Floats, numbers: Ids, lists: Ids) -> None:  # Any: FAISS's structure
    """Add unit vectors under these numbers, into the lists that ``structure.quantizer`` has found for them."""
    faiss = faiss_here()
    pointers = (faiss.swig_ptr(rows), faiss.swig_ptr(numbers), faiss.swig_ptr(lists))
    structure.add_core(len(rows), *pointers)


def purge(structure: Any, keep: Ids, count: int) -> None:  # Any: FAISS's structure
    """Remove all but the numbers ``keep``, ascending and of ``count``, and number those from 0 up.

    Some tens of milliseconds for a million: nothing is trained or moved to another list.
    """
    faiss = faiss_here()
    gone = np.ones(count, np.bool_)
    gone[keep] = False
    structure.remove_ids(faiss.IDSelectorBitmap(np.packbits(gone, bitorder="little")))
    numbers = np.zeros(count, np.int64)
    numbers[keep] = np.arange(len(keep))
    lists = structure.invlists
    for one in range(structure.nlist):
        size = lists.list_size(one)
        if size:
            here = faiss.rev_swig_ptr(lists.get_ids(one), size)
            here[:] = numbers[here]


def arrange(structure: Any, one: int, ranks: Ids) -> None:  # Any: FAISS's structure
    """Put the vectors of a list in the order of their ``ranks``, by number.

    A filtered search skips from fit to fit: where those lie side by side it takes half the time, and finds the same.
    """
    faiss = faiss_here()
    lists = structure.invlists
    size = lists.list_size(one)
    if size > 1:
        ids = faiss.rev_swig_ptr(lists.get_ids(one), size)
        codes = faiss.rev_swig_ptr(lists.get_codes(one), size * structure.code_size).reshape(size, -1)
        order = np.argsort(ranks[ids], kind="stable")
        ids[:], codes[:] = ids[order], codes[order]
