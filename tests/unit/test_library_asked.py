"""Kept sounds asked of a pool that is driven by hand: whose rights, whose namespace, which worker's vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from tests.support.cache_sounds import recipe, sound
from tests.support.requests import engine
from tests.support.routed import Caller, Routed

from audio_pool.errors import Busy, EngineUnavailable, NotFound, Refused
from audio_pool.library import FileForm, KeptSound, KeptSounds, SoundMarks, SoundsChanged, SoundSearch
from audio_pool.pool import bulk, library
from audio_pool.pool.caller import HOST
from audio_pool.results import Failure, RenditionReport
from audio_pool.scheduler import events
from audio_pool.tasks import Embedded, EmbedTask, Rejected, Rendered, RenderTask
from audio_pool.types import Picture

X, Y = np.eye(4, dtype=np.float32)[:2]
ANYBODY = structs.replace(HOST, operator=False, owner="c", client="c", connection="c")
TENANT = structs.replace(ANYBODY, owner="key", client="key", namespace="game")


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Routed]:
    routed = Routed(tmp_path, encoders=("minilm",)).start(engine("minilm", role="embedder"))
    yield routed
    routed.close()


def keep(pool: Routed, prompt: str, vector: Any = X, namespace: str = "default") -> int:
    assert pool.cache is not None
    made = sound(pool.cache.incoming, prompt)
    described = recipe(prompt, seed=1, namespace=namespace)
    return pool.cache.put(structs.replace(made, recipe=described), {"minilm@int8": vector}).id or 0


def asked(pool: Routed, caller: Any = HOST, result: Any = None, **fields: Any) -> Any:
    asking = Caller()
    pool.service.library.search(SoundSearch(**fields), asking.sink, caller=caller)
    if result is not None:
        task = pool.run().task
        assert isinstance(task, EmbedTask)
        pool.done({task.job: result})
    pool.write()
    return asking.reply


def test_a_meaning_is_embedded_by_a_worker_and_the_nearest_come_first(pool: Routed) -> None:
    far, near = keep(pool, "hail", Y), keep(pool, "rain", X)
    body = asked(pool, result=Embedded(vectors={"minilm": X.tobytes()}), meaning="a shower").body
    assert isinstance(body, KeptSounds)
    assert [(one.id, one.score) for one in body.sounds] == [(near, 1.0), (far, 0.0)]
    failed = Rejected(failure=Failure.of(EngineUnavailable("it is not there")))
    reply = asked(pool, result=failed, meaning="a shower")
    assert reply.kind == "error" and "it is not there" in reply.failure.message
    assert not pool.requests and pool.executor.cache_types == {}, "nothing is left open, nothing counted as a hit"


def test_a_text_is_searched_by_its_words_where_no_encoder_answers_in_time(
    pool: Routed, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(pool, "hail", Y)
    near = keep(pool, "rain", X)
    body = asked(pool, result=Embedded(vectors={"minilm": X.tobytes()}), text="rai").body
    assert body.by_meaning is True and body.sounds[0].id == near and len(body.sounds) == 2
    failed = Rejected(failure=Failure.of(EngineUnavailable("it is not there")))
    body = asked(pool, result=failed, text="rai").body
    assert body.by_meaning is False and [one.id for one in body.sounds] == [near]
    asking = Caller()
    monkeypatch.setattr(library, "_TYPING_S", 0.0)
    pool.service.library.search(SoundSearch(text="rai"), asking.sink)
    pool.feed(events.Tick())
    pool.write()
    assert asking.reply.body.by_meaning is False and [one.id for one in asking.reply.body.sounds] == [near]


def test_a_key_sees_its_own_namespace_and_no_other(pool: Routed) -> None:
    keep(pool, "rain")
    mine = keep(pool, "rain", namespace="game")
    assert [one.id for one in asked(pool, TENANT).body.sounds] == [mine]
    with pytest.raises(Refused):
        asked(pool, TENANT, namespace="default")
    told = Caller()
    pool.service.library.sound(1, None, told.sink, caller=TENANT)
    pool.write()
    assert told.reply.failure is not None and told.reply.failure.code == "not_found"


def test_only_operators_and_owners_of_a_namespace_change_what_is_in_it(pool: Routed) -> None:
    shared, mine = keep(pool, "rain"), keep(pool, "hail", namespace="game")
    library = pool.service.library
    for change in (
        lambda caller: library.mark(shared, None, SoundMarks(rating=1), Caller().sink, caller=caller),
        lambda caller: library.remove(shared, None, Caller().sink, caller=caller),
    ):
        with pytest.raises(Refused, match="others"):
            change(ANYBODY)
    marking, removing = Caller(), Caller()
    library.mark(mine, None, SoundMarks(rating=5), marking.sink, caller=TENANT)
    pool.write()
    assert isinstance(marking.reply.body, KeptSound) and marking.reply.body.rating == 5
    library.remove(mine, None, removing.sink, caller=TENANT)
    pool.write()
    assert removing.reply.kind == "result"
    assert asked(pool, TENANT).body.sounds == ()
    assert [one.id for one in asked(pool, ANYBODY).body.sounds] == [shared]


def test_many_are_changed_a_part_at_a_time_and_what_cannot_be_is_told(
    pool: Routed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "_AT_ONCE", 2)
    ids = [keep(pool, prompt) for prompt in ("rain", "hail", "snow", "wind")]
    other = keep(pool, "rain", namespace="game")
    assert pool.cache is not None
    pool.cache.store.marks.mark(ids[1], SoundMarks(tags=[f"t{n}" for n in range(32)]))
    marking = Caller()
    pool.service.bulk.mark([*ids, other, 10**9, ids[0]], None, SoundMarks(add_tags=["boss"], pinned=True), marking.sink)
    pool.write()
    told = marking.reply.body
    assert isinstance(told, SoundsChanged) and told.changed == (ids[0], ids[2], ids[3])
    assert {one.id: one.error.code for one in told.failed} == {
        ids[1]: "bad_request", other: "not_found", 10**9: "not_found"
    }  # fmt: skip
    assert pool.cache.store.pins.pinned() == {ids[0], ids[2], ids[3]}, "who has too many tags is not pinned either"
    removing = Caller()
    pool.service.bulk.remove(ids, None, removing.sink, spare_pinned=True)
    pool.write()
    told = removing.reply.body
    assert isinstance(told, SoundsChanged) and told.changed == (ids[1],)
    assert {one.id: one.error.code for one in told.failed} == dict.fromkeys((ids[0], ids[2], ids[3]), "refused")
    assert [one.id for one in asked(pool).body.sounds] == [ids[3], ids[2], ids[0]]
    last = Caller()
    pool.service.bulk.remove(ids, None, last.sink)
    pool.write()
    assert isinstance(last.reply.body, SoundsChanged) and len(last.reply.body.changed) == 3
    assert asked(pool).body.sounds == ()


def test_what_is_of_everybodys_sounds_is_for_operators(pool: Routed) -> None:
    first, second = keep(pool, "rain"), keep(pool, "rain", namespace="game")
    for ask in (
        lambda caller, sink: pool.service.cache_view.eviction(5, sink, caller=caller),
        lambda caller, sink: pool.service.cache_view.duplicates("any", 5, sink, caller=caller),
    ):
        for caller in (ANYBODY, TENANT):
            with pytest.raises(Refused, match="everybody"):
                ask(caller, Caller().sink)
    planning, comparing = Caller(), Caller()
    pool.service.cache_view.eviction(5, planning.sink)
    pool.service.cache_view.duplicates("any", 5, comparing.sink)
    pool.write()
    assert {one.sound.id for one in planning.reply.body.next} == {first, second}
    assert comparing.reply.body.found == 0, "of two namespaces: neither is one too many"
    for caller in (ANYBODY,):
        with pytest.raises(Refused, match="others"):
            pool.service.bulk.remove([first], None, Caller().sink, caller=caller)


def test_only_so_many_questions_are_under_way(pool: Routed) -> None:
    for _ in range(64):
        pool.service.library.sound(1, None, Caller().sink)
    with pytest.raises(Busy, match="64 questions"):
        pool.service.library.search(SoundSearch(), Caller().sink)
    pool.write()
    asked(pool)


def test_who_waits_for_a_file_that_cannot_be_written_hears_why(pool: Routed) -> None:
    entry = keep(pool, "rain")
    first, second = Caller(), Caller()
    for one in (first, second):
        pool.service.kept_files.ask(entry, None, FileForm(format="ogg"), "path", one.sink)
    pool.write()
    task = pool.run().task
    assert isinstance(task, RenderTask) and task.rendition.format == "ogg"
    pool.done({task.job: Rejected(failure=Failure.of(EngineUnavailable("no codec")))})
    for one in (first, second):
        assert one.reply.failure is not None and "no codec" in one.reply.failure.message
    third = Caller()
    pool.service.kept_files.ask(entry, None, FileForm(format="ogg"), "path", third.sink)
    pool.write()
    assert isinstance(pool.run().task, RenderTask), "it is tried again for who asks next"


def test_who_waits_for_a_file_that_the_cache_does_not_keep_hears_why(pool: Routed, tmp_path: Path) -> None:
    entry = keep(pool, "rain")
    first, second = Caller(), Caller()
    for one in (first, second):
        pool.service.kept_files.ask(entry, None, FileForm(format="ogg"), "path", one.sink)
    pool.write()
    task = pool.run().task
    lies = Rendered(path=str(tmp_path / "nothing.ogg"), report=RenditionReport(format="ogg", sample_rate=44_100))
    pool.done({task.job: lies})
    pool.write()
    for one in (first, second):
        assert one.reply.failure is not None and one.reply.failure.code == "worker_failed"
    assert not pool.requests


def test_without_a_cache_there_is_no_library(tmp_path: Path) -> None:
    off = Routed(tmp_path, cache={"enabled": False})
    try:
        with pytest.raises(NotFound, match="cache is off"):
            off.service.library.search(SoundSearch(), Caller().sink)
        with pytest.raises(NotFound, match="cache is off"):
            off.service.kept_files.ask(1, None, FileForm(), "path", Caller().sink)
    finally:
        off.close()


def test_a_tile_is_drawn_behind_everything_else_and_a_picture_that_is_waited_for_is_not(pool: Routed) -> None:
    entry = keep(pool, "rain")
    priorities = []
    for tile in (True, False):
        pool.service.pictures.ask(entry, None, Picture(tile=tile), "path", Caller().sink)
        pool.write()
        job = list(pool.scheduler.jobs.values())[-1]
        priorities.append(events.PRIORITIES[job.priority])
    assert priorities == ["background", "normal"]
