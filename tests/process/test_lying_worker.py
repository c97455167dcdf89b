"""What a worker answers wrongly is its own fault: its request has its answer, the pool goes on, nothing is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audio_pool import AudioPool
from audio_pool.errors import AudioPoolError, WorkerDied, WorkerStartFailed

WORKER = Path(__file__).parents[1] / "support" / "lying_worker.py"
PATIENCE_S = 60.0


def settings(place: Path) -> dict[str, Any]:
    python = place / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {WORKER} "$@"\n')
    python.chmod(0o700)
    return {
        "defaults": {"engine": "mock", "duration_s": 0.2},
        "cache": {"dir": str(place / "cache"), "encoder": "off"},
        "workers": [
            {"name": "liar", "engines": ["mock"], "roles": ["generate"], "python": str(python)},
            {"name": "honest", "engines": [], "roles": ["master"]},
        ],
    }


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    with AudioPool.from_config(settings(tmp_path_factory.mktemp("pool"))) as pool:
        yield pool


@pytest.mark.parametrize(
    ("lie", "answer"),
    [
        ("slots", "as asked"),
        ("frames", "as asked"),
        ("vectors", "nowhere.flac"),
        ("missing", "worker 'liar' handed over what is no sound: tensor .* is gone"),
        ("cut", "worker 'liar' handed over what is no sound: .*in 0 bytes"),
        ("emptied", "worker 'liar' handed over what is no sound: tensor"),
        ("longer", "worker 'liar': a tensor of 1,099,511,627,776 bytes in a slot"),
        ("negative", "worker 'liar': a tensor of -1 bytes in a slot"),
        ("larger", "worker 'liar' handed over what is no sound: tensor .* the reference says"),
        ("otherwise", "worker 'liar' handed over what is no sound: tensor .* the reference says F64"),
        ("stranger", "worker 'liar': worker .* holds no lease"),
        ("elsewhere", "worker 'liar': worker .* holds no lease of '/etc/passwd'"),
        ("older", "worker 'liar': worker .* holds no lease"),
        ("torn", "no candidate passed the quality gate .*nan"),
        ("wide", r"worker 'liar' handed over what is no sound: given float32 \[882, 20\]"),
        ("flat", r"worker 'liar' handed over what is no sound: given float32 \[8820\]"),
        ("double", r"worker 'liar' handed over what is no sound: given float64"),
        ("brief", r"worker 'liar' handed over what is no sound: given float32 \[2, 10\]"),
        ("rated", r"worker 'liar' handed over what is no sound: .*at 1,000,000,000 Hz"),
    ],
)
def test_a_wrong_answer_is_that_workers_fault_alone(pool: AudioPool, lie: str, answer: str) -> None:
    with pytest.raises(AudioPoolError, match=answer):
        pool.generate(f"{lie} in the rain", timeout_s=PATIENCE_S)
    status = pool.status()
    assert pool.running and status.requests == 0 and status.arena["leased"] == 0
    assert {one.incarnation for one in status.workers.values()} == {1}


def test_what_is_no_message_ends_the_worker_that_sent_it(tmp_path: Path) -> None:
    with AudioPool.from_config(settings(tmp_path)) as pool:
        told = r"2 workers have ended at this very request: worker 'liar': it sent what is no message \(message from"
        with pytest.raises(WorkerDied, match=told):
            pool.generate("junk in the rain", timeout_s=PATIENCE_S)
        with pytest.raises(AudioPoolError, match="as asked"):
            pool.generate("truth in the rain", timeout_s=PATIENCE_S)
        workers = pool.status().workers
        assert workers["liar"].incarnation == 3 and workers["honest"].incarnation == 1


def test_a_worker_whose_ready_cannot_be_read_fails_the_start_at_once(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nLIE=ready exec {sys.executable} {WORKER} "$@"\n')
    python.chmod(0o700)
    settings = {
        "defaults": {"engine": "mock"},
        "cache": {"dir": str(tmp_path / "cache"), "encoder": "off"},
        "limits": {"load_timeout_s": 3600.0},
        "workers": [{"name": "liar", "engines": ["mock"], "python": str(python)}],
    }
    with (
        pytest.raises(WorkerStartFailed, match="'liar' ended while loading: it sent what is no message"),
        AudioPool.from_config(settings),
    ):
        raise AssertionError("it must not start")


def test_an_engine_keeps_the_name_that_it_is_configured_by(pool: AudioPool) -> None:
    assert [one.name for one in pool.engines().engines] == ["mock"]
