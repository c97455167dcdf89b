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
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from audio_pool.cache.checks import KeptFile
from audio_pool.cache.store import KeptRendition, Store
from audio_pool.cache.trust import fault_in, fault_in_rendition
from audio_pool.errors import EngineUnavailable, StorageError

_log = logging.getLogger(__name__)

__all__ = ["Problem", "Report", "as_json", "verify"]


_MUCH = 20
_MUCH_SHARE = 0.1
_FOREIGN = "is another cache's audio directory mounted here, or is the database an older or a new one?"
_CAUSES: dict[str, tuple[str, str, str]] = {
    "missing_file": ("masters", "is the disk or directory of audio/ mounted?", "mount it, or bring the files back"),
    "damaged_file": ("masters", "is the right disk mounted at audio/, and is it healthy?", "look at it"),
    "missing_rendition": ("renditions", "is the disk or directory of renditions/ mounted?", "mount it"),
    "orphan_file": ("files", _FOREIGN, "audio-pool cache rebuild makes rows of masters"),
    "unreadable_entry": ("entries", "did a newer version of audio_pool write them?", "upgrade, or rebuild"),
}
"""What much of one kind at once may mean, by kind: what is counted, the likely cause, what to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not agree."""

    kind: str
    """missing_file, damaged_file, orphan_file, orphan_rendition, dangling_link, stale_incoming, missing_rendition,
    damaged_rendition, orphan_rows, unreadable_entry, odd_vectors, wrong_sums, damaged_database, stale_index."""
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
        quick: believe a file that has the right size and a FLAC header; otherwise every byte is read.
        however_many: mend also where much is amiss at once.

    Raises:
        StorageError: ``fix`` on a directory that takes no writes; the database cannot be read.
    """
    if fix and store.read_only:
        raise StorageError(f"{store.location} takes no writes, so nothing can be fixed")
    report = Report()
    for check in _CHECKS:
        check(store, report, quick)
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
    of = {"orphan_file": report.files, "missing_rendition": len(store.renditions.all())}
    refused = []
    if counts["damaged_database"]:
        refused.append("damaged_database: what can be read may be the only copy: audio-pool cache rebuild saves it")
    for kind, (what, cause, remedy) in _CAUSES.items():
        count, most = counts[kind], max(of.get(kind, report.entries), 1)
        none_left = kind == "missing_file" and count > 0 and not any(map(_is_master, store.blobs.files()))
        if none_left or (count > _MUCH and count > _MUCH_SHARE * most):
            refused.append(f"{kind}: {count:,} of {most:,} {what}, so nothing is mended: {cause} {remedy}")
    return refused


def _is_master(file: str) -> bool:
    return file.startswith("audio/")


def _database(store: Store, report: Report, quick: bool) -> None:
    damage = store.checks.damage()
    if damage:
        what, _, detail = damage.partition(": ")
        report.problems.append(Problem("damaged_database", what, detail))


def _masters(store: Store, report: Report, quick: bool) -> None:
    for kept in store.checks.masters():
        report.entries += 1
        fault = fault_in(store, kept, content=not quick)
        if fault and store.checks.exists(kept.entry_id):
            kind = "missing_file" if fault.missing else "damaged_file"
            problem = Problem(kind, kept.file, f"entry {kept.entry_id}: {fault.detail}")
            report.found(problem, partial(_without_master, store, kept, quick), loses=True)


def _without_master(store: Store, kept: KeptFile, quick: bool) -> int:
    """Remove an entry whose sound is still not what was stored; what lies there goes to quarantine."""
    return _expel(store, kept.entry_id) if fault_in(store, kept, content=not quick) else 0


def _expel(store: Store, entry_id: int) -> int:
    store.entries.expel([entry_id])
    return 0


def _renditions(store: Store, report: Report, quick: bool) -> None:
    found = [(kept, fault_in_rendition(store, kept, content=not quick)) for kept in store.renditions.all()]
    broken = [(kept, fault) for kept, fault in found if fault]
    still_kept = set(store.renditions.all()) if broken else set()
    for kept, fault in broken:
        if kept in still_kept:
            kind = "missing_rendition" if fault.missing else "damaged_rendition"
            problem = Problem(kind, kept.file, f"entry {kept.entry_id}: a rendition: {fault.detail}")
            report.found(problem, partial(_drop, store, kept, quick))


def _drop(store: Store, kept: KeptRendition, quick: bool) -> None:
    fault = fault_in_rendition(store, kept, content=not quick)
    if fault:  # it may be back by now
        store.renditions.drop(kept.entry_id, kept.spec, damaged=not fault.missing)


def _orphans(store: Store, report: Report, quick: bool) -> None:
    files = list(store.blobs.files())
    leaving = store.leaving.files()
    report.files = sum(file not in leaving for file in files)
    known = store.checks.known_files()
    for file in files:
        # A put removes its mark after its commit, so: mark first, row second. A removal's file is known until
        # it is gone, so: row first, file second.
        if file in known or store.blobs.in_flight(file) or store.checks.knows(file):
            continue
        if store.blobs.exists(file):
            kind = "orphan_file" if _is_master(file) else "orphan_rendition"
            report.found(Problem(kind, file, "no entry knows this file"), partial(_set_apart, store, file))
        elif store.blobs.is_odd(file):
            problem = Problem("dangling_link", file, "leads to nothing, and no entry knows it")
            report.found(problem, partial(_unlink, store, file))


def _set_apart(store: Store, file: str) -> None:
    if not store.checks.knows(file):
        store.leaving.set_apart(file)


def _unlink(store: Store, file: str) -> int:
    return 0 if store.checks.knows(file) or store.blobs.exists(file) else store.blobs.discard(file)


def _incoming(store: Store, report: Report, quick: bool) -> None:
    # asking who is alive takes a lock, and on a disk that takes no writes nobody could mend it
    for file in [] if store.read_only else store.blobs.stale():
        report.found(Problem("stale_incoming", file, "left by a process that is gone"), store.sweep)


def _rows(store: Store, report: Report, quick: bool) -> None:
    for table, count in store.checks.stray_rows().items():
        problem = Problem("orphan_rows", table, f"{count} rows without their other half")
        report.found(problem, partial(store.checks.remove_stray_rows, table), loses=True)


def _unreadable(store: Store, report: Report, quick: bool) -> None:
    for entry_id in [] if quick else store.checks.unreadable():
        problem = Problem("unreadable_entry", f"entry {entry_id}", "its recipe or metadata cannot be read")
        report.found(problem, partial(_expel, store, entry_id), loses=True)


def _vectors(store: Store, report: Report, quick: bool) -> None:
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


def _sums(store: Store, report: Report, quick: bool) -> None:
    for table in [] if quick else store.checks.wrong_sums():
        report.found(Problem("wrong_sums", table, "does not say what counting says"), store.checks.recount)


def _indexes(store: Store, report: Report, quick: bool) -> None:
    if not store.index_dir.is_dir():
        return
    from audio_pool.cache.vectors import VectorSpace, snapshots  # faiss, where there is one

    known = snapshots(store, store.vectors.spaces())
    for path in sorted(store.index_dir.iterdir()):
        if path.name.startswith("."):  # being written, or cleared at a later opening
            continue
        try:
            space = known.get(path)
            faults = list(VectorSpace.faults(store, space)) if space else ["no vectors of its encoder were ever kept"]
        except EngineUnavailable as exc:
            _log.warning("index snapshots are not checked: %s", exc)
            return
        for fault in faults[:1]:
            report.found(Problem("stale_index", f"index/{path.name}", fault), partial(_discard, path))


def _discard(path: Path) -> int:
    size = path.stat().st_size
    path.unlink()
    return size


_CHECKS = (
    _database, _masters, _renditions, _orphans, _incoming, _rows, _unreadable, _vectors, _sums, _indexes
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
