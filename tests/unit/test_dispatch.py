"""Who gets what, and why nobody would: the dispatcher on worker tables and jobs made by hand."""

from __future__ import annotations

import pytest
from tests.support.recipes import recipe
from tests.unit.scheduler_world import LIMITS, hit, plan

from audio_pool.config import QueueConfig
from audio_pool.engine_info import Likeness
from audio_pool.errors import AudioPoolError, EngineUnavailable, NotFound
from audio_pool.results import Failure
from audio_pool.scheduler.actions import SendTask
from audio_pool.scheduler.batches import Batching
from audio_pool.scheduler.clients import ClientRules
from audio_pool.scheduler.dispatch import Dispatch
from audio_pool.scheduler.estimates import Estimates
from audio_pool.scheduler.events import Call, Submit
from audio_pool.scheduler.jobs import Job, Stage, TaskRef
from audio_pool.scheduler.work import CallWork, EmbedWork, GenerateWork, JobRound, MasterWork, RenderWork, TaskWork
from audio_pool.scheduler.worker_state import WorkerPlan
from audio_pool.scheduler.workers import WorkerTable
from audio_pool.tasks import ClapTask, DrawTask, EchoTask, Provenance, RawSounds
from audio_pool.types import Picture

CLAP = ClapTask(engine="ears", operation="embed", texts=["a"], paths=[])
RAW = RawSounds(candidates=(), made=Provenance(engine="tone", implementation="tone", model="tone"))


class Floor:
    """A dispatcher with workers that are ready and jobs that wait."""

    def __init__(self, *plans: WorkerPlan, hosts: str = "", batching: str = "", max_batch: int = 4) -> None:
        self.workers = WorkerTable(plans, LIMITS)
        self.jobs: dict[int, Job] = {}
        queue = QueueConfig(ageing_s=10.0, max_batch=max_batch)
        self.dispatch = Dispatch(self.workers, self.jobs, queue, ClientRules(queue, {}), Estimates(LIMITS))
        self.workers.start(0.0)
        for one in plans:
            self.workers.on_hello(one.name, 1, 0.0)
            engines = one.engines | frozenset(hosts.split() if {"embed", "score"} & one.roles else ())
            self.workers.on_ready(one.name, 1, engines, {name: Batching() for name in batching.split()}, 0.0)

    def sound(self, stage: Stage = "generate", engine: str = "tone", priority: int = 1, **fields: object) -> Job:
        number = len(self.jobs) + 1
        submit = Submit(request=number, recipe=recipe(engine, **fields))
        return self._add(Job(job=number, asked=submit, arrival=float(number), stage=stage, priority=priority))

    def call(self, task: DrawTask | EchoTask | ClapTask, worker: str = "") -> Job:
        number = len(self.jobs) + 1
        asked = Call(request=number, task=task, worker=worker)
        return self._add(Job(job=number, asked=asked, arrival=float(number), stage="call"))

    def _add(self, job: Job) -> Job:
        job.requests = [job.job]
        job.missing, job.hit, job.raw = {"words", "ears"}, hit(rendered=False), RAW
        self.jobs[job.job] = job
        return job

    def put(self, *jobs: Job) -> None:
        for job in jobs:
            self.dispatch.put(job)

    def send(self) -> list[SendTask]:
        return self.dispatch.send(now=5.0)


def names(sent: list[SendTask]) -> list[str]:
    return [task.worker for task in sent]


# -- what is sent ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "work"),
    [
        ("generate", GenerateWork(jobs=(JobRound(job=1, request=1, round=0),), master_here=True)),
        ("master", MasterWork(job=1, round=0, raw=RAW)),
        ("embed", EmbedWork(job=1, request=1, encoder="ears")),
        ("render", RenderWork(job=1, request=1, hit=hit(rendered=False))),
    ],
)
def test_each_stage_of_a_sound_becomes_its_work(stage: Stage, work: TaskWork) -> None:
    floor = Floor(plan(), hosts="words ears")
    job = floor.sound(stage)
    floor.put(job)
    (task,) = floor.send()
    assert task.work == work and (task.worker, task.incarnation, task.attempt) == ("w", 1, 1)
    assert job.tasks == {task.task: TaskRef(worker="w", incarnation=1, attempt=1)}


