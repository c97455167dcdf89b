"""A kept sound answers only for its own model and settings, by every kind of look-up."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.support.cache_sounds import ids_in, recipe, sound

from audio_pool.cache.explain import explain
from audio_pool.cache.settings import admits, filters_of, settings_of
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.verify import verify
from audio_pool.types import Query, Recipe

PROMPT, CANONICAL, OTHER_WAY = "rain on a tin roof", "the sound of rain on a tin roof", "a tin roof in the rain"
VECTORS = {"minilm": np.eye(4, dtype=np.float32)[0]}
MODEL: dict[str, Any] = {
    "engine": "audioldm2", "model": "cvssp/audioldm2", "model_revision": "aaa", "steps": 200, "guidance_scale": 3.5,
}  # fmt: skip
Ask = Callable[[SoundCache, Recipe, Query], int | None]


def by_text(cache: SoundCache, asked: Recipe, query: Query) -> int | None:
    hit = cache.find_exact(asked, query).hit
    return None if hit is None else hit.entry.id


def by_key(cache: SoundCache, asked: Recipe, query: Query) -> int | None:
    hit = cache.find_exact(msgspec.structs.replace(asked, prompt=CANONICAL), query).hit
    assert hit is None or hit.cache_type == "canonical"
    return None if hit is None else hit.entry.id


def by_meaning(cache: SoundCache, asked: Recipe, query: Query) -> int | None:
    hit = cache.find_near(msgspec.structs.replace(asked, prompt=OTHER_WAY), query, VECTORS).hit
    assert hit is None or hit.cache_type == "semantic"
    return None if hit is None else hit.entry.id


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SoundCache]:
    opened = SoundCache(tmp_path / "cache", rng=random.Random(1), max_per_prompt=100)
    yield opened
    assert verify(opened.store).problems == []
    opened.close()


@pytest.fixture(params=[by_text, by_key, by_meaning], ids=["exact", "canonical", "semantic"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return request.param  # type: ignore[no-any-return]


def keep(cache: SoundCache, metadata: dict[str, Any] | None = None, **changes: Any) -> int | None:
    return cache.put(sound(cache.incoming, PROMPT, metadata=metadata, **{**MODEL, **changes}), VECTORS).id


def asked(**changes: Any) -> Recipe:
    return recipe(PROMPT, **{**MODEL, **changes})


def test_the_same_model_and_settings_hit(cache: SoundCache, ask: Ask) -> None:
    kept = keep(cache)
    assert ask(cache, asked(), Query()) == kept


def test_a_sound_of_another_model_in_10_steps_does_not_answer_for_this_one_in_200(cache: SoundCache, ask: Ask) -> None:
    keep(cache, model="cvssp/audioldm2-music", steps=10)
    assert ask(cache, asked(), Query()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": "audioldm2_music", "implementation": "audioldm2"},
        {"implementation": "another"},
        {"model": "cvssp/audioldm2-large"},
        {"model_revision": "bbb"},
        {"steps": 199},
        {"guidance_scale": 2.4},
        {"guidance_scale": 4.6},
        {"negative_prompt": "wind"},
        {"voice": "amy"},
        {"loop": True},
        {"namespace": "other"},
        {"options": (("top_k", 20),)},
        {"crossfade_s": 0.5},
        {"highpass_hz": 0.0},
    ],
    ids=str,
)
def test_one_setting_that_differs_is_a_miss(cache: SoundCache, ask: Ask, changes: dict[str, Any]) -> None:
    keep(cache, **changes)
    assert ask(cache, asked(), Query()) is None


@pytest.mark.parametrize(
    "changes", [{"steps": 250}, {"guidance_scale": 4.5}, {"steps": None}, {"candidates": 4}], ids=str
)
def test_a_sound_made_better_or_hardly_otherwise_does(cache: SoundCache, ask: Ask, changes: dict[str, Any]) -> None:
    kept = keep(cache, **changes)
    assert ask(cache, asked(), Query()) == kept


def test_the_same_options_and_shaping_hit(cache: SoundCache, ask: Ask) -> None:
    changes = {"options": (("top_k", 20),), "crossfade_s": 0.5, "highpass_hz": 0.0}
    kept = keep(cache, **changes)
    assert ask(cache, asked(**changes), Query()) == kept
    assert ask(cache, asked(**{**changes, "options": (("top_k", 21),)}), Query()) is None


def test_family_takes_any_model_of_the_implementation_and_any_takes_all(cache: SoundCache, ask: Ask) -> None:
    other = {"engine": "audioldm2_music", "implementation": "audioldm2", "model": "cvssp/audioldm2-music"}
    music = keep(cache, **other)
    assert ask(cache, asked(), Query(same_settings="model")) is None
    assert ask(cache, asked(), Query(same_settings="family")) == music
    assert ask(cache, asked(steps=201), Query(same_settings="family")) is None  # still not one made worse
    foreign = asked(engine="tangoflux", model="tangoflux", steps=500, guidance_scale=9.0)
    assert ask(cache, foreign, Query(same_settings="family")) is None
    # steps of another implementation say nothing
    assert ask(cache, foreign, Query(same_settings="any")) == music
    assert ask(cache, asked(steps=201), Query(same_settings="any")) is None


def test_the_steps_ratio_and_the_guidance_tolerance_are_the_querys(cache: SoundCache, ask: Ask) -> None:
    kept = keep(cache, steps=100, guidance_scale=7.0)
    assert ask(cache, asked(), Query(min_steps_ratio=0.5, guidance_tolerance=3.5)) == kept
    assert ask(cache, asked(), Query(min_steps_ratio=0.51, guidance_tolerance=3.5)) is None
    assert ask(cache, asked(), Query(min_steps_ratio=0.5, guidance_tolerance=3.4)) is None
    assert ask(cache, asked(), Query(min_steps_ratio=0.0, guidance_tolerance=100.0)) == kept


def test_an_unknown_revision_matches_only_a_request_that_knows_none(cache: SoundCache, ask: Ask) -> None:
    unknown = keep(cache, model_revision="", seed=1)
    assert ask(cache, asked(), Query()) is None
    assert ask(cache, asked(model_revision=""), Query()) == unknown
    cache.remove([unknown])
    known = keep(cache, seed=2)
    assert ask(cache, asked(model_revision=""), Query()) == known


def test_a_revision_that_only_the_worker_knew_counts(cache: SoundCache, ask: Ask) -> None:
    kept = keep(cache, metadata={"model_revision": "bbb"}, model_revision="")
    assert ask(cache, asked(model_revision="bbb"), Query()) == kept
    assert ask(cache, asked(model_revision="aaa"), Query()) is None


@pytest.mark.parametrize("warning", ["nearest_recipe: used 'drone'", "not_heard: wolf", "not_english: x"])
def test_strict_leaves_out_what_is_not_quite_what_the_words_ask_for(cache: SoundCache, ask: Ask, warning: str) -> None:
    inexact = keep(cache, metadata={"warnings": [warning]}, seed=1)
    assert ask(cache, asked(), Query()) == inexact
    assert ask(cache, asked(), Query(strict=True)) is None
    fine = keep(cache, metadata={"warnings": ["loudness_limited: x"], "clap_similarity": 0.1}, seed=2)
    assert ask(cache, asked(), Query(strict=True)) == fine


# -- explicit seeds --------------------------------------------------------------------------------


def test_an_explicit_seed_is_compared_by_revision_dtype_and_quantization(cache: SoundCache) -> None:
    made = {"dtype": "float16", "quantization": "int8"}
    kept = keep(cache, seed=7, **made)
    assert by_text(cache, asked(seed=7, **made), Query()) == kept
    for changes in ({"model_revision": "bbb"}, {"dtype": "float32"}, {"quantization": "int4"}, {"candidates": 2}):
        assert by_text(cache, asked(seed=7, **{**made, **changes}), Query()) is None, changes
    for changes in ({"options": (("top_k", 1),)}, {"crossfade_s": 1.0}, {"highpass_hz": 1.0}):
        assert by_text(cache, asked(seed=7, **{**made, **changes}), Query()) is None, changes


def test_a_seed_that_was_drawn_is_found_when_it_is_asked_for(cache: SoundCache) -> None:
    """A request without a seed says no dtype; the worker's own words are kept with the sound."""
    kept = keep(cache, metadata={"dtype": "float16", "model_revision": "aaa"}, seed=7)
    assert by_text(cache, asked(seed=7, dtype="float16"), Query()) == kept
    assert by_text(cache, asked(seed=7, dtype="float32"), Query()) is None
    assert by_text(cache, asked(seed=7, dtype=""), Query()) == kept


