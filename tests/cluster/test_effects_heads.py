"""Heads know of each other: what one holds ends when it dies, stands still or shuts down, and not while it lives."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import structs
from tests.cluster.heads import Heads, store_of
from tests.support.postgres import PostgresServer
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient
from audio_pool.cache.making import LEASE_S as CLAIM_S
from audio_pool.cache.postgres.heads import LEASE_S, LIVES, HeadLease
from audio_pool.cache.sound_cache import SoundCache

KEY = b"k" * 16


def rows(url: str, statement: str, *values: object) -> list[Any]:
    with psycopg.connect(url, autocommit=True, options="-c search_path=audio_pool") as db:
        return db.execute(statement, values).fetchall()


def lives(url: str, head: str) -> bool:
    return bool(rows(url, f"SELECT {LIVES.format(head='%s')}", head)[0][0])


def lease_of(cache: SoundCache) -> HeadLease:
    return store_of(cache).lease


def test_the_claims_of_a_head_that_shuts_down_end_at_once(heads: Heads) -> None:
    a, b = heads.open("a"), heads.open("b")
    assert a.store.claims.take(KEY) and not b.store.claims.take(KEY)
    heads.close_one("a")
    assert b.store.claims.take(KEY)


def test_the_claims_of_a_head_end_with_its_lease_and_not_before(heads: Heads, database: str) -> None:
    a, b = heads.open("a"), heads.open("b")
    assert a.store.claims.take(KEY)
    lease_of(a)._left = True  # it beats no more, as one that stands still
    assert lives(database, lease_of(a).id) and not b.store.claims.take(KEY)
    rows(database, "UPDATE heads SET due = clock_timestamp() WHERE id = %s RETURNING id", lease_of(a).id)
    assert not lives(database, lease_of(a).id) and b.store.claims.take(KEY)
    lease_of(a).begin()
    assert lives(database, lease_of(a).id) and not a.store.claims.take(KEY), "what others took stays theirs"


def test_a_head_that_lives_holds_its_lease_for_as_long_as_it_does(heads: Heads, database: str) -> None:
    a = heads.open("a")
    due = "SELECT extract(epoch FROM due - clock_timestamp())::float8, due::text FROM heads WHERE id = %s"
    first = rows(database, due, lease_of(a).id)[0]
    assert 0.0 < first[0] <= LEASE_S
    eventually(lambda: rows(database, due, lease_of(a).id)[0][1] != first[1], "it is renewed")


def test_a_head_is_there_again_after_its_database_was_gone(
    heads: Heads, postgres: PostgresServer, database: str
) -> None:
    a = heads.open("a")
    with postgres.gone():
        pass
    rows(database, "DELETE FROM heads RETURNING id")
    eventually(lambda: lives(database, lease_of(a).id), "it beats again")


def test_heads_know_who_else_can_be_reached(heads: Heads) -> None:
    a = heads.open("a", structs.replace(heads.shared, address="tcp://one"))
    b = heads.open("b", structs.replace(heads.shared, address="tcp://two"))
    heads.open("a tool")
    eventually(lambda: [head.address for head in lease_of(a).others] == ["tcp://two"], "a knows of b")
    assert [head.address for head in lease_of(b).others] == ["tcp://one"]
    heads.close_one("a")
    eventually(lambda: not lease_of(b).others, "a has left")


def test_what_is_left_of_heads_that_died_long_ago_is_forgotten(heads: Heads, database: str) -> None:
    a = heads.open("a")
    assert a.store.claims.take(KEY)
    old = "clock_timestamp() - interval '2 hours'"
    rows(database, f"INSERT INTO heads VALUES ('old', '', {old}, {old}, {old}) RETURNING id")
    rows(database, f"INSERT INTO claims VALUES ('\\x00', 'old', {old}) RETURNING key")
    store_of(a)._database.write("forgetting", lambda db: HeadLease.forget_dead(db))
    assert rows(database, "SELECT id FROM heads") == [(lease_of(a).id,)]
    assert rows(database, "SELECT key FROM claims") == [(KEY,)]


@pytest.fixture
def servers(heads: Heads, database: str, tmp_path: Path) -> Iterator[list[Served]]:
    both = [
        Served(tmp_path / f"server_{name}", cache={"dir": str(heads.directory(name)), "store": database})
        for name in ("a", "b")
    ]
    yield [server.ready() for server in both]
    for server in both:
        server.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_what_a_head_was_making_is_taken_over_when_its_lease_is_over(
    servers: list[Served], database: str, tmp_path: Path, how: signal.Signals
) -> None:
    prompt = f"hold {tmp_path / 'gate'}"
    due = "SELECT extract(epoch FROM due)::float8 FROM claims"
    with AudioClient(servers[0].endpoint) as one, AudioClient(servers[1].endpoint) as two:
        eventually(lambda: len(two.status()["heads"]) == 1, "it knows of the other one")
        assert two.status()["heads"][0].startswith(f"{servers[0].endpoint} on ")
        begun = one.submit(prompt)
        eventually(servers[0].diary, "the first has begun")
        waiting = two.submit(prompt)
        servers[0].process.send_signal(how)
        held_until = rows(database, due)[0][0]
        eventually(servers[1].diary, "the second has taken it over")
        eventually(lambda: not two.status()["heads"], "and knows that the other one is gone")
        assert rows(database, due)[0][0] - CLAIM_S < held_until, "before the claim would have ended by itself"
        (tmp_path / "gate").touch()
        assert waiting.result(PATIENCE_S).metadata["cache_type"] == "new_generation"
        if how is signal.SIGSTOP:
            servers[0].process.send_signal(signal.SIGCONT)
            assert begun.result(PATIENCE_S).metadata["prompt"] == prompt
