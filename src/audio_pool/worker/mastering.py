"""Raw candidates in, one finished sound out: shape, judge, choose, level, write.

Owns: the order of these steps and what the metadata says of them.
Must not know: how candidates are made, where finished sounds are kept, processes.

Shape is high-pass, resampler, loop, in this order and at the final rate: nothing that depends on time
comes after the loop. A candidate that its engine made as a loop is filtered and resampled as one and
needs no crossfade. Then the quality gate, then CLAP where there is a scorer, then one constant gain.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import UNSET, structs

from audio_pool.audio.file_rates import nearest_rate
from audio_pool.audio.storing import storing
from audio_pool.audio.tags import write_comment
from audio_pool.engines.base import Audio, Scorer, Vectors
from audio_pool.errors import AudioPoolError, EngineUnavailable, QualityError, StorageError
from audio_pool.inscription import as_rendered, inscribed
from audio_pool.reports import CandidateReport, LoopReport, QualityReport
from audio_pool.results import FinishedSound, RenditionReport, SoundMetadata
from audio_pool.tasks import DESCRIPTORS, SOUND_PREFIX
from audio_pool.types import Recipe, Rendition, Shape
from audio_pool.worker import files, shaping
from audio_pool.worker.beside import Beside
from audio_pool.worker.closing import as_made
from audio_pool.worker.heap import keep_freed_memory
from audio_pool.worker.levels import Level, levelled, measured, of_master
from audio_pool.worker.sealing import UNSEALED, Sealing
from audio_pool.worker.shaping import RawCandidate, Shaped

if TYPE_CHECKING:
    from audio_pool.audio.master_file import EncodedMaster

__all__ = ["AllRejected", "Finished", "Mastering", "described", "fingerprint_of", "score_of", "vectors_of"]

log = logging.getLogger(__name__)

_FAILED_SCORE = 10.0
"""What the gate gives a sound that failed, at the most."""
_FULL_SCORE = 100.0
_NO_SOUND = {"nan", "wrong_length"}
"""Issues of what nobody can want to hear."""
_REQUIRES = ("scipy", "soundfile", "soxr")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished sound, and what describes it: ``sound:descriptors`` [70], and ``sound:NAME`` [D] of a scorer."""

    sound: FinishedSound
    vectors: dict[str, Vectors]
    others: tuple[Finished, ...] = ()
    """The candidates that were not chosen, finished likewise, where they are to be kept."""


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
        from audio_pool.audio import bandwidth, descriptors, filter, fingerprint, loudness, master_file, quality  # noqa: F401

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
        keep: bool = False,
        fingerprint: bool = True,
        sealing: Sealing = UNSEALED,
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
            keep: finish the others, too, as ``name-candidate-N``: all that are sounds of the right length, whatever
                the gate says of them.
            fingerprint: make what the sound is known by after it was changed.
            sealing: how the rendition is signed.

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
            shaped.append(shaping.shaped(raw, shape, recipe, words))
            # the first among equals wins: nothing that follows can be better
            if scorer is None and shaped[-1].quality.score >= _FULL_SCORE and not keep:
                break
        judged = time.perf_counter()
        passed = [one for one in shaped if not one.quality.failed or not (gated or "nan" in one.quality.issues)]
        if not passed and deliver_best:
            passed = [one for one in shaped if not _NO_SOUND & set(one.quality.issues)]
        if not passed:
            raise AllRejected(shaped)
        if scorer is not None:
            _score(passed, scorer, recipe, shape, rendition)
        best = max(passed, key=lambda one: one.quality.score if one.clap_similarity is None else one.clap_similarity)

        def accepted(one: Shaped) -> bool:
            similar = tau_accept_new is None or one.clap_similarity is None or one.clap_similarity >= tau_accept_new
            return similar and not (gated and (one.quality.failed or one.quality.score < min_quality))

        finishing = _Finishing(
            recipe=recipe,
            shape=shape,
            rendition=rendition,
            directory=directory,
            spill=spill,
            metadata=structs.replace(metadata, tau_accept_new=tau_accept_new),
            scorer=scorer,
            sealing=sealing,
            shaped=shaped,
            unjudged=candidates[len(shaped) :],
            shape_s=judged - started,
            score_s=time.perf_counter() - judged,
            fingerprint=fingerprint,
        )
        finishing.close(best)
        best.verdict = "chosen" if accepted(best) else "best_of_rejected"
        chosen = finishing.finished(best, name, accepted=accepted(best))
        others = []
        for number, one in enumerate(shaped if keep else (), 1):
            if one is best or _NO_SOUND & set(one.quality.issues):
                continue
            try:
                if scorer is not None and one.clap_similarity is None:  # the gate refused it; the ear may not
                    _score([one], scorer, recipe, shape, rendition)
                finishing.close(one)
                others.append(finishing.finished(one, f"{name}-candidate-{number}", accepted=accepted(one)))
            except AudioPoolError as exc:  # the sound itself is there
                log.warning("candidate of seed %d is not kept: %s", one.raw.seed, exc)
        return dataclasses.replace(chosen, others=tuple(others))

    def render(
        self,
        master: Path,
        rendition: Rendition,
        out: Path,
        *,
        loop: bool,
        comment: str,
        retold: bool = False,
        sealing: Sealing = UNSEALED,
    ) -> RenditionReport:
        """Write another rendition of a kept master: rate, level, codec.

        Args:
            comment: the recipe that goes into the file; "" takes the master's own.
            retold: the sound is the master's, bit for bit; only what is told of it is written anew.
            sealing: how it is signed.

        Returns:
            The metadata keys that differ from the master's.

        Raises:
            NotFound, InvalidAudio: the master. InvalidRequest: the rendition.
        """
        from audio_pool.audio import codec, filter

        own = codec.inspect(master)["comment"]
        if retold:
            with storing(out):
                write_comment(master, out, comment or own)
            sealing.sign(out, rendition, own)
            return RenditionReport(format="flac", sample_rate=rendition.sample_rate, bit_depth=24)
        comment = as_rendered(comment, own)
        audio, rate = codec.read(master)
        written_rate = nearest_rate(rendition.format, rendition.sample_rate)
        audio = filter.resample(audio, rate, written_rate, circular=loop)
        audio, level = levelled(audio, written_rate, rendition, loop)
        report = files.encoded(audio, written_rate, rendition, out, loop, comment, level)
        sealing.sign(out, rendition, own)
        return report


