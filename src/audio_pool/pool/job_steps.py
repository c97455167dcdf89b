"""A durable job's steps in this process: from the journal to the intake, and from the pool back to the journal.

Owns: those that this process has in hand: which wait for room, what is being kept and recorded.
Must not know: who waits for them (durable_jobs.py), other heads (shared_jobs.py), SQL, sockets.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Executor as Keeper

import msgspec
from msgspec import structs

from audio_pool.api import HealthState
from audio_pool.config import Config
from audio_pool.errors import AudioPoolError, StorageError, WorkerDied
from audio_pool.jobs.journal import Journal
from audio_pool.jobs.record import JobRecord
from audio_pool.jobs.result_files import KeptResult, ResultFiles
from audio_pool.jobs.writer import JournalWriter
from audio_pool.pool.caller import Caller
from audio_pool.pool.intake import Intake
from audio_pool.pool.job_records import outcome_of
from audio_pool.pool.job_reports import cancelled, expired, refusal
from audio_pool.pool.kept_job import KeptJob
from audio_pool.pool.replies import Reply
from audio_pool.pool.sent_audio import Frames, was_sent
from audio_pool.results import Failure

__all__ = ["AGAIN_S", "JobSteps", "rights_of"]

log = logging.getLogger(__name__)

_RIGHTS = msgspec.msgpack.Decoder(Caller)

AGAIN_S = 1.0
"""Until something that found no room, or a full disk, is tried again."""
_STORE_AWAY_S = 600.0
"""A job whose sound is there does not end for so long while the place is away in which it is kept for all heads."""
_LIVES_PER_ATTEMPT = 10
"""A job that never gets to a worker may see so many more servers die."""


class JobSteps:
    """Router's thread only."""

    def __init__(
        self,
        config: Config,
        intake: Intake,
        journal: JournalWriter,
        keeper: Keeper,
        files: ResultFiles,
        post: Callable[[Callable[[], None]], None],
        *,
        shared: bool,
        health: Callable[[], HealthState],
        answer: Callable[[KeptJob, Reply], None],
        answer_early: Callable[[KeptJob, Reply], None],
        lost: Callable[[KeptJob], None],
        freed: Callable[[], None],
    ) -> None:
        """
        Args:
            keeper: the thread that copies results.
            post: has something done on the router's thread.
            shared: other heads may go on with what this one has in hand.
            health: the pool's; while it starts, jobs of earlier servers wait.
            answer: told what a job came to, once that is recorded; it is in nobody's hand then.
            answer_early: told so while it cannot be recorded; the job stays.
            lost: told that another head has a job in hand, whose end this head was about to record.
            freed: told that there is room for more.
        """
        self._settings = config.jobs
        self.most_submitted = max(1, config.queue.max_requests // 2)
        self._intake = intake
        self._journal = journal
        self._keeper = keeper
        self._files = files
        self._post = post
        self._shared = shared
        self._health = health
        self._answer = answer
        self._answer_early = answer_early
        self._lost = lost
        self._freed = freed
        self._waiting: collections.deque[KeptJob] = collections.deque()
        """Committed, not submitted: there is no room, or no worker yet."""
        self._submitted = 0
        self._pump_ordered = False

    @property
    def under_way(self) -> int:
        """How many jobs wait for workers, or are with them."""
        return self._submitted + len(self._waiting)

    def begun(self, job: KeptJob) -> None:
        """Note that a worker has been given a job's sound to make."""
        if not (job.begun or job.dropped):
            job.begun = True
            record = job.record
            self._journal.order(lambda journal: journal.begin(record), _ignore)

    def cancel(self, job: KeptJob) -> None:
        """Have a job in hand end; one that is on its way to the journal or from it hears of it there."""
        job.cancel_asked = True
        if job.number:
            self._intake.cancel(job.number)
        elif job in self._waiting:
            self._waiting.remove(job)
            self._end(job, cancelled())

    def drop(self, job: KeptJob) -> None:
        """Do no more of a job that was handed over: it is another head's."""
        assert job.dropped
        if job.number:
            self._intake.cancel(job.number)
        elif job in self._waiting:
            self._waiting.remove(job)

    # -- from the journal to the intake ------------------------------------------------------------

    def take_up(self, job: KeptJob) -> None:
        """Submit a job that is in the journal and in this process's hand, as soon as there is room."""
        record, most = job.record, self._settings.max_attempts
        if job.cancel_asked or record.cancelled:
            self._end(job, cancelled())
        elif not record.entry_id and (record.attempts >= most or record.lives >= most * _LIVES_PER_ATTEMPT):
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
        while self._waiting and self._submitted < self.most_submitted:
            # heads that share jobs take no more than their workers have places for: more workers may be on their way
            if self._waiting[0].record.lives and not self._shared and self._health() == "starting":
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
            for job in [job for job in self._waiting if self._left_s(job.record) <= 0.0]:
                self._waiting.remove(job)
                self._end(job, expired())
            self._pump()

        self._journal.at(time.monotonic() + AGAIN_S, pump)

    def _left_s(self, record: JobRecord) -> float:
        return math.inf if record.deadline_at is None else record.deadline_at - self._journal.now()

    def _submit(self, job: KeptJob) -> None:
        left_s = self._left_s(job.record)
        if left_s <= 0.0:
            self._end(job, expired())
            return
        if job.looks_for_made and not self._intake.knows(job.record.entry_id):
            job.looks_for_made -= 1  # this head has not heard of it yet
            self._journal.at(time.monotonic() + AGAIN_S, lambda: self._submit_again(job))
            return
        self._submitted += 1
        if not was_sent(job.record.request):
            self._give(job, left_s)
            return
        key = job.record.key
        self._journal.order(lambda journal: journal.sent(key), lambda found: self._give_with(job, found))

    def _submit_again(self, job: KeptJob) -> None:
        if job.cancel_asked:
            self._end(job, cancelled())
        elif not job.dropped:
            self._waiting.append(job)
            self._pump()

    def _give_with(self, job: KeptJob, sent: bytes | AudioPoolError) -> None:
        """Hand a job to the intake with the sound that came with it, which was read from the journal."""
        left_s = self._left_s(job.record)
        if job.cancel_asked or job.dropped:
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
                caller=rights_of(job.record),
                made=job.record.entry_id,
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
        if job.overtaken and not job.dropped:
            self._lost(job)
        if job.dropped:
            log.info("job %s is another head's; what came of it here is dropped", job.request_id)
        elif failure is not None and failure.code == "closed":  # the successor of this server goes on with it
            self._answer(job, reply)
        elif failure is not None and reply.kind == "busy" and not job.cancel_asked:
            self._waiting.append(job)
            self._pump_later()
            return
        else:
            self._end(job, reply)
        self._pump()
        self._freed()

    def _end(self, job: KeptJob, reply: Reply) -> None:
        """Keep and record what a job came to, then answer."""
        job.reply = reply
        path = reply.path
        if path is None:
            self._record(job, None)
        else:
            self._keep(job, path, time.monotonic() + _STORE_AWAY_S)

    def _keep(self, job: KeptJob, path: str, until: float, *, again: bool = False) -> None:
        if job.dropped:
            return

        def keep() -> None:
            kept = KeptResult(path, path, 0)
            try:
                kept = self._files.keep(path)
            except StorageError as exc:
                # said once of a job: it is tried four times a second
                log.log(logging.DEBUG if again else logging.ERROR, "job %s: %s", job.request_id, exc)
                if self._files.remote and time.monotonic() < until:
                    self._journal.at(time.monotonic() + AGAIN_S, lambda: self._keep(job, path, until, again=True))
                    return
            except BaseException:  # the job must not be left without its end
                log.exception("the sound of job %s could not be kept", job.request_id)
            self._post(lambda: self._record(job, kept))

        with contextlib.suppress(RuntimeError):  # the pool is being closed
            self._keeper.submit(keep)

    def _record(self, job: KeptJob, kept: KeptResult | None) -> None:
        if job.dropped:
            self._discard(job, kept)
            return
        reply, record, ttl_s = job.reply, job.record, self._settings.result_ttl_s
        assert reply is not None
        if kept is not None and record.request.output_path is None:
            job.reply = reply = structs.replace(reply, path=kept.path)
        name, size_bytes = (None, 0) if kept is None else (kept.name, kept.size_bytes)

        def finish(journal: Journal) -> bool:
            now = journal.now()
            if journal.finish(record, outcome_of(reply, name, size_bytes, now, now + ttl_s)):
                return True
            found = journal.find(record.key)  # it may be this very end, committed when the connection broke
            return found is not None and name is not None and found.path == name

        self._journal.order(finish, lambda answer: self._recorded(job, kept, answer))

    def _recorded(self, job: KeptJob, kept: KeptResult | None, answer: bool | AudioPoolError) -> None:
        reply = job.reply
        assert reply is not None
        if answer is False or job.dropped:
            self._discard(job, kept)
            if not job.dropped:
                self._lost(job)
            return
        if answer is True:
            self._answer(job, reply)
            return
        # Its caller gets it all the same; until there is room again, or for good, it may be made once more. Where
        # another head may be making it at this moment, nobody is told of an end that may not come to be.
        if not (job.answered or self._shared):
            if reply.metadata is not None:
                warnings = (*reply.metadata.warnings, f"not_recorded: {answer}")
                reply = structs.replace(reply, metadata=structs.replace(reply.metadata, warnings=warnings))
            job.answered = True
            self._answer_early(job, reply)
        self._journal.at(time.monotonic() + AGAIN_S, lambda: self._record(job, kept))

    def _discard(self, job: KeptJob, kept: KeptResult | None) -> None:
        """Remove the copy of a sound that was not recorded; where that is not known it is swept away later."""
        if kept is None:
            return
        key, name = job.record.key, kept.name

        def found(record: JobRecord | AudioPoolError | None) -> None:
            if record is None or (isinstance(record, JobRecord) and record.path != name):
                with contextlib.suppress(RuntimeError):  # the pool is being closed
                    self._keeper.submit(self._files.remove, [name])

        self._journal.order(lambda journal: journal.find(key), found)


def rights_of(record: JobRecord) -> Caller:
    """Return whom a job is done for."""
    return _RIGHTS.decode(record.rights)


def _ignore(answer: AudioPoolError | None) -> None:
    """Do nothing: a failure has been logged, and costs one counted attempt."""
