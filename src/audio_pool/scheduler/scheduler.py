"""The brain: (event, now) -> actions. Pure: no clock, no socket, no file.

Owns: what happens to every request between its arrival and its one final reply; joins, order, retries,
rounds, limits, cancels, deadlines.
Must not know: how anything is carried out (router), how workers live (roster).

A *ticket* is one caller's request; a *work* is one sound being made for one or more tickets. A work
goes through the stages that work.py lists; every way out of them ends in ``_settle``, which empties it.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from audio_pool.errors import AudioPoolError, Busy, Cancelled, Expired, PoolClosed, QualityError, Timeout, WorkerDied
from audio_pool.scheduler.dispatch import Dispatch
from audio_pool.scheduler.events import (
    Action,
    Answer,
    Ask,
    Beaten,
    Cancel,
    Died,
    Discard,
    Drain,
    Errand,
    Event,
    FindExact,
    FindNear,
    Forget,
    Found,
    JobDone,
    JobFailed,
    JobProgress,
    Keep,
    Kept,
    LoadFailed,
    Notify,
    Ready,
    Said,
    SendCancel,
    Submit,
    Tick,
)
from audio_pool.scheduler.jobs import Stage, Ticket, Work
from audio_pool.scheduler.workers import HeldJob, Lane, Roster, WorkerLimits, WorkerPlan
from audio_pool.transport.client_messages import error_of

__all__ = ["Limits", "Schedule"]

_LOOK_EVERY_S = 0.02
"""Between ticks, workers are looked at no more often: at thousands of events a second it would cost most."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of the schedule; config says what each is for."""

    max_requests: int = 1024
    max_bytes: int = 64 << 20
    ageing_s: float = 30.0
    max_batch: int = 4
    max_attempts: int = 2
    embed_timeout_s: float = 5.0
    worker: WorkerLimits = field(default_factory=WorkerLimits)


