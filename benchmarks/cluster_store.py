"""Keeping and looking up in a shared cache (PostgreSQL), beside one of one machine (SQLite), in one run and in turns.

    python -m benchmarks.cluster_store [ENTRIES] [--rounds N]     (100,000; in the environment of make test-cluster)

Both hold so many entries, each with a vector of 384 numbers: 2,000 that the store brought in one transaction by its own
way for whole caches, and copies of their rows (``_many_entries.py``). Figures are medians in microseconds: wall
(processor of this process, the head). A server of the benchmark's own is started on this machine, with its commits
flushed to the disk; a network would add two to three round trips to each insert and nothing to a look-up. Keeping
includes everything: hash, file moved into place and fsynced, row, replica.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from benchmarks._absent import Absent, postgres_folder
from benchmarks._many_entries import multiply_postgres, multiply_sqlite
from tests.support.cache_sounds import recipe, sound
from tests.support.postgres import PostgresServer

from audio_pool.cache.entry import Adopted
from audio_pool.cache.shared import SharedStore
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.results import FinishedSound
from audio_pool.types import Query

SQLITE, POSTGRES = "SQLite, one machine", "PostgreSQL, a head"
OWN = 2_000
"""Of all entries; the others are copies of their rows."""
_AT_ONCE = 2_000
_WORDS = (
    "rain", "wind", "storm", "bell", "gong", "drum", "river", "fire",
    "steps", "crowd", "engine", "birds", "sea", "glass", "door", "clock",
)  # fmt: skip


def _prompt(number: int) -> str:
    return f"{_WORDS[number % 16]} and {_WORDS[number // 16 % 16]}, take {number}"


def _fill(cache: SoundCache, one: FinishedSound, entries: int) -> float:
    rng = np.random.default_rng(1)
    began = time.perf_counter()
    for start in range(0, entries, _AT_ONCE):
        vectors = rng.standard_normal((_AT_ONCE, 384), dtype=np.float32)
        batch = [
            Adopted(
                msgspec.structs.replace(one, path="", recipe=recipe(_prompt(number), seed=number)),
                file=f"audio/{number % 256:02x}/{number:032x}.flac", size_bytes=1000, sha256=number.to_bytes(32),
                created_at=1.7e9 + number, vectors={"minilm": vectors[number - start]},
            )
            for number in range(start, min(entries, start + _AT_ONCE))
        ]  # fmt: skip
        cache.store.entries.adopt(batch)
    return time.perf_counter() - began


def _median_us(work: Callable[[int], object], numbers: list[int]) -> tuple[float, float]:
    """Wall and this process's processor time, in millionths of a second."""
    wall, cpu = [], time.process_time()
    for number in numbers:
        began = time.perf_counter()
        work(number)
        wall.append(time.perf_counter() - began)
    return 1e6 * statistics.median(wall), 1e6 * (time.process_time() - cpu) / len(numbers)


def rows(entries: int = 100_000, rounds: int = 3) -> list[dict[str, Any]]:
    """A row for each thing that was done, in microseconds: wall (processor)."""
    with tempfile.TemporaryDirectory() as place, PostgresServer(postgres_folder()) as server:
        here = SoundCache(Path(place) / "here", max_per_prompt=1000)
        shared = SoundCache(Path(place) / "shared", max_per_prompt=1000, shared=SharedStore(url=server.url()))
        one = sound(here.incoming)
        caches = {SQLITE: here, POSTGRES: shared}
        own = min(entries, OWN)
        filled = {name: _fill(cache, one, own) for name, cache in caches.items()}
        heard_us = _heard_us(shared, Path(place) / "other", server.url())  # before a new head would read all the copies
        if entries > own:
            multiply_postgres(server.url(), "audio_pool", entries // own)
            for folder in ("here", "shared/replica"):
                multiply_sqlite(Path(place) / folder / "cache.sqlite3", entries // own)
        found: list[dict[str, Any]] = [
            {"what": "entries", **{name: f"{_count(cache):,}" for name, cache in caches.items()}},
            {"what": "an entry brought, ms", **{name: f"{1e3 * taken / own:.1f}" for name, taken in filled.items()}},
        ]
        found += _in_turns(caches, own, rounds)
        found.append({"what": "kept on one head until offered on another", POSTGRES: f"{heard_us:,.0f}"})
        for cache in caches.values():
            cache.close()
        return found


def _heard_us(shared: SoundCache, directory: Path, url: str) -> float:
    """How long it takes until what one head keeps is offered by another, both in this process."""
    other = SoundCache(directory, max_per_prompt=1000, shared=SharedStore(url=url))
    began = time.perf_counter()
    last = shared.put(sound(shared.incoming, "the last one", seed=1), {})
    while other.store.entries.entry(last.id or 0) is None:
        time.sleep(0.0005)
    heard_us = 1e6 * (time.perf_counter() - began)
    other.close()
    return heard_us


def _count(cache: SoundCache) -> int:
    return cache.store.vectors.counts()["minilm"]


def _in_turns(caches: dict[str, SoundCache], entries: int, rounds: int) -> list[dict[str, Any]]:
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    numbers = itertools.count(entries)
    rng = np.random.default_rng(2)
    query = Query()
    for _ in range(rounds):
        for name, cache in caches.items():
            made = {number: sound(cache.incoming, _prompt(number), seed=number) for number in
                    itertools.islice(numbers, 200)}  # fmt: skip
            vector = rng.standard_normal(384, dtype=np.float32)
            kept = _median_us(lambda n, c=cache, m=made, v=vector: c.put(m[n], {"minilm": v}), list(made))
            asked_for = [int(one) for one in rng.integers(0, entries, 2_000)]
            any_of_all = _median_us(lambda n, c=cache: c.find_exact(recipe(_prompt(n), seed=n), query), asked_for)
            newest = _median_us(lambda n, c=cache: c.find_exact(recipe(_prompt(n)), query), list(made) * 10)
            for what, figure in (("keep", kept), ("look up, any of all", any_of_all), ("hit, of the newest", newest)):
                found.setdefault(what, {}).setdefault(name, []).append(figure)
        keys = [int(one) for one in rng.integers(1, entries, 2_000)]
        found.setdefault("one row asked of the server", {}).setdefault(POSTGRES, []).append(
            _median_us(lambda n: caches[POSTGRES].store.uses.of([n]), keys)
        )
    return [
        {
            "what": what,
            **{name: _of(figures) for name, figures in by.items()},
            "wall / SQLite": round(_wall(by[POSTGRES]) / _wall(by[SQLITE]), 2) if SQLITE in by else "",
        }
        for what, by in found.items()
    ]


def _wall(figures: list[tuple[float, float]]) -> float:
    return statistics.median(wall for wall, _ in figures)


def _of(figures: list[tuple[float, float]]) -> str:
    return f"{_wall(figures):,.0f} ({statistics.median(cpu for _, cpu in figures):,.0f})"


def main() -> None:
    """One run as asked for."""
    from benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", type=int, nargs="?", default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    try:
        print("\n".join(table(rows(asked.entries, asked.rounds))))
    except Absent as missing:
        print(f"skipped, {missing}")


if __name__ == "__main__":
    main()
