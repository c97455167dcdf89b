"""Executes the scheduler's actions: look-ups, tasks, storing, replies, processes.

Owns: what each action comes to. Every method returns at once; what takes time ends in an event in the inbox.
Must not know: any rule of order or retry (scheduler), how a sound is looked for (look_ups.py), what tasks
hold (task_builder.py), how a file gets to its place and its caller (delivery.py), front ends.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.lookup import Hit
from audio_pool.cache.store import Also
from audio_pool.config import Config
from audio_pool.engine_info import EngineInfo
from audio_pool.errors import AudioPoolError
from audio_pool.pool.caller import Caller
from audio_pool.pool.chunk_feed import CatchingUp
from audio_pool.pool.delivery import Delivery
from audio_pool.pool.in_time import told_in_time
from audio_pool.pool.inbox import Inbox
from audio_pool.pool.kept_candidates import KeptCandidates
from audio_pool.pool.launchers import ProcessSpec, WorkerLauncher
from audio_pool.pool.look_ups import LookUps, by_space
from audio_pool.pool.making import Making
from audio_pool.pool.metadata import as_delivered, rendition_report, result_metadata
from audio_pool.pool.replies import Reply
from audio_pool.pool.requests import OpenRequest, RequestTable
from audio_pool.pool.resolve import ResolvedRequest
from audio_pool.pool.task_builder import BuiltTask, JobInputs, TaskBuilder
from audio_pool.pool.worker_link import Received, WorkerLink
from audio_pool.reports import CacheType
from audio_pool.results import Failure, SoundMetadata
from audio_pool.scheduler import actions, events
from audio_pool.scheduler.answers import CallReply, HitFile, RenderedHit, StoredSound
from audio_pool.scheduler.work import CallWork, GenerateWork, TaskWork, thread_of
from audio_pool.tasks import EngineSetup, Loaded, MasteredSound, Rendered, TaskResult
from audio_pool.telemetry import Telemetry
from audio_pool.transport.worker_messages import CancelTask, Ready, RecallTask, RunTask, Stop

__all__ = ["Executor"]

log = logging.getLogger(__name__)

_BUG = "the request met a bug in the pool; its log says more"


class Executor:
    """Router's thread only."""

    def __init__(
        self,
        config: Config,
        *,
        inbox: Inbox,
        link: WorkerLink,
        requests: RequestTable,
        cache: CacheKeeper | None,
        tasks: TaskBuilder,
        delivery: Delivery,
        making: Making,
        catching_up: CatchingUp,
        look_ups: LookUps | None,
        candidates: KeptCandidates,
        launcher: WorkerLauncher,
        processes: Mapping[str, ProcessSpec],
        infos: dict[str, EngineInfo],
        telemetry: Telemetry,
    ) -> None:
        self.cache_types: collections.Counter[str] = collections.Counter()
        """Results by cache_type."""
        self.devices: dict[str, str] = {}
        """Worker -> device."""
        self.on_generate: Callable[[int], None] = _ignore
        """Told of each request for whose sound a worker has been given the work."""
        self.also_of: Callable[[Sequence[int]], Also | None] = _nothing
        """Says what is written in the transaction that keeps the sound of these requests."""
        self.on_answer: Callable[[ResolvedRequest, Caller], None] = _ignore
        """Told of each request whose sound is on its way to its caller."""
        self.on_lease: Callable[[actions.TellLease], None] = _ignore
        """Told of what has become of leases."""
        self.on_worker: Callable[[actions.TellWorker], None] = _ignore
        """Told of workers that were drained or removed."""
        self.on_loaded: Callable[[str], None] = _ignore
        """Told of each engine that a task has loaded, by what it is filed under."""
        self.present: dict[str, str] = {}
        """What engines are filed under on workers, where another model has come in the place of theirs."""
        self._config = config
        self._inbox = inbox
        self._link = link
        self._requests = requests
        self._cache = cache
        self._tasks = tasks
        self._delivery = delivery
        self._making = making
        self.catching_up = catching_up
        self._look_ups = look_ups
        self.candidates = candidates
        self._launcher = launcher
        self._processes = processes
        self._infos = infos
        self._telemetry = telemetry

    @property
    def setups(self) -> dict[str, EngineSetup]:
        """Of engines that came after the workers were started, by what they are filed under; to be added to."""
        return self._tasks.setups

    def execute(self, action: actions.Action) -> events.Event | None:
        """Execute one action; return the event that answers it at once, if there is one.

        A bug on the way is an answer, too: of the one request or the one job that the action is for.
        """
        try:
            return self._execute(action)
        except BaseException as exc:  # a caller's own callback may raise anything
            log.exception("the action %s met a bug", type(action).__name__)
            return self._failed(action, exc)

    def _failed(self, action: actions.Action, exc: BaseException) -> events.Event | None:
        """Return the event, or send the reply, that an action which could not be carried out comes to."""
        failure = Failure.of(exc if isinstance(exc, AudioPoolError) else AudioPoolError(_BUG))
        match action:
            case actions.SendReply():
                self._requests.finish(action.request, Reply(kind="error", failure=failure))
            case actions.FindExact() | actions.FindNear() | actions.FindLooser():
                return events.LookupDone(job=action.job, warning=f"cache_unreadable: {failure.message}")
            case actions.Claim():
                return events.Claimed(job=action.job, mine=True)
            case actions.Store():
                return events.Stored(job=action.job, failure=failure)
            case actions.SpawnWorker():
                return events.WorkerExited(
                    worker=action.worker, incarnation=action.incarnation, reason=f"it could not be started: {exc}"
                )
            case _:
                pass
        return None

    def _execute(self, action: actions.Action) -> events.Event | None:
        match action:
            case actions.SendReply():
                self._reply(action)
            case actions.JobClosed():
                self._tasks.forget(action.job)
                self._making.release(action.job)
            case actions.SendTask():
                return self._send_task(action)
            case actions.SendAccepted() | actions.SendProgress():
                open_request = self._requests.get(action.request)
                if open_request is not None:
                    open_request.sink.notify(action.body)
            case actions.SendChunk():
                streaming = self._requests.get(action.request)
                if streaming is not None and streaming.feed is not None:
                    streaming.feed.take(action.chunk)
            case actions.FindExact():
                assert self._look_ups is not None
                return self._look_ups.exact(action)
            case actions.FindNear():
                assert self._look_ups is not None
                self._look_ups.near(action)
            case actions.FindLooser():
                assert self._look_ups is not None
                self._look_ups.looser(action)
            case actions.ForgetRequest():
                self._forget(action)
            case actions.CancelTask():
                cancel = CancelTask(task_id=action.task, attempt=action.attempt)
                self._link.send(action.worker, action.incarnation, "control", cancel)
            case actions.RecallTask():
                recall = RecallTask(task_id=action.task, attempt=action.attempt)
                self._link.send(action.worker, action.incarnation, "control", recall)
            case actions.StopWorker():
                self._link.send(action.worker, action.incarnation, "control", Stop())
            case actions.Store():
                self._store(action)
            case actions.Discard():
                self._discard(action.job, action.result)
            case actions.Doubt():
                if self._cache is not None:
                    self._cache.current.doubt(action.entry)
            case actions.Claim():
                return self._claim(action)
            case actions.SpawnWorker():
                secret = self._link.expect(action.worker, action.incarnation)
                self._launcher.spawn(self._processes[action.worker], action.incarnation, secret)
            case actions.KillWorker():
                self._launcher.kill(action.worker, action.incarnation, action.why, at_once=action.at_once)
            case actions.TellLease():
                self.on_lease(action)
            case actions.TellWorker():
                self.devices.pop(action.worker if action.state == "removed" else "", None)
                self.on_worker(action)
        return None

    # -- workers -----------------------------------------------------------------------------------

    def take_in(self, received: Received) -> events.Event:
        """Take over what came with a worker's message; return the event for the scheduler."""
        match received.event:
            case events.TaskDone() as done:
                self._requests.tally.judged(done.results, self._tasks.makes_loop)
                holder = f"{done.worker}:{done.incarnation}"
                if isinstance(loaded := done.results.get(0), Loaded):
                    self.on_loaded(loaded.engine)
                    self._know(loaded.engine, loaded.info)
                    self.devices[done.worker] = loaded.device
                results = self._tasks.take_outputs(
                    done.task, holder, done.results, received.frames, received.unwritable
                )
                return done if results is done.results else msgspec.structs.replace(done, results=results)
            case events.TaskFailed() | events.TaskReturned() as failed:
                self._tasks.take_outputs(failed.task, f"{failed.worker}:{failed.incarnation}", {}, [])
            case events.WorkerReady() as ready:
                if received.ready is not None:
                    self._worker_ready(ready.worker, received.ready)
            case _:
                pass
        return received.event

    def _worker_ready(self, worker: str, ready: Ready) -> None:
        self.devices[worker] = ready.device
        self._requests.tally.loaded(worker, ready.incarnation, len(ready.engines))
        for engine, loaded in ready.engines.items():
            self._know(engine, loaded)
        for name, info in ready.later.items():
            if info is not None and name == info.name:
                self._infos.setdefault(name, info)

    def _know(self, hosted: str, loaded: EngineInfo) -> None:
        """Note what an engine says of itself that has been loaded; not of a model in whose place another has come."""
        if hosted != self.present.get(loaded.name, loaded.name):
            return
        known = self._infos.get(loaded.name)
        # both names are part of a recipe's identity: they must not change while the pool runs
        model = known.model if known else loaded.model
        self._infos[loaded.name] = msgspec.structs.replace(loaded, model=model)

    def worker_exited(self, worker: str, incarnation: int) -> None:
        """Take back what a process held that is gone for sure."""
        self._link.forget(worker, incarnation)
        self._tasks.worker_exited(f"{worker}:{incarnation}")

    def _send_task(self, action: actions.SendTask) -> events.TaskFailed | None:
        try:
            self._send_built(action, self._tasks.build(action))
        except BaseException as exc:
            if not isinstance(exc, AudioPoolError):
                log.exception("task %d could not be sent", action.task)
                exc = AudioPoolError(_BUG)
            # slots may have been granted to it already
            self._tasks.take_outputs(action.task, f"{action.worker}:{action.incarnation}", {}, [])
            return events.TaskFailed(
                worker=action.worker,
                incarnation=action.incarnation,
                task=action.task,
                attempt=action.attempt,
                failure=Failure.of(exc),
            )
        return None

    def _send_built(self, action: actions.SendTask, built: BuiltTask) -> None:
        run = RunTask(
            task_id=action.task,
            attempt=action.attempt,
            incarnation=action.incarnation,
            task=built.task,
            grants=built.grants,
            request_ids=built.request_ids,
        )
        self._telemetry.count("tasks", kind=_kind(action.work))
        self._link.send(action.worker, action.incarnation, thread_of(action.work), run, built.frames)
        if isinstance(action.work, GenerateWork):
            for one in action.work.jobs:
                self.on_generate(one.request)

    # -- claims, storing and replying ------------------------------------------------------------------

    def _claim(self, action: actions.Claim) -> events.Claimed | None:
        recipe = self._requests[action.request].sound.recipe
        if self._making.needless(action.job, recipe):
            return events.Claimed(job=action.job, mine=True)

        def answer(mine: bool) -> None:
            self._inbox.post(events.Claimed(job=action.job, mine=mine))

        self._making.ask(action.job, recipe, answer)
        return None

    def _store(self, action: actions.Store) -> None:
        inputs = self._tasks.inputs(action.job)
        sound = action.sound.sound
        metadata = msgspec.structs.replace(sound.metadata, candidates=action.tried, rounds=action.rounds)
        sound = msgspec.structs.replace(sound, metadata=metadata)
        vectors = by_space({**action.vectors, **action.sound.vectors}, self._config)
        asked = self._requests.get(action.requests[0]) if action.requests else None

        def done(stored: StoredSound | AudioPoolError) -> None:
            if action.losers:
                stored = self._with_losers(stored, action, inputs, None if asked is None else asked.caller.client)
            if isinstance(stored, AudioPoolError):
                self._inbox.post(events.Stored(job=action.job, failure=Failure.of(stored)))
            else:
                self._inbox.post(events.Stored(job=action.job, sound=stored))

        self._delivery.store(sound, vectors, inputs.resolved, inputs.request_id, done, self.also_of(action.requests))

    def _with_losers(
        self, stored: StoredSound | AudioPoolError, action: actions.Store, inputs: JobInputs, client: str | None
    ) -> StoredSound | AudioPoolError:
        """Keep the candidates that were not chosen; nobody's, and those of a sound that is lost, go at once."""
        if isinstance(stored, AudioPoolError) or client is None:
            self._delivery.unlink([path for one in action.losers for path in _files_of(one)])
            return stored
        losers = [
            (one.sound, by_space({**action.vectors, **one.vectors}, self._config)) for one in action.losers
        ]
        number = self.candidates.take(
            losers,
            client=client,
            namespace=inputs.recipe.namespace,
            rendition=inputs.resolved.rendition,
            entry=stored.metadata.entry_id,
            tried=action.tried,
            rounds=action.rounds,
        )
        return msgspec.structs.replace(stored, candidates=number)

    def _discard(self, job: int, result: TaskResult) -> None:
        self._tasks.release(job, result)
        match result:
            case MasteredSound():
                paths = _files_of(result)
            case Rendered():
                paths = [result.path]
            case _:
                return
        self._delivery.unlink(paths)

    def _reply(self, action: actions.SendReply) -> None:
        number = action.request
        open_request = self._requests.get(number)
        if open_request is None:
            return
        open_request.marks = action.marks
        if "total" in action.times_ms:
            self._telemetry.timing("request_seconds", action.times_ms["total"] / 1000, kind=action.kind)
        value = action.value
        if value is None:
            self._requests.finish(number, Reply(kind=action.kind, failure=action.failure))
            return
        if isinstance(value, CallReply):
            self._requests.finish(number, Reply(kind="result", body=value.called))
            return
        resolved = open_request.sound
        match value:
            case StoredSound():
                path, stored = value.path, value.metadata
                told = stored
            case HitFile():
                path, stored = value.path or value.master, value.metadata
                told = as_delivered(stored, resolved.rendition, rendition_report(stored, resolved.rendition))
            case RenderedHit():
                path, stored = value.path, value.hit.metadata
                told = as_delivered(stored, resolved.rendition, value.report)
        self._count_answer(value, stored, action.cache_type, resolved)
        self.on_answer(resolved, open_request.caller)
        metadata = result_metadata(
            told,
            resolved,
            open_request.sink.request_id,
            cache_type=action.cache_type,
            times_ms=action.times_ms,
            warnings=(*resolved.warnings, *action.warnings),
        )
        metadata = told_in_time(metadata, action, self._requests)
        if resolved.request.keep_candidates:
            kept = value.candidates if isinstance(value, StoredSound) else 0
            metadata = self.candidates.told(metadata, kept, open_request.caller, open_request.sink.request_id)
        if isinstance(value, RenderedHit):
            later, caller = self._later(number), open_request.caller
            self._delivery.deliver_rendered(
                value.hit, resolved, path, metadata, later, roots=caller.output_roots, client=caller.client
            )
            return
        self._deliver(number, open_request, path, metadata)

    def _forget(self, action: actions.ForgetRequest) -> None:
        """Forget a part of a request; a rendition that was made for it is there for who asks next."""
        asked = self._requests.forget(action.request)
        if asked is not None and action.made is not None:
            made = action.made
            self._delivery.keep_rendition(made.hit, asked.sound, made.path)

    def answer_hit(
        self, number: int, asked: OpenRequest, hit: Hit, path: str, metadata: SoundMetadata, took_ms: float
    ) -> None:
        """Answer a request with a kept sound as it is asked for, without a job; a bug on the way is an answer, too.

        Args:
            metadata: complete.
        """
        try:
            self._telemetry.timing("request_seconds", took_ms / 1000, kind="result")
            kind, resolved = hit.cache_type, asked.sound
            self.cache_types[kind] += 1
            self._telemetry.count("hits", cache_type=kind)
            if self._cache is not None:
                self._cache.current.usage.answered(kind, hit.metadata.timings_ms.generate / 1000, hit.entry.id)
            self.on_answer(resolved, asked.caller)
            if resolved.request.keep_candidates:
                metadata = self.candidates.told(metadata, 0, asked.caller, asked.sink.request_id)
            self._deliver(number, asked, path, metadata)
        except BaseException as exc:  # as in ``execute``
            log.exception("answering with a kept sound met a bug")
            failure = Failure.of(exc if isinstance(exc, AudioPoolError) else AudioPoolError(_BUG))
            self._requests.finish(number, Reply(kind="error", failure=failure))

    def _deliver(self, number: int, asked: OpenRequest, path: str, metadata: SoundMetadata) -> None:
        later, caller = self._later(number), asked.caller
        reply = self._delivery.deliver(
            asked.sound.request, path, metadata, later,
            roots=caller.output_roots, client=caller.client, known=asked.known,
        )  # fmt: skip
        if reply is not None:
            self._finish(number, reply)

    def _finish(self, number: int, reply: Reply) -> None:
        """Send the final reply, after all parts of the sound where they are wanted."""
        asked = self._requests.get(number)
        if asked is None or asked.feed is None or reply.kind != "result":
            self._requests.finish(number, reply)
            return
        client = asked.caller.client
        self.catching_up.finish(number, asked.feed, reply, client, lambda told: self._requests.finish(number, told))

    def _later(self, number: int) -> Callable[[Reply], None]:
        return lambda reply: self._inbox.post(lambda: self._finish(number, reply))

    def _count_answer(
        self,
        value: StoredSound | HitFile | RenderedHit,
        stored: SoundMetadata,
        cache_type: CacheType | None,
        resolved: ResolvedRequest,
    ) -> None:
        kind = cache_type or stored.cache_type
        self.cache_types[kind] += 1
        self._telemetry.count("hits", cache_type=kind)
        if self._cache is None or resolved.request.force:  # nothing was looked for
            return
        usage, spent_s = self._cache.current.usage, stored.timings_ms.generate / 1000
        match value:
            case StoredSound() if kind == "joined":
                usage.answered(kind, spent_s, stored.entry_id)
            case StoredSound():
                usage.answered(kind)
                usage.missed(resolved.recipe.namespace, resolved.recipe.prompt)
            case HitFile(entry=entry) | RenderedHit(hit=HitFile(entry=entry)):
                usage.answered(kind, spent_s, entry)


def _ignore(*_: int | str | ResolvedRequest | Caller | actions.TellLease | actions.TellWorker) -> None:
    """Do nothing: nobody wants to be told."""


def _nothing(_: Sequence[int]) -> None:
    """Say that nothing is."""


def _files_of(made: MasteredSound) -> list[str]:
    """Return the files of a sound and of what was finished beside it."""
    own = [path for path in (made.sound.path, made.sound.delivered_path) if path is not None]
    return own + [path for one in made.others for path in _files_of(one)]


def _kind(work: TaskWork) -> str:
    """Return a task's name for telemetry."""
    if isinstance(work, CallWork):
        return str(work.task.__struct_config__.tag)
    return str(work.__struct_config__.tag)
