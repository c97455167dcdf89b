"""What a front end can ask of a pool beside sounds; and one answer to each question."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.support.cache_sounds import sound
from tests.support.requests import engine, request
from tests.support.routed import Caller, Routed

from audio_pool.api import CacheStats, Cancellation, FeedbackNoted, PictureReport
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.errors import AudioPoolError, Busy, EngineUnavailable, InvalidRequest, NotFound, Refused
from audio_pool.pool.caller import HOST
from audio_pool.pool.replies import Reply
from audio_pool.results import Failure, SoundMetadata
from audio_pool.tasks import Called, ClapTask, DrawTask, Rejected
from audio_pool.types import Delivery, Picture

Build = Callable[..., Routed]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    made: list[Routed] = []

    def build(**sections: Any) -> Routed:
        made.append(Routed(tmp_path, **sections))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def pool(build: Build) -> Routed:
    return build().start()


# -- cancel ----------------------------------------------------------------------------------------


def test_a_request_is_cancelled_by_its_number_or_its_name(pool: Routed) -> None:
    one, other = Caller("one"), Caller("other")
    number = pool.intake.submit(request(force=True), one.sink)
    pool.intake.submit(request(force=True), other.sink)
    assert pool.service.cancel("?", number) == Cancellation(target="?", cancelled=True)
    assert pool.service.cancel("other") == Cancellation(target="other", cancelled=True)
    assert one.reply.kind == other.reply.kind == "cancelled"
    assert pool.service.cancel("other") == Cancellation(target="other", cancelled=False)


def test_what_waits_can_be_cancelled_without_what_has_started(build: Build) -> None:
    pool = build(workers=[{"name": "w", "engines": ["tone"], "credit": 1}]).start()
    callers = [Caller(str(number)) for number in range(3)]
    numbers = [pool.intake.submit(request(force=True), one.sink) for one in callers]
    pool.service.cancel_waiting([*numbers, 99])
    assert [len(one.replies) for one in callers] == [0, 1, 1]


# -- the cache's figures ---------------------------------------------------------------------------


def test_statistics_are_counted_elsewhere_and_awaited(pool: Routed) -> None:
    assert pool.cache is not None
    pool.cache.put(sound(pool.incoming), {})
    caller = Caller()
    pool.service.cache_stats(caller.sink)
    assert caller.replies == [] and len(pool.requests) == 1, "or a pool that stops now would leave it unanswered"
    pool.write()
    stats = caller.reply.body
    assert isinstance(stats, CacheStats) and stats.total_items == 1 and not pool.requests


def test_however_many_ask_for_statistics_at_once_they_are_counted_twice_at_most(
    pool: Routed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pool.cache is not None
    counts, real = [], AudioSemanticCache.get_cache_stats
    monkeypatch.setattr(AudioSemanticCache, "get_cache_stats", lambda self: (counts.append(1), real(self))[1])
    pool.cache.put(sound(pool.incoming), {})
    crowd = [Caller(str(number)) for number in range(1000)]
    for caller in crowd:
        pool.service.cache_stats(caller.sink)
    assert len(pool.writer.waiting) == 1, "a stranger's questions are before nobody's sound"
    pool.write()
    assert len(counts) == 2 and not pool.requests
    bodies = [caller.reply.body for caller in crowd]
    assert all(isinstance(body, CacheStats) and body.total_items == 1 for body in bodies)
    late = Caller()
    pool.service.cache_stats(late.sink)
    pool.write()
    assert len(counts) == 3 and late.reply.kind == "result"


def test_a_bug_in_the_statistics_is_an_answer_too(pool: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AudioSemanticCache, "get_cache_stats", lambda self: {}["a bug"])
    caller = Caller()
    pool.service.cache_stats(caller.sink)
    pool.write()
    assert caller.reply.kind == "error" and caller.reply.failure is not None
    assert caller.reply.failure.code == "internal" and "its log says more" in caller.reply.failure.message


def test_a_pool_without_a_cache_has_no_statistics(build: Build) -> None:
    pool = build(cache={"enabled": False})
    with pytest.raises(NotFound, match="the cache is off"):
        pool.service.cache_stats(Caller().sink)
    assert not pool.requests


# -- pictures --------------------------------------------------------------------------------------


def draw(pool: Routed, entry: int, delivery: Delivery = "path") -> Caller:
    """Asks for a picture, as far as the worker's part."""
    caller = Caller()
    pool.service.pictures.ask(entry, "default", Picture(), delivery, caller.sink)
    pool.write()
    return caller


def test_a_picture_is_drawn_by_a_worker_kept_and_found_again(pool: Routed) -> None:
    assert pool.cache is not None
    entry = pool.cache.put(sound(pool.incoming), {}).id or 0
    first = draw(pool, entry)
    task = pool.run().task
    assert isinstance(task, DrawTask) and first.replies == []
    Path(task.out).write_bytes(b"a picture")
    pool.done({task.job: Called(body={})})
    pool.write()
    assert isinstance(first.reply.body, PictureReport) and first.reply.body.path is not None
    assert Path(first.reply.body.path).read_bytes() == b"a picture" and not Path(task.out).exists()
    second = draw(pool, entry, "inline")
    assert (second.reply.body, second.reply.data) == (PictureReport(entry=entry), b"a picture")
    assert not pool.requests


