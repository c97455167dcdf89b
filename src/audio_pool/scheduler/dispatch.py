"""Who gets what: waiting works to workers with room, most urgent first, in batches that go together. Pure.

Owns: the queue's names, which worker serves which, and why nobody ever would.
Must not know: how a work came to wait, what becomes of its outcome (schedule).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Literal

from audio_pool.errors import AudioPoolError, EngineUnavailable, NotFound, nearest_name
from audio_pool.scheduler.events import SendJob
from audio_pool.scheduler.jobs import Work
from audio_pool.scheduler.queue import Waiting
from audio_pool.scheduler.workers import HeldJob, Lane, Roster, WorkerState

__all__ = ["Dispatch"]

JobKind = Literal["make", "finish", "embed", "render", "echo", "clap"]


class Dispatch:
    """The queue and the workers' doors."""

    def __init__(self, roster: Roster, works: Mapping[int, Work], ageing_s: float, max_batch: int) -> None:
        self.waiting = Waiting(ageing_s)
        self._roster = roster
        self._works = works
        self._max_batch = max_batch
        self._jobs = itertools.count(1)

    def put(self, work: Work) -> None:
        """Into the queue, or to its new place there."""
        # its first arrival counts, so that a retry or a later stage does not go to the back
        self.waiting.put(self._key_of(work), work.number, priority=work.priority, arrival=work.arrival)

    def ahead(self, work: Work) -> int:
        """How many sounds of the same engine go before this one; 0: it is next, or at work already."""
        at_work = work.stage == "make" and bool(work.jobs)
        if work.ask is None or at_work or work.stage not in ("exact", "embed", "near", "make"):
            return 0
        key = f"make:{work.ask.recipe.engine}"
        return self.waiting.ahead(key, work.number, priority=work.priority, arrival=work.arrival)

    def send(self, now: float) -> list[SendJob]:
        """Jobs for every worker that has room and something to do; they count as held from now on."""
        jobs: list[SendJob] = []
        stuck: set[str] = set()
        while len(self.waiting):
            urgencies = [
                (urgency, key)
                for key in self.waiting.names()
                if key not in stuck and (urgency := self.waiting.urgency(key)) is not None
            ]
            if not urgencies:
                break
            key = min(urgencies)[1]
            lane: Lane = "make" if key.startswith("make:") else "quick"
            fit = [
                worker
                for worker in self._roster.workers.values()
                if worker.has_room(lane) and self._serves(worker, key)
            ]
            if fit:
                jobs.append(self._send(min(fit, key=lambda worker: worker.in_lane(lane)), key, lane, now))
            else:
                stuck.add(key)
        return jobs

    def hosts(self, engine: str) -> bool:
        """Whether a worker that is ready hosts the engine."""
        return any(worker.state == "ready" and engine in worker.engines for worker in self._roster.workers.values())

    def why_unserved(self, work: Work) -> AudioPoolError | None:
        """Why no worker will ever take the work in its present stage, if so."""
        if work.stage == "embed":
            return None  # has a time limit of its own, and goes on without
        key = self._key_of(work)
        down = []
        for worker in self._roster.workers.values():
            if self._may_serve(worker, key):
                if worker.state not in ("failed", "gone"):
                    return None
                down.append(worker)
        duty, _, name = key.partition(":")
        if not down:
            if duty == "worker":
                return NotFound(f"no worker of this pool is named {name!r}; {self._nearest_worker(name)}")
            return EngineUnavailable(
                f"no worker has the duty {duty!r}" if not name else f"no worker hosts engine {name!r}",
                hint="add it to a worker's 'engines' or 'roles' in the configuration",
            )
        return down[0].error or EngineUnavailable(f"every worker that could do this ({key}) is down")

    def _nearest_worker(self, name: str) -> str:
        near = nearest_name(name, self._roster.workers)
        return f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(self._roster.workers))}"

    def _may_serve(self, worker: WorkerState, key: str) -> bool:
        """Whether it could, once it is up: what it hosts beyond its plan is known only when it is ready."""
        duty, _, name = key.partition(":")
        if worker.state == "ready" or duty not in ("make", "hosts"):
            return self._serves(worker, key)
        if duty == "make":
            return "generate" in worker.plan.roles and name in worker.plan.engines
        return name in worker.plan.engines or bool({"embed", "score"} & worker.plan.roles)

    def _key_of(self, work: Work) -> str:
        """Under which name of the queue the work waits next: duty, then engine or worker."""
        match work.stage:
            case "make":
                assert work.ask is not None
                return f"make:{work.ask.recipe.engine}"
            case "finish" | "render":
                return "master"
            case "embed":
                return f"embed:{min(work.missing)}"
            case _:
                assert work.errand is not None
                errand = work.errand
                if errand.engine:
                    return f"hosts:{errand.engine}"
                return f"worker:{errand.worker}" if errand.worker else "any"

    def _serves(self, worker: WorkerState, key: str) -> bool:
        duty, _, name = key.partition(":")
        match duty:
            case "make":
                return "generate" in worker.plan.roles and name in worker.engines
            case "master":
                return "master" in worker.plan.roles
            case "embed":
                return bool({"embed", "score"} & worker.plan.roles) and name in worker.engines
            case "hosts":
                return name in worker.engines
            case "worker":
                return worker.plan.name == name
            case _:
                return True

    def _send(self, worker: WorkerState, key: str, lane: Lane, now: float) -> SendJob:
        first = self._works[self.waiting.take(key) or 0]
        works = [first]
        if lane == "make":
            works += self._batch_with(first, worker, key)
        kind: JobKind = first.stage if first.stage != "errand" else first.errand.kind  # type: ignore[assignment,union-attr]
        job = next(self._jobs)
        attempt = first.failures + 1
        name, incarnation = worker.plan.name, worker.incarnation
        payloads = []
        for work in works:
            work.jobs[job] = (name, incarnation, attempt)
            work.times_ms["queue"] = work.times_ms.get("queue", 0.0) + (now - work.queued_at) * 1000
            payloads.append(self._payload(work, key))
        self._roster.hold(name, HeldJob(job, attempt, lane, tuple(work.number for work in works), now))
        return SendJob(
            worker=name,
            incarnation=incarnation,
            job=job,
            attempt=attempt,
            kind=kind,
            works=tuple(work.number for work in works),
            tickets=tuple(work.tickets[0] if work.tickets else 0 for work in works),
            payloads=tuple(payloads),
            finish_here=kind == "generate" and "master" in worker.plan.roles,
        )

    def _payload(self, work: Work, key: str) -> Any:
        if work.errand is not None:
            return work.errand.payload
        if work.stage == "embed":
            return [key.removeprefix("embed:")]
        if work.stage == "make":
            return {"round": work.round}
        return work.outcome

    def _batch_with(self, first: Work, worker: WorkerState, key: str) -> list[Work]:
        """Further waiting works that go well into one batch with the first."""
        assert first.ask is not None
        recipe = first.ask.recipe
        if recipe.engine not in worker.batching:
            return []
        room = self._max_batch - recipe.candidates
        others: list[Work] = []

        def fits(number: int) -> bool:
            ask = self._works[number].ask
            return (
                ask is not None
                and ask.recipe.steps == recipe.steps
                and ask.recipe.model == recipe.model
                and ask.recipe.candidates <= room
                and self._works[number].failures == 0
            )

        while first.failures == 0 and room > 0:  # a work that killed a worker goes alone the next time
            number = self.waiting.take(key, fits)
            if number is None:
                break
            others.append(self._works[number])
            ask = others[-1].ask
            assert ask is not None
            room -= ask.recipe.candidates
        return others
