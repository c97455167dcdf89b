"""Kept sums say what counting says, whatever comes, goes or is changed by whom; missing files are seen by folder."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.cache_sounds import harm, sound, write_flac

from audio_pool.cache.inventory import Share
from audio_pool.cache.sqlite.folders import SqliteFolders
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.verify import verify
from audio_pool.types import Rendition

OGG = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=None, true_peak_dbfs=-1.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "cache")
    yield opened
    opened.close()


def put(store: SqliteStore, prompt: str, seed: int, dimensions: int = 4, **changes: object) -> int:
    metadata = {"clap_similarity": 0.1 * (seed % 7)} if seed % 3 else {}
    made = sound(store.blobs.incoming, prompt, seed=seed, metadata=metadata, **changes)
    entry = store.entries.put(made, {"minilm": np.ones(dimensions, np.float32), "sound:clap": np.ones(3, np.float32)})
    assert entry.id is not None
    return entry.id


def test_sums_stay_right_through_puts_removals_renditions_and_foreign_hands(store: SqliteStore) -> None:
    rng = random.Random(7)
    kept: list[int] = []
    for seed in range(40):
        namespace, duration_s = rng.choice(["default", "game"]), rng.choice([0.7, 2.3])
        kept.append(put(store, f"sound {seed % 9}", seed, namespace=namespace, duration_s=duration_s))
        if seed % 4 == 0:
            store.renditions.put(rng.choice(kept), OGG, write_flac(store.blobs.incoming / f"r{seed}.ogg"))
        if seed % 5 == 0:
            store.entries.remove([kept.pop(rng.randrange(len(kept)))])
        if seed % 10 == 0:
            assert store.checks.wrong_sums() == []
    root = Path(store.location)
    harm(root, f"UPDATE entries SET engine = 'other', namespace = 'moved' WHERE id IN ({kept[0]}, {kept[1]})")
    harm(root, f"DELETE FROM vectors WHERE entry_id = {kept[2]}", f"DELETE FROM renditions WHERE entry_id = {kept[3]}")
    assert store.checks.wrong_sums() == []
    totals = store.inventory.totals()
    assert totals.entries == len(kept)
    assert totals.prompts == len({(item.namespace, item.prompt) for item in store.inventory.items()})
    assert store.vectors.counts() == {"minilm": len(kept) - 1, "sound:clap": len(kept) - 1}
    shares = store.inventory.shares()
    assert {(one.namespace, one.engine) for one in shares} >= {("moved", "other"), ("game", "procedural")}
    assert sum(one.entries for one in shares) == len(kept)
    assert sum(one.renditions_size_bytes for one in shares) == totals.renditions_size_bytes > 0
    store.entries.remove(kept)
    assert (store.inventory.shares(), store.vectors.counts(), store.inventory.engines()) == ([], {}, {})
    assert store.inventory.totals()[:3] == (0, 0, None)
    assert store.checks.wrong_sums() == []


def test_a_sum_that_is_wrong_is_found_and_counted_anew(store: SqliteStore) -> None:
    put(store, "rain", 1)
    harm(Path(store.location), "UPDATE entry_sums SET entries = 7")
    assert verify(store, quick=True).ok
    report = verify(store, fix=True)
    assert [(problem.kind, problem.what) for problem in report.problems] == [("wrong_sums", "entry_sums")]
    assert report.ok and store.inventory.totals().entries == 1
    assert store.inventory.shares() == [
        Share("default", "procedural", 1, store.inventory.totals().size_bytes, 0, 2.0)
    ]


def test_missing_files_are_counted_by_folder_and_a_folder_as_it_was_is_not_looked_into(store: SqliteStore) -> None:
    files = {item.id: item.file for item in (store.inventory.items_by_id([put(store, "rain", n) for n in range(8)]))}
    root, folders = Path(store.location), SqliteFolders(store.database, store.blobs)
    long_ago = 1_000_000_000 * 10**9
    for folder in {os.path.dirname(file) for file in files.values()}:
        os.utime(root / folder, ns=(long_ago, long_ago))
    assert folders.missing() == 0
    first, second, third = list(files.values())[:3]
    os.unlink(root / first)
    assert folders.missing() == 1
    os.utime(root / os.path.dirname(first), ns=(long_ago, long_ago))  # as a folder that was looked into again
    harm(root, "UPDATE looked_folders SET missing = 5, changed_ns = 1000000000000000000")
    assert folders.missing() % 5 in (0, 1) and folders.missing() > 5, "it was not looked into again"
    store.entries.remove([next(iter(files))])  # the number of rows is another: looked into again
    harm(root, "DELETE FROM looked_folders")
    os.rename(root / os.path.dirname(second), root / "away")
    gone = sum(os.path.dirname(file) == os.path.dirname(second) for file in list(files.values())[1:])
    assert folders.missing() == gone
    assert third


def test_asking_by_file_origin_or_age_costs_no_scan(store: SqliteStore) -> None:
    for sql in (
        "SELECT 1 FROM entries WHERE file = 'x'",
        "SELECT file FROM entries WHERE origin = 'x' AND origin <> ''",
        "SELECT 1 FROM renditions WHERE file = 'x'",
        "SELECT id FROM entries WHERE created_at < 3 ORDER BY created_at",
        "SELECT id FROM entries WHERE implementation = '' AND id > 3 ORDER BY id LIMIT 3",
    ):
        (plan,) = store.database.query(f"EXPLAIN QUERY PLAN {sql}")
        assert plan[3].startswith(("SEARCH", "SCAN entries USING")) and "INDEX" in plan[3], (sql, plan[3])
