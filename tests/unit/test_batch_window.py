"""What a busy worker is to do next stays in the queue, open to company; an idle one never waits. On a fake clock."""

from __future__ import annotations

import math
import random

import pytest
from tests.support.recipes import recipe
from tests.unit.scheduler_world import World, jobs_of, plan

from audio_pool.scheduler import events
from audio_pool.scheduler.vacancies import Vacancies
from audio_pool.scheduler.worker_dues import WorkerDues
from audio_pool.scheduler.worker_state import HeldTask, WorkerState

TAKES_S = 10.0
JUST_BEFORE_S = TAKES_S - 0.5


def world(workers: str = "w", batch_window_s: float = 600.0, ageing_s: float = 30.0) -> World:
    """A pool that has learnt how long a sound takes, by one that each of its workers has made."""
    plans = [plan(name) for name in workers.split()]
    one = World(plans, batch_window_s=batch_window_s, ageing_s=ageing_s, heartbeat_s=60.0)
    one.batching = frozenset({"tone"})
    one.start()
    for _ in workers.split():
        ask(one)
    one.pass_time(TAKES_S)
    for name in workers.split():
        finish(one, name)
    return one


def ask(one: World, prompt: str = "rain", **fields: int) -> int:
    return one.submit(recipe=recipe(prompt=prompt), **fields)


def finish(one: World, name: str = "w") -> None:
    one.finish(one.process(name), next(iter(one.process(name).tasks)))


def held(one: World, name: str = "w") -> list[list[int]]:
    """The requests of each task that a worker holds."""
    jobs = one.scheduler.jobs
    return [[jobs[job].requests[0] for job in jobs_of(sent.action.work)] for sent in one.process(name).tasks.values()]


def test_what_comes_while_a_worker_is_busy_joins_the_batch_that_is_next() -> None:
    one = world()
    first = ask(one)
    second = ask(one)
    assert held(one) == [[first]], "the worker may hold one more, but is not nearly done"
    one.pass_time(JUST_BEFORE_S - 1.0)
    third = ask(one)
    assert one.scheduler.next_deadline() == pytest.approx(one.now + 1.0), "then it opens"
    one.pass_time(1.0)
    assert held(one) == [[first], [second, third]], "it is there before the worker is done"


def test_an_idle_worker_never_waits() -> None:
    one = world("a b")
    first = ask(one)
    assert held(one, "a") == [[first]]
    second = ask(one)
    assert held(one, "b") == [[second]], "company might come for the first: not while a worker has nothing to do"
    third = ask(one)
    one.pass_time(1.0)
    finish(one, "b")  # far sooner than was to be expected
    assert held(one, "b") == [[third]], "nothing was sent ahead, and it goes at once"


def test_a_worker_that_is_late_is_open() -> None:
    one = world()
    first = ask(one)
    one.pass_time(TAKES_S + 5.0)
    second = ask(one)
    assert held(one) == [[first], [second]]


def test_what_is_more_urgent_goes_first_without_being_asked_back() -> None:
    one = world()
    first, _ = ask(one, priority=2), ask(one, priority=2)
    one.pass_time(5.0)
    urgent = ask(one, priority=0)
    one.pass_time(JUST_BEFORE_S - 5.0)
    assert held(one) == [[first], [urgent]]


def test_of_what_nothing_is_known_is_sent_ahead_at_once() -> None:
    one = World([plan()])
    one.batching = frozenset({"tone"})
    one.start()
    first, second = ask(one), ask(one)
    assert held(one) == [[first], [second]]


@pytest.mark.parametrize(("window_s", "opens_s"), [(0.0, 0.0), (3.0, 3.0), (600.0, JUST_BEFORE_S)])
def test_the_window_bounds_how_long_a_batch_stays_open(window_s: float, opens_s: float) -> None:
    one = world(batch_window_s=window_s)
    ask(one)
    ask(one)
    if opens_s:
        one.pass_time(opens_s - 0.1)
        assert len(held(one)) == 1
        one.pass_time(0.1)
    assert len(held(one)) == 2


def test_a_changed_window_holds_for_what_waits() -> None:
    one = world()
    ask(one)
    ask(one)
    queue = events.QueueConfig(batch_window_s=0.0)
    one.feed(events.Reconfigure(limits=one.limits, queue=queue))
    assert len(held(one)) == 2


def test_only_workers_with_room_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    has_room = WorkerState.has_room
    monkeypatch.setattr(
        WorkerState, "has_room", lambda self, thread: looks.append(self.plan.name) or has_room(self, thread)
    )
    vacancies = Vacancies(600.0)
    workers = [WorkerState(plan=plan(f"w{number}"), state="ready") for number in range(1000)]
    for number, worker in enumerate(workers):
        worker.tasks = {
            number: HeldTask(task=number, attempt=1, thread="generate", jobs=(), since=0.0, expected_s=10.0)
        }
        vacancies.changed(worker)
    assert vacancies.with_room("generate", 0.0) == [] and len(looks) == 1000
    assert vacancies.with_room("generate", 9.0) == [] and len(looks) == 1000, "nobody is looked at again"
    workers[7].tasks.clear()
    vacancies.changed(workers[7])
    assert vacancies.with_room("generate", 9.0) == [workers[7]] and looks[1000:] == ["w7"]
    assert vacancies.next_opening() == JUST_BEFORE_S and vacancies.open_due(JUST_BEFORE_S)
    assert vacancies.with_room("generate", JUST_BEFORE_S) == workers


def test_the_first_time_of_all_is_the_least_of_them_whatever_changes() -> None:
    rng = random.Random(1)
    workers = [WorkerState(plan=plan(f"w{number}"), last_sign=float(number)) for number in range(20)]
    dues = WorkerDues(lambda worker: worker.last_sign)
    for worker in workers:
        dues.changed(worker)
    for _ in range(500):
        worker = rng.choice(workers)
        before, worker.last_sign = worker.last_sign, math.inf if rng.random() < 0.1 else rng.random()
        if worker.last_sign < before:  # what is put off need not be told
            dues.changed(worker)
        least = min(one.last_sign for one in workers)
        assert dues.first() == (None if least == math.inf else least)


def test_a_limit_that_shrinks_is_heeded_at_once() -> None:
    one = world()
    ask(one)
    one.feed(events.Reconfigure(limits=events.LimitsConfig(heartbeat_s=1.0, missed_heartbeats=2), queue=one.queue))
    assert one.scheduler.next_deadline() == one.now + 2.0


def test_who_joins_a_flood_more_urgently_has_turns_of_its_own() -> None:
    one = world(batch_window_s=0.0, ageing_s=1.0)
    for number in range(8):
        one.submit(recipe=recipe(prompt=f"old {number}", steps=number + 10), client="flood", priority=2)
    one.pass_time(25.0)  # all of them have aged beyond what is urgent now
    shared = one.submit(recipe=recipe(prompt="shared"), join=1, client="flood", priority=2)
    joiner = one.submit(recipe=recipe(prompt="shared"), join=1, client="person", priority=0)
    made: list[int] = []
    for _ in range(2):  # a turn of the flood, which has waited for it, and one of the other
        finish(one)
        made += [request for task in held(one) for request in task]
    assert shared in made, "not behind all that the first client asked for long before"
    job = next(job for job in one.scheduler.jobs.values() if shared in job.requests)
    assert joiner in job.requests and job.client == "person", "and is that client's to pay for"
