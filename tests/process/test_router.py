"""The router's loop on its own thread, with real sockets; workers and front ends are played by the test."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.requests import request
from tests.support.routed import Caller, Routed
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.errors import PoolClosed
from audio_pool.pool.replies import LocalSink, Reply
from audio_pool.pool.worker_link import WorkerLink
from audio_pool.scheduler import events
from audio_pool.tasks import Called, EchoTask
from audio_pool.transport import packing
from audio_pool.transport.endpoints import local_endpoint
from audio_pool.transport.poller import Poller
from audio_pool.transport.sockets import Channel, dealer, puller, pusher
from audio_pool.transport.worker_messages import (
    WORKER_PROTOCOL,
    FromWorker,
    Heartbeat,
    Hello,
    Load,
    Ready,
    RunTask,
    Stop,
    TaskDone,
    ToWorker,
    to_worker,
    worker_identity,
)

LOAD = Load(engines={}, roles=["generate"], heartbeat_s=1.0)


class PlayedWorker:
    """The three sockets of one worker."""

    def __init__(self, link: WorkerLink, endpoint: str, incarnation: int = 1) -> None:
        self.incarnation = incarnation
        secret = link.expect("w", incarnation)
        self.channels: dict[str, Channel] = {
            thread: dealer(endpoint, identity=worker_identity("w", incarnation, thread, secret))
            for thread in ("control", "generate", "aux")
        }

    def send(self, thread: str, message: FromWorker) -> None:
        assert self.channels[thread].send([packing.pack(message)])

    def receive(self, thread: str) -> ToWorker:
        poller = Poller[str]()
        poller.add(self.channels[thread], thread)
        assert poller.wait(PATIENCE_S)
        frames = self.channels[thread].receive()
        assert frames is not None
        return to_worker(frames[0])

    def come_up(self) -> None:
        self.send("control", Hello(incarnation=self.incarnation, protocol=WORKER_PROTOCOL))
        assert isinstance(self.receive("control"), Load)
        for thread in ("aux", "generate"):
            self.send(thread, Heartbeat(incarnation=self.incarnation))
        self.send("control", Ready(incarnation=self.incarnation, engines={}))

    def task(self) -> RunTask:
        run = self.receive("aux")
        assert isinstance(run, RunTask)
        return run

    def answer(self, run: RunTask) -> None:
        task = run.task
        assert isinstance(task, EchoTask)
        results: dict[int, Any] = {task.job: Called(body={"payload": task.payload})}
        self.send(
            "aux",
            TaskDone(incarnation=run.incarnation, task_id=run.task_id, attempt=run.attempt, results=results),
        )

    def close(self) -> None:
        for channel in self.channels.values():
            channel.close()


class Pool:
    """A router that runs, and one worker."""

    def __init__(self, root: Path, **sections: Any) -> None:
        self.endpoint = local_endpoint(root / "workers.sock")
        self.link = WorkerLink(self.endpoint, {"w": LOAD})
        self.parts = Routed(root, link=self.link, **sections)
        self.router = self.parts.router
        self.worker = PlayedWorker(self.link, self.endpoint)

    def start(self, *, up: bool = True) -> Pool:
        self.router.start()
        if up:
            self.worker.come_up()
            eventually(lambda: self.ask(lambda: self.parts.view.health().state) == "ready", "the worker is ready")
        return self

    def ask(self, question: Callable[[], Any]) -> Any:
        """The answer to a question put on the router's thread."""
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.router.post(lambda: answers.put(question()))
        return answers.get(timeout=PATIENCE_S)

    def echo(self, caller: Caller, payload: bytes = b"x") -> None:
        self.ask(lambda: self.parts.service.echo(payload, caller.sink))

    def exited(self, incarnation: int = 1) -> None:
        self.router.post(events.WorkerExited(worker="w", incarnation=incarnation, reason="signal SIGKILL"))

    def close(self) -> None:
        self.router.post(events.Drain(deadline=0.0))
        for incarnation in range(1, 4):  # as the launcher says once the processes are gone
            self.exited(incarnation)
        assert self.router.join(PATIENCE_S)
        self.router.close()
        self.worker.close()
        self.parts.launcher.close()
        if self.parts.cache is not None:
            self.parts.cache.close()
        self.parts.arena.close()


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(tmp_path, limits={"restart_backoff_s": 0.0, "missed_heartbeats": 100, "heartbeat_s": 60.0})
    yield pool
    pool.close()


