"""The journal in SQLite: WAL, synchronous FULL, one connection.

Owns: the tables, every SQL statement about jobs, and what becomes of SQLite's errors.
Must not know: threads, who asks, how a sound is made.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from audio_pool.api import JobState
from audio_pool.claims import claim
from audio_pool.errors import NotFound, StorageError
from audio_pool.jobs.record import JobKey, JobRecord, Look, Outcome
from audio_pool.results import Failure, SoundMetadata
from audio_pool.types import AudioRequest

__all__ = ["FILE", "SqliteJournal"]

FILE = "jobs.sqlite3"
_VERSION = 1
_BUSY_S = 5.0
_RESERVE_BYTES = 256 << 10

_SCHEMA = """
CREATE TABLE jobs (
    owner TEXT NOT NULL,
    request_id TEXT NOT NULL,
    request BLOB NOT NULL,
    body BLOB NOT NULL,
    rights BLOB NOT NULL,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    deadline_at REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    lives INTEGER NOT NULL DEFAULT 0,
    finished_at REAL,
    expires_at REAL,
    path TEXT,
    metadata BLOB,
    failure BLOB,
    bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (owner, request_id)
) WITHOUT ROWID;
CREATE INDEX jobs_unfinished ON jobs (created_at) WHERE expires_at IS NULL;
CREATE INDEX jobs_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX jobs_newest ON jobs (owner, created_at);
CREATE TABLE totals (jobs INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0);
CREATE TRIGGER jobs_added AFTER INSERT ON jobs BEGIN
    UPDATE totals SET jobs = jobs + 1, bytes = bytes + new.bytes;
END;
CREATE TRIGGER jobs_removed AFTER DELETE ON jobs BEGIN
    UPDATE totals SET jobs = jobs - 1, bytes = bytes - old.bytes;
END;
CREATE TRIGGER jobs_grown AFTER UPDATE OF bytes ON jobs BEGIN
    UPDATE totals SET bytes = bytes + new.bytes - old.bytes;
END;
"""
_SENT = """
CREATE TABLE IF NOT EXISTS sent (
    owner TEXT NOT NULL, request_id TEXT NOT NULL, data BLOB NOT NULL, UNIQUE (owner, request_id)
);
CREATE TRIGGER IF NOT EXISTS sent_forgotten AFTER DELETE ON jobs BEGIN
    DELETE FROM sent WHERE owner = old.owner AND request_id = old.request_id;
