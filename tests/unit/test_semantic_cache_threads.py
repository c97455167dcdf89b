"""One thread asks while another puts and removes, as the pool's router and writer thread do."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
from tests.support.cache_sounds import ids_in, recipe, sound

from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.verify import verify
from audio_pool.types import Query

NEAR = Query(match="threshold", temperature=0.0)


def test_a_reader_meets_whole_entries_only_while_a_writer_works(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path / "cache", max_per_prompt=1000)
    cache.prepare(["minilm"])
    axis = np.eye(4, dtype=np.float32)[0]
    done, failures = threading.Event(), []

    def write() -> None:
        try:
            for seed in range(60):
                entry = cache.put(sound(cache.incoming, f"rain {seed % 5}", seed=seed), {"minilm": axis})
                if seed % 3:
                    cache.remove([entry.id])
                if seed % 20 == 0:
                    cache.tidy()
        except Exception as exc:
            failures.append(exc)
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    asked = hits = 0
    while not done.is_set() or asked < 50:
        prompt = f"rain {asked % 5}"
        by_meaning = cache.find_near(recipe("drizzle"), NEAR, {"minilm": axis})
        for hit in (cache.find_exact(recipe(prompt), NEAR).hit, by_meaning.hit):
            if hit is not None:
                hits += 1
                assert hit.entry.recipe.seed == hit.metadata["seed"]
                assert hit.entry.recipe.prompt == hit.metadata["matched_prompt"]
        asked += 1
    writer.join(timeout=60)
    assert failures == []
    assert hits > 0
    assert verify(cache.store).problems == []
    assert set(cache.nearest_of_any_settings("minilm", axis, 1000)) == ids_in(cache.store)
    kept = [item.file for item in cache.store.inventory.items()]
    assert len(kept) == 20 and all(os.path.exists(tmp_path / "cache" / file) for file in kept)
    cache.close()
