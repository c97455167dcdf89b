"""Who gets what: waiting jobs to workers with room, most urgent first, in batches that go together. Pure.

Owns: what a job in its stage needs, which worker serves that, and why no worker ever would.
Must not know: how a job came to wait, what becomes of its result (scheduler.py).
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Collection, Mapping

from audio_pool.config import QueueConfig
from audio_pool.errors import AudioPoolError, EngineUnavailable, NotFound, nearest_name
from audio_pool.scheduler.actions import RecallTask, SendTask
from audio_pool.scheduler.batches import pass_key
from audio_pool.scheduler.clients import ClientRules
from audio_pool.scheduler.concurrency import EngineBounds
from audio_pool.scheduler.estimates import Estimates, TaskKind
from audio_pool.scheduler.events import Call
from audio_pool.scheduler.jobs import Job, TaskRef
from audio_pool.scheduler.queue import JobQueue, Need, Turn
from audio_pool.scheduler.serving import may_serve, out_of_order, serves_now
from audio_pool.scheduler.work import (
    CallWork,
    EmbedWork,
    GenerateWork,
    JobRound,
    MasterWork,
    RenderWork,
    TaskWork,
    thread_of,
)
from audio_pool.scheduler.worker_state import HeldTask, WorkerState
from audio_pool.scheduler.workers import WorkerTable
from audio_pool.tasks import ClapTask, CraftTask, DrawTask, EmbedTask, RenderTask, Thread, TraceTask
from audio_pool.types import Recipe

__all__ = ["Dispatch"]

_BEFORE_SOUND = ("lookup", "embed", "near", "claim", "recheck", "generate")
_MOST_RECALLS = 2
"""Times that a job gives way once it has been handed out: what is urgent cannot push the rest around for ever."""


class Dispatch:
    """Matches the queue with the workers' room."""

    def __init__(
        self,
        workers: WorkerTable,
        jobs: Mapping[int, Job],
        config: QueueConfig,
        rules: ClientRules,
        estimates: Estimates,
        concurrency: Mapping[str, int] | None = None,
    ) -> None:
        self.bounds = EngineBounds(concurrency or {}, workers)
        self.queue = JobQueue(config.ageing_s, rules.weight)
        self.hosted_as: dict[tuple[str, str], str] = {}
        """What models of an engine are filed under on workers, by engine and model, where not by the engine's name."""
        self._workers = workers
        self._jobs = jobs
        self._max_batch = config.max_batch
        self._ageing_s = config.ageing_s
        self._rules = rules
        self._estimates = estimates
        self._tasks = itertools.count(1)
        self._kept_free = ""
        """The worker that is to do what must be alone, as soon as it has done what it holds."""

    def put(self, job: Job) -> None:
        """Put a job into the queue, or to its new place there."""
        need = self.need_of(job)
        job.cost_s = self._estimates.expect(self._kind_of(job, need))
        # its first arrival counts, so that a retry or a later stage does not go to the back
        self.queue.put(
            need,
            job.job,
            priority=job.priority,
            arrival=job.arrival,
            client=job.client,
            cost_s=job.cost_s,
        )

    def put_back(self, job: Job) -> None:
        """Note that a job was taken and not begun: its client is not charged for it."""
        self.queue.give_back(self.need_of(job), job.client, job.cost_s)

    def ahead(self, job: Job) -> int:
        """Estimate how many sounds of the same engine go before this one; 0: it is next, or under way already."""
        running = job.stage == "generate" and bool(job.tasks)
        if isinstance(job.asked, Call) or running or job.stage not in _BEFORE_SOUND:
            return 0
        need = Need("generate", self.hosted(job.sound.recipe))
        return self.queue.ahead(
            need,
            job.job,
            priority=job.priority,
            arrival=job.arrival,
            client=job.client,
            cost_s=self._estimates.expect(TaskKind.of_sounds(job.sound.recipe)),
        )

    def send_at_once(self, job: Job, now: float) -> SendTask | None:
        """Return a job's task for a worker that has room where nobody waits: what ``put`` and ``send`` would, for a
        third of the time; None where it is theirs to decide."""
        if len(self.queue) or job.suspect or self._rules.bounds_running:
            return None
        self._kept_free = ""  # it was for somebody who waited
        need = self.need_of(job)
        thread = _thread(need)
        fit = self._free(need, thread, now)
        if not fit:
            return None
        worker = _least_held(fit, thread)
        kind = self._kind_of(job, need)
        job.cost_s = self._estimates.expect(kind)
        self.queue.pass_by(need, job.client, job.cost_s)
        return self._hand_out(worker, need, [job], kind, now)

    def send(self, now: float, new: Job | None = None) -> list[SendTask | RecallTask]:
        """Return tasks for every worker that has room and something to do; they count as held from now on.

        Where there is no room, what a worker holds and has not begun is asked back for something more urgent.

        Args:
            new: a job that has just been put, where nothing else has changed since the last time: the first of the
                other lines had no room then, and have none now.
        """
        if new is not None and self._workers.vacancies.open_due(now):
            new = None
        only = None if new is None else [self.need_of(new)]
        sent: list[SendTask | RecallTask] = []
        self._kept_free = self._to_keep_free()
        stuck: set[Need] = set()
        while len(self.queue):
            running = self._running()
            barred = self._barred(running)
            needs = only or self.queue.needs()
            fits = {need: self._free(need, _thread(need), now) for need in needs if need not in stuck}
            # whose turn it is takes longest to say, and there is seldom room for a second one
            stuck.update(need for need, fit in fits.items() if not fit and not self._may_ask_back(need))
            turns = [
                (turn, need)
                for need in fits
                if need not in stuck and (turn := self.queue.first(need, now, barred)) is not None
            ]
            if not turns:
                break
            turn, need = turns[0] if len(turns) == 1 else min(turns, key=lambda one: (one[1].alone, one))
            fit, thread = fits[need], _thread(need)
            if fit:
                worker = _least_held(fit, thread)
                sent.append(self._send(worker, need, turn, now, running))
            else:
                stuck.add(need)
                sent += self._recall(need, self._jobs[turn.job])
        sent += self.bounds.ask_back(self.queue.needs(), now) if self.bounds.bounds else ()
        return sent

    def _running(self) -> collections.Counter[str] | None:
        """Count what workers hold by client; None where that is not bounded."""
        if not self._rules.bounds_running:
            return None
        return collections.Counter(
            client
            for worker in self._workers.workers.values()
            for held in worker.tasks.values()
            for client in held.clients
        )

    def _barred(self, running: Mapping[str, int] | None) -> Collection[str]:
        """Return the clients of which workers hold as much as they may."""
        if running is None:
            return ()
        return {client for client, count in running.items() if 0 < self._rules.max_running(client) <= count}

    def _recall(self, need: Need, waiting: Job) -> list[RecallTask]:
        """Ask the least urgent task back that waits in a worker while the first of a line is more urgent.

        One at a time for each line; the answer makes room, or the next look finds another.
        """
        latest: tuple[tuple[float, int], WorkerState, HeldTask] | None = None
        for worker in self._workers.vacancies.with_more_in_hand():
            if worker.state != "ready" or worker.killed or not serves_now(worker, need):
                continue
            for held in worker.behind("generate"):
                if held.of_no_job:
                    continue
                if held.recalled:
                    return []
                jobs = [self._jobs[job] for job in held.jobs if job in self._jobs]
                if any(
                    job.priority <= waiting.priority or job.recalls >= _MOST_RECALLS or job.failures for job in jobs
                ):
                    continue
                urgency = min((self._urgency(job) for job in jobs), default=0.0), held.task
                if urgency[0] > self._urgency(waiting) and (latest is None or urgency > latest[0]):
                    latest = urgency, worker, held
        if latest is None:
            return []
        _, worker, held = latest
        held.recalled = True
        for job in held.jobs:
            if job in self._jobs:
                self._jobs[job].recalls += 1
        return [
            RecallTask(worker=worker.plan.name, incarnation=worker.incarnation, task=held.task, attempt=held.attempt)
        ]

    def _may_ask_back(self, need: Need) -> bool:
        """Return True for what something less urgent that a worker holds may give way to."""
        if need.role != "generate" or need.alone:
            return False
        return any(serves_now(worker, need) for worker in self._workers.vacancies.with_more_in_hand())

    def _urgency(self, job: Job) -> float:
        return job.arrival + job.priority * self._ageing_s

    def _free(self, need: Need, thread: Thread, now: float) -> list[WorkerState]:
        """Return the workers that have room for the first of a line."""
        if need.alone:
            return self.bounds.within(need, self._free_for_a_suspect(need, now))
        free = [
            worker
            for worker in self._workers.vacancies.with_room(thread, now)
            if serves_now(worker, need) and worker.plan.name != self._kept_free
        ]
        return self.bounds.within(need, free) if self.bounds.bounds else free

    def _free_for_a_suspect(self, need: Need, now: float) -> list[WorkerState]:
        """Return a worker for what has ended one before: it must do nothing else, and be one that others can spare.

        Where another healthy one serves them meanwhile, one is kept free. The only healthy one of several is left
        to the others where more will be up in time. The only one there is takes it when nobody else waits for it:
        what others wait for was sent before.
        """
        workers = self._workers.workers.values()
        healthy = self._healthy(need)
        if len(healthy) > 1:
            return [one for one in healthy if one.plan.name == self._kept_free and not one.tasks]
        in_time = now + self._workers.limits.suspect_wait_s / 2  # it has to load, too
        coming = any(
            one.wanted
            and (one.state in ("starting", "loading") or (one.state == "down" and (one.due or 0.0) < in_time))
            for one in workers
            if may_serve(one, need)
        )
        return [] if coming else [one for one in healthy if not one.tasks]

    def _to_keep_free(self) -> str:
        """Return which worker is to do what must be alone, as soon as it has done what it holds; "": none can."""
        for need in self.queue.needs():
            healthy = self._healthy(need) if need.alone else []
            if len(healthy) > 1:
                kept = next((one for one in healthy if one.plan.name == self._kept_free), None)
                return (kept or min(healthy, key=lambda one: len(one.tasks))).plan.name
        return ""

    def _healthy(self, need: Need) -> list[WorkerState]:
        """Return the workers that serve a line and of which nothing bad is known, or else those that are probed."""
        ready = [one for one in self._workers.workers.values() if one.ready and serves_now(one, need)]
        return [one for one in ready if not one.breaker.half_open] or ready

    def hosts(self, engine: str) -> bool:
        """Return True if a worker that is ready hosts the engine."""
        workers = self._workers.workers.values()
        return any(one.state == "ready" and one.wanted and engine in one.engines for one in workers)

    def awaits(self, engine: str) -> bool:
        """Return True if a worker that is up or starting is loading the engine, or may be about to."""
        return any(worker.awaits(engine) for worker in self._workers.workers.values())

    def unservable_reason(self, job: Job, now: float) -> AudioPoolError | None:
        """Return why no worker will take the job in its present stage, or not in time; None: one may."""
        if job.stage == "embed":
            return None  # has a time limit of its own, and goes on without
        need = self.need_of(job)
        down = []
        for worker in self._workers.workers.values():
            if may_serve(worker, need):
                if worker.state not in ("broken", "gone"):
                    return None
                down.append(worker)
        if down:
            return out_of_order(down, need, job, now)
        if need.role == "worker":
            return NotFound(f"no worker of this pool is named {need.name!r}; {self._nearest_worker(need.name)}")
        missing = f"hosts engine {need.name!r}" if need.name else f"has the role {need.role!r}"
        return EngineUnavailable(
            f"no worker {missing}", hint="add it to a worker's 'engines' or 'roles' in the configuration"
        )

    def _nearest_worker(self, name: str) -> str:
        near = nearest_name(name, self._workers.workers)
        return f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(self._workers.workers))}"

    def hosted(self, recipe: Recipe) -> str:
        """Return what the model that makes a recipe is filed under on workers."""
        if not self.hosted_as:
            return recipe.engine
        return self.hosted_as.get((recipe.engine, recipe.model), recipe.engine)

    def next_task(self) -> int:
        """Return the number of a task that is about to be sent."""
        return next(self._tasks)

    def need_of(self, job: Job) -> Need:
        """Return what a job needs in its present stage."""
        match job.stage:
            case "generate":
                return Need("generate", self.hosted(job.sound.recipe), job.suspect)
            case "master" | "render":
                return Need("master", "", job.suspect)
            case "embed":
                return Need("embed", min(job.missing), job.suspect)
            case _:
                assert isinstance(job.asked, Call)
                if isinstance(job.asked.task, ClapTask):
                    return Need("engine", job.asked.task.engine, job.suspect)
                if isinstance(job.asked.task, DrawTask | CraftTask | TraceTask | RenderTask):
                    return Need("master", "", job.suspect)
                if isinstance(job.asked.task, EmbedTask):
                    return Need("embed", job.asked.task.engine, job.suspect)
                if job.asked.worker:
                    return Need("worker", job.asked.worker, job.suspect)
                return Need("any", "", job.suspect)

    @staticmethod
    def _kind_of(job: Job, need: Need) -> TaskKind:
        """Return what tasks of the job's present stage, with this need, are like."""
        if job.stage == "generate":
            return TaskKind.of_sounds(job.sound.recipe)._replace(name=need.name)
        if isinstance(job.asked, Call) and isinstance(job.asked.task, CraftTask):
            return TaskKind("craft", str(job.asked.task.craft.__struct_config__.tag))
        if isinstance(job.asked, Call) and isinstance(job.asked.task, TraceTask):
            return TaskKind("craft", "trace")
        return TaskKind(job.stage, need.name)

    def _send(
        self, worker: WorkerState, need: Need, turn: Turn, now: float, running: collections.Counter[str] | None
    ) -> SendTask:
        self.queue.take_turn(need, turn, now)
        first = self._jobs[turn.job]
        jobs = [first]
        if need.role == "generate":
            jobs += self._batch_with(first, worker, need, now, running)
        one_kind = TaskKind.of_sounds(*(job.sound.recipe for job in jobs)) if len(jobs) > 1 else None
        return self._hand_out(worker, need, jobs, one_kind or self._kind_of(first, need), now)

    def _hand_out(self, worker: WorkerState, need: Need, jobs: list[Job], kind: TaskKind, now: float) -> SendTask:
        """Return the task of these jobs for a worker, which counts as held from now on."""
        first = jobs[0]
        task = self.next_task()
        attempt = first.failures + 1
        name, incarnation = worker.plan.name, worker.incarnation
        for job in jobs:
            job.tasks[task] = TaskRef(worker=name, incarnation=incarnation, attempt=attempt)
            job.mark("queue", job.queued_at, now)
            job.times_ms["queue"] = job.times_ms.get("queue", 0.0) + (now - job.queued_at) * 1000
        work = _work_of(first, jobs, need, worker)
        numbers = tuple(job.job for job in jobs)
        held = HeldTask(
            task=task,
            attempt=attempt,
            thread=thread_of(work),
            jobs=numbers,
            since=now,
            kind=kind,
            alone=need.alone,
            clients=tuple(job.client for job in jobs),
            hang_s=self._estimates.hang_s(kind),
            expected_s=self._estimates.known_s(kind) if need.role == "generate" else 0.0,
            sound_s=_seconds_of(jobs) if need.role == "generate" else 0.0,
        )
        self._workers.hold(name, held)
        if need.name in worker.loaded:
            worker.used_at[need.name] = now
        return SendTask(worker=name, incarnation=incarnation, task=task, attempt=attempt, work=work)

    def _batch_with(
        self, first: Job, worker: WorkerState, need: Need, now: float, running: collections.Counter[str] | None
    ) -> list[Job]:
        """Take further waiting jobs of the first's priority that share its pass, wherever in the line they wait.

        Who is passed over loses little: its turn comes when this pass ends, which would have begun now all the same.
        """
        recipe = first.sound.recipe
        batching = worker.batching.get(need.name)
        # what failed in a batch goes alone the next time; what is heard while it is made has a pass of its own
        if batching is None or first.failures or need.alone or first.sound.stream:
            return []
        room = min(self._max_batch, batching.most or self._max_batch) - recipe.candidates
        if room <= 0:
            return []
        key, bound = pass_key(recipe, batching), self._rules.max_running
        if running is not None:
            running[first.client] += 1

        def size(number: int) -> int:
            other = self._jobs[number]
            shares = other.priority == first.priority and not other.failures and not other.sound.stream
            return other.sound.recipe.candidates if shares and pass_key(other.sound.recipe, batching) == key else 0

        def may_take(client: str) -> bool:
            return running is None or not 0 < bound(client) <= running[client]

        others = []
        for number in self.queue.take_alike(need, now, room, size, may_take):
            others.append(self._jobs[number])
            if running is not None:
                running[others[-1].client] += 1
        return others


