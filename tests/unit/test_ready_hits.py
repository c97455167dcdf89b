"""Hits answered at once: the same answer as by a job, and never one that would not be found anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.support.cache_sounds import write_flac
from tests.support.requests import engine, request
from tests.support.routed import Caller, Routed

from audio_pool.cache.judgements import Given
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.inscription import inscribed
from audio_pool.pool.caller import HOST
from audio_pool.pool.replies import Reply
from audio_pool.reports import Timings
from audio_pool.results import FinishedSound, RenditionReport, SoundMetadata
from audio_pool.scheduler import events
from audio_pool.tasks import GenerateTask, MasteredSound, Rendered, RenderTask

FIELDS = {"prompt": "rain", "tags": ["night"], "metadata": {"scene": 1}}


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Routed]:
    made = Routed(tmp_path, (engine(),), defaults={"engine": "tone", "format": "flac"}).start()
    yield made
    made.close()


def submit(pool: Routed, name: str = "r", **fields: Any) -> Caller:
    caller = Caller(name)
    pool.intake.submit_fields({**FIELDS, **fields}, caller.sink, events_wanted=True, size_bytes=50)
    return caller


def make(pool: Routed, **fields: Any) -> Caller:
    """Let the worker make what is asked for."""
    caller = submit(pool, **fields)
    task = pool.run().task
    assert isinstance(task, GenerateTask)
    (part,) = task.parts
    path = write_flac(Path(part.mastering.directory) / f"{part.mastering.name}.flac", part.job)
    metadata = structs.replace(part.mastering.metadata, engine="tone", sample_rate=44_100, model="models/tone")
    metadata = inscribed(part.recipe, metadata, part.mastering.rendition)
    sound = FinishedSound(path=str(path), recipe=part.recipe, metadata=metadata, accepted=True)
    pool.done({part.job: MasteredSound(sound=sound, score=50.0)})
    pool.write()
    return caller


def jobs(pool: Routed, monkeypatch: pytest.MonkeyPatch) -> list[events.Event]:
    """What the scheduler is told from now on."""
    seen: list[events.Event] = []
    handle = pool.scheduler.handle
    monkeypatch.setattr(pool.scheduler, "handle", lambda event, now: seen.append(event) or handle(event, now))
    return seen


def told(reply: Reply) -> SoundMetadata:
    assert reply.kind == "result" and reply.metadata is not None, reply
    return structs.replace(reply.metadata, request_id="", cache_age_seconds=0.0, timings_ms=Timings())


def test_the_answer_is_the_one_that_a_job_would_give(pool: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    make(pool)
    ready, pool.intake._ready = pool.intake._ready, None
    by_job = submit(pool).reply
    pool.intake._ready = ready
    seen = jobs(pool, monkeypatch)
    at_once = [submit(pool, name).reply for name in ("one", "two", "three")]
    assert not seen and not pool.requests, "no job, and nothing is left open"
    assert [told(reply) for reply in at_once] == 3 * [told(by_job)]
    assert [reply.path for reply in at_once] == 3 * [by_job.path]
    assert [reply.metadata.request_id for reply in at_once] == ["one", "two", "three"]  # type: ignore[union-attr]
    last = at_once[-1].metadata
    assert last is not None and last.timings_ms.total > 0 and (last.cache_age_seconds or 0) > 0
    assert last.tags == ("night",) and last.labels == {"scene": 1} and last.requested_prompt == "rain"
    assert pool.executor.cache_types == {"new_generation": 1, "exact": 4}
    assert pool.requests.answers == {"result": 5} and pool.requests.delivered.find(HOST.owner, "two") is not None
    assert pool.cache is not None
    pool.cache.usage.write_down()
    assert pool.cache.store.uses.of([1])[1].hits == 4


def test_what_is_removed_judged_or_damaged_is_not_answered_again(pool: Routed) -> None:
    cache = pool.cache
    assert cache is not None
    other = SoundCache(cache.store.location)
    try:
        make(pool)
        for undo in ("denied", "damaged", "gone", "removed"):
            entry = submit(pool).reply.metadata
            assert entry is not None and entry.entry_id is not None and submit(pool).replies
            path = Path(submit(pool).reply.path or "")
            match undo:
                case "denied":
                    given = Given("default", "rain", "rain", "wrong", "manager", entry.entry_id)
                    other.learn([given])
                    assert not submit(pool).replies, "another process's judgement counts at once"
                    other.learn([given._replace(verdict="right")])
                case "damaged":
                    path.chmod(0o600)
                    path.write_bytes(path.read_bytes()[:-1])
                    assert not submit(pool).replies
                    make(pool, force=True)
                case "gone":
                    os.rename(path, f"{path}.aside")
                    assert not submit(pool).replies
                    os.rename(f"{path}.aside", path)
                case "removed":
                    other.remove([entry.entry_id])
                    assert not submit(pool).replies, "another process has removed it"
    finally:
        other.close()


def test_a_second_sound_of_the_same_words_is_drawn_too(pool: Routed) -> None:
    make(pool)
    first = submit(pool, temperature=10.0).reply.path
    second = make(pool, force=True, temperature=10.0).reply.path
    drawn = {submit(pool, temperature=10.0, variant_seed=number).reply.path for number in range(24)}
    assert drawn == {first, second}


def test_another_format_is_made_once_and_then_ready(pool: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    make(pool)
    looked: list[int] = []
    find = SoundCache.find_exact
    monkeypatch.setattr(SoundCache, "find_exact", lambda *given: looked.append(1) or find(*given))
    rendered = submit(pool, format="ogg")
    assert looked == [1], "the job goes on with what was found"
    task = pool.run().task
    assert isinstance(task, RenderTask)
    Path(task.out).write_bytes(b"OggS")
    pool.done({task.job: Rendered(path=task.out, report=RenditionReport(format="ogg", sample_rate=44_100))})
    pool.write()
    seen = jobs(pool, monkeypatch)
    again = [submit(pool, format="ogg").reply for _ in range(3)]
    assert {reply.path for reply in again} == {rendered.reply.path} and not seen
    Path(rendered.reply.path or "").unlink()
    assert not submit(pool, format="ogg").replies and seen, "its file is looked at every time"


def test_a_draining_pool_and_one_that_is_down_answer_nothing_more(pool: Routed) -> None:
    make(pool)
    assert submit(pool).reply.kind == "result"
    pool.feed(events.Drain(deadline=1e12))
    assert submit(pool).reply.kind == "error"
    pool.router.failure = RuntimeError("down")
    assert submit(pool).reply.kind == "error"


def test_other_engines_or_settings_make_nothing_ready_of_before(pool: Routed) -> None:
    make(pool)
    submit(pool)
    before = submit(pool).reply.metadata
    defaults = structs.replace(pool.config.defaults, candidates=3)
    pool.intake.configure(structs.replace(pool.config, defaults=defaults))
    after = submit(pool).reply.metadata
    assert before is not None and after is not None and before.present_settings != after.present_settings


def test_a_look_up_that_fails_is_told_and_the_sound_is_made(pool: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    make(pool)
    submit(pool)

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(SoundCache, "found_again", broken)
    monkeypatch.setattr(SoundCache, "find_exact", broken)
    reply = make(pool).reply
    assert reply.metadata is not None and any("cache_unreadable" in one for one in reply.metadata.warnings)


def test_a_reply_that_meets_a_bug_is_an_error_of_that_request_alone(
    pool: Routed, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(pool)

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(pool.executor, "on_answer", broken)
    failed = submit(pool).reply
    assert failed.kind == "error" and failed.failure is not None and failed.failure.code == "internal"
    monkeypatch.undo()
    assert submit(pool).reply.kind == "result" and not pool.requests


def test_who_joins_a_job_does_not_hold_on_to_what_was_not_found(pool: Routed) -> None:
    for _ in range(2):
        pool.intake.submit(request(prompt="hail"), Caller().sink)
    assert [asked.looked_up for asked in pool.requests.values()] == [None, None]