END;
"""
"""Sounds that came with their jobs. Of the same version: who knows nothing of the table leaves it alone."""
_COLUMNS = (
    "owner, request_id, request, body, rights, created_at, deadline_at, state, attempts, lives, finished_at, "
    "expires_at, path, metadata, failure"
)
_ONE = "owner = ? AND request_id = ?"

log = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_REQUEST = msgspec.msgpack.Decoder(AudioRequest)
_METADATA = msgspec.msgpack.Decoder(SoundMetadata)
_FAILURE = msgspec.msgpack.Decoder(Failure)


class SqliteJournal:
    """A Journal in ``directory``, which belongs to one process at a time."""

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        """
        Args:
            directory: on a local disk; made with mode 0700 where it is missing.
            read_only: look at the journal of a server that may be running; nothing is claimed or changed.

        Raises:
            NotFound: ``read_only``, and there is nothing to look at.
            StorageError: another process keeps its jobs there, or it cannot be read or written.
        """
        self._directory = directory
        self._reserve = directory / "reserve"
        self._claim = -1
        try:
            with self._errors("opening the journal"):
                if read_only and not (directory / FILE).is_file():
                    raise NotFound(f"{str(directory)!r} holds no jobs (no {FILE})", hint="give a server's jobs.dir")
                if not read_only:
                    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self._claim = self._claimed()
                self._db = self._open("ro" if read_only else "rwc")
                self._inode = os.stat(directory / FILE).st_ino
                """Of the file that is open: one removed meanwhile would take commits, and lose them."""
        except BaseException:
            self._give_back()
            raise
        if not read_only:
            self._keep_reserve()

    def _claimed(self) -> int:
        try:
            return claim(self._directory / "lock")
        except BlockingIOError:
            raise StorageError(
                f"another running server keeps its jobs in {str(self._directory)!r}",
                hint="give this one a directory of its own: jobs.dir",
            ) from None

    def _open(self, mode: str) -> sqlite3.Connection:
        file = self._directory / FILE
        if mode == "rwc" and not file.exists():
            os.close(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(
            f"{file.as_uri()}?mode={mode}", uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            version: int = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and mode == "ro":  # its maker was killed over it
                raise NotFound(f"{file} holds no jobs yet")
            if version > _VERSION:
                raise StorageError(
                    f"{file} is of version {version}, this program knows {_VERSION}", hint="use the newer program"
                )
            if mode != "ro":
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                if version == 0:
                    db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
                db.executescript(f"BEGIN IMMEDIATE; {_SENT} COMMIT;")
        except BaseException:
            db.close()
            raise
        return db

    @property
    def head(self) -> str:
        """Nobody shares it."""
        return ""

    def now(self) -> float:
        """Return this machine's time."""
        return time.time()

    def ring(self, news: str) -> None:
        """Nobody would hear it."""

    def leave(self) -> None:
        """Nobody else could go on before this process has ended."""

    def close(self) -> None:
        """Close the file and give the directory back."""
        self._db.close()
        self._give_back()

    def _give_back(self) -> None:
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1

    # -- writing -----------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all that the ``with`` block writes, or nothing; on the disk when left."""
        with self._errors("writing the journal"):
            if not self.there():
                raise StorageError(f"writing the journal: {self._directory / FILE} was taken away")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def there(self) -> bool:
        """Return True while what is written here would be found by the next process."""
        try:
            return os.stat(self._directory / FILE).st_ino == self._inode
        except OSError:
            return False

    def probe(self) -> None:
        """Write something that changes nothing."""
        self._write("UPDATE totals SET jobs = jobs", ())

    def add(self, record: JobRecord, size_bytes: int, sent: bytes = b"", *, take: bool = True) -> JobRecord | None:
        """Add a pending job, and the sound that came with it."""
        if sent:
            self._write("INSERT INTO sent (owner, request_id, data) VALUES (?, ?, ?)", (*record.key, sent))
        self._write(
            "INSERT INTO jobs (owner, request_id, request, body, rights, state, created_at, deadline_at, bytes) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *record.key,
                _encode(record.request),
                record.body,
                record.rights,
                record.state,
                record.created_at,
                record.deadline_at,
                size_bytes,
            ),
        )
        return record

    def survive(self) -> None:
        """Count one more life for every unfinished job."""
        self._write("UPDATE jobs SET lives = lives + 1, state = 'pending' WHERE expires_at IS NULL", ())

    def recover(self) -> list[JobRecord]:
        """Return what earlier servers left unfinished, each with one life more; the oldest first."""
        with self.transaction():
            self.survive()
        return self.unfinished()

    def look(self, room: int, mine: Mapping[int, int], watched: Collection[int]) -> Look:
        """Nobody else has a hand in these jobs."""
        return Look()

    def begin(self, record: JobRecord) -> None:
        """Note that a worker is given the job to do."""
        self._write(
            f"UPDATE jobs SET state = 'running', attempts = attempts + 1 WHERE {_ONE} AND expires_at IS NULL",
            record.key,
        )

    def cancel(self, key: JobKey, outcome: Outcome) -> JobRecord | None:
        """Return None: whatever is unfinished is in this server's own hand."""
        return None

    def finish(self, record: JobRecord, outcome: Outcome) -> bool:
        """Note what a job came to, whether or not it is still known."""
        if self.find(record.key) is None:
            self.add(record, 0)
        self._write(
            "UPDATE jobs SET state = ?, finished_at = ?, expires_at = ?, path = ?, metadata = ?, failure = ?, "
            f"bytes = bytes + ? WHERE {_ONE}",
            (
                outcome.state,
                outcome.finished_at,
                outcome.expires_at,
                outcome.path,
                None if outcome.metadata is None else _encode(outcome.metadata),
                None if outcome.failure is None else _encode(outcome.failure),
                outcome.size_bytes,
                *record.key,
            ),
        )
        return True

    def reopen(self, key: JobKey, deadline_at: float | None) -> None:
        """Make a finished job pending again, with nothing held against it."""
        self._write(
            "UPDATE jobs SET state = 'pending', attempts = 0, lives = 0, finished_at = NULL, expires_at = NULL, "
            f"path = NULL, metadata = NULL, failure = NULL, deadline_at = ? WHERE {_ONE}",
            (deadline_at, *key),
        )

    def forget_expired(self, now: float, most: int) -> list[str | None]:
        """Remove up to ``most`` finished jobs whose time is over; return their files."""
        due = self._read(
            "SELECT owner, request_id, path FROM jobs WHERE expires_at <= ? ORDER BY expires_at LIMIT ?", (now, most)
        )
        for owner, request_id, _ in due:
            self._write(f"DELETE FROM jobs WHERE {_ONE}", (owner, request_id))
        return [path for _, _, path in due]

    # -- reading -----------------------------------------------------------------------------------

    def sent(self, key: JobKey) -> bytes:
        """Return the sound that came with a job; it is there as long as the job."""
        found = self._read(f"SELECT data FROM sent WHERE {_ONE}", key)
        if not found:
            raise NotFound(f"the sound that came with job {key[1]!r} is gone")
        data: bytes = found[0][0]
        return data

    def find(self, key: JobKey) -> JobRecord | None:
        """Return a job, or None where there is none of that owner and id."""
        found = self._read(f"SELECT {_COLUMNS} FROM jobs WHERE {_ONE}", key)
        try:
            return _record(found[0]) if found else None
        except msgspec.MsgspecError as exc:
            raise StorageError(f"job {key[1]} was written by another version: {exc}") from exc

    def newest(
        self, owner: str, states: Sequence[JobState], limit: int, before: float | None = None
    ) -> list[JobRecord]:
        """Return an owner's jobs, the newest first; ``before``: only those created earlier."""
        marks = ", ".join("?" * len(states))
        rows = self._read(
            f"SELECT {_COLUMNS} FROM jobs WHERE owner = ? AND state IN ({marks}) AND created_at < ? "
            "ORDER BY created_at DESC, request_id LIMIT ?",
            (owner, *states, float("inf") if before is None else before, limit),
        )
        return [_record(row) for row in rows]

    def unfinished(self) -> list[JobRecord]:
        """Return all jobs that have come to nothing yet, the oldest first."""
        found = []
        for row in self._read(f"SELECT {_COLUMNS} FROM jobs WHERE expires_at IS NULL ORDER BY created_at", ()):
            try:
                found.append(_record(row))
            except msgspec.MsgspecError as exc:  # of another version's making: it waits for that version
                log.error("job %s is not understood: %s", row[1], exc)
        return found

    def owners(self) -> list[str]:
        """Return everybody who has jobs here."""
        return [owner for (owner,) in self._read("SELECT DISTINCT owner FROM jobs ORDER BY owner", ())]

    def totals(self) -> tuple[int, int]:
        """Return how many jobs there are, and the bytes of their requests and kept files."""
        ((jobs, size),) = self._read("SELECT jobs, bytes FROM totals", ())
        return jobs, size

    def soonest_expiry(self) -> float | None:
        """Return when the next finished job is forgotten."""
        ((soonest,),) = self._read("SELECT min(expires_at) FROM jobs WHERE expires_at IS NOT NULL", ())
        found: float | None = soonest
        return found

    def paths(self) -> set[str]:
        """Return the files of all jobs."""
        return {path for (path,) in self._read("SELECT path FROM jobs WHERE path IS NOT NULL", ())}

    # -- inside ------------------------------------------------------------------------------------

    def _read(self, sql: str, values: Sequence[Any]) -> list[Any]:  # opaque: rows as SQLite gives them
        with self._errors("reading the journal"):
            return self._db.execute(sql, values).fetchall()

    def _write(self, sql: str, values: Sequence[Any]) -> None:  # opaque: what SQLite stores
        with self._errors("writing the journal"):
            self._db.execute(sql, values)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        where = self._directory
        try:
            yield
        except sqlite3.Error as exc:
            name = getattr(exc, "sqlite_errorname", "")
            if name.startswith("SQLITE_FULL"):
                self._spend_reserve()
                raise StorageError(f"{doing}: the disk that holds {where} is full", hint="free some space") from exc
            raise StorageError(f"{doing}: {where}: {exc}", hint="is it on a local disk, and writable?") from exc
        except OSError as exc:
            raise StorageError(f"{doing}: {where}: {exc.strerror}", hint="is it there, and writable?") from exc

    def _keep_reserve(self) -> None:
        """Hold some space back: on a full disk even removing what has expired takes some first."""
        try:
            if not self._reserve.exists():
                self._reserve.write_bytes(bytes(_RESERVE_BYTES))
        except OSError:
            self._spend_reserve()

    def _spend_reserve(self) -> None:
        try:
            self._reserve.unlink(missing_ok=True)
        except OSError:
            return


def _record(row: Sequence[Any]) -> JobRecord:  # opaque: a row of _COLUMNS
    (
        owner, request_id, request, body, rights, created_at, deadline_at, state, attempts, lives, finished_at,
        expires_at, path, metadata, failure,
    ) = row  # fmt: skip
    return JobRecord(
        owner=owner,
        request_id=request_id,
        request=_REQUEST.decode(request),
        body=body,
        rights=rights,
        created_at=created_at,
        deadline_at=deadline_at,
        state=state,
        attempts=attempts,
        lives=lives,
        finished_at=finished_at,
        expires_at=expires_at,
        path=path,
        metadata=None if metadata is None else _METADATA.decode(metadata),
        failure=None if failure is None else _FAILURE.decode(failure),
    )
