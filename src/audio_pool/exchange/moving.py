"""A whole cache carried over into another store, and back, while servers go on with it.

Owns: which entries have been carried and which are to be; what of an entry goes along, and the order of steps.
Must not know: which databases, where files lie, the terminal.

It goes round until a round finds nothing: entries that came meanwhile are carried, those that were removed are removed
there, too, what has been marked since is marked, and hits are counted on. What was carried is written down in a file
beside the cache, so that a move that was broken off, or one that is made again a day later, does the rest. A batch that
was carried and not written down is recognised by its words and bytes.

Everything of an entry goes along: master, renditions, recipe, metadata, vectors, marks, pin, uses, its time; and what
was judged, measured and preset. What is remembered of sounds that are not kept any more does not.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from audio_pool.cache.blobs import BlobStore, Placement
from audio_pool.cache.bringing import bring_entry
from audio_pool.cache.checks import KeptFile
from audio_pool.cache.entry import Adopted, Entry, Vector
from audio_pool.cache.inventory import Item
from audio_pool.cache.marks import Marked
from audio_pool.cache.store import KeptRendition, Store
from audio_pool.cache.uses import Counted
from audio_pool.errors import NotFound, StorageError
from audio_pool.library import SoundMarks
from audio_pool.results import FinishedSound
from audio_pool.types import Peaks, Picture, Rendition

__all__ = ["MoveLog", "Moved", "move"]

_AT_ONCE = 32
_ROUNDS = 20
"""A server that keeps sounds faster than they are carried is not waited for."""
_SEND_S = 600.0
_PRESETS_AT_ONCE = 500
_FINGERPRINTS_AT_ONCE = 500
_USES_AT_ONCE = 500


@dataclass(slots=True)
class Moved:
    """What a move came to."""

    carried: int = 0
    renditions: int = 0
    there: int = 0
    """Entries that had been carried before."""
    removed: int = 0
    """Entries that were carried and have been removed since."""
    size_bytes: int = 0
    skipped: dict[int, str] = field(default_factory=dict)
    """Entries whose sound cannot be read, and why."""
    behind: bool = False
    """More was kept meanwhile than could be carried."""


class MoveLog:
    """Which entries have been carried to one target, and their ids there: a file, written after they are."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("CREATE TABLE IF NOT EXISTS carried (entry_id INTEGER PRIMARY KEY, there INTEGER NOT NULL)")

    def close(self) -> None:
        self._db.close()

    def known(self) -> dict[int, int]:
        """Return the id there by the id here."""
        return dict(self._db.execute("SELECT entry_id, there FROM carried"))

    def note(self, found: Iterable[tuple[int, int]]) -> None:
        """Write down what has been carried."""
        with self._db:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR REPLACE INTO carried VALUES (?, ?)", list(found))

    def forget(self, ids: Iterable[int]) -> None:
        """Write down what has been removed."""
        with self._db:
            self._db.execute("BEGIN")
            self._db.executemany("DELETE FROM carried WHERE entry_id = ?", [(one,) for one in ids])


def move(
    source: Store,
    target: Store,
    log: MoveLog,
    *,
    told: Callable[[int, int], None] = lambda done, wanted: None,
    copies: bool = True,
) -> Moved:
    """Carry a store's entries into another one.

    Args:
        source: servers may go on with it; nothing of it is changed.
        target: likewise.
        log: of this source and this target.
        told: called now and then with how many have been carried, of how many.
        copies: False: what lies in an object store leaves no copies here.

    Raises:
        StorageError: either cannot be read or written; what has been carried stays, and the next call goes on.
    """
    report = Moved()
    report.there = len(log.known())
    for _ in range(_ROUNDS):
        there, log_ids = {kept.entry_id: kept for kept in source.checks.masters()}, log.known()
        gone = [entry_id for entry_id in log_ids if entry_id not in there]
        if gone:
            report.removed += target.entries.remove([log_ids[entry_id] for entry_id in gone]).items
            log.forget(gone)
        wanted = [kept for entry_id, kept in sorted(there.items()) if entry_id not in log_ids]
        wanted = [kept for kept in wanted if kept.entry_id not in report.skipped]
        if not wanted:
            break
        for start in range(0, len(wanted), _AT_ONCE):
            _carry(source, target, log, wanted[start : start + _AT_ONCE], report, copies=copies)
            told(report.there + report.carried, len(there))
    else:
        report.behind = True
    _mark(source, target, log.known())
    _uses(source, target, log.known())
    _renditions(source, target, log.known(), report, copies=copies)
    _vectors(source, target, log.known())
    _judgements(source, target, log.known())
    _beside(source, target, log.known())
    return report


