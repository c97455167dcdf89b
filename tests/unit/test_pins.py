"""Pinned entries stay whatever is removed around them; only who names them, or all, takes them away."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support.cache_sounds import harm, ids_in, sound

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.selection import Variant, surplus
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.backup import backup, restore
from audio_pool.cli.cache import group
from audio_pool.errors import NotFound


@pytest.fixture
def cache(tmp_path: Path):
    opened = SoundCache(tmp_path / "cache", max_per_prompt=2)
    yield opened
    opened.close()


@pytest.fixture
def manager(cache: SoundCache, tmp_path: Path):
    opened = AudioSemanticCache(tmp_path / "cache")
    yield opened
    assert opened.verify()["problems"] == []
    opened.close()


def keep(cache: SoundCache, prompt: str, seed: int, score: float = 0.9, **how) -> int | None:
    made = sound(cache.incoming, prompt, seed=seed, metadata={"quality": {"score": score, "issues": []}})
    return cache.put(made, {}, **how).id


def test_pins_are_seen_by_every_opening_and_go_with_their_entry(
    cache: SoundCache, manager: AudioSemanticCache
) -> None:
    rain, wind = keep(cache, "rain", 1), keep(cache, "wind", 2)
    assert manager.pin([rain, wind, rain]) == [rain, wind]
    assert manager.pin([rain]) == []
    assert cache.store.pins.pinned() == {rain, wind}
    assert {item["id"]: item["pinned"] for item in manager.list_cache_items()} == {rain: True, wind: True}
    assert manager.unpin([rain]) == [rain] and manager.unpin([rain]) == []
    manager.delete([wind])
    assert cache.store.pins.pinned() == set()


def test_an_unknown_id_pins_nothing(cache: SoundCache, manager: AudioSemanticCache) -> None:
    rain = keep(cache, "rain", 1)
    with pytest.raises(NotFound, match="99"):
        manager.pin([rain, 99])
    with pytest.raises(NotFound, match="99"):
        manager.unpin([99])
    assert cache.store.pins.pinned() == set()


def test_the_cap_takes_another_than_the_pinned_one(cache: SoundCache) -> None:
    worst, better = keep(cache, "rain", 1, 0.1), keep(cache, "rain", 2, 0.2)
    cache.store.pins.pin([worst])
    newcomer = keep(cache, "rain", 3, 0.8)
    assert ids_in(cache.store) == {worst, newcomer} and better is not None
    cache.store.pins.pin([newcomer])
    assert keep(cache, "rain", 4, 0.95) is None, "all places are taken by pinned ones"
    assert ids_in(cache.store) == {worst, newcomer}


@pytest.mark.parametrize("strategy", ["quality", "diversity"])
def test_of_pinned_ones_alone_none_goes(strategy) -> None:
    pinned = [Variant(number, number / 10, 0.0, None, True) for number in (1, 2, 3)]
    assert surplus(pinned, 1, strategy) == set()
    assert surplus([*pinned, Variant(4, 0.9, 0.0, None)], 1, strategy) == {4}


@pytest.mark.sqlite
def test_what_removes_by_rule_spares_them_unless_told(
    cache: SoundCache, manager: AudioSemanticCache, tmp_path: Path
) -> None:
    worse, best, wind = keep(cache, "rain", 1, 0.2), keep(cache, "rain", 2, 0.9), keep(cache, "wind", 3)
    then = time.time() - 9 * 86_400
    harm(tmp_path / "cache", f"UPDATE entries SET created_at = {then!r}")
    manager.pin([worse])
    assert [item["id"] for item in manager.select_older_than(5).items] == [best, wind]
    assert [item["id"] for item in manager.select_pattern("rain").items] == [best]
    assert manager.select_duplicates("prompt").items == []
    everything = manager.select_all()
    assert {item["id"] for item in everything.items} == {best, wind} and everything.spared == 1
    for selection in (
        manager.select_older_than(5, pinned_too=True),
        manager.select_pattern("rain", pinned_too=True),
        manager.select_duplicates("prompt", pinned_too=True),
        manager.select_all(pinned_too=True),
        manager.select_ids([worse]),
    ):
        assert worse in {item["id"] for item in selection.items} and selection.spared == 0
    assert manager.clear_cache(confirm=True)["removed_items"] == 2
    assert ids_in(cache.store) == {worse}
    assert manager.clear_cache(confirm=True, pinned_too=True)["removed_items"] == 1


def test_what_takes_the_place_of_a_pinned_one_is_pinned(cache: SoundCache) -> None:
    first = keep(cache, "rain", 1)
    cache.store.pins.pin([first])
    second = keep(cache, "rain", 1, replace=True)
    assert second != first and cache.store.pins.pinned() == {second}


@pytest.mark.sqlite
def test_a_backup_keeps_them(cache: SoundCache, tmp_path: Path) -> None:
    keep(cache, "wind", 1)
    cache.store.pins.pin([keep(cache, "rain", 2)])
    backup(tmp_path / "cache", tmp_path / "it.tar")
    assert restore(tmp_path / "it.tar", tmp_path / "other").entries == 2
    with AudioSemanticCache(tmp_path / "other") as other:
        assert {item["prompt"]: item["pinned"] for item in other.list_cache_items()} == {"wind": False, "rain": True}


def test_the_commands_pin_spare_and_say_so(cache: SoundCache, tmp_path: Path) -> None:
    rain, wind = keep(cache, "rain", 1), keep(cache, "wind", 2)

    def run(*arguments: str) -> dict[str, Any]:
        done = CliRunner().invoke(group, [*arguments, "--json", "--cache-dir", str(tmp_path / "cache")])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    assert run("pin", str(rain), str(wind)) == {"pinned": [rain, wind]}
    assert run("unpin", str(wind)) == {"unpinned": [wind]}
    for arguments in (["clear"], ["clean", "--days", "0"], ["remove-pattern", "."]):
        would = run(*arguments, "--dry-run")
        assert (would["would_remove_items"], would["spared"]) == (1, 1), arguments
        assert run(*arguments, "--dry-run", "--pinned-too")["would_remove_items"] == 2, arguments
    done = run("clear", "--confirm")
    assert (done["removed_items"], done["spared"]) == (1, 1)
    shown = CliRunner().invoke(group, ["list", "--cache-dir", str(tmp_path / "cache")])
    assert "rain  [pinned]" in shown.output
