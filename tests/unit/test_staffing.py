"""Devices lent and returned, workers added, drained and removed while jobs run: the whole scheduler on a fake clock."""

from __future__ import annotations

import pytest
from tests.support.recipes import recipe
from tests.unit.scheduler_world import World, jobs_of, plan

from audio_pool.config import MemoryConfig
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import (
    KillWorker,
    RecallTask,
    SendProgress,
    SendTask,
    SpawnWorker,
    StopWorker,
    TellWorker,
)


def two(**limits: object) -> World:
    """Two alike, each on a device of its own."""
    return World([plan("a", devices="0"), plan("b", devices="1")], **limits).start()


def sent_to(world: World) -> list[str]:
    return [action.worker for action in world.actions if isinstance(action, SendTask)]


def condition(world: World, name: str) -> str:
    return world.scheduler.workers.workers[name].condition


def failure_of(world: World, request: int) -> Failure:
    failure = world.replies[request].failure
    assert failure is not None
    return failure


def wait(world: World, seconds: float) -> None:
    """Let time pass in which everybody gives signs of life."""
    until = world.now + seconds
    while world.now < until:
        world.send_heartbeats()
        world.pass_time(min(2.0, until - world.now))


# -- leases ------------------------------------------------------------------------------------------


def test_an_idle_worker_ends_at_once_and_the_device_is_free_when_its_process_is_gone() -> None:
    world = two()
    asked = world.lend("1")
    assert world.process("b").stopping and world.lease_of(asked) is None
    assert condition(world, "b") == "leaving"
    world.die(world.process("b"), "exit code 0")
    told = world.lease_of(asked)
    assert told is not None and told.state == "free" and told.begun_again == 0
    assert condition(world, "b") == "lent"
    wait(world, 30.0)
    assert world.process("b").incarnation == 1, "it stays down"


def test_a_lent_device_gets_no_task_and_the_other_does_the_work() -> None:
    world = two()
    world.lend("1")
    requests = [world.submit() for _ in range(4)]
    assert set(sent_to(world)) == {"a"}
    world.settle()
    assert all(world.replies[request].kind == "result" for request in requests)


def test_what_is_at_work_may_end_in_time() -> None:
    world = two()
    for _ in range(2):
        world.submit()
    asked = world.lend("1", within_s=10.0)
    process = world.process("b")
    assert len(process.tasks) == 1 and not process.stopping
    wait(world, 5.0)
    world.finish(process, next(iter(process.tasks)))
    assert process.stopping and not process.doomed
    world.die(process, "exit code 0")
    told = world.lease_of(asked)
    assert told is not None and told.state == "free" and told.begun_again == 0
    world.settle()
    assert all(not reply.warnings for reply in world.replies.values())


def test_what_does_not_end_in_time_is_begun_again_elsewhere_and_its_caller_hears_why() -> None:
    world = two(max_attempts=1)
    first, second = world.submit(), world.submit()
    asked = world.lend("1", within_s=10.0)
    process = world.process("b")
    (task,) = process.tasks
    (job,) = jobs_of(process.tasks[task].action.work)
    wait(world, 8.9)
    assert not process.doomed
    kill = [one for one in world.pass_time(0.2) if isinstance(one, KillWorker)]
    assert [one.at_once for one in kill] == [True], "within the ten seconds, not after them"
    world.die(process)
    assert world.scheduler.jobs[job].failures == 0, "nobody is to blame"
    told = world.lease_of(asked)
    assert told is not None and told.state == "free" and told.begun_again == 1
    world.settle()
    assert {world.replies[one].kind for one in (first, second)} == {"result"}
    (warned,) = [reply for reply in world.replies.values() if reply.warnings]
    assert "begun_again: device 1 is lent to 'image'" in warned.warnings[0]
    assert world.scheduler.workers.workers["b"].breaker.crashes == 0


def test_what_waits_behind_another_task_is_asked_back_where_another_worker_does_such_work() -> None:
    world = two()
    for _ in range(4):
        world.submit()
    world.lend("1")
    process = world.process("b")
    first, second = process.tasks
    assert world.recalled(process) == [second]
    world.give_back(process, second)
    assert list(process.tasks) == [first]


def test_what_waits_behind_another_task_stays_where_nobody_else_does_such_work() -> None:
    world = World([plan("a", "tone", devices="0"), plan("b", "hum", devices="1")]).start()
    for _ in range(2):
        world.submit(recipe=recipe("hum"))
    assert not [one for one in world.actions if isinstance(one, RecallTask)]
    world.lend("1", within_s=60.0)
    process = world.process("b")
    assert not world.recalled(process)
    for task in list(process.tasks):
        world.finish(process, task)
    assert process.stopping