def test_a_call_goes_to_a_worker_and_back(pool: Pool) -> None:
    pool.start()
    caller = Caller()
    pool.echo(caller, b"hello")
    pool.worker.answer(pool.worker.task())
    eventually(lambda: caller.replies, "the answer")
    assert caller.reply.body == Called(body={"payload": b"hello"})


def test_what_is_posted_is_done_on_the_routers_thread_in_order(pool: Pool) -> None:
    pool.start(up=False)
    seen: list[tuple[int, str]] = []
    for number in range(50):
        pool.router.post(lambda number=number: seen.append((number, threading.current_thread().name)))  # type: ignore[misc]
    eventually(lambda: len(seen) == 50, "everything posted")
    assert seen == [(number, "audio-pool-router") for number in range(50)]


def test_something_posted_that_fails_ends_nothing(pool: Pool) -> None:
    pool.start()
    pool.router.post(lambda: {}["a bug"])
    caller = Caller()
    pool.echo(caller)
    pool.worker.answer(pool.worker.task())
    eventually(lambda: caller.replies, "the answer")
    assert not pool.router.stopped.is_set() and pool.router.failure is None


def test_what_a_worker_sent_before_it_died_counts(pool: Pool) -> None:
    pool.start()
    caller = Caller()
    pool.echo(caller)
    run = pool.worker.task()
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        assert go_on.wait(PATIENCE_S)

    pool.router.post(hold)
    assert held.wait(PATIENCE_S)
    pool.worker.answer(run)  # and then it dies: both are there when the router looks again
    eventually(lambda: pool.link.channel.readable(), "the message has arrived")
    pool.exited()
    go_on.set()
    eventually(lambda: caller.replies, "the answer")
    assert caller.reply.kind == "result", "a finished task is not done again"


def test_a_task_of_a_dead_worker_is_done_by_its_next_incarnation(pool: Pool) -> None:
    pool.start()
    caller = Caller()
    pool.echo(caller)
    pool.worker.task()
    pool.exited()
    eventually(lambda: len(pool.parts.launcher.spawned) == 2, "it is started again")
    old, pool.worker = pool.worker, PlayedWorker(pool.link, pool.endpoint, incarnation=2)
    pool.worker.come_up()
    run = pool.worker.task()
    assert run.attempt == 2
    pool.worker.answer(run)
    eventually(lambda: caller.replies, "the answer")
    assert caller.reply.kind == "result"
    old.close()


def test_a_pool_that_stops_lets_its_workers_end_and_answers_everybody(pool: Pool) -> None:
    pool.start()
    callers = [Caller(str(number)) for number in range(3)]
    for caller in callers:
        pool.echo(caller)
    pool.router.post(events.Drain(deadline=0.0))
    assert isinstance(pool.worker.receive("control"), Stop)
    pool.exited()
    assert pool.router.join(PATIENCE_S) and pool.router.stopped.is_set()
    for caller in callers:
        assert caller.reply.failure is not None and isinstance(caller.reply.failure.error(), PoolClosed)


