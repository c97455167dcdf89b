"""A pool that cannot start says the real reason at once, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.bench_pool import bench_package, bench_worker, settings
from tests.support.waiting import eventually

from audio_pool import AudioPool
from audio_pool.errors import AudioPoolError, EngineUnavailable, InvalidConfig, UnknownEngine, WorkerStartFailed
from audio_pool.transport.sockets import puller


def start_fails(config: dict[str, Any]) -> AudioPoolError:
    pool = AudioPool.from_config(config)
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(AudioPoolError) as caught:
        pool.start()
    assert not pool.running
    assert {child.pid for child in psutil.Process().children()} <= before, "a process is left"
    return caught.value


def test_an_unknown_engine(tmp_path: Path) -> None:
    error = start_fails(settings(tmp_path, [{"name": "w", "engines": ["procedual"]}]))
    assert isinstance(error, UnknownEngine)
    assert str(error) == "unknown engine 'procedual'; did you mean 'procedural'?"


def test_an_engine_unknown_to_the_worker_alone(tmp_path: Path) -> None:
    worker = bench_worker(tmp_path / "not-there")
    assert "unknown engine 'bench'" in str(start_fails(settings(tmp_path, [worker])))


def test_an_engine_that_does_not_load(tmp_path: Path) -> None:
    worker = bench_worker(bench_package(tmp_path / "package"))
    error = start_fails(settings(tmp_path, [worker], engines={"bench": {"trouble": "raise"}}))
    assert isinstance(error, WorkerStartFailed)
    assert "RuntimeError: the weights are torn" in str(error)
    assert "Traceback" in (tmp_path / "cache" / "logs" / "bench.log").read_text()


def test_an_engine_that_says_nonsense_of_itself(tmp_path: Path) -> None:
    package = bench_package(tmp_path / "package")
    module = package / "bench_engine.py"
    module.write_text(module.read_text().replace("sample_rate=44_100", 'sample_rate="fast"'))
    error = start_fails(settings(tmp_path, [bench_worker(package)]))
    assert isinstance(error, EngineUnavailable)
    assert "INFO of engine 'bench': field 'sample_rate': given 'fast'" in str(error)


def test_an_engine_that_ends_its_process(tmp_path: Path) -> None:
    worker = bench_worker(bench_package(tmp_path / "package"))
    error = start_fails(settings(tmp_path, [worker], engines={"bench": {"trouble": "exit"}}))
    assert isinstance(error, WorkerStartFailed)
    assert "exit code 7" in str(error) and "these are my last words" in str(error)


def test_a_log_level_that_does_not_exist(tmp_path: Path) -> None:
    worker = {"name": "w", "engines": ["mock"], "env": {"AUDIO_POOL_LOG_LEVEL": "verbose"}}
    assert "given 'VERBOSE', allowed is one of" in str(start_fails(settings(tmp_path, [worker])))


def test_one_worker_of_two(tmp_path: Path) -> None:
    package = bench_package(tmp_path / "package")
    workers = [{"name": "good", "engines": ["mock"]}, bench_worker(package)]
    error = start_fails(settings(tmp_path, workers, engines={"bench": {"trouble": "raise"}}))
    assert "the weights are torn" in str(error)


def test_an_interpreter_that_does_not_exist(tmp_path: Path) -> None:
    worker = {"name": "w", "engines": ["mock"], "python": "/no/such/python"}
    error = start_fails(settings(tmp_path, [worker]))
    assert isinstance(error, WorkerStartFailed)
    assert "/no/such/python cannot be started: No such file or directory" in str(error)


def _older_python() -> str | None:
    candidates = [*Path.home().glob(".pyenv/versions/3.*/bin/python"), *Path("/usr/bin").glob("python3.[0-9]*")]
    for python in candidates:
        ask = [python, "-c", "import sys; print(sys.version_info < (3, 11))"]
        try:
            told = subprocess.run(ask, capture_output=True, text=True, timeout=60)
        except OSError:
            continue
        if told.stdout.strip() == "True":
            return str(python)
    return None


def test_an_interpreter_that_is_too_old(tmp_path: Path) -> None:
    python = _older_python()
    if python is None:
        pytest.skip("no Python older than 3.11 here; install one with pyenv to run this test")
    error = start_fails(settings(tmp_path, [{"name": "w", "engines": ["mock"], "python": python}]))
    assert "worker needs Python 3.11 or newer, this is 3." in str(error)


def test_an_interpreter_that_lacks_a_library(tmp_path: Path) -> None:
    """An empty environment of its own: the message names what is missing."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "empty"], check=True, timeout=120)
    worker = {"name": "w", "engines": ["mock"], "python": str(tmp_path / "empty" / "bin" / "python")}
    error = start_fails(settings(tmp_path, [worker]))
    assert "No module named" in str(error) and "exit code 1" in str(error)


def test_a_worker_that_says_nothing(tmp_path: Path) -> None:
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nexec sleep 300\n")
    silent.chmod(0o755)
    worker = {"name": "w", "engines": ["mock"], "python": str(silent)}
    error = start_fails(settings(tmp_path, [worker], limits={"hello_timeout_s": 1.0}))
    assert isinstance(error, WorkerStartFailed)
    assert "worker 'w' was still starting after 1 s" in str(error)


def test_a_worker_that_ends_right_after_it_was_ready(tmp_path: Path) -> None:
    """The start has succeeded; what comes then is told by health, with the exit code."""
    worker = bench_worker(bench_package(tmp_path / "package"))
    gate = tmp_path / "gate"
    config = settings(
        tmp_path, [worker], engines={"bench": {"trouble": f"leave {gate}"}}, limits={"restart_backoff_s": 0.05}
    )
    with AudioPool.from_config(config) as pool:
        gate.touch()

        def told() -> bool:
            reasons = pool.health()["reasons"]
            return bool(reasons) and "exit code 9" in reasons[0]

        eventually(told, "health says how it ended")
        eventually(lambda: pool.status()["workers"]["bench"]["incarnation"] > 1, "it is started again")


def test_an_address_in_use_gives_the_others_back(tmp_path: Path) -> None:
    taken = puller("tcp://127.0.0.1:*", bind=True)
    server = {"bind": f"ipc://{tmp_path}/s", "pull_bind": taken.endpoint, "push_bind": "tcp://127.0.0.1:*"}
    config = settings(tmp_path, [{"name": "w", "engines": ["mock"]}], server=server)
    pool = AudioPool.from_config(config, serve=True)
    with pytest.raises(InvalidConfig, match=r"tcp://127.0.0.1:\d+' cannot be bound"):
        pool.start()
    taken.close()

    def started() -> bool:
        with contextlib.suppress(InvalidConfig):  # zmq lets go of addresses a moment later
            pool.start()
        return pool.running

    eventually(started, "the pool's own address is free again", within_s=20.0)
    pool.stop()


def test_a_pool_that_failed_can_be_started_again(tmp_path: Path) -> None:
    python = tmp_path / "python"
    config = settings(tmp_path, [{"name": "w", "engines": ["mock"], "python": str(python)}])
    pool = AudioPool.from_config(config)
    with pytest.raises(WorkerStartFailed):
        pool.start()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    with pool:
        assert pool.generate("tone", timeout_s=120).path
