"""A simulated world around the scheduler: its clock, its workers, its callers, its store, and accounts of them all.

Every event goes through ``World.feed`` as through the router: actions are executed in order and look-ups
answer at once. Every event and action goes through its encoding on the way, and so does every job, as a
journal or another machine would need. Whatever happens, ``feed`` holds the scheduler to its promises.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from tests.support.recipes import RENDITION, recipe

from audio_pool.config import ClientConfig, LimitsConfig, MemoryConfig, QueueConfig
from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.errors import AudioPoolError
from audio_pool.reports import CandidateReport, QualityReport
from audio_pool.results import Failure, FinishedSound, RenditionReport, SoundMetadata
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import (
    Action,
    CancelTask,
    Claim,
    Discard,
    FindExact,
    FindLooser,
    FindNear,
    ForgetRequest,
    JobClosed,
    KillWorker,
    RecallTask,
    SendAccepted,
    SendChunk,
    SendProgress,
    SendReply,
    SendTask,
    SpawnWorker,
    StopWorker,
    Store,
    TellLease,
    TellWorker,
)
from audio_pool.scheduler.answers import CallReply, HitFile, RenderedHit, StoredSound
from audio_pool.scheduler.batches import Batching
from audio_pool.scheduler.clients import ClientRules
from audio_pool.scheduler.jobs import Job
from audio_pool.scheduler.scheduler import Scheduler, Sizes
from audio_pool.scheduler.work import (
    CallWork,
    EmbedWork,
    GenerateWork,
    LoadWork,
    MasterWork,
    RenderWork,
    TaskWork,
    UnloadWork,
    thread_of,
)
from audio_pool.scheduler.worker_state import WorkerPlan
from audio_pool.tasks import (
    Called,
    CandidateRef,
    ClapTask,
    EchoTask,
    Embedded,
    LaneReport,
    Loaded,
    MasteredSound,
    Provenance,
    RawSounds,
    Rejected,
    Rendered,
    TaskResult,
    TensorRef,
    Unloaded,
)
from audio_pool.types import Query, Recipe

LIMITS = LimitsConfig(
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
ALL_ROLES = "generate master embed score"

_EVENTS = msgspec.msgpack.Decoder(events.Event)
_ACTIONS = msgspec.msgpack.Decoder(Action)
_JOBS = msgspec.msgpack.Decoder(Job)
_QUEUE_FIELDS = {one.name for one in msgspec.structs.fields(QueueConfig)}

Lookup = Callable[[FindExact | FindNear | FindLooser], HitFile | str | None]
"""A look-up's answer: a hit, a warning, or nothing."""


def plan(
    name: str = "w", engines: str = "tone", roles: str = ALL_ROLES, devices: str = "", **more: Any
) -> WorkerPlan:
    return WorkerPlan(
        name=name,
        engines=frozenset(engines.split()),
        roles=frozenset(roles.split()),
        devices=tuple(devices.split()),
        **more,
    )


def join_key(asked: Recipe, number: int = 1) -> events.JoinKey:
    """Equal for equal recipes and numbers."""
    return events.JoinKey(recipe=asked, rendition=RENDITION, query=Query(variant_seed=number), tau_accept_new=None)


def hit(entry: int = 1, *, rendered: bool = True) -> HitFile:
    """A kept sound, whose rendition is there or has to be made."""
    return HitFile(
        entry=entry,
        master=f"/cache/{entry}.flac",
        path=f"/cache/{entry}.wav" if rendered else None,
        metadata=SoundMetadata(prompt="rain", cached=True, cache_type="exact", hit_reason="same words"),
        comment="" if rendered else "{}",
    )


def report(seed: int) -> CandidateReport:
    return CandidateReport(seed=seed, score=0.5, quality=QualityReport(score=50.0, issues=("noise",)))


@dataclass
class Sent:
    """A task as its worker holds it."""

    action: SendTask
    cancelled: bool = False
    recalled: bool = False


@dataclass
class Process:
    """One incarnation of one worker as the world knows it."""

    name: str
    incarnation: int
    state: Literal["spawned", "loading", "ready", "dead"] = "spawned"
    tasks: dict[int, Sent] = field(default_factory=dict)
    memory: set[str] = field(default_factory=set)
    """Engines that it has loaded, and that no task in its hands takes out."""
    doomed: bool = False
    stopping: bool = False


