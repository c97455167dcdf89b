"""A whole cache in one tar file, taken while servers go on, and given back into any cache.

Owns: ``backup`` and ``restore``: the order of steps by which the copy agrees with itself.
Must not know: hits, the pool, the terminal.

Rows first, in one snapshot, then the masters that they name: what is kept meanwhile is not in the copy, and what is
removed meanwhile stays readable for its grace. The database stands last in the tar, so that one that was cut short is
seen to be. Renditions and indexes are left out: they are made again.

A restore adds. A sound that the cache has (the same recipe, seed included) stays as it is there; each other one gets
its file and then its row, so that servers may go on as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.entry import Adopted, text_digest
from audio_pool.cache.files import storage_errors
from audio_pool.cache.judgements import Given
from audio_pool.cache.objects.opening import open_files
from audio_pool.cache.opening import open_store
from audio_pool.cache.shared import refuse_shared
from audio_pool.cache.sqlite.arrival import Arrived, arrive
from audio_pool.cache.sqlite.database import FILE
from audio_pool.cache.sqlite.salvage import Salvage
from audio_pool.cache.store import Store
from audio_pool.errors import InvalidRequest, NotFound, StorageError

__all__ = ["Copied", "as_json", "backup", "restore"]

_AT_ONCE = 50
_PARTS = 1 << 20
_LEFT_OUT = ("leaving", "doomed", "renditions", "changes")
"""Tables that say nothing in a copy."""


@dataclass(slots=True)
class Copied:
    """What a backup or a restore came to."""

    entries: int = 0
    size_bytes: int = 0
    known: int = 0
    """Restoring: sounds that the cache had."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Files that were not copied, and why."""


def backup(directory: Path | str, target: Path | str) -> Copied:
    """Write a cache's entries into a tar file.

    Args:
        directory: an existing cache directory; servers may go on with it.
        target: a file that does not exist yet.

    Raises:
        NotFound: there is no cache.
        InvalidRequest: the target exists.
        StorageError: it cannot be written; no file is left.
    """
    refuse_shared(directory, "backing the cache up", "pg_dump its database, and copy its sounds")
    root, final = Path(os.path.abspath(directory)), Path(os.path.abspath(target))
    if not (root / FILE).is_file():
        raise NotFound(f"directory {str(directory)!r} holds no sound cache (no {FILE})", hint="check its path")
    if final.exists():
        raise InvalidRequest(f"{final} exists", hint="name another file, or remove it first")
    report = Copied()
    part = final.with_name(f".{final.name}.{secrets.token_hex(4)}.part")
    with storage_errors("backing the cache up", str(final)), tempfile.TemporaryDirectory(dir=final.parent) as work:
        try:
            with tarfile.open(part, "w") as tar:
                _copy(root, Path(work) / FILE, tar, report)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            os.link(part, final)  # never over a file that came meanwhile
        except sqlite3.Error as exc:
            raise StorageError(f"backing the cache up: {root / FILE}: {exc}", hint="audio-pool cache rebuild") from exc
        finally:
            part.unlink(missing_ok=True)
    return report


def _copy(root: Path, snapshot: Path, tar: tarfile.TarFile, report: Copied) -> None:
    with (
        contextlib.ExitStack() as rest,
        contextlib.closing(sqlite3.connect(f"{(root / FILE).as_uri()}?mode=ro", uri=True)) as live,
        contextlib.closing(sqlite3.connect(snapshot, isolation_level=None)) as copy,
    ):
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        copy.execute("PRAGMA foreign_keys = ON")
        files = open_files(root, create=False)
        rest.callback(files.release)
        _copy_masters(files, root, live, copy, tar, report)
        for table in _LEFT_OUT:
            copy.execute(f"DELETE FROM {table}")
    tar.add(snapshot, FILE)


def _copy_masters(
    files: BlobStore,
    root: Path,
    live: sqlite3.Connection,
    copy: sqlite3.Connection,
    tar: tarfile.TarFile,
    report: Copied,
) -> None:
    for entry_id, name, size in copy.execute("SELECT id, file, size_bytes FROM entries ORDER BY id").fetchall():
        try:
            with contextlib.suppress(NotFound):  # seen in the next line
                files.bring(name, size)
            with (root / name).open("rb") as file:
                found = tar.gettarinfo(arcname=name, fileobj=file)
                if found.size == size and found.isreg():
                    tar.addfile(found, file)
                    report.entries += 1
                    report.size_bytes += size
                    continue
                why = f"has {found.size:,} bytes, was stored with {size:,}"
        except FileNotFoundError:
            if not live.execute("SELECT 1 FROM entries WHERE id = ?", (entry_id,)).fetchone():
                copy.execute("DELETE FROM entries WHERE id = ?", (entry_id,))  # removed meanwhile
                continue
            why = "its file is gone"
        except StorageError as exc:
            why = exc.message
        report.skipped.append((name, why))


