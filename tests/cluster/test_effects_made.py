"""A job's sound and the note that it is made are one transaction, of whoever has the job in hand."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.cluster.heads import Heads, finds, keep
from tests.cluster.test_jobs_journal import Journals, add, journals, look
from tests.support.cache_sounds import sound
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.cache.entry import Entry
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import Cancelled
from audio_pool.jobs.postgres import mark_made
from audio_pool.jobs.record import JobRecord
from audio_pool.pool.job_marks import JobMarks
from audio_pool.pool.kept_job import KeptJob
from audio_pool.pool.replies import Reply
from audio_pool.pool.requests import RequestTable
from audio_pool.telemetry import Telemetry

__all__ = ["journals"]


class Plain:
    """Somebody else who waits for the same sound."""

    request_id = "plain"

    def finish(self, reply: Reply) -> None:
        raise AssertionError("nothing is answered here")


def jobs_of(*records: JobRecord) -> list[KeptJob]:
    return [KeptJob(lambda *_: None, one) for one in records]


def also_of(*sinks: Any) -> Callable[[Any, int], None] | None:
    requests = RequestTable(Telemetry())
    return JobMarks(requests, mark_made).also_of([requests.open(sink) for sink in sinks])


def told(journals: Journals) -> list[Any]:
    return journals.database.read("SELECT request_id, coalesce(entry_id, 0), made_at IS NOT NULL FROM jobs ORDER BY id")


@pytest.fixture
def cache(heads: Heads) -> SoundCache:
    return heads.open("a")


def test_a_job_is_made_where_its_sound_is_kept(cache: SoundCache, journals: Journals) -> None:
    one, two = journals.head("one"), journals.head("two")
    jobs = jobs_of(add(one, "a"), add(one, "b"))
    entry = cache.put(sound(cache.incoming, "rain"), {}, also=also_of(*jobs))
    assert told(journals) == [("a", entry.id, True), ("b", entry.id, True)]
    assert not any(job.overtaken for job in jobs)
    journals.end_lease("one")
    taken = look(two, 5).taken
    assert [record.entry_id for record in taken] == [entry.id, entry.id], "the next head knows what was made"


def test_the_late_sound_of_a_job_that_another_head_has_is_not_kept(cache: SoundCache, journals: Journals) -> None:
    one, two = journals.head("one"), journals.head("two")
    (job,) = jobs_of(add(one, "a"))
    journals.end_lease("one")
    assert look(two, 5).taken
    made = sound(cache.incoming, "rain")
    with pytest.raises(Cancelled, match="another server has taken over"):
        cache.put(made, {}, also=also_of(job))
    assert job.overtaken and finds(cache, "rain") is None and told(journals) == [("a", 0, False)]
    assert os.path.exists(made.path), "whoever asked for it removes it"
    assert [path for path in Path(cache.store.location, "audio").resolve().rglob("*") if path.is_file()] == []


def test_what_a_plain_request_waits_for_is_kept_all_the_same(cache: SoundCache, journals: Journals) -> None:
    one, two = journals.head("one"), journals.head("two")
    (lost,) = jobs_of(add(one, "lost"))
    journals.end_lease("one")
    assert look(two, 5).taken
    (mine,) = jobs_of(add(journals.head("three"), "mine"))
    entry = cache.put(sound(cache.incoming, "rain"), {}, also=also_of(lost, mine, Plain()))
    assert told(journals) == [("lost", 0, False), ("mine", entry.id, True)]
    assert lost.overtaken and not mine.overtaken and finds(cache, "rain") == entry.id
    cache.put(sound(cache.incoming, "wind"), {}, also=also_of(lost, Plain()))
    assert finds(cache, "wind") is not None


def test_a_sound_is_not_lost_where_only_the_lease_has_ended(cache: SoundCache, journals: Journals) -> None:
    one, two = journals.head("one"), journals.head("two")
    (job,) = jobs_of(add(one, "a"))
    journals.end_lease("one")
    entry = cache.put(sound(cache.incoming, "rain"), {}, also=also_of(job))
    assert not job.overtaken
    assert [(record.entry_id, record.attempt) for record in look(two, 5).taken] == [(entry.id, 2)]


def test_both_are_there_or_neither(cache: SoundCache, journals: Journals, database: str) -> None:
    (job,) = jobs_of(add(journals.head("one"), "a"))
    also = also_of(job)
    assert also is not None

    def and_die(db: psycopg.Connection[Any], entry_id: int) -> None:
        also(db, entry_id)
        pid = db.info.backend_pid
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        db.execute("SELECT 1")

    made = sound(cache.incoming, "rain")
    with pytest.raises(Exception, match=r"terminat|reached|broke"):
        cache.put(made, {}, also=and_die)
    assert told(journals) == [("a", 0, False)] and finds(cache, "rain") is None
    eventually(lambda: cache.store.trouble == "", "it is found out that the database is there")
    entry = cache.put(made, {}, also=also)
    assert told(journals) == [("a", entry.id, True)]


def test_a_sound_that_is_kept_already_makes_the_job_too(cache: SoundCache, journals: Journals) -> None:
    entry = keep(cache, "rain")
    one, two = journals.head("one"), journals.head("two")
    (job,) = jobs_of(add(one, "a"))
    assert cache.put(sound(cache.incoming, "rain"), {}, also=also_of(job)).id == entry.id
    assert told(journals) == [("a", entry.id, True)]
    cache.remove([entry.id or 0])
    assert told(journals) == [("a", 0, True)], "what is not there any more cannot be taken for it"
    journals.end_lease("one")
    assert [record.entry_id for record in look(two, 5).taken] == [0]


def test_whoever_puts_a_head_out_waits_for_the_sound_that_it_is_keeping(cache: SoundCache, journals: Journals) -> None:
    one, two = journals.head("one"), journals.head("two")
    (job,) = jobs_of(add(one, "a"))
    also, marked, go_on = also_of(job), threading.Event(), threading.Event()
    assert also is not None

    def and_stand_still(db: Any, entry_id: int) -> None:
        also(db, entry_id)
        marked.set()
        go_on.wait(PATIENCE_S)

    kept: list[Entry] = []
    made = sound(cache.incoming, "rain")
    keeping = threading.Thread(target=lambda: kept.append(cache.put(made, {}, also=and_stand_still)))
    keeping.start()
    assert marked.wait(PATIENCE_S)
    ending = threading.Thread(target=journals.end_lease, args=("one",))
    ending.start()
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE jobs SET head%%'"
    eventually(lambda: journals.database.read(waits), "who puts the head out waits")
    go_on.set()
    keeping.join(PATIENCE_S)
    ending.join(PATIENCE_S)
    assert [record.entry_id for record in look(two, 5).taken] == [kept[0].id]
