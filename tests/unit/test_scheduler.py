"""The scheduler on a fake clock, one promise per test. (Any order of events: test_scheduler_properties.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest
from tests.support.recipes import recipe
from tests.unit.scheduler_world import LIMITS, World, hit, jobs_of, plan, report

from audio_pool.config import ClientConfig
from audio_pool.errors import (
    AudioPoolError,
    Busy,
    Cancelled,
    EngineError,
    EngineUnavailable,
    Expired,
    InvalidAudio,
    NotFound,
    NotSupported,
    Poisoned,
    PoolClosed,
    QualityError,
    StorageError,
    Timeout,
    WorkerDied,
    WorkerError,
    WorkerStartFailed,
)
from audio_pool.results import Chunk, Failure, Progress
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import (
    Action,
    CancelTask,
    Discard,
    Doubt,
    FindExact,
    FindNear,
    KillWorker,
    RecallTask,
    SendAccepted,
    SendChunk,
    SendProgress,
    SendTask,
    SpawnWorker,
    Store,
)
from audio_pool.scheduler.answers import CallReply, RenderedHit, StoredSound
from audio_pool.scheduler.work import CallWork, EmbedWork, GenerateWork, JobRound, MasterWork, RenderWork, TaskWork
from audio_pool.tasks import Called, ClapTask, EchoTask, Embedded, Rejected, TaskResult
from audio_pool.types import Recipe

A = TypeVar("A")
HIT, UNRENDERED = hit(), hit(rendered=False)


def world(**limits: Any) -> World:
    return World([plan("w", "tone hum")], {"w": "words ears"}, **limits).start()


def tasks(one: World, name: str = "w") -> list[SendTask]:
    """Those that the worker holds now, in order."""
    return [sent.action for sent in one.process(name).tasks.values()]


def works(one: World, name: str = "w") -> list[TaskWork]:
    return [task.work for task in tasks(one, name)]


def kinds(one: World, name: str = "w") -> list[str]:
    return [kind(work) for work in works(one, name)]


def kind(work: TaskWork) -> str:
    return type(work).__name__.removesuffix("Work").lower()


def requests(work: TaskWork) -> list[int]:
    assert isinstance(work, GenerateWork)
    return [one.request for one in work.jobs]


def rounds(one: World, name: str = "w") -> list[int]:
    (work,) = works(one, name)
    assert isinstance(work, GenerateWork)
    return [job.round for job in work.jobs]


def finish(one: World, name: str = "w", **more: Any) -> list[Action]:
    """The worker finishes its first task."""
    process = one.process(name)
    return one.finish(process, next(iter(process.tasks)), **more)


def store(one: World) -> list[Action]:
    return one.stored(next(iter(one.storing)))


def of(actions: list[Action], cls: type[A]) -> list[A]:
    return [action for action in actions if isinstance(action, cls)]


def error(one: World, request: int) -> AudioPoolError:
    failure = one.replies[request].failure
    assert failure is not None
    return failure.error()


def clap(engine: str) -> ClapTask:
    return ClapTask(engine=engine, operation="embed", texts=["a"], paths=[])


def sent(one: World, name: str = "w") -> list[list[int]]:
    """The requests of each generate task that the worker holds."""
    return [requests(work) for work in works(one, name)]


def come_back(one: World, name: str = "w") -> None:
    """The worker is started again and is ready."""
    for _ in range(10):
        one.send_heartbeats()
        one.pass_time(1.0)
    one.say_hello(one.process(name))
    one.get_ready(one.process(name))


# -- the way of one request ------------------------------------------------------------------------


def test_a_new_sound_is_looked_up_generated_stored_and_answered() -> None:
    one = world()
    request = one.submit(events=True)
    assert [type(action).__name__ for action in one.actions[-3:]] == ["FindExact", "SendAccepted", "SendTask"]
    assert works(one) == [
        GenerateWork(jobs=(JobRound(job=1, request=request, round=0),), master_here=True)
    ]
    one.pass_time(2.0)
    (stored,) = of(finish(one), Store)
    assert stored.sound.sound.accepted and stored.rounds == 1
    assert request not in one.replies, "not before the commit"
    store(one)
    reply = one.replies[request]
    assert reply.kind == "result" and reply.cache_type == "new_generation"
    assert isinstance(reply.value, StoredSound) and reply.value.metadata == stored.sound.sound.metadata
    assert reply.times_ms["total"] == 2000.0 and reply.times_ms["queue"] == 0.0
    one.check_nothing_is_left()


def test_a_hit_needs_no_worker() -> None:
    one = World([plan("w")])
    one.on_lookup = lambda _: HIT
    request = one.submit(events=True)
    assert one.replies[request].value == HIT and one.replies[request].cache_type is None
    assert not one.notices, "a hit is not accepted first: it is answered"
    one.check_nothing_is_left()


def test_a_hit_of_another_format_is_rendered_by_a_master() -> None:
    one = World([plan("maker", roles="generate"), plan("master", "", "master")]).start()
    one.on_lookup = lambda _: UNRENDERED
    request = one.submit()
    assert works(one, "master") == [RenderWork(job=1, request=request, hit=UNRENDERED)]
    finish(one, "master")
    value = one.replies[request].value
    assert isinstance(value, RenderedHit)
    assert value.hit == UNRENDERED and one.fates[value.path] == "delivered" and value.report.format == "ogg"
    assert one.replies[request].cache_type is None
    one.check_nothing_is_left()


def test_a_hit_that_vanished_before_it_was_rendered_is_a_miss() -> None:
    one = world()
    one.on_lookup = lambda _: UNRENDERED
    request = one.submit()
    one.fail(one.process(), tasks(one)[0].task, NotFound("no such file"))
    assert kinds(one) == ["generate"]
    one.settle()
    reply = one.replies[request]
    assert reply.cache_type == "new_generation" and reply.warnings == ("hit_vanished: no such file",)
    one.check_nothing_is_left()


def test_a_hit_whose_master_is_damaged_is_a_miss_and_is_doubted() -> None:
    one = world()
    one.on_lookup = lambda _: UNRENDERED
    request = one.submit()
    actions = one.fail(one.process(), tasks(one)[0].task, InvalidAudio("the audio in it is damaged"))
    assert of(actions, Doubt) == [Doubt(entry=UNRENDERED.entry)]
    one.settle()
    reply = one.replies[request]
    assert reply.cache_type == "new_generation"
    assert reply.warnings == ("hit_damaged: the audio in it is damaged",)
    one.check_nothing_is_left()


def test_a_rendition_that_fails_otherwise_is_an_error() -> None:
    one = world()
    one.on_lookup = lambda _: UNRENDERED
    request = one.submit()
    one.fail(one.process(), tasks(one)[0].task, StorageError("the disk is full"))
    assert isinstance(error(one, request), StorageError)


def test_a_cache_that_cannot_be_read_is_told_and_no_more() -> None:
    one = world()
    one.on_lookup = lambda _: "cache_unreadable: torn"
    request = one.submit()
    finish(one)
    store(one)
    assert one.replies[request].warnings == ("cache_unreadable: torn",)
    assert one.replies[request].times_ms["lookup"] == 0.0


def test_without_look_up_nothing_is_looked_up() -> None:
    one = world()
    one.submit(lookup=False)
    assert not of(one.actions, FindExact) and kinds(one) == ["generate"]


def test_a_worker_that_generates_hands_over_to_one_that_masters() -> None:
    one = World([plan("maker", roles="generate"), plan("master", "", "master")]).start()
    request = one.submit()
    (work,) = works(one, "maker")
    assert isinstance(work, GenerateWork) and not work.master_here
    finish(one, "maker")
    (work,) = works(one, "master")
    assert isinstance(work, MasterWork) and len(work.raw.candidates) == 2
    (stored,) = of(finish(one, "master"), Store)
    assert stored.job == work.job
    assert list(one.fates.values()) == ["discarded", "stored"], "the candidates' slots are given back"
    store(one)
    assert one.replies[request].kind == "result"
    one.check_nothing_is_left()


@pytest.mark.parametrize(
    "wrong",
    [
        World.rendered,
        lambda _: Called(body={}),
        lambda _: Embedded(vectors={"words": b"1234"}),
        None,
    ],
    ids=["a rendition", "a call's body", "vectors", "nothing"],
)
def test_an_answer_that_does_not_fit_is_that_workers_fault(wrong: Callable[[World], TaskResult] | None) -> None:
    """The request fails, what the answer holds is given back, and the worker goes on."""
    one = world()
    request = one.submit()
    finish(one, results={} if wrong is None else {1: wrong(one)})
    if wrong is None:
        assert str(error(one, request)) == "worker 'w' left this out of its answer"
    else:
        assert isinstance(error(one, request), WorkerError)
        assert "a worker answered stage 'generate' with" in str(error(one, request))
    one.check_nothing_is_left()
    again = one.submit()
    one.settle()
    assert one.replies[again].kind == "result"


def test_an_answer_for_a_job_that_was_not_asked_is_given_back() -> None:
    one = world()
    request = one.submit()
    actions = finish(one, results={1: one.mastered(), 99: one.rendered()})
    assert [discard.job for discard in of(actions, Discard)] == [99]
    store(one)
    assert one.replies[request].kind == "result"
    one.check_nothing_is_left()


# -- look-up by meaning ----------------------------------------------------------------------------


def test_vectors_are_asked_for_one_encoder_after_the_other() -> None:
    one = world()
    lookups: list[FindExact | FindNear] = []
    one.on_lookup = lambda action: lookups.append(action)
    request = one.submit(encoders=("words", "ears"))
    assert works(one) == [EmbedWork(job=1, request=request, encoder="ears")]
    finish(one)
    assert works(one) == [EmbedWork(job=1, request=request, encoder="words")]
    finish(one)
    assert isinstance(lookups[-1], FindNear) and set(lookups[-1].vectors) == {"words", "ears"}
    for _ in range(6):  # past the time that the vectors had
        one.send_heartbeats()
        one.pass_time(1.0)
    assert kinds(one) == ["generate"]
    (stored,) = of(finish(one), Store)
    assert set(stored.vectors) == {"words", "ears"}, "the store wants them too"
    store(one)
    assert one.replies[request].warnings == ()


def test_a_hit_by_meaning_is_answered() -> None:
    one = world()
    one.on_lookup = lambda action: HIT if isinstance(action, FindNear) else None
    request = one.submit(encoders=("words",))
    finish(one)
    assert one.replies[request].value == HIT
    one.check_nothing_is_left()


@pytest.mark.parametrize(("lookup", "near"), [(False, True), (True, False)])
def test_vectors_wanted_for_the_store_alone(lookup: bool, near: bool) -> None:
    one = world()
    one.submit(encoders=("words",), lookup=lookup, near=near)
    finish(one)
    assert not of(one.actions, FindNear) and kinds(one) == ["generate"]


def test_a_slow_vector_is_a_miss_with_a_warning() -> None:
    one = world(embed_timeout_s=3.0)
    request = one.submit(encoders=("words",))
    assert one.scheduler.next_deadline() == one.now + 3.0
    one.pass_time(3.0)
    assert kinds(one) == ["embed", "generate"]
    finish(one)  # the vector, too late
    assert not of(one.actions, FindNear)
    finish(one)
    store(one)
    assert one.replies[request].warnings == ("semantic_timeout: no text vector within 3 s",)
    one.check_nothing_is_left()


def test_an_encoder_that_fails_costs_its_vector_alone() -> None:
    one = world()
    request = one.submit(encoders=("words", "ears"))
    one.fail(one.process(), tasks(one)[0].task, EngineError("no ears today"))
    assert works(one) == [EmbedWork(job=1, request=request, encoder="words")], "the other one is asked"
    finish(one)
    assert set(of(one.actions, FindNear)[0].vectors) == {"words"}
    finish(one)
    store(one)
    assert one.replies[request].warnings == ("semantic_failed: no ears today",)


def test_an_encoder_that_nobody_hosts_is_told() -> None:
    one = world()
    request = one.submit(encoders=("absent",))
    assert kinds(one) == ["generate"]
    finish(one)
    store(one)
    assert one.replies[request].warnings == ("semantic_unavailable: no worker that hosts 'absent' is ready",)


def still_loading(one: World, *engines: str) -> None:
    """Its worker generates already, and an encoder is coming."""
    hosted = one.plans["w"].engines
    one.feed(events.WorkerReady(worker="w", incarnation=1, engines=hosted, coming=frozenset(engines)))
    one.process().state = "ready"


@pytest.mark.parametrize("await_encoder", [True, False])
def test_a_look_up_by_meaning_waits_for_an_encoder_that_is_coming_or_is_skipped(await_encoder: bool) -> None:
    one = World([plan("w", "tone")], await_encoder=await_encoder)
    one.feed(events.Tick())
    one.say_hello(one.process())
    still_loading(one, "words")
    request = one.submit(encoders=("words",))
    if await_encoder:
        assert kinds(one) == [], "it waits for its vector"
        one.feed(events.WorkerReady(worker="w", incarnation=1, engines=frozenset({"tone", "words"})))
        assert kinds(one) == ["embed"]
        finish(one)
        assert of(one.actions, FindNear)
    else:
        assert kinds(one) == ["generate"]
        finish(one)
        store(one)
        assert one.replies[request].warnings == ("semantic_unavailable: 'words' is still being loaded",)


def test_an_encoder_that_does_not_come_in_time_is_gone_on_without() -> None:
    one = World([plan("w", "tone")], embed_timeout_s=3.0)
    one.feed(events.Tick())
    request = one.submit(encoders=("words",))  # its worker has not even said hello
    one.say_hello(one.process())
    still_loading(one, "words")
    one.pass_time(3.0)
    assert kinds(one) == ["generate"]
    finish(one)
    store(one)
    assert one.replies[request].warnings == ("semantic_timeout: no text vector within 3 s",)
    one.check_nothing_is_left()


# -- joins -----------------------------------------------------------------------------------------


def test_equal_requests_join_and_share_one_sound() -> None:
    one = world()
    first = one.submit(join=1)
    second = one.submit(join=1, events=True)
    other = one.submit(join=2)
    notice = one.notices[-1]
    assert isinstance(notice, SendAccepted) and notice.request == second and notice.body.joined is True
    assert sent(one) == [[first], [other]]
    finish(one)
    third = one.submit(join=1)  # it is being stored just now
    store(one)
    assert [one.replies[request].cache_type for request in (first, second, third)] == [
        "new_generation", "joined", "joined",
    ]  # fmt: skip
    values = [one.replies[request].value for request in (first, second, third)]
    assert values[0] == values[1] == values[2]
    assert other not in one.replies


def test_after_its_end_nothing_joins_a_job() -> None:
    one = world()
    first = one.submit(join=1)
    one.cancel(first)
    one.submit(join=1)
    assert [jobs_of(work) for work in works(one)] == [[1], [2]]


def test_no_key_joins_nothing() -> None:
    one = world()
    one.submit()
    one.submit()
    assert len(tasks(one)) == 2


def test_an_urgent_caller_lifts_what_it_joins() -> None:
    one = world()
    for _ in range(2):
        one.submit()
    one.submit(priority=1, join=2)
    background = one.submit(priority=2, join=1)
    urgent = one.submit(priority=0, join=1)
    finish(one)
    assert urgent not in sent(one)[-1] and sent(one)[-1] == [background], "first request of the lifted job"


def test_one_of_two_callers_leaves() -> None:
    one = world()
    first, second = one.submit(join=1), one.submit(join=1)
    assert not of(one.cancel(first), CancelTask)
    finish(one)
    store(one)
    assert one.replies[first].kind == "cancelled" and one.replies[second].kind == "result"


# -- order, credit, batches ------------------------------------------------------------------------


def test_credit_limits_what_a_worker_holds() -> None:
    one = World([plan("w", credit=3)]).start()
    asked = [one.submit() for _ in range(5)]
    assert sent(one) == [[request] for request in asked[:3]]
    finish(one)
    assert sent(one) == [[request] for request in asked[1:4]]


def test_priorities_and_their_ageing() -> None:
    one = World([plan("w", credit=1)], ageing_s=1.0).start()
    one.submit()  # is in hand
    background = one.submit(priority=2)
    one.now += 1.5
    normal = one.submit(priority=1)
    one.now += 0.1
    interactive = one.submit(priority=0)
    order = []
    for _ in range(4):
        order += sent(one)[0]
        finish(one)
    assert order[1:] == [interactive, background, normal], "1.5 s lift it over the next priority, not over two"


def test_the_least_loaded_worker_gets_the_next() -> None:
    one = World([plan("a"), plan("b")]).start()
    for _ in range(4):
        one.submit()
    assert len(tasks(one, "a")) == len(tasks(one, "b")) == 2


def test_a_worker_gets_what_it_can_do() -> None:
    one = World([plan("a", "tone"), plan("b", "hum"), plan("c", "tone", "master")]).start()
    one.submit(recipe=recipe("hum"))
    assert (len(tasks(one, "a")), len(tasks(one, "b")), len(tasks(one, "c"))) == (0, 1, 0)
    one.submit(recipe=recipe("tone"))
    assert (len(tasks(one, "a")), len(tasks(one, "c"))) == (1, 0), "c hosts it, but does not generate"


def recalls(actions: list[Action]) -> list[int]:
    return [recall.task for recall in of(actions, RecallTask)]


def test_what_has_not_begun_gives_way_to_what_is_more_urgent() -> None:
    one = World([plan("w", credit=3)]).start()
    running, first, second = (one.submit(priority=2) for _ in range(3))
    asked = len(one.actions)
    urgent = one.submit(priority=0)
    last = tasks(one)[2].task
    assert recalls(one.actions[asked:]) == [last], "the last that was handed out"
    one.give_back(one.process(), last)
    assert sent(one) == [[running], [first], [urgent]]
    assert recalls(one.actions[asked:]) == [last], "once it has its room, nothing more is asked back"
    finish(one)
    store(one)
    assert sent(one) == [[first], [urgent], [second]] and [task.attempt for task in tasks(one)] == [1, 1, 1]
    one.settle()
    one.check_nothing_is_left()


def test_a_recall_that_comes_too_late_changes_nothing() -> None:
    one = World([plan("w", credit=2)]).start()
    one.submit(priority=2)
    begun = one.submit(priority=2)
    asked = len(one.actions)
    urgent = one.submit(priority=0)
    again = one.submit(priority=0)
    assert len(recalls(one.actions[asked:])) == 1, "asked once"
    finish(one)
    assert sent(one) == [[begun], [urgent]]
    finish(one)
    assert sent(one) == [[urgent], [again]]
    one.settle()
    one.check_nothing_is_left()


def test_only_what_is_less_urgent_gives_way() -> None:
    one = World([plan("w", credit=3)], ageing_s=10.0).start()
    one.submit(priority=1)
    one.submit(priority=0)
    old = one.submit(priority=1)
    one.submit(priority=0)
    (recalled,) = recalls(one.actions)
    one.give_back(one.process(), recalled)
    for _ in range(4):
        one.send_heartbeats()
        one.pass_time(3.0)
    finish(one)
    assert sent(one)[-1] == [old]
    one.submit(priority=0)
    assert len(recalls(one.actions)) == 1, "it has aged past what comes now"


def test_what_was_taken_back_twice_stays_where_it_is() -> None:
    one = World([plan("w", credit=2)]).start()
    one.submit(priority=2)
    behind = one.submit(priority=2)
    for _ in range(2):
        urgent = one.submit(priority=0)
        one.give_back(one.process(), tasks(one)[-1].task)
        finish(one)
        store(one)
        assert sent(one) == [[urgent], [behind]]
    one.submit(priority=0)
    assert len(recalls(one.actions)) == 2
    one.settle()
    one.check_nothing_is_left()


def test_what_died_with_its_worker_after_a_recall_is_tried_once_more() -> None:
    one = World([plan("w", credit=2)]).start()
    one.submit(priority=2)
    behind = one.submit(priority=2)
    one.submit(priority=0)
    dead = one.process()
    recalled = tasks(one)[-1].task
    one.die(dead)
    assert one.give_back(dead, recalled) == [], "it was given back already, with the worker"
    one.settle()
    assert one.replies[behind].kind == "result"
    one.check_nothing_is_left()


def batching(**limits: Any) -> World:
    one = World([plan("w", "tone hum", credit=1)], **limits)
    one.batching = frozenset({"tone"})
    return one.start()


def test_what_waits_and_fits_goes_in_one_batch() -> None:
    one = batching(max_batch=4)
    one.submit()
    waiting = [
        one.submit(recipe=recipe(steps=8)),
        one.submit(recipe=recipe(steps=8, candidates=2)),
        one.submit(recipe=recipe(steps=8, candidates=2)),
    ]
    other_steps = one.submit(recipe=recipe(steps=20))
    finish(one)
    assert sent(one) == [waiting[:2]], "1 + 2 candidates; two more would be five"
    finish(one)
    assert sent(one) == [[waiting[2]]], "other steps do not fit"
    finish(one)
    assert sent(one) == [[other_steps]]


@pytest.mark.parametrize("other", [{"model": "tone-large"}, {"options": (("sampler", "euler"),)}])
def test_other_models_and_other_options_do_not_fit_in_a_batch(other: dict[str, Any]) -> None:
    one = batching(max_batch=4)
    one.submit()
    alike, different = one.submit(), one.submit(recipe=recipe(**other))
    finish(one)
    assert sent(one) == [[alike]]
    finish(one)
    assert sent(one) == [[different]]


def test_an_engine_without_batches_gets_one_at_a_time() -> None:
    one = batching()
    for _ in range(3):
        one.submit(recipe=recipe("hum"))
    finish(one)
    assert [len(jobs_of(work)) for work in works(one)] == [1]


def test_a_batch_that_fails_is_tried_one_by_one() -> None:
    one = batching(max_batch=4)
    one.submit()
    pair = [one.submit(), one.submit()]
    finish(one)
    assert sent(one) == [pair]
    one.fail(one.process(), tasks(one)[0].task, EngineError("one of them"))
    assert sent(one) == [[pair[0]]] and tasks(one)[0].attempt == 2
    one.fail(one.process(), tasks(one)[0].task, EngineError("this one"))
    assert str(error(one, pair[0])) == "this one"
    finish(one)
    assert pair[1] not in one.replies
    one.settle()
    assert one.replies[pair[1]].kind == "result"


def test_parts_of_a_batch_have_fates_of_their_own() -> None:
    one = batching(max_batch=4)
    one.submit()
    bad, good = one.submit(), one.submit()
    finish(one)
    first, second = jobs_of(works(one)[0])
    finish(one, results={first: Rejected(failure=Failure.of(NotSupported("too long"))), second: one.mastered()})
    assert error(one, bad).code == "not_supported"
    one.stored(second)
    assert one.replies[good].kind == "result"


# -- rounds ----------------------------------------------------------------------------------------


def test_rounds_of_fresh_seeds_until_one_is_good_enough() -> None:
    one = world()
    request = one.submit(max_rounds=3)
    finish(one, accepted=False, score=0.1)
    assert rounds(one) == [1]
    (stored,) = of(finish(one), Store)
    assert stored.sound.sound.accepted and stored.rounds == 2 and len(stored.tried) == 2
    store(one)
    assert one.replies[request].kind == "result"
    one.check_nothing_is_left()


def test_the_best_of_all_rounds_is_delivered_where_none_is_good_enough() -> None:
    one = world()
    one.submit(max_rounds=3)
    finish(one, accepted=False, score=0.1)
    finish(one, accepted=False, score=0.3)
    (stored,) = of(finish(one, accepted=False, score=0.2), Store)
    assert not stored.sound.sound.accepted and stored.sound.score == 0.3 and stored.rounds == 3
    store(one)
    one.check_nothing_is_left()


def test_a_failed_gate_is_a_round_and_the_last_word_if_nothing_else_came() -> None:
    one = world()
    request = one.submit(max_rounds=2)
    finish(one, error=QualityError("silence"))
    assert rounds(one) == [1]
    finish(one, error=QualityError("noise"))
    assert isinstance(error(one, request), QualityError) and str(error(one, request)) == "noise"

    request = one.submit(max_rounds=2)
    finish(one, accepted=False, score=0.1)
    (stored,) = of(finish(one, error=QualityError("noise")), Store)
    assert stored.sound.score == 0.1, "the earlier round's passed the gate"


def test_candidates_that_are_not_chosen_are_kept_for_whoever_asks() -> None:
    one = world()
    one.submit(max_rounds=2, keep=True)
    assert works(one)[0].jobs[0].keep  # type: ignore[union-attr]
    finish(one, accepted=False, score=0.1)
    (stored,) = of(finish(one, score=0.4), Store)
    # the best of the first round and the two beside it, and the two beside the sound that was chosen
    assert len(stored.losers) == 5 and 0.1 in {lost.score for lost in stored.losers}
    store(one)
    one.check_nothing_is_left()


def test_who_joins_before_a_worker_begins_has_them_kept_too_and_later_not() -> None:
    one = World([plan("w", "tone", credit=1)]).start()
    one.submit(recipe=recipe(options=(("other", 1),)))
    first = one.submit(join=1)
    one.submit(join=1, keep=True)
    finish(one)
    store(one)
    assert works(one)[0].jobs[0].keep  # type: ignore[union-attr]
    late = one.submit(join=1, keep=True)
    (stored,) = of(finish(one), Store)
    assert len(stored.losers) == 2
    store(one)
    assert {one.replies[request].kind for request in (first, late)} == {"result"}
    begun = one.submit(join=2)
    one.submit(join=2, keep=True)
    (stored,) = of(finish(one), Store)
    assert not stored.losers, "a worker had begun"
    store(one)
    assert one.replies[begun].kind == "result"
    one.check_nothing_is_left()


def test_candidates_that_nobody_waits_for_any_more_are_given_back() -> None:
    one = world()
    request = one.submit(max_rounds=2, keep=True)
    finish(one, accepted=False, score=0.1)
    one.cancel(request)
    one.finish(one.process(), next(iter(one.process().tasks)))
    one.check_nothing_is_left()
    assert list(one.fates.values()).count("discarded") == 6


def test_rounds_go_through_a_hand_over_too() -> None:
    one = World([plan("maker", roles="generate"), plan("master", "", "master")]).start()
    request = one.submit(max_rounds=3)
    silence = report(77)
    finish(one, "maker")
    finish(one, "master", accepted=False, score=0.1)
    assert kinds(one, "maker") == ["generate"] and rounds(one, "maker") == [1]
    finish(one, "maker")
    finish(one, "master", error=QualityError("silence"), tried=(silence,))
    assert kinds(one, "maker") == ["generate"] and rounds(one, "maker") == [2]
    assert not tasks(one, "master") and list(one.fates.values()).count("held") == 1, "only the best so far is held"
    finish(one, "maker")
    (stored,) = of(finish(one, "master", accepted=False, score=0.3), Store)
    assert stored.sound.score == 0.3 and len(stored.tried) == 3 and silence in stored.tried
    store(one)
    assert one.replies[request].kind == "result"
    one.check_nothing_is_left()


def test_other_errors_end_it_at_once() -> None:
    one = world()
    request = one.submit(max_rounds=3)
    finish(one, error=EngineError("broken"))
    assert str(error(one, request)) == "broken" and not tasks(one)


def test_a_sound_that_cannot_be_stored_is_an_error() -> None:
    one = world()
    request = one.submit()
    finish(one)
    one.stored(next(iter(one.storing)), StorageError("the disk is full"))
    assert isinstance(error(one, request), StorageError)
    one.check_nothing_is_left()


# -- deaths ----------------------------------------------------------------------------------------


def three() -> World:
    return World([plan("a"), plan("b"), plan("c")]).start()


def test_a_job_of_a_dead_worker_is_tried_again_elsewhere_at_once() -> None:
    one = three()
    request = one.submit()
    one.die(one.process("a"))
    (task,) = tasks(one, "b")
    assert requests(task.work) == [request] and task.attempt == 2


def test_what_the_dead_had_said_comes_too_late() -> None:
    one = three()
    request = one.submit()
    dead = one.process("a")
    one.die(dead)
    (discarded,) = one.finish(dead, next(iter(dead.tasks)))
    assert isinstance(discarded, Discard) and request not in one.replies
    finish(one, "b")
    store(one)
    assert one.replies[request].kind == "result"
    one.check_nothing_is_left()


# -- poison ----------------------------------------------------------------------------------------


def poison(number: int = 0) -> Recipe:
    return recipe(prompt=f"poison {number}")


def test_what_ended_two_workers_is_poison_for_a_while() -> None:
    one = world(max_attempts=5, poison_s=100.0)
    request, same = one.submit(recipe=poison()), one.submit(recipe=poison())
    one.die(one.process(), "exit code 5; its last line: bad gear")
    come_back(one)
    assert [(task.attempt, requests(task.work)) for task in tasks(one)] == [(2, [request])], "alone"
    one.die(one.process(), "signal SIGSEGV")
    for asked in (request, same, one.submit(recipe=poison())):
        told = error(one, asked)
        assert isinstance(told, Poisoned) and not told.retryable and told.retry_after_ms == 100_000
        assert str(told) == (
            "2 workers have ended at this very request: "
            "worker 'w': exit code 5; its last line: bad gear; worker 'w': signal SIGSEGV"
        )
    one.on_lookup = lambda _: HIT
    assert one.replies[one.submit(recipe=poison())].kind == "result", "a hit needs no worker"
    one.on_lookup = lambda _: None
    other = one.submit()
    one.settle()
    assert one.replies[other].kind == "result"
    one.now += 200.0
    later = one.submit(recipe=poison())
    one.settle()
    assert one.replies[later].kind == "result", "the time has passed"
    one.check_nothing_is_left()


def test_an_answer_clears_a_suspect() -> None:
    one = world()
    for _ in range(3):
        request = one.submit(recipe=poison())
        one.die(one.process())
        come_back(one)
        one.settle()
        assert one.replies[request].kind == "result", "it was somebody else's fault"


def test_what_waited_behind_a_killer_goes_before_its_second_try() -> None:
    one = World([plan("w", credit=3)], max_attempts=2).start()
    killer, *behind = (one.submit(recipe=recipe(prompt=name)) for name in ("poison", "rain", "wind"))
    one.die(one.process())
    come_back(one)
    assert sent(one) == [[request] for request in behind] and [task.attempt for task in tasks(one)] == [1, 1]
    finish(one)
    assert sent(one) == [[behind[1]]], "not while anything else is in hand"
    finish(one)
    assert sent(one) == [[killer]] and tasks(one)[0].attempt == 2
    late = one.submit()
    assert sent(one) == [[killer]], "and nothing is sent behind it, on neither thread"
    assert one.call() and len(tasks(one)) == 1
    one.die(one.process())
    assert isinstance(error(one, killer), Poisoned) and late not in one.replies
    come_back(one)
    one.settle()
    one.check_nothing_is_left()


def test_the_only_healthy_worker_is_left_to_the_others() -> None:
    one = World([plan("a"), plan("b")]).start()
    suspect = one.submit(recipe=poison())
    one.die(one.process("a"))
    assert not tasks(one, "b"), "it could serve others"
    other = one.submit()
    assert sent(one, "b") == [[other]]
    come_back(one, "a")
    assert sent(one, "a") == [[suspect]]
    one.settle()
    one.check_nothing_is_left()


def test_the_only_healthy_worker_takes_it_where_no_other_comes_in_time() -> None:
    one = World([plan("a"), plan("b")], restart_backoff_s=20.0, restart_backoff_max_s=20.0).start()
    suspect = one.submit(recipe=poison())
    one.die(one.process("a"))
    assert sent(one, "b") == [[suspect]]
    one.settle()
    one.check_nothing_is_left()


def test_when_the_other_does_not_come_up_the_only_healthy_worker_takes_it() -> None:
    one = World([plan("a"), plan("b")]).start()
    suspect = one.submit(recipe=poison())
    one.die(one.process("a"))
    one.pass_time(1.0)
    one.say_hello(one.process("a"))
    assert not tasks(one, "b"), "the other is on its way"
    one.fail_to_load(one.process("a"), EngineUnavailable("no memory"))
    assert sent(one, "b") == [[suspect]], "at once"


def test_a_worker_is_kept_free_for_a_suspect_where_another_serves() -> None:
    one = World([plan("a", credit=2), plan("b", credit=2)]).start()
    suspect = one.submit(recipe=poison())
    one.die(one.process("a"))
    for _ in range(6):
        one.submit()
    come_back(one, "a")
    assert sent(one, "a") == [[suspect]] and len(sent(one, "b")) == 2
    finish(one, "a")
    assert len(sent(one, "a")) == 2
    one.settle()
    one.check_nothing_is_left()


def test_a_suspect_that_nobody_can_spare_a_worker_for_fails_in_time() -> None:
    one = World([plan("w", credit=1)], suspect_wait_s=30.0).start()
    suspect = one.submit(recipe=poison())
    for _ in range(60):
        one.submit()
    one.die(one.process())
    come_back(one)
    for _ in range(19):
        finish_one(one)
    assert suspect not in one.replies
    finish_one(one)
    told = error(one, suspect)
    assert isinstance(told, WorkerDied) and told.retryable
    assert "no other could be spared for it within 30 s" in str(told)
    one.settle()
    one.check_nothing_is_left()


def test_an_innocent_one_of_a_batch_is_not_taken_for_poison() -> None:
    one = batching(max_batch=4)
    one.submit()
    bad = one.submit(recipe=poison())
    good = [one.submit() for _ in range(2)]
    finish(one)
    assert sent(one)[0] == [bad, *good]
    one.die(one.process())
    come_back(one)
    for _ in range(3):
        (whose,) = sent(one)
        if whose == [bad]:
            one.die(one.process())
            come_back(one)
        else:
            finish(one)
    one.settle()
    assert isinstance(error(one, bad), Poisoned)
    assert [one.replies[request].kind for request in good] == ["result", "result"]


def test_six_poison_prompts_do_not_take_an_engine_down() -> None:
    one = world(max_restarts=5, breaker_s=5.0)
    for number in range(6):
        bad = one.submit(recipe=poison(number))
        while bad not in one.replies:
            if one.process().state == "ready" and one.process().tasks:
                one.die(one.process(), "signal SIGSEGV")
            elif not one.step():
                one.pass_time(0.5)
        assert isinstance(error(one, bad), WorkerDied)
    good = one.submit(deadline=one.now + 30.0)
    one.settle()
    assert one.replies[good].kind == "result", "nobody had to restart anything"
    one.check_nothing_is_left()


def test_an_embedder_that_dies_of_a_prompt_costs_the_prompt_its_vector() -> None:
    one = world(embed_timeout_s=60.0)
    for _ in range(2):
        request = one.submit(encoders=("words",))
        assert kinds(one) == ["embed"]
        one.die(one.process())
        come_back(one)
        one.settle()
        assert one.replies[request].kind == "result"
    request = one.submit(encoders=("words",))
    assert kinds(one) == ["generate"], "it is not embedded any more"
    one.settle()
    (warning,) = one.replies[request].warnings
    assert warning.startswith("semantic_failed: 2 workers have ended at this very request")


def test_a_call_can_be_poison() -> None:
    one = world()
    bad = one.call(task=clap("ears"))
    for _ in range(2):
        one.die(one.process())
        come_back(one)
    assert isinstance(error(one, bad), Poisoned) and isinstance(error(one, one.call(task=clap("ears"))), Poisoned)
    other = one.call(task=clap("words"))
    one.settle()
    assert one.replies[other].kind == "result"


def test_what_hangs_twice_is_poison() -> None:
    one = world(task_timeout_s=3.0)
    for kind_of_error in (Timeout, Timeout, Poisoned):
        request = one.submit(recipe=poison())
        for _ in range(3):
            one.send_heartbeats()
            one.pass_time(1.0)
        assert type(error(one, request)) is kind_of_error
        if one.process().doomed:
            one.die(one.process())
            come_back(one)


# -- a breaker that is open ------------------------------------------------------------------------


def open_breaker(**limits: Any) -> World:
    """The worker has crashed too often in a row, at a different request each time."""
    one = world(max_restarts=1, restart_backoff_s=0.0, **limits)
    for number in range(2):
        request = one.submit(recipe=poison(number), max_rounds=1)
        one.die(one.process())
        one.cancel(request)
        while one.process().state in ("spawned", "loading"):
            one.step()
    assert one.scheduler.workers.workers["w"].state == "broken"
    return one


def test_who_can_wait_for_the_probe_waits_and_the_rest_are_told_when() -> None:
    one = open_breaker(breaker_s=20.0)
    patient, late = one.submit(deadline=one.now + 30.0), one.submit(deadline=one.now + 15.0)
    told = one.submit()
    assert patient not in one.replies
    for request in (late, told):
        refused = error(one, request)
        assert isinstance(refused, WorkerDied) and refused.retry_after_ms == 20_000
        assert refused.hint == "its worker is tried again in 20 s"
    one.pass_time(20.0)
    one.settle()
    assert one.replies[patient].kind == "result"
    near = open_breaker(breaker_s=5.0)
    asked = near.submit()
    assert asked not in near.replies, "5 s are near enough without a deadline"
    near.settle()
    assert near.replies[asked].kind == "result"


def test_a_half_open_worker_gets_one_task_at_a_time_and_suspects_last() -> None:
    one = open_breaker(breaker_s=5.0)
    suspect = one.submit(recipe=poison(0))
    first, second = one.submit(), one.submit()
    one.pass_time(5.0)
    one.say_hello(one.process())
    one.get_ready(one.process())
    assert sent(one) == [[first]]
    finish(one)
    assert sent(one) == [[second]], "the breaker is closed"
    one.settle()
    assert one.replies[suspect].kind == "result"


def test_a_probe_that_fails_tells_those_who_cannot_wait_for_the_next() -> None:
    one = open_breaker(breaker_s=8.0)
    asked = one.submit()
    one.pass_time(8.0)
    one.say_hello(one.process())
    one.fail_to_load(one.process(), EngineUnavailable("no memory"))
    refused = error(one, asked)
    assert str(refused) == "no memory" and refused.retry_after_ms == 16_000
    one.settle()
    one.check_nothing_is_left()


def test_a_masters_death_makes_the_sound_anew() -> None:
    """The hand-over's slots died with their reader."""
    one = World([plan("maker", roles="generate"), plan("master", "", "master"), plan("other", "", "master")]).start()
    request = one.submit()
    finish(one, "maker")
    holder = "master" if tasks(one, "master") else "other"
    actions = one.die(one.process(holder))
    assert of(actions, Discard)
    assert [kind(task.work) for task in of(actions, SendTask)] == ["generate"]
    finish(one, "maker")
    one.settle()
    assert one.replies[request].kind == "result"
    one.check_nothing_is_left()


