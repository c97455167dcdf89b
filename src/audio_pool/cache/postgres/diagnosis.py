"""What ``audio-pool doctor --cluster`` says of a database: from connections of its own, which leave nothing there.

Owns: the questions that are asked of PostgreSQL, and what their answers mean for a head.
Must not know: the command, other parts of a cluster.

Nothing is migrated and no row is written: writing is tried by a record of the server's log that stands for nothing.
"""

from __future__ import annotations

import contextlib
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg import sql

from audio_pool.cache.postgres.database import connect_arguments, without_password
from audio_pool.cache.postgres.migrations import SCHEMA_VERSION, Rows, version_of
from audio_pool.cache.postgres.watchdog import WatchedConnection
from audio_pool.cache.shared import SharedStore
from audio_pool.errors import StorageError
from audio_pool.finding import Finding

__all__ = ["Diagnosis"]

_LEAST_VERSION = 140_000
_TIMES = 5
"""That something is tried whose time is told: the middle one counts."""
_SLOW_ANSWER_S, _SLOW_COMMIT_S = 0.020, 0.100
_CLOCKS_APART_S = 5.0
_HELD_S = 60.0
"""A transaction that is older than this and has written is a forgotten one."""
_HEARD_WITHIN_S = 3.0
_NEWEST = 20
_MOST_TOLD = 8

_REFUSALS = (
    ("unsupported startup parameter", "connect to the server itself: a pooler lies between that takes no settings"),
    ("does not exist", "make it: createdb NAME; for a role: createuser NAME"),
    ("password", "set PGPASSWORD, or a line in ~/.pgpass (chmod 600)"),
    ("authentication", "set PGPASSWORD, or a line in ~/.pgpass (chmod 600)"),
    ("pg_hba.conf", "let this machine in, in pg_hba.conf of the server"),
    (
        "remaining connection slots",
        "raise max_connections of the server, or lower cache.store_connections of the heads",
    ),
    ("too many", "raise max_connections of the server, or lower cache.store_connections of the heads"),
    ("certificate", "see sslmode and sslrootcert in cache.store"),
    ("starting up", "wait until it has started"),
)
_GONE = "is it running, is that its address, does a firewall lie between?"


