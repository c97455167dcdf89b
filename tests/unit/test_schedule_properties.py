"""Whatever the order of events: one final reply a ticket, none lost, limits held, nothing left behind."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule
from tests.unit.schedule_world import Process, World, plan, recipe

from audio_pool.errors import EngineError, OutOfMemory, QualityError, StorageError, WorkerStartFailed
from audio_pool.scheduler import events

ENGINES = ("tone", "hum")
LOOKUPS = ({}, {}, {"hit": "a hit"}, {"hit": "a hit", "render": "as ogg"}, {"warning": "cache_unreadable: x"})


def _houses() -> dict[str, list[Any]]:
    return {
        "one that does it all": [plan("w", "tone hum", credit=2)],
        "makers and a master": [
            plan("maker", "tone", "make", credit=2, aux_credit=3),
            plan("other", "tone hum", "make", credit=1),
            plan("master", "", "master embed", aux_credit=2),
        ],
        "two alike": [plan("a", "tone hum"), plan("b", "tone hum", credit=1)],
    }


class AnyOrder(RuleBasedStateMachine):
    """Draws what happens next; the world holds the schedule to its promises after every event."""

    tickets: Bundle[int] = Bundle("tickets")
    late: Bundle[events.JobDone] = Bundle("late")

    @initialize(
        house=st.sampled_from(sorted(_houses())),
        max_requests=st.integers(2, 8),
        max_attempts=st.integers(1, 3),
        batching=st.booleans(),
    )
    def build(self, house: str, max_requests: int, max_attempts: int, batching: bool) -> None:
        plans = _houses()[house]
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
        )
        if batching:
            self.world.batching = frozenset(ENGINES)
        self.found: dict[str, Any] = {}
        self.draining = False
        self.world.on_lookup = lambda _: self.found
        self.world.feed(events.Tick())

    # -- callers -----------------------------------------------------------------------------------

    @rule(
        target=tickets,
        engine=st.sampled_from((*ENGINES, "unknown")),
        key=st.sampled_from(("", "", "k1", "k2")),
        steps=st.sampled_from((8, 20)),
        candidates=st.integers(1, 4),
        priority=st.integers(0, 2),
        patience=st.sampled_from((None, None, 0.0, 2.0, 20.0)),
        size=st.integers(0, 400),
        encoders=st.sampled_from(((), ("words",), ("words", "ears"), ("absent",))),
        lookup=st.booleans(),
        found=st.sampled_from(LOOKUPS),
        rounds=st.integers(1, 3),
    )
    def ask(self, engine: str, key: str, steps: int, candidates: int, priority: int, patience: float | None,
            size: int, encoders: tuple[str, ...], lookup: bool, found: dict[str, Any], rounds: int) -> int:  # fmt: skip
        self.found = found
        ticket = self.world.ask(
            # a real join key holds the recipe
            join_key=key and f"{key} {engine} {steps} {candidates}",
            recipe=recipe(engine, steps=steps, candidates=candidates),
            priority=priority,
            deadline=None if patience is None else self.world.now + patience,
            size_bytes=size,
            encoders=encoders,
            lookup=lookup,
            max_rounds=rounds,
            events=True,
        )
        if self.draining:
            assert ticket in self.world.answers
        return ticket

    @rule(
        target=tickets,
        kind=st.sampled_from(("echo", "clap")),
        engine=st.sampled_from(("", "", "ears", "absent")),
        worker=st.sampled_from(("", "", "w", "master", "absent")),
        patience=st.sampled_from((None, 0.0, 4.0)),
        size=st.integers(0, 400),
    )
    def errand(self, kind: Any, engine: str, worker: str, patience: float | None, size: int) -> int:
        deadline = None if patience is None else self.world.now + patience
        return self.world.errand(kind=kind, engine=engine, worker=worker, deadline=deadline, size_bytes=size)

    @rule(ticket=tickets)
    def cancel(self, ticket: int) -> None:
        self.world.cancel(ticket)
        assert ticket in self.world.answers

    # -- workers -----------------------------------------------------------------------------------

    def _living(self, *states: str) -> list[Process]:
        return [process for process in self.world.processes.values() if process.state in states]

    @rule(data=st.data())
    @precondition(lambda self: self._living("spawned"))
    def hello(self, data: st.DataObject) -> None:
        self.world.say_hello(data.draw(st.sampled_from(self._living("spawned")), "process"))

    @rule(data=st.data(), fails=st.sampled_from((False, False, False, True)))
    @precondition(lambda self: self._living("said"))
    def load(self, data: st.DataObject, fails: bool) -> None:
        process = data.draw(st.sampled_from(self._living("said")), "process")
        if fails:
            error = WorkerStartFailed("no weights")
            self.world.feed(events.LoadFailed(worker=process.name, incarnation=process.incarnation, error=error))
            self.world.die(process, "exit code 3")
        else:
            self.world.get_ready(process)

    @rule(data=st.data())
    @precondition(lambda self: self._living("spawned", "said", "ready"))
    def die(self, data: st.DataObject) -> None:
        self.world.die(data.draw(st.sampled_from(self._living("spawned", "said", "ready")), "process"))

    def _busy(self) -> list[Process]:
        return [process for process in self._living("ready") if process.jobs]

    @rule(
        data=st.data(),
        more=st.sampled_from(
            (
                {},
                {},
                {"accepted": False, "score": 0.2},
                {"accepted": False, "score": 0.9},
                {"error": QualityError("silence")},
                {"error": EngineError("no")},
            )
        ),
    )
    @precondition(lambda self: self._busy())
    def finish(self, data: st.DataObject, more: dict[str, Any]) -> None:
        process = data.draw(st.sampled_from(self._busy()), "process")
        self.world.finish(process, data.draw(st.sampled_from(sorted(process.jobs)), "job"), **more)

    @rule(data=st.data(), error=st.sampled_from((EngineError("no"), OutOfMemory("big"), QualityError("hum"))))
    @precondition(lambda self: self._busy())
    def fail(self, data: st.DataObject, error: Any) -> None:
        process = data.draw(st.sampled_from(self._busy()), "process")
        self.world.fail(process, data.draw(st.sampled_from(sorted(process.jobs)), "job"), error)

    @rule(data=st.data())
    @precondition(lambda self: any(p.jobs for p in self._living("dead")))
    def speak_from_the_grave(self, data: st.DataObject) -> None:
        """What a dead incarnation had said arrives late: nobody hears it, and its outcome is discarded."""
        process = data.draw(st.sampled_from([p for p in self._living("dead") if p.jobs]), "process")
        answered = dict(self.world.answers)
        for number in list(process.jobs):
            self.world.finish(process, number)
        assert self.world.answers == answered

    @rule(data=st.data())
    @precondition(lambda self: self._busy())
    def speak_of_another_attempt(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(self._busy()), "process")
        number, job = data.draw(st.sampled_from(sorted(process.jobs.items())), "job")
        answered = dict(self.world.answers)
        self.world.finish(process, number, attempt=job.sent.attempt + 1)
        process.jobs[number] = job
        assert self.world.answers == answered

    @rule(data=st.data())
    @precondition(lambda self: self._busy())
    def progress(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(self._busy()), "process")
        number, job = data.draw(st.sampled_from(sorted(process.jobs.items())), "job")
        self.world.feed(
            events.JobProgress(
                worker=process.name, incarnation=process.incarnation, job=number, attempt=job.sent.attempt, body={}
            )
        )

    # -- keeper and clock --------------------------------------------------------------------------

    @rule(data=st.data(), fails=st.booleans())
    @precondition(lambda self: self.world.keeping)
    def keep(self, data: st.DataObject, fails: bool) -> None:
        work = data.draw(st.sampled_from(sorted(self.world.keeping)), "work")
        self.world.keep(work, StorageError("the disk is full") if fails else None)

    @rule(seconds=st.sampled_from((0.0, 0.1, 1.0, 3.5, 8.0, 31.0)), beat=st.booleans())
    def pass_time(self, seconds: float, beat: bool) -> None:
        if beat:
            self.world.beat()
        self.world.pass_time(seconds)

    @rule(within=st.sampled_from((0.0, 5.0)), really=st.sampled_from((False, False, False, False, True)))
    def drain(self, within: float, really: bool) -> None:
        if really:
            self.draining = True
            self.world.feed(events.Drain(deadline=self.world.now + within))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()
            self.world.stop()
            self.world.check_nothing_is_left()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
