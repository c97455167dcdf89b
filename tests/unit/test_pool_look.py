"""What is seen of a pool, and that it is asked once for all who look."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from audio_pool.api import Health, PoolStatus, WorkerStatus
from audio_pool.errors import Disconnected
from audio_pool.gateway import pool_watch
from audio_pool.gateway.pool_look import PoolLook, look_of
from audio_pool.gateway.pool_watch import Change, PoolWatch
from audio_pool.numbers import ErrorNote, Histogram, Measured, PoolNumbers, RequestCount, UnderWay

JOB = UnderWay(request_id="r", prompt="rain", engine="tone", priority="normal", stage="generate")
NOTE = ErrorNote(at=1.0, code="engine_error", message="cannot read /srv/models/tone.bin", request_id="r")


def took(*seconds: float) -> Histogram:
    measured = Measured()
    for one in seconds:
        measured.add(one)
    return measured.told()


def counted(new: int, exact: int, *seconds: float) -> PoolNumbers:
    return PoolNumbers(
        requests=(
            RequestCount(engine="tone", status="result", cache="new_generation", count=new),
            RequestCount(engine="hum", status="result", cache="new_generation", count=1),
            RequestCount(engine="tone", status="result", cache="exact", count=exact),
        ),
        lookups={"exact": new + exact, "join": 0},
        hits={"exact": exact},
        under_way=(JOB,),
        errors=(NOTE,),
        stage_seconds={"generate": took(*seconds), "store": took()},
        request_seconds={"exact": took(0.001)},
    )


def status(numbers: PoolNumbers) -> PoolStatus:
    worker = WorkerStatus(state="broken", incarnation=3, error="no /srv/models/tone.bin")
    return PoolStatus(
        version="1", health="ready", requests=1, waiting=0, workers={"w": worker}, semantic="off", cache="/srv/cache",
        numbers=numbers,
    )  # fmt: skip


def seen(now: PoolNumbers, before: PoolNumbers | None = None, *, discreet: bool = False) -> PoolLook:
    health = Health(state="ready", reasons=("worker 'w': /srv/models/tone.bin",))
    return look_of(status(now), health, before, at=9.0, window_s=60.0, discreet=discreet)


def test_what_came_lately_is_told_beside_what_ever_came() -> None:
    look = seen(counted(5, 30, 0.1, 0.1, 5.0), counted(4, 10, 0.1, 0.1))
    assert {one.cache: (one.count, one.lately) for one in look.answers} == {"new_generation": (6, 1), "exact": (30, 20)}
    (exact,) = look.looked_for
    assert (exact.kind, exact.lookups, exact.hits, exact.lookups_lately, exact.hits_lately) == ("exact", 35, 30, 21, 20)
    (generate,) = look.stages
    assert generate.name == "generate" and generate.ever.count == 3 and generate.lately.count == 1
    assert generate.ever.p50_s is not None and 0.08 <= generate.ever.p50_s <= 0.16
    assert generate.lately.p50_s is not None and 2.56 <= generate.lately.p50_s <= 5.12
    assert [one.name for one in look.requests] == ["exact"] and look.requests[0].lately.p99_s is None


def test_nobody_is_told_paths_and_who_is_no_operator_not_what_others_asked_for() -> None:
    for discreet in (False, True):
        look = seen(counted(1, 1), discreet=discreet)
        told = msgspec.json.encode(look).decode()
        assert "/srv" not in told
        assert ("rain" in told) is not discreet and ("tone.bin" in told) is not discreet
        assert [note.code for note in look.errors] == ["engine_error"]


class Told:
    """A pool that says what a test has it say."""

    def __init__(self) -> None:
        self.asked = 0
        self.gone = False
        self.instance = "a"
        self.turns: asyncio.Queue[None] = asyncio.Queue()
        """It answers once for each."""

    async def status(self, *, numbers: bool, timeout_s: float) -> PoolStatus:
        await self.turns.get()
        self.asked += 1
        if self.gone:
            raise Disconnected("gone")
        return status(counted(self.asked, 0))

    async def health(self, *, timeout_s: float) -> Health:
        return Health(state="ready", instance=self.instance)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_watch, "_EVERY_S", 0.0)


def test_all_who_look_are_told_by_one_question_and_nobody_asks_when_they_have_gone() -> None:
    async def look() -> None:
        told = Told()
        watch = PoolWatch(told)
        lookers = [watch.changes(discreet=discreet) for discreet in (False, False, True)]
        told.turns.put_nowait(None)
        first = await asyncio.gather(*(anext(one) for one in lookers))
        assert first[0] == first[1] and told.asked == 1, "one question for three"
        assert msgspec.json.decode(first[0]["under_way"]) and not msgspec.json.decode(first[2]["under_way"])
        assert set(first[0]) == set(PoolLook.__struct_fields__)
        told.turns.put_nowait(None)
        second = await anext(lookers[0])
        assert {"at", "answers"} <= set(second) and "disk" not in second, "what is as it was is not told again"
        for one in lookers:
            assert watch.asking
            await one.aclose()
        assert not watch.asking
        told.turns.put_nowait(None)
        for _ in range(5):
            await asyncio.sleep(0)
        assert told.asked == 2

    asyncio.run(look())


def test_a_pool_that_goes_is_down_and_one_that_comes_back_is_counted_anew() -> None:
    async def look() -> None:
        told = Told()
        watch = PoolWatch(told)
        changes = watch.changes(discreet=False)

        async def until(field: str, holds: Any) -> Change:
            while True:
                told.turns.put_nowait(None)
                change = await anext(changes)
                if field in change and holds(msgspec.json.decode(change[field])):
                    return change

        await until("answers", lambda told: any(one["lately"] for one in told))
        told.gone = True
        down = await until("health", lambda health: health["state"] == "down")
        assert msgspec.json.decode(down["status"]) is None
        told.gone, told.instance = False, "b"
        back = await until("health", lambda health: health["state"] == "ready")
        assert not any(one["lately"] for one in msgspec.json.decode(back["answers"]))
        await changes.aclose()

    asyncio.run(look())


def test_who_asks_without_end_has_nothing_more_kept() -> None:
    async def look() -> None:
        told = Told()
        watch = PoolWatch(told)
        for _ in range(50):
            told.turns.put_nowait(None)
            await watch.look(discreet=True)
        assert told.asked == 50 and watch.kept < 50

    asyncio.run(look())
