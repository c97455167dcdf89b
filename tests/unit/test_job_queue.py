"""The order of waiting, held against the plainest thing that could do it: a sort at every look."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from audio_pool.scheduler.queue import JobQueue, Need

AGEING_S = 10.0
A, B, C = Need("generate", "tone"), Need("generate", "hum"), Need("master")


def drained(queue: JobQueue, need: Need = A) -> list[int]:
    taken = []
    while (job := queue.take(need)) is not None:
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
    assert queue.take(C) is None and queue.urgency(C) is None
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


def test_a_head_that_does_not_fit_stays_the_head() -> None:
    queue = JobQueue(AGEING_S)
    queue.put(A, 1, priority=1, arrival=0.0)
    queue.put(A, 2, priority=1, arrival=1.0)
    assert queue.take(A, lambda job: job == 2) is None, "nobody overtakes"
    assert queue.take(A, lambda job: job == 1) == 1


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
            assert queue.urgency(need) == (first[0][0] if first else None)
            assert queue.take(need) == (first[1] if first else None)
            if first:
                del plain[first[1]]
        assert sorted(queue.all()) == sorted(plain) and len(queue) == len(plain)
