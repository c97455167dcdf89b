"""The SQLite file: connections that read, one that writes, and what becomes of SQLite's errors.

Owns: opening (also on disks that take no writes), locks, transactions, the reserve.
Must not know: tables, sound.

    cache.sqlite3       the rows
    reserve             given up where a full disk would not even let rows be removed

One connection reads, one reads what takes its time, and one writes, each behind its own lock, so a reader never waits
for a writer; WAL lets all go on at once.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audio_pool.cache.files import Damaged, disk_full, storage_error, unwritable
from audio_pool.errors import NotFound, StorageError

__all__ = ["FILE", "ID_LIST", "PATIENCE_S", "WITHIN", "Database", "Values", "id_list", "transaction", "within"]

_log = logging.getLogger(__name__)

FILE = "cache.sqlite3"
PATIENCE_S = 20.0
_READER_PATIENCE_S = 0.25
"""Readers wait for nobody but a process that mends the log of one that was killed; the router's are among them."""
_RESERVE_BYTES = 1 << 20

Values = Mapping[str, Any] | Sequence[Any]  # Any: what SQLite stores
ID_LIST = "(SELECT value FROM json_each(?))"
"""SQL for a list of ids of any length, as ``id_list`` gives it."""


def id_list(ids: Iterable[int]) -> str:
    """Return the value that stands for ``ID_LIST``'s question mark."""
    return f"[{','.join(str(int(entry_id)) for entry_id in ids)}]"


WITHIN = "file >= ? AND file < ?"
"""SQL for the files in a folder, by index, as ``within`` gives it."""


def within(folder: str) -> tuple[str, str]:
    """Return the values that stand for ``WITHIN``'s question marks."""
    return folder, f"{folder}\U0010ffff"


