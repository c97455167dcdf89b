"""The schedule on a fake clock, one promise a test. (Any order of events: test_schedule_properties.)"""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.schedule_world import WORKER_LIMITS, World, plan, recipe

from audio_pool.errors import (
    AudioPoolError,
    Busy,
    Cancelled,
    EngineError,
    EngineUnavailable,
    Expired,
    NotFound,
    PoolClosed,
    QualityError,
    StorageError,
    Timeout,
    WorkerDied,
    WorkerStartFailed,
)
from audio_pool.scheduler import events

L = WORKER_LIMITS


def world(**limits: Any) -> World:
    return World([plan("w", "tone hum")], {"w": "words ears"}, **limits).start()


def jobs(one: World, name: str = "w") -> list[events.SendJob]:
    """Those that the worker holds now, in order."""
    return [job.sent for job in one.process(name).jobs.values()]


def finish(one: World, name: str = "w", **more: Any) -> list[Any]:
    """The worker finishes its first job."""
    process = one.process(name)
    return one.finish(process, next(iter(process.jobs)), **more)


def keep(one: World) -> list[Any]:
    return one.keep(next(iter(one.keeping)))


def of(actions: list[Any], kind: Any) -> list[Any]:
    return [action for action in actions if isinstance(action, kind)]


def error(one: World, ticket: int) -> AudioPoolError:
    answer = one.answers[ticket]
    assert answer.error is not None
    return answer.error


# -- the way of one request ------------------------------------------------------------------------


def test_a_new_sound_is_looked_up_made_kept_and_answered() -> None:
    one = world()
    ticket = one.ask(events=True)
    assert [type(action).__name__ for action in one.actions[-3:]] == ["FindExact", "Notify", "SendJob"]
    (job,) = jobs(one)
    assert (job.kind, job.tickets, job.payloads, job.finish_here) == ("make", (ticket,), ({"round": 0},), True)
    one.pass_time(2.0)
    (kept,) = of(finish(one), events.Keep)
    assert kept.accepted and kept.sound["rounds"] == 1 and ticket not in one.answers, "not before the commit"
    keep(one)
    answer = one.answers[ticket]
    assert answer.kind == "result" and answer.cache_type == "new_generation"
    assert answer.times_ms["total"] == 2000.0 and answer.times_ms["queue"] == 0.0
    one.check_nothing_is_left()


def test_a_hit_needs_no_worker() -> None:
    one = World([plan("w")])
    one.on_lookup = lambda _: {"hit": "a hit"}
    ticket = one.ask(events=True)
    assert one.answers[ticket].value == "a hit" and one.answers[ticket].cache_type == ""
    assert not one.notices, "a hit is not accepted first: it is answered"
    one.check_nothing_is_left()


def test_a_hit_of_another_format_is_rendered_by_a_master() -> None:
    one = World([plan("maker", roles="generate"), plan("master", "", "master")]).start()
    one.on_lookup = lambda _: {"hit": "a hit", "render": "ogg"}
    ticket = one.ask()
    (job,) = jobs(one, "master")
    assert job.kind == "render" and job.payloads == ({"hit": "a hit", "render": "ogg"},)
    finish(one, "master")
    value = one.answers[ticket].value
    assert value["hit"] == "a hit" and value["outcome"]["path"] == "/somewhere"
    one.check_nothing_is_left()


def test_a_cache_that_cannot_be_read_is_told_and_no_more() -> None:
    one = world()
    one.on_lookup = lambda _: {"warning": "cache_unreadable: torn"}
    ticket = one.ask()
    finish(one)
    keep(one)
    assert one.answers[ticket].warnings == ("cache_unreadable: torn",)
    assert one.answers[ticket].times_ms["lookup"] == 0.0


def test_without_look_up_nothing_is_looked_up() -> None:
    one = world()
    one.ask(lookup=False)
    assert not of(one.actions, events.FindExact) and [job.kind for job in jobs(one)] == ["make"]


