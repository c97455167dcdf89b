"""Checks that rows, files, vectors and indexes agree, and mends what does not.

Nothing that nothing else knows goes unasked: a file without a row is put into quarantine, a row without its
sound is removed only where that is confirmed, and where much is amiss at once nothing is touched at all.

Owns: ``verify`` and the kinds of problems there are.
Must not know: hits, policy, the pool.

May run while a server puts and removes on the same directory: whatever looks wrong is looked at a second
time, in the order in which a put or removal would have mended it.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from audio_pool.cache.checks import KeptFile
from audio_pool.cache.listing import changed_ns, is_settled, listed
from audio_pool.cache.store import KeptRendition, Store
from audio_pool.cache.trust import Fault, fault_in, fault_in_rendition
from audio_pool.errors import EngineUnavailable, StorageError

_log = logging.getLogger(__name__)

__all__ = ["Problem", "Report", "as_json", "verify"]


_FEW = 5_000
"""Entries up to which a quick look, too, is one at every file."""
_ROOTS = ("audio", "renditions")
_MUCH = 20
_MUCH_SHARE = 0.1
_SOME = 3
"""So many may be more than half of a small cache and yet be just that."""
_FOREIGN = "is another cache's audio directory mounted here, or is the database an older or a new one?"
_CAUSES: dict[str, tuple[str, str, str]] = {
    "missing_file": ("masters", "is the disk or directory of audio/ mounted?", "mount it, or bring the files back"),
    "damaged_file": ("masters", "is the right disk mounted at audio/, and is it healthy?", "look at it"),
    "missing_rendition": ("renditions", "is the disk or directory of renditions/ mounted?", "mount it"),
    "missing_object": ("masters", "is it the right bucket and prefix?", "bring the objects back"),
    "orphan_file": ("files", _FOREIGN, "audio-pool cache rebuild makes rows of masters"),
    "unreadable_entry": ("entries", "did a newer version of audio_pool write them?", "upgrade, or rebuild"),
}
"""What much of one kind at once may mean, by kind: what is counted, the likely cause, what to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not agree."""

    kind: str
    """missing_file, damaged_file, orphan_file, orphan_rendition, dangling_link, stale_incoming, missing_rendition,
    damaged_rendition, damaged_copy, orphan_copy, missing_object, damaged_object, orphan_object, orphan_rows,
    unreadable_entry, odd_vectors, wrong_sums, damaged_database, stale_index."""
    what: str
    """The file, entry or table."""
    detail: str


class _Mend(NamedTuple):
    """How a problem is mended; ``run`` returns the bytes that it frees, or None where there is nothing to mend now."""

    run: Callable[[], int | None]
    loses: bool
    """Something that nothing else knows goes for good: it wants to be confirmed."""


@dataclass(slots=True)
class Report:
    """The result of a verification."""

    entries: int = 0
    files: int = 0
    problems: list[Problem] = field(default_factory=list)
    fixed: int = 0
    freed_bytes: int = 0
    refused: list[str] = field(default_factory=list)
    """Why nothing was mended: much is amiss at once, and that is rarely what it seems."""
    unconfirmed: int = 0
    """Problems that are mended only with ``confirm``."""
    mends: list[tuple[Problem, _Mend]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing is amiss any more."""
        return len(self.problems) == self.fixed

    def found(self, problem: Problem, run: Callable[[], int | None], *, loses: bool = False) -> None:
        """Note a problem and how it is mended."""
        self.problems.append(problem)
        self.mends.append((problem, _Mend(run, loses)))


