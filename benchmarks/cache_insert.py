"""What keeping a sound costs in a small cache and in a big one, and how soon a big one answers.

    python -m benchmarks.cache_insert [ENTRIES]       # 100,000 where not given

A durable insert is ``SoundCache.put`` of a small file with a 384-dimensional vector: rename, directory
fsync, committed row. The floor beside it is one 4 kB write and fsync on the same disk in the same run. The
big cache is filled with rows straight into the database (files of filler entries do not exist: an insert
does not look at them); the measured inserts and look-ups are whole.
"""

from __future__ import annotations

import os
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.cache_kill import described, finished

from audio_pool.cache.row import columns_of
from audio_pool.cache.semantic import Query, SoundCache
from audio_pool.cache.store import Store, transaction

_SPACE = "text:benchmark"


def fill(store: Store, count: int, dimensions: int = 384) -> None:
    """Adds entries without files, as fast as SQLite takes them."""
    rng = np.random.default_rng(0)
    with store.writing("filling") as db:
        start = db.execute("SELECT count(*) FROM entries").fetchone()[0]
        for first in range(start, count, 5_000):
            with transaction(db):
                for number in range(first, min(first + 5_000, count)):
                    sound = described(Path("filler"), f"filler sound {number}", number)
                    key = secrets.token_hex(16)
                    values = columns_of(sound, f"audio/{key[:2]}/{key}.flac", "", 1000, bytes(32))
                    vector = rng.standard_normal(dimensions).astype(np.float32)
                    store._insert(db, values, sound, {_SPACE: vector})


def insert_ms(cache: SoundCache, count: int = 200) -> list[float]:
    """Milliseconds of ``count`` durable inserts."""
    rng, took = np.random.default_rng(1), []
    for _ in range(count):
        number = secrets.randbits(60)
        sound = finished(cache.incoming, f"measured sound {number}", number)
        vector = rng.standard_normal(384).astype(np.float32)
        start = time.perf_counter()
        cache.put(sound, {_SPACE: vector})
        took.append(1e3 * (time.perf_counter() - start))
    return took


def fsync_ms(directory: Path, count: int = 50) -> float:
    """Milliseconds of one 4 kB append with fsync, the floor of anything durable (median)."""
    took = []
    with (directory / "floor").open("wb") as file:
        for _ in range(count):
            start = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            took.append(1e3 * (time.perf_counter() - start))
    return statistics.median(took)


def open_ms(directory: Path) -> tuple[float, float]:
    """Milliseconds from nothing to the first exact hit, and to the first neighbours found with the snapshot."""
    cache = SoundCache(directory)
    known = finished(cache.incoming, "first hit", 1)
    cache.put(known, {_SPACE: np.ones(384, np.float32)})
    cache.prepare([_SPACE])
    cache.close()
    start = time.perf_counter()
    cache = SoundCache(directory)
    assert cache.find_exact(known.recipe, Query()) is not None
    exact = time.perf_counter()
    cache.prepare([_SPACE])
    assert cache.nearest(known.recipe, Query(), _SPACE, np.ones(384, np.float32))
    end = time.perf_counter()
    cache.close()
    return 1e3 * (exact - start), 1e3 * (end - start)


def rows(entries: int = 100_000) -> list[dict[str, Any]]:
    """Rows of figures: name, value, unit, and what to compare with."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("AUDIO_POOL_BENCH_DIR")) as place:
        directory = Path(place) / "cache"
        floor = fsync_ms(Path(place))
        small, big = _inserts(directory, 1_000), _inserts(directory, entries)
        exact, near = open_ms(directory)
        figures = [
            ("4 kB write and fsync, p50", floor, "ms", "floor"),
            ("durable insert at 1,000 entries, p50", statistics.median(small), "ms", ""),
            (f"durable insert at {entries:,} entries, p50", statistics.median(big), "ms", "at most 5"),
            (f"durable insert at {entries:,} entries, mean", statistics.fmean(big), "ms", "at most 5"),
            ("its cost against that at 1,000", statistics.median(big) / statistics.median(small), "x", "at most 1.5"),
            (f"open at {entries:,} entries to first exact hit", exact, "ms", "at most 1,500"),
            (f"open at {entries:,} entries to first hit by meaning", near, "ms", "at most 1,500"),
        ]
    return [{"name": name, "value": value, "unit": unit, "against": against} for name, value, unit, against in figures]


def _inserts(directory: Path, entries: int) -> list[float]:
    cache = SoundCache(directory)
    fill(cache.store, entries)
    cache.prepare([_SPACE])
    took = insert_ms(cache)
    cache.close()
    return took


def main() -> None:
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000):
        print(f"{row['name']:<55} {row['value']:>10.3f} {row['unit']:<3} {row['against']}")


if __name__ == "__main__":
    main()