# -- entries


def _carry(
    source: Store, target: Store, log: MoveLog, batch: Sequence[KeptFile], report: Moved, *, copies: bool
) -> None:
    """Carry some entries, and write them down."""
    images = set(log.known().values())
    found: list[tuple[int, int]] = []
    staged: list[tuple[KeptFile, Adopted, list[Path]]] = []
    try:
        for kept, one in _read(source, batch, report):
            before = target.sources.entry_of(one.sound.recipe.namespace, one.sound.recipe.prompt, kept.sha256)
            if before is not None and before not in images:
                found.append((kept.entry_id, before))  # carried and not written down, or kept there by others
                images.add(before)
                continue
            with contextlib.suppress(FileNotFoundError, NotFound):  # removed meanwhile, or seen the next time
                staged.append((kept, one, _staged(source, target.blobs, kept, one)))
                continue
            if source.checks.exists(kept.entry_id):
                report.skipped[kept.entry_id] = f"{kept.file} cannot be read"
        _send(target.blobs, [path for _, _, paths in staged for path in paths])
        found += _place(target, staged, report)
    finally:
        for _, _, paths in staged:
            for path in paths:
                path.unlink(missing_ok=True)
    log.note(found)
    if not copies and target.blobs.remote:
        _without_copies(target, (there for _, there in found))


def _read(source: Store, batch: Sequence[KeptFile], report: Moved) -> Iterator[tuple[KeptFile, Adopted]]:
    ids = [kept.entry_id for kept in batch]
    items = {item.id: item for item in source.inventory.items_by_id(ids)}
    marks, preferred = source.marks.of(ids), source.entries.preferred_among(ids)
    vectors: dict[int, dict[str, Vector]] = {}
    for space in source.vectors.spaces():
        for entry_id, vector in source.vectors.of(space, ids).items():
            vectors.setdefault(entry_id, {})[space] = vector
    for kept in batch:
        entry, item = source.entries.entry(kept.entry_id), items.get(kept.entry_id)
        if entry is None or item is None:
            if source.checks.exists(kept.entry_id):
                report.skipped[kept.entry_id] = "its recipe or metadata cannot be read"
            continue
        marked = marks.get(kept.entry_id, Marked())
        of_it = source.renditions.of(kept.entry_id)
        first = kept.entry_id in preferred
        yield kept, _adopted(kept, entry, item, vectors.get(kept.entry_id, {}), marked, of_it, preferred=first)


def _adopted(
    kept: KeptFile,
    entry: Entry,
    item: Item,
    vectors: dict[str, Vector],
    marked: Marked,
    renditions: Sequence[KeptRendition],
    *,
    preferred: bool,
) -> Adopted:
    return Adopted(
        FinishedSound(path="", recipe=entry.recipe, metadata=entry.metadata, accepted=True),
        kept.file,
        kept.size_bytes,
        kept.sha256,
        entry.created_at,
        vectors,
        renditions=tuple((one.spec, one.file, one.size_bytes, one.sha256) for one in renditions if one.sha256),
        pinned=item.pinned,
        hits=item.hits,
        last_used=item.last_used or 0.0,
        preferred=preferred,
        marked=marked,
    )


def _staged(source: Store, blobs: BlobStore, kept: KeptFile, one: Adopted) -> list[Path]:
    """Copy an entry's files to where the target puts them into place from; the master comes first."""
    bring_entry(source, kept.entry_id)
    paths: list[Path] = []
    try:
        paths.append(_copied(source, blobs, kept.file))
        for _, file, size, _ in one.renditions:
            source.blobs.bring(file, size)
            paths.append(_copied(source, blobs, file))
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise
    return paths


