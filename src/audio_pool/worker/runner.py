"""What a worker does: tasks in, engines at work, results out.

Owns: the engines of one worker and how each task is carried out with them.
Must not know: sockets, threads, jobs, the pool.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.engines import Item, OnStep, load_engine
from audio_pool.errors import AudioPoolError, EngineUnavailable, InvalidAudio, StorageError
from audio_pool.results import SoundMetadata
from audio_pool.tasks import Grant, TensorRef
from audio_pool.transport import client_messages, worker_messages
from audio_pool.transport.tensors import HEADER_BYTES, SlotReader, SlotWriter, from_frames, to_frames
from audio_pool.types import Recipe, Shape
from audio_pool.validation import parse
from audio_pool.worker.batching import generate_halving
from audio_pool.worker.mastering import Mastering

__all__ = ["Made", "Workshop"]

log = logging.getLogger(__name__)


@dataclass
class Made:
    """The raw candidates of one part, or why there are none."""

    part: worker_messages.MakePart
    metadata: SoundMetadata = field(default_factory=dict)
    candidates: list[Any] = field(default_factory=list)
    """mastering.RawCandidate"""
    error: AudioPoolError | None = None


class Workshop:
    """The engines of one worker. ``make`` may run beside everything else, nothing beside itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.device = "cpu"
        self.engines: dict[str, Any] = {}
        self.infos: dict[str, EngineInfo] = {}
        self.mastering: Mastering | None = None
        self._writer: SlotWriter | None = None
        self._reader: SlotReader | None = None

    def load(self, load: worker_messages.Load) -> None:
        """Loads every engine. Raises what the first that fails raises."""
        if load.arena:
            self._writer, self._reader = SlotWriter(load.arena), SlotReader(load.arena)
        for name, settings in load.engines.items():
            started = time.monotonic()
            engine = load_engine(name, **settings)
            self.engines[name] = engine
            # checked here, where its author hears of it: the router would only wonder why nobody is ready
            info = msgspec.to_builtins(engine.info)
            self.infos[name] = parse(EngineInfo, info, error=EngineUnavailable, what=f"INFO of engine {name!r}")
            self.device = str(getattr(engine, "device", None) or self.device)
            log.info("loaded %s in %.2f s", name, time.monotonic() - started)
        self._share_encoder()
        if "master" in load.roles:
            self.mastering = Mastering()

    def _share_encoder(self) -> None:
        """Engines that can read a prompt by its meaning do so with the embedder that is here anyway."""
        encoder = next((self.engines[name] for name, info in self.infos.items() if info.role == "embedder"), None)
        for engine in self.engines.values() if encoder is not None else ():
            if hasattr(engine, "use_encoder"):
                engine.use_encoder(encoder)

    # -- make --------------------------------------------------------------------------------------

    def make(self, task: worker_messages.MakeTask, on_step: OnStep) -> list[Made]:
        """Raw candidates for every part, all in one batch; a part that cannot be made says why."""
        engine = self._engine(task.engine)
        started = time.monotonic()
        made: list[Made] = []
        items: list[Item] = []
        for part in task.parts:
            one = Made(part)
            made.append(one)
            try:
                planned = self._items(engine, part)
            except AudioPoolError as exc:
                one.error = exc
                continue
            one.metadata = self._provenance(engine.info, planned[0][1])
            one.candidates = list(planned)
            items += [item for item, _, _ in planned]
        sounds, warnings = generate_halving(engine, items, on_step) if items else ([], [])
        elapsed_ms = (time.monotonic() - started) * 1000
        rest = iter(sounds)
        for one in made:
            one.candidates = [
                self._raw(engine.info, next(rest), item, notes, looped) for item, notes, looped in one.candidates
            ]
            one.metadata["timings_ms"] = {"generate": round(elapsed_ms, 3)}
            one.metadata["batch_size"] = len(items)
            one.metadata["warnings"] = [*one.metadata.get("warnings", []), *warnings]
        return made

    def _items(self, engine: Any, part: worker_messages.MakePart) -> list[tuple[Item, Notes, bool]]:
        """The items of a part, with the tail that its loop needs where the engine cannot loop by itself."""
        recipe = part.recipe
        item = Item(
            prompt=recipe.prompt,
            negative_prompt=recipe.negative_prompt,
            seed=part.seeds[0],
            duration_s=recipe.duration_s,
            steps=recipe.steps,
            guidance_scale=recipe.guidance_scale,
            loop=recipe.loop and engine.info.loop,
            sample_rate=recipe.sample_rate,
            voice=recipe.voice,
            init_audio=self._init_audio(engine.info, part),
            init_strength=recipe.init_strength,
        )
        notes = engine.notes(item)
        looped = item.loop and notes.loops
        duration_s = _raw_duration(recipe, part.finish.shape, engine.info, looped)
        item = dataclasses.replace(item, duration_s=duration_s, loop=looped)
        return [(dataclasses.replace(item, seed=seed), notes, looped) for seed in part.seeds]

    def _init_audio(self, info: EngineInfo, part: worker_messages.MakePart) -> Any:
        if part.init_audio is None:
            return None
        from audio_pool.audio import codec, filter

        audio, rate = codec.read(Path(part.init_audio))
        return audio if rate == info.sample_rate else filter.resample(audio, rate, info.sample_rate)

    def _provenance(self, info: EngineInfo, notes: Notes) -> SoundMetadata:
        return {
            "engine": info.name,
            "model": info.model,
            "model_revision": info.model_revision,
            "licence": info.licence,
            "commercial_use": info.commercial_use,
            "speech": info.speech,
            "engine_details": notes.details,
            "gated": info.gated,
            "worker": {"id": self.name, "device": self.device},
            "warnings": list(notes.warnings),
        }

    @staticmethod
    def _raw(info: EngineInfo, audio: Any, item: Item, notes: Notes, looped: bool) -> Any:
        from audio_pool.worker.mastering import RawCandidate

        rate = item.sample_rate if info.any_rate and item.sample_rate else info.sample_rate
        return RawCandidate(audio=audio, sample_rate=rate, seed=item.seed, looped=looped, notes=notes)

    # -- hand-over ---------------------------------------------------------------------------------

    def hand_over(
        self, made: Sequence[Made], grants: Sequence[dict[str, Any]], request_id: str
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Candidates for another worker to finish: in granted slots, inline where there was no room."""
        free = [msgspec.convert(grant, Grant) for grant in grants]
        blobs: list[Any] = []
        unwritable: list[int] = []
        parts: dict[str, Any] = {}
        for one in made:
            if one.error is not None:
                parts[str(one.part.work)] = {"error": client_messages.error_body(one.error)}
                continue
            references = [self._handed(raw, free, blobs, unwritable, request_id) for raw in one.candidates]
            parts[str(one.part.work)] = {
                "candidates": [msgspec.to_builtins(reference) for reference in references],
                "made": one.metadata,
            }
        return {"parts": parts, "unwritable": unwritable}, blobs

    def prepare(self, grants: Sequence[dict[str, Any]]) -> None:
        """Makes the slots that are not made yet, so that handing over has nothing left to allocate."""
        for grant in grants:
            if grant["fresh"] and self._writer is not None:
                with contextlib.suppress(StorageError):  # said again, and answered, when it is written
                    self._writer.prepare(msgspec.convert(grant, Grant))

    def _handed(
        self, raw: Any, free: list[Grant], blobs: list[Any], unwritable: list[int], request_id: str
    ) -> worker_messages.CandidateRef:
        reference = worker_messages.CandidateRef(
            seed=raw.seed, sample_rate=raw.sample_rate, looped=raw.looped, notes=_notes_out(raw.notes)
        )
        grant = next((grant for grant in free if grant.slot_bytes >= raw.audio.nbytes + HEADER_BYTES), None)
        if grant is not None and self._writer is not None:
            free.remove(grant)
            try:
                written = self._writer.write(grant, np.ascontiguousarray(raw.audio), request_id)
                return msgspec.structs.replace(reference, tensor=msgspec.to_builtins(written))
            except StorageError as exc:
                log.warning("a sound travels inline: %s", exc)
                unwritable.append(grant.generation)
        frame = len(blobs)
        blobs.extend(to_frames(raw.audio, request_id))
        return msgspec.structs.replace(reference, frame=frame)

    def _received(
        self, task: worker_messages.FinishTask, frames: Sequence[bytes], borrowed: contextlib.ExitStack
    ) -> list[Any]:
        """The candidates, as views into their slots for as long as ``borrowed`` is open."""
        from audio_pool.worker.mastering import RawCandidate

        received = []
        for reference in task.candidates:
            if reference.tensor is None:
                audio = from_frames(frames[reference.frame], frames[reference.frame + 1])
            else:
                tensor = msgspec.convert(reference.tensor, TensorRef)
                assert self._reader is not None, "a reference into an arena that Load did not name"
                audio = borrowed.enter_context(self._reader.borrow(tensor))
            received.append(
                RawCandidate(
                    audio=audio,
                    sample_rate=reference.sample_rate,
                    seed=reference.seed,
                    looped=reference.looped,
                    notes=_notes_in(reference.notes),
                )
            )
        return received

    # -- finish ------------------------------------------------------------------------------------

    def finish_made(self, task: worker_messages.MakeTask, made: Sequence[Made]) -> dict[str, Any]:
        """Shape, judge and master what this worker made."""
        parts: dict[str, Any] = {}
        for one in made:
            if one.error is not None:
                parts[str(one.part.work)] = {"error": client_messages.error_body(one.error)}
            else:
                parts[str(one.part.work)] = self._finished(
                    one.part.recipe, one.part.finish, one.candidates, one.metadata
                )
        return {"parts": parts}

    def finish_handed(self, task: worker_messages.FinishTask, frames: Sequence[bytes]) -> dict[str, Any]:
        """Shape, judge and master what another worker made."""
        with contextlib.ExitStack() as borrowed:
            candidates = self._received(task, frames, borrowed)
            return {"parts": {str(task.work): self._finished(task.recipe, task.finish, candidates, task.made)}}

    def _finished(
        self, recipe: Recipe, finish: worker_messages.Finish, candidates: Sequence[Any], made: SoundMetadata
    ) -> dict[str, Any]:
        metadata = {**finish.metadata, **made}
        metadata["warnings"] = [*finish.metadata.get("warnings", []), *made.get("warnings", [])]
        gated = bool(metadata.pop("gated", True))
        try:
            finished = self._mastering().finish(
                candidates,
                recipe=recipe,
                shape=finish.shape,
                rendition=finish.rendition,
                directory=Path(finish.directory),
                name=finish.name,
                metadata=metadata,
                scorer=self._scorer(),
                tau_accept_new=finish.tau_accept_new,
                gated=gated,
            )
        except AudioPoolError as exc:
            return {"error": client_messages.error_body(exc), "tried": getattr(exc, "tried", [])}
        sound = finished.sound
        similarity = sound.metadata.get("clap_similarity")
        return {
            "sound": msgspec.to_builtins(sound),
            "accepted": sound.accepted,
            "score": sound.metadata["quality"]["score"] if similarity is None else similarity,
            "tried": sound.metadata.get("candidates", []),
            "vectors": {
                name: np.ascontiguousarray(vector, np.float32).tobytes() for name, vector in finished.vectors.items()
            },
        }

    # -- small tasks -------------------------------------------------------------------------------

    def embed(self, task: worker_messages.EmbedTask) -> dict[str, Any]:
        """The text's vector from each engine, float32 bytes."""
        vectors = {}
        for name in task.engines:
            engine = self._engine(name)
            embed = engine.embed_text if self.infos[name].role == "scorer" else engine.embed
            vectors[name] = np.ascontiguousarray(embed([task.text])[0], np.float32).tobytes()
        return {"vectors": vectors}

    def render(self, task: worker_messages.RenderTask) -> dict[str, Any]:
        """Writes the rendition; the metadata keys that it changes."""
        changed = self._mastering().render(
            Path(task.master), task.rendition, Path(task.out), loop=task.loop, comment=task.comment
        )
        return {"path": task.out, "metadata": changed}

    def clap(self, task: worker_messages.ClapTask) -> dict[str, Any]:
        """Vectors, similarities, or labels with scores, for texts and files."""
        from audio_pool.audio import codec

        scorer = self._engine(task.engine)
        texts = scorer.embed_text(task.texts) if task.texts else np.zeros((0, scorer.info.dimensions), np.float32)
        sounds = []
        for path in task.paths:
            audio, rate = codec.read(Path(path))
            sounds.append(scorer.embed_audio([audio], rate)[0])
        audio_vectors = np.stack(sounds) if sounds else np.zeros((0, scorer.info.dimensions), np.float32)
        about = {"model": scorer.info.model, "logit_scale": float(getattr(scorer, "logit_scale", 1.0))}
        if task.operation == "embed":
            return {**about, "texts": texts.tolist(), "paths": audio_vectors.tolist()}
        if task.operation == "similarity":
            everything = np.concatenate([texts, audio_vectors])
            cosines = (everything @ everything.T).tolist()
            return {**about, "of": [*task.texts, *task.paths], "similarity": cosines}
        if not task.texts or not task.paths:
            raise InvalidAudio("zero-shot: needs at least one text (label) and one path")
        scores = (audio_vectors @ texts.T).tolist()
        return {**about, "labels": task.texts, "paths": task.paths, "scores": scores}

    # -- engines -----------------------------------------------------------------------------------

    def _engine(self, name: str) -> Any:
        engine = self.engines.get(name)
        if engine is None:
            known = ", ".join(self.engines)
            raise EngineUnavailable(f"worker {self.name!r} does not host {name!r}; it hosts: {known}")
        return engine

    def _mastering(self) -> Mastering:
        assert self.mastering is not None, "a task for a worker without this duty"
        return self.mastering

    def _scorer(self) -> Any:
        return next((self.engines[name] for name, info in self.infos.items() if info.role == "scorer"), None)


def _raw_duration(recipe: Recipe, shape: Shape, info: EngineInfo, looped: bool) -> float:
    if looped or not recipe.loop:
        return recipe.duration_s
    # at the engine's limit there is no tail; make_loop then extends what there is, with a warning
    return min(recipe.duration_s + shape.tail_s, max(info.longest_s, recipe.duration_s))


def _notes_out(notes: Notes) -> dict[str, Any]:
    return {
        "loops": notes.loops,
        "expects": sorted(notes.expects),
        "highpass_hz": notes.highpass_hz,
        "warnings": list(notes.warnings),
        "details": notes.details,
    }


def _notes_in(mapping: dict[str, Any]) -> Notes:
    return Notes(
        loops=mapping["loops"],
        expects=frozenset(mapping["expects"]),
        highpass_hz=mapping["highpass_hz"],
        warnings=tuple(mapping["warnings"]),
        details=mapping["details"],
    )
