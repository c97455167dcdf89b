"""``audio-pool doctor --cluster`` before real servers: what is well, what is wrong, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")
pytest.importorskip("moto", reason="moto is not installed: make test-cluster")

import msgspec
import psycopg
from click.testing import CliRunner
from tests.support.object_server import KEYS, ObjectServer
from tests.support.object_server import served as object_server
from tests.support.postgres import PostgresServer
from tests.support.served import as_toml
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioPool
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.cli.doctor import doctor

Told = dict[str, tuple[str, str, str]]
"""What was looked at -> its state, what was found, what to do."""
Doctor = Callable[..., Told]


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectServer]:
    with pytest.MonkeyPatch.context() as patch, object_server() as server:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.chdir(tmp_path)

    def asked(**sections: Any) -> Told:
        sections["cache"] = {"dir": str(tmp_path / "cache"), "store_connect_s": 2.0, **sections.get("cache", {})}
        (tmp_path / "pool.toml").write_text(as_toml(sections))
        done = CliRunner().invoke(doctor, ["--cluster", "--json", "--config", str(tmp_path / "pool.toml")])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert logging.getLogger("audio_pool.cache").level == logging.NOTSET, "quiet for as long as it looks"
        assert all(secret not in done.output for secret in (*KEYS.values(), "sesame"))
        found = json.loads(done.stdout)
        assert done.exit_code == (0 if found["ok"] else 1)
        return {one["what"]: (one["state"], one["told"], one["mend"]) for one in found["findings"]}

    return asked


def objects(place: ObjectPlace) -> dict[str, Any]:
    return {"blobs": place.url, "objects": msgspec.to_builtins(place.settings)}


def rows(url: str) -> dict[str, int]:
    """Every table of a database with its rows, but for the feed's own bookkeeping."""
    with psycopg.connect(url) as db:
        found = db.execute("SELECT schemaname || '.' || relname FROM pg_stat_user_tables").fetchall()
        return {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for (name,) in found}


def test_what_is_well_is_told_and_nothing_is_left(
    ask: Doctor, database: str, store: ObjectServer, tmp_path: Path
) -> None:
    place = store.place()
    cache = {"store": database, **objects(place)}
    new = ask(cache=cache)
    assert "has no tables yet" in new["database.schema"][1] and new["database.schema"][0] == "ok"
    assert "belongs to no cache yet" in new["objects.prefix"][1]
    assert not rows(database) and not store.keys(place)

    with AudioPool.from_config({"cache": {"dir": str(tmp_path / "cache"), "encoder": "off", **cache}}) as pool:
        assert pool.generate("rain", duration_s=0.3, timeout_s=PATIENCE_S).path
    before = rows(database), store.keys(place)
    running = ask(cache=cache)
    assert (rows(database), store.keys(place)) == before
    for what in ("database", "database.writes", "database.listen", "database.clock", "objects", "objects.once",
                 "objects.lists", "objects.clock", "database.transactions"):  # fmt: skip
        assert running[what][0] == "ok", (what, running[what])
    assert "PostgreSQL" in running["database"][1] and "of them by heads" in running["database.connections"][1]
    assert "database.settings" not in running
    assert running["objects.prefix"] == ("ok", "belongs to this cache", "")
    assert "and 1 sound" in running["database.schema"][1] and running["database.schema"][0] == "ok"
    with psycopg.connect(database) as db:
        left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'audio_pool'"
        assert db.execute(left).fetchone() == (0,)


def test_a_database_that_is_gone_is_not_there_or_lets_nobody_in(
    ask: Doctor, postgres: PostgresServer, database: str
) -> None:
    with postgres.gone():
        state, told, mend = ask(cache={"store": database})["database"]
    assert state == "problem" and "connection" in told and "is it running" in mend
    nowhere = postgres.url("no_such").replace("//ap@", "//ap:sesame@")
    state, told, mend = ask(cache={"store": nowhere})["database"]
    assert state == "problem" and "no_such" in told and "createdb" in mend
    nobody = ask(cache={"store": database.replace("//ap@", "//nobody@")})["database"]
    assert nobody[0] == "problem" and "createuser" in nobody[2]
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("CREATE ROLE guest LOGIN")
    try:
        guest = database.replace("//ap@", "//guest:sesame@")
        found = ask(cache={"store": guest})
        assert found["database.schema"][0] == "problem" and "GRANT CREATE" in found["database.schema"][2]
        assert found["database.password"][0] == "note" and found["database.writes"][0] == "ok"
        assert "of this role" in found["database.transactions"][1]
        with psycopg.connect(database, autocommit=True) as db:
            db.execute("CREATE SCHEMA audio_pool; CREATE TABLE audio_pool.facts (name text, value text)")
        refused = ask(cache={"store": guest})["database.schema"]
        assert refused[0] == "problem" and "GRANT ALL ON SCHEMA" in refused[2]
    finally:
        with psycopg.connect(database, autocommit=True) as db:
            db.execute("DROP ROLE guest")