def _copied(source: Store, blobs: BlobStore, file: str) -> Path:
    path = blobs.incoming / f"{secrets.token_hex(12)}{Path(file).suffix}"
    with open(source.blobs.path_of(file), "rb") as read, path.open("xb") as write:
        shutil.copyfileobj(read, write, 1 << 20)
        write.flush()
        os.fsync(write.fileno())
    return path


def _send(blobs: BlobStore, paths: Sequence[Path]) -> None:
    """Have the files stored side by side, as far as that takes time."""
    done = threading.Semaphore(0)
    for path in paths:
        blobs.send_ahead([str(path)], done.release)
    for _ in paths:
        if not done.acquire(timeout=_SEND_S):
            raise StorageError(f"{blobs.location} has not taken a sound within {_SEND_S:.0f} s", hint="try again")


def _place(
    target: Store, staged: Sequence[tuple[KeptFile, Adopted, list[Path]]], report: Moved
) -> list[tuple[int, int]]:
    """Put files into place and give them rows, all in one step; return the ids there."""
    placed: list[Placement] = []
    ready: list[tuple[KeptFile, Adopted]] = []
    try:
        for kept, one, paths in staged:
            file = target.blobs.name_for("audio", one.sha256, ".flac")
            origin = target.blobs.origin_of(paths[0])
            placed.append(target.blobs.place(paths[0], file))
            renditions = []
            for (spec, name, size, sha256), path in zip(one.renditions, paths[1:], strict=True):
                to = target.blobs.name_for("renditions", sha256, Path(name).suffix)
                placed.append(target.blobs.place(path, to))
                renditions.append((spec, to, size, sha256))
            free = not target.checks.exists(kept.entry_id)
            ready.append((kept, one._replace(
                file=file, origin=origin, renditions=tuple(renditions), entry_id=kept.entry_id if free else None
            )))  # fmt: skip
        made = target.entries.adopt([one for _, one in ready])
    except BaseException:
        for placement in placed:
            target.blobs.withdraw(placement)
        raise
    kept_files = {one.file for (_, one), is_new in zip(ready, made, strict=True) if is_new}
    kept_files |= {file for _, one in ready if one.file in kept_files for _, file, _, _ in one.renditions}
    for placement in placed:
        if placement.file not in kept_files:
            target.blobs.discard(placement.file)
        target.blobs.settle(placement)
    found = []
    for (kept, one), is_new in zip(ready, made, strict=True):
        there = _id_of(target, one.file) if is_new else target.entries.identical(one.sound)
        if there is not None:
            found.append((kept.entry_id, there))
        report.carried += is_new
        report.renditions += len(one.renditions) if is_new else 0
        report.size_bytes += one.size_bytes if is_new else 0
        if not is_new:
            report.there += 1
    return found


def _id_of(store: Store, file: str) -> int | None:
    """Return the entry of a master that has just been kept."""
    folder = file.rpartition("/")[0]
    return next((kept.entry_id for kept in store.checks.masters_in(folder) if kept.file == file), None)


def _without_copies(store: Store, ids: Iterable[int]) -> None:
    for entry_id in ids:
        master = store.checks.master(entry_id)
        files = [one.file for one in store.renditions.of(entry_id)] + ([master.file] if master is not None else [])
        for file in files:
            if store.blobs.is_copy(file):
                Path(store.blobs.path_of(file)).unlink(missing_ok=True)


# -- what has been changed of entries since they were carried


def _mark(source: Store, target: Store, known: dict[int, int]) -> None:
    """Bring marks and pins up to date."""
    here, there = source.marks.of(known), target.marks.of(known.values())
    for entry_id, other in known.items():
        mine, its = here.get(entry_id, Marked()), there.get(other, Marked())
        if mine != its:
            tags = list(mine.tags) if mine.tags is not None else None
            change = SoundMarks(rating=mine.rating or 0, favourite=mine.favourite, tags=tags)
            with contextlib.suppress(NotFound):  # removed meanwhile
                target.marks.mark(other, change)
    pinned, theirs = source.pins.pinned(), target.pins.pinned()
    with contextlib.suppress(NotFound):
        target.pins.pin(other for entry_id, other in known.items() if entry_id in pinned and other not in theirs)
    target.pins.unpin(other for entry_id, other in known.items() if entry_id not in pinned and other in theirs)


