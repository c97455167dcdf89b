"""Whatever a worker sends: the worker alone answers for it, and every request gets its one answer."""

from __future__ import annotations

import collections
import math
from pathlib import Path
from typing import Any

import msgpack
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.cache_sounds import write_flac
from tests.support.requests import engine, request
from tests.support.routed import Caller, Routed

from audio_pool.engine_info import Notes
from audio_pool.inscription import inscribed
from audio_pool.pool.worker_link import WorkerLink
from audio_pool.reports import CandidateReport, QualityReport
from audio_pool.results import Failure, FinishedSound
from audio_pool.scheduler import events
from audio_pool.tasks import (
    Called,
    CandidateRef,
    Embedded,
    GenerateTask,
    LaneReport,
    MasteredSound,
    Provenance,
    RawSounds,
    Rejected,
    TensorRef,
)
from audio_pool.transport import packing
from audio_pool.transport.endpoints import local_endpoint
from audio_pool.transport.sockets import SendResult
from audio_pool.transport.worker_messages import (
    WORKER_PROTOCOL,
    FromWorker,
    Heartbeat,
    Hello,
    Load,
    LoadFailed,
    Ready,
    RunTask,
    TaskDone,
    TaskFailed,
    TaskProgress,
    TaskReturned,
    to_worker,
    worker_identity,
)

LOAD = Load(engines={}, roles=["generate"], heartbeat_s=1.0)
JUNK: list[Any] = [
    None, True, 0, 5, -1, 2**63, 1.5, math.nan, math.inf, "", "x", b"", b"\xff", [], [1], {}, {"a": 1}, {1: 2},
]  # fmt: skip


class FedChannel:
    """In place of the workers' socket: what it is fed with is received, what is sent is kept."""

    def __init__(self) -> None:
        self.incoming: collections.deque[list[bytes]] = collections.deque()
        self.sent: list[tuple[bytes, list[bytes]]] = []

    def receive_with_pid(self) -> tuple[list[bytes], int] | None:
        return (self.incoming.popleft(), 7) if self.incoming else None

    def send_to(self, identity: bytes, frames: list[bytes], *, copy: bool = True) -> SendResult:
        self.sent.append((identity, frames))
        return SendResult.SENT

    def close(self) -> None: ...


class World:
    """A pool of two workers, one of which will say anything; time passes when the test says so."""

    def __init__(self, root: Path) -> None:
        self.link = link = WorkerLink(local_endpoint(root / "workers.sock"), {"w": LOAD, "v": LOAD})
        link.channel.close()
        self.channel = link.channel = FedChannel()  # type: ignore[assignment]
        self.pool = Routed(
            root,
            [engine("tone"), engine("hum")],
            link=link,
            cache={"enabled": False},
            workers=[{"name": "w", "engines": ["tone"]}, {"name": "v", "engines": ["hum"]}],
            limits={"restart_backoff_s": 0.0, "max_restarts": 1000},
        )
        self.later_s = 0.0
        handle = self.pool.scheduler.handle
        self.pool.scheduler.handle = lambda event, now: handle(event, now + self.later_s)  # type: ignore[method-assign]
        self.incarnations: dict[str, int] = {}
        self.exited: set[tuple[str, int]] = set()
        self.pool.feed(events.Tick())
        self.bring_up()

    def send(self, worker: str, thread: str, message: FromWorker | bytes, *frames: bytes) -> None:
        number = self.incarnations[worker]
        identity = worker_identity(worker, number, thread, self.link.expect(worker, number))
        data = message if isinstance(message, bytes) else packing.pack(message)
        self.channel.incoming.append([identity, data, *frames])
        self.pool.router._receive_from_workers()

    def bring_up(self) -> None:
        """Start what is to be started."""
        for spec, number in self.pool.launcher.spawned:
            if self.incarnations.get(spec.name, 0) >= number:
                continue
            self.incarnations[spec.name] = number
            self.send(spec.name, "control", Hello(incarnation=number, protocol=WORKER_PROTOCOL))
            for thread in ("aux", "generate"):
                self.send(spec.name, thread, Heartbeat(incarnation=number))
            hosted = {"w": engine("tone"), "v": engine("hum")}[spec.name]
            self.send(spec.name, "control", Ready(incarnation=number, engines={hosted.name: hosted}))

    def run(self, worker: str) -> RunTask | None:
        """The last task sent to the worker's present incarnation."""
        here = f"{worker}:{self.incarnations[worker]}:".encode()
        sent = [to_worker(frames[0]) for identity, frames in self.channel.sent if identity.startswith(here)]
        runs = [message for message in sent if isinstance(message, RunTask)]
        return runs[-1] if runs else None

    def finish(self, worker: str) -> None:
        """Do honestly what the worker was asked for last."""
        run = self.run(worker)
        if run is None:
            return
        assert isinstance(run.task, GenerateTask)
        results: dict[int, Any] = {}
        for part in run.task.parts:
            path = write_flac(Path(part.mastering.directory) / f"{part.mastering.name}.flac", part.job)
            metadata = msgspec.structs.replace(part.mastering.metadata, engine="tone", sample_rate=44_100)
            metadata = inscribed(part.recipe, metadata, part.mastering.rendition)
            sound = FinishedSound(path=str(path), recipe=part.recipe, metadata=metadata, accepted=True)
            results[part.job] = MasteredSound(sound=sound, score=50.0)
        done = TaskDone(incarnation=run.incarnation, task_id=run.task_id, attempt=run.attempt, results=results)
        self.send(worker, "generate", done)
        self.pool.write()

    def settle(self) -> None:
        """Let the dead die, restart, and work honestly, until everybody has an answer."""
        for _ in range(12):
            for name, number, _why, *_ in list(self.pool.launcher.killed):
                if (name, number) not in self.exited:
                    self.exited.add((name, number))
                    self.pool.router._worker_exited(
                        events.WorkerExited(worker=name, incarnation=number, reason="signal SIGKILL")
                    )
            self.pool.feed(events.Tick())
            self.bring_up()
            if ("w", self.incarnations["w"]) not in {one[:2] for one in self.pool.launcher.killed}:
                self.finish("w")
            self.pool.write()
            if not self.pool.requests:
                return
            self.later_s += 1000.0  # beyond any task's limit
            self.pool.feed(events.Heartbeat(worker="v", incarnation=self.incarnations["v"]))


