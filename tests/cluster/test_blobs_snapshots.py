"""Sets of files that a new server takes over from the object store: as a whole, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")

from tests.support.cache_sounds import ids_in, sound

from audio_pool.cache.objects.bucket import Bucket
from audio_pool.cache.objects.files import ObjectFiles
from audio_pool.cache.objects.opening import open_files
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.cache.objects.snapshots import Snapshots
from audio_pool.cache.objects.warming import Warming
from audio_pool.cache.postgres import follower
from audio_pool.cache.shared import SharedStore
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import StorageError


def written(folder: Path, **files: str) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return {f"index/{name}" if name != "rows" else name: folder / name for name in files}


def test_a_set_is_fetched_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    snapshots = Snapshots(Bucket(ObjectPlace(url=f"file://{tmp_path}/objects")))
    assert snapshots.latest() is None and snapshots.age_s() is None
    first = snapshots.put("cache/1", "10", written(tmp_path / "a", rows="one", clip="index of one"))
    assert snapshots.latest() == first
    second = snapshots.put("cache/1", "20", written(tmp_path / "b", rows="two", clip="index of one"))
    age = snapshots.age_s()
    assert snapshots.latest() == second and age is not None and age < 600
    snapshots.fetch(first, tmp_path / "old")  # who is at the former one still gets it
    snapshots.fetch(second, tmp_path / "new")
    assert (tmp_path / "old" / "rows").read_text() == "one" and (tmp_path / "new" / "rows").read_text() == "two"
    assert (tmp_path / "new" / "index" / "clip").read_text() == "index of one"
    rows = next(one for one in second.files if one.name == "rows")
    (tmp_path / "objects" / "snapshots" / rows.sha256).write_text("tow")
    with pytest.raises(StorageError, match="not what was stored"):
        snapshots.fetch(second, tmp_path / "damaged")
    (tmp_path / "objects" / "snapshots" / rows.sha256).unlink()
    with pytest.raises(StorageError, match="not whole"):
        snapshots.fetch(second, tmp_path / "damaged")
    assert not [path for path in (tmp_path / "damaged").rglob("*") if path.is_file()]
    (tmp_path / "objects" / "snapshots" / "latest.json").write_text("{")
    assert snapshots.latest() is None


def opened(directory: Path, database: str, place: ObjectPlace) -> SoundCache:
    files = open_files(directory, place=place)
    return SoundCache(directory, shared=SharedStore(url=database), blobs=files, grace_s=0.0)


def neighbours(cache: SoundCache, seed: int) -> list[int]:
    """Ids of the nearest sounds, as the index gives them."""
    vector = np.random.default_rng(seed).normal(size=8).astype(np.float32)
    return list(cache.spaces.of("minilm@1").search(vector, 5, None))


def put(cache: SoundCache, seed: int) -> int:
    vector = np.random.default_rng(seed).normal(size=8).astype(np.float32)
    entry = cache.put(sound(cache.incoming, f"sound {seed}", seed=seed), {"minilm@1": vector})
    assert entry.id is not None
    return entry.id


def test_a_new_head_takes_rows_and_indexes_over_and_follows_on(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = ObjectPlace(url=f"file://{tmp_path}/objects", grace_s=0.0)
    first = opened(tmp_path / "first", database, place)
    ids = [put(first, seed) for seed in range(12)]
    assert neighbours(first, 3)[0] == ids[3]
    warming = Warming(first.store, files_of(first), first.spaces.save)
    assert warming.wanted and warming.work(600.0) and not warming.wanted
    assert not Warming(first.store, files_of(first), first.spaces.save).work(600.0)  # another one has done it lately
    assert not list((tmp_path / "first" / "replica").glob(".snapshot*"))
    # what happens afterwards is followed
    last = put(first, 100)
    first.remove([ids[0]])
    read: list[int] = []
    states = follower.states_of

    def counted(db: Any, wanted: list[int]) -> Any:
        read.extend(wanted)
        return states(db, wanted)

    monkeypatch.setattr(follower, "states_of", counted)
    second = opened(tmp_path / "second", database, place)
    assert read == [last]  # and no other row was read from the database
    assert ids_in(second.store) == {*ids[1:], last} == ids_in(first.store)
    assert second.store.store_id == first.store.store_id and list((tmp_path / "second" / "replica" / "index").iterdir())
    assert second.spaces.of("minilm@1").snapshot.is_file()
    for seed in (3, 7, 100):
        assert neighbours(second, seed) == neighbours(first, seed)
    assert ids[0] not in neighbours(second, 0)
    added = put(second, 101)  # both go on, each with its own numbers
    first.store.follow()  # type: ignore[attr-defined]
    assert neighbours(first, 101)[0] == added == neighbours(second, 101)[0]
    second.close()
    # of no use: another version's, or damaged
    for one in (tmp_path / "objects" / "snapshots").iterdir():
        if one.suffix != ".json":
            one.write_bytes(b"nothing")
    third = opened(tmp_path / "third", database, place)
    assert ids_in(third.store) == ids_in(first.store) and "made anew" in caplog.text
    third.close()
    first.close()


def test_a_pool_makes_snapshots_by_itself_and_a_cache_of_one_machine_none(tmp_path: Path, database: str) -> None:
    place = ObjectPlace(url=f"file://{tmp_path}/objects", grace_s=0.0)
    head = opened(tmp_path / "head", database, place)
    put(head, 1)
    head.tidy()
    assert Snapshots(files_of(head).bucket).latest() is not None
    head.close()
    alone = SoundCache(
        tmp_path / "alone", blobs=open_files(tmp_path / "alone", place=ObjectPlace(url=f"file://{tmp_path}/others"))
    )
    put(alone, 1)
    alone.tidy()
    assert not (tmp_path / "others" / "snapshots").exists() and (tmp_path / "others" / "store.json").is_file()
    alone.close()


def files_of(cache: SoundCache) -> ObjectFiles:
    assert isinstance(cache.store.blobs, ObjectFiles)
    return cache.store.blobs
