"""Workers' lives on a fake clock: starts, silences, crashes, restarts, ends."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from tests.unit.scheduler_world import LIMITS, plan

from audio_pool.errors import EngineUnavailable, WorkerDied, WorkerStartFailed
from audio_pool.results import Failure
from audio_pool.scheduler.actions import KillWorker, SpawnWorker, StopWorker
from audio_pool.scheduler.batches import Batching
from audio_pool.scheduler.breaker import Breaker
from audio_pool.scheduler.worker_state import HeldTask, WorkerPlan, WorkerState
from audio_pool.scheduler.workers import WorkerTable
from audio_pool.tasks import LaneReport, Thread

L = LIMITS
SILENCE_S = L.heartbeat_s * L.missed_heartbeats


def table(*plans: WorkerPlan) -> WorkerTable:
    return WorkerTable(plans or [plan("w")], L)


def up(now: float = 0.0, *plans: WorkerPlan) -> WorkerTable:
    """A table whose workers are all ready."""
    one = table(*plans)
    one.start(now)
    for name, worker in one.workers.items():
        assert one.on_hello(name, worker.incarnation, now)
        one.on_ready(name, worker.incarnation, frozenset({"tone"}), {}, now)
    return one


def worker(one: WorkerTable, name: str = "w") -> WorkerState:
    return one.workers[name]


def failure(one: WorkerTable) -> Failure:
    found = worker(one).failure
    assert found is not None
    return found


def hold(one: WorkerTable, task: int, *, thread: Thread = "generate", now: float = 0.0, attempt: int = 1) -> None:
    one.hold("w", HeldTask(task=task, attempt=attempt, thread=thread, jobs=(task,), since=now))


def kills(one: WorkerTable, now: float) -> list[str]:
    return [action.why for action in one.overdue(now)[0] if isinstance(action, KillWorker)]


def test_every_worker_is_started_once() -> None:
    one = table(plan("a"), plan("b"))
    assert one.start(0.0) == [SpawnWorker(worker="a", incarnation=1), SpawnWorker(worker="b", incarnation=1)]
    assert one.start(1.0) == []


def test_the_way_to_ready() -> None:
    one = table()
    one.start(0.0)
    assert worker(one).state == "starting" and not worker(one).has_room("generate")
    assert one.on_hello("w", 1, 1.0) is True
    assert one.on_hello("w", 1, 1.0) is False, "its load is sent once"
    assert worker(one).state == "loading"
    one.on_ready("w", 1, frozenset({"tone", "words"}), {"tone": Batching()}, 2.0)
    assert worker(one).state == "ready" and worker(one).has_room("generate")
    assert worker(one).engines == {"tone", "words"}


def test_messages_of_other_incarnations_and_strangers_change_nothing() -> None:
    one = up()
    one.on_ready("w", 0, frozenset(), {}, 1.0)
    one.on_load_failed("w", 2, Failure.of(EngineUnavailable("x")))
    assert one.on_exit("w", 2, "x", 1.0) == [] and one.on_exit("stranger", 1, "x", 1.0) == []
    one.heartbeat("w", 0, 99.0)
    assert one.on_hello("stranger", 1, 1.0) is False
    assert worker(one).state == "ready" and worker(one).last_sign == 0.0 and worker(one).engines == {"tone"}


def test_one_whose_node_is_lost_before_it_was_ever_up_is_started_again() -> None:
    one = table()
    one.start(0.0)
    one.on_exit("w", 1, "its actor is gone", 1.0, lost=True)
    assert worker(one).state == "down" and worker(one).due == 1.0 + L.restart_backoff_s
    now = 1.0
    for _ in range(L.max_restarts):  # and not for ever
        now += 1000.0
        one.start(now)
        one.on_exit("w", worker(one).incarnation, "its actor is gone", now, lost=True)
    assert worker(one).state == "broken" and failure(one).code == "worker_start"


def test_nobody_was_silent_while_the_server_itself_stood_still() -> None:
    one = up(0.0, plan("w"), plan("starting"))
    worker(one, "starting").state, worker(one, "starting").due = "starting", L.hello_timeout_s
    hold(one, 1)
    worker(one).tasks[1].hang_s = 5.0
    one.excuse(1000.0, 1000.0)
    assert kills(one, 1000.0) == []
    one.heartbeat("w", 1, 1003.0)
    assert kills(one, 1004.9) == []
    assert kills(one, 1005.1) == ["a task got no further for 5 s"]
    one = up()
    one.excuse(1000.0, 1000.0)
    assert kills(one, 1000.0 + SILENCE_S - 0.1) == []
    assert kills(one, 1000.0 + SILENCE_S) == [f"no sign of life for {SILENCE_S:g} s"]


def test_one_that_waits_for_a_place_is_starting_for_as_long_as_it_may() -> None:
    one = table()
    one.start(0.0)
    one.on_pending("w", 1, "", 100.0, 0.0)  # it is looked for
    one.on_pending("w", 1, "no GPU is free", 95.0, 5.0)
    assert (worker(one).state, worker(one).pending) == ("starting", "no GPU is free")
    assert kills(one, 99.9) == []
    one.on_pending("w", 1, "", 0.0, 60.0)  # it has one: from now on it is as any other
    assert not worker(one).pending and kills(one, 69.9) == []
    assert kills(one, 70.0) == ["it was starting for too long"]
    one.on_exit("w", 1, "its node is gone", 71.0)
    one.on_pending("w", 1, "too late", 100.0, 72.0)
    assert not worker(one).pending
    one.start(1000.0)
    one.on_pending("w", 1, "of the former one", 100.0, 1000.0)
    assert not worker(one).pending
    one.on_pending("w", 2, "nowhere", 5.0, 1000.0)
    assert kills(one, 1005.0) == ["it was starting for too long"]


@pytest.mark.parametrize(("greeted", "limit_s", "state"), [(False, 10.0, "starting"), (True, 20.0, "loading")])
def test_a_start_that_takes_too_long(greeted: bool, limit_s: float, state: str) -> None:
    one = table()
    one.start(0.0)
    if greeted:
        one.on_hello("w", 1, 0.0)
        for second in range(int(limit_s)):
            one.heartbeat("w", 1, float(second))  # it beats, but does not get on
    assert kills(one, limit_s - 0.1) == [] and one.next_deadline() is not None
    assert kills(one, limit_s) == [f"it was {state} for too long"]
    assert kills(one, limit_s + 1) == [], "once"
    one.on_exit("w", 1, "signal SIGKILL", limit_s + 1)
    assert worker(one).state == "broken"
    assert f"was still {state} after {limit_s:g} s" in failure(one).message


def test_missed_heartbeats() -> None:
    one = up()
    one.heartbeat("w", 1, 1.0)
    assert one.next_deadline() == 1.0 + SILENCE_S
    assert kills(one, 0.9 + SILENCE_S) == []
    assert kills(one, 1.0 + SILENCE_S) == ["no sign of life for 4 s"]
    assert not worker(one).has_room("generate"), "nothing is sent to the doomed"
    assert one.next_deadline() is None, "what comes next is its death"


def test_a_killed_worker_is_due_again() -> None:
    one = up()
    assert kills(one, SILENCE_S)
    one.on_exit("w", 1, "signal SIGKILL", 10.0)
    assert one.next_deadline() == 10.0 + L.restart_backoff_s
    assert one.start(10.0) == []
    assert one.start(10.0 + L.restart_backoff_s) == [SpawnWorker(worker="w", incarnation=2)]


def test_the_pause_doubles_to_its_limit_and_a_finished_task_ends_the_row() -> None:
    one = up()
    pauses, now = [], 0.0
    for _ in range(L.max_restarts):
        one.on_exit("w", worker(one).incarnation, "exit code 1", now)
        assert worker(one).state == "down" and isinstance(failure(one).error(), WorkerDied)
        due = worker(one).due
        assert due is not None
        pauses.append(due - now)
        now = due
        one.start(now)
        one.on_hello("w", worker(one).incarnation, now)
        one.on_ready("w", worker(one).incarnation, frozenset({"tone"}), {}, now)
    assert pauses == [0.5, 1.0, 2.0]
    hold(one, 1)
    assert one.release("w", worker(one).incarnation, 1, 1, now) is not None
    one.on_exit("w", worker(one).incarnation, "exit code 1", now)
    assert worker(one).due == now + 0.5


def come_up(one: WorkerTable, now: float) -> None:
    """The worker is started and ready at once."""
    assert one.start(now)
    one.on_hello("w", worker(one).incarnation, now)
    one.on_ready("w", worker(one).incarnation, frozenset({"tone"}), {}, now)


def crash(one: WorkerTable, now: float) -> float:
    """The worker dies; return the pause until its next start."""
    one.on_exit("w", worker(one).incarnation, "signal SIGSEGV", now)
    due = worker(one).due
    assert due is not None
    return due - now


def broken(now: float = 0.0) -> WorkerTable:
    """A table whose worker has crashed too often in a row."""
    one = up(now)
    for _ in range(L.max_restarts):
        come_up(one, now + crash(one, now))
    assert crash(one, now) == L.breaker_s and worker(one).state == "broken"
    return one


def test_too_many_crashes_in_a_row_open_the_breaker_and_a_probe_follows() -> None:
    one = broken()
    assert "SIGSEGV" in failure(one).message
    assert one.next_deadline() == L.breaker_s and one.start(L.breaker_s - 0.1) == []
    come_up(one, L.breaker_s)
    assert worker(one).condition == "half_open" and worker(one).has_room("generate")
    hold(one, 1)
    assert not worker(one).has_room("generate") and not worker(one).has_room("aux"), "one task at a time"
    one.release("w", worker(one).incarnation, 1, 1, 6.0)
    assert worker(one).condition == "ready" and worker(one).breaker == Breaker()
    hold(one, 2)
    assert worker(one).has_room("generate")
    assert crash(one, 10.0) == L.restart_backoff_s, "it begins anew"


def test_each_probe_that_fails_doubles_the_pause_to_its_bound() -> None:
    one, now, pauses = broken(), L.breaker_s, []
    for _ in range(8):
        come_up(one, now)
        pauses.append(crash(one, now))
        assert worker(one).state == "broken"
        now += pauses[-1]
    assert pauses == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0], "and it is never given up"


def test_an_end_at_what_ended_another_does_not_count() -> None:
    one = up()
    for _ in range(20):
        one.on_exit("w", worker(one).incarnation, "signal SIGSEGV", 0.0, counts=False)
        assert worker(one).state == "down" and worker(one).due == L.restart_backoff_s
        come_up(one, 1.0)


def test_a_worker_that_never_came_up_is_broken_at_once_with_its_reason() -> None:
    one = table()
    one.start(0.0)
    one.on_hello("w", 1, 0.0)
    one.on_load_failed("w", 1, Failure.of(EngineUnavailable("no torch")))
    one.on_exit("w", 1, "exit code 3", 1.0)
    assert worker(one).state == "broken" and failure(one).message == "no torch"

    one = table()
    one.start(0.0)
    one.on_exit("w", 1, "exit code 1; its last line: no module named numpy", 1.0)
    assert worker(one).state == "broken" and isinstance(failure(one).error(), WorkerStartFailed)
    assert "ended while starting: exit code 1; its last line: no module named numpy" in failure(one).message


def test_a_load_that_failed_is_tried_again_after_a_pause() -> None:
    one = up()
    one.on_exit("w", 1, "signal SIGKILL", 0.0)
    one.start(10.0)
    one.on_hello("w", 2, 10.0)
    one.on_load_failed("w", 2, Failure.of(EngineUnavailable("the disk is gone")))
    one.on_exit("w", 2, "exit code 3", 11.0)
    assert worker(one).state == "broken" and failure(one).message == "the disk is gone"
    assert worker(one).due == 11.0 + L.breaker_s
    come_up(one, 11.0 + L.breaker_s)
    assert worker(one).condition == "half_open" and worker(one).failure is None, "memory may be free again"


# -- tasks -----------------------------------------------------------------------------------------


def test_threads_have_their_own_credit() -> None:
    one = up(0.0, plan("w", credit=2, aux_credit=1))
    hold(one, 1)
    assert worker(one).has_room("generate") and worker(one).has_room("aux")
    hold(one, 2)
    assert not worker(one).has_room("generate") and worker(one).has_room("aux")
    hold(one, 3, thread="aux")
    assert not worker(one).has_room("aux")
    one.release("w", 1, 1, 1, 0.0)
    assert worker(one).has_room("generate") and not worker(one).has_room("aux")


def test_nothing_goes_behind_a_task_that_may_have_killed() -> None:
    one = up()
    hold(one, 1, attempt=2)
    assert not worker(one).has_room("generate") and worker(one).has_room("aux")


def test_a_task_is_released_once_and_by_its_own_attempt() -> None:
    one = up()
    hold(one, 1, attempt=2)
    assert one.release("w", 1, 1, 1, 0.0) is None
    assert one.release("w", 2, 1, 2, 0.0) is None
    assert one.release("stranger", 1, 1, 2, 0.0) is None
    held = one.release("w", 1, 1, 2, 0.0)
    assert held is not None and held.jobs == (1,)
    assert one.release("w", 1, 1, 2, 0.0) is None
    assert worker(one).tasks_done == 1


def test_a_tasks_clock_runs_from_when_it_came_first_on_its_thread() -> None:
    one = up()
    hold(one, 1, now=0.0)
    hold(one, 2, now=0.0)
    hold(one, 3, thread="aux", now=5.0)

    def late(now: float) -> list[int]:
        one.heartbeat("w", 1, now)
        return [held.task for _, held in one.overdue(now)[1]]

    one.heartbeat("w", 1, 20.0)
    assert late(L.task_timeout_s - 0.1) == []
    one.release("w", 1, 1, 1, 29.0)
    assert late(L.task_timeout_s + 1) == [], "the second began at 29 s"
    assert late(L.task_timeout_s + 5) == [3]
    assert late(29.0 + L.task_timeout_s) == [], "its worker is being killed already"


def test_the_dead_give_back_what_they_held_in_order() -> None:
    one = up()
    for task in (5, 3, 4):
        hold(one, task)
    assert [held.task for held in one.on_exit("w", 1, "x", 0.0)] == [5, 3, 4]
    assert one.on_exit("w", 1, "x", 0.0) == [], "a death counts once"


# -- the end ---------------------------------------------------------------------------------------


def test_stop_asks_the_ready_and_ends_the_rest() -> None:
    one = table(plan("ready"), plan("loading"), plan("starting"), plan("down"), plan("broken"))
    one.start(0.0)
    for name in ("ready", "loading", "down"):
        one.on_hello(name, 1, 0.0)
    for name in ("ready", "down"):
        one.on_ready(name, 1, frozenset(), {}, 0.0)
    one.on_exit("down", 1, "x", 0.0)
    one.on_exit("broken", 1, "x", 0.0)
    assert one.stop(0.0) == [
        StopWorker(worker="ready", incarnation=1),
        KillWorker(worker="loading", incarnation=1, why="the pool stops"),
        KillWorker(worker="starting", incarnation=1, why="the pool stops"),
    ]
    assert one.start(100.0) == [], "nobody is started any more"
    assert not one.gone
    for name in ("ready", "loading", "starting"):
        one.on_exit(name, 1, "exit code 0", 1.0)
    assert one.gone


def test_a_worker_that_will_not_stop_is_killed() -> None:
    one = up()
    one.stop(0.0)
    assert one.next_deadline() == L.term_timeout_s
    assert kills(one, L.term_timeout_s - 0.1) == []
    assert kills(one, L.term_timeout_s) == ["it was stopping for too long"]


def test_the_doomed_are_not_killed_again_by_a_stop() -> None:
    one = table()
    one.start(0.0)
    assert kills(one, L.hello_timeout_s)
    assert one.stop(L.hello_timeout_s) == []
    one.on_exit("w", 1, "signal SIGKILL", 11.0)
    assert one.gone


# -- what a heartbeat says of its threads ----------------------------------------------------------


def lane(task: int = 0, thread: Thread = "generate", grace_s: float = 0.0) -> LaneReport:
    return LaneReport(thread=thread, task=task, attempt=1 if task else 0, grace_s=grace_s)


def beat(one: WorkerTable, now: float, *lanes: LaneReport, known: Collection[int] = ()) -> list[int]:
    return [held.task for held in one.heartbeat("w", 1, now, lanes, frozenset(known))]


def cancel(one: WorkerTable, task: int, now: float) -> None:
    held = worker(one).tasks[task]
    held.cancelled, held.cancelled_at = True, now


def test_a_cancel_that_is_ignored_gets_the_worker_killed() -> None:
    one = up()
    hold(one, 1)
    cancel(one, 1, 1.0)
    assert one.next_deadline() == 1.0 + L.cancel_grace_s
    assert kills(one, 0.9 + L.cancel_grace_s) == []
    assert kills(one, 1.0 + L.cancel_grace_s) == ["a task went on for 1.0 s after its cancel"]
    assert worker(one).tasks[1].timed_out
    one.on_exit("w", 1, "signal SIGKILL", 3.0)
    assert worker(one).breaker.crashes == 0, "a caller's change of mind is no crash of the worker"


def test_an_engine_that_takes_long_steps_has_longer() -> None:
    one = up()
    hold(one, 1)
    cancel(one, 1, 1.0)
    beat(one, 1.1, lane(1, grace_s=3.5), lane(thread="aux"), known={1})
    assert kills(one, 4.4) == []
    assert kills(one, 4.5) == ["a task went on for 3.5 s after its cancel"]


def test_a_report_from_before_the_cancel_says_nothing_of_now() -> None:
    one = up()
    hold(one, 1)
    beat(one, 0.5, lane(1, grace_s=60.0), known={1})
    cancel(one, 1, 1.0)
    assert kills(one, 2.0), "no heartbeat since: it may hang with everything that runs beside it"


def test_what_has_not_begun_ignores_no_cancel() -> None:
    one = up()
    hold(one, 1)
    hold(one, 2)
    cancel(one, 2, 1.0)
    assert kills(one, 3.0) == [], "it is not at the head of its thread"
    cancel(one, 1, 3.0)
    beat(one, 3.1, lane(), lane(9, "aux"), known={1, 9})
    assert kills(one, 3.9) == [], "it waits behind another task, to be mastered"


def test_a_task_that_its_worker_does_not_know_is_lost_after_some_heartbeats() -> None:
    one = up()
    hold(one, 1)
    hold(one, 2)
    assert beat(one, 1.0, lane(), known={2}) == [], "it may be on its way"
    assert beat(one, 2.0, lane(), known={2}) == []
    assert beat(one, 3.9, lane(), known={2}) == []
    assert beat(one, 4.0, lane(), known={2}) == [1]
    assert set(worker(one).tasks) == {2}


def test_a_busy_thread_has_not_read_what_waits_for_it() -> None:
    one = up()
    hold(one, 1)
    hold(one, 2)
    for second in range(1, 30):
        assert beat(one, float(second), lane(1), known={1}) == []
    assert beat(one, 30.0, lane(2), known={2}) == [], "1 is answered, and the answer is on its way"


def test_heartbeats_that_tell_nothing_lose_nothing() -> None:
    one = up()
    hold(one, 1)
    assert all(beat(one, float(second)) == [] for second in range(1, 30))


def test_a_worker_that_sends_what_is_no_message_is_killed_once_and_at_once() -> None:
    one = up()
    hold(one, 1)
    assert one.on_misspoke("w", 9, "junk") == [] and one.on_misspoke("stranger", 1, "junk") == []
    (kill,) = one.on_misspoke("w", 1, "junk at `$.results`")
    assert isinstance(kill, KillWorker) and kill.at_once and "junk at `$.results`" in kill.why
    assert not worker(one).has_room("generate")
    assert one.on_misspoke("w", 1, "more junk") == []
    assert "junk at `$.results`" in one.why_killed("w", 1) and one.why_killed("w", 9) == ""
    assert [held.task for held in one.on_exit("w", 1, "signal SIGKILL", 1.0)] == [1]
    assert one.why_killed("w", 1) == ""


def test_an_encoder_that_cannot_be_loaded_is_a_failed_start_though_its_worker_worked_already() -> None:
    one = table()
    one.start(0.0)
    one.on_hello("w", 1, 0.0)
    one.on_ready("w", 1, frozenset({"tone"}), {}, 1.0, frozenset({"words"}))
    assert worker(one).ready and worker(one).awaits("words") and not worker(one).awaits("tone")
    one.on_load_failed("w", 1, Failure.of(EngineUnavailable("no weights")))
    assert not worker(one).ready, "it takes nothing more"
    one.on_exit("w", 1, "exit code 3", 2.0)
    assert worker(one).state == "broken" and "no weights" in failure(one).message


def test_what_was_coming_is_hosted_when_it_is_there() -> None:
    one = table()
    one.start(0.0)
    assert worker(one).awaits("words"), "what it will host is not known yet"
    one.on_hello("w", 1, 0.0)
    one.on_ready("w", 1, frozenset({"tone"}), {}, 1.0, frozenset({"words"}))
    one.on_ready("w", 1, frozenset({"tone", "words"}), {"tone": Batching()}, 2.0)
    assert worker(one).engines == {"tone", "words"} and not worker(one).awaits("words")
    one.on_ready("w", 1, frozenset(), {}, 3.0)  # nothing was coming any more
    assert worker(one).engines == {"tone", "words"}
