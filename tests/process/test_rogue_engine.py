"""Whatever an engine does to its worker: its caller has an answer, its neighbours their sounds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.bench_pool import settings
from tests.support.engine_packages import engine_package
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.worker_processes import worker_processes

from audio_pool import AudioPool
from audio_pool.errors import Cancelled, EngineError, OutOfMemory, Timeout, WorkerStartFailed

LIMITS = {"heartbeat_s": 0.2, "missed_heartbeats": 25, "restart_backoff_s": 0.05, "cancel_grace_s": 0.5}


def config(place: Path, *, trouble: str = "", **limits: Any) -> dict[str, Any]:
    import sys

    package = engine_package(place / "package", "rogue")
    worker = {"name": "rogue", "engines": ["rogue"], "python": sys.executable, "env": {"PYTHONPATH": str(package)}}
    return settings(place, [worker], limits={**LIMITS, **limits}, engines={"rogue": {"trouble": trouble}})


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    with AudioPool.from_config(config(tmp_path_factory.mktemp("pool"))) as pool:
        yield pool


def pid(pool: AudioPool) -> Any:
    return pool.generate("tone", force=True, timeout_s=PATIENCE_S).metadata["engine_details"]["pid"]


# -- exceptions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("leave", "GenerateTask failed: SystemExit: goodbye"),
        ("interrupt", "GenerateTask failed: KeyboardInterrupt"),
        ("close", "GenerateTask failed: GeneratorExit: closed"),
        ("surrogate", r"GenerateTask failed: RuntimeError: torn \? text"),
        ("unprintable", "GenerateTask failed: Unprintable: .a Unprintable that cannot be shown"),
        ("numbered", "5"),
    ],
)
def test_whatever_an_engine_raises_ends_its_task_and_not_its_thread(pool: AudioPool, verb: str, told: str) -> None:
    before = pid(pool)
    with pytest.raises(EngineError, match=told):
        pool.generate(verb, timeout_s=PATIENCE_S)
    assert pid(pool) == before


def test_no_memory_left_is_told_and_the_worker_goes_on(pool: AudioPool) -> None:
    before = pid(pool)
    with pytest.raises(OutOfMemory):
        pool.generate("starve", timeout_s=PATIENCE_S)
    assert pid(pool) == before


def test_what_cannot_be_encoded_is_shown_as_far_as_it_can_be(pool: AudioPool) -> None:
    result = pool.generate("noted in the rain", timeout_s=PATIENCE_S)
    assert "torn: torn ? text" in result.metadata.warnings
    assert result.metadata.engine_details["torn ? text"] == ["torn ? text"]
    assert pool.generate("print", timeout_s=PATIENCE_S).path
    again = pool.generate("noted in the rain", timeout_s=PATIENCE_S)
    assert again.metadata.cached and "torn: torn ? text" in again.metadata.warnings


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("short", r"engine 'rogue' returned float32 \[2, 10\] for 0.3 s at 44,100 Hz"),
        ("wide", r"engine 'rogue' returned float32 \[8820, 13230\]"),
        ("turned", r"engine 'rogue' returned float32 \[13230, 2\]"),
        ("double", r"engine 'rogue' returned float64"),
        ("torn", r"engine 'rogue' returned no sound .*26,460 of 26,460 samples that are no number"),
        ("nothing", r"engine 'rogue' returned a NoneType"),
    ],
)
def test_what_is_no_sound_is_refused_and_not_kept(pool: AudioPool, verb: str, told: str) -> None:
    before, kept = pid(pool), pool.cache_stats().total_items
    for loop in (False, True):
        with pytest.raises(EngineError, match=told if not loop else "engine 'rogue' returned"):
            pool.generate(verb, loop=loop, timeout_s=PATIENCE_S)
    assert pid(pool) == before
    assert pool.cache_stats().total_items == kept


# -- deaths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["end", "fault"])
def test_a_death_is_tried_again(pool: AudioPool, tmp_path: Path, verb: str) -> None:
    assert pool.generate(f"{verb} {tmp_path / 'once'}", timeout_s=PATIENCE_S).path


def test_a_workers_children_die_with_it(pool: AudioPool) -> None:
    pool.generate("child", timeout_s=PATIENCE_S)
    worker = worker_processes()["rogue"]
    children = [child for child in worker.children() if child.name() == "sleep"]
    assert children
    worker.kill()
    assert not psutil.wait_procs(children, timeout=PATIENCE_S)[1], "a child lives on"
    assert pid(pool) != worker.pid


# -- hangs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["freeze", "hold"])
def test_silence_is_a_death(pool: AudioPool, tmp_path: Path, verb: str) -> None:
    """A stopped process and one whose every thread waits for the interpreter's lock send no heartbeats."""
    before = worker_processes()["rogue"]
    assert pool.generate(f"{verb} {tmp_path / 'once'}", timeout_s=PATIENCE_S).metadata["engine_details"]["pid"]
    assert not before.is_running()