def test_a_killed_worker_comes_back_without_anybodys_help() -> None:
    one = world()
    request = one.submit()
    one.pass_time(LIMITS.heartbeat_s * LIMITS.missed_heartbeats)  # not a word
    assert one.process().doomed
    one.die(one.process())
    deadline = one.scheduler.next_deadline()
    assert deadline is not None
    one.pass_time(deadline - one.now)
    assert one.process().incarnation == 2
    one.settle()
    assert one.replies[request].kind == "result"


@pytest.mark.parametrize("how", ["waiting", "asked after", "handed over", "a call"])
def test_nobody_waits_for_a_worker_that_will_never_come(how: str) -> None:
    one = World([plan("maker", roles="generate"), plan("master", "", "master")])
    one.feed(events.Tick())
    one.say_hello(one.process("maker"))
    one.get_ready(one.process("maker"))
    master = one.process("master")
    one.say_hello(master)

    def fail() -> None:
        one.fail_to_load(master, WorkerStartFailed("no soxr"))

    match how:
        case "waiting":
            one.on_lookup = lambda _: UNRENDERED
            request = one.submit()
            assert request not in one.replies
            fail()
        case "asked after":
            fail()
            one.on_lookup = lambda _: UNRENDERED
            request = one.submit()
        case "handed over":
            fail()
            request = one.submit()
            finish(one, "maker")
        case _:
            fail()
            request = one.call(worker="master")
    assert str(error(one, request)) == "no soxr"
    one.check_nothing_is_left()


