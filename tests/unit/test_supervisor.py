"""Children started, watched, logged and stopped: with pipes that the test holds the other ends of."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import queue
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audio_pool.pool import child_log
from audio_pool.pool import supervisor as module
from audio_pool.pool.supervisor import Child, Command, Supervisor, exit_reason

PATIENCE_S = 60.0
HIGH = 1100
"""A descriptor that ``select`` cannot wait for."""


class FakeChild:
    """A child whose output and end the test decides."""

    def __init__(self, pid: int, lowest_fd: int = 0) -> None:
        self.pid = pid
        self.output_fd, self._output = os.pipe()
        self.exited_fd, self._exited = os.pipe()
        if lowest_fd:
            self.output_fd, self.exited_fd = _moved(self.output_fd, lowest_fd), _moved(self.exited_fd, lowest_fd)
        os.set_blocking(self.output_fd, False)
        self.code = 0
        self.signals: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.reaped = threading.Event()

    def write(self, text: bytes) -> None:
        os.write(self._output, text)

    def end_output(self) -> None:
        os.close(self._output)
        self._output = -1

    def end(self, code: int = 0) -> None:
        self.code = code
        os.write(self._exited, b"x")

    def terminate(self) -> None:
        self.signals.put("TERM")

    def kill(self) -> None:
        self.signals.put("KILL")

    def reap(self) -> int:
        os.close(self.exited_fd)
        os.close(self.output_fd)
        self.reaped.set()
        return self.code

    def close(self) -> None:
        for fd in (self._output, self._exited):
            if fd >= 0:
                os.close(fd)


def _moved(fd: int, lowest: int) -> int:
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(fd)
    return moved


class Stage:
    """A supervisor whose children are fakes."""

    def __init__(self, log_dir: Path) -> None:
        self.log_dir = log_dir
        self.exits: queue.SimpleQueue[tuple[str, int, str]] = queue.SimpleQueue()
        self.children: list[FakeChild] = []
        self.lowest_fd = 0
        self.on_start: Callable[[Command], None] = lambda command: None
        self._started: queue.SimpleQueue[tuple[Command, FakeChild]] = queue.SimpleQueue()
        self.supervisor = Supervisor(log_dir, lambda *exit_: self.exits.put(exit_), self._start)
        self.stop_child = self.supervisor.kill

    def _start(self, command: Command, life_line: int) -> Child:
        assert life_line == self.supervisor.life_line
        self.on_start(command)
        child = FakeChild(pid=4000 + len(self.children), lowest_fd=self.lowest_fd)
        self.children.append(child)
        self._started.put((command, child))
        return child

    def order(self, name: str = "w", incarnation: int = 1) -> None:
        arguments = ("/bin/worker", "--loud")
        self.supervisor.start(Command(name=name, incarnation=incarnation, arguments=arguments, env={}))

    def start(self, name: str = "w", incarnation: int = 1) -> FakeChild:
        self.order(name, incarnation)
        while True:
            command, child = self._started.get(timeout=PATIENCE_S)
            if (command.name, command.incarnation) == (name, incarnation):
                return child

    def next_exit(self) -> tuple[str, int, str]:
        return self.exits.get(timeout=PATIENCE_S)

    def log(self, name: str = "w") -> str:
        return (self.log_dir / f"{name}.log").read_text()

    def close(self) -> None:
        for child in self.children:
            if not child.reaped.is_set():
                child.end(-9)
        self.supervisor.close(PATIENCE_S)
        for child in self.children:
            child.close()


@pytest.fixture
def stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Stage]:
    caplog.set_level(logging.INFO, logger=module.__name__)
    caplog.set_level(logging.INFO, logger=child_log.__name__)
    stage = Stage(tmp_path / "logs")
    yield stage
    stage.close()


# -- output and end --------------------------------------------------------------------------------


def test_output_is_logged_and_the_last_line_explains_the_end(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    child = stage.start()
    child.write(b"loading\nno module na")
    child.write(b"med numpy\n\n  \n")
    child.end(1)
    assert stage.next_exit() == ("w", 1, "exit code 1; its last line: no module named numpy")
    assert stage.log() == "loading\nno module named numpy\n\n  \n"
    assert "[w] no module named numpy" in caplog.messages and child.reaped.is_set()


def test_incarnations_share_a_log_and_are_told_apart(stage: Stage) -> None:
    first, second = stage.start("w", 1), stage.start("v", 2)
    first.write(b"one\n")
    first.end()
    assert stage.next_exit() == ("w", 1, "exit code 0")
    again = stage.start("w", 3)
    again.write(b"two\n")
    again.end(7)
    assert stage.next_exit() == ("w", 3, "exit code 7; its last line: two")
    assert stage.log() == "one\ntwo\n" and not second.reaped.is_set()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, "exit code 0"),
        (-signal.SIGTERM, "signal SIGTERM"),
        (-signal.SIGKILL, "signal SIGKILL"),
        (-signal.SIGSEGV, "signal SIGSEGV; its last line: a word"),
        (3, "exit code 3; its last line: a word"),
    ],
)
def test_a_last_line_is_told_where_it_may_be_the_reason(stage: Stage, code: int, reason: str) -> None:
    child = stage.start()
    child.write(b"a word\n")
    child.end(code)
    assert stage.next_exit()[2] == reason


def test_a_last_line_is_told_in_part(stage: Stage) -> None:
    child = stage.start()
    child.write(b"x" * 5000 + b"\n" + "é".encode()[:1] + b"\n")
    child.write(b"y" * 1000 + b"\n")
    child.end(1)
    assert stage.next_exit()[2] == "exit code 1; its last line: " + "y" * 300


def test_a_child_that_says_nothing(stage: Stage) -> None:
    child = stage.start()
    child.end(1)
    assert stage.next_exit()[2] == "exit code 1"


def test_output_that_ends_before_the_child(stage: Stage) -> None:
    child = stage.start()
    child.write(b"bye\n")
    child.end_output()
    child.end(2)
    assert stage.next_exit()[2] == "exit code 2; its last line: bye"


def test_a_grandchild_that_keeps_the_pipe_open_does_not_keep_the_end_from_being_seen(stage: Stage) -> None:
    child = stage.start()
    child.write(b"last\n")
    child.end(1)  # the pipe's other end stays open
    assert stage.next_exit()[2] == "exit code 1; its last line: last"


def test_output_that_is_ready_after_the_end_is_not_read_from_a_closed_descriptor(stage: Stage) -> None:
    """Both are ready at once, the end first: the descriptor's number may be another file's by then."""
    child = stage.start()
    started, go_on = threading.Event(), threading.Event()

    def hold(command: Command) -> None:
        started.set()
        assert go_on.wait(PATIENCE_S)

    stage.on_start = hold
    stage.order("blocker")  # while this one starts, nothing is read
    assert started.wait(PATIENCE_S)
    child.end(1)
    child.write(b"late\n")
    go_on.set()
    assert stage.next_exit() == ("w", 1, "exit code 1; its last line: late")
    stage.on_start = lambda command: None
    assert stage.start("next").pid, "the supervisor goes on"


def test_descriptors_beyond_what_select_can_wait_for(stage: Stage) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < HIGH + 100:
        pytest.skip(f"this system allows {hard} descriptors per process")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, HIGH + 100), hard))
    try:
        stage.lowest_fd = HIGH
        child = stage.start()
        assert child.output_fd >= HIGH and child.exited_fd >= HIGH
        child.write(b"from afar\n")
        child.end(1)
        assert stage.next_exit()[2] == "exit code 1; its last line: from afar"
    finally:
        stage.lowest_fd = 0
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_log_that_has_grown_large_makes_room(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_log, "_MAX_BYTES", 20)
    for number in (1, 2):
        child = stage.start("w", number)
        child.write(b"more than ten bytes\n" if number == 1 else b"new\n")
        child.end()
        stage.next_exit()
    assert stage.log() == "new\n" and (stage.log_dir / "w.log.1").read_text() == "more than ten bytes\n"


# -- what cannot be started ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "No such file or directory"),
        (OSError("no more processes"), "no more processes"),
        (ValueError("embedded null byte"), "embedded null byte"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (MemoryError("no memory"), "no memory"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
    ],
)
def test_what_cannot_be_started_has_ended(stage: Stage, error: Exception, reason: str) -> None:
    def fail(command: Command) -> None:
        raise error

    stage.on_start = fail
    stage.order()
    assert stage.next_exit() == ("w", 1, f"/bin/worker cannot be started: {reason}")
    stage.on_start = lambda command: None
    assert stage.start("w", 2).pid, "and the next may be"


def test_a_log_directory_that_cannot_be_made_costs_the_log_and_not_the_child(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    stage = Stage(tmp_path / "logs")
    child = stage.start()
    child.end(3)
    assert stage.next_exit()[2].startswith("exit code 3")
    stage.close()


def test_a_log_directory_that_went_with_its_parents_is_not_made_again(tmp_path: Path) -> None:
    """The cache's directory, moved away: another one in its place would keep it from coming back."""
    stage = Stage(tmp_path / "cache" / "logs")
    os.rename(tmp_path / "cache", tmp_path / "away")
    stage.start().end(0)
    stage.next_exit()
    assert not (tmp_path / "cache").exists()
    stage.close()


