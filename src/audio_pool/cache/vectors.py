"""One space of vectors, searchable and in step with the store.

Owns: loading or rebuilding the index of a space, following the store's changes, snapshots, and the groups
by which filters go inside the search.
Must not know: what counts as a hit; how vectors are made.

Threads: ``search`` and ``follow`` anywhere; ``tidy`` and ``save`` on a thread that may take its time. A searcher that
finds changes follows a few itself, unless somebody else is at it: it never waits, and an entry that is
already gone is found out by its row.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from audio_pool.cache.faiss_library import refuse_without_faiss
from audio_pool.cache.index import FLAT_BELOW, SnapshotUnusable, VectorIndex
from audio_pool.cache.inverted_lists import Stopped
from audio_pool.cache.settings import Filters, Settings, admits
from audio_pool.cache.store import Change, KeptVector, Store, Vector
from audio_pool.errors import StorageError

__all__ = ["VectorSpace", "snapshots"]

_log = logging.getLogger(__name__)

_BUCKETS_PER_E = 50
"""Lengths are grouped by steps of e**(1/50), 2 %."""
_SHORTEST_BUCKET = 400
"""Below that of a millisecond, taken positive."""
_BUCKETS_PER_GUIDANCE = 4
_WHILE_SEARCHING = 64
"""Changes a searcher follows before it searches; the rest is the writer's."""
_AT_ONCE = 4096
_AT_ONCE_BELOW = 20_000
"""Vectors of which an index is made at once, in the background or not: a fraction of a second."""
_UNWANTED_LOOKS = 10
"""Looks of ``tidy`` after which a small index is opened although nobody has wanted it: it may not stay small."""
_SAVE_AFTER, _SAVE_SHARE = 2000, 20
"""Changes after which ``tidy`` writes a new snapshot, and their share in a large index."""
_SETTINGS_KNOWN, _ANSWERS_KNOWN = 100_000, 1_000
_GROUPING = 3
"""Version of the groups: a snapshot that holds others is of no use."""


class _Groups:
    """Settings that entries have in common, by number; a search names the groups that fit.

    Length and guidance are rounded down to buckets, which keeps groups few; what is asked for is rounded
    alike, so a group that does not fit has no entry that does, and the rows decide of the others.
    """

    def __init__(self) -> None:
        self._fitting: dict[tuple[str, bool, str, str, str], dict[int, Settings]] = {}
        """By what must be equal: namespace, loop, voice, negative, extras."""
        self._numbers: dict[Settings, int] = {}
        self._seen: dict[Settings, int] = {}
        """Numbers of settings that were met lately."""
        self._answers: dict[Filters, tuple[int, tuple[int, ...]]] = {}
        """What fitted lately, with the number of groups that there were."""

    def add(self, settings: Iterable[Settings]) -> list[int]:
        """Return the number of the group of each."""
        return [self._seen.get(one) or self._number_of(one) for one in settings]

    def _number_of(self, settings: Settings) -> int:
        group = _bucketed(settings)
        number = self._numbers.get(group)
        if number is None:
            number = self._numbers[group] = _number(group)
            self._fitting.setdefault(group[:5], {})[number] = group
        if len(self._seen) >= _SETTINGS_KNOWN:
            self._seen.clear()
        self._seen[settings] = number
        return number

    def fitting(self, filters: Filters) -> tuple[int, ...]:
        """Return the numbers of the groups that may have a fitting entry, ascending."""
        known = self._answers.get(filters)
        count = len(self._numbers)
        if known is None or known[0] != count:
            if len(self._answers) >= _ANSWERS_KNOWN:
                self._answers.clear()
            known = self._answers[filters] = count, self._look_for(filters)
        return known[1]

    def _look_for(self, filters: Filters) -> tuple[int, ...]:
        wide = filters._replace(
            shortest_s=_length_bucket(filters.shortest_s),
            longest_s=_length_bucket(filters.longest_s),
            least_guidance=_guidance_bucket(filters.least_guidance),
            most_guidance=_guidance_bucket(filters.most_guidance),
        )
        groups = list(self._fitting.get(filters[:5], {}).items())  # the writer may add one meanwhile
        return tuple(sorted(number for number, group in groups if admits(wide, group)))


    def like(self, fits: Callable[[Settings], bool]) -> tuple[int, ...]:
        """Return the numbers of the groups that fit, ascending."""
        groups = list(self._numbers.items())  # the writer may add one meanwhile
        return tuple(sorted(number for group, number in groups if fits(group)))


