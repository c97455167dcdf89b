"""The encrypted socket of remote workers: who gets in, who is heard, and files that come back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs
from tests.support.recipes import RENDITION, SHAPE, recipe
from tests.support.waiting import eventually

from audio_pool.errors import Refused
from audio_pool.pool import remote_link
from audio_pool.pool.remote_link import RemoteLink
from audio_pool.pool.worker_link import Received, WorkerLink
from audio_pool.results import RenditionReport, SoundMetadata
from audio_pool.scheduler import events
from audio_pool.tasks import EchoTask, GeneratePart, GenerateTask, MasteringSpec, Rendered, RenderTask
from audio_pool.transport import packing
from audio_pool.transport.endpoints import local_endpoint
from audio_pool.transport.keys import ClientKeys, new_pair
from audio_pool.transport.pieces import PIECE_BYTES, Parting
from audio_pool.transport.remote_channel import RemoteChannel
from audio_pool.transport.sockets import router
from audio_pool.transport.worker_keys import WorkerCredentials
from audio_pool.transport.worker_messages import (
    WORKER_PROTOCOL,
    FromWorker,
    Heartbeat,
    Hello,
    Load,
    RunTask,
    TaskDone,
    ToWorker,
    to_worker,
    worker_identity,
)
from audio_pool.types import Rendition

LOAD = Load(engines={}, roles=["generate"], heartbeat_s=1.0)
UNHEARD_S = 1.0
"""A message that is heard arrives within this on any machine."""


class Peer:
    """One thread of a remote worker."""

    def __init__(
        self,
        link: RemoteLink,
        line: str,
        name: str = "w",
        number: int = 1,
        thread: str = "control",
        *,
        patient: bool = True,
    ) -> None:
        self.credentials = WorkerCredentials.of(line)
        identity = worker_identity(name, number, thread, self.credentials.secret)
        self.channel = RemoteChannel(link.endpoint, identity, self.credentials.keys, Parting(), patient=patient)

    def send(self, message: FromWorker, *frames: bytes) -> None:
        assert self.channel.send([packing.pack(message), *frames])

    def receive(self) -> tuple[ToWorker, list[bytes]]:
        frames = eventually(self.channel.receive, "a message comes")
        return to_worker(frames[0]), frames[1:]


class Room:
    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "arena").mkdir()
        self.remote = RemoteLink("tcp://127.0.0.1:*", place / "arena", 10_000.0)
        endpoint = local_endpoint(place / "workers.sock")
        self.link = WorkerLink(endpoint, {"w": LOAD, "v": LOAD}, remote=self.remote, is_remote=lambda name: True)
        self.peers: list[Peer] = []

    def peer(
        self, line: str, name: str = "w", number: int = 1, thread: str = "control", *, patient: bool = True
    ) -> Peer:
        self.peers.append(Peer(self.remote, line, name, number, thread, patient=patient))
        return self.peers[-1]

    def heard(self, what: type[events.Event]) -> Received:
        def find() -> Received | None:
            return next((one for one in list(self.link.receive()) if isinstance(one.event, what)), None)

        return eventually(find, f"{what.__name__} comes")

    def hello(self, name: str = "w", number: int = 1) -> Peer:
        peer = self.peer(self.link.expect(name, number), name, number)
        peer.send(Hello(incarnation=number, protocol=WORKER_PROTOCOL))
        self.heard(events.WorkerHello)
        assert isinstance(peer.receive()[0], Load)
        return peer

    def counted(self, name: str, number: int) -> None:
        def count() -> bool:
            assert not list(self.link.receive())
            return self.remote.counts[name] >= number

        eventually(count, f"{name} are {number}")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    for peer in room.peers:
        peer.channel.close()
    room.link.close()
    room.remote.close()


def test_what_is_large_comes_and_goes_in_pieces(room: Room) -> None:
    worker = room.hello()
    payload = os.urandom(3 * PIECE_BYTES + 5)
    run = RunTask(task_id=1, attempt=1, incarnation=1, task=EchoTask(payload=payload))
    room.link.send("w", 1, "control", run)
    got, _ = worker.receive()
    assert isinstance(got, RunTask) and isinstance(got.task, EchoTask) and got.task.payload == payload
    worker.send(TaskDone(incarnation=1, task_id=1, attempt=1, results={}), b"header", payload)
    done = room.heard(events.TaskDone)
    assert [bytes(frame) for frame in done.frames] == [b"header", payload]


def test_a_wrong_key_gets_nobody_in(room: Room) -> None:
    line = room.link.expect("w", 1)
    own = WorkerCredentials.of(line)
    public, private = new_pair()
    identity = worker_identity("w", 1, "control", own.secret)
    stranger = RemoteChannel(
        room.remote.endpoint, identity, ClientKeys(public, private, own.server.encode()), Parting(), patient=False
    )
    hello = packing.pack(Hello(incarnation=1, protocol=WORKER_PROTOCOL))
    stranger.send([hello])
    public, private = own.public.encode(), own.private.encode()
    duped = RemoteChannel(
        room.remote.endpoint, identity, ClientKeys(public, private, new_pair()[0]), Parting(), patient=False
    )
    duped.send([hello])
    with pytest.raises(AssertionError, match="not within"):
        eventually(lambda: list(room.link.receive()), "something is heard", within_s=UNHEARD_S)
    stranger.close()
    duped.close()
    room.peer(line).send(Hello(incarnation=1, protocol=WORKER_PROTOCOL))
    assert room.heard(events.WorkerHello)


def test_a_worker_says_nothing_under_anothers_name(room: Room) -> None:
    room.hello("v")
    other = WorkerCredentials.of(room.link.expect("w", 1))
    room.link.expect("v", 1)
    thief = room.peer(other.line(), "v")
    thief.send(Heartbeat(incarnation=1))
    room.counted("remote_refused", 1)


def test_one_that_was_declared_dead_goes_on_sending_and_is_not_heard(room: Room) -> None:
    dead = room.hello()
    room.link.forget("w", 1)
    dead.send(TaskDone(incarnation=1, task_id=1, attempt=1, results={}))
    dead.send(TaskDone(incarnation=1, task_id=1, attempt=1, results={}), os.urandom(2 * PIECE_BYTES))
    room.counted("remote_refused", 4)
    again = room.peer(dead.credentials.line(), thread="aux", patient=False)  # nor does it get in anew
    again.channel.send([packing.pack(Heartbeat(incarnation=1))])  # not even taken, where it was turned away by then
    follower = room.hello("w", 2)
    follower.send(Heartbeat(incarnation=2))
    assert isinstance(room.heard(events.Heartbeat).event, events.Heartbeat)
    assert room.remote.counts["remote_refused"] == 4


def render(room: Room) -> RunTask:
    (room.place / "in").mkdir(exist_ok=True)
    if not (room.place / "master.flac").exists():
        (room.place / "master.flac").write_bytes(b"a master")
    rendition = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=None, true_peak_dbfs=-2.0)
    task = RenderTask(
        job=1,
        master=str(room.place / "master.flac"),
        out=str(room.place / "in" / "render-1.ogg"),
        rendition=rendition,
        loop=False,
        comment="",
    )
    return RunTask(task_id=5, attempt=1, incarnation=1, task=task)


def rendered(path: str) -> Rendered:
    return Rendered(path=path, report=RenditionReport(format="ogg", sample_rate=44_100, duration_s=1.0))


def test_a_file_is_brought_and_the_one_made_lies_where_the_task_said(room: Room) -> None:
    worker = room.hello()
    run = render(room)
    room.link.send("w", 1, "control", run)
    got, frames = worker.receive()
    assert isinstance(got, RunTask) and got.files == (str(room.place / "master.flac"),) and frames == [b"a master"]
    there = "/somewhere/else/render-1.ogg"
    done = TaskDone(incarnation=1, task_id=5, attempt=1, results={1: rendered(there)}, files=(there,))
    worker.send(done, b"an ogg")
    event = room.heard(events.TaskDone).event
    assert isinstance(event, events.TaskDone)
    assert event.results[1] == rendered(str(room.place / "in" / "render-1.ogg"))
    assert (room.place / "in" / "render-1.ogg").read_bytes() == b"an ogg"
    worker.send(done, b"once more")  # of a task that is answered: nothing is written
    room.counted("late_remote_files", 1)


def test_a_file_that_another_way_brings_does_not_travel_and_one_that_it_does_not_does(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_link, "_CARRY_S", 0.2)
    worker = room.hello()
    for name in ("a", "b"):
        (room.place / name).write_bytes(name.encode())
    answers: dict[str, str | None] = {str(room.place / "a"): "/node/a", str(room.place / "b"): None}

    def carry(name: str, incarnation: int, path: str, told: Callable[[str | None], None]) -> None:
        assert (name, incarnation) == ("w", 1)
        if path in answers:
            told(answers[path])

    room.remote.carry = carry
    for number, (name, travels) in enumerate((("a", []), ("b", [b"b"])), 1):
        mastering = MasteringSpec(
            shape=SHAPE, rendition=RENDITION, directory="/d", name="n", tau_accept_new=None,
            metadata=SoundMetadata(prompt="rain"),
        )  # fmt: skip
        part = GeneratePart(job=1, recipe=recipe(), seeds=[1], mastering=mastering, init_audio=str(room.place / name))
        task = GenerateTask(engine="tone", parts=[part], master_here=True)
        room.link.send("w", 1, "control", RunTask(task_id=number, attempt=1, incarnation=1, task=task))
        got, frames = worker.receive()
        assert isinstance(got, RunTask) and frames == travels
        assert got.placed == ({str(room.place / "a"): "/node/a"} if name == "a" else {})
        answers.clear()  # the second is never answered for


def test_tasks_come_in_the_order_in_which_they_were_sent(room: Room) -> None:
    worker = room.hello()
    (room.place / "master.flac").write_bytes(os.urandom(2 * PIECE_BYTES))
    runs = [
        structs.replace(render(room), task_id=number)
        if number % 3 == 0
        else RunTask(task_id=number, attempt=1, incarnation=1, task=EchoTask(payload=b"x"))
        for number in range(1, 40)
    ]
    for run in runs:
        room.link.send("w", 1, "control", run)
    came = [worker.receive()[0] for _ in runs]
    assert [one.task_id for one in came if isinstance(one, RunTask)] == list(range(1, 40))


def test_a_file_that_cannot_be_read_fails_its_task_alone(room: Room) -> None:
    room.hello()
    run = render(room)
    (room.place / "master.flac").unlink()
    room.link.send("w", 1, "control", run)
    failed = room.heard(events.TaskFailed).event
    assert isinstance(failed, events.TaskFailed) and "master" in failed.failure.message


@pytest.mark.parametrize("name", ["/etc/other.ogg", "../render-1.ogg/../x"])
def test_a_worker_that_writes_what_the_task_does_not_is_at_fault(room: Room, name: str) -> None:
    worker = room.hello()
    room.link.send("w", 1, "control", render(room))
    worker.receive()
    worker.send(TaskDone(incarnation=1, task_id=5, attempt=1, results={1: rendered(name)}, files=(name,)), b"x")
    assert room.heard(events.WorkerMisspoke)
    assert not list((room.place / "in").iterdir())


def test_what_is_no_piece_is_its_senders_fault(room: Room) -> None:
    worker = room.hello()
    plain = worker.channel.raw
    plain.send_multipart([b"\xc1", b"x"])
    assert room.heard(events.WorkerMisspoke)


def test_no_address_is_bound_without_keys_that_others_reach() -> None:
    with pytest.raises(Refused):
        router("tcp://0.0.0.0:*")