def test_jobs_that_no_other_device_makes_wait_and_are_made_when_it_is_back() -> None:
    world = World([plan("a", "tone", devices="0"), plan("b", "hum", devices="1")]).start()
    world.lend("1", for_s=60.0)
    world.die(world.process("b"), "exit code 0")
    patient, other = world.submit(recipe=recipe("hum")), world.submit(recipe=recipe("tone"))
    hurried = world.submit(recipe=recipe("hum"), deadline=world.now + 5.0)
    wait(world, 5.0)
    failure = failure_of(world, hurried)
    assert world.replies[hurried].kind == "expired"
    assert "worker 'b' would do it, but device 1 is lent to 'image' for 55 s more" in failure.message
    world.settle()
    assert world.replies[patient].kind == world.replies[other].kind == "result"


def test_who_wants_to_hear_is_told_whom_it_waits_for() -> None:
    world = World([plan("a", "tone", devices="0"), plan("b", "hum", devices="1", credit=1)]).start()
    made, waited = (world.submit(recipe=recipe("hum"), events=True) for _ in range(2))
    quiet = world.submit(recipe=recipe("hum"))
    world.lend("1", within_s=0.0)
    later = world.submit(recipe=recipe("hum"), events=True)
    other = world.submit(recipe=recipe("tone"), events=True)
    world.die(world.process("b"))
    notes = {
        one.request: one.body.note for one in world.notices if isinstance(one, SendProgress) and one.body.note
    }
    assert set(notes) == {made, waited, later} and quiet not in notes and other not in notes
    assert all("worker 'b' would do it, but device 1 is lent to 'image'" in str(note) for note in notes.values())


def test_a_lease_ends_by_itself_and_the_worker_comes_back() -> None:
    world = two()
    world.lend("1", within_s=10.0, for_s=60.0)
    world.pass_time(2.0)
    world.die(world.process("b"), "exit code 0")
    wait(world, 59.0)
    assert condition(world, "b") == "lent", "its time counts from when the device was free"
    spawned = [one for one in world.pass_time(1.0) if isinstance(one, SpawnWorker)]
    assert [one.worker for one in spawned] == ["b"]
    assert world.told[-1].state == "ended"


def test_a_lease_is_returned_early() -> None:
    world = two()
    world.lend("1", for_s=None)
    world.die(world.process("b"), "exit code 0")
    world.pass_time(1.0)
    assert [one.worker for one in world.give_device_back("1") if isinstance(one, SpawnWorker)] == ["b"]


def test_a_lease_that_is_returned_before_its_device_is_free_costs_nobody_a_task() -> None:
    world = two()
    for _ in range(2):
        world.submit()
    asked = world.lend("1")
    world.give_device_back("1")
    told = world.lease_of(asked)
    assert told is not None and told.state == "ended"
    world.settle()
    assert not world.process("b").doomed and world.process("b").incarnation == 1


def test_a_lease_outlives_the_restart_of_its_worker() -> None:
    """A crash while it leaves, a worker that was down or still loading: it does not come up before its time."""
    world = two()
    for _ in range(2):
        world.submit()
    asked = world.lend("1", for_s=60.0)
    world.die(world.process("b"))
    told = world.lease_of(asked)
    assert told is not None and told.state == "free"
    wait(world, 48.0)
    assert world.process("b").incarnation == 1
    wait(world, 32.0)
    assert world.process("b").incarnation == 2


def test_a_worker_that_is_loading_is_ended_at_once() -> None:
    world = World([plan("a", devices="0"), plan("b", devices="1")])
    world.feed(events.Tick())
    for name in "ab":
        world.say_hello(world.process(name))
    world.get_ready(world.process("a"))
    asked = world.lend("1")
    assert world.process("b").doomed
    world.die(world.process("b"))
    told = world.lease_of(asked)
    assert told is not None and told.state == "free"
    world.give_device_back("1")
    assert world.process("b").incarnation == 2
    assert world.scheduler.workers.workers["b"].failure is None, "its end was no failed start"


def test_an_unknown_device_is_refused_by_name() -> None:
    world = two()
    told = world.lease_of(world.lend("7"))
    assert told is not None and told.failure is not None
    assert told.failure.code == "not_found" and "'7'; there are: 0, 1" in told.failure.message


def test_a_device_is_lent_to_one_at_a_time_who_may_have_it_longer() -> None:
    world = two()
    world.lend("1", holder="image", for_s=60.0)
    world.die(world.process("b"), "exit code 0")
    told = world.lease_of(world.lend("1", holder="video"))
    assert told is not None and told.failure is not None and told.failure.code == "busy"
    assert told.failure.retry_after_ms == 60_000
    wait(world, 50.0)
    longer = world.lease_of(world.lend("1", holder="image", for_s=60.0))
    assert longer is not None and longer.state == "free"
    wait(world, 50.0)
    assert condition(world, "b") == "lent"


