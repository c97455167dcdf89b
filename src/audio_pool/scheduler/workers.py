"""The table of workers as the scheduler sees them: their lives, heartbeats, restarts. Pure, like the scheduler.

Owns: when a worker is started, taken for dead, killed, restarted or given up; which tasks it is given and gives back.
Must not know: processes, sockets, clocks (``now`` is passed in), what the tasks are for.

    down --SpawnWorker--> starting --hello--> loading --ready--> ready --stop--> stopping --> gone
      ^                                                            |
      `--------- back-off <--- exited <----------------------------'
                                  `--> broken --longer pause--> starting ...   (too many in a row: breaker.py)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from audio_pool.config import LimitsConfig
from audio_pool.errors import WorkerDied, WorkerStartFailed
from audio_pool.results import Failure
from audio_pool.scheduler.actions import Action, KillWorker, SpawnWorker, StopWorker
from audio_pool.scheduler.batches import Batching
from audio_pool.scheduler.census import Census
from audio_pool.scheduler.vacancies import Vacancies
from audio_pool.scheduler.worker_dues import WorkerDues
from audio_pool.scheduler.worker_state import HeldTask, WorkerPlan, WorkerState
from audio_pool.tasks import LaneReport

__all__ = ["WorkerTable"]

_LOST_BEATS = 3
"""Heartbeats for which a worker must know nothing of a task before it counts as lost."""
_LOADING_SILENCE = 6
"""Times as long a worker may be silent while it loads: libraries keep the interpreter to themselves then."""


class WorkerTable:
    """All workers. Methods that change something return the actions that follow from it."""

    def __init__(self, plans: Iterable[WorkerPlan], limits: LimitsConfig, batch_window_s: float = 0.0) -> None:
        self.limits = limits
        self.workers = {plan.name: WorkerState(plan=plan) for plan in plans}
        self.stopping = False
        self.vacancies = Vacancies(batch_window_s)
        self.census = Census(self.workers)
        self._dues = WorkerDues(self._due_of)
        self._numbers: dict[str, int] = {}
        """How often those were started that are not there any more."""
        self.all_changed()

    def changed(self, worker: WorkerState) -> None:
        """Note that a worker is not what it was. Whatever changes one says so, or it is overlooked until its next
        heartbeat."""
        self.vacancies.changed(worker)
        self.census.changed(worker)
        self._dues.changed(worker)

    def all_changed(self) -> None:
        """Note that any of the workers may not be what it was."""
        for worker in self.workers.values():
            self.changed(worker)

    def change(self, limits: LimitsConfig, batch_window_s: float) -> None:
        """From now on other limits hold."""
        self.limits, self.vacancies.window_s = limits, batch_window_s
        self.all_changed()

    def add(self, plan: WorkerPlan) -> None:
        """Add a worker, which is down; one of that name that is known stays as it is."""
        if plan.name not in self.workers:
            number = self._numbers.pop(plan.name, 0)
            self.workers[plan.name] = WorkerState(plan=plan, incarnation=number)
            self.changed(self.workers[plan.name])

    def forget(self, name: str) -> None:
        """Forget a worker that has ended. A later one of that name goes on counting: late messages name a number."""
        self._numbers[name] = self.workers.pop(name).incarnation
        self.census.forget(name)

    # -- life --------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Action]:
        """Start every worker that is down and due."""
        actions: list[Action] = []
        for worker in self.census.at_rest():
            down = worker.state in ("down", "broken") and not worker.must_end
            if down and not self.stopping and (worker.due is None or now >= worker.due):
                if worker.state == "broken":
                    worker.breaker.probe()
                worker.incarnation += 1
                worker.state, worker.killed = "starting", False
                worker.due = now + self.limits.hello_timeout_s
                worker.last_sign = now
                self.changed(worker)
                actions.append(SpawnWorker(worker=worker.plan.name, incarnation=worker.incarnation))
        return actions

    def current(self, name: str, incarnation: int) -> WorkerState | None:
        """Return the worker if this message is from its present incarnation."""
        worker = self.workers.get(name)
        return worker if worker is not None and worker.incarnation == incarnation else None

    def on_pending(self, name: str, incarnation: int, why: str, within_s: float, now: float) -> None:
        """Note why a worker that is being started waits for a place, and how long it may; 0: it has found one."""
        worker = self.current(name, incarnation)
        if worker is not None and worker.state == "starting" and not worker.killed:
            worker.pending, worker.due = why, now + (within_s or self.limits.hello_timeout_s)
            self.changed(worker)

    def on_hello(self, name: str, incarnation: int, now: float) -> bool:
        """Note a hello; return True if the Load message should be sent now."""
        worker = self.current(name, incarnation)
        if worker is None or worker.state != "starting":
            return False
        worker.state, worker.due, worker.last_sign = "loading", now + self.limits.load_timeout_s, now
        worker.pending = ""
        self.changed(worker)
        return True

    def on_ready(
        self,
        name: str,
        incarnation: int,
        engines: frozenset[str],
        batching: Mapping[str, Batching],
        now: float,
        coming: frozenset[str] = frozenset(),
        *,
        loaded: frozenset[str] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        """Note that a worker is ready with these engines, or has loaded what was still coming.

        Args:
            loaded: those that are in memory; None: all.
        """
        worker = self.current(name, incarnation)
        if worker is None or not (worker.state == "loading" or (worker.state == "ready" and worker.coming)):
            return
        # what came and went since it said so for the first time is known better here
        known_here = worker.engines if worker.state == "ready" else frozenset()
        if worker.state == "loading":
            worker.state, worker.due, worker.last_sign, worker.failure = "ready", None, now, None
            worker.lanes, worker.loaded = {}, frozenset()
        # until all is there, a failure to load is one of its start
        worker.ever_ready = worker.ever_ready or not coming
        there = engines if loaded is None else loaded
        new = there - worker.loaded - known_here
        worker.loaded |= new
        worker.loaded_at |= dict.fromkeys(new, now)
        worker.used_at |= dict.fromkeys(new, now)
        worker.sizes |= sizes or {}
        for engine in new:
            worker.barred.pop(engine, None)
        worker.engines, worker.coming = engines | known_here, coming
        worker.batching = {**worker.batching, **batching}
        self.changed(worker)

    def on_load_failed(self, name: str, incarnation: int, failure: Failure) -> None:
        """Note why loading failed. The process ends by itself; what is wrong is seldom cured by an early retry."""
        worker = self.current(name, incarnation)
        if worker is not None and (worker.state in ("starting", "loading") or worker.coming):
            worker.state, worker.coming = "loading", frozenset()  # it takes nothing more
            worker.failure = failure
            self.changed(worker)
            worker.breaker.crashes = max(worker.breaker.crashes, self.limits.max_restarts)

    def heartbeat(
        self,
        name: str,
        incarnation: int,
        now: float,
        lanes: tuple[LaneReport, ...] = (),
        known: frozenset[int] = frozenset(),
    ) -> list[HeldTask]:
        """Note a sign of life, and what the worker is at; return the tasks that it has lost.

        Args:
            lanes: of each of its threads; none: it says nothing of them.
            known: tasks that it has received and not answered.
        """
        worker = self.current(name, incarnation)
        if worker is None:
            return []
        worker.last_sign = now
        lost = []
        if lanes:
            worker.lanes, worker.lanes_at = {lane.thread: lane for lane in lanes}, now
            lost = self._lost(worker, known, now)
        self.changed(worker)
        return lost

    def _lost(self, worker: WorkerState, known: frozenset[int], now: float) -> list[HeldTask]:
        """Return the tasks of idle threads of which the worker has known nothing for a while; no longer held.

        A task on its way there or an answer on its way here looks the same, but not for long.
        """
        lost = []
        for held in list(worker.tasks.values()):
            lane = worker.lanes.get(held.thread)
            if lane is None or lane.task or held.task in known:
                held.missed_since = None
            elif held.missed_since is None:
                held.missed_since = now
            elif now >= held.missed_since + _LOST_BEATS * self.limits.heartbeat_s:
                lost.append(worker.tasks.pop(held.task))
        return lost

    def on_misspoke(self, name: str, incarnation: int, reason: str) -> list[Action]:
        """Kill a worker that sent what is no message; its tasks come back with its death."""
        worker = self.current(name, incarnation)
        if worker is None or worker.killed or worker.state not in ("starting", "loading", "ready", "stopping"):
            return []
        worker.killed, worker.misspoke = True, f"it sent what is no message ({reason})"
        self.changed(worker)
        return [KillWorker(worker=name, incarnation=incarnation, why=worker.misspoke, at_once=True)]

    def why_killed(self, name: str, incarnation: int) -> str:
        """Return what a worker was killed for that says more than the signal does, "" where nothing does."""
        worker = self.current(name, incarnation)
        return worker.misspoke if worker is not None else ""

    def why_called_off(self, name: str, incarnation: int) -> str:
        """Return why a worker was ended with which nothing was wrong, "" for any other."""
        worker = self.current(name, incarnation)
        return worker.called_off if worker is not None else ""

    def on_exit(
        self, name: str, incarnation: int, reason: str, now: float, *, counts: bool = True, lost: bool = False
    ) -> list[HeldTask]:
        """Note an exit; return the tasks it held. It is down (restart due) or, after too many crashes, broken.

        Args:
            counts: against the worker; not where what it was at is known to have ended another.
            lost: its machine has gone, so that even its first start is tried again.
        """
        worker = self.current(name, incarnation)
        if worker is None or worker.state in ("down", "gone", "broken"):
            return []
        held, worker.tasks = list(worker.tasks.values()), {}
        worker.pending = ""
        on_order = worker.called_off or worker.state == "stopping"
        worker.killed, worker.misspoke, worker.called_off = False, "", ""  # done; what is due next is its restart
        if self.stopping:
            worker.state, worker.due = "gone", None
            return held
        if on_order:
            worker.state, worker.due, worker.failure = "down", None, None
            worker.empty()
        else:
            self._note_end(worker, held, reason, now, counts=counts, lost=lost)
        self.changed(worker)
        return held

    def _note_end(
        self, worker: WorkerState, held: list[HeldTask], reason: str, now: float, *, counts: bool, lost: bool
    ) -> None:
        """Note why a worker has ended, and when it is started again."""
        name = worker.plan.name
        if worker.state in ("starting", "loading") and worker.failure is None:
            ended = WorkerStartFailed(f"worker {name!r} ended while {worker.state}: {reason}; see its log")
            worker.failure = Failure.of(ended)
        elif worker.state == "ready":
            worker.failure = Failure.of(WorkerDied(f"worker {name!r} died: {reason}"))
        worker.empty()
        breaker = worker.breaker
        if not worker.ever_ready and not lost:  # its caller waits for the reason, not for more tries
            breaker.crashes += 1
            worker.state, worker.due = "broken", now + breaker.open(self.limits)
        elif not counts or any(task.timed_out and task.cancelled for task in held):  # or for a change of mind
            worker.state, worker.due = "down", now + breaker.pause_s(self.limits)
        else:
            broken, pause = breaker.crash(self.limits)
            worker.state, worker.due = "broken" if broken else "down", now + pause

    def stop(self, now: float) -> list[Action]:
        """Ask every worker to finish and exit; kill those that are not up yet."""
        self.stopping = True
        actions: list[Action] = []
        for worker in self.workers.values():
            name = worker.plan.name
            if worker.state in ("down", "broken"):
                worker.state, worker.due = "gone", None
            elif worker.state == "ready":
                worker.state, worker.due = "stopping", now + self.limits.term_timeout_s
                actions.append(StopWorker(worker=name, incarnation=worker.incarnation))
            elif worker.state in ("starting", "loading"):
                worker.state, worker.due = "stopping", None
                if not worker.killed:
                    worker.killed = True
                    actions.append(KillWorker(worker=name, incarnation=worker.incarnation, why="the pool stops"))
            self.changed(worker)
        return actions

    @property
    def gone(self) -> bool:
        """True once every worker has ended for good."""
        return all(worker.state == "gone" for worker in self.workers.values())

    # -- tasks -------------------------------------------------------------------------------------

    def hold(self, name: str, held: HeldTask) -> None:
        """Note that a task was sent to a worker."""
        worker = self.workers[name]
        worker.tasks[held.task] = held
        self.changed(worker)

    def release(self, name: str, incarnation: int, task: int, attempt: int, now: float) -> HeldTask | None:
        """Return the task, no longer held; None for a late message of a dead attempt."""
        worker = self.current(name, incarnation)
        held = worker.tasks.get(task) if worker is not None else None
        if worker is None or held is None or held.attempt != attempt:
            return None
        worker.tasks_done += 1
        worker.breaker.close()
        self._drop(worker, held, now)
        return held

    def give_back(self, name: str, incarnation: int, task: int, attempt: int, now: float) -> HeldTask | None:
        """Return a recalled task that had not begun, no longer held; None for a late message of a dead attempt."""
        worker = self.current(name, incarnation)
        held = worker.tasks.get(task) if worker is not None else None
        if worker is None or held is None or held.attempt != attempt:
            return None
        self._drop(worker, held, now)
        return held

    def _drop(self, worker: WorkerState, held: HeldTask, now: float) -> None:
        del worker.tasks[held.task]
        worker.last_sign = now
        if held.kind.name in worker.loaded:
            worker.used_at[held.kind.name] = now
        for other in worker.tasks.values():
            if other.thread == held.thread:
                other.since = now  # the next of the thread starts now
                break
        self.changed(worker)

    def cancel(self, worker: WorkerState, held: HeldTask, now: float) -> None:
        """Note that nobody wants a task that a worker holds any more."""
        held.cancelled, held.cancelled_at = True, now
        self.changed(worker)

    def is_running(self, name: str, incarnation: int, task: int) -> bool:
        """Return True if the worker is executing this task, not one before it in the same thread."""
        worker = self.current(name, incarnation)
        return worker is not None and any(held.task == task for held in worker.heads())

    def overdue(self, now: float) -> tuple[list[Action], list[tuple[str, HeldTask]]]:
        """Return the workers to kill because something lasted too long, and the tasks that were the reason."""
        actions: list[Action] = []
        late: list[tuple[str, HeldTask]] = []
        first = self.next_deadline()
        if first is None or now < first:
            return actions, late
        for name, worker in self.workers.items():
            if worker.killed or worker.state not in ("starting", "loading", "ready", "stopping"):
                continue
            why, at_once = "", False
            if worker.due is not None and now >= worker.due:
                why = f"it was {worker.state} for too long"
                if worker.state in ("starting", "loading"):
                    limit = self.limits.hello_timeout_s if worker.state == "starting" else self.limits.load_timeout_s
                    late_start = WorkerStartFailed(
                        f"worker {name!r} was still {worker.state} after {limit:g} s; see its log"
                    )
                    worker.failure = Failure.of(late_start)
            elif now >= worker.last_sign + self._silence_s(worker):
                why, at_once = f"no sign of life for {self._silence_s(worker):g} s", True
            for held in worker.heads():
                if now >= self._hangs_at(held):
                    held.timed_out = True
                    late.append((name, held))
                    why, at_once = self.why_late(held, now), True
                elif (due := self._ends_by(worker, held)) is not None and now >= due:
                    held.timed_out = True
                    why, at_once = f"a task went on for {now - held.cancelled_at:.1f} s after its cancel", True
            if why:
                worker.killed = True
                self.changed(worker)
                kill = KillWorker(worker=name, incarnation=worker.incarnation, why=why, at_once=at_once)
                actions.append(kill)
        return actions, late

    def excuse(self, for_s: float, now: float) -> None:
        """Note that this very process has stood still for so long: it has heard nobody, and nobody was late."""
        for worker in self.workers.values():
            worker.last_sign = max(worker.last_sign, now)
            if worker.due is not None:
                worker.due += for_s
            for held in worker.tasks.values():
                held.since += for_s
                held.got_on_at = max(held.got_on_at, now)
                held.cancelled_at += for_s
            self.changed(worker)

    def got_on(self, name: str, incarnation: int, task: int, attempt: int, now: float) -> HeldTask | None:
        """Note that a task has got on, and return it; None for a late message of a dead attempt."""
        worker = self.current(name, incarnation)
        held = worker.tasks.get(task) if worker is not None else None
        if worker is None or held is None or held.attempt != attempt:
            return None
        worker.last_sign = held.got_on_at = now
        return held

    def why_late(self, held: HeldTask, now: float) -> str:
        """Return in words what a task that has lasted too long has done."""
        if held.of_no_job:
            return f"it was loading {held.kind.name!r} for {held.hang_s:g} s"
        if now >= held.since + self.limits.task_timeout_s:
            return f"a task took over {self.limits.task_timeout_s:g} s"
        return f"a task got no further for {held.hang_s:.3g} s"

    def _hangs_at(self, held: HeldTask) -> float:
        """Return when a task at work counts as hung: in all, or since it last got on."""
        if held.of_no_job:
            return held.since + held.hang_s
        return min(held.since + self.limits.task_timeout_s, max(held.since, held.got_on_at) + held.hang_s)

    def _silence_s(self, worker: WorkerState) -> float:
        """Return how long a worker may give no sign of life."""
        if worker.state == "ready" and not worker.coming and not worker.loading:
            return self.limits.heartbeat_s * self.limits.missed_heartbeats
        if worker.state in ("loading", "ready"):
            return self.limits.heartbeat_s * self.limits.missed_heartbeats * _LOADING_SILENCE
        return math.inf

    def next_deadline(self) -> float | None:
        """Return when ``overdue`` or ``start`` has something to do; None: only events change anything."""
        return self._dues.first()

    def _due_of(self, worker: WorkerState) -> float:
        """Return when something is due of a worker as it is; infinity: never."""
        if worker.killed:
            return math.inf
        due = math.inf
        if worker.due is not None and not (worker.must_end and worker.state in ("down", "broken")):
            due = worker.due
        if worker.state in ("loading", "ready"):
            due = min(due, worker.last_sign + self._silence_s(worker))
        for held in worker.heads():
            ends_by = self._ends_by(worker, held)
            due = min(due, self._hangs_at(held), math.inf if ends_by is None else ends_by)
        return due

    def _ends_by(self, worker: WorkerState, held: HeldTask) -> float | None:
        """Return when a cancelled task must have ended at the latest; None: nobody cancelled it, or it has not begun.

        Without a heartbeat since the cancel (a worker sends one at once) nothing is known of how it gets on.
        """
        if not held.cancelled:
            return None
        grace_s = self.limits.cancel_grace_s
        if worker.lanes_at > held.cancelled_at:
            at_it = [lane for lane in worker.lanes.values() if lane.task == held.task]
            if not at_it:
                return None  # it will be refused when its turn comes
            grace_s = max(grace_s, at_it[0].grace_s)
        return max(held.cancelled_at, held.since) + grace_s
