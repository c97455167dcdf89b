"""Hits by meaning: the index, the policy and the rows together, on hand-made vectors."""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from tests.support.cache_sounds import harm, recipe, sound

from audio_pool.cache.explain import explain
from audio_pool.cache.opening import open_store
from audio_pool.cache.settings import filters_of
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.store import KeptVector, Vectors
from audio_pool.cache.vectors import VectorSpace
from audio_pool.cache.verify import verify
from audio_pool.types import Query

TOLERANT = Query(match="tolerant", temperature=0.0)
PROMPT, OTHER_WAY = "rain on a tin roof", "a tin roof in the rain"


def vector(angle: float, dimensions: int = 8) -> np.ndarray:
    """A unit vector whose cosine with ``vector(0)`` is cos(angle)."""
    made = np.zeros(dimensions, np.float32)
    made[:2] = np.cos(angle), np.sin(angle)
    return made


@pytest.fixture
def cache(tmp_path: Path):
    opened = SoundCache(tmp_path / "cache", rng=random.Random(1), max_per_prompt=100)
    yield opened
    opened.close()
    store = open_store(tmp_path / "cache")
    assert verify(store).problems == []
    store.close()


def keep(cache: SoundCache, prompt: str = PROMPT, angle: float = 0.0, *, clap: float | None = None, **changes) -> int:
    vectors = {"minilm": vector(angle)}
    if clap is not None:
        vectors["sound:clap"] = vector(clap)
    return cache.put(sound(cache.incoming, prompt, **changes), vectors).id


def asked(angle: float = 0.0) -> dict[str, np.ndarray]:
    return {"minilm": vector(angle)}


def test_the_same_words_in_another_order_hit_and_say_why(cache: SoundCache) -> None:
    entry_id = keep(cache, angle=0.3)
    assert cache.find_exact(recipe(OTHER_WAY), TOLERANT).hit is None
    hit = cache.find_near(recipe(OTHER_WAY), TOLERANT, asked()).hit
    assert (hit.entry.id, hit.cache_type) == (entry_id, "semantic")
    assert hit.similarity == pytest.approx(np.cos(0.3), abs=1e-5)
    assert hit.metadata["cache_similarity"] == hit.similarity
    assert "all words agree" in hit.metadata["hit_reason"] and PROMPT in hit.metadata["hit_reason"]
    assert hit.metadata["matched_prompt"] == PROMPT


def test_a_cosine_alone_is_no_hit(cache: SoundCache) -> None:
    keep(cache, "a dog barks in a cathedral")
    assert cache.find_near(recipe("an organ plays in a cathedral"), TOLERANT, asked()).hit is None


def test_a_low_cosine_is_no_hit_either(cache: SoundCache) -> None:
    keep(cache, angle=0.8)
    assert np.cos(0.8) < 0.80
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, asked()).hit is None


def test_threshold_goes_by_the_cosine_alone(cache: SoundCache) -> None:
    entry_id = keep(cache, "a dog barks", angle=0.6)
    asked_for, plain = recipe("an organ plays"), Query(match="threshold", temperature=0.0, tau_prompt_sem=0.8)
    assert cache.find_near(asked_for, plain, asked()).hit.entry.id == entry_id
    assert cache.find_near(asked_for, plain, asked(angle=-0.2)).hit is None


def test_strict_never_goes_by_meaning(cache: SoundCache) -> None:
    keep(cache)
    assert cache.find_near(recipe(OTHER_WAY), Query(match="strict"), asked()).hit is None


def test_speech_and_explicit_seeds_never_go_by_meaning(cache: SoundCache) -> None:
    keep(cache)
    keep(cache, voice="amy", seed=3)
    assert cache.find_near(recipe(OTHER_WAY), Query(speech=True), asked()).hit is None
    assert cache.find_near(recipe(OTHER_WAY, seed=1), TOLERANT, asked()).hit is None
    assert cache.find_near(recipe(OTHER_WAY, voice="amy"), TOLERANT, asked()).hit is None


def test_an_encoder_without_calibration_is_not_trusted(cache: SoundCache) -> None:
    cache.put(sound(cache.incoming, PROMPT), {"homemade": vector(0)})
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, {"homemade": vector(0)}).hit is None


def test_clap_vetoes_a_sound_that_is_not_what_was_asked_for(cache: SoundCache) -> None:
    keep(cache, clap=1.4, seed=1)  # cos 0.17
    both = {**asked(), "clap": vector(0)}
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, both).hit is None
    heard = keep(cache, clap=1.0, seed=2)  # cos 0.54
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, both).hit.entry.id == heard