def test_a_worker_that_drew_nothing_and_an_entry_that_is_not_there_are_errors(pool: Routed) -> None:
    assert pool.cache is not None
    entry = pool.cache.put(sound(pool.incoming), {}).id or 0
    caller = draw(pool, entry)
    pool.done({1: Called(body={"path": "/etc/passwd"})})
    pool.write()
    assert caller.reply.failure is not None and caller.reply.failure.message.startswith("the worker says")
    assert draw(pool, 99).reply.failure == Failure.of(NotFound("namespace 'default' has no entry 99"))
    caller = draw(pool, entry)
    pool.done({2: Rejected(failure=Failure(code="invalid_audio", message="torn"))})
    pool.write()
    assert caller.reply.failure is not None and caller.reply.failure.message == "torn"
    assert not pool.requests


def test_only_so_many_pictures_are_under_way(pool: Routed) -> None:
    for _ in range(64):
        pool.service.pictures.ask(1, "default", Picture(), "path", Caller().sink)
    with pytest.raises(Busy, match="64 pictures"):
        pool.service.pictures.ask(1, "default", Picture(), "path", Caller().sink)
    pool.write()
    assert not pool.requests and draw(pool, 1).reply.kind == "error"


# -- small questions -------------------------------------------------------------------------------


def test_feedback_is_noted_and_counted(pool: Routed) -> None:
    caller = Caller()
    pool.service.feedback("r1", "good", "lovely", caller.sink)
    assert caller.reply.body == FeedbackNoted(target="r1")
    pool.service.feedback("r2", "good", "", Caller().sink)
    pool.service.feedback("r3", "bad_sound", "", Caller().sink)
    assert not pool.requests
    assert pool.view.status().clients == {"feedback_good": 2, "feedback_bad_sound": 1}


def test_a_sound_is_judged_by_whom_it_was_delivered_to(pool: Routed) -> None:
    owner = structs.replace(HOST, operator=False, owner="key", client="key", connection="c")
    assert pool.cache is not None
    kept = pool.cache.put(sound(pool.cache.incoming), {}).id
    metadata = SoundMetadata(matched_prompt="rain on a tin roof", entry_id=kept, cache_type="canonical")
    resolved = pool.intake.resolve(request("the rain on a tin roof"))
    for name, caller in (("mine", owner), ("a job of mine", owner.for_job())):
        number = pool.requests.open(Caller(name).sink, resolved, caller)
        pool.requests.finish(number, Reply(kind="result", path="/x", metadata=metadata))
        assert pool.service.delivered_to(owner, name)
        assert not pool.service.delivered_to(structs.replace(owner, owner="other"), name)
        judging = Caller()
        pool.service.feedback(name, "wrong", "", judging.sink, caller=owner)
        pool.write()
        assert judging.reply.body == FeedbackNoted(target=name, effect="denied")
    (judgement,) = pool.cache.store.judgements.newest(9)
    assert (judgement.given.query, judgement.given.entry_id) == ("the rain on a tin roof", None)
    stranger = Caller()
    pool.service.feedback("mine", "wrong", "", stranger.sink, caller=structs.replace(owner, owner="other"))
    assert stranger.reply.body == FeedbackNoted(target="mine"), "of others' sounds nothing is learnt"


def test_an_echo_goes_through_a_worker_and_back(pool: Routed) -> None:
    caller = Caller()
    pool.service.echo(b"hello", caller.sink, worker="w")
    pool.done({1: Called(body={"payload": b"hello"})})
    assert caller.reply.body == Called(body={"payload": b"hello"})


def test_clap_is_asked_of_the_configured_scorer(build: Build) -> None:
    pool = build(cache={"scorer": "clap"}).start(engine("clap", role="scorer"))
    caller = Caller()
    number = pool.service.hearing.ask("similarity", ["a"], ["/x.wav"], caller.sink, size_bytes=5)
    task = ClapTask(job=1, engine="clap", operation="similarity", texts=["a"], paths=["/x.wav"])
    assert number in pool.requests and pool.run().task == task
    pool.done({1: Called(body={"similarity": [[1.0]]})})
    assert caller.reply.body == Called(body={"similarity": [[1.0]]})


@pytest.mark.parametrize(
    ("operation", "texts", "paths", "message"),
    [
        ("zero-shot", [], ["/x.wav"], "zero-shot: needs at least one of texts"),
        ("zero-shot", ["a"], [], "zero-shot: needs at least one of texts"),
        ("embed", [], [], "embed: texts, paths and sounds are all empty"),
        ("embed", [], ["/x.wav", "y.wav"], "paths: given 'y.wav', allowed are absolute paths"),
    ],
)
def test_what_clap_needs_is_checked_first(
    build: Build, operation: Any, texts: list[str], paths: list[str], message: str
) -> None:
    pool = build(cache={"scorer": "clap"})
    with pytest.raises(InvalidRequest, match=message):
        pool.service.hearing.ask(operation, texts, paths, Caller().sink)
    assert not pool.requests


def test_without_a_scorer_there_is_no_clap(pool: Routed) -> None:
    with pytest.raises(EngineUnavailable, match="no CLAP is configured") as caught:
        pool.service.hearing.ask("embed", ["a"], [], Caller().sink)
    assert 'cache.scorer = "clap"' in caught.value.hint


# -- refusals --------------------------------------------------------------------------------------


def test_an_error_of_ours_is_told_as_it_is_and_a_bug_is_called_one(pool: Routed) -> None:
    refused = Refused("not here")
    assert pool.service.refusal(refused) is refused
    bug = pool.service.refusal(KeyError("x"))
    assert type(bug) is AudioPoolError and "a bug in the server" in bug.message
