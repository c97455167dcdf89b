"""Which sounds were made here: known while they are kept, after they were evicted, and not once they are removed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from tests.support.cache_sounds import harm, recipe, sound, write_flac

from audio_pool.audio.fingerprint import fingerprint
from audio_pool.cache.noted import noted_of, samples_of
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.backup import backup, restore
from audio_pool.cli.cache import group as commands
from audio_pool.results import FinishedSound
from audio_pool.types import Rendition


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SoundCache]:
    opened = SoundCache(tmp_path / "cache", now=lambda: 1_000_000.0)
    yield opened
    opened.close()


def finished(cache: SoundCache, prompt: str, seed: int, *, known: bool = True) -> FinishedSound:
    made = sound(cache.incoming, prompt, seed=seed)
    audio, rate = soundfile.read(made.path, dtype="float32", always_2d=True)
    marks = fingerprint(np.ascontiguousarray(audio.T), rate).to_bytes() if known else b""
    return msgspec.structs.replace(made, fingerprint=marks)


def digest(path: str) -> bytes:
    return hashlib.sha256(Path(path).read_bytes()).digest()


def test_a_kept_sound_is_known_by_its_file_its_samples_its_recipe_and_its_fingerprint(cache: SoundCache) -> None:
    one = finished(cache, "rain", 1)
    entry = cache.put(one, {})
    registry = cache.store.registry
    samples, _ = soundfile.read(entry.path, dtype="int32", always_2d=True)
    packed = (samples >> 8).astype("<i4").tobytes()
    plain = b"".join(packed[at : at + 3] for at in range(0, len(packed), 4))
    md5 = hashlib.md5(plain, usedforsecurity=False).digest()
    assert samples_of(Path(entry.path)) == md5
    for found in (
        registry.with_file(digest(entry.path)),
        registry.with_samples(md5),
        registry.with_recipe(entry.recipe.identity()),
    ):
        assert [(known.entry_id, known.made.seed) for known in found] == [(entry.id, 1)]
    number, data = registry.fingerprints_after(0, 10)[0]
    assert data == one.fingerprint
    known, same = registry.with_fingerprint(number) or pytest.fail("it is there")
    assert (known.entry_id, same) == (entry.id, data)
    assert registry.with_file(b"0" * 32) == registry.with_samples(b"") == registry.with_samples(b"0" * 16) == []


def test_a_renditions_file_is_known_too(cache: SoundCache) -> None:
    entry = cache.put(finished(cache, "rain", 1), {})
    assert entry.id is not None
    rendition = Rendition(format="wav", sample_rate=44_100, bit_depth=16, target_lufs=-23.0, true_peak_dbfs=-2.0)
    source = cache.incoming / "other.wav"
    soundfile.write(source, np.zeros((100, 1)), 44_100)
    path = cache.put_rendition(entry.id, rendition, source)
    assert cache.store.registry.with_file(digest(path))[0].entry_id == entry.id


def test_what_is_evicted_is_remembered_and_what_is_removed_is_forgotten(cache: SoundCache) -> None:
    registry = cache.store.registry
    kept = [cache.put(finished(cache, f"rain {seed}", seed), {}) for seed in range(4)]
    hashes = [digest(entry.path) for entry in kept]
    cache.store.entries.remove([kept[0].id, kept[1].id], remembered=True)  # as eviction does
    assert [registry.with_file(one)[0].entry_id for one in hashes] == [None, None, kept[2].id, kept[3].id]
    assert len(registry.fingerprints_after(0, 10)) == 4
    assert registry.counts() == (4, 2, 0)
    cache.remove([kept[2].id])  # as somebody does
    assert registry.with_file(hashes[2]) == []
    assert registry.with_recipe(kept[2].recipe.identity()) == []
    assert len(registry.fingerprints_after(0, 10)) == 3
    registry.settle(1)
    assert (registry.with_file(hashes[0]), registry.with_file(hashes[1])[0].entry_id) == ([], None)
    cache.store.entries.remove([kept[3].id], remembered=True)
    assert registry.with_file(hashes[1]) == []
    assert registry.forget_gone() == 1
    assert registry.counts() == (0, 0, 0)


def test_what_was_made_and_not_kept_is_known_as_well(cache: SoundCache) -> None:
    one = msgspec.structs.replace(finished(cache, "rain", 1), accepted=False)
    entry = cache.put(one, {})
    assert entry.id is None
    found = cache.store.registry.with_file(digest(entry.path))
    assert [(known.entry_id, known.made.recipe_id) for known in found] == [(None, entry.recipe.identity())]


@pytest.mark.sqlite
def test_what_cannot_be_noted_is_delivered_all_the_same(cache: SoundCache) -> None:
    one = msgspec.structs.replace(finished(cache, "rain", 1), accepted=False)
    harm(Path(cache.store.location), "DROP TABLE registry_files")
    entry = cache.put(one, {})
    assert (entry.id, Path(entry.path).is_file(), Path(one.path).exists()) == (None, True, False)


def test_a_sound_made_anew_is_known_by_both_of_its_files(cache: SoundCache) -> None:
    first = cache.put(finished(cache, "rain", 1), {})
    before = digest(first.path)
    again = sound(cache.incoming, "rain", seed=1)
    write_flac(Path(again.path), 7)
    second = cache.put(again, {}, replace=True)
    registry = cache.store.registry
    assert registry.with_file(before)[0].entry_id is None
    assert registry.with_file(digest(second.path))[0].entry_id == second.id


@pytest.mark.sqlite
def test_a_backup_carries_fingerprints_and_what_is_remembered(cache: SoundCache, tmp_path: Path) -> None:
    entry = cache.put(finished(cache, "rain", 1), {})
    gone = cache.put(finished(cache, "wind", 2), {})
    hashes = digest(entry.path), digest(gone.path)
    cache.store.entries.remove([gone.id], remembered=True)
    backup(Path(cache.store.location), tmp_path / "copy.tar")
    for _ in range(2):  # the second time nothing is remembered twice
        restore(tmp_path / "copy.tar", tmp_path / "other")
    other = SoundCache(tmp_path / "other")
    registry = other.store.registry
    assert registry.with_file(hashes[0])[0].entry_id is not None
    assert [known.entry_id for known in registry.with_file(hashes[1])] == [None]
    assert sorted(one.data for one in registry.fingerprints_after(0, 9)) == sorted(
        one.data for one in cache.store.registry.fingerprints_after(0, 9)
    )
    other.close()


@pytest.mark.sqlite
def test_a_command_makes_the_fingerprints_that_are_lacking(cache: SoundCache) -> None:
    entry = cache.put(finished(cache, "rain", 1, known=False), {})
    wanted = finished(cache, "rain", 1).fingerprint
    with cache.store.database.writing("a cache of before") as db:  # type: ignore[attr-defined]
        db.execute("DELETE FROM registry")
    directory = ["--cache-dir", cache.store.location, "--json"]
    told = CliRunner().invoke(commands, ["fingerprint", *directory])
    assert msgspec.json.decode(told.stdout) == {
        "made": 1, "unreadable": 0, "forgotten": 0, "registered": 1, "not_kept_any_more": 0,
    }  # fmt: skip
    registry = cache.store.registry
    assert registry.with_file(digest(entry.path))[0].entry_id == entry.id
    assert registry.fingerprints_after(0, 9)[0].data == wanted
    assert msgspec.json.decode(CliRunner().invoke(commands, ["fingerprint", *directory]).stdout)["made"] == 0


def test_a_noted_sound_has_no_words(cache: SoundCache) -> None:
    one = finished(cache, "a secret", 1)
    noted = noted_of(one, Path(one.path), 5.0)
    assert noted.made.recipe_id == recipe("a secret", seed=1).identity()
    assert b"secret" not in msgspec.json.encode(noted.made)