def test_global_finds_by_the_sound_where_words_do_not(cache: SoundCache) -> None:
    entry_id = keep(cache, "take 7", angle=1.5, clap=0.5)
    both = {**asked(), "clap": vector(0)}
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, both).hit is None
    hit = cache.find_near(recipe(OTHER_WAY), Query(match="global"), both).hit
    assert (hit.entry.id, hit.cache_type) == (entry_id, "global")
    assert hit.similarity == pytest.approx(np.cos(0.5), abs=1e-5)


def test_settings_are_filtered_inside_the_search(cache: SoundCache) -> None:
    for seed in range(60):  # all nearer than the one that fits
        keep(cache, seed=seed, loop=True)
    for seed in range(60, 120):
        keep(cache, seed=seed, duration_s=3.0)
    fitting = keep(cache, angle=0.3, seed=200)
    hit = cache.find_near(recipe(OTHER_WAY), Query(match="tolerant", reuse_k=1), asked()).hit
    assert hit.entry.id == fitting


def test_lengths_just_outside_the_tolerance_do_not_crowd_out_those_inside(cache: SoundCache) -> None:
    for seed in range(40):
        keep(cache, seed=seed, duration_s=2.0 + 2 / 44_100)
    fitting = keep(cache, angle=0.3, seed=200, duration_s=2.0)
    exact = Query(match="tolerant", reuse_k=1, duration_tolerance=0.0)
    assert cache.find_near(recipe(OTHER_WAY), exact, asked()).hit.entry.id == fitting


def test_a_prompts_variants_count_once_among_the_nearest(cache: SoundCache) -> None:
    for seed in range(24):
        keep(cache, "a dog barks in a cathedral", 0.1, seed=seed)
    wanted = keep(cache, angle=0.2)
    query = Query(match="tolerant", reuse_k=2, temperature=0.0)
    assert cache.find_near(recipe(OTHER_WAY), query, asked()).hit.entry.id == wanted
    one = Query(match="tolerant", reuse_k=1, temperature=0.0)
    assert cache.find_near(recipe(OTHER_WAY), one, asked()).hit is None


def test_the_nearest_is_the_best_at_temperature_0(cache: SoundCache) -> None:
    keep(cache, angle=0.4, seed=1)
    near = keep(cache, angle=0.1, seed=2)
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, asked()).hit.entry.id == near


def test_another_process_is_followed_without_being_told(cache: SoundCache, tmp_path: Path) -> None:
    cache.prepare(["minilm"])
    other = SoundCache(tmp_path / "cache")
    entry_id = keep(other)
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, asked()).hit.entry.id == entry_id
    other.remove([entry_id])
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, asked()).hit is None
    other.close()


