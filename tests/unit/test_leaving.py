"""What was delivered stays for a grace, whoever removes it; what is not what was stored is never offered."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.cache_sounds import harm, ids_in, recipe, sound

from audio_pool.cache import uptime
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.verify import verify
from audio_pool.types import Query, Rendition

STRICT = Query(match="strict")
OGG = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=-23.0, true_peak_dbfs=-2.0)


class Clock:
    """The machine's uptime, and which start of it that is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.name = 1000.0, "first"
        for place in ("audio_pool.cache.sqlite.leaving",):
            monkeypatch.setattr(f"{place}.uptime_s", lambda: self.now)
            monkeypatch.setattr(f"{place}.clock_name", lambda: self.name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SoundCache]:
    cache = SoundCache(tmp_path / "cache", max_per_prompt=2)
    yield cache
    assert verify(cache.store).problems == []
    cache.close()


def keep(cache: SoundCache, prompt: str = "rain", seed: int = 1, score: float = 0.5) -> str:
    return cache.put(sound(cache.incoming, prompt, seed=seed, metadata={"clap_similarity": score}), {}).path


def another_process(cache: SoundCache) -> AudioSemanticCache:
    return AudioSemanticCache(cache.store.location)


def damage(path: str, how: str, elsewhere: Path) -> None:
    if how == "shorter":
        os.truncate(path, os.path.getsize(path) - 1)
    elif how == "longer":
        with open(path, "ab") as file:
            file.write(b"x")
    elif how == "a link":
        os.rename(path, elsewhere)
        os.symlink(elsewhere, path)
    else:
        os.unlink(path)
        os.mkdir(path)


# -- the grace -------------------------------------------------------------------------------------


def by_cap(cache: SoundCache) -> None:
    keep(cache, seed=2, score=0.8)
    keep(cache, seed=3, score=0.9)


def by_replacing(cache: SoundCache) -> None:
    cache.put(sound(cache.incoming, "rain"), {}, replace=True)


def by_pattern(cache: SoundCache) -> None:
    with another_process(cache) as manager:
        manager.remove_by_prompt_pattern("rain", confirm=True)


def by_clearing(cache: SoundCache) -> None:
    with another_process(cache) as manager:
        manager.clear_cache(confirm=True)


def by_removing(cache: SoundCache) -> None:
    cache.remove(ids_in(cache.store))


def by_mending(cache: SoundCache) -> None:
    keep(cache, "what stays", 8)  # a cache without any row is not mended unasked
    harm(Path(cache.store.location), "DELETE FROM provenance WHERE entry_id = 1", "DELETE FROM entries WHERE id = 1")
    with another_process(cache) as manager:
        assert [problem["kind"] for problem in manager.verify(fix=True)["problems"]] == ["orphan_file"]


WAYS = [by_cap, by_replacing, by_pattern, by_clearing, by_removing, by_mending]


@pytest.mark.parametrize("remove", WAYS, ids=lambda way: way.__name__)
def test_what_was_delivered_stays_for_the_grace_whoever_removes_it(cache: SoundCache, clock: Clock, remove) -> None:  # type: ignore[no-untyped-def]
    path = keep(cache)
    remove(cache)
    hit = cache.find_exact(recipe("rain", seed=1), STRICT).hit
    assert hit is None or hit.entry.path != path, "it is not offered any more"
    clock.now += 599
    cache.tend()
    keep(cache, "something else", 9)
    SoundCache(cache.store.location).close()  # every opening unlinks what is due
    assert os.path.exists(path)
    clock.now += 2
    cache.tend()
    assert not os.path.exists(path)


def test_a_render_stays_for_the_grace_as_well(cache: SoundCache, clock: Clock) -> None:
    render = cache.put(sound(cache.incoming, "no", accepted=False), {}).path
    with another_process(cache) as manager:
        assert manager.clear_cache(confirm=True)["removed_files"] == 1
        assert manager.get_cache_stats().renders == 0
        assert manager.select_all().renders == ()
    cache.tend()
    assert os.path.exists(render)
    clock.now += 601
    cache.tend()
    assert not os.path.exists(render)


def test_an_operator_who_needs_the_space_gets_that_of_earlier_removals_too(cache: SoundCache, clock: Clock) -> None:
    paths = [keep(cache, f"sound {n}", n) for n in range(3)]
    render = cache.put(sound(cache.incoming, "no", accepted=False), {}).path
    cache.remove([1])
    with another_process(cache) as manager:
        assert manager.delete([2], now=True)["freed_after_s"] == 0.0
        assert [os.path.exists(path) for path in (*paths, render)] == [False, False, True, True]
        manager.clear_cache(confirm=True, now=True)
    assert not any(os.path.exists(path) for path in (*paths, render))


