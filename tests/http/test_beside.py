"""A gateway that ``serve --http`` keeps running beside its pool: it comes back, it ends with it, over CURVE as well."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from tests.http.conftest import Pool, running
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.transport.keys import create_keys

SOUND = {"prompt": "a door shuts", "duration_s": 0.2}


class Beside:
    """A pool with a gateway beside it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.url = pool.hear("http")["endpoint"]
        pool.hear("ready")

    def children(self) -> dict[bool, list[psutil.Process]]:
        """Its living children: gateways (True) and others."""
        found: dict[bool, list[psutil.Process]] = {True: [], False: []}
        for child in psutil.Process(self.pool.process.pid).children():
            with contextlib.suppress(psutil.Error):
                found["gateway" in child.cmdline()].append(child)
        return found

    def gateway(self) -> psutil.Process:
        (one,) = eventually(lambda: self.children()[True], "a gateway runs")
        return one

    def ask(self) -> int:
        return httpx.post(f"{self.url}/v1/sounds", json=SOUND, timeout=PATIENCE_S, trust_env=False).status_code


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    pool = Pool(tmp_path_factory.mktemp("b"), "--http", "127.0.0.1:0")
    with running(pool):
        yield Beside(pool)


def test_a_gateway_that_dies_comes_back_and_nobody_is_turned_away(beside: Beside) -> None:
    assert beside.ask() == 200
    workers = beside.children()[False]
    for _ in range(2):
        first = beside.gateway()
        first.kill()
        assert beside.ask() == 200  # its address is bound all the while
        assert beside.gateway().pid != first.pid
    assert workers and beside.children()[False] == workers


def test_a_worker_s_death_and_the_gateway_s_life_are_two_things(beside: Beside) -> None:
    gateway = beside.gateway()
    (worker,) = beside.children()[False]
    worker.kill()
    eventually(lambda: beside.children()[False] not in ([], [worker]), "another worker has come")
    assert beside.ask() == 200 and beside.gateway().pid == gateway.pid


def test_it_ends_with_a_pool_that_is_killed(beside: Beside) -> None:
    gateway = beside.gateway()
    beside.pool.process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs([gateway], PATIENCE_S)
    assert not alive


def test_over_curve_it_has_a_key_of_its_own_and_it_ends_with_the_pool(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    pool = Pool(tmp_path / "p", "--http", "127.0.0.1:0", "--keys", str(tmp_path / "keys"), bind="tcp://127.0.0.1:*")
    with running(pool):
        beside = Beside(pool)
        assert beside.ask() == 200
        gateway = beside.gateway()
        assert pool.stop() == 0
        assert not gateway.is_running()
    assert (tmp_path / "keys" / "allowed_clients" / "gateway.key").exists()


def test_what_may_not_be_bound_is_refused_before_anything_starts(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "--http", "0.0.0.0:0")
    assert pool.process.wait(PATIENCE_S) == 2
    assert "no keys are set" in pool.log.read_text() and not (tmp_path / "cache" / "cache.db").exists()
    pool.stop()