def verify(
    store: Store, *, fix: bool = False, confirm: bool = False, quick: bool = False, however_many: bool = False
) -> Report:
    """Compare every row, file and vector; mend when all has been looked at.

    Where much of one kind is amiss at once nothing is mended: a disk that is not mounted looks just so, and what
    was removed on its account is missed when it is back.

    Args:
        store: opened on the directory; opening has already cleared what an interrupted process left.
        fix: put files that no row knows into quarantine, and remove what is derived or says nothing.
        confirm: with ``fix``: remove rows without their sound as well; a damaged sound goes to quarantine.
        quick: believe a file that has the right size and a FLAC header, and of many entries look only at those whose
            folder or row has changed since it was found well; otherwise every byte is read.
        however_many: mend also where much is amiss at once.

    Raises:
        StorageError: ``fix`` on a directory that takes no writes; the database cannot be read.
    """
    if fix and store.read_only:
        raise StorageError(f"{store.location} takes no writes, so nothing can be fixed")
    report = Report()
    seen = store.seen.all()
    everywhere = not quick or store.inventory.totals().entries <= _FEW or not seen
    scope = _Scope(quick, everywhere, seen, {})
    for check in _CHECKS:
        check(store, report, scope)
    try:
        store.seen.note(scope.well)
    except StorageError as exc:
        _log.warning("what was found well is looked at again the next time: %s", exc)
    report.refused = [] if however_many else _too_much(store, report)
    report.unconfirmed = sum(mend.loses for _, mend in report.mends)
    if fix and not report.refused:
        for _, mend in report.mends:
            if confirm or not mend.loses:
                report.freed_bytes += mend.run() or 0
                report.fixed += 1
        report.unconfirmed = 0 if confirm else report.unconfirmed
    return report


def _too_much(store: Store, report: Report) -> list[str]:
    """Return why nothing of this should be mended; [] where it may be."""
    counts = collections.Counter(problem.kind for problem in report.problems)
    of = {"orphan_file": report.files, "missing_rendition": store.inventory.totals().renditions}
    refused = []
    if counts["damaged_database"]:
        refused.append("damaged_database: what can be read may be the only copy: audio-pool cache rebuild saves it")
    for kind, (what, cause, remedy) in _CAUSES.items():
        count, most = counts[kind], max(of.get(kind, report.entries), 1)
        none_left = kind == "missing_file" and count > 0 and not any(map(_is_master, store.blobs.files()))
        none_known = kind == "orphan_file" and count > 0 and report.entries == 0
        much = count > _MUCH and count > _MUCH_SHARE * most
        if none_left or none_known or much or (count > _SOME and count > most / 2):
            refused.append(f"{kind}: {count:,} of {most:,} {what}, so nothing is mended: {cause} {remedy}")
    return refused


def _is_master(file: str) -> bool:
    return file.startswith("audio/")


def _database(store: Store, report: Report, scope: _Scope) -> None:
    last = store.changes.last_seq()
    damage = store.checks.damage(0 if scope.everywhere else int(scope.seen.get("rows", "0")))
    if damage:
        what, _, detail = damage.partition(": ")
        report.problems.append(Problem("damaged_database", what, detail))
    else:
        scope.well["rows"] = str(last)


class _Scope(NamedTuple):
    """How far one verification looks."""

    quick: bool
    everywhere: bool
    """False: what is in the state in which it was found well is passed over."""
    seen: Mapping[str, str]
    well: dict[str, str]
    """What is found well now, and in which state."""


def _files(store: Store, report: Report, scope: _Scope) -> None:
    """Look at every folder that rows name or that is there: at its masters, renditions and strangers."""
    named = store.checks.folders()
    left = sorted({*named, *_ROOTS, *(what for what in scope.seen if what.startswith(_ROOTS))}, reverse=True)
    met = set(left)
    while left:
        folder = left.pop()
        time = changed_ns(store.blobs.path_of(folder))
        rows = store.checks.rows_in(folder) if folder in named else 0
        state, _, files = scope.seen.get(folder, "").rpartition(" ")
        if not scope.everywhere and time is not None and state == f"{time} {rows}":
            report.entries += rows if _is_master(folder) else 0
            report.files += int(files)
            continue
        problems, files_before = len(report.problems), report.files
        if folder in named:
            _masters(store, report, scope, folder)
            _renditions(store, report, scope, folder)
        deeper = {f"{folder}/{name}" for name in _orphans(store, report, folder, folder in named)} - met
        met |= deeper
        left += sorted(deeper, reverse=True)
        if len(report.problems) == problems and is_settled(time):
            scope.well[folder] = f"{time} {rows} {report.files - files_before}"