class Diagnosis:
    """Of one database. ``findings`` looks; the rest is known afterwards."""

    def __init__(self, shared: SharedStore, *, jobs: bool) -> None:
        """
        Args:
            shared: where it is.
            jobs: durable ones are taken, too.

        Raises:
            InvalidRequest: the address cannot be read.
        """
        self._shared = shared
        self._jobs = jobs
        self.where = without_password(shared.url)
        self.store_id = ""
        """Of the cache that is in it; "": none, or not known."""
        self.newest: list[str] = []
        """Files of the sounds that were kept last."""
        self._writable = self._primary = True
        self._connected_s = 0.0

    def findings(self) -> Iterator[Finding]:
        """Yield what there is to say; ends early where nothing further can be asked."""
        begun = time.monotonic()
        try:
            db = self._connect()
        except psycopg.Error as exc:
            yield Finding("database", "problem", f"{self.where}: {_first_line(exc)}", _mend(str(exc)))
            return
        self._connected_s = time.monotonic() - begun
        with contextlib.closing(db):
            for look in (
                self._server,
                self._writing,
                self._schema,
                self._heads,
                self._listening,
                self._clock,
                self._held,
                self._room,
            ):
                try:
                    yield from look(db)
                except psycopg.OperationalError as exc:
                    told = f"{self.where} broke off, or did not answer in time: {_first_line(exc)}"
                    yield Finding("database", "problem", told, "see its log; cache.store_timeout_s bounds the wait")
                    return
                except psycopg.Error as exc:
                    told = f"{self.where} refused a question: {_first_line(exc)}"
                    yield Finding("database", "problem", told, "see its log")

    def _connect(self) -> Rows:
        db: Rows = WatchedConnection.connect(self._shared.url, **connect_arguments(self._shared))
        assert isinstance(db, WatchedConnection)
        db.limit_s = 2 * self._shared.statement_timeout_s
        return db

    def _server(self, db: Rows) -> Iterator[Finding]:
        took = _middle(lambda: db.execute("SELECT 1"))
        version = db.info.server_version
        told = (
            f"{self.where}, PostgreSQL {version // 10_000}.{version % 10_000}; connected in "
            f"{self._connected_s * 1000:.0f} ms, answers in {took * 1000:.1f} ms"
        )
        if version < _LEAST_VERSION:
            yield Finding("database", "problem", told, "upgrade it to PostgreSQL 14 or later")
        elif took > _SLOW_ANSWER_S:
            mend = "a database in the heads' own region; a sound is kept in a few turns with it, a hit in none"
            yield Finding("database", "note", told, mend)
        else:
            yield Finding("database", "ok", told)
        expected = sql.Identifier(self._shared.schema).as_string(None)
        if _one(db, "SHOW search_path").strip('"') != expected.strip('"') or _one(db, "SHOW statement_timeout") == "0":
            told = "a head's settings do not get there: it would meet other tables, and wait without an end"
            mend = "connect to the server itself: a pooler lies between that drops options"
            yield Finding("database.settings", "problem", told, mend)
        encoding = _one(db, "SHOW server_encoding")
        if encoding != "UTF8":
            mend = "make the database with createdb --encoding UTF8 --template template0"
            yield Finding("database.encoding", "problem", f"is {encoding}: prompts are in any language", mend)
        if _has_password(self._shared.url):
            told = "cache.store holds a password, which whoever reads the configuration has"
            yield Finding("database.password", "note", told, "set PGPASSWORD, or a line in ~/.pgpass (chmod 600)")

    def _writing(self, db: Rows) -> Iterator[Finding]:
        self._primary = not _one(db, "SELECT pg_is_in_recovery()")
        self._writable = self._primary and _one(db, "SHOW transaction_read_only") == "off"
        if not self._primary:
            told = "it is a standby: hits go on from here, nothing is kept"
            mend = "name the primary, or all of them: postgresql://USER@A,B/NAME?target_session_attrs=read-write"
            yield Finding("database.writes", "problem", told, mend)
            return
        if not self._writable:
            told = "sessions are read-only here: hits go on, nothing is kept"
            yield Finding("database.writes", "problem", told, "see default_transaction_read_only of it and of the role")
            return
        took = _middle(lambda: db.execute("SELECT pg_logical_emit_message(true, 'audio_pool', '')"))
        told = f"a commit takes {took * 1000:.1f} ms; {self._standbys(db)}"
        unsafe = [name for name in ("fsync", "full_page_writes") if _one(db, f"SHOW {name}") == "off"]
        if _one(db, "SHOW synchronous_commit") == "off":
            unsafe.append("synchronous_commit")
        if unsafe:
            lost = f"{told}; {', '.join(unsafe)} is off: what was acknowledged may be lost with its machine"
            yield Finding("database.writes", "note", lost, f"set {' and '.join(unsafe)} to on")
        elif took > _SLOW_COMMIT_S:
            mend = "a faster disk for its log, or a synchronous standby that is nearer"
            yield Finding("database.writes", "note", told, mend)
        else:
            yield Finding("database.writes", "ok", told)

    @staticmethod
    def _standbys(db: Rows) -> str:
        following = _one(db, "SELECT count(*) FROM pg_stat_replication")
        waits = _one(db, "SHOW synchronous_standby_names")
        if not following:
            return "no standby follows it: a backup is all that there is beside it"
        if waits:
            return f"{following} standby; commits wait for {waits}: a failover loses nothing acknowledged"
        return f"{following} standby, not synchronous: a failover may lose what was acknowledged last"

    def _schema(self, db: Rows) -> Iterator[Finding]:
        name = self._shared.schema
        try:
            found = version_of(db, name)
        except StorageError as exc:
            yield Finding("database.schema", "problem", exc.message, exc.hint)
            return
        except psycopg.errors.InsufficientPrivilege:
            mend = f"GRANT ALL ON SCHEMA {name} TO {db.info.user}, or let it be its owner"
            yield Finding("database.schema", "problem", f"{db.info.user} may not use {name!r}", mend)
            return
        if found == 0:
            may = _one(db, "SELECT has_database_privilege(current_database(), 'CREATE')")
            there = _one(db, "SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL", name)
            may = may or (there and _one(db, "SELECT has_schema_privilege(%s, 'CREATE')", name))
            told = f"{name!r} has no tables yet: the first head makes them"
            if may or not self._writable:
                yield Finding("database.schema", "ok", told)
            else:
                mend = f"GRANT CREATE ON DATABASE {db.info.dbname} TO {db.info.user}"
                yield Finding("database.schema", "problem", f"{told}, but {db.info.user} may not", mend)
            return
        self.store_id = _one(db, "SELECT value FROM facts WHERE name = 'store_id'") or ""
        kept = _one(db, "SELECT count(*) FROM entries")
        newest = db.execute("SELECT file FROM entries ORDER BY id DESC LIMIT %s", (_NEWEST,)).fetchall()
        self.newest = [str(row[0]) for row in newest]
        told = f"{name!r} has version {found} and {kept:,} sound{'' if kept == 1 else 's'}"
        rights = "INSERT, UPDATE, DELETE"
        lacks = [
            right for right in rights.split(", ") if not _one(db, f"SELECT has_table_privilege('entries', '{right}')")
        ]
        owns = _one(
            db,
            "SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = %s",
            name,
        )
        if lacks:
            mend = f"GRANT {rights} ON ALL TABLES IN SCHEMA {name} TO {db.info.user}, or let it be its owner"
            yield Finding("database.schema", "problem", f"{told}; {db.info.user} may not {', '.join(lacks)}", mend)
        elif found < SCHEMA_VERSION and not owns:
            told += f"; this version brings it to {SCHEMA_VERSION}, but {db.info.user} is not its owner"
            mend = f"ALTER SCHEMA {name} OWNER TO {db.info.user}, or start the first head as its owner"
            yield Finding("database.schema", "problem", told, mend)
        elif found < SCHEMA_VERSION:
            told += f"; the first head of this version brings it to {SCHEMA_VERSION}, and earlier ones end"
            yield Finding("database.schema", "note", told, "upgrade all heads; back the database up before")
        else:
            yield Finding("database.schema", "ok", told)

    def _heads(self, db: Rows) -> Iterator[Finding]:
        """Say who shares it, and what waits for them."""
        if _one(db, "SELECT to_regclass('heads') IS NULL OR to_regclass('jobs') IS NULL"):
            return
        live = [
            str(row[0])
            for row in db.execute(
                "SELECT address FROM heads WHERE due >= clock_timestamp() AND address <> '' ORDER BY started_at"
            )
        ]
        ((free, held, oldest_s),) = db.execute(
            "SELECT count(*) FILTER (WHERE head IS NULL), count(*) FILTER (WHERE head IS NOT NULL),"
            " coalesce(max(extract(epoch FROM clock_timestamp()) - created_at) FILTER (WHERE head IS NULL), 0)"
            " FROM jobs WHERE expires_at IS NULL"
        ).fetchall()
        names = ", ".join(live[:_MOST_TOLD])
        told = f"{len(live)} live{': ' if names else ''}{names}; durable jobs: {held} in hand, {free} wait"
        if free and not live:
            mend = "start a head with jobs.enabled"
            yield Finding("database.heads", "note", f"{told}, one of them for {float(oldest_s):.0f} s", mend)
        else:
            yield Finding("database.heads", "ok", told)

    def _listening(self, db: Rows) -> Iterator[Finding]:
        """Have one connection hear another: through a pooler that takes turns by transaction it does not."""
        if not self._primary:
            return
        channel = f"audio_pool_doctor_{secrets.token_hex(6)}"
        with contextlib.closing(self._connect()) as other:
            other.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            begun = time.monotonic()
            db.execute("SELECT pg_notify(%s, '')", (channel,))
            heard = next(other.notifies(timeout=_HEARD_WITHIN_S, stop_after=1), None)
            took = time.monotonic() - begun
        if heard is None:
            told = f"nothing was heard within {_HEARD_WITHIN_S:g} s: heads look twice a second instead"
            mend = "connect to the server itself, or by a pooler that takes turns by session"
            yield Finding("database.listen", "problem", told, mend)
        else:
            yield Finding("database.listen", "ok", f"what one connection says another hears after {took * 1000:.1f} ms")

    def _clock(self, db: Rows) -> Iterator[Finding]:
        before = time.time()
        theirs = float(_one(db, "SELECT extract(epoch FROM clock_timestamp())"))
        apart = theirs - (before + time.time()) / 2
        told = f"{abs(apart):.1f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
        if abs(apart) > _CLOCKS_APART_S:
            mend = "run chrony or systemd-timesyncd on both; leases do not depend on it, people who read logs do"
            yield Finding("database.clock", "note", told, mend)
        else:
            yield Finding("database.clock", "ok", told)

    def _held(self, db: Rows) -> Iterator[Finding]:
        """Look for forgotten transactions, of any database of the server: they hold what heads read of the feed."""
        idle = db.execute(
            "SELECT coalesce(datname, ''), coalesce(usename, ''), pid,"
            " extract(epoch FROM clock_timestamp() - xact_start)"
            " FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()"
            " AND xact_start < clock_timestamp() - make_interval(secs => %s) ORDER BY xact_start",
            (_HELD_S,),
        ).fetchall()
        prepared = _one(
            db,
            "SELECT count(*) FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - make_interval(secs => %s)",
            _HELD_S,
        )
        if idle:
            name, user, pid, age = idle[0]
            told = f"a transaction of {user} in {name} (pid {pid}) is {float(age):.0f} s old and holds the feed's end"
            mend = f"SELECT pg_terminate_backend({pid}); set idle_in_transaction_session_timeout for that role"
            yield Finding("database.transactions", "note", told, mend)
        elif prepared:
            told = f"{prepared} prepared transactions that nobody ends hold the feed's end"
            yield Finding("database.transactions", "note", told, "ROLLBACK PREPARED those of pg_prepared_xacts")
        else:
            unseen = not _one(db, "SELECT pg_has_role('pg_read_all_stats', 'USAGE')")
            seen = " of this role" if unseen else ""
            yield Finding("database.transactions", "ok", f"no forgotten one{seen} holds the feed's end")

    def _room(self, db: Rows) -> Iterator[Finding]:
        wanted = (self._shared.connections + 1) * (1 + self._jobs)
        used, ours = db.execute(
            "SELECT count(*), count(*) FILTER (WHERE application_name = 'audio_pool')"
            " FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchall()[0]
        most = int(_one(db, "SHOW max_connections")) - int(_one(db, "SHOW superuser_reserved_connections"))
        limits = [(most, "max_connections")]
        for told, statement in (
            ("the role's limit", "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user"),
            ("the database's limit", "SELECT datconnlimit FROM pg_database WHERE datname = current_database()"),
        ):
            limit = int(_one(db, statement))
            if limit >= 0:
                limits.append((limit, told))
        most, which = min(limits)
        told = f"{used} of {most} by {which} are taken, {ours} of them by heads; one more head takes up to {wanted}"
        if used + wanted > most:
            mend = "raise max_connections of the server, or lower cache.store_connections of the heads"
            yield Finding("database.connections", "note", told, mend)
        else:
            yield Finding("database.connections", "ok", told)


def _one(db: Rows, statement: str, *values: object) -> Any:  # Any: what PostgreSQL says
    row = db.execute(statement, values or None).fetchone()
    return None if row is None else row[0]


def _middle(work: Callable[[], object]) -> float:
    """Return how long something takes, in seconds."""
    took = []
    for _ in range(_TIMES):
        begun = time.monotonic()
        work()
        took.append(time.monotonic() - begun)
    return statistics.median(took)


def _has_password(url: str) -> bool:
    return "password" in psycopg.conninfo.conninfo_to_dict(url)


def _first_line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0] or type(exc).__name__


def _mend(said: str) -> str:
    return next((mend for words, mend in _REFUSALS if words in said), _GONE)
