"""What workers say of tasks, and what it means for their jobs: results judged, rounds begun, tries repeated. Pure.

Owns: which result fits which stage, which of several sounds is chosen, who is blamed for a worker's end.
Must not know: the stages' order (scheduler.py: a job that has something new is handed to ``advance``), workers.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Literal

from msgspec import structs

from audio_pool.config import LimitsConfig
from audio_pool.errors import (
    AudioPoolError,
    InvalidAudio,
    NotFound,
    Poisoned,
    QualityError,
    Timeout,
    WorkerDied,
    WorkerError,
)
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import CancelTask, Discard, Doubt, SendChunk, SendProgress
from audio_pool.scheduler.answers import CallReply, RenderedHit
from audio_pool.scheduler.dispatch import Dispatch
from audio_pool.scheduler.estimates import Estimates
from audio_pool.scheduler.forecasts import Forecasts
from audio_pool.scheduler.jobs import Job
from audio_pool.scheduler.ledger import Ledger
from audio_pool.scheduler.loads import Loads
from audio_pool.scheduler.poison import PoisonRegister
from audio_pool.scheduler.worker_state import HeldTask
from audio_pool.scheduler.workers import WorkerTable
from audio_pool.tasks import (
    Called,
    Embedded,
    MasteredSound,
    RawSounds,
    Rejected,
    Rendered,
    RenderTask,
    TaskResult,
    Thread,
)

__all__ = ["Outcomes"]

_NO_HIT = {NotFound.code: "hit_vanished", InvalidAudio.code: "hit_damaged"}
"""Failures of a rendition that make its hit a miss after all, and what the reply's warning calls them."""


