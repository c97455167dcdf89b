"""Who is behind a message, on real sockets: recognised once a connection, never by what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.config import ServerConfig
from audio_pool.errors import BadToken
from audio_pool.roots import ANYWHERE, NOWHERE, Roots
from audio_pool.server import callers as module
from audio_pool.server.callers import Callers, Known
from audio_pool.transport.sockets import Channel, dealer, router
from audio_pool.transport.token import LocalToken


class Door:
    """A bound socket, and who comes through it."""

    def __init__(self, endpoint: str, **config: Any) -> None:
        self.channel: Channel = router(endpoint, knows_senders=True)
        self.token = LocalToken.create(self.channel.endpoint)
        self.callers = Callers(self.channel, ServerConfig(**config), allowed=None, token=self.token)
        self.clients: list[Channel] = []

    def client(self, identity: bytes | None = None) -> Channel:
        self.clients.append(dealer(self.channel.endpoint, identity=identity))
        return self.clients[-1]

    def hears(self, client: Channel) -> Known:
        """Recognise the sender of one message."""
        eventually(lambda: client.send([b"hello"]), "sent")
        assert self.channel.raw.poll(int(PATIENCE_S * 1000))
        frames = self.channel.receive()
        assert frames is not None
        self.last = frames[0]
        return self.callers.sender_of(frames[0])

    def hears_once(self, client: Channel) -> Known | None:
        """Recognise the sender of one message; None where it was not let in, as its routing id was still taken."""
        eventually(lambda: client.send([b"hello"]), "sent")
        frames = self.channel.receive() if self.channel.raw.poll(500) else None
        return None if frames is None else self.callers.sender_of(frames[0])

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.channel.close()
        if self.token is not None:
            self.token.remove()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    return tmp_path


@pytest.fixture(params=["ipc", "tcp"])
def door(request: pytest.FixtureRequest, place: Path) -> Iterator[Door]:
    one = Door(f"ipc://{place}/s" if request.param == "ipc" else "tcp://127.0.0.1:*")
    yield one
    one.close()


def test_a_connection_is_recognised_once_and_another_is_another(door: Door) -> None:
    one, other = door.client(), door.client()
    first = door.hears(one)
    assert door.hears(one) is first
    second = door.hears(other)
    assert second.caller.connection != first.caller.connection and second.caller.client != first.caller.client
    local = door.channel.endpoint.startswith("ipc")
    assert (first.caller.owner == second.caller.owner) == local
    assert first.caller.anonymous is not local and first.caller.operator is local
    assert first.caller.output_roots == (ANYWHERE if local else NOWHERE)
    assert first.sender.uid == (os.getuid() if local else None) and not first.sender.chose_its_id


def test_a_chosen_routing_id_is_another_caller_on_another_connection(door: Door) -> None:
    one = door.client(b"chosen")
    first = door.hears(one)
    assert first.sender.chose_its_id and not first.sender.gone and door.hears(one) is first
    one.close()
    eventually(lambda: first.sender.gone, "its end is seen")

    def heard() -> Known | None:
        return door.hears_once(door.client(b"chosen"))

    second = eventually(heard, "the next is heard")
    assert second is not None and second.caller.connection != first.caller.connection and first.sender.gone


_ASK = """
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.IDENTITY, b"chosen")
sys.stdin.readline()
socket.connect(sys.argv[1])
socket.send(b"hello")
sys.stdin.readline()
socket.close(0)
"""


def test_a_descriptor_that_is_used_again_makes_nobody_who_had_it_before(door: Door) -> None:
    """The next connection may have both the routing id that was chosen and the number of the descriptor."""
    command = [sys.executable, "-c", _ASK, door.channel.endpoint]
    others = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]  # they open no descriptors here later
    heard: list[Known] = []
    try:
        for other in others:
            assert other.stdin is not None
            os.write(other.stdin.fileno(), b"\n")
            # None: the routing id was still taken
            if door.channel.raw.poll(int(PATIENCE_S * 1000) if not heard else 1000) and door.channel.receive():
                heard.append(door.callers.sender_of(b"chosen"))
            os.write(other.stdin.fileno(), b"\n")
            other.wait(PATIENCE_S)
            eventually(lambda: not heard or heard[-1].sender.gone, "its end is seen")
    finally:
        for other in others:
            other.kill()
            other.communicate()
    assert len({known.caller.connection for known in heard}) == len(heard) >= 2
    assert len({known.sender.fd for known in heard}) < len(heard), "a number was used again"


def test_the_token_makes_a_connection_the_users(place: Path) -> None:
    door = Door("tcp://127.0.0.1:*", output_roots=["/srv/sounds"])
    try:
        client = door.client()
        nobody = door.hears(client)
        assert nobody.caller.output_roots == NOWHERE, "roots are for those who are known"
        for wrong in ("", "x", "\u202e", "x" * 128):
            with pytest.raises(BadToken):
                door.callers.by_token(door.last, wrong)
        assert door.hears(client) is nobody
        assert door.token is not None
        known = door.callers.by_token(door.last, door.token.path.read_text())
        assert known.caller.operator and known.caller.owner == f"user-{os.getuid()}"
        assert known.caller.output_roots == Roots(("/srv/sounds",)) and known.caller.input_roots == ANYWHERE
        assert known.caller.connection == nobody.caller.connection and door.hears(client) is known
    finally:
        door.close()


def test_those_who_have_gone_make_room_and_those_who_are_there_stay(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_KNOWN", 8)
    staying = [door.client() for _ in range(3)]
    known = [door.hears(client) for client in staying]
    for _ in range(30):
        passing = door.client()
        gone = door.hears(passing)
        passing.close()
        eventually(lambda gone=gone: gone.sender.gone, "its end is seen")  # type: ignore[misc]
    assert len(door.callers._known) <= 8
    assert [door.hears(client) for client in staying] == known


def test_within_one_process_it_is_the_same_user(place: Path) -> None:
    door = Door("inproc://within")
    try:
        assert door.token is None
        known = door.hears(door.client())
        assert known.caller.operator and known.sender.fd == -1 and not known.sender.gone
    finally:
        door.close()
