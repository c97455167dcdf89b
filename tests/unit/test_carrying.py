"""Masters and renditions on disks of their own: kept, found, removed and swept as on one disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cache_sounds import ids_in, recipe, sound

from audio_pool.cache import carrying
from audio_pool.cache.files import LocalFiles
from audio_pool.cache.quarantine import Quarantine
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.verify import verify
from audio_pool.errors import StorageError
from audio_pool.types import Query, Rendition

OTHER_DISK = Path("/dev/shm")
OGG = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=-23.0, true_peak_dbfs=-2.0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A cache directory whose masters and renditions lie on another disk."""
    if not OTHER_DISK.is_dir() or OTHER_DISK.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one disk here")
    with tempfile.TemporaryDirectory(dir=OTHER_DISK) as elsewhere:
        directory = tmp_path / "cache"
        directory.mkdir()
        for name in ("audio", "renditions"):
            Path(elsewhere, name).mkdir()
            (directory / name).symlink_to(Path(elsewhere, name))
        yield directory


def test_a_sound_is_kept_found_and_removed(place: Path) -> None:
    cache = SoundCache(place, grace_s=0.0)
    entry = cache.put(sound(cache.incoming), {})
    other = cache.incoming / "rendition.ogg"
    other.write_bytes(b"OggS" * 100)
    assert entry.id is not None
    rendition = Path(cache.put_rendition(entry.id, OGG, other))
    assert not other.exists() and rendition.stat().st_mode & 0o777 == carrying.READ_ONLY
    found = cache.find_exact(recipe(), Query()).hit
    assert found is not None and found.entry.path == entry.path
    assert verify(cache.store).ok
    assert sorted(path.name for path in cache.incoming.iterdir()) == [".lock"]
    cache.store.blobs.probe(1000)
    cache.remove([entry.id])
    cache.tend()
    cache.close()
    assert list(LocalFiles(place).files()) == []


def test_what_a_crash_leaves_on_the_other_disk_is_swept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = LocalFiles(place)
    source = dead.incoming / "made.flac"
    source.write_bytes(b"fLaC" * 1000)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)  # nothing cleans up behind a process that is killed
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            dead.place(source, "audio/ab/abc.flac")
    assert [path.name for path in (place / "audio/ab").iterdir()] == ["abc.part"]
    assert dead.in_flight("audio/ab/abc.part"), "verify leaves it alone while its process lives"
    assert dead._claim is not None
    os.close(dead._claim[1])
    SoundCache(place).close()
    assert list((place / "audio/ab").iterdir()) == []
    assert ids_in(SoundCache(place).store) == set()


def test_a_full_disk_of_masters_is_noticed_where_it_is_full(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = LocalFiles(place)
    full = (place / "audio").stat().st_dev
    fsync = os.fsync

    def write(handle: int) -> None:
        if os.fstat(handle).st_dev == full:
            raise OSError(28, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", write)
    with pytest.raises(StorageError, match="is full"):
        files.probe(1000)
    assert list(files.files()) == []


def test_a_folder_in_the_place_of_a_file_goes_to_quarantine_on_another_disk(place: Path) -> None:
    odd = place / "audio" / "odd.flac"
    odd.mkdir()
    (odd / "note").write_text("whose is this?")
    taken = Quarantine(place).take(odd)
    assert taken is not None and (taken / "note").read_text() == "whose is this?"
    assert not odd.exists()
