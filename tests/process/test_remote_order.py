"""The link to workers on other machines while several threads use it: what comes is whole, in its order, and told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.pool.remote_link import Arrived, RemoteLink
from audio_pool.transport import packing
from audio_pool.transport.pieces import PIECE_BYTES, Parting
from audio_pool.transport.poller import Poller
from audio_pool.transport.remote_channel import RemoteChannel
from audio_pool.transport.worker_keys import WorkerCredentials
from audio_pool.transport.worker_messages import (
    CancelTask,
    Heartbeat,
    TaskDone,
    TaskProgress,
    to_worker,
    worker_identity,
)

MESSAGES, LARGE_EVERY = 120, 15
LARGE = bytes(range(256)) * (5 * PIECE_BYTES // 512)


@pytest.fixture
def link(tmp_path: Path) -> Iterator[RemoteLink]:
    link = RemoteLink("tcp://127.0.0.1:*", tmp_path, link_mbit=10_000.0)
    yield link
    link.close()


class Sender(threading.Thread):
    """A worker's thread: sends numbered messages, some of them large, and reads what comes."""

    def __init__(self, link: RemoteLink, name: str) -> None:
        super().__init__(daemon=True)
        own = WorkerCredentials.of(link.expect(name, 1, "secret"))
        self.identity = worker_identity(name, 1, "aux", own.secret)
        self.heard: list[tuple[int, int]] = []
        """Number and bytes of each message."""
        self._endpoint, self._keys = link.endpoint, own.keys

    def run(self) -> None:
        channel = RemoteChannel(self._endpoint, self.identity, self._keys, Parting(), patient=True)
        channel.send([packing.pack(Heartbeat(incarnation=1))])
        poller = Poller[str]()
        poller.add(channel, "message")
        until = time.monotonic() + PATIENCE_S
        sent = 0
        while (sent < MESSAGES or len(self.heard) < 2 * MESSAGES) and time.monotonic() < until:
            if sent < MESSAGES:
                channel.send(_numbered(sent))
                sent += 1
            else:
                poller.wait(until - time.monotonic())
            while (frames := channel.receive()) is not None:
                message = to_worker(frames[0])
                assert isinstance(message, CancelTask)
                self.heard.append((message.task_id, sum(map(len, frames[1:]))))
        channel.close()


def _numbered(number: int) -> list[bytes]:
    if number % LARGE_EVERY == 0:
        return [packing.pack(TaskDone(incarnation=1, task_id=number, attempt=1, results={})), LARGE]
    told = TaskProgress(incarnation=1, task_id=number, attempt=1, stage="generate", done=0, total=1)
    return [packing.pack(told)]


def _large(number: int) -> tuple[bytes, ...]:
    return (LARGE,) if number % LARGE_EVERY == 0 else ()


def test_messages_come_whole_and_in_their_order_both_ways_while_several_threads_send(link: RemoteLink) -> None:
    senders = {one.identity: one for one in (Sender(link, "a"), Sender(link, "b"))}
    poller = Poller[str]()
    poller.add(link.waker, "waker")
    poller.add(link.fileno(), "link")
    came: dict[bytes, list[Arrived]] = {identity: [] for identity in senders}
    known = threading.Event()

    def send_from_beside() -> None:
        assert known.wait(PATIENCE_S)
        for number in range(MESSAGES, 2 * MESSAGES):
            for identity in senders:
                link.send(identity, CancelTask(task_id=number, attempt=1), _large(number))

    beside = threading.Thread(target=send_from_beside, daemon=True)
    beside.start()
    for one in senders.values():
        one.start()
    while any(len(one) <= MESSAGES for one in came.values()):
        assert poller.wait(PATIENCE_S), "what has arrived is told"
        for arrived in link.receive():
            came[arrived.identity].append(arrived)
            if isinstance(arrived.message, TaskProgress | TaskDone):
                number = arrived.message.task_id
                link.send(arrived.identity, CancelTask(task_id=number, attempt=1), _large(number))
        if all(came.values()):
            known.set()
    for identity, sender in senders.items():
        numbers = [one.message.task_id for one in came[identity] if isinstance(one.message, TaskProgress | TaskDone)]
        assert numbers == list(range(MESSAGES))
        assert all(bytes(one.frames[0]) == LARGE for one in came[identity] if isinstance(one.message, TaskDone))
        eventually(lambda sender=sender: len(sender.heard) == 2 * MESSAGES, "everything that was sent has come")  # type: ignore[misc]
        answers = [number for number, _ in sender.heard if number < MESSAGES]
        others = [number for number, _ in sender.heard if number >= MESSAGES]
        assert answers == list(range(MESSAGES)) and others == list(range(MESSAGES, 2 * MESSAGES))
        assert all(size == len(b"".join(_large(number))) for number, size in sender.heard)