class Database:
    """The rows of one cache directory."""

    def __init__(
        self,
        directory: Path,
        *,
        create: bool,
        prepare: Callable[[sqlite3.Connection], None],
        check: Callable[[sqlite3.Connection], None],
        patience_s: float = PATIENCE_S,
    ) -> None:
        """
        Args:
            patience_s: how long a write waits for another process's.
            directory: on a local disk.
            create: make the file where it does not exist.
            prepare: brings a database that can be written up to date.
            check: refuses a database that cannot be read.

        Raises:
            NotFound: it does not exist and ``create`` is False.
            StorageError: it cannot be read.
        """
        self.path = directory / FILE
        self._reserve = directory / "reserve"
        self._directory = str(directory)
        self._check = check
        self._patience_s = patience_s
        self._read_lock, self._write_lock = threading.Lock(), threading.Lock()
        self._bulk_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        if not create and not self.path.is_file():
            raise NotFound(f"directory {str(directory)!r} holds no sound cache (no {FILE})", hint="check its path")
        with self.errors("opening the cache"):
            self._open(create, prepare)

    def _open(self, create: bool, prepare: Callable[[sqlite3.Connection], None]) -> None:
        existed = self.path.exists()
        try:
            self._writer = self._connect("rwc" if create else "rw")
            if not existed:
                os.chmod(self.path, 0o600)
            prepare(self._writer)
            self._reader = self._connect("rw", min(self._patience_s, _READER_PATIENCE_S))
            self._bulk = self._connect("rw", min(self._patience_s, _READER_PATIENCE_S))
        except (sqlite3.OperationalError, OSError) as exc:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            if not existed or not _is_unwritable(exc):
                raise
            if self.spend_reserve():
                self._open(create, prepare)
                return
            self._reader, self._bulk = self._open_read_only(), self._open_read_only()
            place = self._directory
            _log.warning("%s takes no writes (%s): its sounds are offered, new ones are not kept", place, exc)
        except BaseException:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            raise
        else:
            if create:
                self.keep_reserve()

    def _connect(self, mode: str, patience_s: float | None = None) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}",
            uri=True,
            timeout=self._patience_s if patience_s is None else patience_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        return db

    def _open_read_only(self) -> sqlite3.Connection:
        try:
            db = self._connect("ro")
            self._check(db)
        except sqlite3.OperationalError:
            # a WAL database on a disk that cannot be written at all: nobody else can be writing it either
            db = self._connect("ro&immutable=1")
            self._check(db)
        return db

    @property
    def read_only(self) -> bool:
        """True where the disk takes no writes; reading goes on."""
        return self._writer is None

    def close(self) -> None:
        """Close the connections."""
        with self._write_lock, self._read_lock, self._bulk_lock:
            self._bulk.close()
            if self._writer is not None:
                self._writer.close()
            self._reader.close()

    # -- reading and writing

    def query(self, sql: str, values: Values = ()) -> list[Any]:  # Any: rows as SQLite gives them
        """Return the rows of a SELECT; what is slow belongs on a Store of its own."""
        try:  # the usual case without a context manager: this is the router's hottest line
            with self._read_lock:
                return self._reader.execute(sql, values).fetchall()
        except (sqlite3.Error, OSError):
            with self.errors("reading the cache"):
                raise

    def bulk(self, sql: str, values: Values = ()) -> list[Any]:  # Any: rows as SQLite gives them
        """Return the rows of a SELECT that takes its time, by a connection of its own: ``query`` goes on beside it."""
        with self.errors("reading the cache"), self._bulk_lock:
            return self._bulk.execute(sql, values).fetchall()

    def stream(self, sql: str, values: Values = ()) -> Iterator[tuple[Any, ...]]:  # Any: rows as SQLite gives them
        """Yield the rows of a SELECT, however many, by a connection that lives as long."""
        with self.errors("reading the cache"):
            connection = self._open_read_only() if self.read_only else self._connect("rw")
        with contextlib.closing(connection) as db, self.errors("reading the cache"):
            yield from db.execute(sql, values)

    @contextmanager
    def writing(self, doing: str) -> Iterator[sqlite3.Connection]:
        """Yield the connection that writes, for one caller at a time; see ``transaction``."""
        with self.errors(doing), self._write_lock:
            if self._writer is None:
                raise StorageError(
                    f"{doing}: {self._directory} cannot be written to", hint="check its owner and its mount"
                )
            yield self._writer

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn what the disk and SQLite raise into a StorageError that says what was being done."""
        try:
            yield
        except sqlite3.Error as exc:
            raise self._plain(doing, exc) from exc
        except OSError as exc:
            raise storage_error(doing, self._directory, exc) from exc

    def _plain(self, doing: str, exc: sqlite3.Error) -> StorageError:
        name, where = getattr(exc, "sqlite_errorname", ""), self._directory
        if name.startswith("SQLITE_FULL"):
            return disk_full(doing, where)
        if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
            return unwritable(doing, where, str(exc))
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StorageError(f"{doing}: another process keeps {where} locked", hint="try again")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return Damaged(
                f"{doing}: {self.path} is damaged ({exc}); nothing was changed",
                hint="stop its servers, then run audio-pool cache rebuild, which loses no master",
            )
        return StorageError(f"{doing}: {where}: {exc}", hint="is it on a local disk, and does this user own it?")

    def probe(self) -> None:
        """Read something and write something. Raises StorageError."""
        self.query("SELECT count(*) FROM sqlite_master")
        with self.writing("trying the cache's database") as db, transaction(db):
            db.execute("INSERT OR REPLACE INTO facts VALUES ('tried', ?)", (os.urandom(8).hex(),))

    def rescue(self) -> None:
        """Write the file again, which somebody unlinked, from the connection that still has it open.

        Where another process has been quicker, its file stays.

        Raises:
            StorageError.
        """
        with self.errors("writing the database again that was deleted"), self._write_lock:
            held = self._writer or self._reader
            copy = self.path.with_name(f".{FILE}.{os.getpid()}.rescued")
            copy.unlink(missing_ok=True)
            try:
                with contextlib.closing(sqlite3.connect(copy)) as new:
                    held.backup(new)
                with copy.open("rb") as file:
                    os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):
                    if not self.path.exists():
                        for ending in ("-wal", "-shm"):  # of the old file: they must not be taken for the new one's
                            Path(f"{self.path}{ending}").unlink(missing_ok=True)
                    os.link(copy, self.path)
            finally:
                copy.unlink(missing_ok=True)

    # -- the reserve

    def keep_reserve(self) -> None:
        """Hold some space back: removing rows takes some before it gives any."""
        if not self._reserve.exists():
            try:
                self._reserve.write_bytes(bytes(_RESERVE_BYTES))
            except OSError:
                self._reserve.unlink(missing_ok=True)

    def spend_reserve(self) -> bool:
        """Free the space held back; return False where it is spent already, or the disk takes no writes."""
        try:
            self._reserve.unlink()
        except OSError:
            return False
        _log.warning("the disk that holds %s is full; its reserve of %d kB is spent", self.path, _RESERVE_BYTES >> 10)
        return True


def _is_unwritable(exc: sqlite3.OperationalError | OSError) -> bool:
    if isinstance(exc, OSError):
        return exc.errno in (errno.EROFS, errno.EACCES, errno.ENOSPC)
    names = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR_SHM", "SQLITE_IOERR_WRITE")
    return exc.sqlite_errorname.startswith(names)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit all that the ``with`` block writes, or nothing; durable when left."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
