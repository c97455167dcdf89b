"""Tasks with their seeds, slots and files, and the slots and inline frames of their results.

Owns: what is known of a job while it is produced, and the leases and inline frames of sounds between workers.
Must not know: when a task is sent and what its result means (scheduler), sockets, the cache's look-ups.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from audio_pool.engine_info import EngineInfo
from audio_pool.errors import BadMessage, WorkerError
from audio_pool.pool.metadata import has_sound_of_master, new_metadata
from audio_pool.pool.requests import OpenRequest
from audio_pool.pool.resolve import ResolvedRequest, derived_seed
from audio_pool.pool.sent_audio import SentAudio
from audio_pool.results import Failure
from audio_pool.scheduler.actions import SendTask
from audio_pool.scheduler.work import (
    CallWork,
    EmbedWork,
    GenerateWork,
    JobRound,
    LoadWork,
    MasterWork,
    RenderWork,
    UnloadWork,
)
from audio_pool.tasks import (
    Called,
    CandidateRef,
    Embedded,
    EmbedTask,
    EngineSetup,
    GeneratePart,
    GenerateTask,
    Grant,
    LoadTask,
    MasteredSound,
    MasteringSpec,
    MasterTask,
    RawSounds,
    Rejected,
    RenderTask,
    Task,
    TaskResult,
    UnloadTask,
)
from audio_pool.transport.arena import Arena
from audio_pool.types import Recipe

__all__ = ["BuiltTask", "JobInputs", "TaskBuilder"]

log = logging.getLogger(__name__)

POOL = "pool"
"""Holder of slots that no worker holds."""


class JobInputs(Struct, frozen=True, kw_only=True):
    """What is known of a job: fixed at its first task, so that rounds and retries agree."""

    resolved: ResolvedRequest
    recipe: Recipe
    """With the base seed drawn."""
    request_id: str


class BuiltTask(Struct, frozen=True, kw_only=True):
    """A task, the slots granted to it, and binary frames that go with it."""

    task: Task
    grants: tuple[Grant, ...] = ()
    frames: Sequence[bytes | memoryview] = []
    request_ids: tuple[str, ...] = ()


class TaskBuilder:
    """Router's thread only."""

    def __init__(
        self,
        arena: Arena,
        infos: Mapping[str, EngineInfo],
        incoming: Callable[[], Path],
        spill: Path,
        requests: Mapping[int, OpenRequest],
        sent: SentAudio,
        fingerprint: bool = True,
    ) -> None:
        """
        Args:
            infos: of the engines that workers host.
            incoming: gives the directory that finished files are written to first.
            spill: where they are written when that one takes none.
            requests: those that are not answered yet.
            sent: sounds that came with requests; a job's is kept until the job has ended.
            fingerprint: have one made of each sound.
        """
        self.setups: dict[str, EngineSetup] = {}
        """Of engines that came after the workers were started, by what they are filed under."""
        self.is_remote: Callable[[str], bool] = lambda worker: False
        """Whether a worker is on another machine: it has no slots, and hands over inline."""
        self._arena = arena
        self._infos = infos
        self._incoming = incoming
        self._spill = str(spill)
        self._fingerprint = fingerprint
        self._requests = requests
        self._sent = sent
        self._inputs: dict[int, JobInputs] = {}
        self._granted: dict[int, tuple[str, tuple[Grant, ...]]] = {}
        """By task, until it ends: the holder and the slots."""
        self._frames: dict[tuple[int, int], Sequence[bytes | memoryview]] = {}
        """Inline tensors on their way from the worker that generated them to the one that masters, by (job, task)."""

    def inputs(self, job: int) -> JobInputs:
        """Return what is known of a job whose first task has been sent."""
        return self._inputs[job]

    def makes_loop(self, job: int) -> bool:
        """Return True if the job is known, and its sound a loop."""
        known = self._inputs.get(job)
        return known is not None and known.resolved.recipe.loop

    # -- building ----------------------------------------------------------------------------------

    def build(self, action: SendTask) -> BuiltTask:
        """Return the task that a worker is to be sent."""
        work = action.work
        match work:
            case GenerateWork():
                return self._generate(action, work)
            case MasterWork():
                return self._master(action, work)
            case EmbedWork():
                open_request = self._requests[work.request]
                text = open_request.sound.recipe.prompt
                task = EmbedTask(job=work.job, engine=work.encoder, text=text)
                return BuiltTask(task=task, request_ids=(open_request.sink.request_id,))
            case RenderWork():
                return BuiltTask(task=self._render(work), request_ids=self._ids(work.request))
            case LoadWork():
                return BuiltTask(task=LoadTask(engine=work.engine, setup=self.setups.get(work.engine)))
            case UnloadWork():
                return BuiltTask(task=UnloadTask(engine=work.engine))
            case CallWork():
                return BuiltTask(task=msgspec.structs.replace(work.task, job=work.job))

    def _generate(self, action: SendTask, work: GenerateWork) -> BuiltTask:
        parts = []
        grants: list[Grant] = []
        for one in work.jobs:
            inputs = self._begun(one)
            recipe = inputs.recipe
            seeds = [derived_seed(recipe.seed or 0, one.round, number) for number in range(recipe.candidates)]
            parts.append(
                GeneratePart(
                    job=one.job,
                    recipe=recipe,
                    seeds=seeds,
                    mastering=self._mastering(inputs, one.round, one.keep),
                    init_audio=inputs.resolved.request.init_audio,
                    strict=inputs.resolved.request.strict,
                )
            )
            if not work.master_here and not self.is_remote(action.worker):
                grants += self._grants(inputs, _holder(action))
        if grants:
            self._granted[action.task] = _holder(action), tuple(grants)
        engine = work.engine or parts[0].recipe.engine
        task = GenerateTask(engine=engine, parts=parts, master_here=work.master_here, stream=work.stream)
        ids = tuple(name for one in work.jobs for name in self._ids(one.request))
        return BuiltTask(task=task, grants=tuple(grants), request_ids=ids)

    def _begun(self, one: JobRound) -> JobInputs:
        """Return a job's inputs, fixing them at its first task: the seed is drawn here."""
        inputs = self._inputs.get(one.job)
        if inputs is None:
            open_request = self._requests[one.request]
            resolved = open_request.sound
            recipe = resolved.recipe
            if recipe.seed is None:
                info = self._infos[recipe.engine]
                # as if this seed had been asked for: who asks for it later gets this very sound
                recipe = msgspec.structs.replace(
                    recipe, seed=secrets.randbits(63), dtype=info.dtype, quantization=info.quantization
                )
            inputs = JobInputs(resolved=resolved, recipe=recipe, request_id=open_request.sink.request_id)
            self._inputs[one.job] = inputs
            self._sent.hold(resolved.request.init_audio)
        return inputs

    def _mastering(self, inputs: JobInputs, round_: int, keep: bool) -> MasteringSpec:
        resolved = inputs.resolved
        return MasteringSpec(
            shape=resolved.shape,
            rendition=resolved.rendition,
            directory=str(self._incoming()),
            spill=self._spill,
            name=f"{inputs.recipe.identity()[:12]}-{round_}-{secrets.token_hex(4)}",
            tau_accept_new=resolved.tau_accept_new,
            min_quality=resolved.min_quality,
            deliver_best=resolved.deliver_best,
            keep=keep,
            fingerprint=self._fingerprint,
            seal=resolved.seal,
            given=(resolved.request.init_audio or "") if resolved.carries else "",
            metadata=new_metadata(resolved, inputs.request_id, inputs.recipe.seed or 0, time.time()),
        )

    def _grants(self, inputs: JobInputs, holder: str) -> list[Grant]:
        """Lease one slot per candidate; where there is no room, fewer: the rest travels inline."""
        recipe = inputs.recipe
        info = self._infos[recipe.engine]
        seconds = recipe.duration_s + (inputs.resolved.shape.tail_s if recipe.loop else 0.0)
        rate = recipe.sample_rate if info.any_rate else info.sample_rate
        payload = (round(seconds * rate) + 4096) * max(1, info.channels or 2) * 4
        grants = []
        for _ in range(recipe.candidates):
            grant = self._arena.lease(payload, holder)
            if grant is None:
                break
            grants.append(grant)
        return grants

    def _master(self, action: SendTask, work: MasterWork) -> BuiltTask:
        inputs = self._inputs[work.job]
        for candidate in work.raw.candidates:
            if candidate.tensor is not None:
                self._arena.transfer(candidate.tensor, POOL, _holder(action))
        task = MasterTask(
            job=work.job,
            recipe=inputs.recipe,
            mastering=self._mastering(inputs, work.round, work.keep),
            candidates=work.raw.candidates,
            made=work.raw.made,
        )
        frames = self._frames.get((work.job, work.raw.inline), [])
        return BuiltTask(task=task, frames=frames, request_ids=(inputs.request_id,))

    def _render(self, work: RenderWork) -> RenderTask:
        sound = self._requests[work.request].sound
        rendition = sound.rendition
        name = f"render-{work.hit.entry}-{secrets.token_hex(6)}.{rendition.format}"
        return RenderTask(
            job=work.job,
            master=work.hit.master,
            out=str(self._incoming() / name),
            spill=self._spill,
            rendition=rendition,
            loop=work.hit.metadata.is_loop,
            comment=work.hit.comment,
            retold=has_sound_of_master(work.hit.metadata, rendition),
            seal=sound.seal,
        )

    def _ids(self, request: int) -> tuple[str, ...]:
        open_request = self._requests.get(request)
        return (open_request.sink.request_id,) if open_request is not None else ()

    # -- results -----------------------------------------------------------------------------------

    def take_outputs(
        self,
        task: int,
        holder: str,
        results: Mapping[int, TaskResult],
        frames: Sequence[bytes | memoryview],
        unwritable: Sequence[int] = (),
    ) -> Mapping[int, TaskResult]:
        """Take over the slots and frames that results refer to, until a mastering worker gets them; free the rest.

        Args:
            holder: worker and incarnation that held the slots.
            unwritable: generations of granted slots that could not be created.

        Returns:
            The results, ``results`` itself where they refer to nothing; raw sounds say which task's frames hold
            their inline tensors. A job whose candidates refer to what is not there is rejected, and no other.
        """
        if task not in self._granted and all(type(result) is Called for result in results.values()):
            return results
        used: set[int] = set()
        taken: dict[int, TaskResult] = {}
        for job, result in results.items():
            try:
                match result:
                    case RawSounds():
                        result = self._take_raw(job, task, holder, result, frames)
                        used |= {one.tensor.generation for one in result.candidates if one.tensor is not None}
                    case Embedded():
                        _check_vectors(result.vectors)
                    case MasteredSound():
                        result = _without_odd_vectors(result, holder)
            except BadMessage as exc:
                worker = holder.rpartition(":")[0]
                log.error("worker %s: %s", worker, exc)
                result = Rejected(failure=Failure.of(WorkerError(f"worker {worker!r}: {exc}")))
            taken[job] = result
        for grant in self._granted.pop(task, ("", ()))[1]:
            if grant.generation not in used:
                self._arena.release(grant, unwritable=grant.generation in unwritable)
        return taken

    def _take_raw(
        self, job: int, task: int, holder: str, raw: RawSounds, frames: Sequence[bytes | memoryview]
    ) -> RawSounds:
        """Take over what the candidates of one job refer to, all of it or nothing.

        Raises:
            BadMessage: the worker does not hold a slot, or a frame did not come.
        """
        _check_frames(raw.candidates, frames)
        tensors = [one.tensor for one in raw.candidates if one.tensor is not None]
        for number, tensor in enumerate(tensors):
            try:
                self._arena.transfer(tensor, holder, POOL)
            except BadMessage:
                for transferred in tensors[:number]:
                    self._arena.release(transferred)
                raise
        inline = len(tensors) < len(raw.candidates)
        if inline:
            self._frames[job, task] = frames
        return msgspec.structs.replace(raw, inline=task if inline else 0)

    def release(self, job: int, result: TaskResult) -> None:
        """Give back the slots and frames of a result that nobody wants."""
        if isinstance(result, RawSounds):
            for tensor in (one.tensor for one in result.candidates if one.tensor is not None):
                self._arena.release(tensor)
            self._frames.pop((job, result.inline), None)

    def forget(self, job: int) -> None:
        """Forget a job that has ended."""
        inputs = self._inputs.pop(job, None)
        if inputs is not None:
            self._sent.release(inputs.resolved.request.init_audio)

    def worker_exited(self, holder: str) -> None:
        """Take back the slots of a process that is gone for sure."""
        self._arena.reclaim(holder)
        self._granted = {task: granted for task, granted in self._granted.items() if granted[0] != holder}


