"""Rows made anew from masters that a real pool has written: after a lost database, a lost log, and damage."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from tests.support.cache_sounds import harm, sound

from audio_pool import AudioPool
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.rebuild import rebuild, restore
from audio_pool.config import load_config
from audio_pool.errors import NotFound, StorageError

PROMPTS = ("a bell rings", "rain on a tin roof", "wind", "footsteps on gravel", "a dog barks")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with sounds of a pool, with all that a request can say."""
    place = tmp_path_factory.mktemp("made") / "cache"
    config = load_config(None, overrides={"cache": {"dir": str(place), "encoder": "off"}})
    with AudioPool(config) as pool:
        for number, prompt in enumerate(PROMPTS):
            asked = {"prompt": prompt, "duration_s": 0.5 + number / 10, "tags": ["weather"], "namespace": "harbour"}
            asked |= {"metadata": {"level": number}, "loop": number == 2, "candidates": 1 + number % 2}
            asked |= {"force": number == 3}
            pool.generate(**asked)
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "cache")
    return tmp_path / "cache"


def rows(place: Path) -> list[dict]:  # type: ignore[type-arg]
    with AudioSemanticCache(place) as manager:
        found = manager.verify(fix=True)
        assert found["ok"], found
        assert {problem["kind"] for problem in found["problems"]} <= {"orphan_rendition"}
        items = manager.list_cache_items(limit=None)
    return sorted(items, key=lambda item: item["prompt"])


def entries(place: Path) -> dict[str, tuple]:  # type: ignore[type-arg]
    """Recipe and settings by prompt: what decides of hits."""
    with contextlib.closing(sqlite3.connect(place / "cache.sqlite3")) as db:
        columns = (
            "prompt, identity, family, text_key, canonical_key, namespace, engine, implementation, model,"
            " model_revision, dtype, quantization, seed, steps, guidance_scale, extras, loop, voice, negative,"
            " duration_s, sample_rate, commercial, spoken, inexact, quality, clap_similarity, preferred,"
            " file, size_bytes, sha256"
        )
        return {row[0]: row for row in db.execute(f"SELECT {columns} FROM entries")}


def test_a_lost_database_is_made_anew_and_nothing_is_missing(place: Path) -> None:
    before = entries(place)
    assert len(before) == len(PROMPTS)
    for path in place.glob("cache.sqlite3*"):
        path.unlink()
    report = rebuild(place)
    assert (report.way, report.made, report.skipped) == ("from_masters", len(PROMPTS), [])
    assert entries(place) == before
    items = rows(place)
    assert all(item["tags"] == ["weather"] for item in items)
    assert sorted(item["labels"]["level"] for item in items) == list(range(len(PROMPTS)))
    again = rebuild(place)
    assert (again.way, again.made, again.known) == ("in_place", 0, len(PROMPTS))


def test_rows_that_a_lost_log_held_are_made_while_the_cache_is_open(place: Path) -> None:
    before = entries(place)
    harm(place, "PRAGMA foreign_keys = ON", f"DELETE FROM entries WHERE prompt <> {PROMPTS[0]!r}")
    served = SoundCache(place)
    assert served.incoming
    report = rebuild(place)
    assert (report.way, report.made, report.known) == ("in_place", len(PROMPTS) - 1, 1)
    assert entries(place) == before
    told = before[PROMPTS[1]]
    with AudioSemanticCache(place) as manager:
        assert manager.get_cache_stats().total_items == len(PROMPTS)
    assert len(served.store.inventory.items()) == len(PROMPTS), told
    served.close()


def test_a_removed_sound_does_not_come_back(place: Path) -> None:
    with AudioSemanticCache(place) as manager:
        manager.remove_by_prompt_pattern(PROMPTS[0], confirm=True)
    assert rebuild(place).made == 0


def test_a_new_empty_database_is_filled(place: Path) -> None:
    before = entries(place)
    for path in place.glob("cache.sqlite3*"):
        path.unlink()
    SoundCache(place).close()  # a server that was started makes an empty one
    assert rebuild(place).made == len(PROMPTS)
    assert entries(place) == before


@pytest.mark.parametrize("seed", range(6))
def test_of_a_damaged_database_all_is_there_again(tmp_path: Path, made: Path, seed: int) -> None:
    place = tmp_path / "cache"
    shutil.copytree(made, place)
    cache = SoundCache(place, max_per_prompt=1000)
    for number in range(60):  # these masters say nothing of themselves: only the rows know them
        cache.put(sound(cache.incoming, f"plain {number}", seed=number), {})
    cache.close()
    before = entries(place)
    database = place / "cache.sqlite3"
    content = bytearray(database.read_bytes())
    draw, pages = random.Random(seed), len(content) // 4096
    for page in draw.sample(range(1, pages), 3):
        content[page * 4096 : (page + 1) * 4096] = draw.randbytes(4096)
    database.write_bytes(content)
    report = rebuild(place)
    after = entries(place)
    kept = Path(report.put_away)
    if report.way == "from_damaged":  # three pages out of many may all have been free ones
        assert kept.read_bytes() == content
    assert all(after[prompt] == before[prompt] for prompt in PROMPTS)
    assert all(after[prompt][-3:] == before[prompt][-3:] for prompt in after)
    assert report.made + report.salvaged + report.known >= len(PROMPTS)
    assert rebuild(place).made == 0


