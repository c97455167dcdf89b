"""Answers in time: which rung answers, when what stands in begins, what becomes of the sound as it was asked for."""

from __future__ import annotations

import msgspec
from tests.support.recipes import recipe
from tests.unit.scheduler_world import World, hit, jobs_of, plan

from audio_pool.errors import EngineError, QualityError
from audio_pool.reports import CacheType
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import SendReply
from audio_pool.scheduler.answers import HitFile, StoredSound
from audio_pool.scheduler.work import GenerateWork

BUILT_IN = recipe(engine="hum")
"""What stands in: the world's "tone" is the slow engine, "hum" the quick one."""


def pass_time(one: World, seconds: float) -> None:
    """Time passes, and workers give signs of life."""
    until = one.now + seconds
    while until - one.now > 1e-9:
        one.pass_time(min(1.0, until - one.now))
        one.send_heartbeats()


def wait_for(one: World, worker: str, most_s: float = 30.0) -> None:
    """Until a worker has something in hand."""
    until = one.now + most_s
    while not tasks(one, worker):
        assert one.now < until, f"{worker} was never asked"
        pass_time(one, 0.05)


def world(*, credit: int = 1, **limits: int) -> World:
    return World([plan("gpu", "tone", credit=credit), plan("cpu", "hum", credit=credit)], **limits).start()


def found(cache_type: CacheType) -> HitFile:
    kept = hit(7)
    return msgspec.structs.replace(kept, metadata=msgspec.structs.replace(kept.metadata, cache_type=cache_type))


def looser() -> HitFile:
    return found("looser")


def tasks(one: World, worker: str) -> list[int]:
    return list(one.process(worker).tasks)


def finish(one: World, worker: str, after_s: float = 0.0, *, at: int = 0) -> None:
    """A worker finishes what it is at, and it is stored."""
    pass_time(one, after_s)
    task = tasks(one, worker)[at]
    jobs = jobs_of(one.process(worker).tasks[task].action.work)
    one.finish(one.process(worker), task)
    for job in jobs:
        if job in one.storing:
            one.stored(job)


def learn(one: World, engine: str, seconds: float, times: int = 20) -> None:
    """Sounds of an engine that each take about so long."""
    worker = {"tone": "gpu", "hum": "cpu"}[engine]
    for n in range(times):
        one.submit(recipe=recipe(engine=engine), lookup=False)
        finish(one, worker, seconds * (1 + 0.02 * (n % 5)))


def reply(one: World, request: int) -> SendReply:
    return one.replies[request]


def upgrade_of(one: World, request: int) -> SendReply | None:
    return one.replies.get(one.in_time[request].wanted.request)


def test_what_is_kept_answers_at_once() -> None:
    one = world()
    one.on_lookup = lambda _: hit()
    asked = one.ask_in_time(within_s=5.0, stand_in=BUILT_IN)
    assert reply(one, asked).rung == "exact" and reply(one, asked).upgrade == 0
    assert one.forgotten == {asked + 1, asked + 2} and not tasks(one, "cpu")


def test_what_is_near_by_the_usual_rules_answers_at_once_and_is_told_as_such() -> None:
    one = world()
    one.on_lookup = lambda _: found("semantic")
    asked = one.ask_in_time(within_s=5.0, stand_in=BUILT_IN)
    assert reply(one, asked).rung == "near" and reply(one, asked).upgrade == 0


def test_a_sound_that_is_there_in_time_is_the_answer() -> None:
    one = world()
    learn(one, "tone", 1.0)
    learn(one, "hum", 0.2)
    asked = one.ask_in_time(within_s=5.0, stand_in=BUILT_IN, upgrade=True)
    assert tasks(one, "gpu") and not tasks(one, "cpu"), "what stands in begins as late as may be"
    finish(one, "gpu", 1.0)
    assert reply(one, asked).rung == "made" and reply(one, asked).upgrade == 0
    assert not tasks(one, "cpu")