def test_calls_that_nobody_can_answer_are_refused_with_the_nearest_name() -> None:
    one = world()
    with_worker, with_engine = one.call(worker="v"), one.call(task=clap("absent"))
    assert isinstance(error(one, with_worker), NotFound)
    assert str(error(one, with_worker)) == "no worker of this pool is named 'v'; there are: w"
    assert isinstance(error(one, with_engine), EngineUnavailable)
    assert "no worker hosts engine 'absent'" in str(error(one, with_engine))
    assert one.replies[one.submit(recipe=recipe("absent"))].kind == "error"


def test_what_a_worker_hosts_is_known_when_it_is_ready() -> None:
    one = World([plan("w")], {"w": "words"})
    one.feed(events.Tick())
    able, unable = one.call(task=clap("words")), one.call(task=clap("ears"))
    one.say_hello(one.process())
    assert not one.replies
    one.get_ready(one.process())
    assert works(one) == [CallWork(job=1, task=clap("words"))] and able not in one.replies
    assert isinstance(error(one, unable), EngineUnavailable)


def test_before_a_worker_is_ready_one_waits_for_it() -> None:
    one = World([plan("w")])
    one.feed(events.Tick())
    request = one.submit()
    one.pass_time(1.0)
    one.say_hello(one.process())
    assert request not in one.replies and not tasks(one)
    one.get_ready(one.process())
    assert sent(one) == [[request]]


