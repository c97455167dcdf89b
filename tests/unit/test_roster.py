"""Workers' lives on a fake clock: starts, silences, crashes, restarts, ends."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.schedule_world import WORKER_LIMITS, plan

from audio_pool.errors import EngineUnavailable, WorkerDied, WorkerStartFailed
from audio_pool.scheduler.events import Kill, SendStop, Spawn
from audio_pool.scheduler.workers import HeldJob, Lane, Roster, WorkerState

L = WORKER_LIMITS
SILENCE_S = L.heartbeat_s * L.missed_heartbeats


def roster(*plans: Any) -> Roster:
    return Roster(plans or [plan("w")], L)


def up(now: float = 0.0, *plans: Any) -> Roster:
    """A roster whose workers are all ready."""
    one = roster(*plans)
    one.start(now)
    for name, worker in one.workers.items():
        assert one.said_hello(name, worker.incarnation, now)
        one.loaded(name, worker.incarnation, frozenset({"tone"}), frozenset(), now)
    return one


def worker(one: Roster, name: str = "w") -> WorkerState:
    return one.workers[name]


def hold(one: Roster, job: int, *, lane: Lane = "make", now: float = 0.0, attempt: int = 1) -> None:
    one.hold("w", HeldJob(job, attempt, lane, (job,), now))


def kills(one: Roster, now: float) -> list[str]:
    return [action.why for action in one.overdue(now)[0] if isinstance(action, Kill)]


def test_every_worker_is_started_once() -> None:
    one = roster(plan("a"), plan("b"))
    assert one.start(0.0) == [Spawn(worker="a", incarnation=1), Spawn(worker="b", incarnation=1)]
    assert one.start(1.0) == []


def test_the_way_to_ready() -> None:
    one = roster()
    one.start(0.0)
    assert worker(one).state == "starting" and not worker(one).has_room("make")
    assert one.said_hello("w", 1, 1.0) is True
    assert one.said_hello("w", 1, 1.0) is False, "its load is sent once"
    assert worker(one).state == "loading"
    one.loaded("w", 1, frozenset({"tone", "words"}), frozenset({"tone"}), 2.0)
    assert worker(one).state == "ready" and worker(one).has_room("make")
    assert worker(one).engines == {"tone", "words"}


def test_words_of_other_incarnations_and_strangers_change_nothing() -> None:
    one = up()
    one.loaded("w", 0, frozenset(), frozenset(), 1.0)
    one.load_failed("w", 2, EngineUnavailable("x"))
    assert one.died("w", 2, "x", 1.0) == [] and one.died("stranger", 1, "x", 1.0) == []
    one.signed("w", 0, 99.0)
    assert one.said_hello("stranger", 1, 1.0) is False
    assert worker(one).state == "ready" and worker(one).last_sign == 0.0 and worker(one).engines == {"tone"}


@pytest.mark.parametrize(("said_hello", "limit_s", "state"), [(False, 10.0, "starting"), (True, 20.0, "loading")])
def test_a_start_that_takes_too_long(said_hello: bool, limit_s: float, state: str) -> None:
    one = roster()
    one.start(0.0)
    if said_hello:
        one.said_hello("w", 1, 0.0)
        for second in range(int(limit_s)):
            one.signed("w", 1, float(second))  # it beats, but does not get on
    assert kills(one, limit_s - 0.1) == [] and one.next_deadline() is not None
    assert kills(one, limit_s) == [f"it was {state} for too long"]
    assert kills(one, limit_s + 1) == [], "once"
    one.died("w", 1, "signal SIGKILL", limit_s + 1)
    assert worker(one).state == "failed"
    assert f"was still {state} after {limit_s:g} s" in str(worker(one).error)


def test_missed_beats() -> None:
    one = up()
    one.signed("w", 1, 1.0)
    assert one.next_deadline() == 1.0 + SILENCE_S
    assert kills(one, 0.9 + SILENCE_S) == []
    assert kills(one, 1.0 + SILENCE_S) == ["no sign of life for 4 s"]
    assert not worker(one).has_room("make"), "nothing is sent to the doomed"
    assert one.next_deadline() is None, "what comes next is its death"


def test_a_killed_worker_is_due_again() -> None:
    one = up()
    assert kills(one, SILENCE_S)
    one.died("w", 1, "signal SIGKILL", 10.0)
    assert one.next_deadline() == 10.0 + L.restart_backoff_s
    assert one.start(10.0) == []
    assert one.start(10.0 + L.restart_backoff_s) == [Spawn(worker="w", incarnation=2)]


def test_the_pause_doubles_to_its_limit_and_a_finished_job_ends_the_row() -> None:
    one = up()
    pauses, now = [], 0.0
    for _ in range(L.max_restarts):
        one.died("w", worker(one).incarnation, "exit code 1", now)
        assert worker(one).state == "down" and isinstance(worker(one).error, WorkerDied)
        due = worker(one).due
        assert due is not None
        pauses.append(due - now)
        now = due
        one.start(now)
        one.said_hello("w", worker(one).incarnation, now)
        one.loaded("w", worker(one).incarnation, frozenset({"tone"}), frozenset(), now)
    assert pauses == [0.5, 1.0, 2.0]
    hold(one, 1)
    assert one.release("w", worker(one).incarnation, 1, 1, now) is not None
    one.died("w", worker(one).incarnation, "exit code 1", now)
    assert worker(one).due == now + 0.5


def test_too_many_crashes_in_a_row() -> None:
    one, now = up(), 0.0
    for _ in range(L.max_restarts + 1):
        one.died("w", worker(one).incarnation, "signal SIGSEGV", now)
        now += 100.0
        one.start(now)
        one.said_hello("w", worker(one).incarnation, now)
        one.loaded("w", worker(one).incarnation, frozenset({"tone"}), frozenset(), now)
    assert worker(one).state == "failed" and "SIGSEGV" in str(worker(one).error)
    assert one.start(now + 10_000) == []


def test_a_worker_that_never_came_up_is_given_up_with_its_reason() -> None:
    one = roster()
    one.start(0.0)
    one.said_hello("w", 1, 0.0)
    one.load_failed("w", 1, EngineUnavailable("no torch"))
    one.died("w", 1, "exit code 3", 1.0)
    assert worker(one).state == "failed" and str(worker(one).error) == "no torch"

    one = roster()
    one.start(0.0)
    one.died("w", 1, "exit code 1; its last words: no module named numpy", 1.0)
    assert worker(one).state == "failed" and isinstance(worker(one).error, WorkerStartFailed)
    assert "ended while starting: exit code 1; its last words: no module named numpy" in str(worker(one).error)


def test_a_reload_that_fails_is_not_tried_for_ever() -> None:
    one = up()
    one.died("w", 1, "signal SIGKILL", 0.0)
    one.start(10.0)
    one.said_hello("w", 2, 10.0)
    one.load_failed("w", 2, EngineUnavailable("the disk is gone"))
    one.died("w", 2, "exit code 3", 11.0)
    assert worker(one).state == "failed" and str(worker(one).error) == "the disk is gone"


# -- jobs ------------------------------------------------------------------------------------------


def test_lanes_have_their_own_credit() -> None:
    one = up(0.0, plan("w", credit=2, aux_credit=1))
    hold(one, 1)
    assert worker(one).has_room("make") and worker(one).has_room("quick")
    hold(one, 2)
    assert not worker(one).has_room("make") and worker(one).has_room("quick")
    hold(one, 3, lane="quick")
    assert not worker(one).has_room("quick")
    one.release("w", 1, 1, 1, 0.0)
    assert worker(one).has_room("make") and not worker(one).has_room("quick")


def test_nothing_goes_behind_a_job_that_may_have_killed() -> None:
    one = up()
    hold(one, 1, attempt=2)
    assert not worker(one).has_room("make") and worker(one).has_room("quick")


def test_a_job_is_released_once_and_by_its_own_attempt() -> None:
    one = up()
    hold(one, 1, attempt=2)
    assert one.release("w", 1, 1, 1, 0.0) is None
    assert one.release("w", 2, 1, 2, 0.0) is None
    assert one.release("stranger", 1, 1, 2, 0.0) is None
    held = one.release("w", 1, 1, 2, 0.0)
    assert held is not None and held.works == (1,)
    assert one.release("w", 1, 1, 2, 0.0) is None
    assert worker(one).jobs_done == 1


def test_a_jobs_clock_runs_from_when_it_came_first_in_its_lane() -> None:
    one = up()
    hold(one, 1, now=0.0)
    hold(one, 2, now=0.0)
    hold(one, 3, lane="quick", now=5.0)

    def late(now: float) -> list[int]:
        one.signed("w", 1, now)
        return [held.job for _, held in one.overdue(now)[1]]

    one.signed("w", 1, 20.0)
    assert late(L.task_timeout_s - 0.1) == []
    one.release("w", 1, 1, 1, 29.0)
    assert late(L.task_timeout_s + 1) == [], "the second began at 29 s"
    assert late(L.task_timeout_s + 5) == [3]
    assert late(29.0 + L.task_timeout_s) == [], "its worker is being killed already"


def test_the_dead_give_back_what_they_held_in_order() -> None:
    one = up()
    for job in (5, 3, 4):
        hold(one, job)
    assert [held.job for held in one.died("w", 1, "x", 0.0)] == [5, 3, 4]
    assert one.died("w", 1, "x", 0.0) == [], "a death counts once"


# -- the end ---------------------------------------------------------------------------------------


def test_stop_asks_the_ready_and_ends_the_rest() -> None:
    one = roster(plan("ready"), plan("loading"), plan("starting"), plan("down"), plan("failed"))
    one.start(0.0)
    for name in ("ready", "loading", "down"):
        one.said_hello(name, 1, 0.0)
    for name in ("ready", "down"):
        one.loaded(name, 1, frozenset(), frozenset(), 0.0)
    one.died("down", 1, "x", 0.0)
    one.died("failed", 1, "x", 0.0)
    assert one.stop(0.0) == [
        SendStop(worker="ready", incarnation=1),
        Kill(worker="loading", incarnation=1, why="the pool stops"),
        Kill(worker="starting", incarnation=1, why="the pool stops"),
    ]
    assert one.start(100.0) == [], "nobody is started any more"
    assert not one.gone
    for name in ("ready", "loading", "starting"):
        one.died(name, 1, "exit code 0", 1.0)
    assert one.gone


def test_a_worker_that_will_not_stop_is_killed() -> None:
    one = up()
    one.stop(0.0)
    assert one.next_deadline() == L.term_timeout_s
    assert kills(one, L.term_timeout_s - 0.1) == []
    assert kills(one, L.term_timeout_s) == ["it was stopping for too long"]


def test_the_doomed_are_not_killed_again_by_a_stop() -> None:
    one = roster()
    one.start(0.0)
    assert kills(one, L.hello_timeout_s)
    assert one.stop(L.hello_timeout_s) == []
    one.died("w", 1, "signal SIGKILL", 11.0)
    assert one.gone
