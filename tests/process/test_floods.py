"""Floods: who sends without measure costs the server bounded memory, and its neighbour nothing but time."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import msgpack
import pytest
import zmq
from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import eventually

HIT = {"prompt": "tone that is kept"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = {"parked_bytes": 16 << 20}
    with Served(tmp_path_factory.mktemp("server"), bind="tcp://127.0.0.1:*", server=config) as served:
        served.ready()
        with Asker(served.endpoint) as ask:
            ask.generate("first", **HIT)
            assert ask.final("first")["type"] == "result"
        yield served


@pytest.fixture
def neighbour(server: Served) -> Iterator[Asker]:
    """Somebody else, who is served before, during and after."""
    with Asker(server.endpoint) as ask:
        ask.generate("before", **HIT)
        assert ask.final("before")["type"] == "result"
        yield ask
        ask.generate("after", **HIT)
        assert ask.final("after")["type"] == "result"
        eventually(lambda: ask.ask("status")["requests"] == 0, "nothing is left of it")


def packed(request_id: str, request: dict[str, object]) -> bytes:
    return bytes(msgpack.packb({"v": 1, "type": "generate", "request_id": request_id, "request": request}))


def flood(server: Served, count: int, request: dict[str, object], *, same_id: bool = False) -> int:
    """Send requests and read no reply; return how many zmq took before it had no room."""
    sent = 0
    with Asker(server.endpoint, SNDHWM=200, RCVHWM=1) as ask:
        for number in range(count):
            try:
                ask.socket.send(packed("same" if same_id else f"r{number}", request), zmq.DONTWAIT)
                sent += 1
            except zmq.Again:
                if not ask.socket.poll(200, zmq.POLLOUT):
                    break
    return sent


@pytest.mark.parametrize(
    ("request_", "same_id"),
    [(HIT, False), (HIT, True), ({"prompt": "tone", "seed": -1}, False), ({**HIT, "delivery": "inline"}, False)],
    ids=["hits", "one-id", "refused", "inline"],
)
def test_who_reads_no_reply_and_vanishes_leaves_nothing(
    server: Served, neighbour: Asker, request_: dict[str, object], same_id: bool
) -> None:
    flood(server, 4000, request_, same_id=same_id)  # warm
    before_mb = server.rss_mb()
    for _ in range(2):
        assert flood(server, 4000, request_, same_id=same_id) > 200
        neighbour.generate("during", **HIT)
        assert neighbour.final("during")["type"] == "result"
        neighbour.finals.clear()
    assert server.rss_mb() < before_mb + 60


def test_many_connections_that_send_junk_leave_nothing(server: Served, neighbour: Asker) -> None:
    host, port = server.endpoint[len("tcp://") :].rsplit(":", 1)

    def crowd() -> None:
        with contextlib.ExitStack() as wires:
            for _ in range(300):
                wire = wires.enter_context(socket.create_connection((host, int(port))))
                with contextlib.suppress(ConnectionError):
                    wire.sendall(os.urandom(200))
            neighbour.generate("during", **HIT)
            assert neighbour.final("during")["type"] == "result"
            neighbour.finals.clear()
        eventually(lambda: neighbour.ask("status")["clients"]["connections"] <= 3, "they are gone")

    crowd()
    before_mb, before = server.rss_mb(), len(os.listdir(f"/proc/{server.process.pid}/fd"))
    for _ in range(2):
        crowd()
    assert server.rss_mb() < before_mb + 30
    assert len(os.listdir(f"/proc/{server.process.pid}/fd")) <= before + 2
