"""Engines that come and go: their loads and unloads as tasks in workers' hands, and what comes of these. Pure.

Owns: when residency is asked, what is sent for it, what a load that failed means for those who wait.
Must not know: which engine should be where (residency.py), how a load is carried out.

Loads and unloads go to the thread that generates, like any task there: behind what it holds, with a hang limit, lost
with its worker. An engine counts as out from when its unload is sent, as there once its load is done.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from msgspec import structs

from audio_pool.config import LimitsConfig
from audio_pool.errors import AudioPoolError, OutOfMemory, WorkerDied
from audio_pool.results import Failure, Progress
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import SendProgress, SendTask
from audio_pool.scheduler.batches import batching_of
from audio_pool.scheduler.dispatch import Dispatch
from audio_pool.scheduler.estimates import Estimates, TaskKind
from audio_pool.scheduler.jobs import Job
from audio_pool.scheduler.ledger import Ledger
from audio_pool.scheduler.queue import Need
from audio_pool.scheduler.residency import Change, Demand, Residency, load_kind
from audio_pool.scheduler.serving import OF_ENGINES, may_serve
from audio_pool.scheduler.work import LoadWork, UnloadWork
from audio_pool.scheduler.worker_state import Barred, HeldTask, WorkerState
from audio_pool.scheduler.workers import WorkerTable
from audio_pool.tasks import Loaded, TaskResult, Unloaded

__all__ = ["Loads"]

_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 300.0
_LOOK_S = 1.0
_MOST_ALMOST = 0.99
"""Told of a load that takes longer than expected."""


class Loads:
    """Asks residency after everything that happens, where any engine comes and goes at all."""

    def __init__(
        self, workers: WorkerTable, dispatcher: Dispatch, ledger: Ledger, estimates: Estimates, limits: LimitsConfig
    ) -> None:
        self.limits = limits
        self.active = False
        """False while every worker simply keeps its engines: then nothing here costs anything."""
        self._table = workers
        self._workers: Mapping[str, WorkerState] = workers.workers
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._estimates = estimates
        self._residency = Residency(workers.workers, workers.census, estimates)
        self._orders: dict[tuple[str, str], Literal["load", "unload"]] = {}
        """What was ordered by hand and is not done: by engine and worker ("": anywhere)."""
        self._retired: set[str] = set()
        """Names of models in whose place others have come."""
        self._lacking: dict[str, float] = {}
        """Since when engines that somebody waits for have found no memory."""
        self._patience_ends: float | None = None
        self._look_again = -math.inf
        self._put_off = False
        self._seen: frozenset[Need] = frozenset()
        self.look_at_plans()

    def look_at_plans(self) -> None:
        """Look whether any engine comes and goes, at the start and when workers have."""
        self._look_at_once()
        self.active = self.active or any(one.plan.on_demand for one in self._workers.values())

    @property
    def due(self) -> float | None:
        """When ``arrange`` is to be asked again at the latest; None: after whatever happens next."""
        if not self.active:
            return None
        put_off = self._look_again if self._put_off else None
        times = [time for time in (self._residency.due, self._patience_ends, put_off) if time is not None]
        return min(times, default=None)

    # -- what is to be done ------------------------------------------------------------------------

    def arrange(self, now: float) -> None:
        """Send what is to be loaded and taken out now.

        While every worker is busy, and nobody waits for what nobody waited for before, once a second is often enough.
        """
        if self._orders:
            self._follow_orders(now)
        self._put_off = now < self._look_again and (self.due is None or now < self.due) and not self._pressing(now)
        if self._put_off:
            return
        self._look_again = now + _LOOK_S
        self._seen = frozenset(self._dispatcher.queue.needs())
        demands = self._demands(now)
        for change in self._take_out_retired(demands) if self._retired else ():
            self._carry_out(change, now)
        for change in self._residency.changes(demands, now):
            self._carry_out(change, now)
        self._lose_patience(demands, now)

    def _pressing(self, now: float) -> bool:
        """Return True if a worker has nothing to do, or something is needed that was not at the last look."""
        if not self._seen.issuperset(self._dispatcher.queue.needs()):
            return True
        return self._table.vacancies.any_idle(now)

    def _look_at_once(self) -> None:
        """Note that something has changed which the next ``arrange`` must not put off."""
        self._look_again = -math.inf

    def order(self, event: events.OrderModel) -> None:
        """Note what somebody ordered; it is done as soon as it can be."""
        self.active = True
        self._look_at_once()
        for worker in self._hosts(event.engine, event.worker):
            if event.order == "pin":
                worker.pinned.add(event.engine)
            elif event.order == "unpin":
                worker.pinned.discard(event.engine)
            elif event.order == "load":
                worker.barred.pop(event.engine, None)  # at once, whatever came of it before
        if event.order != "unpin":
            what: Literal["load", "unload"] = "unload" if event.order == "unload" else "load"
            for key in [key for key in self._orders if key[0] == event.engine]:
                del self._orders[key]
            self._orders[event.engine, event.worker] = what

    def switch(self, event: events.HostModel | events.RetireModel) -> None:
        """Note that a model comes in the place of another, or that one has been replaced."""
        self.active = True
        self._look_at_once()
        if isinstance(event, events.RetireModel):
            self._retired.add(event.hosted)
            for worker in self._hosts(event.hosted, ""):
                worker.pinned.discard(event.hosted)
            return
        self._retired.discard(event.hosted)
        self._dispatcher.hosted_as[event.engine, event.model] = event.hosted
        self._dispatcher.bounds.come_in_place(event.hosted, event.engine)
        for worker in self._hosts(event.engine, ""):
            plan = worker.plan
            how = plan.on_demand.get(event.engine)
            coming = plan.on_demand if how is None else {**plan.on_demand, event.hosted: how}
            worker.plan = structs.replace(plan, engines=plan.engines | {event.hosted}, on_demand=coming)
            if event.engine in worker.engines:
                worker.engines |= {event.hosted}
            worker.barred.pop(event.hosted, None)
            self._table.changed(worker)
            if event.engine in worker.pinned:
                worker.pinned.add(event.hosted)
        self._orders[event.hosted, ""] = "load"

    def _take_out_retired(self, demands: Collection[Demand]) -> Iterator[Change]:
        """Yield what goes because another model has come in its place, once nobody waits for it any more."""
        wanted = {demand.engine for demand in demands}
        for worker in self._workers.values():
            for engine in sorted(self._retired & worker.loaded - wanted):
                if worker.ready and self._residency.may_leave(worker, engine):
                    yield Change(worker.plan.name, (engine,))

    def came_up(self, name: str, incarnation: int, failed: Mapping[str, Failure], now: float) -> None:
        """Note that a worker is ready: what is pinned there, or was to be there from the start, comes.

        Args:
            failed: what it was to have loaded, and why it could not: tried again like any load that failed.
        """
        worker = self._table.current(name, incarnation)
        if worker is None or worker.state != "ready":
            return
        for engine, failure in failed.items():
            self.active = True  # from now on an engine of this worker comes, if it does not go
            self._look_at_once()
            self._bar(worker, engine, failure, now)
        missing = worker.lacking_from_start - worker.barred.keys() - self._retired
        self.active = self.active or bool(missing)  # it loads one by one, because it has ended while it loaded
        for engine in sorted((worker.pinned - worker.loaded) | missing):
            self._orders[engine, name] = "load"

    def _hosts(self, engine: str, worker: str) -> list[WorkerState]:
        return [one for one in self._workers.values() if engine in one.plan.engines and worker in ("", one.plan.name)]

    def _follow_orders(self, now: float) -> None:
        for (engine, name), what in list(self._orders.items()):
            every = self._hosts(engine, name)
            hosts = [one for one in every if one.ready]
            there = [one for one in hosts if engine in one.loaded]
            done = not there and not any(one.loading == engine for one in hosts) if what == "unload" else bool(there)
            if every and not hosts:
                continue  # until one is up
            if done or not every:
                del self._orders[engine, name]
            elif what == "unload":
                for worker in there:
                    if self._residency.may_leave(worker, engine):
                        self._carry_out(Change(worker.plan.name, (engine,)), now)
            elif not any(one.loading == engine for one in hosts):
                if any(one.barred.get(engine) for one in hosts):
                    del self._orders[engine, name]  # it was tried, and is told to have failed
                    continue
                changes = self._residency.ordered(engine, hosts, now)
                for change in changes:
                    self._carry_out(change, now)
                if not changes and not self._residency.could_come(engine, hosts, now):
                    why = self._why_no_memory(engine, hosts)
                    self._bar(hosts[0], engine, Failure.of(why), now)

    def _demands(self, now: float) -> list[Demand]:
        found: dict[str, Demand] = {}
        queue = self._dispatcher.queue
        for need in queue.needs():
            turn = queue.first(need, now) if need.role in OF_ENGINES else None
            if turn is None:
                continue
            jobs, cost_s = queue.backlog(need)
            one = Demand(turn.level, self._ledger.jobs[turn.job].arrival, need.name, need, cost_s, jobs)
            other = found.get(need.name)
            if other is not None:
                one = min(one, other)._replace(cost_s=cost_s + other.cost_s, jobs=jobs + other.jobs)
            found[need.name] = one
        return list(found.values())

    def _carry_out(self, change: Change, now: float) -> None:
        worker = self._workers[change.worker]
        for engine in change.out:
            self._send(worker, UnloadWork(engine=engine), now)
            worker.loaded -= {engine}
            worker.batching = {name: how for name, how in worker.batching.items() if name != engine}
            self._table.changed(worker)
        if change.load:
            self._share(worker, -worker.size_of(change.load))
            self._send(worker, LoadWork(engine=change.load), now)
            self._lacking.pop(change.load, None)
            self._tell(change.load, now)

    def _send(self, worker: WorkerState, work: LoadWork | UnloadWork, now: float) -> None:
        name, incarnation, task = worker.plan.name, worker.incarnation, self._dispatcher.next_task()
        kind = load_kind(work.engine) if isinstance(work, LoadWork) else TaskKind("unload", work.engine)
        held = HeldTask(
            task=task,
            attempt=1,
            thread="generate",
            jobs=(),
            since=now,
            kind=kind,
            hang_s=self.limits.load_timeout_s,
            expected_s=math.inf,  # nothing is sent behind it: whoever it is for may be next
        )
        self._table.hold(name, held)
        self._ledger.out.append(SendTask(worker=name, incarnation=incarnation, task=task, attempt=1, work=work))

    def _share(self, worker: WorkerState, more_bytes: int) -> None:
        """Note at the workers of the same device that there is more room for their engines, or less."""
        for other in self._workers.values():
            shares = other is not worker and worker.plan.device and other.plan.device == worker.plan.device
            if shares and other.room_bytes is not None:
                other.room_bytes += more_bytes
                self._table.changed(other)

    # -- what has come of it -----------------------------------------------------------------------

    def done(self, name: str, held: HeldTask, result: TaskResult | None, now: float) -> None:
        """Note that an engine was loaded, or taken out."""
        self._look_at_once()
        worker, engine = self._workers[name], held.kind.name
        match result:
            case Loaded():
                self._share(worker, worker.size_of(engine) - result.size_bytes)
                worker.sizes[engine] = result.size_bytes
                for other in self._workers.values():
                    # better than what is told, until it is loaded there, too
                    if engine in other.plan.engines and engine not in other.sizes:
                        other.sizes[engine] = result.size_bytes
                        self._table.changed(other)
                worker.loaded |= {engine}
                worker.loaded_at[engine] = worker.used_at[engine] = now
                worker.barred.pop(engine, None)
                how = batching_of(result.info)
                worker.batching = {**worker.batching, **({engine: how} if how is not None else {})}
            case Unloaded():
                self._share(worker, worker.size_of(engine))
            case _:
                unlike = WorkerDied(f"worker {name!r} answered a load with what is none")
                self.failed(name, held, Failure.of(unlike), now)
        self._table.changed(worker)

    def failed(self, name: str, held: HeldTask, failure: Failure, now: float) -> None:
        """Note that an engine could not be loaded; who waits for it is told where nobody else can."""
        self._look_at_once()
        worker, engine = self._workers[name], held.kind.name
        if held.kind.role != "load":
            return
        self._share(worker, worker.size_of(engine))
        self._bar(worker, engine, failure, now)

    def _bar(
        self, worker: WorkerState, engine: str, failure: Failure, now: float, *, again_at_once: bool = False
    ) -> None:
        before = worker.barred.get(engine)
        tries = before.tries + 1 if before is not None else 1
        pause_s = 0.0 if again_at_once else min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (tries - 1))
        worker.barred[engine] = Barred(
            failure=failure,
            until=now + pause_s,
            tries=tries,
            for_memory=failure.code == OutOfMemory.code,
            room_bytes=worker.room_bytes,
        )
        for job in list(self._waiting(engine)):
            error = self.refusal(job, now)
            if error is not None:
                self._ledger.fail_all(job, Failure.of(error))

    def died(self, name: str, held: HeldTask, reason: str, now: float) -> None:
        """Note that a worker ended while it loaded an engine.

        As often as a sound is made again whose worker has died it is tried again at once; then the next process begins
        with the others.
        """
        if held.kind.role == "load":
            barred = (one.barred.get(held.kind.name) for one in self._workers.values())
            tries = 1 + sum(one.tries for one in barred if one is not None)
            again = tries < self.limits.max_attempts and not held.timed_out
            what = f"worker {name!r} died while it loaded {held.kind.name!r}: {reason}"
            dead = WorkerDied(what, hint="its log says more")
            self._bar(self._workers[name], held.kind.name, Failure.of(dead), now, again_at_once=again)

    def exiting(self, name: str, incarnation: int) -> None:
        """Note that a worker is gone, just before its table entry forgets what it had in memory."""
        self._look_at_once()
        worker = self._table.current(name, incarnation)
        if worker is not None and self.active:
            self._share(worker, worker.taken_bytes)

    def memory_read(self, event: events.MemoryRead) -> None:
        """Note what is free on devices. Where a change is in hand the account says more than a look in its middle."""
        self._look_at_once()
        for device, spare in event.spare_bytes.items():
            sharing = [one for one in self._workers.values() if (one.plan.device or one.plan.name) == device]
            if any(one.changing for one in sharing):
                continue
            for worker in sharing:
                worker.memory_read = True
                worker.room_bytes = None if spare is None else spare + worker.taken_bytes
                self._table.changed(worker)

    # -- who waits ---------------------------------------------------------------------------------

    def refusal(self, job: Job, now: float) -> AudioPoolError | None:
        """Return why no worker will load what a job needs, though one is up that should; None: one has it, or may."""
        if not self.active or job.stage == "embed":
            return None
        need = self._dispatcher.need_of(job)
        if need.role not in OF_ENGINES:
            return None
        last: tuple[float, Barred] | None = None
        for worker in self._workers.values():
            if not may_serve(worker, need) or worker.state in ("broken", "gone"):
                continue
            barred = worker.barred.get(need.name)
            if need.name in worker.loaded or barred is None or barred.for_memory or now >= barred.until:
                return None
            if last is None or barred.until < last[0]:
                last = barred.until, barred
        if last is None:
            return None
        error = last[1].failure.error()
        error.retry_after_ms = max(1, round((last[0] - now) * 1000))
        error.hint = error.hint or f"loading it is tried again in {last[0] - now:.0f} s"
        return error

    def loading_on(self, worker: str, now: float) -> None:
        """Tell who waits how a worker gets on with a load; asked with its every heartbeat."""
        state = self._workers.get(worker)
        if self.active and state is not None and state.loading:
            self._tell(state.loading, now)

    def tell(self, job: Job, need: Need, now: float) -> None:
        """Tell a job that has just begun to wait of the load that it waits for, if there is one."""
        progress = self._progress(need.name, now) if self.active and need.role in OF_ENGINES else None
        if progress is not None:
            self._send_progress(job, progress)

    def _tell(self, engine: str, now: float) -> None:
        progress = self._progress(engine, now)
        if progress is not None:
            for job in self._waiting(engine):
                self._send_progress(job, progress)

    def _send_progress(self, job: Job, progress: Progress) -> None:
        for request in job.requests:
            if self._ledger.requests[request].events:
                self._ledger.out.append(SendProgress(request=request, body=progress))

    def _progress(self, engine: str, now: float) -> Progress | None:
        """Return how far the load is that will be done first; None: none is under way."""
        if not self._table.census.loading(engine):
            return None
        expected_s = self._residency.load_s(engine)
        since = [
            # one that waits behind other work has not begun
            held.since if worker.heads()[0] is held else now
            for worker in self._workers.values()
            for held in worker.tasks.values()
            if held.kind.role == "load" and held.kind.name == engine
        ]
        if not since:
            return None
        gone_s = now - min(since)
        return Progress(
            stage="loading",
            fraction=round(min(_MOST_ALMOST, gone_s / max(expected_s, 1e-3)), 3),
            eta_s=round(max(0.0, expected_s - gone_s), 3),
        )

    def _waiting(self, engine: str) -> Iterator[Job]:
        queue = self._dispatcher.queue
        for need in queue.needs():
            if need.role in OF_ENGINES and need.name == engine:
                yield from (self._ledger.jobs[number] for number in queue.waiting(need))

    # -- no memory ---------------------------------------------------------------------------------

    def _lose_patience(self, demands: list[Demand], now: float) -> None:
        """Tell who waits that there is no memory for the engine, and fail who has waited long enough for some."""
        lacking = {one.engine: one for one in demands if self._residency.lacks_memory(one, now)}
        self._lacking = {engine: self._lacking.get(engine, now) for engine in lacking}
        self._patience_ends = None
        for engine, since in self._lacking.items():
            need = lacking[engine].need
            why = self._why_no_memory(engine, [one for one in self._workers.values() if may_serve(one, need)])
            for job in [one for one in self._waiting(engine) if one.stage != "embed"]:
                until = max(since, job.queued_at) + self.limits.memory_wait_s
                if now >= until:
                    self._ledger.fail_all(job, Failure.of(why))
                    continue
                self._patience_ends = until if self._patience_ends is None else min(self._patience_ends, until)
                if since == now or job.queued_at == now:
                    self._send_progress(job, Progress(stage="loading", note=why.message))

    def _why_no_memory(self, engine: str, hosts: Collection[WorkerState]) -> OutOfMemory:
        most = max((one for one in hosts if one.ready), key=lambda one: one.room_bytes or 0)
        barred = most.barred.get(engine)
        if barred is not None and barred.for_memory:
            error = barred.failure.error()
            return OutOfMemory(error.message, hint=error.hint)
        needs, room = most.size_of(engine) >> 20, max(0, most.room_bytes or 0) >> 20
        return OutOfMemory(
            f"{engine} takes {needs:,} MB; all engines of worker {most.plan.name!r} may take {room:,} MB now",
            hint="it is loaded when there is more: free the device, or lower memory.reserve_bytes",
        )
