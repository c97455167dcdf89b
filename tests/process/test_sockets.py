"""Sockets within one process: what a router says of its peers, who owns a socket's file, waking, parked answers."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from tests.support.routed import Routed

from audio_pool.config import ServerConfig
from audio_pool.errors import InvalidConfig
from audio_pool.server import image_frontend
from audio_pool.server.image_frontend import ImageFrontEnd
from audio_pool.transport.endpoints import MAX_IPC_PATH_BYTES, local_endpoint
from audio_pool.transport.poller import Poller
from audio_pool.transport.sockets import Channel, SendResult, dealer, puller, pusher, router
from audio_pool.transport.waker import Waker

WAIT_S = 30.0


def test_a_path_of_107_bytes_really_binds(tmp_path: Path) -> None:
    room = MAX_IPC_PATH_BYTES - len(os.fsencode(tmp_path)) - 1
    if room < 1:
        pytest.skip("the temporary directory's own path is too long")
    path = tmp_path / ("x" * room)
    channel = router(local_endpoint(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "nobody else may talk to it"
    channel.close()
    assert not path.exists()


def inproc() -> str:
    return f"inproc://{uuid.uuid4()}"


def receive(channel: Channel, poller: Poller[str]) -> list[bytes]:
    assert poller.wait(WAIT_S) == ["it"]
    frames = channel.receive()
    assert frames is not None
    return frames


def test_a_router_says_who_spoke_and_who_is_not_there() -> None:
    endpoint = inproc()
    server = router(endpoint)
    client = dealer(endpoint, identity=b"me")
    try:
        poller = Poller[str]()
        poller.add(server, "it")
        assert client.send([b"hello", b"\0binary"])
        assert receive(server, poller) == [b"me", b"hello", b"\0binary"]
        assert server.receive() is None
        assert server.send_to(b"me", [b"answer"]) is SendResult.SENT
        assert server.send_to(b"nobody", [b"answer"]) is SendResult.GONE, "told, not swallowed"
        poller.remove(server)
        poller.add(client, "it")
        assert receive(client, poller) == [b"answer"]
    finally:
        server.close()
        client.close()


def test_a_slow_peer_is_told_from_a_vanished_one() -> None:
    endpoint = inproc()
    server = router(endpoint, high_water=1)
    client = dealer(endpoint, identity=b"slow", high_water=1)
    try:
        poller = Poller[str]()
        poller.add(server, "it")
        assert client.send([b"hello"])
        receive(server, poller)
        answers = [server.send_to(b"slow", [b"x"]) for _ in range(10)]
        assert answers[0] is SendResult.SENT and answers[-1] is SendResult.SLOW
    finally:
        server.close()
        client.close()


def test_a_connection_that_ends_while_its_channel_is_closed_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    server = router("tcp://127.0.0.1:*")
    client = dealer(server.endpoint, monitored=zmq.EVENT_DISCONNECTED)
    client.send([b"hello"])
    poller = Poller[str]()
    poller.add(server, "it")
    assert poller.wait(WAIT_S) == ["it"]
    assert client.monitor is not None
    monitor, end = client.monitor, client.monitor.close

    def end_while_the_server_goes() -> None:
        end()
        time.sleep(0.2)  # for zmq's thread to let go of our end
        server.close()
        time.sleep(0.3)  # for it to tell of that

    monkeypatch.setattr(monitor, "close", end_while_the_server_goes)
    closing = threading.Thread(target=client.close, daemon=True)
    closing.start()
    closing.join(10.0)
    assert not closing.is_alive(), "zmq waits for somebody to read what it tells"


def test_push_and_pull() -> None:
    endpoint = inproc()
    sink = puller(endpoint, bind=True)
    source = pusher(endpoint, bind=False)
    try:
        poller = Poller[str]()
        poller.add(sink, "it")
        assert source.send([b"one"])
        assert receive(sink, poller) == [b"one"]
    finally:
        source.close()
        sink.close()


def test_a_living_servers_socket_is_not_taken_over(tmp_path: Path) -> None:
    endpoint = local_endpoint(tmp_path / "s")
    first = router(endpoint)
    with pytest.raises(InvalidConfig, match="in use by a running server"):
        router(endpoint)
    first.close()
    (tmp_path / "s").touch()  # a dead one's leftover is
    router(endpoint).close()


def test_a_socket_file_is_removed_by_its_owner_alone(tmp_path: Path) -> None:
    first = router(local_endpoint(tmp_path / "s"))
    (tmp_path / "s").rename(tmp_path / "aside")
    (tmp_path / "s").write_text("another's")
    first.close()
    assert (tmp_path / "s").read_text() == "another's"


def test_an_endpoint_in_use_says_so() -> None:
    first = router("tcp://127.0.0.1:*")
    with pytest.raises(InvalidConfig, match="cannot be bound") as caught:
        router(first.endpoint)
    assert "another server" in caught.value.hint
    first.close()


# -- waking ----------------------------------------------------------------------------------------


def test_a_waker_wakes_from_another_thread() -> None:
    waker, poller = Waker(), Poller[str]()
    poller.add(waker, "woken")
    assert poller.wait(0.0) == []
    thread = threading.Thread(target=waker.wake)
    thread.start()
    assert poller.wait(WAIT_S) == ["woken"]
    thread.join()
    waker.wake()
    waker.clear()
    waker.clear()
    assert poller.wait(0.0) == [], "many wakes are one"
    waker.close()
    waker.close()


def test_a_closed_waker_writes_to_nobody() -> None:
    """Its descriptor's number may be another file's by then."""
    waker = Waker()
    number = waker.fileno()
    waker.close()
    read, write = os.pipe()
    try:
        if number not in (read, write):
            os.dup2(write, number)
        waker.wake()
        os.set_blocking(read, False)
        with pytest.raises(BlockingIOError):
            os.read(read, 8)
    finally:
        for fd in {read, write, number}:
            os.close(fd)


# -- the image server's pair of addresses ----------------------------------------------------------


@pytest.fixture
def image_front_end(tmp_path: Path) -> Iterator[tuple[ImageFrontEnd, str]]:
    pull, push = inproc(), inproc()
    pool = Routed(tmp_path)
    front_end = ImageFrontEnd(pool.service, ServerConfig(pull_bind=pull, push_bind=push))
    yield front_end, push
    front_end.close()
    pool.close()


def test_answers_that_no_image_server_takes_are_kept_up_to_a_number_and_then_counted(
    image_front_end: tuple[ImageFrontEnd, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_frontend, "_MOST_PARKED", 100)
    front_end, push = image_front_end
    for number in range(103):  # each is refused, and answered
        front_end.on_message([b'{"request_id": "r%d", "prompt": ""}' % number])
    assert front_end.parked and front_end.reply_counts == {"image_replies_dropped": 3}
    assert front_end.message_counts == {"refused": 103}
    server = puller(push, bind=False)
    try:
        poller = Poller[str]()
        poller.add(server, "it")
        deadline = time.monotonic() + WAIT_S
        while not poller.wait(0.02) and time.monotonic() < deadline:
            front_end.flush()  # as the router's loop does until everything has gone
        frames = server.receive()
        assert frames is not None and json.loads(frames[0])["request_id"] == "r3", "the oldest went"
    finally:
        server.close()
