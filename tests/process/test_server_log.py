"""The server's log: every record one line, whatever is in it; files that stay bounded and their owner's."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import eventually

from audio_pool.cli import server_log
from audio_pool.cli.server_log import JsonLines, ServerLog, TextLines

HEAD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) audio_pool\.[a-z_.]+: ")
Open = Callable[..., ServerLog]


def record(message: str = "hello", *args: Any, level: int = logging.INFO, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("audio_pool.test", level, "", 0, message, args, None)
    made.created = 1_700_000_000.25
    if fields:
        made.fields = fields
    return made


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Open]:
    made: list[ServerLog] = []

    def begin(lines: logging.Formatter | None = None, *, max_bytes: int = 1 << 20, files: int = 3) -> ServerLog:
        made.append(ServerLog(tmp_path / "logs" / "server.log", lines or TextLines(), max_bytes=max_bytes, files=files))
        return made[-1]

    yield begin
    for one in made:
        one.close()


# -- lines -----------------------------------------------------------------------------------------


def test_a_line_of_text_has_a_time_in_utc_and_the_facts() -> None:
    line = TextLines().format(record("answered", outcome="result", request_id="a b", ms=0.4, code=None))
    assert line == (
        '2023-11-14T22:13:20.250Z INFO audio_pool.test: answered outcome=result request_id="a b" ms=0.4'
    )


def test_a_line_of_json_is_an_object_with_the_same_facts() -> None:
    line = JsonLines().format(record("answered %s", "x", outcome="result", request_id="a\nb", ms=0.4, code=None))
    assert json.loads(line) == {
        "timestamp": "2023-11-14T22:13:20.250Z",
        "level": "INFO",
        "logger": "audio_pool.test",
        "message": "answered x",
        "outcome": "result",
        "request_id": "a\nb",
        "ms": 0.4,
    }


@pytest.mark.parametrize(
    "evil", ["\n2023-11-14T22:13:20.250Z ERROR audio_pool.x: forged", "\x1b[31m", "\u2028", "\x85"]
)
def test_nothing_that_a_stranger_says_begins_a_line(evil: str) -> None:
    for lines in (TextLines(), JsonLines()):
        line = lines.format(record("feedback %s", evil, comment=evil, request_id=evil))
        assert len(line.splitlines()) == 1 and "\x1b" not in line
    assert TextLines().format(record("answered", request_id='x outcome="result')).count(" outcome=") == 1


def test_a_traceback_is_told_apart_from_records() -> None:
    try:
        raise ValueError("boom\n2023-11-14T22:13:20.250Z ERROR audio_pool.x: forged")
    except ValueError as exc:
        made = record("failed", level=logging.ERROR)
        made.exc_info = (type(exc), exc, exc.__traceback__)
    first, *rest = TextLines().format(made).splitlines()
    assert HEAD.match(first) and rest and all(line.startswith("  | ") for line in rest)
    assert "boom" in json.loads(JsonLines().format(made))["exception"]


def test_what_was_asked_for_is_said_only_where_the_configuration_wants_it() -> None:
    asked = record("answered", prompt="rain " * 50)
    assert "rain" not in TextLines().format(asked) + JsonLines().format(asked)
    said = json.loads(JsonLines(prompts=True).format(asked))["prompt"]
    assert said.startswith("rain rain") and len(said) < 100


# -- the file --------------------------------------------------------------------------------------


def test_what_is_logged_is_in_the_file_at_the_end_and_its_owners_alone(begin: Open, tmp_path: Path) -> None:
    log = begin()
    for number in range(3000):
        log.handle(record("line %d", number))
    log.close()
    file = tmp_path / "logs" / "server.log"
    assert [int(line.split()[-1]) for line in file.read_text().splitlines()] == list(range(3000))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_file_of_an_earlier_version_is_closed_to_others(begin: Open, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir(mode=0o755)
    file = tmp_path / "logs" / "server.log"
    file.write_text("old\n")
    file.chmod(0o644)
    begin()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.read_text() == "old\n"
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o755, "an operator's directory is left as it is"


@pytest.mark.parametrize("files", [1, 3])
def test_files_are_bounded_in_size_and_number(files: int, begin: Open, tmp_path: Path) -> None:
    log = begin(max_bytes=1 << 20, files=files)
    for _ in range(80):
        for _ in range(100):
            log.handle(record("x" * 1000))
        log.handle(record("more", level=logging.WARNING))
        eventually(lambda: not log._waiting, "written")
    log.close()
    found = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert found == ["server.log", "server.log.1", "server.log.2"][:files]
    for path in (tmp_path / "logs").iterdir():
        assert path.stat().st_size <= 1 << 20 and all(HEAD.match(line) for line in path.read_text().splitlines())


def test_a_file_that_was_moved_away_is_opened_anew(begin: Open, tmp_path: Path) -> None:
    log, file = begin(), tmp_path / "logs" / "server.log"
    log.handle(record("before", level=logging.WARNING))
    eventually(lambda: "before" in file.read_text(), "written")
    file.rename(file.with_name("moved"))
    log.reopen()
    log.handle(record("after", level=logging.WARNING))
    eventually(lambda: file.exists() and "after" in file.read_text(), "written anew")
    assert "after" not in file.with_name("moved").read_text()


def test_more_than_can_be_written_is_dropped_and_said(
    begin: Open, tmp_path: Path
) -> None:
    log, file = begin(), tmp_path / "logs" / "server.log"
    file.unlink()
    file.mkdir()  # as good as a full disk: it cannot be opened
    log.reopen()
    for number in range(50):
        log.handle(record("lost %d", number, level=logging.WARNING))
    eventually(lambda: not log._waiting and log._dropped, "lost")
    file.rmdir()
    log.handle(record("healed", level=logging.WARNING))
    eventually(lambda: file.exists() and "healed" in file.read_text(), "healed")
    assert re.search(r"WARNING audio_pool.cli.server_log: \d+ records could not be written", file.read_text())


def test_a_record_that_cannot_be_written_costs_its_own_line(begin: Open, tmp_path: Path) -> None:
    class Evil:
        def __str__(self) -> str:
            raise RuntimeError

    log = begin()
    log.handle(record("one %s", Evil()))
    log.handle(record("two"))
    log.close()
    first, second = (tmp_path / "logs" / "server.log").read_text().splitlines()
    assert "cannot be written: RuntimeError" in first and second.endswith("two")


def test_who_logs_never_waits_for_the_disk(begin: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_log, "_MOST_WAITING", 100)
    log = begin()
    log._write = lambda: None  # type: ignore[method-assign]  # a disk that hangs
    for _ in range(30_000):
        log.handle(record())
    assert len(log._waiting) == 100 and log._dropped == 29_900


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a device")
def test_a_device_is_neither_moved_aside_nor_closed_to_others(begin: Open, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    device = tmp_path / "logs" / "server.log"
    os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    device.chmod(0o666)
    log = begin(max_bytes=100, files=1)
    for _ in range(10):
        log.handle(record("x" * 90))
    log.close()
    assert stat.S_IMODE(device.stat().st_mode) == 0o666 and stat.S_ISCHR(device.stat().st_mode)
    assert sorted(tmp_path.joinpath("logs").iterdir()) == [device]
