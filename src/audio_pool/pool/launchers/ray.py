"""Workers as actors of a Ray cluster.

Owns: RayLauncher: the pool's Ray process (ray_driver.py), started when it is first needed, and what becomes of workers
when that ends.
Must not know: Ray, which this process never imports.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from audio_pool.config import ClusterConfig
from audio_pool.pool.inbox import Item
from audio_pool.pool.launchers import ProcessSpec
from audio_pool.pool.launchers.ray_driver import Options
from audio_pool.pool.launchers.ray_messages import (
    Bring,
    Brought,
    End,
    Exited,
    Lines,
    News,
    Order,
    Pending,
    Placed,
    Spawn,
)
from audio_pool.pool.orphans import own
from audio_pool.pool.supervisor import exit_reason
from audio_pool.scheduler import events

__all__ = ["RayLauncher"]

log = logging.getLogger(__name__)

_END_S = 5.0
_LAST_BYTES = 2000


class RayLauncher:
    """A WorkerLauncher. Its methods may be called from any thread."""

    def __init__(self, port: int, config: ClusterConfig, log_dir: Path, post: Callable[[Item], None]) -> None:
        """
        Args:
            port: where workers connect, on this machine.
            log_dir: gets ``ray.log``.
            post: gets events for the router.
        """
        self._options = Options(
            address=config.address,
            port=port,
            advertise=config.advertise,
            placement_timeout_s=config.placement_timeout_s,
            log_dir="",
        )
        self._log = log_dir / "ray.log"
        self._connected = False
        """The Ray process has told of something: the cluster was there."""
        self._post = post
        self._lock = threading.Lock()
        self._lines: Lines | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._running: set[tuple[str, int]] = set()
        self._bringing: dict[int, Callable[[str | None], None]] = {}
        self._numbers = itertools.count(1)
        self._closed = False

    def spawn(self, spec: ProcessSpec, incarnation: int, secret: str) -> None:
        """Ask Ray for a worker."""
        with self._lock:
            self._running.add((spec.name, incarnation))
            if self._lines is None and not self._closed:
                self._begin()
        self._tell(Spawn(spec=spec, incarnation=incarnation, secret=secret))

    def kill(self, name: str, incarnation: int, why: str, *, at_once: bool = False) -> None:
        """End a worker; one whose node says nothing is given up."""
        log.warning("stopping worker %s: %s", name, why)
        self._tell(End(name=name, incarnation=incarnation, why=why, at_once=at_once))

    def bring(self, name: str, incarnation: int, path: str, told: Callable[[str | None], None]) -> None:
        """Bring a file to a worker's node through Ray's object store; tell where it lies there, or None."""
        number = next(self._numbers)
        with self._lock:
            self._bringing[number] = told
        if not self._tell(Bring(number=number, name=name, incarnation=incarnation, path=path)):
            self._brought(number, None)

    def pids(self) -> dict[str, int]:
        """Return nothing: its workers are processes of other machines."""
        return {}

    def close(self, timeout_s: float = 10.0) -> None:
        """End the Ray process, and with it whatever it has started."""
        with self._lock:
            self._closed = True
            process, thread = self._process, self._thread
        if process is not None:
            process.terminate()
        if thread is not None:
            thread.join(timeout_s)

    def _tell(self, order: Order) -> bool:
        with self._lock:
            lines = self._lines
        try:
            if lines is not None:
                lines.send(order)
                return True
        except OSError:  # it has ended: its workers are told so by its thread
            log.debug("the Ray process is gone")
        return False

    # -- the Ray process ---------------------------------------------------------------------------

    def _begin(self) -> None:
        """Start the process, on a thread that lives as long: the kernel ends it with the thread that started it."""
        ours, theirs = socket.socketpair()
        self._lines = Lines(ours)
        self._thread = threading.Thread(
            target=self._run, args=(self._lines, theirs), name="audio-pool-ray", daemon=True
        )
        self._thread.start()

    def _run(self, lines: Lines, theirs: socket.socket) -> None:
        reason = "it could not be started"
        try:
            reason = self._converse(lines, theirs)
        except Exception as exc:
            log.exception("the Ray process met a bug")
            reason = f"{reason}: {exc}"
        finally:
            with self._lock:
                self._lines = self._process = self._thread = None
                left, self._running = self._running, set()
                bringing = list(self._bringing)
            lines.close()
            for number in bringing:
                self._brought(number, None)
            for name, incarnation in sorted(left):
                self._exited(name, incarnation, f"the Ray process has ended: {reason}", lost=self._connected)
            self._connected = False

    def _converse(self, lines: Lines, theirs: socket.socket) -> str:
        """Start the process, pass on what it tells until its end, and return why it ended."""
        alive, ends = os.pipe()
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._log.open("ab") as file:
                process = subprocess.Popen(
                    [
                        # -P: a folder of this name where the server was started is not Ray
                        *(sys.executable, "-P", "-m", "audio_pool.pool.launchers.ray_driver"),
                        *(msgspec.json.encode(self._options).decode(), str(os.getpid()), str(alive)),
                        str(theirs.fileno()),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    pass_fds=[alive, theirs.fileno()],
                    env={"RAY_USAGE_STATS_ENABLED": "0", **os.environ, **own()},
                    process_group=0,
                )
            with self._lock:
                self._process = process
                if self._closed:
                    process.terminate()
            theirs.close()
            os.close(alive)
            alive = -1
            for news in lines.news():
                self._take(news)
            try:
                code = process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            return f"{exit_reason(code)}{'' if self._closed else self._last_words()}"
        finally:
            theirs.close()
            for fd in (alive, ends):
                if fd >= 0:
                    os.close(fd)

    def _last_words(self) -> str:
        """Return what its log ends with."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - _LAST_BYTES))
                lines = [line for line in file.read().decode(errors="replace").splitlines() if _says(line)]
        except OSError:
            return ""
        return f"; its last line: {lines[-1][:300]}" if lines else ""

    def _take(self, news: News) -> None:
        self._connected = True
        match news:
            case Pending():
                self._post(
                    events.WorkerPending(
                        worker=news.name, incarnation=news.incarnation, why=news.why, within_s=news.within_s
                    )
                )
            case Placed():
                log.info("worker %s (incarnation %d) is on %s", news.name, news.incarnation, news.where)
                self._post(events.WorkerPending(worker=news.name, incarnation=news.incarnation))
            case Exited():
                with self._lock:
                    known = (news.name, news.incarnation) in self._running
                    self._running.discard((news.name, news.incarnation))
                if known:
                    log.warning("worker %s ended: %s", news.name, news.reason)
                    self._exited(news.name, news.incarnation, news.reason, lost=news.lost)
            case Brought():
                self._brought(news.number, news.place)

    def _exited(self, name: str, incarnation: int, reason: str, *, lost: bool) -> None:
        self._post(events.WorkerExited(worker=name, incarnation=incarnation, reason=reason, lost=lost))

    def _brought(self, number: int, place: str | None) -> None:
        with self._lock:
            told = self._bringing.pop(number, None)
        if told is not None:
            told(place)


def _says(line: str) -> bool:
    """Return False for what Ray's library writes when it crashes: addresses on the stack, and states."""
    return bool(line.strip()) and "[0x" not in line and "[state-dump]" not in line
