"""Whoever waits on one head for a job that another one has in hand hears how far it is."""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.cluster.served_heads import ServedHeads, asking
from tests.cluster.test_jobs_journal import Journals, add, journals
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.jobs.leases import bell_of
from audio_pool.jobs.writer import JournalWriter
from audio_pool.pool.job_progress import JobProgress
from audio_pool.pool.kept_job import KeptJob
from audio_pool.pool.replies import LocalSink
from audio_pool.results import Progress

__all__ = ["journals"]


@pytest.fixture
def heads(database: str, tmp_path: Path) -> Iterator[ServedHeads]:
    with ServedHeads(database, tmp_path, lease_s=3.0) as found:
        yield found


def test_progress_reaches_who_waits_on_another_head_and_goes_on_where_a_third_takes_the_job(
    heads: ServedHeads, tmp_path: Path
) -> None:
    one, two, gate = heads.start("one").ready(), heads.start("two").ready(), tmp_path / "gate"
    prompt = f"hold {gate}"
    with asking(one) as client, asking(two) as other:
        client.submit(prompt, durable=True, request_id="far")
        eventually(one.diary, "the first is at it")
        pending = other.submit(prompt, durable=True, request_id="far", events=True)
        events = pending.events()
        assert next(events).type == "accepted"
        heard = next(event.body for event in events if isinstance(event.body, Progress))
        assert 0.0 < heard.fraction < 1.0 and heard.stage == "generate"
        one.process.send_signal(signal.SIGKILL)
        eventually(two.diary, "the second has taken it over")
        assert next(event.body for event in events if isinstance(event.body, Progress)).stage == "generate"
        gate.touch()
        assert pending.result(PATIENCE_S).path


class Told(contextlib.ExitStack):
    """One head's half of it, on a real journal, and what heads hear of it."""

    def __init__(self, journals: Journals) -> None:
        super().__init__()
        self.now = 1000.0
        self.journal = journals.head("one")
        writer = JournalWriter(lambda: self.journal, Nowhere(), lambda call: call(), wanted=True, recovered=_ignore)
        writer.start()
        self.callback(writer.close)
        self.progress = JobProgress(writer, lambda: self.now)
        self.rings = self.enter_context(contextlib.closing(Rings(journals)))


class Nowhere:
    """No files."""

    def sweep(self, *_: object, **__: object) -> None:
        pass


class Rings:
    """What is heard on the bell."""

    def __init__(self, journals: Journals) -> None:
        self._db = psycopg.connect(journals.database._shared.url, autocommit=True)
        self._db.execute(sql.SQL("LISTEN {}").format(sql.Identifier(bell_of(journals.database.schema))))
        self._marks = itertools.count()
        self._journals = journals

    def heard(self, told: Told) -> list[str]:
        """Everything up to now."""
        end = f"end {next(self._marks)}"
        told.progress._ring(end)
        found: list[str] = []
        for one in self._db.notifies(timeout=PATIENCE_S):
            if one.payload == end:
                return found
            found.append(one.payload)
        raise AssertionError("nothing is heard")

    def close(self) -> None:
        self._db.close()


def _ignore(*_: Any) -> None:
    pass


def test_a_head_tells_of_a_job_where_another_asks_and_once_a_second(journals: Journals) -> None:
    with Told(journals) as told:
        job = KeptJob(_ignore, add(told.journal, "a"))
        number = job.record.number
        job.on_progress = told.progress.made
        job.notify(Progress(stage="generate", fraction=0.25))
        assert [ring for ring in told.rings.heard(told) if ring.startswith("progress")] == [], "nobody has asked"
        told.progress.asked(job)
        for fraction in (0.3, 0.4):
            job.notify(Progress(stage="generate", fraction=fraction))
        told.now += 1.0
        job.notify(Progress(stage="generate", fraction=0.5))
        found = [ring.partition("{")[2] for ring in told.rings.heard(told) if ring.startswith(f"progress {number} ")]
        assert ["0.25" in found[0], "0.5" in found[1], len(found)] == [True, True, 2]
        told.now += 61.0
        job.notify(Progress(stage="generate", fraction=0.6))
        assert told.rings.heard(told) == [], "nobody has asked for a minute"


def test_a_head_asks_where_somebody_wants_to_hear_now_and_then(journals: Journals) -> None:
    with Told(journals) as told:
        quiet, job = (KeptJob(_ignore, add(told.journal, name)) for name in "ab")
        heard: list[Any] = []
        quiet.watchers["x"] = (1, None)
        job.watchers["x"] = (1, LocalSink(request_id="b", on_reply=_ignore, on_event=heard.append))
        told.rings.heard(told)
        rings = []
        for _ in range(15):
            told.progress.ask([quiet, job])
            told.now += 2.0
            rings += told.rings.heard(told)
        assert rings == [f"watch {job.record.number}"] * 2
        told.progress.heard(job, '{"stage": "generate", "fraction": 0.5}')
        told.progress.heard(job, '{"stage": "of another version"}')
        assert [one.fraction for one in heard] == [0.5]