def test_one_recipe_at_two_precisions_is_two_entries_and_kept_once_each(cache: SoundCache) -> None:
    first, second = keep(cache, seed=7, dtype="float16"), keep(cache, seed=7, dtype="float32")
    assert first != second
    assert keep(cache, seed=7, dtype="float32") == second
    assert ids_in(cache.store) == {first, second}


# -- the cap ---------------------------------------------------------------------------------------


def test_the_cap_counts_variants_of_the_same_whole_settings(tmp_path: Path) -> None:
    few = SoundCache(tmp_path / "few", max_per_prompt=1)
    others = [
        {}, {"steps": 100}, {"model": "other"}, {"model_revision": "bbb"}, {"guidance_scale": 4.0}, {"steps": None},
        {"options": (("top_k", 1),)}, {"engine": "named", "implementation": "audioldm2"},
    ]  # fmt: skip
    kept = [keep(few, seed=seed, metadata={"clap_similarity": 0.5}, **changes) for seed, changes in enumerate(others)]
    assert ids_in(few.store) == set(kept)
    better = keep(few, seed=100, metadata={"clap_similarity": 0.9})
    assert ids_in(few.store) == {*kept[1:], better}
    few.close()


# -- one rule in two languages ---------------------------------------------------------------------


def test_sql_python_and_the_index_agree_on_what_fits(cache: SoundCache) -> None:
    draw = random.Random(3)
    choices: dict[str, list[Any]] = {
        "engine": ["a", "b"], "implementation": ["a", "b"], "model": ["m", "n"], "model_revision": ["", "r", "s"],
        "steps": [None, 10, 20], "guidance_scale": [None, 3.0, 3.3, 7.5], "loop": [False, True],
        "options": [(), (("k", 1),)], "duration_s": [2.0, 2.01, 2.3], "sample_rate": [44_100, 48_000],
    }  # fmt: skip

    def drawn(**some: Any) -> dict[str, Any]:
        picked = {name: draw.choice(values) for name, values in choices.items() if draw.random() < 0.4}
        return {"engine": "a", "implementation": "a", "model": "m", "loop": False, **picked, **some}

    made = {}
    for seed in range(120):
        metadata = {"warnings": ["not_heard: x"] if draw.random() < 0.3 else [], "commercial_use": draw.random() < 0.7}
        one = sound(cache.incoming, PROMPT, metadata=metadata, **drawn(seed=seed))
        made[cache.put(one, VECTORS).id] = settings_of(one.recipe, one.metadata)
    sizes = set()
    for _ in range(150):
        query = Query(
            same_settings=draw.choice(["model", "model", "family", "any"]),
            min_steps_ratio=draw.choice([0.0, 0.5, 1.0]),
            guidance_tolerance=draw.choice([0.0, 0.3, 10.0]),
            duration_tolerance=draw.choice([0.0, 0.01, 0.2]),
            strict=draw.random() < 0.3,
            commercial_only=draw.random() < 0.3,
            reuse_k=1000,
        )
        request = recipe(PROMPT, **drawn())
        filters = filters_of(request, query)
        fitting = {entry_id for entry_id, settings in made.items() if admits(filters, settings)}
        assert {row.id for row in cache.store.entries.with_ids(list(made), filters)} == fitting
        found = cache.nearest(request, query, "minilm", VECTORS["minilm"])
        assert {row.id for row, _ in found} == fitting
        sizes.add(len(fitting))
    assert 0 in sizes and max(sizes) > 5  # else nothing was compared