# -- time ------------------------------------------------------------------------------------------


def test_a_task_that_takes_too_long_is_answered_and_its_worker_killed() -> None:
    one = world()
    request, behind = one.submit(), one.submit()
    actions: list[Action] = []
    for _ in range(int(LIMITS.task_timeout_s)):
        one.send_heartbeats()
        actions = one.pass_time(1.0)
    assert isinstance(error(one, request), Timeout) and "took over 30 s" in str(error(one, request))
    assert [kill.why for kill in of(actions, KillWorker)] == ["a task took over 30 s"]
    assert behind not in one.replies
    one.settle()
    assert one.replies[behind].kind == "result"


@pytest.mark.parametrize("stage", ["waiting for a worker", "embed", "generate", "master", "render"])
@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_a_caller_leaves_in_any_stage(stage: str, how: str) -> None:
    one = World([plan("maker", roles="generate"), plan("master", "", "master embed")], {"master": "words"})
    if stage != "waiting for a worker":
        one.start()
    if stage == "render":
        one.on_lookup = lambda _: UNRENDERED
    request = one.submit(encoders=("words",) if stage == "embed" else (), deadline=one.now + 2.0)
    if stage == "master":
        finish(one, "maker")
    held = [(name, task) for name in ("maker", "master") for task in (tasks(one, name) if one.processes else [])]
    assert [kind(task.work) for _, task in held] == ([] if stage == "waiting for a worker" else [stage])
    actions = one.pass_time(2.0) if how == "deadline" else one.cancel(request)
    assert isinstance(error(one, request), Expired if how == "deadline" else Cancelled)
    assert [(cancel.worker, cancel.task) for cancel in of(actions, CancelTask)] == [
        (name, task.task) for name, task in held
    ]
    for name, task in held:  # it may have finished all the same
        one.finish(one.process(name), task.task)
    one.check_nothing_is_left()


