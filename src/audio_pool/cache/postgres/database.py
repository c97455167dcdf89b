"""The connections to PostgreSQL, and what becomes of its errors.

Owns: opening, the pool, transactions that are tried again, deadlines, what is told of a database that is gone.
Must not know: tables, sound.

Every wait ends: connecting, waiting for a connection, a statement, a lock, a transaction in which nothing happens,
and a server that does not answer at all (watchdog.py). The address may hold a password, which no message names.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import conninfo, sql
from psycopg_pool import ConnectionPool, PoolTimeout

from audio_pool.cache.files import disk_full
from audio_pool.cache.postgres.migrations import Rows, migrate
from audio_pool.cache.postgres.watchdog import WatchedConnection, shut
from audio_pool.cache.shared import SharedStore
from audio_pool.cache.uptime import uptime_s
from audio_pool.errors import InvalidRequest, StorageError

__all__ = ["PostgresDatabase", "Unreachable", "Unsure", "connect_arguments", "without_password"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
Values = Mapping[str, Any] | Sequence[Any]  # Any: what PostgreSQL stores

_BELIEVED_S = 1.0
"""A connection that answered so lately is taken to be there still."""
_AGAIN = "it is tried again by itself"
_SHUT_DOWN = "57P"
"""Errors by which the server ends a session, also one whose commit is done and waits for a standby."""
_TIME_EVERY_S = 15.0
"""Clocks of two machines part by some milliseconds in so long; that one is set to another time is told by then."""
_TRIES = 5
"""Of a transaction that met another one: PostgreSQL ends one of two that wait for each other."""


class Unreachable(StorageError):
    """The database cannot be asked; nothing is known to be wrong with what it holds."""


class Unsure(Unreachable):
    """The connection broke while a transaction was being committed: it may have been."""


class PostgresDatabase:
    """One schema of one database."""

    def __init__(self, shared: SharedStore, *, create: bool = True) -> None:
        """
        Args:
            shared: where it is, and how long is waited for what. Nothing is connected to yet.
            create: make the schema, or bring it up to date; else it is looked at as it is.

        Raises:
            InvalidRequest: the address cannot be read.
        """
        self._shared = shared
        self.schema = shared.schema
        self.where = without_password(shared.url)
        self.timeout_s = shared.statement_timeout_s
        self._used: weakref.WeakKeyDictionary[Rows, float] = weakref.WeakKeyDictionary()
        """When connections answered last."""
        self._ready = not create
        self._preparing = threading.Lock()
        self.trouble = ""
        """Why the database cannot be asked; "" where it could be, when it was asked last. While there is one, whoever
        asks is told at once, but for ``look``: many would wait one after the other."""
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # one line an attempt; told here once
        self.greet: Callable[[Rows], None] | None = None
        """Is given each new connection before anybody else."""
        self._clock: tuple[float, float] | None = None
        """What the database's clock said, and when that was by this machine's uptime."""
        self._pool: ConnectionPool[Rows] = ConnectionPool(
            shared.url,
            connection_class=WatchedConnection,
            configure=self._watch,
            kwargs=connect_arguments(shared),
            min_size=0,
            max_size=shared.connections,
            timeout=shared.connect_timeout_s,
            reconnect_timeout=shared.connect_timeout_s,
            max_idle=60.0,
            check=self._check,
            open=True,
            name=f"audio_pool {self.where}",
        )

    def holds(self, table: str) -> bool:
        """Return whether the schema has a table; for one that is not made. Raises StorageError."""
        statement = "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text)) IS NOT NULL"
        return bool(self.read(statement, (self.schema, table), f"looking for {table}")[0][0])

    def close(self) -> None:
        """Close every connection."""
        self._pool.close(timeout=self._shared.connect_timeout_s)

    # -- reading and writing

    def read(self, statement: str, values: Values = (), doing: str = "reading the shared cache") -> list[Any]:
        """Return the rows of a SELECT."""
        with self.errors(doing), self._connection(doing) as db:
            found: list[Any] = db.execute(statement, values).fetchall()
            return found

    def write(self, doing: str, work: Callable[[Rows], T]) -> T:
        """Do work in one transaction, all of it or nothing; again where it met another's.

        Args:
            work: may be done several times.

        Raises:
            Unsure: the connection broke at the end: it may be committed.
            StorageError: nothing was written.
        """
        for attempt in range(1, _TRIES + 1):
            done = False
            with self.errors(doing):
                try:
                    with self._connection(doing) as db, db.transaction():
                        result = work(db)
                        done = True
                    return result
                except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
                    if attempt == _TRIES:
                        raise
                except psycopg.OperationalError as exc:
                    if not done or (exc.sqlstate or _SHUT_DOWN)[:3] != _SHUT_DOWN:
                        raise
                    self._unreachable(exc)
                    raise Unsure(f"{doing}: the connection to {self.where} broke while it was written down") from exc
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def using(self, doing: str) -> Iterator[Rows]:
        """Yield a connection for a while."""
        with self.errors(doing), self._connection(doing) as db:
            yield db

    @contextlib.contextmanager
    def _connection(self, doing: str) -> Iterator[Rows]:
        if self.trouble:
            raise Unreachable(f"{doing}: {self.trouble}", hint=_AGAIN)
        with self._pool.connection() as db:
            self._prepare(db)
            yield db
            self._used[db] = time.monotonic()

    def now(self) -> float:
        """Return the time by the database's clock, in seconds since 1970; this machine's until it has been asked."""
        if self._clock is None:
            return time.time()
        told, at = self._clock
        return told + (uptime_s() - at)

    def ask_time(self, db: Rows) -> None:
        """Ask for the database's time, now and then."""
        asked = uptime_s()
        if self._clock is None or asked - self._clock[1] > _TIME_EVERY_S:
            row = db.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            if row is not None:
                heard = uptime_s()
                self._clock = row[0], (asked + heard) / 2

    def look(self) -> None:
        """Find out whether a database that could not be asked can be again: by a new connection, as others need one.

        Raises:
            Unreachable: it cannot.
        """
        if self.trouble:
            with self.listener() as db:
                db.execute("")

    def _check(self, db: Rows) -> None:
        """Try a connection that has not been used for a while: what breaks later is found out by its use."""
        if time.monotonic() - self._used.get(db, 0.0) > _BELIEVED_S:
            ConnectionPool.check_connection(db)

    def _prepare(self, db: Rows) -> None:
        if not self._ready:
            with self._preparing:
                if not self._ready:
                    migrate(db, self.schema)
                    self._ready = True
        if self.greet is not None and db not in self._used:
            self.greet(db)

    @contextlib.contextmanager
    def listener(self) -> Iterator[Rows]:
        """Yield a connection of its own, for LISTEN."""
        with self.errors("following the shared cache"):
            # connecting is bounded by libpq; the type of rows is the default one
            db: Rows = WatchedConnection.connect(self._shared.url, **connect_arguments(self._shared))
            try:
                self._watch(db)
                self._prepare(db)
                if self.trouble:
                    self._pool.drain()  # what was connected before is broken, or may hang
                    self.trouble = ""
                yield db
            finally:
                db.close()

    def _watch(self, db: Rows) -> None:
        assert isinstance(db, WatchedConnection)
        db.limit_s = 2 * self.timeout_s  # the server itself ends a statement after half of that

    @staticmethod
    def shut(db: Rows) -> None:
        """End a wait on a ``listener``; on any thread."""
        shut(db)

    # -- errors

    @contextlib.contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn what psycopg raises into a StorageError that says what was being done."""
        try:
            yield
        except (psycopg.Error, PoolTimeout) as exc:
            raise self._plain(doing, exc) from exc

    def _plain(self, doing: str, exc: Exception) -> StorageError:
        where = self.where
        if isinstance(exc, psycopg.errors.DiskFull):
            return disk_full(doing, where)
        if isinstance(exc, psycopg.errors.ReadOnlySqlTransaction):
            return StorageError(
                f"{doing}: the database {where} takes no writes", hint="is it a standby? name its primary"
            )
        if isinstance(exc, psycopg.errors.QueryCanceled | psycopg.errors.LockNotAvailable):
            return StorageError(
                f"{doing}: the database {where} took longer than {self.timeout_s:g} s",
                hint="see who holds it in pg_stat_activity, or raise cache.store_timeout_s",
            )
        if isinstance(exc, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
            return StorageError(f"{doing}: met another head's writing, again and again", hint=_AGAIN)
        if isinstance(exc, psycopg.OperationalError):
            return Unreachable(f"{doing}: {self._unreachable(exc)}", hint=_AGAIN)
        return StorageError(f"{doing}: {where}: {_first_line(exc)}")

    def _unreachable(self, exc: Exception) -> str:
        self.trouble = f"the database {self.where} cannot be reached: {_first_line(exc)}"
        return self.trouble


def _first_line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0] or type(exc).__name__


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def connect_arguments(shared: SharedStore) -> dict[str, Any]:  # Any: what libpq takes
    """Return what every connection is opened with, beside the address: the ends of all waits, and the schema."""
    timeout_ms = round(shared.statement_timeout_s * 1000)
    settings = {
        "search_path": sql.Identifier(shared.schema).as_string(None),
        "statement_timeout": timeout_ms,
        "lock_timeout": timeout_ms,
        # a head that is stopped in the middle of a transaction must not hold the others' feed
        "idle_in_transaction_session_timeout": timeout_ms,
        "idle_session_timeout": 0,  # one that listens is idle for long
    }
    return {
        "autocommit": True,
        "connect_timeout": max(2, round(shared.connect_timeout_s)),
        "application_name": "audio_pool",
        "options": " ".join(f"-c {name}={_escaped(str(value))}" for name, value in settings.items()),
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": timeout_ms,
    }


def without_password(url: str) -> str:
    """Return what messages call a database: ``user@host:port/name``."""
    try:
        parts = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as exc:
        raise InvalidRequest(
            "cache.store: is no address of a PostgreSQL database; its form is postgresql://USER@HOST:5432/NAME"
        ) from exc
    user, port = (f"{parts['user']}@" if "user" in parts else ""), (f":{parts['port']}" if "port" in parts else "")
    return f"{user}{parts.get('host', 'localhost')}{port}/{parts.get('dbname', '')}"