def _seconds_of(jobs: list[Job]) -> float:
    return sum([job.sound.recipe.duration_s * job.sound.recipe.candidates for job in jobs])


def _thread(need: Need) -> Thread:
    return "generate" if need.role == "generate" else "aux"


def _least_held(fit: list[WorkerState], thread: Thread) -> WorkerState:
    """Return the first that holds as little as any."""
    return next((one for one in fit if not one.tasks or not one.held_by(thread)), None) or min(
        fit, key=lambda worker: worker.held_by(thread)
    )


def _work_of(first: Job, jobs: list[Job], need: Need, worker: WorkerState) -> TaskWork:
    """Return what a worker is to do for these jobs, all of the first's stage."""
    request = first.requests[0] if first.requests else 0
    match first.stage:
        case "generate":
            rounds = [
                JobRound(job=one.job, request=one.requests[0] if one.requests else 0, round=one.round, keep=one.keep)
                for one in jobs
            ]
            stream = first.sound.stream
            master_here = stream or "master" in worker.plan.roles
            engine = "" if need.name == first.sound.recipe.engine else need.name
            return GenerateWork(engine=engine, jobs=tuple(rounds), master_here=master_here, stream=stream)
        case "master":
            assert first.raw is not None
            return MasterWork(job=first.job, round=first.round, raw=first.raw, keep=first.keep)
        case "embed":
            return EmbedWork(job=first.job, request=request, encoder=need.name)
        case "render":
            assert first.hit is not None
            return RenderWork(job=first.job, request=request, hit=first.hit)
        case _:
            assert isinstance(first.asked, Call)
            return CallWork(job=first.job, task=first.asked.task)
