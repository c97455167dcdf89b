"""Models on their way from one machine to the place of another where they would have been fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from audio_pool.errors import StorageError
from audio_pool.models.shipping import PIECE_BYTES, Arrival, Shipped, pieces_of, shipped, target_of


def hub(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache with one model, whose files are links as the hub's library makes them."""
    home = place / "models--owner--tiny"
    (home / "blobs").mkdir(parents=True)
    (home / "blobs" / "1").write_bytes(b"weights" * 3)
    (home / "snapshots" / "c0ffee" / "deep").mkdir(parents=True)
    (home / "snapshots" / "c0ffee" / "deep" / "w.bin").symlink_to("../../../blobs/1")
    (home / "snapshots" / "c0ffee" / "empty").touch()
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("c0ffee")
    monkeypatch.setenv("HF_HUB_CACHE", str(place))
    return home


def bring(model: Shipped) -> None:
    arrival = Arrival(model)
    for name, offset, data in pieces_of(model):
        assert not target_of(model).exists(), "it appears as a whole"
        arrival.take(name, offset, data)
    arrival.end()


def test_one_of_the_hubs_cache_goes_into_the_other_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(tmp_path / "ours", monkeypatch)
    model = shipped("owner/tiny")
    assert model is not None and model.revision == "c0ffee"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "theirs"))
    bring(model)
    theirs = tmp_path / "theirs" / "models--owner--tiny"
    assert (theirs / "snapshots" / "c0ffee" / "deep" / "w.bin").read_bytes() == b"weights" * 3
    assert (theirs / "snapshots" / "c0ffee" / "empty").read_bytes() == b""
    assert not (theirs / "snapshots" / "c0ffee" / "deep" / "w.bin").is_symlink()
    again = shipped("owner/tiny")  # it is the same model there, and found
    assert again is not None and (again.target, again.revision) == (model.target, model.revision)


def test_one_of_a_folder_of_models_goes_into_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "w.bin").write_bytes(b"w")
    model = shipped("owner/tiny", models_dir=str(tmp_path / "models"))
    assert model is not None and target_of(model) == tmp_path / "models" / "owner--tiny"
    bring(model)
    assert (tmp_path / "models" / "owner--tiny" / "w.bin").read_bytes() == b"w"
    assert shipped("owner/other", models_dir=str(tmp_path / "models")) is None


def test_the_quicker_of_two_has_brought_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(tmp_path / "ours", monkeypatch)
    model = shipped("owner/tiny")
    assert model is not None
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "theirs"))
    slow = Arrival(model)
    slow.take("deep/w.bin", 0, b"half")
    target_of(model).mkdir(parents=True)
    (target_of(model) / "whole").touch()
    slow.end()
    assert [path.name for path in target_of(model).iterdir()] == ["whole"]
    assert not list(target_of(model).parent.glob(".*"))


def test_large_files_come_in_pieces_and_none_lies_outside(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "w").write_bytes(b"x" * (PIECE_BYTES + 3))
    model = Shipped(model="big", source=str(tmp_path / "big"), target=str(tmp_path / "there"))
    assert [(name, offset, len(data)) for name, offset, data in pieces_of(model)] == [
        ("w", 0, PIECE_BYTES), ("w", PIECE_BYTES, 3)
    ]  # fmt: skip
    bring(model)
    assert (tmp_path / "there" / "w").stat().st_size == PIECE_BYTES + 3
    with pytest.raises(StorageError, match="outside"):
        Arrival(model).take("../../x", 0, b"x")