@pytest.mark.parametrize("stage", ["generate", "master", "embed", "render", "call"])
def test_what_goes_at_once_goes_as_what_had_waited(stage: Stage) -> None:
    plans = plan("one", credit=2), plan("two", credit=2)
    floors = [Floor(*plans, hosts="words ears", batching="tone") for _ in range(2)]
    for _ in range(5):  # until there is no room for one more sound
        jobs = [floor.call(EchoTask()) if stage == "call" else floor.sound(stage) for floor in floors]
        floors[0].put(jobs[0])
        waited = floors[0].send()
        at_once = floors[1].dispatch.send_at_once(jobs[1], now=5.0)
        assert waited == ([] if at_once is None else [at_once])
        assert jobs[0].tasks == jobs[1].tasks and jobs[0].times_ms == jobs[1].times_ms
    assert (at_once is None) == (stage == "generate")
    held = [[worker.tasks for worker in floor.workers.workers.values()] for floor in floors]
    assert held[0] == held[1] and len(floors[1].dispatch.queue) == 0
    for generates in (True, False):
        shares = [floor.dispatch.queue._shares[generates] for floor in floors]
        assert (shares[0]._clock, shares[0]._tags) == (shares[1]._clock, shares[1]._tags) or stage == "generate"


def test_nothing_goes_at_once_past_what_waits() -> None:
    floor = Floor(plan(engines="tone other"))
    floor.put(floor.sound(engine="tone"))
    assert floor.dispatch.send_at_once(floor.sound(engine="other"), now=5.0) is None
    floor.send()
    suspect = floor.sound()
    suspect.suspect = True
    assert floor.dispatch.send_at_once(suspect, now=5.0) is None


@pytest.mark.parametrize("task", [EchoTask(payload=b"x"), CLAP])
def test_a_call_carries_its_own_task(task: EchoTask | ClapTask) -> None:
    floor = Floor(plan(), hosts="ears")
    floor.put(floor.call(task))
    (sent,) = floor.send()
    assert sent.work == CallWork(job=1, task=task)


def test_a_sound_is_drawn_by_a_worker_that_masters() -> None:
    task = DrawTask(master="/m", out="/o", picture=Picture(), title="rain")
    floor = Floor(plan("ears", "", "score"), plan("hands", "", "master"))
    floor.put(floor.call(task))
    (sent,) = floor.send()
    assert (sent.worker, sent.work) == ("hands", CallWork(job=1, task=task))


def test_what_is_sent_is_held_until_there_is_room_again() -> None:
    floor = Floor(plan(credit=1))
    floor.put(floor.sound(), floor.sound())
    (task,) = floor.send()
    assert floor.send() == [] and len(floor.dispatch.queue) == 1
    floor.workers.release("w", 1, task.task, 1, now=6.0)
    (second,) = floor.send()
    assert second.task != task.task and second.work != task.work


def test_a_later_attempt_says_so_and_the_wait_is_counted() -> None:
    floor = Floor(plan())
    job = floor.sound()
    job.failures, job.queued_at = 1, 2.0
    floor.put(job)
    (task,) = floor.send()
    assert task.attempt == 2 and job.times_ms["queue"] == 3000.0


def test_a_worker_without_the_role_masters_elsewhere() -> None:
    floor = Floor(plan(roles="generate"))
    floor.put(floor.sound())
    (task,) = floor.send()
    assert isinstance(task.work, GenerateWork) and not task.work.master_here


# -- to whom ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "worker"), [("generate", "maker"), ("master", "master"), ("render", "master"), ("embed", "reader")]
)
def test_a_worker_needs_the_role_and_the_engine(stage: Stage, worker: str) -> None:
    floor = Floor(
        plan("other", "hum", "generate"),
        plan("host", "tone", "score"),  # hosts it, and does not generate
        plan("maker", "tone", "generate"),
        plan("master", "", "master"),
        plan("reader", "ears words", "embed"),
    )
    floor.put(floor.sound(stage))
    assert names(floor.send()) == [worker]


