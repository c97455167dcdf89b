"""What workers leave behind, in sessions of its own: a server ends it with them, a host program is left alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.pool.orphans import adopts_orphans


def bred(ask: Asker, file: Path) -> list[psutil.Process]:
    """A process that the worker has set free, and its child."""
    ask.generate(file.name, f"breed {file} {file.name}")
    assert ask.final(file.name)["type"] == "result"
    return [psutil.Process(int(pid)) for pid in file.read_text().split()]


def gone(processes: list[psutil.Process]) -> bool:
    """Ended, and reaped."""
    return not any(process.is_running() for process in processes)


def test_they_end_with_their_worker_and_those_of_the_living_stay(tmp_path: Path) -> None:
    with Served(tmp_path / "s", limits={"restart_backoff_s": 0.05}).ready() as served, Asker(served.endpoint) as ask:
        first = bred(ask, tmp_path / "first")
        assert len(first) == 2 and not gone(first)
        served.workers()["w"].kill()
        eventually(lambda: gone(first), "they have ended with their worker")
        second = bred(ask, tmp_path / "second")
        third = bred(ask, tmp_path / "third")
        assert all(process.is_running() for process in second + third)
        served.signal()
        assert served.wait() == 0
        eventually(lambda: gone(second + third), "they have ended with the server")


def test_a_daemon_of_a_living_worker_is_not_ended_for_anothers_death(tmp_path: Path) -> None:
    workers = [{"name": name, "engines": ["stage"], "credit": 1} for name in ("w", "v")]
    with Served(tmp_path / "s", workers=workers).ready() as served, Asker(served.endpoint) as ask:
        (shell, child) = bred(ask, tmp_path / "first")
        owner = next(name for name, worker in served.workers().items() if worker.pid == shell.ppid())
        (other,) = {"w", "v"} - {owner}
        shell.kill()  # its child is the server's now, as a daemon's would be
        eventually(lambda: child.ppid() == served.process.pid, "the server has adopted it")
        served.workers()[other].kill()
        eventually(lambda: ask.ask("status")["workers"][other]["incarnation"] == 2, "the other is started again")
        assert child.is_running() and child.status() != psutil.STATUS_ZOMBIE
        served.workers()[owner].kill()
        eventually(lambda: gone([child]), "it ends with the worker that it came from")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_stops_within_moments_of_the_second_signal_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    never = tmp_path / "never"
    with Served(tmp_path / "s", limits={"drain_timeout_s": 600}).ready() as served, Asker(served.endpoint) as ask:
        workers = list(served.workers().values())
        left = bred(ask, tmp_path / "left")
        ask.generate("work", f"hold {never}", events=True)
        ask.event("work", "progress")
        served.signal(number)
        eventually(lambda: ask.ask("health")["state"] == "draining", "draining")
        served.signal(number)
        assert served.wait() == 128 + number
        assert not psutil.wait_procs([*workers, *left], timeout=PATIENCE_S)[1]


def test_a_program_that_hosts_a_pool_adopts_nobody() -> None:
    host = """
from audio_pool import AudioPool
from audio_pool.pool.orphans import adopts_orphans
import sys
with AudioPool.from_config({"cache": {"enabled": False}}) as pool:
    print(adopts_orphans())
"""
    told = subprocess.run([sys.executable, "-c", host], capture_output=True, text=True, timeout=PATIENCE_S)
    assert told.stdout == "False\n", told.stderr
    assert not adopts_orphans()