def restore(source: Path | str, directory: Path | str) -> Copied:
    """Give a cache the sounds of a backup that it lacks.

    Args:
        source: a file that ``backup`` wrote.
        directory: a cache directory, made where it does not exist; servers may go on with it.

    Raises:
        NotFound: there is no such file.
        InvalidRequest: it is no backup, or was cut short.
        StorageError: the directory cannot be written; what is already restored stays.
    """
    path = Path(source)
    if not path.is_file():
        raise NotFound(f"{path}: no such file", hint="check its path")
    report = Copied()
    with storage_errors("restoring the cache", str(directory)), contextlib.ExitStack() as rest:
        try:
            tar = rest.enter_context(tarfile.open(path, "r:"))
            members = {member.name: member for member in tar.getmembers() if member.isreg()}
            database = tar.extractfile(members[FILE])
        except (tarfile.TarError, KeyError, EOFError) as exc:
            raise InvalidRequest(f"{path} is no backup of a cache, or was cut short ({exc})") from exc
        assert database is not None, "only regular members are looked at"
        store = open_store(directory)
        rest.callback(store.close)
        work = rest.enter_context(tempfile.TemporaryDirectory(dir=store.blobs.incoming.parent.parent))
        rows_file = Path(work) / FILE
        with rows_file.open("wb") as out:
            shutil.copyfileobj(database, out, _PARTS)
        rows = rest.enter_context(contextlib.closing(Salvage(rows_file)))
        _teach(store, rows)
        found = (one.adopted for one in rows.entries() if one.adopted is not None)
        while batch := list(islice(found, _AT_ONCE)):
            _restore(store, tar, members, batch, report)
    return report


def _teach(store: Store, rows: Salvage) -> None:
    """Take over what was judged of pairs and measured of encoders, where the cache says nothing of it."""
    known = {_pair(one.given) for one in store.judgements.since(0)}
    store.judgements.give(one for one in rows.judgements() if one.entry_id is None and _pair(one) not in known)
    store.registry.note(one for one in rows.gone() if not any(map(store.registry.with_file, one.files)))
    for measured in rows.calibrations():
        if store.calibrations.at_070(measured.space) is None:
            store.calibrations.keep(measured)


def _pair(given: Given) -> tuple[str, frozenset[bytes]]:
    return given.namespace, frozenset(text_digest(given.namespace, text) for text in (given.query, given.prompt))


def _restore(
    store: Store,
    tar: tarfile.TarFile,
    members: dict[str, tarfile.TarInfo],
    batch: list[Adopted],
    report: Copied,
) -> None:
    fresh: list[Arrived] = []
    for one in batch:
        if store.entries.identical(one.sound) is not None or store.checks.knows(one.file):
            report.known += 1
            continue
        member = members.get(one.file)
        data = tar.extractfile(member) if member is not None else None
        if data is None:
            report.skipped.append((one.file, "the backup does not hold it"))
            continue
        source = store.blobs.incoming / f"{secrets.token_hex(16)}.flac"
        if not _is_written(iter(lambda data=data: data.read(_PARTS), b""), source, one):  # type: ignore[misc]
            report.skipped.append((one.file, "its content is not what was stored"))
            source.unlink()
            continue
        fresh.append(Arrived(source, one))
    for (_, one), is_new in zip(fresh, arrive(store, fresh), strict=True):
        if is_new:
            report.entries += 1
            report.size_bytes += one.size_bytes
        else:
            report.known += 1


def _is_written(parts: Iterator[bytes], target: Path, one: Adopted) -> bool:
    """Write a master, fsynced; return True where it is what its row says."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for part in parts:
            digest.update(part)
            out.write(part)
        out.flush()
        os.fsync(out.fileno())
    return digest.digest() == one.sha256


def as_json(report: Copied) -> dict[str, Any]:  # JSON, as documented in docs/manager.md
    """Return the report as JSON values."""
    return {
        "entries": report.entries,
        "size_mb": report.size_bytes / 2**20,
        "known": report.known,
        "skipped": [{"file": file, "why": why} for file, why in report.skipped],
    }