def test_a_worker_on_two_devices_leaves_for_either_and_comes_back_when_both_are_back() -> None:
    world = World([plan("a", devices="0 1"), plan("b", devices="2")]).start()
    world.lend("0")
    world.die(world.process("a"), "exit code 0")
    assert (told := world.lease_of(world.lend("1"))) is not None and told.state == "free"
    world.give_device_back("0")
    assert condition(world, "a") == "lent"
    world.give_device_back("1")
    assert world.process("a").incarnation == 2


def test_a_pool_that_stops_answers_who_waits_for_a_device() -> None:
    world = two()
    for _ in range(2):
        world.submit()
    asked = world.lend("1")
    world.feed(events.Drain(deadline=world.now + 60.0))
    told = world.lease_of(asked)
    assert told is not None and told.failure is not None and told.failure.code == "closed"
    late = world.lease_of(world.lend("0"))
    assert late is not None and late.failure is not None and late.failure.code == "closed"
    world.stop()


def test_a_pool_that_stops_while_a_device_is_left_ends_and_does_not_spin() -> None:
    """The world refuses a deadline that a tick does not move."""
    world = two()
    world.lend("1", within_s=2.0, for_s=0.5)
    world.feed(events.Drain(deadline=world.now))
    wait(world, 8.0)
    world.stop()


# -- memory that others take ---------------------------------------------------------------------------

GB = 1 << 30


def beside_others(take_back_after_s: float = 10.0) -> World:
    memory = MemoryConfig(leave_after_s=3.0, take_back_after_s=take_back_after_s)
    plans = [plan("a", devices="0", device="gpu 0"), plan("b", devices="1", device="gpu 1")]
    return World(plans, memory=memory).start()


def read(world: World, seconds: float, *, spare: int, own: int, others: int) -> None:
    """Let time pass in which device 1 is looked at each second."""
    until = world.now + seconds
    while world.now < until:
        wait(world, 1.0)
        free, mine, rest = ({"gpu 1": size * GB} for size in (spare, own, others))
        world.feed(events.MemoryRead(spare_bytes=free, own_bytes=mine, others_bytes=rest))


def test_a_device_whose_memory_others_have_taken_is_left_and_taken_back_when_it_is_free() -> None:
    world = beside_others()
    read(world, 3.0, spare=-1, own=8, others=14)
    assert condition(world, "b") == "ready", "a moment's need of others moves nobody"
    read(world, 1.0, spare=-1, own=8, others=14)
    assert world.process("b").stopping and condition(world, "b") == "leaving"
    world.die(world.process("b"), "exit code 0")
    read(world, 20.0, spare=7, own=0, others=14)
    assert condition(world, "b") == "lent", "there is room, but not for what it had"
    read(world, 9.0, spare=8, own=0, others=13)
    read(world, 1.0, spare=2, own=0, others=19)
    read(world, 10.0, spare=8, own=0, others=13)
    assert condition(world, "b") == "lent", "nor does a moment's room"
    read(world, 2.0, spare=8, own=0, others=13)
    assert world.process("b").incarnation == 2
    assert {worker.condition for worker in world.scheduler.workers.workers.values()} == {"ready", "starting"}


def test_what_its_own_workers_take_too_much_of_is_no_reason_to_leave_a_device() -> None:
    world = beside_others()
    read(world, 20.0, spare=-2, own=22, others=1)
    assert condition(world, "b") == "ready"


def test_a_device_of_which_nobody_knows_whose_its_memory_is_is_not_left() -> None:
    world = beside_others()
    for _ in range(10):
        wait(world, 1.0)
        world.feed(events.MemoryRead(spare_bytes={"gpu 1": -GB, "gpu 0": None, "gpu 7": -GB}))
    assert condition(world, "b") == condition(world, "a") == "ready"


def test_who_asks_for_a_device_that_others_have_taken_gets_it() -> None:
    world = beside_others()
    read(world, 4.0, spare=-1, own=8, others=14)
    world.die(world.process("b"), "exit code 0")
    told = world.lease_of(world.lend("1", for_s=5.0))
    assert told is not None and told.state == "free"
    read(world, 4.0, spare=9, own=0, others=10)
    assert condition(world, "b") == "lent"
    wait(world, 2.0)
    assert world.process("b").incarnation == 2, "its lease is over, and nothing is short"


# -- workers -----------------------------------------------------------------------------------------


def test_a_worker_that_is_added_is_started_and_takes_what_waits() -> None:
    world = World([plan("a", "tone", credit=1)]).start()
    requests = [world.submit() for _ in range(3)]
    world.add_worker(plan("b", "tone"))
    process = world.process("b")
    world.say_hello(process)
    world.get_ready(process)
    assert len(process.tasks) == 2
    world.settle()
    assert all(world.replies[request].kind == "result" for request in requests)


