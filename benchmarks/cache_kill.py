"""kill -9 at random points of insert, removal, eviction and re-keying: nothing acknowledged is lost or torn.

    python -m benchmarks.cache_kill [KILLS]          # 300 where not given

Each round starts a process that puts and removes sounds in one cache directory, pushes variants of crowded prompts out,
makes all keys anew as an upgrade does, and says on its standard output what has been done; kills it after a random
number of lines and milliseconds, opens the directory and compares: every acknowledged insert is there with its file
intact, every acknowledged removal is gone, every key is today's, and ``verify`` finds nothing. A directory is kept from
round to round; there are twice as many of them, side by side, as there are cores: a life mostly waits for its disk.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import selectors
import sqlite3
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from multiprocessing.connection import Connection
from pathlib import Path

from audio_pool.cache.entry import canonical_digest
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.verify import verify
from audio_pool.reports import QualityReport
from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.types import Recipe, Rendition

FLAC = b"fLaC" + bytes(range(256)) * 40
"""Has a FLAC file's first bytes, which is what the cache looks at; about 10 kB."""
_LIVES = multiprocessing.get_context("fork")  # nothing is imported anew: a second of each kill otherwise
_OGG = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=None, true_peak_dbfs=-1.0)


def described(path: Path, prompt: str, seed: int) -> FinishedSound:
    """A sound at a path, without a file."""
    recipe = Recipe(
        prompt=prompt, negative_prompt="", engine="procedural", implementation="procedural", model="procedural",
        frames=44_100, sample_rate=44_100, loop=False, seed=seed, steps=None, guidance_scale=None, candidates=1,
        voice=None, init_audio_sha256=None, init_strength=None, namespace="default",
    )  # fmt: skip
    metadata = SoundMetadata(
        prompt=prompt, engine="procedural", implementation="procedural", seed=seed, quality=QualityReport(score=0.9)
    )
    return FinishedSound(path=str(path), recipe=recipe, metadata=metadata, accepted=True)


def finished(folder: Path, prompt: str, seed: int) -> FinishedSound:
    """A sound as a mastering worker hands it over: written and fsynced."""
    path = folder / f"{os.urandom(8).hex()}.flac"
    with path.open("wb") as file:
        file.write(FLAC)
        file.flush()
        os.fsync(file.fileno())
    return described(path, prompt, seed)


def churn(directory: str, seed: int) -> None:
    """The process that is killed: puts, makes renditions and removes for as long as it lives."""
    draw = random.Random(seed)
    if draw.random() < 0.25:
        _make_keys_old(Path(directory))
        _say("rekeying")  # what follows opens the directory, and may be killed in it
    cache = SoundCache(directory, create=False, max_per_prompt=2)
    _say("open")
    kept = [item.id for item in cache.store.inventory.items()]
    while True:
        if draw.random() < 0.2:
            kept = _crowd(cache, f"crowded {draw.randrange(3)}", draw)
        elif len(kept) > 12 and draw.random() < 0.6:
            gone = [kept.pop(draw.randrange(len(kept))) for _ in range(draw.randint(1, 5))]
            _say(f"removing {' '.join(map(str, gone))}")
            cache.remove(gone)
            _say(f"removed {' '.join(map(str, gone))}")
        else:
            number = draw.getrandbits(62)
            entry = cache.put(finished(cache.incoming, f"sound {number}", number), {})
            assert entry.id is not None
            kept.append(entry.id)
            _say(f"put {entry.id}")
            if draw.random() < 0.3:
                other = cache.incoming / "rendition.ogg"
                other.write_bytes(b"OggS" * 100)
                cache.put_rendition(entry.id, _OGG, other)


def _crowd(cache: SoundCache, prompt: str, draw: random.Random) -> list[int]:
    """Put one variant more of a prompt, so that another may have to go; return what there is then."""
    before = [item.id for item in cache.store.inventory.items() if item.prompt == prompt]
    _say(f"removing {' '.join(map(str, before))}")
    entry = cache.put(finished(cache.incoming, prompt, draw.getrandbits(62)), {})
    after = [item.id for item in cache.store.inventory.items()]
    if entry.id is not None:
        _say(f"put {entry.id}")
    _say(f"still {' '.join(str(one) for one in before if one in after)}")
    _say(f"removed {' '.join(str(one) for one in before if one not in after)}")
    return after


def _make_keys_old(directory: Path) -> None:
    """Leave the rows as a version with other rules for canonical keys would."""
    with contextlib.closing(sqlite3.connect(directory / "cache.sqlite3", timeout=20.0)) as db, db:
        db.execute("UPDATE entries SET canonical_key = x'00'")
        db.execute("UPDATE facts SET value = '0' WHERE name = 'canonical_version'")
        db.execute("DELETE FROM facts WHERE name = 'keys_renewed'")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


