"""Exact and canonical hits: which entry is offered, which is not, and what is said about it."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.support.cache_sounds import ids_in, recipe, sound

from audio_pool.cache.sound_cache import Lookup, SoundCache
from audio_pool.types import Query

STRICT = Query(match="strict", temperature=0.0)


@pytest.fixture
def cache(tmp_path: Path):
    opened = SoundCache(tmp_path / "cache", rng=random.Random(1), now=lambda: 2_000_000_000.0)
    yield opened
    opened.close()


def keep(cache: SoundCache, prompt: str = "rain on a tin roof", **changes):
    return cache.put(sound(cache.incoming, prompt, **changes), {})


def test_the_same_words_hit_and_the_hit_tells_how_that_sound_was_made(cache: SoundCache) -> None:
    entry = keep(cache, seed=7, metadata={"worker": {"id": "w0"}, "warnings": ["a: b"]})
    hit = cache.find_exact(recipe("  Rain on a TIN roof "), STRICT).hit
    assert hit is not None
    assert hit.entry.id == entry.id
    assert hit.cache_type == "exact"
    assert hit.metadata["seed"] == 7
    assert hit.metadata["worker"] == {"id": "w0", "device": "cpu"}
    assert hit.metadata["cached"] is True
    assert hit.metadata["cache_type"] == "exact"
    assert hit.metadata["hit_reason"] == "the same words: 'rain on a tin roof'"
    assert hit.metadata["cache_similarity"] == 1.0
    assert hit.metadata["matched_prompt"] == "rain on a tin roof"
    assert hit.metadata.warnings == ("a: b",)
    age = hit.metadata["cache_age_seconds"]
    assert age == pytest.approx(2_000_000_000.0 - entry.created_at)


def test_words_that_say_the_same_hit_by_the_canonical_key(cache: SoundCache) -> None:
    entry = keep(cache, "a dog barks")
    hit = cache.find_exact(recipe("the sound of the dog barks"), STRICT).hit
    assert hit is not None
    assert (hit.entry.id, hit.cache_type, hit.similarity) == (entry.id, "canonical", None)
    assert hit.reason == "words that say the same: 'a dog barks'"


def test_speech_wants_the_very_same_words(cache: SoundCache) -> None:
    keep(cache, "a dog barks", voice="amy")
    asked = recipe("the dog barks", voice="amy")
    assert cache.find_exact(asked, Query(speech=True)).hit is None
    assert cache.find_exact(asked, Query()).hit is None
    assert cache.find_exact(recipe("a dog barks", voice="amy"), Query(speech=True)).hit is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"namespace": "other"},
        {"engine": "mock"},
        {"loop": True},
        {"voice": "amy"},
        {"negative_prompt": "wind"},
        {"sample_rate": 48_000},
        {"duration_s": 2.6},
        {"duration_s": 1.6},
        {"prompt": "rain on two tin roofs"},
    ],
    ids=str,
)
def test_a_sound_with_other_settings_is_not_offered(cache: SoundCache, changes: dict) -> None:
    keep(cache)
    assert cache.find_exact(recipe(**changes), STRICT).hit is None


def test_any_engine_offers_other_engines_sounds(cache: SoundCache) -> None:
    keep(cache, engine="mock")
    assert cache.find_exact(recipe(), STRICT).hit is None
    assert cache.find_exact(recipe(), Query(same_settings="any")).hit is not None


def test_a_lower_rate_may_be_made_from_a_higher_one(cache: SoundCache) -> None:
    keep(cache, sample_rate=48_000)
    assert cache.find_exact(recipe(sample_rate=44_100), STRICT).hit is not None


def test_commercial_only_offers_what_is_known_to_be_allowed(cache: SoundCache) -> None:
    only = Query(commercial_only=True)
    keep(cache, seed=1)
    assert cache.find_exact(recipe(), only).hit is None
    keep(cache, seed=2, metadata={"commercial_use": False})
    assert cache.find_exact(recipe(), only).hit is None
    allowed = keep(cache, seed=3, metadata={"commercial_use": True})
    assert cache.find_exact(recipe(), only).hit.entry.id == allowed.id


def test_the_nearest_length_wins_and_a_difference_is_told(cache: SoundCache) -> None:
    keep(cache, seed=1, duration_s=2.3)
    near = keep(cache, seed=2, duration_s=1.9)
    hit = cache.find_exact(recipe(duration_s=2.0), STRICT).hit
    assert hit.entry.id == near.id
    assert hit.warnings == ("duration_differs: 2.000 s were asked for, this sound has 1.900 s",)
    assert hit.metadata.warnings == hit.warnings


def test_tolerance_zero_is_exact_to_the_frame(cache: SoundCache) -> None:
    exact = Query(duration_tolerance=0.0)
    keep(cache, duration_s=2.0)
    assert cache.find_exact(recipe(duration_s=2.0), exact).hit.warnings == ()
    assert cache.find_exact(recipe(duration_s=2.0 + 1 / 44_100), exact).hit is None


def test_an_explicit_seed_matches_only_the_identical_recipe(cache: SoundCache) -> None:
    entry = keep(cache, seed=7)
    hit = cache.find_exact(recipe(seed=7), STRICT).hit
    assert hit.entry.id == entry.id
    assert hit.reason == "identical recipe, seed 7: 'rain on a tin roof'"
    assert cache.find_exact(recipe(seed=8), STRICT).hit is None
    assert cache.find_exact(recipe(seed=7, steps=20), STRICT).hit is None
    assert cache.find_exact(recipe("Rain on a tin roof", seed=7), STRICT).hit is None
    assert cache.find_exact(recipe(seed=7, duration_s=2.1), STRICT).hit is None


def test_init_audio_matches_only_the_identical_recipe_whatever_seed_was_drawn(cache: SoundCache) -> None:
    entry = keep(cache, seed=7, init_audio_sha256="ab" * 32, init_strength=0.5)
    assert cache.find_exact(recipe(), STRICT).hit is None, "somebody's own sound answered a plain request"
    asked = {"init_audio_sha256": "ab" * 32, "init_strength": 0.5}
    assert cache.find_exact(recipe(**asked), STRICT).hit.entry.id == entry.id
    assert cache.find_exact(recipe(**{**asked, "init_strength": 0.6}), STRICT).hit is None
    assert cache.find_exact(recipe(**{**asked, "init_audio_sha256": "cd" * 32}), STRICT).hit is None


def test_a_vanished_file_is_a_miss_and_its_entry_stays_for_a_disk_that_is_mounted_again(
    cache: SoundCache, tmp_path: Path
) -> None:
    entry = keep(cache)
    os.rename(entry.path, tmp_path / "away")
    assert cache.find_exact(recipe(), STRICT).hit is None
    cache.tend()
    os.rename(tmp_path / "away", entry.path)
    hit = cache.find_exact(recipe(), STRICT).hit
    assert hit is not None and hit.entry.id == entry.id


def test_another_variant_stands_in_for_a_vanished_file(cache: SoundCache) -> None:
    best = keep(cache, seed=1, metadata={"clap_similarity": 0.9})
    other = keep(cache, seed=2, metadata={"clap_similarity": 0.2})
    os.unlink(best.path)
    assert cache.find_exact(recipe(), STRICT).hit.entry.id == other.id


def test_temperature_zero_takes_the_best(cache: SoundCache) -> None:
    keep(cache, seed=1, metadata={"clap_similarity": 0.2})
    best = keep(cache, seed=2, metadata={"clap_similarity": 0.9})
    keep(cache, seed=3, metadata={"clap_similarity": 0.5})
    assert {cache.find_exact(recipe(), STRICT).hit.entry.id for _ in range(20)} == {best.id}


def test_a_draw_follows_the_softmax_of_scores(cache: SoundCache) -> None:
    worse = keep(cache, seed=1, metadata={"clap_similarity": 0.25})
    better = keep(cache, seed=2, metadata={"clap_similarity": 0.50})
    counts = Counter(cache.find_exact(recipe(), Query(temperature=0.25)).hit.entry.id for _ in range(2000))
    share = np.e / (1 + np.e)  # exp(0.5/0.25) over exp(0.25/0.25) + exp(0.5/0.25)
    assert counts[better.id] / 2000 == pytest.approx(share, abs=0.04)
    assert counts[worse.id] > 0


def test_a_variant_seed_draws_the_same_also_when_others_come(cache: SoundCache) -> None:
    def drawn(seed: int) -> int:
        return cache.find_exact(recipe(), Query(temperature=1.0, variant_seed=seed)).hit.entry.id

    for seed in range(3):
        keep(cache, seed=seed)
    before = [drawn(seed) for seed in range(60)]
    assert [drawn(seed) for seed in range(60)] == before
    assert len(set(before)) == 3
    new = keep(cache, seed=9).id
    assert all(now in (was, new) for was, now in zip(before, [drawn(s) for s in range(60)], strict=True))


def test_a_sound_that_was_not_accepted_is_delivered_and_never_offered(cache: SoundCache) -> None:
    entry = keep(cache, accepted=False)
    assert entry.id is None
    assert Path(entry.path) in {render.path for render in cache.store.blobs.renders()}
    assert os.path.exists(entry.path)
    assert cache.find_exact(recipe(), STRICT).hit is None


def test_the_cap_drops_the_worst_of_a_prompt_and_of_no_other(cache: SoundCache, tmp_path: Path) -> None:
    few = SoundCache(tmp_path / "few", max_per_prompt=2)
    other = few.put(sound(few.incoming, "wind", metadata={"clap_similarity": 0.0}), {})
    longer = few.put(sound(few.incoming, duration_s=9.0, metadata={"clap_similarity": 0.0}), {})
    worst, middle = (
        few.put(sound(few.incoming, seed=seed, metadata={"clap_similarity": score}), {})
        for seed, score in ((1, 0.1), (2, 0.5))
    )
    best = few.put(sound(few.incoming, seed=3, metadata={"clap_similarity": 0.9}), {})
    assert ids_in(few.store) == {other.id, longer.id, middle.id, best.id}
    assert few.store.leaving.files() == {str(Path(worst.path).relative_to(tmp_path / "few"))}
    poor = few.put(sound(few.incoming, seed=4, metadata={"clap_similarity": 0.2}), {})
    assert poor.id is None and os.path.exists(poor.path)
    again = few.put(sound(few.incoming, seed=2), {})
    assert again.id == middle.id
    few.close()


def test_the_cap_for_diversity_drops_the_worse_of_the_two_most_alike(tmp_path: Path) -> None:
    few = SoundCache(tmp_path / "few", max_per_prompt=2, cap_strategy="diversity")
    kept = [
        few.put(
            sound(few.incoming, seed=seed, metadata={"clap_similarity": score}),
            {"sound:clap": np.array(vector, np.float32)},
        )
        for seed, score, vector in ((1, 0.1, (0, 1)), (2, 0.8, (1, 0)), (3, 0.9, (1, 0.01)))
    ]
    assert ids_in(few.store) == {kept[0].id, kept[2].id}
    few.close()


def test_recipes_told_in_full_survive_the_round_trip(cache: SoundCache) -> None:
    made = sound(cache.incoming, steps=20, guidance_scale=4.5, negative_prompt="wind", candidates=3)
    entry = cache.put(made, {})
    assert cache.store.entries.entry(entry.id).recipe == made.recipe
    assert msgspec.structs.replace(made.recipe, seed=3).identity() != made.recipe.identity()


def test_a_lookup_can_be_serialised_and_read_back(cache: SoundCache) -> None:
    keep(cache, metadata={"engine_details": {"layers": ["rain"]}, "labels": {"level": 3}})
    found = cache.find_exact(recipe(), STRICT)
    assert found.hit is not None
    assert msgspec.json.decode(msgspec.json.encode(found), type=Lookup) == found