def test_a_sound_that_is_being_stored_is_stored_though_its_caller_left() -> None:
    one = world()
    request = one.submit()
    finish(one)
    assert not of(one.cancel(request), Discard)
    store(one)
    one.check_nothing_is_left()


def test_a_batch_goes_on_for_those_who_stay() -> None:
    one = batching(max_batch=4)
    one.submit()
    first, second = one.submit(), one.submit()
    finish(one)
    assert not of(one.cancel(first), CancelTask)
    assert len(of(one.cancel(second), CancelTask)) == 1


def test_deadlines_of_the_answered_do_not_pile_up() -> None:
    one = world()
    one.on_lookup = lambda _: HIT
    for number in range(2000):
        one.submit(deadline=one.now + 80_000 - number)
    one.on_lookup = lambda _: None
    soon = one.submit(deadline=one.now + 5.0)
    assert one.scheduler.sizes().deadlines < 200
    one.pass_time(5.0)
    assert isinstance(error(one, soon), Expired)


def test_the_next_deadline_is_the_nearest_of_all() -> None:
    one = World([plan("w")])
    one.feed(events.Tick())
    assert one.scheduler.next_deadline() == one.now + LIMITS.hello_timeout_s
    first, second = one.submit(deadline=one.now + 3.0), one.submit(deadline=one.now + 2.0)
    assert one.scheduler.next_deadline() == one.now + 2.0
    one.cancel(second)
    assert one.scheduler.next_deadline() == one.now + 3.0
    one.cancel(first)
    assert one.scheduler.next_deadline() == one.now + LIMITS.hello_timeout_s
    one.submit()
    one.feed(events.Drain(deadline=one.now + 1.0))
    assert one.scheduler.next_deadline() == one.now + 1.0


