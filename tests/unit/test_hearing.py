"""Sounds that come along to be heard: in files while a worker needs them, and in nobody's way otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.requests import engine
from tests.support.routed import Caller, Routed

from audio_pool.errors import BadMessage, InvalidAudio
from audio_pool.server.parting import parted
from audio_pool.tasks import Called, ClapTask

ONE, TWO = b"RIFF" + bytes(500), b"RIFF" + bytes(900)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Routed]:
    found = Routed(tmp_path, cache={"scorer": "clap"}, server={"max_sent_audio_bytes": 1000})
    yield found.start(engine("clap", role="scorer"))
    found.close()


def files(pool: Routed) -> list[bytes]:
    place = pool.arena.directory / "sent"
    return sorted(one.read_bytes() for one in place.iterdir()) if place.exists() else []


def test_sounds_lie_in_files_before_a_worker_hears_them_and_until_it_has(pool: Routed) -> None:
    caller = Caller()
    pool.service.hearing.ask("embed", ["a"], ["/x.wav"], caller.sink, sounds=[[ONE[:100], ONE[100:]], [TWO]])
    assert pool.scheduler.idle, "nothing is asked of a worker yet"
    pool.write()
    task = pool.run().task
    assert isinstance(task, ClapTask) and (task.texts, task.paths) == (["a"], ["/x.wav"])
    assert [Path(path).read_bytes() for path in task.sounds] == [ONE, TWO]
    pool.done({task.job: Called(body={"sounds": []})})
    assert caller.reply.body == Called(body={"sounds": []}) and not files(pool)


def test_who_cancels_meanwhile_is_answered_once_and_leaves_nothing(pool: Routed) -> None:
    caller = Caller()
    number = pool.service.hearing.ask("embed", [], [], caller.sink, sounds=[[ONE], [TWO]])
    pool.service.cancel("", number)
    pool.write()
    assert caller.reply.kind == "cancelled" and not files(pool) and pool.scheduler.idle


def test_one_that_is_too_large_takes_the_others_with_it(pool: Routed) -> None:
    with pytest.raises(InvalidAudio, match="sounds: 1,001 bytes were sent, allowed are 1 to 1,000"):
        pool.service.hearing.ask("embed", [], [], Caller().sink, sounds=[[ONE], [bytes(1001)]])
    pool.write()
    assert not files(pool) and not pool.requests


def test_a_place_that_takes_nothing_is_an_error_of_the_question(pool: Routed) -> None:
    (pool.arena.directory / "sent").write_bytes(b"in the way")
    caller = Caller()
    pool.service.hearing.ask("embed", [], [], caller.sink, sounds=[[ONE], [TWO]])
    pool.write()
    assert caller.reply.kind == "error" and len(caller.replies) == 1 and pool.scheduler.idle


def test_frames_are_parted_into_sounds_wherever_they_begin() -> None:
    frames = [b"aab", memoryview(b"bb"), b"", b"cdd"]
    found = [b"".join(pieces) for pieces in parted(frames, [2, 3, 1, 0, 2])]
    assert found == [b"aa", b"bbb", b"c", b"", b"dd"]
    assert parted([], []) == []
    for sizes in ([7], [9], []):
        with pytest.raises(BadMessage, match=r"sounds: \d bytes are announced, 8 came"):
            parted(frames, sizes)
