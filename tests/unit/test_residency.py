"""Engines that come and go, on the fake clock: what is loaded where, what goes for it, and how often they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.support.recipes import recipe
from tests.unit.scheduler_world import Process, World

from audio_pool.errors import EngineError, OutOfMemory
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import Action, RecallTask, SendProgress, SendTask
from audio_pool.scheduler.work import GenerateWork, LoadWork, UnloadWork
from audio_pool.scheduler.worker_state import OnDemand, WorkerPlan

GB = 1 << 30
ROLES = frozenset(("generate", "master"))


class Box(World):
    """Workers whose tasks take as long as they are told: one sound and one load each, by engine."""

    def __init__(self, plans: list[WorkerPlan], *, load_s: float = 2.0, sound_s: float = 1.0, **limits: Any) -> None:
        super().__init__(plans, **limits)
        self.load_s, self.sound_s = load_s, sound_s
        self.changes: list[tuple[str, str, str]] = []
        """Worker, load or unload, engine."""
        self.order: list[str] = []
        """Engines of the sounds, as they were done."""
        self._ends: dict[str, tuple[int, float]] = {}

    def sound(self, engine: str, **fields: Any) -> int:
        """Ask for a sound that nobody has asked for before."""
        return self.submit(recipe=recipe(engine, seed=len(self.asked)), lookup=False, events=True, **fields)

    def room(self, **spare_bytes: int | None) -> None:
        """Tell what is free, by worker."""
        self.feed(events.MemoryRead(spare_bytes=dict(spare_bytes)))

    def _execute(self, action: Action) -> Any:
        if isinstance(action, SendTask) and isinstance(action.work, LoadWork | UnloadWork):
            kind = "load" if isinstance(action.work, LoadWork) else "unload"
            self.changes.append((action.worker, kind, action.work.engine))
        return super()._execute(action)

    def swaps(self) -> int:
        """How often an engine had to go."""
        return sum(kind == "unload" for _, kind, _ in self.changes)

    def run(self, until: Callable[[], bool] | None = None, most_s: float = 10_000.0) -> None:
        """Let workers work, one task after the other, until all is answered (or ``until``)."""
        end = self.now + most_s
        while not (until() if until is not None else len(self.replies) == len(self.asked)):
            assert self.now < end, f"not done: {self.scheduler.workers.workers}"
            for job in list(self.storing):
                self.stored(job)
            upcoming = [self._end_of(one) for one in self.processes.values() if one.tasks and one.state == "ready"]
            due = self.scheduler.next_deadline()
            times = [time for time, _, _ in upcoming] + ([due] if due is not None else [])
            beat = self.now + 0.5
            self.now = max(self.now, min([*times, beat]))
            ready = [(process, task) for time, process, task in upcoming if time <= self.now]
            for process, task in ready:
                self._done(process, task)
            if not ready:
                self.send_heartbeats()
                self.feed(events.Tick())

    def wait(self, seconds: float) -> None:
        """Let time pass, with signs of life."""
        until = self.now + seconds
        self.run(until=lambda: self.now >= until)

    def _end_of(self, process: Process) -> tuple[float, Process, int]:
        task, sent = next(iter(process.tasks.items()))
        known = self._ends.get(process.name)
        if known is None or known[0] != task:
            match sent.action.work:
                case LoadWork():
                    takes = self.load_s
                case UnloadWork():
                    takes = 0.0
                case _:
                    takes = self.sound_s
            known = self._ends[process.name] = task, self.now + takes
        return known[1], process, task

    def _done(self, process: Process, task: int) -> None:
        work = process.tasks[task].action.work
        if isinstance(work, GenerateWork):
            asked = self.asked[work.jobs[0].request]
            assert isinstance(asked, events.Submit)
            self.order.append(asked.recipe.engine)
        self.finish(process, task)


def on_demand(name: str = "w", engines: str = "a b", size: int = GB, device: str = "", **how: Any) -> WorkerPlan:
    each = {engine: OnDemand(size_bytes=size, **how) for engine in engines.split()}
    return WorkerPlan(name=name, engines=frozenset(each), roles=ROLES, on_demand=each, device=device)


def test_an_engine_is_loaded_when_it_is_first_asked_for_and_stays() -> None:
    box = Box([on_demand()]).start()
    assert box.loaded(box.process()) == frozenset() and box.changes == []
    box.sound("a")
    box.sound("a")
    box.run()
    assert box.changes == [("w", "load", "a")] and box.loaded(box.process()) == {"a"}
    box.check_nothing_is_left()


def test_where_there_is_room_both_stay() -> None:
    box = Box([on_demand()]).start()
    box.room(w=2 * GB)
    for engine in "abab":
        box.sound(engine)
        box.run()
    assert box.changes == [("w", "load", "a"), ("w", "load", "b")]


def test_the_least_recently_used_goes_when_another_needs_its_room() -> None:
    box = Box([on_demand(engines="a b c")]).start()
    box.room(w=2 * GB)
    for engine in "abac":  # b was asked for before a
        box.sound(engine)
        box.run()
        box.pass_time(1.0)
    assert box.changes[-2:] == [("w", "unload", "b"), ("w", "load", "c")]


def test_a_queue_of_two_models_does_not_thrash() -> None:
    box = Box([on_demand()], load_s=5.0, sound_s=1.0).start()
    box.room(w=GB)
    for _ in range(100):  # interleaved: first come first served would change 199 times
        box.sound("a")
        box.sound("b")
    began = box.now
    box.run()
    # each stays for four times what both loads take
    assert box.swaps() <= 200 * 1.0 / 40.0
    loading_s = 5.0 * sum(kind == "load" for _, kind, _ in box.changes)
    assert loading_s <= 0.2 * (box.now - began)
    assert [box.order.count(engine) for engine in "ab"] == [100, 100]


def test_a_sound_of_another_model_waits_no_longer_than_loads_cost() -> None:
    box = Box([on_demand()], load_s=5.0, sound_s=1.0, ageing_s=1000.0).start()
    box.room(w=GB)
    for _ in range(300):
        box.sound("a")
    other = box.sound("b")
    began = box.now
    box.run(until=lambda: other in box.replies)
    assert box.now - began <= 4 * 10.0 + 3 * 5.0


def test_what_is_less_urgent_makes_nothing_go_that_is_waited_for() -> None:
    box = Box([on_demand()], load_s=1.0, sound_s=1.0, ageing_s=1000.0).start()
    box.room(w=GB)
    for _ in range(30):
        box.sound("a", priority=0)
    box.sound("b", priority=2)
    box.run()
    assert box.order == ["a"] * 30 + ["b"]


def test_a_pinned_engine_never_goes_and_who_asks_for_the_other_hears_why() -> None:
    box = Box([on_demand()], memory_wait_s=30.0).start()
    box.room(w=GB)
    box.sound("b")
    box.run()
    box.sound("a")
    box.run()
    assert box.swaps() == 1
    box.scheduler.workers.workers["w"].pinned.add("a")
    asked = box.sound("b")
    told = [one.body for one in box.notices if isinstance(one, SendProgress) and one.request == asked]
    assert told and told[-1].stage == "loading" and "1,024 MB" in told[-1].note
    box.run(most_s=60.0)
    failure = box.replies[asked].failure
    assert failure is not None and failure.code == OutOfMemory.code and failure.retryable
    assert box.swaps() == 1


def test_callers_hear_that_their_engine_is_loaded_and_how_long_it_takes() -> None:
    box = Box([on_demand()], load_s=8.0).start()
    box.room(w=GB)
    box.sound("a")
    box.run()  # from now on it is known what a load takes
    asked = box.sound("b")
    box.run()
    told = [one.body for one in box.notices if isinstance(one, SendProgress) and one.request == asked]
    loading = [one for one in told if one.stage == "loading"]
    assert loading[0].eta_s == 8.0 and loading[0].fraction == 0.0
    etas = [one.eta_s for one in loading]
    assert len(etas) > 3 and etas == sorted(etas, reverse=True) and etas[-1] < 2.0


def test_affinity_then_a_second_copy_where_the_backlog_pays_for_it() -> None:
    box = Box([on_demand("v"), on_demand("w")], load_s=5.0, sound_s=1.0).start()
    box.room(v=GB, w=GB)
    box.sound("a")
    box.run()  # from now on it is known what a load and a sound take
    for _ in range(6):  # six seconds of work: less than two loads
        box.sound("a")
    box.run()
    assert [kind for _, kind, _ in box.changes] == ["load"], "a few wait for the one that is warm"
    for _ in range(60):
        box.sound("a")
    box.run()
    assert sorted(box.changes) == [("v", "load", "a"), ("w", "load", "a")]


def test_a_single_sound_has_its_engine_loaded_once() -> None:
    box = Box([on_demand("v"), on_demand("w")], load_s=0.05, sound_s=1.0).start()
    box.sound("b")
    box.run()  # from now on it is known that loads are quick
    box.load_s = 3.0
    box.sound("a")
    box.run()
    assert [engine for _, _, engine in box.changes] == ["b", "a"]


def test_two_models_on_two_cards_find_one_each_and_stay_there() -> None:
    box = Box([on_demand("v"), on_demand("w")], load_s=5.0, sound_s=1.0).start()
    box.room(v=GB, w=GB)
    for _ in range(50):
        box.sound("a")
        box.sound("b")
    box.run()
    assert sorted(kind for _, kind, _ in box.changes) == ["load", "load"]


def test_keep_alive_takes_an_engine_out_that_nobody_asks_for() -> None:
    box = Box([on_demand(keep_alive_s=30.0)]).start()
    box.sound("a")
    box.run()
    deadline = box.scheduler.next_deadline()
    assert deadline is not None
    assert deadline <= box.now + 30.0
    box.wait(29.0)
    assert box.swaps() == 0
    box.wait(1.5)
    assert box.changes[-1] == ("w", "unload", "a")


@pytest.mark.parametrize("waits", [False, True])
def test_what_others_need_is_given_up_unless_somebody_waits_for_it(waits: bool) -> None:
    box = Box([on_demand()]).start()
    box.room(w=3 * GB)
    for engine in "ab":
        box.sound(engine)
        box.run()
        box.pass_time(1.0)
    if waits:
        for _ in range(4):
            box.sound("a")
    box.room(w=-GB // 2)  # another program has taken what was free, and half a gigabyte of the reserve
    assert box.changes[2:] == [("w", "unload", "b" if waits else "a")]
    box.run()
    box.wait(1.0)
    box.room(w=-GB // 2)
    box.wait(1.0)
    gone = {engine for _, kind, engine in box.changes if kind == "unload"}
    assert gone == {"a", "b"}, "nobody waits for it any more"


def test_two_workers_of_one_device_share_its_memory() -> None:
    box = Box([on_demand("v", device="gpu 0"), on_demand("w", device="gpu 0")]).start()
    box.feed(events.MemoryRead(spare_bytes={"gpu 0": GB}))
    box.sound("a")
    box.sound("b")
    loads = [engine for _, kind, engine in box.changes if kind == "load"]
    assert loads == ["a"], "there is room for one of them"
    box.run()
    v, w = box.process("v"), box.process("w")
    assert box.loaded(v) | box.loaded(w) == {"b"} and box.swaps() == 1


def test_a_load_that_failed_for_memory_is_tried_again_when_there_is_more() -> None:
    box = Box([on_demand()], memory_wait_s=600.0).start()
    box.room(w=2 * GB)
    asked = box.sound("a")
    task = next(iter(box.process().tasks))
    box.fail(box.process(), task, OutOfMemory("a needs about 4.0 GB on cuda:0; 1.0 GB are free"))
    assert asked not in box.replies and not box.process().tasks
    told = [one.body for one in box.notices if isinstance(one, SendProgress) and one.request == asked]
    assert "4.0 GB" in told[-1].note
    box.room(w=2 * GB)
    assert not box.process().tasks, "as before: no use"
    box.room(w=3 * GB)
    assert [one.action.work for one in box.process().tasks.values()] == [LoadWork(engine="a")]
    box.run()
    assert box.replies[asked].kind == "result"


def test_a_load_that_failed_is_tried_again_after_a_growing_pause() -> None:
    box = Box([on_demand()]).start()
    pauses = []
    for _ in range(4):
        first = box.sound("a")
        box.fail(box.process(), next(iter(box.process().tasks)), EngineError("no such file"))
        assert box.replies[first].failure is not None and box.replies[first].failure.message == "no such file"
        refused = box.sound("a")  # at once: nobody has to find out again
        assert box.replies[refused].failure is not None
        retry_after_ms = box.replies[refused].failure.retry_after_ms
        assert isinstance(retry_after_ms, int)
        pauses.append(retry_after_ms / 1000)
        box.wait(pauses[-1] + 0.01)
    assert pauses == [5.0, 10.0, 20.0, 40.0]
    other = box.sound("b")
    box.run()
    assert box.replies[other].kind == "result", "its worker serves the others"


def test_what_could_not_be_loaded_at_the_start_is_tried_again_and_the_others_are_served() -> None:
    box = Box([WorkerPlan(name="w", engines=frozenset(("a", "b")), roles=ROLES)])
    box.feed(events.Tick())
    box.say_hello(process := box.process())
    box.get_ready(process, failed={"b": Failure.of(EngineError("no weights"))})
    box.sound("a")
    refused = box.sound("b")
    failure = box.replies[refused].failure
    assert failure is not None and failure.message == "no weights" and failure.retry_after_ms == 5000
    box.run()
    box.wait(5.0)
    box.sound("b")
    box.run()
    assert box.changes == [("w", "load", "b")] and box.order == ["a", "b"]
    assert not box.scheduler.workers.workers["w"].barred
    box.check_nothing_is_left()


def test_a_model_that_comes_in_another_s_place_is_not_forgotten_when_an_encoder_arrives() -> None:
    box = Box([WorkerPlan(name="w", engines=frozenset("a"), roles=ROLES)], load_s=1.0)
    box.feed(events.Tick())
    box.say_hello(process := box.process())
    box.get_ready(process, coming=["clap"])
    box.feed(events.HostModel(engine="a", model="other", hosted="a@other"))
    box.feed(events.WorkerReady(worker="w", incarnation=1, engines=frozenset(("a", "clap"))))
    assert box.scheduler.workers.workers["w"].engines == {"a", "a@other", "clap"}
    box.run(until=lambda: "a@other" in box.loaded(process))


def test_a_worker_that_dies_of_a_load_comes_back_for_the_others() -> None:
    box = Box([on_demand()]).start()
    asked = box.sound("a")
    box.die(box.process())
    assert asked not in box.replies, "it may not have been the engine's fault: it is tried again"
    come_back(box)
    box.die(box.process())
    failure = box.replies[asked].failure
    assert failure is not None and "while it loaded 'a'" in failure.message
    other = box.sound("b")
    come_back(box)
    box.run()
    assert box.replies[other].kind == "result"
    assert box.changes == [("w", "load", "a"), ("w", "load", "a"), ("w", "load", "b")]


def come_back(box: Box) -> None:
    """A worker that has died is started again."""
    box.pass_time(4.0)
    box.say_hello(box.process())
    box.get_ready(box.process())


def test_a_worker_that_is_killed_while_it_loads_costs_nobody_a_sound() -> None:
    box = Box([on_demand()]).start()
    box.sound("a")
    box.die(box.process())
    come_back(box)
    box.run()
    assert box.order == ["a"] and not box.scheduler.workers.workers["w"].barred


def test_a_load_that_hangs_ends_its_worker() -> None:
    box = Box([on_demand()], load_timeout_s=50.0, task_timeout_s=10.0).start()
    asked = box.sound("a")
    for _ in range(49):
        box.now += 1.0
        box.send_heartbeats()
    box.pass_time(0.5)
    assert not box.process().doomed, "no task limit holds for loads"
    box.pass_time(1.0)
    assert box.process().doomed
    box.die(box.process())
    assert box.replies[asked].failure is not None


@pytest.mark.parametrize(("spare", "loaded"), [(GB, ["a"]), (2 * GB, ["a", "b"]), (GB // 2, []), (None, ["a", "b"])])
def test_auto_loads_ahead_what_leaves_the_reserve_free(spare: int | None, loaded: list[str]) -> None:
    box = Box([on_demand(preload="auto")]).start()
    assert box.changes == [], "nobody has looked yet"
    box.room(w=spare)
    box.run(until=lambda: not box.process().tasks)
    assert sorted(box.loaded(box.process())) == loaded
    box.room(w=10 * GB)
    assert len(box.changes) == len(loaded), "offered once"


def test_engines_that_are_simply_kept_are_never_taken_out() -> None:
    plan = WorkerPlan(name="w", engines=frozenset("ab"), roles=ROLES, on_demand={"b": OnDemand(size_bytes=GB)})
    box = Box([plan], memory_wait_s=5.0).start()
    box.scheduler.workers.workers["w"].sizes["a"] = GB
    box.room(w=-GB)
    assert box.loaded(box.process()) == {"a"}
    box.sound("a")
    box.run()
    assert box.swaps() == 0


# -- by hand -----------------------------------------------------------------------------------------


def order(box: Box, what: str, engine: str, worker: str = "") -> None:
    box.feed(events.OrderModel(order=what, engine=engine, worker=worker))  # type: ignore[arg-type]
    box.wait(10.0)


def test_models_are_loaded_and_taken_out_by_order() -> None:
    box = Box([on_demand("v"), on_demand("w")]).start()
    box.room(v=GB, w=GB)
    order(box, "load", "a")
    order(box, "load", "a")
    assert len(box.changes) == 1, "it is there"
    order(box, "load", "a", "w")
    assert box.loaded(box.process("v")) == box.loaded(box.process("w")) == {"a"}
    order(box, "load", "b", "w")
    assert box.loaded(box.process("w")) == {"b"}, "what nobody keeps goes for it"
    order(box, "unload", "a")
    assert box.loaded(box.process("v")) == frozenset()
    box.sound("a")
    box.run()
    assert box.loaded(box.process("v")) == {"a"}, "who asks has it loaded"


def test_what_is_pinned_is_loaded_stays_and_comes_back_with_its_worker() -> None:
    box = Box([on_demand()], memory_wait_s=5.0).start()
    box.room(w=GB)
    order(box, "pin", "a")
    assert box.loaded(box.process()) == {"a"}
    order(box, "load", "b")
    assert box.loaded(box.process()) == {"a"} and "b" in box.scheduler.workers.workers["w"].barred
    box.die(box.process())
    box.wait(1.0)
    box.say_hello(box.process())
    box.get_ready(box.process())
    box.wait(10.0)
    assert box.loaded(box.process()) == {"a"}
    order(box, "unpin", "a")
    order(box, "load", "b")
    assert box.loaded(box.process()) == {"b"}


def test_an_engine_that_is_simply_kept_goes_by_order_alone_and_comes_when_asked_for() -> None:
    box = Box([WorkerPlan(name="w", engines=frozenset("a"), roles=ROLES)]).start()
    assert box.loaded(box.process()) == {"a"}
    order(box, "unload", "a")
    assert box.loaded(box.process()) == frozenset()
    box.sound("a")
    box.run()
    assert [kind for _, kind, _ in box.changes] == ["unload", "load"]


def test_an_order_waits_until_what_is_at_work_is_done() -> None:
    box = Box([on_demand()], sound_s=5.0).start()
    for _ in range(4):
        box.sound("a")
    box.run(until=lambda: len(box.order) == 1)
    order(box, "unload", "a")
    box.run()
    assert box.order == ["a"] * 4 and [kind for _, kind, _ in box.changes] == ["load", "unload", "load"]


def test_nothing_is_sent_behind_a_load_so_that_who_waits_for_it_may_be_next() -> None:
    box = Box([on_demand()], load_s=20.0).start()
    box.sound("a")
    box.run()
    box.sound("b")
    box.wait(5.0)
    box.sound("a")
    assert [type(sent.action.work) for sent in box.process().tasks.values()] == [LoadWork]
    box.run()
    assert box.order == ["a", "b", "a"]


# -- another model in the place of one ---------------------------------------------------------------


def of_model(box: Box, model: str) -> int:
    asked = msgspec.structs.replace(recipe("a", seed=len(box.asked)), model=model)
    return box.submit(recipe=asked, lookup=False, events=True)


@pytest.mark.parametrize(("room", "changes"), [(2, ["load", "unload"]), (1, ["unload", "load"])])
def test_a_model_comes_beside_the_former_or_after_it_and_serving_goes_on(room: int, changes: list[str]) -> None:
    box = Box([on_demand(engines="a", keep_alive_s=1000.0, preload=True)], load_s=5.0).start()
    former = recipe("a").model
    box.room(w=(room - 1) * GB)
    box.scheduler.workers.workers["w"].sizes["a"] = GB
    box.room(w=(room - 1) * GB)
    before = [of_model(box, former) for _ in range(2)]
    box.feed(events.HostModel(engine="a", model="new", hosted="a@new"))
    box.run()
    box.feed(events.RetireModel(hosted="a"))
    after = of_model(box, "new")
    box.run()
    box.wait(1.0)
    assert all(box.replies[one].kind == "result" for one in (*before, after))
    assert box.loaded(box.process()) == {"a@new"}
    assert [kind for _, kind, _ in box.changes] == changes
    late = of_model(box, former)  # resolved before the switch, and asked for after it
    box.run()
    assert box.replies[late].kind == "result"


def test_a_model_that_has_come_in_a_bounded_engine_s_place_shares_its_bound() -> None:
    box = Box([on_demand("v", "a"), on_demand("w", "a")], sound_s=5.0, concurrency={"a": 1}).start()
    box.feed(events.HostModel(engine="a", model="new", hosted="a@new"))
    for name in "vw":
        order(box, "load", "a@new", name)
    for name in "vw":
        box.run(until=lambda name=name: "a@new" in box.loaded(box.process(name)))  # type: ignore[misc]
    for _ in range(4):
        of_model(box, "new")
    assert sum(bool(box.process(name).tasks) for name in "vw") == 1
    box.run()
    box.check_nothing_is_left()


def test_nothing_is_asked_back_for_a_worker_that_has_not_loaded_what_it_needs() -> None:
    box = Box([on_demand("v"), on_demand("w")], load_s=20.0, sound_s=5.0, concurrency={"a": 1}).start()
    for engine in "ab":
        order(box, "load", engine, "v")
        box.run(until=lambda engine=engine: engine in box.loaded(box.process("v")))  # type: ignore[misc]
    for engine in "baa":
        box.sound(engine)
    assert len(box.process("v").tasks) == 2 and not box.process("w").tasks
    box.run()
    assert not [one for one in box.actions if isinstance(one, RecallTask)], "it would come and go until the first ends"
