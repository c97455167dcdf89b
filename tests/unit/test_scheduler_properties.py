"""Whatever the order of events: one final reply per request, none lost, limits held, nothing left behind.

The world also encodes every event, action and job on the way, and goes on with what it reads back.
"""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule
from tests.support.recipes import recipe
from tests.unit.scheduler_world import Process, World, hit, jobs_of, plan, report

from audio_pool.config import ClientConfig
from audio_pool.errors import (
    AudioPoolError,
    EngineError,
    NotFound,
    OutOfMemory,
    QualityError,
    StorageError,
    WorkerStartFailed,
)
from audio_pool.results import Progress
from audio_pool.scheduler import events
from audio_pool.scheduler.answers import HitFile
from audio_pool.scheduler.worker_state import WorkerPlan
from audio_pool.tasks import Called, ClapTask, EchoTask, Embedded, TaskResult

ENGINES = ("tone", "hum")
FOUND = (None, None, None, hit(), hit(rendered=False), "cache_unreadable: x")

_FAILURES = (EngineError("no"), OutOfMemory("big"), QualityError("hum"), NotFound("the master is gone"))


def _pools() -> dict[str, list[WorkerPlan]]:
    return {
        "one that does it all": [plan("w", "tone hum", credit=2)],
        "generating and mastering apart": [
            plan("maker", "tone", "generate", credit=2, aux_credit=3),
            plan("other", "tone hum", "generate", credit=1),
            plan("master", "", "master embed", aux_credit=2),
        ],
        "two alike": [plan("a", "tone hum", devices="0"), plan("b", "tone hum", devices="1", credit=1)],
        "one on two devices": [
            plan("a", "tone", "generate", devices="0 1"),
            plan("b", "tone hum", devices="1"),
            plan("master", "", "master"),
        ],
    }


