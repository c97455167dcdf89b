"""What an administrator, or a disk, may do to the database: limits, passwords, no space, a copy brought back."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.cluster.heads import Heads, finds, keep, store_of
from tests.support.cache_sounds import sound
from tests.support.postgres import PostgresServer
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.postgres.migrations import SCHEMA_VERSION
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import StorageError
from audio_pool.results import FinishedSound


def _name(url: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])


@contextlib.contextmanager
def _admin(postgres: PostgresServer) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.url(), autocommit=True) as db:
        yield db


def _end_sessions(db: psycopg.Connection, url: str) -> None:
    db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (_name(url),))


def _kept(cache: SoundCache, prompt: str) -> int | None:
    try:
        return keep(cache, prompt).id
    except StorageError:
        return None


def test_limits_that_an_administrator_sets_for_everybody_are_not_a_heads(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    """Its own stand in how it connects, or a statement that takes long now and then would never be done."""
    with _admin(postgres) as db:
        of = sql.SQL("ALTER DATABASE {} SET {} = {}")
        for name, value in (("statement_timeout", "1ms"), ("idle_session_timeout", "100ms"), ("lock_timeout", "1ms"),
                            ("idle_in_transaction_session_timeout", "1ms")):  # fmt: skip
            db.execute(of.format(sql.Identifier(_name(database)), sql.Identifier(name), sql.Literal(value)))
    with Heads(database, tmp_path) as heads:
        a, b = heads.open("a"), heads.open("b")
        entry = keep(a, "one")
        eventually(lambda: finds(b, "one") == entry.id, "the other head has it")
        follower = store_of(b)._follower
        connected = follower._connected
        sessions = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND application_name = 'audio_pool'"
        with _admin(postgres) as db:
            before = {row[0] for row in db.execute(sessions, (_name(database),))}
            db.execute("SELECT pg_sleep(0.5)")
            assert before <= {row[0] for row in db.execute(sessions, (_name(database),))}, "no session was ended"
        assert keep(a, "two").id is not None and follower._connected is connected


def test_a_head_whose_notifications_are_dropped_looks_by_itself(heads: Heads) -> None:
    a, b = heads.open("a"), heads.open("b")
    goes = keep(a, "goes")
    eventually(lambda: finds(b, "goes") == goes.id, "the other head has it")
    listening = eventually(lambda: store_of(b)._follower._connected, "it listens")
    listening.execute("UNLISTEN *")  # as a pooler does that gives a session to whoever comes next
    comes = keep(a, "comes")
    a.remove([goes.id])
    eventually(lambda: finds(b, "comes") == comes.id and finds(b, "goes") is None, "it has looked")


class Login:
    """A role of its own that owns a database, for what an administrator cannot do to himself."""

    def __init__(self, postgres: PostgresServer, database: str) -> None:
        self._server, self._database = postgres, database
        self.role = f"{_name(database)}_role"

    def __enter__(self) -> Login:
        self.alter("CREATE ROLE {} LOGIN", self.role)
        self.alter("ALTER DATABASE {} OWNER TO {}", _name(self._database), self.role)
        return self

    def __exit__(self, *_: object) -> None:
        with psycopg.connect(self._database, autocommit=True) as db:
            db.execute(sql.SQL("REASSIGN OWNED BY {} TO ap").format(sql.Identifier(self.role)))
        self.alter("DROP ROLE {}", self.role)

    def alter(self, statement: str, *names: str) -> None:
        with _admin(self._server) as db:
            db.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def end_sessions(self) -> None:
        with _admin(self._server) as db:
            _end_sessions(db, self._database)

    @property
    def url(self) -> str:
        return self._database.replace("//ap@", f"//{self.role}@")


@pytest.fixture
def login(postgres: PostgresServer, database: str) -> Iterator[Login]:
    with Login(postgres, database) as login:
        yield login


def _keeper(heads: Heads, name: str = "a") -> CacheKeeper:
    def open_head(blobs: object) -> SoundCache:
        return heads.open(name, blobs=blobs)

    return CacheKeeper(open_head)


def _refused(keeper: CacheKeeper, reason: str) -> None:
    """What is to be kept is refused, is still there to be delivered, and the keeper says why."""
    made = sound(keeper.current.incoming, "refused", seed=9)
    with pytest.raises(StorageError, match=reason):
        keeper.put(made, {})
    assert os.path.exists(made.path)
    assert not keeper.takes_sounds and keeper.trouble


def _reason(keeper: CacheKeeper, made: FinishedSound) -> str:
    """Why it is not kept."""
    with pytest.raises(StorageError) as refused:
        keeper.put(made, {})
    return refused.value.message


def _heals(keeper: CacheKeeper) -> None:
    made = sound(keeper.current.incoming, "kept after", seed=10)
    eventually(lambda: (keeper.tend(), _put(keeper, made))[1], "it is well again by itself")


def _put(keeper: CacheKeeper, made: FinishedSound) -> int | None:
    try:
        return keeper.put(made, {}).id
    except StorageError:
        return None


def test_no_connection_left_costs_what_would_be_kept_meanwhile_and_nothing_else(login: Login, tmp_path: Path) -> None:
    with Heads(login.url, tmp_path, connect_timeout_s=3.0) as heads:
        keeper = _keeper(heads)
        known = keeper.put(sound(keeper.current.incoming, "known"), {})
        login.alter("ALTER ROLE {} CONNECTION LIMIT 0", login.role)
        login.end_sessions()
        eventually(lambda: (keeper.tend(), "too many" in keeper.trouble)[1], "it finds out")
        _refused(keeper, "too many connections")
        assert finds(keeper.current, "known") == known.id
        login.alter("ALTER ROLE {} CONNECTION LIMIT -1", login.role)
        _heals(keeper)


def test_a_password_that_was_changed_is_read_again_where_it_stands_in_a_file(
    login: Login, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = tmp_path / "pgpass"
    monkeypatch.setenv("PGPASSFILE", str(passwords))

    def write(password: str) -> None:
        passwords.write_text(f"*:*:*:{login.role}:{password}\n")
        passwords.chmod(0o600)

    def change(password: str) -> None:
        with _admin(postgres) as db:
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
            db.execute(statement.format(sql.Identifier(login.role), sql.Literal(password)))

    change("first-word")
    write("first-word")
    with postgres.asks_for_password(login.role), Heads(login.url, tmp_path, connect_timeout_s=3.0) as heads:
        keeper = _keeper(heads)
        known = keeper.put(sound(keeper.current.incoming, "known"), {})
        change("second-word")
        login.end_sessions()
        eventually(lambda: (keeper.tend(), "password" in keeper.trouble)[1], "it finds out")
        _refused(keeper, "password authentication failed")
        assert "word" not in keeper.trouble.replace("password", "")
        assert finds(keeper.current, "known") == known.id
        write("second-word")
        _heals(keeper)


def test_a_full_disk_of_the_database_costs_what_would_be_kept_meanwhile_and_nothing_else(
    postgres: PostgresServer, heads: Heads, database: str
) -> None:
    keeper = _keeper(heads)
    known = keeper.put(sound(keeper.current.incoming, "known"), {})
    with postgres.full_table(database, "audio_pool.registry_files"):
        made = sound(keeper.current.incoming, "refused", seed=9)
        eventually(lambda: (keeper.tend(), _reason(keeper, made))[1].endswith("is full"), "it is said why")
        assert os.path.exists(made.path)
        assert finds(keeper.current, "known") == known.id
    _heals(keeper)


def test_an_older_copy_that_is_brought_back_is_what_counts_and_later_ids_stay_their_own(
    postgres: PostgresServer, heads: Heads, database: str, tmp_path: Path
) -> None:
    a, b = heads.open("a"), heads.open("b")
    stays, comes_back = keep(a, "stays"), keep(a, "comes back")
    copy = tmp_path / "copy"
    _run(postgres, "pg_dump", "-Fc", "-f", str(copy), "-d", database)
    later = [keep(b, f"later {number}") for number in range(5)]
    b.remove([comes_back.id])
    eventually(lambda: finds(a, "comes back") is None, "the other head has heard of all that")
    _run(postgres, "pg_restore", "--clean", "--if-exists", "--single-transaction", "-d", database, str(copy))
    for head in (a, b):
        eventually(lambda head=head: finds(head, "comes back") == comes_back.id, "as it is there")
        assert finds(head, "stays") == stays.id
        assert [finds(head, f"later {number}") for number in range(5)] == [None] * 5
    kept = eventually(lambda: _kept(a, "kept after"), "it writes again")
    assert kept not in {one.id for one in later}
    eventually(lambda: finds(b, "kept after") == kept, "and is followed")


def test_tables_that_are_gone_are_told_and_a_copy_of_them_heals_it(
    postgres: PostgresServer, heads: Heads, database: str, tmp_path: Path
) -> None:
    keeper = _keeper(heads)
    known = keeper.put(sound(keeper.current.incoming, "known"), {})
    copy = tmp_path / "copy"
    _run(postgres, "pg_dump", "-Fc", "-f", str(copy), "-d", database)
    with psycopg.connect(database) as db:
        db.execute("DROP SCHEMA audio_pool CASCADE")
    eventually(lambda: (keeper.tend(), keeper.trouble)[1], "it says so without anything to do")
    _refused(keeper, "does not exist")
    assert finds(keeper.current, "known") == known.id
    _run(postgres, "pg_restore", "-d", database, str(copy))
    _heals(keeper)
    assert finds(keeper.current, "known") == known.id
    with psycopg.connect(database, options="-c search_path=audio_pool") as db:
        assert db.execute("SELECT value FROM facts WHERE name = 'schema_version'").fetchone() == (str(SCHEMA_VERSION),)


def _run(postgres: PostgresServer, program: str, *arguments: str) -> None:
    done = subprocess.run(
        [str(postgres._programs / program), *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
