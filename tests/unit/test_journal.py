"""The journal of durable jobs in SQLite, and the files kept for them."""

from __future__ import annotations

import ast
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.job_records import outcome, record

import audio_pool.jobs
from audio_pool.errors import Conflict, StorageError
from audio_pool.jobs.record import report_of
from audio_pool.jobs.result_files import ResultFiles
from audio_pool.jobs.sqlite import FILE, SqliteJournal
from audio_pool.results import SoundMetadata


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    found = SqliteJournal(tmp_path / "jobs")
    yield found
    found.close()


def test_what_is_written_is_read_by_the_next_process(tmp_path: Path) -> None:
    first = SqliteJournal(tmp_path)
    with first.transaction():
        first.add(record(), 7)
        first.add(record("b", created_at=2.0), 7)
        first.begin(("me", "a"))
        first.finish(record("b", created_at=2.0), outcome())
    first.close()
    second = SqliteJournal(tmp_path)
    a, b = second.find(("me", "a")), second.find(("me", "b"))
    assert a is not None and b is not None
    assert (a.state, a.attempts, a.request, a.rights) == ("running", 1, record().request, b"r")
    assert (b.state, b.path, b.metadata) == ("done", "/x.wav", SoundMetadata(prompt="rain", duration_s=2.0))
    assert report_of(b).metadata == b.metadata and report_of(b, whole=False).metadata is None
    with second.transaction():
        second.survive()
    (left,) = second.unfinished()
    assert (left.request_id, left.state, left.lives) == ("a", "pending", 1)
    second.close()


def test_ids_belong_to_their_owners(journal: SqliteJournal) -> None:
    with journal.transaction():
        journal.add(record("a", "me"), 1)
        journal.add(record("a", "you", prompt="wind"), 1)
    mine, yours = journal.find(("me", "a")), journal.find(("you", "a"))
    assert mine is not None and yours is not None and yours.request.prompt == "wind"
    assert journal.find(("them", "a")) is None
    assert [one.owner for one in journal.newest("you", ["pending"], 10)] == ["you"]
    assert journal.owners() == ["me", "you"]


def test_a_transaction_is_all_or_nothing(journal: SqliteJournal) -> None:
    def clash() -> None:
        with journal.transaction():
            journal.add(record(), 1)
            raise Conflict("no")

    with pytest.raises(Conflict):
        clash()
    assert journal.find(("me", "a")) is None and journal.totals() == (0, 0)


def test_totals_follow_what_is_added_kept_and_forgotten(journal: SqliteJournal) -> None:
    with journal.transaction():
        for number in range(5):
            journal.add(record(str(number), created_at=number), 3)
            journal.finish(record(str(number)), outcome(expires_at=10.0 + number, path=f"/{number}.wav"))
    assert journal.totals() == (5, 5 * 13) and journal.soonest_expiry() == 10.0
    assert journal.paths() == {f"/{number}.wav" for number in range(5)}
    with journal.transaction():
        assert journal.forget_expired(12.5, 2) == ["/0.wav", "/1.wav"], "small transactions"
        assert journal.forget_expired(12.5, 2) == ["/2.wav"]
    assert journal.totals() == (2, 26)


def test_lists_are_pages(journal: SqliteJournal) -> None:
    with journal.transaction():
        for number in range(5):
            journal.add(record(str(number), created_at=number), 1)
        journal.finish(record("2"), outcome("failed"))
    first = journal.newest("me", ["pending", "failed"], 2)
    assert [one.request_id for one in first] == ["4", "3"]
    assert [one.request_id for one in journal.newest("me", ["failed"], 9, before=first[-1].created_at)] == ["2"]


def test_a_job_is_reopened_with_nothing_held_against_it(journal: SqliteJournal) -> None:
    with journal.transaction():
        journal.add(record(), 1)
        journal.begin(("me", "a"))
        journal.finish(record(), outcome("failed", path=None))
        journal.reopen(("me", "a"), 99.0)
    found = journal.find(("me", "a"))
    assert found is not None
    assert (found.state, found.attempts, found.failure, found.deadline_at) == ("pending", 0, None, 99.0)
    assert [one.request_id for one in journal.unfinished()] == ["a"]


def test_the_place_is_private_and_belongs_to_one(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "jobs")
    assert stat.S_IMODE((tmp_path / "jobs").stat().st_mode) == 0o700
    files = list((tmp_path / "jobs").glob(f"{FILE}*"))
    assert files and all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    with pytest.raises(StorageError, match="another running server"):
        SqliteJournal(tmp_path / "jobs")
    looking = SqliteJournal(tmp_path / "jobs", read_only=True)
    assert looking.unfinished() == []
    looking.close()
    journal.close()
    SqliteJournal(tmp_path / "jobs").close()


def test_it_is_as_durable_as_sqlite_can_be(journal: SqliteJournal) -> None:
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_full_disk_is_said_to_be_full(journal: SqliteJournal) -> None:
    (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
    journal._db.execute(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        with journal.transaction():
            for number in range(200):
                journal.add(record(str(number), prompt="x" * 2000), 1)

    with pytest.raises(StorageError, match="is full"):
        fill()
    assert journal.totals() == (0, 0)


def test_a_journal_that_was_taken_away_takes_nothing(journal: SqliteJournal, tmp_path: Path) -> None:
    os.rename(tmp_path / "jobs", tmp_path / "elsewhere")
    with pytest.raises(StorageError), journal.transaction():
        journal.add(record(), 1)
    assert not journal.there()


def test_a_newer_programs_journal_is_refused(tmp_path: Path) -> None:
    SqliteJournal(tmp_path).close()
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageError, match="version 99"):
        SqliteJournal(tmp_path)


def test_sql_stands_in_one_file() -> None:
    pattern = re.compile(r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|DELETE\s+FROM|UPDATE\s+\w+\s+SET|PRAGMA\s)", re.DOTALL)
    with_sql = set()
    for path in Path(audio_pool.jobs.__file__).parent.glob("*.py"):
        texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        if any(isinstance(text, str) and pattern.search(text) for text in texts):
            with_sql.add(path.name)
    assert with_sql == {"sqlite.py"}


# -- the files -------------------------------------------------------------------------------------


def test_a_kept_file_is_a_copy_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    source.write_bytes(b"sound" * 1000)
    files = ResultFiles(tmp_path / "results")
    path, size = files.keep(str(source))
    assert size == 5000 and path.endswith(".wav") and os.stat(path).st_nlink == 1
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o444, "whoever has its path does not write to it"
    source.unlink()
    assert Path(path).read_bytes() == b"sound" * 1000
    files.remove([path, str(tmp_path / "elsewhere.wav")])
    assert not Path(path).exists()


def test_nothing_outside_is_removed_and_what_no_job_knows_is_swept(tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    source.write_bytes(b"x")
    files = ResultFiles(tmp_path / "results")
    known, unknown = files.keep(str(source))[0], files.keep(str(source))[0]
    files.remove([str(source)])
    files.sweep({known})
    assert source.exists() and Path(known).exists() and not Path(unknown).exists()
    with pytest.raises(StorageError):
        files.keep(str(tmp_path / "gone.wav"))
