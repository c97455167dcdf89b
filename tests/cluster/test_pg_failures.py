"""The database restarts, is gone, takes no writes, is locked or stopped: what is known is offered, and it heals."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
from tests.cluster.heads import Heads, finds, keep, store_of
from tests.support.cache_sounds import sound
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.opening import open_store
from audio_pool.cache.postgres.database import Unreachable, Unsure
from audio_pool.cache.postgres.migrations import SCHEMA_VERSION
from audio_pool.cache.shared import SharedStore, read_shared
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.backup import backup
from audio_pool.cache.sqlite.rebuild import rebuild
from audio_pool.errors import InvalidRequest, NotSupported, StorageError


def test_hits_go_on_while_the_database_is_gone_and_everything_heals(heads: Heads, postgres: PostgresServer) -> None:
    opened: list[SoundCache] = []

    def open_head(blobs: object) -> SoundCache:
        opened.append(heads.open("a", blobs=blobs))
        return opened[-1]

    keeper = CacheKeeper(open_head)
    a, b = keeper.current, heads.open("b")
    entry = keep(a, "kept before")
    with postgres.gone(signal.SIGQUIT):
        made = sound(a.incoming, "not kept", seed=2)
        with pytest.raises(StorageError, match="cannot be reached") as refused:
            keeper.put(made, {})
        assert "postgresql://" not in refused.value.message
        assert os.path.exists(made.path), "it can still be delivered"
        assert finds(a, "kept before") == entry.id
        keeper.tend()
        assert "cannot be reached" in keeper.trouble and not keeper.takes_sounds
        with pytest.raises(StorageError):
            a.remove([entry.id])
        assert finds(a, "kept before") == entry.id, "a removal that failed removes nothing"
    eventually(lambda: (keeper.tend(), not keeper.trouble)[1], "the keeper has found out")
    again = keeper.put(made, {})
    assert finds(a, "not kept") == again.id
    eventually(lambda: finds(b, "not kept") == again.id, "the other head follows again")


def test_a_head_without_anything_to_do_says_that_the_database_is_gone(heads: Heads, postgres: PostgresServer) -> None:
    a = heads.open("a")
    assert a.store.trouble == ""
    with postgres.gone(signal.SIGINT):
        eventually(lambda: "cannot be reached" in a.store.trouble, "its follower has noticed")
    eventually(lambda: a.store.trouble == "", "and that it is back")


def test_a_head_starts_without_the_database_where_it_knows_something(heads: Heads, postgres: PostgresServer) -> None:
    entry = keep(heads.open("a"), "kept before")
    heads.close_one("a")
    with postgres.gone():
        a = heads.open("a")
        assert finds(a, "kept before") == entry.id
        with pytest.raises(Unreachable):
            heads.open("new")
    after = eventually(lambda: _kept(a, "kept after"), "it writes again")
    assert finds(a, "kept after") == after


def _kept(cache: SoundCache, prompt: str) -> int | None:
    try:
        return keep(cache, prompt).id
    except StorageError:
        return None


def test_a_database_that_takes_no_writes_is_read(heads: Heads, postgres: PostgresServer, database: str) -> None:
    a = heads.open("a")
    entry = keep(a, "kept before")
    name = str(psycopg.conninfo.conninfo_to_dict(database)["dbname"])
    with postgres.read_only(name):
        eventually(lambda: _refusal(a, "takes no writes"), "a write is refused for that reason")
        assert finds(a, "kept before") == entry.id
        heads.close_one("a")
        a = heads.open("a")
        assert finds(a, "kept before") == entry.id
    eventually(lambda: _kept(a, "kept after"), "it writes again")


def _refusal(cache: SoundCache, reason: str) -> bool:
    made = sound(cache.incoming, "refused", seed=9)
    try:
        cache.put(made, {})
    except StorageError as exc:
        assert os.path.exists(made.path)
        return reason in exc.message
    return False


def test_nobody_waits_for_a_lock_for_ever(database: str, tmp_path: Path) -> None:
    with Heads(database, tmp_path, statement_timeout_s=0.5) as heads:
        a = heads.open("a")
        entry = keep(a, "kept before")
        with psycopg.connect(database, options="-c search_path=audio_pool") as other:
            other.execute("LOCK TABLE entries IN ACCESS EXCLUSIVE MODE")
            assert _refusal(a, "took longer than 0.5 s")
            with pytest.raises(StorageError, match=r"took longer than 0\.5 s"):
                a.remove([entry.id])
            assert finds(a, "kept before") == entry.id
        assert keep(a, "kept after").id is not None


def test_a_head_that_stops_in_a_transaction_is_put_out_of_it(database: str, tmp_path: Path) -> None:
    with Heads(database, tmp_path, statement_timeout_s=0.5) as heads:
        a = heads.open("a")
        stuck = threading.Event()

        def work(db: psycopg.Connection) -> None:
            db.execute("INSERT INTO facts VALUES ('half', 'done')")
            stuck.wait(5.0)
            db.execute("SELECT 1")

        with pytest.raises(StorageError):
            store_of(a)._database.write("standing still", work)
        assert store_of(a)._database.read("SELECT 1 FROM facts WHERE name = 'half'") == []


def test_a_server_that_is_stopped_costs_a_bounded_wait(
    database: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    with Heads(database, tmp_path, statement_timeout_s=1.5, connect_timeout_s=1.0) as heads:
        a = heads.open("a")
        entry = keep(a, "kept before")
        assert postgres._process is not None
        server = psutil.Process(postgres._process.pid)
        family = [server, *server.children(recursive=True)]
        for one in family:
            one.suspend()
        try:
            assert _refusal(a, "cannot be reached")
            assert finds(a, "kept before") == entry.id
        finally:
            for one in family:
                if one.is_running():
                    one.resume()
        eventually(lambda: _kept(a, "kept after"), "it writes again")


def test_a_commit_whose_answer_was_lost_loses_nothing(heads: Heads, monkeypatch: pytest.MonkeyPatch) -> None:
    a = heads.open("a")
    database = store_of(a)._database
    real = database.write

    def cut(doing: str, work: Callable[[psycopg.Connection], object]) -> object:
        def then_cut(db: psycopg.Connection) -> object:
            result = work(db)
            with socket.socket(fileno=os.dup(db.fileno())) as same:
                same.shutdown(socket.SHUT_RD)  # the server hears the commit, and is not heard any more
            return result

        return real(doing, then_cut)

    made = sound(a.incoming, "perhaps", seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(database, "write", cut)
        with pytest.raises(Unsure):
            a.put(made, {})
    assert os.path.exists(made.path), "it can still be delivered"
    entry_id = eventually(lambda: finds(a, "perhaps"), "it was committed, and is offered")
    eventually(lambda: a.store.trouble == "", "and the database can be asked again")
    entry = a.put(made, {})
    assert entry.id == entry_id and os.path.exists(entry.path) and not os.path.exists(made.path)


def test_a_newer_schema_is_refused_and_left_alone(heads: Heads, database: str) -> None:
    heads.open("a")
    heads.close_one("a")
    with psycopg.connect(database, options="-c search_path=audio_pool") as db:
        db.execute("UPDATE facts SET value = %s WHERE name = 'schema_version'", (str(SCHEMA_VERSION + 1),))
    with pytest.raises(StorageError, match=f"has version {SCHEMA_VERSION + 1}"):
        heads.open("a")


def test_heads_that_open_an_empty_database_at_once_make_one_schema(heads: Heads) -> None:
    failed: list[BaseException] = []
    start = threading.Barrier(4)

    def open_one(name: str) -> None:
        try:
            start.wait(30)
            open_store(heads.directory(name), shared=heads.shared).close()
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=open_one, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    with psycopg.connect(heads.shared.url, options="-c search_path=audio_pool") as db:
        assert db.execute("SELECT count(*) FROM facts WHERE name = 'store_id'").fetchone() == (1,)


def test_schemas_are_caches_of_their_own(heads: Heads, database: str) -> None:
    a = heads.open("a")
    other = heads.open("b", SharedStore(url=database, schema="other"))
    entry = keep(a, "only there")
    assert finds(other, "only there") is None
    assert keep(other, "only there").id == entry.id == 1, "numbers begin anew"


def test_no_message_holds_the_password_and_the_directory_says_where_its_rows_are(
    heads: Heads, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = database.replace("postgresql://ap@", "postgresql://ap:hush-hush@")
    shared = SharedStore(url=url, connect_timeout_s=1.0)
    a = heads.open("a", shared)
    directory = heads.directory("a")
    assert (directory / "shared.json").stat().st_mode & 0o777 == 0o600
    assert read_shared(directory) == shared
    entry = keep(a, "known to the manager")
    with contextlib.closing(open_store(directory, create=False)) as managed:
        assert managed.entries.entry(entry.id or 0) == a.store.entries.entry(entry.id or 0)
    for refused_here in (lambda: backup(directory, directory / "x.tar"), lambda: rebuild(directory)):
        with pytest.raises(NotSupported, match="in PostgreSQL"):
            refused_here()
    gone = url.replace("host=", "host=/nowhere")
    with pytest.raises(StorageError) as refused:
        heads.open("b", SharedStore(url=gone, connect_timeout_s=0.5))
    assert "hush" not in f"{refused.value}{caplog.text}{shared!r}{store_of(a)._database.where}"
    with pytest.raises(InvalidRequest, match=r"cache\.store"):
        heads.open("c", SharedStore(url="postgresql://ap@/x?nonsense=1"))
