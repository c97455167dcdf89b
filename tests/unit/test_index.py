"""The vector index: filters inside the search, tombstones, snapshots, and what happens when they are damaged."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audio_pool.cache.faiss_library import faiss_here
from audio_pool.cache.index import SnapshotUnusable, VectorIndex
from audio_pool.errors import EngineError, StorageError

D = 32


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def near(target: np.ndarray, angle: float, seed: int) -> np.ndarray:
    """A unit vector at exactly ``angle`` radians from ``target``."""
    side = np.random.default_rng(1_000 + seed).standard_normal(D)
    side = unit(side - (side @ target) * target)
    return unit(np.cos(angle) * target + np.sin(angle) * side)


@pytest.fixture
def target() -> np.ndarray:
    return unit(np.random.default_rng(7).standard_normal(D))


def clustered(count: int, seed: int = 1) -> np.ndarray:
    """Vectors in clumps, as those of real prompts lie: an index must not be judged on white noise."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((count // 40, D))
    return unit(centres[rng.integers(len(centres), size=count)] + 0.9 * rng.standard_normal((count, D)))


class Watched:
    """A FAISS structure that looks whether the index is locked whenever it is used."""

    def __init__(self, index: VectorIndex) -> None:
        self.index, self.within = index, index._structure
        self.unlocked: list[str] = []
        self.used: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.used.append(name)
        if not self.index._lock.locked():
            self.unlocked.append(name)
        return getattr(self.within, name)


def test_nobody_searches_or_adds_but_under_the_lock(target: np.ndarray) -> None:
    index = VectorIndex(D)
    index._structure = watched = Watched(index)
    index.add([1, 2], np.stack([near(target, 0.1, 0), near(target, 0.2, 1)]), [1, 1])
    index.search(target, 1, [1])
    assert watched.used == ["add", "search"] and watched.unlocked == []


def test_a_search_waits_for_the_addition_that_is_under_way(target: np.ndarray) -> None:
    index = VectorIndex(D)
    index.add([1], near(target, 0.5, 0)[None], [1])
    found: list[int] = []
    asker = threading.Thread(target=lambda: found.extend(index.search(target, 9, [1])[0].tolist()))
    real = index._structure.add

    def slow(rows: np.ndarray) -> None:
        asker.start()  # ids and bitmaps know of the new vector already, the structure does not
        asker.join(0.2)
        assert found == []
        real(rows)

    index._structure.add = slow
    index.add([2], near(target, 0.1, 1)[None], [1])
    asker.join()
    assert found == [2, 1]


def test_finds_the_nearest_with_their_cosines(target: np.ndarray) -> None:
    index = VectorIndex(D)
    angles = [0.9, 0.1, 0.5]
    index.add([30, 10, 20], np.stack([near(target, a, i) for i, a in enumerate(angles)]), [1, 1, 1])
    ids, cosines = index.search(target, 2, [1])
    assert ids.tolist() == [10, 20]
    assert cosines == pytest.approx(np.cos([0.1, 0.5]), abs=1e-5)
    assert index.search(target, 9)[0].tolist() == [10, 20, 30]


def test_vectors_need_not_come_at_unit_length(target: np.ndarray) -> None:
    index = VectorIndex(D)
    index.add([1, 2], np.stack([100 * near(target, 1.0, 0), 0.01 * near(target, 0.2, 1)]), [1, 1])
    ids, cosines = index.search(5 * target, 1)
    assert ids.tolist() == [2]
    assert cosines[0] == pytest.approx(np.cos(0.2), abs=1e-5)


@pytest.mark.parametrize("flat_below", [1_000_000, 1_000])
def test_ten_thousand_nearer_ones_that_do_not_fit_hide_nothing(target: np.ndarray, flat_below: int) -> None:
    rng = np.random.default_rng(3)
    nearer = unit(target + 0.02 * rng.standard_normal((10_000, D)))
    fitting = np.stack([near(target, 0.9 + 0.01 * i, i) for i in range(20)])
    index = VectorIndex(D, flat_below=flat_below)
    index.add(range(10_000), nearer, [1] * 10_000)
    index.add(range(50_000, 50_020), fitting, [2] * 20)
    index.compact()
    assert index.search(target, 8, [2])[0].tolist() == list(range(50_000, 50_008))
    assert set(index.search(target, 8, [1, 2])[0].tolist()) < set(range(10_000))
    assert index.search(target, 3, [2], allowed=[50_003, 50_011, 77])[0].tolist() == [50_003, 50_011]
    assert index.search(target, 3, [1], allowed=[50_003])[0].tolist() == []
    assert index.search(target, 3, [])[0].tolist() == []


