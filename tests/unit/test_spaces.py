"""The index in the background: built, compacted and saved by whoever may take his time, while others look and keep."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.support.cache_sounds import recipe, sound

from audio_pool.cache import index as index_module
from audio_pool.cache import vectors
from audio_pool.cache.settings import filters_of
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.database import transaction
from audio_pool.cache.sqlite.entries import insert
from audio_pool.cache.sqlite.rows import columns_of
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.vectors import VectorSpace
from audio_pool.types import Query

D, COUNT = 16, 900
FITTING = filters_of(recipe(duration_s=2.0), Query(), by_meaning=True)
EXACT = 1e-6


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


ROWS = unit(np.random.default_rng(1).standard_normal((COUNT, D)))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of rows without files; each third has another length."""
    root = tmp_path_factory.mktemp("filled")
    store = SqliteStore(root)
    one = sound(store.blobs.incoming)
    with store.database.writing("filling") as db, transaction(db):
        for number, row in enumerate(ROWS):
            asked = recipe(seed=number, duration_s=2.0 if number % 3 else 5.0)
            made = msgspec.structs.replace(one, recipe=asked)
            file = f"audio/{number % 256:02x}/{number:032x}.flac"
            insert(db, columns_of(made, file, "", 1, bytes(32)), made, {"minilm": row})
    store.close()
    return root


@pytest.fixture
def store(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of a copy, with thresholds as if nine hundred were many."""
    monkeypatch.setattr(vectors, "FLAT_BELOW", 200)
    monkeypatch.setattr(vectors, "_AT_ONCE_BELOW", 10)
    (tmp_path / "cache.sqlite3").write_bytes((filled / "cache.sqlite3").read_bytes())
    opened = SqliteStore(tmp_path)
    yield opened
    opened.close()


def nearest(asked: np.ndarray, fits: np.ndarray, count: int = 8) -> list[int]:
    """The ids, from 1 up, by comparing all."""
    order = np.argsort(-(ROWS @ asked), kind="stable")
    return [int(at) + 1 for at in order if fits[at]][:count]


def share_found(space: VectorSpace, fits: np.ndarray) -> float:
    """Recall among those that fit, of prompts near to kept ones."""
    asked = unit(ROWS[::30] + 0.1 * np.random.default_rng(2).standard_normal((COUNT // 30, D)))
    hits = 0
    for row in asked:
        found = space.compared(row, space.search(row, 8, FITTING))
        assert list(found.values()) == sorted(found.values(), reverse=True)
        for entry_id, cosine in found.items():
            assert fits[entry_id - 1] and abs(cosine - float(ROWS[entry_id - 1] @ row)) < EXACT
        hits += len(set(found) & set(nearest(row, fits)))
    return hits / (8 * len(asked))


def test_a_large_index_is_built_by_tidying_and_finds_what_fits_with_exact_cosines(store: SqliteStore) -> None:
    space = VectorSpace(store, "minilm", background=True)
    assert not space.ready and space.search(ROWS[1], 8, FITTING) == {}
    space.tidy()
    assert space.ready and space.progress == 1.0 and len(space) == COUNT
    assert not space._index.exact
    assert share_found(space, np.arange(COUNT) % 3 > 0) > 0.9


def test_removals_train_nothing_and_a_snapshot_opens_where_it_was(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = VectorSpace(store, "minilm", background=True)
    space.tidy()
    monkeypatch.setattr(index_module, "trained_lists", lambda *_: pytest.fail("something was trained"))
    monkeypatch.setattr(index_module.VectorIndex, "wants_compaction", True)
    gone = list(range(2, 400, 2))
    store.entries.remove(gone)
    space.tidy()
    assert len(space) == COUNT - len(gone) and space._index._count == len(space)
    left = np.ones(COUNT, bool)
    left[[entry_id - 1 for entry_id in gone]] = False
    fits = left & (np.arange(COUNT) % 3 > 0)
    assert share_found(space, fits) > 0.9
    store.entries.remove([1])
    space.follow()
    space.save()
    again = VectorSpace(store, "minilm", background=True)
    again.tidy()
    left[0] = False
    assert len(again) == left.sum() and share_found(again, fits & left) > 0.9
    assert 1 not in again and 2 not in again and 3 in again


def test_an_index_that_has_outgrown_its_lists_answers_until_a_new_one_is_built(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = VectorSpace(store, "minilm", background=True)
    space.tidy()
    former = space._index
    monkeypatch.setattr(former, "_trained_on", COUNT // 5)
    assert former.wants_rebuilding
    real, seen = store.vectors.searchable_after, []

    def watched(*asked: object) -> object:
        seen.append(len(space.search(ROWS[4], 8, FITTING)))
        return real(*asked)

    monkeypatch.setattr(store.vectors, "searchable_after", watched)
    space.tidy()
    assert space._index is not former and not space._index.wants_rebuilding
    assert set(seen) == {8}


def test_a_build_that_is_broken_off_leaves_nothing_behind(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = VectorSpace(store, "minilm", background=True)
    real = store.vectors.sample

    def sampled(*asked: object) -> object:
        space._stopped = True  # as ``stop`` does, on another thread
        return real(*asked)

    monkeypatch.setattr(store.vectors, "sample", sampled)
    space.tidy()
    space.stop()
    assert not space.ready and not space.snapshot.exists()


def test_who_keeps_or_removes_a_sound_waits_for_nobody_at_the_index(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path / "cache")
    cache.prepare(["minilm"], background=True)
    space = cache.spaces.of("minilm")
    with space._writing:
        kept = cache.put(sound(cache.incoming, "rain", seed=1), {"minilm": ROWS[0]})
        other = cache.put(sound(cache.incoming, "wind", seed=2), {"minilm": ROWS[1]})
        cache.remove([other.id])
    assert set(space.search(ROWS[0], 8, FITTING)) == {kept.id}
    cache.close()


def test_a_small_index_stays_closed_until_something_is_looked_up_by_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = SoundCache(tmp_path / "cache")
    cache.prepare(["minilm"], background=True)
    space = cache.spaces.of("minilm")
    assert space.search(ROWS[0], 8, FITTING) == {} and space.ready
    kept = cache.put(sound(cache.incoming, "rain", seed=1), {"minilm": ROWS[0]})
    cache.tidy()
    cache.follow()
    assert not space.ready and cache.spaces.building() == {}, "FAISS is not loaded, and nobody is told to wait"
    assert set(space.search(ROWS[0], 8, FITTING)) == {kept.id} and space.ready
    again = VectorSpace(cache.store, "minilm", background=True)
    monkeypatch.setattr(vectors, "_UNWANTED_LOOKS", 2)
    again.tidy()
    assert not again.ready
    again.tidy()
    assert again.ready, "it may not stay small"
    other = VectorSpace(cache.store, "minilm", background=True)
    assert kept.id in other and len(other) == 1
    cache.close()
