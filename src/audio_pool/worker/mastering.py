"""Raw candidates in, one finished sound out: shape, judge, choose, level, write.

Owns: the order of these steps and what the metadata says of them.
Must not know: how candidates are made, where finished sounds are kept, processes.

Shape is high-pass, resampler, loop, in this order and at the final rate: nothing that depends on time
comes after the loop. A candidate that its engine made as a loop is filtered and resampled as one and
needs no crossfade. Then the quality gate, then CLAP where there is a scorer, then one constant gain.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import UNSET, structs

from audio_pool.audio.file_rates import nearest_rate
from audio_pool.engine_info import Notes
from audio_pool.engines.base import Audio, Scorer, Vectors
from audio_pool.errors import EngineUnavailable, InvalidAudio, QualityError, StorageError
from audio_pool.inscription import comment_of
from audio_pool.prompts.expectations import names_low_sound, names_noise
from audio_pool.reports import CandidateReport, CandidateVerdict, HighpassReport, HighpassWhy, LoopReport, QualityReport
from audio_pool.results import FinishedSound, RenditionReport, SoundMetadata
from audio_pool.tasks import DESCRIPTORS, SOUND_PREFIX
from audio_pool.types import Recipe, Rendition, Shape
from audio_pool.worker import files
from audio_pool.worker.beside import Beside
from audio_pool.worker.closing import Closing, as_made, by_crossfade
from audio_pool.worker.heap import keep_freed_memory
from audio_pool.worker.levels import Level, levelled, measured, of_master

if TYPE_CHECKING:
    from audio_pool.audio.master_file import EncodedMaster
    from audio_pool.audio.quality import Quality

__all__ = [
    "AllRejected", "Finished", "Mastering", "RawCandidate", "Shaped", "cutoff_of", "described", "score_of",
    "vectors_of",
]  # fmt: skip

log = logging.getLogger(__name__)

_FAILED_SCORE = 10.0
"""What the gate gives a sound that failed, at the most."""
_FULL_SCORE = 100.0
_REQUIRES = ("scipy", "soundfile", "soxr")
_LOW_CUTOFF_HZ = 25.0
"""Of the high-pass for a kick, thunder, a heartbeat."""
_FEWER_FRAMES = 2
"""By how much a native loop's length may miss before it is no loop of the length that was asked for."""


