"""Checks that rows, files, vectors and indexes agree, and mends what does not.

Owns: ``verify`` and the kinds of problems there are.
Must not know: hits, policy, the pool.

May run while a server puts and removes on the same directory: whatever looks wrong is looked at a second
time, in the order in which a put or removal would have mended it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from audio_pool.cache.store import KeptRendition, Store
from audio_pool.errors import EngineUnavailable, StorageError

_log = logging.getLogger(__name__)

__all__ = ["Problem", "Report", "as_json", "verify"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not agree."""

    kind: str
    """missing_file, damaged_file, orphan_file, stale_incoming, missing_rendition, orphan_rows,
    unreadable_entry, odd_vectors, damaged_database, stale_index."""
    what: str
    """The file, entry or table."""
    detail: str


@dataclass(slots=True)
class Report:
    """The result of a verification."""

    entries: int = 0
    files: int = 0
    problems: list[Problem] = field(default_factory=list)
    fixed: int = 0
    freed_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Nothing is amiss any more."""
        return len(self.problems) == self.fixed


def verify(store: Store, *, fix: bool = False, quick: bool = False) -> Report:
    """Compare every row, file and vector.

    Args:
        store: opened on the directory; opening has already cleared what an interrupted process left.
        fix: remove rows without a sound file, and files without a row.
        quick: believe a file that has the right size and a FLAC header; otherwise every byte is read.

    Raises:
        StorageError: ``fix`` on a directory that takes no writes; the database cannot be read.
    """
    if fix and store.read_only:
        raise StorageError(f"{store.location} takes no writes, so nothing can be fixed")
    report = Report()
    for check in (_database, _masters, _renditions, _orphans, _incoming, _rows, _unreadable, _vectors, _indexes):
        check(store, report, fix, quick)
    return report


def _found(report: Report, problem: Problem, fix: bool, mend: Callable[[], int | None]) -> None:
    report.problems.append(problem)
    if fix:
        report.freed_bytes += mend() or 0
        report.fixed += 1


def _database(store: Store, report: Report, fix: bool, quick: bool) -> None:
    damage = store.checks.damage()
    if damage:
        # Not mended: what the database can still give may be the only copy.
        what, _, detail = damage.partition(": ")
        report.problems.append(Problem("damaged_database", what, detail))


def _masters(store: Store, report: Report, fix: bool, quick: bool) -> None:
    for kept in store.checks.masters():
        report.entries += 1
        path = Path(store.blobs.path_of(kept.file))
        kind, detail = _verdict(path, kept.size_bytes, None if quick else kept.sha256)
        if kind and store.checks.exists(kept.entry_id):
            problem = Problem(kind, kept.file, f"entry {kept.entry_id}: {detail}")
            _found(report, problem, fix, partial(_remove_entry, store, kept.entry_id))


def _remove_entry(store: Store, entry_id: int) -> int:
    return store.entries.remove([entry_id]).freed_bytes


def _verdict(path: Path, size: int, digest: bytes | None) -> tuple[str, str]:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return "damaged_file", "is not a regular file"
        with path.open("rb") as file:
            found = os.fstat(file.fileno()).st_size
            if found != size:
                return "damaged_file", f"has {found:,} bytes, was stored with {size:,}"
            if file.read(4) != b"fLaC":
                return "damaged_file", "does not begin as FLAC files do"
            file.seek(0)
            if digest is not None and hashlib.file_digest(file, "sha256").digest() != digest:
                return "damaged_file", "its content is not what was stored"
    except FileNotFoundError:
        return "missing_file", "its file is gone"
    except OSError as exc:
        return "damaged_file", f"cannot be read: {exc}"
    return "", ""


def _renditions(store: Store, report: Report, fix: bool, quick: bool) -> None:
    for kept in store.renditions.all():
        if _is_whole(store, kept) or kept not in store.renditions.all():
            continue
        detail = f"entry {kept.entry_id}: a rendition's file is gone or has another size"
        mend = partial(store.renditions.drop, kept.entry_id, kept.spec)
        _found(report, Problem("missing_rendition", kept.file, detail), fix, mend)


def _is_whole(store: Store, kept: KeptRendition) -> bool:
    return store.blobs.is_whole(kept.file, kept.size_bytes)


def _orphans(store: Store, report: Report, fix: bool, quick: bool) -> None:
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
            problem = Problem("orphan_file", file, "no entry knows this file")
            _found(report, problem, fix, partial(_let_go, store, file))


def _let_go(store: Store, file: str) -> int:
    return store.leaving.let_go([file]).freed_bytes


def _incoming(store: Store, report: Report, fix: bool, quick: bool) -> None:
    # asking who is alive takes a lock, and on a disk that takes no writes nobody could mend it
    for file in [] if store.read_only else store.blobs.stale():
        _found(report, Problem("stale_incoming", file, "left by a process that is gone"), fix, store.sweep)


def _rows(store: Store, report: Report, fix: bool, quick: bool) -> None:
    for table, count in store.checks.stray_rows().items():
        problem = Problem("orphan_rows", table, f"{count} rows without their other half")
        _found(report, problem, fix, partial(store.checks.remove_stray_rows, table))


def _unreadable(store: Store, report: Report, fix: bool, quick: bool) -> None:
    for entry_id in [] if quick else store.checks.unreadable():
        problem = Problem("unreadable_entry", f"entry {entry_id}", "its recipe or metadata cannot be read")
        _found(report, problem, fix, partial(_remove_entry, store, entry_id))


def _vectors(store: Store, report: Report, fix: bool, quick: bool) -> None:
    sizes = store.checks.vector_sizes()
    usual: dict[str, tuple[int, int]] = {}
    for one in sizes:
        usual[one.space] = max(usual.get(one.space, (0, 0)), (one.vectors, one.size_bytes))
    for one in sizes:
        most = usual[one.space][1]
        if one.size_bytes != most:
            detail = f"{one.vectors} vectors of {one.size_bytes // 4} dimensions among those of {most // 4}"
            mend = partial(store.checks.remove_vectors, one.space, one.size_bytes)
            _found(report, Problem("odd_vectors", one.space, detail), fix, mend)


def _indexes(store: Store, report: Report, fix: bool, quick: bool) -> None:
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
            _found(report, Problem("stale_index", f"index/{path.name}", fault), fix, partial(_discard, path))


def _discard(path: Path) -> int:
    size = path.stat().st_size
    path.unlink()
    return size


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
        "freed_space_mb": report.freed_bytes / 2**20,
    }
