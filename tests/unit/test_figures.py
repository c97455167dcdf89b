"""Figures of use and of spread, and lists that are filtered and sorted by them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cache_sounds import harm, sound

from audio_pool.api import AnswersOver, PromptCount
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.uses import Counted

DAY_S, HOUR_S = 86_400, 3_600
NOW = 20_000 * DAY_S + 5 * HOUR_S + 60.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five entries of different ages, scores, engines; answers of three days."""
    place = tmp_path_factory.mktemp("figures") / "cache"
    store = SqliteStore(place)
    told = [
        ("rain", "procedural", "default", 100.0, 0.35, False, 0.1),
        ("rain", "tangoflux", "default", 72.0, 0.61, False, 3.0),
        ("wind", "tangoflux", "game", 99.9, None, True, 40.0),
        ("bell", "procedural", "game", 0.0, -0.02, False, 400.0),
        ("bell tower", "procedural", "default", 75.0, 0.36, True, 29.0),
    ]
    for number, (prompt, engine, namespace, quality, clap, loop, age_d) in enumerate(told, 1):
        metadata = {"quality": {"score": quality}, "clap_similarity": clap, "timings_ms": {"generate": 2000}}
        made = sound(
            store.blobs.incoming, prompt, seed=number, metadata=metadata, engine=engine, namespace=namespace, loop=loop
        )
        store.entries.put(made, {})
        # as a foreign hand would: the trigger keeps the sums right
        changed = f"created_at = {NOW - age_d * DAY_S}, size_bytes = {1000 * number}"
        harm(place, f"UPDATE entries SET {changed} WHERE id = {number}", "UPDATE uses SET last_used = 0")
    missed = {("default", "thunder"): 4, ("default", "rain"): 9, ("game", "wolf"): 5}
    store.uses.record(Counted({1: 2, 2: 3}, {"exact": (5, 10.0), "new_generation": (4, 0.0)}, missed), NOW - 2 * DAY_S)
    store.uses.record(Counted({3: 4}, {"exact": (1, 2.0), "semantic": (1, 1.5)}, {}), NOW - HOUR_S)
    store.uses.record(Counted({}, {"joined": (1, 0.0)}, {}), NOW)
    store.close()
    return place


@pytest.fixture
def cache(place: Path) -> Iterator[AudioSemanticCache]:
    with AudioSemanticCache(place, now=lambda: NOW) as opened:
        yield opened


def test_answers_are_told_by_stage_hour_and_day_with_what_they_saved(cache: AudioSemanticCache) -> None:
    found = cache.get_cache_stats()
    assert found.answers == {"exact": 6, "joined": 1, "new_generation": 4, "semantic": 1}
    assert found.hit_rate == pytest.approx(7 / 12)
    assert found.saved_generation_s == 13.5
    hour = NOW // HOUR_S * HOUR_S
    assert found.hourly == (
        AnswersOver(start=hour - HOUR_S, answers={"exact": 1, "semantic": 1}, saved_s=3.5),
        AnswersOver(start=hour, answers={"joined": 1}),
    )
    today = NOW // DAY_S * DAY_S
    assert found.daily == (
        AnswersOver(start=today - 2 * DAY_S, answers={"exact": 5, "new_generation": 4}, saved_s=10.0),
        AnswersOver(start=today, answers={"exact": 1, "semantic": 1, "joined": 1}, saved_s=3.5),
    )


def test_prompts_that_are_found_and_missed_are_told_the_most_frequent_first(cache: AudioSemanticCache) -> None:
    found = cache.get_cache_stats()
    assert [(one.prompt, one.times) for one in found.top_prompts] == [("rain", 5), ("wind", 4)]
    then = NOW - 2 * DAY_S
    assert found.worth_warming == (  # "rain" was missed most often, and is there now
        PromptCount(namespace="game", prompt="wolf", times=5, last=then),
        PromptCount(namespace="default", prompt="thunder", times=4, last=then),
    )


def test_ages_qualities_and_similarities_are_spread_over_steps(cache: AudioSemanticCache, place: Path) -> None:
    found = cache.get_cache_stats()
    assert dict(zip(found.ages_days.edges, found.ages_days.entries, strict=True)) == {
        0: 1, 1: 1, 7: 1, 30: 1, 90: 0, 365: 1
    }  # fmt: skip
    assert (found.quality.edges[0], found.quality.edges[-1]) == (0.0, 100.0)
    steps = dict(zip(found.quality.edges, found.quality.entries, strict=False))
    assert {edge: count for edge, count in steps.items() if count} == {0: 1, 70: 1, 75: 1, 95: 2}
    steps = dict(zip(found.clap_similarity.edges, found.clap_similarity.entries, strict=False))
    assert {edge: count for edge, count in steps.items() if count} == {-0.05: 1, 0.35: 2, 0.6: 1}
    assert cache.verify()["ok"] or "wrong_sums" not in {p["kind"] for p in cache.verify()["problems"]}
    assert cache._store.checks.wrong_sums() == []


@pytest.mark.parametrize(
    ("only", "found"),
    [
        ({"engine": "tangoflux"}, [2, 3]),
        ({"namespace": "game"}, [3, 4]),
        ({"since": NOW - 30 * DAY_S, "until": NOW - DAY_S}, [2, 5]),
        ({"min_quality": 75.0}, [1, 5, 3]),
        ({"min_clap": 0.36}, [2, 5]),
        ({"loop": True}, [5, 3]),
        ({"loop": False, "engine": "procedural"}, [1, 4]),
        ({"engine": "none"}, []),
    ],
)
def test_lists_are_filtered(cache: AudioSemanticCache, only: dict[str, object], found: list[int]) -> None:
    assert [item["id"] for item in cache.list_cache_items(**only)] == found  # type: ignore[arg-type]


def test_lists_are_sorted_by_size_hits_and_last_use(cache: AudioSemanticCache) -> None:
    def ids(sort: str, reverse: bool = True) -> list[int]:
        return [item["id"] for item in cache.list_cache_items(sort_by=sort, reverse=reverse)]

    assert ids("size") == [5, 4, 3, 2, 1]
    assert ids("size", False) == [1, 2, 3, 4, 5]
    assert ids("hits") == [3, 2, 1, 5, 4]
    assert ids("last_use")[:3] == [3, 2, 1]
    assert ids("last_use", False)[:3] == [1, 2, 3], "those that were never used come last"
    (item,) = cache.list_cache_items(1, "hits")
    assert (item["hits"], item["last_used"]) == (4, NOW - HOUR_S)


def test_an_old_cache_gets_the_figures_of_what_it_holds(cache: AudioSemanticCache, place: Path) -> None:
    before = cache.get_cache_stats().quality
    harm(place, "UPDATE spread_sums SET entries = entries + 1 WHERE kind = 'quality'")
    assert cache._store.checks.wrong_sums() == ["spread_sums"]
    cache._store.checks.recount()
    assert cache.get_cache_stats().quality == before
