"""The tests' own PostgreSQL server: another user's, gone when it is to be gone, and nothing left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from tests.support.postgres import PostgresServer
from tests.support.waiting import PATIENCE_S, eventually


def test_a_database_is_empty_takes_rows_and_is_gone_afterwards(postgres: PostgresServer) -> None:
    with postgres.database("one") as url, psycopg.connect(url) as db:
        db.execute("CREATE TABLE t (n int)")
        db.execute("INSERT INTO t VALUES (1)")
        assert db.execute("SELECT n FROM t").fetchall() == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_commits_wait_for_the_disk_and_nothing_listens_on_the_network(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.url()) as db:
        assert db.execute("SHOW fsync").fetchone() == ("on",)
        assert db.execute("SHOW listen_addresses").fetchone() == ("",)


def test_it_comes_back_with_what_was_committed(postgres: PostgresServer, database: str) -> None:
    with psycopg.connect(database) as db:
        db.execute("CREATE TABLE t (n int)")
    with postgres.gone(signal.SIGQUIT), pytest.raises(psycopg.OperationalError):
        psycopg.connect(database)
    with psycopg.connect(database) as db:
        assert db.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_read_only_is_of_one_database_and_passes(postgres: PostgresServer, database: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    refused = pytest.raises(psycopg.errors.ReadOnlySqlTransaction)
    with postgres.read_only(str(name)), psycopg.connect(database) as db, refused:
        db.execute("CREATE TABLE t (n int)")
    with psycopg.connect(database) as db:
        db.execute("CREATE TABLE t (n int)")


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


_KEEPER = """
import sys
from pathlib import Path
from tests.support.postgres import PostgresServer
with PostgresServer(Path(sys.argv[1])) as server:
    print(server.place, flush=True)
    sys.stdin.read()
"""


def test_a_killed_run_leaves_no_server(postgres: PostgresServer) -> None:
    root = Path(__file__).parents[2]
    keeper = subprocess.Popen(
        [sys.executable, "-c", _KEEPER, str(postgres._programs)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert keeper.stdin and keeper.stdout
    place = Path(keeper.stdout.readline().strip())
    servers = psutil.Process(keeper.pid).children(recursive=True)
    assert any(one.username() != "root" for one in servers) or os.getuid() != 0
    assert servers
    with keeper:
        keeper.kill()
    eventually(lambda: not any(map(_runs, servers)), "the server has ended")
    subprocess.run(["rm", "-rf", str(place)], check=True, timeout=PATIENCE_S)
