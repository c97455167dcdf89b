"""Keeping and looking up in a shared cache (PostgreSQL), beside one of one machine (SQLite), in one run and in turns.

    python -m benchmarks.cluster_store [ENTRIES] [--rounds N]     (100,000; in the environment of make test-cluster)

Both hold so many entries, each with a vector of 384 numbers. A server of the benchmark's own is started on this
machine, with its commits flushed to the disk; a network would add two to three round trips to each insert and nothing
to a look-up. Keeping includes everything: hash, file moved into place and fsynced, row, replica.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from tests.support.cache_sounds import recipe, sound
from tests.support.postgres import PostgresServer, postgres_programs

from audio_pool.cache.entry import Adopted
from audio_pool.cache.shared import SharedStore
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.results import FinishedSound
from audio_pool.types import Query

_AT_ONCE = 500
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


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entries", type=int, nargs="?", default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    programs = postgres_programs()
    if programs is None:
        print("skipped, there is no PostgreSQL: apt-get install postgresql")
        sys.exit(0)
    with tempfile.TemporaryDirectory() as place, PostgresServer(programs) as server:
        here = SoundCache(Path(place) / "here", max_per_prompt=1000)
        shared = SoundCache(Path(place) / "shared", max_per_prompt=1000, shared=SharedStore(url=server.url()))
        one = sound(here.incoming)
        caches = {"SQLite, one machine": here, "PostgreSQL, a head": shared}
        for name, cache in caches.items():
            print(f"{name}: {asked.entries} entries in {_fill(cache, one, asked.entries):.0f} s", flush=True)
        found: dict[str, dict[str, list[tuple[float, float]]]] = {}
        numbers = itertools.count(asked.entries)
        rng = np.random.default_rng(2)
        query = Query()
        for _ in range(asked.rounds):
            for name, cache in caches.items():
                made = {number: sound(cache.incoming, _prompt(number), seed=number) for number in
                        itertools.islice(numbers, 200)}  # fmt: skip
                vector = rng.standard_normal(384, dtype=np.float32)
                kept = _median_us(lambda n, c=cache, m=made, v=vector: c.put(m[n], {"minilm": v}), list(made))
                asked_for = [int(one) for one in rng.integers(0, asked.entries, 2_000)]
                rows = _median_us(
                    lambda n, c=cache: c.find_exact(recipe(_prompt(n), seed=n), query), asked_for
                )
                again = _median_us(lambda n, c=cache: c.find_exact(recipe(_prompt(n)), query), list(made) * 10)
                for what, figure in (("keep", kept), ("look up, any of all", rows), ("hit, of the newest", again)):
                    found.setdefault(what, {}).setdefault(name, []).append(figure)
            keys = [int(one) for one in rng.integers(1, asked.entries, 2_000)]
            found.setdefault("one row asked of the server", {}).setdefault("PostgreSQL, a head", []).append(
                _median_us(lambda n: shared.store.uses.of([n]), keys)
            )
        print(f"\nmedians of {asked.rounds} rounds, in microseconds: wall (processor)")
        for what, by in found.items():
            told = ", ".join(f"{name} {_of(figures)}" for name, figures in by.items())
            print(f"  {what}: {told}")
        other = SoundCache(Path(place) / "other", max_per_prompt=1000, shared=SharedStore(url=server.url()))
        began = time.perf_counter()
        last = shared.put(sound(shared.incoming, "the last one", seed=1), {})
        while other.store.entries.entry(last.id or 0) is None:
            time.sleep(0.0005)
        heard_ms = 1e3 * (time.perf_counter() - began)
        print(f"  kept on one head until offered on the other, both in this process: {heard_ms:.1f} ms")
        for cache in (here, shared, other):
            cache.close()


def _of(figures: list[tuple[float, float]]) -> str:
    wall, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
    return f"{wall:,.0f} ({cpu:,.0f})"


if __name__ == "__main__":
    main()