def _holder(action: SendTask) -> str:
    return f"{action.worker}:{action.incarnation}"


def _check_vectors(vectors: Mapping[str, bytes]) -> None:
    """Raise BadMessage for a vector that is not a whole number of float32."""
    for name, vector in vectors.items():
        if not vector or len(vector) % 4:
            raise BadMessage(f"a vector of {name!r} with {len(vector)} bytes, which is no float32 [D]")


def _without_odd_vectors(result: MasteredSound, holder: str) -> MasteredSound:
    """The sound without vectors that are none: they cost it being found by meaning, not its caller the sound."""
    if result.others:
        others = tuple(_without_odd_vectors(one, holder) for one in result.others)
        result = msgspec.structs.replace(result, others=others)
    try:
        _check_vectors(result.vectors)
    except BadMessage as exc:
        log.error("worker %s: %s", holder.rpartition(":")[0], exc)
        return msgspec.structs.replace(result, vectors={})
    return result


def _check_frames(candidates: Sequence[CandidateRef], frames: Sequence[bytes | memoryview]) -> None:
    """Raise BadMessage for a candidate whose inline tensor did not come."""
    for one in candidates:
        if one.tensor is None and not 0 <= one.frame < len(frames) - 1:
            raise BadMessage(f"a candidate refers to frame {one.frame} of {len(frames)}")