def test_the_built_in_engine_begins_in_time_and_answers_before_the_deadline() -> None:
    one = world()
    learn(one, "tone", 10.0)
    learn(one, "hum", 0.5)
    asked = one.ask_in_time(within_s=8.0, stand_in=BUILT_IN)
    begun = None
    for _ in range(160):
        pass_time(one, 0.05)
        if begun is None and tasks(one, "cpu"):
            begun = one.now
            until = one.in_time[asked].deadline
            assert until is not None and begun + 0.5 < until
        if tasks(one, "cpu") and begun is not None and one.now >= begun + 0.5:
            finish(one, "cpu")
        if asked in one.replies:
            break
    assert reply(one, asked).rung == "built_in"
    assert one.now <= until
    assert all(sent.cancelled for sent in one.process("gpu").tasks.values()), "nobody waits for the real one"


def test_a_request_under_way_by_both_of_its_parts_is_one() -> None:
    one = world()
    learn(one, "tone", 10.0)
    learn(one, "hum", 0.1)
    one.submit(recipe=recipe(), lookup=False)
    asked = one.ask_in_time(within_s=5.0, stand_in=BUILT_IN)
    assert one.scheduler.ladders.doubles == 1 and len(one.scheduler.requests) == 3
    wait_for(one, "cpu")
    finish(one, "cpu")
    assert reply(one, asked).rung == "built_in" and one.scheduler.ladders.doubles == 0


def test_what_is_not_known_is_begun_at_once() -> None:
    one = world()
    one.ask_in_time(within_s=60.0, stand_in=BUILT_IN)
    assert tasks(one, "gpu") and tasks(one, "cpu")


def test_a_looser_match_goes_before_the_built_in_engine_and_waits_for_what_is_better() -> None:
    one = world()
    one.on_looser = lambda _: looser()
    asked = one.ask_in_time(within_s=8.0, stand_in=BUILT_IN)
    assert not tasks(one, "cpu") and asked not in one.replies
    pass_time(one, 7.9)
    assert asked not in one.replies
    pass_time(one, 0.06)
    assert reply(one, asked).rung == "looser" and isinstance(reply(one, asked).value, HitFile)


def test_what_cannot_be_there_in_time_is_not_waited_for() -> None:
    one = world()
    learn(one, "tone", 10.0)
    one.on_looser = lambda _: looser()
    asked = one.ask_in_time(within_s=8.0, stand_in=BUILT_IN)
    assert reply(one, asked).rung == "looser", "the real one takes 10 s: who waits for it waits in vain"


def test_a_deadline_that_nothing_can_meet_is_told_at_once() -> None:
    one = world()
    learn(one, "tone", 10.0)
    learn(one, "hum", 0.5)
    asked = one.ask_in_time(within_s=0.2, stand_in=BUILT_IN)
    assert reply(one, asked).kind == "expired"
    nothing = one.ask_in_time(within_s=5.0, stand_in=None)
    assert reply(one, nothing).kind == "expired", "no built-in engine, no looser match"
    late = one.ask_in_time(within_s=-1.0, stand_in=BUILT_IN)
    assert reply(one, late).kind == "expired"
    assert one.scheduler.idle


def test_without_anything_by_the_deadline_it_expires() -> None:
    one = world()
    asked = one.ask_in_time(within_s=2.0, stand_in=BUILT_IN)
    pass_time(one, 2.0)
    assert reply(one, asked).kind == "expired"


def test_the_better_sound_is_made_on_and_announced_once() -> None:
    one = world()
    one.on_looser = lambda _: looser()
    asked = one.ask_in_time(within_s=1.0, stand_in=BUILT_IN, upgrade=True, events=True)
    pass_time(one, 1.0)
    first = reply(one, asked)
    assert first.rung == "looser" and first.upgrade == asked + 1 and upgrade_of(one, asked) is None
    finish(one, "gpu", 5.0)
    better = upgrade_of(one, asked)
    assert better is not None and better.kind == "result" and isinstance(better.value, StoredSound)
    assert one.scheduler.idle and one.scheduler.sizes().in_time == 0


