"""The order of waiting, held against the plainest thing that could do it: a sort at every look."""

from __future__ import annotations

import tracemalloc
from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from audio_pool.scheduler.queue import JobQueue, Need

AGEING_S = 10.0
NOW = 60.0
A, B, C = Need("generate", "tone"), Need("generate", "hum"), Need("master")


def take(queue: JobQueue, need: Need, now: float, barred: Collection[str] = ()) -> int | None:
    turn = queue.first(need, now, barred)
    if turn is None:
        return None
    queue.take_turn(need, turn, now)
    return turn.job


def drained(queue: JobQueue, need: Need = A) -> list[int]:
    taken = []
    while (job := take(queue, need, NOW)) is not None:
        taken.append(job)
    return taken


def test_first_come_first_served_among_equals() -> None:
    queue = JobQueue(AGEING_S)
    for job, arrival in ((3, 0.0), (1, 1.0), (2, 1.0)):
        queue.put(A, job, priority=1, arrival=arrival)
    assert drained(queue) == [3, 1, 2]
    assert len(queue) == 0 and queue.needs() == []


def test_the_more_urgent_go_first_until_the_others_have_aged() -> None:
    queue = JobQueue(AGEING_S)
    queue.put(A, 1, priority=2, arrival=0.0)
    queue.put(A, 2, priority=0, arrival=19.9)  # 19.9 s later, two priorities higher
    queue.put(A, 3, priority=0, arrival=20.1)
    queue.put(A, 4, priority=1, arrival=9.5)
    assert drained(queue) == [4, 2, 1, 3]


def test_needs_are_apart() -> None:
    queue = JobQueue(AGEING_S)
    queue.put(A, 1, priority=1, arrival=0.0)
    queue.put(B, 2, priority=1, arrival=0.0)
    assert take(queue, C, NOW) is None and queue.first(C, NOW) is None
    assert len(queue) == 2
    assert drained(queue, B) == [2] and 1 in queue and 2 not in queue
    assert queue.needs() == [A]


def test_what_was_removed_or_moved_does_not_come_up() -> None:
    queue = JobQueue(AGEING_S)
    for job in (1, 2, 3):
        queue.put(A, job, priority=1, arrival=float(job))
    assert queue.remove(1) is True and queue.remove(1) is False
    queue.put(B, 2, priority=1, arrival=2.0)  # another need
    queue.put(A, 3, priority=0, arrival=3.0)  # another priority
    queue.put(A, 4, priority=1, arrival=0.0)
    assert sorted(queue.all()) == [2, 3, 4]
    assert drained(queue) == [3, 4] and drained(queue, B) == [2]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), max_size=30), st.integers(0, 2), st.integers(0, 60))
def test_ahead_is_how_many_are_taken_before(others: list[tuple[int, int]], priority: int, arrival: int) -> None:
    queue = JobQueue(AGEING_S)
    for job, (its, came) in enumerate(others, start=1):
        queue.put(A, job, priority=its, arrival=came)
        queue.put(B, -job, priority=0, arrival=0)
    for gone in range(1, len(others), 3):
        queue.remove(gone)
    told = [queue.ahead(A, 99, priority=priority, arrival=arrival)]
    queue.put(A, 99, priority=priority, arrival=arrival)
    told.append(queue.ahead(A, 99, priority=priority, arrival=arrival))
    assert set(told) == {drained(queue).index(99)}


def test_company_is_taken_from_anywhere_in_a_line_in_order_of_urgency() -> None:
    queue = JobQueue(ageing_s=10.0)
    for number in range(8):
        queue.put(A, number, priority=1, arrival=float(8 - number))
    even = list(queue.take_alike(A, NOW, 3, lambda job: 1 - job % 2, lambda client: True))
    assert even == [6, 4, 2]
    assert drained(queue) == [7, 5, 3, 1, 0]


def test_company_is_taken_from_all_clients_and_charged_to_each() -> None:
    queue = JobQueue(ageing_s=10.0)
    flood(queue, "many", range(10))
    flood(queue, "few", range(10, 12))
    assert sorted(queue.take_alike(A, 0.0, 4, lambda job: 1, lambda client: True)) == [0, 1, 10, 11]
    flood(queue, "few", range(20, 22))
    assert list(queue.take_alike(A, 0.0, 4, lambda job: 1, lambda client: client == "few")) == [20, 21]


def test_company_has_no_more_than_the_room_and_is_not_held_up_by_what_is_too_large() -> None:
    queue = JobQueue(ageing_s=10.0)
    sizes = {1: 3, 2: 2, 3: 4, 4: 1}
    for job in sizes:
        queue.put(A, job, priority=1, arrival=float(job))
    assert list(queue.take_alike(A, NOW, 4, sizes.__getitem__, lambda client: True)) == [1, 4]
    assert drained(queue) == [2, 3]
    assert list(queue.take_alike(A, NOW, 4, sizes.__getitem__, lambda client: True)) == []


