"""What every journal of durable jobs does: SQLite's here, PostgreSQL's in ``make test-cluster``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import job_journals
from tests.support.job_records import outcome, record

from audio_pool.errors import Conflict, NotFound
from audio_pool.jobs.journal import Journal
from audio_pool.jobs.record import JobRecord, report_of
from audio_pool.results import SoundMetadata


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    found = job_journals.opened(tmp_path / "jobs")
    found.recover()
    yield found
    found.close()


def add(journal: Journal, *args: object, size: int = 1, sent: bytes = b"", **named: object) -> JobRecord:
    found = journal.add(record(*args, **named), size, sent)
    assert found is not None
    return found


def test_what_is_written_is_read_by_the_next_process(tmp_path: Path) -> None:
    first = job_journals.opened(tmp_path)
    first.recover()
    with first.transaction():
        journal_a, journal_b = add(first), add(first, "b", created_at=2.0)
        first.begin(journal_a)
        assert first.finish(journal_b, outcome())
    first.close()
    second = job_journals.opened(tmp_path)
    a, b = second.find(("me", "a")), second.find(("me", "b"))
    assert a is not None and b is not None
    assert (a.state, a.attempts, a.request, a.rights) == ("running", 1, record().request, b"r")
    assert (b.state, b.path, b.metadata) == ("done", "/x.wav", SoundMetadata(prompt="rain", duration_s=2.0))
    assert report_of(b).metadata == b.metadata and report_of(b, whole=False).metadata is None
    second.close()


def test_ids_belong_to_their_owners(journal: Journal) -> None:
    with journal.transaction():
        add(journal, "a", "me")
        add(journal, "a", "you", prompt="wind")
    mine, yours = journal.find(("me", "a")), journal.find(("you", "a"))
    assert mine is not None and yours is not None and yours.request.prompt == "wind"
    assert journal.find(("them", "a")) is None
    assert [one.owner for one in journal.newest("you", ["pending"], 10)] == ["you"]
    assert journal.owners() == ["me", "you"]  # type: ignore[attr-defined]


def test_a_transaction_is_all_or_nothing(journal: Journal) -> None:
    def clash() -> None:
        with journal.transaction():
            add(journal)
            raise Conflict("no")

    with pytest.raises(Conflict):
        clash()
    assert journal.find(("me", "a")) is None and journal.totals() == (0, 0)


def test_totals_follow_what_is_added_kept_and_forgotten(journal: Journal) -> None:
    with journal.transaction():
        for number in range(5):
            added = add(journal, str(number), created_at=number, size=3)
            journal.finish(added, outcome(expires_at=10.0 + number, path=f"/{number}.wav"))
    assert journal.totals() == (5, 5 * 13) and journal.soonest_expiry() == 10.0
    assert journal.paths() == {f"/{number}.wav" for number in range(5)}
    with journal.transaction():
        assert journal.forget_expired(12.5, 2) == ["/0.wav", "/1.wav"], "small transactions"
        assert journal.forget_expired(12.5, 2) == ["/2.wav"]
    assert journal.totals() == (2, 26)


def test_lists_are_pages(journal: Journal) -> None:
    with journal.transaction():
        added = [add(journal, str(number), created_at=number) for number in range(5)]
        journal.finish(added[2], outcome("failed"))
    first = journal.newest("me", ["pending", "failed"], 2)
    assert [one.request_id for one in first] == ["4", "3"]
    assert [one.request_id for one in journal.newest("me", ["failed"], 9, before=first[-1].created_at)] == ["2"]


def test_a_job_is_reopened_with_nothing_held_against_it(journal: Journal) -> None:
    with journal.transaction():
        added = add(journal)
        journal.begin(added)
        journal.finish(added, outcome("failed", path=None))
        journal.reopen(("me", "a"), 99.0)
    found = journal.find(("me", "a"))
    assert found is not None
    assert (found.state, found.attempts, found.failure, found.deadline_at) == ("pending", 0, None, 99.0)


def test_a_sound_that_came_with_its_job_goes_with_it(journal: Journal) -> None:
    with journal.transaction():
        added = add(journal, sent=b"sound")
    assert journal.sent(("me", "a")) == b"sound"
    with journal.transaction():
        journal.finish(added, outcome(expires_at=10.0))
        journal.forget_expired(10.0, 9)
    with pytest.raises(NotFound):
        journal.sent(("me", "a"))