def test_a_child_that_cannot_be_watched_is_ended_and_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started, but no descriptor is left to poll it."""
    register = stage.supervisor._selector.register

    def fail(fd: int, *more: Any) -> Any:
        if stage.children and fd == stage.children[-1].exited_fd:
            raise OSError(errno.ENOSPC, "No space left on device")
        return register(fd, *more)

    monkeypatch.setattr(stage.supervisor._selector, "register", fail)
    stage.order()
    assert stage.next_exit() == ("w", 1, "/bin/worker cannot be started: No space left on device")
    assert signal_of(stage.children[0]) == "KILL" and stage.children[0].reaped.is_set()
    monkeypatch.undo()
    assert stage.start("w", 2).pid, "and the next may be"


def test_spare_descriptors_are_given_up_for_a_start_and_taken_back(stage: Stage) -> None:
    spare = stage.supervisor._spare
    seen: list[int] = []
    stage.on_start = lambda command: seen.append(len(spare._held))
    stage.start()
    stage.start("v")
    stage.on_start = lambda command: None
    assert seen == [0, 0] and spare._number >= 8
    child = stage.start("u")
    child.end()
    assert stage.next_exit()[0] == "u" and len(spare._held) == spare._number


def test_a_child_whose_end_cannot_be_read_has_ended_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = stage.start()

    def fail() -> int:
        raise OSError(errno.ECHILD, "No child processes")

    monkeypatch.setattr(child, "reap", fail)
    child.end(1)
    assert "No child processes" in stage.next_exit()[2]
    child.reaped.set()
    again = stage.start("w", 2)
    again.end(0)
    assert stage.next_exit() == ("w", 2, "exit code 0")


def test_a_signal_that_cannot_be_sent_ends_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    child, other = stage.start(), stage.start("v")

    def fail() -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(child, "terminate", fail)
    stage.stop_child("w", 1, "it is late")
    other.end()
    assert stage.next_exit() == ("v", 1, "exit code 0")
    child.end()
    assert stage.next_exit() == ("w", 1, "exit code 0")


# -- stopping --------------------------------------------------------------------------------------


def signal_of(child: FakeChild) -> str:
    return child.signals.get(timeout=PATIENCE_S)


def test_a_child_gets_term_and_then_kill_until_it_ends(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KILL_AFTER_S", 0.02)
    child = stage.start()
    stage.stop_child("w", 1, "no sign of life")
    assert [signal_of(child) for _ in range(3)] == ["TERM", "KILL", "KILL"]
    child.end(-signal.SIGKILL)
    assert stage.next_exit() == ("w", 1, "signal SIGKILL")


def test_a_child_that_obeys_is_not_killed(stage: Stage) -> None:
    child = stage.start()
    stage.stop_child("w", 1, "the pool stops")
    stage.stop_child("w", 1, "once more")
    assert signal_of(child) == "TERM"
    child.end(-signal.SIGTERM)
    assert stage.next_exit() == ("w", 1, "signal SIGTERM")
    assert child.signals.empty(), "asked once"


def test_at_once_is_at_once_also_after_it_was_asked_gently(stage: Stage) -> None:
    child = stage.start()
    stage.stop_child("w", 1, "it is late")
    stage.stop_child("w", 1, "it is silent, too", at_once=True)
    assert [signal_of(child), signal_of(child)] == ["TERM", "KILL"]
    child.end(-signal.SIGKILL)
    stage.next_exit()


def test_another_incarnation_is_not_stopped(stage: Stage) -> None:
    child = stage.start("w", 2)
    stage.stop_child("w", 1, "late")
    stage.stop_child("stranger", 1, "?")
    child.end()
    assert stage.next_exit() == ("w", 2, "exit code 0") and child.signals.empty()


def test_closing_kills_what_is_left_and_lets_the_life_line_go(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    child, life_line = stage.start(), stage.supervisor.life_line
    other = stage.start("v")  # while this one starts, the first is known
    assert stage.supervisor.pids()["w"] == child.pid
    os.fstat(life_line)
    closing = threading.Thread(target=stage.supervisor.close, args=(PATIENCE_S,))
    closing.start()
    for one in (child, other):
        assert signal_of(one) == "KILL"
        one.end(-signal.SIGKILL)
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert {stage.next_exit() for _ in range(2)} == {("w", 1, "signal SIGKILL"), ("v", 1, "signal SIGKILL")}
    assert stage.supervisor.pids() == {}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(life_line)
    for one in (child, other):
        one.close()


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exit code 0"), (5, "exit code 5"), (-11, "signal SIGSEGV"), (-200, "signal 200")]
)
def test_an_end_in_words(code: int, words: str) -> None:
    assert exit_reason(code) == words