def test_a_maker_hands_over_to_a_master() -> None:
    one = World([plan("maker", roles="generate"), plan("master", "", "master")]).start()
    ticket = one.ask()
    assert not jobs(one, "maker")[0].finish_here
    finish(one, "maker")
    (job,) = jobs(one, "master")
    assert job.kind == "finish" and job.payloads[0]["candidates"]
    (kept,) = of(finish(one, "master"), events.Keep)
    assert kept.work == job.works[0]
    keep(one)
    assert one.answers[ticket].kind == "result"
    one.check_nothing_is_left()


# -- look-up by meaning ----------------------------------------------------------------------------


def test_vectors_are_asked_for_one_encoder_after_the_other() -> None:
    one = world()
    lookups: list[Any] = []
    one.on_lookup = lambda action: lookups.append(action) or {}
    ticket = one.ask(encoders=("words", "ears"))
    assert [(job.kind, job.payloads) for job in jobs(one)] == [("embed", (["ears"],))]
    finish(one)
    assert [(job.kind, job.payloads) for job in jobs(one)] == [("embed", (["words"],))]
    finish(one)
    assert isinstance(lookups[-1], events.FindNear) and set(lookups[-1].vectors) == {"words", "ears"}
    for _ in range(6):  # past the time that the vectors had
        one.beat()
        one.pass_time(1.0)
    assert [job.kind for job in jobs(one)] == ["make"]
    (kept,) = of(finish(one), events.Keep)
    assert set(kept.vectors) == {"words", "ears"}, "the store wants them too"
    keep(one)
    assert one.answers[ticket].warnings == ()


def test_a_hit_by_meaning_is_answered() -> None:
    one = world()
    one.on_lookup = lambda action: {"hit": "near"} if isinstance(action, events.FindNear) else {}
    ticket = one.ask(encoders=("words",))
    finish(one)
    assert one.answers[ticket].value == "near"
    one.check_nothing_is_left()


@pytest.mark.parametrize(("lookup", "near"), [(False, True), (True, False)])
def test_vectors_wanted_for_the_store_alone(lookup: bool, near: bool) -> None:
    one = world()
    one.ask(encoders=("words",), lookup=lookup, near=near)
    finish(one)
    assert not of(one.actions, events.FindNear) and [job.kind for job in jobs(one)] == ["make"]


def test_a_slow_vector_is_a_miss_with_a_warning() -> None:
    one = world(embed_timeout_s=3.0)
    ticket = one.ask(encoders=("words",))
    assert one.schedule.next_deadline() == one.now + 3.0
    one.pass_time(3.0)
    assert [job.kind for job in jobs(one)] == ["embed", "make"]
    finish(one)  # the vector, too late
    assert not of(one.actions, events.FindNear)
    finish(one)
    keep(one)
    assert one.answers[ticket].warnings == ("semantic_timeout: no text vector within 3 s",)
    one.check_nothing_is_left()


def test_an_encoder_that_fails_costs_its_vector_alone() -> None:
    one = world()
    ticket = one.ask(encoders=("words", "ears"))
    one.fail(one.process(), jobs(one)[0].job, EngineError("no ears today"))
    assert jobs(one)[0].payloads == (["words"],), "the other one is asked"
    finish(one)
    assert set(of(one.actions, events.FindNear)[0].vectors) == {"words"}
    finish(one)
    keep(one)
    assert one.answers[ticket].warnings == ("semantic_failed: no ears today",)


def test_an_encoder_that_nobody_hosts_is_told() -> None:
    one = world()
    ticket = one.ask(encoders=("absent",))
    assert [job.kind for job in jobs(one)] == ["make"]
    finish(one)
    keep(one)
    assert one.answers[ticket].warnings == ("semantic_unavailable: no worker that hosts 'absent' is ready",)


# -- joins -----------------------------------------------------------------------------------------