def test_calls_go_to_the_worker_named_the_host_of_the_engine_or_anyone() -> None:
    floor = Floor(plan("a"), plan("b", "ears", "score"))
    floor.put(floor.call(EchoTask(), worker="b"))
    assert names(floor.send()) == ["b"]
    floor.put(floor.call(CLAP))
    assert names(floor.send()) == ["b"]
    floor.put(floor.call(EchoTask()))
    assert names(floor.send()) == ["a"], "the one that holds less"


def test_the_most_urgent_goes_first_whatever_it_needs() -> None:
    floor = Floor(plan(credit=1, aux_credit=1))
    floor.put(floor.sound("render", priority=1), floor.sound("master", priority=0), floor.sound("generate"))
    assert [type(task.work) for task in floor.send()] == [MasterWork, GenerateWork], "the aux thread is full then"


def test_one_need_that_is_stuck_holds_up_no_other() -> None:
    floor = Floor(plan("a", "hum"))
    floor.put(floor.sound(engine="tone", priority=0), floor.sound(engine="hum"))
    assert [task.work for task in floor.send()] == [
        GenerateWork(jobs=(JobRound(job=2, request=2, round=0),), master_here=True)
    ]


# -- batches ---------------------------------------------------------------------------------------


def batch(floor: Floor) -> list[int]:
    task = floor.send()[0]
    assert isinstance(task.work, GenerateWork)
    return [one.job for one in task.work.jobs]


@pytest.mark.parametrize(
    ("other", "jobs"),
    [
        ({}, [1, 2]),
        ({"prompt": "wind", "frames": 88_200, "loop": True, "guidance_scale": 3.0}, [1, 2]),
        ({"candidates": 3}, [1, 2]),
        ({"candidates": 4}, [1]),
        ({"steps": 20}, [1]),
        ({"model": "larger"}, [1]),
        ({"options": (("sampler", "euler"),)}, [1]),
    ],
)
def test_a_batch_holds_what_one_run_of_the_model_can_make(other: dict[str, object], jobs: list[int]) -> None:
    floor = Floor(plan(), batching="tone", max_batch=4)
    floor.put(floor.sound(), floor.sound(**other))
    assert batch(floor) == jobs


def test_company_is_found_wherever_in_the_line_it_waits() -> None:
    floor = Floor(plan(), batching="tone", max_batch=16)
    floor.put(*(floor.sound(steps=10 + number % 3) for number in range(12)))
    batches: list[list[int]] = []
    while len(floor.dispatch.queue):
        for task in floor.send():
            batches.append([one.job for one in task.work.jobs])
            floor.workers.release("w", 1, task.task, 1, 5.0)
    assert batches == [[1, 4, 7, 10], [2, 5, 8, 11], [3, 6, 9, 12]]


def test_what_is_less_urgent_is_no_company() -> None:
    floor = Floor(plan(), batching="tone")
    floor.put(floor.sound(priority=0), floor.sound(priority=1), floor.sound(priority=0))
    assert batch(floor) == [1, 3]


@pytest.mark.parametrize(
    ("alike", "other", "together"),
    [
        ("steps", {"steps": 20}, False),
        ("prompt", {"prompt": "wind"}, False),
        ("steps", {"prompt": "wind"}, True),
        ("options", {"steps": 20}, True),
        ("length", {"frames": 88_200}, False),
        ("length", {"loop": True}, False),
        ("steps", {"frames": 88_200}, True),
        ("guidance", {"guidance_scale": 1.0}, False),
        ("guidance", {"guidance_scale": 9.0}, True),
        ("init_audio", {"init_audio_sha256": "ab"}, False),
        ("steps", {"init_audio_sha256": "ab"}, True),
    ],
)
def test_what_must_be_alike_is_the_engines_to_say(alike: Likeness, other: dict[str, object], together: bool) -> None:
    floor = Floor(plan(), batching="tone")
    floor.workers.workers["w"].batching = {"tone": Batching(alike=(alike,))}
    floor.put(floor.sound(guidance_scale=3.0), floor.sound(**{"guidance_scale": 3.0, **other}))
    assert batch(floor) == ([1, 2] if together else [1])


