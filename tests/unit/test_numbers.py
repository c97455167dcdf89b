"""What a pool counts of its requests, how its histograms are read, and when no sound could be made."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.requests import engine, request
from tests.support.routed import Caller, Routed

from audio_pool.errors import QualityError
from audio_pool.gpu import Device, Survey
from audio_pool.numbers import BOUNDS_S, DiskSpace, GpuMemory, Histogram, Measured, PoolNumbers
from audio_pool.pool import machine as machine_module
from audio_pool.pool import under_way as under_way_module
from audio_pool.pool.machine import Machine
from audio_pool.pool.tally import Tally
from audio_pool.reports import CacheType, CandidateReport, QualityReport
from audio_pool.reports import Timings as StageTimes
from audio_pool.results import Failure, FinishedSound, Progress, SoundMetadata
from audio_pool.scheduler import events
from audio_pool.tasks import MasteredSound, Rejected


def test_the_bounds_are_those_of_opentelemetry_and_finer_ones_for_hits() -> None:
    assert BOUNDS_S[4:] == tuple(round(0.01 * 2**power, 2) for power in range(14)) and BOUNDS_S[-1] == 81.92
    assert list(BOUNDS_S) == sorted(BOUNDS_S)


def test_a_histogram_counts_up_to_and_with_each_bound() -> None:
    timings = Measured()
    for seconds in (0.0, 0.01, 0.0101, 81.92, 100.0):
        timings.add(seconds)
    told = timings.told()
    assert told.count == 5 and told.sum_s == pytest.approx(181.9401)
    assert {bound: count for bound, count in zip((*BOUNDS_S, None), told.counts, strict=True) if count} == {
        BOUNDS_S[0]: 1, 0.01: 1, 0.02: 1, 81.92: 1, None: 1,
    }  # fmt: skip


def test_quantiles_lie_on_lines_within_the_steps() -> None:
    assert Histogram().quantile(0.5) is None
    steps = dict.fromkeys(range(len(BOUNDS_S) + 1), 0)
    even = Histogram(counts=tuple({**steps, 5: 10}.values()))
    assert even.quantile(0.5) == pytest.approx(0.015) and even.quantile(1.0) == pytest.approx(0.02)
    beyond = Histogram(counts=tuple({**steps, 5: 1, len(BOUNDS_S): 1}.values()))
    assert beyond.quantile(0.99) == BOUNDS_S[-1]


def test_what_came_since_an_earlier_look() -> None:
    timings = Measured()
    timings.add(1.0)
    before = timings.told()
    timings.add(3.0)
    since = timings.told().since(before)
    assert (since.count, since.sum_s) == (1, 3.0)
    assert before.since(timings.told()) == before, "another start of the server has counted less"


def sound(cache_type: CacheType, **times: float) -> SoundMetadata:
    return SoundMetadata(cache_type=cache_type, duration_s=2.0, timings_ms=StageTimes(**times))


def test_requests_are_counted_by_what_they_came_to() -> None:
    tally = Tally()
    tally.answered("tone", "result", 0.5, sound("new_generation", generate=400.0, queue=20.0))
    for cache_type in ("exact", "canonical", "semantic", "joined"):
        tally.answered("tone", "result", 0.001, sound(cache_type))
    tally.answered("hum", "busy", 0.0, None)
    assert {(one.engine, one.status, one.cache): one.count for one in tally.requests} == {
        ("tone", "result", "new_generation"): 1, ("tone", "result", "exact"): 1, ("tone", "result", "canonical"): 1,
        ("tone", "result", "semantic"): 1, ("tone", "result", "joined"): 1, ("hum", "busy", ""): 1,
    }  # fmt: skip
    assert tally.hits == {"exact": 2, "semantic": 1, "join": 1}
    assert tally.audio_seconds == {"tone": 2.0}, "of new sounds alone"
    assert {name: one.count for name, one in tally.generate_seconds.items()} == {"tone": 1}
    assert tally.generate_seconds["tone"].sum_s == pytest.approx(0.4)
    assert tally.stage_seconds["queue"].sum_s == pytest.approx(0.02)
    assert {cache: one.count for cache, one in tally.request_seconds.items()}["exact"] == 1


def test_loads_are_counted_once_however_often_a_worker_says_that_it_is_ready() -> None:
    tally = Tally()
    for incarnation, engines in ((1, 2), (1, 3), (2, 3), (3, 1), (3, 3)):
        tally.loaded("w", incarnation, engines)
    assert tally.model_loads == {"w": 9}


# -- a whole pool ----------------------------------------------------------------------------------


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Routed]:
    pool = Routed(tmp_path, (engine(),), workers=[{"name": "w", "engines": ["tone"], "credit": 1}],
                  queue={"max_requests": 3})  # fmt: skip
    yield pool.start()
    pool.close()


def numbers_of(pool: Routed, *, discreet: bool = False) -> PoolNumbers:
    told = pool.view.status(discreet=discreet, numbers=True).numbers
    assert told is not None
    return told


def rejected(pool: Routed, *verdicts: Any) -> Rejected:
    tried = tuple(CandidateReport(seed=number, verdict=verdict) for number, verdict in enumerate(verdicts))
    return Rejected(failure=Failure.of(QualityError("silence")), tried=tried)


def test_rounds_looks_and_refused_loops_are_counted(pool: Routed) -> None:
    caller = Caller()
    pool.intake.submit(request(loop=True), caller.sink)
    assert numbers_of(pool).lookups == {"join": 1, "exact": 1}
    pool.done({1: rejected(pool, "failed_gate", "failed_gate")})
    assert numbers_of(pool).rerolls == {"gate": 1}
    pool.done({1: rejected(pool, "failed_gate")})
    numbers = numbers_of(pool)
    assert caller.reply.kind == "error"
    assert (numbers.rerolls, numbers.loop_rejects) == ({"gate": 1}, 3), "after the last round there is none"
    (note,) = numbers.errors
    assert (note.code, note.request_id) == ("quality", "r") and "silence" in note.message
    (hidden,) = numbers_of(pool, discreet=True).errors
    assert (hidden.code, hidden.message, hidden.request_id) == ("quality", "", "")
    assert numbers.model_loads == {"w": 1}


@pytest.mark.parametrize(("clap", "reason"), [(None, "quality"), (0.1, "similarity")])
def test_a_round_that_follows_a_poor_sound_says_what_was_poor(
    pool: Routed, tmp_path: Path, clap: float | None, reason: str
) -> None:
    pool.intake.submit(request(), Caller().sink)
    recipe = pool.requests[1].sound.recipe
    poor = SoundMetadata(quality=QualityReport(score=20.0), clap_similarity=clap)
    finished = FinishedSound(path=str(tmp_path / "x.flac"), recipe=recipe, metadata=poor, accepted=False)
    pool.done({1: MasteredSound(sound=finished, score=20.0)})
    assert numbers_of(pool).rerolls == {reason: 1}


def test_what_is_under_way_is_told_by_engine_and_priority(pool: Routed) -> None:
    for number, priority in enumerate(("normal", "normal", "background")):
        pool.intake.submit(request(prompt=f"p{number}", priority=priority), Caller().sink)
    load = {(one.engine, one.priority): (one.running, one.waiting) for one in numbers_of(pool).load}
    assert load == {("tone", "normal"): (1, 1), ("tone", "background"): (0, 1)}
    run = pool.run()
    told = Progress(stage="generate", done=1, total=4, fraction=0.25)
    pool.feed(
        events.TaskProgress(worker="w", incarnation=1, task=run.task_id, attempt=run.attempt, progress=told)
    )
    (work,) = pool.view.status().workers["w"].at_work
    assert (work.role, work.engine, work.stage, work.fraction, work.sounds) == ("generate", "tone", "generate", 0.25, 1)


def test_what_is_under_way_is_told_by_name_to_those_who_may_see_it(pool: Routed) -> None:
    for name, prompt, priority in (("a", "rain", "normal"), ("b", "wind", "background"), ("c", "rain", "normal")):
        pool.intake.submit(request(prompt=prompt, priority=priority), Caller(name).sink)
    run = pool.run()
    told = Progress(stage="generate", done=1, total=4, fraction=0.25)
    pool.feed(
        events.TaskProgress(worker="w", incarnation=1, task=run.task_id, attempt=run.attempt, progress=told)
    )
    running, waiting = numbers_of(pool).under_way
    assert (running.request_id, running.prompt, running.worker, running.callers) == ("a", "rain", "w", 2)
    assert (running.stage, running.fraction, running.priority) == ("generate", 0.25, "normal")
    assert (waiting.request_id, waiting.prompt, waiting.stage) == ("b", "wind", "waiting")
    assert (waiting.priority, waiting.worker, waiting.callers) == ("background", "", 1) and waiting.age_s >= 0
    assert numbers_of(pool, discreet=True).under_way == ()


def test_of_many_that_are_under_way_the_first_are_told(pool: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_way_module, "_WAITING", 1)
    for name in "abc":
        pool.intake.submit(request(prompt=name), Caller(name).sink)
    assert [(one.request_id, one.stage) for one in numbers_of(pool).under_way] == [("a", "generate"), ("b", "waiting")]


# -- readiness -------------------------------------------------------------------------------------


def test_nothing_keeps_a_healthy_pool_from_making_sounds(pool: Routed) -> None:
    assert pool.view.health().blockers == ()


def test_a_pool_without_a_worker_or_with_a_full_queue_makes_none(pool: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        pool.intake.submit(request(prompt=f"p{number}"), Caller().sink)
    assert pool.view.health().blockers == ("the queue is full",)
    pool.feed(events.WorkerExited(worker="w", incarnation=1, reason="signal SIGKILL"))
    assert pool.view.health().blockers[:2] == (
        "no worker that generates is ready", "no worker that masters is ready",
    )  # fmt: skip
    pool.feed(events.Drain(deadline=time.monotonic() + 100))
    assert pool.view.health().blockers[0] == "it is stopping"


def test_a_full_disk_is_seen_at_the_next_look(
    pool: Routed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=5 << 20, total=9 << 30))
    monkeypatch.setattr(pool.machine, "_ordered", -1e9)
    pool.view.health()
    pool.writer.run()
    assert pool.view.health().blockers == ("the disk is full: 5 MiB are free, needed are 64",)
    assert pool.view.health().state == "ready", "what is kept is served"


def test_cards_are_looked_at_only_where_a_worker_is_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Device(
        vendor="nvidia", index=0, name="H200", uuid="GPU-1", pci_address="0", total_bytes=9, used_bytes=4, free_bytes=5
    )
    asked: list[int] = []
    monkeypatch.setattr(machine_module.gpu, "survey", lambda: asked.append(1) or Survey(devices=(card,)))
    thread: Any = SimpleNamespace(submit=lambda work, *given: work(*given))
    seen = GpuMemory(uuid="GPU-1", name="H200", used_bytes=4, free_bytes=5)
    for graphics, expected in ((False, ()), (True, (seen,))):
        machine = Machine(tmp_path, dict, thread)
        machine.seen(graphics=graphics)
        assert machine.seen(graphics=graphics).gpus == expected
    assert len(asked) == 1


def test_the_machine_is_looked_at_on_another_thread_and_only_when_asked(tmp_path: Path) -> None:
    import os

    orders: list[Any] = []
    thread: Any = SimpleNamespace(submit=lambda work, *given: orders.append((work, given)))
    machine = Machine(tmp_path, lambda: {"w": os.getpid(), "gone": 2**22 + 1}, thread)
    assert machine.seen(graphics=False).worker_bytes == {} and machine.seen(graphics=False).disk.total_bytes > 0
    ((work, given),) = orders
    work(*given)
    assert machine.seen(graphics=False).worker_bytes.keys() == {"w"}
    assert machine.seen(graphics=False).worker_bytes["w"] > 1 << 20
    assert len(orders) == 1, "what was just seen is not looked at again"
    assert DiskSpace().total_bytes == 0
