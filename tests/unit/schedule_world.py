"""A simulated world around the schedule: its clock, its workers, its callers, and a keeper of accounts.

Every event goes through ``World.feed`` as through the router: actions are carried out in order and
look-ups answer at once. Whatever happens, ``feed`` holds the schedule to its promises.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from audio_pool.scheduler import events
from audio_pool.scheduler.scheduler import Limits, Schedule
from audio_pool.scheduler.workers import WorkerLimits, WorkerPlan
from audio_pool.transport.client_messages import error_body
from audio_pool.types import Recipe

WORKER_LIMITS = WorkerLimits(
    hello_timeout_s=10.0,
    load_timeout_s=20.0,
    heartbeat_s=1.0,
    missed_heartbeats=4,
    restart_backoff_s=0.5,
    restart_backoff_max_s=4.0,
    max_restarts=3,
    task_timeout_s=30.0,
    term_timeout_s=5.0,
)


def recipe(engine: str = "tone", *, steps: int | None = 8, candidates: int = 1, prompt: str = "rain") -> Recipe:
    return Recipe(
        prompt=prompt,
        negative_prompt="",
        engine=engine,
        model=engine,
        frames=44_100,
        sample_rate=44_100,
        loop=False,
        seed=None,
        steps=steps,
        guidance_scale=None,
        candidates=candidates,
        voice=None,
        init_audio_sha256=None,
        init_strength=None,
        namespace="default",
    )


def plan(name: str = "w", engines: str = "tone", roles: str = "make master embed score", **more: Any) -> WorkerPlan:
    return WorkerPlan(name=name, engines=frozenset(engines.split()), roles=frozenset(roles.split()), **more)


@dataclass
class Job:
    """A job as the worker holds it."""

    sent: events.SendJob
    cancelled: bool = False


@dataclass
class Process:
    """One incarnation of one worker as the world knows it."""

    name: str
    incarnation: int
    state: str = "spawned"  # said, ready, dead
    jobs: dict[int, Job] = field(default_factory=dict)
    doomed: bool = False
    stopping: bool = False


class World:
    """The schedule, fed; its actions, carried out and checked."""

    def __init__(self, plans: list[WorkerPlan], hosts: dict[str, str] | None = None, **limits: Any) -> None:
        """``hosts``: worker -> engines that it has when ready, beyond its plan's (encoders)."""
        self.limits = Limits(**{"worker": WORKER_LIMITS, **limits})
        self.schedule = Schedule(plans, self.limits)
        self.plans = {one.name: one for one in plans}
        self.hosts = hosts or {}
        self.batching: frozenset[str] = frozenset()
        self.now = 100.0
        self.on_lookup: Callable[[events.FindExact | events.FindNear], dict[str, Any]] = lambda _: {}
        self.processes: dict[tuple[str, int], Process] = {}
        self.asked: dict[int, events.Ask | events.Errand] = {}
        self.answers: dict[int, events.Answer] = {}
        self.notices: list[events.Notify] = []
        self.actions: list[Any] = []
        self.keeping: dict[int, events.Keep] = {}
        self.forgotten: set[int] = set()
        self.works: set[int] = set()
        self.fates: dict[int, str] = {}
        """Outcome's uid -> "given" | "kept" | "answered" | "discarded"."""
        self._tickets = 0
        self._uids = 0

    # -- events ------------------------------------------------------------------------------------

    def feed(self, event: Any) -> list[Any]:
        """The actions of the event and of the look-ups that follow from it."""
        pending = collections.deque([event])
        done: list[Any] = []
        while pending:
            for action in self.schedule.handle(pending.popleft(), self.now):
                done.append(action)
                found = self._do(action)
                if found is not None:
                    pending.append(found)
        self.actions += done
        deadline = self.schedule.next_deadline()
        if deadline is not None and deadline <= self.now:
            assert not isinstance(event, events.Tick), "a deadline that a tick does not move: the loop would spin"
            done += self.feed(events.Tick())  # as the router does
        self._hold_to_limits()
        return done

    def pass_time(self, seconds: float) -> list[Any]:
        self.now += seconds
        return self.feed(events.Tick())

    def ask(self, **fields: Any) -> int:
        """Submits; the ticket."""
        self._tickets += 1
        if "recipe" not in fields:
            fields["recipe"] = recipe()
        fields.setdefault("join_key", "")
        one = events.Ask(ticket=self._tickets, **fields)
        self.asked[one.ticket] = one
        self.feed(events.Submit(ask=one))
        return one.ticket

    def errand(self, **fields: Any) -> int:
        self._tickets += 1
        one = events.Errand(ticket=self._tickets, **{"kind": "echo", "payload": b"x", **fields})
        self.asked[one.ticket] = one
        self.feed(one)
        return one.ticket

    def cancel(self, ticket: int) -> list[Any]:
        return self.feed(events.Cancel(ticket=ticket))

    def process(self, name: str = "w") -> Process:
        """The worker's latest incarnation."""
        return max((p for p in self.processes.values() if p.name == name), key=lambda p: p.incarnation)

    def say_hello(self, process: Process) -> None:
        assert process.state == "spawned"
        process.state = "said"
        self.feed(events.Said(worker=process.name, incarnation=process.incarnation))

    def get_ready(self, process: Process) -> None:
        assert process.state == "said"
        process.state = "ready"
        engines = self.plans[process.name].engines | frozenset(self.hosts.get(process.name, "").split())
        batching = self.batching & engines
        self.feed(
            events.Ready(worker=process.name, incarnation=process.incarnation, engines=engines, batching=batching)
        )

    def start(self) -> World:
        """Every worker up."""
        self.feed(events.Tick())
        for process in list(self.processes.values()):
            self.say_hello(process)
            self.get_ready(process)
        return self

    def beat(self) -> None:
        for process in self.processes.values():
            if process.state != "dead":
                self.feed(events.Beaten(worker=process.name, incarnation=process.incarnation))

    def die(self, process: Process, reason: str = "signal SIGKILL") -> list[Any]:
        process.state = "dead"
        return self.feed(events.Died(worker=process.name, incarnation=process.incarnation, reason=reason))

    def outcome(self, kind: str, **more: Any) -> dict[str, Any]:
        """What a worker makes of one work: it must be kept, answered or discarded, once."""
        self._uids += 1
        self.fates[self._uids] = "given"
        contents: dict[str, dict[str, Any]] = {
            "sound": {"accepted": True, "score": 0.5, "tried": [self._uids]},
            "handover": {"candidates": [{"seed": 1}], "made": {}},
            "render": {"path": "/somewhere"},
        }
        return {"uid": self._uids, **contents[kind], **more}

    def finish(self, process: Process, number: int, *, attempt: int | None = None, **more: Any) -> list[Any]:
        """The job is done; ``more`` changes the outcome of every work (``error``, ``accepted``, ``score``)."""
        job = process.jobs.pop(number)
        sent = job.sent
        parts = {work: self._part(sent, index, more) for index, work in enumerate(sent.works)}
        return self.feed(
            events.JobDone(
                worker=process.name,
                incarnation=process.incarnation,
                job=number,
                attempt=sent.attempt if attempt is None else attempt,
                parts=parts,
            )
        )

    def _part(self, sent: events.SendJob, index: int, more: dict[str, Any]) -> dict[str, Any]:
        if "error" in more:
            return {**more, "error": error_body(more["error"])}
        match sent.kind:
            case "make":
                return self.outcome("sound", **more) if sent.finish_here else self.outcome("handover")
            case "finish":
                return self.outcome("sound", **more)
            case "render":
                return self.outcome("render")
            case "embed":
                return {"vectors": dict.fromkeys(sent.payloads[index], b"1234")}
            case _:
                return {"payload": sent.payloads[index]}

    def fail(self, process: Process, number: int, error: Any) -> list[Any]:
        job = process.jobs.pop(number)
        return self.feed(
            events.JobFailed(
                worker=process.name,
                incarnation=process.incarnation,
                job=number,
                attempt=job.sent.attempt,
                error=error,
            )
        )

    def keep(self, work: int, error: Any = None) -> list[Any]:
        del self.keeping[work]
        return self.feed(events.Kept(work=work, result=None if error else f"kept {work}", error=error))

    # -- carrying out ------------------------------------------------------------------------------

    def _do(self, action: Any) -> events.Found | None:
        match action:
            case events.Answer():
                assert action.ticket not in self.answers, f"ticket {action.ticket} was answered twice"
                assert action.ticket in self.asked
                assert (action.kind == "result") == (action.error is None)
                self.answers[action.ticket] = action
                value = action.value
                made = value.get("outcome", {}) if isinstance(value, dict) else {}
                if "uid" in made and self.fates[made["uid"]] != "answered":  # a joined rendition answers many
                    self._meets(made, "answered")
            case events.Notify():
                assert action.ticket not in self.answers, "an event after the final reply"
                self.notices.append(action)
            case events.FindExact() | events.FindNear():
                self._refers_to(action.work)
                assert action.ticket not in self.answers
                return events.Found(work=action.work, **self.on_lookup(action))
            case events.SendJob():
                self._send(action)
            case events.SendCancel():
                process = self.processes[action.worker, action.incarnation]
                if action.job in process.jobs:
                    process.jobs[action.job].cancelled = True
            case events.SendStop():
                self.processes[action.worker, action.incarnation].stopping = True
            case events.Keep():
                self._refers_to(action.work)
                assert action.work not in self.keeping, "a work is kept once"
                self._meets(action.sound, "kept")
                self.keeping[action.work] = action
            case events.Discard():
                if "hit" not in action.outcome and "error" not in action.outcome and "uid" in action.outcome:
                    self._meets(action.outcome, "discarded")
            case events.Forget():
                self._refers_to(action.work)
                self.forgotten.add(action.work)
            case events.Spawn():
                assert (action.worker, action.incarnation) not in self.processes
                running = [p for p in self.processes.values() if p.name == action.worker and p.state != "dead"]
                assert not running, "a worker is started beside its living predecessor"
                self.processes[action.worker, action.incarnation] = Process(action.worker, action.incarnation)
            case events.Kill():
                process = self.processes[action.worker, action.incarnation]
                assert not process.doomed, "killed twice"
                process.doomed = True
            case _:
                raise AssertionError(f"no such action: {action}")
        return None

    def _send(self, action: events.SendJob) -> None:
        for work, ticket in zip(action.works, action.tickets, strict=True):
            self._refers_to(work)
            assert ticket == 0 or ticket not in self.answers, "a job for a ticket that was answered"
        process = self.processes[action.worker, action.incarnation]
        assert process.state == "ready", f"a job for a worker that is {process.state}"
        assert not process.doomed and not process.stopping, "a job for a worker that is being stopped"
        assert action.attempt <= self.limits.max_attempts
        lane = "make" if action.kind == "make" else "quick"
        process.jobs[action.job] = Job(action)
        held = sum(1 for job in process.jobs.values() if (job.sent.kind == "make") == (lane == "make"))
        one = self.plans[action.worker]
        assert held <= (one.credit if lane == "make" else one.aux_credit), f"{held} jobs in lane {lane}"
        if action.kind == "make":
            assert "generate" in one.roles
            asks = [self.asked[ticket] for ticket in action.tickets]
            assert all(isinstance(ask, events.Ask) and ask.recipe.engine in one.engines for ask in asks)
            if len(asks) > 1:
                together = sum(ask.recipe.candidates for ask in asks if isinstance(ask, events.Ask))
                assert together <= self.limits.max_batch
        if action.kind in ("finish", "render"):
            assert "master" in one.roles

    def _refers_to(self, work: int) -> None:
        assert work not in self.forgotten, f"work {work} was forgotten"
        self.works.add(work)

    def _meets(self, outcome: dict[str, Any], fate: str) -> None:
        uid = outcome["uid"]
        assert self.fates[uid] == "given", f"outcome {uid} was {self.fates[uid]} and is now {fate}"
        self.fates[uid] = fate

    def _hold_to_limits(self) -> None:
        schedule = self.schedule
        assert len(schedule.tickets) <= self.limits.max_requests
        assert sum(ticket.size_bytes for ticket in schedule.tickets.values()) <= self.limits.max_bytes
        for ticket, ask in self.asked.items():
            if ticket not in self.answers:
                assert ticket in schedule.tickets, f"ticket {ticket} is lost"
                assert ask.deadline is None or ask.deadline > self.now, f"ticket {ticket} outlives its deadline"

    # -- endings -----------------------------------------------------------------------------------

    def settle(self, most: int = 2000) -> None:
        """Lets the world run until nobody waits: workers come up, jobs succeed, the keeper keeps."""
        for _ in range(most):
            if not self._step():
                deadline = self.schedule.next_deadline()
                if self.schedule.idle or deadline is None:
                    break
                self.beat()
                self.pass_time(max(0.0, deadline - self.now) if deadline - self.now < 0.5 else 0.5)
        waiting = set(self.asked) - set(self.answers)
        assert not waiting, f"tickets {waiting} wait for ever"

    def _step(self) -> bool:
        """Whether anything was left to do at this moment."""
        for process in list(self.processes.values()):
            if process.state == "dead":
                continue
            if process.doomed or (process.stopping and not process.jobs):
                self.die(process, "exit code 0")
            elif process.state == "spawned":
                self.say_hello(process)
            elif process.state == "said":
                self.get_ready(process)
            elif process.jobs:
                self.finish(process, next(iter(process.jobs)))
            else:
                continue
            return True
        for work in list(self.keeping):
            self.keep(work)
            return True
        return False

    def stop(self) -> None:
        """Drains; every process goes."""
        self.feed(events.Drain(deadline=self.now + 60.0))
        for _ in range(500):
            if self.schedule.roster.gone:
                return
            if not self._step():
                self.pass_time(1.0)
        raise AssertionError("the roster is never gone")

    def check_nothing_is_left(self) -> None:
        """After ``settle``: no table remembers anything, every outcome met one fate, every work is forgotten."""
        schedule = self.schedule
        schedule.next_deadline()  # drops what has passed from its heaps
        assert not schedule.tickets and not schedule.works and not len(schedule.waiting)
        assert not schedule._by_join_key and schedule._bytes == 0
        assert not schedule._deadlines and not schedule._embed_dues
        assert not any(worker.jobs for worker in schedule.roster.workers.values() if worker.state != "ready")
        assert set(self.answers) == set(self.asked)
        assert self.works <= self.forgotten and len(self.forgotten) == next(schedule._numbers) - 1
        assert not [uid for uid, fate in self.fates.items() if fate == "given"], self.fates