def test_an_engine_that_can_do_fewer_gets_fewer() -> None:
    floor = Floor(plan(), batching="tone", max_batch=16)
    floor.workers.workers["w"].batching = {"tone": Batching(most=2)}
    floor.put(*(floor.sound() for _ in range(3)))
    assert batch(floor) == [1, 2]


def test_what_may_have_killed_a_worker_goes_alone() -> None:
    floor = Floor(plan(), batching="tone")
    jobs = [floor.sound() for _ in range(3)]
    jobs[0].failures = 1
    floor.put(*jobs)
    assert batch(floor) == [1]
    floor = Floor(plan(), batching="tone")
    jobs = [floor.sound() for _ in range(3)]
    jobs[1].failures = 1
    floor.put(*jobs)
    assert batch(floor) == [1, 3]


def test_an_engine_that_gains_nothing_from_batches_gets_none() -> None:
    floor = Floor(plan(), batching="hum")
    floor.put(floor.sound(), floor.sound())
    assert batch(floor) == [1]


# -- why nobody ------------------------------------------------------------------------------------


def reason(floor: Floor, job: Job) -> AudioPoolError | None:
    return floor.dispatch.unservable_reason(job, 5.0)


def test_nothing_is_wrong_while_a_worker_may_come_up() -> None:
    floor = Floor(plan())
    floor.workers.on_exit("w", 1, "signal SIGKILL", now=1.0)
    assert floor.workers.workers["w"].state == "down"
    for stage in ("generate", "master", "render", "embed"):
        assert reason(floor, floor.sound(stage)) is None
    assert reason(floor, floor.call(CLAP)) is None, "it may host it once it is up"


def test_an_engine_that_no_worker_hosts() -> None:
    floor = Floor(plan())
    error = reason(floor, floor.sound(engine="absent"))
    assert isinstance(error, EngineUnavailable) and str(error) == "no worker hosts engine 'absent'"
    assert "'engines' or 'roles'" in error.hint


def test_a_role_that_no_worker_has() -> None:
    floor = Floor(plan(roles="generate"))
    assert str(reason(floor, floor.sound("master"))) == "no worker has the role 'master'"


def test_an_encoder_that_nobody_hosts_stops_nothing() -> None:
    """A look-up by meaning has a time limit of its own, and goes on without."""
    floor = Floor(plan())
    assert reason(floor, floor.sound("embed")) is None


def test_workers_that_failed_say_why() -> None:
    floor = Floor(plan("a", "tone", "generate"), plan("b", "", "master"))
    for name in ("a", "b"):
        floor.workers.workers[name].state = "broken"
    floor.workers.workers["a"].failure = Failure.of(EngineUnavailable("no torch", hint="install it"))
    failed, lost = reason(floor, floor.sound()), reason(floor, floor.sound("master"))
    assert isinstance(failed, EngineUnavailable) and (str(failed), failed.hint) == ("no torch", "install it")
    assert str(lost) == "every worker for this (master) is down"


def test_a_worker_that_does_not_exist_is_named_with_the_nearest() -> None:
    floor = Floor(plan("left"), plan("right"))
    error = reason(floor, floor.call(EchoTask(), worker="rigth"))
    assert isinstance(error, NotFound)
    assert str(error) == "no worker of this pool is named 'rigth'; did you mean 'right'?"
    assert "there are: left, right" in str(reason(floor, floor.call(EchoTask(), worker="xyz")))


# -- how many go before ----------------------------------------------------------------------------


def test_ahead_counts_what_waits_for_the_same_engine() -> None:
    floor = Floor(plan(credit=1))
    running, *waiting = [floor.sound() for _ in range(3)]
    other, looked_up, called = floor.sound(engine="hum"), floor.sound("lookup"), floor.call(EchoTask())
    floor.put(running)
    floor.send()
    floor.put(*waiting, other)
    assert [floor.dispatch.ahead(job) for job in (running, *waiting, other, looked_up)] == [0, 0, 1, 0, 2]
    assert floor.dispatch.ahead(called) == 0
    assert floor.dispatch.hosts("tone") and not floor.dispatch.hosts("hum")