def test_a_drained_worker_does_what_it_holds_takes_nothing_new_and_stays_up() -> None:
    world = two()
    for _ in range(4):
        world.submit()
    world.feed(events.DrainWorker(worker="b"))
    process = world.process("b")
    assert condition(world, "b") == "drained" and len(process.tasks) == 2
    later = world.submit()
    for task in list(process.tasks):
        assert not [one for one in world.told if isinstance(one, TellWorker)]
        world.finish(process, task)
    assert world.told == [TellWorker(worker="b", state="drained")]
    assert not process.tasks and not process.stopping
    world.settle()
    assert world.replies[later].kind == "result"
    world.feed(events.DrainWorker(worker="b", drained=False))
    for _ in range(2):
        world.submit()
    assert sent_to(world)[-1] == "b" or sent_to(world)[-2] == "b"


def test_what_only_a_drained_worker_makes_waits_until_it_is_resumed() -> None:
    world = World([plan("a", "tone"), plan("b", "hum")]).start()
    world.feed(events.DrainWorker(worker="b"))
    patient = world.submit(recipe=recipe("hum"))
    hurried = world.submit(recipe=recipe("hum"), deadline=world.now + 2.0)
    world.pass_time(2.0)
    assert "worker 'b' would do it, but it is drained" in failure_of(world, hurried).message
    assert patient not in world.replies
    world.feed(events.DrainWorker(worker="b", drained=False))
    world.settle()
    assert world.replies[patient].kind == "result"


def test_a_worker_that_is_removed_does_what_it_holds_and_ends_for_good() -> None:
    world = two()
    requests = [world.submit() for _ in range(4)]
    world.feed(events.RemoveWorker(worker="b"))
    process = world.process("b")
    for task in list(process.tasks):
        world.finish(process, task)
    assert process.stopping
    world.die(process, "exit code 0")
    assert world.told == [TellWorker(worker="b", state="removed")]
    world.settle()
    assert all(world.replies[request].kind == "result" for request in requests)
    wait(world, 60.0)
    assert "b" not in world.scheduler.workers.workers and world.process("b").incarnation == 1


def test_a_removed_worker_that_lasts_too_long_is_ended_and_its_job_is_done_elsewhere() -> None:
    world = two(max_attempts=1)
    requests = [world.submit() for _ in range(2)]
    world.feed(events.RemoveWorker(worker="b", within_s=5.0))
    wait(world, 5.0)
    assert world.process("b").doomed
    world.die(world.process("b"))
    world.settle()
    assert all(world.replies[request].kind == "result" for request in requests)
    assert any("worker 'b' is removed" in one for reply in world.replies.values() for one in reply.warnings)


def test_what_nobody_does_any_more_is_answered_at_once() -> None:
    world = World([plan("a", "tone"), plan("b", "hum", credit=1)]).start()
    running, waiting = world.submit(recipe=recipe("hum")), world.submit(recipe=recipe("hum"))
    world.feed(events.RemoveWorker(worker="b"))
    assert failure_of(world, waiting).code == "engine_unavailable"
    assert running not in world.replies
    world.settle()
    assert world.replies[running].kind == "result"


def test_a_worker_of_the_same_name_goes_on_counting_its_starts() -> None:
    """Late messages of the process before name its number."""
    world = two()
    world.feed(events.RemoveWorker(worker="b"))
    world.die(world.process("b"), "exit code 0")
    world.add_worker(plan("b", devices="1"))
    assert world.process("b").incarnation == 2


def test_a_worker_that_is_added_on_a_lent_device_starts_when_it_is_back() -> None:
    world = two()
    world.lend("1")
    world.add_worker(plan("c", devices="1"))
    assert not [one for one in world.actions if isinstance(one, SpawnWorker) and one.worker == "c"]
    world.die(world.process("b"), "exit code 0")
    world.give_device_back("1")
    assert world.process("c").state == "spawned"


def test_a_worker_that_is_down_is_removed_at_once() -> None:
    world = two()
    world.die(world.process("b"))
    world.feed(events.RemoveWorker(worker="b"))
    assert world.told == [TellWorker(worker="b", state="removed")]


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_stream_that_is_cut_off_says_for_whom(name: str) -> None:
    """A part of it has been heard: it cannot be begun again."""
    world = World([plan(name, devices="0"), plan("z", "", "master")]).start()
    request = world.submit(stream=True, events=True)
    process = world.process(name)
    (task,) = process.tasks
    (job,) = jobs_of(process.tasks[task].action.work)
    world.scheduler.jobs[job].streamed = True
    world.lend("0", within_s=0.0)
    assert [one for one in world.actions if isinstance(one, KillWorker | StopWorker)]
    world.die(process)
    assert "device 0 is lent to 'image'" in failure_of(world, request).message