def test_what_takes_no_writes_is_told(ask: Doctor, postgres: PostgresServer) -> None:
    with postgres.database("asked_read_only") as url, postgres.read_only("asked_read_only"):
        found = ask(cache={"store": url})
    assert found["database.writes"][0] == "problem" and "read-only" in found["database.writes"][1]
    with PostgresServer(postgres._programs) as standby:
        standby.stop()
        (standby.place / "d" / "standby.signal").touch(mode=0o644)
        standby.start()
        found = ask(cache={"store": standby.url()})
    assert found["database.writes"][0] == "problem" and "standby" in found["database.writes"][1]
    assert "target_session_attrs=read-write" in found["database.writes"][2]
    assert "database.listen" not in found and found["database.clock"][0] == "ok"


def test_another_version_of_the_tables_is_told(
    ask: Doctor, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audio_pool.cache.postgres import diagnosis

    with AudioPool.from_config(
        {"cache": {"dir": str(tmp_path / "cache"), "encoder": "off", "store": database}}
    ) as pool:
        pool.wait_ready(PATIENCE_S)
    with monkeypatch.context() as patch:
        patch.setattr(diagnosis, "SCHEMA_VERSION", diagnosis.SCHEMA_VERSION + 1)
        older = ask(cache={"store": database})["database.schema"]
    assert older[0] == "note" and "the first head of this version brings it to" in older[1]
    with psycopg.connect(database) as db:
        db.execute("UPDATE audio_pool.facts SET value = '999' WHERE name = 'schema_version'")
    newer = ask(cache={"store": database})["database.schema"]
    assert newer[0] == "problem" and "version 999" in newer[1] and "upgrade audio_pool" in newer[2]


def test_heads_that_live_and_jobs_that_wait_for_none_are_told(ask: Doctor, database: str, tmp_path: Path) -> None:
    cache = {"dir": str(tmp_path / "cache"), "encoder": "off", "store": database}
    bind = f"ipc://{tmp_path}/s"
    with AudioPool.from_config({"cache": cache, "server": {"bind": bind}}, serve=True):
        state, told, _ = ask(cache={"store": database})["database.heads"]
        assert state == "ok" and "1 live" in told and "0 in hand, 0 wait" in told
    with psycopg.connect(database) as db:
        db.execute(
            "INSERT INTO audio_pool.jobs (owner, request_id, request, body, rights, priority, state, created_at)"
            " VALUES ('o', 'r', '', '', '', 1, 'pending', extract(epoch FROM clock_timestamp()) - 90)"
        )
    state, told, mend = ask(cache={"store": database})["database.heads"]
    assert state == "note" and "0 live" in told and "1 wait, one of them for 9" in told and "start a head" in mend


def test_a_forgotten_transaction_and_a_full_server_are_told(
    ask: Doctor, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audio_pool.cache.postgres import diagnosis

    monkeypatch.setattr(diagnosis, "_HELD_S", 0.0)
    with psycopg.connect(database) as forgotten, psycopg.connect(database, autocommit=True) as db:
        forgotten.execute("SELECT pg_current_xact_id()")
        state, told, mend = ask(cache={"store": database})["database.transactions"]
        assert state == "note" and f"pid {forgotten.info.backend_pid}" in told and "pg_terminate_backend" in mend
        name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
        db.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 3")
        state, told, mend = ask(cache={"store": database, "store_connections": 4})["database.connections"]
        assert state == "note" and "of 3 by the database's limit" in told and "up to 10" in told and mend


def test_sounds_without_an_object_store_must_lie_in_a_shared_folder(ask: Doctor, database: str, tmp_path: Path) -> None:
    found = ask(cache={"store": database})
    assert found["cache.dir"][0] == "note" and "this machine's alone" in found["cache.dir"][1]
    assert found["jobs.dir"][0] == "note" and "all heads" in found["jobs.dir"][2]
    cache = {"dir": str(tmp_path / "cache"), "encoder": "off", "store": database}
    with AudioPool.from_config({"cache": cache}) as pool:
        assert pool.generate("rain", duration_s=0.3, timeout_s=PATIENCE_S).path
    assert ask(cache={"store": database})["cache.dir"][0] == "ok"
    other = ask(cache={"store": database, "dir": str(tmp_path / "other")})["cache.dir"]
    assert other[0] == "problem" and "1 of the 1 newest sounds" in other[1] and "cache.blobs" in other[2]


class Pooler:
    """A relay to a server's socket that lets through what a pooler by transaction does: no options, nothing heard."""

    def __init__(self, server: PostgresServer) -> None:
        self._target = str(server.place / f".s.PGSQL.{server.port}")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            threading.Thread(target=self._to_server, args=(ours, server), daemon=True).start()
            threading.Thread(target=self._to_client, args=(server.makefile("rb"), ours), daemon=True).start()

    @staticmethod
    def _to_server(ours: socket.socket, server: socket.socket) -> None:
        try:
            # libpq asks for encryption first
            asked = ours.recv(8, socket.MSG_WAITALL)
            while asked[4:] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):
                ours.sendall(b"N")
                asked = ours.recv(8, socket.MSG_WAITALL)
            # the rest of the first message: what is wanted, by name
            pairs = ours.recv(int.from_bytes(asked[:4], "big") - 8, socket.MSG_WAITALL).split(b"\0")[:-2]
            kept = [part for name, value in zip(pairs[::2], pairs[1::2], strict=True) if name != b"options" for part in
                    (name, value)]  # fmt: skip
            body = asked[4:] + b"\0".join(kept) + b"\0\0"
            asked = (len(body) + 4).to_bytes(4, "big") + body
            while asked:
                server.sendall(asked)
                asked = ours.recv(1 << 16)
        except OSError:
            pass
        finally:
            server.close()

    @staticmethod
    def _to_client(server: Any, ours: socket.socket) -> None:
        try:
            while head := server.read(5):
                body = server.read(int.from_bytes(head[1:], "big") - 4)
                if head[:1] != b"A":
                    ours.sendall(head + body)
        except OSError:
            pass
        finally:
            ours.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes whoever accepts
        self._listener.close()


def test_a_pooler_through_which_nothing_is_heard_is_told(
    ask: Doctor, postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audio_pool.cache.postgres import diagnosis

    monkeypatch.setattr(diagnosis, "_HEARD_WITHIN_S", 0.5)
    pooler = Pooler(postgres)
    try:
        name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
        found = ask(cache={"store": f"postgresql://ap@127.0.0.1:{pooler.port}/{name}"})
    finally:
        pooler.close()
    assert found["database.listen"][0] == "problem" and "by session" in found["database.listen"][2]
    assert found["database.settings"][0] == "problem" and "drops options" in found["database.settings"][2]
    assert found["database.writes"][0] == "ok"


def test_an_object_store_that_is_not_as_it_should_be_is_told(
    ask: Doctor, store: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = store.place()
    missing = ask(cache=objects(ObjectPlace(url="s3://no-such-bucket/x", settings=place.settings)))["objects"]
    assert missing[0] == "problem" and "no bucket" in missing[1] and missing[2] == "make it"
    for mode in ("gone", "hang", "error"):
        store.proxy.set(mode)
        try:
            begun = time.monotonic()
            state, told, mend = ask(cache=objects(place))["objects"]
            assert state == "problem" and "is not there" in told and "allow_http" in mend
            assert time.monotonic() - begun < PATIENCE_S
        finally:
            store.proxy.set("pass")
    cache = {"encoder": "off", **objects(place)}
    with AudioPool.from_config({"cache": {"dir": str(tmp_path / "one"), **cache}}) as pool:
        assert pool.generate("rain", duration_s=0.3, timeout_s=PATIENCE_S).path
    assert ask(cache={**cache, "dir": str(tmp_path / "one")})["objects.prefix"] == ("ok", "belongs to this cache", "")
    with AudioPool.from_config({"cache": {"dir": str(tmp_path / "two"), "encoder": "off"}}) as pool:
        pool.wait_ready(PATIENCE_S)
    other = ask(cache={**cache, "dir": str(tmp_path / "two")})["objects.prefix"]
    assert other[0] == "problem" and "another cache" in other[1]
    (tmp_path / "keys").write_text("aws_access_key_id = sesame\n")
    (tmp_path / "keys").chmod(0o644)
    readable = objects(place)
    readable["objects"]["credentials_file"] = str(tmp_path / "keys")
    assert "chmod 600" in ask(cache=readable)["objects"][1]


def test_wrong_credentials_are_told(ask: Doctor, store: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    place = store.place()
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
    state, told, mend = ask(cache=objects(place))["objects"]
    assert state == "problem" and "refuses it" in told and "credentials" in mend


def test_a_store_that_writes_over_what_is_there_is_told(ask: Doctor, store: ObjectServer) -> None:
    """One that does not heed If-None-Match: what asks for it is taken out on the way."""
    place = store.place()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_without_conditions, args=(listener, store.proxy.address), daemon=True).start()
        deaf = objects(place)
        deaf["objects"]["endpoint"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
        found = ask(cache=deaf)
        listener.shutdown(socket.SHUT_RDWR)  # wakes whoever accepts
    assert found["objects.once"][0] == "problem" and "If-None-Match" in found["objects.once"][1]
    assert found["objects.lists"][0] == "ok" and not store.keys(place)


def _without_conditions(listener: socket.socket, to: tuple[str, int]) -> None:
    def relay(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data.replace(b"if-none-match: *\r\n", b""))
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def converse(ours: socket.socket) -> None:
        with ours, socket.create_connection(to) as theirs:
            back = threading.Thread(target=relay, args=(theirs, ours), daemon=True)
            back.start()
            relay(ours, theirs)
            back.join()

    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=converse, args=listener.accept()[:1], daemon=True).start()


def test_one_machine_is_told_that_there_is_nothing_to_ask(ask: Doctor) -> None:
    found = ask()
    assert found["cluster"][0] == "note" and "names no other machine" in found["cluster"][1]