def test_equal_requests_join_and_share_one_sound() -> None:
    one = world()
    first = one.ask(join_key="k")
    second = one.ask(join_key="k", events=True)
    other = one.ask(join_key="l")
    assert one.notices[-1].ticket == second and one.notices[-1].body["joined"] is True
    assert [job.tickets for job in jobs(one)] == [(first,), (other,)]
    finish(one)
    third = one.ask(join_key="k")  # it is being kept just now
    keep(one)
    assert [one.answers[ticket].cache_type for ticket in (first, second, third)] == [
        "new_generation", "joined", "joined",
    ]  # fmt: skip
    assert len({one.answers[ticket].value for ticket in (first, second, third)}) == 1
    assert other not in one.answers


def test_after_its_end_nothing_joins_a_work() -> None:
    one = world()
    first = one.ask(join_key="k")
    one.cancel(first)
    one.ask(join_key="k")
    assert len(jobs(one)) == 2 and jobs(one)[0].works != jobs(one)[1].works


def test_no_key_joins_nothing() -> None:
    one = world()
    one.ask()
    one.ask()
    assert len(jobs(one)) == 2


def test_an_urgent_caller_lifts_what_it_joins() -> None:
    one = world()
    for _ in range(2):
        one.ask()
    one.ask(priority=1, join_key="early")
    one.ask(priority=2, join_key="k")
    ticket = one.ask(priority=0, join_key="k")
    finish(one)
    assert ticket not in jobs(one)[-1].tickets and jobs(one)[-1].tickets == (4,), "first ticket of the lifted work"


def test_one_of_two_callers_leaves() -> None:
    one = world()
    first, second = one.ask(join_key="k"), one.ask(join_key="k")
    assert not of(one.cancel(first), events.SendCancel)
    finish(one)
    keep(one)
    assert one.answers[first].kind == "cancelled" and one.answers[second].kind == "result"


# -- order, credit, batches ------------------------------------------------------------------------


def test_credit_limits_what_a_worker_holds() -> None:
    one = World([plan("w", credit=3)]).start()
    tickets = [one.ask() for _ in range(5)]
    assert [job.tickets[0] for job in jobs(one)] == tickets[:3]
    finish(one)
    assert [job.tickets[0] for job in jobs(one)] == tickets[1:4]


def test_priorities_and_their_ageing() -> None:
    one = World([plan("w", credit=1)], ageing_s=1.0).start()
    one.ask()  # is in hand
    background = one.ask(priority=2)
    one.now += 1.5
    normal = one.ask(priority=1)
    one.now += 0.1
    interactive = one.ask(priority=0)
    order = []
    for _ in range(4):
        order.append(jobs(one)[0].tickets[0])
        finish(one)
    assert order[1:] == [interactive, background, normal], "1.5 s lift it over the next priority, not over two"


def test_the_least_loaded_worker_gets_the_next() -> None:
    one = World([plan("a"), plan("b")]).start()
    for _ in range(4):
        one.ask()
    assert len(jobs(one, "a")) == len(jobs(one, "b")) == 2


def test_a_worker_gets_what_it_can_do() -> None:
    one = World([plan("a", "tone"), plan("b", "hum"), plan("c", "tone", "master")]).start()
    one.ask(recipe=recipe("hum"))
    assert (len(jobs(one, "a")), len(jobs(one, "b")), len(jobs(one, "c"))) == (0, 1, 0)
    one.ask(recipe=recipe("tone"))
    assert (len(jobs(one, "a")), len(jobs(one, "c"))) == (1, 0), "c hosts it, but does not make"


def batching(**limits: Any) -> World:
    one = World([plan("w", "tone hum", credit=1)], **limits)
    one.batching = frozenset({"tone"})
    return one.start()


def test_what_waits_and_fits_goes_in_one_batch() -> None:
    one = batching(max_batch=4)
    one.ask()
    waiting = [
        one.ask(recipe=recipe(steps=8)),
        one.ask(recipe=recipe(steps=8, candidates=2)),
        one.ask(recipe=recipe(steps=8, candidates=2)),
    ]
    other_steps = one.ask(recipe=recipe(steps=20))
    finish(one)
    assert jobs(one)[0].tickets == tuple(waiting[:2]), "1 + 2 candidates; two more would be five"
    finish(one)
    assert jobs(one)[0].tickets == (waiting[2],), "other steps do not fit"
    finish(one)
    assert jobs(one)[0].tickets == (other_steps,)


