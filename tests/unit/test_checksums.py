"""The list of what an export wrote: what stands in it was written by anybody."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from audio_pool.cache.opening import open_store
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.exchange.checksums import Checksums
from audio_pool.exchange.exporting import _is_kept

CONTENT = b"a sound"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    with contextlib.closing(open_store(tmp_path_factory.mktemp("cache"))) as store:
        yield store


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "sounds/0/../../../outside",
        "sounds/0/99999999999999999999999_x.flac",
        "sounds/0/5_\0x.flac",
        "sounds/0/5_" + "x" * 3000,
        "sounds/0/5_link.flac",
        "sounds/link/5_outside.flac",
    ],
    ids=ascii,
)
def test_a_line_that_no_export_wrote_removes_nothing_and_stops_nothing(
    store: SqliteStore, tmp_path: Path, name: str
) -> None:
    outside, place = tmp_path / "outside", tmp_path / "export"
    (place / "sounds" / "0").mkdir(parents=True)
    outside.write_bytes(CONTENT)
    (tmp_path / "5_outside.flac").write_bytes(CONTENT)
    (place / "sounds" / "0" / "5_link.flac").symlink_to(outside)
    (place / "sounds" / "link").symlink_to(tmp_path)
    (place / "sounds" / "0" / "6_gone.flac").write_bytes(CONTENT)
    (place / "files.sha256").write_text(f"{SHA256}  {name}\n{SHA256}  sounds/0/6_gone.flac\n")
    with Checksums(place) as sums:
        gone = sums.settle(lambda file: _is_kept(store, file))
    assert gone.removed == 1 and not (place / "sounds" / "0" / "6_gone.flac").exists()
    assert outside.exists() and (tmp_path / "5_outside.flac").exists()
    assert (place / "sounds" / "0" / "5_link.flac").is_symlink()


def test_a_link_or_a_pipe_in_the_lists_place_is_not_written_to(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(CONTENT)
    place = tmp_path / "export"
    place.mkdir()
    (place / "files.sha256").symlink_to(other)
    with pytest.raises(OSError), Checksums(place):
        pass
    assert other.read_bytes() == CONTENT
    (place / "files.sha256").unlink()
    os.mkfifo(place / "files.sha256")
    with pytest.raises(OSError), Checksums(place):
        pass
