"""What a client's connection makes of its monitor's words, in whatever order and portions they come."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

import pytest
import zmq
from tests.support.waiting import PATIENCE_S

from audio_pool.api import as_request
from audio_pool.client.connection import Connection
from audio_pool.client.session import ClientSession
from audio_pool.errors import Disconnected, Refused
from audio_pool.pending import Pending
from audio_pool.transport.sockets import Channel

DISCONNECTED, SUCCEEDED, NO_DETAIL, PROTOCOL, AUTH = 0x0200, 0x1000, 0x0800, 0x2000, 0x4000

_numbers = itertools.count(1)


class Told:
    """A connection to nobody, whose monitor is the test."""

    def __init__(self) -> None:
        context = zmq.Context.instance()
        self.mouth, ear = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        name = f"inproc://told-{next(_numbers)}"  # zmq may still be letting go of the last one's
        self.mouth.bind(name)
        ear.connect(name)
        self.session = ClientSession("ipc:///nobody")
        self.connection = Connection("ipc:///nobody", None, self.session)
        self._own = self.connection.monitor
        self.connection.monitor = Channel(ear)

    def hears(self, *events: int) -> None:
        for event in events:
            self.mouth.send_multipart([struct.pack("=HI", event, 400), b"ipc:///nobody"])
        assert self.connection.monitor.raw.poll(int(PATIENCE_S * 1000))
        self.connection.poll_monitor()

    def asks(self, name: str) -> Pending:
        pending = Pending(name, lambda: None)
        self.session.submit(as_request("rain", {}), pending, now=0.0, timeout_s=1e6)
        return pending

    def close(self) -> None:
        self.connection.monitor.close()
        self.connection.monitor = self._own
        self.connection.close()
        self.mouth.close(0)


@pytest.fixture
def told() -> Iterator[Told]:
    one = Told()
    yield one
    one.close()


@pytest.mark.parametrize("failure", [AUTH, NO_DETAIL, PROTOCOL])
def test_the_end_of_a_handshake_that_failed_loses_nothing_that_was_asked_since(told: Told, failure: int) -> None:
    told.hears(failure)
    later = told.asks("later")
    told.hears(DISCONNECTED)
    assert not later.done(), "zmq tries again; only what a connection had can be lost with it"


def test_a_refused_key_ends_what_waits_as_refused(told: Told) -> None:
    before = told.asks("before")
    told.hears(AUTH, DISCONNECTED)
    assert isinstance(before.exception(0), Refused) and "turned this client's key away" in str(before.exception(0))


def test_a_refusal_is_forgotten_with_its_own_end(told: Told) -> None:
    told.hears(AUTH, DISCONNECTED, SUCCEEDED)
    lost = told.asks("lost")
    told.hears(DISCONNECTED)
    assert isinstance(lost.exception(0), Disconnected), "a connection that was made can be lost"


def test_what_was_asked_before_a_connection_breaks_is_lost_with_it(told: Told) -> None:
    told.hears(SUCCEEDED)
    lost = told.asks("lost")
    told.hears(DISCONNECTED, SUCCEEDED)
    assert isinstance(lost.exception(0), Disconnected) and told.session.connected