def test_an_engine_without_batches_gets_one_at_a_time() -> None:
    one = batching()
    for _ in range(3):
        one.ask(recipe=recipe("hum"))
    finish(one)
    assert len(jobs(one)[0].works) == 1


def test_a_batch_that_fails_is_tried_one_by_one() -> None:
    one = batching(max_batch=4)
    one.ask()
    pair = [one.ask(), one.ask()]
    finish(one)
    assert jobs(one)[0].tickets == tuple(pair)
    one.fail(one.process(), jobs(one)[0].job, EngineError("one of them"))
    assert jobs(one)[0].tickets == (pair[0],) and jobs(one)[0].attempt == 2
    one.fail(one.process(), jobs(one)[0].job, EngineError("this one"))
    assert str(error(one, pair[0])) == "this one"
    finish(one)
    assert pair[1] not in one.answers
    one.settle()
    assert one.answers[pair[1]].kind == "result"


def test_parts_of_a_batch_have_fates_of_their_own() -> None:
    one = batching(max_batch=4)
    one.ask()
    bad, good = one.ask(), one.ask()
    finish(one)
    process, sent = one.process(), jobs(one)[0]
    process.jobs.clear()
    parts = {
        sent.works[0]: {"error": {"code": "not_supported", "message": "too long"}},
        sent.works[1]: one.outcome("sound"),
    }
    one.feed(events.JobDone(worker="w", incarnation=1, job=sent.job, attempt=1, parts=parts))
    assert error(one, bad).code == "not_supported"
    one.keep(sent.works[1])
    assert one.answers[good].kind == "result"


# -- rounds ----------------------------------------------------------------------------------------


def test_rounds_of_fresh_seeds_until_one_is_good_enough() -> None:
    one = world()
    ticket = one.ask(max_rounds=3)
    finish(one, accepted=False, score=0.1)
    assert jobs(one)[0].payloads == ({"round": 1},)
    (kept,) = of(finish(one), events.Keep)
    assert kept.accepted and kept.sound["rounds"] == 2 and len(kept.sound["tried"]) == 2
    keep(one)
    assert one.answers[ticket].kind == "result"
    one.check_nothing_is_left()


def test_the_best_of_all_rounds_is_delivered_where_none_is_good_enough() -> None:
    one = world()
    one.ask(max_rounds=3)
    finish(one, accepted=False, score=0.1)
    finish(one, accepted=False, score=0.3)
    (kept,) = of(finish(one, accepted=False, score=0.2), events.Keep)
    assert not kept.accepted and kept.sound["score"] == 0.3 and kept.sound["rounds"] == 3
    keep(one)
    one.check_nothing_is_left()


def test_a_failed_gate_is_a_round_and_the_last_word_if_nothing_else_came() -> None:
    one = world()
    ticket = one.ask(max_rounds=2)
    finish(one, error=QualityError("silence"))
    assert jobs(one)[0].payloads == ({"round": 1},)
    finish(one, error=QualityError("noise"))
    assert isinstance(error(one, ticket), QualityError) and str(error(one, ticket)) == "noise"

    ticket = one.ask(max_rounds=2)
    finish(one, accepted=False, score=0.1)
    (kept,) = of(finish(one, error=QualityError("noise")), events.Keep)
    assert kept.sound["score"] == 0.1, "the earlier round's passed the gate"


def test_rounds_go_through_a_hand_over_too() -> None:
    one = World([plan("maker", roles="generate"), plan("master", "", "master")]).start()
    ticket = one.ask(max_rounds=3)
    finish(one, "maker")
    finish(one, "master", accepted=False, score=0.1)
    assert [(job.kind, job.payloads) for job in jobs(one, "maker")] == [("make", ({"round": 1},))]
    finish(one, "maker")
    finish(one, "master", error=QualityError("silence"), tried=["a silence"])
    assert [(job.kind, job.payloads) for job in jobs(one, "maker")] == [("make", ({"round": 2},))]
    assert not jobs(one, "master") and list(one.fates.values()).count("given") == 1, "only the best so far is held"
    finish(one, "maker")
    (kept,) = of(finish(one, "master", accepted=False, score=0.3), events.Keep)
    assert kept.sound["score"] == 0.3 and len(kept.sound["tried"]) == 3 and "a silence" in kept.sound["tried"]
    keep(one)
    assert one.answers[ticket].kind == "result"
    one.check_nothing_is_left()


