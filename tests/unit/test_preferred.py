"""After ``force`` the new sound is what the same words get; with ``replace`` it takes the others' place."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support.cache_sounds import ids_in, recipe, sound
from tests.support.requests import resolved

from audio_pool.cache.selection import Standing
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import InvalidRequest
from audio_pool.types import Query

WARM = Query(temperature=1.0)
COLD = Query(temperature=0.0)


@pytest.fixture
def cache(tmp_path: Path):
    opened = SoundCache(tmp_path / "cache", rng=random.Random(1), max_per_prompt=3)
    yield opened
    opened.close()


def keep(
    cache: SoundCache, seed: int, score: float, standing: Standing = "variant", prompt: str = "rain", **how
) -> int | None:
    quality = {"quality": {"score": score, "issues": []}}
    return cache.put(sound(cache.incoming, prompt, seed=seed, metadata=quality, **how), {}, standing=standing).id


def drawn(cache: SoundCache, query: Query, **how) -> set[int]:
    return {cache.find_exact(recipe("rain", **how), query).hit.entry.id for _ in range(20)}


def test_the_last_one_forced_is_offered_whatever_the_scores_say(cache: SoundCache) -> None:
    good = keep(cache, 1, 90.0)
    forced = keep(cache, 2, 50.0, "preferred")
    assert drawn(cache, COLD) == drawn(cache, WARM) == {forced}
    newest = keep(cache, 3, 40.0, "preferred")
    assert drawn(cache, WARM) == {newest}
    # a seed draws among all
    queries = [Query(temperature=100.0, variant_seed=number) for number in range(60)]
    by_seed = {cache.find_exact(recipe("rain"), query).hit.entry.id for query in queries}
    assert by_seed == {good, forced, newest}
    cache.remove([newest])
    assert drawn(cache, COLD) == {forced}


def test_it_is_preferred_among_its_like_alone(cache: SoundCache) -> None:
    short = keep(cache, 1, 90.0)
    longer = keep(cache, 2, 50.0, "preferred", duration_s=2.2)
    assert drawn(cache, COLD) == {short} and drawn(cache, COLD, duration_s=2.2) == {longer}
    assert cache.find_exact(recipe("rain", loop=True), COLD).hit is None


def test_the_cap_takes_another(cache: SoundCache) -> None:
    kept = [keep(cache, seed, 80.0 + seed) for seed in range(3)]
    forced = keep(cache, 10, 1.0, "preferred")
    assert ids_in(cache.store) == {*kept[1:], forced}
    later = keep(cache, 11, 85.0)
    assert ids_in(cache.store) == {kept[2], forced, later}
    again = keep(cache, 12, 0.5, "preferred")
    assert ids_in(cache.store) == {kept[2], later, again}, "the one forced before is the worst now"


def test_instead_takes_the_place_of_all_but_the_pinned(cache: SoundCache) -> None:
    first, second, pinned = keep(cache, 1, 90.0), keep(cache, 2, 80.0), keep(cache, 3, 70.0)
    other, loop = keep(cache, 4, 90.0, prompt="wind"), keep(cache, 5, 90.0, loop=True)
    cache.store.pins.pin([pinned])
    new = keep(cache, 6, 10.0, "instead")
    assert ids_in(cache.store) == {pinned, other, loop, new} and first != second
    assert drawn(cache, WARM) == {new}


def test_what_is_not_accepted_takes_nobodys_place(cache: SoundCache) -> None:
    kept = keep(cache, 1, 90.0)
    assert keep(cache, 2, 90.0, "instead", accepted=False) is None
    assert drawn(cache, COLD) == {kept}


@pytest.mark.parametrize("fields", [{}, {"force": True, "store": False}])
def test_replace_wants_a_forced_sound_that_is_kept(fields: dict[str, bool]) -> None:
    with pytest.raises(InvalidRequest, match="replace"):
        resolved(replace=True, **fields)
    assert resolved(replace=True, force=True).request.replace