class _SlowToGive:
    """Vectors that are not given before they may be: a writer that follows stands still meanwhile."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self.asked_for, self.may_give = threading.Event(), threading.Event()

    def searchable(self, space: str, ids: Iterable[int]) -> list[KeptVector]:
        self.asked_for.set()
        assert self.may_give.wait(timeout=60)
        return self._vectors.searchable(space, ids)

    def __getattr__(self, name: str) -> object:
        return getattr(self._vectors, name)


def test_a_searcher_never_waits_for_the_writer(cache: SoundCache, tmp_path: Path) -> None:
    store = open_store(tmp_path / "cache", create=False)
    first = keep(cache, seed=1)
    space = VectorSpace(store, "minilm")
    keep(cache, seed=2)
    slow = store.vectors = _SlowToGive(store.vectors)
    writer = threading.Thread(target=space.follow)
    writer.start()
    try:
        assert slow.asked_for.wait(timeout=60)
        assert set(space.search(vector(0), 10, ALL)) == {first}  # what the index knew before
    finally:
        slow.may_give.set()
        writer.join(timeout=60)
    assert len(space.search(vector(0), 10, ALL)) == 2
    store.close()


def test_more_changes_than_a_searcher_takes_over_are_followed_by_the_writer(
    cache: SoundCache, tmp_path: Path
) -> None:
    cache.prepare(["minilm"])
    other = SoundCache(tmp_path / "cache")
    for seed in range(70):
        keep(other, f"sound {seed}", angle=1.5, seed=seed)
    entry_id = keep(other, seed=99)
    other.close()
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, asked()).hit is None
    cache.follow()
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, asked()).hit.entry.id == entry_id


ALL = filters_of(recipe(), Query(same_settings="any"))


def opened_space(tmp_path: Path) -> VectorSpace:
    return VectorSpace(open_store(tmp_path / "cache", create=False), "minilm")


def saved_space(tmp_path: Path) -> Path:
    """Write a snapshot; its path."""
    space = opened_space(tmp_path)
    space.save()
    return space.snapshot


@pytest.mark.sqlite
def test_a_snapshot_is_loaded_and_caught_up(cache: SoundCache, tmp_path: Path) -> None:
    first, second = keep(cache, seed=1), keep(cache, seed=2)
    saved_space(tmp_path)
    # only what the snapshot knows is still there to be loaded
    harm(tmp_path / "cache", f"UPDATE vectors SET data = zeroblob(4) WHERE entry_id = {second}")
    third = keep(cache, seed=3)
    cache.remove([first])
    assert set(opened_space(tmp_path).search(vector(0), 10, ALL)) == {second, third}
    cache.remove([second])


@pytest.mark.parametrize("fault", ["truncate", "flip", "delete"])
def test_a_damaged_snapshot_is_told_and_rebuilt(
    cache: SoundCache, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    entry_id = keep(cache)
    path = saved_space(tmp_path)
    content = bytearray(path.read_bytes())
    if fault == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    if fault != "delete":
        assert [problem.kind for problem in verify(cache.store).problems] == ["stale_index"]
    with caplog.at_level(logging.WARNING):
        again = opened_space(tmp_path)
    assert ("built again" in caplog.text) == (fault != "delete")
    assert set(again.search(vector(0), 10, ALL)) == {entry_id}
    verify(cache.store, fix=True, confirm=True)


def test_a_snapshot_of_another_store_is_not_believed(cache: SoundCache, tmp_path: Path) -> None:
    other = SoundCache(tmp_path / "other")
    other.prepare(["minilm"])
    for seed in range(5):
        keep(other, seed=seed)
    other.close()
    entry_id = keep(cache)
    cache.store.index_dir.mkdir(exist_ok=True)
    for path in other.store.index_dir.iterdir():
        (cache.store.index_dir / path.name).write_bytes(path.read_bytes())
    assert set(opened_space(tmp_path).search(vector(0), 10, ALL)) == {entry_id}
    verify(cache.store, fix=True, confirm=True)


@pytest.mark.sqlite
def test_an_index_that_lost_touch_with_the_changes_starts_afresh(cache: SoundCache) -> None:
    cache.prepare(["minilm"])
    entry_id = keep(cache, seed=1)
    gone = keep(cache, seed=2)
    cache.store.entries.remove([gone])
    harm(Path(cache.store.location), "DELETE FROM changes")
    assert set(cache.nearest_of_any_settings("minilm", vector(0), 10)) == {entry_id}


def test_a_vector_of_an_odd_size_spoils_nothing(cache: SoundCache) -> None:
    entry_id = keep(cache, seed=1)
    odd = cache.put(sound(cache.incoming, seed=2), {"minilm": np.ones(5, np.float32)})
    assert set(cache.nearest_of_any_settings("minilm", vector(0), 10)) == {entry_id}
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, {"minilm": np.ones(5, np.float32)}).hit is None
    cache.remove([odd.id])


def test_without_faiss_words_still_hit_and_it_is_said_once(
    cache: SoundCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    keep(cache)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert cache.find_near(recipe(OTHER_WAY), TOLERANT, asked()).hit is None
    assert caplog.text.count("nothing is found by meaning") == 1
    assert "faiss" in cache.near_off
    assert cache.find_exact(recipe(PROMPT), TOLERANT).hit is not None


def test_a_vanished_file_gives_way_to_the_next(cache: SoundCache) -> None:
    first, second = keep(cache, angle=0.0, seed=1), keep(cache, angle=0.2, seed=2)
    os.unlink(cache.store.entries.entry(first).path)
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, asked()).hit.entry.id == second
    verify(cache.store, fix=True, confirm=True)


def test_explain_tells_the_hit_the_near_misses_and_what_does_not_fit(cache: SoundCache) -> None:
    hit = keep(cache, angle=0.2, seed=1)
    missed = keep(cache, "rain on two tin roofs", angle=0.1, seed=2)
    loop = keep(cache, OTHER_WAY, loop=True, seed=3)
    explanation = explain(cache, recipe(OTHER_WAY), TOLERANT, asked())
    assert (explanation.hit, explanation.encoder) == (True, "minilm")
    told = {near.id: near for near in explanation.entries}
    assert list(told) == [hit, missed, loop]
    assert (told[hit].accepted, told[hit].stage) == (True, "semantic")
    assert told[missed].accepted is False and "guard number" in told[missed].reason
    assert told[missed].cosine == pytest.approx(np.cos(0.1), abs=1e-5)
    assert told[loop].stage == "settings"
    assert "loop is True, asked for is False" in told[loop].reason


def test_explain_needs_no_vectors_for_words(cache: SoundCache) -> None:
    entry_id = keep(cache, duration_s=9.0)
    (told,) = explain(cache, recipe(), TOLERANT, {}).entries
    assert (told.id, told.accepted) == (entry_id, False)
    assert "length is 9.000 s, asked for is 2.000 s" in told.reason