@dataclass
class Tally:
    kills: int = 0
    inserts: int = 0
    removals: int = 0
    evictions: int = 0
    rekeyings: int = 0
    rekeyings_cut_short: int = 0
    leftovers_cleared: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take another's figures along."""
        for name in (each.name for each in fields(self)):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def run_kills(directory: Path, kills: int, seed: int = 0) -> Tally:
    """Kills ``kills`` processes one after the other on one directory."""
    draw, tally = random.Random(seed), Tally()
    present: set[int] = set()
    SqliteStore(directory).close()
    for number in range(kills):
        lines = 1 if draw.random() < 0.3 else draw.randint(2, 16)  # the first may be the start of a re-keying
        said = _one_life(directory, number + 1000 * seed, lines, draw.uniform(0.0, 0.03))
        unsure: set[int] = set()
        for line in said:
            word, *ids = line.split()
            numbers = {int(item) for item in ids}
            if word in ("put", "still"):
                present |= numbers
                tally.inserts += word == "put"
                tally.evictions += word == "still" and numbers < unsure
            elif word in ("removing", "removed"):
                present -= numbers
                unsure = numbers if word == "removing" else set()
                tally.removals += len(numbers) if word == "removed" else 0
        tally.rekeyings += "rekeying" in said
        tally.rekeyings_cut_short += "rekeying" in said and "open" not in said
        tally.kills += 1
        tally.leftovers_cleared += sum(1 for _ in (directory / "incoming").glob("*/*.*"))
        present = _judged(directory, number, present, unsure, tally)
    return tally


def _one_life(directory: Path, seed: int, lines: int, after_s: float) -> list[str]:
    """Runs ``churn`` and kills it that long after so many lines; the whole lines it said."""
    said, saying = _LIVES.Pipe(duplex=False)
    child = _LIVES.Process(target=_speak, args=(saying, str(directory), seed))
    child.start()
    saying.close()
    output, deadline, kill_at = b"", time.monotonic() + 60.0, None
    with said, selectors.DefaultSelector() as selector:
        selector.register(said, selectors.EVENT_READ)
        while (now := time.monotonic()) < (kill_at or deadline):
            if not selector.select((kill_at or deadline) - now):
                continue
            part = os.read(said.fileno(), 65536)
            if not part:
                break
            output += part
            # opening alone is nothing to be killed in
            if kill_at is None and output.removeprefix(b"open\n").count(b"\n") >= lines:
                kill_at = time.monotonic() + after_s
        child.kill()
        while part := os.read(said.fileno(), 65536):
            output += part
    child.join()
    if kill_at is None:
        raise RuntimeError(f"the process to be killed did nothing: exit code {child.exitcode}")
    return output.decode().split("\n")[:-1]


def _speak(saying: Connection, directory: str, seed: int) -> None:
    os.dup2(saying.fileno(), 1)
    saying.close()
    churn(directory, seed)


def _judged(directory: Path, number: int, present: set[int], unsure: set[int], tally: Tally) -> set[int]:
    """What is there after a kill, compared with what was acknowledged."""
    store = SqliteStore(directory, create=False)
    found = {item.id for item in store.inventory.items()}
    lost = present - found
    if lost:
        tally.faults.append(f"kill {number}: acknowledged inserts {sorted(lost)} are gone")
    extra = found - present - unsure
    if len(extra) > 1:  # one may have been committed and not yet acknowledged
        tally.faults.append(f"kill {number}: entries {sorted(extra)} should not be there")
    for row in store.database.query("SELECT id, namespace, prompt, canonical_key FROM entries"):
        if row[3] != canonical_digest(row[1], row[2]):
            tally.faults.append(f"kill {number}: entry {row[0]} is filed under a key of other rules")
    report = verify(store)
    tally.faults += [f"kill {number}: {problem}" for problem in report.problems]
    store.close()
    return found


def run_side_by_side(place: Path, kills: int, directories: int, seed: int) -> Tally:
    """Shares the kills out among some directories, each with a process of its own that opens and compares."""
    shares = [kills // directories + (number < kills % directories) for number in range(directories)]
    total = Tally()
    with ProcessPoolExecutor(directories) as judges:
        runs = [judges.submit(run_kills, place / f"cache-{n}", share, seed + n) for n, share in enumerate(shares)]
        for run in runs:
            total.add(run.result())
    return total


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        tally = run_side_by_side(Path(place), kills, 2 * (os.cpu_count() or 1), random.randrange(1000))
    took = time.monotonic() - begun
    print(f"{tally.kills} kills in {took:.0f} s, {tally.inserts} acknowledged inserts, {tally.removals} removals;")
    cut = tally.rekeyings_cut_short
    print(f"{tally.evictions} evictions, {tally.rekeyings} re-keyings, {cut} of them cut short;")
    print(f"{tally.leftovers_cleared} leftovers cleared at opening; {len(tally.faults)} faults")
    print("\n".join(tally.faults))
    sys.exit(1 if tally.faults else 0)


if __name__ == "__main__":
    main()
