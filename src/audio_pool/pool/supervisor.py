"""Worker processes: spawned, pinned, watched and stopped.

Owns: every child process, its environment, its output and its end. All of it happens on one thread
that lives as long as the pool: the kernel ties a child's parent-death signal to the *thread* that
started it.
Must not know: what workers do; which should run (roster).
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import queue
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import audio_pool
from audio_pool.transport.sockets import Waker

__all__ = ["Factory", "ProcessPlan"]

log = logging.getLogger(__name__)

# Loads the package from its file: another interpreter must not get this one's whole site-packages,
# which would shadow its own numpy. The working directory is taken off the path, too (-P would do that,
# but an interpreter that is too old to know -P could not say so).
_BOOTSTRAP = """
import sys
if sys.version_info < (3, 11):
    sys.exit("audio_pool: worker needs Python 3.11 or newer, this is %s" % sys.version.split()[0])
sys.path[:] = [entry for entry in sys.path if entry]
import importlib.util as u
p = sys.argv[1]
s = u.spec_from_file_location("audio_pool", p, submodule_search_locations=[p.rpartition("/")[0]])
m = u.module_from_spec(s)
sys.modules["audio_pool"] = m
s.loader.exec_module(m)
from audio_pool.worker.process import main
sys.exit(main(sys.argv[2:]))
"""

_LAST_WORDS = 12
_MAX_LOG_BYTES = 16 << 20
_KILL_AFTER_S = 3.0


@dataclass(frozen=True, kw_only=True)
class ProcessPlan:
    """How one worker's process is started."""

    name: str
    python: str = ""
    gpu: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    threads: int = 0
    thread: bool = False
    """No process at all: a thread of this one."""


@dataclass
class _Child:
    plan: ProcessPlan
    incarnation: int
    process: subprocess.Popen[bytes]
    pidfd: int
    log_file: Path
    out: int
    partial: bytes = b""
    last_words: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=_LAST_WORDS))
    kill_at: float | None = None


