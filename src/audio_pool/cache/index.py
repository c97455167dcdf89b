"""Nearest neighbours among the cached prompts' vectors: FAISS, with filters inside the search.

Owns: VectorIndex, its snapshot, and the choice of the FAISS structure by size.
Must not know: the store. The index is derived: whatever is wrong with a snapshot, the caller builds a new
index from the store and loses nothing.

Up to ``FLAT_BELOW`` vectors every one is compared, at single precision. Above, inverted lists hold one byte per
dimension (inverted_lists.py), and cosines are near ones (``exact``): the caller has the vectors. What is removed is
only marked; ``compact`` gives its room back without training anything again. Within a list, groups lie in order of
their numbers, but for what was added since the last ``compact``: of close numbers should be what is searched together.

Threads: one writer (add, remove, compact, save) beside any number of searchers. A search waits for at most
one ``add``, ``remove`` or the last step of ``compact``. FAISS runs on the calling thread alone: its OpenMP pool would
fight the worker processes for cores and does not survive a fork, so a process that has searched must not fork and
search on in the child (ours start children by exec).
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from audio_pool.cache.faiss_library import faiss_here
from audio_pool.cache.inverted_lists import (
    SAMPLE_PER_LIST,
    GoOn,
    Stopped,
    add_rows,
    arrange,
    lists_for,
    purge,
    trained_lists,
)
from audio_pool.cache.snapshot import SnapshotUnusable, read_snapshot, write_snapshot
from audio_pool.errors import EngineError, StorageError

__all__ = ["FLAT_BELOW", "SnapshotUnusable", "VectorIndex"]

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint8]

FLAT_BELOW = 32_768
"""Vectors up to which all are compared: about 1.5 ms at 384 dimensions on one thread."""
_PROBES = 24
_REBUILD_GROWTH = 4
_KEPT_FILTERS = 128


class _Filter(NamedTuple):
    """A bitmap over positions (bit i of byte i // 8) of what is alive and in some groups."""

    bits: Bits
    """As long as there is room for positions."""
    fitting: int
    """How many."""


class VectorIndex:
    """Unit vectors by stable id, each in one group; see the module for threads."""

    def __init__(self, dimensions: int, *, encoder: str = "", flat_below: int = FLAT_BELOW) -> None:
        """
        Args:
            dimensions: D, 1..65,536.
            encoder: whose vectors these are (name and revision); a snapshot of another is refused.
            flat_below: vectors up to which all are compared.

        Raises:
            EngineUnavailable: faiss is not installed.
        """
        if not 1 <= dimensions <= 65_536:
            raise EngineError(f"an index of {dimensions} dimensions was asked for; allowed is 1..65536")
        self.dimensions = dimensions
        self.encoder = encoder
        self._flat_below = flat_below
        self._lock = threading.Lock()
        self._structure: Any = faiss_here().IndexFlatIP(dimensions)
        self._trained_on = 0
        self._count = 0
        self._dead = 0
        self._arranged = 0
        """Vectors that lie in order in their lists: the first so many."""
        self._ids: Ids = np.zeros(0, np.int64)
        self._codes: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._code_of: dict[int, int] = {}
        """Of the groups, which are large numbers, small ones: a table over those is quickly looked up."""
        self._alive: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._order: Ids | None = None
        self._filters: OrderedDict[tuple[int, ...] | None, _Filter] = OrderedDict()

    def __len__(self) -> int:
        """Vectors that can be found."""
        return self._count - self._dead

    def __contains__(self, entry_id: int) -> bool:
        with self._lock:
            position = self._positions(np.array([entry_id], np.int64))[0]
            return bool(position >= 0)

    @property
    def exact(self) -> bool:
        """True where its cosines are those of the vectors; False where they are near them."""
        return not self._trained_on

    # -- writing

    def train(self, sample: Floats, count: int, go_on: GoOn = lambda: True) -> None:
        """Prepare an empty index for so many vectors, by a sample of them; few need none.

        Raises:
            Stopped: ``go_on`` said no.
        """
        assert self._count == 0
        if count > self._flat_below:
            rows = self._unit(sample)
            lists = min(lists_for(count), max(1, len(rows) // SAMPLE_PER_LIST))
            self._structure = trained_lists(rows, lists, go_on)
            self._trained_on = count

    @staticmethod
    def sample_size(count: int) -> int:
        """Return the number of vectors that ``train`` for ``count`` wants to see."""
        return min(count, SAMPLE_PER_LIST * lists_for(count))

    def add(self, ids: Iterable[int], vectors: Floats, groups: Iterable[int]) -> None:
        """Make vectors findable; all of them or, on an error, none.

        Args:
            ids: stable, never used before, one for each row.
            vectors: float32 [N, D]; brought to unit length here.
            groups: one for each row; a search names the groups that fit.

        Raises:
            StorageError: an id is known already or given twice.
            EngineError: vectors of a wrong shape, not finite, or of no length.
        """
        new_ids = np.fromiter(ids, np.int64)
        new_groups = np.fromiter(groups, np.int64)
        rows = self._unit(vectors)
        if not len(new_ids) == len(new_groups) == len(rows):
            raise EngineError(f"{len(new_ids)} ids, {len(new_groups)} groups and {len(rows)} vectors do not match")
        if len(np.unique(new_ids)) != len(new_ids):
            raise StorageError("an entry was given twice to be indexed")
        # the means never change, so finding the lists keeps no search waiting
        lists = self._structure.quantizer.search(rows, 1)[1] if self._trained_on else None
        with self._lock:
            found = self._positions(new_ids)
            if (found >= 0).any():
                raise StorageError(f"entry {int(new_ids[found >= 0][0])} is in the index already")
            start = self._count
            self._append(new_ids, new_groups)
            if lists is None:
                self._structure.add(rows)
            else:
                add_rows(self._structure, rows, np.arange(start, self._count), lists)
            self._widen_filters(new_groups.tolist(), start)

    def remove(self, ids: Iterable[int]) -> int:
        """Make entries unfindable at once; their room is given back by ``compact``. Unknown ids are ignored.

        Returns:
            How many were there.
        """
        with self._lock:
            found = self._positions(np.fromiter(ids, np.int64))
            found = np.unique(found[found >= 0])
            self._alive[found] = False
            self._dead += len(found)
            for key, (bits, fitting) in list(self._filters.items()):
                gone = found[(bits[found >> 3] >> (found & 7).astype(np.uint8)) & 1 == 1]
                np.bitwise_and.at(bits, gone >> 3, ~(np.uint8(1) << (gone & 7).astype(np.uint8)))
                self._filters[key] = _Filter(bits, fitting - len(gone))
            return len(found)

    @property
    def wants_compaction(self) -> bool:
        """A quarter is tombstones or lies in no order, or all are still compared though they are many."""
        if not self._trained_on:
            return self._dead > max(1024, self._count // 4) or len(self) > self._flat_below
        return max(self._dead, self._count - self._arranged) > max(1024, self._count // 4)

    @property
    def wants_rebuilding(self) -> bool:
        """It has grown or shrunk so much since it was trained that another structure is the right one."""
        return bool(self._trained_on) and not (
            self._flat_below // 2 < len(self) <= _REBUILD_GROWTH * self._trained_on
        )

    def compact(self, go_on: GoOn = lambda: True) -> None:
        """Drop tombstones and put lists in order; train lists where all are compared though they are many.

        Writers must not write meanwhile. Searches go on, but for the moment in which lists are purged, one is put in
        order, or the new structure takes its place.

        Raises:
            Stopped: ``go_on`` said no; what is found is the same.
        """
        keep = np.flatnonzero(self._alive[: self._count])
        if self._trained_on:
            if self._dead:
                with self._lock:
                    purge(self._structure, keep, self._count)
                    self._keep_only(keep)
            self._arrange(go_on)
            return
        rows = np.empty((len(keep), self.dimensions), np.float32)
        if len(keep):
            self._structure.reconstruct_batch(keep, rows)
        fresh = VectorIndex(self.dimensions, flat_below=self._flat_below)
        size = self.sample_size(len(keep))
        fresh.train(rows[np.random.default_rng(0).choice(len(keep), size, replace=False)], len(keep), go_on)
        fresh.add(range(len(keep)), rows, [0] * len(keep))
        with self._lock:
            self._structure, self._trained_on = fresh._structure, fresh._trained_on
            self._keep_only(keep)
        if self._trained_on:
            self._arrange(go_on)

    def _arrange(self, go_on: GoOn) -> None:
        ranks = np.argsort(np.argsort(np.fromiter(self._code_of, np.int64)))[self._codes[: self._count]]
        for one in range(self._structure.nlist):
            if not go_on():
                raise Stopped
            with self._lock:
                arrange(self._structure, one, ranks)
        self._arranged = self._count

    def _keep_only(self, keep: Ids) -> None:
        self._ids, self._codes = self._ids[keep], self._codes[keep]
        self._alive = np.ones(len(keep), np.bool_)
        self._count, self._dead, self._arranged = len(keep), 0, 0
        self._order = None if (np.diff(self._ids) > 0).all() else np.zeros(0, np.int64)
        self._filters.clear()

    # -- searching

    def search(
        self,
        vector: Floats,
        k: int,
        groups: Iterable[int] | None = None,
        *,
        allowed: Iterable[int] | None = None,
    ) -> tuple[Ids, Floats]:
        """Return the k nearest entries among those that fit, however many nearer ones do not.

        Args:
            vector: float32 [D].
            k: at most so many.
            groups: the groups that fit; None: all. A tuple is taken to be sorted.
            allowed: ids that fit besides (e.g. by duration); None: all.

        Returns:
            int64 [n] ids and float32 [n] cosines, n <= k, nearest first.

        Raises:
            EngineError: a vector of a wrong shape, not finite, or of no length.
        """
        row = self._unit(np.asarray(vector, np.float32).reshape(1, -1))
        key = groups if groups is None or isinstance(groups, tuple) else tuple(sorted(set(groups)))
        with self._lock:
            chosen = self._fitting(key)
            if allowed is not None:
                chosen = self._among(chosen, np.fromiter(allowed, np.int64))
            k = min(k, chosen.fitting)
            if k <= 0:
                return np.zeros(0, np.int64), np.zeros(0, np.float32)
            cosines, positions = self._nearest(row, k, chosen)
            found = positions >= 0
            return self._ids[positions[found]], np.clip(cosines[found], -1.0, 1.0)

    def _nearest(self, row: Floats, k: int, chosen: _Filter) -> tuple[Floats, Ids]:
        faiss = faiss_here()
        selector = None if chosen.fitting == self._count else faiss.IDSelectorBitmap(chosen.bits)
        if not self._trained_on:
            cosines, positions = self._structure.search(row, k, params=faiss.SearchParameters(sel=selector))
            return cosines[0], positions[0]
        # Few that fit lie farther apart, as those of a smaller index would, which has the root of that many lists.
        lists = self._structure.nlist
        probes = min(lists, math.ceil(_PROBES * math.sqrt(self._count / max(1, chosen.fitting))))
        while True:
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=probes)
            cosines, positions = self._structure.search(row, k, params=parameters)
            if positions[0, -1] >= 0 or probes == lists:
                return cosines[0], positions[0]
            probes = min(lists, probes * 4)

    def _fitting(self, key: tuple[int, ...] | None) -> _Filter:
        kept = self._filters.get(key)
        if kept is not None:
            self._filters.move_to_end(key)
            return kept
        fits = self._alive.copy()
        if key is not None:
            table = np.zeros(len(self._code_of), np.bool_)
            table[[self._code_of[group] for group in key if group in self._code_of]] = True
            fits[: self._count] &= table[self._codes[: self._count]]
        made = _Filter(np.packbits(fits, bitorder="little"), int(fits.sum()))
        self._filters[key] = made
        if len(self._filters) > _KEPT_FILTERS:
            self._filters.popitem(last=False)
        return made

    def _among(self, chosen: _Filter, allowed: Ids) -> _Filter:
        positions = self._positions(allowed)
        wanted = np.zeros(len(self._alive), np.bool_)
        wanted[positions[positions >= 0]] = True
        both = np.packbits(wanted, bitorder="little") & chosen.bits
        return _Filter(both, int(np.bitwise_count(both).sum()))

    def _widen_filters(self, groups: list[int], start: int) -> None:
        """Let the kept bitmaps learn of the rows from ``start`` on, so that an insert does not cost a scan of all."""
        for key, (bits, fitting) in list(self._filters.items()):
            new = [at for at, group in enumerate(groups, start) if key is None or group in key]
            for at in new:
                bits[at >> 3] |= 1 << (at & 7)
            if new:
                self._filters[key] = _Filter(bits, fitting + len(new))

    # -- rows

    def _unit(self, vectors: Floats) -> Floats:
        rows: Floats = np.array(vectors, np.float32, order="C")
        if rows.ndim != 2 or rows.shape[1] != self.dimensions:
            raise EngineError(f"vectors of shape {rows.shape} were given; this index has {self.dimensions} dimensions")
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or (lengths == 0).any():
            raise EngineError("a vector that is not finite or has no length was given to the index")
        rows /= lengths
        return rows

    def _append(self, ids: Ids, groups: Ids) -> None:
        need = self._count + len(ids)
        if need > len(self._ids):
            room = max(need, self._count + self._count // 2, 1024)
            self._ids = _with_room(self._ids, self._count, room)
            self._codes = _with_room(self._codes, self._count, room)
            self._alive = _with_room(self._alive, self._count, room)
            self._filters.clear()  # they are as long as there is room
        new = slice(self._count, need)
        ascending = (np.diff(ids) > 0).all() and (self._count == 0 or ids[:1] > self._ids[self._count - 1])
        if not ascending or self._order is not None:
            self._order = np.zeros(0, np.int64)
        codes = [self._code_of.setdefault(group, len(self._code_of)) for group in groups.tolist()]
        self._ids[new], self._codes[new], self._alive[new] = ids, codes, True
        self._count = need

    def _positions(self, ids: Ids) -> Ids:
        """Return the positions of ids, -1 for unknown and removed ones. Ids mostly come ascending: then no table."""
        known = self._ids[: self._count]
        order = self._order
        if order is not None and len(order) != self._count:
            order = self._order = np.argsort(known, kind="stable")
        if not self._count:
            return np.full(len(ids), -1, np.int64)
        at = np.searchsorted(known, ids, sorter=order)
        at = np.minimum(at, self._count - 1)
        at = at if order is None else order[at]
        return np.where((known[at] == ids) & self._alive[at], at, -1)

    # -- snapshots

    def save(self, path: Path | str, sequence: int) -> None:
        """Write a snapshot. Searches go on meanwhile; writers must not write.

        Args:
            path: its file; replaced as a whole.
            sequence: the store's last change that the index has seen; ``load`` gives it back.

        Raises:
            StorageError: it cannot be written; an older snapshot is then still there.
        """
        head = {
            "dimensions": self.dimensions, "encoder": self.encoder, "count": self._count,
            "sequence": sequence, "trained_on": self._trained_on, "arranged": self._arranged,
        }  # fmt: skip
        groups = np.fromiter(self._code_of, np.int64)[self._codes[: self._count]]
        arrays = [self._ids[: self._count], groups, self._alive[: self._count]]
        write_snapshot(Path(path), head, arrays, self._structure)

    @classmethod
    def load(
        cls, path: Path | str, *, encoder: str = "", flat_below: int = FLAT_BELOW
    ) -> tuple[VectorIndex, int]:
        """Return an index from its snapshot, and the store's change up to which it knows; the caller catches up.

        Raises:
            SnapshotUnusable: missing, torn, damaged, of another encoder or version.
            EngineUnavailable: faiss is not installed.
        """
        head, (ids, groups, alive), structure = read_snapshot(Path(path), (np.int64, np.int64, np.bool_))
        if head["encoder"] != encoder:
            raise SnapshotUnusable(
                f"the index snapshot {path} is of encoder {head['encoder']!r}; {encoder!r} was asked for"
            )
        index = cls(head["dimensions"], encoder=encoder, flat_below=flat_below)
        index._append(ids, groups)
        index._alive[: len(alive)] = alive
        index._dead = int(len(alive) - alive.sum())
        index._structure = structure
        index._trained_on, index._arranged = head["trained_on"], head["arranged"]
        return index, int(head["sequence"])


def _with_room(array: npt.NDArray[Any], count: int, room: int) -> npt.NDArray[Any]:  # Any: each has its own type
    wide = np.zeros(room, array.dtype)
    wide[:count] = array[:count]
    return wide
