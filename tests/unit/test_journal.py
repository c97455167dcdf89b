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
from tests.support.job_records import record

import audio_pool.jobs
from audio_pool.errors import StorageError
from audio_pool.jobs.result_files import ResultFolder
from audio_pool.jobs.sqlite import FILE, SqliteJournal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    found = SqliteJournal(tmp_path / "jobs")
    yield found
    found.close()


def test_what_an_earlier_server_left_counts_a_life(tmp_path: Path) -> None:
    first = SqliteJournal(tmp_path)
    with first.transaction():
        first.add(record(), 7)
        first.begin(record())
    first.close()
    second = SqliteJournal(tmp_path)
    (left,) = second.recover()
    assert (left.request_id, left.state, left.lives, left.attempts) == ("a", "pending", 1, 1)
    second.close()


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


def test_sql_stands_where_it_belongs() -> None:
    pattern = re.compile(r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|DELETE\s+FROM|UPDATE\s+\w+\s+SET|PRAGMA\s)", re.DOTALL)
    with_sql = set()
    for path in Path(audio_pool.jobs.__file__).parent.glob("*.py"):
        texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        if any(isinstance(text, str) and pattern.search(text) for text in texts):
            with_sql.add(path.name)
    assert with_sql == {"sqlite.py", "postgres.py", "leases.py"}


# -- the files -------------------------------------------------------------------------------------


def test_a_kept_file_is_a_copy_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    source.write_bytes(b"sound" * 1000)
    files = ResultFolder(tmp_path / "results")
    _, path, size = files.keep(str(source))
    assert size == 5000 and path.endswith(".wav") and os.stat(path).st_nlink == 1
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o444, "whoever has its path does not write to it"
    source.unlink()
    assert Path(path).read_bytes() == b"sound" * 1000
    files.remove([path, str(tmp_path / "elsewhere.wav")])
    assert not Path(path).exists()


def test_nothing_outside_is_removed_and_what_no_job_knows_is_swept(tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    source.write_bytes(b"x")
    files = ResultFolder(tmp_path / "results")
    known, unknown = files.keep(str(source)).name, files.keep(str(source)).name
    files.remove([str(source)])
    files.sweep({known})
    assert source.exists() and Path(known).exists() and not Path(unknown).exists()
    with pytest.raises(StorageError):
        files.keep(str(tmp_path / "gone.wav"))
