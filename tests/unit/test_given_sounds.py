"""A sound that was made of a given one is offered to nobody who gave none: perhaps it is somebody's own recording."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.cache_sounds import harm, recipe, sound

from audio_pool.cache.explain import explain
from audio_pool.cache.judgements import Given
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.presets import TABLES as PRESETS
from audio_pool.cache.sqlite.registry import TABLES as REGISTRY
from audio_pool.cache.verify import verify
from audio_pool.types import Edit, Query

PROMPT, SAME, OTHER_WAY = "rain on a tin roof", "the sound of rain on a tin roof", "a tin roof in the rain"
OWN: dict[str, Any] = {"init_audio_sha256": "ab" * 32, "init_strength": 0.5}
X, Y = np.eye(4, dtype=np.float32)[:2]
ASKED = {"minilm": X, "clap": X}
QUERIES = [Query(match=match, same_settings="any") for match in ("strict", "tolerant", "threshold", "global")]


def keep(cache: SoundCache, prompt: str = PROMPT, at: np.ndarray = X, **changes: Any) -> int:
    vectors = {"minilm": at, "sound:clap": at, "clap": at}
    return cache.put(sound(cache.incoming, prompt, **changes), vectors).id or 0


def offered(cache: SoundCache, **changes: Any) -> set[int]:
    """Everything that any look-up gives for these words in any mode, however they are put."""
    found = set()
    for query in QUERIES:
        for words in (PROMPT, SAME, OTHER_WAY):
            asked = recipe(words, **changes)
            hits = [cache.find_exact(asked, query).hit, cache.find_near(asked, query, ASKED).hit]
            told = explain(cache, asked, query, ASKED)
            found |= {hit.entry.id for hit in hits if hit is not None}
            found |= {near.id for near in told.entries if near.accepted}
    numbered = cache.find_exact(recipe(PROMPT, **changes), Query(variant=1)).hit
    return found | ({numbered.entry.id} if numbered else set())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize("edit", [{}, {"edit": Edit(mask_start_s=0.5, mask_end_s=1.0)}, {"edit": Edit(extend_s=1.0)}])
def test_it_answers_no_plain_request_at_any_stage(directory: Path, edit: dict[str, Any]) -> None:
    cache = SoundCache(directory)
    keep(cache, seed=1, **OWN, **edit)
    cache.learn([Given("default", OTHER_WAY, PROMPT, "right", "manager")])
    assert offered(cache) == set()
    assert cache.count(recipe(PROMPT), Query()) == 0
    plain = keep(cache, seed=2)
    assert offered(cache) == {plain}
    (misfit,) = [near for near in explain(cache, recipe(PROMPT), Query(), ASKED).entries if not near.accepted]
    assert "init_audio" in misfit.reason
    cache.close()


def test_it_answers_what_it_was_made_of_and_nothing_else(directory: Path) -> None:
    cache = SoundCache(directory)
    cut = {**OWN, "edit": Edit(mask_start_s=0.5, mask_end_s=1.0)}
    whole, part = keep(cache, seed=1, **OWN), keep(cache, seed=1, **cut)
    others = [{**OWN, "init_audio_sha256": "cd" * 32}, {**OWN, "init_strength": 0.6},
              {**OWN, "edit": Edit(mask_start_s=0.5, mask_end_s=1.1)}, {**OWN, "edit": Edit(extend_s=1.0)}]  # fmt: skip
    assert offered(cache, **OWN) == {whole} and offered(cache, **cut) == {part}
    assert [offered(cache, **other) for other in others] == [set()] * 4
    keep(cache, seed=2)
    assert [offered(cache, **other) for other in others] == [set()] * 4
    cache.close()


def test_variants_of_words_are_capped_without_it(directory: Path) -> None:
    cache = SoundCache(directory, max_per_prompt=1)
    given, plain = keep(cache, seed=1, **OWN), keep(cache, seed=2)
    assert given and plain and offered(cache) == {plain} and offered(cache, **OWN) == {given}
    cache.close()


def test_those_of_an_earlier_version_are_told_apart_at_the_next_opening_for_indexes_too(directory: Path) -> None:
    cache = SoundCache(directory)
    given, plain = keep(cache, seed=1, **OWN), keep(cache, "wind in the trees", Y, seed=2)
    cache.close()
    later = [f"DROP TABLE {name}" for name in re.findall(r"CREATE TABLE (\w+)", PRESETS + REGISTRY)]
    harm(directory, *reversed(later), "UPDATE entries SET extras = ''", "PRAGMA user_version = 17")
    # an index of before has it among all others
    cache = SoundCache(directory)
    assert offered(cache) == set() and offered(cache, **OWN) == {given}
    assert cache.find_exact(recipe("wind in the trees"), Query()).hit.entry.id == plain
    nearest = cache.nearest(recipe(PROMPT, **OWN), Query(), "minilm", X)
    assert [row.id for row, _ in nearest] == [given]
    assert cache.nearest(recipe(PROMPT), Query(same_settings="any"), "minilm", X)[0][0].id == plain
    assert verify(cache.store).problems == []
    cache.close()


def test_what_an_earlier_version_keeps_beside_this_one_is_not_offered_either(directory: Path) -> None:
    cache = SoundCache(directory)
    keep(cache, seed=1, **OWN)
    harm(directory, "UPDATE entries SET extras = ''")
    for query in QUERIES:
        assert cache.find_exact(recipe(PROMPT), query).hit is None
        assert cache.find_near(recipe(OTHER_WAY), query, ASKED).hit is None
    cache.close()