def _masters(store: Store, report: Report, scope: _Scope, folder: str) -> None:
    for kept in store.checks.masters_in(folder):
        report.entries += 1
        fault = fault_in(store, kept, content=not scope.quick)
        if fault and store.blobs.is_copy(kept.file):
            _copy(store, report, kept, fault)
        elif fault and store.checks.exists(kept.entry_id):
            kind = "missing_file" if fault.missing else "damaged_file"
            problem = Problem(kind, kept.file, f"entry {kept.entry_id}: {fault.detail}")
            report.found(problem, partial(_without_master, store, kept, scope.quick), loses=True)


def _copy(store: Store, report: Report, kept: KeptFile | KeptRendition, fault: Fault) -> None:
    """Note a damaged copy of what is elsewhere; it need not be here at all."""
    if not fault.missing:
        problem = Problem("damaged_copy", kept.file, f"entry {kept.entry_id}: {fault.detail}; it can be fetched again")
        report.found(problem, partial(_set_copy_apart, store, kept.file))


def _set_copy_apart(store: Store, file: str) -> None:
    store.blobs.quarantine(file)


def _without_master(store: Store, kept: KeptFile, quick: bool) -> int:
    """Remove an entry whose sound is still not what was stored; what lies there goes to quarantine."""
    return _expel(store, kept.entry_id) if fault_in(store, kept, content=not quick) else 0


def _expel(store: Store, entry_id: int) -> int:
    store.entries.expel([entry_id])
    return 0


def _renditions(store: Store, report: Report, scope: _Scope, folder: str) -> None:
    for kept in store.renditions.within(folder):
        fault = fault_in_rendition(store, kept, content=not scope.quick)
        if fault and store.blobs.is_copy(kept.file):
            _copy(store, report, kept, fault)
        elif fault and kept in store.renditions.of(kept.entry_id):
            kind = "missing_rendition" if fault.missing else "damaged_rendition"
            problem = Problem(kind, kept.file, f"entry {kept.entry_id}: a rendition: {fault.detail}")
            report.found(problem, partial(_drop, store, kept, scope.quick))


def _drop(store: Store, kept: KeptRendition, quick: bool) -> None:
    fault = fault_in_rendition(store, kept, content=not quick)
    if fault:  # it may be back by now
        store.renditions.drop(kept.entry_id, kept.spec, damaged=not fault.missing)


def _orphans(store: Store, report: Report, folder: str, named: bool) -> list[str]:
    """Look for files that no row names; return the folders in this one."""
    names, folders = listed(store.blobs.path_of(folder))
    files = [f"{folder}/{name}" for name in names]
    leaving = store.leaving.files() if files else set()
    report.files += sum(file not in leaving for file in files)
    known = store.checks.known_files(folder) if named else set()
    for file in files:
        # A put removes its mark after its commit, so: mark first, row second. A removal's file is known until
        # it is gone, so: row first, file second.
        if file in known or store.blobs.in_flight(file) or store.checks.knows(file):
            continue
        if store.blobs.is_copy(file):
            report.found(Problem("orphan_copy", file, "no entry knows this copy"), partial(store.blobs.discard, file))
        elif store.blobs.exists(file):
            kind = "orphan_file" if _is_master(file) else "orphan_rendition"
            report.found(Problem(kind, file, "no entry knows this file"), partial(_set_apart, store, file))
        elif store.blobs.is_odd(file):
            problem = Problem("dangling_link", file, "leads to nothing, and no entry knows it")
            report.found(problem, partial(_unlink, store, file))
    return folders


def _set_apart(store: Store, file: str) -> None:
    if not store.checks.knows(file):
        store.leaving.set_apart(file)


def _unlink(store: Store, file: str) -> int:
    return 0 if store.checks.knows(file) or store.blobs.exists(file) else store.blobs.discard(file)