class Schedule:
    """Feed it events with the time; carry out what it answers, in order."""

    def __init__(self, plans: Iterable[WorkerPlan], limits: Limits) -> None:
        self.limits = limits
        self.roster = Roster(plans, limits.worker)
        self.tickets: dict[int, Ticket] = {}
        self.works: dict[int, Work] = {}
        self._queue = Dispatch(self.roster, self.works, limits.ageing_s, limits.max_batch)
        self.waiting = self._queue.waiting
        self.drain_deadline: float | None = None
        self._by_join_key: dict[Hashable, int] = {}
        self._numbers = itertools.count(1)
        self._deadlines: list[tuple[float, int]] = []
        self._embed_dues: list[tuple[float, int]] = []
        self._bytes = 0
        self._job_seconds = 1.0
        """Moving average of how long a make job takes: what ``retry_after_ms`` is reckoned from."""
        self._out: list[Action] = []
        self._now = 0.0
        self._look_at_workers = 0.0

    # -- the two doors -----------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Action]:
        """Everything that follows from the event, to be carried out in order."""
        self._out = []
        self._now = now
        match event:
            case Submit():
                self._submit(event.ask, now)
            case Errand():
                self._errand(event, now)
            case Cancel():
                self._cancel(event.ticket)
            case Found():
                self._found(event, now)
            case Kept():
                self._kept(event)
            case JobDone():
                self._job_done(event, now)
            case JobFailed():
                self._job_failed(event, now)
            case JobProgress():
                self._progress(event, now)
            case Beaten():
                self.roster.signed(event.worker, event.incarnation, now)
            case Said():
                self.roster.said_hello(event.worker, event.incarnation, now)
            case Ready():
                self.roster.loaded(event.worker, event.incarnation, event.engines, event.batching, now)
                self._give_up_unserved()
                self._dispatch()
            case LoadFailed():
                self.roster.load_failed(event.worker, event.incarnation, event.error)
            case Died():
                self._look_at_workers = now
                self._worker_died(event, now)
            case Drain():
                self.drain_deadline = event.deadline
            case Tick():
                self._look_at_workers = now
        self._pass_time(now)
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        """When ``Tick`` is needed at the latest; None: only events move anything."""
        times = [time for time in (self.roster.next_deadline(), self.drain_deadline) if time is not None]
        if self.drain_deadline is not None and self.drain_deadline <= self._now:
            times.remove(self.drain_deadline)  # it has been acted upon: only events move anything now
        while self._deadlines and self._deadlines[0][1] not in self.tickets:
            heapq.heappop(self._deadlines)
        if self._deadlines:
            times.append(self._deadlines[0][0])
        while self._embed_dues and not self._embedding(self._embed_dues[0]):
            heapq.heappop(self._embed_dues)
        if self._embed_dues:
            times.append(self._embed_dues[0][0])
        return min(times, default=None)

    @property
    def idle(self) -> bool:
        return not self.tickets and not self.works

    def begun(self, work: int) -> bool:
        """Whether the making has begun: what is looked up, or waits here or behind another job, has not."""
        one = self.works[work]
        if work in self.waiting or one.stage in ("exact", "embed", "near"):
            return False
        held = [self.roster.at_work_on(name, incarnation, job) for job, (name, incarnation, _) in one.jobs.items()]
        return any(held) or not held

    # -- arrivals ----------------------------------------------------------------------------------

    def _submit(self, ask: Ask, now: float) -> None:
        if self.drain_deadline is not None:
            self._refuse(ask.ticket, PoolClosed("the pool is stopping and takes no new requests"))
            return
        if ask.deadline is not None and ask.deadline <= now:
            self._refuse(ask.ticket, Expired("the deadline had passed on arrival"), kind="expired")
            return
        joined = self._by_join_key.get(ask.join_key) if ask.join_key else None
        if joined is not None:
            self._join(self.works[joined], ask)
            return
        work = self._open_work(ask=ask, errand=None, now=now, stage="exact")
        work.priority = ask.priority
        self._add_ticket(work, ask.ticket, ask.deadline, ask.events, ask.size_bytes, joined=False)
        if ask.join_key:
            self._by_join_key[ask.join_key] = work.number
        if ask.lookup:
            self._out.append(FindExact(work=work.number, ticket=ask.ticket))
        else:
            self._missed(work, now)

    def _errand(self, errand: Errand, now: float) -> None:
        if self.drain_deadline is not None:
            self._refuse(errand.ticket, PoolClosed("the pool is stopping and takes no new requests"))
            return
        work = self._open_work(ask=None, errand=errand, now=now, stage="errand")
        self._add_ticket(work, errand.ticket, errand.deadline, False, errand.size_bytes, joined=False)
        if self._too_full(work):
            return
        self._enqueue(work, now)

    def _open_work(self, *, ask: Ask | None, errand: Errand | None, now: float, stage: Stage) -> Work:
        work = Work(next(self._numbers), ask, errand, now, stage)
        self.works[work.number] = work
        return work

    def _add_ticket(
        self, work: Work, number: int, deadline: float | None, events: bool, size: int, *, joined: bool
    ) -> None:
        assert number not in self.tickets, "a ticket is used once"
        self.tickets[number] = Ticket(number, work.number, deadline, events, size, joined)
        work.tickets.append(number)
        self._bytes += size
        if deadline is not None:
            heapq.heappush(self._deadlines, (deadline, number))
            if len(self._deadlines) > 64 and len(self._deadlines) > 4 * len(self.tickets):  # most are answered
                self._deadlines = [entry for entry in self._deadlines if entry[1] in self.tickets]
                heapq.heapify(self._deadlines)

    def _join(self, work: Work, ask: Ask) -> None:
        if len(self.tickets) >= self.limits.max_requests or self._bytes + ask.size_bytes > self.limits.max_bytes:
            self._refuse(ask.ticket, self._busy(), kind="busy")
            return
        self._add_ticket(work, ask.ticket, ask.deadline, ask.events, ask.size_bytes, joined=True)
        if ask.priority < work.priority:
            work.priority = ask.priority
            if work.number in self.waiting:
                self._queue.put(work)
        self._accepted(work, ask.ticket)

    def _refuse(self, ticket: int, error: AudioPoolError, kind: Literal["error", "expired", "busy"] = "error") -> None:
        self._out.append(Answer(ticket=ticket, kind=kind, error=error))

    def _too_full(self, work: Work) -> bool:
        """Whether the work had to be turned away: asked only when it is about to wait for a worker."""
        if len(self.tickets) <= self.limits.max_requests and self._bytes <= self.limits.max_bytes:
            return False
        self._settle_all(work, "busy", self._busy())
        return True

    def _busy(self) -> Busy:
        hands = max(1, sum(1 for worker in self.roster.workers.values() if worker.state == "ready"))
        # one that has taken longer than usual may well take as long again
        since = [held.since for worker in self.roster.workers.values() for held in worker.jobs.values()]
        each_s = max(self._job_seconds, self._now - min(since, default=self._now))
        wait_s = each_s * max(1.0, len(self.waiting) / hands / 4)  # when a quarter has gone
        return Busy(
            f"the queue is full: {len(self.tickets)} requests, {self._bytes:,} bytes "
            f"(allowed are {self.limits.max_requests}, {self.limits.max_bytes:,})",
            hint="try again after retry_after_ms",
            retry_after_ms=max(10, min(600_000, int(wait_s * 1000))),
        )

    def _accepted(self, work: Work, ticket: int) -> None:
        if self.tickets[ticket].events:
            body = {"queue_position": self._queue.ahead(work), "joined": self.tickets[ticket].joined}
            self._out.append(Notify(ticket=ticket, type="accepted", body=body))

    # -- look-up -----------------------------------------------------------------------------------

    def _found(self, event: Found, now: float) -> None:
        work = self.works.get(event.work)
        if work is None or work.stage not in ("exact", "near"):
            return
        if event.warning:
            work.warnings.append(event.warning)
        work.times_ms["lookup"] = (now - work.arrival) * 1000
        if event.hit is None:
            self._missed(work, now)
        elif event.render is not None:
            work.stage, work.outcome = "render", {"hit": event.hit, "render": event.render}
            if not self._too_full(work):
                self._enqueue(work, now)
        else:
            self._answer_all(work, event.hit)

    def _missed(self, work: Work, now: float) -> None:
        ask = work.ask
        assert ask is not None
        if work.stage == "exact":
            if self._too_full(work):
                return
            for ticket in work.tickets:
                self._accepted(work, ticket)
            if ask.encoders and self._want_vectors(work, now):
                return
        self._to_make(work, now)

    def _want_vectors(self, work: Work, now: float) -> bool:
        """Whether the work now waits for text vectors."""
        assert work.ask is not None
        hosts = [name for name in work.ask.encoders if self._queue.hosts(name)]
        for name in set(work.ask.encoders) - set(hosts):
            work.warnings.append(f"semantic_unavailable: no worker that hosts {name!r} is ready")
        if not hosts:
            return False
        work.stage, work.missing = "embed", set(hosts)
        work.embed_due = now + self.limits.embed_timeout_s
        heapq.heappush(self._embed_dues, (work.embed_due, work.number))
        self._enqueue(work, now)
        return True

    def _embedded(self, work: Work, now: float) -> None:
        work.embed_due = None
        assert work.ask is not None
        if work.ask.lookup and work.ask.near and work.vectors:
            work.stage = "near"
            self._out.append(FindNear(work=work.number, ticket=work.tickets[0], vectors=work.vectors))
        else:
            self._to_make(work, now)

    def _to_make(self, work: Work, now: float) -> None:
        assert work.ask is not None
        work.stage = "make"
        self._enqueue(work, now)

    # -- waiting -----------------------------------------------------------------------------------

    def _enqueue(self, work: Work, now: float) -> None:
        """Into the queue, unless nobody will ever take it from there."""
        error = self._queue.why_unserved(work)
        if error is not None:
            self._settle_all(work, "error", error)
            return
        work.queued_at = now
        self._queue.put(work)
        self._dispatch()

    def _dispatch(self) -> None:
        if len(self.waiting):
            self._out += self._queue.send(self._now)

    # -- outcomes ----------------------------------------------------------------------------------

    def _job_done(self, event: JobDone, now: float) -> None:
        held = self.roster.release(event.worker, event.incarnation, event.job, event.attempt, now)
        if held is None:
            for outcome in event.parts.values():
                self._out.append(Discard(outcome=outcome))
            return
        if held.lane == "make":
            self._job_seconds += 0.2 * (now - held.since - self._job_seconds)
        for number in held.works:
            outcome = event.parts.get(number, {"error": {"code": "internal", "message": "the worker left this out"}})
            work = self.works.get(number)
            if work is None or event.job not in work.jobs:
                self._out.append(Discard(outcome=outcome))
                continue
            del work.jobs[event.job]
            self._outcome(work, outcome, now)
        self._dispatch()

    def _outcome(self, work: Work, outcome: dict[str, Any], now: float) -> None:
        if work.stage == "embed":
            self._vectors_came(work, outcome, now)
        elif "error" in outcome:
            work.tried += outcome.get("tried", [])
            self._part_failed(work, error_of(outcome["error"]), now)
        elif work.stage in ("errand", "render"):
            self._answer_all(work, {**(work.outcome or {}), "outcome": outcome} if work.stage == "render" else outcome)
        elif work.stage == "make" and "candidates" in outcome:
            work.stage, work.outcome = "finish", outcome
            self._enqueue(work, now)
        else:
            self._sound_came(work, outcome, now)

    def _vectors_came(self, work: Work, outcome: dict[str, Any], now: float) -> None:
        vectors = outcome.get("vectors", {})
        work.vectors.update(vectors)
        if "error" in outcome:
            work.warnings.append(f"semantic_failed: {outcome['error'].get('message', '')}")
            work.missing.discard(min(work.missing))  # the one that was asked
        work.missing -= set(vectors)
        if work.missing:
            self._enqueue(work, now)
        else:
            self._embedded(work, now)

    def _sound_came(self, work: Work, outcome: dict[str, Any], now: float) -> None:
        """A finished sound: good enough, or one more round, or the best there is."""
        assert work.ask is not None
        self._free_handover(work)
        work.tried += outcome.get("tried", [])
        if outcome.get("accepted"):
            self._keep(work, outcome)
            return
        if work.best is None or outcome.get("score", 0.0) > work.best.get("score", 0.0):
            work.best, outcome = outcome, work.best or {}
        if outcome:
            self._out.append(Discard(outcome=outcome))
        self._next_round(work, None, now)

    def _part_failed(self, work: Work, error: AudioPoolError, now: float) -> None:
        if isinstance(error, QualityError) and work.ask is not None:
            self._free_handover(work)
            self._next_round(work, error, now)
        else:
            self._settle_all(work, "error", error)

    def _next_round(self, work: Work, error: AudioPoolError | None, now: float) -> None:
        assert work.ask is not None
        work.round += 1
        if work.round < work.ask.max_rounds:
            work.stage = "make"
            self._enqueue(work, now)
        elif work.best is not None:
            self._keep(work, work.best)
        else:
            self._settle_all(work, "error", error or QualityError("no candidate passed the quality gate"))

    def _keep(self, work: Work, outcome: dict[str, Any]) -> None:
        if work.best is not None and work.best is not outcome:
            self._out.append(Discard(outcome=work.best))
        work.best, work.stage = None, "keep"
        outcome = {**outcome, "rounds": work.round + (1 if outcome.get("accepted") else 0), "tried": work.tried}
        self._out.append(
            Keep(
                work=work.number,
                ticket=work.tickets[0] if work.tickets else 0,
                sound=outcome,
                vectors=work.vectors,
                accepted=bool(outcome.get("accepted")),
            )
        )

    def _kept(self, event: Kept) -> None:
        work = self.works.get(event.work)
        if work is None or work.stage != "keep":
            return
        if event.error is not None:
            self._settle_all(work, "error", event.error)
        else:
            self._answer_all(work, event.result)

    def _free_handover(self, work: Work) -> None:
        if work.outcome is not None:
            self._out.append(Discard(outcome=work.outcome))
            work.outcome = None

    def _job_failed(self, event: JobFailed, now: float) -> None:
        held = self.roster.release(event.worker, event.incarnation, event.job, event.attempt, now)
        if held is None:
            return
        for number in held.works:
            work = self.works.get(number)
            if work is not None and work.jobs.pop(event.job, None) is not None:
                self._job_lost(work, event.error, now, again=len(held.works) > 1)
        self._dispatch()

    def _job_lost(self, work: Work, error: AudioPoolError, now: float, *, again: bool) -> None:
        """The work's job came to nothing. ``again``: it may be another's fault, so try once more, alone."""
        if work.stage == "embed":
            self._vectors_came(work, {"error": {"message": error.message}}, now)
            return
        if again:
            work.failures += 1
            if work.failures < self.limits.max_attempts:
                self._again(work, now)
                return
        self._part_failed(work, error, now)

    def _again(self, work: Work, now: float) -> None:
        if work.stage == "finish":  # the candidates' slots died with their reader: make them anew
            self._free_handover(work)
            work.stage = "make"
        self._enqueue(work, now)

    def _worker_died(self, event: Died, now: float) -> None:
        at_work: set[Lane] = set()
        for held in self.roster.died(event.worker, event.incarnation, event.reason, now):
            waited = held.lane in at_work  # behind another in its lane: not to blame
            at_work.add(held.lane)
            for number in held.works:
                work = self.works.get(number)
                if work is None or work.jobs.pop(held.job, None) is None:
                    continue
                if waited:
                    self._again(work, now)
                    continue
                error: AudioPoolError = WorkerDied(
                    f"worker {event.worker!r} died at work: {event.reason} (tried {work.failures + 1} times)",
                    hint="its log says more",
                )
                self._job_lost(work, error, now, again=not held.timed_out)
        self._give_up_unserved()
        self._dispatch()

    def _give_up_unserved(self) -> None:
        """Workers have come or gone: what waited for one that will never take it is answered."""
        for work in [self.works[number] for number in self.waiting.all()]:
            error = self._queue.why_unserved(work)
            if error is not None:
                self._settle_all(work, "error", error)

    def _progress(self, event: JobProgress, now: float) -> None:
        worker = self.roster.current(event.worker, event.incarnation)
        held = worker.jobs.get(event.job) if worker is not None else None
        if held is None or held.attempt != event.attempt:
            return
        self.roster.signed(event.worker, event.incarnation, now)
        for number in held.works:
            work = self.works.get(number)
            for ticket in work.tickets if work is not None else ():
                if self.tickets[ticket].events:
                    self._out.append(Notify(ticket=ticket, type="progress", body=event.body))

    # -- endings -----------------------------------------------------------------------------------

    def _cancel(self, ticket: int) -> None:
        self._drop_ticket(ticket, "cancelled", Cancelled("cancelled by its caller"))

    def _drop_ticket(self, number: int, kind: Literal["cancelled", "expired"], error: AudioPoolError) -> None:
        ticket = self.tickets.get(number)
        if ticket is None:
            return
        work = self.works[ticket.work]
        self._final(number, Answer(ticket=number, kind=kind, error=error, warnings=tuple(work.warnings)))
        work.tickets.remove(number)
        if not work.tickets:
            self._abandon(work)

    def _abandon(self, work: Work) -> None:
        """Nobody wants it any more: out of the queue, or stopped between two steps."""
        if work.stage == "keep":
            return  # a finished sound is worth keeping; its answer goes to nobody
        for job, (name, incarnation, attempt) in work.jobs.items():
            worker = self.roster.current(name, incarnation)
            held = worker.jobs.get(job) if worker is not None else None
            if held is not None and not held.cancelled and not self._wanted(held, besides=work.number):
                held.cancelled = True
                self._out.append(SendCancel(worker=name, incarnation=incarnation, job=job, attempt=attempt))
        self._settle(work)

    def _wanted(self, held: HeldJob, besides: int) -> bool:
        return any(number != besides and number in self.works for number in held.works)

    def _answer_all(self, work: Work, value: Any) -> None:
        work.times_ms["total"] = (self._now - work.arrival) * 1000
        for number in work.tickets:
            made = work.stage == "keep"
            joined = self.tickets[number].joined
            cache_type = "joined" if joined else "new_generation" if made else ""
            self._final(
                number,
                Answer(
                    ticket=number,
                    kind="result",
                    value=value,
                    cache_type=cache_type,
                    times_ms=dict(work.times_ms),
                    warnings=tuple(work.warnings),
                ),
            )
        work.tickets = []
        self._settle(work, used=True)

    def _settle_all(self, work: Work, kind: Literal["error", "busy"], error: AudioPoolError) -> None:
        for number in work.tickets:
            self._final(number, Answer(ticket=number, kind=kind, error=error, warnings=tuple(work.warnings)))
        work.tickets = []
        self._settle(work)

    def _final(self, number: int, answer: Answer) -> None:
        """The only place where a ticket ends."""
        ticket = self.tickets.pop(number)
        self._bytes -= ticket.size_bytes
        self._out.append(answer)

    def _settle(self, work: Work, *, used: bool = False) -> None:
        """The only place where a work ends: out of every table, its leftovers discarded."""
        if not used:
            for leftover in (work.best, work.outcome):
                if leftover:
                    self._out.append(Discard(outcome=leftover))
        work.stage, work.jobs = "settled", {}
        self.waiting.remove(work.number)
        del self.works[work.number]
        if work.ask is not None and self._by_join_key.get(work.ask.join_key) == work.number:
            del self._by_join_key[work.ask.join_key]
        self._out.append(Forget(work=work.number))

    # -- time --------------------------------------------------------------------------------------

    def _embedding(self, due: tuple[float, int]) -> bool:
        work = self.works.get(due[1])
        return work is not None and work.embed_due == due[0]

    def _pass_time(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, number = heapq.heappop(self._deadlines)
            if number in self.tickets:
                self._drop_ticket(number, "expired", Expired("the deadline passed before the sound was ready"))
        while self._embed_dues and self._embed_dues[0][0] <= now:
            due = heapq.heappop(self._embed_dues)
            if self._embedding(due):
                work = self.works[due[1]]
                work.warnings.append(f"semantic_timeout: no text vector within {self.limits.embed_timeout_s:g} s")
                work.jobs.clear()  # a late vector is dropped like any late word
                self.waiting.remove(work.number)
                self._embedded(work, now)
        if now >= self._look_at_workers:
            self._look_at_workers = now + _LOOK_EVERY_S
            kills, late = self.roster.overdue(now)
            for name, held in late:
                self._job_timed_out(name, held)
            self._out += kills
            self._out += self.roster.start(now)
        if self.drain_deadline is not None:
            self._drain(now)

    def _job_timed_out(self, name: str, held: HeldJob) -> None:
        """Answers at once; the worker is killed beside it."""
        error = Timeout(
            f"worker {name!r} took over {self.limits.worker.task_timeout_s:g} s for one job and was stopped",
            hint="raise limits.task_timeout_s, or ask for less (duration_s, steps, candidates)",
        )
        for number in held.works:
            work = self.works.get(number)
            if work is not None and work.jobs.pop(held.job, None) is not None:
                self._settle_all(work, "error", error)

    def _drain(self, now: float) -> None:
        assert self.drain_deadline is not None
        if now >= self.drain_deadline:
            for work in list(self.works.values()):
                if work.stage == "keep" and not work.tickets:
                    continue
                self._settle_all(work, "error", PoolClosed("the pool stopped before the sound was ready"))
        if self.idle and not self.roster.stopping:
            self._out += self.roster.stop(now)
