"""Durable jobs: requests that are in the journal before they are begun, and their results before they are sent.

Owns: every unfinished durable job in this process: who waits for it, and its steps between journal and intake.
Must not know: SQL, sockets, how a sound is made.

A job's way: *admit* (the journal's commit), *submit* (as any request; from here on a KeptJob is its caller),
*keep* (its sound is copied to where nobody removes it), *record* (the journal's commit), *answer*. A process
that is killed between any two of them leaves a job that its successor takes up again.
"""

from __future__ import annotations

import collections
import logging
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor as Keeper
from typing import Any

import msgspec
from msgspec import structs

from audio_pool.api import Cancellation, HealthState
from audio_pool.config import Config
from audio_pool.errors import (
    AudioPoolError,
    StorageError,
    WorkerDied,
)
from audio_pool.jobs.journal import Journal
from audio_pool.jobs.record import FINAL, Admission, JobKey, JobRecord, Outcome, report_of
from audio_pool.jobs.result_files import ResultFiles
from audio_pool.jobs.writer import JournalWriter
from audio_pool.pool.caller import Caller
from audio_pool.pool.intake import Intake
from audio_pool.pool.job_records import admitting, ended, outcome_of, record_of, reopening
from audio_pool.pool.job_reports import JobReports, cancelled, conflict, expired, refusal, reply_of
from audio_pool.pool.kept_job import KeptJob
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.request_log import log_refusal
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.sent_audio import Frames, was_sent
from audio_pool.pool.sent_jobs import SentJobs
from audio_pool.results import Accepted, Failure
from audio_pool.types import AudioRequest, Delivery
from audio_pool.validation import parse

__all__ = ["DurableJobs"]

log = logging.getLogger(__name__)

_RIGHTS = msgspec.msgpack.Decoder(Caller)

