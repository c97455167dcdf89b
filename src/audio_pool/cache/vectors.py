"""One space of vectors, searchable and in step with the store.

Owns: loading or rebuilding the index of a space, following the store's changes, snapshots, and the groups
by which filters go inside the search.
Must not know: what counts as a hit; how vectors are made.

Threads: ``search`` anywhere; ``follow``, ``tidy`` and ``save`` on the writer thread. A searcher that finds
changes follows a few itself, unless the writer is at work: it never waits for it, and an entry that is
already gone is found out by its row.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_pool.cache.entry import Filters
from audio_pool.cache.index import SnapshotUnusable, VectorIndex
from audio_pool.cache.sqlite.store import ID_LIST, Change, Store, Vector, id_list
from audio_pool.errors import StorageError

__all__ = ["Neighbours", "snapshots"]

_log = logging.getLogger(__name__)

_BUCKETS_PER_E = 50
"""Lengths are grouped by steps of e**(1/50), 2 %."""
_WHILE_SEARCHING = 64
"""Changes a searcher follows before it searches; the rest is the writer's."""
_AT_ONCE = 4096
_SAVE_AFTER = 2000
"""Changes after which ``tidy`` writes a new snapshot."""
_SOURCE = (
    "SELECT id, data, namespace, engine, loop, voice, negative, sample_rate, commercial, duration_s"
    " FROM vectors JOIN entries ON id = entry_id WHERE encoder = ? AND spoken = 0"
)


class _Group(NamedTuple):
    """What entries of one group have in common; a search names the groups that fit."""

    namespace: str
    engine: str
    loop: bool
    voice: str
    negative: str
    sample_rate: int
    commercial: bool
    bucket: int

    @property
    def number(self) -> int:
        """Stable over processes: the snapshot holds it."""
        return int.from_bytes(hashlib.blake2b(repr(self).encode(), digest_size=8).digest(), "big") >> 1

    def fits(self, filters: Filters, shortest: int, longest: int) -> bool:
        return (
            shortest <= self.bucket <= longest
            and self.namespace == filters.namespace
            and filters.engine in (None, self.engine)
            and self.loop == filters.loop
            and self.voice == filters.voice
            and self.negative == filters.negative
            and self.sample_rate >= filters.sample_rate
            and self.commercial >= filters.commercial_only
        )


def _bucket(seconds: float) -> int:
    return math.floor(_BUCKETS_PER_E * math.log(max(seconds, 1e-3)))