# -- why not ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "cvssp/audioldm2-large"}, "model is 'cvssp/audioldm2-large', asked for is 'cvssp/audioldm2'"),
        ({"model_revision": "bbb"}, "model_revision is 'bbb', asked for is 'aaa'"),
        ({"engine": "another"}, "engine is 'another', asked for is 'audioldm2'"),
        ({"steps": 10}, "it was made in 10 steps, asked for are at least 200"),
        ({"guidance_scale": 9.0}, "guidance_scale is 9, asked for is 2.5 to 4.5"),
        ({"options": (("top_k", 1),)}, "options, crossfade_s, highpass_hz, loop_method or init_audio differ"),
        ({"metadata": {"warnings": ["not_heard: x"]}}, "it carries a warning that strict forbids"),
    ],
    ids=str,
)
def test_explain_names_the_setting_that_does_not_fit(cache: SoundCache, changes: dict[str, Any], reason: str) -> None:
    kept = keep(cache, **changes)
    (near,) = explain(cache, asked(), Query(strict=True), {}).entries
    assert (near.id, near.accepted, near.stage) == (kept, False, "settings")
    assert reason in near.reason


def test_explain_names_what_an_explicit_seed_asks_for(cache: SoundCache) -> None:
    keep(cache, seed=7, dtype="float16")
    (near,) = explain(cache, asked(seed=7, dtype="float32"), Query(), {}).entries
    assert "an explicit seed or init audio matches only the identical recipe" in near.reason
    (near,) = explain(cache, asked(seed=7, dtype="float16"), Query(), {}).entries
    assert (near.accepted, near.stage) == (True, "exact")
