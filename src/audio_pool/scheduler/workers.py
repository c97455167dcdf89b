"""The workers as the schedule sees them: states, lanes, beats, restarts. Pure, like the schedule.

Owns: when a worker is started, taken for dead, killed, restarted or given up; which jobs it holds.
Must not know: processes, sockets, clocks (``now`` is passed in), what the jobs are for.

    down --Spawn--> starting --hello--> loading --ready--> ready --stop--> stopping --> gone
      ^                                                      |
      `------- back-off <--- died <--------------------------'        (too many in a row: failed)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from audio_pool.errors import AudioPoolError, WorkerDied, WorkerStartFailed
from audio_pool.scheduler.events import Action, Kill, SendStop, Spawn

__all__ = ["HeldJob", "Lane", "Roster", "WorkerLimits", "WorkerPlan", "WorkerState"]

State = Literal["down", "starting", "loading", "ready", "stopping", "gone", "failed"]
Lane = Literal["make", "quick"]


@dataclass(frozen=True, kw_only=True)
class WorkerPlan:
    """What a worker is for, from the configuration."""

    name: str
    engines: frozenset[str]
    roles: frozenset[str]
    credit: int = 2
    aux_credit: int = 8


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    """Seconds and counts; config.LimitsConfig says what each is for."""

    hello_timeout_s: float = 60.0
    load_timeout_s: float = 600.0
    heartbeat_s: float = 1.0
    missed_heartbeats: int = 10
    restart_backoff_s: float = 0.25
    restart_backoff_max_s: float = 30.0
    max_restarts: int = 5
    task_timeout_s: float = 300.0
    term_timeout_s: float = 5.0


@dataclass(slots=True)
class HeldJob:
    """A job that a worker holds; its clock runs from when it came first in its lane."""

    job: int
    attempt: int
    lane: Lane
    works: tuple[int, ...]
    since: float
    timed_out: bool = False
    cancelled: bool = False


@dataclass(slots=True)
class WorkerState:
    plan: WorkerPlan
    state: State = "down"
    incarnation: int = 0
    engines: frozenset[str] = frozenset()
    batching: frozenset[str] = frozenset()
    jobs: dict[int, HeldJob] = field(default_factory=dict)
    """In order of sending."""
    due: float | None = None
    """When the present state has lasted too long, or (down) when to start."""
    last_sign: float = 0.0
    crashes: int = 0
    """In a row, without a finished job."""
    jobs_done: int = 0
    error: AudioPoolError | None = None
    killed: bool = False
    ever_ready: bool = False

    def in_lane(self, lane: Lane) -> int:
        return sum(1 for held in self.jobs.values() if held.lane == lane)

    def has_room(self, lane: Lane) -> bool:
        room = self.plan.credit if lane == "make" else self.plan.aux_credit
        if any(held.lane == lane and held.attempt > 1 for held in self.jobs.values()):
            return False  # it may have killed its last worker: nothing is sent behind it
        return self.state == "ready" and not self.killed and self.in_lane(lane) < room


class Roster:
    """All workers. Methods that change something answer with the actions that follow from it."""

    def __init__(self, plans: Iterable[WorkerPlan], limits: WorkerLimits) -> None:
        self.limits = limits
        self.workers = {plan.name: WorkerState(plan) for plan in plans}
        self.stopping = False

    # -- life --------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Action]:
        """Starts every worker that is down and due."""
        actions: list[Action] = []
        for worker in self.workers.values():
            if worker.state == "down" and not self.stopping and (worker.due is None or now >= worker.due):
                worker.incarnation += 1
                worker.state, worker.killed = "starting", False
                worker.due = now + self.limits.hello_timeout_s
                worker.last_sign = now
                actions.append(Spawn(worker=worker.plan.name, incarnation=worker.incarnation))
        return actions

    def current(self, name: str, incarnation: int) -> WorkerState | None:
        """The worker, if this message is from its present incarnation."""
        worker = self.workers.get(name)
        return worker if worker is not None and worker.incarnation == incarnation else None

    def said_hello(self, name: str, incarnation: int, now: float) -> bool:
        """Whether its load should be sent now."""
        worker = self.current(name, incarnation)
        if worker is None or worker.state != "starting":
            return False
        worker.state, worker.due, worker.last_sign = "loading", now + self.limits.load_timeout_s, now
        return True

    def loaded(
        self, name: str, incarnation: int, engines: frozenset[str], batching: frozenset[str], now: float
    ) -> None:
        worker = self.current(name, incarnation)
        if worker is not None and worker.state == "loading":
            worker.state, worker.due, worker.last_sign, worker.error = "ready", None, now, None
            worker.ever_ready = True
            worker.engines, worker.batching = engines, batching

    def load_failed(self, name: str, incarnation: int, error: AudioPoolError) -> None:
        """Its process ends by itself; a start-up error is not cured by trying again and again."""
        worker = self.current(name, incarnation)
        if worker is not None and worker.state in ("starting", "loading"):
            worker.error = error
            worker.crashes = self.limits.max_restarts

    def signed(self, name: str, incarnation: int, now: float) -> None:
        worker = self.current(name, incarnation)
        if worker is not None:
            worker.last_sign = now

    def died(self, name: str, incarnation: int, reason: str, now: float) -> list[HeldJob]:
        """The jobs it held. It is down (restart due) or, after too many crashes, failed."""
        worker = self.current(name, incarnation)
        if worker is None or worker.state in ("down", "gone", "failed"):
            return []
        held, worker.jobs = list(worker.jobs.values()), {}
        worker.killed = False  # done; what is due next is its restart
        if self.stopping:
            worker.state, worker.due = "gone", None
            return held
        if worker.state in ("starting", "loading") and worker.error is None:
            worker.error = WorkerStartFailed(f"worker {name!r} ended while {worker.state}: {reason}; see its log")
        elif worker.state == "ready":
            worker.error = WorkerDied(f"worker {name!r} died: {reason}")
        worker.engines = frozenset()
        # one that never came up fails at once: its caller waits for the reason, not for more tries
        if worker.crashes >= self.limits.max_restarts or not worker.ever_ready:
            worker.state, worker.due = "failed", None
        else:
            pause = min(self.limits.restart_backoff_max_s, self.limits.restart_backoff_s * 2**worker.crashes)
            worker.state, worker.due = "down", now + pause
            worker.crashes += 1
        return held

    def stop(self, now: float) -> list[Action]:
        """Asks every worker to finish and exit; those not up yet are ended at once."""
        self.stopping = True
        actions: list[Action] = []
        for worker in self.workers.values():
            name = worker.plan.name
            if worker.state in ("down", "failed"):
                worker.state, worker.due = "gone", None
            elif worker.state == "ready":
                worker.state, worker.due = "stopping", now + self.limits.term_timeout_s
                actions.append(SendStop(worker=name, incarnation=worker.incarnation))
            elif worker.state in ("starting", "loading"):
                worker.state, worker.due = "stopping", None
                if not worker.killed:
                    worker.killed = True
                    actions.append(Kill(worker=name, incarnation=worker.incarnation, why="the pool stops"))
        return actions

    @property
    def gone(self) -> bool:
        return all(worker.state == "gone" for worker in self.workers.values())

    # -- jobs --------------------------------------------------------------------------------------

    def hold(self, name: str, job: HeldJob) -> None:
        self.workers[name].jobs[job.job] = job

    def release(self, name: str, incarnation: int, job: int, attempt: int, now: float) -> HeldJob | None:
        """The job, no longer held; None for a late word of a dead attempt."""
        worker = self.current(name, incarnation)
        held = worker.jobs.get(job) if worker is not None else None
        if worker is None or held is None or held.attempt != attempt:
            return None
        del worker.jobs[job]
        worker.jobs_done += 1
        worker.crashes = 0
        worker.last_sign = now
        for other in worker.jobs.values():
            if other.lane == held.lane:
                other.since = now  # the next in the lane starts now
                break
        return held

    def at_work_on(self, name: str, incarnation: int, job: int) -> bool:
        """Whether the worker is at this job, not at one before it in the same lane."""
        worker = self.current(name, incarnation)
        return worker is not None and any(held.job == job for held in self._first_in_lanes(worker))

    def overdue(self, now: float) -> tuple[list[Action], list[tuple[str, HeldJob]]]:
        """What has lasted too long: workers to kill, and the jobs that were the reason."""
        actions: list[Action] = []
        late: list[tuple[str, HeldJob]] = []
        silence = self.limits.heartbeat_s * self.limits.missed_heartbeats
        for name, worker in self.workers.items():
            if worker.killed or worker.state not in ("starting", "loading", "ready", "stopping"):
                continue
            why = ""
            if worker.due is not None and now >= worker.due:
                why = f"it was {worker.state} for too long"
                if worker.state in ("starting", "loading"):
                    limit = self.limits.hello_timeout_s if worker.state == "starting" else self.limits.load_timeout_s
                    worker.error = WorkerStartFailed(
                        f"worker {name!r} was still {worker.state} after {limit:g} s; see its log"
                    )
            elif worker.state in ("loading", "ready") and now >= worker.last_sign + silence:
                why = f"no sign of life for {silence:g} s"
            for held in self._first_in_lanes(worker):
                if now >= held.since + self.limits.task_timeout_s:
                    held.timed_out = True
                    late.append((name, held))
                    why = f"a job took over {self.limits.task_timeout_s:g} s"
            if why:
                worker.killed = True
                actions.append(Kill(worker=name, incarnation=worker.incarnation, why=why))
        return actions, late

    def next_deadline(self) -> float | None:
        silence = self.limits.heartbeat_s * self.limits.missed_heartbeats
        times: list[float] = []
        for worker in self.workers.values():
            if worker.killed:
                continue
            if worker.due is not None:
                times.append(worker.due)
            if worker.state in ("loading", "ready"):
                times.append(worker.last_sign + silence)
            times += [held.since + self.limits.task_timeout_s for held in self._first_in_lanes(worker)]
        return min(times, default=None)

    @staticmethod
    def _first_in_lanes(worker: WorkerState) -> list[HeldJob]:
        first: dict[str, HeldJob] = {}
        for held in worker.jobs.values():
            first.setdefault(held.lane, held)
        return list(first.values())
