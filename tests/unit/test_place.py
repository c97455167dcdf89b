"""What has become of a path: deleted, moved away, replaced, or still there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from audio_pool.cache.place import Pinned


def make_directory(path: Path) -> None:
    path.mkdir()


def make_file(path: Path) -> None:
    path.write_text("x")


@pytest.mark.parametrize("make", [make_directory, make_file])
def test_a_thing_is_there_until_it_is_moved_and_when_it_is_back(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "thing"
    make(path)
    pinned = Pinned(path)
    assert pinned.fate == "there"
    os.rename(path, tmp_path / "away")
    assert pinned.fate == "moved" and pinned.whereabouts == str(tmp_path / "away")
    make(path)
    assert pinned.fate == "replaced"
    path.rmdir() if path.is_dir() else path.unlink()
    os.rename(tmp_path / "away", path)
    assert pinned.fate == "there"
    pinned.close()


@pytest.mark.parametrize("make", [make_directory, make_file])
def test_what_was_deleted_is_no_thing_that_was_moved(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "thing"
    make(path)
    pinned = Pinned(path)
    path.rmdir() if path.is_dir() else path.unlink()
    assert pinned.fate == "deleted"
    make(path)
    assert pinned.fate == "replaced"
    pinned.close()


def test_what_was_moved_and_then_deleted_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "above" / "thing"
    path.mkdir(parents=True)
    pinned = Pinned(path)
    os.rename(tmp_path / "above", tmp_path / "away")
    assert pinned.fate == "moved"
    (tmp_path / "away" / "thing").rmdir()
    assert pinned.fate == "deleted"
    pinned.close()
    pinned.close()
