"""Messages that never end: who sends them is cut off, memory comes back, and nobody else notices."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgpack
import psutil
import pytest
from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

GREETING = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" * 32
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
HANDSHAKE = GREETING + b"\x04" + bytes([len(READY)]) + READY
FRAME = b"\x03" + (60_000).to_bytes(8, "big") + b"z" * 60_000
"""With more to come."""
BIND = {"tcp": "tcp://127.0.0.1:*", "ipc": ""}


@pytest.fixture(scope="module", params=["tcp", "ipc"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp(request.param)
    with Served(place, bind=BIND[request.param]) as served:
        yield served.ready()


def connected(served: Served) -> socket.socket:
    """A plain socket that has shaken hands as zmq does."""
    if served.endpoint.startswith("ipc://"):
        wire = socket.socket(socket.AF_UNIX)
        wire.connect(served.endpoint[len("ipc://") :])
    else:
        host, port = served.endpoint[len("tcp://") :].rsplit(":", 1)
        wire = socket.create_connection((host, int(port)))
    wire.settimeout(PATIENCE_S)
    wire.sendall(HANDSHAKE)
    heard = b""
    while b"ROUTER" not in heard:  # the end of the handshake: zmq hangs up on who does not wait for it
        heard += wire.recv(64)
    return wire


def pour(wire: socket.socket, most: int) -> int:
    """Send frames of a message without end until the connection is gone, or so many bytes have been taken."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most:
            wire.sendall(FRAME)
            sent += len(FRAME)
    return sent


def ended(ask: Asker) -> int:
    return int(ask.ask("status")["clients"].get("connections_ended_unfinished", 0))


def log_of(served: Served) -> str:
    return (served.place / "cache" / "logs" / "server.log").read_text()


def test_who_pours_without_end_is_cut_off_and_the_memory_comes_back(server: Served) -> None:
    with Asker(server.endpoint) as ask:
        ask.ask("health")
        before_mb, before = server.rss_mb(), ended(ask)
        peak_mb = [before_mb]
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(0.005):
                with contextlib.suppress(psutil.NoSuchProcess):
                    peak_mb.append(server.rss_mb())

        looking = threading.Thread(target=look)
        looking.start()
        try:
            for _ in range(3):
                with connected(server) as wire:
                    assert pour(wire, 4 << 30) < 4 << 30, "it was never cut off"
            eventually(lambda: ended(ask) >= before + 3, "counted")
        finally:
            stop.set()
            looking.join()
        assert max(peak_mb) < before_mb + 1500, "of 12 GB that were meant"
        eventually(lambda: server.rss_mb() < before_mb + 60, "given back")
        assert ask.ask("health")["state"] == "ready"
        assert "a message of it does not end" in log_of(server)


def test_many_that_send_a_little_without_end_are_bounded_together(server: Served) -> None:
    with Asker(server.endpoint) as ask, contextlib.ExitStack() as wires:
        before_mb = server.rss_mb()
        for _ in range(30):
            wire = wires.enter_context(connected(server))
            pour(wire, 10 << 20)
        if server.endpoint.startswith("tcp://"):  # on a local socket the system does not say whose bytes they are
            eventually(lambda: server.rss_mb() < before_mb + 200, "of 300 MB that were sent, most are let go")
        assert ask.ask("health")["state"] == "ready"
    with Asker(server.endpoint) as ask:
        eventually(lambda: ask.ask("health")["state"] == "ready", "it goes on")


def test_who_sends_many_whole_messages_is_never_cut_off(server: Served) -> None:
    large = msgpack.packb({"v": 1, "type": "health", "request_id": "large", "x": "y" * 900_000})
    with Asker(server.endpoint) as ask:
        before = ended(ask)
        for _ in range(10):
            for _ in range(60):
                ask.socket.send(large)
            for _ in range(60):
                assert ask.take()["error"]["code"] == "bad_message"
        assert ended(ask) == before


def test_a_whole_message_in_small_pieces_is_taken(server: Served) -> None:
    body = msgpack.packb({"v": 1, "type": "health", "request_id": "slow"})
    with connected(server) as wire, Asker(server.endpoint) as ask:
        for byte in b"\x00" + bytes([len(body)]) + body:
            wire.sendall(bytes([byte]))
        assert ask.ask("health")["state"] == "ready"
        heard = b""
        while b"slow" not in heard:  # behind what zmq says itself
            heard += wire.recv(4096)


def test_a_frame_that_is_too_large_ends_its_own_connection_alone(server: Served) -> None:
    with Asker(server.endpoint) as ask, connected(server) as wire:
        with contextlib.suppress(ConnectionError):
            wire.sendall(b"\x02" + ((1 << 20) + 1).to_bytes(8, "big") + b"x")
            while wire.recv(4096):  # what zmq says itself
                pass
        assert ask.ask("health")["state"] == "ready"


def test_nothing_is_left(server: Served) -> None:
    with Asker(server.endpoint) as ask:
        eventually(lambda: ask.ask("status")["clients"]["connections"] == 1, "all others have gone")
    assert Path(f"/proc/{server.process.pid}/fd").is_dir()
