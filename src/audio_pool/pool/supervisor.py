"""Child processes: started, watched, logged and stopped.

Owns: every child, its output and its end. All of it happens on one thread that lives as long as the pool:
the kernel ties a child's parent-death signal to the *thread* that started it.
Must not know: what the children are for (launchers/local.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import select
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from audio_pool.pool.child_log import ChildLog
from audio_pool.pool.orphans import adopts_orphans, end_orphans
from audio_pool.pool.spare_descriptors import SpareDescriptors
from audio_pool.transport.waker import Waker

__all__ = ["Child", "Command", "Supervisor", "exit_reason", "start_process"]

log = logging.getLogger(__name__)

_KILL_AFTER_S = 3.0
_READ_BYTES = 1 << 16
_PAUSE_S = 0.02
"""After so much has been read at once from a child that prints without end: it waits, not the others."""
_SPARE_DESCRIPTORS = 12
"""What starting a process takes: its output, its end, its secret, and how Popen hears of an error."""


class Command(Struct, frozen=True, kw_only=True):
    """What to start, and under which name its end is told."""

    name: str
    incarnation: int
    arguments: tuple[str, ...]
    """The program and its arguments."""
    env: dict[str, str]
    secret: str = ""
    """The line that its standard input holds."""


class Child(Protocol):
    """A process that runs: what the supervisor needs of one."""

    pid: int
    exited_fd: int
    """Readable once the process has ended."""
    output_fd: int
    """Its standard output and error, read without blocking."""

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    def reap(self) -> int:
        """Wait for the ended process, end its own children, close both descriptors; return the exit code."""
        ...


class _Process:
    """A Child that is a process of this machine."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process = process
        self.pid = process.pid
        self.output_fd = process.stdout.fileno()
        os.set_blocking(self.output_fd, False)
        self.exited_fd = os.pidfd_open(process.pid)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def reap(self) -> int:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # its own children; the zombie keeps the group's id ours
        os.close(self.exited_fd)
        try:
            return self._process.wait(timeout=5.0)
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()


def start_process(command: Command, life_line: int) -> Child:
    """Start a process that inherits the descriptor ``life_line``. Raises OSError or ValueError."""
    told, tell = os.pipe()
    try:
        os.write(tell, command.secret.encode() + b"\n")  # far less than a pipe holds
        process = subprocess.Popen(
            command.arguments,
            env=command.env,
            stdin=told,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[life_line],
            process_group=0,  # a terminal's ^C is the parent's; and its own children die with it
        )
    finally:
        os.close(told)
        os.close(tell)
    try:
        return _Process(process)
    except BaseException:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        raise


@dataclass
class _Watched:
    command: Command
    child: Child
    log: ChildLog
    output_open: bool = True
    read_at: float | None = None
    """When its output is read again, while it is not polled."""
    kill_at: float | None = None


