"""A pool's world on a simulated clock: GPUs, their workers, a cache, callers; whoever decides is handed in.

Owns: what takes how long, what fails when, and the accounts. Must not know: how anything is decided.

Whoever decides is a ``Brain``: the pool's own scheduler, or a rival of ``_simulated_rivals``. Both get the same events
and are held to the same actions. Nothing here sleeps: the clock jumps from one event to the next.
"""

from __future__ import annotations

import collections
import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec
from benchmarks._simulated_traffic import GB, MODELS, Asked, Model

from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import (
    Action,
    FindExact,
    KillWorker,
    RecallTask,
    SendReply,
    SendTask,
    SpawnWorker,
    Store,
)
from audio_pool.scheduler.answers import HitFile, StoredSound
from audio_pool.scheduler.batches import Batching
from audio_pool.scheduler.work import GenerateWork, LoadWork, UnloadWork
from audio_pool.tasks import Loaded, MasteredSound, TaskResult, Unloaded
from audio_pool.types import Query, Recipe, Rendition

BOOT_S = 3.0
BEAT_S = 60.0
RENDITION = Rendition(format="wav", sample_rate=44_100, bit_depth=16, target_lufs=-23.0, true_peak_dbfs=-2.0)
_QUERY = Query()
_RECIPE = Recipe(
    prompt="", negative_prompt="", engine="", model="", frames=441_000, sample_rate=44_100, loop=False, seed=None,
    steps=None, guidance_scale=7.0, candidates=1, voice=None, init_audio_sha256=None, init_strength=None,
    namespace="default",
)  # fmt: skip
_METADATA = SoundMetadata(prompt="")
_HIT = HitFile(entry=1, master="kept", path="kept", metadata=_METADATA)
_SOUND = MasteredSound(sound=FinishedSound(path="made", recipe=_RECIPE, metadata=_METADATA, accepted=True), score=1.0)
_Moment = Literal["hello", "ready", "loaded", "ends", "fails", "beat"]


class Brain(Protocol):
    """Whoever decides: events in, actions out."""

    def handle(self, event: events.Event, now: float) -> list[Action]:
        """Return everything that follows from the event."""

    def next_deadline(self) -> float | None:
        """Return when it wants to hear that time has passed."""


@dataclass
class Gpu:
    """One GPU and the worker process on it."""

    name: str
    starts_with: frozenset[str]
    """Models that its worker loads at its start."""
    room_gb: float
    incarnation: int = 0
    up: bool = False
    loaded: dict[str, float] = field(default_factory=dict)
    """Models in memory -> last used."""
    held: collections.deque[SendTask] = field(default_factory=collections.deque)
    state: Literal["idle", "loads", "makes"] = "idle"
    begun: float = 0.0
    """When the pass at work began."""
    made_s: float = 0.0
    loads_s: float = 0.0


@dataclass
class Spent:
    """GPU seconds: of workers that were up, of those in which they made sounds, and loaded."""

    up: float = 0.0
    making: float = 0.0
    loading: float = 0.0

    def add(self, seconds: float, up: int, making: int, loading: int) -> None:
        """Add a time in which so many were so."""
        self.up += seconds * up
        self.making += seconds * making
        self.loading += seconds * loading

    @property
    def utilisation(self) -> float:
        """The part in which sounds were made."""
        return self.making / self.up


@dataclass
class Accounts:
    """What came of it all."""

    waits: dict[tuple[int, str], list[float]] = field(default_factory=dict)
    """Seconds from a request to the start of the pass that made its sound, by priority and client; of hits none."""
    answers: collections.Counter[int] = field(default_factory=collections.Counter)
    """Final replies by request."""
    kinds: collections.Counter[str] = field(default_factory=collections.Counter)
    loads: int = 0
    passes: int = 0
    sounds: int = 0
    failures: int = 0
    events: int = 0
    served: dict[int, collections.Counter[str]] = field(default_factory=dict)
    """Seconds of GPUs by client, by window of time."""
    up: Spent = field(default_factory=Spent)
    """GPU seconds, all of them."""
    usable: Spent = field(default_factory=Spent)
    """Those without which a GPU had nothing to do while nobody waited: an idle GPU counts for each job that waits."""


