"""The brain: (event, now) -> actions. Pure: no clock, no socket, no file.

Owns: what happens to every request between its arrival and its one final reply; joins, order, retries,
rounds, limits, cancels, deadlines.
Must not know: how anything is executed (pool/executor.py), how workers live (workers.py).

A *request* is what one caller asks; requests for the same recipe share one *job*. ``_next_stage`` and
``_advance`` are the whole way of a job; every handler only records what happened and calls them. Every
way out ends in ``_close``.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from audio_pool.config import ClientConfig, LimitsConfig, QueueConfig
from audio_pool.errors import (
    AudioPoolError,
    Cancelled,
    Expired,
    NotFound,
    Poisoned,
    PoolClosed,
    QualityError,
    Timeout,
    WorkerDied,
    WorkerError,
)
from audio_pool.results import Accepted, CacheType, Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.admission import Admission
from audio_pool.scheduler.clients import ClientRules
from audio_pool.scheduler.dispatch import Dispatch
from audio_pool.scheduler.estimates import Estimates
from audio_pool.scheduler.jobs import Job, Stage
from audio_pool.scheduler.poison import PoisonRegister
from audio_pool.scheduler.requests import WaitingRequests
from audio_pool.scheduler.workers import HeldTask, WorkerPlan, WorkerTable
from audio_pool.tasks import Called, Embedded, MasteredSound, RawSounds, Rejected, Rendered, TaskResult

__all__ = ["Scheduler", "Sizes"]

_WORKER_CHECK_S = 0.02
"""Between ticks, workers are checked no more often: at thousands of events a second it would cost most."""


class Sizes(NamedTuple):
    """How much the scheduler remembers; all zero when nothing is under way."""

    requests: int
    jobs: int
    waiting: int
    joinable: int
    deadlines: int
    bytes: int


class Scheduler:
    """Feed it events with the time; execute the actions that it returns, in order."""

    def __init__(
        self,
        plans: Iterable[WorkerPlan],
        limits: LimitsConfig,
        queue: QueueConfig,
        clients: Mapping[str, ClientConfig] | None = None,
    ) -> None:
        """``clients``: what is configured for some by name, and for the rest as ``default``."""
        self.limits = limits
        self.workers = WorkerTable(plans, limits)
        self.requests = WaitingRequests()
        self.jobs: dict[int, Job] = {}
        self._rules = ClientRules(queue, clients or {})
        self._estimates = Estimates(limits)
        self._admission = Admission(queue, self._rules, self.requests, self.workers, self._estimates)
        self._dispatcher = Dispatch(self.workers, self.jobs, queue, self._rules, self._estimates)
        self.waiting = self._dispatcher.queue
        self.drain_deadline: float | None = None
        self._by_join_key: dict[events.JoinKey, int] = {}
        self._numbers = itertools.count(1)
        self._dues: list[tuple[float, int]] = []
        """When jobs have waited too long in their stage, by job."""
        self._poison = PoisonRegister(limits)
        self._out: list[events.Action] = []
        self._now = 0.0
        self._next_worker_check = 0.0

    # -- events in, actions out --------------------------------------------------------------------

    def handle(self, event: events.Event, now: float) -> list[events.Action]:
        """Return everything that follows from the event, to be executed in order."""
        self._out = []
        self._now = now
        match event:
            case events.Submit():
                self._submit(event)
            case events.Call():
                self._call(event)
            case events.Cancel():
                self._drop(event.request, "cancelled", Cancelled("cancelled by its caller"))
            case events.LookupDone():
                self._lookup_done(event)
            case events.Stored():
                self._stored(event)
            case events.TaskDone():
                self._task_done(event)
            case events.TaskFailed():
                self._task_failed(event)
            case events.TaskReturned():
                self._task_returned(event)
            case events.TaskProgress():
                self._task_progress(event)
            case events.Heartbeat():
                self._heartbeat(event)
            case events.WorkerHello():
                self.workers.on_hello(event.worker, event.incarnation, now)
            case events.WorkerReady():
                self.workers.on_ready(event.worker, event.incarnation, event.engines, event.batching, now)
                self._fail_unservable()
                self._dispatch()
            case events.LoadFailed():
                self.workers.on_load_failed(event.worker, event.incarnation, event.failure)
            case events.WorkerMisspoke():
                self._out += self.workers.on_misspoke(event.worker, event.incarnation, event.reason)
            case events.WorkerExited():
                self._next_worker_check = now
                self._worker_exited(event)
            case events.Drain():
                self.drain_deadline = event.deadline
            case events.Reconfigure():
                self.limits = self.workers.limits = self._estimates.limits = self._poison.limits = event.limits
                self._admission.queue = event.queue
                self._rules.change(event.queue, event.clients)
                self._next_worker_check = now
            case events.Tick():
                self._next_worker_check = now
        self._pass_time()
        out, self._out = self._out, []
        return out

    def salvage(self) -> list[events.Action]:
        """Return what had been decided when ``handle`` raised: a reply among it is owed all the same."""
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        """Return when ``Tick`` is needed at the latest; None: only events change anything."""
        times = [time for time in (self.workers.next_deadline(), self.drain_deadline) if time is not None]
        if self.drain_deadline is not None and self.drain_deadline <= self._now:
            times.remove(self.drain_deadline)  # it has been acted upon: only events change anything now
        deadline = self.requests.next_deadline()
        if deadline is not None:
            times.append(deadline)
        while self._dues and not self._is_due(self._dues[0]):
            heapq.heappop(self._dues)
        if self._dues:
            times.append(self._dues[0][0])
        return min(times, default=None)

    @property
    def idle(self) -> bool:
        """True while no request and no job is under way."""
        return not len(self.requests) and not self.jobs

    def sizes(self) -> Sizes:
        """Count everything that is remembered, for leak checks."""
        deadlines = self.requests.deadlines + len(self._dues)
        joinable, waiting = len(self._by_join_key), len(self.waiting)
        return Sizes(len(self.requests), len(self.jobs), waiting, joinable, deadlines, self.requests.bytes)

    def has_started(self, job: int) -> bool:
        """Return True once a worker is executing this job.

        False during look-up, in the queue, or queued behind another task of the same worker thread.
        """
        one = self.jobs[job]
        if job in self.waiting or one.stage in ("lookup", "embed", "near"):
            return False
        running = [self.workers.is_running(ref.worker, ref.incarnation, task) for task, ref in one.tasks.items()]
        return any(running) or not running

    # -- a job's way -------------------------------------------------------------------------------

    @staticmethod
    def _next_stage(job: Job) -> Stage:
        """Return where a job goes next, given what is known of it. This is the whole way of a request."""
        if job.value is not None:
            return "done"
        if isinstance(job.asked, events.Call):
            return "call"
        if job.hit is not None:
            return "render"  # found, in another format than asked for
        asked = job.asked
        match job.stage:
            case "new" if asked.lookup:
                return "lookup"  # the same words?
            case "new" | "lookup" | "embed" if job.missing:
                return "embed"  # a vector of the prompt from each encoder, one after the other
            case "embed" if asked.lookup and asked.near and job.vectors:
                return "near"  # the same meaning?
            case "generate" if job.raw is not None:
                return "master"  # candidates that another worker generated
            case _ if job.chosen is not None:
                return "store"
            case _:
                return "generate"  # for the first time, again after a worker's death, or with fresh seeds

    def _advance(self, job: Job) -> None:
        """Move a job to its next stage and start that. The one place where a job moves on."""
        job.stage = self._next_stage(job)
        request = job.requests[0] if job.requests else 0
        match job.stage:
            case "lookup":
                self._out.append(events.FindExact(job=job.job, request=request))
            case "near":
                self._out.append(events.FindNear(job=job.job, request=request, vectors=job.vectors))
            case "embed" | "render" | "generate" | "master" | "call":
                self._enqueue(job)
            case "store":
                self._store(job)
            case "done":
                self._reply_all(job)

    # -- arrivals ----------------------------------------------------------------------------------

    def _submit(self, asked: events.Submit) -> None:
        if self.drain_deadline is not None:
            self._refuse(asked.request, PoolClosed("the pool is stopping and takes no new requests"))
            return
        if asked.deadline is not None and asked.deadline <= self._now:
            self._refuse(asked.request, Expired("the deadline had passed on arrival"), kind="expired")
            return
        joined = self._by_join_key.get(asked.join_key) if asked.join_key is not None else None
        if joined is not None:
            self._join(self.jobs[joined], asked)
            return
        job = self._open(asked)
        job.priority = asked.priority
        self._add_request(job, asked, joined=False)
        if asked.join_key is not None:
            self._by_join_key[asked.join_key] = job.job
        if asked.lookup or self._admit(job):
            self._advance(job)

    def _call(self, asked: events.Call) -> None:
        if self.drain_deadline is not None:
            self._refuse(asked.request, PoolClosed("the pool is stopping and takes no new requests"))
            return
        job = self._open(asked)
        self._add_request(job, asked, joined=False)
        if not self._too_full(job):
            self._advance(job)

    def _open(self, asked: events.Submit | events.Call) -> Job:
        job = Job(job=next(self._numbers), asked=asked, arrival=self._now)
        self.jobs[job.job] = job
        return job

    def _add_request(self, job: Job, asked: events.Submit | events.Call, *, joined: bool) -> None:
        self.requests.add(asked, job.job, joined=joined)
        job.requests.append(asked.request)

    def _join(self, job: Job, asked: events.Submit) -> None:
        busy = self._admission.refusal(asked.client, self._now, asked.size_bytes)
        if busy is not None:
            self._refuse(asked.request, busy, kind="busy")
            return
        self._add_request(job, asked, joined=True)
        if asked.priority < job.priority:
            job.priority = asked.priority
            if job.job in self.waiting:
                self._dispatcher.put(job)
        self._send_accepted(job, asked.request)

    def _refuse(self, request: int, error: AudioPoolError, kind: Literal["error", "expired", "busy"] = "error") -> None:
        self._out.append(events.SendReply(request=request, kind=kind, failure=Failure.of(error)))

    def _admit(self, job: Job) -> bool:
        """Let a job that needs a worker in, and note which vectors it awaits; False: it was turned away."""
        if self._too_full(job):
            return False
        for request in job.requests:
            self._send_accepted(job, request)
        encoders = job.sound.encoders
        job.missing = {name for name in encoders if self._dispatcher.hosts(name)}
        for name in encoders:
            if name not in job.missing:
                job.warnings.append(f"semantic_unavailable: no worker that hosts {name!r} is ready")
        if job.missing:
            self._set_due(job, self.limits.embed_timeout_s)
        return True

    def _too_full(self, job: Job) -> bool:
        """Turn a job away if the queue is full; asked only when it is about to wait for a worker."""
        busy = self._admission.refusal(job.asked.client, self._now)
        if busy is None:
            return False
        self._fail_all(job, Failure.of(busy), kind="busy")
        return True

    def _send_accepted(self, job: Job, request: int) -> None:
        state = self.requests[request]
        if state.events:
            body = Accepted(queue_position=self._dispatcher.ahead(job), joined=state.joined)
            self._out.append(events.SendAccepted(request=request, body=body))

    # -- look-ups and the store --------------------------------------------------------------------

    def _lookup_done(self, event: events.LookupDone) -> None:
        job = self.jobs.get(event.job)
        if job is None or job.stage not in ("lookup", "near"):
            return
        if event.warning:
            job.warnings.append(event.warning)
        job.times_ms["lookup"] = (self._now - job.arrival) * 1000
        if event.hit is not None and event.hit.path is not None:
            job.value = event.hit
        elif event.hit is not None:
            job.hit = event.hit
            if self._too_full(job):
                return
        elif job.stage == "lookup" and not self._admit(job):
            return
        self._advance(job)

    def _store(self, job: Job) -> None:
        chosen = job.chosen
        assert chosen is not None
        self._discard(job, job.best if job.best is not chosen else None)
        job.best = None
        self._out.append(
            events.Store(
                job=job.job,
                request=job.requests[0] if job.requests else 0,
                sound=chosen,
                rounds=job.round + (1 if chosen.sound.accepted else 0),
                tried=tuple(job.tried),
                vectors=job.vectors,
            )
        )

    def _stored(self, event: events.Stored) -> None:
        job = self.jobs.get(event.job)
        if job is None or job.stage != "store":
            return
        if event.sound is None:
            self._fail_all(job, event.failure or Failure(message="the sound was not stored and nobody knows why"))
        else:
            job.value = event.sound
            self._advance(job)

    # -- waiting -----------------------------------------------------------------------------------

    def _enqueue(self, job: Job) -> None:
        """Put a job into the queue, unless no worker will ever take it from there."""
        error: AudioPoolError | None = self._poison.verdict(job, self._now)
        if error is not None and job.stage == "embed":
            self._part_failed(job, Failure.of(error))
            return
        error = error or self._dispatcher.unservable_reason(job, self._now)
        if error is not None:
            self._fail_all(job, Failure.of(error))
            return
        job.suspect = self._poison.suspects(job, self._now)
        if job.suspect and job.stage != "embed":
            self._set_due(job, self.limits.suspect_wait_s)
        job.queued_at = self._now
        self._dispatcher.put(job)
        self._dispatch()

    def _dispatch(self) -> None:
        if len(self.waiting):
            self._out += self._dispatcher.send(self._now)

    # -- results of tasks --------------------------------------------------------------------------

    def _task_done(self, event: events.TaskDone) -> None:
        held = self.workers.release(event.worker, event.incarnation, event.task, event.attempt, self._now)
        if held is None:
            for number, result in event.results.items():
                self._out.append(events.Discard(job=number, result=result))
            return
        self._estimates.learn(held.kind, self._now - held.since)
        for number in event.results.keys() - set(held.jobs):  # of no job of this task: that worker's fault alone
            self._out.append(events.Discard(job=number, result=event.results[number]))
        left_out = Rejected(failure=Failure(message=f"worker {event.worker!r} left this out of its answer"))
        for number in held.jobs:
            result = event.results.get(number, left_out)
            job = self.jobs.get(number)
            if job is None or job.tasks.pop(event.task, None) is None:
                self._out.append(events.Discard(job=number, result=result))
            else:
                self._poison.clear(job)
                self._take_result(job, result)
        self._dispatch()

    def _take_result(self, job: Job, result: TaskResult) -> None:
        """Record a result on its job and move the job on."""
        match result, job.stage:
            case Rejected(), _:
                job.tried += result.tried
                self._part_failed(job, result.failure)
                return
            case Embedded(), "embed" if min(job.missing) in result.vectors:
                job.vectors.update(result.vectors)
                job.missing -= set(result.vectors)
            case RawSounds(), "generate":
                job.raw = result
            case MasteredSound(), "generate" | "master":
                self._free_raw(job)
                job.tried += result.tried
                self._choose(job, result)
            case Rendered(), "render":
                assert job.hit is not None
                job.value = events.RenderedHit(hit=job.hit, path=result.path, report=result.report)
                job.hit = None
            case Called(), "call":
                job.value = events.CallReply(called=result)
            case _:
                self._out.append(events.Discard(job=job.job, result=result))
                wrong = WorkerError(f"a worker answered stage {job.stage!r} with {type(result).__name__}")
                self._part_failed(job, Failure.of(wrong))
                return
        if job.job in self.jobs:
            self._advance(job)

    def _choose(self, job: Job, sound: MasteredSound) -> None:
        """Choose a sound that is good enough, or the best there is after the last round."""
        if sound.sound.accepted:
            job.chosen = sound
            return
        if job.best is None or sound.score > job.best.score:
            job.best, sound_less = sound, job.best
        else:
            sound_less = sound
        self._discard(job, sound_less)
        self._next_round(job)

    def _next_round(self, job: Job) -> None:
        job.round += 1
        if job.round >= job.sound.max_rounds:
            job.chosen = job.best

    def _part_failed(self, job: Job, failure: Failure) -> None:
        """Go on without a vector, with fresh seeds, or fail the job."""
        if job.stage == "embed":
            job.warnings.append(f"semantic_failed: {failure.message}")
            job.missing.discard(min(job.missing))  # the one that was asked
            self._advance(job)
        elif job.stage == "render" and failure.code == NotFound.code:
            job.warnings.append(f"hit_vanished: {failure.message}")  # removed since it was found: a miss after all
            job.hit = None
            self._advance(job)
        elif failure.code == QualityError.code and isinstance(job.asked, events.Submit):
            self._free_raw(job)
            self._next_round(job)
            if job.round < job.sound.max_rounds or job.chosen is not None:
                job.stage = "generate"
                self._advance(job)
            else:
                self._fail_all(job, failure)
        else:
            self._fail_all(job, failure)

    def _free_raw(self, job: Job) -> None:
        self._discard(job, job.raw)
        job.raw = None

    def _discard(self, job: Job, result: TaskResult | None) -> None:
        if result is not None:
            self._out.append(events.Discard(job=job.job, result=result))

    def _task_failed(self, event: events.TaskFailed) -> None:
        held = self.workers.release(event.worker, event.incarnation, event.task, event.attempt, self._now)
        if held is None:
            return
        for job in self._jobs_of(held):
            self._poison.clear(job)
            self._task_lost(job, event.failure, again=len(held.jobs) > 1)
        self._dispatch()

    def _task_returned(self, event: events.TaskReturned) -> None:
        """Put what was recalled back into its place; it was not tried."""
        held = self.workers.give_back(event.worker, event.incarnation, event.task, event.attempt, self._now)
        if held is None:
            return
        for job in self._jobs_of(held):
            self._dispatcher.put_back(job)
            self._retry(job)
        self._dispatch()

    def _jobs_of(self, held: HeldTask) -> Iterator[Job]:
        """Yield the jobs that a task which came to nothing was for, and that still await it."""
        for number in held.jobs:
            job = self.jobs.get(number)
            if job is not None and job.tasks.pop(held.task, None) is not None:
                yield job

    def _task_lost(self, job: Job, failure: Failure, *, again: bool) -> None:
        """Handle a task that came to nothing. ``again``: another job may be to blame, so try once more, alone."""
        if again and job.stage != "embed":
            job.failures += 1
            if job.failures < self.limits.max_attempts:
                self._retry(job)
                return
        self._part_failed(job, failure)

    def _retry(self, job: Job) -> None:
        if job.stage == "master":  # the candidates' slots died with their reader: generate them anew
            self._free_raw(job)
        self._advance(job)

    def _worker_exited(self, event: events.WorkerExited) -> None:
        running: set[events.Thread] = set()
        reason = self.workers.why_killed(event.worker, event.incarnation) or event.reason
        counts = not self._at_a_suspect(event.worker, event.incarnation)
        tasks = self.workers.on_exit(event.worker, event.incarnation, reason, self._now, counts=counts)
        killed_for = any(held.timed_out for held in tasks)
        for held in tasks:
            waited = held.thread in running  # behind another task of its thread: not to blame
            running.add(held.thread)
            for job in self._jobs_of(held):
                if waited or (killed_for and not held.timed_out):
                    self._retry(job)
                    continue
                if not self.workers.stopping:
                    self._poison.blame(job, event.worker, event.incarnation, reason, self._now)
                self._job_died(job, event.worker, reason, again=not held.timed_out)
        self._fail_unservable()
        self._dispatch()

    def _at_a_suspect(self, name: str, incarnation: int) -> bool:
        """Return True if a worker is at work that has ended one before: its end does not speak against this one."""
        worker = self.workers.current(name, incarnation)
        return worker is not None and any(held.alone for held in worker.tasks.values())

    def _job_died(self, job: Job, worker: str, reason: str, *, again: bool) -> None:
        """Handle a job whose worker ended at it."""
        died: AudioPoolError | None = self._poison.verdict(job, self._now)
        if died is None:
            died = WorkerDied(
                f"worker {worker!r} died at work: {reason} (tried {job.failures + 1} times)",
                hint="its log says more",
            )
        self._task_lost(job, Failure.of(died), again=again and not isinstance(died, Poisoned))

    def _heartbeat(self, event: events.Heartbeat) -> None:
        """Note a worker's sign of life, and try again what it has lost (a message that it did not take, say)."""
        for held in self.workers.heartbeat(event.worker, event.incarnation, self._now, event.lanes, event.tasks):
            # it may turn up yet: what has been granted to it stays leased until its worker ends
            if not held.cancelled:
                self._out.append(
                    events.CancelTask(
                        worker=event.worker, incarnation=event.incarnation, task=held.task, attempt=held.attempt
                    )
                )
            lost = WorkerError(f"worker {event.worker!r} lost a task (tried {held.attempt} times)")
            for job in self._jobs_of(held):
                self._task_lost(job, Failure.of(lost), again=True)
            self._dispatch()

    def _fail_unservable(self) -> None:
        """Answer what waits for a worker that will never take it, after workers have come or gone."""
        for job in [self.jobs[number] for number in self.waiting.all()]:
            error = self._dispatcher.unservable_reason(job, self._now)
            if error is None and job.stage != "embed":
                error = self._poison.verdict(job, self._now)  # the same was asked for more than once
            if error is not None:
                self._fail_all(job, Failure.of(error))

    def _task_progress(self, event: events.TaskProgress) -> None:
        held = self.workers.got_on(event.worker, event.incarnation, event.task, event.attempt, self._now)
        if held is None:
            return
        for number in held.jobs:
            job = self.jobs.get(number)
            for request in job.requests if job is not None else ():
                if self.requests[request].events:
                    self._out.append(events.SendProgress(request=request, body=event.progress))

    # -- endings -----------------------------------------------------------------------------------

    def _drop(self, request: int, kind: Literal["cancelled", "expired"], error: AudioPoolError) -> None:
        """End one request; its job goes on where others want it."""
        state = self.requests.get(request)
        if state is None:
            return
        job = self.jobs[state.job]
        self._final(
            events.SendReply(request=request, kind=kind, failure=Failure.of(error), warnings=tuple(job.warnings))
        )
        job.requests.remove(request)
        if not job.requests:
            self._abandon(job)

    def _abandon(self, job: Job) -> None:
        """Stop a job that nobody wants any more: out of the queue, or between two steps."""
        if job.stage == "store":
            return  # a finished sound is worth keeping; its answer goes to nobody
        for task, ref in job.tasks.items():
            worker = self.workers.current(ref.worker, ref.incarnation)
            held = worker.tasks.get(task) if worker is not None else None
            wanted = held is not None and any(other != job.job and other in self.jobs for other in held.jobs)
            if held is not None and not held.cancelled and not wanted:
                held.cancelled, held.cancelled_at = True, self._now
                self._out.append(
                    events.CancelTask(worker=ref.worker, incarnation=ref.incarnation, task=task, attempt=ref.attempt)
                )
        self._close(job)

    def _reply_all(self, job: Job) -> None:
        """Answer every request of a job with what it came to."""
        job.times_ms["total"] = (self._now - job.arrival) * 1000
        for request in job.requests:
            cache_type: CacheType | None = None  # a hit says itself what it is
            if isinstance(job.value, events.StoredSound):
                cache_type = "joined" if self.requests[request].joined else "new_generation"
            self._final(
                events.SendReply(
                    request=request,
                    kind="result",
                    value=job.value,
                    cache_type=cache_type,
                    times_ms=dict(job.times_ms),
                    warnings=tuple(job.warnings),
                )
            )
        job.requests = []
        self._close(job)

    def _fail_all(self, job: Job, failure: Failure, kind: Literal["error", "busy"] = "error") -> None:
        """Answer every request of a job with why there is no sound."""
        for request in job.requests:
            self._final(events.SendReply(request=request, kind=kind, failure=failure, warnings=tuple(job.warnings)))
        job.requests = []
        self._close(job)

    def _final(self, reply: events.SendReply) -> None:
        """Send a final reply. The only place where a request ends."""
        self.requests.remove(reply.request)
        self._out.append(reply)

    def _close(self, job: Job) -> None:
        """End a job: out of every table, its leftovers discarded. The only place where a job ends."""
        self._discard(job, job.best)
        self._discard(job, job.raw)
        job.stage, job.tasks = "done", {}
        self.waiting.remove(job.job)
        del self.jobs[job.job]
        key = job.asked.join_key if isinstance(job.asked, events.Submit) else None
        if key is not None and self._by_join_key.get(key) == job.job:
            del self._by_join_key[key]
        self._out.append(events.JobClosed(job=job.job))

    # -- time --------------------------------------------------------------------------------------

    def _set_due(self, job: Job, seconds: float) -> None:
        job.due = self._now + seconds
        heapq.heappush(self._dues, (job.due, job.job))

    def _is_due(self, due: tuple[float, int]) -> bool:
        """Return True if a job still waits for what it was given that time for."""
        job = self.jobs.get(due[1])
        if job is None or job.due != due[0]:
            return False
        return job.stage == "embed" or (job.suspect and job.job in self.waiting)

    def _waited_too_long(self, job: Job) -> None:
        if job.stage == "embed":
            job.warnings.append(f"semantic_timeout: no text vector within {self.limits.embed_timeout_s:g} s")
            job.tasks.clear()  # a late vector is dropped like any late message
            self.waiting.remove(job.job)
            job.missing.clear()
            self._advance(job)
        else:
            spared = WorkerDied(
                "a worker has ended at this very request, and no other could be spared for it "
                f"within {self.limits.suspect_wait_s:g} s",
                hint="ask again when less is going on, or have a second worker",
            )
            self._fail_all(job, Failure.of(spared))

    def _pass_time(self) -> None:
        now = self._now
        for request in self.requests.expired(now):
            self._drop(request, "expired", Expired("the deadline passed before the sound was ready"))
        while self._dues and self._dues[0][0] <= now:
            due = heapq.heappop(self._dues)
            if self._is_due(due):
                self._waited_too_long(self.jobs[due[1]])
        if now >= self._next_worker_check:
            self._next_worker_check = now + _WORKER_CHECK_S
            kills, late = self.workers.overdue(now)
            for name, held in late:
                self._task_timed_out(name, held)
            self._out += kills
            self._out += self.workers.start(now)
        if self.drain_deadline is not None:
            self._drain(self.drain_deadline)

    def _task_timed_out(self, name: str, held: HeldTask) -> None:
        """Answer at once; the worker is killed beside it."""
        error = Timeout(
            f"worker {name!r} was stopped: {self.workers.why_late(held, self._now)}",
            hint="ask for less (duration_s, steps, candidates), or raise limits.task_timeout_s and limits.hang_floor_s",
        )
        for job in self._jobs_of(held):
            incarnation = self.workers.workers[name].incarnation
            self._poison.blame(job, name, incarnation, self.workers.why_late(held, self._now), self._now)
            self._fail_all(job, Failure.of(error))

    def _drain(self, deadline: float) -> None:
        if self._now >= deadline:
            closed = Failure.of(PoolClosed("the pool stopped before the sound was ready"))
            for job in list(self.jobs.values()):
                if job.stage == "store" and not job.requests:
                    continue
                self._fail_all(job, closed)
        if self.idle and not self.workers.stopping:
            self._out += self.workers.stop(self._now)
