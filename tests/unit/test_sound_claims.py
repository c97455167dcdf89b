"""One of two processes on a directory holds the claim on a sound, for as long as it lives and renews it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.recipes import recipe

from audio_pool.cache.making import LEASE_S, key_of
from audio_pool.cache.sqlite.store import SqliteStore

KEY, OTHER = b"k" * 16, b"o" * 16


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[SqliteStore, SqliteStore]]:
    one, two = SqliteStore(tmp_path), SqliteStore(tmp_path)
    yield one, two
    one.close()
    two.close()


def test_one_of_two_holds_a_claim(stores: tuple[SqliteStore, SqliteStore]) -> None:
    one, two = stores
    assert one.claims.take(KEY) and not two.claims.take(KEY)
    assert one.claims.take(KEY), "one's own is kept"
    assert two.claims.take(OTHER)
    two.claims.give_back(KEY)
    assert not two.claims.take(KEY), "another's claim cannot be given back"
    one.claims.give_back(KEY)
    assert two.claims.take(KEY) and not one.claims.take(KEY)


def test_a_claim_that_is_not_renewed_ends(
    stores: tuple[SqliteStore, SqliteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = stores
    now = 1000.0
    monkeypatch.setattr("audio_pool.cache.sqlite.claims.uptime_s", lambda: now)
    assert one.claims.take(KEY) and one.claims.take(OTHER)
    now += LEASE_S - 1
    one.claims.renew([KEY])
    now += 2
    assert two.claims.take(OTHER) and not two.claims.take(KEY)
    one.claims.renew([OTHER])  # too late: it is another's by now
    assert not one.claims.take(OTHER)


def test_the_claim_of_a_store_that_was_closed_ends_at_once(tmp_path: Path) -> None:
    one, two = SqliteStore(tmp_path), SqliteStore(tmp_path)
    one.claims.take(KEY)
    one.close()  # a killed process lets go of its folder likewise: tests/process/test_made_once.py
    assert two.claims.take(KEY)
    two.close()


def test_a_sound_after_a_claim_is_still_durable(stores: tuple[SqliteStore, SqliteStore]) -> None:
    one, _ = stores
    one.claims.take(KEY)
    with one.database.writing("looking") as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"


def test_whoever_is_alone_knows_it_until_somebody_comes(tmp_path: Path) -> None:
    one = SqliteStore(tmp_path)
    owner, neighbours = one.blobs.owner, one.blobs.neighbours
    assert neighbours.alone(owner) and neighbours.alone(owner)
    past = time.time() - 60
    os.utime(tmp_path / "incoming", (past, past))
    assert neighbours.alone(owner) and neighbours.alone(owner), "the second time it is only asked what has changed"
    (tmp_path / "incoming" / "coming").mkdir()
    assert not neighbours.alone(owner), "its lock is not there yet"
    (tmp_path / "incoming" / "coming").rmdir()
    two = SqliteStore(tmp_path)
    _ = two.blobs.incoming
    assert not neighbours.alone(owner) and not two.blobs.neighbours.alone(two.blobs.owner)
    two.close()
    assert neighbours.alone(owner)
    one.close()
    shutil.rmtree(tmp_path / "incoming")
    assert not neighbours.alone(owner), "nothing is known"


def test_leftover_claims_go_at_the_next_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path)
    store.claims.take(KEY)
    monkeypatch.setattr("audio_pool.cache.sqlite.store.clock_name", lambda: "another start of the machine")
    SqliteStore(tmp_path).close()
    assert store.database.query("SELECT count(*) FROM claims") == [(0,)]
    store.close()


def test_what_is_claimed_is_what_would_be_a_hit_for_both() -> None:
    plain = recipe(prompt="rain on a roof")
    assert key_of(plain) == key_of(recipe(prompt="  Rain on a ROOF."))
    others = [
        recipe(prompt="rain on a tent"),
        recipe(prompt="rain on a roof", frames=88_200),
        recipe(prompt="rain on a roof", seed=1),
        recipe(prompt="rain on a roof", seed=2),
        recipe(prompt="rain on a roof", steps=9),
    ]
    assert len({key_of(plain), *map(key_of, others)}) == len(others) + 1
