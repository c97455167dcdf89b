"""Nearest neighbours among the cached prompts' vectors: FAISS, with filters inside the search.

Owns: VectorIndex, its snapshot file, and the choice of the FAISS structure by size.
Must not know: the store. The index is derived: whatever is wrong with a snapshot, the caller builds a new
index from the store and loses nothing.

Up to ``FLAT_BELOW`` vectors every one is compared, at single precision. Above, ``compact`` builds inverted
lists over half-precision vectors (IVF + fp16: 0.49 ms at a million, recall@8 0.998). IDMap was rejected:
it silently takes an id twice and cannot remove over IVF; here positions are FAISS's and ids are ours.

Threads: one writer (add, remove, compact, save) beside any number of searchers. A search waits for at most
one ``add`` or ``remove``, never for ``compact``, which builds aside and swaps. FAISS runs on the calling
thread alone: its OpenMP pool would fight the worker processes for cores and does not survive a fork, so a
process that has searched must not fork and search on in the child (ours start children by exec).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_pool.errors import EngineError, EngineUnavailable, StorageError

__all__ = ["FLAT_BELOW", "SnapshotUnusable", "VectorIndex"]

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint8]

FLAT_BELOW = 32_768
"""Vectors up to which all are compared: about 1.5 ms at 384 dimensions on one thread."""
_PROBES = 32
_TRAIN_MOST = 100_000
_REBUILD_GROWTH = 4
_KEPT_FILTERS = 64
_MAGIC = b"APVIX\x01\n\0"
_threads = threading.local()


class SnapshotUnusable(StorageError):
    """A snapshot is missing, torn, damaged or of another encoder: build the index from the store."""


def _faiss() -> Any:
    """Return the library, set to one thread for the calling thread (OpenMP keeps that number per thread)."""
    # it tells which instruction sets it tried, with a traceback's worth of text for each that is not there
    loader = logging.getLogger("faiss.loader")
    if loader.level == logging.NOTSET:
        loader.setLevel(logging.WARNING)
    try:
        import faiss
    except ImportError as exc:
        raise EngineUnavailable(
            f"looking sounds up by meaning needs faiss, which cannot be imported: {exc}",
            hint="pip install 'audio-pool[semantic]'",
        ) from exc
    if not getattr(_threads, "single", False):
        faiss.omp_set_num_threads(1)
        _threads.single = True
    return faiss


class VectorIndex:
    """Unit vectors by stable id, each in one group; see the module for threads."""

    def __init__(self, dimensions: int, *, encoder: str = "", flat_below: int = FLAT_BELOW) -> None:
        """
        Args:
            dimensions: D, 1..65,536.
            encoder: whose vectors these are (name and revision); a snapshot of another is refused.
            flat_below: vectors up to which ``compact`` keeps comparing all.

        Raises:
            EngineUnavailable: faiss is not installed.
        """
        if not 1 <= dimensions <= 65_536:
            raise EngineError(f"an index of {dimensions} dimensions was asked for; allowed is 1..65536")
        self.dimensions = dimensions
        self.encoder = encoder
        self._flat_below = flat_below
        self._lock = threading.Lock()
        self._structure: Any = _faiss().IndexFlatIP(dimensions)
        self._trained_on = 0
        self._count = 0
        self._dead = 0
        self._ids: Ids = np.zeros(0, np.int64)
        self._groups: Ids = np.zeros(0, np.int64)
        self._alive: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._order: Ids | None = None
        self._filters: OrderedDict[tuple[int, ...] | None, tuple[Bits, int]] = OrderedDict()

    def __len__(self) -> int:
        """Vectors that can be found."""
        return self._count - self._dead

    def __contains__(self, entry_id: int) -> bool:
        with self._lock:
            position = self._positions(np.array([entry_id], np.int64))[0]
            return bool(position >= 0)

    # -- writing

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
        with self._lock:
            found = self._positions(new_ids)
            if (found >= 0).any():
                raise StorageError(f"entry {int(new_ids[found >= 0][0])} is in the index already")
            start = self._count
            self._append(new_ids, new_groups)
            self._structure.add(rows)
            self._widen_filters(start)

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
            for groups, (bits, fitting) in list(self._filters.items()):
                gone = found[np.unpackbits(bits, bitorder="little", count=self._count)[found] == 1]
                np.bitwise_and.at(bits, gone >> 3, ~(np.uint8(1) << (gone & 7).astype(np.uint8)))
                self._filters[groups] = (bits, fitting - len(gone))
            return len(found)

    @property
    def wants_compaction(self) -> bool:
        """A quarter is tombstones, or the structure is no longer the one for this size."""
        grown = len(self) > self._flat_below and (
            not self._trained_on or len(self) > _REBUILD_GROWTH * self._trained_on
        )
        shrunk = bool(self._trained_on) and len(self) <= self._flat_below // 2
        return grown or shrunk or self._dead > max(1024, self._count // 4)

    def compact(self) -> None:
        """Drop tombstones and chooses the structure by size. Searches go on meanwhile; writers must not."""
        keep = np.flatnonzero(self._alive[: self._count])
        rows = self._rows(keep)
        structure, trained_on = self._built(rows)
        ids, groups = self._ids[keep].copy(), self._groups[keep].copy()
        with self._lock:
            self._structure, self._trained_on = structure, trained_on
            self._ids, self._groups = ids, groups
            self._alive = np.ones(len(keep), np.bool_)
            self._count, self._dead = len(keep), 0
            self._order = None
            self._filters.clear()

    def _built(self, rows: Floats) -> tuple[Any, int]:
        faiss = _faiss()
        if len(rows) <= self._flat_below:
            flat = faiss.IndexFlatIP(self.dimensions)
            flat.add(rows)
            return flat, 0
        lists = _lists_for(len(rows))
        ivf = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(self.dimensions),
            self.dimensions,
            lists,
            faiss.ScalarQuantizer.QT_fp16,
            faiss.METRIC_INNER_PRODUCT,
        )
        sample = rows
        if len(rows) > _TRAIN_MOST:
            sample = rows[np.random.default_rng(0).choice(len(rows), _TRAIN_MOST, replace=False)]
        ivf.train(sample)
        ivf.make_direct_map()
        ivf.add(rows)
        return ivf, len(rows)

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
            groups: the groups that fit; None: all.
            allowed: ids that fit besides (e.g. by duration); None: all.

        Returns:
            int64 [n] ids and float32 [n] cosines, n <= k, nearest first.

        Raises:
            EngineError: a vector of a wrong shape, not finite, or of no length.
        """
        row = self._unit(np.asarray(vector, np.float32).reshape(1, -1))
        with self._lock:
            bits, fitting = self._fitting(groups)
            if allowed is not None:
                bits, fitting = self._among(bits, np.fromiter(allowed, np.int64))
            k = min(k, fitting)
            if k <= 0:
                return np.zeros(0, np.int64), np.zeros(0, np.float32)
            cosines, positions = self._nearest(row, k, bits, fitting)
            found = positions >= 0
            return self._ids[positions[found]], np.clip(cosines[found], -1.0, 1.0)

    def _nearest(self, row: Floats, k: int, bits: Bits, fitting: int) -> tuple[Floats, Ids]:
        faiss = _faiss()
        selector = faiss.IDSelectorBitmap(bits)
        if not self._trained_on:
            parameters = faiss.SearchParameters(sel=selector)
            cosines, positions = self._structure.search(row, k, params=parameters)
            return cosines[0], positions[0]
        lists = self._structure.nlist
        # few that fit lie in few of the lists: look into as many more
        probes = min(lists, _PROBES * -(-self._count // max(1, fitting)))
        while True:
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=probes)
            cosines, positions = self._structure.search(row, k, params=parameters)
            if positions[0, -1] >= 0 or probes == lists:
                return cosines[0], positions[0]
            probes = min(lists, probes * 4)

    def _fitting(self, groups: Iterable[int] | None) -> tuple[Bits, int]:
        """Return a bitmap over positions (bit i of byte i // 8) of what is alive and in ``groups``, and how many."""
        key = None if groups is None else tuple(sorted(set(groups)))
        kept = self._filters.get(key)
        if kept is not None:
            self._filters.move_to_end(key)
            return kept
        fits = self._alive[: self._count]
        if key is not None:
            fits = fits & np.isin(self._groups[: self._count], key)
        made = (np.packbits(fits, bitorder="little"), int(fits.sum()))
        self._filters[key] = made
        if len(self._filters) > _KEPT_FILTERS:
            self._filters.popitem(last=False)
        return made

    def _among(self, bits: Bits, allowed: Ids) -> tuple[Bits, int]:
        positions = self._positions(allowed)
        chosen = np.zeros(self._count, np.bool_)
        chosen[positions[positions >= 0]] = True
        both = np.packbits(chosen, bitorder="little") & bits
        return both, int(np.bitwise_count(both).sum())

    def _widen_filters(self, start: int) -> None:
        """Let the kept bitmaps learn of the rows from ``start`` on, so that an insert does not cost a scan of all."""
        for key, (bits, fitting) in list(self._filters.items()):
            wide = np.zeros((self._count + 7) // 8, np.uint8)
            wide[: len(bits)] = bits
            new = np.arange(start, self._count)
            if key is not None:
                new = new[np.isin(self._groups[start : self._count], key)]
            np.bitwise_or.at(wide, new >> 3, np.uint8(1) << (new & 7).astype(np.uint8))
            self._filters[key] = (wide, fitting + len(new))

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
            room = max(need, 2 * len(self._ids), 1024)
            self._ids = np.resize(self._ids, room) if len(self._ids) else np.zeros(room, np.int64)
            self._groups = np.resize(self._groups, room) if len(self._groups) else np.zeros(room, np.int64)
            alive = np.zeros(room, np.bool_)
            alive[: self._count] = self._alive[: self._count]
            self._alive = alive
        new = slice(self._count, need)
        ascending = (np.diff(ids) > 0).all() and (self._count == 0 or ids[:1] > self._ids[self._count - 1])
        if not ascending or self._order is not None:
            self._order = np.zeros(0, np.int64)
        self._ids[new], self._groups[new], self._alive[new] = ids, groups, True
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

    def _rows(self, positions: Ids) -> Floats:
        """Return the vectors at positions, as the structure keeps them."""
        rows = np.empty((len(positions), self.dimensions), np.float32)
        if len(positions):
            self._structure.reconstruct_batch(positions, rows)
        return rows

    # -- snapshots

    def save(self, path: Path | str, sequence: int) -> None:
        """Write a snapshot: temporary file, fsync, rename, fsync of the directory.

        Args:
            path: its file; replaced as a whole.
            sequence: the store's last change that the index has seen; ``load`` gives it back.

        Raises:
            StorageError: it cannot be written; an older snapshot is then still there.
        """
        path = Path(path)
        if self._dead:
            self.compact()
        blob = _faiss().serialize_index(self._structure).tobytes()
        head = json.dumps(
            {
                "dimensions": self.dimensions, "encoder": self.encoder, "count": self._count,
                "sequence": sequence, "trained_on": self._trained_on, "structure_bytes": len(blob),
            }
        ).encode()  # fmt: skip
        parts = [
            _MAGIC, struct.pack("<Q", len(head)), head,
            self._ids[: self._count].tobytes(), self._groups[: self._count].tobytes(), blob,
        ]  # fmt: skip
        digest = hashlib.sha256()
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                for part in parts:
                    digest.update(part)
                    file.write(part)
                file.write(digest.digest())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            directory = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as exc:
            temporary.unlink(missing_ok=True)
            raise StorageError(f"the index snapshot {path} cannot be written: {exc.strerror or exc}") from exc

    @classmethod
    def load(
        cls, path: Path | str, *, encoder: str = "", flat_below: int = FLAT_BELOW
    ) -> tuple[VectorIndex, int]:
        """Return an index from its snapshot, and the store's change up to which it knows; the caller catches up.

        Raises:
            SnapshotUnusable: missing, torn, damaged, of another encoder or version.
            EngineUnavailable: faiss is not installed.
        """
        faiss = _faiss()
        try:
            data = Path(path).read_bytes()
        except OSError as exc:
            raise SnapshotUnusable(f"the index snapshot {path} cannot be read: {exc.strerror or exc}") from exc
        body = memoryview(data)[:-32]
        if not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != data[-32:]:
            raise SnapshotUnusable(f"the index snapshot {path} is torn, damaged or of another version")
        start = len(_MAGIC) + 8
        (length,) = struct.unpack_from("<Q", body, len(_MAGIC))
        head = json.loads(bytes(body[start : start + length]))
        if head["encoder"] != encoder:
            raise SnapshotUnusable(
                f"the index snapshot {path} is of encoder {head['encoder']!r}; {encoder!r} was asked for"
            )
        index = cls(head["dimensions"], encoder=encoder, flat_below=flat_below)
        count, start = head["count"], start + length
        index._append(
            np.frombuffer(body, np.int64, count, start), np.frombuffer(body, np.int64, count, start + 8 * count)
        )
        blob = np.frombuffer(body, np.uint8, head["structure_bytes"], start + 16 * count)
        index._structure = faiss.deserialize_index(blob)
        index._trained_on = head["trained_on"]
        return index, int(head["sequence"])


def _lists_for(count: int) -> int:
    """Return the number of inverted lists: the power of two nearest 2 sqrt(N); FAISS wants 39 vectors in each."""
    return min(1 << round(math.log2(2.0 * math.sqrt(count))), max(1, count // 39))
