"""``[engines.NAME] concurrency``: so many at a time, and nobody idle for it: the whole scheduler on a fake clock."""

from __future__ import annotations

from tests.support.recipes import recipe
from tests.unit.scheduler_world import World, plan

from audio_pool.scheduler import events


def three(**concurrency: int) -> World:
    return World([plan(name, "tone hum") for name in "abc"], concurrency=concurrency).start()


def at_work(world: World) -> list[str]:
    """What each worker generates, by worker."""
    heads = [worker.head("generate") for worker in world.scheduler.workers.workers.values()]
    return ["" if head is None else head.kind.name for head in heads]


def test_a_bounded_engine_is_on_so_many_workers_and_its_next_wait_behind_it() -> None:
    """The world holds the scheduler to the bound after every event."""
    world = three(tone=2)
    for _ in range(8):
        world.submit(recipe=recipe("tone"))
    assert at_work(world) == ["tone", "tone", ""]
    assert [len(world.process(name).tasks) for name in "abc"] == [2, 2, 0]
    world.settle()
    assert all(reply.kind == "result" for reply in world.replies.values())


def test_the_rest_of_the_workers_do_what_is_not_bounded() -> None:
    world = three(tone=1)
    for _ in range(6):
        world.submit(recipe=recipe("tone"))
        world.submit(recipe=recipe("hum"))
    assert sorted(at_work(world)) == ["hum", "hum", "tone"]
    world.settle()
    assert all(reply.kind == "result" for reply in world.replies.values())


def test_a_flood_of_others_does_not_keep_a_bounded_engine_from_its_turns() -> None:
    world = World([plan("a", "tone hum"), plan("b", "tone hum")], concurrency={"tone": 1}).start()
    for _ in range(20):
        world.submit(recipe=recipe("hum"), client="flood")
    asked = world.submit(recipe=recipe("tone"), client="one")
    for _ in range(60):
        if asked not in world.replies:
            world.step()
    assert asked in world.replies and not world.scheduler.idle, "before the flood is over"


def test_one_that_waits_behind_another_engine_is_asked_back_for_a_worker_that_is_idle() -> None:
    """Else the bound would be used up by what nobody is at."""
    world = World([plan("a", "tone hum"), plan("b", "tone hum")], concurrency={"tone": 1}).start()
    for _ in range(2):
        world.submit(recipe=recipe("hum"))  # one on each
    first = world.submit(recipe=recipe("tone"))  # behind one of them
    second = world.submit(recipe=recipe("tone"))
    holder, other = ("a", "b") if len(world.process("a").tasks) == 2 else ("b", "a")
    process = world.process(other)
    world.finish(process, next(iter(process.tasks)))
    (waiting,) = world.recalled(world.process(holder))
    world.give_back(world.process(holder), waiting)
    assert at_work(world)["ab".index(other)] == "tone"
    world.settle()
    assert {world.replies[one].kind for one in (first, second)} == {"result"}


def test_a_bound_is_changed_while_jobs_run() -> None:
    world = three(tone=1)
    for _ in range(6):
        world.submit(recipe=recipe("tone"))
    assert at_work(world) == ["tone", "", ""]
    world.concurrency = {"tone": 3}
    world.feed(events.Reconfigure(limits=world.limits, queue=world.queue, concurrency={"tone": 3}))
    assert at_work(world) == ["tone", "tone", "tone"]
