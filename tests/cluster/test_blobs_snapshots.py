"""Sets of files that a new server takes over from the object store: as a whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")

from audio_pool.cache.objects.bucket import Bucket
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.cache.objects.snapshots import Snapshots
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