def test_the_grace_is_the_same_for_every_process(tmp_path: Path, clock: Clock) -> None:
    SoundCache(tmp_path, grace_s=50.0).close()
    cache = SoundCache(tmp_path)
    path = keep(cache)
    with another_process(cache) as manager:
        assert manager.delete([1])["freed_after_s"] == 50.0
    clock.now += 49
    cache.tend()
    assert os.path.exists(path)
    clock.now += 2
    cache.tend()
    assert not os.path.exists(path)
    cache.close()


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0, 10 * 365 * 86_400.0])
def test_no_jump_of_the_wall_clock_unlinks_early(
    cache: SoundCache, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    path = keep(cache)
    cache.remove([1])
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump_s)
    cache.tend()
    SoundCache(cache.store.location).close()
    assert os.path.exists(path)


def test_after_a_restart_of_the_machine_the_grace_begins_again(cache: SoundCache, clock: Clock) -> None:
    path = keep(cache)
    cache.remove([1])
    clock.name, clock.now = "second", 100_000.0  # of what another start counted nothing follows
    cache.tend()
    clock.now += 599
    cache.tend()
    assert os.path.exists(path)
    clock.now += 2
    cache.tend()
    assert not os.path.exists(path)


def test_uptime_is_the_machines_and_names_its_start() -> None:
    with open("/proc/uptime") as file:
        seconds = float(file.read().split()[0])
    assert abs(uptime.uptime_s() - seconds) < 60
    assert uptime.clock_name() == uptime.clock_name() != ""


# -- what cannot be unlinked -----------------------------------------------------------------------


def test_a_directory_in_a_files_place_goes_to_quarantine_once(
    cache: SoundCache, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path = keep(cache)
    cache.remove([1])
    damage(path, "a directory", Path())
    Path(path, "inside").write_text("x")
    clock.now += 601
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            cache.tend()
    assert not os.path.lexists(path) and not cache.store.leaving.files()
    (found,) = (Path(cache.store.location) / "quarantine").iterdir()
    assert (found / "inside").read_text() == "x"
    assert len(caplog.records) == 1 and str(found) in caplog.text


@pytest.mark.parametrize("name", ["../precious", "audio/../../precious", "/tmp/precious.of.nobody", "precious"])
def test_a_name_cannot_lead_out_of_the_cache_and_is_told_of_once(
    cache: SoundCache, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (tmp_path / "precious").write_text("x")
    (tmp_path / "cache" / "precious").write_text("x")
    harm(tmp_path / "cache", f"INSERT INTO leaving VALUES ('{name}', 'first', 0, 'unlink')")
    path = keep(cache)
    cache.remove([1])
    clock.now += 601
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            cache.tend()
    assert (tmp_path / "precious").exists() and (tmp_path / "cache" / "precious").exists()
    assert len(caplog.records) == 1 and not os.path.exists(path), "the others go"
    harm(tmp_path / "cache", f"DELETE FROM leaving WHERE file = '{name}'")


# -- what is not what was stored -------------------------------------------------------------------

HARMS = ["shorter", "longer", "a link", "a directory"]


@pytest.mark.parametrize("how", HARMS)
def test_a_damaged_master_is_a_miss_and_goes_to_quarantine(
    cache: SoundCache, clock: Clock, tmp_path: Path, how: str
) -> None:
    path = keep(cache)
    damage(path, how, tmp_path / "elsewhere")
    assert cache.find_exact(recipe("rain"), STRICT).hit is None
    cache.tend()
    assert ids_in(cache.store) == set()
    assert os.path.lexists(path), "it may have been delivered while it was whole"
    again = keep(cache)
    hit = cache.find_exact(recipe("rain"), STRICT).hit
    assert hit is not None and hit.entry.path == again
    clock.now += 601
    cache.tend()
    assert not os.path.lexists(path)
    assert len(list((tmp_path / "cache" / "quarantine").iterdir())) == 1


@pytest.mark.parametrize("how", HARMS)
def test_a_damaged_rendition_is_made_again(cache: SoundCache, clock: Clock, tmp_path: Path, how: str) -> None:
    keep(cache)

    def made() -> Path:
        path = cache.incoming / "x.ogg"
        path.write_bytes(b"OggS" * 9)
        return path

    path = cache.put_rendition(1, OGG, made())
    assert cache.find_rendition(1, OGG) == path
    damage(path, how, tmp_path / "elsewhere")
    assert cache.find_rendition(1, OGG) is None
    better = cache.put_rendition(1, OGG, made())
    assert better != path and cache.find_rendition(1, OGG) == better
    clock.now += 601
    cache.tend()
    assert not os.path.lexists(path)


def test_a_rendition_that_is_there_stays_for_it_may_be_on_its_way(cache: SoundCache) -> None:
    keep(cache)
    paths = []
    for _ in range(2):
        made = cache.incoming / "x.ogg"
        made.write_bytes(b"OggS")
        paths.append(cache.put_rendition(1, OGG, made))
    assert paths[0] == paths[1] and not cache.store.leaving.files()


def test_a_kept_recipe_whose_file_is_damaged_is_kept_anew(cache: SoundCache) -> None:
    path = keep(cache)
    damage(path, "shorter", Path())
    made = sound(cache.incoming, "rain")
    again = cache.put(msgspec.structs.replace(made), {})
    assert again.path != path and ids_in(cache.store) == {again.id}
