"""A process beside a server that is a client of it: started with it, started again when it ends, ended with it.

Owns: its life. Must not know: what it does.

It belongs to the server's own process group, so that it is not taken for what a worker has left behind.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import threading
import time
from collections.abc import Sequence

__all__ = ["SideProcess"]

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_WELL_S = 30.0
"""One that has run so long starts with a short pause again."""
_END_S = 3.0


class SideProcess:
    """Runs a command until ``stop``. It inherits standard output and error."""

    def __init__(self, name: str, command: Sequence[str], *, inherited: Sequence[int] = ()) -> None:
        """Start it.

        Args:
            name: for the log.
            inherited: descriptors that it gets, beside the standard ones.
        """
        self._inherited = tuple(inherited)
        self._name = name
        self._command = list(command)
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"audio-pool {name}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        with self._lock:
            return None if self._process is None else self._process.pid

    def stop(self) -> None:
        """End it: asked first, then killed."""
        self._over.set()
        with self._lock:
            process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(_END_S)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._over.is_set():
            started = time.monotonic()
            with self._lock:
                if self._over.is_set():
                    return
                try:
                    self._process = subprocess.Popen(
                        self._command, stdin=subprocess.DEVNULL, pass_fds=self._inherited
                    )
                except OSError as exc:
                    log.error("%s could not be started: %s", self._name, exc)
                    return
            code = self._process.wait()
            with self._lock:
                self._process = None
            if self._over.is_set():
                return
            pause_s = _FIRST_PAUSE_S if time.monotonic() - started > _WELL_S else pause_s
            log.error("%s has ended (exit code %d); it is started again in %g s", self._name, code, pause_s)
            self._over.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
