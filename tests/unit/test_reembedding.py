"""Kept sounds that lack a vector get one in the background, in batches, and whoever starts next goes on."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.cache_sounds import recipe, sound
from tests.support.hand_writer import HandWriter

from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import EngineUnavailable, InvalidAudio
from audio_pool.pool.reembedding import Reembedding
from audio_pool.pool.replies import LocalSink, Reply
from audio_pool.results import Failure
from audio_pool.tasks import Called, ClapTask, Embedded, EmbedTask
from audio_pool.types import Query

PROMPTS = [f"sound {n}" for n in range(20)]
OLD, NEW = "minilm", "bge"


def vector(text: str, dimensions: int = 6) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(text.encode())).standard_normal(dimensions).astype(np.float32)


class Pool:
    """A router's and a worker's part, by hand."""

    def __init__(self, keeper: CacheKeeper, engine: str = NEW, space: str = NEW) -> None:
        self.now, self.is_busy, self.is_ready, self.asked = 0.0, False, True, list[str]()
        self.failure: Failure | None = None
        self.damaged = ""
        self.posted, self.upkeep = HandWriter(), HandWriter()
        self.part = Reembedding(
            keeper, {engine: space}, ask=self.ask, ready=lambda _: self.is_ready, busy=lambda: self.is_busy,
            post=self.posted.submit, upkeep=self.upkeep, clock=lambda: self.now,
        )  # fmt: skip

    def ask(self, task: EmbedTask | ClapTask, sink: LocalSink) -> int:
        if isinstance(task, ClapTask):
            (path,) = task.paths
            self.asked.append(path)
            if path == self.damaged:
                sink.finish(Reply(kind="error", failure=Failure.of(InvalidAudio("cut short"))))
            else:
                heard = Called(body={"texts": [], "paths": [vector(path).tolist()]})
                sink.finish(Reply(kind="result", body=heard))
            return len(self.asked)
        self.asked.append(task.text)
        if self.failure is not None:
            sink.finish(Reply(kind="error", failure=self.failure))
        else:
            body = Embedded(vectors={task.engine: vector(task.text).tobytes()})
            sink.finish(Reply(kind="result", body=body))
        return len(self.asked)

    def look(self, steps: int = 100) -> None:
        """What a second brings: the chore, and up to so many steps of either thread."""
        self.part.look()
        for _ in range(steps):
            if self.posted.waiting:
                self.posted.waiting.popleft()()
            elif self.upkeep.waiting:
                self.upkeep.waiting.popleft()()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SoundCache]:
    """Sounds with vectors of a former encoder; one speaks and is never found by meaning."""
    opened = SoundCache(tmp_path / "cache")
    for seed, prompt in enumerate(PROMPTS):
        opened.put(sound(opened.incoming, prompt, seed=seed), {OLD: vector(prompt, 4)})
    opened.put(sound(opened.incoming, "hello", seed=99, voice="amy"), {})
    yield opened
    opened.close()


@pytest.fixture
def pool(cache: SoundCache) -> Pool:
    return Pool(CacheKeeper(lambda _: cache))


def test_what_lacks_a_vector_gets_one_and_is_found_by_it_beside_the_former(cache: SoundCache, pool: Pool) -> None:
    pool.look()
    assert pool.asked == [], "a start has other things to do"
    pool.now = 11.0
    pool.look(steps=3)
    assert pool.part.progress == "8 of 20 kept sounds embedded"
    pool.look()
    assert sorted(pool.asked) == sorted(PROMPTS) and pool.part.progress == ""
    assert cache.store.vectors.counts() == {OLD: 20, NEW: 20}
    asked, query = recipe("something else"), Query(match="threshold", tau_prompt_sem=0.99)
    for space, dimensions in ((NEW, 6), (OLD, 4)):
        hit = cache.find_near(asked, query, {space: vector(PROMPTS[7], dimensions)}).hit
        assert hit is not None and hit.entry.recipe.prompt == PROMPTS[7], space
    pool.asked.clear()
    pool.now = 2000.0
    pool.look()
    assert pool.asked == [], "nothing is lacking any more"


def test_a_scorer_listens_to_the_masters_one_at_a_time_and_a_damaged_one_costs_no_other(cache: SoundCache) -> None:
    space = "sound:clap@other"
    pool = Pool(CacheKeeper(lambda _: cache), "clap", space)
    masters = [cache.store.blobs.path_of(one.file) for one in cache.store.checks.masters()][:-1]
    pool.now, pool.is_busy, pool.damaged = 11.0, True, masters[3]
    pool.look()
    pool.look()
    assert pool.asked == masters[:1], "while somebody waits it rests between two"
    pool.now, pool.is_busy = 22.0, False
    pool.look()
    assert pool.asked == masters
    found = cache.store.vectors.of(space, range(1, 30))
    assert len(found) == 19 and 4 not in found
    assert found[6] == pytest.approx(vector(masters[5]))
    assert pool.part.progress == ""
    pool.now = 2000.0
    pool.look()
    assert pool.asked[20:] == [masters[3]], "it may be whole again"


def test_while_the_encoder_is_being_loaded_it_is_waited_for(cache: SoundCache, pool: Pool) -> None:
    pool.now, pool.is_ready = 11.0, False
    for _ in range(3):
        pool.look()
    assert pool.asked == []
    pool.is_ready = True
    pool.look()
    assert pool.asked == PROMPTS and cache.store.vectors.counts()[NEW] == 20


def test_while_somebody_waits_it_is_one_batch_a_second(pool: Pool) -> None:
    pool.now, pool.is_busy = 11.0, True
    pool.look()
    assert len(pool.asked) == 8
    pool.look()
    assert len(pool.asked) == 16


def test_who_starts_next_goes_on_and_an_encoder_that_fails_is_asked_again_later(
    cache: SoundCache, pool: Pool
) -> None:
    pool.now, pool.is_busy = 11.0, True
    pool.look()
    pool.failure = Failure.of(EngineUnavailable("it is gone"))
    pool.look()
    assert cache.store.vectors.counts()[NEW] == 8 and pool.part.progress == ""
    pool.look()
    assert len(pool.asked) == 16, "not again at once"
    other = Pool(CacheKeeper(lambda _: cache))
    other.now = 11.0
    other.look()
    assert len(other.asked) == 12 and cache.store.vectors.counts()[NEW] == 20


def test_an_entry_removed_meanwhile_and_a_vector_that_says_nothing_are_left_out(cache: SoundCache) -> None:
    kept = cache.store.vectors.keep(NEW, {1: np.zeros(6, np.float32), 2: vector("x"), 999: vector("y")})
    assert kept == 1 and cache.store.vectors.counts()[NEW] == 1
    assert cache.store.vectors.keep(NEW, {2: vector("z")}) == 0, "what is there stays"


@pytest.mark.parametrize(
    ("kept", "asked"),
    [
        ("ДОЖДЬ стучит по крыше", "дождь  стучит по крыше."),
        ("ｶﾞﾗｽが割れる", "ガラスが割れる"),
        ("Ｋａｔｚｅ faucht", "katze FAUCHT"),
        ("die straße im regen", "DIE STRASSE IM REGEN"),
        ("الرياح في الصحراء", " الرياح في الصحراء!"),
        ("\u1109\u1161\u110c\u1161", "사자"),
        ("🌧\ufe0f 窓に", "🌧 窓に"),
        ("مـــطر على السطح", "\u200fمطر على السطح\u200e"),
        ("rain on a tin roof", "\ufeffrain on a tin\u200b roof"),
    ],
)
def test_the_same_words_of_any_script_are_the_same(tmp_path: Path, kept: str, asked: str) -> None:
    opened = SoundCache(tmp_path / "any")
    entry = opened.put(sound(opened.incoming, kept), {})
    hit = opened.find_exact(recipe(asked), Query(temperature=0.0)).hit
    assert hit is not None and hit.entry.id == entry.id
    assert opened.find_exact(recipe(asked + " ねこ"), Query(temperature=0.0)).hit is None
    opened.close()
