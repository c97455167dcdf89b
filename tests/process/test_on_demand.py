"""Engines that are loaded when they are asked for and go when others need their room, in real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.bench_pool import settings
from tests.support.command_line import command
from tests.support.engine_packages import engine_package
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.worker_processes import worker_processes

from audio_pool import AsyncAudioClient, AudioClient, AudioPool
from audio_pool.errors import EngineError, InvalidRequest, NotFound
from audio_pool.residents import ModelsReport

MB = 1 << 20
LIMITS = {"heartbeat_s": 0.2, "missed_heartbeats": 25, "restart_backoff_s": 0.05}


def config(place: Path, engines: dict[str, dict[str, Any]], **sections: Any) -> dict[str, Any]:
    """A pool with one worker, whose engines leave a line in a journal whenever they come and go."""
    package = engine_package(place / "package", "weighty")
    worker = {
        "name": "w", "niceness": 0, "engines": list(engines), "python": sys.executable,
        "env": {"PYTHONPATH": str(package)}, **sections.pop("worker", {}),
    }  # fmt: skip
    common = {"implementation": "weighty", "preload": False, "journal": str(place / "journal")}
    own = {name: {**common, **engine} for name, engine in engines.items()}
    return settings(place, [worker], limits={**LIMITS, **sections.pop("limits", {})}, engines=own, **sections)


def journal(place: Path) -> list[str]:
    path = place / "journal"
    return [line.rpartition(" ")[0] for line in path.read_text().splitlines()] if path.exists() else []


def held(place: Path, until: int | None = None) -> int:
    """How many engines were in memory after so many lines of the journal."""
    return sum(1 if line.startswith("load") else -1 for line in journal(place)[:until])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pool")


@pytest.fixture(scope="module")
def pool(place: Path) -> Iterator[AudioPool]:
    engines = {
        "small": {"megabytes": 1},
        "large": {"megabytes": 120, "keep_alive_s": 0.5},
        "torn": {"broken": "error"},
        "deadly": {"broken": "exit", "megabytes": 1},
        "lame": {"broken": "error", "preload": True, "mended": str(place / "mended"), "journal": ""},
    }
    tree = config(place, engines, server={"bind": f"ipc://{place}/pool.sock"})
    with AudioPool.from_config(tree, serve=True) as pool:
        yield pool


def test_an_engine_is_loaded_when_asked_for_and_gives_its_memory_back(pool: AudioPool, place: Path) -> None:
    assert journal(place) == []
    first = pool.generate("tone", engine="small", timeout_s=PATIENCE_S)
    assert first.metadata.engine == "small" and journal(place) == ["load small"]
    process = worker_processes()["w"]
    before = process.memory_info().rss
    pending = pool.submit("tone", engine="large", events=True, timeout_s=PATIENCE_S)
    told = [event.body for event in pending.events() if event.type == "progress"]
    assert any(one.stage == "loading" and one.eta_s > 0 for one in told)
    assert pending.result().metadata.engine == "large"
    eventually(lambda: "unload large" in journal(place), "nobody asks for it any more")
    eventually(lambda: process.memory_info().rss < before + 30 * MB, "its 120 MB are given back")
    assert journal(place) == ["load small", "load large", "unload large"]


def test_one_that_cannot_be_loaded_takes_no_others_along(pool: AudioPool) -> None:
    pid = worker_processes()["w"].pid
    with pytest.raises(EngineError, match="blocks are too many"):
        pool.generate("tone", engine="torn", timeout_s=PATIENCE_S)
    assert pool.generate("tone", engine="small", seed=5, timeout_s=PATIENCE_S).metadata.worker.id == "w"
    assert worker_processes()["w"].pid == pid


def test_one_that_fails_at_the_start_takes_no_others_along_and_is_told_until_it_is_mended(
    pool: AudioPool, place: Path
) -> None:
    assert pool.generate("tone", engine="small", timeout_s=PATIENCE_S).metadata.worker.id == "w"
    health = pool.health()
    assert health.state == "degraded" and not health.blockers
    reason = next(one for one in health.reasons if "'lame'" in one)
    assert "blocks are too many" in reason
    assert (health.engines["lame"], health.engines["small"]) == ("failed", "ready")
    assert next(one for one in pool.models.list().models if one.engine == "lame").state == "failed"
    with pytest.raises(EngineError, match="blocks are too many"):
        pool.generate("tone", engine="lame", timeout_s=PATIENCE_S)
    (place / "mended").touch()
    pool.models.load("lame")
    assert pool.generate("tone", engine="lame", timeout_s=PATIENCE_S).metadata.engine == "lame"
    assert not any("'lame'" in one for one in pool.health().reasons)


def state(report: ModelsReport, engine: str) -> str:
    return next(one.state for one in report.models if one.engine == engine)


def test_models_are_ordered_in_and_out_by_programs_clients_and_commands(pool: AudioPool, place: Path) -> None:
    assert pool.endpoint is not None
    pool.models.unload("small")
    eventually(lambda: state(pool.models.list(), "small") == "out", "it goes")
    told = command("models", "load", "small", "--connect", pool.endpoint)
    assert told.returncode == 0 and told.stdout.startswith("small on w: loaded"), told.stderr
    with AudioClient(pool.endpoint) as client:
        assert client.models.pin("small").models[0].pinned
        with pytest.raises(InvalidRequest, match="'small' is pinned"):
            client.models.unload("small")
        assert not client.models.unpin("small", worker="w").models[0].pinned
        with pytest.raises(NotFound, match="did you mean 'small'"):
            client.models.load("smal")
        told = command("models", "load", "torn", "--connect", pool.endpoint)
        assert told.returncode != 0 and "blocks are too many" in told.stderr
        worker = client.status().workers["w"]
        by_name = {one.engine: one for one in worker.models}
        assert (by_name["small"].state, by_name["torn"].state) == ("loaded", "failed")
        assert "blocks are too many" in (by_name["torn"].error or "")

    async def as_others_do() -> ModelsReport:
        assert pool.endpoint is not None
        async with AsyncAudioClient(pool.endpoint) as client:
            await client.models.unload("small")
            return await client.models.list()

    assert state(asyncio.run(as_others_do()), "small") in ("leaving", "out")
    told = command("models", "where", "--json", "--connect", pool.endpoint)
    assert {one["engine"] for one in json.loads(told.stdout)["models"]} == {"small", "large", "torn", "deadly", "lame"}


def test_a_model_is_switched_while_requests_are_served(pool: AudioPool, place: Path) -> None:
    assert pool.endpoint is not None
    former = pool.generate("tone", engine="small", force=True, timeout_s=PATIENCE_S).metadata.model
    under_way = [pool.submit("tone", engine="small", force=True, timeout_s=PATIENCE_S) for _ in range(6)]
    told = command("models", "switch", "small", "--model", "owner/other", "--connect", pool.endpoint)
    assert told.returncode == 0 and told.stdout.startswith("small@owner/other on w: loaded"), told.stderr
    assert all(one.result().metadata.model == former for one in under_way)
    switched = pool.generate("tone", engine="small", timeout_s=PATIENCE_S).metadata
    assert (switched.engine, switched.model, switched.cached) == ("small", "owner/other", False)
    eventually(lambda: state(pool.models.list(), "small") == "out", "the former one goes")
    worker_processes()["w"].kill()
    again = pool.generate("tone", engine="small", force=True, timeout_s=PATIENCE_S).metadata
    assert again.model == "owner/other", "the next process has it, too"
    with pytest.raises(InvalidRequest, match="has the model 'owner/other' already"):
        pool.models.switch("small", "owner/other")


def test_a_model_that_cannot_be_loaded_takes_nobodys_place(pool: AudioPool) -> None:
    assert pool.endpoint is not None
    former = pool.generate("tone", engine="small", force=True, timeout_s=PATIENCE_S).metadata.model
    under_way = [pool.submit("tone", engine="small", force=True, timeout_s=PATIENCE_S) for _ in range(4)]
    told = command("models", "switch", "small", "--model", "owner/broken", "--connect", pool.endpoint)
    assert told.returncode == 1 and "owner/broken has no weights" in told.stdout + told.stderr, told
    after = pool.generate("tone", engine="small", force=True, timeout_s=PATIENCE_S).metadata
    assert after.model == former and all(one.result().metadata.model == former for one in under_way)
    pool.models.switch("small", "owner/third")  # it is in nobody's way
    eventually(
        lambda: pool.generate("tone", engine="small", force=True, timeout_s=PATIENCE_S).metadata.model == "owner/third",
        "a better one comes",
    )


# -- less memory than all of them need ---------------------------------------------------------------

HOG = """
import sys, time
import numpy as np
held = np.ones(int(sys.argv[1]) << 20, np.uint8)
print("held", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def another_program(device: str, megabytes: int) -> Iterator[None]:
    """A program on the device that is not the pool's."""
    environment = {**os.environ, "AUDIO_POOL_DEVICE": device}
    with subprocess.Popen(
        [sys.executable, "-c", HOG, str(megabytes)], env=environment, stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None and program.stdout.readline() == "held\n"
            yield
        finally:
            program.kill()


@pytest.fixture(scope="module")
def small_device(
    tmp_path_factory: pytest.TempPathFactory, bare_worker_bytes: int
) -> Iterator[tuple[AudioPool, Path]]:
    """Three engines of 100 MB on a device with room for two of them beside their worker."""
    place = tmp_path_factory.mktemp("small")
    with AudioPool.from_config(
        config(
            place,
            {name: {"megabytes": 100} for name in ("a", "b", "c")},
            worker={"device": "card"},
            devices={"card": {"memory_bytes": bare_worker_bytes + 290 * MB}},
            memory={"reserve_bytes": 20 * MB, "read_every_s": 0.1},
            limits={"memory_wait_s": 60.0},
        )
    ) as pool:
        yield pool, place


@pytest.fixture(scope="module")
def bare_worker_bytes(tmp_path_factory: pytest.TempPathFactory) -> int:
    """What a worker takes that has made a sound and has no engine."""
    place = tmp_path_factory.mktemp("bare")
    engines = {"d": {"megabytes": 1, "keep_alive_s": 0.1, "journal": ""}}
    with AudioPool.from_config(config(place, engines)) as pool:
        pool.generate("tone", timeout_s=PATIENCE_S)
        return int(psutil.Process(pool.worker_pids()["w"]).memory_info().rss)


def test_all_engines_are_served_in_less_memory_than_they_need_together(small_device: tuple[AudioPool, Path]) -> None:
    pool, place = small_device
    for engine in "abcabbcca":
        assert pool.generate("tone", engine=engine, force=True, timeout_s=PATIENCE_S).metadata.engine == engine
    told = journal(place)
    assert {line for line in told if line.startswith("load")} == {"load a", "load b", "load c"}
    most = max(held(place, until) for until in range(len(told) + 1))
    assert most <= 2, "three do not fit"
    before = len(told)
    several = [pool.submit("tone", engine=engine, force=True, timeout_s=PATIENCE_S) for engine in "abc" * 6]
    assert [one.result().metadata.engine for one in several] == list("abc" * 6)
    assert len(journal(place)) - before < 12, "as they came it would be a swap for almost every sound"


def test_another_program_gets_its_memory_and_gives_it_back(small_device: tuple[AudioPool, Path]) -> None:
    pool, place = small_device
    pool.generate("tone", engine="a", force=True, timeout_s=PATIENCE_S)
    pool.generate("tone", engine="b", force=True, timeout_s=PATIENCE_S)
    with another_program("card", 150):
        eventually(lambda: held(place) == 0, "both have to go")
        before = len(journal(place))
        waiting = pool.submit("tone", engine="c", events=True, force=True, timeout_s=PATIENCE_S)
        note = next(one.body.note for one in waiting.events() if one.type == "progress" and "note" in one.body)
        assert "c takes" in note and "MB" in note
        assert "load c" not in journal(place)[before:]
    assert waiting.result().metadata.engine == "c"


def test_a_jobs_metadata_tell_the_most_that_its_worker_held(small_device: tuple[AudioPool, Path]) -> None:
    pool, _ = small_device
    report = pool.generate("tone", engine="a", force=True, timeout_s=PATIENCE_S).metadata.worker
    assert isinstance(report.peak_memory_bytes, int)
    assert report.peak_memory_bytes > 100 * MB, "its weights are among it"


def test_a_device_that_another_program_has_taken_is_left_and_taken_back(
    tmp_path: Path, bare_worker_bytes: int
) -> None:
    """Its engine is kept whatever comes, so only its process's end gives the memory back."""
    two = config(
        tmp_path,
        {"a": {"megabytes": 60, "preload": True}},
        worker={"device": "lone", "roles": ["generate"]},
        devices={"lone": {"memory_bytes": bare_worker_bytes + 240 * MB}},
        memory={"reserve_bytes": 60 * MB, "read_every_s": 0.1, "leave_after_s": 0.3, "take_back_after_s": 0.3},
    )
    two["workers"].append({"name": "m", "roles": ["master"]})
    with AudioPool.from_config(two) as pool:
        assert pool.generate("tone", engine="a", force=True, timeout_s=PATIENCE_S).metadata.worker.id
        with another_program("lone", 300):
            eventually(lambda: [one.state for one in pool.leases.list()] == ["free"], "the device is left")
            assert pool.leases.list()[0].holder == "other programs" and "w" not in pool.worker_pids()
            waiting = pool.submit("tone", engine="a", force=True, timeout_s=PATIENCE_S)
            assert not waiting.done()
        assert waiting.result().metadata.engine == "a"
        assert not pool.leases.list()


def test_one_that_ends_its_worker_at_the_start_takes_no_others_along_for_long(tmp_path: Path) -> None:
    kept = {"megabytes": 1, "preload": True}
    tree = config(
        tmp_path, {"deadly": {**kept, "broken": "exit"}, "well": kept}, limits={"breaker_s": 0.1, "breaker_max_s": 0.1}
    )
    with AudioPool.from_config(tree).start(wait=False) as pool:
        eventually(lambda: pool.health().engines.get("well") == "ready" and journal(tmp_path), "it is loaded by itself")
        assert pool.generate("tone", engine="well", timeout_s=PATIENCE_S).metadata.engine == "well"
        eventually(lambda: any("'deadly'" in one for one in pool.health().reasons), "who was to blame is told")
