"""Engines that are loaded when they are asked for and go when others need their room, in real processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.bench_pool import settings
from tests.support.engine_packages import engine_package
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.worker_processes import worker_processes

from audio_pool import AudioPool
from audio_pool.errors import EngineError

MB = 1 << 20
LIMITS = {"heartbeat_s": 0.2, "missed_heartbeats": 25, "restart_backoff_s": 0.05}


def config(place: Path, engines: dict[str, dict[str, Any]], **sections: Any) -> dict[str, Any]:
    """A pool with one worker, whose engines leave a line in a journal whenever they come and go."""
    package = engine_package(place / "package", "weighty")
    worker = {
        "name": "w", "engines": list(engines), "python": sys.executable,
        "env": {"PYTHONPATH": str(package)}, **sections.pop("worker", {}),
    }  # fmt: skip
    common = {"implementation": "weighty", "preload": False, "journal": str(place / "journal")}
    own = {name: {**common, **engine} for name, engine in engines.items()}
    return settings(place, [worker], limits={**LIMITS, **sections.pop("limits", {})}, engines=own, **sections)


def journal(place: Path) -> list[str]:
    path = place / "journal"
    return [line.rpartition(" ")[0] for line in path.read_text().splitlines()] if path.exists() else []


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
    }
    with AudioPool.from_config(config(place, engines)) as pool:
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
