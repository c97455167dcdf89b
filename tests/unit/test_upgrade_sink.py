"""Who hears of the better sound, and when: never before there is something to better."""

from __future__ import annotations

from audio_pool.pool.in_time import UpgradeSink
from audio_pool.pool.replies import LocalSink, Reply
from audio_pool.results import Accepted, Chunk, Failure, Progress, SoundMetadata

Told = list[Reply | Accepted | Progress | Chunk]


def sinks() -> tuple[UpgradeSink, Told, Told]:
    """The better sound's sink, what its caller hears under the first id, and under the second one."""
    first: Told = []
    later: Told = []
    own = LocalSink(request_id="r", on_reply=first.append, on_event=first.append)

    def upgraded(request_id: str, number: int) -> LocalSink:
        return LocalSink(request_id=request_id, on_reply=later.append, on_event=later.append)

    return UpgradeSink(own, upgraded, "r"), first, later


def test_events_are_the_first_ones_until_the_better_sound_is_announced_and_its_own_from_the_answer_on() -> None:
    sink, first, later = sinks()
    sink.notify(Accepted())
    sink.notify(Progress(stage="generate"))
    assert len(first) == 2 and not later
    name = sink.announce(7)
    assert sink.request_id == name != "r"
    sink.notify(Progress(stage="generate"))  # the answer has not left yet
    assert len(first) == 2 and not later
    sink.first_has_left()
    sink.notify(Accepted())
    sink.notify(Progress(stage="master"))
    assert later == [Progress(stage="master")]


def test_what_is_made_before_the_first_answer_has_left_waits_for_that() -> None:
    sink, _, later = sinks()
    sink.announce(7)
    sink.finish(Reply(kind="result", path="/b.wav", metadata=SoundMetadata()))
    assert not later
    sink.first_has_left()
    assert later == [Reply(kind="upgraded", path="/b.wav", metadata=SoundMetadata())]


def test_a_failure_is_told_as_one_and_who_hears_nothing_is_told_nothing() -> None:
    sink, _, later = sinks()
    sink.announce(7)
    sink.first_has_left()
    failed = Reply(kind="error", failure=Failure(code="engine_failed"))
    sink.finish(failed)
    assert later == [failed]
    deaf = UpgradeSink(LocalSink(request_id="r", on_reply=later.append), None, "r")
    assert deaf.announce(8)
    deaf.first_has_left()
    deaf.finish(failed)
    assert later == [failed]
