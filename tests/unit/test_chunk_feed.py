"""Who gets which chunk, and how one who is behind catches up from the file: on a fake clock, with a real file."""

from __future__ import annotations

import wave
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audio_pool.pool.chunk_feed import CatchingUp, ChunkFeed
from audio_pool.pool.replies import Reply
from audio_pool.pool.turns import Turns
from audio_pool.results import Accepted, Chunk, Progress, SoundMetadata

RATE = 1000
SAMPLES = np.arange(12_500, dtype="<i2")


class Caller:
    """Takes chunks while it has room for them."""

    request_id = "r"

    def __init__(self, room: int = 10**6) -> None:
        self.room = room
        self.chunks: list[Chunk] = []

    def take_chunk(self, chunk: Chunk) -> bool:
        if self.room < 1:
            return False
        self.room -= 1
        self.chunks.append(chunk)
        return True

    def finish(self, reply: Reply) -> None: ...

    def notify(self, body: Accepted | Progress) -> None: ...

    def heard(self) -> Any:
        assert [chunk.number for chunk in self.chunks] == list(range(1, len(self.chunks) + 1))
        sizes = [chunk.frames for chunk in self.chunks]
        assert [chunk.start for chunk in self.chunks] == [sum(sizes[:n]) for n in range(len(sizes))]
        return np.frombuffer(b"".join(chunk.data for chunk in self.chunks), "<i2")


class Loop:
    """The router's thread and the files' thread, as one: what is posted is done in order, timers when time passes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.posted: list[Callable[[], None]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.catching_up = CatchingUp(Turns(self, 4), self.posted.append, lambda: self.now)  # type: ignore[arg-type]
        self.catching_up.call_at = lambda when, call: self.timers.append((when, call))
        self.replies: list[Reply] = []

    def submit(self, work: Callable[[], None]) -> Future[None]:
        self.posted.append(work)
        return Future()

    def run(self) -> None:
        while self.posted:
            self.posted.pop(0)()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due, self.timers = [one for one in self.timers if one[0] <= self.now], [
            one for one in self.timers if one[0] > self.now
        ]
        for _, call in due:
            call()
        self.run()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def reply(tmp_path: Path) -> Reply:
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(SAMPLES.tobytes())
    metadata = SoundMetadata(duration_s=len(SAMPLES) / RATE, sample_rate=RATE)
    return Reply(kind="result", path=str(path), metadata=metadata)


def chunk(second: int) -> Chunk:
    part = SAMPLES[second * RATE : (second + 1) * RATE]
    return Chunk(
        number=0, start=second * RATE, frames=len(part), sample_rate=RATE, channels=1, encoding="s16le",
        data=part.tobytes(),
    )  # fmt: skip


def test_who_keeps_up_gets_each_as_it_comes_and_the_reply_at_once(loop: Loop, reply: Reply) -> None:
    caller = Caller()
    feed = ChunkFeed(caller)
    assert all(feed.take(chunk(second)) for second in range(13))
    loop.catching_up.finish(1, feed, reply, "c", loop.replies.append)
    assert loop.replies == [reply] and not loop.posted  # no file was read
    np.testing.assert_array_equal(caller.heard(), SAMPLES)


def test_who_is_behind_gets_the_rest_at_its_own_pace(loop: Loop, reply: Reply) -> None:
    caller = Caller(room=3)
    feed = ChunkFeed(caller)
    taken = [feed.take(chunk(second)) for second in range(13)]
    assert taken == [True] * 3 + [False] * 10, "none is skipped"
    loop.catching_up.finish(1, feed, reply, "c", loop.replies.append)
    loop.run()
    assert not loop.replies and 1 in loop.catching_up
    while not loop.replies:
        caller.room = 1
        loop.pass_time(1.0)
    np.testing.assert_array_equal(caller.heard(), SAMPLES)
    assert 1 not in loop.catching_up


def test_who_comes_late_gets_all_from_the_first(loop: Loop, reply: Reply) -> None:
    caller = Caller()
    feed = ChunkFeed(caller)
    assert not feed.take(chunk(5))
    loop.catching_up.finish(1, feed, reply, "c", loop.replies.append)
    loop.run()
    np.testing.assert_array_equal(caller.heard(), SAMPLES)
    assert loop.replies == [reply]


def test_who_takes_nothing_any_more_gets_the_reply_without_the_rest(loop: Loop, reply: Reply) -> None:
    caller = Caller(room=2)
    feed = ChunkFeed(caller)
    loop.catching_up.finish(1, feed, reply, "c", loop.replies.append)
    loop.run()
    for _ in range(29):
        loop.pass_time(1.0)
    assert not loop.replies
    loop.pass_time(2.0)
    assert loop.replies == [reply] and len(caller.chunks) == 2


def test_a_cancel_ends_it(loop: Loop, reply: Reply) -> None:
    caller = Caller(room=2)
    loop.catching_up.finish(1, ChunkFeed(caller), reply, "c", loop.replies.append)
    loop.run()
    loop.catching_up.stop(1)
    caller.room = 100
    loop.pass_time(1.0)
    assert not loop.replies and len(caller.chunks) == 2 and not loop.timers


def test_a_file_that_is_gone_costs_the_rest_and_not_the_reply(loop: Loop, reply: Reply) -> None:
    Path(reply.path or "").unlink()
    loop.catching_up.finish(1, ChunkFeed(Caller()), reply, "c", loop.replies.append)
    loop.run()
    assert loop.replies == [reply]
