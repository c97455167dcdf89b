"""Health tells what the workers said last: a pool whose worker is stopped, killed or never came is not ready."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import eventually

BEATS = {"heartbeat_s": 0.4, "missed_heartbeats": 100, "restart_backoff_s": 0.1}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two workers with an engine each; a silent one is not killed while a test looks."""
    workers = [
        {"name": "one", "engines": ["stage"]},
        {"name": "two", "engines": ["second"]},
    ]
    with Served(tmp_path_factory.mktemp("server"), workers=workers, limits=BEATS) as served:
        yield served.ready()


@pytest.fixture
def ask(server: Served) -> Iterator[Asker]:
    with Asker(server.endpoint) as asker:
        eventually(lambda: asker.ask("health")["state"] == "ready", "ready to begin with")
        yield asker


def turned(ask: Asker, state: str) -> dict[str, Any]:
    """The first health that says so."""

    def look() -> dict[str, Any] | None:
        health = ask.ask("health")
        return health if health["state"] == state else None

    found: dict[str, Any] = eventually(look, f"health is {state}")
    return found


def test_all_is_well(ask):
    health = ask.ask("health")
    assert len(health.pop("instance")) == 16
    assert health == {
        "state": "ready",
        "reasons": [],
        "engines": {"stage": "ready", "second": "ready"},
        "blockers": [],
    }


def test_a_stopped_worker_turns_it_degraded_and_back(server, ask):
    worker = server.workers()["two"]
    worker.send_signal(signal.SIGSTOP)
    try:
        health = turned(ask, "degraded")
        assert health["engines"] == {"stage": "ready", "second": "silent"}
        (reason,) = health["reasons"]
        assert "'two'" in reason and "last heard" in reason
        ask.generate("beside", "tone beside the silent one")
        assert ask.final("beside")["type"] == "result"
    finally:
        worker.send_signal(signal.SIGCONT)
    assert turned(ask, "ready")["engines"]["second"] == "ready"
    ask.generate("again", "tone of the second", engine="second")
    assert ask.final("again")["type"] == "result"
    assert server.workers()["two"].pid == worker.pid


def test_a_killed_worker_turns_it_degraded_until_it_is_replaced(server, ask):
    worker = server.workers()["two"]
    worker.send_signal(signal.SIGKILL)
    health = turned(ask, "degraded")
    (reason,) = health["reasons"]
    assert "'two'" in reason and "SIGKILL" in reason and "started again" in reason
    assert health["engines"]["stage"] == "ready" and health["engines"]["second"] != "ready"
    # starting is for a pool that was never ready: this one is degraded until its worker is back
    seen = {health["state"]}
    eventually(lambda: seen.add(ask.ask("health")["state"]) or "ready" in seen, "ready again")
    assert seen == {"degraded", "ready"}
    assert server.workers()["two"].pid != worker.pid


def test_a_silent_worker_is_killed_and_replaced(tmp_path):
    limits = {"heartbeat_s": 0.2, "missed_heartbeats": 10, "restart_backoff_s": 0.1}
    with Served(tmp_path / "s", limits=limits).ready() as served, Asker(served.endpoint) as ask:
        worker = served.workers()["w"]
        worker.send_signal(signal.SIGSTOP)
        turned(ask, "degraded")
        ask.generate("waits", "tone that waits for a living worker")
        turned(ask, "ready")
        assert ask.final("waits")["type"] == "result"
        assert not worker.is_running()


def test_an_engine_that_does_not_load_is_named_while_the_other_serves(tmp_path):
    workers = [
        {"name": "good", "engines": ["stage"]},
        {"name": "bad", "engines": ["second"], "roles": ["generate"]},
    ]
    engines = {"second": {"trouble": "the weights are torn"}}
    limits = {"breaker_s": 3600.0, "breaker_max_s": 3600.0}  # the state that is looked at lasts
    with Served(tmp_path / "s", workers=workers, engines=engines, limits=limits) as served:
        endpoint = served.hear("degraded").split()[1]
        assert "the weights are torn" in served.stderr()
        with Asker(endpoint) as ask:
            eventually(lambda: ask.ask("health")["engines"]["stage"] == "ready", "the good one is up")
            health = ask.ask("health")
            assert health["state"] == "degraded" and health["engines"]["second"] == "broken"
            (reason,) = health["reasons"]
            assert "'bad'" in reason and "the weights are torn" in reason
            ask.generate("good", "tone that can be made")
            assert ask.final("good")["type"] == "result"
            ask.generate("bad", "tone that cannot", engine="second")
            failed = ask.final("bad")
            assert failed["type"] == "error" and "the weights are torn" in failed["error"]["message"]
        served.signal()
        assert served.wait() == 0