Fate = Literal["held", "stored", "delivered", "discarded"]


class World:
    """The scheduler, fed; its actions, executed and checked."""

    def __init__(
        self,
        plans: list[WorkerPlan],
        hosts: dict[str, str] | None = None,
        clients: dict[str, ClientConfig] | None = None,
        concurrency: dict[str, int] | None = None,
        memory: MemoryConfig | None = None,
        **limits: Any,
    ) -> None:
        """
        Args:
            clients: what some of them are entitled to.
            concurrency: how many workers may be at an engine at a time.
            memory: when devices are left because others have taken their memory.
            hosts: worker -> engines that it has when ready, beyond its plan's (encoders).
            limits: fields of LimitsConfig and QueueConfig.
        """
        self.queue = QueueConfig(**{name: value for name, value in limits.items() if name in _QUEUE_FIELDS})
        self.limits = msgspec.structs.replace(
            LIMITS, **{name: value for name, value in limits.items() if name not in _QUEUE_FIELDS}
        )
        self.scheduler = Scheduler(plans, self.limits, self.queue, clients, concurrency, memory)
        self.concurrency = concurrency or {}
        self.rules = ClientRules(self.queue, clients or {})
        self.plans = {one.name: one for one in plans}
        self.hosts = hosts or {}
        self.batching: frozenset[str] = frozenset()
        self.now = 100.0
        self.on_lookup: Lookup = lambda _: None
        self.on_looser: Lookup = lambda _: None
        self.in_time: dict[int, events.AskInTime] = {}
        """Requests that are to be answered in time."""
        self.part_of: dict[int, int] = {}
        """Request -> the one that it is part of."""
        self.forgotten: set[int] = set()
        self.processes: dict[tuple[str, int], Process] = {}
        self.asked: dict[int, events.Submit | events.Call] = {}
        self.replies: dict[int, SendReply] = {}
        self.notices: list[SendAccepted | SendProgress | SendChunk] = []
        self.actions: list[Action] = []
        self.storing: dict[int, Store] = {}
        self.opened: set[int] = set()
        self.closed: set[int] = set()
        self.fates: dict[str, Fate] = {}
        """What became of each result's file or slot, by path."""
        self.elsewhere: set[str] = set()
        """Prompts whose sound another pool on the cache makes."""
        self.told: list[TellLease | TellWorker] = []
        """What has become of leases and workers, as those hear it who asked."""
        self.leases_asked: set[int] = set()
        self.answered_leases: set[int] = set()
        self.claims_answered = True
        self.claiming: list[int] = []
        """Jobs that hold a claim."""
        self._requests = 0
        self._files = 0

    # -- events ------------------------------------------------------------------------------------

    def feed(self, event: events.Event) -> list[Action]:
        """Return the actions of the event and of the look-ups that follow from it."""
        pending = collections.deque([event])
        done: list[Action] = []
        while pending:
            read_back = _EVENTS.decode(msgspec.msgpack.encode(pending[0]))
            assert read_back == pending.popleft()
            for action in self.scheduler.handle(read_back, self.now):
                sent = _ACTIONS.decode(msgspec.msgpack.encode(action))
                assert sent == action
                done.append(sent)
                answer = self._execute(sent)
                if answer is not None:
                    pending.append(answer)
        self.actions += done
        for job in self.scheduler.jobs.values():
            assert _JOBS.decode(msgspec.msgpack.encode(job)) == job
        deadline = self.scheduler.next_deadline()
        if deadline is not None and deadline <= self.now:
            assert not isinstance(event, events.Tick), "a deadline that a tick does not move: the loop would spin"
            done += self.feed(events.Tick())  # as the router does
        self._hold_to_limits()
        self._recount()
        return done

    def _recount(self) -> None:
        """Whatever has changed a worker has said so: what is counted as they change is what is there."""
        table = self.scheduler.workers
        workers = table.workers.values()
        for engine in {engine for one in workers for engine in one.engines | one.plan.engines}:
            having = sum(one.ready and (engine in one.loaded or one.loading == engine) for one in workers)
            assert table.census.having(engine) == having, engine
            assert table.census.loading(engine) == sum(one.ready and one.loading == engine for one in workers), engine
            assert table.census.largest(engine) == max(one.size_of(engine) for one in workers), engine
        over = [one for one in workers if one.ready and one.taken_bytes > (one.room_bytes or math.inf)]
        assert [one for one in table.census.over() if one.room_bytes] == over
        resting = [one for one in workers if one.state in ("down", "broken")]
        assert all(any(one is other for other in table.census.at_rest()) for one in resting)

    def pass_time(self, seconds: float) -> list[Action]:
        self.now += seconds
        return self.feed(events.Tick())

    def submit(self, *, join: int | None = None, **fields: Any) -> int:
        """Submit a request; return its number. ``join``: equal numbers join where the recipes are equal, too."""
        self._requests += 1
        fields.setdefault("recipe", recipe())
        if join is not None:
            fields["join_key"] = join_key(fields["recipe"], join)
        asked = events.Submit(request=self._requests, **fields)
        self.asked[asked.request] = asked
        self.feed(asked)
        return asked.request

    def ask_in_time(
        self,
        *,
        within_s: float | None = None,
        stand_in: Recipe | None = None,
        looser: bool = True,
        at_once: bool = False,
        upgrade: bool = False,
        join: int | None = None,
        **fields: Any,
    ) -> int:
        """Ask for the best there is by a deadline; return the request's number.

        Args:
            stand_in: what the built-in engine would make; None: there is none, and only a looser match stands in.
            join: as for ``submit``, for both parts.
            fields: of the sound as it is asked for.
        """
        fields.setdefault("recipe", recipe())
        self._requests += 3
        request, wanted, other = self._requests - 2, self._requests - 1, self._requests
        makes = stand_in is not None
        own = None if join is None else join_key(fields["recipe"], join)
        others = None if join is None else join_key(stand_in or fields["recipe"], join)
        key = others and msgspec.structs.replace(others, stands_in=True)
        standing = events.Submit(
            request=other, recipe=stand_in or fields["recipe"], client=fields.get("client", ""), priority=0,
            join_key=key, stands_in=True, looser=looser, makes=makes, near=False,
        )  # fmt: skip
        asked = events.AskInTime(
            request=request,
            wanted=events.Submit(request=wanted, join_key=own, **fields),
            stand_in=standing if makes or looser else None,
            deadline=None if within_s is None else self.now + within_s,
            at_once=at_once,
            upgrade=upgrade,
        )
        self.in_time[request] = asked
        self.asked[request] = self.asked[wanted] = asked.wanted
        self.part_of[wanted] = request
        if asked.stand_in is not None:
            self.asked[other], self.part_of[other] = asked.stand_in, request
        self.feed(asked)
        return request

    def call(self, *, task: EchoTask | ClapTask | None = None, **fields: Any) -> int:
        self._requests += 1
        asked = events.Call(request=self._requests, task=task or EchoTask(payload=b"x"), **fields)
        self.asked[asked.request] = asked
        self.feed(asked)
        return asked.request

    def lend(self, device: str, *, holder: str = "image", within_s: float = 10.0, for_s: float | None = 60.0) -> int:
        """Ask for a device; return the number by which the answer is told."""
        self._requests += 1
        self.leases_asked.add(self._requests)
        self.feed(
            events.TakeLease(
                asked=self._requests, device=device, holder=holder, within_s=within_s, for_s=for_s
            )
        )
        return self._requests

    def give_device_back(self, device: str) -> list[Action]:
        return self.feed(events.EndLease(device=device))

    def add_worker(self, one: WorkerPlan) -> list[Action]:
        self.plans[one.name] = one
        return self.feed(events.AddWorker(plan=one))

    def lease_of(self, asked: int) -> TellLease | None:
        """What was told of a lease that was asked for; None: nothing yet."""
        return next((one for one in self.told if isinstance(one, TellLease) and one.asked == asked), None)

    def cancel(self, request: int) -> list[Action]:
        return self.feed(events.Cancel(request=request))

    def process(self, name: str = "w") -> Process:
        """The worker's latest incarnation."""
        return max((p for p in self.processes.values() if p.name == name), key=lambda p: p.incarnation)

    def say_hello(self, process: Process) -> None:
        assert process.state == "spawned"
        process.state = "loading"
        self.feed(events.WorkerHello(worker=process.name, incarnation=process.incarnation))

    def get_ready(
        self, process: Process, failed: dict[str, Failure] | None = None, coming: Iterable[str] = ()
    ) -> None:
        """
        Args:
            failed: what it could not load, of its plan's.
            coming: what it is still loading.
        """
        assert process.state == "loading"
        process.state = "ready"
        engines = self.plans[process.name].engines | frozenset(self.hosts.get(process.name, "").split())
        demanded = self.plans[process.name].on_demand
        process.memory = set(engines) - {name for name, how in demanded.items() if how.preload is not True}
        process.memory -= (failed or {}).keys()
        ready = events.WorkerReady(
            worker=process.name,
            incarnation=process.incarnation,
            engines=engines,
            loaded=frozenset(process.memory),
            failed=failed or {},
            coming=frozenset(coming),
            batching={name: Batching() for name in self.batching & engines},
        )
        self.feed(ready)

    def start(self) -> World:
        """Every worker up."""
        self.feed(events.Tick())
        for process in list(self.processes.values()):
            self.say_hello(process)
            self.get_ready(process)
        return self

    def send_heartbeats(self) -> None:
        for process in self.processes.values():
            if process.state != "dead":
                self.feed(events.Heartbeat(worker=process.name, incarnation=process.incarnation))

    def report(self, process: Process, *at: tuple[str, int, float], known: Iterable[int] = ()) -> list[Action]:
        """Send a heartbeat that says what each thread is at: (thread, task, grace_s)."""
        lanes = tuple(LaneReport(thread=thread, task=task, grace_s=grace_s) for thread, task, grace_s in at)  # type: ignore[arg-type]
        return self.feed(
            events.Heartbeat(
                worker=process.name, incarnation=process.incarnation, lanes=lanes, tasks=frozenset(known)
            )
        )

    def fail_to_load(self, process: Process, error: AudioPoolError) -> list[Action]:
        self.feed(
            events.LoadFailed(worker=process.name, incarnation=process.incarnation, failure=Failure.of(error))
        )
        return self.die(process, "exit code 3")

    def die(self, process: Process, reason: str = "signal SIGKILL") -> list[Action]:
        process.state = "dead"
        return self.feed(events.WorkerExited(worker=process.name, incarnation=process.incarnation, reason=reason))

    def mastered(
        self,
        *,
        accepted: bool = True,
        score: float = 0.5,
        tried: tuple[CandidateReport, ...] | None = None,
        others: int = 0,
    ) -> MasteredSound:
        """A finished sound, and so many that were not chosen: each file must be stored or discarded, once."""
        path = self._file("{}.flac")
        metadata = SoundMetadata(
            prompt="rain", engine_details={"pid": 7, "nested": {"list": [1, 2.5, None]}}, accepted=accepted
        )
        sound = FinishedSound(
            path=path,
            recipe=recipe(seed=self._files, options=(("cfg", 1.5),)),
            metadata=metadata,
            accepted=accepted,
            delivered_path=f"{path}.ogg",
            delivered=RenditionReport(format="ogg", sample_rate=48_000),
        )
        tried = (report(self._files),) if tried is None else tried
        beside = tuple(self.mastered(accepted=accepted, score=score, tried=()) for _ in range(others))
        vectors = {"sound:descriptors": b"\0\0\x80?"}
        return MasteredSound(sound=sound, score=score, tried=tried, vectors=vectors, others=beside)

    def raw(self) -> RawSounds:
        """Raw candidates in a slot, which must be given back, once; and one that travels inline."""
        path = self._file("slot-{}")
        tensor = TensorRef(
            path=path, length=8, generation=self._files, owner="arena", dtype="F32", shape=(2, 1)
        )
        notes = Notes(expects=frozenset({"silence"}), warnings=("x: y",), details={"kind": "tone"})
        refs = (
            CandidateRef(seed=1, sample_rate=44_100, looped=False, notes=notes, tensor=tensor),
            CandidateRef(seed=2, sample_rate=44_100, looped=True, notes=Notes(), frame=0),
        )
        return RawSounds(candidates=refs, made=Provenance(engine="tone", implementation="tone", model="tone"))

    def rendered(self) -> Rendered:
        """A rendition's file: it must be delivered or discarded, once."""
        return Rendered(path=self._file("{}.ogg"), report=RenditionReport(format="ogg", sample_rate=44_100))

    def _file(self, pattern: str) -> str:
        self._files += 1
        path = pattern.format(self._files)
        self.fates[path] = "held"
        return path

    def finish(
        self,
        process: Process,
        task: int,
        *,
        attempt: int | None = None,
        results: dict[int, TaskResult] | None = None,
        **more: Any,
    ) -> list[Action]:
        """The task is done.

        Args:
            results: by job; None: what the work asks for.
            more: changes the result of every job: ``error``, ``tried``, ``accepted``, ``score``.
        """
        sent = process.tasks.pop(task).action
        if results is None:
            results = {job: self._result(sent, job, more) for job in jobs_of(sent.work)}
            if attempt is None:
                results |= self._of_no_job(process, sent.work)
        return self.feed(
            events.TaskDone(
                worker=process.name,
                incarnation=process.incarnation,
                task=task,
                attempt=sent.attempt if attempt is None else attempt,
                results=results,
            )
        )

    def _size(self, process: Process, engine: str) -> int:
        told = self.plans[process.name].on_demand.get(engine)
        return 1 if told is None else told.size_bytes

    def _of_no_job(self, process: Process, work: TaskWork) -> dict[int, TaskResult]:
        """What loading an engine or taking it out comes to."""
        match work:
            case LoadWork():
                process.memory.add(work.engine)
                info = EngineInfo(name=work.engine, role="generator", model="m", licence="", commercial_use=True)
                return {0: Loaded(info=info, size_bytes=self._size(process, work.engine))}
            case UnloadWork():
                return {0: Unloaded(freed_bytes=self._size(process, work.engine))}
            case _:
                return {}

    def _result(self, sent: SendTask, job: int, more: dict[str, Any]) -> TaskResult:
        if "error" in more:
            return Rejected(failure=Failure.of(more["error"]), tried=more.get("tried", ()))
        match sent.work:
            case GenerateWork(master_here=False):
                return self.raw()
            case MasterWork(keep=keep):
                return self.mastered(others=2 * keep, **more)
            case GenerateWork(jobs=jobs):
                keep = next(one.keep for one in jobs if one.job == job)
                return self.mastered(others=2 * keep, **more)
            case RenderWork():
                return self.rendered()
            case EmbedWork(encoder=encoder):
                return Embedded(vectors={encoder: b"1234"})
            case CallWork(task=EchoTask(payload=payload)):
                return Called(body={"payload": payload})
            case CallWork():
                return Called(body={"similarity": [[1.0, 0.5]]})
            case LoadWork() | UnloadWork():
                raise AssertionError("a load is of no job")

    def fail(self, process: Process, task: int, error: AudioPoolError) -> list[Action]:
        sent = process.tasks.pop(task).action
        return self.feed(
            events.TaskFailed(
                worker=process.name,
                incarnation=process.incarnation,
                task=task,
                attempt=sent.attempt,
                failure=Failure.of(error),
            )
        )

    def give_back(self, process: Process, task: int) -> list[Action]:
        """A recalled task had not begun."""
        sent = process.tasks.pop(task)
        assert sent.recalled
        return self.feed(
            events.TaskReturned(
                worker=process.name, incarnation=process.incarnation, task=task, attempt=sent.action.attempt
            )
        )

    def recalled(self, process: Process) -> list[int]:
        """The tasks that were asked back and have not begun, as far as their order tells."""
        waiting = [task for task, sent in process.tasks.items() if thread_of(sent.action.work) == "generate"]
        return [task for task in waiting[1:] if process.tasks[task].recalled]

    def stored(self, job: int, error: AudioPoolError | None = None) -> list[Action]:
        """The store has done with a job's sound."""
        sound = self.storing.pop(job).sound.sound
        if error is not None:
            return self.feed(events.Stored(job=job, failure=Failure.of(error)))
        kept = StoredSound(path=f"/cache/{job}.flac", metadata=sound.metadata)
        return self.feed(events.Stored(job=job, sound=kept))

    # -- executing ---------------------------------------------------------------------------------

    def _execute(self, action: Action) -> events.LookupDone | events.Claimed | None:
        match action:
            case SendReply():
                self._reply(action)
            case SendAccepted() | SendProgress() | SendChunk():
                asked = self.asked[action.request]
                assert isinstance(asked, events.Submit) and asked.events
                assert action.request not in self.replies, "an event after the final reply"
                self.notices.append(action)
            case FindExact() | FindNear():
                self._refers_to(action.job)
                assert action.request in self.asked and action.request not in self.replies
                found = self.on_lookup(action)
                if isinstance(found, str):
                    return events.LookupDone(job=action.job, warning=found)
                return events.LookupDone(job=action.job, hit=found)
            case FindLooser():
                self._refers_to(action.job)
                found = self.on_looser(action)
                if isinstance(found, str):
                    return events.LookupDone(job=action.job, warning=found)
                return events.LookupDone(job=action.job, hit=found)
            case ForgetRequest():
                assert action.request in self.part_of and action.request not in self.replies
                assert action.request not in self.forgotten, "forgotten twice"
                self.forgotten.add(action.request)
                if action.made is not None and self.fates[action.made.path] != "delivered":
                    self._meets(action.made.path, "delivered")
            case Claim():
                self._refers_to(action.job)
                asked = self.asked[action.request]
                # whether it claims was settled by whoever opened the job, who may have left it to this one since
                assert isinstance(asked, events.Submit) and action.request not in self.replies
                if not self.claims_answered:
                    return None
                mine = asked.recipe.prompt not in self.elsewhere
                if mine:
                    self.claiming.append(action.job)
                return events.Claimed(job=action.job, mine=mine)
            case SendTask():
                self._send(action)
            case CancelTask():
                process = self.processes[action.worker, action.incarnation]
                if action.task in process.tasks:
                    assert process.tasks[action.task].action.attempt == action.attempt
                    assert not process.tasks[action.task].cancelled, "cancelled twice"
                    process.tasks[action.task].cancelled = True
            case RecallTask():
                held = self.processes[action.worker, action.incarnation].tasks
                if action.task in held:
                    assert held[action.task].action.attempt == action.attempt
                    assert not held[action.task].recalled, "recalled twice"
                    assert next(iter(held)) != action.task, "the first task of a worker has begun"
                    held[action.task].recalled = True
            case StopWorker():
                self.processes[action.worker, action.incarnation].stopping = True
            case Store():
                self._refers_to(action.job)
                assert action.job not in self.storing, "a job's sound is stored once"
                for made in (action.sound, *action.losers):
                    assert not made.others, "each is told of once"
                    self._meets(made.sound.path, "stored")
                self.storing[action.job] = action
            case Discard():
                others = action.result.others if isinstance(action.result, MasteredSound) else ()
                for path in filter(None, map(path_of, (action.result, *others))):
                    self._meets(path, "discarded")
            case JobClosed():
                self._refers_to(action.job)
                self.closed.add(action.job)
                if action.job in self.claiming:
                    self.claiming.remove(action.job)
            case SpawnWorker():
                assert (action.worker, action.incarnation) not in self.processes
                running = [p for p in self.processes.values() if p.name == action.worker and p.state != "dead"]
                assert not running, "a worker is started beside its living predecessor"
                self.processes[action.worker, action.incarnation] = Process(action.worker, action.incarnation)
            case TellLease() | TellWorker():
                self._tell(action)
            case KillWorker():
                process = self.processes[action.worker, action.incarnation]
                assert not process.doomed, "killed twice"
                process.doomed = True
        return None

    def _tell(self, told: TellLease | TellWorker) -> None:
        self.told.append(told)
        living = {process.name for process in self.processes.values() if process.state != "dead"}
        if isinstance(told, TellWorker):
            if told.state == "removed":
                assert told.worker not in living, "a worker is said to be gone and runs"
                assert told.worker not in self.scheduler.workers.workers
            return
        assert (told.state == "refused") == (told.failure is not None)
        if told.asked:
            assert told.asked not in self.answered_leases, "told twice"
            self.answered_leases.add(told.asked)
        if told.state == "free":
            on_it = {name for name, one in self.plans.items() if told.device in one.devices}
            assert not on_it & living, "a device is said to be free, and has a process on it"

    def _reply(self, action: SendReply) -> None:
        assert action.request not in self.replies, f"request {action.request} was answered twice"
        asked = self.asked[action.request]
        whole = self.part_of.get(action.request)
        if whole is not None:
            assert self.replies[whole].upgrade == action.request, "only a better sound is heard of, after the first one"
            assert action.request not in self.forgotten
        promised = self.in_time.get(action.request)
        if promised is not None:
            assert promised.deadline is None or self.now <= promised.deadline + 1.0, "an answer after the deadline"
            assert (action.rung is not None) == (action.kind == "result")
            if action.upgrade:
                assert promised.upgrade and action.upgrade == promised.wanted.request
                assert action.rung in ("looser", "built_in")
        assert (action.kind == "result") == (action.failure is None) == (action.value is not None)
        match action.value:
            case RenderedHit(path=path):
                if self.fates[path] != "delivered":  # a joined rendition answers many
                    self._meets(path, "delivered")
            case StoredSound():
                assert action.cache_type in ("new_generation", "joined")
            case CallReply():
                assert isinstance(asked, events.Call)
            case HitFile(path=path):
                assert path is not None and action.cache_type is None, "a hit says itself what it is"
        self.replies[action.request] = action

    def _send(self, action: SendTask) -> None:
        work = action.work
        for job in jobs_of(work):
            self._refers_to(job)
        for request in _requests_of(work):
            assert request == 0 or request not in self.replies, "a task for a request that was answered"
        process = self.processes[action.worker, action.incarnation]
        assert process.state == "ready", f"a task for a worker that is {process.state}"
        assert not process.doomed and not process.stopping, "a task for a worker that is being stopped"
        assert action.attempt <= self.limits.max_attempts
        process.tasks[action.task] = Sent(action)
        thread = thread_of(work)
        held = sum(
            1
            for sent in process.tasks.values()
            if thread_of(sent.action.work) == thread and not isinstance(sent.action.work, LoadWork | UnloadWork)
        )
        one = self.plans[action.worker]
        assert held <= (one.credit if thread == "generate" else one.aux_credit), f"{held} tasks on thread {thread}"
        match work:
            case LoadWork():
                assert work.engine not in process.memory
            case UnloadWork():
                process.memory.remove(work.engine)
            case GenerateWork():
                assert "generate" in one.roles
                assert work.master_here == (work.stream or "master" in one.roles)
                asked = [self.asked[one.request] for one in work.jobs]
                engine = self.asked[work.jobs[0].request].recipe.engine if work.jobs[0].request else ""
                engine = work.engine or engine
                assert engine in process.memory or engine not in one.on_demand, f"{engine} is not loaded"
                recipes = [submit.recipe for submit in asked if isinstance(submit, events.Submit)]
                assert len(recipes) == len(asked) and all(recipe.engine in one.engines for recipe in recipes)
                if len(recipes) > 1:
                    assert sum(recipe.candidates for recipe in recipes) <= self.queue.max_batch
            case MasterWork() | RenderWork():
                assert "master" in one.roles
            case EmbedWork():
                assert {"embed", "score"} & one.roles

    def loaded(self, process: Process) -> frozenset[str]:
        """What a worker has in memory, as the scheduler sees it."""
        return self.scheduler.workers.workers[process.name].loaded

    def _refers_to(self, job: int) -> None:
        assert job not in self.closed, f"job {job} was closed"
        self.opened.add(job)

    def _meets(self, path: str, fate: Fate) -> None:
        assert self.fates[path] == "held", f"{path} was {self.fates[path]} and is now {fate}"
        self.fates[path] = fate

    def _hold_to_limits(self) -> None:
        scheduler = self.scheduler
        sizes = scheduler.sizes()
        assert sizes.requests <= self.queue.max_requests
        states = scheduler.requests.states()
        for client in {state.client for state in states} - {""}:
            own = [state.size_bytes for state in states if state.client == client]
            assert scheduler.requests.of_client(client) == (len(own), sum(own))
            assert len(own) <= (self.rules.max_requests(client) or self.queue.max_requests)
            assert sum(own) <= (self.rules.max_bytes(client) or self.queue.max_bytes) or len(own) == 1
        running = collections.Counter(
            client
            for worker in scheduler.workers.workers.values()
            for held in worker.tasks.values()
            for client in held.clients
        )
        for worker in scheduler.workers.workers.values():
            assert worker.state != "broken" or worker.due is not None, "a worker that is never tried again"
        at_it = collections.Counter(
            head.kind.name
            for worker in scheduler.workers.workers.values()
            if (head := worker.head("generate")) is not None and head.kind.role == "generate"
        )
        assert all(at_it[engine] <= most for engine, most in self.concurrency.items()), at_it
        assert all(count <= (self.rules.max_running(client) or count) for client, count in running.items())
        assert sizes.bytes == sum(one.size_bytes for one in scheduler.requests.states()) <= self.queue.max_bytes
        for request, asked in self.asked.items():
            if request in self.in_time:
                assert (request in scheduler.ladders) == (request not in self.replies), f"request {request} is lost"
            elif request in self.forgotten or self.part_of.get(request) in scheduler.ladders:
                pass  # nobody hears of it
            elif request not in self.replies:
                assert request in scheduler.requests, f"request {request} is lost"
                assert asked.deadline is None or asked.deadline > self.now, f"request {request} outlives its deadline"

    # -- endings -----------------------------------------------------------------------------------

    def settle(self, most: int = 20_000) -> None:
        """Let the world run until nobody waits: workers come up, tasks succeed, the store stores.

        What another pool is making is looked after several times a second for two minutes: thousands of steps.
        """
        for _ in range(most):
            if not self.step():
                deadline = self.scheduler.next_deadline()
                if self.scheduler.idle or deadline is None:
                    break
                self.send_heartbeats()
                self.pass_time(max(0.0, deadline - self.now) if deadline - self.now < 0.5 else 0.5)
        waiting = set(self.asked) - set(self.replies) - self.forgotten
        left = [job for job in self.scheduler.jobs.values() if waiting & set(job.requests)]
        assert not waiting, f"requests {waiting} wait for ever: {left}, {self.scheduler.workers.workers}"

    def step(self) -> bool:
        """Do one thing that is left to do at this moment; False: there is nothing."""
        for process in list(self.processes.values()):
            if process.state == "dead":
                continue
            if process.doomed or (process.stopping and not process.tasks):
                self.die(process, "exit code 0")
            elif process.state == "spawned":
                self.say_hello(process)
            elif process.state == "loading":
                self.get_ready(process)
            elif self.recalled(process):
                self.give_back(process, self.recalled(process)[0])
            elif process.tasks:
                self.finish(process, next(iter(process.tasks)))
            else:
                continue
            return True
        for job in list(self.storing):
            self.stored(job)
            return True
        return False

    def stop(self) -> None:
        """Drain; every process goes."""
        self.feed(events.Drain(deadline=self.now + 60.0))
        for _ in range(500):
            if self.scheduler.workers.gone:
                return
            if not self.step():
                self.pass_time(1.0)
        raise AssertionError("the workers are never gone")

    def check_nothing_is_left(self) -> None:
        """After ``settle``: no table remembers anything, every file met one fate, every job is closed."""
        scheduler = self.scheduler
        scheduler.next_deadline()  # drops what has passed from its heaps
        assert scheduler.requests.clients == 0
        assert scheduler.idle and scheduler.sizes() == Sizes(0, 0, 0, 0, 0, 0)
        assert not any(worker.tasks for worker in scheduler.workers.workers.values() if worker.state != "ready")
        assert not set(self.replies) & self.forgotten
        assert set(self.replies) | self.forgotten == set(self.asked)
        assert self.answered_leases == self.leases_asked
        assert self.opened == self.closed == set(range(1, len(self.closed) + 1)), "jobs are numbered from 1"
        assert not [path for path, fate in self.fates.items() if fate == "held"], self.fates
        assert not self.claiming, "claims are held by jobs that have ended"


def jobs_of(work: TaskWork) -> list[int]:
    match work:
        case GenerateWork():
            return [one.job for one in work.jobs]
        case LoadWork() | UnloadWork():
            return []
        case _:
            return [work.job]


def _requests_of(work: TaskWork) -> list[int]:
    match work:
        case GenerateWork():
            return [one.request for one in work.jobs]
        case EmbedWork() | RenderWork():
            return [work.request]
        case _:
            return []


def path_of(result: TaskResult) -> str:
    """The file or slot that a result holds; "" where it holds none."""
    match result:
        case MasteredSound():
            return result.sound.path
        case RawSounds():
            return next((one.tensor.path for one in result.candidates if one.tensor is not None), "")
        case Rendered():
            return result.path
        case _:
            return ""