@pytest.mark.parametrize("verb", ["sleep", "spin", "hold", "freeze"])
@pytest.mark.parametrize("end", ["cancel", "deadline"])
def test_who_ignores_its_cancel_is_ended_and_its_neighbours_are_not(
    pool: AudioPool, tmp_path: Path, verb: str, end: str
) -> None:
    before = pid(pool)
    marker = tmp_path / "begun"
    hung = pool.submit(f"{verb} {marker}", deadline_ms=3000 if end == "deadline" else None)
    eventually(marker.exists, "the engine is at it")
    behind = pool.submit(f"tone behind {verb} and {end}")
    if end == "cancel":
        hung.cancel()
    with pytest.raises((Cancelled, Timeout)):
        hung.result(PATIENCE_S)
    assert behind.result(PATIENCE_S).metadata["engine_details"]["pid"] != before
    assert not psutil.pid_exists(before)
    assert pool.health()["state"] == "ready"


def test_who_heeds_its_cancel_lives_on(pool: AudioPool, tmp_path: Path) -> None:
    before = pid(pool)
    waiting = pool.submit(f"wait {tmp_path / 'never'}")
    eventually((tmp_path / "never.started").exists, "the engine is at it")
    waiting.cancel()
    with pytest.raises(Cancelled):
        waiting.result(PATIENCE_S)
    time.sleep(2 * LIMITS["cancel_grace_s"])
    assert pid(pool) == before


def test_a_hang_that_nobody_cancels_ends_by_the_tasks_limit(tmp_path: Path) -> None:
    with AudioPool.from_config(config(tmp_path, task_timeout_s=2.0)) as pool:
        with pytest.raises(Timeout):
            pool.generate("sleep", timeout_s=PATIENCE_S)
        assert pid(pool)


def test_a_flood_of_words_delays_nobody(pool: AudioPool) -> None:
    assert pool.generate("flood", timeout_s=PATIENCE_S).path


# -- loading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("leave", "SystemExit: not today"),
        ("interrupt", "KeyboardInterrupt"),
        ("surrogate", r"RuntimeError: torn \? text"),
        ("end", "exit code 7"),
    ],
)
def test_loading_that_ends_in_whatever_way_is_told_at_once(tmp_path: Path, trouble: str, told: str) -> None:
    with pytest.raises(WorkerStartFailed, match=told):
        AudioPool.from_config(config(tmp_path, trouble=trouble)).start()


def test_a_child_of_a_loading_engine_dies_with_its_worker(tmp_path: Path) -> None:
    with AudioPool.from_config(config(tmp_path, trouble="child")) as pool:
        worker = worker_processes()["rogue"]
        children = worker.children()
        assert [child.name() for child in children] == ["sleep"]
        worker.kill()
        assert not psutil.wait_procs(children, timeout=PATIENCE_S)[1], "a child lives on"
        assert isinstance(pool.generate("tone", timeout_s=PATIENCE_S).path, str)


