"""The workers' socket: the start-up conversation, late messages, strangers, and who can be addressed when."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import eventually

from audio_pool.engine_info import EngineInfo
from audio_pool.pool.worker_link import Received, WorkerLink
from audio_pool.results import Failure, Progress
from audio_pool.scheduler import events
from audio_pool.scheduler.batches import Batching
from audio_pool.tasks import Called, EchoTask
from audio_pool.transport import packing
from audio_pool.transport.endpoints import local_endpoint
from audio_pool.transport.poller import Poller
from audio_pool.transport.sockets import Channel, dealer
from audio_pool.transport.worker_messages import (
    WORKER_PROTOCOL,
    FromWorker,
    Heartbeat,
    Hello,
    Load,
    LoadFailed,
    Ready,
    RunTask,
    Stop,
    TaskDone,
    TaskFailed,
    TaskProgress,
    ToWorker,
    to_worker,
    worker_identity,
)

LOAD = Load(engines={}, roles=["generate"], heartbeat_s=1.0)
HELLO = Hello(incarnation=1, pid=7, protocol=WORKER_PROTOCOL, python="3.11")
BATCHES = EngineInfo(name="tone", role="generator", model="m", licence="MIT", commercial_use=True, steps=8)
ALONE = EngineInfo(name="hum", role="generator", model="m", licence="MIT", commercial_use=True, steps=8, batch=False)
STEPLESS = EngineInfo(name="mock", role="generator", model="m", licence="MIT", commercial_use=True)


class Peer:
    """One thread of a worker, as the link sees it."""

    def __init__(self, endpoint: str, identity: str) -> None:
        self.channel: Channel = dealer(endpoint, identity=identity.encode())
        self._poller = Poller[str]()
        self._poller.add(self.channel, "message")

    def send(self, message: FromWorker, *frames: bytes) -> None:
        self.send_raw(packing.pack(message), *frames)

    def send_raw(self, *frames: bytes) -> None:
        assert self.channel.send(list(frames))

    def receive(self) -> ToWorker:
        assert self._poller.wait(60.0)
        frames = self.channel.receive()
        assert frames is not None
        return to_worker(frames[0])


class Room:
    """A link and its peers."""

    def __init__(self, directory: Path) -> None:
        self.endpoint = local_endpoint(directory / "workers.sock")
        self.link = WorkerLink(self.endpoint, {"w": LOAD, "v": LOAD})
        self._poller = Poller[str]()
        self._poller.add(self.link.channel, "link")
        self._peers: dict[str, Peer] = {}

    def peer(self, thread: str, worker: str = "w", incarnation: int = 1) -> Peer:
        secret = self.link.expect(worker, incarnation) if worker in ("w", "v") else "guessed"
        identity = worker_identity(worker, incarnation, thread, secret).decode()
        if identity not in self._peers:
            self._peers[identity] = Peer(self.endpoint, identity)
        return self._peers[identity]

    def receive(self, count: int = 1) -> list[Received]:
        """Wait for so many events."""
        found: list[Received] = []
        while len(found) < count:
            assert self._poller.wait(60.0), f"only {found}"
            found += self.link.receive()
        return found

    def await_count(self, name: str, count: int) -> None:
        """Wait until the link has dropped so many messages for this reason; no event comes of them."""

        def dropped() -> bool:
            assert not list(self.link.receive())
            return self.link.counts[name] == count

        eventually(dropped, f"{count} {name}")

    def bring_up(self, *, engines: dict[str, EngineInfo] | None = None) -> Received:
        control = self.peer("control")
        control.send(HELLO)
        self.receive()
        control.receive()
        for thread in ("aux", "generate"):
            self.peer(thread).send(Heartbeat(incarnation=1))
            self.receive()
        control.send(Ready(incarnation=1, engines=engines or {}, device="cuda:0"))
        return self.receive()[0]

    def close(self) -> None:
        for peer in self._peers.values():
            peer.channel.close()
        self.link.close()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.close()


def of(event: events.Event, cls: type[Any]) -> Any:
    assert isinstance(event, cls), event
    return event


# -- starting up -----------------------------------------------------------------------------------


def test_a_hello_is_answered_with_what_to_load(room: Room) -> None:
    room.peer("control").send(HELLO)
    assert room.receive()[0].event == events.WorkerHello(worker="w", incarnation=1)
    assert room.peer("control").receive() == LOAD


@pytest.mark.parametrize("last", ["aux", "generate", "control"])
def test_a_worker_is_ready_once_all_its_threads_can_be_addressed(room: Room, last: str) -> None:
    engines = {"tone": BATCHES, "hum": ALONE, "mock": STEPLESS}
    ready = Ready(incarnation=1, engines=engines, device="cuda:0")
    room.peer("control").send(HELLO)
    room.receive()
    for thread in sorted(("aux", "generate", "control"), key=lambda one: one == last):
        if thread == "control":
            room.peer("control").send(ready)
            if thread != last:  # nothing comes of it yet
                room.peer("control").send(Heartbeat(incarnation=1))
                assert of(room.receive()[0].event, events.Heartbeat)
        else:
            room.peer(thread).send(Heartbeat(incarnation=1))
            found = room.receive(2 if thread == last else 1)
            assert of(found[0].event, events.Heartbeat)
    received = found[-1] if last != "control" else room.receive()[0]
    assert received.event == events.WorkerReady(
        worker="w", incarnation=1, engines=frozenset(engines), batching={"tone": Batching()}
    ), "an engine gains from batches if it has steps and runs them together"
    assert received.ready == ready


def test_a_worker_of_another_version_is_refused_and_told_to_stop(room: Room) -> None:
    room.peer("control").send(Hello(incarnation=1, protocol=WORKER_PROTOCOL + 1))
    hello, failed = (one.event for one in room.receive(2))
    assert of(hello, events.WorkerHello) and isinstance(failed, events.LoadFailed)
    assert failed.failure.code == "worker_start"
    assert f"speaks protocol {WORKER_PROTOCOL + 1}, this pool {WORKER_PROTOCOL}" in failed.failure.message
    assert room.peer("control").receive() == Stop()


def test_a_failure_to_load_is_passed_on_and_then_the_process_may_end(room: Room) -> None:
    failure = Failure(code="engine_unavailable", message="no torch")
    room.peer("control").send(HELLO)
    room.peer("control").send(LoadFailed(incarnation=1, failure=failure))
    assert room.receive(2)[1].event == events.LoadFailed(worker="w", incarnation=1, failure=failure)
    assert [room.peer("control").receive() for _ in range(2)] == [LOAD, Stop()]


# -- at work ---------------------------------------------------------------------------------------


def test_tasks_go_to_a_thread_with_their_frames(room: Room) -> None:
    room.bring_up()
    run = RunTask(task_id=1, attempt=1, incarnation=1, task=EchoTask(payload=b"x"))
    room.link.send("w", 1, "aux", run, [b"a frame"])
    assert room.peer("aux").receive() == run


def test_what_a_worker_says_becomes_events(room: Room) -> None:
    room.bring_up()
    aux = room.peer("aux")
    results = {3: Called(body={"payload": b"x"})}
    failure = Failure(code="out_of_memory", message="too long")
    aux.send(TaskProgress(incarnation=1, task_id=5, attempt=2, stage="generate", done=1, total=4))
    aux.send(TaskProgress(incarnation=1, task_id=5, attempt=2, stage="master", done=0, total=0))
    aux.send(TaskDone(incarnation=1, task_id=5, attempt=2, results=results, unwritable=(9,)), b"h", b"p")
    aux.send(TaskFailed(incarnation=1, task_id=6, attempt=1, failure=failure))
    progress, mastering, done, failed = room.receive(4)
    where: dict[str, Any] = {"worker": "w", "incarnation": 1}
    assert progress.event == events.TaskProgress(
        **where, task=5, attempt=2, progress=Progress(stage="generate", done=1, total=4, fraction=0.25)
    )
    assert of(mastering.event, events.TaskProgress).progress.fraction == 0.0
    assert done.event == events.TaskDone(**where, task=5, attempt=2, results=results)
    assert (done.frames, done.unwritable) == ([b"h", b"p"], (9,))
    assert failed.event == events.TaskFailed(**where, task=6, attempt=1, failure=failure)


def test_a_peer_that_is_not_there_is_counted_and_nothing_is_raised(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    room.link.send("w", 1, "aux", Stop())
    assert room.link.counts["unsent_to_workers"] == 1 and "does not take messages: it is gone" in caplog.text


# -- who is not let in -----------------------------------------------------------------------------


def test_messages_of_the_dead_and_of_strangers_are_dropped(room: Room) -> None:
    room.bring_up()
    room.peer("aux", incarnation=2).send(Heartbeat(incarnation=2))  # it has not said hello
    room.peer("control", worker="stranger").send(HELLO)
    room.await_count("late_worker_messages", 1)
    room.await_count("strangers_refused", 1)
    room.link.forget("w", 2)
    room.peer("aux").send(Heartbeat(incarnation=1))
    assert of(room.receive()[0].event, events.Heartbeat), "the living one is still known"
    room.link.forget("w", 1)
    room.peer("aux").send(Heartbeat(incarnation=1))
    room.await_count("late_worker_messages", 2)


def test_the_next_incarnation_starts_anew(room: Room) -> None:
    room.bring_up()
    room.link.forget("w", 1)
    room.peer("control", incarnation=2).send(Hello(incarnation=2, protocol=WORKER_PROTOCOL))
    assert room.receive()[0].event == events.WorkerHello(worker="w", incarnation=2)
    assert room.peer("control", incarnation=2).receive() == LOAD


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"not msgpack"],
        [packing.pack({"type": "os.system"})],
        [packing.pack({"type": "done", "incarnation": 1, "task_id": 1, "attempt": 1, "results": {1: {"kind": "x"}}})],
    ],
)
def test_what_is_no_message_is_that_workers_fault_and_its_last(room: Room, frames: list[bytes]) -> None:
    room.bring_up()
    aux, control = room.peer("aux"), room.peer("control")
    aux.send_raw(*frames)
    misspoke = of(room.receive()[0].event, events.WorkerMisspoke)
    assert (misspoke.worker, misspoke.incarnation) == ("w", 1) and "message from a worker" in misspoke.reason
    assert room.link.counts["bad_worker_messages"] == 1
    aux.send(Heartbeat(incarnation=1))
    control.send(HELLO)
    room.await_count("strangers_refused", 2)


def test_what_a_stranger_sends_is_counted_and_nobodys_fault(room: Room) -> None:
    room.bring_up()
    for worker, incarnation in (("w", 2), ("v", 1), ("nobody", 1)):
        room.peer("aux", worker, incarnation).send_raw(b"not msgpack")
    room.await_count("bad_worker_messages", 2)
    room.await_count("strangers_refused", 1)


# -- strangers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "identity",
    ["nonsense", "w:one:aux:x", "w:1", ":::", "w:1:control:", "w:1:control:guessed", "x:1:control:guessed", "\xff:::"],
)
def test_who_does_not_know_what_the_worker_knows_is_refused(
    room: Room, identity: str, caplog: pytest.LogCaptureFixture
) -> None:
    room.link.expect("w", 1)
    stranger = Peer(room.endpoint, identity)
    for _ in range(3):
        stranger.send(HELLO)
    room.await_count("strangers_refused", 3)
    told = [message for message in caplog.messages if "refused a message" in message]
    assert len(told) == 1 and str(os.getpid()) in told[0]
    stranger.channel.close()
    assert room.bring_up().event, "and the worker itself is let in"


def test_another_thread_of_a_known_name_is_no_way_in(room: Room) -> None:
    room.bring_up()
    stranger = Peer(room.endpoint, "w:1:spare:" + room.link.expect("w", 1))
    stranger.send(Heartbeat(incarnation=1))
    room.await_count("strangers_refused", 1)
    stranger.channel.close()


def test_a_hello_that_is_said_again_changes_nothing(room: Room) -> None:
    room.bring_up()
    room.peer("control").send(HELLO)
    room.await_count("strangers_refused", 1)


def test_nobody_takes_over_the_identity_of_a_worker(room: Room) -> None:
    """A thief who knows even the secret gets no task: its connection is not the one that was there first."""
    room.bring_up()
    identity = worker_identity("w", 1, "aux", room.link.expect("w", 1)).decode()
    thief = Peer(room.endpoint, identity)
    thief.send(Heartbeat(incarnation=1))
    room.link.send("w", 1, "aux", Stop())
    assert isinstance(room.peer("aux").receive(), Stop)
    assert thief.channel.receive() is None
    thief.channel.close()


def test_a_process_that_was_not_started_as_the_worker_is_refused_though_it_knows_the_secret(tmp_path: Path) -> None:
    endpoint = local_endpoint(tmp_path / "workers.sock")
    asked: list[tuple[str, int]] = []

    def is_process_of(worker: str, pid: int) -> bool:
        asked.append((worker, pid))
        return False

    link = WorkerLink(endpoint, {"w": LOAD}, is_process_of)
    thief = Peer(endpoint, worker_identity("w", 1, "control", link.expect("w", 1)).decode())
    thief.send(HELLO)

    def refused() -> bool:
        assert not list(link.receive())
        return link.counts["strangers_refused"] == 1

    eventually(refused, "its hello is refused")
    assert asked == [("w", os.getpid())] and thief.channel.receive() is None
    thief.channel.close()
    link.close()


_SAY = """
import sys, zmq
endpoint, identity, message = sys.argv[1:]
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.IDENTITY, identity.encode())
socket.connect(endpoint)
socket.send(bytes.fromhex(message))
sys.stdin.read()
socket.close(0)
"""


def test_another_process_says_nothing_under_a_workers_name_though_it_knows_the_secret(room: Room) -> None:
    room.peer("control").send(HELLO)
    room.receive()
    identity = worker_identity("w", 1, "aux", room.link.expect("w", 1)).decode()
    beat = packing.pack(Heartbeat(incarnation=1)).hex()
    thief = subprocess.Popen([sys.executable, "-c", _SAY, room.endpoint, identity, beat], stdin=subprocess.PIPE)
    try:
        room.await_count("strangers_refused", 1)
    finally:
        thief.communicate()


def test_secrets_of_the_dead_are_forgotten(room: Room) -> None:
    secrets = [room.link.expect("w", incarnation) for incarnation in range(1, 6)]
    assert len(set(secrets)) == 5 and all(len(secret) == 32 for secret in secrets)
    late = Peer(room.endpoint, worker_identity("w", 4, "aux", secrets[3]).decode())
    late.send(Heartbeat(incarnation=4))
    room.await_count("late_worker_messages", 1)
    long_dead = Peer(room.endpoint, worker_identity("w", 2, "aux", secrets[1]).decode())
    long_dead.send(Heartbeat(incarnation=2))
    room.await_count("strangers_refused", 1)
    late.channel.close()
    long_dead.channel.close()
