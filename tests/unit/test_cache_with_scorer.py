"""The cache where a scorer (CLAP) came, or comes, to sounds that were kept without one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.cache_sounds import recipe, sound

from audio_pool.cache.sound_cache import SoundCache
from audio_pool.types import Query

PROMPT, OTHER_WAY = "rain on a tin roof", "a tin roof in the rain"
TOLERANT = Query(match="tolerant", temperature=0.0)


def vector(angle: float, dimensions: int = 8) -> np.ndarray:
    made = np.zeros(dimensions, np.float32)
    made[:2] = np.cos(angle), np.sin(angle)
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SoundCache]:
    opened = SoundCache(tmp_path / "cache", rng=random.Random(1), max_per_prompt=2, cap_strategy="diversity")
    yield opened
    opened.close()


@pytest.mark.parametrize("first", ["clap", "minilm"])
def test_sounds_kept_before_there_was_a_scorer_are_still_found_by_meaning(cache: SoundCache, first: str) -> None:
    kept = cache.put(sound(cache.incoming, PROMPT), {"minilm": vector(0.0)})
    both = {"clap": vector(1.0), "minilm": vector(0.3)}
    asked = {first: both.pop(first), **both}  # vectors come in any order
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, asked).hit.entry.id == kept.id


def test_the_reason_of_a_hit_that_the_sound_forbids_is_handed_out(cache: SoundCache) -> None:
    cache.put(sound(cache.incoming, PROMPT), {"minilm": vector(0.0), "sound:clap": vector(1.4)})
    cache.put(sound(cache.incoming, "a dog barks"), {"minilm": vector(0.1), "sound:clap": vector(1.4)})
    asked = {"minilm": vector(0.0), "clap": vector(0.0)}
    found = cache.find_near(recipe(OTHER_WAY), TOLERANT, asked)
    assert found.hit is None
    (reason,) = found.refused  # the dog's words forbid it, whatever it sounds like
    assert reason.startswith("no hit: CLAP of query and sound 0.17 is below tau_use 0.35") and PROMPT in reason


@pytest.mark.parametrize("scorer", ["sound:clap", "sound:laion_clap@/models/laion"])
def test_the_scorer_says_what_is_alike_and_not_the_descriptors(cache: SoundCache, scorer: str) -> None:
    """To the scorer the first two takes are alike, to the descriptors the last two."""
    heard = {1: (0.0, 0.0), 2: (0.1, 1.0), 3: (1.5, 1.1)}
    for seed, (by_scorer, by_descriptors) in heard.items():
        made = sound(cache.incoming, PROMPT, seed=seed, metadata={"quality": {"score": 90.0 + seed, "issues": []}})
        cache.put(made, {scorer: vector(by_scorer), "sound:descriptors": vector(by_descriptors)})
    left = {entry.metadata["seed"] for entry in map(cache.store.entries.entry, (1, 2, 3)) if entry is not None}
    assert left == {2, 3}
