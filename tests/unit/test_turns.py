"""Work for one thread by turns: nobody waits behind another's crowd, and nobody's crowd is without bound."""

from __future__ import annotations

import pytest
from tests.support.hand_writer import HandWriter

from audio_pool.errors import Busy
from audio_pool.pool.turns import Turns
from audio_pool.pool.writer import Writer


def test_each_client_in_its_turn_and_its_own_work_in_order() -> None:
    thread, done = HandWriter(), []
    turns = Turns(thread, most=100)
    for number in range(50):
        turns.submit("flood", lambda number=number: done.append(f"flood-{number}"))  # type: ignore[misc]
    turns.submit("", lambda: done.append("store"))
    turns.submit("neighbour", lambda: done.append("neighbour-0"))
    turns.submit("neighbour", lambda: done.append("neighbour-1"))
    thread.run()
    assert done[:6] == ["flood-0", "store", "neighbour-0", "flood-1", "neighbour-1", "flood-2"]
    assert done[5:] == [f"flood-{number}" for number in range(2, 50)]


def test_one_clients_crowd_is_bounded_and_the_pools_own_work_is_not() -> None:
    thread, done = HandWriter(), []
    turns = Turns(thread, most=2)
    for client in ("flood", "flood", "", "", "", "neighbour"):
        turns.submit(client, lambda client=client: done.append(client))  # type: ignore[misc]
    with pytest.raises(Busy, match="2 files of this client wait") as busy:
        turns.submit("flood", lambda: done.append("never"))
    assert busy.value.retry_after_ms
    turns.submit("flood", lambda: done.append("flood"), bounded=False)
    thread.run()
    assert sorted(done) == ["", "", "", "flood", "flood", "flood", "neighbour"]
    turns.submit("flood", lambda: done.append("again"))
    thread.run()
    assert done[-1] == "again"


def test_a_thread_that_takes_nothing_more_says_so_and_has_done_what_it_took() -> None:
    thread, done = Writer(), []
    turns = Turns(thread, most=2)
    turns.submit("a", lambda: done.append("a"))
    thread.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        turns.submit("a", lambda: done.append("never"))
    assert done == ["a"]