def templates(run: RunTask) -> list[tuple[str, FromWorker]]:
    """A message of each kind, about the task in hand."""
    assert isinstance(run.task, GenerateTask)
    part = run.task.parts[0]
    where: dict[str, Any] = {"incarnation": run.incarnation, "task_id": run.task_id, "attempt": run.attempt}
    tensor = TensorRef(path="/p", length=8, generation=1, owner="a", dtype="F32", shape=(2, 1))
    candidates = (
        CandidateRef(seed=1, sample_rate=44_100, looped=False, notes=Notes(), tensor=tensor),
        CandidateRef(seed=1, sample_rate=44_100, looped=False, notes=Notes(), frame=0),
    )
    made = Provenance(engine="tone", implementation="tone", model="tone")
    report = CandidateReport(seed=1, score=0.5, quality=QualityReport())
    sound = FinishedSound(
        path="/nowhere.flac", recipe=part.recipe, metadata=part.mastering.metadata, accepted=True
    )
    results: list[Any] = [
        RawSounds(candidates=candidates, made=made),
        MasteredSound(sound=sound, score=0.7, tried=(report,), vectors={"sound:descriptors": b"\0" * 280}),
        Embedded(vectors={"words": b"\0" * 8}),
        Called(body={"payload": b"x"}),
        Rejected(failure=Failure(code="quality", message="silence"), tried=(report,)),
    ]
    lanes = (LaneReport(thread="generate", task=run.task_id, attempt=1), LaneReport(thread="aux"))
    return [
        ("control", Hello(incarnation=run.incarnation, protocol=WORKER_PROTOCOL)),
        ("control", Ready(incarnation=run.incarnation, engines={"tone": engine("tone")})),
        ("control", LoadFailed(incarnation=run.incarnation, failure=Failure(code="worker_start"))),
        ("control", Heartbeat(incarnation=run.incarnation, lanes=lanes, tasks=frozenset({run.task_id}))),
        ("control", TaskReturned(**where)),
        ("generate", TaskProgress(**where, stage="generate", done=1, total=4)),
        ("generate", TaskFailed(**where, failure=Failure(code="out_of_memory"))),
        *(("generate", TaskDone(**where, results={part.job: result})) for result in results),
    ]


def places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every node of a message."""
    found = [at]
    if isinstance(tree, dict):
        for key in tree:
            found += places(tree[key], (*at, key))
    elif isinstance(tree, list):
        for number, item in enumerate(tree):
            found += places(item, (*at, number))
    return found


def changed(tree: Any, at: tuple[Any, ...], value: Any, *, remove: bool) -> Any:
    """The message with one node replaced, or removed."""
    if not at:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    if remove and len(at) == 1:
        del copy[at[0]]
    else:
        copy[at[0]] = changed(tree[at[0]], at[1:], value, remove=remove)
    return copy


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_worker_sends_every_request_has_its_answer(tmp_path_factory: Any, data: st.DataObject) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    pool = world.pool
    try:
        caller, neighbour = Caller("r"), Caller("neighbour")
        pool.intake.submit(request(engine="tone"), caller.sink, events_wanted=True)
        pool.intake.submit(request(engine="hum"), neighbour.sink)
        run = world.run("w")
        assert run is not None
        for _ in range(data.draw(st.integers(1, 3))):
            thread, message = data.draw(st.sampled_from(templates(run)), label="message")
            tree = msgpack.unpackb(packing.pack(message), strict_map_key=False)
            for _ in range(data.draw(st.integers(0, 2))):
                at = data.draw(st.sampled_from(places(tree)), label="at")
                tree = changed(tree, at, data.draw(st.sampled_from(JUNK)), remove=data.draw(st.booleans()))
            raw = bytearray(msgpack.packb(tree))
            for _ in range(data.draw(st.integers(0, 2)) if raw else 0):
                raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
            cut = data.draw(st.integers(0, len(raw))) if data.draw(st.booleans()) else len(raw)
            frames = data.draw(st.lists(st.binary(max_size=20), max_size=3))
            world.send("w", thread, bytes(raw[:cut]), *frames)
            pool.write()
        world.finish("v")
        world.settle()
        for one in (caller, neighbour):
            assert len(one.replies) == 1, f"{one.request_id} has {len(one.replies)} answers"
        assert neighbour.reply.kind == "result"
        assert {name for name, *_ in pool.launcher.killed} <= {"w"}
        assert not pool.requests and pool.scheduler.idle
        assert pool.router.failure is None
    finally:
        pool.close()