def _uses(source: Store, target: Store, known: dict[int, int]) -> None:
    """Carry hits that came since; those that the target has had itself are not taken away."""
    ids = sorted(known)
    for start in range(0, len(ids), _USES_AT_ONCE):
        part = ids[start : start + _USES_AT_ONCE]
        here, there = source.uses.of(part), target.uses.of(known[one] for one in part)
        for entry_id, use in here.items():
            other = there.get(known[entry_id])
            if other is not None and use.hits > other.hits:
                more = Counted({known[entry_id]: use.hits - other.hits}, {}, {})
                target.uses.record(more, use.last_used)


def _renditions(source: Store, target: Store, known: dict[int, int], report: Moved, *, copies: bool) -> None:
    """Carry formats that were made since."""
    there = {(one.entry_id, one.spec) for one in target.renditions.all()}
    for one in source.renditions.all():
        other = known.get(one.entry_id)
        form = _form_of(one.spec)
        if other is None or form is None or not one.sha256 or (other, one.spec) in there:
            continue
        with contextlib.suppress(FileNotFoundError, NotFound, StorageError):  # it is made again when it is wanted
            source.blobs.bring(one.file, one.size_bytes)
            path = _copied(source, target.blobs, one.file)
            try:
                kept = target.renditions.put(other, form, path)
            finally:
                path.unlink(missing_ok=True)
            report.renditions += 1
            if not copies and target.blobs.remote:
                Path(kept).unlink(missing_ok=True)


def _vectors(source: Store, target: Store, known: dict[int, int]) -> None:
    """Carry vectors that another encoder has made since."""
    there = target.vectors.counts()
    for space, count in source.vectors.counts().items():
        if count > there.get(space, 0):
            for ids, rows in source.vectors.batches(space):
                found = {known[one]: row for one, row in zip(ids.tolist(), rows, strict=True) if one in known}
                target.vectors.keep(space, found)


def _form_of(spec: str) -> Rendition | Picture | Peaks | None:
    """Return what a rendition's row says that it is; None for what another version wrote."""
    kinds: tuple[type[Rendition | Picture | Peaks], ...] = (Rendition, Picture, Peaks)
    for kind in kinds:
        with contextlib.suppress(msgspec.ValidationError):
            form = msgspec.json.decode(spec, type=kind)
            if msgspec.json.encode(form, order="deterministic").decode() == spec:
                return form
    return None


# -- what lies beside


def _judgements(source: Store, target: Store, known: dict[int, int]) -> None:
    there = {one.given for one in target.judgements.since(0)}
    given = []
    for one in source.judgements.since(0):
        entry_id = one.given.entry_id
        if entry_id is not None and entry_id not in known:
            continue
        mine = one.given._replace(entry_id=None if entry_id is None else known[entry_id])
        if mine not in there:
            given.append(mine)
    if given:
        target.judgements.give(given)


def _beside(source: Store, target: Store, known: dict[int, int]) -> None:
    """Carry what was measured and preset, and fingerprints."""
    there = {one.space for one in target.calibrations.all()}
    for measured in source.calibrations.all():
        if measured.space not in there:
            target.calibrations.keep(measured)
    after = ""
    while presets := source.presets.page(type=None, suiting=(), after=after, limit=_PRESETS_AT_ONCE):
        target.presets.restore(presets)
        after = presets[-1].id
    number = 0
    while marks := source.registry.fingerprints_after(number, _FINGERPRINTS_AT_ONCE):
        number = marks[-1].number
        found = []
        for one in marks:
            registered = source.registry.with_fingerprint(one.number)
            entry_id = None if registered is None else registered[0].entry_id
            if entry_id in known:
                found.append((known[entry_id], one.data))
        target.registry.fill(found)
