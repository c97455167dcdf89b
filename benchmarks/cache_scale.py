"""The cache at ten thousand, a hundred thousand and a million sounds, beside an array that is compared as a whole.

    python -m benchmarks.cache_scale [ENTRIES ...] [--vectors FILE.npy] [--prompts FILE.json] [--keep DIR]

Rows are written straight into the database and masters are hard links to one tiny file, so that a million of them fit;
everything that is measured is the cache's own. Vectors lie in clumps as those of real prompts do: around the
rows of ``--vectors`` (float32 [N, D], say of a caption set) where it is given, else around random means. Each figure
that needs a fresh process has one: memory is that of a process which holds the cache and nothing else.

The first system keeps all vectors in one array, compares each look-up with all of them, and writes array and list of
entries anew with every sound; it is measured here with numpy on the same vectors.

Lengths are drawn from eight, so default settings (20 % tolerance) admit a seventh to a third of all.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from benchmarks.cache_kill import described, finished

from audio_pool.cache.duplicates import duplicate_groups
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.settings import filters_of
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.database import transaction
from audio_pool.cache.sqlite.rows import columns_of
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.verify import verify
from audio_pool.prompts.parses import packed
from audio_pool.types import Query

_SPACE = "minilm"
_SOUNDS = "sound:clap"
_D, _SOUND_D = 384, 128
_LENGTHS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 15.0)
_BLOCK = 20_000
_QUERIES = 200
_WHOLE = b"fLaC" + bytes(60)


# -- what is in it -----------------------------------------------------------------------------------


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Clumps:
    """Vectors as prompts have them, any number, the same for the same seed."""

    def __init__(self, vectors: str, prompts: str) -> None:
        rng = np.random.default_rng(0)
        means = rng.standard_normal((40, _D))
        made = means[rng.integers(40, size=40_000)] + rng.standard_normal((40_000, _D))
        self.means = unit(np.load(vectors) if vectors else made)
        self.prompts: list[str] = json.loads(Path(prompts).read_text()) if prompts else []
        if not self.prompts:
            things = ["rain", "wind", "a dog", "a bell", "steps", "an engine", "a crowd", "water"]
            places = ["roof", "field", "hall", "street"]
            self.prompts = [f"{a} near {b} in a {c}" for a in things for b in things for c in places]

    def block(self, seed: int, count: int) -> np.ndarray:
        """A known vector with something of another and a little noise: the tenth nearest lies at a cosine of 0.8."""
        rng = np.random.default_rng(seed)
        first, second = (self.means[rng.integers(len(self.means), size=count)] for _ in range(2))
        share = rng.uniform(0, 0.35, (count, 1))
        return unit((1 - share) * first + share * second + rng.standard_normal((count, _D)) * (0.25 / np.sqrt(_D)))


def fill(root: Path, entries: int, clumps: Clumps) -> None:
    """Write rows, vectors and links."""
    store = SqliteStore(root)
    one = described(Path("filler"), "filler", 1)
    values = columns_of(one, "", "", len(_WHOLE), bytes(32))
    names = [*values, "id"]
    insert = f"INSERT INTO entries ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"
    parses = [packed(prompt) for prompt in clumps.prompts]
    recipe, metadata = msgspec.json.encode(one.recipe), msgspec.json.encode(one.metadata)
    rng = np.random.default_rng(5)
    for place in range(256):
        (root / "audio" / f"{place:02x}").mkdir(exist_ok=True)
    with store.database.writing("filling") as db:
        db.execute("PRAGMA synchronous = OFF")
        db.executemany("INSERT OR IGNORE INTO spaces VALUES (?)", [(_SPACE,), (_SOUNDS,)])
        for start in range(0, entries, _BLOCK):
            ids = range(start + 1, min(start + _BLOCK, entries) + 1)
            texts = clumps.block(start, len(ids))
            sounds = unit(rng.standard_normal((len(ids), _SOUND_D)))
            again = rng.integers(0, len(ids) - 1, len(ids) // 50)
            sounds[again + 1] = sounds[again]  # two in a hundred sound like another
            lengths = rng.choice(_LENGTHS, len(ids))
            rows = []
            for at, entry_id in enumerate(ids):
                key = secrets.token_hex(16)
                if entry_id % 50_000 == 1:  # a file has so many names at most
                    whole = root / "audio" / f"whole{entry_id}"
                    whole.write_bytes(_WHOLE)
                os.link(whole, root / "audio" / key[:2] / f"{key}.flac")
                rows.append({
                    **values, "id": entry_id, "file": f"audio/{key[:2]}/{key}.flac", "duration_s": float(lengths[at]),
                    "text_key": secrets.token_bytes(16), "canonical_key": secrets.token_bytes(16),
                    "identity": secrets.token_bytes(32), "family": secrets.token_bytes(32),
                    "sha256": secrets.token_bytes(32), "prompt": clumps.prompts[entry_id % len(clumps.prompts)],
                    "parse": parses[entry_id % len(clumps.prompts)],
                    "created_at": 1e9 + entry_id,
                })  # fmt: skip
            with transaction(db):
                db.executemany(insert, rows)
                db.executemany("INSERT INTO provenance VALUES (?, ?, ?)", [(one, recipe, metadata) for one in ids])
                for space, made in ((_SPACE, texts), (_SOUNDS, sounds)):
                    kept = [(one, space, made[at].tobytes()) for at, one in enumerate(ids)]
                    db.executemany("INSERT INTO vectors VALUES (?, ?, ?)", kept)
                db.executemany("INSERT INTO changes (entry_id, removed) VALUES (?, 0)", [(one,) for one in ids])
    for whole in (root / "audio").glob("whole*"):
        whole.unlink()
    store.close()


# -- what is measured, each in a process of its own --------------------------------------------------


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def peak_mb() -> float:
    # not getrusage: its greatest is that of the parent, where that was greater
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def build(root: Path, _: Clumps) -> dict[str, float]:
    """Open without a snapshot, as a server does, and build in the background."""
    start = time.perf_counter()
    cache = SoundCache(root)
    cache.prepare([_SPACE], background=True)
    listening = time.perf_counter()
    cache.find_exact(described(Path("x"), "nothing like it", 1).recipe, Query())
    words = time.perf_counter()
    cache.tidy()
    built = time.perf_counter()
    figures = {
        "open until it listens, ms": 1e3 * (listening - start), "first look-up by words, ms": 1e3 * (words - listening),
        "build of the index in the background, s": built - words, "peak while building, MB": peak_mb(),
    }  # fmt: skip
    start = time.perf_counter()
    cache.close()
    return {**figures, "save of a snapshot, s": time.perf_counter() - start, "peak with the save, MB": peak_mb()}


def search(root: Path, clumps: Clumps) -> dict[str, float]:
    """Open with a snapshot; look up by meaning."""
    start = time.perf_counter()
    cache = SoundCache(root)
    cache.prepare([_SPACE], background=True)
    listening = time.perf_counter()
    cache.tidy()
    loaded = time.perf_counter()
    asked = clumps.block(10**9, _QUERIES)
    wall, processor, found = [], [], []
    query = Query()
    for row in range(-_QUERIES // 4, _QUERIES):  # the first few warm up
        recipe = msgspec.structs.replace(
            described(Path("x"), clumps.prompts[row % len(clumps.prompts)], 1).recipe,
            seed=None, frames=round(44_100 * _LENGTHS[row % len(_LENGTHS)]),
        )  # fmt: skip
        cache.find_exact(recipe, query)  # as every request does, which parses the words asked for
        before, spent = time.perf_counter(), time.thread_time()
        cache.find_near(recipe, query, {_SPACE: asked[row]})
        spent, after = time.thread_time() - spent, time.perf_counter()
        if row >= 0:
            wall.append(1e3 * (after - before))
            processor.append(1e3 * spent)
            space = cache.spaces.of(_SPACE)
            filters = filters_of(recipe, query, by_meaning=True)
            nearest = cache.nearest(recipe, query, _SPACE, asked[row])
            found.append([entry.id for entry, _ in nearest])
            assert space.search(asked[row], 1, filters)
    figures = {
        "open with a snapshot until it listens, ms": 1e3 * (listening - start),
        "load of the snapshot in the background, s": loaded - listening,
        "look-up by meaning, p50 ms": statistics.median(wall),
        "look-up by meaning, p50 ms of one processor": statistics.median(processor),
        "look-up by meaning, p99 ms": sorted(wall)[int(0.99 * len(wall))],
        "resident, MB": resident_mb(), "peak with a snapshot, MB": peak_mb(),
    }  # fmt: skip
    (root / "found.json").write_text(json.dumps(found))
    cache.close()
    return figures


def truth(root: Path, clumps: Clumps) -> dict[str, float]:
    """Compare what was found with what comparing all finds; look for near duplicates."""
    store = SqliteStore(root)
    lengths = np.array([row[0] for row in store.database.query("SELECT duration_s FROM entries ORDER BY id")])
    found = json.loads((root / "found.json").read_text())
    asked = clumps.block(10**9, _QUERIES)
    best: list[list[tuple[float, int]]] = [[] for _ in asked]
    for start in range(0, len(lengths), _BLOCK):
        rows = clumps.block(start, min(_BLOCK, len(lengths) - start))
        cosines = asked @ rows.T
        for at, row in enumerate(cosines):
            length = _LENGTHS[at % len(_LENGTHS)]
            here = lengths[start : start + len(rows)]
            row = np.where(np.abs(here - length) <= 0.2 * length + 1e-4, row, -2.0)
            top = np.argpartition(-row, 8)[:8]
            best[at] = sorted([*best[at], *((float(row[one]), start + int(one) + 1) for one in top)], reverse=True)[:8]
    hits = sum(len({entry for _, entry in wanted} & set(got)) for wanted, got in zip(best, found, strict=True))
    cache = SoundCache(root)
    cache.prepare([_SPACE])
    rng = np.random.default_rng(3)
    near = 0
    for start in range(0, len(lengths), max(_BLOCK, len(lengths) // 10 // _BLOCK * _BLOCK)):
        rows = clumps.block(start, min(_BLOCK, len(lengths) - start))
        for at in rng.integers(0, len(rows), 50):
            twin = unit(rows[at : at + 1] + rng.standard_normal((1, _D)) * (0.05 / np.sqrt(_D)))[0]
            near += start + int(at) + 1 in cache.nearest_of_any_settings(_SPACE, twin, 8)
    looked = 50 * len(range(0, len(lengths), max(_BLOCK, len(lengths) // 10 // _BLOCK * _BLOCK)))
    cache.close()
    store.close()
    return {"recall@8": hits / (8 * len(asked)), "near duplicates found": near / looked}


def upkeep(root: Path, clumps: Clumps) -> dict[str, float]:
    """Keep, remove and compact."""
    cache = SoundCache(root)
    cache.prepare([_SPACE], background=True)
    cache.tidy()
    took = []
    for vector in clumps.block(7, 50):
        sound = finished(cache.incoming, f"measured {secrets.token_hex(4)}", secrets.randbits(60))
        start = time.perf_counter()
        cache.put(sound, {_SPACE: vector})
        took.append(1e3 * (time.perf_counter() - start))
    space = cache.spaces.of(_SPACE)
    start = time.perf_counter()
    cache.remove([3])
    removed = time.perf_counter()
    space.save()
    saved = time.perf_counter()
    assert space._index is not None
    space._index.remove(range(10, len(space) // 3))  # of the index alone: rows are not what is measured
    compacting = time.perf_counter()
    with space._writing:
        space._index.compact()
    compacted = time.perf_counter()
    figures = {
        "durable insert, p50 ms": statistics.median(took), "one removal, ms": 1e3 * (removed - start),
        "the save after one removal, s": saved - removed, "compaction of a third, s": compacted - compacting,
        "peak with insert, removal, save, compaction, MB": peak_mb(),
    }  # fmt: skip
    space.snapshot.unlink()
    cache.store.close()
    return figures


def manage(root: Path, _: Clumps) -> dict[str, float]:
    """What an operator asks."""
    figures: dict[str, float] = {}

    def timed(what: str, work: Any) -> None:
        start = time.perf_counter()
        work()
        figures[what] = time.perf_counter() - start

    with AudioSemanticCache(root) as cache:
        timed("stats the first time, s", cache.get_cache_stats)
        timed("stats, s", cache.get_cache_stats)
    store = SqliteStore(root)
    timed("verify --quick the first time, s", lambda: verify(store, quick=True))
    timed("verify --quick again, s", lambda: verify(store, quick=True))
    groups: list[Any] = []
    before = resident_mb()
    timed("duplicates by sound, s", lambda: groups.extend(duplicate_groups(store, "sound")))
    figures |= {"duplicates: groups": len(groups), "duplicates: peak over what was resident, MB": peak_mb() - before}
    store.close()
    return figures


def first_system(root: Path, clumps: Clumps) -> dict[str, float]:
    """One array, compared as a whole; array and list of entries written anew with every sound."""
    store = SqliteStore(root)
    count = store.inventory.totals().entries
    store.close()
    with tempfile.TemporaryDirectory(dir=root) as place:
        array, listed = Path(place) / "clap_text.npy", Path(place) / "meta.jsonl"
        parts = [clumps.block(start, min(_BLOCK, count - start)) for start in range(0, count, _BLOCK)]
        rows = np.concatenate(parts)
        del parts
        entries = [{"prompt": clumps.prompts[at % len(clumps.prompts)], "path": f"{at:032x}.flac", "dur": 3.0}
                   for at in range(count)]  # fmt: skip
        inserts, looks = [], []
        for number in range(3):
            start = time.perf_counter()
            rows = np.vstack([rows, clumps.block(9, 1)])
            np.save(array, rows)
            entries.append({"prompt": "one more", "path": f"{number:032x}.flac", "dur": 3.0})
            listed.write_text("".join(f"{json.dumps(one)}\n" for one in entries))
            inserts.append(1e3 * (time.perf_counter() - start))
        for row in clumps.block(10**9, 20):
            start = time.perf_counter()
            np.argsort(-(rows @ row))[:8]
            looks.append(1e3 * (time.perf_counter() - start))
        start = time.perf_counter()
        rows = np.load(array)
        entries = [json.loads(line) for line in listed.read_text().splitlines()]
        opened = time.perf_counter() - start
    return {
        "first system: look-up by meaning, p50 ms": statistics.median(looks),
        "first system: insert, p50 ms": statistics.median(inserts),
        "first system: open, s": opened, "first system: peak, MB": peak_mb(),
    }  # fmt: skip


PARTS = {
    "build": build, "search": search, "truth": truth, "manage": manage, "first_system": first_system, "upkeep": upkeep
}  # fmt: skip


def measured(root: Path, vectors: str, prompts: str, parts: list[str]) -> Iterator[tuple[str, float]]:
    """Yield every figure of a filled directory."""
    for part in parts:
        command = [sys.executable, "-m", "benchmarks.cache_scale", "--part", part, "--keep", str(root)]
        done = subprocess.run(
            [*command, "--vectors", vectors, "--prompts", prompts], stdout=subprocess.PIPE, check=True
        )
        yield from json.loads(done.stdout).items()


def rows(
    entries: tuple[int, ...] = (10_000,),
    vectors: str = "",
    prompts: str = "",
    keep: str = "",
    parts: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    """One row per figure, one column per size."""
    table: dict[str, dict[str, Any]] = {}
    for count in entries:
        with tempfile.TemporaryDirectory(dir=os.environ.get("AUDIO_POOL_BENCH_DIR")) as place:
            root = Path(keep or place) / str(count)
            if not root.exists():
                root.mkdir(parents=True)
                fill(root, count, Clumps(vectors, prompts))
            for what, value in measured(root, vectors, prompts, list(parts or PARTS)):
                table.setdefault(what, {"what": what})[f"{count:,}"] = value
                print(f"{count:>9,}  {what:<52} {value:>12.4g}", file=sys.stderr, flush=True)
    return list(table.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--vectors", default="", help="float32 [N, 384], to lie around")
    parser.add_argument("--prompts", default="", help="a JSON list of prompts")
    parser.add_argument("--keep", default="", help="where filled caches stay, to be measured again")
    parser.add_argument("--parts", nargs="*", default=[], choices=list(PARTS), help="some of the figures")
    parser.add_argument("--part", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(PARTS[asked.part](Path(asked.keep), Clumps(asked.vectors, asked.prompts))))
        return
    found = rows(tuple(asked.entries), asked.vectors, asked.prompts, asked.keep, tuple(asked.parts))
    sizes = [f"{count:,}" for count in asked.entries]
    print(f"{'':<52}" + "".join(f"{size:>14}" for size in sizes))
    for row in found:
        print(f"{row['what']:<52}" + "".join(f"{row.get(size, ''):>14.4g}" for size in sizes))


if __name__ == "__main__":
    main()
