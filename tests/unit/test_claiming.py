"""A sound that another pool on the same cache makes is waited for, and never for ever."""

from __future__ import annotations

from tests.support.recipes import recipe
from tests.unit.scheduler_world import World, hit, plan

from audio_pool.scheduler import events
from audio_pool.scheduler.actions import Claim, FindExact
from audio_pool.scheduler.answers import HitFile, RenderedHit
from audio_pool.scheduler.work import RenderWork

RAIN = recipe(prompt="rain")


def asks(world: World) -> int:
    return sum(isinstance(action, Claim) for action in world.actions)


def looks(world: World) -> int:
    return sum(isinstance(action, FindExact) for action in world.actions)


def test_whoever_gets_the_claim_looks_once_more_and_makes_the_sound() -> None:
    world = World([plan()]).start()
    request = world.submit(recipe=RAIN, claims=True)
    assert asks(world) == 1 and looks(world) == 2
    (task,) = world.process().tasks
    assert world.claiming
    world.finish(world.process(), task)
    (job,) = world.storing
    world.stored(job)
    assert world.replies[request].cache_type == "new_generation"
    assert not world.claiming, "the claim is held until the job is closed"


def test_a_sound_made_elsewhere_is_waited_for_and_then_a_hit() -> None:
    world = World([plan()]).start()
    world.elsewhere = {"rain"}
    request = world.submit(recipe=RAIN, claims=True)
    for _ in range(30):
        world.pass_time(0.1)
    assert not world.process().tasks and request not in world.replies
    assert 10 < asks(world) <= 31
    world.elsewhere = set()
    world.on_lookup = lambda _: hit()
    world.pass_time(0.1)
    reply = world.replies[request]
    assert isinstance(reply.value, HitFile) and not world.process().tasks
    assert not world.scheduler.jobs


def test_what_was_found_meanwhile_in_another_format_is_rendered() -> None:
    world = World([plan()]).start()
    found: list[HitFile | None] = [None, hit(rendered=False)]
    world.on_lookup = lambda _: found.pop(0)
    request = world.submit(recipe=RAIN, claims=True)
    (task,) = world.process().tasks
    assert isinstance(world.process().tasks[task].action.work, RenderWork)
    world.finish(world.process(), task)
    assert isinstance(world.replies[request].value, RenderedHit)


def test_nobody_waits_longer_than_allowed() -> None:
    world = World([plan()], claim_wait_s=5.0).start()
    world.elsewhere = {"rain"}
    world.submit(recipe=RAIN, claims=True)
    for _ in range(49):
        world.send_heartbeats()
        world.pass_time(0.1)
    assert not world.process().tasks
    world.pass_time(0.2)
    assert world.process().tasks, "made here, too"


def test_a_writer_that_does_not_answer_holds_nobody_up() -> None:
    world = World([plan()]).start()
    world.claims_answered = False
    world.submit(recipe=RAIN, claims=True)
    for _ in range(149):  # longer than a busy one has before it takes: else two heads with much to do make it twice
        world.send_heartbeats()
        world.pass_time(0.1)
    assert not world.process().tasks
    world.pass_time(0.2)
    assert world.process().tasks
    (job,) = world.scheduler.jobs
    world.feed(events.Claimed(job=job, mine=True))
    world.feed(events.Claimed(job=job, mine=False))  # late answers change nothing
    assert len(world.process().tasks) == 1 and asks(world) == 1


def test_a_request_that_waits_can_be_cancelled_joined_and_expire() -> None:
    world = World([plan()]).start()
    world.elsewhere = {"rain"}
    first = world.submit(recipe=RAIN, claims=True, join=1)
    second = world.submit(recipe=RAIN, claims=True, join=1, deadline=world.now + 1)
    assert len(world.scheduler.jobs) == 1
    (job,) = world.scheduler.jobs
    assert not world.scheduler.has_started(job)
    world.cancel(first)
    assert world.replies[first].kind == "cancelled"
    world.pass_time(1.1)
    assert world.replies[second].kind == "expired"
    world.pass_time(5)
    assert not world.scheduler.jobs and world.scheduler.sizes().deadlines == 0
