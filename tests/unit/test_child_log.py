"""A child's output: kept and passed on within limits, with what was left out said."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from audio_pool.pool import child_log as module
from audio_pool.pool.child_log import ChildLog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def child_log(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> ChildLog:
    caplog.set_level(logging.INFO, logger=module.__name__)
    return ChildLog(tmp_path / "w.log", "w", clock)


def test_lines_are_put_together_from_pieces(
    child_log: ChildLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child_log.take(b"one\ntw")
    child_log.take(b"o\nthree")
    assert caplog.messages == ["[w] one", "[w] two"]
    child_log.end()
    assert caplog.messages[-1] == "[w] three"
    assert (tmp_path / "w.log").read_text() == "one\ntwo\nthree\n"
    assert list(child_log.last_lines) == ["one", "two", "three"]
    assert stat.S_IMODE((tmp_path / "w.log").stat().st_mode) == 0o600


def test_a_flood_is_cut_and_the_cut_is_said(
    child_log: ChildLog, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        child_log.take(b"the same again\n" * 1000)
    told, kept = len(caplog.messages), (tmp_path / "w.log").read_text().splitlines()
    assert told == 200 and len(kept) == 2000
    clock.now = 1.0
    child_log.take(b"calm\nagain\n")
    assert caplog.messages[200:] == ["[w] ... 99,800 lines dropped", "[w] calm", "[w] again"]
    assert (tmp_path / "w.log").read_text().splitlines()[2000:] == ["... 98,000 lines dropped", "calm", "again"]


def test_a_flood_that_ends_with_the_child(
    child_log: ChildLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child_log.take(b"x\n" * 5000 + b"the last word\n")
    child_log.end()
    assert caplog.messages[-1] == "[w] ... 4,801 lines dropped"
    assert (tmp_path / "w.log").read_text().endswith("... 3,001 lines dropped\n")
    assert child_log.last_lines[-1] == "the last word", "whatever was dropped, the end is explained"


def test_the_file_is_turned_over_while_the_child_runs(
    child_log: ChildLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_BYTES", 100)
    for number in range(30):
        child_log.take(f"line number {number:02}\n".encode())
    files = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert set(files) == {"w.log", "w.log.1"} and max(files.values()) <= 100
    assert "line number 29" in (tmp_path / "w.log").read_text()


def test_a_line_without_end_takes_no_more_room_than_a_long_one(
    child_log: ChildLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        child_log.take(b"z" * 65_536)
    child_log.end()
    assert (tmp_path / "w.log").stat().st_size <= 4097 and len(caplog.messages[-1]) <= 2010


def test_a_file_that_cannot_be_written_keeps_nothing_from_being_passed_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=module.__name__)
    (tmp_path / "w.log").mkdir()
    ChildLog(tmp_path / "w.log", "w").take(b"heard\n")
    assert caplog.messages == ["[w] heard"]
