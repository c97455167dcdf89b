"""A pool whose supervisor's thread dies: brought back once, down when it dies again and again, and quick to say so."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.bench_pool import bench_package, bench_worker, settings
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioPool
from audio_pool.errors import PoolClosed
from audio_pool.pool.supervisor import Supervisor

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    # the thread may be ended between the moment that a process ends and the moment that it is reaped
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def supervisor() -> Supervisor:
    """The one that lives in this process."""
    gc.unfreeze()  # what a server has put aside once it was ready would not be listed

    gc.unfreeze()  # what a server has frozen at its start is seen again

    def living() -> list[Supervisor]:
        return [one for one in gc.get_objects() if type(one) is Supervisor and one.alive]

    (found,) = eventually(living, "its thread lives")
    return found


def end_thread(one: Supervisor) -> None:
    """End its thread, as a bug would that nobody has thought of."""
    thread = one._thread
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
    one._waker.wake()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What an ended thread had in its hands is thrown away here, not in a later test."""
    yield
    gc.collect()


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    # what is in hand when the workers end is to wait for them, however often
    limits = {"restart_backoff_s": 0.05, "max_attempts": 10, "poison_after": 10}
    return settings(tmp_path, [bench_worker(bench_package(tmp_path / "package"))], limits=limits)


def test_a_supervisor_that_dies_once_is_brought_back_and_its_workers_with_it(
    config: dict[str, Any], tmp_path: Path
) -> None:
    with AudioPool.from_config(config) as pool:
        gate = tmp_path / "gate"
        pending = pool.submit(f"wait {gate}")
        eventually(lambda: Path(f"{gate}.started").exists(), "the job runs")
        gate.touch()
        end_thread(supervisor())  # the kernel ends the workers that it had started
        assert pending.result(PATIENCE_S).path
        eventually(lambda: pool.status()["workers"]["bench"]["incarnation"] == 2, "a new worker is started")
        assert pool.generate("tone by the next", timeout_s=PATIENCE_S).path
        assert pool.health()["state"] == "ready"


def test_one_that_dies_again_and_again_takes_the_pool_down_and_everybody_is_told(
    config: dict[str, Any], tmp_path: Path
) -> None:
    pool = AudioPool.from_config(config).start()
    pending = [pool.submit(f"wait {tmp_path / name}") for name in ("never", "never, either")]
    # what its engine prints goes to the supervisor: one that begins later would find nobody there, and fail of that
    eventually(lambda: (tmp_path / "never.started").exists(), "the first is at work")
    one = supervisor()
    for _ in range(4):
        eventually(lambda: one.alive, "it is started anew")
        end_thread(one)
    for waiting in pending:
        with pytest.raises(PoolClosed, match="the pool is down: the supervisor has ended 4 times"):
            waiting.result(PATIENCE_S)
    health = pool.health()
    assert health["state"] == "down" and "the supervisor has ended 4 times" in health["reasons"][0]
    with pytest.raises(PoolClosed, match="the pool is down"):
        pool.generate("tone", timeout_s=PATIENCE_S)
    eventually(lambda: not pool.running, "it has ended")
    assert pool.health()["state"] == "down"
    with pytest.raises(PoolClosed, match="the pool is down: the supervisor has ended"):
        pool.submit("tone")
    with pytest.raises(PoolClosed):
        pool.status()
    stopping = threading.Thread(target=pool.stop)
    stopping.start()
    stopping.join(30.0)
    assert not stopping.is_alive(), "stopping does not wait for what cannot come"
    with pytest.raises(PoolClosed, match="not running"):
        pool.health()


_SERVE = """
import sys, threading, time
sys.path.insert(0, sys.argv[1])
from tests.process.test_down import end_thread, supervisor

def sabotage():
    for _ in sys.stdin:
        end_thread(supervisor())
        print("ended", flush=True)

threading.Thread(target=sabotage, daemon=True).start()
from audio_pool.cli import main
main(["serve", "--bind", sys.argv[2], "--cache-dir", sys.argv[3]])
"""


def test_a_server_that_is_down_says_so_and_ends_with_a_code_of_its_own(tmp_path: Path) -> None:
    root, bind = str(Path(__file__).parents[2]), f"ipc://{tmp_path}/s"
    command = [sys.executable, "-c", _SERVE, root, bind, str(tmp_path / "cache")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        said: list[str] = []
        while "ready" not in "".join(said[-1:]):
            said.append(process.stdout.readline())
            assert said[-1], process.stderr.read()
        for _ in range(4):
            process.stdin.write("again\n")
            process.stdin.flush()
            while (line := process.stdout.readline()).strip() not in ("ended", ""):
                pass
            if process.poll() is not None or not line:
                break
        code = process.wait(PATIENCE_S)
        told = process.stderr.read()
    log = (tmp_path / "cache" / "logs" / "server.log").read_text()
    assert code == 70, (told, log[-2000:])
    assert "the pool is down: the supervisor has ended 4 times" in told and "the pool is down" in log