def _incoming(store: Store, report: Report, scope: _Scope) -> None:
    # asking who is alive takes a lock, and on a disk that takes no writes nobody could mend it
    for file in [] if store.read_only else store.blobs.stale():
        report.found(Problem("stale_incoming", file, "left by a process that is gone"), store.sweep)


def _rows(store: Store, report: Report, scope: _Scope) -> None:
    if not scope.everywhere:  # foreign keys and transactions forbid them: only foreign tools make some
        return
    for table, count in store.checks.stray_rows().items():
        problem = Problem("orphan_rows", table, f"{count} rows without their other half")
        report.found(problem, partial(store.checks.remove_stray_rows, table), loses=True)


def _unreadable(store: Store, report: Report, scope: _Scope) -> None:
    for entry_id in [] if scope.quick else store.checks.unreadable():
        problem = Problem("unreadable_entry", f"entry {entry_id}", "its recipe or metadata cannot be read")
        report.found(problem, partial(_expel, store, entry_id), loses=True)


def _vectors(store: Store, report: Report, scope: _Scope) -> None:
    sizes = store.checks.vector_sizes()
    usual: dict[str, tuple[int, int]] = {}
    for one in sizes:
        usual[one.space] = max(usual.get(one.space, (0, 0)), (one.vectors, one.size_bytes))
    for one in sizes:
        most = usual[one.space][1]
        if one.size_bytes != most:
            detail = f"{one.vectors} vectors of {one.size_bytes // 4} dimensions among those of {most // 4}"
            mend = partial(store.checks.remove_vectors, one.space, one.size_bytes)
            report.found(Problem("odd_vectors", one.space, detail), mend, loses=True)


def _sums(store: Store, report: Report, scope: _Scope) -> None:
    for table in [] if scope.quick else store.checks.wrong_sums():
        report.found(Problem("wrong_sums", table, "does not say what counting says"), store.checks.recount)


def _indexes(store: Store, report: Report, scope: _Scope) -> None:
    if not store.index_dir.is_dir():
        return
    from audio_pool.cache.vectors import VectorSpace, snapshots  # faiss, where there is one

    known = snapshots(store, store.vectors.spaces())
    for path in sorted(store.index_dir.iterdir()):
        # being written, or cleared at a later opening; and words, whose index is made anew where it is amiss
        if path.name.startswith((".", "words.")):
            continue
        what, state = f"index/{path.name}", _state_of(path)
        if not scope.everywhere and scope.seen.get(what) == state:
            continue
        try:
            space = known.get(path)
            faults = list(VectorSpace.faults(store, space)) if space else ["no vectors of its encoder were ever kept"]
        except EngineUnavailable as exc:
            _log.warning("index snapshots are not checked: %s", exc)
            return
        for fault in faults[:1]:
            report.found(Problem("stale_index", what, fault), partial(_discard, path))
        if not faults:
            scope.well[what] = state


def _state_of(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"


def _discard(path: Path) -> int:
    size = path.stat().st_size
    path.unlink()
    return size


def _objects(store: Store, report: Report, scope: _Scope) -> None:
    if store.blobs.remote:
        from audio_pool.cache.objects.verify import objects_amiss  # obstore, where it is asked for

        for problem, run, loses in objects_amiss(store):
            report.found(Problem(*problem), run, loses=loses)


_CHECKS = (
    _database, _files, _objects, _incoming, _rows, _unreadable, _vectors, _sums, _indexes
)  # fmt: skip


def as_json(report: Report) -> dict[str, Any]:  # JSON, as documented in docs/manager.md
    """Return the report as JSON values."""
    return {
        "ok": report.ok,
        "entries": report.entries,
        "files": report.files,
        "problems": [
            {"kind": problem.kind, "what": problem.what, "detail": problem.detail}
            for problem in report.problems
        ],
        "fixed": report.fixed,
        "refused": report.refused,
        "unconfirmed": report.unconfirmed,
        "freed_space_mb": report.freed_bytes / 2**20,
    }
