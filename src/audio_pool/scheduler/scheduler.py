"""The brain: (event, now) -> actions. Pure: no clock, no socket, no file.

Owns: what happens to every request between its arrival and its one final reply; joins, order, retries,
rounds, limits, cancels, deadlines.
Must not know: how anything is executed (pool/executor.py), how workers live (workers.py).

A *request* is what one caller asks; requests for the same recipe share one *job*. ``next_stage`` (stages.py) and
``_advance`` are the whole way of a job; every handler here and in outcomes.py only records what happened and calls
them. Every way out ends in ``Ledger.close``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from audio_pool.config import ClientConfig, LimitsConfig, MemoryConfig, QueueConfig
from audio_pool.errors import AudioPoolError, Cancelled, PoolClosed, WorkerDied
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.absence import Absences
from audio_pool.scheduler.actions import Action, CancelTask, FindExact, FindLooser, FindNear, SendReply
from audio_pool.scheduler.admission import Admission
from audio_pool.scheduler.arrivals import Arrivals
from audio_pool.scheduler.claiming import Claims
from audio_pool.scheduler.clients import ClientRules
from audio_pool.scheduler.dispatch import Dispatch
from audio_pool.scheduler.dues import Dues
from audio_pool.scheduler.estimates import Estimates
from audio_pool.scheduler.forecasts import Forecasts
from audio_pool.scheduler.jobs import Job
from audio_pool.scheduler.ladders import Ladders
from audio_pool.scheduler.ledger import Ledger, Sizes
from audio_pool.scheduler.loads import Loads
from audio_pool.scheduler.outcomes import Outcomes
from audio_pool.scheduler.poison import PoisonRegister
from audio_pool.scheduler.staffing import Staffing
from audio_pool.scheduler.stages import next_stage
from audio_pool.scheduler.storing import Storing
from audio_pool.scheduler.worker_state import WorkerPlan
from audio_pool.scheduler.workers import WorkerTable

__all__ = ["Scheduler", "Sizes"]

_WORKER_CHECK_S = 0.02
"""Between ticks, workers are checked no more often: at thousands of events a second it would cost most."""


class Scheduler:
    """Feed it events with the time; execute the actions that it returns, in order."""

    def __init__(
        self,
        plans: Iterable[WorkerPlan],
        limits: LimitsConfig,
        queue: QueueConfig,
        clients: Mapping[str, ClientConfig] | None = None,
        concurrency: Mapping[str, int] | None = None,
        memory: MemoryConfig | None = None,
    ) -> None:
        """``clients``: configured by name, and for the rest as ``default``; ``concurrency``: see EngineBounds;
        ``memory``: see Shortages."""
        self.limits = limits
        self.workers = WorkerTable(plans, limits, queue.batch_window_s)
        self.staffing = Staffing(self.workers, memory)
        self._ledger = Ledger(leave_queue=lambda number: self.waiting.remove(number))
        self.requests, self.jobs = self._ledger.requests, self._ledger.jobs
        self._rules = ClientRules(queue, clients or {})
        self._estimates = Estimates(limits)
        self._admission = Admission(queue, self._rules, self.requests, self.workers, self._estimates)
        self._dispatcher = Dispatch(
            self.workers, self.jobs, queue, self._rules, self._estimates, concurrency
        )
        self.waiting = self._dispatcher.queue
        self._absences = Absences(self.staffing, self.waiting, self._ledger)
        self.drain_deadline: float | None = None
        self._dues = Dues(self._still_waits)
        self._arrivals = Arrivals(
            self._ledger, self._admission, self._dispatcher, self._dues, limits,
            closed=lambda: self.drain_deadline is not None, advance=self._advance,
        )  # fmt: skip
        self._forecasts = Forecasts(self.workers, self._dispatcher)
        self.ladders = Ladders(
            self._ledger, self._arrivals, self._dispatcher, self._forecasts, queue,
            end=lambda request: self._drop(request, "cancelled", Cancelled("nobody waits for it any more")),
            advance=self._advance, why_late=self._absences.expired,
            closed=lambda: self.drain_deadline is not None,
        )  # fmt: skip
        self._storing = Storing(self._ledger, self._forecasts, self._advance)
        self._claims = Claims(self._ledger, self._dues, limits, self._advance)
        self._poison = PoisonRegister(limits)
        self._loads = Loads(self.workers, self._dispatcher, self._ledger, self._estimates, limits)
        self._outcomes = Outcomes(
            self._ledger,
            self.workers,
            self._dispatcher,
            self._estimates,
            self._forecasts,
            self._poison,
            self._loads,
            limits,
            self._advance,
        )
        self._next_worker_check = 0.0

    # -- events in, actions out --------------------------------------------------------------------

    def handle(self, event: events.Event, now: float) -> list[Action]:
        """Return everything that follows from the event, to be executed in order."""
        self._ledger.out = []
        self._ledger.now = now
        match event:
            case events.Submit():
                self._arrivals.submit(event)
            case events.Call():
                self._arrivals.call(event)
            case events.AskInTime():
                self.ladders.ask(event)
            case events.Cancel() if event.request in self.ladders:
                self.ladders.cancel(event.request)
            case events.Cancel():
                self._drop(event.request, "cancelled", Cancelled("cancelled by its caller"))
            case events.LookupDone():
                self._lookup_done(event)
            case events.Claimed():
                self._claims.answered(event)
            case events.Stored():
                self._storing.stored(event)
            case events.TaskDone():
                self._outcomes.done(event)
                self._dispatch()
            case events.TaskFailed():
                self._outcomes.failed(event)
                self._dispatch()
            case events.TaskReturned():
                self._outcomes.returned(event)
                self._dispatch()
            case events.TaskProgress():
                self._outcomes.progress(event)
            case events.TaskChunk():
                self._outcomes.chunk(event)
            case events.Heartbeat():
                self._outcomes.heartbeat(event)
                self._loads.loading_on(event.worker, now)
                self._dispatch()
            case events.MemoryRead():
                self._loads.memory_read(event)
                if told := self.staffing.memory_read(event, now):
                    self._ledger.out += told
                    self.workers.all_changed()
                    self._next_worker_check = now
                self._dispatch()
            case events.OrderModel():
                self._loads.order(event)
                self._dispatch()
            case events.HostModel() | events.RetireModel():
                self._loads.switch(event)
                self._dispatch()
            case events.WorkerHello():
                self.workers.on_hello(event.worker, event.incarnation, now)
            case events.WorkerReady():
                name, number, loaded, sizes = event.worker, event.incarnation, event.loaded, event.sizes
                self.workers.on_ready(
                    name, number, event.engines, event.batching, now, event.coming, loaded=loaded, sizes=sizes
                )
                self._loads.came_up(name, number, event.failed, now)
                self._fail_unservable()
                self._dispatch()
            case events.LoadFailed():
                self.workers.on_load_failed(event.worker, event.incarnation, event.failure)
            case events.WorkerPending():
                self.workers.on_pending(event.worker, event.incarnation, event.why, event.within_s, now)
            case events.WorkerMisspoke():
                self._ledger.out += self.workers.on_misspoke(event.worker, event.incarnation, event.reason)
            case events.WorkerExited():
                self._next_worker_check = now
                self._outcomes.exited(event)
                self._fail_unservable()
                self._dispatch()
            case events.Drain():
                self.drain_deadline = event.deadline
                self._ledger.out += self.staffing.close()
            case (
                events.TakeLease()
                | events.EndLease()
                | events.AddWorker()
                | events.DrainWorker()
                | events.RemoveWorker()
            ):
                self._ledger.out += self.staffing.take(event, now, closing=self.drain_deadline is not None)
                self.workers.all_changed()
                self._loads.look_at_plans()
                self._next_worker_check = now
                self._fail_unservable()
                self._dispatch()
                self._absences.tell_all()
            case events.Reconfigure():
                self.limits = self._estimates.limits = self._poison.limits = event.limits
                self.workers.change(event.limits, event.queue.batch_window_s)
                self._outcomes.limits = self._claims.limits = self._loads.limits = event.limits
                self._admission.queue, self._arrivals.limits = event.queue, event.limits
                self.ladders.queue = event.queue
                self._rules.change(event.queue, event.clients)
                self._dispatcher.bounds.bounds = event.concurrency
                self._next_worker_check = now
                self._dispatch()
            case events.Tick():
                self._next_worker_check = now
        self._pass_time()
        out, self._ledger.out = self._ledger.out, []
        return out

    def salvage(self) -> list[Action]:
        """Return what had been decided when ``handle`` raised: a reply among it is owed all the same."""
        out, self._ledger.out = self._ledger.out, []
        return out

    def next_deadline(self) -> float | None:
        """Return when ``Tick`` is needed at the latest; None: only events change anything."""
        drain = self.drain_deadline
        if drain is not None and drain <= self._ledger.now:
            drain = None  # it has been acted upon: only events change anything now
        opening = self.workers.vacancies.next_opening() if len(self.waiting) else None
        own = self.requests.next_deadline(), self._dues.first(), opening, self._loads.due, self.ladders.next_time()
        times = (self.workers.next_deadline(), self.staffing.next_deadline(), drain, *own)
        return min((time for time in times if time is not None), default=None)

    @property
    def rerolls(self) -> Mapping[str, int]:
        """Further rounds of fresh seeds so far, by reason: gate, quality, similarity."""
        return self._outcomes.rerolls

    def full(self, now: float) -> bool:
        """Return True if the queue would turn away whoever asks next."""
        return self._admission.refusal("", now, 0) is not None

    @property
    def idle(self) -> bool:
        """True while no request and no job is under way."""
        return not len(self.requests) and not self.jobs

    def sizes(self) -> Sizes:
        """Count everything that is remembered, for leak checks."""
        deadlines = self.requests.deadlines + len(self._dues)
        joinable, waiting = len(self._ledger.by_join_key), len(self.waiting)
        in_time = len(self.ladders) + self.ladders.upgrades
        return Sizes(len(self.requests), len(self.jobs), waiting, joinable, deadlines, self.requests.bytes, in_time)

    def has_started(self, job: int) -> bool:
        """Return True once a worker is executing this job.

        False during look-up, in the queue, or queued behind another task of the same worker thread.
        """
        one = self.jobs[job]
        if job in self.waiting or one.stage in ("lookup", "embed", "near", "claim", "recheck", "looser", "held"):
            return False
        running = [self.workers.is_running(ref.worker, ref.incarnation, task) for task, ref in one.tasks.items()]
        return any(running) or not running

    # -- a job's way -------------------------------------------------------------------------------

    def _advance(self, job: Job) -> None:
        """Move a job to its next stage and start that. The one place where a job moves on."""
        job.mark("whole", job.stage_at, self._ledger.now)
        job.stage, job.stage_at = next_stage(job), self._ledger.now
        request = job.requests[0] if job.requests else 0
        match job.stage:
            case "lookup" | "recheck":
                self._ledger.out.append(FindExact(job=job.job, request=request))
            case "claim":
                self._claims.ask(job)
            case "near":
                self._ledger.out.append(FindNear(job=job.job, request=request, vectors=job.vectors))
            case "embed" | "render" | "generate" | "master" | "call":
                self._enqueue(job)
            case "store":
                self._storing.store(job)
            case "looser":
                self._ledger.out.append(FindLooser(job=job.job, request=request, vectors=job.vectors))
            case "done":
                self._ledger.reply_all(job)
        if len(self.ladders):
            self.ladders.moved(job)

    # -- look-ups --------------------------------------------------------------------

    def _lookup_done(self, event: events.LookupDone) -> None:
        job = self.jobs.get(event.job)
        if job is None or job.stage not in ("lookup", "near", "recheck", "looser"):
            return
        if event.warning:
            job.warnings.append(event.warning)
        job.times_ms["lookup"] = (self._ledger.now - job.arrival) * 1000
        if event.hit is not None and event.hit.path is not None:
            job.value = event.hit
        elif event.hit is not None:
            job.hit = event.hit
            if self._arrivals.too_full(job):
                return
        elif job.stage == "lookup" and not self._arrivals.admit(job):
            return
        self._advance(job)

    # -- waiting -----------------------------------------------------------------------------------

    def _enqueue(self, job: Job) -> None:
        """Put a job into the queue, unless no worker will ever take it from there."""
        error: AudioPoolError | None = self._poison.verdict(job, self._ledger.now)
        if error is not None and job.stage == "embed":
            self._outcomes.part_failed(job, Failure.of(error))
            return
        if error is None:
            job.queued_at, job.suspect = self._ledger.now, self._poison.suspects(job, self._ledger.now)
            task = self._dispatcher.send_at_once(job, self._ledger.now)
            if task is not None:
                self._ledger.out.append(task)
                return
        error = error or self._unservable_reason(job)
        if error is not None:
            self._ledger.fail_all(job, Failure.of(error))
            return
        if job.suspect and job.stage != "embed":
            self._dues.set(job, self._ledger.now + self.limits.suspect_wait_s)
        self._dispatcher.put(job)
        self._loads.tell(job, self._dispatcher.need_of(job), self._ledger.now)
        self._ledger.out += self._dispatcher.send(self._ledger.now, job)
        self._absences.tell(job)
        if self._loads.active:
            self._loads.arrange(self._ledger.now)

    def _unservable_reason(self, job: Job) -> AudioPoolError | None:
        now = self._ledger.now
        return self._dispatcher.unservable_reason(job, now) or self._loads.refusal(job, now)

    def _dispatch(self) -> None:
        if len(self.waiting):
            self._ledger.out += self._dispatcher.send(self._ledger.now)
        if self._loads.active:
            self._loads.arrange(self._ledger.now)

    def _fail_unservable(self) -> None:
        """Answer what waits for a worker that will never take it, after workers have come or gone."""
        for job in [self.jobs[number] for number in self.waiting.all()]:
            error = self._unservable_reason(job)
            if error is None and job.stage != "embed":
                error = self._poison.verdict(job, self._ledger.now)  # the same was asked for more than once
            if error is not None:
                self._ledger.fail_all(job, Failure.of(error))

    # -- endings -----------------------------------------------------------------------------------

    def _drop(self, request: int, kind: Literal["cancelled", "expired"], error: AudioPoolError) -> None:
        """End one request; its job goes on where others want it."""
        state = self.requests.get(request)
        if state is None:
            return
        job = self.jobs[state.job]
        self._ledger.final(
            SendReply(
                request=request,
                kind=kind,
                failure=Failure.of(error),
                warnings=tuple(job.warnings),
                marks=job.marks_until(self._ledger.now),
            )
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
            if worker is not None and held is not None and not held.cancelled and not wanted:
                self.workers.cancel(worker, held, self._ledger.now)
                self._ledger.out.append(
                    CancelTask(worker=ref.worker, incarnation=ref.incarnation, task=task, attempt=ref.attempt)
                )
        self._ledger.close(job)

    # -- time --------------------------------------------------------------------------------------

    def _still_waits(self, number: int, due: float) -> bool:
        """Return True if a job still waits for what it was given that time for."""
        job = self.jobs.get(number)
        if job is None or job.due != due:
            return False
        return job.stage in ("embed", "claim") or (job.suspect and number in self.waiting)

    def _waited_too_long(self, job: Job) -> None:
        if job.stage == "embed":
            job.warnings.append(f"semantic_timeout: no text vector within {self.limits.embed_timeout_s:g} s")
            job.tasks.clear()  # a late vector is dropped like any late message
            self.waiting.remove(job.job)
            job.missing.clear()
            self._advance(job)
        elif job.stage == "claim":
            self._claims.waited(job)
        else:
            spared = WorkerDied(
                "a worker has ended at this very request, and no other could be spared for it "
                f"within {self.limits.suspect_wait_s:g} s",
                hint="ask again when less is going on, or have a second worker",
            )
            self._ledger.fail_all(job, Failure.of(spared))

    def _pass_time(self) -> None:
        now = self._ledger.now
        for request in self.requests.expired(now):
            self._drop(request, "expired", self._absences.expired(self.requests[request].job))
        for number in self._dues.passed(now):
            self._waited_too_long(self.jobs[number])
        if told := self.staffing.look(now):
            self._ledger.out += told
            self.workers.all_changed()
            self._next_worker_check = now  # who may come back is started
            self._dispatch()
        if self._loads.due is not None and now >= self._loads.due:
            self._loads.arrange(now)
        if now >= self._next_worker_check:
            self._next_worker_check = now + _WORKER_CHECK_S
            kills, late = self.workers.overdue(now)
            for name, held in late:
                self._outcomes.timed_out(name, held)
            self._ledger.out += kills
            self._ledger.out += self.workers.start(now)
        if self.workers.vacancies.open_due(now):
            self._dispatch()
        self.ladders.look()
        if self.drain_deadline is not None:
            self._drain(self.drain_deadline)

    def _drain(self, deadline: float) -> None:
        if self._ledger.now >= deadline:
            closed = Failure.of(PoolClosed("the pool stopped before the sound was ready"))
            for job in list(self.jobs.values()):
                if job.stage == "store" and not job.requests:
                    continue
                self._ledger.fail_all(job, closed)
            self.ladders.look()
        if self.idle and not self.workers.stopping:
            self._ledger.out += self.workers.stop(self._ledger.now)
