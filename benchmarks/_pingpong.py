"""The floor of everything that is routed: two processes, one zmq ping-pong (ipc; TCP and CURVE), nothing else."""

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


_ENCRYPTED_ECHO = """
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.LINGER, 0)
socket.curve_serverkey = sys.argv[2].encode()
socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
socket.connect(sys.argv[1])
socket.send(b"here")
while True:
    socket.send(socket.recv())
"""


@contextlib.contextmanager
def encrypted_ping_pong() -> Iterator[zmq.Socket[bytes]]:
    """A socket whose every message comes back from another process, over TCP and CURVE."""
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.RCVTIMEO, 10_000)
    public, socket.curve_secretkey = zmq.curve_keypair()
    socket.curve_publickey, socket.curve_server = public, True
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    echo = subprocess.Popen([sys.executable, "-c", _ENCRYPTED_ECHO, f"tcp://127.0.0.1:{port}", public.decode()])
    try:
        socket.recv()
        yield socket
    finally:
        echo.kill()
        echo.wait(10)
        context.destroy(0)


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