@dataclass(frozen=True, kw_only=True)
class RawCandidate:
    """What a generator made of one item: float32 [C, T] at ``sample_rate``."""

    audio: Audio
    sample_rate: int
    seed: int
    looped: bool = False
    """The engine made it loop natively: T is one turn."""
    notes: Notes = field(default_factory=Notes)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished sound, and what describes it: ``sound:descriptors`` [70], and ``sound:NAME`` [D] of a scorer."""

    sound: FinishedSound
    vectors: dict[str, Vectors]


@dataclass(kw_only=True)
class Shaped:
    """A candidate on its way: what it became and what was found."""

    raw: RawCandidate
    audio: Audio
    closing: Closing | None = None
    """How its loop closes; None: it is none, or its engine made it one, and nobody has looked at its joint yet."""
    quality: Quality
    highpass: HighpassReport | None = None
    warnings: list[str] = field(default_factory=list)
    clap_similarity: float | None = None
    vector: Vectors | None = None
    verdict: CandidateVerdict = "not_chosen"
    loudness: tuple[float, float] | None = None
    """LUFS and true peak before any gain, once they were measured."""


class AllRejected(QualityError):
    """Every candidate failed the gate; ``tried`` is what the metadata would have said of them."""

    def __init__(self, shaped: Sequence[Shaped]) -> None:
        super().__init__(_why_none(shaped), hint="ask again for other seeds, or in other words")
        self.tried = tuple(_report(one) for one in shaped)


class Mastering:
    """Shapes, judges, levels and writes.

    Its libraries are imported when it is made, not at the first sound; from then on the process keeps what memory a
    sound gave back for the next one.
    """

    def __init__(self) -> None:
        """Raises EngineUnavailable, naming the libraries that this interpreter lacks."""
        missing = [name for name in _REQUIRES if importlib.util.find_spec(name) is None]
        if missing:
            raise EngineUnavailable(
                f"mastering needs {', '.join(missing)}: not installed",
                hint="install them for this worker's interpreter, or take the role 'master' from it",
            )
        keep_freed_memory()
        from audio_pool.audio import bandwidth, descriptors, filter, loudness, master_file, quality  # noqa: F401

    def finish(
        self,
        candidates: Sequence[RawCandidate],
        *,
        recipe: Recipe,
        shape: Shape,
        rendition: Rendition,
        directory: Path,
        spill: Path | None = None,
        name: str,
        metadata: SoundMetadata,
        scorer: Scorer | None = None,
        tau_accept_new: float | None = None,
        min_quality: float = 0.0,
        deliver_best: bool = False,
        gated: bool = True,
    ) -> Finished:
        """Return the best candidate as ``directory/name.flac`` (24 bits, fsynced) and, where asked for, its rendition.

        With a scorer the candidate that is nearest to the prompt wins, among those that pass the gate;
        without one the best quality. Among equals the first, so that the result follows from the seeds; so without a
        scorer those after one without any fault are not judged.

        Args:
            candidates: at least one; for a loop not natively made, longer by ``shape.tail_s``.
            rendition: level and file; where it is not a 24-bit FLAC at the shape's rate, a second file is
                written beside the master as ``name.EXTENSION`` (``name.rendition.flac`` for another FLAC).
            spill: where it goes instead when ``directory`` takes no files.
            metadata: what is known so far; the keys of this step are added.
            tau_accept_new: least CLAP similarity for ``accepted``; None: passing the gate is enough.
            min_quality: least score of the gate for ``accepted``.
            deliver_best: where every candidate failed the gate, deliver the best of them, not accepted, unless none
                is a sound of the right length.
            gated: False delivers whatever it is, unless it is not finite.

        Raises:
            AllRejected: every candidate failed the gate; names the issues of each.
        """
        started = time.perf_counter()
        if metadata.speech:
            # the words are said, not described: no sound is nearer to them than another
            scorer = tau_accept_new = None
        words = "" if metadata.speech else recipe.prompt
        shaped: list[Shaped] = []
        for raw in candidates:
            shaped.append(_shape(raw, shape, recipe, words))
            # the first among equals wins: nothing that follows can be better
            if scorer is None and shaped[-1].quality.score >= _FULL_SCORE:
                break
        judged = time.perf_counter()
        passed = [one for one in shaped if not one.quality.failed or not (gated or "nan" in one.quality.issues)]
        if not passed and deliver_best:
            passed = [one for one in shaped if not {"nan", "wrong_length"} & set(one.quality.issues)]
        if not passed:
            raise AllRejected(shaped)
        if scorer is not None:
            _score(passed, scorer, recipe, shape, rendition)
        best = max(passed, key=lambda one: one.quality.score if one.clap_similarity is None else one.clap_similarity)
        if _close(best, shape) and scorer is not None:
            _score([best], scorer, recipe, shape, rendition)
        accepted = tau_accept_new is None or best.clap_similarity is None or best.clap_similarity >= tau_accept_new
        accepted = accepted and not (gated and (best.quality.failed or best.quality.score < min_quality))
        best.verdict = "chosen" if accepted else "best_of_rejected"
        scored = time.perf_counter()

        audio, level = levelled(best.audio, shape.sample_rate, of_master(rendition), shape.loop, best.loudness)
        encoding, loop_report = _encoded_and_judged(audio, best, shape)
        # a limited rendition says it itself
        kept_low = () if rendition.limiter else rendition.shortfall(level.rounded_lufs)
        warnings = (*metadata.warnings, *best.warnings, *kept_low)
        told = structs.replace(
            described(metadata, best, shaped, candidates[len(shaped) :], level, shape),
            tau_accept_new=tau_accept_new,
            accepted=accepted,
            loop=loop_report,
            warnings=tuple(dict.fromkeys(warnings)),
        )
        comment = comment_of(recipe, told)
        vectors = vectors_of(best, audio, shape.sample_rate, scorer)
        try:
            written = files.written(audio, shape, rendition, directory, name, comment, level, encoding)
        except StorageError as exc:
            if spill is None:
                raise
            log.warning("a sound is written elsewhere: %s", exc)
            written = files.written(audio, shape, rendition, spill, name, comment, level, encoding)
        master, delivered_path, delivered = written
        done = time.perf_counter()
        timings = structs.replace(
            metadata.timings_ms,
            score=round((scored - judged) * 1000, 3),
            master=round((judged - started + done - scored) * 1000, 3),
        )
        sound = FinishedSound(
            path=str(master),
            recipe=recipe,
            metadata=structs.replace(told, timings_ms=timings),
            accepted=accepted,
            delivered_path=None if delivered_path is None else str(delivered_path),
            delivered=delivered,
        )
        return Finished(sound=sound, vectors=vectors)

    def render(self, master: Path, rendition: Rendition, out: Path, *, loop: bool, comment: str) -> RenditionReport:
        """Write another rendition of a kept master: rate, level, codec.

        Args:
            comment: the recipe that goes into the file; "" takes the master's own.

        Returns:
            The metadata keys that differ from the master's.

        Raises:
            NotFound, InvalidAudio: the master. InvalidRequest: the rendition.
        """
        from audio_pool.audio import codec, filter

        audio, rate = codec.read(master)
        written_rate = nearest_rate(rendition.format, rendition.sample_rate)
        audio = filter.resample(audio, rate, written_rate, circular=loop)
        audio, level = levelled(audio, written_rate, rendition, loop)
        comment = comment or codec.inspect(master)["comment"]
        return files.encoded(audio, written_rate, rendition, out, loop, comment, level)


# ------------------------------------------------------------------------------------------------- shape


def _shape(raw: RawCandidate, shape: Shape, recipe: Recipe, words: str) -> Shaped:
    """Apply high-pass, resampler and loop to a candidate, then the quality gate.

    Args:
        words: what the sound is to be, "" where they say nothing of it.
    """
    from audio_pool.audio import edges, filter, quality

    audio = np.ascontiguousarray(raw.audio, np.float32)
    if audio.ndim != 2 or not audio.shape[0]:
        raise InvalidAudio(f"candidate of seed {raw.seed}: given shape {audio.shape}, allowed is [C, T]")
    if not np.isfinite(audio).all():
        nan = quality.assess(audio, raw.sample_rate, frames=audio.shape[1], loop=False)
        return Shaped(raw=raw, audio=audio, quality=nan)
    turn = shape.frames * raw.sample_rate / shape.sample_rate
    native = raw.looped and shape.loop and abs(audio.shape[1] - turn) <= _FEWER_FRAMES
    if shape.loop and not native and raw.notes.made_s is not None:
        # silence after the sound is no material: the loop is put together of what comes before it
        audio = audio[:, : max(1, int(raw.notes.made_s * raw.sample_rate))]
    cutoff, why = cutoff_of(raw, audio, shape, recipe)
    audio = filter.highpass(audio, raw.sample_rate, cutoff, shape.highpass_order, circular=native)
    closing: Closing | None = None
    if native:
        audio = filter.resample(audio, raw.sample_rate, shape.sample_rate, circular=True, frames=shape.frames)
    else:
        audio = filter.resample(audio, raw.sample_rate, shape.sample_rate)
        if shape.loop:
            closing = by_crossfade(audio, shape)
            audio = closing.audio
        elif not shape.natural_length and abs(audio.shape[1] - shape.frames) <= _FEWER_FRAMES:
            # the rounding of two rates; anything more is the engine's fault and the gate's business
            audio = filter.resample(audio, 1, 1, frames=shape.frames)
    judged = quality.assess(
        audio,
        shape.sample_rate,
        frames=audio.shape[1] if shape.natural_length else shape.frames,
        loop=shape.loop,
        expects=raw.notes.expects | ({"noise"} if names_noise(words) else frozenset()),
        raw=raw.audio,
        raw_rate=raw.sample_rate,
    )
    if not shape.loop:
        # what the caller gave is not ours to change
        audio = edges.faded(audio.copy() if np.may_share_memory(audio, raw.audio) else audio, shape.sample_rate)
    return Shaped(
        raw=raw,
        audio=audio,
        closing=closing,
        quality=judged,
        highpass=HighpassReport(hz=cutoff, why=why),
        warnings=list(closing.warnings) if closing else [],
    )


def cutoff_of(raw: RawCandidate, audio: Audio, shape: Shape, recipe: Recipe) -> tuple[float, HighpassWhy]:
    """Return the high-pass's cut-off in Hz, 0 for no filter, and what decided it.

    A recipe's own and an engine's notes may lower it, never raise it. Where neither said anything, words and then
    the spectrum may: at 80 Hz a kick drum is not a kick drum any more.
    """
    from audio_pool.audio import lows

    asked, noted = shape.highpass_hz, raw.notes.highpass_hz
    most = 0.45 * raw.sample_rate
    if asked is None:
        return 0.0, "off"
    if noted is not None and noted < asked:
        return min(noted, most), "engine"
    if recipe.highpass_hz is not None:
        return min(asked, most), "asked"
    if noted is None and asked > _LOW_CUTOFF_HZ:
        if names_low_sound(recipe.prompt):
            return min(_LOW_CUTOFF_HZ, most), "words"
        if lows.lives_low(audio, raw.sample_rate):
            return min(_LOW_CUTOFF_HZ, most), "spectrum"
    return min(asked, most), "configured"


# ------------------------------------------------------------------------------------------------- judge


def _why_none(shaped: Sequence[Shaped]) -> str:
    each = "; ".join(f"seed {one.raw.seed}: {', '.join(one.quality.issues)}" for one in shaped)
    return f"no candidate passed the quality gate ({each})" if shaped else "there was no candidate to judge"


def _score(shaped: Sequence[Shaped], scorer: Scorer, recipe: Recipe, shape: Shape, rendition: Rendition) -> None:
    """Compare the prompt by CLAP with each candidate at its final level."""
    heard = []
    for one in shaped:
        one.loudness = measured(one.audio, shape.sample_rate, shape.loop)
        heard.append(levelled(one.audio, shape.sample_rate, rendition, shape.loop, one.loudness)[0])
    text = scorer.embed_text([recipe.prompt])[0]
    for one, vector in zip(shaped, scorer.embed_audio(heard, shape.sample_rate), strict=True):
        one.vector = np.asarray(vector, np.float32)
        one.clap_similarity = float(np.dot(text.astype(np.float64), one.vector.astype(np.float64)))


def vectors_of(best: Shaped, audio: Audio, sample_rate: int, scorer: Scorer | None) -> dict[str, Vectors]:
    from audio_pool.audio.descriptors import descriptors

    vectors: dict[str, Vectors] = {DESCRIPTORS: descriptors(audio, sample_rate)}
    if scorer is not None and best.vector is not None:
        vectors[SOUND_PREFIX + scorer.info.name] = best.vector
    return vectors


# ------------------------------------------------------------------------------------------------ master


def _close(best: Shaped, shape: Shape) -> bool:
    """Close the loop of a turn as its engine made it; return True if that was not taken: the sound is another now."""
    if not shape.loop or best.closing is not None:
        return False
    best.closing = as_made(best.audio, shape)
    best.audio = best.closing.audio
    best.warnings += best.closing.warnings
    if best.closing.native:
        return False
    best.loudness = None
    return True


def _encoded_and_judged(
    audio: Audio, best: Shaped, shape: Shape
) -> tuple[Beside[EncodedMaster], LoopReport | None]:
    """Begin to encode the master and judge a crossfaded loop's joint meanwhile: the report is None for one-shots."""
    from audio_pool.audio import master_file

    begun = Beside(lambda: master_file.encode(audio, shape.sample_rate), "encode")
    return begun, best.closing.report(audio, shape.sample_rate) if best.closing else None