def test_many_that_fit_are_found_where_all_lists_near_by_hold_others(target: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    nearer = unit(target + 0.1 * rng.standard_normal((7_000, D)))
    fitting = unit(0.1 * rng.standard_normal((3_000, D)) - target)
    index = VectorIndex(D, flat_below=1_000)
    index.add(range(10_000), np.concatenate([nearer, fitting]), [1] * 7_000 + [2] * 3_000)
    index.compact()
    best = 7_000 + np.argsort(-(fitting @ target), kind="stable")[:8]
    assert set(index.search(target, 8, [2])[0].tolist()) & set(best.tolist())
    assert len(index.search(target, 8, [2])[0]) == 8


def test_inverted_lists_find_what_comparing_all_finds() -> None:
    rows = clustered(6_000)
    groups = (np.arange(6_000) % 3).tolist()
    flat, lists = VectorIndex(D), VectorIndex(D, flat_below=2_000)
    for index in (flat, lists):
        index.add(range(6_000), rows, groups)
    assert lists.wants_compaction
    assert not flat.wants_compaction
    lists.compact()
    assert not lists.wants_compaction
    queries = unit(rows[::60] + 0.05 * np.random.default_rng(5).standard_normal((100, D)))
    same = sum(
        len(set(flat.search(q, 8, [1])[0].tolist()) & set(lists.search(q, 8, [1])[0].tolist())) for q in queries
    )
    assert same / 800 > 0.97


def test_compacting_puts_lists_in_the_order_of_their_groups_and_finds_the_same() -> None:
    rows = clustered(3_000)
    groups = np.random.default_rng(6).permutation(3_000) % 7
    index = VectorIndex(D, flat_below=500)
    index.train(rows, 3_000)
    index.add(range(3_000), rows, groups.tolist())
    asked = [(row, [2, 5]) for row in rows[::100]]
    before = [index.search(row, 8, wanted) for row, wanted in asked]
    assert index.wants_compaction
    index.compact()
    assert not index.wants_compaction
    lists = index._structure.invlists
    found = [faiss_here().rev_swig_ptr(lists.get_ids(one), lists.list_size(one)) for one in range(lists.nlist)]
    assert sum(len(ids) for ids in found) == 3_000
    assert all((np.diff(groups[ids]) >= 0).all() for ids in found)
    for (row, wanted), (ids, cosines) in zip(asked, before, strict=True):
        again = index.search(row, 8, wanted)
        assert again[0].tolist() == ids.tolist() and again[1].tolist() == cosines.tolist()


@pytest.mark.parametrize("flat_below", [1_000_000, 500])
def test_what_is_removed_is_never_found_again(flat_below: int) -> None:
    rows = clustered(2_000)
    index = VectorIndex(D, flat_below=flat_below)
    index.add(range(2_000), rows, [0] * 2_000)
    index.compact()
    assert index.search(rows[5], 1, [0])[0].tolist() == [5]
    assert index.remove([5, 6, 99_999]) == 2
    assert index.remove([5]) == 0
    assert len(index) == 1_998
    assert 5 not in index.search(rows[5], 50, [0])[0]
    assert 5 not in index.search(rows[5], 50)[0]
    assert 5 not in index
    index.remove(range(1_000, 2_000))
    index.compact()
    assert len(index) == 998
    assert index.search(rows[400], 1, [0])[0].tolist() == [400]
    assert index.search(rows[1_500], 2_000)[0].max() < 1_000


def test_a_kept_filter_learns_of_later_inserts_and_removals(target: np.ndarray) -> None:
    index = VectorIndex(D)
    index.add([1], near(target, 0.5, 1)[None], [7])
    assert index.search(target, 5, [7])[0].tolist() == [1]
    for i in range(2, 30):
        index.add([i], near(target, 0.5 - 0.01 * i, i)[None], [7 if i % 2 else 8])
    assert index.search(target, 3, [7])[0].tolist() == [29, 27, 25]
    index.remove([27])
    assert index.search(target, 3, [7])[0].tolist() == [29, 25, 23]
    assert len(index.search(target, 99, [7])[0]) == 14


def test_known_ids_and_bad_vectors_are_refused_and_change_nothing(target: np.ndarray) -> None:
    index = VectorIndex(D)
    index.add([4], target[None], [0])
    with pytest.raises(StorageError, match="entry 4 is in the index already"):
        index.add([3, 4], np.stack([target, target]), [0, 0])
    with pytest.raises(StorageError, match="twice"):
        index.add([8, 8], np.stack([target, target]), [0, 0])
    with pytest.raises(EngineError, match="shape"):
        index.add([5], np.ones((1, D + 1), np.float32), [0])
    with pytest.raises(EngineError, match="finite"):
        index.add([5], np.full((1, D), np.nan, np.float32), [0])
    with pytest.raises(EngineError, match="length"):
        index.add([5], np.zeros((1, D), np.float32), [0])
    assert len(index) == 1
    assert index.search(target, 9)[0].tolist() == [4]


def test_ids_may_come_in_any_order(target: np.ndarray) -> None:
    index = VectorIndex(D)
    ids = np.random.default_rng(0).permutation(500)
    rows = clustered(500)
    for start in range(0, 500, 50):
        index.add(ids[start : start + 50], rows[start : start + 50], [0] * 50)
    index.remove([int(ids[123])])
    for at in (0, 77, 499):
        assert index.search(rows[at], 1)[0].tolist() == [ids[at]]
    assert int(ids[123]) not in index.search(rows[123], 500)[0]
    with pytest.raises(StorageError):
        index.add([int(ids[7])], rows[:1], [0])


@pytest.mark.parametrize("flat_below", [1_000_000, 500])
def test_a_snapshot_gives_back_the_index_and_its_sequence(tmp_path: Path, flat_below: int) -> None:
    rows = clustered(1_500)
    index = VectorIndex(D, encoder="minilm@1", flat_below=flat_below)
    index.add(range(10, 1_510), rows, (np.arange(1_500) % 2).tolist())
    index.compact()
    index.remove([10])
    index.save(tmp_path / "index.bin", 4_711)
    assert [path.name for path in tmp_path.iterdir()] == ["index.bin"]
    back, sequence = VectorIndex.load(tmp_path / "index.bin", encoder="minilm@1", flat_below=flat_below)
    assert sequence == 4_711
    assert len(back) == 1_499
    for at in (1, 700, 1_499):
        ours, theirs = index.search(rows[at], 5, [at % 2]), back.search(rows[at], 5, [at % 2])
        assert ours[0].tolist() == theirs[0].tolist()
        np.testing.assert_allclose(ours[1], theirs[1], atol=1e-6)
    back.add([9_000], rows[:1], [1])
    back.remove([11])
    assert back.search(rows[0], 1, [1])[0].tolist() == [9_000]
    assert 11 not in back.search(rows[1], 99)[0]


def test_a_snapshot_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    index = VectorIndex(D, encoder="e")
    index.add([1, 2, 3], clustered(80)[:3], [0, 0, 0])
    path = tmp_path / "index.bin"
    with pytest.raises(SnapshotUnusable, match="cannot be read"):
        VectorIndex.load(path, encoder="e")
    index.save(path, 1)
    whole = path.read_bytes()
    for at in (0, 9, 30, len(whole) // 2, len(whole) - 1):
        broken = bytearray(whole)
        broken[at] ^= 1
        path.write_bytes(broken)
        with pytest.raises(SnapshotUnusable):
            VectorIndex.load(path, encoder="e")
    for length in (0, 5, 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SnapshotUnusable):
            VectorIndex.load(path, encoder="e")
    path.write_bytes(whole)
    with pytest.raises(SnapshotUnusable, match="of encoder 'e'"):
        VectorIndex.load(path, encoder="other")
    assert len(VectorIndex.load(path, encoder="e")[0]) == 3


def test_a_snapshot_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    index = VectorIndex(D)
    with pytest.raises(StorageError, match="cannot be written"):
        index.save(tmp_path / "nowhere" / "index.bin", 1)
    index.save(tmp_path / "index.bin", 5)
    assert VectorIndex.load(tmp_path / "index.bin")[1] == 5


def test_searches_go_on_while_the_writer_works() -> None:
    rows = clustered(4_000)
    index = VectorIndex(D, flat_below=1_000)
    index.add(range(1_000), rows[:1_000], [0] * 1_000)
    stop = threading.Event()
    wrong: list[object] = []

    def ask() -> None:
        while not stop.is_set():
            ids, cosines = index.search(rows[500], 3, [0])
            if ids[0] != 500 or cosines[0] < 0.999:
                wrong.append((ids, cosines))

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for start in range(1_000, 4_000, 100):
            index.add(range(start, start + 100), rows[start : start + 100], [start % 200 // 100] * 100)
            index.remove(range(start, start + 20))
            if start % 1_000 == 0:
                index.compact()
    finally:
        stop.set()
        asker.join(timeout=30)
    assert not asker.is_alive()
    assert wrong == []
    assert len(index) == 4_000 - 30 * 20
