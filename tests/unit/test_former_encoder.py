"""While kept sounds are embedded anew, the vectors that they have answer: another encoder's, or another precision's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.support.cache_sounds import recipe, sound

from audio_pool.cache.explain import explain
from audio_pool.cache.lookup import Lookup
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.config import Config
from audio_pool.pool.plan import former_encoder
from audio_pool.types import Query

pytest.importorskip("faiss")

ASKED = "a tin roof in the rain"
NEAR, FAR = np.eye(4, dtype=np.float32)[:2]
NEW, OLD, ROUNDED = "bge", "minilm", "minilm@int8"


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SoundCache]:
    cache = SoundCache(tmp_path / "cache")
    for seed, vector in enumerate((NEAR, FAR)):
        cache.put(sound(cache.incoming, ("rain on a tin roof", "a dog barks")[seed], seed=seed), {OLD: vector})
    cache.spaces.former = OLD
    yield cache
    cache.close()


def near(cache: SoundCache, **vectors: np.ndarray) -> Lookup:
    named = {space.replace("_", "@"): vector for space, vector in vectors.items()}
    return cache.find_near(recipe(ASKED), Query(), named)


def test_what_has_no_new_vector_is_found_by_its_old_one(cache: SoundCache) -> None:
    assert near(cache, bge=FAR, minilm=NEAR).hit.entry.recipe.prompt == "rain on a tin roof"
    assert near(cache, bge=NEAR, minilm=FAR).hit is None, "the old encoder says no"
    assert near(cache, bge=NEAR).hit is None, "it was not asked"
    told = explain(cache, recipe(ASKED), Query(), {NEW: FAR, OLD: NEAR})
    assert told.hit and told.encoder == NEW


def test_what_has_its_new_vector_is_judged_by_that_alone(cache: SoundCache) -> None:
    first = cache.find_exact(recipe("rain on a tin roof"), Query()).hit.entry.id
    cache.store.vectors.keep(NEW, {first: FAR})
    cache.follow()
    assert near(cache, bge=NEAR, minilm=NEAR).hit is None
    assert near(cache, bge=FAR, minilm=FAR).hit is not None


def test_of_two_precisions_the_new_ones_vector_asks_both(cache: SoundCache) -> None:
    assert near(cache, minilm_int8=NEAR).hit is not None
    cache.spaces.former = ""
    assert near(cache, minilm_int8=NEAR).hit is None


def test_once_the_new_space_is_full_the_old_one_is_left_alone(
    cache: SoundCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = cache.store.vectors.searchable_ids(OLD)
    cache.store.vectors.keep(ROUNDED, dict(zip(ids, (NEAR, FAR), strict=True)))
    cache.follow()
    asked: list[str] = []
    nearest = cache.nearest
    monkeypatch.setattr(cache, "nearest", lambda *where: asked.append(where[2]) or nearest(*where))
    assert near(cache, minilm_int8=NEAR).hit is not None and asked == [ROUNDED]


@pytest.mark.parametrize(
    ("counts", "changes", "found"),
    [
        ({OLD: 9}, {}, ("", OLD)),
        ({OLD: 9, ROUNDED: 8}, {}, ("", OLD)),
        ({OLD: 9, ROUNDED: 9}, {}, ("", "")),
        ({OLD: 9}, {"ask_former_encoder": False}, ("", "")),
        ({OLD: 9}, {"encoder": "off"}, ("", "")),
        ({"minilm@/another/model": 9, "unknown": 9, "sound:clap": 9}, {}, ("", "")),
    ],
)
def test_the_former_encoder_is_the_one_that_most_sounds_have_vectors_of(
    counts: dict[str, int], changes: dict[str, object], found: tuple[str, str]
) -> None:
    config = msgspec.convert({"cache": {"encoder": "minilm", **changes}}, Config)
    encoders = () if config.cache.encoder == "off" else ("minilm",)
    assert former_encoder(config, encoders, counts) == found