def test_other_errors_end_it_at_once() -> None:
    one = world()
    ticket = one.ask(max_rounds=3)
    finish(one, error=EngineError("broken"))
    assert str(error(one, ticket)) == "broken" and not jobs(one)


def test_a_sound_that_cannot_be_kept_is_an_error() -> None:
    one = world()
    ticket = one.ask()
    finish(one)
    one.keep(next(iter(one.keeping)), StorageError("the disk is full"))
    assert isinstance(error(one, ticket), StorageError)
    one.check_nothing_is_left()


# -- deaths ----------------------------------------------------------------------------------------


def test_a_job_of_a_dead_worker_is_tried_again_elsewhere_at_once() -> None:
    one = World([plan("a"), plan("b")]).start()
    ticket = one.ask()
    one.die(one.process("a"))
    (job,) = jobs(one, "b")
    assert job.tickets == (ticket,) and job.attempt == 2


def test_what_the_dead_had_said_comes_too_late() -> None:
    one = World([plan("a"), plan("b")]).start()
    ticket = one.ask()
    dead = one.process("a")
    one.die(dead)
    (discarded,) = one.finish(dead, next(iter(dead.jobs)))
    assert isinstance(discarded, events.Discard) and ticket not in one.answers
    finish(one, "b")
    keep(one)
    assert one.answers[ticket].kind == "result"
    one.check_nothing_is_left()


def test_a_job_that_kills_again_and_again_is_given_up() -> None:
    one = world(max_attempts=3)
    ticket = one.ask()
    for attempt in range(3):
        assert ticket not in one.answers and jobs(one)[0].attempt == attempt + 1
        one.die(one.process(), "signal SIGSEGV")
        one.pass_time(10.0)
        if attempt < 2:
            one.say_hello(one.process())
            one.get_ready(one.process())
    assert isinstance(error(one, ticket), WorkerDied)
    assert "signal SIGSEGV (tried 3 times)" in str(error(one, ticket))


def test_what_waited_behind_a_killer_is_not_to_blame() -> None:
    one = World([plan("w", credit=3)], max_attempts=2).start()
    killer, *behind = (one.ask() for _ in range(3))
    for _ in range(2):
        assert jobs(one)[0].tickets == (killer,)
        one.die(one.process())
        one.pass_time(10.0)
        one.say_hello(one.process())
        one.get_ready(one.process())
    assert isinstance(error(one, killer), WorkerDied)
    assert [job.attempt for job in jobs(one)] == [1, 1] and not set(behind) & set(one.answers)


def test_nothing_is_sent_behind_a_second_try() -> None:
    one = World([plan("w", credit=3)]).start()
    one.ask()
    one.ask()
    one.die(one.process())
    one.pass_time(10.0)
    one.say_hello(one.process())
    one.get_ready(one.process())
    assert [job.attempt for job in jobs(one)] == [2]
    finish(one)
    assert [job.attempt for job in jobs(one)] == [1]


def test_a_masters_death_makes_the_sound_anew() -> None:
    """The hand-over's slots died with their reader."""
    one = World([plan("maker", roles="generate"), plan("master", "", "master"), plan("other", "", "master")]).start()
    ticket = one.ask()
    finish(one, "maker")
    holder = "master" if jobs(one, "master") else "other"
    actions = one.die(one.process(holder))
    assert of(actions, events.Discard) and [job.kind for job in of(actions, events.SendJob)] == ["make"]
    finish(one, "maker")
    one.settle()
    assert one.answers[ticket].kind == "result"
    one.check_nothing_is_left()