_AGAIN_S = 1.0
"""Until something that found no room, or a full disk, is tried again."""
_LIVES_PER_ATTEMPT = 10
"""A job that never gets to a worker may see so many more servers die."""


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
    ) -> None:
        """
        Args:
            keeper: the thread that copies and reads results.
            post: has something done on the router's thread.
            health: the pool's; while it starts, jobs of earlier servers wait.
            journal_exists: there may be unfinished jobs in it.
        """
        self.journal = JournalWriter(open_journal, files, post, wanted=journal_exists, recovered=self._recovered)
        self._settings = config.jobs
        self._most_submitted = max(1, config.queue.max_requests // 2)
        self.reports = JobReports(self.journal, requests, keeper, post, config.server.max_inline_bytes)
        self._intake = intake
        self._hashing = SentJobs(intake, requests)
        self._requests = requests
        self._keeper = keeper
        self._files = files
        self._post = post
        self._health = health
        self._kept: dict[JobKey, KeptJob] = {}
        self._waiting: collections.deque[KeptJob] = collections.deque()
        """Committed, not submitted: there is no room, or no worker yet."""
        self._submitted = 0
        self._pump_ordered = False

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
        record = record_of(caller, request, sink.request_id, time.time())
        job = self._kept.get(record.key)
        if job is not None:
            if job.record.body != record.body:
                raise conflict(record.request_id)
            self._watch(job, caller.connection, sink, events_wanted)
            if job.number and events_wanted and caller.connection in job.watchers:
                sink.notify(Accepted(joined=True))
            return
        job = self._kept[record.key] = KeptJob(self.finished, record, size)
        self._watch(job, caller.connection, sink, events_wanted)
        admit = admitting(record, size, sent, self._settings)
        self.journal.order(admit, lambda answer: self._admitted(job, answer))

    def cancel(self, caller: Caller, target: str, sink: ReplySink) -> bool:
        """Cancel an owner's unfinished job, once and for all; return False where there is none of that id."""
        key = caller.job_owner, target
        if self._hashing.wait(key, sink, lambda: self._cancel_late(caller, target, sink)):
            return True
        job = self._kept.get(key)
        if job is None or job.answered or (caller.anonymous and caller.connection not in job.watchers):
            return False  # one that is answered only waits for room in the journal
        job.cancellers.append(self._requests.open_question(sink))
        job.cancel_asked = True
        if job.number:
            self._intake.cancel(job.number)
        elif job in self._waiting:
            self._waiting.remove(job)
            self._end(job, cancelled())
        return True  # else it is on its way to the journal or from it, and hears of it there

    def _cancel_late(self, caller: Caller, target: str, sink: ReplySink) -> None:
        if not self.cancel(caller, target, sink):
            sink.finish(Reply(kind="result", body=Cancellation(target=target, cancelled=False)))

    def report(self, caller: Caller, target: str, sink: ReplySink, *, wait_ms: int, delivery: Delivery) -> None:
        """Answer with a JobReport: now, or when the job has ended or ``wait_ms`` are over."""
        owner = caller.job_owner
        if self._hashing.wait(
            (owner, target), sink, lambda: self.report(caller, target, sink, wait_ms=wait_ms, delivery=delivery)
        ):
            return
        number = self._requests.open_question(sink)
        job = self._kept.get((owner, target))
        if job is None or wait_ms == 0 or job.answered:
            self.reports.answer(number, (owner, target), delivery)
            return
        job.fetchers[number] = delivery

        until = time.monotonic() + wait_ms / 1000

        def look() -> None:
            now = time.monotonic()
            if number not in job.fetchers:
                return
            if now < until and self._health() != "draining":
                self.journal.at(min(until, now + _AGAIN_S), look)
                return
            del job.fetchers[number]
            self.reports.answer(number, (owner, target), delivery)

        self.journal.at(min(until, time.monotonic() + _AGAIN_S), look)

    def retry(self, caller: Caller, target: str, sink: ReplySink) -> None:
        """Have a job that ended without a sound done again; answer with its JobReport."""
        number = self._requests.open_question(sink)
        key = caller.job_owner, target

        def reopened(answer: Admission | AudioPoolError) -> None:
            if isinstance(answer, Admission):
                if key not in self._kept:
                    self._take_up(KeptJob(self.finished, answer.record))
                self._requests.finish(number, reply_of(report_of(answer.record)))
            else:
                log_refusal(target, caller.client, answer)
                self._requests.finish(number, reply_of(answer))

        self.journal.order(reopening(key, time.time()), reopened)

    def begun(self, number: int) -> None:
        """Note that a worker has been given the sound of a request to make."""
        open_request = self._requests.get(number)
        job = open_request.sink if open_request is not None else None
        if isinstance(job, KeptJob) and not job.begun:
            job.begun = True
            record = job.record
            self.journal.order(lambda journal: journal.begin(record), _ignore)

    # -- from the journal to the intake ------------------------------------------------------------

    def _watch(self, job: KeptJob, connection: str, sink: ReplySink, events_wanted: bool) -> None:
        if connection in job.watchers:  # it gets one reply
            return
        number = self._requests.open_question(sink)
        if job.answered and job.reply is not None:
            self._requests.finish(number, job.reply)
            return
        job.watchers[connection] = number, sink if events_wanted else None

    def _admitted(self, job: KeptJob, answer: Admission | AudioPoolError) -> None:
        if isinstance(answer, AudioPoolError):
            log_refusal(job.request_id, _RIGHTS.decode(job.record.rights).client, answer)
            self._answer(job, refusal(answer))
        elif answer.record.state in FINAL:
            self._answer_from(job, answer.record)
        else:
            job.record = answer.record
            self._take_up(job)

    def _recovered(self, records: list[JobRecord]) -> None:
        """Take up what earlier servers left."""
        for record in records:
            if record.key not in self._kept:  # else it was asked for meanwhile, and is about to be admitted
                self._take_up(KeptJob(self.finished, record))

    def _take_up(self, job: KeptJob) -> None:
        """Submit a job that is in the journal, as soon as there is room."""
        self._kept[job.record.key] = job
        record, most = job.record, self._settings.max_attempts
        if job.cancel_asked:
            self._end(job, cancelled())
        elif record.attempts >= most or record.lives >= most * _LIVES_PER_ATTEMPT:
            died = WorkerDied(
                f"the server ended {max(record.attempts, record.lives)} times while it had this job; not tried again",
                hint="'audio-pool jobs retry' tries once more",
            )
            self._end(job, Reply(kind="error", failure=structs.replace(Failure.of(died), retryable=False)))
        else:
            self._waiting.append(job)
            self._pump()

    def _pump(self) -> None:
        """Submit what waits, as far as there is room."""
        while self._waiting and self._submitted < self._most_submitted:
            if self._waiting[0].record.lives and self._health() == "starting":
                break
            self._submit(self._waiting.popleft())
        if self._waiting:
            self._pump_later()

    def _pump_later(self) -> None:
        """Look again soon whether there is room, and whose deadline has passed."""
        if self._pump_ordered:
            return
        self._pump_ordered = True

        def pump() -> None:
            self._pump_ordered = False
            now = time.time()
            for job in [job for job in self._waiting if _left_s(job.record, now) <= 0.0]:
                self._waiting.remove(job)
                self._end(job, expired())
            self._pump()

        self.journal.at(time.monotonic() + _AGAIN_S, pump)

    def _submit(self, job: KeptJob) -> None:
        left_s = _left_s(job.record, time.time())
        if left_s <= 0.0:
            self._end(job, expired())
            return
        self._submitted += 1
        if not was_sent(job.record.request):
            self._give(job, left_s)
            return
        key = job.record.key
        self.journal.order(lambda journal: journal.sent(key), lambda found: self._give_with(job, found))

    def _give_with(self, job: KeptJob, sent: bytes | AudioPoolError) -> None:
        """Hand a job to the intake with the sound that came with it, which was read from the journal."""
        left_s = _left_s(job.record, time.time())
        if job.cancel_asked:
            self.finished(job, cancelled())
        elif left_s <= 0.0:
            self.finished(job, expired())
        elif isinstance(sent, AudioPoolError):
            self.finished(job, refusal(sent))
        else:
            self._give(job, left_s, [sent])

    def _give(self, job: KeptJob, left_s: float, sent: Frames = ()) -> None:
        """Hand a job to the intake."""
        request = job.record.request
        try:
            number = self._intake.submit(
                structs.replace(request, init_audio=None) if sent else request,
                job,
                sent=sent,
                events_wanted=True,
                size_bytes=job.size_bytes,
                timeout_s=left_s if math.isfinite(left_s) else None,
                caller=_RIGHTS.decode(job.record.rights),
            )
        except AudioPoolError as exc:
            self.finished(job, refusal(exc))
        else:
            job.number = number if job.reply is None and job not in self._waiting else 0

    # -- from the pool to the journal --------------------------------------------------------------

    def finished(self, job: KeptJob, reply: Reply) -> None:
        """Take what the pool made of a submitted job."""
        self._submitted -= 1
        job.number = 0
        failure = reply.failure
        if failure is not None and failure.code == "closed":  # the successor of this server goes on with it
            self._answer(job, reply)
        elif failure is not None and reply.kind == "busy" and not job.cancel_asked:
            self._waiting.append(job)
            self._pump_later()
            return
        else:
            self._end(job, reply)
        self._pump()

    def _end(self, job: KeptJob, reply: Reply) -> None:
        """Keep and record what a job came to, then answer."""
        job.reply = reply
        path = reply.path
        if path is None:
            self._record(job, None, 0)
            return

        def keep() -> None:
            try:
                kept, size = self._files.keep(path)
            except StorageError as exc:
                log.error("%s", exc)
                kept, size = path, 0
            except BaseException:  # the job must not be left without its end
                log.exception("the sound of job %s could not be kept", job.request_id)
                kept, size = path, 0
            self._post(lambda: self._record(job, kept, size))

        self._keeper.submit(keep)

    def _record(self, job: KeptJob, path: str | None, size_bytes: int) -> None:
        reply = job.reply
        assert reply is not None
        if path is not None and job.record.request.output_path is None:
            job.reply = structs.replace(reply, path=path)
        now = time.time()
        outcome = outcome_of(reply, path, size_bytes, now, now + self._settings.result_ttl_s)
        record = job.record
        self.journal.order(
            lambda journal: journal.finish(record, outcome), lambda answer: self._recorded(job, outcome, answer)
        )

    def _recorded(self, job: KeptJob, outcome: Outcome, answer: bool | AudioPoolError) -> None:
        reply = job.reply
        assert reply is not None
        if not isinstance(answer, AudioPoolError):
            self._answer(job, reply)
            return
        # its caller gets it all the same; until there is room again, or for good, it may be made once more
        if not job.answered:
            if reply.metadata is not None:
                warnings = (*reply.metadata.warnings, f"not_recorded: {answer}")
                reply = structs.replace(reply, metadata=structs.replace(reply.metadata, warnings=warnings))
            job.answered = True
            self._answer_watchers(job, reply)
        again = time.monotonic() + _AGAIN_S
        self.journal.at(again, lambda: self._record(job, outcome.path, outcome.size_bytes))

    # -- answers -----------------------------------------------------------------------------------

    def _answer(self, job: KeptJob, reply: Reply) -> None:
        """Let go of a job, and tell everybody who waits for it."""
        del self._kept[job.record.key]
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
        path = record.path or ""

        def answer(data: bytes | AudioPoolError | None) -> None:
            if isinstance(data, AudioPoolError):
                self._answer(job, refusal(data))
            else:
                self._answer(job, Reply(kind="result", path=path, metadata=record.metadata, data=data))

        if record.request.delivery == "inline":
            self.reports.read(path, answer)
        else:
            answer(None)


def _left_s(record: JobRecord, now: float) -> float:
    return math.inf if record.deadline_at is None else record.deadline_at - now


def _ignore(answer: AudioPoolError | None) -> None:
    """Do nothing: a failure has been logged, and costs one counted attempt."""
