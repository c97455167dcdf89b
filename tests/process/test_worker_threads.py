"""The order in which a worker does what waits for it: a worker's own loop on threads, its router played here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import pytest
from tests.support.recipes import RENDITION, SHAPE, recipe

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import OnStep
from audio_pool.errors import Cancelled, WorkerStartFailed
from audio_pool.results import RenditionReport, SoundMetadata
from audio_pool.tasks import (
    ClapTask,
    EchoTask,
    Embedded,
    EmbedTask,
    GeneratePart,
    GenerateTask,
    Grant,
    MasteringSpec,
    Rendered,
    RenderTask,
    Task,
)
from audio_pool.transport import packing
from audio_pool.transport.poller import Poller
from audio_pool.transport.sockets import Channel, SendResult, router
from audio_pool.transport.worker_messages import (
    WORKER_PROTOCOL,
    CancelTask,
    FromWorker,
    Heartbeat,
    Hello,
    Load,
    LoadFailed,
    Ready,
    RecallTask,
    RunTask,
    Stop,
    TaskDone,
    TaskFailed,
    TaskProgress,
    TaskReturned,
    ToWorker,
    from_worker,
)
from audio_pool.worker.hosted import HostedEngines
from audio_pool.worker.process import Worker
from audio_pool.worker.runner import Generated, Outcome, TaskRunner

DEADLINE_S = 60.0
M = TypeVar("M")


class SlowRunner(TaskRunner):
    """Generates and masters nothing, and takes as long about it as it is told to."""

    def __init__(self) -> None:
        super().__init__("w")
        self.at_work, self.go_on = threading.Event(), threading.Event()
        self.generating, self.generated = threading.Event(), threading.Event()
        self.trouble: BaseException | None = None
        self.encoders: tuple[str, ...] = ()
        self.ahead: list[list[str]] = []
        self.at_clap: BaseException = RuntimeError("a gear is broken")

    def load(self, load: Load) -> tuple[str, ...]:
        if self.trouble is not None:
            raise self.trouble
        return self.encoders

    def render(self, task: RenderTask) -> Outcome:
        self.at_work.set()
        assert self.go_on.wait(DEADLINE_S)
        report = RenditionReport(format="ogg", sample_rate=44_100)
        return Outcome(results={task.job: Rendered(path=task.out, report=report)})

    def embed_ahead(self, tasks: Sequence[EmbedTask]) -> None:
        self.ahead.append([task.text for task in tasks])

    def embed(self, task: EmbedTask) -> Outcome:
        return Outcome(results={task.job: Embedded(vectors={})})

    def clap(self, task: ClapTask) -> Outcome:
        raise self.at_clap

    def generate(self, task: GenerateTask, on_step: OnStep) -> list[Generated]:
        self.generating.set()
        while not self.generated.wait(0.005):
            on_step(1, 2)
        on_step(2, 2)
        return []

    def master_generated(self, generated: Sequence[Generated]) -> Outcome:
        return Outcome(results={})

    def hand_over(self, generated: Sequence[Generated], grants: Sequence[Grant], request_id: str) -> Outcome:
        self.at_work.set()
        assert self.go_on.wait(DEADLINE_S)
        return Outcome(results={})


class Desk:
    """A router's half of the conversation. What it sends over inproc is there when ``send`` returns."""

    def __init__(self, name: str) -> None:
        self._channel: Channel = router(f"inproc://{name}")
        self._poller = Poller[str]()
        self._poller.add(self._channel, "worker")
        self.worker = Worker(f"inproc://{name}", "w", 1, "secret")
        self.runner = SlowRunner()
        self.worker.runner = self.runner
        self.heard: list[tuple[str, FromWorker]] = []
        self.codes: list[int] = []
        self.thread = threading.Thread(target=lambda: self.codes.append(self.worker.run()))

    def hear(self, kind: type[M]) -> tuple[str, M]:
        """Return the next message of a kind, and the thread that sent it; others are kept until they are asked for."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            for number, (thread, message) in enumerate(self.heard):
                if isinstance(message, kind):
                    del self.heard[number]
                    return thread, message
            self._poller.wait(1.0)
            while (frames := self._channel.receive()) is not None:
                self.heard.append((frames[0].decode().split(":")[2], from_worker(frames[1])))
        raise AssertionError(f"no {kind.__name__} in {self.heard}")

    def send(self, thread: str, message: ToWorker) -> None:
        sent = self._channel.send_to(f"w:1:{thread}:secret".encode(), [packing.pack(message)])
        assert sent is SendResult.SENT

    def run(self, number: int, task: Task) -> None:
        thread = "generate" if isinstance(task, GenerateTask) else "aux"
        self.send(thread, RunTask(task_id=number, attempt=1, incarnation=1, task=task, request_ids=("r",)))

    def start(self) -> None:
        self.thread.start()
        assert self.hear(Hello)[1].protocol == WORKER_PROTOCOL
        self.send("control", Load(engines={}, roles=["master", "embed"], heartbeat_s=10.0))

    def ready(self) -> None:
        self.start()
        heard = set()
        while heard < {"aux", "generate"}:  # a thread can be sent to once it has spoken
            heard.add(self.hear(Heartbeat)[0])

    def close(self) -> None:
        self.runner.go_on.set()
        self.runner.generated.set()
        self._channel.send_to(b"w:1:control:secret", [packing.pack(Stop())])  # it may have ended
        if self.thread.ident is not None:
            self.thread.join(DEADLINE_S)
        self._channel.close()
        assert not self.thread.is_alive()


@pytest.fixture
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    desk = Desk(request.node.name)
    yield desk
    desk.close()


def render(job: int = 1) -> RenderTask:
    return RenderTask(job=job, master="/m", out="/o", rendition=RENDITION, loop=False, comment="")


def generate(*, master_here: bool = True) -> GenerateTask:
    spec = MasteringSpec(
        shape=SHAPE, rendition=RENDITION, directory="/d", name="n", tau_accept_new=None, metadata=SoundMetadata()
    )
    part = GeneratePart(job=1, recipe=recipe(), seeds=[1], mastering=spec)
    return GenerateTask(engine="tone", parts=[part], master_here=master_here)


def test_look_ups_overtake_what_takes_long_and_a_stop_waits_for_all(desk: Desk) -> None:
    desk.ready()
    desk.run(1, render())
    assert desk.runner.at_work.wait(DEADLINE_S)
    desk.run(2, render())
    desk.run(3, EmbedTask(job=3, engine="words", text="rain"))
    desk.run(4, EchoTask(job=4))
    desk.run(5, EmbedTask(job=5, engine="words", text="wind"))
    desk.send("control", Stop())
    assert desk.worker.stopping.wait(DEADLINE_S)
    desk.runner.go_on.set()
    assert [desk.hear(TaskDone)[1].task_id for _ in range(5)] == [1, 3, 5, 2, 4]
    assert desk.runner.ahead[0] == ["rain", "wind"], "texts that wait together are encoded together"
    desk.thread.join(DEADLINE_S)
    assert desk.codes == [0]


def test_short_tasks_do_not_wait_for_what_is_generated(desk: Desk) -> None:
    desk.ready()
    desk.run(1, generate())
    assert desk.runner.generating.wait(DEADLINE_S)
    desk.run(2, EchoTask(job=2, payload=b"x"))
    thread, done = desk.hear(TaskDone)
    assert (thread, done.task_id) == ("aux", 2)
    desk.runner.generated.set()
    assert desk.hear(TaskProgress)[0] == "generate"
    thread, done = desk.hear(TaskDone)
    assert (thread, done.task_id) == ("aux", 1), "what is mastered here is answered by the thread that masters"


def test_a_sound_is_handed_over_while_the_next_is_generated(desk: Desk) -> None:
    desk.ready()
    desk.runner.generated.set()
    desk.run(1, generate(master_here=False))
    assert desk.runner.at_work.wait(DEADLINE_S)
    desk.runner.generating.clear()
    desk.run(2, generate(master_here=False))
    assert desk.runner.generating.wait(DEADLINE_S), "the first still is on its way"
    desk.runner.go_on.set()
    assert [(thread, done.task_id) for thread, done in (desk.hear(TaskDone), desk.hear(TaskDone))] == [
        ("aux", 1), ("aux", 2)
    ]  # fmt: skip


def test_a_cancel_stops_between_two_steps(desk: Desk) -> None:
    desk.ready()
    desk.run(1, generate())
    assert desk.runner.generating.wait(DEADLINE_S)
    desk.send("control", CancelTask(task_id=1, attempt=2))  # another attempt's
    desk.send("control", CancelTask(task_id=1, attempt=1))
    _, failed = desk.hear(TaskFailed)
    assert failed.task_id == 1 and failed.failure.code == Cancelled.code


def test_a_recalled_task_comes_back_at_once_unless_it_has_begun(desk: Desk) -> None:
    desk.ready()
    desk.run(1, generate())
    assert desk.runner.generating.wait(DEADLINE_S)
    desk.run(2, generate())
    desk.send("control", RecallTask(task_id=1, attempt=1))
    desk.send("control", RecallTask(task_id=2, attempt=2))  # another attempt's
    desk.send("control", RecallTask(task_id=2, attempt=1))
    _, returned = desk.hear(TaskReturned)
    assert (returned.task_id, returned.attempt) == (2, 2)
    _, returned = desk.hear(TaskReturned)
    assert (returned.task_id, returned.attempt) == (2, 1), "while the first is still at work"
    desk.run(3, generate())
    desk.runner.generated.set()
    assert [desk.hear(TaskDone)[1].task_id for _ in range(2)] == [1, 3]
    desk.send("control", RecallTask(task_id=3, attempt=1))
    desk.run(4, EchoTask(job=4))
    assert desk.hear(TaskDone)[1].task_id == 4
    assert not any(isinstance(message, TaskReturned) for _, message in desk.heard), "it was done"


def test_an_exception_is_one_tasks_trouble_and_told_in_general_terms(desk: Desk) -> None:
    desk.ready()
    desk.run(1, ClapTask(job=1, engine="clap", operation="embed", texts=["a"], paths=[]))
    _, failed = desk.hear(TaskFailed)
    assert failed.failure.code == "engine_failed"
    assert failed.failure.message == "ClapTask failed: RuntimeError: a gear is broken"
    desk.run(2, EchoTask(job=2))
    assert desk.hear(TaskDone)[1].task_id == 2


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseException("odd")])
def test_what_is_no_exception_is_one_tasks_trouble_too(desk: Desk, error: BaseException) -> None:
    desk.ready()
    desk.runner.at_clap = error
    desk.run(1, ClapTask(job=1, engine="clap", operation="embed", texts=["a"], paths=[]))
    _, failed = desk.hear(TaskFailed)
    assert failed.failure.code == "engine_failed" and type(error).__name__ in failed.failure.message
    desk.run(2, EchoTask(job=2))
    assert desk.hear(TaskDone)[1].task_id == 2


def test_loading_that_is_left_by_an_exit_is_told_at_once(desk: Desk) -> None:
    desk.runner.trouble = SystemExit("not today")
    desk.start()
    _, failed = desk.hear(LoadFailed)
    assert failed.failure.code == "worker_start" and failed.failure.message == "SystemExit: not today"


def test_a_thread_that_ends_takes_its_worker_with_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(channel: Channel, run: RunTask, exc: BaseException) -> None:
        raise SystemExit

    monkeypatch.setattr(desk.worker, "_fail", fail)
    desk.ready()
    desk.run(1, ClapTask(job=1, engine="clap", operation="embed", texts=["a"], paths=[]))
    desk.thread.join(DEADLINE_S)
    assert desk.codes == [5]


def test_a_cancel_is_answered_with_what_each_thread_is_at(desk: Desk) -> None:
    desk.ready()
    desk.run(7, generate())
    assert desk.runner.generating.wait(DEADLINE_S)
    desk.send("control", CancelTask(task_id=7, attempt=9))  # another attempt's: it goes on
    while not (beat := desk.hear(Heartbeat)[1]).lanes:
        pass
    at = {lane.thread: lane for lane in beat.lanes}
    assert (at["generate"].task, at["generate"].attempt, at["aux"].task) == (7, 1, 0)
    assert beat.tasks == {7}


def test_what_is_cancelled_before_its_turn_is_not_begun(desk: Desk) -> None:
    desk.ready()
    desk.run(1, render())
    assert desk.runner.at_work.wait(DEADLINE_S)
    desk.run(2, render())
    desk.send("control", CancelTask(task_id=2, attempt=1))
    desk.heard.clear()
    desk.hear(Heartbeat)  # a cancel is answered by one at once
    desk.runner.go_on.set()
    assert desk.hear(TaskDone)[1].task_id == 1
    assert desk.hear(TaskFailed)[1].failure.code == "cancelled"


def test_a_worker_that_cannot_load_waits_until_that_has_been_read(desk: Desk) -> None:
    desk.runner.trouble = WorkerStartFailed("no weights")
    desk.start()
    _, failed = desk.hear(LoadFailed)
    assert failed.failure.message == "no weights"
    desk.send("control", Stop())
    desk.thread.join(DEADLINE_S)
    assert desk.codes == [3]


def test_ready_says_what_is_hosted(desk: Desk) -> None:
    info = EngineInfo(name="tone", role="generator", model="m", licence="MIT", commercial_use=True)
    desk.runner.engines.infos = {"tone": info}
    desk.runner.engines.device = "cuda:1"
    desk.start()
    _, ready = desk.hear(Ready)
    assert ready.engines == {"tone": info} and ready.device == "cuda:1"


class SlowEncoders(HostedEngines):
    """Encoders that take as long as they are told to, or do not come."""

    def __init__(self) -> None:
        super().__init__("w")
        self.come = threading.Event()
        self.trouble: BaseException | None = None

    def load_encoders(self, load: Load, names: Sequence[str]) -> None:
        assert self.come.wait(DEADLINE_S)
        if self.trouble is not None:
            raise self.trouble
        info = EngineInfo(name="words", role="embedder", model="m", licence="MIT", commercial_use=True)
        self.infos = dict.fromkeys(names, info)


def test_a_worker_works_while_its_encoders_are_still_loaded_and_says_when_they_are_there(desk: Desk) -> None:
    engines = desk.runner.engines = SlowEncoders()
    desk.runner.encoders = ("words",)
    desk.ready()
    desk.run(1, EchoTask(job=1, payload=b"x"))
    assert desk.hear(TaskDone)[1].task_id == 1
    assert desk.hear(Ready)[1].coming == ("words",)
    engines.come.set()
    _, ready = desk.hear(Ready)
    assert (set(ready.engines), ready.coming) == ({"words"}, ())


def test_encoders_that_do_not_come_end_their_worker_with_the_reason(desk: Desk) -> None:
    engines = desk.runner.engines = SlowEncoders()
    desk.runner.encoders, engines.trouble = ("words",), WorkerStartFailed("no weights")
    desk.ready()
    engines.come.set()
    _, failed = desk.hear(LoadFailed)
    assert failed.failure.message == "no weights"
    desk.send("control", Stop())
    desk.thread.join(DEADLINE_S)
    assert desk.codes == [3]
