"""Carries out tasks: a task in, engines at work, results out.

Owns: the engines of one worker and how each task is carried out with them.
Must not know: sockets, threads, the pool.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np

from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.engines import (
    Audio,
    OnStep,
)
from audio_pool.errors import (
    AudioPoolError,
    DeviceLost,
    EngineUnavailable,
    QualityError,
    StorageError,
    WorkerError,
)
from audio_pool.reports import Timings, WorkerReport
from audio_pool.results import Failure, SoundMetadata
from audio_pool.tasks import (
    Called,
    CandidateRef,
    ClapTask,
    CraftTask,
    DrawTask,
    EchoTask,
    Embedded,
    EmbedTask,
    GeneratePart,
    GenerateTask,
    Grant,
    MasteredSound,
    MasteringSpec,
    MasterTask,
    Provenance,
    RawSounds,
    Rejected,
    RenderTask,
    TaskResult,
    TraceTask,
)
from audio_pool.transport.tensors import HEADER_BYTES, SlotReader, SlotWriter, from_frames, to_frames
from audio_pool.transport.worker_messages import Load
from audio_pool.types import Recipe
from audio_pool.worker.batching import generate_halving
from audio_pool.worker.checked import (
    check_received,
    unusable,
)
from audio_pool.worker.crafting import crafted
from audio_pool.worker.drawing import drawn
from audio_pool.worker.hearing import heard
from audio_pool.worker.hosted import HostedEngines
from audio_pool.worker.mastering import AllRejected, Finished, Mastering, score_of
from audio_pool.worker.memory import Peak
from audio_pool.worker.planned import Planned, plan_of
from audio_pool.worker.recognizing import traced
from audio_pool.worker.rendering import rendered
from audio_pool.worker.sealing import Sealing
from audio_pool.worker.shaping import RawCandidate
from audio_pool.worker.stream_mastering import Samples
from audio_pool.worker.streaming import Streamed, streamed

__all__ = ["Generated", "Outcome", "TaskRunner"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a task came to: a result per job, and binary frames that go with them."""

    results: dict[int, TaskResult]
    frames: list[bytes | memoryview] = field(default_factory=list)
    unwritable: tuple[int, ...] = ()
    """Generations of granted slots that could not be written."""
    files: tuple[str, ...] = ()
    """Paths in the results whose bytes are the last frames."""


@dataclass(kw_only=True)
class Generated:
    """The raw candidates of one part, or why there are none."""

    part: GeneratePart
    made: Provenance | None = None
    candidates: list[RawCandidate] = field(default_factory=list)
    failure: Failure | None = None