def test_a_killed_worker_comes_back_without_anybodys_help() -> None:
    one = world()
    ticket = one.ask()
    one.pass_time(L.heartbeat_s * L.missed_heartbeats)  # not a word
    assert one.process().doomed
    one.die(one.process())
    deadline = one.schedule.next_deadline()
    assert deadline is not None
    one.pass_time(deadline - one.now)
    assert one.process().incarnation == 2
    one.settle()
    assert one.answers[ticket].kind == "result"


@pytest.mark.parametrize("how", ["waiting", "asked after", "handed over", "an errand"])
def test_nobody_waits_for_a_worker_that_will_never_come(how: str) -> None:
    one = World([plan("maker", roles="generate"), plan("master", "", "master")])
    one.feed(events.Tick())
    one.say_hello(one.process("maker"))
    one.get_ready(one.process("maker"))
    master = one.process("master")
    one.say_hello(master)

    def fail() -> None:
        failed = WorkerStartFailed("no soxr")
        one.feed(events.LoadFailed(worker="master", incarnation=1, error=failed))
        one.die(master, "exit code 3")

    match how:
        case "waiting":
            one.on_lookup = lambda _: {"hit": "a hit", "render": "ogg"}
            ticket = one.ask()
            assert ticket not in one.answers
            fail()
        case "asked after":
            fail()
            one.on_lookup = lambda _: {"hit": "a hit", "render": "ogg"}
            ticket = one.ask()
        case "handed over":
            fail()
            ticket = one.ask()
            finish(one, "maker")
        case _:
            fail()
            ticket = one.errand(worker="master")
    assert str(error(one, ticket)) == "no soxr"
    one.check_nothing_is_left()


def test_errands_that_nobody_can_do_are_refused_with_the_nearest_name() -> None:
    one = world()
    with_worker, with_engine = one.errand(worker="v"), one.errand(kind="clap", engine="absent")
    assert isinstance(error(one, with_worker), NotFound)
    assert str(error(one, with_worker)) == "no worker of this pool is named 'v'; there are: w"
    assert isinstance(error(one, with_engine), EngineUnavailable)
    assert "no worker hosts engine 'absent'" in str(error(one, with_engine))
    assert one.answers[one.ask(recipe=recipe("absent"))].kind == "error"


def test_what_a_worker_hosts_is_known_when_it_is_ready() -> None:
    one = World([plan("w")], {"w": "words"})
    one.feed(events.Tick())
    able, unable = one.errand(kind="clap", engine="words"), one.errand(kind="clap", engine="ears")
    one.say_hello(one.process())
    assert not one.answers
    one.get_ready(one.process())
    assert [job.tickets for job in jobs(one)] == [(able,)]
    assert isinstance(error(one, unable), EngineUnavailable)


def test_before_a_worker_is_ready_one_waits_for_it() -> None:
    one = World([plan("w")])
    one.feed(events.Tick())
    ticket = one.ask()
    one.pass_time(1.0)
    one.say_hello(one.process())
    assert ticket not in one.answers and not jobs(one)
    one.get_ready(one.process())
    assert [job.tickets for job in jobs(one)] == [(ticket,)]


# -- time ------------------------------------------------------------------------------------------


def test_a_job_that_takes_too_long_is_answered_and_its_worker_killed() -> None:
    one = world()
    ticket, behind = one.ask(), one.ask()
    for _ in range(int(L.task_timeout_s)):
        one.beat()
        actions = one.pass_time(1.0)
    assert isinstance(error(one, ticket), Timeout) and "took over 30 s" in str(error(one, ticket))
    assert [kill.why for kill in of(actions, events.Kill)] == ["a job took over 30 s"]
    assert behind not in one.answers
    one.settle()
    assert one.answers[behind].kind == "result"