def test_a_deadline_that_has_passed_on_arrival() -> None:
    one = world()
    request = one.submit(deadline=one.now)
    assert isinstance(error(one, request), Expired) and not tasks(one)
    assert one.replies[request].kind == "expired"


def test_a_cancel_for_nobody() -> None:
    one = world()
    assert one.cancel(99) == []
    request = one.submit()
    one.settle()
    assert one.cancel(request) == []


# -- limits ----------------------------------------------------------------------------------------


def test_a_full_queue_turns_away_and_says_when() -> None:
    one = World([plan("w", credit=1)], max_requests=4).start()
    for _ in range(40):  # three seconds per task is what it learns
        one.submit()
        one.pass_time(3.0)
        finish(one)
        store(one)
    for _ in range(4):
        one.submit()
    request = one.submit()
    full = error(one, request)
    assert one.replies[request].kind == "busy" and isinstance(full, Busy)
    assert "allowed are 4" in str(full)
    assert 2_900 <= full.retry_after_ms <= 3_100, "about one task"
    finish(one)
    store(one)
    assert one.submit() not in one.replies, "there is room again"


def test_hits_are_answered_though_the_queue_is_full() -> None:
    one = World([plan("w")], max_requests=2).start()
    one.submit()
    one.submit(join=1)
    one.on_lookup = lambda _: HIT
    assert one.replies[one.submit()].kind == "result"
    one.on_lookup = lambda _: None
    assert one.replies[one.submit(join=1)].kind == "busy", "who joins waits, too"
    assert one.replies[one.call()].kind == "busy"


def test_bytes_are_limited_too() -> None:
    one = World([plan("w")], max_bytes=1000).start()
    first = one.submit(size_bytes=900)
    assert one.replies[one.submit(size_bytes=200)].kind == "busy"
    assert one.submit(size_bytes=100) not in one.replies
    one.cancel(first)
    assert one.submit(size_bytes=800) not in one.replies


# -- every client its share ------------------------------------------------------------------------


def busy(one: World, request: int) -> Busy:
    full = error(one, request)
    assert one.replies[request].kind == "busy" and isinstance(full, Busy)
    return full


def finish_one(one: World) -> list[int]:
    """A second passes, the worker finishes its first task, the sound is stored; return whose it was."""
    one.send_heartbeats()
    one.pass_time(1.0)
    whose = sent(one)[0]
    finish(one)
    store(one)
    return whose


def test_a_flood_leaves_a_polite_client_its_turn() -> None:
    one = World([plan("w", "tone hum", credit=1)], max_requests=300).start()
    for number in range(100):  # of several engines, too: the worker is what they share
        one.submit(client="flood", recipe=recipe(("tone", "hum")[number % 2]))
    for _ in range(5):
        polite = one.submit(client="polite")
        served = [finish_one(one) for _ in range(3)]
        assert [polite] in served, "behind what is in hand, and one at most of the flood"
    one.settle()


def test_a_weight_is_a_part_of_the_workers_time() -> None:
    one = World([plan("w", credit=1)], clients={"big": ClientConfig(weight=4.0)}, max_requests=300).start()
    for _ in range(50):
        one.submit(client="big")
        one.submit(client="small")
    served = [one.asked[finish_one(one)[0]].client for _ in range(50)]
    assert 39 <= served.count("big") <= 41


def test_a_client_alone_has_most_of_the_queue_and_a_newcomer_has_room() -> None:
    one = World([plan("w", credit=1)], max_requests=100).start()
    turned_away = [one.submit(client="flood") in one.replies for _ in range(150)]
    assert turned_away.count(False) == 80, "four times what it leaves free"
    assert one.submit(client="polite") not in one.replies
    own = [one.submit() for _ in range(19)]
    assert not set(own) & set(one.replies), "the program itself has the whole queue"
    assert "the queue is full: 100 requests" in str(busy(one, one.submit(client="other")))


def test_a_share_can_be_bounded_by_number_and_bytes() -> None:
    named = {"alice": ClientConfig(max_requests=3, max_bytes=2000)}
    one = World([plan("w")], clients=named, max_requests_per_client=2, max_bytes_per_client=1000).start()
    assert [one.submit(client="bob", size_bytes=10) in one.replies for _ in range(3)] == [False, False, True]
    assert [one.submit(client="alice", size_bytes=10) in one.replies for _ in range(4)] == [False] * 3 + [True]
    assert [one.submit(client="carl", size_bytes=600) in one.replies for _ in range(2)] == [False, True]
    assert one.submit(client="dora", size_bytes=5000) not in one.replies, "a single one is never too large"
    full = busy(one, one.submit(client="bob", size_bytes=10))
    assert "your share of the queue is full: 2 requests of 7, allowed are 2" in str(full)


def test_hits_and_others_are_served_while_one_is_refused() -> None:
    one = World([plan("w")], max_requests_per_client=1).start()
    first = one.submit(client="a", join=1)
    assert busy(one, one.submit(client="a")) and busy(one, one.submit(client="a", join=1)) and busy(
        one, one.call(client="a")
    )
    one.on_lookup = lambda _: HIT
    assert one.replies[one.submit(client="a")].kind == "result"
    one.on_lookup = lambda _: None
    assert one.submit(client="b") not in one.replies and first not in one.replies


def test_what_workers_hold_of_one_client_can_be_bounded() -> None:
    one = World([plan("w", credit=4)], max_running_per_client=2).start()
    asked = [one.submit(client="a") for _ in range(5)]
    other = one.submit(client="b")
    assert sent(one) == [[asked[0]], [asked[1]], [other]]
    one.cancel(asked[0])
    assert len(sent(one)) == 3, "what is cancelled is in hand until the worker says that it has stopped"
    finish(one)
    assert sent(one)[-1] == [asked[2]]


def test_one_client_alone_can_be_bounded() -> None:
    one = World([plan("w", credit=4)], clients={"a": ClientConfig(max_running=1)}).start()
    first, second = one.submit(client="a"), one.submit(client="a")
    others = [one.submit(client="b") for _ in range(2)]
    assert sent(one) == [[first], [others[0]], [others[1]]]
    finish(one)
    assert sent(one)[-1] == [second]