def test_a_database_that_is_none_is_put_away_and_made_from_masters(place: Path) -> None:
    before = entries(place)
    (place / "cache.sqlite3").write_bytes(b"this is no database, sorry " * 1000)
    report = rebuild(place)
    assert (report.way, report.made) == ("from_damaged", len(PROMPTS))
    assert Path(report.put_away).read_bytes().startswith(b"this is no database")
    assert entries(place) == before
    assert [path.name for path in place.glob(".rebuild-*")] == []


def test_masters_that_are_damaged_or_say_nothing_are_named_and_left(place: Path) -> None:
    for path in place.glob("cache.sqlite3*"):
        path.unlink()
    masters = sorted((place / "audio").glob("*/*.flac"))
    os.chmod(masters[0], 0o600)
    masters[0].write_bytes(masters[0].read_bytes()[:-2000])
    masters[1].unlink()
    masters[1].symlink_to(masters[2])
    plain = Path(sound(place / "audio" / masters[3].parent.name).path)
    report = rebuild(place)
    assert report.made == len(PROMPTS) - 2
    assert {found.file: found.why.partition(":")[0] for found in report.skipped} == {
        str(masters[0].relative_to(place)): "cannot be read",
        str(masters[1].relative_to(place)): "is not a regular file",
        str(plain.relative_to(place)): "no recipe is written in it",
    }
    assert masters[0].exists() and plain.exists()


def test_a_database_is_not_replaced_under_a_server(place: Path) -> None:
    served = SoundCache(place)
    assert served.incoming
    content = bytearray((place / "cache.sqlite3").read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    (place / "cache.sqlite3").write_bytes(content)
    with pytest.raises(StorageError, match="a server has the cache"):
        rebuild(place)
    assert (place / "cache.sqlite3").read_bytes() == content
    served.close()


def test_rows_whose_masters_are_not_mounted_are_kept(place: Path) -> None:
    database = place / "cache.sqlite3"
    count = len(entries(place))
    content = bytearray(database.read_bytes())
    page = next(n for n in range(1, len(content) // 4096) if b"provenance" not in content[n * 4096 : n * 4096 + 4096])
    content[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    database.write_bytes(content)
    (place / "audio").rename(place / "away")
    report = rebuild(place)
    assert report.made == 0
    (place / "away").rename(place / "audio")
    assert rebuild(place).made + report.salvaged >= count or report.way == "in_place"
    assert len(entries(place)) == count


def test_vectors_are_made_where_there_is_an_encoder(place: Path) -> None:
    import numpy as np

    for path in place.glob("cache.sqlite3*"):
        path.unlink()
    report = rebuild(place, embed=lambda prompts: [{"minilm": np.ones(4, np.float32)} for _ in prompts])
    assert report.without_vectors == 0
    with AudioSemanticCache(place) as manager:
        assert manager.get_cache_stats().encoders == {"minilm": len(PROMPTS)}


def test_a_directory_without_a_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        rebuild(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_set_apart_comes_back_as_it_was(place: Path) -> None:
    before = entries(place)
    harm(place, "PRAGMA foreign_keys = ON", f"DELETE FROM entries WHERE prompt = {PROMPTS[0]!r}")
    with AudioSemanticCache(place) as manager:
        (place / "audio" / "zz").mkdir()
        (place / "audio" / "zz" / "stranger.flac").write_bytes(b"fLaC but no sound")
        assert manager.verify(fix=True)["ok"]
        assert manager.get_cache_stats().quarantined == 2 + len(apart_renditions(manager))
        masters = [item["name"] for item in manager.quarantined() if item["name"].endswith(".flac")]
        done, left = restore(place, masters)
        assert len(done) == 1
        assert [found.why.partition(":")[0] for found in left] == ["cannot be read"]
        assert "would remove" in manager.purge_quarantine()["error"]
        assert manager.quarantined() != []
        manager.purge_quarantine(confirm=True)
        assert manager.quarantined() == []
        with pytest.raises(NotFound, match="nothing in quarantine is called"):
            restore(place, ["../cache.sqlite3"])
    after = entries(place)
    assert {prompt: row[:-3] for prompt, row in after.items()} == {prompt: row[:-3] for prompt, row in before.items()}
    assert after[PROMPTS[0]][-2:] == before[PROMPTS[0]][-2:]


def apart_renditions(manager: AudioSemanticCache) -> list[str]:
    return [item["name"] for item in manager.quarantined() if not item["name"].endswith(".flac")]
