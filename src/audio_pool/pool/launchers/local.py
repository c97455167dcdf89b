"""Workers as processes of this machine, or as threads of this one where a host may not spawn.

Owns: a worker's command line and environment.
Must not know: how a process is watched (supervisor.py), what workers do.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import audio_pool
from audio_pool.pool.launchers import OnExit, ProcessSpec
from audio_pool.pool.orphans import MARK
from audio_pool.pool.supervisor import Command, Supervisor, exit_reason

__all__ = ["LocalLauncher", "environment"]

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
from audio_pool.worker.start import main
sys.exit(main(sys.argv[2:]))
"""


def environment(spec: ProcessSpec, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the worker's own environment; the parent's is never changed.

    An unset GPU leaves the variables alone: setting them to "" would hide every GPU.
    """
    env = {key: value for key, value in inherited.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    if spec.gpu is not None:
        env["CUDA_VISIBLE_DEVICES"] = env["HIP_VISIBLE_DEVICES"] = spec.gpu
        env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    threads = spec.threads or (0 if "OMP_NUM_THREADS" in inherited else spec.fair_threads)
    if threads:
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            env[variable] = str(threads)
    env["PYTHONUNBUFFERED"] = "1"
    env.update(spec.env)
    return env


class LocalLauncher:
    """A WorkerLauncher for this machine, and a Helper: its supervisor's thread."""

    name = "supervisor"

    def __init__(self, endpoint: str, log_dir: Path, on_exit: OnExit) -> None:
        """
        Args:
            endpoint: where workers connect.
            log_dir: gets one file per worker.
            on_exit: called on the supervisor's thread.
        """
        self._endpoint = endpoint
        self._on_exit = on_exit
        self._supervisor = Supervisor(log_dir, on_exit)
        self._threads: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def spawn(self, spec: ProcessSpec, incarnation: int, secret: str) -> None:
        """Start a worker's process, or its thread."""
        if spec.thread:
            self._spawn_thread(spec, incarnation, secret)
            return
        # before anything is loaded: a library's threads are as nice as the one that they are begun in
        bootstrap = f"import os\nos.nice({spec.niceness}){_BOOTSTRAP}"
        package = Path(audio_pool.__file__ or "").absolute()
        # the pipe ends with this process, and the worker with the pipe
        arguments = [str(incarnation), str(os.getpid()), str(self._supervisor.life_line)]
        self._supervisor.start(
            Command(
                name=spec.name,
                incarnation=incarnation,
                arguments=(
                    *(spec.python or sys.executable, "-c", bootstrap, str(package), self._endpoint, spec.name),
                    *arguments,
                ),
                env=environment(spec, os.environ) | {MARK: f"{spec.name}:{incarnation}"},
                secret=secret,
            )
        )

    def kill(self, name: str, incarnation: int, why: str, *, at_once: bool = False) -> None:
        """End a worker's process; a thread cannot be killed and is given up."""
        if self._take_thread(name, incarnation):
            log.warning("worker %s: %s; its thread cannot be killed and is left alone", name, why)
            self._on_exit(name, incarnation, "given up: a thread cannot be killed")
        else:
            self._supervisor.kill(name, incarnation, why, at_once=at_once)

    def pids(self) -> dict[str, int]:
        """Return the process ids of the workers that run now, by name."""
        return self._supervisor.pids()

    @property
    def alive(self) -> bool:
        """True while the supervisor's thread does its work."""
        return self._supervisor.alive

    def revive(self) -> None:
        """Start the supervisor's thread anew where it has ended."""
        self._supervisor.revive()

    def close(self, timeout_s: float = 10.0) -> None:
        """Kill what is left and end the supervisor's thread."""
        self._supervisor.close(timeout_s)

    def _spawn_thread(self, spec: ProcessSpec, incarnation: int, secret: str) -> None:
        """Run the worker's own loop on a host's thread: same messages, no wall between it and the host."""
        from audio_pool.worker.process import Worker

        def run() -> None:
            try:
                reason = exit_reason(Worker(self._endpoint, spec.name, incarnation, secret).run())
            except BaseException as exc:  # a SystemExit, too, would end the thread in silence
                log.exception("worker %s failed", spec.name)
                reason = f"{type(exc).__name__}: {exc}"
            if self._take_thread(spec.name, incarnation):
                self._on_exit(spec.name, incarnation, reason)

        with self._lock:
            self._threads.add((spec.name, incarnation))
        threading.Thread(target=run, name=f"audio-pool-{spec.name}", daemon=True).start()

    def _take_thread(self, name: str, incarnation: int) -> bool:
        """Forget a worker's thread; return True if it was still counted as running."""
        with self._lock:
            running = (name, incarnation) in self._threads
            self._threads.discard((name, incarnation))
            return running
