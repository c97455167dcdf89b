"""The router's helper threads: started anew where one has ended, given up where that does not help."""

from __future__ import annotations

import threading

import pytest

from audio_pool.errors import AudioPoolError
from audio_pool.pool.helper_threads import HelperThreads
from audio_pool.pool.writer import Writer


class Played:
    """A helper whose thread ends when the test says so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.started = 0
        self.failure: Exception | None = None

    def revive(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.alive = True
        self.started += 1


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_those_that_live_are_left_alone_and_the_dead_are_started_anew() -> None:
    one, other = Played("one"), Played("other")
    helpers = HelperThreads([one, other])
    helpers.look()
    other.alive = False
    helpers.look()
    assert (one.started, other.started, other.alive) == (0, 1, True)


def test_one_that_ends_again_and_again_is_given_up_and_now_and_then_is_not_that() -> None:
    clock, helper = Clock(), Played("writer")
    helpers = HelperThreads([helper], clock)
    for _ in range(10):
        helper.alive = False
        helpers.look()
        clock.now += 30.0
    assert helper.started == 10
    clock.now += 100.0
    for _ in range(3):
        helper.alive = False
        helpers.look()
    helper.alive = False
    with pytest.raises(AudioPoolError, match="the writer has ended 4 times within 60 s"):
        helpers.look()


def test_one_that_cannot_be_brought_back() -> None:
    helper = Played("supervisor")
    helper.alive, helper.failure = False, RuntimeError("can't start new thread")
    with pytest.raises(AudioPoolError, match="the supervisor has ended and cannot be started anew: can't start"):
        HelperThreads([helper]).look()


# -- the writer ------------------------------------------------------------------------------------


def test_the_writer_works_in_order_and_hands_on_what_is_raised() -> None:
    writer = Writer()
    seen: list[int] = []
    for number in range(20):
        writer.submit(seen.append, number)
    failed = writer.submit(lambda: 1 // 0)
    left = writer.submit(exit)
    answer = writer.submit(lambda: threading.current_thread().name)
    assert answer.result(60.0) == "audio-pool-writer" and seen == list(range(20))
    assert isinstance(failed.exception(), ZeroDivisionError) and isinstance(left.exception(), SystemExit)
    last = writer.submit(seen.append, 20)
    writer.shutdown()
    assert last.done() and seen[-1] == 20 and not writer.alive
    with pytest.raises(RuntimeError, match="shut down"):
        writer.submit(seen.append, 21)
    writer.revive()
    assert not writer.alive, "what was shut down stays so"


def test_a_writer_whose_thread_has_ended_goes_on_with_what_waits() -> None:
    writer = Writer()
    writer._waiting.put(None)  # as if the thread had ended
    writer._thread.join(60.0)
    waits = writer.submit(lambda: "done")
    assert not writer.alive
    writer.revive()
    assert waits.result(60.0) == "done"
    writer.shutdown()