class Outcomes:
    """Records what came of tasks on their jobs, and moves these on."""

    def __init__(
        self,
        ledger: Ledger,
        workers: WorkerTable,
        dispatcher: Dispatch,
        estimates: Estimates,
        forecasts: Forecasts,
        poison: PoisonRegister,
        loads: Loads,
        limits: LimitsConfig,
        advance: Callable[[Job], None],
    ) -> None:
        self.limits = limits
        self.rerolls: collections.Counter[str] = collections.Counter()
        """Further rounds of fresh seeds, by what was wrong with the one before."""
        self._workers = workers
        self._dispatcher = dispatcher
        self._estimates = estimates
        self._forecasts = forecasts
        self._ledger = ledger
        self._poison = poison
        self._loads = loads
        self._advance = advance

    def done(self, event: events.TaskDone) -> None:
        """Take a task's results."""
        held = self._workers.release(event.worker, event.incarnation, event.task, event.attempt, self._ledger.now)
        if held is None:
            for number, result in event.results.items():
                self._ledger.out.append(Discard(job=number, result=result))
            return
        self._estimates.learn(held.kind, self._ledger.now - held.since)
        self._forecasts.task_done(held, self._ledger.now)
        if held.of_no_job:
            self._loads.done(event.worker, held, event.results.get(0), self._ledger.now)
            return
        for number, result in event.results.items():
            if number not in held.jobs:  # of no job of this task: that worker's fault alone
                self._ledger.out.append(Discard(job=number, result=result))
        for number in held.jobs:
            result = event.results.get(number) or _left_out(event.worker)
            job = self._ledger.jobs.get(number)
            if job is None or job.tasks.pop(event.task, None) is None:
                self._ledger.out.append(Discard(job=number, result=result))
            else:
                self._poison.clear(job)
                if held.sound_s and job.begun_at is None:
                    job.begun_at = held.since
                failed = isinstance(result, Rejected)
                job.mark("work", held.since, self._ledger.now, event.worker, failed=failed)
                self.take_result(job, result)

    def failed(self, event: events.TaskFailed) -> None:
        """Take note that a task came to nothing, for all its jobs."""
        held = self._workers.release(event.worker, event.incarnation, event.task, event.attempt, self._ledger.now)
        if held is None:
            return
        if held.of_no_job:
            self._loads.failed(event.worker, held, event.failure, self._ledger.now)
        for job in self.jobs_of(held):
            self._poison.clear(job)
            job.mark("work", held.since, self._ledger.now, event.worker, failed=True)
            self.task_lost(job, event.failure, again=len(held.jobs) > 1)

    def returned(self, event: events.TaskReturned) -> None:
        """Put what was recalled back into its place; it was not tried."""
        held = self._workers.give_back(event.worker, event.incarnation, event.task, event.attempt, self._ledger.now)
        if held is None:
            return
        for job in self.jobs_of(held):
            self._dispatcher.put_back(job)
            self.retry(job)

    def progress(self, event: events.TaskProgress) -> None:
        """Tell those who want to hear of it that a task has got on."""
        held = self._workers.got_on(event.worker, event.incarnation, event.task, event.attempt, self._ledger.now)
        if held is None:
            return
        held.progress = event.progress
        for number in held.jobs:
            job = self._ledger.jobs.get(number)
            for request in job.requests if job is not None else ():
                if self._ledger.requests[request].events:
                    self._ledger.out.append(SendProgress(request=request, body=event.progress))

    def chunk(self, event: events.TaskChunk) -> None:
        """Pass a part of a sound on to those who want to hear it before all of it is there."""
        held = self._workers.got_on(event.worker, event.incarnation, event.task, event.attempt, self._ledger.now)
        job = self._ledger.jobs.get(event.job) if held is not None and event.job in held.jobs else None
        if job is None or not job.sound.stream or event.task not in job.tasks:
            return
        job.streamed = True
        for request in job.requests:
            if self._ledger.requests[request].events:
                self._ledger.out.append(SendChunk(request=request, chunk=event.chunk))

    def heartbeat(self, event: events.Heartbeat) -> None:
        """Note a worker's sign of life, and try again what it has lost (a message that it did not take, say)."""
        now = self._ledger.now
        for held in self._workers.heartbeat(event.worker, event.incarnation, now, event.lanes, event.tasks):
            # it may turn up yet: what has been granted to it stays leased until its worker ends
            if not held.cancelled:
                self._ledger.out.append(
                    CancelTask(
                        worker=event.worker, incarnation=event.incarnation, task=held.task, attempt=held.attempt
                    )
                )
            lost = WorkerError(f"worker {event.worker!r} lost a task (tried {held.attempt} times)")
            if held.of_no_job:
                self._loads.failed(event.worker, held, Failure.of(lost), now)
            for job in self.jobs_of(held):
                self.task_lost(job, Failure.of(lost), again=True)

    def exited(self, event: events.WorkerExited) -> None:
        """Give back, blame or give up what a worker that is gone had in hand."""
        running: set[Thread] = set()
        reason = self._workers.why_killed(event.worker, event.incarnation) or event.reason
        counts = not self._at_a_suspect(event.worker, event.incarnation)
        called_off = self._workers.why_called_off(event.worker, event.incarnation)
        self._loads.exiting(event.worker, event.incarnation)
        tasks = self._workers.on_exit(
            event.worker, event.incarnation, reason, self._ledger.now, counts=counts, lost=event.lost
        )
        killed_for = any(held.timed_out for held in tasks)
        for held in tasks:
            waited = held.thread in running  # behind another task of its thread: not to blame
            running.add(held.thread)
            if held.of_no_job and not waited and not called_off and (held.timed_out or not killed_for):
                self._loads.died(event.worker, held, reason, self._ledger.now)
            for job in self.jobs_of(held):
                job.mark("work", held.since, self._ledger.now, event.worker, failed=True)
                if called_off:
                    job.warnings.append(f"begun_again: {called_off}; this was being made there")
                if called_off or waited or (killed_for and not held.timed_out):
                    self.retry(job, called_off)
                    continue
                if not self._workers.stopping and not event.lost:
                    self._poison.blame(job, event.worker, event.incarnation, reason, self._ledger.now)
                self.job_died(job, event.worker, reason, again=not held.timed_out)

    def timed_out(self, name: str, held: HeldTask) -> None:
        """Answer at once; the worker is killed beside it."""
        error = Timeout(
            f"worker {name!r} was stopped: {self._workers.why_late(held, self._ledger.now)}",
            hint="ask for less (duration_s, steps, candidates), or raise limits.task_timeout_s and limits.hang_floor_s",
        )
        for job in self.jobs_of(held):
            incarnation = self._workers.workers[name].incarnation
            self._poison.blame(job, name, incarnation, self._workers.why_late(held, self._ledger.now), self._ledger.now)
            self._ledger.fail_all(job, Failure.of(error))

    def _at_a_suspect(self, name: str, incarnation: int) -> bool:
        """Return True if a worker is at work that has ended one before: its end does not speak against this one."""
        worker = self._workers.current(name, incarnation)
        return worker is not None and any(held.alone for held in worker.tasks.values())

    # -- what comes of it --------------------------------------------------------------------------

    def take_result(self, job: Job, result: TaskResult) -> None:
        """Record a result on its job and move the job on."""
        match result, job.stage:
            case Rejected(), _:
                job.tried += result.tried
                self.part_failed(job, result.failure)
                return
            case Embedded(), "embed" if min(job.missing) in result.vectors:
                job.vectors.update(result.vectors)
                job.missing -= set(result.vectors)
            case RawSounds(), "generate":
                job.raw = result
            case MasteredSound(), "generate" | "master":
                self.free_raw(job)
                job.tried += result.tried
                self._choose(job, result)
            case Rendered(), "render":
                assert job.hit is not None
                job.value = RenderedHit(hit=job.hit, path=result.path, report=result.report)
                job.hit = None
            case Called() | Embedded(), "call":
                job.value = CallReply(called=result)
            case Rendered(), "call" if isinstance(job.asked, events.Call) and isinstance(job.asked.task, RenderTask):
                job.value = CallReply(called=result)
            case _:
                self._ledger.out.append(Discard(job=job.job, result=result))
                wrong = WorkerError(f"a worker answered stage {job.stage!r} with {type(result).__name__}")
                self.part_failed(job, Failure.of(wrong))
                return
        if job.job in self._ledger.jobs:
            self._advance(job)

    def _choose(self, job: Job, sound: MasteredSound) -> None:
        """Choose a sound that is good enough, or the best there is after the last round."""
        job.losers += sound.others
        sound = structs.replace(sound, others=())
        if sound.sound.accepted:
            job.chosen = sound
            return
        if job.best is None or sound.score > job.best.score:
            job.best, sound_less = sound, job.best
        else:
            sound_less = sound
        if sound_less is not None:
            self._ledger.lose(job, sound_less)
        self._next_round(job, "quality" if sound.sound.metadata.clap_similarity is None else "similarity")

    def _next_round(self, job: Job, why: Literal["gate", "quality", "similarity"]) -> None:
        job.round += 1
        if job.round >= job.sound.max_rounds:
            job.chosen = job.best
        else:
            self.rerolls[why] += 1

    def part_failed(self, job: Job, failure: Failure) -> None:
        """Go on without a vector, with fresh seeds, or fail the job."""
        if job.stage == "embed":
            job.warnings.append(f"semantic_failed: {failure.message}")
            job.missing.discard(min(job.missing))  # the one that was asked
            self._advance(job)
        elif job.stage == "render" and job.hit is not None and failure.code in _NO_HIT:
            job.warnings.append(f"{_NO_HIT[failure.code]}: {failure.message}")
            if failure.code == InvalidAudio.code:
                self._ledger.out.append(Doubt(entry=job.hit.entry))
            job.hit = None
            self._advance(job)
        elif failure.code == QualityError.code and isinstance(job.asked, events.Submit):
            self.free_raw(job)
            self._next_round(job, "gate")
            if job.round < job.sound.max_rounds or job.chosen is not None:
                job.stage = "generate"
                self._advance(job)
            else:
                self._ledger.fail_all(job, failure)
        else:
            self._ledger.fail_all(job, failure)

    def free_raw(self, job: Job) -> None:
        """Give back the candidates that a job had on their way to mastering."""
        self._ledger.discard(job, job.raw)
        job.raw = None

    def jobs_of(self, held: HeldTask) -> Iterator[Job]:
        """Yield the jobs that a task which came to nothing was for, and that still await it."""
        for number in held.jobs:
            job = self._ledger.jobs.get(number)
            if job is not None and job.tasks.pop(held.task, None) is not None:
                yield job

    def task_lost(self, job: Job, failure: Failure, *, again: bool) -> None:
        """Handle a task that came to nothing. ``again``: another job may be to blame, so try once more, alone."""
        if again and job.stage != "embed" and not job.streamed:
            job.failures += 1
            if job.failures < self.limits.max_attempts:
                self.retry(job)
                return
        self.part_failed(job, failure)

    def retry(self, job: Job, why: str = "") -> None:
        """Try a job again, from where it can be: not one of which a part has been sent, as if nothing had been."""
        if job.streamed:
            lost = WorkerDied(f"{why or 'the worker was stopped'} in the middle of the stream", hint="ask again")
            self._ledger.fail_all(job, Failure.of(lost))
            return
        if job.stage == "master":  # the candidates' slots died with their reader: generate them anew
            self.free_raw(job)
        self._advance(job)

    def job_died(self, job: Job, worker: str, reason: str, *, again: bool) -> None:
        """Handle a job whose worker ended at it."""
        died: AudioPoolError | None = self._poison.verdict(job, self._ledger.now)
        if died is None:
            died = WorkerDied(
                f"worker {worker!r} died at work: {reason} (tried {job.failures + 1} times)",
                hint="its log says more",
            )
        self.task_lost(job, Failure.of(died), again=again and not isinstance(died, Poisoned))


def _left_out(worker: str) -> Rejected:
    return Rejected(failure=Failure(message=f"worker {worker!r} left this out of its answer"))