def test_an_event_that_meets_a_bug_costs_the_requests_that_it_is_about(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.start()
    handle = pool.parts.scheduler.handle

    def broken(event: Any, now: float) -> Any:
        if isinstance(event, events.TaskDone):
            raise RuntimeError("a bug in the scheduler")
        return handle(event, now)

    monkeypatch.setattr(pool.parts.scheduler, "handle", broken)
    caller = Caller()
    pool.echo(caller)
    run = pool.worker.task()
    pool.worker.answer(run)
    eventually(lambda: caller.replies, "an answer")
    assert caller.reply.failure is not None and caller.reply.failure.code == "internal"
    monkeypatch.undo()
    other = Caller("other")
    pool.echo(other)
    pool.worker.answer(pool.worker.task())
    eventually(lambda: other.replies, "an answer")
    assert other.reply.kind == "result" and pool.router.failure is None


def test_a_router_that_fails_says_why_and_leaves_nobody_waiting(pool: Pool) -> None:
    pool.start()
    caller = Caller()
    pool.echo(caller)

    def broken(event: Any, now: float) -> Any:
        raise RuntimeError("a bug in the scheduler")

    pool.parts.scheduler.handle = broken  # type: ignore[method-assign]
    for _ in range(3):  # once may be one event's trouble
        pool.router.post(events.Tick())
    assert pool.router.stopped.wait(PATIENCE_S) and pool.router.join(PATIENCE_S)
    assert str(pool.router.failure) == "a bug in the scheduler"
    assert caller.reply.failure is not None and isinstance(caller.reply.failure.error(), PoolClosed)


def test_replies_that_were_decided_leave_though_their_file_is_still_being_read(pool: Pool, tmp_path: Path) -> None:
    pool.start()
    caller = Caller()
    number = pool.ask(lambda: pool.parts.requests.open(caller.sink))
    pool.router.post(events.Drain(deadline=0.0))
    pool.exited()
    eventually(lambda: pool.parts.scheduler.workers.gone, "the workers have gone")
    assert not caller.replies
    pool.router.post(lambda: pool.parts.requests.finish(number, Reply(kind="result", path="/late.wav")))
    assert pool.router.join(PATIENCE_S)
    assert caller.reply.path == "/late.wav"


# -- front ends ------------------------------------------------------------------------------------


class EchoDoor:
    """A front end of two sockets: what is pulled in is a request's prompt, replies are parked until allowed."""

    def __init__(self, parts: Routed, pull: str, push: str) -> None:
        self.channel: Channel = puller(pull, bind=True)
        self.connections = None
        self.closed = False
        self.waiting: list[bytes] = []
        self.open = threading.Event()
        self.threads: set[str] = set()
        self.reply_counts: dict[str, int] = {}
        self.message_counts: dict[str, int] = {}
        self._push = pusher(push, bind=True)
        self._parts = parts

    def on_message(self, frames: list[bytes]) -> None:
        self.threads.add(threading.current_thread().name)

        def finish(reply: Reply) -> None:
            self.waiting.append(reply.kind.encode())

        self._parts.intake.call(EchoTask(payload=frames[0]), LocalSink(request_id="r", on_reply=finish))

    @property
    def parked(self) -> bool:
        return bool(self.waiting)

    def flush(self) -> None:
        while self.open.is_set() and self.waiting:
            self._push.send([self.waiting.pop(0)])

    def close(self) -> None:
        self.channel.close()
        self._push.close()
        self.closed = True


def test_front_ends_are_read_flushed_and_closed_alike(pool: Pool, tmp_path: Path) -> None:
    pull, push = local_endpoint(tmp_path / "in"), local_endpoint(tmp_path / "out")
    door = EchoDoor(pool.parts, pull, push)
    pool.router.add_front_end(door)
    pool.start()
    asking, listening = pusher(pull, bind=False), puller(push, bind=False)
    poller = Poller[str]()
    poller.add(listening, "reply")
    asking.send([b"hello"])
    pool.worker.answer(pool.worker.task())
    eventually(lambda: door.parked, "the reply waits for a slow peer")
    assert poller.wait(0.0) == []
    door.open.set()  # the router tries again by itself
    assert poller.wait(PATIENCE_S) == ["reply"] and listening.receive() == [b"result"]
    assert door.threads == {"audio-pool-router"}
    pool.router.post(events.Drain(deadline=0.0))
    pool.exited()
    assert pool.router.join(PATIENCE_S) and door.closed
    asking.close()
    listening.close()


def test_a_router_that_was_never_started_gives_its_addresses_back(tmp_path: Path) -> None:
    parts_link = WorkerLink(local_endpoint(tmp_path / "workers.sock"), {})
    parts = Routed(tmp_path, link=parts_link)
    parts.router.close()
    WorkerLink(local_endpoint(tmp_path / "workers.sock"), {}).close()
    assert parts.intake.resolve(request()).recipe.engine == "tone"
    parts.arena.close()
    if parts.cache is not None:
        parts.cache.close()