class AnyOrder(RuleBasedStateMachine):
    """Draws what happens next; the world holds the scheduler to its promises after every event."""

    requests: Bundle[int] = Bundle("requests")

    @initialize(
        pool=st.sampled_from(sorted(_pools())),
        max_requests=st.integers(2, 8),
        max_attempts=st.integers(1, 3),
        batching=st.booleans(),
        concurrency=st.sampled_from(({}, {}, {"tone": 1}, {"hum": 1, "tone": 2})),
        started=st.booleans(),
        bounds=st.sampled_from(
            (
                {},
                {},
                {"max_requests_per_client": 2, "max_bytes_per_client": 500},
                {"max_running_per_client": 1},
                {"max_running_per_client": 3},
            )
        ),
    )
    def build(self, pool: str, max_requests: int, max_attempts: int, batching: bool, started: bool,
              bounds: dict[str, int], concurrency: dict[str, int]) -> None:  # fmt: skip
        plans = _pools()[pool]
        embedder = next(one.name for one in plans if "embed" in one.roles)
        self.world = World(
            plans,
            {embedder: "words ears"},
            max_requests=max_requests,
            max_bytes=1000,
            max_attempts=max_attempts,
            max_batch=4,
            ageing_s=5.0,
            embed_timeout_s=3.0,
            hang_unknown_s=25.0,
            clients={"a": ClientConfig(weight=3.0, max_running=2)},
            concurrency=concurrency,
            **bounds,
        )
        if batching:
            self.world.batching = frozenset(ENGINES)
        self.found: HitFile | str | None = None
        self.draining = False
        self.world.on_lookup = lambda _: self.found
        if started:
            self.world.start()
        else:
            self.world.feed(events.Tick())

    # -- callers -----------------------------------------------------------------------------------

    @rule(
        target=requests,
        engine=st.sampled_from(("tone", "tone", "tone", "hum", "hum", "unknown")),
        join=st.sampled_from((None, None, 1, 2)),
        steps=st.sampled_from((8, 8, 8, 20)),
        candidates=st.integers(1, 4),
        options=st.sampled_from(((), (), (), (("sampler", "euler"),))),
        priority=st.integers(0, 2),
        patience=st.sampled_from((None, None, None, 0.0, 2.0, 20.0)),
        size=st.integers(0, 400),
        encoders=st.sampled_from(((), (), ("words",), ("words", "ears"), ("absent",))),
        lookup=st.booleans(),
        near=st.booleans(),
        found=st.sampled_from(FOUND),
        rounds=st.integers(1, 4),
        wants_events=st.booleans(),
        client=st.sampled_from(("", "a", "b", "c")),
        claims=st.sampled_from((None, "here", "elsewhere", "unanswered")),
        keep=st.booleans(),
    )
    def submit(self, engine: str, join: int | None, steps: int, candidates: int, options: Any, priority: int,
               patience: float | None, size: int, encoders: tuple[str, ...], lookup: bool, near: bool,
               found: HitFile | str | None, rounds: int, wants_events: bool,
               client: str, claims: str | None, keep: bool) -> int:  # fmt: skip
        self.found = found
        if claims is not None:
            self.world.elsewhere = {"rain"} if claims == "elsewhere" else set()
            self.world.claims_answered = claims != "unanswered"
        request = self.world.submit(
            join=join,
            recipe=recipe(engine, steps=steps, candidates=candidates, options=options),
            priority=priority,
            deadline=None if patience is None else self.world.now + patience,
            size_bytes=size,
            encoders=encoders,
            lookup=lookup,
            near=near,
            max_rounds=rounds,
            events=wants_events,
            client=client,
            claims=claims is not None,
            keep=keep,
        )
        if self.draining:
            assert request in self.world.replies
        return request

    @rule(
        target=requests,
        engine=st.sampled_from(("", "", "ears", "absent")),
        worker=st.sampled_from(("", "", "w", "master", "absent")),
        patience=st.sampled_from((None, 0.0, 4.0)),
        size=st.integers(0, 400),
        client=st.sampled_from(("", "a", "c")),
    )
    def call(self, engine: str, worker: str, patience: float | None, size: int, client: str) -> int:
        clap = ClapTask(engine=engine, operation="zero-shot", texts=["rain"], paths=["/sound.wav"])
        deadline = None if patience is None else self.world.now + patience
        task = clap if engine else EchoTask(payload=b"\0\xff")
        return self.world.call(task=task, worker=worker, deadline=deadline, size_bytes=size, client=client)

    @rule(request=requests)
    def cancel(self, request: int) -> None:
        self.world.cancel(request)
        assert request in self.world.replies

    # -- workers -----------------------------------------------------------------------------------

    def _living(self, *states: str) -> list[Process]:
        return [process for process in self.world.processes.values() if process.state in states]

    @rule(data=st.data())
    @precondition(lambda self: self._living("spawned"))
    def hello(self, data: st.DataObject) -> None:
        self.world.say_hello(data.draw(st.sampled_from(self._living("spawned")), "process"))

    @rule(data=st.data(), fails=st.sampled_from((False, False, False, True)))
    @precondition(lambda self: self._living("loading"))
    def load(self, data: st.DataObject, fails: bool) -> None:
        process = data.draw(st.sampled_from(self._living("loading")), "process")
        if fails:
            self.world.fail_to_load(process, WorkerStartFailed("no weights"))
        else:
            self.world.get_ready(process)

    @rule(data=st.data())
    @precondition(lambda self: self._living("spawned", "loading", "ready"))
    def die(self, data: st.DataObject) -> None:
        self.world.die(data.draw(st.sampled_from(self._living("spawned", "loading", "ready")), "process"))

    # -- people ------------------------------------------------------------------------------------

    @rule(
        device=st.sampled_from(("0", "1", "absent")),
        holder=st.sampled_from(("image", "image", "video")),
        within=st.sampled_from((0.0, 2.0, 20.0)),
        lasts=st.sampled_from((0.0, 5.0, 60.0)),
    )
    def lend(self, device: str, holder: str, within: float, lasts: float) -> None:
        asked = self.world.lend(device, holder=holder, within_s=within, for_s=lasts)
        if self.draining:
            assert self.world.lease_of(asked) is not None

    @rule(device=st.sampled_from(("0", "1", "absent")))
    def give_device_back(self, device: str) -> None:
        self.world.give_device_back(device)

    @rule(number=st.integers(1, 2), device=st.sampled_from(("", "0", "1")), engines=st.sampled_from(("tone", "hum")))
    def add_worker(self, number: int, device: str, engines: str) -> None:
        name = f"more-{number}"
        if name not in self.world.scheduler.workers.workers:
            self.world.add_worker(plan(name, engines, devices=device))

    @rule(data=st.data(), drained=st.booleans())
    def drain_worker(self, data: st.DataObject, drained: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.plans)), "worker")
        self.world.feed(events.DrainWorker(worker=name, drained=drained))

    @rule(number=st.integers(1, 2), within=st.sampled_from((None, 0.0, 5.0)))
    def remove_worker(self, number: int, within: float | None) -> None:
        self.world.feed(events.RemoveWorker(worker=f"more-{number}", within_s=within))

    def _busy(self) -> list[Process]:
        return [process for process in self._living("ready") if process.tasks]

    @rule(
        data=st.data(),
        more=st.sampled_from(
            (
                {},
                {"accepted": False, "score": 0.2},
                {"accepted": False, "score": 0.9},
                {"error": QualityError("silence"), "tried": (report(3),)},
                {"error": EngineError("no")},
                {"error": NotFound("the master is gone")},
            )
        ),
    )
    @precondition(lambda self: self._busy())
    def finish(self, data: st.DataObject, more: dict[str, Any]) -> None:
        process = data.draw(st.sampled_from(self._busy()), "process")
        self.world.finish(process, data.draw(st.sampled_from(sorted(process.tasks)), "task"), **more)

    @rule(data=st.data(), kind=st.sampled_from(("sound", "raw", "rendered", "vectors", "called", "nothing")))
    @precondition(lambda self: self._busy())
    def finish_with_anything(self, data: st.DataObject, kind: str) -> None:
        """A worker of another mind answers with what it was not asked for, or leaves jobs out."""
        process = data.draw(st.sampled_from(self._busy()), "process")
        number = data.draw(st.sampled_from(sorted(process.tasks)), "task")
        results: dict[int, TaskResult] = {}
        for job in jobs_of(process.tasks[number].action.work):
            match kind:
                case "sound":
                    results[job] = self.world.mastered()
                case "raw":
                    results[job] = self.world.raw()
                case "rendered":
                    results[job] = self.world.rendered()
                case "vectors":
                    results[job] = Embedded(vectors={"strange": b"1234"})
                case "called":
                    results[job] = Called(body={"of": ["a"], "nested": {"deep": [1.5, None]}})
        self.world.finish(process, number, results=results)

    @rule(data=st.data(), error=st.sampled_from(_FAILURES))
    @precondition(lambda self: self._busy())
    def fail(self, data: st.DataObject, error: AudioPoolError) -> None:
        process = data.draw(st.sampled_from(self._busy()), "process")
        self.world.fail(process, data.draw(st.sampled_from(sorted(process.tasks)), "task"), error)

    def _recalled(self) -> list[tuple[Process, int]]:
        return [(process, task) for process in self._living("ready") for task in self.world.recalled(process)]

    @rule(data=st.data())
    @precondition(lambda self: self._recalled())
    def give_back(self, data: st.DataObject) -> None:
        """What was asked back had not begun: it is neither lost nor done twice, which the world counts."""
        number = data.draw(st.integers(0, len(self._recalled()) - 1), "which")
        self.world.give_back(*self._recalled()[number])

    @rule()
    @precondition(lambda self: any(process.tasks for process in self._living("dead")))
    def messages_of_the_dead_arrive_late(self) -> None:
        """What a dead incarnation had sent changes nothing, and its results are discarded."""
        answered = dict(self.world.replies)
        for process in self._living("dead"):
            for number in list(process.tasks):
                self.world.finish(process, number)
        assert self.world.replies == answered

    @rule(data=st.data())
    @precondition(lambda self: self._busy())
    def a_message_of_another_attempt(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(self._busy()), "process")
        number, sent = data.draw(st.sampled_from(sorted(process.tasks.items(), key=lambda one: one[0])), "task")
        answered, held = dict(self.world.replies), dict(process.tasks)
        self.world.finish(process, number, attempt=sent.action.attempt + 1)
        process.tasks = held  # in the same order: the first is the one that has begun
        assert self.world.replies == answered

    @rule(data=st.data())
    @precondition(lambda self: self._busy())
    def progress(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(self._busy()), "process")
        number = data.draw(st.sampled_from(sorted(process.tasks)), "task")
        self.world.feed(
            events.TaskProgress(
                worker=process.name,
                incarnation=process.incarnation,
                task=number,
                attempt=process.tasks[number].action.attempt,
                progress=Progress(stage="generate", done=1, total=3, fraction=1 / 3),
            )
        )

    @rule(data=st.data(), truthful=st.booleans(), grace_s=st.sampled_from((0.0, 2.0, 60.0)))
    @precondition(lambda self: self._living("ready"))
    def report(self, data: st.DataObject, truthful: bool, grace_s: float) -> None:
        """What a worker says of its threads may be true, or anything."""
        process = data.draw(st.sampled_from(self._living("ready")))
        held = list(process.tasks)
        known = held if truthful else data.draw(st.lists(st.sampled_from([*held, 999]), unique=True))
        at = [("generate", known[0] if known else 0, grace_s), ("aux", known[-1] if known else 0, grace_s)]
        self.world.report(process, *at, known=known)

    @rule(data=st.data())
    @precondition(lambda self: self._living("loading", "ready"))
    def misspeak(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(self._living("loading", "ready")))
        self.world.feed(
            events.WorkerMisspoke(worker=process.name, incarnation=process.incarnation, reason="junk")
        )

    @rule(steps=st.integers(1, 6))
    def get_on(self, steps: int) -> None:
        """For a while everything goes well: workers come up, tasks succeed, sounds are stored."""
        for _ in range(steps):
            self.world.step()

    # -- store and clock ---------------------------------------------------------------------------

    @rule(data=st.data(), fails=st.booleans())
    @precondition(lambda self: self.world.storing)
    def store(self, data: st.DataObject, fails: bool) -> None:
        job = data.draw(st.sampled_from(sorted(self.world.storing)), "job")
        self.world.stored(job, StorageError("the disk is full") if fails else None)

    @rule(seconds=st.sampled_from((0.0, 0.1, 1.0, 3.5, 8.0, 31.0)), alive=st.booleans())
    def pass_time(self, seconds: float, alive: bool) -> None:
        if alive:
            self.world.send_heartbeats()
        self.world.pass_time(seconds)

    @rule(within=st.sampled_from((0.0, 5.0)), really=st.sampled_from((*(False,) * 9, True)))
    def drain(self, within: float, really: bool) -> None:
        if really:
            self.draining = True
            self.world.feed(events.Drain(deadline=self.world.now + within))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            for name in list(self.world.scheduler.workers.workers):
                self.world.feed(events.DrainWorker(worker=name, drained=False))
            self.world.settle()
            self.world.stop()
            self.world.check_nothing_is_left()


SETTINGS = settings(
    max_examples=300,
    stateful_step_count=50,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    phases=[phase for phase in Phase if phase is not Phase.explain],  # it would outlast the time that a test has
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = SETTINGS
