"""What keeping a sound costs in a small cache and in a big one, and how soon a big one answers.

    python -m benchmarks.cache_insert [ENTRIES]       # 100,000 where not given

A durable insert is ``SoundCache.put`` of a small file with a 384-dimensional vector: rename, fsynced row,
index. The floor is one 4 kB write and fsync on the same disk. Floor, small and big cache take turns, because
a disk's fsync can take 0.2 ms at one moment and 4 ms at the next. The
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

from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.database import transaction
from audio_pool.cache.sqlite.entries import insert
from audio_pool.cache.sqlite.rows import columns_of
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.types import Query

_SPACE = "text:benchmark"


def fill(store: SqliteStore, count: int, dimensions: int = 384) -> None:
    """Adds entries without files, as fast as SQLite takes them."""
    rng = np.random.default_rng(0)
    with store.database.writing("filling") as db:
        start = db.execute("SELECT count(*) FROM entries").fetchone()[0]
        for first in range(start, count, 5_000):
            with transaction(db):
                for number in range(first, min(first + 5_000, count)):
                    sound = described(Path("filler"), f"filler sound {number}", number)
                    key = secrets.token_hex(16)
                    values = columns_of(sound, f"audio/{key[:2]}/{key}.flac", "", 1000, bytes(32))
                    vector = rng.standard_normal(dimensions).astype(np.float32)
                    insert(db, values, sound, {_SPACE: vector})


def put_ms(cache: SoundCache, vector: np.ndarray) -> float:
    """Milliseconds of one durable insert."""
    number = secrets.randbits(60)
    sound = finished(cache.incoming, f"measured sound {number}", number)
    start = time.perf_counter()
    cache.put(sound, {_SPACE: vector})
    return 1e3 * (time.perf_counter() - start)


def fsync_ms(path: Path) -> float:
    """Milliseconds of one 4 kB append with fsync, the floor of anything durable."""
    with path.open("ab") as file:
        start = time.perf_counter()
        file.write(b"x" * 4096)
        file.flush()
        os.fsync(file.fileno())
        return 1e3 * (time.perf_counter() - start)


def in_turns(place: Path, entries: int, rounds: int = 300) -> dict[str, list[float]]:
    """Milliseconds of the floor and of inserts into a small and a big cache, one after the other."""
    caches = {}
    for name, count in (("small", 1_000), ("big", entries)):
        store = SqliteStore(place / name)
        fill(store, count)
        store.close()
        caches[name] = SoundCache(place / name)
        caches[name].prepare([_SPACE])
    rng = np.random.default_rng(1)
    took: dict[str, list[float]] = {"floor": [], "small": [], "big": []}
    for _ in range(rounds):
        took["floor"].append(fsync_ms(place / "floor"))
        for name, cache in caches.items():
            took[name].append(put_ms(cache, rng.standard_normal(384).astype(np.float32)))
    for cache in caches.values():
        cache.close()
    return took


def open_ms(directory: Path) -> tuple[float, float]:
    """Milliseconds from nothing to the first exact hit, and to the first neighbours found with the snapshot."""
    cache = SoundCache(directory)
    known = finished(cache.incoming, "first hit", 1)
    cache.put(known, {_SPACE: np.ones(384, np.float32)})
    cache.prepare([_SPACE])
    cache.close()
    start = time.perf_counter()
    cache = SoundCache(directory)
    assert cache.find_exact(known.recipe, Query()).hit is not None
    exact = time.perf_counter()
    cache.prepare([_SPACE])
    assert cache.nearest(known.recipe, Query(), _SPACE, np.ones(384, np.float32))
    end = time.perf_counter()
    cache.close()
    return 1e3 * (exact - start), 1e3 * (end - start)


def rows(entries: int = 100_000) -> list[dict[str, Any]]:
    """One row per figure: what, value, unit, against (what to compare with)."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("AUDIO_POOL_BENCH_DIR")) as place:
        took = in_turns(Path(place), entries)
        exact, near = open_ms(Path(place) / "big")
    floor, small, big = (statistics.median(took[name]) for name in ("floor", "small", "big"))
    return [
        {"what": what, "value": value, "unit": unit, "against": against}
        for what, value, unit, against in (
            ("4 kB write and fsync, p50", floor, "ms", "floor"),
            ("durable insert at 1,000 entries, p50", small, "ms", ""),
            (f"durable insert at {entries:,} entries, p50", big, "ms", "at most 5"),
            (f"durable insert at {entries:,} entries, mean", statistics.fmean(took["big"]), "ms", ""),
            (f"insert at {entries:,} over insert at 1,000", big / small, "x", "at most 1.5"),
            (f"insert at {entries:,} over the floor", big / floor, "x", ""),
            (f"open at {entries:,} entries to first exact hit", exact, "ms", "at most 1,500"),
            (f"open at {entries:,} entries to first hit by meaning", near, "ms", "at most 1,500"),
        )
    ]


def main() -> None:
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000):
        print(f"{row['what']:<55} {row['value']:>10.3f} {row['unit']:<3} {row['against']}")


if __name__ == "__main__":
    main()
