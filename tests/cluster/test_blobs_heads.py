"""Two heads on one database and object store, each with its own directory: what one makes, the other serves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")
pytest.importorskip("moto", reason="moto is not installed: make test-cluster")

import msgspec
from tests.support.cache_sounds import sound
from tests.support.object_server import KEYS, ObjectServer, served
from tests.support.waiting import eventually

from audio_pool import AudioPool
from audio_pool.cache.objects.opening import open_files
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.cache.opening import open_store
from audio_pool.cache.shared import SharedStore
from audio_pool.cache.verify import verify
from audio_pool.errors import StorageError
from audio_pool.types import Rendition

OGG = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=None, true_peak_dbfs=-2.0)


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with served() as server:
            yield server


def head(cache: Path, database: str, place: ObjectPlace) -> AudioPool:
    return AudioPool.from_config(
        {
            "cache": {
                "dir": str(cache),
                "store": database,
                "blobs": place.url,
                "objects": msgspec.to_builtins(place.settings),
                "encoder": "off",
            },
        }
    )


def test_what_one_head_makes_another_serves_and_what_one_removes_no_other_offers(
    server: ObjectServer, database: str, tmp_path: Path
) -> None:
    place = server.place()
    with head(tmp_path / "a", database, place) as first, head(tmp_path / "b", database, place) as second:
        made = first.generate("a bell tolls", duration_s=0.5)
        assert made.path is not None and not made.metadata.cached

        def found() -> bool:
            return second.generate("a bell tolls", duration_s=0.5).metadata.cached

        eventually(found, "the other head knows it")
        hit = second.generate("a bell tolls", duration_s=0.5)
        assert hit.path is not None and hit.path.startswith(str(tmp_path / "b")) and hit.path != made.path
        assert Path(hit.path).suffix == Path(made.path).suffix
        again = second.generate("a bell tolls", duration_s=0.5, format="ogg")  # of a master that was made elsewhere
        assert again.metadata.cached and Path(again.path or "").read_bytes()[:4] == b"OggS"
        entry = hit.metadata.entry_id
        assert entry is not None
        first.library.remove(entry)
        eventually(
            lambda: second.generate("a bell tolls", duration_s=0.5).metadata.entry_id != entry,
            "it is not offered elsewhere any more",
        )


def test_a_head_lets_go_of_its_copies_of_what_another_has_removed(
    server: ObjectServer, database: str, tmp_path: Path
) -> None:
    place = server.place()
    heads = [
        open_store(
            tmp_path / name,
            grace_s=0.0,
            shared=SharedStore(url=database),
            blobs=open_files(tmp_path / name, place=place),
        )
        for name in "ab"
    ]
    kept = [heads[0].entries.put(sound(heads[0].blobs.incoming, "a bell", seed=seed), {}) for seed in (1, 2)]
    ids = [one.id for one in kept if one.id is not None]
    made = heads[0].blobs.incoming / "made.ogg"
    made.write_bytes(b"OggS" + bytes(100))
    heads[0].renditions.put(ids[0], OGG, made)
    heads[0].renditions.put(ids[1], OGG, shutil.copy(tmp_path / "a" / heads[0].renditions.of(ids[0])[0].file, made))
    eventually(lambda: len(heads[1].renditions.all()) == 2, "the other head knows them")
    for master in heads[1].checks.masters():
        heads[1].blobs.bring(master.file, master.size_bytes)
    for one in heads[1].renditions.all():
        heads[1].blobs.bring(one.file, one.size_bytes)

    def copies(name: str) -> int:
        return sum(1 for folder in ("audio", "renditions") for _ in (tmp_path / name / folder).rglob("*.*"))

    assert copies("b") == 4
    heads[0].entries.remove([ids[0]])
    heads[0].renditions.drop(ids[1], heads[0].renditions.of(ids[1])[0].spec)
    eventually(lambda: not heads[1].renditions.all(), "the other head has heard of it")
    assert verify(heads[1]).ok, "they stay for their grace"
    for store in heads:
        store.leaving.unlink_due()
    assert (copies("a"), copies("b")) == (1, 1)
    for store in heads:
        assert verify(store).ok
        store.close()


def test_a_format_that_two_heads_make_at_a_time_is_there_for_both(
    server: ObjectServer, database: str, tmp_path: Path
) -> None:
    place = server.place()
    heads = [
        open_store(tmp_path / name, shared=SharedStore(url=database), blobs=open_files(tmp_path / name, place=place))
        for name in "ab"
    ]
    entry = heads[0].entries.put(sound(heads[0].blobs.incoming), {})
    assert entry.id is not None
    paths = []
    for number, store in enumerate(heads):
        made = store.blobs.incoming / "made.ogg"
        made.write_bytes(b"OggS" + bytes([number]) * 100)
        paths.append(Path(store.renditions.put(entry.id, OGG, made)))
    assert paths[0].read_bytes() == paths[1].read_bytes() and paths[0] != paths[1]
    # the one that is kept does not come: what has just been made is where it was, for its caller
    paths[1].unlink()
    server.proxy.set("error")
    made = heads[1].blobs.incoming / "made.ogg"
    made.write_bytes(b"OggS" + bytes([2]) * 100)
    with pytest.raises(StorageError):
        heads[1].renditions.put(entry.id, OGG, made)
    assert made.is_file()
    server.proxy.set("pass")
    for store in heads:
        store.close()