@pytest.mark.parametrize("stage", ["waiting for a worker", "embed", "make", "finish", "render"])
@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_a_caller_leaves_in_any_stage(stage: str, how: str) -> None:
    one = World([plan("maker", roles="generate"), plan("master", "", "master embed")], {"master": "words"})
    if stage != "waiting for a worker":
        one.start()
    if stage == "render":
        one.on_lookup = lambda _: {"hit": "a hit", "render": "ogg"}
    ticket = one.ask(encoders=("words",) if stage == "embed" else (), deadline=one.now + 2.0)
    if stage == "finish":
        finish(one, "maker")
    held = [(name, job) for name in ("maker", "master") for job in (jobs(one, name) if one.processes else [])]
    assert [job.kind for _, job in held] == ([] if stage == "waiting for a worker" else [stage])
    actions = one.pass_time(2.0) if how == "deadline" else one.cancel(ticket)
    assert isinstance(error(one, ticket), Expired if how == "deadline" else Cancelled)
    assert [(cancel.worker, cancel.job) for cancel in of(actions, events.SendCancel)] == [
        (name, job.job) for name, job in held
    ]
    for name, job in held:  # it may have finished all the same
        one.finish(one.process(name), job.job)
    one.check_nothing_is_left()


def test_a_sound_that_is_being_kept_is_kept_though_its_caller_left() -> None:
    one = world()
    ticket = one.ask()
    finish(one)
    assert not of(one.cancel(ticket), events.Discard)
    keep(one)
    one.check_nothing_is_left()


def test_a_batch_goes_on_for_those_who_stay() -> None:
    one = batching(max_batch=4)
    one.ask()
    first, second = one.ask(), one.ask()
    finish(one)
    assert not of(one.cancel(first), events.SendCancel)
    assert len(of(one.cancel(second), events.SendCancel)) == 1


def test_deadlines_of_the_answered_do_not_pile_up() -> None:
    one = world()
    one.on_lookup = lambda _: {"hit": "a hit"}
    for number in range(2000):
        one.ask(deadline=one.now + 80_000 - number)
    one.on_lookup = lambda _: {}
    soon = one.ask(deadline=one.now + 5.0)
    assert len(one.schedule._deadlines) < 200
    one.pass_time(5.0)
    assert isinstance(error(one, soon), Expired)


def test_the_next_deadline_is_the_nearest_of_all() -> None:
    one = World([plan("w")])
    one.feed(events.Tick())
    assert one.schedule.next_deadline() == one.now + L.hello_timeout_s
    first, second = one.ask(deadline=one.now + 3.0), one.ask(deadline=one.now + 2.0)
    assert one.schedule.next_deadline() == one.now + 2.0
    one.cancel(second)
    assert one.schedule.next_deadline() == one.now + 3.0
    one.cancel(first)
    assert one.schedule.next_deadline() == one.now + L.hello_timeout_s
    one.ask()
    one.feed(events.Drain(deadline=one.now + 1.0))
    assert one.schedule.next_deadline() == one.now + 1.0


def test_a_deadline_that_has_passed_on_arrival() -> None:
    one = world()
    ticket = one.ask(deadline=one.now)
    assert isinstance(error(one, ticket), Expired) and not jobs(one)


def test_a_cancel_for_nobody() -> None:
    one = world()
    assert one.cancel(99) == []
    ticket = one.ask()
    one.settle()
    assert one.cancel(ticket) == []


# -- limits ----------------------------------------------------------------------------------------


def test_a_full_queue_turns_away_and_says_when() -> None:
    one = World([plan("w", credit=1)], max_requests=4).start()
    for _ in range(40):  # three seconds a job is what it learns
        one.ask()
        one.pass_time(3.0)
        finish(one)
        keep(one)
    for _ in range(4):
        one.ask()
    ticket = one.ask()
    full = error(one, ticket)
    assert one.answers[ticket].kind == "busy" and isinstance(full, Busy)
    assert "allowed are 4" in str(full)
    assert 2_900 <= full.retry_after_ms <= 3_100, "about one job"
    finish(one)
    keep(one)
    assert one.ask() not in one.answers, "there is room again"


def test_hits_are_answered_though_the_queue_is_full() -> None:
    one = World([plan("w")], max_requests=2).start()
    one.ask()
    one.ask(join_key="k")
    one.on_lookup = lambda _: {"hit": "a hit"}
    assert one.answers[one.ask()].kind == "result"
    one.on_lookup = lambda _: {}
    assert one.answers[one.ask(join_key="k")].kind == "busy", "who joins waits, too"
    assert one.answers[one.errand()].kind == "busy"