class TaskRunner:
    """The engines of one worker. ``generate`` may run beside everything else, nothing beside itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.engines = HostedEngines(name)
        self._mastering: Mastering | None = None
        self._max_input_s = 600.0
        self._writer: SlotWriter | None = None
        self._reader: SlotReader | None = None

    def load(self, load: Load) -> tuple[str, ...]:
        """Load all but the encoders, whose names are returned for ``load_encoders``. Raises what the first raises."""
        self._max_input_s = load.max_input_s
        if load.arena:
            self._writer, self._reader = SlotWriter(load.arena), SlotReader(load.arena)
        encoders = self.engines.load(load)
        if "master" in load.roles:
            self._mastering = Mastering()
        return encoders

    # -- generate ----------------------------------------------------------------------------------

    def generate(self, task: GenerateTask, on_step: OnStep) -> list[Generated]:
        """Generate raw candidates for every part in one batch; a part that cannot be generated says why."""
        engine, info = self.engines.generator(task.engine), self.engines.infos[task.engine]
        started, peak = time.monotonic(), Peak(engine.device)
        generated: list[Generated] = []
        planned: list[list[Planned]] = []
        for part in task.parts:
            one = Generated(part=part)
            generated.append(one)
            try:
                planned.append(plan_of(engine, info, part, self._max_input_s))
                one.made = self._provenance(info, planned[-1][0].notes)
            except AudioPoolError as exc:
                one.failure = Failure.of(exc)
                planned.append([])
        items = [plan.item for plans in planned for plan in plans]
        sounds, warnings, most = generate_halving(engine, items, on_step) if items else ([], [], 1)
        shared = iter(engine.shared(items))
        elapsed_ms = round((time.monotonic() - started) * 1000, 3)
        worker = self._report(peak)
        rest = iter(sounds)
        for one, plans in zip(generated, planned, strict=True):
            one.candidates = [_raw(info, next(rest), plan) for plan in plans]
            together = max(itertools.islice(shared, len(plans)), default=1)
            one.failure = one.failure or _all_unusable(info, one.candidates)
            if one.failure is not None:
                one.made, one.candidates = None, []
            if one.made is not None:
                one.made = msgspec.structs.replace(
                    one.made,
                    worker=worker,
                    generate_ms=elapsed_ms,
                    # what ran: an engine parts what cannot share a pass, and memory may have parted it again
                    batch_size=min(most, together),
                    warnings=(*one.made.warnings, *warnings),
                )
        return generated

    def _provenance(self, info: EngineInfo, notes: Notes) -> Provenance:
        return Provenance(
            engine=info.name,
            implementation=info.implementation,
            model=info.model,
            model_revision=info.model_revision,
            dtype=info.dtype,
            quantization=info.quantization,
            licence=info.licence,
            commercial_use=info.commercial_use,
            speech=info.speech,
            bandwidth_hz=info.bandwidth_hz,
            gated=info.gated,
            engine_details=notes.details,
            worker=WorkerReport(id=self.name, device=self.engines.device),
            warnings=notes.warnings,
        )

    def _report(self, peak: Peak) -> WorkerReport:
        most = peak.bytes()
        return WorkerReport(
            id=self.name, device=self.engines.device, peak_memory_bytes=msgspec.UNSET if most is None else most
        )

    def stream(self, task: GenerateTask, on_step: OnStep, emit: Callable[[Samples], None]) -> Streamed:
        """Generate and master a task's one sound while its samples are passed on; ``finish_stream`` does the rest.

        Raises:
            EngineUnavailable: this worker's interpreter cannot master.
        """
        if self._mastering is None:  # without the role, too: the samples leave from where they are made
            self._mastering = Mastering()
        peak = Peak(self.engines.device)
        sound = streamed(
            self.engines.generator(task.engine),
            self.engines.infos[task.engine],
            task.parts[0],
            max_input_s=self._max_input_s,
            provenance=lambda notes: self._provenance(self.engines.infos[task.engine], notes),
            on_step=on_step,
            emit=emit,
        )
        if sound.made is None:
            return sound
        return replace(sound, made=msgspec.structs.replace(sound.made, worker=self._report(peak)))

    # -- hand-over ---------------------------------------------------------------------------------

    def hand_over(self, generated: Sequence[Generated], grants: Sequence[Grant], request_id: str) -> Outcome:
        """Hand candidates over for another worker to master: in granted slots, inline where there is no room."""
        free = list(grants)
        frames: list[bytes | memoryview] = []
        unwritable: list[int] = []
        results: dict[int, TaskResult] = {}
        for one in generated:
            if one.made is None:
                results[one.part.job] = Rejected(failure=one.failure or Failure())
                continue
            candidates = tuple(self._handed(raw, free, frames, unwritable, request_id) for raw in one.candidates)
            results[one.part.job] = RawSounds(candidates=candidates, made=one.made)
        return Outcome(results=results, frames=frames, unwritable=tuple(unwritable))

    def prepare(self, grants: Sequence[Grant]) -> None:
        """Create the slots that do not exist yet, so that handing over has nothing left to allocate."""
        for grant in grants:
            if grant.fresh and self._writer is not None:
                with contextlib.suppress(StorageError):  # met again, and answered, when it is written
                    self._writer.prepare(grant)

    def _handed(
        self,
        raw: RawCandidate,
        free: list[Grant],
        frames: list[bytes | memoryview],
        unwritable: list[int],
        request_id: str,
    ) -> CandidateRef:
        reference = CandidateRef(seed=raw.seed, sample_rate=raw.sample_rate, looped=raw.looped, notes=raw.notes)
        grant = next((grant for grant in free if grant.slot_bytes >= raw.audio.nbytes + HEADER_BYTES), None)
        if grant is not None and self._writer is not None:
            free.remove(grant)
            try:
                tensor = self._writer.write(grant, np.ascontiguousarray(raw.audio), request_id)
                return msgspec.structs.replace(reference, tensor=tensor)
            except StorageError as exc:
                log.warning("a sound travels inline: %s", exc)
                unwritable.append(grant.generation)
        frame = len(frames)
        frames.extend(to_frames(raw.audio, request_id))
        return msgspec.structs.replace(reference, frame=frame)

    def _received(
        self, task: MasterTask, frames: Sequence[bytes], borrowed: contextlib.ExitStack
    ) -> list[RawCandidate]:
        """Return the candidates, as views into their slots for as long as ``borrowed`` is open."""
        received = []
        for reference in task.candidates:
            if reference.tensor is None:
                audio = from_frames(frames[reference.frame], frames[reference.frame + 1])
            else:
                assert self._reader is not None, "a reference into an arena that Load did not name"
                audio = borrowed.enter_context(self._reader.borrow(reference.tensor))
            check_received(audio, reference.sample_rate, task.mastering.shape)
            received.append(
                RawCandidate(
                    audio=audio,
                    sample_rate=reference.sample_rate,
                    seed=reference.seed,
                    looped=reference.looped,
                    notes=reference.notes,
                )
            )
        return received

    # -- master ------------------------------------------------------------------------------------

    def master_generated(self, generated: Sequence[Generated]) -> Outcome:
        """Shape, judge and master what this worker generated."""
        results: dict[int, TaskResult] = {}
        for one in generated:
            if one.made is None:
                results[one.part.job] = Rejected(failure=one.failure or Failure())
            else:
                results[one.part.job] = self._mastered(one.part.recipe, one.part.mastering, one.candidates, one.made)
        return Outcome(results=results)

    def master(self, task: MasterTask, frames: Sequence[bytes]) -> Outcome:
        """Shape, judge and master what another worker generated."""
        with contextlib.ExitStack() as borrowed:
            try:
                candidates = self._received(task, frames, borrowed)
            except AudioPoolError as exc:
                giver = task.made.worker.id
                raise WorkerError(f"worker {giver!r} handed over what is no sound: {exc}") from exc
            return Outcome(results={task.job: self._mastered(task.recipe, task.mastering, candidates, task.made)})

    def finish_stream(self, sound: Streamed) -> Outcome:
        """Judge, measure and write a sound that has been sent."""
        if sound.made is None or sound.mastering is None:
            return Outcome(results={sound.part.job: Rejected(failure=sound.failure or Failure())})
        mastering, metadata = sound.mastering, _told_of(sound.part.recipe, sound.part.mastering, sound.made)
        result = _result(lambda: mastering.finish(metadata, self.engines.first_scorer))
        return Outcome(results={sound.part.job: result})

    def _mastered(
        self, recipe: Recipe, spec: MasteringSpec, candidates: Sequence[RawCandidate], made: Provenance
    ) -> MasteredSound | Rejected:
        metadata = _told_of(recipe, spec, made)
        return _result(
            lambda: self._master().finish(
                candidates,
                recipe=recipe,
                shape=spec.shape,
                rendition=spec.rendition,
                directory=Path(spec.directory),
                spill=Path(spec.spill) if spec.spill else None,
                name=spec.name,
                metadata=metadata,
                scorer=self.engines.first_scorer,
                tau_accept_new=spec.tau_accept_new,
                min_quality=spec.min_quality,
                deliver_best=spec.deliver_best,
                gated=made.gated,
                keep=spec.keep,
                fingerprint=spec.fingerprint,
                sealing=Sealing.begun(spec.seal, spec.given, recipe.init_audio_sha256),
            )
        )

    # -- small tasks -------------------------------------------------------------------------------

    def echo(self, task: EchoTask) -> Outcome:
        """Return the payload as it came."""
        return Outcome(results={task.job: Called(body={"payload": task.payload})})

    def embed_ahead(self, tasks: Sequence[EmbedTask]) -> None:
        """Encode the texts of tasks that came together in one call, so that each is then answered from what is kept."""
        for engine in {task.engine for task in tasks}:
            texts = [task.text for task in tasks if task.engine == engine]
            if len(texts) > 1:
                # what is wrong with one of them is said when its own turn comes
                with contextlib.suppress(Exception):
                    self.engines.embedded(engine, texts)

    def embed(self, task: EmbedTask) -> Outcome:
        """Return the text's vector."""
        vector = self.engines.embedded(task.engine, [task.text])[0]
        return Outcome(results={task.job: Embedded(vectors={task.engine: _float32_bytes(vector)})})

    def render(self, task: RenderTask) -> Outcome:
        """Write the rendition of a kept master."""
        return Outcome(results={task.job: rendered(self._master(), task)})

    def draw(self, task: DrawTask) -> Outcome:
        """Draw a kept master."""
        drawn(Path(task.master), task.picture, Path(task.out), task.title)
        return Outcome(results={task.job: Called(body={"path": task.out})})

    def craft(self, task: CraftTask) -> Outcome:
        """Work on sounds that were given."""
        report = crafted(task, self._max_input_s)
        return Outcome(results={task.job: Called(body=msgspec.to_builtins(report))})

    def trace(self, task: TraceTask) -> Outcome:
        """Read a file whose origin is asked for, or compare it with kept sounds."""
        return Outcome(results={task.job: Called(body=traced(task))})

    def clap(self, task: ClapTask) -> Outcome:
        """Return vectors, similarities, or labels with scores, for texts and files."""
        body = heard(self.engines.scorer(task.engine), task, self._max_input_s)
        return Outcome(results={task.job: Called(body=body)})

    def _master(self) -> Mastering:
        if self._mastering is None:
            raise EngineUnavailable(f"worker {self.name!r} does not have the role 'master'")
        return self._mastering


