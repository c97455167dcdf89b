"""The truth of the cache: SQLite rows, audio files and vectors.

Owns: what an entry is on disk, putting and removing one so that a crash loses at most the sound in flight,
the change sequence that other processes follow.
Must not know: what counts as a hit (policy.py, semantic.py), the index, engines, the pool.

Order of a put: file fsynced by its maker, mark, rename, row committed, mark removed.
Order of a removal: row deleted and its file named in ``doomed`` in one transaction, file unlinked, name
forgotten. Whatever is found half-way at the next opening can therefore be judged by the rows alone.

Threads: one connection reads and one writes, each behind its own lock, so a reader never waits for a
writer; WAL lets both go on at once. The pool's router thread reads, its writer thread writes. Management
opens a Store of its own.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from audio_pool.cache.entry import (
    FITS,
    ROW_COLUMNS,
    Entry,
    Filters,
    Row,
    bound,
    canonical_digest,
    columns_of,
    family_of,
    fingerprint,
    text_digest,
)
from audio_pool.cache.files import DiskFull, Folder, storage_errors
from audio_pool.cache.sqlite.migrations import migrate, version_of
from audio_pool.errors import StorageError
from audio_pool.prompts.normalize import CANONICAL_VERSION
from audio_pool.results import FinishedSound
from audio_pool.types import Recipe

__all__ = ["ID_LIST", "Change", "Removal", "Store", "Vector", "id_list", "transaction"]

_log = logging.getLogger(__name__)

Vector = npt.NDArray[np.float32]
"""float32 [D]."""

_decode_recipe = msgspec.json.Decoder(Recipe).decode
_decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode

_BUSY_S = 20.0
_REMOVE_AT_ONCE = 200
"""Rows a removal takes per transaction: a server that wants to write waits for one at most."""
_PAGES_BACK = 2_000
"""Pages given back to the disk after each such transaction, at most: 8 MB."""
_CHANGES_KEPT = 200_000


class Change(NamedTuple):
    seq: int
    entry_id: int
    removed: bool


@dataclass(frozen=True, slots=True)
class Removal:
    """What a removal took away."""

    items: int = 0
    files: int = 0
    freed_bytes: int = 0

    def __add__(self, other: Removal) -> Removal:
        return Removal(
            self.items + other.items, self.files + other.files, self.freed_bytes + other.freed_bytes
        )


class Store:
    """One cache directory, opened."""

    def __init__(
        self, directory: Path | str, *, create: bool = True, render_dir: Path | str | None = None
    ) -> None:
        """
        Args:
            directory: the cache directory.
            create: make it where it does not exist.
            render_dir: where delivered results that are not kept go; ``renders`` in it where None.

        Raises:
            NotFound: it does not exist and ``create`` is False.
            StorageError: it cannot be read, or a newer version of this package wrote it.
        """
        self.folder = Folder(Path(directory), create=create, renders=render_dir)
        self._read_lock, self._write_lock = threading.Lock(), threading.Lock()
        self._writer: sqlite3.Connection | None = None
        with storage_errors("opening the cache", self.folder.root):
            self._open(create)
        self.store_id = self._fact("store_id")

    def _open(self, create: bool) -> None:
        existed = self.folder.database.exists()
        try:
            self._writer = self._connect("rwc" if create else "rw")
            if not existed:
                os.chmod(self.folder.database, 0o600)
            self._prepare(self._writer)
            self._reader = self._connect("rw")
        except (sqlite3.OperationalError, OSError) as exc:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            if not existed or not _is_unwritable(exc):
                raise
            if self.folder.spend_reserve():
                self._open(create)
                return
            self._reader = self._open_read_only()
            place = self.folder.root
            _log.warning("%s takes no writes (%s): its sounds are offered, new ones are not kept", place, exc)
        else:
            if create:
                self.folder.keep_reserve()

    def _connect(self, mode: str) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"{self.folder.database.as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        migrate(db, str(self.folder.database))
        with transaction(db):
            db.execute("INSERT OR IGNORE INTO facts VALUES ('store_id', ?)", (secrets.token_hex(16),))
            known = db.execute("SELECT value FROM facts WHERE name = 'canonical_version'").fetchone()
            if known is None or int(known[0]) < CANONICAL_VERSION:
                self._rekey(db)
            last = db.execute("SELECT coalesce(max(seq), 0) FROM changes").fetchone()[0]
            db.execute("DELETE FROM changes WHERE seq < ?", (last - _CHANGES_KEPT,))
        self.unlink_doomed(db)
        swept = self.folder.sweep(lambda file: _names(db, file), lambda origin: _home(db, origin))
        if swept:
            _log.info("cleared %d files that an interrupted process left in %s", len(swept), self.folder.root)

    def _open_read_only(self) -> sqlite3.Connection:
        try:
            db = self._connect("ro")
            version_of(db, str(self.folder.database))
        except sqlite3.OperationalError:
            # a WAL database on a disk that cannot be written at all: nobody else can be writing it either
            db = self._connect("ro&immutable=1")
            version_of(db, str(self.folder.database))
        return db

    def _rekey(self, db: sqlite3.Connection) -> None:
        for entry_id, namespace, prompt in db.execute("SELECT id, namespace, prompt FROM entries").fetchall():
            key = canonical_digest(namespace, prompt)
            db.execute("UPDATE entries SET canonical_key = ? WHERE id = ?", (key, entry_id))
        db.execute("INSERT OR REPLACE INTO facts VALUES ('canonical_version', ?)", (str(CANONICAL_VERSION),))

    @property
    def read_only(self) -> bool:
        """Whether the directory's disk takes no writes; reading goes on."""
        return self._writer is None

    def close(self) -> None:
        """Closes both connections and gives the incoming folder back."""
        with self._write_lock, self._read_lock:
            if self._writer is not None:
                self._writer.close()
                self.folder.release()
            self._reader.close()

    # -- reading

    def query(self, sql: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[Any]:
        """The rows that a SELECT of our own gives; what is slow belongs on a management Store of its own."""
        try:  # the usual case without a context manager: this is the router's hottest line
            with self._read_lock:
                return self._reader.execute(sql, values).fetchall()
        except (sqlite3.Error, OSError):
            with storage_errors("reading the cache", self.folder.root):
                raise

    def _fact(self, name: str) -> str:
        found = self.query("SELECT value FROM facts WHERE name = ?", (name,))
        return found[0][0] if found else ""

    def with_text(self, prompt: str, filters: Filters) -> list[Row]:
        """Fitting entries with the same normalised prompt."""
        return self._fitting("text_key", text_digest(filters.namespace, prompt), filters)

    def with_meaning(self, prompt: str, filters: Filters) -> list[Row]:
        """Fitting entries with the same canonical prompt."""
        return self._fitting("canonical_key", canonical_digest(filters.namespace, prompt), filters)

    def with_recipe(self, recipe: Recipe, filters: Filters) -> list[Row]:
        """Fitting entries of the identical recipe; without a seed in it, whatever seed was drawn."""
        rows = self._fitting("family", family_of(recipe), filters)
        if recipe.seed is None or not rows:
            return rows
        wanted = bytes.fromhex(recipe.identity())
        marks = ",".join("?" * len(rows))
        sql = f"SELECT id FROM entries WHERE identity = ? AND id IN ({marks})"
        same = {found[0] for found in self.query(sql, (wanted, *(row.id for row in rows)))}
        return [row for row in rows if row.id in same]

    def with_ids(self, ids: Sequence[int], filters: Filters) -> list[Row]:
        """Those of the entries that exist and fit."""
        sql = f"SELECT {ROW_COLUMNS} FROM entries WHERE id IN (SELECT value FROM json_each(:ids)) AND {FITS}"
        return [Row(*found) for found in self.query(sql, {"ids": id_list(ids), **bound(filters)})]

    def ids_with_words(self, namespace: str, prompt: str) -> list[int]:
        """Entries with the same normalised or canonical prompt, whatever their sound settings."""
        sql = "SELECT id FROM entries WHERE text_key = ? OR canonical_key = ? ORDER BY id"
        keys = (text_digest(namespace, prompt), canonical_digest(namespace, prompt))
        return [found[0] for found in self.query(sql, keys)]

    def _fitting(self, column: str, key: bytes, filters: Filters) -> list[Row]:
        sql = f"SELECT {ROW_COLUMNS} FROM entries WHERE {column} = :key AND {FITS}"
        return [Row(*found) for found in self.query(sql, {"key": key, **bound(filters)})]

    def entry(self, entry_id: int) -> Entry | None:
        """The entry, or None where it has been removed."""
        sql = (
            "SELECT file, size_bytes, created_at, recipe, metadata FROM entries"
            " JOIN provenance ON entry_id = id WHERE id = ?"
        )
        found = self.query(sql, (entry_id,))
        return self._entry(entry_id, *found[0]) if found else None

    def _entry(
        self, entry_id: int, file: str, size: int, created_at: float, recipe: bytes, metadata: bytes
    ) -> Entry:
        path = f"{self.folder.root}/{file}"
        return Entry(entry_id, path, _decode_recipe(recipe), _decode_metadata(metadata), created_at, size)

    def encoders(self) -> dict[str, int]:
        """The encoders that vectors are kept of, and how many each."""
        return dict(self.query("SELECT encoder, count(*) FROM vectors GROUP BY encoder"))

    def has_space(self, encoder: str) -> bool:
        """Whether vectors of this encoder were ever kept."""
        return bool(self.query("SELECT 1 FROM spaces WHERE name = ?", (encoder,)))

    def vectors_of(self, encoder: str, ids: Iterable[int]) -> dict[int, Vector]:
        """The entries' vectors, float32 [D] each; an entry without one is left out."""
        sql = f"SELECT entry_id, data FROM vectors WHERE encoder = ? AND entry_id IN {ID_LIST}"
        found = self.query(sql, (encoder, id_list(ids)))
        return {entry_id: np.frombuffer(data, np.float32) for entry_id, data in found}

    # -- what changed

    def data_version(self) -> int:
        """Differs from its last value when anyone else wrote; a few microseconds."""
        found: int = self.query("PRAGMA data_version")[0][0]
        return found

    def last_seq(self) -> int:
        """The number of the last change; 0 for a cache that never had one."""
        # not max(seq): old changes are pruned, and the sequence must not fall back
        found = self.query("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")
        return int(found[0][0]) if found else 0

    def changes_since(self, seq: int, limit: int = 100_000) -> list[Change] | None:
        """Changes after ``seq``, oldest first; None: they are no longer all known, start afresh."""
        sql = "SELECT seq, entry_id, removed FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"
        found = [Change(row[0], row[1], bool(row[2])) for row in self.query(sql, (seq, limit))]
        first = found[0].seq if found else self.last_seq() + 1
        return found if first == seq + 1 else None

    # -- writing

    @contextmanager
    def writing(self, doing: str) -> Iterator[sqlite3.Connection]:
        """The connection that writes, for one caller at a time; see ``transaction``."""
        with storage_errors(doing, self.folder.root), self._write_lock:
            if self._writer is None:
                raise StorageError(
                    f"{doing}: {self.folder.root} cannot be written to", hint="check its owner and its mount"
                )
            yield self._writer

    def put(self, sound: FinishedSound, vectors: Mapping[str, Vector], *, replace: bool = False) -> Entry:
        """Keeps a sound: its file moves into place, its row is committed when this returns.

        A sound whose recipe (seed included) is already kept is not kept twice: the kept one is returned
        and the new file removed, unless ``replace``, or the kept file is gone.

        Raises:
            StorageError: nothing was kept; the file is where it was.
            InvalidAudio: the file is missing, or is not FLAC.
        """
        source = Path(sound.path)
        with storage_errors("keeping a sound", self.folder.root):
            digest, size = fingerprint(source)
        with self.writing("keeping a sound") as db:
            old = self._kept(db, sound.recipe)
            if old is not None and not replace and (self.folder.root / old[1]).is_file():
                source.unlink(missing_ok=True)
                return self._entry(*old)
            key = secrets.token_hex(16)
            file = f"audio/{key[:2]}/{key}.flac"
            origin = self.folder.origin_of(source)
            values = columns_of(sound, file, origin, size, digest)
            mark = self.folder.place(source, file, durably=not origin)
            try:
                with transaction(db):
                    # asked again inside the transaction: another process may have kept it meanwhile
                    newest = self._kept(db, sound.recipe)
                    if newest is not None:
                        if not replace and newest != old:
                            raise _KeptMeanwhile(newest)
                        self._delete(db, [newest[0]])
                    entry_id = self._insert(db, values, sound, vectors)
            except _KeptMeanwhile as exc:
                self.folder.discard(file)
                mark.unlink(missing_ok=True)
                return self._entry(*exc.row)
            except BaseException:
                self.folder.withdraw(mark, file, source)
                raise
            mark.unlink(missing_ok=True)
            if old is not None:
                self.unlink_doomed(db)
        path = str(self.folder.root / file)
        return Entry(entry_id, path, sound.recipe, sound.metadata, values["created_at"], size)

    def _kept(self, db: sqlite3.Connection, recipe: Recipe) -> tuple[int, str, int, float, bytes, bytes] | None:
        if recipe.seed is None:
            return None
        sql = (
            "SELECT id, file, size_bytes, created_at, recipe, metadata FROM entries"
            " JOIN provenance ON entry_id = id WHERE family = ? AND identity = ?"
        )
        found: tuple[int, str, int, float, bytes, bytes] | None = db.execute(
            sql, (family_of(recipe), bytes.fromhex(recipe.identity()))
        ).fetchone()
        return found

    def _insert(
        self,
        db: sqlite3.Connection,
        values: dict[str, Any],
        sound: FinishedSound,
        vectors: Mapping[str, Vector],
    ) -> int:
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        entry_id = db.execute(f"INSERT INTO entries ({names}) VALUES ({marks})", values).lastrowid
        assert entry_id is not None
        recipe, metadata = msgspec.json.encode(sound.recipe), msgspec.json.encode(sound.metadata)
        db.execute("INSERT INTO provenance VALUES (?, ?, ?)", (entry_id, recipe, metadata))
        for encoder, vector in vectors.items():
            flat = np.ascontiguousarray(vector, np.float32)
            if flat.ndim != 1 or not np.isfinite(flat).all() or not flat.any():
                _log.warning("entry %d: its vector of %s says nothing and is not kept", entry_id, encoder)
                continue
            db.execute("INSERT INTO vectors VALUES (?, ?, ?)", (entry_id, encoder, flat.tobytes()))
            db.execute("INSERT OR IGNORE INTO spaces VALUES (?)", (encoder,))
        db.execute("INSERT INTO changes (entry_id, removed) VALUES (?, 0)", (entry_id,))
        return entry_id

    def remove(self, ids: Iterable[int]) -> Removal:
        """Removes entries, their renditions, vectors and files. An unknown id is passed over.

        Raises:
            StorageError: those already removed stay removed.
        """
        wanted = sorted(set(ids))
        total = Removal()
        for start in range(0, len(wanted), _REMOVE_AT_ONCE):
            part = wanted[start : start + _REMOVE_AT_ONCE]
            try:
                total += self._remove(part)
            except DiskFull:
                if not self.folder.spend_reserve():
                    raise
                total += self._remove(part)
        return total

    def _remove(self, ids: Sequence[int]) -> Removal:
        with self.writing("removing sounds") as db:
            with transaction(db):
                items = self._delete(db, ids)
            removal = Removal(items=items) + self.unlink_doomed(db)
            db.execute(f"PRAGMA incremental_vacuum({_PAGES_BACK})").fetchall()
        return removal

    def _delete(self, db: sqlite3.Connection, ids: Sequence[int]) -> int:
        which = (id_list(ids),)
        db.execute(f"INSERT OR IGNORE INTO doomed SELECT file FROM entries WHERE id IN {ID_LIST}", which)
        db.execute(f"INSERT OR IGNORE INTO doomed SELECT file FROM renditions WHERE entry_id IN {ID_LIST}", which)
        gone = f"SELECT id, 1 FROM entries WHERE id IN {ID_LIST} ORDER BY id"
        db.execute(f"INSERT INTO changes (entry_id, removed) {gone}", which)
        return db.execute(f"DELETE FROM entries WHERE id IN {ID_LIST}", which).rowcount

    def unlink_doomed(self, db: sqlite3.Connection) -> Removal:
        """Unlinks the files named in ``doomed``; one that cannot be is left for the next time."""
        done, total = [], Removal()
        for (file,) in db.execute("SELECT file FROM doomed").fetchall():
            try:
                freed = self.folder.discard(file)
            except OSError as exc:
                _log.warning("could not remove %s: %s", file, exc)
                continue
            done.append((file,))
            total += Removal(files=1 if freed else 0, freed_bytes=freed)
        if done:
            with transaction(db):
                db.executemany("DELETE FROM doomed WHERE file = ?", done)
        return total

    def doomed(self) -> set[str]:
        """Files whose row is gone and which are just being unlinked."""
        return {found[0] for found in self.query("SELECT file FROM doomed")}

    def sweep(self) -> None:
        """Clears away what processes that are gone left behind, as every opening does."""
        with self.writing("sweeping the cache") as db:
            self.folder.sweep(lambda file: _names(db, file), lambda origin: _home(db, origin))

    def names(self, file: str) -> bool:
        """Whether a row names this file (relative to the directory)."""
        with storage_errors("reading the cache", self.folder.root), self._read_lock:
            return _names(self._reader, file)


ID_LIST = "(SELECT value FROM json_each(?))"
"""SQL for a list of ids of any length, as ``id_list`` gives it."""


def id_list(ids: Iterable[int]) -> str:
    """The value that stands for ``ID_LIST``'s question mark."""
    return f"[{','.join(str(int(entry_id)) for entry_id in ids)}]"


class _KeptMeanwhile(Exception):
    def __init__(self, row: tuple[int, str, int, float, bytes, bytes]) -> None:
        self.row = row


def _names(db: sqlite3.Connection, file: str) -> bool:
    table = "renditions" if file.startswith("renditions/") else "entries"
    return db.execute(f"SELECT 1 FROM {table} WHERE file = ?", (file,)).fetchone() is not None


def _home(db: sqlite3.Connection, origin: str) -> str:
    found = db.execute("SELECT file FROM entries WHERE origin = ?", (origin,)).fetchone()
    return found[0] if found else ""


def _is_unwritable(exc: sqlite3.OperationalError | OSError) -> bool:
    if isinstance(exc, OSError):
        return exc.errno in (errno.EROFS, errno.EACCES, errno.ENOSPC)
    names = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR_SHM", "SQLITE_IOERR_WRITE")
    return exc.sqlite_errorname.startswith(names)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Everything or nothing; durable when left."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
