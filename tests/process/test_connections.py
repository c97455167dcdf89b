"""Who is connected to a bound socket: told, counted, turned away, ended from outside; with real sockets."""

from __future__ import annotations

import logging
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import eventually

from audio_pool.transport.connections import MONITORED, Connections, most_connections
from audio_pool.transport.endpoints import local_endpoint
from audio_pool.transport.poller import Poller
from audio_pool.transport.sockets import Channel, dealer, router

Door = tuple[Channel, Connections]


@pytest.fixture(params=["ipc", "tcp"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    """A ROUTER to which two may be connected."""
    endpoint = local_endpoint(tmp_path / "s") if request.param == "ipc" else "tcp://127.0.0.1:*"
    channel = router(endpoint, monitored=MONITORED)
    connections = Connections(channel, 2)
    yield channel, connections
    channel.close()
    connections.close()


def connected(endpoint: str) -> socket.socket:
    """A peer that knows nothing of zmq."""
    kind, place = endpoint.split("://")
    if kind == "ipc":
        one = socket.socket(socket.AF_UNIX)
        one.connect(place)
    else:
        one = socket.create_connection((place.rsplit(":", 1)[0], int(place.rsplit(":", 1)[1])))
    one.setblocking(False)
    return one


def ended(one: socket.socket) -> bool:
    """Whether the other side has ended it."""
    try:
        while one.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def open_now(connections: Connections, number: int) -> bool:
    connections.take_in()
    return len(connections.open) == number


def test_those_that_come_and_go_are_told_with_who_they_are(door: Door) -> None:
    channel, connections = door
    first, second = connected(channel.endpoint), connected(channel.endpoint)
    eventually(lambda: open_now(connections, 2), "both are told of")
    peers = {one.peer for one in connections.open.values()}
    if first.family == socket.AF_UNIX:
        assert peers == {f"pid {os.getpid()} of user {os.getuid()}"}
    else:
        assert peers == {"{}:{}".format(*one.getsockname()) for one in (first, second)}
    first.close()
    eventually(lambda: open_now(connections, 1), "one has gone")
    second.close()
    eventually(lambda: open_now(connections, 0), "both have gone")
    assert not connections.counts


def test_one_too_many_is_turned_away_and_counted_until_there_is_room(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    channel, connections = door
    inside = [connected(channel.endpoint) for _ in range(2)]
    eventually(lambda: open_now(connections, 2), "both are in")
    outside = [connected(channel.endpoint) for _ in range(3)]

    def all_ended() -> bool:
        connections.take_in()
        return all(ended(one) for one in outside)

    eventually(all_ended, "the others are shut out")
    connections.take_in()
    assert connections.counts == {"connections_turned_away": 3} and len(connections.open) == 2
    assert not any(ended(one) for one in inside)
    (line,) = [message for message in caplog.messages if "turned away" in message]
    assert "2 connections are open" in line and "server.max_connections" in line
    inside[0].close()
    eventually(lambda: open_now(connections, 1), "one has gone")
    asking = dealer(channel.endpoint)  # zmq's own try again until there is room
    assert asking.send([b"hello"])
    eventually(channel.readable, "its message is there")
    connections.take_in()
    assert len(connections.open) == 2
    for one in (inside[1], *outside):
        one.close()
    asking.close()


def test_a_crowd_is_shut_out_before_it_is_looked_at(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    channel, connections = door
    crowd = [connected(channel.endpoint) for _ in range(12)]
    listener, look = channel.listener, connections._look
    assert listener is not None
    shut: list[bool] = []

    def watched(fd: int, *, end: bool = False, abruptly: bool = False) -> str:
        shut.append(listener.is_shut)
        return look(fd, end=end, abruptly=abruptly)

    monkeypatch.setattr(connections, "_look", watched)

    def all_told() -> bool:
        connections.take_in()
        return sum(not ended(one) for one in crowd) == 2

    eventually(all_told, "two are in and the others are not")
    assert shut[:2] == [False, False] and all(shut[2:]), "or zmq takes in more than there are descriptors meanwhile"
    for one in crowd:
        one.close()


def test_a_connection_is_ended_from_outside(door: Door) -> None:
    channel, connections = door
    first, second = connected(channel.endpoint), connected(channel.endpoint)
    eventually(lambda: open_now(connections, 2), "both are in")
    for fd in list(connections.open):
        connections.shut(fd)
    eventually(lambda: ended(first) and ended(second), "both see the end")
    eventually(lambda: open_now(connections, 0), "and are gone")
    first.close()
    second.close()


def test_a_descriptor_that_is_another_files_by_now_is_left_alone(door: Door) -> None:
    _, connections = door
    mine, other = socket.socketpair()
    assert connections._look(mine.fileno(), end=True) == ""
    assert connections._look(9_999, end=True) == "" and connections._look(0, end=True) == ""
    other.send(b"still here")
    assert mine.recv(100) == b"still here"
    mine.close()
    other.close()


def test_the_monitor_wakes_a_poller(door: Door) -> None:
    channel, connections = door
    poller = Poller[str]()
    poller.add(connections.monitor, "monitor")
    assert poller.wait(0.0) == []
    one = connected(channel.endpoint)
    assert poller.wait(60.0) == ["monitor"]
    one.close()


def test_room_is_kept_for_the_process_itself(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (1024, 4096))
    room = most_connections(0, workers=2)
    assert 100 < room < 1024 - 256 and most_connections(0, workers=4) == room - 16
    assert most_connections(7, workers=2) == 7 and not caplog.messages
    assert most_connections(5000, workers=2) == room
    assert "given 5000" in caplog.text and "1024 descriptors" in caplog.text


@pytest.mark.parametrize("bind", ["", "tcp://127.0.0.1:*"])
def test_more_clients_than_descriptors_keep_no_dead_worker_from_coming_back(tmp_path: Path, bind: str) -> None:
    served = Served(tmp_path / "s", bind=bind, most_files=128, limits={"restart_backoff_s": 0.05})
    with served.ready(), Asker(served.endpoint) as ask:
        assert ask.ask("health")["state"] == "ready"
        crowd = []
        for number in range(130):
            crowd.append(dealer(served.endpoint))
            if number % 6 == 5:  # a burst is no promise on ipc (docs/security.md)
                assert ask.ask("health")["state"] in ("ready", "degraded")
        eventually(lambda: ask.ask("status")["clients"].get("connections_turned_away", 0) > 20, "some are turned away")
        served.workers()["w"].kill()
        eventually(lambda: ask.ask("status")["workers"]["w"]["incarnation"] == 2, "it is started again")
        ask.generate("sound", "tone all the same")
        assert ask.final("sound")["type"] == "result"
        clients = ask.ask("status")["clients"]
        assert 0 < clients["connections"] < 100
        for one in crowd:
            one.close()
        eventually(lambda: ask.ask("status")["clients"]["connections"] == 1, "only the one that asks is left")


def test_a_worker_that_dies_beside_more_connections_than_select_can_wait_for_comes_back(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"this system allows {hard} descriptors per process")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    served = Served(tmp_path / "s", limits={"restart_backoff_s": 0.05})
    with served.ready(), Asker(served.endpoint) as ask:
        assert ask.ask("health")["state"] == "ready"
        crowd = [connected(served.endpoint) for _ in range(1200)]
        eventually(lambda: ask.ask("status")["clients"]["connections"] > 1200, "all are in")
        for incarnation in (2, 3):
            served.workers()["w"].kill()
            eventually(
                lambda n=incarnation: ask.ask("status")["workers"]["w"]["incarnation"] == n,  # type: ignore[misc]
                "it is started again",
            )
            ask.generate(f"sound-{incarnation}", f"tone {incarnation}")
            final = ask.final(f"sound-{incarnation}")
            assert final["type"] == "result", final
        served.signal()
        assert served.wait() == 0, "and a TERM is heeded"
        for one in crowd:
            one.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