class World:
    """A brain, fed; its actions, executed."""

    def __init__(
        self,
        brain: Brain,
        asked: Sequence[Asked],
        gpus: Sequence[Gpu],
        *,
        seed: int,
        mtbf_h: float = 0.0,
        window_s: float = 900.0,
        models: Sequence[Model] = MODELS,
    ) -> None:
        """``mtbf_h``: hours between two failures of a worker; 0: none fails."""
        self.brain = brain
        self.asked = asked
        self.gpus = {gpu.name: gpu for gpu in gpus}
        self.models = {model.name: model for model in models}
        self.now = 0.0
        self.accounts = Accounts()
        self.window_s = window_s
        self.waiting: dict[str, int] = {one.client: 0 for one in asked}
        """Jobs of each client that are not begun."""
        self.backlogs: dict[str, list[tuple[float, float]]] = {name: [] for name in self.waiting}
        """When each had some all the time."""
        self._since: dict[str, float] = {}
        self._all_waiting = self._up = self._making = self._loading = 0
        self._counted_at = 0.0
        self._rng = random.Random(seed)
        self._lives = {gpu.name: random.Random(f"{seed} {gpu.name}") for gpu in gpus}
        """How long each worker lives, whoever decides."""
        self._mtbf_s = mtbf_h * 3600.0
        self._heap: list[tuple[float, int, _Moment, Gpu, int]] = []
        self._count = 0
        self._kept: set[tuple[str, int, int]] = set()
        self._begun: dict[int, float] = {}
        """Job -> when the pass began that made it."""
        self._recipes: dict[tuple[str, int, int], events.JoinKey] = {}
        self._pending: collections.deque[events.Event] = collections.deque()

    # -- time --------------------------------------------------------------------------------------

    def run(self) -> Accounts:
        """Let the day pass until every request is answered."""
        self._feed(events.Tick())
        number, answers = 0, self.accounts.answers
        while len(answers) < len(self.asked):
            arrives = self.asked[number].at if number < len(self.asked) else float("inf")
            happens = self._heap[0][0] if self._heap else float("inf")
            due = self.brain.next_deadline()
            if due is not None and due <= min(arrives, happens):
                assert due < float("inf")
                self.now = max(self.now, due)
                self._feed(events.Tick())
                after = self.brain.next_deadline()
                assert after is None or after > self.now, "a deadline that a tick does not move"
            elif arrives <= happens:
                assert arrives < float("inf"), "nothing is due, and requests are not answered"
                self.now = arrives
                self._ask(number + 1, self.asked[number])
                number += 1
            else:
                self.now, _, moment, gpu, incarnation = heapq.heappop(self._heap)
                if gpu.incarnation == incarnation:
                    self._happen(moment, gpu)
        self._count_gpu()
        for client, since in self._since.items():
            self.backlogs[client].append((since, self.now))
        return self.accounts

    def _at(self, seconds: float, moment: _Moment, gpu: Gpu) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + seconds, self._count, moment, gpu, gpu.incarnation))

    def _happen(self, moment: _Moment, gpu: Gpu) -> None:
        name, number = gpu.name, gpu.incarnation
        match moment:
            case "hello":
                self._feed(events.WorkerHello(worker=name, incarnation=number))
                load_s = sum(self.models[model].load_s for model in gpu.starts_with)
                gpu.loads_s += load_s
                self._at(load_s, "ready", gpu)
                self._at(BEAT_S, "beat", gpu)
            case "ready":
                gpu.up, gpu.state = True, "idle"
                self._count_gpu(up=1)
                gpu.loaded = dict.fromkeys(gpu.starts_with, self.now)
                if self._mtbf_s:
                    self._at(self._lives[name].expovariate(1.0 / self._mtbf_s), "fails", gpu)
                self._feed(
                    events.WorkerReady(
                        worker=name,
                        incarnation=number,
                        engines=frozenset(self.models),
                        loaded=gpu.starts_with,
                        sizes={one: self.models[one].size_bytes for one in gpu.starts_with},
                        batching={one: Batching(most=self.models[one].most) for one in gpu.starts_with},
                    )
                )
                spare = round(gpu.room_gb * GB) - sum(self.models[one].size_bytes for one in gpu.loaded)
                self._feed(events.MemoryRead(spare_bytes={name: spare}))
            case "beat":
                self._at(BEAT_S, "beat", gpu)
                self._feed(events.Heartbeat(worker=name, incarnation=number))
            case "loaded":
                gpu.loaded[self._model_of(gpu).name] = self.now
                self._count_gpu(loading=-1)
                if isinstance(gpu.held[0].work, LoadWork):
                    model = self._model_of(gpu)
                    self._end_change(gpu, Loaded(info=model.info, size_bytes=model.size_bytes))
                else:
                    self._begin_pass(gpu)
            case "ends":
                self._end_pass(gpu)
            case "fails":
                self._fail(gpu)

    def _fail(self, gpu: Gpu) -> None:
        """The worker's process ends."""
        number = gpu.incarnation
        self._count_gpu(up=-1, making=-(gpu.state == "makes"), loading=-(gpu.state == "loads"))
        if gpu.state == "makes":
            for job in self._work(gpu.held[0]).jobs:
                self._waits(self._client(job.request), 1)
        gpu.incarnation, gpu.up, gpu.state = 0, False, "idle"
        gpu.held.clear()
        gpu.loaded.clear()
        self.accounts.failures += 1
        self._feed(events.WorkerExited(worker=gpu.name, incarnation=number, reason="signal SIGKILL"))

    def _count_gpu(self, up: int = 0, making: int = 0, loading: int = 0) -> None:
        """Add the time since the last change to the accounts; so many are up, making and loading more from now on."""
        seconds, self._counted_at = self.now - self._counted_at, self.now
        at_work = self._making + self._loading
        self.accounts.up.add(seconds, self._up, self._making, self._loading)
        usable = at_work + min(self._up - at_work, self._all_waiting)
        self.accounts.usable.add(seconds, usable, self._making, self._loading)
        self._up, self._making, self._loading = self._up + up, self._making + making, self._loading + loading

    # -- requests ----------------------------------------------------------------------------------

    def _ask(self, number: int, asked: Asked) -> None:
        key = self._key(asked)
        self._feed(
            events.Submit(
                request=number,
                recipe=key.recipe,
                client=asked.client,
                join_key=key,
                priority=asked.priority,
                near=False,
            )
        )

    def _key(self, asked: Asked) -> events.JoinKey:
        key = self._recipes.get(asked.sound)
        if key is None:
            model = asked.model
            recipe = msgspec.structs.replace(
                _RECIPE,
                prompt=str(asked.prompt),
                engine=model.name,
                model=model.name,
                steps=asked.steps,
                candidates=model.candidates,
            )
            key = events.JoinKey(recipe=recipe, rendition=RENDITION, query=_QUERY, tau_accept_new=None)
            self._recipes[asked.sound] = key
        return key

    def _client(self, request: int) -> str:
        return self.asked[request - 1].client

    def _waits(self, client: str, more: int) -> None:
        """Note that a client has one job more, or less, that is not begun."""
        self._count_gpu()
        self._all_waiting += more
        before = self.waiting[client]
        self.waiting[client] = before + more
        if not before:
            self._since[client] = self.now
        elif not before + more:
            self.backlogs[client].append((self._since.pop(client), self.now))

    # -- events and actions ------------------------------------------------------------------------

    def _feed(self, event: events.Event) -> None:
        self._pending.append(event)
        if len(self._pending) > 1:
            return  # an action's own: its turn comes
        while self._pending:
            for action in self.brain.handle(self._pending[0], self.now):
                self._execute(action)
            self._pending.popleft()
            self.accounts.events += 1

    def _execute(self, action: Action) -> None:
        match action:
            case FindExact():
                found = self.asked[action.request - 1].sound in self._kept
                if not found:
                    self._waits(self._client(action.request), 1)
                self._feed(events.LookupDone(job=action.job, hit=_HIT if found else None))
            case SendTask():
                gpu = self.gpus[action.worker]
                assert gpu.up and gpu.incarnation == action.incarnation, "a task for a worker that is not up"
                gpu.held.append(action)
                if gpu.state == "idle":
                    self._begin(gpu)
            case RecallTask():
                gpu = self.gpus[action.worker]
                waiting = [held for held in gpu.held if held.task == action.task]
                if waiting and waiting[0] is not gpu.held[0]:
                    gpu.held.remove(waiting[0])
                    self._feed(
                        events.TaskReturned(
                            worker=gpu.name, incarnation=gpu.incarnation, task=action.task, attempt=action.attempt
                        )
                    )
            case Store():
                self._kept.update(self.asked[request - 1].sound for request in action.requests[:1])
                sound = StoredSound(path=str(action.job), metadata=_METADATA)
                self._feed(events.Stored(job=action.job, sound=sound))
            case SendReply():
                self._reply(action)
            case SpawnWorker():
                gpu = self.gpus[action.worker]
                gpu.incarnation = action.incarnation
                self._at(BOOT_S, "hello", gpu)
            case KillWorker():
                raise AssertionError(f"a worker that is well was killed: {action.why}")
            case _:
                pass

    def _reply(self, reply: SendReply) -> None:
        self.accounts.answers[reply.request] += 1
        asked = self.asked[reply.request - 1]
        if isinstance(reply.value, StoredSound):
            waited_s = max(0.0, self._begun[int(reply.value.path)] - asked.at)
            self.accounts.waits.setdefault((asked.priority, asked.client), []).append(waited_s)
            self.accounts.kinds[reply.cache_type or "result"] += 1
        else:
            self.accounts.kinds["hit" if reply.kind == "result" else reply.kind] += 1

    # -- GPUs --------------------------------------------------------------------------------------

    @staticmethod
    def _work(task: SendTask) -> GenerateWork:
        assert isinstance(task.work, GenerateWork), "nothing else is asked for"
        return task.work

    def _begin(self, gpu: Gpu) -> None:
        """Begin the first task that a worker holds. A pass of a model that is not in memory begins with its load."""
        work = gpu.held[0].work
        if isinstance(work, UnloadWork):
            del gpu.loaded[work.engine]
            self._end_change(gpu, Unloaded(freed_bytes=self.models[work.engine].size_bytes))
            return
        model = self._model_of(gpu)
        if model.name not in gpu.loaded:
            self._make_room(gpu, model)
            gpu.state = "loads"
            self._count_gpu(loading=1)
            self._at(model.load_s, "loaded", gpu)
            self.accounts.loads += 1
            gpu.loads_s += model.load_s
        else:
            self._begin_pass(gpu)

    def _model_of(self, gpu: Gpu) -> Model:
        """The model of the first task that a worker holds."""
        work = gpu.held[0].work
        if isinstance(work, LoadWork):
            return self.models[work.engine]
        return self.asked[self._work(gpu.held[0]).jobs[0].request - 1].model

    def _make_room(self, gpu: Gpu, model: Model) -> None:
        """Take out what was used longest ago, as much as the model needs, where nobody has seen to that."""
        told = isinstance(gpu.held[0].work, LoadWork)
        while gpu.loaded and sum(self.models[one].memory_gb for one in gpu.loaded) + model.memory_gb > gpu.room_gb:
            assert not told, "a load without room for it"
            del gpu.loaded[min(gpu.loaded, key=lambda one: gpu.loaded[one])]

    def _begin_pass(self, gpu: Gpu) -> None:
        jobs = self._work(gpu.held[0]).jobs
        firsts = [self.asked[job.request - 1] for job in jobs]
        model, steps = firsts[0].model, firsts[0].steps
        assert all(one.model is model and one.steps == steps for one in firsts), "they do not share a pass"
        candidates = sum(one.model.candidates for one in firsts)
        assert candidates <= max(model.most, model.candidates)
        for job, one in zip(jobs, firsts, strict=True):
            self._begun[job.job] = self.now
            self._waits(one.client, -1)
        gpu.state, gpu.begun, gpu.loaded[model.name] = "makes", self.now, self.now
        self._count_gpu(making=1)
        self._at(model.pass_s(candidates, steps) * self._rng.uniform(0.95, 1.05), "ends", gpu)

    def _end_change(self, gpu: Gpu, result: Loaded | Unloaded) -> None:
        """The first task that a worker holds, a load or an unload, is done."""
        self._end(gpu, {0: result})

    def _end(self, gpu: Gpu, results: dict[int, TaskResult]) -> None:
        """The first task that a worker holds is done; the next one begins."""
        task = gpu.held.popleft()
        gpu.state = "idle"
        if gpu.held:
            self._begin(gpu)
        self._feed(
            events.TaskDone(
                worker=gpu.name,
                incarnation=gpu.incarnation,
                task=task.task,
                attempt=task.attempt,
                results=results,
            )
        )

    def _end_pass(self, gpu: Gpu) -> None:
        task, accounts = gpu.held[0], self.accounts
        jobs = self._work(task).jobs
        seconds = self.now - gpu.begun
        gpu.made_s += seconds
        accounts.passes += 1
        accounts.sounds += len(jobs)
        served = accounts.served.setdefault(int(self.now / self.window_s), collections.Counter())
        for job in jobs:
            served[self._client(job.request)] += seconds / len(jobs)
        self._count_gpu(making=-1)
        self._end(gpu, {job.job: _SOUND for job in jobs})