class Neighbours:
    """The index of one space (an encoder's name, as vectors are stored under)."""

    def __init__(self, store: Store, space: str) -> None:
        """Loads the snapshot and catches up, or rebuilds from the store.

        Raises:
            EngineUnavailable: faiss is not installed.
        """
        self.space = space
        self._store = store
        self._name = f"{space}@{store.store_id}"
        self._writing = threading.Lock()
        self._groups: dict[int, _Group] = {}
        self._index: VectorIndex | None = None
        self._seq = 0
        self._saved_seq = -1
        self._version = -1
        self._load()
        self.follow()

    def __len__(self) -> int:
        return len(self._index) if self._index is not None else 0

    def __contains__(self, entry_id: int) -> bool:
        return self._index is not None and entry_id in self._index

    @property
    def snapshot(self) -> Path:
        """Its file."""
        return _snapshot(self._store, self.space)

    # -- searching

    def search(self, vector: Vector, k: int, filters: Filters | None) -> dict[int, float]:
        """The k nearest entries that fit, as the index knows them: cosine by id, nearest first.

        Lengths are filtered to 2 % only, and an entry may have been removed meanwhile: the caller asks the
        rows, and for more neighbours where too few are left. ``filters`` None: all fit.
        """
        self._follow(_WHILE_SEARCHING, wait=False)
        index = self._index
        if index is None or len(index) == 0 or len(vector) != index.dimensions:
            return {}
        fitting = None if filters is None else self._fitting(filters)
        if fitting == []:
            return {}
        ids, cosines = index.search(np.asarray(vector, np.float32), k, fitting)
        return dict(zip(ids.tolist(), cosines.tolist(), strict=True))

    def _fitting(self, filters: Filters) -> list[int]:
        shortest, longest = _bucket(filters.shortest_s), _bucket(filters.longest_s)
        groups = list(self._groups.items())
        return [number for number, group in groups if group.fits(filters, shortest, longest)]

    # -- staying in step

    def follow(self) -> None:
        """Takes over every change since the last time, whoever made it."""
        self._follow(None, wait=True)

    def _follow(self, limit: int | None, *, wait: bool) -> None:
        version, most = self._store.data_version(), limit or _AT_ONCE
        if version == self._version or not self._writing.acquire(blocking=wait):
            return
        try:
            while True:
                changes = self._store.changes_since(self._seq, most)
                if changes is None:
                    self._rebuild()
                    return
                self._take_over(changes)
                if len(changes) < most:
                    self._version = version
                    return
                if limit is not None:
                    return
        finally:
            self._writing.release()

    def _take_over(self, changes: list[Change]) -> None:
        removed = [change.entry_id for change in changes if change.removed]
        added = [change.entry_id for change in changes if not change.removed]
        if self._index is not None and removed:
            self._index.remove(removed)
        if added:
            rows = self._store.query(f"{_SOURCE} AND entry_id IN {ID_LIST} ORDER BY id", (self.space, id_list(added)))
            self._index = self._with(self._index, rows)
        if changes:
            self._seq = changes[-1].seq

    def _with(self, index: VectorIndex | None, rows: list[Any]) -> VectorIndex | None:
        """The index with the rows of ``_SOURCE`` in it, those that it has already and odd ones left out."""
        rows = [row for row in rows if index is None or row[0] not in index]
        size = 4 * index.dimensions if index is not None else len(rows[0][1]) if rows else 0
        rows = [row for row in rows if len(row[1]) == size]
        if not rows:
            return index
        vectors = np.frombuffer(b"".join(row[1] for row in rows), np.float32).reshape(len(rows), -1)
        groups = [_Group._make([*row[2:9], _bucket(row[9])]) for row in rows]
        self._groups.update((group.number, group) for group in set(groups))
        if index is None:
            index = VectorIndex(vectors.shape[1], encoder=self._name)
        index.add([row[0] for row in rows], vectors, [group.number for group in groups])
        return index

    def _load(self) -> None:
        try:
            self._index, self._seq = VectorIndex.load(self.snapshot, encoder=self._name)
            self._saved_seq = self._seq
        except SnapshotUnusable as exc:
            if self.snapshot.exists():
                _log.warning("%s; it is built again from the store", exc)
            self._rebuild()
            return
        columns = "namespace, engine, loop, voice, negative, sample_rate, commercial, duration_s"
        for row in self._store.query(f"SELECT DISTINCT {columns} FROM entries WHERE spoken = 0"):
            group = _Group._make([*row[:7], _bucket(row[7])])
            self._groups[group.number] = group

    def _rebuild(self) -> None:
        # The number first: what is put meanwhile is then met again in the changes, and known already.
        seq, index, after = self._store.last_seq(), None, 0
        sql = f"{_SOURCE} AND entry_id > ? ORDER BY entry_id LIMIT {_AT_ONCE}"
        while rows := self._store.query(sql, (self.space, after)):
            index, after = self._with(index, rows), rows[-1][0]
        if index is not None and index.wants_compaction:
            index.compact()
        self._index, self._seq = index, seq

    # -- upkeep

    def tidy(self) -> None:
        """Compacts and saves where it is time to; seconds for a large index, so for an idle moment."""
        with self._writing:
            if self._index is not None and self._index.wants_compaction:
                self._index.compact()
        if self._seq - max(0, self._saved_seq) >= _SAVE_AFTER:
            self.save()

    def save(self) -> None:
        """Writes a snapshot if anything changed since the last; a disk that takes none is only logged."""
        if self._store.read_only or self._index is None or self._seq == self._saved_seq:
            return
        with self._writing:
            try:
                self.snapshot.parent.mkdir(mode=0o700, exist_ok=True)
                self._index.save(self.snapshot, self._seq)
                self._saved_seq = self._seq
            except (StorageError, OSError) as exc:
                _log.warning("%s; the next start rebuilds it", exc)

    @classmethod
    def faults(cls, store: Store, space: str) -> Iterator[str]:
        """What is wrong with a snapshot: torn, or not what the store says once it has caught up."""
        try:
            VectorIndex.load(_snapshot(store, space), encoder=f"{space}@{store.store_id}")
        except SnapshotUnusable as exc:
            yield str(exc)
            return
        index = cls(store, space)
        sql = "SELECT id FROM vectors JOIN entries ON id = entry_id WHERE encoder = ? AND spoken = 0"
        wanted = [row[0] for row in store.query(sql, (space,))]
        missing = [entry_id for entry_id in wanted if entry_id not in index]
        if missing:
            yield f"{len(missing)} entries are not in it, e.g. {missing[0]}"
        surplus = len(index) - (len(wanted) - len(missing))
        if surplus > 0:
            yield f"{surplus} entries in it do not exist"


def _snapshot(store: Store, space: str) -> Path:
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", space)[:60]
    unique = hashlib.blake2b(space.encode(), digest_size=6).hexdigest()
    return store.folder.index / f"{readable}-{unique}.index"


def snapshots(store: Store, spaces: Iterable[str]) -> dict[Path, str]:
    """Where each space's snapshot would lie."""
    return {_snapshot(store, space): space for space in spaces}