def test_a_bound_holds_within_a_batch() -> None:
    one = batching(max_batch=4, max_running_per_client=2)
    one.submit()
    asked = [one.submit(client=client) for client in "aaaab"]
    finish(one)
    assert sent(one) == [[asked[0], asked[4], asked[1]]], "turn by turn, and no third of one client"


def test_retry_after_is_when_there_will_be_room() -> None:
    one = World([plan("w", credit=2)], max_requests=4).start()
    for _ in range(30):
        one.submit()
        finish_one(one)  # a second each
    for _ in range(4):
        one.submit(client="a")
    one.send_heartbeats()
    one.pass_time(0.6)
    full = busy(one, one.submit(client="b"))
    assert full.retry_after_ms == 400, "when the task in hand ends"
    one.pass_time(full.retry_after_ms / 1000)
    finish(one)
    store(one)
    assert one.submit(client="b") not in one.replies


def test_retry_after_of_a_full_share_is_when_something_of_its_own_ends() -> None:
    one = World([plan("w", credit=3)], max_requests_per_client=2).start()
    for _ in range(30):
        one.submit()
        finish_one(one)
    one.submit(client="b")
    for _ in range(2):
        one.submit(client="a")
    full = busy(one, one.submit(client="a"))
    assert full.retry_after_ms == 2000, "its first is the second in the worker's hands"
    with_nothing_in_hand = World([plan("w")], max_requests_per_client=1)
    with_nothing_in_hand.feed(events.Tick())
    with_nothing_in_hand.submit(client="a")
    full = busy(with_nothing_in_hand, with_nothing_in_hand.submit(client="a"))
    assert full.retry_after_ms == 2000, "nothing is known yet: a second for what goes before, and one for itself"


def test_bounds_and_weights_can_be_changed_while_it_runs() -> None:
    one = World([plan("w", credit=1)], max_requests_per_client=1).start()
    one.submit(client="a")
    assert busy(one, one.submit(client="a"))
    one.feed(
        events.Reconfigure(
            limits=one.limits,
            queue=msgspec.structs.replace(one.queue, max_requests_per_client=5),
            clients={"a": ClientConfig(max_requests=3)},
        )
    )
    one.rules.change(one.queue, {"a": ClientConfig(max_requests=3)})
    assert [one.submit(client="a") in one.replies for _ in range(3)] == [False, False, True]


# -- hangs -----------------------------------------------------------------------------------------


def test_a_task_that_gets_no_further_hangs_by_what_its_like_has_taken() -> None:
    one = world(task_timeout_s=300.0, hang_factor=20.0, hang_floor_s=5.0, hang_unknown_s=60.0)
    for _ in range(10):
        one.submit()
        finish_one(one)  # a second each: 20 s are its limit
    asked, other = one.submit(), one.submit(recipe=recipe(steps=99))
    for _ in range(19):
        one.send_heartbeats()
        one.pass_time(1.0)
    assert asked not in one.replies
    one.send_heartbeats()
    (kill,) = of(one.pass_time(1.0), KillWorker)
    assert kill.at_once and kill.why == "a task got no further for 20 s"
    assert isinstance(error(one, asked), Timeout) and other not in one.replies
    one.settle()
    one.check_nothing_is_left()


def test_a_slow_task_that_gets_on_does_not_hang() -> None:
    one = world(task_timeout_s=100.0, hang_unknown_s=10.0)
    request = one.submit()
    (task,) = tasks(one)
    for second in range(99):
        one.send_heartbeats()
        if second % 9 == 0:
            one.feed(progressed(task, attempt=1))
        one.pass_time(1.0)
    assert request not in one.replies
    one.send_heartbeats()
    (kill,) = of(one.pass_time(1.0), KillWorker)
    assert kill.why == "a task took over 100 s", "but not for ever"


def test_what_was_never_done_before_has_more_time() -> None:
    one = world(task_timeout_s=300.0, hang_unknown_s=60.0, hang_floor_s=5.0)
    one.submit()
    deadline = one.scheduler.next_deadline()
    one.scheduler.workers.heartbeat("w", 1, one.now + 1000.0)
    assert one.scheduler.next_deadline() == one.now + 60.0 and deadline is not None


# -- events and the end ----------------------------------------------------------------------------


def progressed(task: SendTask, attempt: int) -> events.TaskProgress:
    progress = Progress(stage="generate", done=1, total=4, fraction=0.25)
    return events.TaskProgress(worker="w", incarnation=1, task=task.task, attempt=attempt, progress=progress)


def chunked(task: SendTask, job: int, attempt: int = 1) -> events.TaskChunk:
    part = Chunk(number=0, start=0, frames=2, sample_rate=8000, channels=1, encoding="s16le", data=b"abcd")
    return events.TaskChunk(worker="w", incarnation=1, task=task.task, attempt=attempt, job=job, chunk=part)


def test_chunks_go_to_those_who_want_them() -> None:
    one = world()
    loud, quiet = one.submit(join=1, events=True, stream=True), one.submit(join=1, stream=True)
    late_before = one.submit(join=1, events=True, stream=True)
    (task,) = tasks(one)
    (job,) = jobs_of(task.work)
    sent = of(one.feed(chunked(task, job)), SendChunk)
    assert {notice.request for notice in sent} == {loud, late_before} and sent[0].chunk.data == b"abcd"
    assert not of(one.feed(chunked(task, job, attempt=2)), SendChunk), "of no attempt that is under way"
    assert not of(one.feed(chunked(task, job + 1)), SendChunk), "of no job of this task"
    assert quiet not in {notice.request for notice in one.notices}
    one.settle()
    one.check_nothing_is_left()


def test_chunks_of_what_is_not_streamed_are_dropped() -> None:
    one = world()
    one.submit(events=True)
    (task,) = tasks(one)
    assert not of(one.feed(chunked(task, *jobs_of(task.work))), SendChunk)


def test_a_stream_is_mastered_where_it_is_made_and_alone() -> None:
    one = World([plan("w", roles="generate"), plan("m", roles="master")]).start()
    one.batching = frozenset(("tone",))
    one.submit(stream=True)
    (task,) = tasks(one)
    assert task.work.master_here and task.work.stream
    one = World([plan("w", credit=1)])
    one.batching = frozenset(("tone",))
    one.start()
    one.submit(recipe=recipe(prompt="first"))  # what comes now waits, and could go together
    for prompt, stream in (("a", True), ("b", False), ("c", True), ("d", False)):
        one.submit(stream=stream, recipe=recipe(prompt=prompt))
    one.settle()
    sent = [task.work for task in of(one.actions, SendTask) if isinstance(task.work, GenerateWork)]
    batches = [one.asked[job.request].recipe.prompt for work in sent for job in work.jobs]
    assert sorted(batches) == ["a", "b", "c", "d", "first"]
    streamed = [work for work in sent if any(one.asked[job.request].stream for job in work.jobs)]
    assert len(streamed) == 2 and all(work.stream and len(work.jobs) == 1 for work in streamed)
    assert [len(work.jobs) for work in sent if not work.stream] == [1, 2], "those that can go together do"


def test_a_stream_that_has_begun_is_not_begun_again() -> None:
    one = world()
    begun, waiting = one.submit(events=True, stream=True), one.submit(recipe=recipe(prompt="other"), stream=True)
    task = tasks(one)[0]
    one.feed(chunked(task, *jobs_of(task.work)))
    one.die(one.process())
    assert isinstance(error(one, begun), WorkerDied) and waiting not in one.replies, "of the other nothing was sent"
    one.settle()
    one.check_nothing_is_left()


def test_events_go_to_those_who_want_them() -> None:
    one = world()
    loud, quiet = one.submit(join=1, events=True), one.submit(join=1)
    (task,) = tasks(one)
    (notice,) = of(one.feed(progressed(task, attempt=1)), SendProgress)
    assert notice.request == loud and notice.body.fraction == 0.25
    assert not of(one.feed(progressed(task, attempt=2)), SendProgress)
    assert quiet not in {notice.request for notice in one.notices}
    assert [type(notice) for notice in one.notices] == [SendAccepted, SendProgress]


