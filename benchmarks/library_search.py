"""What finding kept sounds costs in a large library: by words, by meaning, by marks, page after page.

    python -m benchmarks.library_search [ENTRIES]     # 100,000 where not given

Processor time of the best of three, in milliseconds: nobody waits for it but whoever asks, on a thread of its own. The
library is filled with rows and no files, as for ``cache_insert``; prompts are words drawn from a short list, so that
each stands in a tenth of them.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from benchmarks.cache_insert import fill

from audio_pool.cache.search import search
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.database import transaction
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.library import SoundSearch

_WORDS = (
    "rain thunder wind door wood metal bell footsteps gravel engine car dog barking cat crowd cheering water stream "
    "fire crackling glass breaking explosion laser sword whoosh typing keyboard phone clock ticking birds forest night "
    "city traffic heavy soft distant loud slow fast old rusty small large roof tin stone"
)
_SPACE = "text:benchmark"


def filled(place: Path, entries: int) -> SoundCache:
    """A cache of so many sounds, some of them rated and tagged."""
    SoundCache(place).close()
    store = SqliteStore(place)
    fill(store, entries)
    drawn, words = random.Random(1), _WORDS.split()
    with store.database.writing("naming") as db, transaction(db):
        rows = ((" ".join(drawn.choices(words, k=7)), 30 * drawn.random(), n) for n in range(1, entries + 1))
        db.executemany("UPDATE entries SET prompt = ?, duration_s = ? WHERE id = ?", rows)
        db.execute("INSERT INTO tags SELECT id, 'tag' || (id % 50) FROM entries WHERE id % 3 = 0")
        db.execute("INSERT INTO marks SELECT id, 1 + id % 5, id % 7 = 0, 0, 0.0 FROM entries WHERE id % 11 = 0")
    store.close()
    return SoundCache(place)


def cost_ms(cache: SoundCache, asked: SoundSearch, times: int = 3) -> float:
    """Processor time of one search, the best of several."""
    vector = np.random.default_rng(2).standard_normal(384).astype(np.float32)
    best = float("inf")
    for _ in range(times):
        started = time.process_time()
        search(cache.store, asked, "default", cache.spaces, {_SPACE: vector} if asked.meaning or asked.text else {})
        best = min(best, time.process_time() - started)
    return best * 1000


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as place:
        cache = filled(Path(place) / "cache", entries)
        cache.prepare([_SPACE])
        print(f"{entries:,} entries, a page of 50, processor time in ms")
        print(f"  {'first search by words (index made)':<36}{cost_ms(cache, SoundSearch(words='rain'), 1):8.1f}")
        page, middle = SoundSearch(), ""
        for _ in range(20):
            middle = search(cache.store, page, "default", cache.spaces).next or ""
            page = SoundSearch(after=middle)
        for name, asked in {
            "the newest": SoundSearch(),
            "twenty pages on": SoundSearch(after=middle),
            "a word in an eighth of all": SoundSearch(words="rain"),
            "three words": SoundSearch(words="rain thunder forest"),
            "the beginning of a word": SoundSearch(words="th*"),
            "a tag": SoundSearch(tags=["tag7"]),
            "four stars or more": SoundSearch(min_rating=4),
            "by rating": SoundSearch(sort="rating"),
            "the longest": SoundSearch(sort="longest"),
            "latest used": SoundSearch(sort="last_used"),
            "an engine that made none": SoundSearch(engine="nobody"),
            "by meaning": SoundSearch(meaning="a storm"),
            "by meaning, with a word": SoundSearch(meaning="a storm", words="rain thunder"),
            "as one types, a word in an eighth": SoundSearch(text="rain"),
            "as one types, the beginning of two": SoundSearch(text="th"),
        }.items():
            print(f"  {name:<36}{cost_ms(cache, asked):8.1f}")
        cache.close()


if __name__ == "__main__":
    main()