def test_an_upgrade_can_be_cancelled_and_fail() -> None:
    one = world()
    one.on_looser = lambda _: looser()
    gone, failed = (one.ask_in_time(at_once=True, stand_in=BUILT_IN, upgrade=True) for _ in range(2))
    assert reply(one, gone).upgrade and reply(one, failed).upgrade
    one.cancel(gone + 1)
    assert one.replies[gone + 1].kind == "cancelled"
    one.finish(one.process("gpu"), tasks(one, "gpu")[0], error=EngineError("no"))
    one.finish(one.process("gpu"), tasks(one, "gpu")[0], error=EngineError("no"))
    assert one.replies[failed + 1].kind == "error"


def test_cancelling_the_request_ends_all_of_it() -> None:
    one = world()
    asked = one.ask_in_time(within_s=9.0, stand_in=BUILT_IN, upgrade=True)
    one.cancel(asked)
    assert reply(one, asked).kind == "cancelled" and asked + 1 not in one.replies
    assert all(sent.cancelled for name in ("gpu", "cpu") for sent in one.process(name).tasks.values())


def test_something_at_once_and_the_real_one_later() -> None:
    one = world()
    learn(one, "hum", 0.2)
    asked = one.ask_in_time(at_once=True, stand_in=BUILT_IN, upgrade=True)
    finish(one, "cpu", 0.2)
    assert reply(one, asked).rung == "built_in" and reply(one, asked).upgrade == asked + 1
    finish(one, "gpu", 20.0)
    better = upgrade_of(one, asked)
    assert better is not None and better.kind == "result"


def test_an_upgrade_lets_others_go_first() -> None:
    one = world()
    one.submit(recipe=recipe(engine="tone"))  # the worker is busy
    one.on_looser = lambda _: looser()
    one.ask_in_time(at_once=True, stand_in=BUILT_IN, upgrade=True, priority=0)
    later = one.submit(recipe=recipe(engine="tone"), priority=1)
    finish(one, "gpu", 1.0)
    finish(one, "gpu", 1.0)
    assert later in one.replies


def test_who_joins_an_upgrade_has_it_as_urgently_as_it_asked() -> None:
    one = world()
    one.submit(recipe=recipe(engine="tone"))
    one.on_looser = lambda _: looser()
    asked = one.ask_in_time(at_once=True, stand_in=BUILT_IN, upgrade=True, join=1)
    one.on_lookup = lambda _: None
    other = one.submit(recipe=recipe(), join=1, priority=0)
    one.cancel(asked + 1)
    finish(one, "gpu", 1.0)
    finish(one, "gpu", 1.0)
    assert reply(one, other).kind == "result" and one.replies[asked + 1].kind == "cancelled"


def test_each_of_several_who_join_gets_its_own_best() -> None:
    one = world()
    learn(one, "tone", 3.0)
    learn(one, "hum", 0.2)
    hasty = one.ask_in_time(within_s=1.0, stand_in=BUILT_IN, join=1)
    patient = one.ask_in_time(within_s=10.0, stand_in=BUILT_IN, join=1)
    assert len(tasks(one, "gpu")) == 1, "both wait for one job"
    wait_for(one, "cpu")
    finish(one, "cpu", 0.2)
    pass_time(one, 0.8)
    assert reply(one, hasty).rung == "built_in" and patient not in one.replies
    finish(one, "gpu", 2.0)
    assert reply(one, patient).rung == "made"


def test_a_sound_that_cannot_be_made_is_stood_in_for_and_the_answer_says_why() -> None:
    one = world()
    asked = one.ask_in_time(within_s=60.0, stand_in=BUILT_IN, upgrade=True)
    one.finish(one.process("gpu"), tasks(one, "gpu")[0], error=QualityError("hum"))
    while tasks(one, "gpu"):
        one.finish(one.process("gpu"), tasks(one, "gpu")[0], error=QualityError("hum"))
    assert asked not in one.replies
    finish(one, "cpu", 0.2)
    answer = reply(one, asked)
    assert answer.rung == "built_in" and answer.upgrade == 0
    assert any(one.startswith("not_as_asked: quality") for one in answer.warnings)


