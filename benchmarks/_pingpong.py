"""The floor of everything that is routed: two processes, one zmq ipc ping-pong, nothing else."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import zmq

_ECHO = """
import sys, zmq
socket = zmq.Context().socket(zmq.REP)
socket.setsockopt(zmq.LINGER, 0)
socket.connect(sys.argv[1])
while True:
    socket.send(socket.recv())
"""


@contextlib.contextmanager
def ping_pong() -> Iterator[zmq.Socket[bytes]]:
    """A REQ socket whose every message comes back from another process."""
    with tempfile.TemporaryDirectory() as place:
        context = zmq.Context()
        socket = context.socket(zmq.REQ)
        socket.setsockopt(zmq.RCVTIMEO, 10_000)
        socket.bind(f"ipc://{place}/ping")
        echo = subprocess.Popen([sys.executable, "-c", _ECHO, f"ipc://{place}/ping"])
        try:
            yield socket
        finally:
            echo.kill()
            echo.wait(10)
            context.destroy(0)


def p50_us(once: object, rounds: int) -> float:
    """Median microseconds of ``once()``."""
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        once()  # type: ignore[operator]
        took.append(time.perf_counter() - started)
    return statistics.median(took) * 1e6
