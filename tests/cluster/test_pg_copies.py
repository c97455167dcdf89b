"""Rows in PostgreSQL and sounds in an object store: a new head is warm when a copy of another's replica has come."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.cluster.heads import finds, keep
from tests.support.cache_sounds import recipe, sound
from tests.support.object_server import KEYS, ObjectServer, served
from tests.support.waiting import eventually

from audio_pool.cache.objects.files import ObjectFiles
from audio_pool.cache.objects.opening import open_files
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.cache.objects.warming import Warming
from audio_pool.cache.shared import SharedStore
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.types import Query


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with served() as server:
            yield server


def opened(directory: Path, place: ObjectPlace, url: str) -> SoundCache:
    return SoundCache(directory, blobs=open_files(directory, place=place), shared=SharedStore(url=url))


def leave_copy(cache: SoundCache) -> None:
    files = cache.store.blobs
    assert isinstance(files, ObjectFiles)
    files.claim_prefix()
    assert Warming(cache.store, files, cache.spaces.save).work(0.0)


def test_a_new_head_takes_a_copy_over_and_reads_on(
    server: ObjectServer, database: str, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    place = server.place()
    a = opened(tmp_path / "a", place, database)
    a.prepare(["minilm"])
    vector = np.ones(8, np.float32)
    first = a.put(sound(a.incoming, "kept before", seed=1), {"minilm": vector})
    a.spaces.follow()
    a.spaces.save()
    leave_copy(a)
    assert any(key.startswith("snapshots/") for key in server.keys(place))
    later = keep(a, "kept after", 2)
    a.remove([first.id])
    with caplog.at_level(logging.INFO):
        b = opened(tmp_path / "b", place, database)
    assert "taken over from the object store" in caplog.text
    assert "all is compared" not in caplog.text
    assert (finds(b, "kept before"), finds(b, "kept after")) == (None, later.id)
    b.prepare(["minilm"])
    again = a.put(sound(a.incoming, "kept again", seed=3), {"minilm": vector})
    eventually(lambda: finds(b, "kept again") == again.id, "the new head follows")
    near = b.find_near(recipe("kept again"), Query(match="threshold"), {"minilm": vector}).hit
    assert near is not None and near.entry.id == again.id
    assert a.store.claims.take(b"key") and not b.store.claims.take(b"key"), "they are two, for all that"
    for cache in (a, b):
        cache.close()


def test_a_copy_that_is_damaged_or_anothers_is_not_used(
    server: ObjectServer, database: str, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    place = server.place()
    a = opened(tmp_path / "a", place, database)
    entry = keep(a, "kept before")
    leave_copy(a)
    a.close()
    for key in server.keys(place, "snapshots/"):
        if not key.endswith(".json"):
            server.bucket_of(place).put_object(Key=f"cache/{key}", Body=b"not a database")
    b = opened(tmp_path / "b", place, database)
    assert "made anew" in caplog.text
    assert finds(b, "kept before") == entry.id
    b.close()
