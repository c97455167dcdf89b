"""Sounds that come with their requests: the same bytes are the same sound, and no file outlives who needs it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.requests import engine
from tests.support.routed import Caller, Routed

from audio_pool.errors import Busy, InvalidAudio, InvalidRequest, NotSupported, StorageError
from audio_pool.init_audio import split_sent
from audio_pool.pool.sent_audio import SentAudio, opener_of

SOUND = b"RIFF" + bytes(1000)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Routed]:
    found = Routed(tmp_path, (engine(init_audio=True),), server={"max_sent_audio_bytes": 2000}).start()
    yield found
    found.close()


def ask(pool: Routed, caller: Caller | None = None, sent: Any = (SOUND,), **fields: Any) -> int:
    sink = (caller or Caller()).sink
    fields = {"prompt": "rain", **fields}
    return pool.intake.submit_fields(fields, sink, events_wanted=False, size_bytes=50, sent=sent)


def files(pool: Routed) -> list[bytes]:
    place = pool.arena.directory / "sent"
    return [one.read_bytes() for one in place.iterdir()] if place.exists() else []


def test_its_hash_is_part_of_the_recipe_and_its_file_lives_as_long_as_the_job(pool: Routed) -> None:
    caller = Caller()
    number = ask(pool, caller, [SOUND[:600], memoryview(SOUND)[600:]], init_strength=0.5)
    pool.write()
    recipe = pool.requests[number].sound.recipe
    assert (recipe.init_audio_sha256, recipe.init_strength) == (hashlib.sha256(SOUND).hexdigest(), 0.5)
    (part,) = pool.run().task.parts  # type: ignore[union-attr]
    assert Path(part.init_audio or "").read_bytes() == SOUND and os.stat(part.init_audio or "").st_mode & 0o77 == 0
    pool.intake.cancel(number)
    assert caller.reply.kind == "cancelled" and not files(pool)


def test_the_same_bytes_join_and_who_came_first_may_go(pool: Routed) -> None:
    first, second = ask(pool), ask(pool)
    pool.write()
    (job,) = pool.scheduler.jobs.values()
    assert job.requests == [first, second]
    (part,) = pool.run().task.parts  # type: ignore[union-attr]
    pool.intake.cancel(first)
    assert Path(part.init_audio or "").exists(), "the other waits for what is made of it"
    assert ask(pool, sent=(SOUND + b"x",)) and not pool.write()
    assert len(pool.scheduler.jobs) == 2


def test_who_cancels_while_it_is_written_leaves_nothing(pool: Routed) -> None:
    caller = Caller()
    pool.intake.cancel(ask(pool, caller))
    pool.write()
    assert caller.reply.kind == "cancelled" and not files(pool) and pool.scheduler.idle


@pytest.mark.parametrize(
    ("sent", "fields", "error"),
    [
        ((b"x" * 2001,), {}, InvalidAudio),
        ((b"",), {}, InvalidAudio),
        ((SOUND,), {"init_audio": "/a.wav"}, InvalidRequest),
        ((SOUND,), {"init_audio": "sent:00"}, InvalidRequest),
        ((), {"init_audio": "sent:00"}, InvalidRequest),
        ((SOUND,), {"init_strength": 7.0}, InvalidRequest),
    ],
)
def test_what_is_refused_is_refused_before_it_is_kept(pool: Routed, sent: Any, fields: Any, error: type) -> None:
    with pytest.raises(error):
        ask(pool, sent=sent, **fields)
    pool.write()
    assert not files(pool) and not pool.requests
    pool.infos["tone"] = engine()
    with pytest.raises(NotSupported, match="cannot start from a sound"):
        ask(pool)


def test_so_many_bytes_may_be_there_and_of_one_client_no_more_than_its_share(tmp_path: Path) -> None:
    sent = SentAudio(tmp_path / "sent", largest=60, most_bytes=100)
    one, open_one = sent.take("a", [b"1" * 60])
    with pytest.raises(Busy):
        sent.take("b", [b"2" * 41])
    with pytest.raises(Busy):
        sent.take("", [b"2" * 41])
    os.close(open_one())
    sent.release(one)
    assert not list((tmp_path / "sent").iterdir())
    held = [sent.take("a", [b"1" * 20])[0] for _ in range(4)]
    with pytest.raises(Busy):
        sent.take("a", [b"1" * 20])
    sent.release(sent.take("b", [b"2" * 20])[0])
    for path in held:
        sent.hold(path)
        sent.release(path)
    with pytest.raises(Busy):
        sent.take("b", [b"2" * 40])
    sent.release("/elsewhere")
    sent.release(None)


def test_a_place_that_takes_nothing_is_an_error_of_the_request(tmp_path: Path) -> None:
    sent = SentAudio(tmp_path / "missing" / "sent", largest=60, most_bytes=100)
    with pytest.raises(StorageError, match="no room"):
        sent.take("a", [b"1"])[1]()


def test_a_sound_in_memory_is_read_like_a_file() -> None:
    handle = opener_of([b"a" * 100_000, memoryview(b"bc")])()
    with open(handle, "rb") as file:
        assert file.read() == b"a" * 100_000 + b"bc"


def test_bytes_and_paths_of_here_are_sent_and_text_names_a_file_there(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(SOUND)
    assert split_sent({"init_audio": file, "loop": True}) == ({"loop": True}, SOUND)
    assert split_sent({"init_audio": bytearray(b"x")}) == ({}, b"x")
    assert split_sent({"init_audio": str(file)}) == ({"init_audio": str(file)}, b"")
    assert split_sent({"init_audio": None}) == ({"init_audio": None}, b"")
    for wrong in (tmp_path / "missing.wav", tmp_path, b""):
        with pytest.raises(InvalidRequest, match="init_audio"):
            split_sent({"init_audio": wrong})
