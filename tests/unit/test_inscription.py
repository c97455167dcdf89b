"""What is written inside a file gives the sound's recipe and metadata back, also where an older version wrote it."""

from __future__ import annotations

import json

import pytest
from tests.support.cache_sounds import recipe

from audio_pool.inscription import comment_of, sound_in
from audio_pool.reports import QualityReport
from audio_pool.results import SoundMetadata

METADATA = SoundMetadata(
    prompt="rain on a tin roof", engine="procedural", implementation="procedural", seed=9, base_seed=7,
    quality=QualityReport(score=71.5, issues=("quiet",)), warnings=("nearest_recipe: x",), labels={"level": 3},
    tags=("weather",), commercial_use=True, clap_similarity=0.4, generation_timestamp=123.5, sample_rate=44_100,
    engine_details={"layers": 2},
)  # fmt: skip


def test_it_comes_back_whole() -> None:
    made = recipe(seed=7, options=(("eta", 0.5),), namespace="harbour", candidates=3)
    facts = json.loads(comment_of(made, METADATA))
    assert sound_in(facts, frames=1, sample_rate=8000) == (made, METADATA)


@pytest.mark.parametrize("candidates", [1, 4])
@pytest.mark.parametrize("seed", [9, None])
def test_an_older_comment_gives_the_recipe_that_its_identity_stands_for(candidates: int, seed: int | None) -> None:
    made = recipe(seed=seed, candidates=candidates)
    facts = json.loads(comment_of(made, METADATA))
    del facts["recipe"], facts["metadata"]
    facts["model"] = made.model
    found = sound_in(facts, frames=made.frames, sample_rate=made.sample_rate)
    assert found is not None and found[0] == made
    assert (found[1].prompt, found[1].seed, found[1].commercial_use) == (made.prompt, 9, False)


def test_an_older_comment_of_a_recipe_that_cannot_be_guessed_gives_one_without_a_seed() -> None:
    made = recipe(seed=7, namespace="harbour")
    facts = json.loads(comment_of(made, METADATA))
    del facts["recipe"], facts["metadata"]
    found = sound_in(facts, frames=made.frames, sample_rate=made.sample_rate)
    assert found is not None and (found[0].prompt, found[0].seed, found[0].namespace) == (made.prompt, None, "default")


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"made_by": "another program", "prompt": "rain", "engine": "x"},
        {"made_by": "audio_pool"},
        {"made_by": "audio_pool", "prompt": 3, "engine": "x"},
        {"made_by": "audio_pool", "prompt": "rain", "engine": "x", "steps": "many"},
        {"made_by": "audio_pool", "recipe": {"prompt": "rain"}},
        {"made_by": "audio_pool", "prompt": "rain", "engine": "x", "metadata": [1]},
    ],
    ids=str,
)
def test_what_is_not_ours_or_damaged_gives_nothing(facts: dict) -> None:  # type: ignore[type-arg]
    assert sound_in(facts, frames=100, sample_rate=44_100) is None


def test_a_recipe_of_no_frames_or_of_no_rate_is_none() -> None:
    made = json.loads(comment_of(recipe(), METADATA))
    for forged in ({"sample_rate": 0}, {"frames": 0}, {"frames": -5}, {"sample_rate": -44_100}):
        assert sound_in({**made, "recipe": {**made["recipe"], **forged}}, frames=1, sample_rate=8000) is None
    plain = {"made_by": "audio_pool", "prompt": "rain", "engine": "procedural"}
    assert sound_in(plain, frames=0, sample_rate=8000) is None
