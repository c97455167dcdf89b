"""What the pool's scheduler is compared with: first come first served, round robin, and the first with affinity.

Owns: three small policies over the same events and actions. Must not know: time, what anything takes.

All of them have the same cache, joins and batches as the pool: a pass takes whatever shares it, wherever in the line it
waits. A task for a model that its worker has not loaded makes the worker load it first, and take out what it used
longest ago.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from benchmarks._simulated_traffic import Model
from benchmarks._simulated_world import Gpu

from audio_pool.scheduler import events
from audio_pool.scheduler.actions import Action, FindExact, JobClosed, SendReply, SendTask, SpawnWorker, Store
from audio_pool.scheduler.answers import ReplyValue
from audio_pool.scheduler.batches import Batching, pass_key
from audio_pool.scheduler.work import GenerateWork, JobRound
from audio_pool.tasks import MasteredSound

_ALIKE = Batching()


@dataclass
class _Job:
    job: int
    asked: events.Submit
    key: Hashable
    requests: list[int] = field(default_factory=list)


class _Lines:
    """Jobs in order of arrival, and by what they share a pass with."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, collections.deque[_Job]] = {}

    def put(self, job: _Job) -> None:
        self._lines.setdefault(job.key, collections.deque()).append(job)

    def put_back(self, jobs: list[_Job]) -> None:
        for job in reversed(jobs):
            self._lines.setdefault(job.key, collections.deque()).appendleft(job)

    def first(self, models: frozenset[str] | None = None) -> _Job | None:
        """The first, of these models where there are any."""
        heads = [line[0] for line in self._lines.values() if line]
        if models is not None:
            heads = [job for job in heads if job.asked.recipe.engine in models]
        return min(heads, key=lambda job: job.job, default=None)

    def take(self, first: _Job, most: int) -> list[_Job]:
        """Remove the first of its line, and what goes with it."""
        line, size = self._lines[first.key], first.asked.recipe.candidates
        return [line.popleft() for _ in range(min(len(line), max(1, most // size)))]


class Rival:
    """What all of them do alike."""

    def __init__(self, gpus: list[Gpu], models: tuple[Model, ...]) -> None:
        self._most = {model.name: model.most for model in models}
        self._gpus = {gpu.name: gpu for gpu in gpus}
        self._to_start = [gpu.name for gpu in gpus]
        self._incarnations = dict.fromkeys(self._gpus, 0)
        self._held: dict[str, tuple[int, list[_Job]]] = {}
        self._idle: dict[str, None] = {}
        """Workers, the one that has been idle longest first."""
        self._jobs: dict[int, _Job] = {}
        self._by_key: dict[events.JoinKey, _Job] = {}
        self._numbers = itertools.count(1)
        self._tasks = itertools.count(1)

    def next_deadline(self) -> float | None:
        return None

    def handle(self, event: events.Event, now: float) -> list[Action]:
        return list(self._handle(event))

    def _handle(self, event: events.Event) -> Iterator[Action]:
        match event:
            case events.Submit():
                yield from self._submit(event)
            case events.LookupDone(hit=None):
                self._put(self._jobs[event.job])
                yield from self._dispatch()
            case events.LookupDone():
                yield from self._answer(self._jobs[event.job], event.hit)
            case events.TaskDone():
                _, jobs = self._held.pop(event.worker)
                self._idle[event.worker] = None
                for job in jobs:
                    sound = event.results[job.job]
                    assert isinstance(sound, MasteredSound)
                    yield Store(job=job.job, requests=tuple(job.requests), sound=sound, rounds=1, tried=(), vectors={})
                yield from self._dispatch()
            case events.Stored():
                yield from self._answer(self._jobs[event.job], event.sound)
            case events.WorkerReady():
                self._idle[event.worker] = None
                yield from self._dispatch()
            case events.WorkerExited():
                self._idle.pop(event.worker, None)
                self._put_back(event.worker, self._held.pop(event.worker, (0, []))[1])
                yield self._start(event.worker)
                yield from self._dispatch()
            case events.Tick():
                for name in self._to_start:
                    yield self._start(name)
                self._to_start = []
            case _:
                pass

    def _start(self, name: str) -> SpawnWorker:
        self._incarnations[name] += 1
        return SpawnWorker(worker=name, incarnation=self._incarnations[name])

    def _submit(self, asked: events.Submit) -> Iterator[Action]:
        assert asked.join_key is not None
        joined = self._by_key.get(asked.join_key)
        if joined is not None:
            joined.requests.append(asked.request)
            return
        job = _Job(next(self._numbers), asked, pass_key(asked.recipe, _ALIKE), [asked.request])
        self._jobs[job.job] = self._by_key[asked.join_key] = job
        yield FindExact(job=job.job, request=asked.request)

    def _answer(self, job: _Job, value: ReplyValue | None) -> Iterator[Action]:
        for request in job.requests:
            yield SendReply(request=request, kind="result", value=value)
        assert job.asked.join_key is not None
        del self._jobs[job.job], self._by_key[job.asked.join_key]
        yield JobClosed(job=job.job)

    def _dispatch(self) -> Iterator[Action]:
        for name in list(self._idle):
            jobs = self._next(name)
            if jobs:
                del self._idle[name]
                task = next(self._tasks)
                self._held[name] = task, jobs
                rounds = tuple(JobRound(job=job.job, request=job.requests[0], round=0) for job in jobs)
                yield SendTask(
                    worker=name,
                    incarnation=self._incarnations[name],
                    task=task,
                    attempt=1,
                    work=GenerateWork(jobs=rounds, master_here=True),
                )

    def _put(self, job: _Job) -> None:
        """Have a job wait."""
        raise NotImplementedError

    def _put_back(self, worker: str, jobs: list[_Job]) -> None:
        """Have jobs wait again whose worker died."""
        raise NotImplementedError

    def _next(self, worker: str) -> list[_Job]:
        """Take what an idle worker is to do; nothing where nothing waits for it."""
        raise NotImplementedError


class FirstCome(Rival):
    """Whoever came first goes to the worker that has been idle longest."""

    def __init__(self, gpus: list[Gpu], models: tuple[Model, ...]) -> None:
        super().__init__(gpus, models)
        self._lines = _Lines()

    def _put(self, job: _Job) -> None:
        self._lines.put(job)

    def _put_back(self, worker: str, jobs: list[_Job]) -> None:
        self._lines.put_back(jobs)

    def _next(self, worker: str) -> list[_Job]:
        first = self._first(worker)
        return self._lines.take(first, self._most[first.asked.recipe.engine]) if first is not None else []

    def _first(self, worker: str) -> _Job | None:
        return self._lines.first()


class Affinity(FirstCome):
    """Whoever came first of those whose model the idle worker has loaded; of all, where none of those waits."""

    def _first(self, worker: str) -> _Job | None:
        loaded = frozenset(self._gpus[worker].loaded)
        return self._lines.first(loaded) or self._lines.first()


class RoundRobin(Rival):
    """Each request to the next worker, behind those that it was given before."""

    def __init__(self, gpus: list[Gpu], models: tuple[Model, ...]) -> None:
        super().__init__(gpus, models)
        self._lines = {gpu.name: _Lines() for gpu in gpus}
        self._turn = itertools.cycle(self._lines)

    def _put(self, job: _Job) -> None:
        self._lines[next(self._turn)].put(job)

    def _put_back(self, worker: str, jobs: list[_Job]) -> None:
        self._lines[worker].put_back(jobs)

    def _next(self, worker: str) -> list[_Job]:
        lines = self._lines[worker]
        first = lines.first()
        return lines.take(first, self._most[first.asked.recipe.engine]) if first is not None else []


RIVALS = {"first come": FirstCome, "round robin": RoundRobin, "affinity": Affinity}