def test_a_caller_hears_how_many_go_before_it() -> None:
    one = World([plan("w", "tone hum", credit=1)], {"w": "words"}).start()
    in_hand = one.submit(events=True, join=1)
    normal = [one.submit(events=True) for _ in range(3)]
    urgent = one.submit(events=True, priority=0)
    of_another = one.submit(events=True, recipe=recipe("hum"))
    looked_up = one.submit(events=True, encoders=("words",))
    joins = one.submit(events=True, join=1)
    positions = {
        notice.request: notice.body.queue_position
        for notice in one.notices
        if isinstance(notice, SendAccepted)
    }
    assert [positions[request] for request in (*normal, looked_up)] == [0, 1, 2, 4]
    assert [positions[request] for request in (in_hand, urgent, of_another, joins)] == [0, 0, 0, 0]


def test_what_waits_on_a_worker_behind_another_has_not_started() -> None:
    one = World([plan("w", "tone", credit=2)], {"w": "words"}).start()
    started = one.scheduler.has_started
    jobs = [one.scheduler.requests[one.submit()].job for _ in range(3)]
    assert len(tasks(one)) == 2
    looked_up = one.scheduler.requests[one.submit(encoders=("words",))].job
    assert [started(job) for job in (*jobs, looked_up)] == [True, False, False, False]
    finish(one)
    assert [started(job) for job in jobs] == [True, True, False], "the first is being stored"


def test_a_drain_finishes_what_is_here_and_takes_nothing_new() -> None:
    one = world()
    request = one.submit()
    one.feed(events.Drain(deadline=one.now + 10.0))
    assert isinstance(error(one, one.submit()), PoolClosed) and isinstance(error(one, one.call()), PoolClosed)
    finish(one)
    assert not one.process().stopping
    store(one)
    assert one.replies[request].kind == "result" and one.process().stopping
    one.stop()
    one.check_nothing_is_left()


def test_a_drain_that_is_over_still_waits_for_a_sound_that_is_being_stored() -> None:
    one = world()
    request = one.submit()
    finish(one)
    one.cancel(request)
    one.feed(events.Drain(deadline=one.now + 1.0))
    one.pass_time(2.0)
    assert one.scheduler.jobs and not one.process().stopping, "nobody waits for it, but it is worth keeping"
    store(one)
    assert one.process().stopping
    one.stop()
    one.check_nothing_is_left()


def test_a_drain_ends_in_time() -> None:
    one = world()
    asked = [one.submit() for _ in range(4)]
    one.feed(events.Drain(deadline=one.now + 3.0))
    one.pass_time(3.0)
    assert all(isinstance(error(one, request), PoolClosed) for request in asked)
    assert one.process().stopping
    deadline = one.scheduler.next_deadline()
    assert deadline is not None and deadline > one.now, "the loop does not spin while the workers end"
    one.stop()


def test_calls_run_beside_sounds() -> None:
    one = world()
    for _ in range(3):
        one.submit()
    request = one.call(task=EchoTask(payload=b"hello"))
    task = tasks(one)[-1]
    work = CallWork(job=4, task=EchoTask(payload=b"hello"))
    assert task.work == work, "the aux thread does not wait for the other"
    one.finish(one.process(), task.task)
    assert one.replies[request].value == CallReply(called=Called(body={"payload": b"hello"}))


# -- what is remembered ----------------------------------------------------------------------------


def test_sizes_count_everything_that_is_under_way() -> None:
    one = World([plan("w", credit=1)]).start()
    one.submit(join=1, size_bytes=10, deadline=one.now + 50.0)
    one.submit(join=1, size_bytes=20)
    one.submit(join=2, size_bytes=30)
    assert one.scheduler.sizes() == (3, 2, 1, 2, 1, 60, 0) and not one.scheduler.idle
    one.settle()
    one.check_nothing_is_left()


# -- tasks that ignore their cancel, and tasks that got lost ---------------------------------------


@pytest.mark.parametrize("by_deadline", [False, True])
def test_a_task_that_ignores_its_end_costs_its_worker_and_no_neighbour(by_deadline: bool) -> None:
    one = world(max_attempts=1)
    hung = one.submit(deadline=one.now + 2.0 if by_deadline else None)
    behind = one.submit(recipe=recipe(prompt="behind"))
    beside = one.call()
    if by_deadline:
        one.pass_time(2.0)
    else:
        one.cancel(hung)
    process = one.process()
    cancelled = tasks(one)[0].task
    assert process.tasks[cancelled].cancelled and isinstance(error(one, hung), Expired if by_deadline else Cancelled)
    assert not of(one.pass_time(0.9), KillWorker)
    (kill,) = of(one.pass_time(0.2), KillWorker)
    assert "after its cancel" in kill.why
    one.die(process)
    come_back(one)
    finish(one)
    finish(one)
    store(one)
    assert one.replies[behind].kind == "result"
    assert one.replies[beside].kind == "result", "not tried again for its own fault: it may be tried once only"


def test_a_long_step_is_waited_for() -> None:
    one = world()
    request = one.submit()
    (task,) = tasks(one)
    one.cancel(request)
    one.now += 0.01
    one.report(one.process(), ("generate", task.task, 6.0), ("aux", 0, 0.0), known=[task.task])
    one.pass_time(3.0)
    one.send_heartbeats()
    assert not of(one.pass_time(2.9), KillWorker)
    one.fail(one.process(), task.task, Cancelled("cancelled"))
    assert not of(one.pass_time(1.0), KillWorker)


def test_a_task_that_got_lost_is_tried_again() -> None:
    one = world()
    request = one.submit()
    (lost,) = tasks(one)
    for _ in range(4):
        one.now += 1.0
        one.report(one.process(), ("generate", 0, 0.0), ("aux", 0, 0.0))
    again = tasks(one)[-1]
    assert again.task != lost.task and again.attempt == 2
    assert one.process().tasks[lost.task].cancelled, "it may turn up yet"
    one.finish(one.process(), lost.task)  # it does: its sound is of no use any more
    one.finish(one.process(), again.task)
    store(one)
    assert one.replies[request].kind == "result"


def test_a_task_that_gets_lost_again_and_again_is_given_up() -> None:
    one = world()
    request = one.submit()
    for _ in range(9):
        one.now += 1.0
        one.report(one.process(), ("generate", 0, 0.0), ("aux", 0, 0.0))
    told = error(one, request)
    assert isinstance(told, WorkerError) and "lost a task (tried 2 times)" in told.message


def test_the_tasks_of_a_worker_that_talks_nonsense_are_tried_again_and_it_is_named() -> None:
    one = world()
    request = one.submit()
    (kill,) = of(one.feed(events.WorkerMisspoke(worker="w", incarnation=1, reason="junk")), KillWorker)
    assert "it sent what is no message (junk)" in kill.why
    one.die(one.process())
    come_back(one)
    assert tasks(one)[0].attempt == 2
    one.feed(events.WorkerMisspoke(worker="w", incarnation=2, reason="more junk"))
    one.die(one.process())
    told = error(one, request)
    assert isinstance(told, WorkerDied) and "it sent what is no message (more junk)" in told.message


# -- how often workers are looked at ---------------------------------------------------------------


def silent_in(seconds: float) -> World:
    """A world that has just looked at its worker, which counts as silent that much later."""
    one = World([plan("w")]).start()
    one.scheduler.workers.workers["w"].last_sign = one.now + seconds - LIMITS.heartbeat_s * LIMITS.missed_heartbeats
    one.feed(events.Tick())
    return one


def nothing_happens(one: World) -> list[KillWorker]:
    """Feed an event that changes nothing, past the loop that would tick at once; return who is killed at it."""
    stranger = events.Heartbeat(worker="nobody", incarnation=1)
    return [action for action in one.scheduler.handle(stranger, one.now) if isinstance(action, KillWorker)]


def test_between_ticks_workers_are_looked_at_every_20_ms_and_no_more_often() -> None:
    one = silent_in(0.001)
    one.now += 0.0199
    assert not nothing_happens(one), "at thousands of events a second it would cost most"
    one.now += 0.0001
    assert len(nothing_happens(one)) == 1
    again = silent_in(0.025)
    again.now += 0.02
    assert not nothing_happens(again), "a look, before it is silent"
    again.now += 0.019
    assert not nothing_happens(again), "20 ms count from the last look"
    again.now += 0.0011
    assert len(nothing_happens(again)) == 1


def test_a_tick_and_a_death_look_at_once() -> None:
    one = silent_in(0.001)
    one.now += 0.002
    assert [type(action) for action in one.scheduler.handle(events.Tick(), one.now)] == [KillWorker]
    dying = World([plan("w")], restart_backoff_s=0.0).start()
    dying.feed(events.Tick())
    dying.now += 0.001
    exited = events.WorkerExited(worker="w", incarnation=1, reason="signal SIGKILL")
    (spawn,) = dying.scheduler.handle(exited, dying.now)
    assert spawn == SpawnWorker(worker="w", incarnation=2), "without the pause of a look"