def test_where_neither_can_be_made_the_failure_is_that_of_the_sound_asked_for() -> None:
    one = world()
    asked = one.ask_in_time(within_s=60.0, stand_in=BUILT_IN)
    one.finish(one.process("cpu"), tasks(one, "cpu")[0], error=EngineError("nor this"))
    one.finish(one.process("gpu"), tasks(one, "gpu")[0], error=EngineError("not this"))
    assert reply(one, asked).failure is not None and "not this" in reply(one, asked).failure.message


def test_one_client_has_so_many_upgrades_at_a_time() -> None:
    one = world(max_upgrades_per_client=1)
    one.on_looser = lambda _: looser()
    first, second = (
        one.ask_in_time(at_once=True, stand_in=BUILT_IN, upgrade=True, client="a") for _ in range(2)
    )
    other = one.ask_in_time(at_once=True, stand_in=BUILT_IN, upgrade=True, client="b")
    assert reply(one, first).upgrade and reply(one, other).upgrade
    assert not reply(one, second).upgrade
    assert any(one.startswith("no_upgrade") for one in reply(one, second).warnings)


def test_the_built_in_engine_goes_before_what_waits_for_its_worker() -> None:
    one = world()
    for _ in range(4):
        one.submit(recipe=recipe(engine="hum"))
    asked = one.ask_in_time(within_s=30.0, stand_in=BUILT_IN)
    finish(one, "cpu", 1.0)
    work = one.process("cpu").tasks[tasks(one, "cpu")[0]].action.work
    assert isinstance(work, GenerateWork) and work.jobs[0].request == asked + 2


def test_a_drain_answers_with_what_is_at_hand() -> None:
    one = world()
    one.on_looser = lambda _: looser()
    asked = one.ask_in_time(within_s=60.0, stand_in=BUILT_IN)
    bare = one.ask_in_time(within_s=60.0, stand_in=None, looser=False)
    one.feed(events.Drain(deadline=one.now + 2.0))
    refused = one.ask_in_time(within_s=60.0, stand_in=BUILT_IN)
    assert reply(one, refused).kind == "error"
    pass_time(one, 2.0)
    assert reply(one, asked).rung == "looser"
    assert reply(one, bare).failure is not None and reply(one, bare).failure.code == "closed"


def test_a_full_queue_is_answered_by_what_is_kept_or_busy() -> None:
    one = world(max_requests=2)
    one.submit(recipe=recipe(engine="tone"))
    one.submit(recipe=recipe(engine="tone"))
    asked = one.ask_in_time(within_s=60.0, stand_in=BUILT_IN)
    assert reply(one, asked).kind == "busy"


def test_the_same_holds_as_the_built_in_engine_gets_slower_with_length() -> None:
    """What was learnt of short sounds is not what long ones take: the start comes earlier."""
    one = world()
    for n in range(24):
        seconds = (1.0, 2.0, 4.0)[n % 3]
        one.submit(recipe=recipe(engine="hum", frames=int(44_100 * seconds)), lookup=False)
        finish(one, "cpu", 0.1 * seconds)
    starts = []
    for seconds in (1.0, 30.0):
        long = recipe(engine="hum", frames=int(44_100 * seconds))
        asked = one.ask_in_time(within_s=20.0, stand_in=long)
        began = one.now
        wait_for(one, "cpu")
        starts.append(one.now - began)
        finish(one, "cpu", 0.1 * seconds)
        pass_time(one, 20.0)
        assert reply(one, asked).rung == "built_in"
        for task in tasks(one, "gpu"):
            one.finish(one.process("gpu"), task)
    assert starts[0] > starts[1] + 1.0