def environment(plan: ProcessPlan, inherited: Mapping[str, str]) -> dict[str, str]:
    """The child's own environment; the parent's is never changed.

    An unset GPU leaves the variables alone: setting them to "" would hide every GPU.
    """
    env = {key: value for key, value in inherited.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    if plan.gpu is not None:
        env["CUDA_VISIBLE_DEVICES"] = env["HIP_VISIBLE_DEVICES"] = plan.gpu
        env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    if plan.threads:
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            env[variable] = str(plan.threads)
    env["PYTHONUNBUFFERED"] = "1"
    env.update(plan.env)
    return env


class Factory:
    """The thread that starts processes. Its methods may be called from any thread and never wait."""

    def __init__(self, endpoint: str, log_dir: Path, on_exit: Callable[[str, int, str], None]) -> None:
        """
        Args:
            endpoint: where workers connect.
            log_dir: gets one file a worker.
            on_exit: called on the factory's thread as (name, incarnation, reason) when a process is gone.
        """
        self._endpoint = endpoint
        self._log_dir = log_dir
        self._on_exit = on_exit
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waker = Waker()
        self._selector = selectors.DefaultSelector()
        self._children: dict[tuple[str, int], _Child] = {}
        self._threads: set[tuple[str, int]] = set()
        self._pipe_read, self._pipe_write = os.pipe()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="audio-pool-factory", daemon=True)
        self._thread.start()

    # -- from any thread ---------------------------------------------------------------------------

    def spawn(self, plan: ProcessPlan, incarnation: int) -> None:
        self._order(lambda: self._spawn(plan, incarnation))

    def kill(self, name: str, incarnation: int, why: str) -> None:
        """TERM now, KILL a little later; ``on_exit`` tells when it is gone."""
        self._order(lambda: self._kill((name, incarnation), why))

    def close(self, timeout_s: float = 10.0) -> None:
        """Kills what is left and ends the thread."""
        self._order(self._end)
        self._thread.join(timeout_s)

    def pids(self) -> dict[str, int]:
        """Of the processes that run now, by worker name."""
        return {name: child.process.pid for (name, _), child in list(self._children.items())}

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)
        self._waker.wake()

    # -- on the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        self._selector.register(self._waker.fileno(), selectors.EVENT_READ, None)
        while not (self._ended and not self._children):
            due = [child.kill_at for child in self._children.values() if child.kill_at is not None]
            timeout = max(0.0, min(due) - time.monotonic()) if due else 3600.0
            for key, _ in self._selector.select(timeout):
                if key.data is None:
                    self._waker.clear()
                else:
                    kind, child = key.data
                    (self._drain_output if kind == "out" else self._exited)(child)
            while not self._orders.empty():
                self._orders.get()()
            self._kill_overdue()
        self._selector.close()
        self._waker.close()
        os.close(self._pipe_read)
        os.close(self._pipe_write)

    def _spawn(self, plan: ProcessPlan, incarnation: int) -> None:
        if plan.thread:
            self._spawn_thread(plan, incarnation)
            return
        package = Path(audio_pool.__file__ or "").absolute()
        command = [plan.python or sys.executable, "-c", _BOOTSTRAP, str(package), self._endpoint, plan.name]
        command += [str(incarnation), str(os.getpid()), str(self._pipe_read)]
        try:
            self._log_dir.mkdir(parents=True, exist_ok=True)
            process = subprocess.Popen(
                command,
                env=environment(plan, os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[self._pipe_read],
                process_group=0,  # a terminal's ^C is the parent's; and its own children die with it
            )
        except OSError as exc:
            log.error("worker %s cannot be started: %s", plan.name, exc)
            self._on_exit(plan.name, incarnation, f"{command[0]} cannot be started: {exc.strerror or exc}")
            return
        assert process.stdout is not None
        out = process.stdout.fileno()
        os.set_blocking(out, False)
        child = _Child(
            plan=plan,
            incarnation=incarnation,
            process=process,
            pidfd=os.pidfd_open(process.pid),
            log_file=self._log_file(plan.name),
            out=out,
        )
        self._children[plan.name, incarnation] = child
        self._selector.register(out, selectors.EVENT_READ, ("out", child))
        self._selector.register(child.pidfd, selectors.EVENT_READ, ("exit", child))
        log.info("worker %s (incarnation %d) has pid %d", plan.name, incarnation, process.pid)

    def _spawn_thread(self, plan: ProcessPlan, incarnation: int) -> None:
        """The worker's own loop on a host's thread: same messages, no wall between it and the host."""
        from audio_pool.worker.process import Worker

        def run() -> None:
            try:
                reason = _told(Worker(self._endpoint, plan.name, incarnation).run())
            except Exception as exc:
                log.exception("worker %s failed", plan.name)
                reason = f"{type(exc).__name__}: {exc}"
            self._order(lambda: self._thread_ended((plan.name, incarnation), reason))

        self._threads.add((plan.name, incarnation))
        threading.Thread(target=run, name=f"audio-pool-{plan.name}", daemon=True).start()

    def _thread_ended(self, key: tuple[str, int], reason: str) -> None:
        if key in self._threads:
            self._threads.remove(key)
            self._on_exit(*key, reason)

    def _log_file(self, name: str) -> Path:
        path = self._log_dir / f"{name}.log"
        with contextlib.suppress(OSError):
            if path.stat().st_size > _MAX_LOG_BYTES:
                path.replace(path.with_suffix(".log.1"))
        return path

    def _drain_output(self, child: _Child) -> None:
        """Reads what there is: a pipe that nobody reads would stop the worker for ever."""
        try:
            data = os.read(child.out, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(child.out)
            child.out = -1
            return
        with contextlib.suppress(OSError), child.log_file.open("ab") as file:
            file.write(data)
        *lines, child.partial = (child.partial + data).split(b"\n")
        child.partial = child.partial[-4096:]
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            if text:
                child.last_words.append(text)
                log.info("[%s] %s", child.plan.name, text)

    def _exited(self, child: _Child) -> None:
        for _ in range(256):  # what it said last; a grandchild may keep the pipe open, so not until its end
            if child.out < 0 or not select.select([child.out], [], [], 0)[0]:
                break
            self._drain_output(child)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)  # its own children; the zombie keeps the group's id ours
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        if child.out >= 0:
            self._selector.unregister(child.out)
        code = child.process.wait(timeout=5.0)
        if child.process.stdout is not None:
            child.process.stdout.close()
        del self._children[child.plan.name, child.incarnation]
        reason = _told(code)
        last = [line for line in child.last_words if line.strip()]
        if code not in (0, -signal.SIGTERM, -signal.SIGKILL) and last:
            reason += f"; its last words: {last[-1][:300]}"
        log.log(logging.INFO if code == 0 else logging.WARNING, "worker %s ended: %s", child.plan.name, reason)
        self._on_exit(child.plan.name, child.incarnation, reason)

    def _kill(self, key: tuple[str, int], why: str) -> None:
        if key in self._threads:
            log.warning("worker %s: %s; its thread cannot be killed and is left alone", key[0], why)
            self._thread_ended(key, "given up: a thread cannot be killed")
        child = self._children.get(key)
        if child is None or child.kill_at is not None:
            return
        log.warning("stopping worker %s: %s", child.plan.name, why)
        child.process.terminate()
        child.kill_at = time.monotonic() + _KILL_AFTER_S

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.kill_at is not None and now >= child.kill_at:
                child.process.kill()
                child.kill_at = now + _KILL_AFTER_S

    def _end(self) -> None:
        self._ended = True
        for child in self._children.values():
            child.process.kill()
            child.kill_at = time.monotonic() + _KILL_AFTER_S


def _told(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
