"""Whatever is put, removed and asked in whatever order, two openings of a cache agree with a plain model."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.cache_sounds import ids_in, recipe, sound

from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.verify import verify
from audio_pool.types import Query

PROMPTS = ("rain", "Rain ", "wind", "a dog barks")
FOLDED = {"Rain ": "rain"}
prompts, seeds, sides = st.sampled_from(PROMPTS), st.integers(0, 3), st.sampled_from((0, 1))
QUERY = Query(match="strict", temperature=0.0)


class CacheMachine(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="audio-pool-test-"))
        self.caches = [SoundCache(self.place / "cache", max_per_prompt=1000) for _ in range(2)]
        for cache in self.caches:
            cache.prepare(["text:a"])
        self.kept: dict[tuple[str, int, bool], int] = {}
        self.removed: set[int] = set()

    @rule(prompt=prompts, seed=seeds, loop=st.booleans(), side=sides)
    def put(self, prompt: str, seed: int, loop: bool, side: int) -> None:
        cache, key = self.caches[side], (prompt, seed, loop)
        made = sound(cache.incoming, prompt, seed=seed, loop=loop)
        entry = cache.put(made, {"text:a": np.eye(8, dtype=np.float32)[seed]})
        assert entry.id == self.kept.get(key, entry.id)
        assert entry.id not in self.removed
        assert not os.path.exists(made.path)
        self.kept[key] = entry.id

    @rule(data=st.data(), side=sides)
    def remove(self, data: st.DataObject, side: int) -> None:
        gone = data.draw(st.sets(st.sampled_from(sorted(self.kept.values())))) if self.kept else set()
        assert self.caches[side].remove(gone).items == len(gone)
        self.removed |= gone
        self.kept = {key: entry_id for key, entry_id in self.kept.items() if entry_id not in gone}

    @rule(prompt=prompts, loop=st.booleans(), side=sides)
    def ask(self, prompt: str, loop: bool, side: int) -> None:
        words = FOLDED.get(prompt, prompt)
        wanted = {
            entry_id for (kept, _, looped), entry_id in self.kept.items()
            if FOLDED.get(kept, kept) == words and looped == loop
        }  # fmt: skip
        hit = self.caches[side].find_exact(recipe(prompt, loop=loop), QUERY).hit
        assert (hit is not None) == bool(wanted)
        assert hit is None or hit.entry.id in wanted

    @rule(prompt=prompts, seed=seeds, loop=st.booleans(), side=sides)
    def ask_for_a_seed(self, prompt: str, seed: int, loop: bool, side: int) -> None:
        hit = self.caches[side].find_exact(recipe(prompt, seed=seed, loop=loop), QUERY).hit
        assert (hit.entry.id if hit else None) == self.kept.get((prompt, seed, loop))

    @rule(side=sides)
    def reopen(self, side: int) -> None:
        self.caches[side].close()
        self.caches[side] = SoundCache(self.place / "cache", max_per_prompt=1000)
        self.caches[side].prepare(["text:a"])

    @rule(side=sides)
    def neighbours_are_those_kept(self, side: int) -> None:
        found = self.caches[side].nearest_of_any_settings("text:a", np.ones(8, np.float32), 1000)
        assert set(found) == set(self.kept.values())

    @invariant()
    def as_many_rows_as_kept(self) -> None:
        for cache in getattr(self, "caches", ()):
            assert ids_in(cache.store) == set(self.kept.values())

    def teardown(self) -> None:
        if not hasattr(self, "caches"):
            return
        try:
            report = verify(self.caches[0].store)
            assert report.problems == []
            assert report.files == report.entries == len(self.kept)
        finally:
            for cache in self.caches:
                cache.close()
            shutil.rmtree(self.place)


TestCacheAgainstModel = CacheMachine.TestCase
TestCacheAgainstModel.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
