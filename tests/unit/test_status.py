"""Health, status and engines, from workers in every state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.requests import engine, request
from tests.support.routed import Caller, Routed

from audio_pool.errors import EngineUnavailable
from audio_pool.pool import status as module
from audio_pool.results import Failure
from audio_pool.scheduler import events

TWO = [
    {"name": "maker", "engines": ["tone"], "roles": ["generate"]},
    {"name": "master", "engines": ["hum"], "roles": ["generate", "master"]},
]
INFOS = (engine(), engine("hum"))
Build = Callable[..., Routed]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    made: list[Routed] = []

    def build(*infos: Any, **sections: Any) -> Routed:
        made.append(Routed(tmp_path, infos or INFOS, **{"workers": TWO, **sections}))
        return made[-1]

    yield build
    for one in made:
        one.close()


def exited(name: str, reason: str = "signal SIGKILL", incarnation: int = 1) -> events.WorkerExited:
    return events.WorkerExited(worker=name, incarnation=incarnation, reason=reason)


# -- health ----------------------------------------------------------------------------------------


def test_a_pool_that_is_coming_up_is_starting(build: Build) -> None:
    pool = build()
    pool.feed(events.Tick())
    health = pool.view.health()
    assert (health.state, health.reasons, health.engines) == ("starting", (), {"tone": "starting", "hum": "starting"})
    pool.get_ready("maker", 1)
    assert pool.view.health().state == "starting", "nobody masters yet"
    pool.get_ready("master", 1)
    assert pool.view.health().state == "ready"
    assert pool.view.health().engines == {"tone": "ready", "hum": "ready"}


@pytest.mark.parametrize(("role", "engines", "state"), [("generate", ["tone"], "ready"), ("embed", [], "starting")])
def test_a_worker_without_a_place_keeps_nobody_waiting_where_others_do_all_that_it_would(
    build: Build, role: str, engines: list[str], state: str
) -> None:
    pool = build(workers=[*TWO, {"name": "more", "engines": engines, "roles": [role]}])
    pool.feed(events.Tick())
    pool.get_ready("maker", 1)
    pool.get_ready("master", 1)
    assert pool.view.health().state == "starting", "it loads"
    pool.scheduler.workers.on_pending("more", 1, "no GPU is free", 1800.0, 0.0)
    assert pool.view.health().state == state


def test_a_worker_that_cannot_load_says_why(build: Build) -> None:
    pool = build().start()
    pool.feed(exited("maker"))
    pool.scheduler.workers.workers["maker"].failure = Failure.of(EngineUnavailable("no torch"))
    health = pool.view.health()
    assert health.state == "degraded" and health.engines == {"tone": "down", "hum": "ready"}
    assert health.reasons == ("worker 'maker': no torch; it is started again",)
    maker = pool.scheduler.workers.workers["maker"]
    maker.state, maker.due = "broken", time.monotonic() + 12.2
    assert pool.view.health().reasons == ("worker 'maker': no torch; broken: it is tried again in 12 s",)
    assert pool.view.health().engines["tone"] == pool.view.status().workers["maker"].state == "broken"


def test_a_worker_that_is_tried_again_is_half_open(build: Build) -> None:
    pool = build().start()
    pool.scheduler.workers.workers["maker"].breaker.probe()
    health = pool.view.health()
    assert health.state == "degraded" and health.engines == {"tone": "half_open", "hum": "ready"}
    assert health.reasons == (
        "worker 'maker': half_open: it is up again, and its next task decides whether it is well",
    )
    assert pool.view.status().workers["maker"].state == "half_open"


def test_a_worker_that_is_silent_is_not_ready_before_it_is_killed(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = build().start()
    sign = pool.scheduler.workers.workers["master"].last_sign
    monkeypatch.setattr(module.time, "monotonic", lambda: sign + 3.0)
    pool.feed(events.Tick())
    for worker in pool.scheduler.workers.workers.values():
        worker.last_sign = sign + (3.0 if worker.plan.name == "maker" else 0.0)
    health = pool.view.health()
    assert health.state == "degraded" and health.engines == {"tone": "ready", "hum": "silent"}
    assert health.reasons == ("worker 'master': ready, last heard of 3.0 s ago",)


def test_an_engine_is_ready_where_any_of_its_workers_is(build: Build) -> None:
    pool = build(workers=[{"name": "w", "engines": ["tone"], "count": 2}]).start()
    pool.feed(exited("w-1"))
    assert pool.view.health().state == "degraded" and pool.view.health().engines == {"tone": "ready"}


def test_a_pool_that_stops_is_draining(build: Build) -> None:
    pool = build().start()
    pool.intake.submit(request(), Caller().sink)
    pool.feed(events.Drain(deadline=1e12))
    assert pool.view.health().state == "draining"


# -- status ----------------------------------------------------------------------------------------


def test_status_counts_what_is_under_way_and_what_was_answered(build: Build) -> None:
    pool = build(workers=[{"name": "w", "engines": ["tone"], "credit": 1}]).start(device="cuda:0")
    callers = [Caller() for _ in range(3)]
    numbers = [pool.intake.submit(request(force=True), one.sink) for one in callers]
    pool.intake.cancel(numbers[2])
    status = pool.view.status()
    assert (status.requests, status.waiting, status.answers) == (2, 1, {"cancelled": 1})
    assert status.health == "ready" and status.semantic == "off" and status.cache.endswith("cache")
    worker = status.workers["w"]
    assert (worker.state, worker.incarnation, worker.device, worker.tasks) == ("ready", 1, "cuda:0", 1)
    assert worker.engines == ("tone",) and worker.roles == ("embed", "generate", "master", "score")
    assert status["workers"]["w"]["jobs"] == 1, "protocol v1's name"
    assert set(status.arena) >= {"slots", "leased", "bytes"}


def test_status_says_how_it_looks_up_by_meaning_or_why_not(build: Build) -> None:
    pool = build(encoders=("minilm", "clap"))
    assert pool.view.status().semantic == "minilm, clap"
    assert pool.cache is not None
    pool.cache.near_off = "faiss is not installed"
    assert pool.view.status().semantic == "off: faiss is not installed"
    assert build(cache={"enabled": False}).view.status().cache == "off"


class Door:
    """A front end as far as status is concerned."""

    parked = False

    def __init__(self, replies: dict[str, int], messages: dict[str, int]) -> None:
        self.reply_counts, self.message_counts = replies, messages


def test_status_adds_up_all_front_ends(build: Build) -> None:
    pool = build()
    pool.router.add_front_end(Door({"replies_parked": 1}, {"refused": 2}))  # type: ignore[arg-type]
    pool.router.add_front_end(Door({"replies_parked": 2, "x": 1}, {"refused": 3}))  # type: ignore[arg-type]
    pool.service.feedback("r", "wrong", "", Caller().sink)
    status = pool.view.status()
    assert status.replies == {"replies_parked": 3, "x": 1}
    assert status.clients == {"refused": 5, "feedback_wrong": 1}


# -- engines ---------------------------------------------------------------------------------------


def test_engines_say_everything_and_whether_they_can_be_asked(build: Build) -> None:
    pool = build(engine(kinds=("effects",)), engine("hum", speech=True)).start()
    pool.feed(exited("maker"))
    reports = {report.name: report for report in pool.view.engines().engines}
    assert list(reports) == ["hum", "tone"], "by name"
    tone = reports["tone"]
    assert (tone.state, tone.kinds, tone.model) == ("down", ("effects",), "models/tone")
    assert reports["hum"].state == "ready" and reports["hum"].speech
    assert reports["hum"]["kind"] == "generator", "protocol v1's name of the role"


def test_an_engine_that_only_its_worker_knows_is_listed_once_it_is_ready(build: Build) -> None:
    pool = build(engine())
    assert [report.name for report in pool.view.engines().engines] == ["tone"]
    pool.infos["hum"] = engine("hum")
    assert [report.name for report in pool.view.engines().engines] == ["hum", "tone"]
