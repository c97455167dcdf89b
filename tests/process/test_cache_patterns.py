"""Removal by a regular expression, which is searched for in a process of its own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.support.cache_sounds import sound

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.regex_search import matching
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import InvalidRequest


@pytest.fixture
def cache(tmp_path: Path):
    opened = SoundCache(tmp_path / "cache")
    yield opened
    opened.close()


@pytest.fixture
def manager(cache: SoundCache, tmp_path: Path):
    opened = AudioSemanticCache(tmp_path / "cache")
    yield opened
    assert opened.verify()["problems"] == []
    opened.close()


def keep(cache: SoundCache, prompt: str, seed: int = 1) -> int:
    return cache.put(sound(cache.incoming, prompt, seed=seed), {}).id


def test_removal_by_pattern_wants_confirmation_and_takes_what_matches(
    cache: SoundCache, manager: AudioSemanticCache
) -> None:
    rain, wind = keep(cache, "Rain on tin", 1), keep(cache, "wind", 2)
    asked = manager.remove_by_prompt_pattern("^rain")
    assert asked["pattern"] == "^rain"
    assert "would remove 1 items" in asked["error"]
    assert manager.get_cache_stats()["total_items"] == 2
    done = manager.remove_by_prompt_pattern("^rain", confirm=True)
    assert (done["removed_items"], done["removed_files"], done["pattern"]) == (1, 1, "^rain")
    assert cache.store.entries.entry(rain) is None
    assert cache.store.entries.entry(wind) is not None


def test_a_bad_expression_shows_where_and_removes_nothing(cache: SoundCache, manager: AudioSemanticCache) -> None:
    keep(cache, "rain", 1)
    told = manager.remove_by_prompt_pattern("ra(in", confirm=True)
    assert "at character 3: ra >>>here>>> (in" in told["error"]
    assert manager.get_cache_stats()["total_items"] == 1


def test_matching_finds_anywhere_whatever_the_case() -> None:
    assert matching("TIN", ["rain on tin", "wind", "Tin"]) == [0, 2]
    assert matching("^$", ["x", "ünï\n\0"]) == []
    with pytest.raises(InvalidRequest, match="1 to 1,000"):
        matching("a" * 1001, ["a"])


def test_an_expression_that_runs_away_is_stopped() -> None:
    with pytest.raises(InvalidRequest, match=r"took longer than 0\.5 s"):
        matching("(a+)+$", ["a" * 60 + "b"], deadline_s=0.5)


def test_an_expression_that_runs_away_is_stopped_from_the_api_too(
    cache: SoundCache, manager: AudioSemanticCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio_pool.cache.regex_search.DEADLINE_S", 0.5)
    keep(cache, "a" * 60 + "b", 1)
    start = time.monotonic()
    assert "took longer than 0.5 s" in manager.remove_by_prompt_pattern("(a+)+$", confirm=True)["error"]
    assert time.monotonic() - start < 30
    assert manager.get_cache_stats()["total_items"] == 1
