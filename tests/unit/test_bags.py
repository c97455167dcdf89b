"""Variants by turns, and by number."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cache_sounds import recipe, sound

from audio_pool.cache.bags import Bags
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.types import Query

BY_TURNS = Query(shuffle=True)
DRAWN = Query(shuffle=True, temperature=5.0)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SoundCache]:
    opened = SoundCache(tmp_path / "cache", rng=random.Random(1), max_per_prompt=100)
    yield opened
    opened.close()


def keep(cache: SoundCache, count: int, prompt: str = "footsteps") -> list[int]:
    entries = [cache.put(sound(cache.incoming, prompt, seed=seed), {}) for seed in range(count)]
    return [entry.id for entry in entries if entry.id is not None]


def asked(cache: SoundCache, client: str, query: Query = BY_TURNS, prompt: str = "footsteps") -> int:
    hit = cache.find_exact(recipe(prompt), query, client).hit
    assert hit is not None and hit.entry.id is not None
    return hit.entry.id


@pytest.mark.parametrize("query", [BY_TURNS, DRAWN])
def test_each_comes_once_before_any_comes_again_and_none_twice_in_a_row(cache: SoundCache, query: Query) -> None:
    ids = keep(cache, 4)
    given = [asked(cache, "game", query) for _ in range(24)]
    for start in range(0, 24, 4):
        assert sorted(given[start : start + 4]) == ids
    assert all(one != other for one, other in itertools.pairwise(given))
    if query is DRAWN:
        assert len({tuple(given[start : start + 4]) for start in range(0, 24, 4)}) > 1, "no fixed order"


def test_every_client_and_every_prompt_has_a_bag_of_its_own(cache: SoundCache) -> None:
    steps, rain = keep(cache, 3), keep(cache, 2, "rain")
    one = [asked(cache, "one") for _ in range(3)]
    assert sorted(one) == steps and asked(cache, "two") == one[0]
    assert sorted(asked(cache, "one", prompt="rain") for _ in rain) == rain


def test_words_that_say_the_same_share_turns_with_nobody_and_repeat_nothing(cache: SoundCache) -> None:
    ids = keep(cache, 3)
    given = [asked(cache, "game", prompt="the sound of footsteps") for _ in range(3)]
    assert sorted(given) == ids


def test_without_it_the_best_comes_again_and_again(cache: SoundCache) -> None:
    keep(cache, 3)
    assert len({asked(cache, "game", Query()) for _ in range(5)}) == 1


def test_a_single_sound_comes_every_time_and_a_new_one_next(cache: SoundCache) -> None:
    (only,) = keep(cache, 1)
    assert [asked(cache, "game") for _ in range(3)] == [only] * 3
    entry = cache.put(sound(cache.incoming, "footsteps", seed=50), {})
    assert asked(cache, "game") == entry.id


def test_one_that_was_removed_is_no_gap(cache: SoundCache) -> None:
    ids = keep(cache, 3)
    first = asked(cache, "game")
    cache.remove([next(one for one in ids if one != first)])
    given = Counter(asked(cache, "game") for _ in range(9))
    assert set(given) == set(cache_ids(cache)) and min(given.values()) >= 4


def cache_ids(cache: SoundCache) -> list[int]:
    return [item.id for item in cache.store.inventory.items()]


def test_bags_are_bounded_and_the_oldest_goes() -> None:
    bags = Bags(most=2)
    for client in ("a", "b", "c"):
        bags.give((client, "default", "rain"), 1)
    assert set(bags._bags) == {("b", "default", "rain"), ("c", "default", "rain")}


def test_variants_by_number_are_all_different_and_the_next_is_a_miss(cache: SoundCache) -> None:
    ids = keep(cache, 3)
    found = [cache.find_exact(recipe("footsteps"), Query(variant=number)).hit for number in (1, 2, 3, 4)]
    assert [None if hit is None else hit.entry.id for hit in found] == [*ids, None]
    assert found[1] is not None and found[1].cache_type == "exact" and "variant 2" in found[1].reason
    Path(found[0].entry.path).unlink()  # type: ignore[union-attr]
    again = cache.find_exact(recipe("footsteps"), Query(variant=1)).hit
    assert again is not None and again.entry.id == ids[1], "one whose file is not there has no number"
