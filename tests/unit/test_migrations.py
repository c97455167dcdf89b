"""A cache of an older version is brought up to date, and its sounds are found again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.cache_sounds import harm, ids_in, recipe
from tests.support.old_cache import OldCache

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.settings import filters_of
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.verify import verify
from audio_pool.prompts.parses import packed
from audio_pool.types import Query

PROMPT, CANONICAL, OTHER_WAY = "rain on a tin roof", "the sound of rain on a tin roof", "a tin roof in the rain"
TOLERANT = Query(temperature=0.0)
DIFFUSED: dict[str, Any] = {
    "engine": "audioldm2", "model": "cvssp/audioldm2-music", "steps": 10, "guidance_scale": 3.5,
}  # fmt: skip
X, Y = np.eye(4, dtype=np.float32)[:2]


@pytest.fixture
def old(tmp_path: Path) -> OldCache:
    return OldCache(tmp_path / "cache")


def test_an_old_cache_is_found_in_again_by_text_key_and_meaning(old: OldCache) -> None:
    kept = old.put(PROMPT, X)
    cache = SoundCache(old.directory)
    hit = cache.find_exact(recipe(PROMPT), TOLERANT).hit
    assert (hit.entry.id, hit.cache_type) == (kept, "exact")
    hit = cache.find_exact(recipe(CANONICAL), TOLERANT).hit
    assert (hit.entry.id, hit.cache_type) == (kept, "canonical")
    hit = cache.find_near(recipe(OTHER_WAY), TOLERANT, {"minilm": X}).hit
    assert (hit.entry.id, hit.cache_type) == (kept, "semantic")
    metadata = hit.metadata
    assert (metadata.implementation, metadata.licence, metadata.worker.id) == ("procedural", "Apache-2.0", "w0")
    assert metadata.candidates[0].verdict == "chosen"
    assert metadata.engine_details == {"layers": ["rain"]}
    assert verify(cache.store).problems == []
    filters = filters_of(recipe(PROMPT), TOLERANT)
    assert [row.parse for row in cache.store.entries.with_text(PROMPT, filters)] == [packed(PROMPT)]
    cache.close()


def test_an_old_sound_does_not_answer_for_another_model_or_more_steps(old: OldCache) -> None:
    kept = old.put(PROMPT, X, **DIFFUSED)
    cache = SoundCache(old.directory)
    for changes in ({"model": "cvssp/audioldm2"}, {"steps": 200}, {"guidance_scale": 7.5}):
        asked = {**DIFFUSED, **changes}
        assert cache.find_exact(recipe(PROMPT, **asked), TOLERANT).hit is None, changes
        assert cache.find_exact(recipe(CANONICAL, **asked), TOLERANT).hit is None, changes
        assert cache.find_near(recipe(OTHER_WAY, **asked), TOLERANT, {"minilm": X}).hit is None, changes
    assert cache.find_exact(recipe(PROMPT, **DIFFUSED), TOLERANT).hit.entry.id == kept
    cache.close()


def test_an_old_seed_is_still_an_identical_recipe(old: OldCache) -> None:
    kept = old.put(PROMPT, X, seed=7)
    cache = SoundCache(old.directory)
    assert cache.find_exact(recipe(PROMPT, seed=7), TOLERANT).hit.entry.id == kept
    assert cache.find_exact(recipe(PROMPT, seed=8), TOLERANT).hit is None
    cache.close()


def test_an_old_revision_comes_from_what_the_worker_said(old: OldCache) -> None:
    kept = old.put(PROMPT, X, {"model_revision": "aaa"}, **DIFFUSED)
    cache = SoundCache(old.directory)
    assert cache.find_exact(recipe(PROMPT, **DIFFUSED, model_revision="aaa"), TOLERANT).hit.entry.id == kept
    assert cache.find_exact(recipe(PROMPT, **DIFFUSED, model_revision="bbb"), TOLERANT).hit is None
    assert cache.find_exact(recipe(PROMPT, **DIFFUSED), TOLERANT).hit.entry.id == kept
    cache.close()


def test_old_warnings_are_heeded_by_strict(old: OldCache) -> None:
    kept = old.put(PROMPT, X, {"warnings": ["nearest_recipe: nothing fits; used 'drone'"]})
    cache = SoundCache(old.directory)
    assert cache.find_exact(recipe(PROMPT), Query(strict=True)).hit is None
    assert cache.find_exact(recipe(PROMPT), Query()).hit.entry.id == kept
    cache.close()


def test_metadata_of_an_odd_shape_costs_the_odd_field_alone(old: OldCache) -> None:
    kept = old.put(PROMPT, X, {"candidates": "none", "worker": None, "loudness_lufs": "quiet", "seed": 7})
    cache = SoundCache(old.directory)
    hit = cache.find_exact(recipe(PROMPT), TOLERANT).hit
    assert (hit.entry.id, hit.metadata.seed, hit.metadata.candidates) == (kept, 7, ())
    assert hit.metadata.loudness_lufs is None
    cache.close()


@pytest.mark.parametrize("column", ["recipe", "metadata"])
@pytest.mark.parametrize(
    "torn", ["'not JSON'", "'[]'", """'{"prompt": 3}'""", "x'ff7b'", "x'7b2270726f6d7074223a22ff227d'"]
)
def test_a_row_that_cannot_be_read_is_a_miss_and_costs_no_other(old: OldCache, column: str, torn: str) -> None:
    bad, good = old.put(PROMPT, X, seed=1), old.put(PROMPT, Y, seed=2)
    harm(old.directory, f"UPDATE provenance SET {column} = {torn} WHERE entry_id = {bad}")
    query = Query(temperature=0.0, same_settings="any")
    cache = SoundCache(old.directory)
    lookups = [
        cache.find_exact(recipe(PROMPT, seed=1), query),
        cache.find_exact(recipe(PROMPT), query),
        cache.find_exact(recipe(CANONICAL), query),
        cache.find_near(recipe(OTHER_WAY), query, {"minilm": X}),
    ]
    ids = {lookup.hit.entry.id for lookup in lookups if lookup.hit is not None}
    assert bad not in ids or _readable(column, torn)
    assert lookups[1].hit is not None
    assert cache.find_exact(recipe(PROMPT, seed=2), TOLERANT).hit.entry.id == good
    cache.close()
    with AudioSemanticCache(old.directory) as manager:
        problems = [found["kind"] for found in manager.verify(fix=True, confirm=True)["problems"]]
        assert problems == ([] if _readable(column, torn) else ["unreadable_entry"])


def _readable(column: str, torn: str) -> bool:
    """Metadata that is an object is read, its odd fields left out."""
    return column == "metadata" and torn.startswith("'{")


def test_an_index_of_the_old_settings_is_not_believed(old: OldCache) -> None:
    old.put(PROMPT, X)
    (old.directory / "index" / "minilm-000000000000.index").write_bytes(b"APVIX of the old groups")
    SqliteStore(old.directory).close()
    assert list((old.directory / "index").iterdir()) == []


def test_what_an_older_process_writes_afterwards_is_found_at_the_next_opening(old: OldCache) -> None:
    first = old.put(PROMPT, X)
    SqliteStore(old.directory).close()
    late = old.put(CANONICAL, Y, seed=8)
    cache = SoundCache(old.directory)
    assert cache.find_exact(recipe(PROMPT, seed=7), TOLERANT).hit.entry.id == first
    assert cache.find_exact(recipe(CANONICAL, seed=8), TOLERANT).hit.entry.id == late
    assert cache.find_near(recipe(OTHER_WAY), TOLERANT, {"minilm": Y}).hit.entry.id == late
    cache.close()


def test_an_entry_that_cannot_be_filled_costs_no_index_at_every_opening(old: OldCache) -> None:
    bad = old.put(PROMPT, X)
    SqliteStore(old.directory).close()
    harm(old.directory, f"UPDATE provenance SET recipe = 'torn' WHERE entry_id = {bad}")
    harm(old.directory, "UPDATE entries SET implementation = ''")
    snapshot = old.directory / "index" / "minilm-000000000000.index"
    snapshot.write_bytes(b"of today's groups")
    SqliteStore(old.directory).close()
    assert snapshot.exists()


def test_two_openings_at_once_bring_it_up_to_date_once(old: OldCache) -> None:
    kept = {old.put(f"sound {number}", X, seed=number) for number in range(20)}
    stores: list[SqliteStore] = []
    threads = [threading.Thread(target=lambda: stores.append(SqliteStore(old.directory))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [ids_in(store) for store in stores] == [kept] * 4
    assert verify(stores[0]).problems == []
    for store in stores:
        store.close()