def _bucketed(settings: Settings) -> Settings:
    guidance = settings.guidance_scale
    return settings._replace(
        duration_s=_length_bucket(settings.duration_s),
        guidance_scale=None if guidance is None else _guidance_bucket(guidance),
    )


def _length_bucket(seconds: float) -> float:
    return math.floor(_BUCKETS_PER_E * math.log(max(seconds, 1e-3)))


def _guidance_bucket(guidance: float) -> float:
    return math.floor(_BUCKETS_PER_GUIDANCE * guidance) if math.isfinite(guidance) else guidance


def _number(group: Settings) -> int:
    """Stable over processes: the snapshot holds it. Groups that differ in length alone have close numbers."""
    alike = repr(tuple(group._replace(duration_s=0.0))).encode()
    length = max(0, min(int(group.duration_s) + _SHORTEST_BUCKET, 0xFFFF))
    return int.from_bytes(hashlib.blake2b(alike, digest_size=8).digest(), "big") >> 17 << 16 | length


class VectorSpace:
    """The index of one space (an encoder's name, as vectors are stored under)."""

    def __init__(self, store: Store, space: str, *, background: bool = False) -> None:
        """
        Args:
            background: a large index is loaded, built and rebuilt by ``tidy`` alone, and until it is there nothing is
                found; a small one is opened when it is first wanted: a process that looks nothing up by meaning, or
                has nothing to find, does not load FAISS. Otherwise it is there when this returns.

        Raises:
            EngineUnavailable: faiss is not installed.
        """
        self.space = space
        self._store = store
        self._name = _index_name(store, space)
        self._writing = threading.Lock()
        self._tidying = threading.Lock()
        self._groups = _Groups()
        self._index: VectorIndex | None = None
        self._background = background
        self._stopped = False
        self._seq = 0
        self._saved_seq = -1
        self._version = -1
        self.ready = False
        """False until it has been loaded or built for the first time."""
        self.progress = 0.0
        """How far the building under way is, 0 to 1."""
        self._lost = False
        """Changes were missed: it answers as it is until it has been built anew."""
        self.at_once = background and store.vectors.counts().get(space, 0) <= _AT_ONCE_BELOW
        """It is small, and opened by whoever wants it first."""
        self._unwanted = 0
        """Times that ``tidy`` has left it closed."""
        refuse_without_faiss()
        if not background:
            self._open()

    def __len__(self) -> int:
        self.open()
        return len(self._index) if self._index is not None else 0

    def __contains__(self, entry_id: int) -> bool:
        self.open()
        return self._index is not None and entry_id in self._index

    def open(self) -> None:
        """Load or build it now where that takes a fraction of a second; a large one is left to ``tidy``."""
        if self.at_once and not self.ready:
            with self._tidying, contextlib.suppress(Stopped):
                if not self.ready:
                    self._open()

    @property
    def snapshot(self) -> Path:
        """Its file."""
        return _snapshot(self._store, self.space)

    # -- searching

    def search(self, vector: Vector, k: int, filters: Filters | None) -> dict[int, float]:
        """Return the k nearest entries that fit, as the index knows them: cosine by id, nearest first.

        Where it is not ``exact``, cosines are near ones, and whoever decides by them asks ``compared``.
        Lengths are filtered to 2 % only, and an entry may have been removed meanwhile: the caller asks the
        rows, and for more neighbours where too few are left. ``filters`` None: all fit.
        """
        self.open()
        self._follow(_WHILE_SEARCHING, wait=False)
        self.open()  # it may have been empty until now
        index = self._index
        if index is None or len(index) == 0 or len(vector) != index.dimensions:
            return {}
        fitting = None if filters is None else self._groups.fitting(filters)
        if fitting == ():
            return {}
        asked = np.asarray(vector, np.float32)
        ids, cosines = index.search(asked, k, fitting)
        return dict(zip(ids.tolist(), cosines.tolist(), strict=True))

    def search_like(self, vector: Vector, k: int, fits: Callable[[Settings], bool]) -> dict[int, float]:
        """Return the k nearest entries whose group fits, as ``search``.

        Args:
            fits: asked of each group; lengths and guidance are those of its bucket.
        """
        self._follow(_WHILE_SEARCHING, wait=False)
        index = self._index
        if index is None or len(index) == 0 or len(vector) != index.dimensions:
            return {}
        fitting = self._groups.like(fits)
        if not fitting:
            return {}
        ids, cosines = index.search(np.asarray(vector, np.float32), k, fitting)
        return dict(zip(ids.tolist(), cosines.tolist(), strict=True))

    @property
    def exact(self) -> bool:
        """True where the cosines that ``search`` gives are those of the very vectors."""
        return self._index is None or self._index.exact

    def compared(self, vector: Vector, ids: Iterable[int]) -> dict[int, float]:
        """Return the cosines of the very vectors, nearest first; what is gone is left out."""
        asked = np.asarray(vector, np.float32)
        kept = self._store.vectors.of(self.space, ids)
        there = [entry_id for entry_id, kept_one in kept.items() if len(kept_one) == len(asked)]
        if not there:
            return {}
        rows = np.concatenate([kept[entry_id] for entry_id in there]).reshape(len(there), -1)
        cosines = rows @ asked / np.sqrt(np.einsum("nd,nd->n", rows, rows) * (asked @ asked))
        order = np.argsort(-cosines, kind="stable")
        return {there[at]: float(cosines[at]) for at in order}

    # -- staying in step

    def follow(self, *, wait: bool = True) -> None:
        """Take over every change since the last time, whoever made it; without ``wait`` a few, if nobody else does."""
        self._follow(None if wait else _WHILE_SEARCHING, wait=wait)

    def _follow(self, limit: int | None, *, wait: bool) -> None:
        version, most = self._store.changes.version(), limit or _AT_ONCE
        if version == self._version or not self.ready or not self._writing.acquire(blocking=wait):
            return
        try:
            while self.ready and not self._lost:
                changes = self._store.changes.since(self._seq, most)
                if changes is None:
                    self._lost = True
                    break
                self._take_over(changes)
                if len(changes) < most:
                    self._version = version
                    return
                if limit is not None:
                    return
        finally:
            self._writing.release()
        if not self._background:
            self._build()

    def _take_over(self, changes: list[Change]) -> None:
        removed = [change.entry_id for change in changes if change.removed]
        added = [change.entry_id for change in changes if not change.removed]
        if self._index is not None and removed:
            self._index.remove(removed)
        if added:
            kept = self._store.vectors.searchable(self.space, added)
            if kept and self._index is None and self.at_once:
                self.ready = False  # the first ones: who keeps a sound does not wait until FAISS is loaded
                return
            self._index = self._with(self._index, kept)
        if changes:
            self._seq = changes[-1].seq

    def _with(self, index: VectorIndex | None, kept: list[KeptVector]) -> VectorIndex | None:
        """Return the index with these in it; those that it has already and odd ones are left out."""
        kept = [one for one in kept if index is None or one.entry_id not in index]
        size = 4 * index.dimensions if index is not None else len(kept[0].data) if kept else 0
        kept = [one for one in kept if len(one.data) == size]
        if not kept:
            return index
        vectors = np.frombuffer(b"".join(one.data for one in kept), np.float32).reshape(len(kept), -1)
        if index is None:
            index = VectorIndex(vectors.shape[1], encoder=self._name, flat_below=FLAT_BELOW)
        index.add([one.entry_id for one in kept], vectors, self._groups.add(one.settings for one in kept))
        return index

    # -- the first time, and from the store again

    def _open(self) -> None:
        try:
            self._index, self._seq = VectorIndex.load(self.snapshot, encoder=self._name, flat_below=FLAT_BELOW)
            self._saved_seq = self._seq
        except SnapshotUnusable as exc:
            if self.snapshot.exists():
                _log.warning("%s; it is built again from the store", exc)
            self._build()
        else:
            self._groups.add(self._store.vectors.settings())
            self.ready = True
        self.follow()

    def _build(self) -> None:
        """Build the index from the store, aside: the one that is there answers until then.

        Raises:
            Stopped: the space is being closed.
        """
        # The number first: what is put meanwhile is then met again in the changes, and known already.
        seq, after = self._store.changes.last_seq(), 0
        count = self._store.vectors.counts().get(self.space, 0)
        self.progress = 0.0
        index = self._trained(count)
        while kept := self._store.vectors.searchable_after(self.space, after, _AT_ONCE):
            index, after = self._with(index, kept), kept[-1].entry_id
            self.progress = min(1.0, len(index or ()) / max(1, count))
            if self._stopped:
                raise Stopped
        if index is not None and index.wants_compaction:
            index.compact(self._go_on)
        with self._writing:
            self._index, self._seq, self._version = index, seq, -1
            self.ready, self._lost = True, False

    def _trained(self, count: int) -> VectorIndex | None:
        """Return an empty index for so many vectors; None where they are so few that it needs no training."""
        if count <= FLAT_BELOW:
            return None
        sample = self._store.vectors.sample(self.space, VectorIndex.sample_size(count))
        if not len(sample):
            return None
        index = VectorIndex(sample.shape[1], encoder=self._name, flat_below=FLAT_BELOW)
        index.train(sample, count, self._go_on)
        return index

    def _go_on(self) -> bool:
        return not self._stopped

    # -- upkeep

    def tidy(self) -> None:
        """Do what is due of loading, building, compacting and saving: seconds for a large index.

        Searches go on, and ``follow(wait=False)`` never waits for it. For a thread that nobody waits for.
        """
        with self._tidying, contextlib.suppress(Stopped):
            if not self.ready:
                self._unwanted += 1
                if self.at_once and self._unwanted < _UNWANTED_LOOKS:
                    return
                self._open()
            self.follow()
            index = self._index
            if self._lost or (index is not None and index.wants_rebuilding):
                self._build()
                self.follow()
            elif index is not None and index.wants_compaction:
                with self._writing:
                    index.compact(self._go_on)
            if self._seq - max(0, self._saved_seq) >= max(_SAVE_AFTER, len(self) // _SAVE_SHARE):
                self.save()

    def stop(self) -> None:
        """Break off what ``tidy`` is at, and return when it has ended."""
        self._stopped = True
        with self._tidying:
            pass

    def save(self) -> None:
        """Write a snapshot if anything changed since the last; a disk that takes none is only logged."""
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
        """Yield the faults of a snapshot: torn, or not what the store says once it has caught up."""
        try:
            VectorIndex.load(_snapshot(store, space), encoder=_index_name(store, space))
        except SnapshotUnusable as exc:
            yield str(exc)
            return
        index = cls(store, space)
        wanted = store.vectors.searchable_ids(space)
        missing = [entry_id for entry_id in wanted if entry_id not in index]
        if missing:
            yield f"{len(missing)} entries are not in it, e.g. {missing[0]}"
        surplus = len(index) - (len(wanted) - len(missing))
        if surplus > 0:
            yield f"{surplus} entries in it do not exist"


def _index_name(store: Store, space: str) -> str:
    return f"{space}@{store.store_id}/{_GROUPING}"


def _snapshot(store: Store, space: str) -> Path:
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", space)[:60]
    unique = hashlib.blake2b(space.encode(), digest_size=6).hexdigest()
    return store.index_dir / f"{readable}-{unique}.index"


def snapshots(store: Store, spaces: Iterable[str]) -> dict[Path, str]:
    """Return the path of each space's snapshot, whether it exists or not."""
    return {_snapshot(store, space): space for space in spaces}