def test_bytes_are_limited_too() -> None:
    one = World([plan("w")], max_bytes=1000).start()
    first = one.ask(size_bytes=900)
    assert one.answers[one.ask(size_bytes=200)].kind == "busy"
    assert one.ask(size_bytes=100) not in one.answers
    one.cancel(first)
    assert one.ask(size_bytes=800) not in one.answers


# -- events and the end ----------------------------------------------------------------------------


def test_events_go_to_those_who_want_them() -> None:
    one = world()
    loud, quiet = one.ask(join_key="k", events=True), one.ask(join_key="k")
    job = jobs(one)[0]
    said = events.JobProgress(worker="w", incarnation=1, job=job.job, attempt=1, body={"done": 1})
    assert [notify.ticket for notify in of(one.feed(said), events.Notify)] == [loud]
    late = events.JobProgress(worker="w", incarnation=1, job=job.job, attempt=2, body={"done": 1})
    assert not of(one.feed(late), events.Notify)
    assert quiet not in {notice.ticket for notice in one.notices}
    assert [notice.type for notice in one.notices] == ["accepted", "progress"]


def test_a_caller_hears_how_many_go_before_it() -> None:
    one = World([plan("w", "tone hum", credit=1)], {"w": "words"}).start()
    in_hand = one.ask(events=True, join_key="k")
    normal = [one.ask(events=True) for _ in range(3)]
    urgent = one.ask(events=True, priority=0)
    of_another = one.ask(events=True, recipe=recipe("hum"))
    looked_up = one.ask(events=True, encoders=("words",))
    joins = one.ask(events=True, join_key="k")
    told = {notice.ticket: notice.body["queue_position"] for notice in one.notices}
    assert [told[ticket] for ticket in (*normal, looked_up)] == [0, 1, 2, 4]
    assert [told[ticket] for ticket in (in_hand, urgent, of_another, joins)] == [0, 0, 0, 0]


def test_what_waits_on_a_worker_behind_another_has_not_begun() -> None:
    one = World([plan("w", "tone", credit=2)], {"w": "words"}).start()
    works = [one.schedule.tickets[one.ask()].work for _ in range(3)]
    assert len(jobs(one)) == 2
    looked_up = one.schedule.tickets[one.ask(encoders=("words",))].work
    assert [one.schedule.begun(work) for work in (*works, looked_up)] == [True, False, False, False]
    finish(one)
    assert [one.schedule.begun(work) for work in works] == [True, True, False], "the first is being kept"


def test_a_drain_finishes_what_is_here_and_takes_nothing_new() -> None:
    one = world()
    ticket = one.ask()
    one.feed(events.Drain(deadline=one.now + 10.0))
    assert isinstance(error(one, one.ask()), PoolClosed) and isinstance(error(one, one.errand()), PoolClosed)
    finish(one)
    assert not one.process().stopping
    keep(one)
    assert one.answers[ticket].kind == "result" and one.process().stopping
    one.stop()
    one.check_nothing_is_left()


def test_a_drain_ends_in_time() -> None:
    one = world()
    tickets = [one.ask() for _ in range(4)]
    one.feed(events.Drain(deadline=one.now + 3.0))
    one.pass_time(3.0)
    assert all(isinstance(error(one, ticket), PoolClosed) for ticket in tickets)
    assert one.process().stopping
    deadline = one.schedule.next_deadline()
    assert deadline is not None and deadline > one.now, "the loop does not spin while the workers end"
    one.stop()


def test_errands_run_beside_sounds() -> None:
    one = world()
    for _ in range(3):
        one.ask()
    ticket = one.errand(payload=b"hello")
    job = jobs(one)[-1]
    assert (job.kind, job.payloads) == ("echo", (b"hello",)), "the quick lane does not wait for the other"
    one.finish(one.process(), job.job)
    assert one.answers[ticket].value == {"payload": b"hello"}