def _raw(info: EngineInfo, audio: Audio, plan: Planned) -> RawCandidate:
    audio, rate = plan.restored(audio), plan.made_at(info)
    return RawCandidate(audio=audio, sample_rate=rate, seed=plan.item.seed, looped=plan.looped, notes=plan.notes)


def _all_unusable(info: EngineInfo, candidates: Sequence[RawCandidate]) -> Failure | None:
    """Return why there is nothing to choose from; of several candidates the quality gate leaves out the useless."""
    found = []
    for raw in candidates:
        if not (wrong := unusable(raw.audio)):
            return None
        found.append(wrong)
    if not found:
        return None
    each = "; ".join(f"seed {raw.seed}: {why}" for raw, why in zip(candidates, found, strict=True))
    return Failure.of(QualityError(f"engine {info.name!r} returned no sound ({each})", hint="ask for other seeds"))


def _told_of(recipe: Recipe, spec: MasteringSpec, made: Provenance) -> SoundMetadata:
    """Return what is known of a sound before it is mastered."""
    return msgspec.structs.replace(
        spec.metadata,
        engine=made.engine,
        implementation=made.implementation,
        model=made.model,
        model_revision=made.model_revision,
        dtype=made.dtype,
        quantization=made.quantization,
        licence=made.licence,
        commercial_use=made.commercial_use,
        speech=made.speech,
        # what came from a given sound is not bounded by what the model makes
        bandwidth_hz=None if recipe.init_audio_sha256 else made.bandwidth_hz,
        engine_details=made.engine_details,
        worker=made.worker,
        batch_size=made.batch_size,
        timings_ms=Timings(generate=made.generate_ms),
        warnings=(*spec.metadata.warnings, *made.warnings),
    )


def _result(finish: Callable[[], Finished]) -> MasteredSound | Rejected:
    """Return what finishing a sound comes to. Raises DeviceLost: a scorer's, and not this sound's fault."""
    try:
        finished = finish()
    except AllRejected as exc:
        return Rejected(failure=Failure.of(exc), tried=exc.tried)
    except DeviceLost:
        raise
    except AudioPoolError as exc:
        return Rejected(failure=Failure.of(exc))
    return _mastered_sound(finished)


def _mastered_sound(finished: Finished) -> MasteredSound:
    report = finished.sound.metadata
    return MasteredSound(
        sound=finished.sound,
        score=score_of(report),
        tried=report.candidates,
        vectors={name: _float32_bytes(vector) for name, vector in finished.vectors.items()},
        others=tuple(map(_mastered_sound, finished.others)),
    )


def _float32_bytes(vector: Audio) -> bytes:
    return np.ascontiguousarray(vector, np.float32).tobytes()
