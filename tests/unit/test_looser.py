"""A looser match: the same thing that sounds, however it sounds; another thing never."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.cache_sounds import recipe, sound

from audio_pool.cache.looser import find_looser
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.prompts.subjects import likeness, same_subject, subject_words
from audio_pool.types import Query


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("heavy rain on a tin roof", "light rain on a window"),
        ("a big dog barks", "dog"),
        ("an old wooden door creaking open", "door creaks"),
        ("footsteps on gravel", "footsteps on wood"),
        ("thunder and rain", "rain"),
        ("the sound of the sea", "sea waves at night, sea"),
    ],
)
def test_one_thing_in_two_ways(asked: str, kept: str) -> None:
    assert same_subject(asked, kept)
    assert likeness(asked, kept) > 0


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("rain", "a dog in the rain"),
        ("rain on a tin roof", "a dog barking on a tin roof"),
        ("a car horn", "a car engine"),
        ("heavy rain", "heavy door"),
        ("rain without thunder", "rain with thunder"),
        ("a dog barks", "a cat meows"),
        ("...", "rain"),
    ],
)
def test_another_thing_is_no_answer(asked: str, kept: str) -> None:
    assert not same_subject(asked, kept)


def test_the_words_that_say_what_sounds() -> None:
    assert subject_words("Heavy rain on a tin roof, then a door slams") == ["rain", "slams"]


VECTOR = np.array([1.0, 0.0, 0.0, 0.0], np.float32)


def turned(cosine: float) -> np.ndarray:
    """A vector of that cosine with VECTOR."""
    return np.array([cosine, np.sqrt(1 - cosine**2), 0.0, 0.0], np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SoundCache]:
    opened = SoundCache(tmp_path / "cache")
    yield opened
    opened.close()


def found(cache: SoundCache, prompt: str, *, vector: bool = False, **query: Any) -> str | None:
    """The prompt of what is offered for one of another engine, steps and length."""
    changes = {key: query.pop(key) for key in ("loop", "namespace", "seed", "init_audio_sha256") if key in query}
    asked = recipe(prompt, engine="other", steps=50, duration_s=2.4, **changes)
    hit = find_looser(cache, asked, Query(**query), {"minilm": VECTOR} if vector else {}).hit
    if hit is not None:
        assert hit.metadata.cache_type == "looser" and hit.metadata.cached
    return None if hit is None else hit.metadata.matched_prompt


def test_where_nothing_compares_meanings_words_decide(cache: SoundCache) -> None:
    cache.put(sound(cache.incoming, "heavy rain on a tin roof"), {})
    cache.put(sound(cache.incoming, "a dog barking on a tin roof"), {})
    assert found(cache, "light rain on a tin roof") == "heavy rain on a tin roof"
    assert found(cache, "heavy rain on a tin roof") == "heavy rain on a tin roof", "the same words, another engine"
    assert found(cache, "a cat on a tin roof") is None
    assert found(cache, "light rain on a tin roof", loop=True) is None
    assert found(cache, "light rain on a tin roof", namespace="other") is None
    assert found(cache, "light rain on a tin roof", speech=True) is None
    assert found(cache, "light rain on a tin roof", init_audio_sha256="0" * 64) is None
    assert found(cache, "light rain on a tin roof", seed=3) == "heavy rain on a tin roof"


def test_the_encoder_must_agree_and_the_nearest_is_offered(cache: SoundCache) -> None:
    for prompt, cosine in (
        ("rain on a window", 0.72), ("rain in a street", 0.66), ("a dog barking", 0.97), ("rain in hell", 0.2)
    ):  # fmt: skip
        cache.put(sound(cache.incoming, prompt), {"minilm": turned(cosine)})
    assert found(cache, "rain on a tin roof", vector=True) == "rain on a window"
    for row in cache.store.entries.with_words("default", "rain on a window"):
        cache.remove([row])
    assert found(cache, "rain on a tin roof", vector=True) == "rain in a street"
    for row in cache.store.entries.with_words("default", "rain in a street"):
        cache.remove([row])
    assert found(cache, "rain on a tin roof", vector=True) is None