class Supervisor:
    """The thread that starts processes. Its methods may be called from any thread; none waits but ``close``."""

    def __init__(
        self,
        log_dir: Path,
        on_exit: Callable[[str, int, str], None],
        start: Callable[[Command, int], Child] = start_process,
    ) -> None:
        """
        Args:
            log_dir: gets one file per name.
            on_exit: called on the supervisor's thread as (name, incarnation, reason) when a process is gone.
            start: starts a command, given the descriptor that it is to inherit.
        """
        self._log_dir = log_dir
        try:
            log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            log.warning("workers' logs are not kept: %s", exc)
        self._on_exit = on_exit
        self._start_child = start
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waker = Waker()
        self._selector = selectors.DefaultSelector()
        self._children: dict[tuple[str, int], _Watched] = {}
        self.life_line, self._pipe_write = os.pipe()
        """Children inherit its reading end; it ends with this process."""
        self._spare = SpareDescriptors(_SPARE_DESCRIPTORS)
        self._ended = False
        self._adopts = adopts_orphans()
        self._selector.register(self._waker.fileno(), selectors.EVENT_READ, None)
        self._thread = self._begun()

    # -- from any thread ---------------------------------------------------------------------------

    def start(self, command: Command) -> None:
        """Start a command."""
        self._order(lambda: self._start(command))

    def kill(self, name: str, incarnation: int, why: str, *, at_once: bool = False) -> None:
        """Send TERM now and KILL a little later, or KILL at once; ``on_exit`` tells when it is gone."""
        self._order(lambda: self._kill((name, incarnation), why, at_once))

    @property
    def alive(self) -> bool:
        """True while the thread does its work."""
        return self._thread.is_alive()

    def revive(self) -> None:
        """Start the thread anew where it has ended. The kernel ended its children with it: each end is told."""
        if not self._thread.is_alive():
            self._thread = self._begun()

    def _begun(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="audio-pool-supervisor", daemon=True)
        thread.start()
        return thread

    def close(self, timeout_s: float = 10.0) -> None:
        """Kill what is left and end the thread."""
        self._order(self._end)
        self._thread.join(timeout_s)
        if not self._thread.is_alive() and self._children:  # it had ended before: nobody carries orders out
            self._kill_all()
            for watched in self._children.values():
                with contextlib.suppress(Exception):
                    watched.child.reap()
            self._children.clear()

    def pids(self) -> dict[str, int]:
        """Return the ids of the processes that run now, by name."""
        return {name: watched.child.pid for (name, _), watched in list(self._children.items())}

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)
        self._waker.wake()

    # -- on the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not (self._ended and not self._children):
            try:
                self._turn()
            except Exception:  # whatever it was: who would start the next worker?
                log.exception("the supervisor met a bug and goes on")
                time.sleep(_PAUSE_S)
        self._selector.close()
        self._waker.close()
        self._spare.release()
        os.close(self.life_line)
        os.close(self._pipe_write)

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._timeout()):
            if key.data is None:
                self._waker.clear()
            else:
                kind, watched = key.data
                (self._read_output if kind == "output" else self._exited)(watched)
        while not self._orders.empty():
            order = self._orders.get()
            try:
                order()
            except Exception:
                log.exception("an order to the supervisor failed")
        self._read_again()
        self._kill_overdue()

    def _timeout(self) -> float:
        due = [when for one in self._children.values() for when in (one.kill_at, one.read_at) if when is not None]
        wait = max(0.0, min(due) - time.monotonic()) if due else 3600.0
        return wait if self._spare.fill() else min(wait, 1.0)

    def _start(self, command: Command) -> None:
        try:
            with self._spare.lent():
                self._watch(command)
        except Exception as exc:  # no descriptor, no memory, no such program, a zero byte in a variable, ...
            log.error("worker %s cannot be started: %s", command.name, exc)
            why = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
            reason = f"{command.arguments[0]} cannot be started: {why}"
            self._on_exit(command.name, command.incarnation, reason)

    def _watch(self, command: Command) -> None:
        # Without its parents: where the cache has been moved away, logs in its place would keep it from coming
        # back. And a disk that takes no logs is no reason not to start a worker.
        with contextlib.suppress(OSError):
            self._log_dir.mkdir(exist_ok=True, mode=0o700)
        child = self._start_child(command, self.life_line)
        child_log = ChildLog(self._log_dir / f"{command.name}.log", command.name)
        watched = _Watched(command=command, child=child, log=child_log)
        try:
            self._selector.register(child.output_fd, selectors.EVENT_READ, ("output", watched))
            self._selector.register(child.exited_fd, selectors.EVENT_READ, ("exited", watched))
        except BaseException:
            self._forget(watched)
            child.kill()
            child.reap()
            raise
        self._children[command.name, command.incarnation] = watched
        log.info("worker %s (incarnation %d) has pid %d", command.name, command.incarnation, child.pid)

    def _forget(self, watched: _Watched) -> None:
        """Poll nothing of a child any more."""
        for fd in (watched.child.output_fd, watched.child.exited_fd):
            with contextlib.suppress(KeyError, ValueError, OSError):
                self._selector.unregister(fd)
        watched.output_open, watched.read_at = False, None

    def _read_output(self, watched: _Watched) -> None:
        """Read what there is: a pipe that nobody reads would stop the process for ever."""
        if not watched.output_open:  # its end was seen first, among the same events
            return
        try:
            data = os.read(watched.child.output_fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            watched.output_open = False
        if not data or len(data) == _READ_BYTES:
            with contextlib.suppress(KeyError):
                self._selector.unregister(watched.child.output_fd)
        if len(data) == _READ_BYTES:
            watched.read_at = time.monotonic() + _PAUSE_S
        watched.log.take(data)

    def _read_again(self) -> None:
        now = time.monotonic()
        for watched in self._children.values():
            if watched.read_at is not None and now >= watched.read_at:
                watched.read_at = None
                self._selector.register(watched.child.output_fd, selectors.EVENT_READ, ("output", watched))

    def _exited(self, watched: _Watched) -> None:
        command = watched.command
        reason = "its end could not be read"
        try:
            reason = self._ended_with(watched)
        except Exception as exc:
            log.exception("the end of worker %s could not be read", command.name)
            reason += f": {exc}"
        finally:  # whatever happens: it is gone, and the scheduler must hear of it
            self._forget(watched)
            self._children.pop((command.name, command.incarnation), None)
            self._on_exit(command.name, command.incarnation, reason)
        self._end_orphans()

    def _end_orphans(self) -> None:
        """End what dead workers have left to this process, if it asked to get that."""
        if self._adopts:
            try:
                living = [f"{one.command.name}:{one.command.incarnation}" for one in self._children.values()]
                end_orphans([one.child.pid for one in self._children.values()], living)
            except Exception:
                log.exception("what a worker left behind could not be ended")

    def _ended_with(self, watched: _Watched) -> str:
        """Read what a child wrote last, and reap it; return how it ended, in words."""
        for _ in range(256):  # a grandchild may keep the pipe open, so not until its end
            if not watched.output_open or not _readable(watched.child.output_fd):
                break
            self._read_output(watched)
        watched.log.end()
        self._forget(watched)
        code = watched.child.reap()
        reason = exit_reason(code)
        last = [line for line in watched.log.last_lines if line.strip()]
        if code not in (0, -signal.SIGTERM, -signal.SIGKILL) and last:
            reason += f"; its last line: {last[-1][:300]}"
        log.log(logging.INFO if code == 0 else logging.WARNING, "worker %s ended: %s", watched.command.name, reason)
        return reason

    def _kill(self, key: tuple[str, int], why: str, at_once: bool) -> None:
        watched = self._children.get(key)
        if watched is None or (watched.kill_at is not None and not at_once):
            return
        log.warning("stopping worker %s: %s", key[0], why)
        watched.kill_at = time.monotonic() + _KILL_AFTER_S
        if at_once:  # a process that is stopped (SIGSTOP) would heed a TERM when it goes on, which may be never
            watched.child.kill()
        else:
            watched.child.terminate()

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for watched in self._children.values():
            if watched.kill_at is not None and now >= watched.kill_at:
                watched.kill_at = now + _KILL_AFTER_S
                watched.child.kill()

    def _end(self) -> None:
        self._ended = True
        self._kill_all()

    def _kill_all(self) -> None:
        for watched in list(self._children.values()):
            watched.kill_at = time.monotonic() + _KILL_AFTER_S
            try:
                watched.child.kill()
            except OSError:
                log.exception("worker %s could not be killed", watched.command.name)


def _readable(fd: int) -> bool:
    """Return True if the descriptor has something; ``select`` would fail for descriptors over 1023."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def exit_reason(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
