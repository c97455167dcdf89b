"""Do rows, files and vectors agree? And if not, make them.

Owns: ``audit`` and the kinds of problems there are.
Must not know: hits, policy, the pool.

May run while a server puts and removes on the same directory: whatever looks wrong is looked at a second
time, in the order in which a put or removal would have mended it.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_pool.cache.sqlite.renditions import all_renditions, drop_renditions
from audio_pool.cache.sqlite.store import Store, transaction
from audio_pool.errors import EngineUnavailable, StorageError

_log = logging.getLogger(__name__)

__all__ = ["Problem", "Report", "as_json", "audit"]


@dataclass(frozen=True, slots=True)
class Problem:
    kind: str
    """missing_file, damaged_file, orphan_file, stale_incoming, missing_rendition, orphan_rows, odd_vectors,
    damaged_database, stale_index."""
    what: str
    """The file, entry or table."""
    detail: str


@dataclass(slots=True)
class Report:
    """What an audit looked at and found."""

    entries: int = 0
    files: int = 0
    problems: list[Problem] = field(default_factory=list)
    fixed: int = 0
    freed_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Nothing is amiss any more."""
        return len(self.problems) == self.fixed


def audit(store: Store, *, fix: bool = False, quick: bool = False) -> Report:
    """Compares every row, file and vector.

    Args:
        store: opened on the directory; opening has already cleared what an interrupted process left.
        fix: remove rows without a sound file, and files without a row.
        quick: believe a file that has the right size and a FLAC header; otherwise every byte is read.

    Raises:
        StorageError: ``fix`` on a directory that takes no writes; the database cannot be read.
    """
    if fix and store.read_only:
        raise StorageError(f"{store.folder.root} takes no writes, so nothing can be fixed")
    report = Report()
    for check in (_database, _masters, _renditions, _orphans, _incoming, _rows, _vectors, _indexes):
        check(store, report, fix, quick)
    return report


def _found(report: Report, problem: Problem, fix: bool, mend: Callable[[], int | None]) -> None:
    report.problems.append(problem)
    if fix:
        report.freed_bytes += mend() or 0
        report.fixed += 1


def _database(store: Store, report: Report, fix: bool, quick: bool) -> None:
    verdict = "; ".join(row[0] for row in store.query("PRAGMA quick_check(5)"))
    if verdict != "ok":
        # Not mended: what SQLite can still read may be the only copy.
        report.problems.append(Problem("damaged_database", store.folder.database.name, verdict))


def _masters(store: Store, report: Report, fix: bool, quick: bool) -> None:
    for entry_id, file, size, digest in store.query("SELECT id, file, size_bytes, sha256 FROM entries"):
        report.entries += 1
        kind, detail = _verdict(store.folder.root / file, size, None if quick else digest)
        if kind and store.query("SELECT 1 FROM entries WHERE id = ?", (entry_id,)):

            def mend(gone: int = entry_id) -> int:
                return store.remove([gone]).freed_bytes

            _found(report, Problem(kind, file, f"entry {entry_id}: {detail}"), fix, mend)


def _verdict(path: Path, size: int, digest: bytes | None) -> tuple[str, str]:
    try:
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
    for kept in all_renditions(store):
        path = store.folder.root / kept.file
        if (path.is_file() and path.stat().st_size == kept.size_bytes) or kept not in all_renditions(store):
            continue

        def mend(gone: tuple[int, str] = kept[:2]) -> None:
            drop_renditions(store, [gone])

        detail = f"entry {kept.entry_id}: a rendition's file is gone or has another size"
        _found(report, Problem("missing_rendition", kept.file, detail), fix, mend)


def _files(root: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(root):
        for name in names:
            yield Path(directory, name)


def _orphans(store: Store, report: Report, fix: bool, quick: bool) -> None:
    folder = store.folder
    files = [
        str(path.relative_to(folder.root))
        for place in (folder.audio, folder.renditions)
        for path in _files(place)
    ]
    report.files = len(files)
    known = {row[0] for row in store.query("SELECT file FROM entries UNION ALL SELECT file FROM renditions")}
    for file in files:
        # A put removes its mark after its commit, so: mark first, row second. A removal names the file in
        # ``doomed`` until it is gone, so: doomed first, file second.
        if file in known or folder.in_flight(file) or store.names(file) or file in store.doomed():
            continue
        path = folder.root / file
        if path.is_file():

            def mend(gone: str = file) -> int:
                return folder.discard(gone)

            _found(report, Problem("orphan_file", file, "no entry knows this file"), fix, mend)


def _incoming(store: Store, report: Report, fix: bool, quick: bool) -> None:
    # asking who is alive takes a lock, and on a disk that takes no writes nobody could mend it
    for file in [] if store.read_only else store.folder.stale():

        _found(report, Problem("stale_incoming", file, "left by a process that is gone"), fix, store.sweep)


_STRAY = {
    "provenance": "entry_id NOT IN (SELECT id FROM entries)",
    "vectors": "entry_id NOT IN (SELECT id FROM entries)",
    "renditions": "entry_id NOT IN (SELECT id FROM entries)",
    "entries": "id NOT IN (SELECT entry_id FROM provenance)",
}
"""Rows that cannot be: foreign keys and transactions forbid them, foreign tools do not."""


def _rows(store: Store, report: Report, fix: bool, quick: bool) -> None:
    for table, stray in _STRAY.items():
        count = store.query(f"SELECT count(*) FROM {table} WHERE {stray}")[0][0]
        if count:

            def mend(name: str = table, which: str = stray) -> None:
                with store.writing("removing stray rows") as db, transaction(db):
                    db.execute(f"DELETE FROM {name} WHERE {which}")

            _found(report, Problem("orphan_rows", table, f"{count} rows without their other half"), fix, mend)


def _vectors(store: Store, report: Report, fix: bool, quick: bool) -> None:
    usual: dict[str, tuple[int, int]] = {}
    sizes = store.query("SELECT encoder, length(data), count(*) FROM vectors GROUP BY 1, 2")
    for encoder, size, count in sizes:
        usual[encoder] = max(usual.get(encoder, (0, 0)), (count, size))
    for encoder, size, count in sizes:
        if size != usual[encoder][1]:

            def mend(name: str = encoder, odd: int = size) -> None:
                with store.writing("removing odd vectors") as db, transaction(db):
                    db.execute("DELETE FROM vectors WHERE encoder = ? AND length(data) = ?", (name, odd))

            detail = f"{count} vectors of {size // 4} dimensions among those of {usual[encoder][1] // 4}"
            _found(report, Problem("odd_vectors", encoder, detail), fix, mend)


def _indexes(store: Store, report: Report, fix: bool, quick: bool) -> None:
    if not store.folder.index.is_dir():
        return
    from audio_pool.cache.vectors import Neighbours, snapshots

    known = snapshots(store, [name for (name,) in store.query("SELECT name FROM spaces")])
    for path in sorted(store.folder.index.iterdir()):
        if path.name.startswith("."):  # being written, or cleared at a later opening
            continue
        try:
            space = known.get(path)
            faults = list(Neighbours.faults(store, space)) if space else ["no vectors of its encoder were ever kept"]
        except EngineUnavailable as exc:
            _log.warning("index snapshots are not checked: %s", exc)
            return

        def mend(gone: Path = path) -> int:
            return store.folder.discard(str(gone.relative_to(store.folder.root)))

        for fault in faults[:1]:
            _found(report, Problem("stale_index", f"index/{path.name}", fault), fix, mend)


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON values."""
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
