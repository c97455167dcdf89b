"""Hits and last use are counted per entry, answers by stage and hour, misses by prompt: batched, monotone, bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.cache_sounds import harm, sound
from tests.support.old_cache import OldCache

from audio_pool.cache import usage as module
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite import uses as sqlite_uses
from audio_pool.cache.sqlite.database import Database
from audio_pool.cache.stats import stats_of
from audio_pool.cache.usage import Usage
from audio_pool.cache.uses import Answers, Counted
from audio_pool.cache.verify import verify
from audio_pool.cache.worth import HALF_LIFE_S, base_of, heat_of, heated, worth_at
from audio_pool.errors import StorageError

HOUR = 3600


class Clock:
    """Seconds since 1970, set by hand."""

    def __init__(self) -> None:
        self.now = 2_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(tmp_path: Path, clock: Clock) -> Iterator[SoundCache]:
    opened = SoundCache(tmp_path / "cache", now=clock, max_per_prompt=100)
    yield opened
    if opened.store.checks.damage() == "":
        assert verify(opened.store).problems == []
    opened.close()


def keep(cache: SoundCache, prompt: str = "rain", seed: int = 1, generate_ms: float = 2000.0) -> int:
    made = sound(cache.incoming, prompt, seed=seed, metadata={"timings_ms": {"generate": generate_ms}})
    entry = cache.put(made, {})
    assert entry.id is not None
    return entry.id


def test_a_kept_sound_begins_with_its_cost_and_no_hits(cache: SoundCache) -> None:
    entry_id = keep(cache, generate_ms=1500.0)
    use = cache.store.uses.of([entry_id, 99])
    assert set(use) == {entry_id}
    assert (use[entry_id].hits, use[entry_id].cost_s) == (0, 1.5)


@pytest.mark.sqlite
def test_answers_written_down_while_they_are_told_count_everywhere_or_nowhere(
    cache: SoundCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = Database.query

    def meanwhile(self: Database, *what: Any) -> Any:
        cache.usage.answered("exact", 1.0)
        cache.usage.write_down()
        return query(self, *what)

    monkeypatch.setattr(Database, "query", meanwhile)
    told = stats_of(cache.store, clock.now, renders=(), apart=())
    assert told.answers["exact"] > 0
    for over in (told.hourly, told.daily):
        assert {"exact": sum(one.answers["exact"] for one in over)} == told.answers


def test_hits_are_counted_in_memory_and_written_in_one_go(cache: SoundCache, clock: Clock) -> None:
    one, other = keep(cache, "rain"), keep(cache, "wind")
    before = cache.store.changes.version()
    for _ in range(3):
        cache.usage.answered("exact", 2.0, one)
    cache.usage.answered("semantic", 0.5, other)
    cache.usage.answered("new_generation")
    cache.usage.answered("joined", 1.0)
    assert cache.store.changes.version() == before  # nothing was written by anybody
    assert cache.store.uses.of([one])[one].hits == 0
    cache.usage.write_down()
    uses = cache.store.uses.of([one, other])
    assert (uses[one].hits, uses[other].hits) == (3, 1)
    assert uses[one].last_used == clock.now
    hour = int(clock.now // HOUR)
    assert cache.store.uses.answers() == [
        Answers(hour, "exact", 3, 6.0),
        Answers(hour, "joined", 1, 1.0),
        Answers(hour, "new_generation", 1, 0.0),
        Answers(hour, "semantic", 1, 0.5),
    ]
    cache.usage.write_down()  # what was written is not written again
    assert cache.store.uses.of([one])[one].hits == 3


def test_hours_stand_side_by_side(cache: SoundCache, clock: Clock) -> None:
    for _ in range(2):
        cache.usage.answered("exact")
        cache.usage.write_down()
        clock.now += HOUR
    hours = [(one.hour, one.answers) for one in cache.store.uses.answers()]
    first = int(clock.now // HOUR) - 2
    assert hours == [(first, 1), (first + 1, 1)]
    assert [one.hour for one in cache.store.uses.answers(first + 1)] == [first + 1]


def test_a_clock_that_is_set_back_takes_no_use_back(cache: SoundCache, clock: Clock) -> None:
    one, other = keep(cache, "rain"), keep(cache, "wind")
    cache.usage.answered("exact", 1.0, one)
    cache.usage.write_down()
    latest = clock.now
    clock.now -= 400 * 86_400
    cache.usage.answered("exact", 1.0, one)
    cache.usage.answered("exact", 1.0, other)
    cache.usage.missed("default", "hail")
    cache.usage.write_down()
    uses = cache.store.uses.of([one, other])
    assert (uses[one].hits, uses[one].last_used) == (2, latest)
    assert uses[other].last_used == latest  # not a year before it was made
    assert {answer.hour for answer in cache.store.uses.answers()} == {int(latest // HOUR)}
    assert cache.store.uses.missed()[0].last == latest


def test_closing_writes_down_what_was_counted(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path / "cache")
    entry_id = keep(cache)
    cache.usage.answered("exact", 1.0, entry_id)
    cache.close()
    again = SoundCache(tmp_path / "cache")
    assert again.store.uses.of([entry_id])[entry_id].hits == 1
    again.close()


def test_hits_of_an_entry_that_is_gone_are_passed_over(cache: SoundCache) -> None:
    one, other = keep(cache, "rain"), keep(cache, "wind")
    for entry_id in (one, other, 77):
        cache.usage.answered("exact", 1.0, entry_id)
    cache.remove([one])
    cache.usage.write_down()
    assert {entry_id: use.hits for entry_id, use in cache.store.uses.of([one, other, 77]).items()} == {other: 1}


def test_more_hits_than_one_transaction_takes(cache: SoundCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    ids = [keep(cache, f"rain {number}") for number in range(5)]
    uses, sizes = cache.store.uses, []

    class Counting:
        """The real table, which cannot be written to at its third call."""

        catch_up = staticmethod(lambda: False)

        @staticmethod
        def record(counted: Counted, now: float) -> None:
            sizes.append(len(counted.hits))
            if len(sizes) == 3:
                raise StorageError("the disk is full")
            uses.record(counted, now)

    usage = Usage(Counting())  # type: ignore[arg-type]
    for entry_id in 2 * ids:
        usage.answered("exact", 1.0, entry_id)
    usage.write_down(within_s=0.0)
    assert sizes == [2] and sum(use.hits for use in uses.of(ids).values()) == 4, "the others wait for the next time"
    usage.write_down()
    usage.write_down()
    assert sizes == [2, 2, 1, 1]
    assert [use.hits for use in uses.of(ids).values()] == [2] * 5
    assert uses.answers()[0].answers == 10


def test_what_cannot_be_written_is_held_and_written_later(cache: SoundCache, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_id = keep(cache)

    class Full:
        record = staticmethod(lambda *_: (_ for _ in ()).throw(StorageError("the disk is full")))

    usage = Usage(Full())  # type: ignore[arg-type]
    usage.answered("exact", 1.5, entry_id)
    usage.missed("default", "hail")
    usage.write_down()
    usage.answered("exact", 1.5, entry_id)
    usage._uses = cache.store.uses
    usage.write_down()
    assert cache.store.uses.of([entry_id])[entry_id].hits == 2
    assert cache.store.uses.answers()[0][2:] == (2, 3.0)
    assert cache.store.uses.missed()[0].times == 1


def test_misses_are_counted_by_their_words(cache: SoundCache) -> None:
    for prompt in ("Hail on glass", "hail  on glass.", "fog horn"):
        cache.usage.missed("default", prompt)
    cache.usage.missed("game", "fog horn")
    cache.usage.write_down()
    found = [(one.namespace, one.times) for one in cache.store.uses.missed()]
    assert found[0] == ("default", 2)
    assert sorted(found[1:]) == [("default", 1), ("game", 1)]
    assert len(cache.store.uses.missed(1)) == 1


@pytest.mark.sqlite
def test_the_table_of_misses_is_bounded(cache: SoundCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_uses, "_MISSED_KEPT", 10)
    cache.store.uses.record(Counted({}, {}, {("default", "often"): 5}), 1.0)
    for number in range(100):
        cache.store.uses.record(Counted({}, {}, {("default", f"prompt {number}"): 1}), 1.0 + number)
    kept = cache.store.uses.missed(1000)
    assert len(kept) <= 11
    assert kept[0].prompt == "often"
    assert "prompt 99" in {one.prompt for one in kept}


@pytest.mark.sqlite
def test_entries_of_an_earlier_version_get_their_uses_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_uses, "_AT_ONCE", 2)
    old = OldCache(tmp_path / "cache")
    took = {"timings_ms": {"generate": 500.0}}
    ids = [old.put(f"rain {number}", np.eye(4)[0], took) for number in range(5)]
    cache = SoundCache(tmp_path / "cache")
    assert cache.store.uses.of(ids) == {}
    cache.usage.answered("exact", 0.5, ids[4])  # counted although it was not looked at yet
    cache.tend()
    uses = cache.store.uses.of(ids)
    assert [uses[entry_id].cost_s for entry_id in ids] == [0.5] * 5
    assert [uses[entry_id].hits for entry_id in ids] == [0, 0, 0, 0, 1]
    assert not cache.store.uses.catch_up()
    cache.close()


@pytest.mark.sqlite
def test_metadata_that_cannot_be_read_costs_nothing_more(cache: SoundCache) -> None:
    entry_id = keep(cache)
    harm(Path(cache.store.location), "DELETE FROM uses", "UPDATE provenance SET metadata = x'7b74'")
    cache.usage.write_down()
    assert cache.store.uses.of([entry_id])[entry_id].cost_s == 0.0
    cache.remove([entry_id])


# -- what a sound is worth -------------------------------------------------------------------------


def test_worth_halves_with_time_and_its_order_does_not_change() -> None:
    base, made = base_of(4.0, 50.0, 1 << 20), 1.8e9
    rank = base + heat_of(1, made)
    assert worth_at(rank, 1, made) == pytest.approx(2.0, rel=1e-6)  # 4 s, half as good, one use, one megabyte
    assert worth_at(rank, 1, made + HALF_LIFE_S) == pytest.approx(1.0, rel=1e-6)
    assert worth_at(rank, 4, made) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize(
    "better",
    [
        lambda: base_of(8.0, 50.0, 1 << 20) - base_of(4.0, 50.0, 1 << 20),
        lambda: base_of(4.0, 90.0, 1 << 20) - base_of(4.0, 50.0, 1 << 20),
        lambda: base_of(4.0, 50.0, 1 << 19) - base_of(4.0, 50.0, 1 << 20),
        lambda: heated(heat_of(1, 1.8e9), 1, 1.8e9) - heat_of(1, 1.8e9),
        lambda: heat_of(1, 1.8e9 + 86_400) - heat_of(1, 1.8e9),
    ],
)
def test_what_costs_more_is_better_smaller_and_oftener_or_later_used_is_worth_more(
    better: Callable[[], float],
) -> None:
    assert better() > 0


def test_heat_adds_up() -> None:
    at = 1.8e9
    assert heated(heat_of(1, at), 3, at) == pytest.approx(heat_of(4, at))
    later = heated(heat_of(1, at), 1, at + HALF_LIFE_S)
    assert worth_at(later, 1, at + HALF_LIFE_S) == pytest.approx(1.5, rel=1e-6)  # a fresh use and half an old one
    assert heated(heat_of(1, 0.0), 1, 1e12) == heat_of(1, 1e12)  # however far apart


