"""Durable jobs: requests that are in the journal before they are begun, and their results before they are sent.

Owns: who waits for which unfinished durable job here, whether or not it is in this process's hand.
Must not know: SQL, sockets, how a sound is made, a job's steps (job_steps.py).

A job's way: *admit* (the journal's commit), *submit* (as any request; from here on a KeptJob is its caller),
*keep* (its sound is copied to where nobody removes it), *record* (the journal's commit), *answer*. A process
that is killed between any two of them leaves a job that its successor, or another head, takes up again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor as Keeper
from typing import Any

from audio_pool.api import Cancellation, HealthState
from audio_pool.cache.store import Also
from audio_pool.config import Config
from audio_pool.errors import AudioPoolError
from audio_pool.jobs.journal import Journal
from audio_pool.jobs.record import FINAL, Admission, JobKey, JobRecord, report_of
from audio_pool.jobs.result_files import ResultFiles
from audio_pool.jobs.writer import JournalWriter
from audio_pool.pool.caller import Caller
from audio_pool.pool.intake import Intake
from audio_pool.pool.job_records import admitting, cancelling, ended, record_of, reopening
from audio_pool.pool.job_reports import Fetched, JobReports, conflict, refusal, reply_of
from audio_pool.pool.job_steps import AGAIN_S, JobSteps, rights_of
from audio_pool.pool.kept_job import KeptJob
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.request_log import log_refusal
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.sent_audio import Frames
from audio_pool.pool.sent_jobs import SentJobs
from audio_pool.pool.shared_jobs import SharedJobs
from audio_pool.results import Accepted
from audio_pool.types import AudioRequest, Delivery
from audio_pool.validation import parse

__all__ = ["DurableJobs"]

log = logging.getLogger(__name__)


class DurableJobs:
    """Router's thread only."""

    def __init__(
        self,
        config: Config,
        intake: Intake,
        requests: RequestTable,
        keeper: Keeper,
        files: ResultFiles,
        post: Callable[[Callable[[], None]], None],
        *,
        health: Callable[[], HealthState],
        open_journal: Callable[[], Journal],
        journal_exists: bool,
        places: Callable[[], int] | None = None,
    ) -> None:
        """
        Args:
            keeper: the thread that copies and reads results.
            post: has something done on the router's thread.
            health: the pool's; while it starts, jobs of earlier servers wait.
            journal_exists: there may be unfinished jobs in it.
            places: how many sounds the workers can have in hand now; None: no other head shares the journal.
        """
        self.journal = JournalWriter(open_journal, files, post, wanted=journal_exists, recovered=self._recovered)
        self._settings = config.jobs
        self.reports = JobReports(self.journal, requests, keeper, files, post, config.server.max_inline_bytes)
        self.also_of: Callable[[Sequence[int]], Also | None] = lambda _: None
        """What is written in the transaction that keeps the sound of these requests."""
        self._intake = intake
        self._hashing = SentJobs(intake, requests)
        self._requests = requests
        self._health = health
        self._kept: dict[JobKey, KeptJob] = {}
        """Unfinished jobs that are in this process's hand, or that somebody waits for here."""
        self._steps = JobSteps(
            config, intake, self.journal, keeper, files, post,
            shared=places is not None, health=health, answer=self._answer, answer_early=self._answer_watchers,
            lost=self._lost, freed=self._freed,
        )  # fmt: skip
        self._shared = None if places is None else SharedJobs(
            self.journal, self._steps, self._kept,
            places=places, draining=lambda: health() == "draining", ended=self._answer_from, answer=self._answer,
        )  # fmt: skip

    # -- verbs -------------------------------------------------------------------------------------

    def submit(
        self,
        caller: Caller,
        fields: Mapping[str, Any],  # opaque until it has been parsed: a client's words
        sink: ReplySink,
        *,
        events_wanted: bool,
        size_bytes: int,
        sent: Frames = (),
    ) -> None:
        """Take a durable request in; the sink gets everything else. The same again is the same job.

        Ids of different owners have nothing to do with each other. A connection gets one final reply for one job,
        however often it asks.

        Args:
            sent: the sound to start from, where it came with the request: kept in the journal with it.

        Raises:
            CallerError: it cannot be carried out; Conflict: another request has that id.
        """
        if caller.namespace is not None:
            fields = {**fields, "namespace": caller.namespace_of(fields.get("namespace"))}
        request = parse(AudioRequest, fields)
        self._intake.check(request, caller, sent)  # refused before it is kept
        if not sent:
            self._admit(caller, request, sink, events_wanted, size_bytes)
            return
        self._hashing.submit(
            caller, request, sent, sink,
            lambda named, data: self._admit(caller, named, sink, events_wanted, size_bytes, data),
        )  # fmt: skip

    def _admit(
        self, caller: Caller, request: AudioRequest, sink: ReplySink, events_wanted: bool, size: int, sent: bytes = b""
    ) -> None:
        """Have a checked request written down, unless it is there already. Raises Conflict."""
        record = record_of(caller, request, sink.request_id, self.journal.now())
        job = self._kept.get(record.key)
        if job is not None:
            if job.record.body != record.body:
                raise conflict(record.request_id)
            self._watch(job, caller.connection, sink, events_wanted)
            if (job.number or job.elsewhere) and events_wanted and caller.connection in job.watchers:
                sink.notify(Accepted(joined=True))
            return
        job = self._kept[record.key] = KeptJob(self._steps.finished, record, size)
        self._watch(job, caller.connection, sink, events_wanted)
        take = self._shared is None or self._shared.ordered()
        admit = admitting(record, size, sent, self._settings, take=take)
        self.journal.order(admit, lambda answer: self._admitted(job, take, answer))

    def cancel(self, caller: Caller, target: str, sink: ReplySink, otherwise: Callable[[], Cancellation]) -> None:
        """Cancel an owner's unfinished job, once and for all.

        Args:
            otherwise: cancels what else has that id, where no such job has.
        """
        key = caller.job_owner, target
        if self._hashing.wait(key, sink, lambda: self.cancel(caller, target, sink, otherwise)):
            return
        job = self._kept.get(key)
        if job is not None and caller.anonymous and caller.connection not in job.watchers:
            job = None
        if job is None or job.answered:  # one that is answered only waits for room in the journal
            told = otherwise()
            if told.cancelled or caller.anonymous or self._shared is None or job is not None:
                sink.finish(Reply(kind="result", body=told))
            else:
                self._cancel_elsewhere(key, self._requests.open_question(sink))
        elif job.elsewhere:
            self._cancel_elsewhere(key, self._requests.open_question(sink))
        else:
            job.cancellers.append(self._requests.open_question(sink))
            self._steps.cancel(job)

    def _cancel_elsewhere(self, key: JobKey, number: int) -> None:
        """Have a job end that is not in this head's hand; answer once it has."""

        def done(answer: JobRecord | AudioPoolError | None) -> None:
            if isinstance(answer, JobRecord) and answer.state not in FINAL:
                self._waited_for(answer).cancellers.append(number)
            elif isinstance(answer, AudioPoolError):
                self._requests.finish(number, refusal(answer))
            else:
                body = Cancellation(target=key[1], cancelled=answer is not None)
                self._requests.finish(number, Reply(kind="result", body=body))

        self.journal.order(cancelling(key, self._settings.result_ttl_s), done)

    def report(self, caller: Caller, target: str, sink: ReplySink, *, wait_ms: int, delivery: Delivery) -> None:
        """Answer with a JobReport: now, or when the job has ended or ``wait_ms`` are over."""
        key = caller.job_owner, target
        if self._hashing.wait(key, sink, lambda: self.report(caller, target, sink, wait_ms=wait_ms, delivery=delivery)):
            return
        number = self._requests.open_question(sink)
        until = time.monotonic() + wait_ms / 1000
        job = self._kept.get(key)
        if job is not None and wait_ms > 0 and not job.answered:
            self._fetch(job, number, delivery, until)
        elif job is not None or wait_ms == 0 or self._shared is None:
            self.reports.answer(number, key, delivery)
        else:
            self.journal.order(
                lambda journal: journal.find(key), lambda found: self._found(found, key, number, delivery, until)
            )

    def _found(
        self, found: JobRecord | AudioPoolError | None, key: JobKey, number: int, delivery: Delivery, until: float
    ) -> None:
        """Wait for a job's end that nobody here has waited for yet."""
        if isinstance(found, JobRecord) and found.state not in FINAL:
            self._fetch(self._waited_for(found), number, delivery, until)
        else:
            self.reports.answer(number, key, delivery)

    def _fetch(self, job: KeptJob, number: int, delivery: Delivery, until: float) -> None:
        fetchers, key = job.fetchers, job.record.key  # they stay together whoever has the job in hand
        fetchers[number] = delivery

        def look() -> None:
            now = time.monotonic()
            if number not in fetchers:
                return
            if now < until and self._health() != "draining":
                self.journal.at(min(until, now + AGAIN_S), look)
                return
            del fetchers[number]
            self.reports.answer(number, key, delivery)

        self.journal.at(min(until, time.monotonic() + AGAIN_S), look)

    def _waited_for(self, record: JobRecord) -> KeptJob:
        """Return an unfinished job, whose end is heard of from now on if it is not in this head's hand."""
        job = self._kept.get(record.key)
        if job is None:
            assert self._shared is not None
            job = self._kept[record.key] = KeptJob(self._steps.finished, record)
            self._shared.watch(job)
        return job

    def retry(self, caller: Caller, target: str, sink: ReplySink) -> None:
        """Have a job that ended without a sound done again; answer with its JobReport."""
        number = self._requests.open_question(sink)
        key = caller.job_owner, target

        def reopened(answer: Admission | AudioPoolError) -> None:
            if isinstance(answer, Admission):
                if self._shared is not None:
                    self._shared.rung({"ready"})
                elif key not in self._kept:
                    self._take_up(KeptJob(self._steps.finished, answer.record))
                self._requests.finish(number, reply_of(report_of(answer.record)))
            else:
                log_refusal(target, caller.client, answer)
                self._requests.finish(number, reply_of(answer))

        self.journal.order(reopening(key), reopened)

    def begun(self, number: int) -> None:
        """Note that a worker has been given the sound of a request to make."""
        open_request = self._requests.get(number)
        job = open_request.sink if open_request is not None else None
        if isinstance(job, KeptJob):
            self._steps.begun(job)

    # -- who waits ---------------------------------------------------------------------------------

    def _watch(self, job: KeptJob, connection: str, sink: ReplySink, events_wanted: bool) -> None:
        if connection in job.watchers:  # it gets one reply
            return
        number = self._requests.open_question(sink)
        if job.answered and job.reply is not None:
            self._requests.finish(number, job.reply)
            return
        job.watchers[connection] = number, sink if events_wanted else None

    def _admitted(self, job: KeptJob, took: bool, answer: Admission | AudioPoolError) -> None:
        if self._shared is not None:
            self._shared.admitted(took)
            if job.dropped or job.record.number:  # it was had by a look round before: written down by another head
                return
        if isinstance(answer, AudioPoolError):
            log_refusal(job.request_id, rights_of(job.record).client, answer)
            self._answer(job, refusal(answer))
        elif answer.record.state in FINAL:
            self._answer_from(job, answer.record)
        else:
            job.record = answer.record
            self._take_up(job, mine=answer.mine, joined=not answer.new)

    def _recovered(self, records: list[JobRecord]) -> None:
        """Take up what earlier servers left."""
        for record in records:
            if record.key not in self._kept:  # else it was asked for meanwhile, and is about to be admitted
                self._take_up(KeptJob(self._steps.finished, record))
        if self._shared is not None:
            self._shared.start()

    def rung(self, news: set[str]) -> None:
        """Hear what heads are woken for."""
        if self._shared is not None:
            self._shared.rung(news)

    def _take_up(self, job: KeptJob, *, mine: bool = True, joined: bool = False) -> None:
        """Go on with a job that is in the journal, or wait until its head has."""
        self._kept[job.record.key] = job
        if self._shared is None:
            self._steps.take_up(job)
        elif mine:
            self._shared.take(job)
        else:
            job.tell_accepted(joined=joined)
            self._shared.watch(job)
            if job.cancel_asked:
                cancellers, job.cancellers = job.cancellers, []
                for number in cancellers or [0]:
                    self._cancel_elsewhere(job.record.key, number)

    def _lost(self, job: KeptJob) -> None:
        assert self._shared is not None
        self._shared.lost(job)

    def _freed(self) -> None:
        if self._shared is not None:
            self._shared.freed()

    # -- answers -----------------------------------------------------------------------------------

    def _answer(self, job: KeptJob, reply: Reply) -> None:
        """Let go of a job, and tell everybody who waits for it."""
        if self._kept.get(job.record.key) is job:
            del self._kept[job.record.key]
        if self._shared is not None:
            self._shared.forget(job)
        self._answer_watchers(job, reply)
        for number, delivery in job.fetchers.items():
            self.reports.answer(number, job.record.key, delivery)
        job.fetchers.clear()

    def _answer_watchers(self, job: KeptJob, reply: Reply) -> None:
        for number, _ in job.watchers.values():
            self._requests.finish(number, reply)
        job.watchers.clear()
        for number in job.cancellers:
            body = Cancellation(target=job.request_id, cancelled=reply.kind == "cancelled")
            self._requests.finish(number, Reply(kind="result", body=body))
        job.cancellers.clear()

    def _answer_from(self, job: KeptJob, record: JobRecord) -> None:
        """Answer who asked again for what is there already."""
        if record.state != "done":
            self._answer(job, ended(record))
            return

        def answer(found: Fetched | AudioPoolError) -> None:
            if isinstance(found, AudioPoolError):
                self._answer(job, refusal(found))
            else:
                self._answer(job, Reply(kind="result", path=found.path, metadata=record.metadata, data=found.data))

        if record.path:
            self.reports.fetch(record.path, answer, inline=record.request.delivery == "inline")
        else:
            answer(Fetched("", None))