def test_a_clients_own_company_does_not_hold_up_its_first_for_ever() -> None:
    # two floods of sounds that go together; one of the two waits for one that goes with none of them
    queue, ageing_s, turn_s = JobQueue(ageing_s=10.0), 10.0, 4.0
    queue.put(A, 0, priority=1, arrival=0.0, client="two")
    queue.pass_by(A, "two", 0.5)  # so that, when a pass is full, the turn is always the other's
    job, now, taken_ = 1, 0.0, None
    while taken_ != 0 and now < 20 * ageing_s:
        for client in ("one", "two"):
            flood(queue, client, range(job, job + 4), arrival=now)
            job += 4
        turn = queue.first(A, now)
        assert turn is not None
        taken_ = turn.job
        queue.take_turn(A, turn, now)
        list(queue.take_alike(A, now, 7, lambda one: int(one > 0), lambda client: True))
        now += turn_s
    assert taken_ == 0 and now <= 2 * ageing_s


def test_a_long_line_is_not_looked_through_to_its_end() -> None:
    queue, looked = JobQueue(ageing_s=10.0), []
    flood(queue, "one", range(5_000))
    flood(queue, "two", range(5_000, 5_010))

    def size(job: int) -> int:
        looked.append(job)
        return int(job >= 5_000)

    assert list(queue.take_alike(A, 0.0, 20, size, lambda client: True)) == list(range(5_000, 5_010))
    assert len(looked) < 300


def test_a_flood_of_removed_jobs_does_not_stay_in_memory() -> None:
    queue = JobQueue(AGEING_S)
    queue.put(A, 1, priority=1, arrival=0.0)
    tracemalloc.start()
    for job in range(2, 50_000):
        queue.put(A, job, priority=1, arrival=float(job))
        queue.remove(job)
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < 100_000, "50,000 entries would be megabytes"
    assert drained(queue) == [1]


# -- between clients -------------------------------------------------------------------------------


def flood(queue: JobQueue, client: str, jobs: range, *, priority: int = 1, arrival: float = 0.0, **cost: float) -> None:
    for job in jobs:
        queue.put(A, job, priority=priority, arrival=arrival, client=client, **cost)


def taken(queue: JobQueue, count: int, now: float = 0.0, need: Need = A) -> list[int | None]:
    return [take(queue, need, now) for _ in range(count)]


def test_who_floods_goes_beside_the_others_not_before_them() -> None:
    queue = JobQueue(AGEING_S)
    flood(queue, "flood", range(100))
    assert taken(queue, 3) == [0, 1, 2]
    flood(queue, "polite", range(200, 203), arrival=1.0)
    assert taken(queue, 7, now=1.0) == [200, 3, 201, 4, 202, 5, 6], "what it did not use before is not saved up"


def test_each_gets_its_weight() -> None:
    queue = JobQueue(AGEING_S, {"heavy": 3.0, "light": 1.0}.__getitem__)
    flood(queue, "light", range(100))
    flood(queue, "heavy", range(100, 200))
    first = taken(queue, 40)
    assert sum(job is not None and job >= 100 for job in first) == 30
    for start in range(0, 40, 4):
        assert sum(job is not None and job < 100 for job in first[start : start + 4]) == 1, "all along, not in blocks"


def test_long_tasks_cost_more_turns() -> None:
    queue = JobQueue(AGEING_S)
    flood(queue, "long", range(100), cost_s=4.0)
    flood(queue, "short", range(100, 200), cost_s=1.0)
    assert sum(job is not None and job < 100 for job in taken(queue, 50)) == 10


def test_priority_goes_before_shares_and_waiting_for_a_turn_lifts_it() -> None:
    queue = JobQueue(AGEING_S)
    flood(queue, "urgent", range(100), priority=0)
    flood(queue, "background", range(100, 102), priority=2)
    assert taken(queue, 3) == [0, 1, 2]
    assert taken(queue, 2, now=19.9) == [3, 4], "19.9 s are not quite two priorities"
    assert taken(queue, 3, now=20.1) == [100, 5, 6], "once: after its turn it waits for the next"
    assert taken(queue, 1, now=40.1) == [7], "both have waited for as long"
    assert taken(queue, 2, now=40.2) == [101, 8]


def test_time_behind_ones_own_flood_lifts_nothing() -> None:
    queue = JobQueue(AGEING_S)
    flood(queue, "flood", range(100))
    assert taken(queue, 10, now=500.0)[0] == 0
    flood(queue, "polite", range(200, 201), arrival=500.0)
    assert 200 in taken(queue, 2, now=500.0)


def test_who_is_barred_is_passed_over() -> None:
    queue = JobQueue(AGEING_S)
    flood(queue, "one", range(2))
    flood(queue, "two", range(10, 11), arrival=1.0)
    assert take(queue, A, 0.0, barred={"one"}) == 10
    assert take(queue, A, 0.0, barred={"one"}) is None and take(queue, A, 0.0) == 0


