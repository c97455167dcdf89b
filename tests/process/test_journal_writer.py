"""The journal's thread: order, group commit, errors, healing, timers."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.job_records import outcome, record
from tests.support.waiting import PATIENCE_S

from audio_pool.errors import AudioPoolError, Conflict, StorageError
from audio_pool.jobs.record import JobRecord
from audio_pool.jobs.result_files import ResultFolder
from audio_pool.jobs.sqlite import FILE, SqliteJournal
from audio_pool.jobs.writer import JournalWriter


class Desk:
    """The router's side of a JournalWriter."""

    def __init__(self, place: Path, opened: Callable[[], SqliteJournal] | None = None) -> None:
        self.posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.recovered: list[JobRecord] = []
        self.writer = JournalWriter(
            opened or (lambda: SqliteJournal(place / "jobs")),
            ResultFolder(place / "jobs" / "results"),
            self.posted.put,
            wanted=(place / "jobs").exists(),
            recovered=self.recovered.extend,
        )
        self.writer.start()

    def run(self, work: Callable[[Any], Any]) -> Any:
        answers: list[Any] = []
        self.writer.order(work, answers.append)
        deadline = time.monotonic() + PATIENCE_S
        while not answers:
            self.posted.get(timeout=max(0.01, deadline - time.monotonic()))()
        return answers[0]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    found = Desk(tmp_path)
    yield found
    found.writer.close()


def test_nothing_is_made_before_it_is_wanted(desk: Desk, tmp_path: Path) -> None:
    assert not (tmp_path / "jobs").exists()
    assert desk.run(lambda journal: journal.totals()) == (0, 0)
    assert (tmp_path / "jobs" / FILE).exists()


def test_orders_are_carried_out_in_order_and_answered_once(desk: Desk) -> None:
    answers: list[Any] = []
    for number in range(300):
        desk.writer.order(lambda journal, number=number: journal.add(record(str(number)), 1), answers.append)
    assert desk.run(lambda journal: journal.totals()) == (300, 300)
    while not desk.posted.empty():
        desk.posted.get()()
    assert [one.request_id for one in answers] == [str(number) for number in range(300)]


def test_an_error_of_one_order_is_its_own(desk: Desk) -> None:
    answers: list[Any] = []

    def clash(journal: Any) -> None:
        raise Conflict("no")

    def bug(journal: Any) -> None:
        raise ZeroDivisionError

    def twice(journal: Any) -> None:
        journal.add(record("same"), 1)

    for work in (twice, clash, bug, twice, lambda journal: journal.add(record("other"), 1)):
        desk.writer.order(work, answers.append)
    assert desk.run(lambda journal: journal.totals())[0] == 2
    assert answers[0] is None and isinstance(answers[1], Conflict)
    assert type(answers[2]) is AudioPoolError and isinstance(answers[3], StorageError)
    assert answers[4].request_id == "other"


def test_what_was_unfinished_is_told_before_anything_else(tmp_path: Path) -> None:
    first = Desk(tmp_path)
    first.run(lambda journal: journal.add(record(), 1))
    first.writer.close()
    second = Desk(tmp_path)
    second.run(lambda journal: None)
    second.writer.close()
    assert [(one.request_id, one.lives) for one in second.recovered] == [("a", 1)]


def test_a_journal_that_cannot_be_opened_says_so_and_is_opened_later(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file in the way")
    desk = Desk(tmp_path)
    answer = desk.run(lambda journal: journal.totals())
    assert isinstance(answer, StorageError) and desk.writer.trouble
    (tmp_path / "jobs").unlink()
    assert desk.run(lambda journal: journal.totals()) == (0, 0) and not desk.writer.trouble
    desk.writer.close()


def test_a_journal_that_was_taken_away_is_begun_anew(desk: Desk, tmp_path: Path) -> None:
    assert isinstance(desk.run(lambda journal: journal.add(record("a"), 1)), JobRecord)
    os.rename(tmp_path / "jobs", tmp_path / "elsewhere")
    assert isinstance(desk.run(lambda journal: journal.add(record("b"), 1)), StorageError)
    assert isinstance(desk.run(lambda journal: journal.add(record("c"), 1)), JobRecord)
    assert desk.run(lambda journal: journal.finish(record("a"), outcome())) is True, "known or not"
    assert desk.run(lambda journal: journal.totals())[0] == 2


def test_what_has_expired_is_forgotten_with_its_file(desk: Desk, tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    source.write_bytes(b"x")
    desk.run(lambda journal: None)
    _, path, size = ResultFolder(tmp_path / "jobs" / "results").keep(str(source))

    def finished(journal: Any) -> None:
        journal.add(record(), 1)
        journal.finish(record(), outcome(expires_at=time.time(), path=path, size=size))

    desk.run(finished)
    deadline = time.monotonic() + PATIENCE_S
    while Path(path).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert desk.run(lambda journal: journal.find(("me", "a"))) is None


def test_timers_ring_on_the_routers_thread(desk: Desk) -> None:
    rung: list[str] = []
    now = time.monotonic()
    desk.writer.at(now + 0.05, lambda: rung.append("second"))
    desk.writer.at(now, lambda: rung.append("first"))
    deadline = now + PATIENCE_S
    while len(rung) < 2:
        desk.posted.get(timeout=max(0.01, deadline - time.monotonic()))()
    assert rung == ["first", "second"]
