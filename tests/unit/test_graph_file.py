"""Model files that are made once: kept whole, made anew where they are not, and by many at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from audio_pool.engines._graph_file import graph_files, kept_graph


class Maker:
    """Makes a content of its own each time."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> bytes:
        self.times += 1
        return b"graph" * 1000


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def only_file() -> Path:
    (file,) = graph_files().iterdir()
    return file


def test_a_file_is_made_once_and_another_key_is_another_file() -> None:
    make = Maker()
    made = kept_graph("one", make)
    assert made.startswith(b"graph" * 1000)
    assert kept_graph("one", make) == made == only_file().read_bytes()
    assert make.times == 1
    kept_graph("two", make)
    assert (make.times, len(list(graph_files().iterdir()))) == (2, 2)


@pytest.mark.parametrize("damage", ["one bit", "cut short", "emptied", "grown"])
def test_a_damaged_file_is_made_anew(damage: str) -> None:
    make = Maker()
    made = kept_graph("one", make)
    changed = bytearray(made)
    changed[100] ^= 1
    contents = {"one bit": bytes(changed), "cut short": made[:-7], "emptied": b"", "grown": made + b"x"}
    only_file().write_bytes(contents[damage])
    assert kept_graph("one", make) == made == only_file().read_bytes()
    assert make.times == 2


def test_one_that_cannot_be_kept_is_made_each_time(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "audio_pool-encoders").write_text("no directory")
    make = Maker()
    assert kept_graph("one", make) == kept_graph("one", make)
    assert make.times == 2
    assert "is not kept" in caplog.text


def test_a_link_in_its_place_is_not_written_through(home: Path) -> None:
    make = Maker()
    kept_graph("one", make)
    file, other = only_file(), home / "other"
    other.write_bytes(b"somebody's")
    file.unlink()
    file.symlink_to(other)
    kept_graph("one", make)
    assert other.read_bytes() == b"somebody's"


@pytest.mark.parametrize("bit", [0o020, 0o002], ids=["group", "everybody"])
def test_where_others_may_write_nothing_is_read_or_kept(home: Path, caplog: pytest.LogCaptureFixture, bit: int) -> None:
    planted = Maker()
    kept_graph("one", lambda: planted() + b"somebody's")
    graph_files().chmod(0o700 | bit)
    make = Maker()
    assert b"somebody's" not in kept_graph("one", make) and make.times == 1
    assert b"somebody's" in only_file().read_bytes()
    assert "other users may write to it" in caplog.text


def test_the_folder_is_this_users_whatever_the_umask(home: Path) -> None:
    before = os.umask(0o002)
    try:
        kept_graph("one", Maker())
    finally:
        os.umask(before)
    make = Maker()
    kept_graph("one", make)
    assert make.times == 0 and graph_files().stat().st_mode & 0o777 == 0o700


def test_a_pipe_in_its_place_is_not_waited_for(home: Path) -> None:
    make = Maker()
    kept_graph("one", make)
    file = only_file()
    file.unlink()
    os.mkfifo(file)
    assert kept_graph("one", make).startswith(b"graph") and make.times == 2


def test_many_at_once_put_one_whole_file_there() -> None:
    make, results = Maker(), []
    threads = [threading.Thread(target=lambda: results.append(kept_graph("one", make))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert len(results) == 8 and len(set(results)) == 1
    assert only_file().read_bytes() == results[0]
    assert [name for name in os.listdir(graph_files()) if name.endswith(".part")] == []
