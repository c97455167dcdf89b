"""Whole pools on one database: what one makes the other delivers, and both go on while the database is gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.heads import Heads
from tests.support.bench_pool import settings
from tests.support.postgres import PostgresServer
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioPool, AudioResult


@pytest.fixture(scope="module")
def pools(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AudioPool, AudioPool]]:
    """Two heads."""
    place = tmp_path_factory.mktemp("pools")
    with postgres.database("pools") as url, Heads(url, place) as heads:
        opened = []
        for name in ("one", "two"):
            config = settings(
                place,
                [{"name": "w", "engines": ["procedural"]}],
                cache={"dir": str(heads.directory(name)), "store": url, "store_connect_s": 1.0, "store_timeout_s": 5.0},
            )
            opened.append(heads.enter_context(AudioPool.from_config(config)))
        yield opened[0], opened[1]


def _make(pool: AudioPool, prompt: str) -> AudioResult:
    return pool.generate(prompt, duration_s=0.5, timeout_s=PATIENCE_S)


def test_what_one_makes_the_other_delivers(pools: tuple[AudioPool, AudioPool]) -> None:
    one, two = pools
    made = _make(one, "rain on a tin roof")
    assert not made.metadata.cached
    eventually(lambda: _kept(two, "rain on a tin roof"), "the other head knows it")
    hit = _make(two, "rain on a tin roof")
    assert hit.metadata.cached and Path(hit.path).read_bytes() == Path(made.path).read_bytes()


def _kept(pool: AudioPool, prompt: str) -> bool:
    return bool(pool.library.search(prompt).sounds)


def test_what_both_are_asked_for_at_once_is_made_once(pools: tuple[AudioPool, AudioPool]) -> None:
    for number in range(3):
        found: list[AudioResult] = []

        def ask(pool: AudioPool, number: int = number, found: list[AudioResult] = found) -> None:
            found.append(_make(pool, f"a bell {number}"))

        threads = [threading.Thread(target=ask, args=(pool,)) for pool in pools]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert sorted(one.metadata.cached for one in found) == [False, True]


def test_hits_go_on_while_the_database_is_gone(pools: tuple[AudioPool, AudioPool], postgres: PostgresServer) -> None:
    one, _ = pools
    _make(one, "wind in the reeds")
    with postgres.gone():
        eventually(lambda: one.health().state == "degraded", "it says so")
        assert "cannot be reached" in " ".join(one.health().reasons)
        assert "postgresql://" not in " ".join(one.health().reasons)
        assert _make(one, "wind in the reeds").metadata.cached
        new = _make(one, "a new sound")
        assert Path(new.path).exists() and any(told.startswith("not_kept") for told in new.metadata.warnings)
    eventually(lambda: one.health().state == "ready", "it is well again")
    _make(one, "another new sound")
    assert _make(one, "another new sound").metadata.cached