def described(
    metadata: SoundMetadata,
    best: Shaped,
    shaped: Sequence[Shaped],
    others: Sequence[RawCandidate],
    level: Level,
    shape: Shape,
) -> SoundMetadata:
    """Add what shaping, judging and levelling found of one sound."""
    from audio_pool.audio import bandwidth

    natural = shape.natural_length
    duration_s = (best.audio.shape[1] if natural else shape.frames) / shape.sample_rate
    return structs.replace(
        metadata,
        seed=best.raw.seed,
        requested_duration_s=duration_s if natural else metadata.requested_duration_s,
        duration_s=duration_s,
        natural_length=True if natural else UNSET,
        sample_rate=shape.sample_rate,
        channels=best.audio.shape[0],
        bandwidth_hz=bandwidth.bandwidth_hz(
            best.audio, shape.sample_rate, metadata.bandwidth_hz, best.raw.sample_rate / 2
        ),
        is_loop=shape.loop,
        highpass=best.highpass,
        format="flac",
        bit_depth=24,
        clap_similarity=best.clap_similarity,
        candidates=(
            *(_report(one) for one in shaped),
            *(CandidateReport(seed=raw.seed, verdict="not_judged") for raw in others),
        ),
        quality=QualityReport(score=best.quality.score, issues=tuple(best.quality.issues)),
        loudness_lufs=level.rounded_lufs,
        true_peak_dbfs=level.rounded_peak_dbfs,
    )


def _report(one: Shaped) -> CandidateReport:
    return CandidateReport(
        seed=one.raw.seed,
        score=one.quality.score if one.clap_similarity is None else one.clap_similarity,
        quality=QualityReport(score=one.quality.score, issues=tuple(one.quality.issues)),
        clap_similarity=one.clap_similarity,
        verdict="failed_gate" if one.quality.failed and one.verdict == "not_chosen" else one.verdict,
    )


def score_of(report: SoundMetadata) -> float:
    """Return what compares the best sounds of several rounds: one that failed the gate is behind all others."""
    if report.quality.score <= _FAILED_SCORE:
        return report.quality.score - 1000.0
    return report.quality.score if report.clap_similarity is None else report.clap_similarity
