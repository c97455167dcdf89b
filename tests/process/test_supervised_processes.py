"""The supervisor with real processes: started though nothing is left to start them with, and never left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import resource
from pathlib import Path

import pytest
from tests.support.waiting import PATIENCE_S

from audio_pool.pool.supervisor import Command, Supervisor


def test_a_process_that_cannot_be_polled_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``pidfd_open`` fails for want of descriptors once the process runs."""
    started: list[int] = []

    def refuse(pid: int) -> int:
        started.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("os.pidfd_open", refuse)
    exits: queue.SimpleQueue[tuple[str, int, str]] = queue.SimpleQueue()
    supervisor = Supervisor(tmp_path, lambda *exit_: exits.put(exit_))
    for incarnation in (1, 2):
        supervisor.start(Command(name="w", incarnation=incarnation, arguments=("/bin/sleep", "600"), env={}))
        assert exits.get(timeout=PATIENCE_S) == ("w", incarnation, "/bin/sleep cannot be started: Too many open files")
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    supervisor.close()


def test_with_every_descriptor_in_use_a_worker_can_still_be_started(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    exits: queue.SimpleQueue[tuple[str, int, str]] = queue.SimpleQueue()
    supervisor = Supervisor(tmp_path, lambda *exit_: exits.put(exit_))
    held: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for incarnation in (1, 2):
            arguments = ("/bin/sh", "-c", "exit 7")
            supervisor.start(Command(name="w", incarnation=incarnation, arguments=arguments, env={}))
            assert exits.get(timeout=PATIENCE_S) == ("w", incarnation, "exit code 7")
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        supervisor.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_ended_is_started_anew_and_tells_what_it_missed(tmp_path: Path) -> None:
    exits: queue.SimpleQueue[tuple[str, int, str]] = queue.SimpleQueue()

    def on_exit(name: str, incarnation: int, reason: str) -> None:
        exits.put((name, incarnation, reason))
        if name == "last":
            raise SystemExit

    supervisor = Supervisor(tmp_path, on_exit)
    sleep = ("/bin/sleep", "600")
    supervisor.start(Command(name="w", incarnation=1, arguments=sleep, env={}))
    supervisor.start(Command(name="last", incarnation=1, arguments=("/bin/sh", "-c", "exit 3"), env={}))
    assert exits.get(timeout=PATIENCE_S) == ("last", 1, "exit code 3")
    supervisor._thread.join(PATIENCE_S)
    assert not supervisor.alive
    supervisor.revive()
    assert supervisor.alive
    supervisor.kill("w", 1, "to see its end", at_once=True)
    assert exits.get(timeout=PATIENCE_S) == ("w", 1, "signal SIGKILL")
    supervisor.close()
    assert not supervisor.alive
