"""The order of waiting, held against the plainest thing that could do it: a sort at every look."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from audio_pool.scheduler.queue import Waiting

AGEING_S = 10.0


def drained(waiting: Waiting, key: str = "a") -> list[int]:
    taken = []
    while (work := waiting.take(key)) is not None:
        taken.append(work)
    return taken


def test_first_come_first_served_among_equals() -> None:
    waiting = Waiting(AGEING_S)
    for work, arrival in ((3, 0.0), (1, 1.0), (2, 1.0)):
        waiting.put("a", work, priority=1, arrival=arrival)
    assert drained(waiting) == [3, 1, 2]
    assert len(waiting) == 0 and waiting.names() == []


def test_the_more_urgent_go_first_until_the_others_have_aged() -> None:
    waiting = Waiting(AGEING_S)
    waiting.put("a", 1, priority=2, arrival=0.0)
    waiting.put("a", 2, priority=0, arrival=19.9)  # 19.9 s later, two priorities higher
    waiting.put("a", 3, priority=0, arrival=20.1)
    waiting.put("a", 4, priority=1, arrival=9.5)
    assert drained(waiting) == [4, 2, 1, 3]


def test_keys_are_apart() -> None:
    waiting = Waiting(AGEING_S)
    waiting.put("a", 1, priority=1, arrival=0.0)
    waiting.put("b", 2, priority=1, arrival=0.0)
    assert waiting.take("c") is None and waiting.urgency("c") is None
    assert len(waiting) == 2
    assert drained(waiting, "b") == [2] and 1 in waiting and 2 not in waiting
    assert waiting.names() == ["a"]


def test_what_was_removed_or_moved_does_not_come_up() -> None:
    waiting = Waiting(AGEING_S)
    for work in (1, 2, 3):
        waiting.put("a", work, priority=1, arrival=float(work))
    assert waiting.remove(1) is True and waiting.remove(1) is False
    waiting.put("b", 2, priority=1, arrival=2.0)  # another key
    waiting.put("a", 3, priority=0, arrival=3.0)  # another priority
    waiting.put("a", 4, priority=1, arrival=0.0)
    assert sorted(waiting.all()) == [2, 3, 4]
    assert drained(waiting) == [3, 4] and drained(waiting, "b") == [2]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), max_size=30), st.integers(0, 2), st.integers(0, 60))
def test_ahead_is_how_many_are_taken_before(others: list[tuple[int, int]], priority: int, arrival: int) -> None:
    waiting = Waiting(AGEING_S)
    for work, (its, came) in enumerate(others, start=1):
        waiting.put("a", work, priority=its, arrival=came)
        waiting.put("b", -work, priority=0, arrival=0)
    for gone in range(1, len(others), 3):
        waiting.remove(gone)
    told = [waiting.ahead("a", 99, priority=priority, arrival=arrival)]
    waiting.put("a", 99, priority=priority, arrival=arrival)
    told.append(waiting.ahead("a", 99, priority=priority, arrival=arrival))
    assert set(told) == {drained(waiting).index(99)}


def test_a_head_that_does_not_fit_stays_the_head() -> None:
    waiting = Waiting(AGEING_S)
    waiting.put("a", 1, priority=1, arrival=0.0)
    waiting.put("a", 2, priority=1, arrival=1.0)
    assert waiting.take("a", lambda work: work == 2) is None, "nobody overtakes"
    assert waiting.take("a", lambda work: work == 1) == 1


def test_a_flood_of_removed_works_does_not_stay_in_memory() -> None:
    waiting = Waiting(AGEING_S)
    waiting.put("a", 1, priority=1, arrival=0.0)
    for work in range(2, 50_000):
        waiting.put("a", work, priority=1, arrival=float(work))
        waiting.remove(work)
    assert sum(len(heap) for heap in waiting._heaps.values()) < 200
    assert drained(waiting) == [1]


_OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "take", "remove"]),
        st.sampled_from("ab"),
        st.integers(0, 12),
        st.integers(0, 2),
        st.integers(0, 60),
    ),
    max_size=80,
)


@given(_OPERATIONS)
def test_it_is_a_sort_at_every_look(operations: list[tuple[str, str, int, int, int]]) -> None:
    waiting = Waiting(AGEING_S)
    plain: dict[int, tuple[float, int, str]] = {}  # work -> (urgency, turn, key)
    for turn, (what, key, work, priority, arrival) in enumerate(operations):
        if what == "put":
            waiting.put(key, work, priority=priority, arrival=float(arrival))
            plain[work] = (arrival + priority * AGEING_S, turn, key)
        elif what == "remove":
            assert waiting.remove(work) == (plain.pop(work, None) is not None)
        else:
            first = min(((place, number) for number, place in plain.items() if place[2] == key), default=None)
            assert waiting.urgency(key) == (first[0][0] if first else None)
            assert waiting.take(key) == (first[1] if first else None)
            if first:
                del plain[first[1]]
        assert sorted(waiting.all()) == sorted(plain) and len(waiting) == len(plain)