def test_what_was_not_begun_is_not_charged() -> None:
    queue = JobQueue(AGEING_S)
    flood(queue, "one", range(10), cost_s=5.0)
    flood(queue, "two", range(10, 20), cost_s=1.0)
    assert take(queue, A, 0.0) == 0
    queue.give_back(A, "one", 5.0)
    queue.put(A, 0, priority=1, arrival=-1.0, client="one", cost_s=5.0)
    assert taken(queue, 2) == [0, 10]


def test_generating_and_the_rest_are_shared_apart() -> None:
    queue = JobQueue(AGEING_S)
    flood(queue, "one", range(50))
    taken(queue, 30)
    queue.put(C, 100, priority=1, arrival=0.0, client="one")
    queue.put(C, 101, priority=1, arrival=1.0, client="two")
    assert taken(queue, 2, need=C) == [100, 101], "who generates much has not mastered much"


def test_a_clients_place_among_others_is_told_before() -> None:
    queue = JobQueue(AGEING_S)
    flood(queue, "flood", range(20))
    flood(queue, "urgent", range(30, 33), priority=0)
    flood(queue, "idle", range(40, 42), priority=2)
    told = queue.ahead(A, 99, priority=1, arrival=5.0, client="new")
    queue.put(A, 99, priority=1, arrival=5.0, client="new")
    order = taken(queue, 26, now=5.0)
    assert abs(told - order.index(99)) <= 1


def test_clients_that_come_and_go_leave_nothing() -> None:
    queue = JobQueue(AGEING_S)
    tracemalloc.start()
    for job in range(50_000):
        queue.put(A, job, priority=1, arrival=0.0, client=f"client {job}")
        assert take(queue, A, 0.0) == job
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < 1_000_000 and queue.needs() == []


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 40)), max_size=40), st.integers(1, 9))
def test_a_polite_client_waits_for_one_task_of_each_other_at_most(floods: list[tuple[str, int]], cost_s: int) -> None:
    """Whatever came before, in whatever order and however long it takes: where all wait as urgently, one turn each.

    Who has less urgent work waiting keeps its turns meanwhile (up to ``credit_s``), and has them when more urgent work
    of its own comes.
    """
    queue = JobQueue(AGEING_S)
    job = 0
    for client, count in floods:
        for _ in range(count):
            job += 1
            queue.put(A, job, priority=1, arrival=0.0, client=client, cost_s=float(cost_s))
        if count % 3 == 0:
            take(queue, A, 0.0)
    queue.put(A, -1, priority=1, arrival=0.0, client="polite", cost_s=1.0)
    assert -1 in taken(queue, 3)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=60))
def test_nobody_starves(arrivals: list[tuple[int, int, int]]) -> None:
    """Everyone keeps many urgent jobs waiting; one in the background has its turn all the same, and soon."""
    queue = JobQueue(AGEING_S)
    queue.put(A, -1, priority=2, arrival=0.0, client="patient")
    job, clients, now = 0, set(), 0.0
    for client, priority, wait in [*arrivals, *((client, 0, 1) for client in range(6))] * 20:
        clients.add(client)
        for _ in range(2):
            job += 1
            queue.put(A, job, priority=priority, arrival=now, client=f"client {client}")
        now += wait
        if take(queue, A, now) == -1:
            break
        # beyond its ageing each other goes before it once at most, a second each
        assert now <= 3 * AGEING_S + 3 * (len(clients) + 1)
    else:
        raise AssertionError("it was never served")


_OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "take", "remove"]),
        st.sampled_from((A, B)),
        st.integers(0, 12),
        st.integers(0, 2),
        st.integers(0, 60),
    ),
    max_size=80,
)


@given(_OPERATIONS)
def test_it_is_a_sort_at_every_look(operations: list[tuple[str, Need, int, int, int]]) -> None:
    queue = JobQueue(AGEING_S)
    plain: dict[int, tuple[float, int, Need]] = {}  # job -> (urgency, turn, need)
    for turn, (what, need, job, priority, arrival) in enumerate(operations):
        if what == "put":
            queue.put(need, job, priority=priority, arrival=float(arrival))
            plain[job] = (arrival + priority * AGEING_S, turn, need)
        elif what == "remove":
            assert queue.remove(job) == (plain.pop(job, None) is not None)
        else:
            first = min(((place, number) for number, place in plain.items() if place[2] == need), default=None)
            turn = queue.first(need, NOW)
            assert (turn and turn.urgency) == (first[0][0] if first else None)
            assert take(queue, need, NOW) == (first[1] if first else None)
            if first:
                del plain[first[1]]
        assert sorted(queue.all()) == sorted(plain) and len(queue) == len(plain)
