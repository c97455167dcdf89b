"""The journal that heads share: who takes a job, who may write about it, whose lease has ended."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psycopg
import pytest
from msgspec import structs
from tests.support.job_records import outcome, record
from tests.support.postgres import PostgresServer

from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.shared import SharedStore
from audio_pool.errors import StorageError
from audio_pool.jobs.leases import bell_of, put_out, renew
from audio_pool.jobs.postgres import PostgresJournal
from audio_pool.jobs.record import JobRecord, Look

LEASE_S = 600.0
"""Never over while a test lasts: a lease ends where the test says so."""


class Journals(contextlib.ExitStack):
    """Several heads' journals, and the database behind them."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.database = PostgresDatabase(SharedStore(url=url, statement_timeout_s=20.0, connections=40))
        self.callback(self.database.close)

    def head(self, name: str) -> PostgresJournal:
        journal = PostgresJournal(self.database, name, LEASE_S)
        journal.recover()
        return journal

    def run(self, statement: str, *values: object) -> None:
        with self.database.using("a test's own") as db:
            db.execute(statement, values)

    def end_lease(self, head: str) -> None:
        """What happens to a head that gives no sign of life."""
        self.run("UPDATE job_heads SET lease_until = clock_timestamp() - interval '1 ms' WHERE head = %s", head)
        with self.database.using("a test's own") as db:
            assert put_out(db, self.database.schema) == [head]


@pytest.fixture
def journals(database: str) -> Iterator[Journals]:
    with Journals(database) as found:
        yield found


def add(journal: PostgresJournal, name: str = "a", *, take: bool = True, **named: object) -> JobRecord:
    with journal.transaction():
        found = journal.add(record(name, **named), 1, take=take)
    assert found is not None
    return found


def look(
    journal: PostgresJournal, room: int = 0, mine: tuple[JobRecord, ...] = (), watched: tuple[int, ...] = ()
) -> Look:
    with journal.transaction():
        return journal.look(room, {one.number: one.attempt for one in mine}, watched)


def finish(journal: PostgresJournal, job: JobRecord, path: str = "/x.wav") -> bool:
    with journal.transaction():
        return journal.finish(job, outcome(path=path))


def test_a_job_is_taken_by_priority_then_in_the_order_in_which_it_came(journals: Journals) -> None:
    a, b = journals.head("a"), journals.head("b")
    for name, priority in (("1", "normal"), ("2", "background"), ("3", "interactive"), ("4", "normal")):
        request = structs.replace(record().request, priority=priority)
        with a.transaction():
            assert a.add(structs.replace(record(name), request=request), 1, take=False) is not None
    assert [one.request_id for one in look(b, 1).taken] == ["3"]
    first = look(a, 2)
    assert [one.request_id for one in first.taken] == ["1", "4"] and first.more
    assert [one.request_id for one in look(b, 5, tuple(first.taken)).taken][-1:] == ["2"]
    assert not look(a, 0, tuple(first.taken)).taken