@dataclass(frozen=True, kw_only=True)
class _Finishing:
    """The last steps of each candidate: all are levelled, described and written in the same way."""

    recipe: Recipe
    shape: Shape
    rendition: Rendition
    directory: Path
    spill: Path | None
    metadata: SoundMetadata
    scorer: Scorer | None
    sealing: Sealing
    shaped: Sequence[Shaped]
    unjudged: Sequence[RawCandidate]
    shape_s: float
    score_s: float
    fingerprint: bool

    def close(self, one: Shaped) -> None:
        """Close the loop of a turn as its engine made it."""
        if _close(one, self.shape) and self.scorer is not None:
            _score([one], self.scorer, self.recipe, self.shape, self.rendition)

    def finished(self, one: Shaped, name: str, *, accepted: bool) -> Finished:
        """Return one candidate as ``directory/name.flac`` and, where asked for, its rendition. Raises StorageError."""
        started, shape, rendition = time.perf_counter(), self.shape, self.rendition
        audio, level = levelled(one.audio, shape.sample_rate, of_master(rendition), shape.loop, one.loudness)
        encoding, loop_report = _encoded_and_judged(audio, one, shape)
        # a limited rendition says it itself
        kept_low = () if rendition.limiter else rendition.shortfall(level.rounded_lufs)
        warnings = (*self.metadata.warnings, *one.warnings, *kept_low)
        told = structs.replace(
            described(self.metadata, one, self.shaped, self.unjudged, level, shape),
            accepted=accepted,
            loop=loop_report,
            warnings=tuple(dict.fromkeys(warnings)),
        )
        told = inscribed(self.recipe, told, rendition)
        comments = files.Comments.of(self.recipe, told, shape, rendition)
        vectors = vectors_of(one, audio, shape.sample_rate, self.scorer)
        known_by = fingerprint_of(audio, shape) if self.fingerprint else b""
        try:
            written = self._written(audio, self.directory, name, comments, level, encoding)
        except StorageError as exc:
            if self.spill is None:
                raise
            log.warning("a sound is written elsewhere: %s", exc)
            written = self._written(audio, self.spill, name, comments, level, encoding)
        master, delivered_path, delivered = written
        timings = structs.replace(
            self.metadata.timings_ms,
            score=round(self.score_s * 1000, 3),
            master=round((self.shape_s + time.perf_counter() - started) * 1000, 3),
        )
        sound = FinishedSound(
            path=str(master),
            recipe=self.recipe,
            metadata=structs.replace(told, timings_ms=timings),
            accepted=accepted,
            delivered_path=None if delivered_path is None else str(delivered_path),
            delivered=delivered,
            fingerprint=known_by,
        )
        return Finished(sound=sound, vectors=vectors)

    def _written(
        self,
        audio: Audio,
        directory: Path,
        name: str,
        comments: files.Comments,
        level: Level,
        encoding: Beside[EncodedMaster],
    ) -> tuple[Path, Path | None, RenditionReport | None]:
        shape, rendition, sealing = self.shape, self.rendition, self.sealing
        return files.written(audio, shape, rendition, directory, name, comments, level, encoding, sealing)


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


def fingerprint_of(audio: Audio, shape: Shape) -> bytes:
    from audio_pool.audio.fingerprint import fingerprint

    return fingerprint(audio, shape.sample_rate, loop=shape.loop).to_bytes()


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
