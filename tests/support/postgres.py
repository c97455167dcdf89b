"""A real PostgreSQL server for tests: Debian's programs, a folder and a socket of its own, as another user than root.

Its postmaster is a child of this process and is told to end with it, so that nothing is left where a run is killed.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql
from tests.support.waiting import PATIENCE_S, eventually

__all__ = ["PostgresServer", "StandbyServer", "postgres_programs"]

_USER = "ap"


def postgres_programs() -> Path | None:
    """Return the folder of initdb and postgres; None where there are none. ``AUDIO_POOL_POSTGRES`` names it."""
    named = os.environ.get("AUDIO_POOL_POSTGRES")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    found = [Path(named)] if named else [*reversed(versions)]
    return next((folder for folder in found if (folder / "postgres").is_file()), None)


def _as_other() -> list[str]:
    """Return the beginning of a command that must not be root's, and that ends with this thread."""
    command = ["setpriv", "--pdeathsig", "QUIT"]
    if os.getuid() == 0:
        command += ["--reuid", _other(), "--regid", _other(), "--clear-groups"]
    return command


def _other() -> str:
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "65534"


class PostgresServer:
    """One server; ``with`` starts it and leaves neither process nor file behind."""

    def __init__(self, programs: Path, port: int = 5432, options: tuple[str, ...] = ()) -> None:
        """
        Args:
            programs: the folder of initdb and postgres.
            port: names the socket in the server's folder; nothing listens on the network.
            options: further settings, each ``name=value``.
        """
        self._programs = programs
        self._options = options
        self.port = port
        # short: a socket's path has 107 bytes at most
        self.place = Path(tempfile.mkdtemp(prefix="appg-", dir="/tmp"))
        self._data = self.place / "d"
        self._log = self.place / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PostgresServer:
        try:
            if os.getuid() == 0:
                shutil.chown(self.place, _other() if not _other().isdigit() else int(_other()))
            self.place.chmod(0o755)
            self._run("initdb", "-D", str(self._data), "-U", _USER, "-A", "trust", "-N", "--no-instructions",
                      "--locale=C", "-E", "UTF8")  # fmt: skip
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.place, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*_as_other(), str(self._programs / program), *arguments],
            cwd="/", capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} failed: {done.stderr or done.stdout}"

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database of it."""
        return f"postgresql://{_USER}@/{database}?host={self.place}&port={self.port}"

    @property
    def log(self) -> str:
        """What the server has written."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Of its postmaster."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start it; return when it takes connections."""
        assert threading.current_thread() is threading.main_thread(), "the server would end with the thread"
        settings = [f"unix_socket_directories={self.place}", "listen_addresses=", f"port={self.port}", *self._options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_other(), str(self._programs / "postgres"), "-D", str(self._data)]
                + [part for setting in settings for part in ("-c", setting)],
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        if wait:
            eventually(self._listens, f"PostgreSQL takes connections; its log: {self.log}")

    def _listens(self) -> bool:
        process = self._process
        assert process is not None and process.poll() is None, f"PostgreSQL has ended: {self.log}"
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url(), connect_timeout=5):
            return True
        return False

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends sessions and writes everything down, SIGQUIT is a crash."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(PATIENCE_S)
            raise

    @contextlib.contextmanager
    def gone(self, how: signal.Signals = signal.SIGQUIT) -> Iterator[None]:
        """Be gone for as long as this lasts."""
        self.stop(how)
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def read_only(self, database: str = "postgres") -> Iterator[None]:
        """Refuse every write of sessions of one database, of those that exist too."""
        name = sql.Identifier(database)
        self._settle(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name), database)
        try:
            yield
        finally:
            self._settle(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name), database)

    def _settle(self, statement: sql.Composed, database: str) -> None:
        with psycopg.connect(self.url(), autocommit=True, options="-c default_transaction_read_only=off") as db:
            db.execute(statement)
            sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            db.execute(f"{sessions} AND datname = %s", (database,))

    @contextlib.contextmanager
    def asks_for_password(self, role: str) -> Iterator[None]:
        """Let one role in by its password alone, while this lasts."""
        rules = self._data / "pg_hba.conf"
        before = rules.read_text()
        try:
            rules.write_text(f"local all {role} scram-sha-256\n{before}")
            self._reload()
            yield
        finally:
            rules.write_text(before)
            self._reload()

    def _reload(self) -> None:
        with psycopg.connect(self.url(), autocommit=True) as db:
            db.execute("SELECT pg_reload_conf()")

    @contextlib.contextmanager
    def full_table(self, database: str, table: str) -> Iterator[None]:
        """Let the disk have no room for one table, which is empty afterwards."""
        with psycopg.connect(database, autocommit=True) as db:
            db.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(*table.split("."))))
            db.execute("CHECKPOINT")
            row = db.execute("SELECT pg_relation_filepath(%s)", (table,)).fetchone()
            assert row is not None
            sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            db.execute(f"{sessions} AND datname = current_database()")
        file = self._data / str(row[0])
        aside = file.with_suffix(".aside")
        file.rename(aside)
        file.symlink_to("/dev/full")
        try:
            yield
        finally:
            aside.replace(file)
            with psycopg.connect(database, autocommit=True) as db:
                db.execute(f"{sessions} AND datname = current_database()")

    @contextlib.contextmanager
    def database(self, name: str) -> Iterator[str]:
        """Make an empty database; yield its address, and drop it at the end."""
        with psycopg.connect(self.url(), autocommit=True) as db:
            db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield self.url(name)
        finally:
            with psycopg.connect(self.url(), autocommit=True) as db:
                db.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


class StandbyServer(PostgresServer):
    """A copy of a server that follows it, in the same folder by another port, until it is promoted."""

    def __init__(self, primary: PostgresServer, port: int = 5433, options: tuple[str, ...] = ()) -> None:
        """
        Args:
            primary: runs; its folder is this one's, too.
            port: another one than the primary's.
            options: further settings, each ``name=value``.
        """
        self._programs = primary._programs
        self._options = options
        self._process = None
        self.primary = primary
        self.port = port
        self.place = primary.place
        self._data = self.place / f"s{port}"
        self._log = self.place / f"log{port}"
        self._name = f"s{port}"

    def __enter__(self) -> StandbyServer:
        try:
            where = f"host={self.place} port={self.primary.port} user={_USER}"
            self._run("pg_basebackup", "-d", where, "-D", str(self._data), "-X", "stream", "-c", "fast", "-R",
                      "-C", "-S", self._name, "--no-sync")  # fmt: skip
            self._options = (
                f"primary_conninfo={where} application_name={self._name}",
                f"primary_slot_name={self._name}", "wal_receiver_status_interval=1s", *self._options,
            )  # fmt: skip
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._data, ignore_errors=True)

    def either(self, database: str = "postgres") -> str:
        """Return the address of a database on whichever of both takes writes."""
        hosts, ports = f"{self.place},{self.place}", f"{self.primary.port},{self.port}"
        return f"postgresql://{_USER}@/{database}?host={hosts}&port={ports}&target_session_attrs=read-write"

    def synchronous(self, *, on: bool = True) -> None:
        """Have the primary's commits wait for this one, or not."""
        with psycopg.connect(self.primary.url(), autocommit=True) as db:
            # not before the copy was made: it would wait for itself once it is promoted
            names = sql.Literal(f"FIRST 1 ({self._name})" if on else "")
            db.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(names))
            db.execute("SELECT pg_reload_conf()")
            wanted = "sync" if on else "async"
            eventually(lambda: self._state(db) == wanted, f"the standby is {wanted}")

    def _state(self, db: psycopg.Connection) -> str:
        row = db.execute(
            "SELECT sync_state FROM pg_stat_replication WHERE application_name = %s", (self._name,)
        ).fetchone()
        return row[0] if row else ""

    def promote(self) -> None:
        """Take writes from now on, whatever has become of the primary."""
        with psycopg.connect(self.url(), autocommit=True) as db:
            assert db.execute("SELECT pg_promote(true, 60)").fetchone() == (True,)