def test_of_many_heads_that_take_at_once_each_job_has_one(journals: Journals) -> None:
    first = journals.head("first")
    for number in range(200):
        add(first, str(number), take=False)
    taken: dict[str, list[int]] = {}

    def take(name: str) -> None:
        journal, mine = journals.head(name), tuple[JobRecord, ...]()
        while found := look(journal, 7, mine).taken:
            mine += tuple(found)
        taken[name] = [one.number for one in mine]

    threads = [threading.Thread(target=take, args=(f"head {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = sorted(number for numbers in taken.values() for number in numbers)
    assert len(everything) == 200 and len(set(everything)) == 200


def test_the_same_id_that_two_heads_are_asked_for_is_one_job(journals: Journals) -> None:
    heads = [journals.head(f"head {number}") for number in range(6)]
    barrier = threading.Barrier(len(heads))
    added: list[JobRecord | None] = []

    def ask(journal: PostgresJournal) -> None:
        barrier.wait()
        for number in range(30):
            with journal.transaction():
                found = journal.add(record(str(number)), 1)
                known = journal.find(("me", str(number)))
            assert known is not None, "who loses sees what the other has written"
            added.append(found)

    threads = [threading.Thread(target=ask, args=(journal,)) for journal in heads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(added) == 180 and len([one for one in added if one is not None]) == 30


def test_a_late_result_is_refused(journals: Journals) -> None:
    a, b = journals.head("a"), journals.head("b")
    old = add(a)
    with a.transaction():
        a.begin(old)
    journals.end_lease("a")
    assert not finish(a, old), "nobody has taken it yet, and it is not a's any more"
    (new,) = look(b, 5).taken
    assert (new.attempt, new.head, new.lives, new.attempts, new.state) == (2, "b", 1, 1, "pending")
    assert not finish(a, old, "/late.wav")
    with a.transaction():
        a.begin(old)
    assert finish(b, new, "/b.wav")
    assert not finish(a, old, "/late.wav") and not finish(b, new, "/twice.wav")
    found = a.find(new.key)
    assert found is not None
    assert (found.state, found.path, found.attempts) == ("done", "/b.wav", 1), "and is not counted"


def test_a_head_whose_lease_has_ended_takes_nothing(journals: Journals) -> None:
    a, b = journals.head("a"), journals.head("b")
    add(b, "there", take=False)
    journals.end_lease("a")
    assert not look(a, 5).taken
    job = add(a, "new")
    assert job.head == "" and {one.request_id for one in look(b, 5).taken} == {"there", "new"}
    with journals.database.using("renewing") as db:
        assert not renew(db, "a", LEASE_S), "it had none"
        assert renew(db, "a", LEASE_S)
    add(b, "later", take=False)
    assert [one.request_id for one in look(a, 5).taken] == ["later"]


def test_what_nobody_took_meanwhile_goes_on_where_it_was(journals: Journals) -> None:
    a, b = journals.head("a"), journals.head("b")
    kept, lost = add(a, "kept"), add(a, "lost")
    journals.end_lease("a")
    assert [one.number for one in look(b, 1).taken] == [kept.number]
    seen = look(a, 0, (kept, lost))
    assert seen.again == [lost.number] and seen.held.keys() == {lost.number} and not seen.taken
    assert seen.held[lost.number].attempt == 2
    assert not finish(a, lost), "a former attempt"
    assert finish(a, structs.replace(lost, attempt=2))


def test_a_job_is_not_put_out_while_it_is_being_taken(journals: Journals) -> None:
    a = journals.head("a")
    add(a, take=False)
    with a.transaction():
        (mine,) = a.look(1, {}, ()).taken
        journals.run("UPDATE job_heads SET lease_until = clock_timestamp() - interval '1 ms'")
        with journals.database.using("another head") as db:
            assert put_out(db, journals.database.schema) == [], "it waits for the end of that, with the next look"
    with journals.database.using("another head") as db:
        assert put_out(db, journals.database.schema) == ["a"]
    assert not finish(a, mine)


def test_who_wants_no_more_of_a_job_ends_it_or_has_its_head_told(journals: Journals) -> None:
    a, b = journals.head("a"), journals.head("b")
    waiting, running = add(a, "waiting", take=False), add(a, "running")
    ending = structs.replace(outcome("cancelled", path=None), size_bytes=0)
    with b.transaction():
        ended = b.cancel(waiting.key, ending)
        told = b.cancel(running.key, ending)
        assert b.cancel(("me", "unknown"), ending) is None and b.cancel(("you", "running"), ending) is None
    assert ended is not None and ended.state == "cancelled"
    assert told is not None and told.state == "pending" and told.head == "a"
    assert look(a, 0, (running,)).held[running.number].cancelled
    journals.end_lease("a")
    (taken,) = look(b, 5).taken
    assert taken.cancelled, "whoever takes it over knows"
    assert finish(b, taken)
    with b.transaction():
        assert b.cancel(running.key, ending) is None, "it has ended"
        b.reopen(running.key, None)
    (anew,) = look(b, 5).taken
    assert not anew.cancelled and anew.attempt == 3 and anew.lives == 0


def test_what_is_too_late_is_taken_by_a_head_without_room(journals: Journals) -> None:
    """Somebody has to tell its client."""
    a = journals.head("a")
    for name, deadline_at in (("late", a.now() - 1.0), ("in time", a.now() + 1000.0), ("whenever", None)):
        with a.transaction():
            assert a.add(structs.replace(record(name), deadline_at=deadline_at), 1, take=False) is not None
    assert not look(a, -1).taken, "it takes no more of any kind"
    assert [one.request_id for one in look(a, 0).taken] == ["late"]


def test_the_end_of_a_watched_job_is_seen_and_that_it_is_gone(journals: Journals) -> None:
    a, b = journals.head("a"), journals.head("b")
    job = add(a)
    assert look(b, 0, (), (job.number,)) == Look()
    finish(a, job)
    assert [one.path for one in look(b, 0, (), (job.number,)).ended] == ["/x.wav"]
    with a.transaction():
        a.forget_expired(1e10, 9)
    assert look(b, 0, (), (job.number,)).gone == [job.number]


def test_what_a_head_does_not_know_it_has_is_told_it(journals: Journals) -> None:
    """The connection broke while a job was written down: its client was refused, and it is there."""
    a = journals.head("a")
    job = add(a)
    seen = look(a)
    assert [one.number for one in seen.taken] == [job.number] and seen.taken[0].attempt == 1


def test_who_leaves_lets_others_go_on_at_once(journals: Journals) -> None:
    a, b = journals.head("a"), journals.head("b")
    job = add(a)
    a.leave()
    (taken,) = look(b, 1).taken
    assert (taken.number, taken.lives) == (job.number, 0)


def test_heads_are_woken_when_it_is_committed(journals: Journals, database: str) -> None:
    a = journals.head("a")
    with psycopg.connect(database, autocommit=True) as listening:
        listening.execute(f'LISTEN "{bell_of(journals.database.schema)}"')
        job = add(a, "taken")
        add(a, "free", take=False)
        finish(a, job)
        heard = [one.payload for one in listening.notifies(timeout=20.0, stop_after=2)]
    assert heard == ["ready", f"ended {job.number}"]


def test_a_job_of_another_version_waits_for_that_version(journals: Journals) -> None:
    a, b = journals.head("a"), journals.head("b")
    add(a, "strange", take=False)
    add(a, "plain", take=False)
    journals.run("UPDATE jobs SET request = '\\xc1' WHERE request_id = 'strange'")
    (plain,) = look(b, 5).taken
    assert plain.request_id == "plain"
    assert not look(b, 5, (plain,)).taken
    journals.run("UPDATE jobs SET request = (SELECT request FROM jobs WHERE request_id = 'plain')")
    assert [one.request_id for one in look(journals.head("newer"), 5).taken] == ["strange"]


def test_a_database_that_is_gone_is_said_to_be(journals: Journals, postgres: PostgresServer) -> None:
    a = journals.head("a")
    add(a)

    with postgres.gone():
        with pytest.raises(StorageError, match="cannot be reached"):
            add(a, "b")
        assert not a.there()
    journals.database.look()
    assert journals.head("a").totals() == (1, 1)
