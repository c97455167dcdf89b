"""A sound that is sent while it is made: the engine's pieces, mastered one after the other.

Owns: Streamed, how an engine's pieces go through mastering, and the message that tells of samples.
Must not know: sockets, threads, who gets the samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.engines import OnStep
from audio_pool.errors import AudioPoolError
from audio_pool.results import Failure
from audio_pool.tasks import GeneratePart, Provenance
from audio_pool.transport import packing
from audio_pool.transport.worker_messages import RunTask, TaskChunk
from audio_pool.worker.checked import CheckedGenerator
from audio_pool.worker.planned import plan_of
from audio_pool.worker.stream_mastering import Samples, StreamMastering

__all__ = ["Streamed", "chunk_frames", "streamed"]


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """A sound all of which has been sent, and is to be judged and written; or why there is none."""

    part: GeneratePart
    made: Provenance | None = None
    mastering: StreamMastering | None = None
    failure: Failure | None = None


def streamed(
    engine: CheckedGenerator,
    info: EngineInfo,
    part: GeneratePart,
    *,
    max_input_s: float,
    provenance: Callable[[Notes], Provenance],
    on_step: OnStep,
    emit: Callable[[Samples], None],
) -> Streamed:
    """Make a part's one sound, and pass its mastered samples on as they come.

    Raises:
        what ``on_step`` and ``emit`` raise, and what is no part's own fault.
    """
    started = time.monotonic()
    try:
        plan = plan_of(engine, info, part, max_input_s)[0]
        mastering = StreamMastering(
            recipe=part.recipe,
            spec=part.mastering,
            seed=plan.item.seed,
            sample_rate=plan.made_at(info),
            notes=plan.notes,
            gated=info.gated,
            pieces="engine" if engine.gives_pieces else "whole",
            emit=emit,
        )
        pieces = engine.pieces(plan.item, on_step)
        for piece in pieces if plan.lost is None else plan.lost.restored_pieces(pieces):
            mastering.push(piece)
        mastering.end()
    except AudioPoolError as exc:
        return Streamed(part=part, failure=Failure.of(exc))
    elapsed_ms = round((time.monotonic() - started) * 1000, 3)
    made = msgspec.structs.replace(provenance(plan.notes), generate_ms=elapsed_ms)
    return Streamed(part=part, made=made, mastering=mastering)


def chunk_frames(run: RunTask, job: int, samples: Samples) -> list[bytes]:
    """Return the message that carries samples of a task to the router."""
    chunk = TaskChunk(
        incarnation=run.incarnation,
        task_id=run.task_id,
        attempt=run.attempt,
        job=job,
        start=samples.start,
        frames=samples.frames,
        sample_rate=samples.sample_rate,
        channels=samples.channels,
        encoding=samples.encoding,
    )
    return [packing.pack(chunk), samples.data]
