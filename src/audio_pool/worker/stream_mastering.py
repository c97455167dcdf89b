"""Mastering of a sound while it is made: pieces in, mastered samples out at once, the file at the end.

Owns: StreamMastering: what is decided by a sound's first seconds, and what is told once all of it is known.
Must not know: how pieces are made, how samples travel.

What mastering.py does to a whole sound, in the same order: high-pass, resampler, fades, one gain. The gain, and
whether the sound lives low, are taken from its first seconds, and a look-ahead limiter keeps the true peak of what
comes later under its ceiling. The quality gate, CLAP and the real loudness come at the end. The file is written from
the very samples that were sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec import UNSET, structs

from audio_pool.engine_info import Notes
from audio_pool.engines.base import Audio, Scorer
from audio_pool.errors import QualityError, StorageError
from audio_pool.inscription import inscribed
from audio_pool.prompts.expectations import names_noise
from audio_pool.reports import HighpassReport, StreamReport
from audio_pool.results import SAMPLE_ENCODINGS, FinishedSound, RenditionReport, SampleEncoding, SoundMetadata
from audio_pool.tasks import MasteringSpec
from audio_pool.types import Recipe
from audio_pool.worker.files import Comments
from audio_pool.worker.levels import Level, measured
from audio_pool.worker.mastering import AllRejected, Finished, described, fingerprint_of, vectors_of
from audio_pool.worker.running_level import RunningLevel
from audio_pool.worker.shaping import RawCandidate, Shaped, cutoff_of

if TYPE_CHECKING:
    from audio_pool.audio.master_file import EncodedMaster

__all__ = ["Samples", "StreamMastering"]

_FIRST_S = 3.0
"""That the gain is taken from, at the least: the window of short-term loudness, EBU Tech 3341."""
_FEWER_FRAMES = 2
"""By which two rates' rounding may change a length."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Consecutive samples of the delivered sound, interleaved."""

    start: int
    """Frames before them."""
    frames: int
    data: bytes
    sample_rate: int
    channels: int
    encoding: SampleEncoding


@dataclass(kw_only=True)
class StreamMastering:
    """One sound on its way. ``push`` every piece, then ``end``, then ``finish``."""

    recipe: Recipe
    spec: MasteringSpec
    seed: int
    sample_rate: int
    """Of the pieces."""
    notes: Notes
    gated: bool
    pieces: Literal["engine", "whole"]
    emit: Callable[[Samples], None]
    """Called with samples as soon as they are certain."""
    _waiting: list[Audio] = field(default_factory=list)
    """The first pieces, until there are enough of them."""
    _raw: list[Audio] = field(default_factory=list)
    _shaped: list[Audio] = field(default_factory=list)
    _mastered: list[Audio] = field(default_factory=list)
    _delivered: list[Audio] = field(default_factory=list)
    _sent: list[bytes] = field(default_factory=list)
    _shaped_frames: int = 0
    _sent_frames: int = 0
    _begun: bool = False
    _first_s: float = 0.0

    def push(self, piece: Audio) -> None:
        """Take the next piece, float32 [C, T]. Raises QualityError for what is no sound."""
        if not piece.size:
            return
        if not np.isfinite(piece).all():
            raise QualityError("the engine returned samples that are no numbers in the middle of a stream")
        self._raw.append(piece)
        if self._begun:
            self._take(piece)
            return
        self._waiting.append(piece)
        if sum(one.shape[1] for one in self._waiting) >= _FIRST_S * self.sample_rate:
            self._take(self._begin())

    def end(self) -> None:
        """Send the rest. Raises QualityError where there is no sound."""
        if not self._raw:
            raise QualityError("the engine returned no sound")
        self._take(self._begin() if not self._begun else self._raw[0][:, :0], last=True)

    # -- on the way --------------------------------------------------------------------------------

    def _begin(self) -> Audio:
        """Decide what the first pieces decide, and return them as one."""
        from audio_pool.audio import samples
        from audio_pool.audio.running_filter import RunningHighpass, RunningResampler
        from audio_pool.audio.running_limiter import RunningFades

        first = np.concatenate(self._waiting, axis=1)
        self._waiting = []
        shape, rendition = self.spec.shape, self.spec.rendition
        raw = RawCandidate(audio=first, sample_rate=self.sample_rate, seed=self.seed, notes=self.notes)
        self._cutoff, self._why = cutoff_of(raw, first, shape, self.recipe)
        self._highpass = RunningHighpass(first, self.sample_rate, self._cutoff, shape.highpass_order)
        self._resampler = RunningResampler(len(first), self.sample_rate, shape.sample_rate)
        self._fades = RunningFades(first, shape.sample_rate, None if shape.natural_length else shape.frames)
        master = structs.replace(rendition, sample_rate=shape.sample_rate, mono=False)
        self._master = RunningLevel(rate=shape.sample_rate, rendition=master, channels=len(first))
        self._own_level: RunningLevel | None = None
        if (rendition.mono and len(first) > 1) or rendition.sample_rate != shape.sample_rate:
            channels = 1 if rendition.mono else len(first)
            self._own_level = RunningLevel(rate=shape.sample_rate, rendition=rendition, channels=channels)
        self._quantizer = samples.Quantizer(rendition.bit_depth)
        self._begun, self._first_s = True, first.shape[1] / self.sample_rate
        return first

    def _take(self, piece: Audio, *, last: bool = False) -> None:
        shaped = self._fitted(self._resampler.push(self._highpass.push(piece), last=last), last=last)
        faded = self._fades.push(shaped)
        if last:
            faded = np.concatenate([faded, self._fades.end()], axis=1)
        mastered = self._master.push(faded, last=last)
        self._shaped.append(faded)
        self._mastered.append(mastered)
        delivered = mastered if self._own_level is None else self._own_level.push(faded, last=last)
        self._delivered.append(delivered)
        self._send(delivered)

    def _fitted(self, shaped: Audio, *, last: bool) -> Audio:
        """Return no more than the sound's frames, and the odd one that two rates' rounding left out."""
        if self.spec.shape.natural_length:
            return shaped
        left = self.spec.shape.frames - self._shaped_frames
        if shaped.shape[1] > left and shaped.shape[1] - left <= _FEWER_FRAMES:
            shaped = shaped[:, :left]
        elif last and 0 < left - shaped.shape[1] <= _FEWER_FRAMES:
            shaped = np.pad(shaped, ((0, 0), (0, left - shaped.shape[1])))
        self._shaped_frames += shaped.shape[1]
        return shaped

    def _send(self, audio: Audio) -> None:
        """Quantise and send, in parts of a second at the most."""
        rendition = self.spec.rendition
        for start in range(0, audio.shape[1], rendition.sample_rate):
            part = audio[:, start : start + rendition.sample_rate]
            data = self._quantizer.push(part)
            self._sent.append(data)
            self.emit(
                Samples(
                    start=self._sent_frames,
                    frames=part.shape[1],
                    data=data,
                    sample_rate=rendition.sample_rate,
                    channels=len(part),
                    encoding=SAMPLE_ENCODINGS[rendition.bit_depth],
                )
            )
            self._sent_frames += part.shape[1]

    # -- the end -----------------------------------------------------------------------------------

    def finish(self, metadata: SoundMetadata, scorer: Scorer | None) -> Finished:
        """Judge and measure the whole, and write what was sent.

        Raises:
            AllRejected: the gate's verdict, though the sound has been sent.
        """
        from audio_pool.audio import master_file

        started = time.perf_counter()
        spec, shape = self.spec, self.spec.shape
        audio = np.concatenate(self._mastered, axis=1)
        one = self._judged(audio, "" if metadata.speech else self.recipe.prompt)
        if one.quality.failed and (self.gated or "nan" in one.quality.issues) and not spec.deliver_best:
            raise AllRejected([one])
        scored = time.perf_counter()
        if scorer is not None and not metadata.speech:  # its words are said, not described
            vector = np.asarray(scorer.embed_audio([audio], shape.sample_rate)[0], np.float32)
            text = scorer.embed_text([self.recipe.prompt])[0]
            one.vector, one.clap_similarity = vector, float(np.dot(text.astype(np.float64), vector.astype(np.float64)))
        near = one.clap_similarity is None or one.clap_similarity >= (spec.tau_accept_new or -1.0)
        good = not (self.gated and (one.quality.failed or one.quality.score < spec.min_quality))
        one.verdict = "chosen" if near and good else "best_of_rejected"
        lufs, peak = measured(audio, shape.sample_rate, False)
        level = Level(lufs=lufs, peak_dbfs=peak, limited_db=self._master.limited_db)
        judged = time.perf_counter()
        told = structs.replace(
            described(metadata, one, [one], [], level, shape),
            duration_s=audio.shape[1] / shape.sample_rate,
            tau_accept_new=spec.tau_accept_new,
            accepted=near and good,
            stream=StreamReport(
                gain_db=round(self._master.gain_db, 3),
                gain_from_s=round(self._first_s, 3),
                limited_db=round(self._master.limited_db, 2),
                pieces=self.pieces,
            ),
            warnings=tuple(dict.fromkeys((*metadata.warnings, *one.warnings))),
        )
        told = inscribed(self.recipe, told, spec.rendition)
        comments = Comments.of(self.recipe, told, shape, spec.rendition)
        encoded = master_file.encode(audio, shape.sample_rate)
        try:
            master, beside = self._written(encoded, Path(spec.directory), comments)
        except StorageError:
            if not spec.spill:
                raise
            master, beside = self._written(encoded, Path(spec.spill), comments)
        done = time.perf_counter()
        timings = structs.replace(
            metadata.timings_ms,
            score=round((judged - scored) * 1000, 3),
            master=round((scored - started + done - judged) * 1000, 3),
        )
        sound = FinishedSound(
            path=str(master),
            recipe=self.recipe,
            metadata=structs.replace(told, timings_ms=timings),
            accepted=told.accepted,
            delivered_path=str(beside),
            delivered=self._report(level),
            fingerprint=fingerprint_of(audio, shape) if spec.fingerprint else b"",
        )
        return Finished(sound=sound, vectors=vectors_of(one, audio, shape.sample_rate, scorer))

    def _judged(self, mastered: Audio, words: str) -> Shaped:
        from audio_pool.audio import quality

        shape = self.spec.shape
        raw, shaped = np.concatenate(self._raw, axis=1), np.concatenate(self._shaped, axis=1)
        self._raw, self._shaped = [], []  # ten minutes of either are 200 MB
        noise = {"noise"} if names_noise(words) else frozenset()
        judged = quality.assess(
            shaped,
            shape.sample_rate,
            frames=shaped.shape[1] if shape.natural_length else shape.frames,
            loop=False,
            expects=self.notes.expects | noise,
            raw=raw,
            raw_rate=self.sample_rate,
        )
        return Shaped(
            raw=RawCandidate(audio=raw, sample_rate=self.sample_rate, seed=self.seed, notes=self.notes),
            audio=mastered,
            quality=judged,
            highpass=HighpassReport(hz=self._cutoff, why=self._why),
        )

    def _written(self, encoded: EncodedMaster, directory: Path, comments: Comments) -> tuple[Path, Path]:
        """Write the master and what was sent."""
        from audio_pool.audio import samples

        rendition = self.spec.rendition
        master = directory / f"{self.spec.name}.flac"
        beside = directory / f"{self.spec.name}.{rendition.format}"
        channels = len(self._delivered[0])
        samples.write_samples(
            beside,
            self._sent,
            rendition.sample_rate,
            channels,
            rendition.format,
            rendition.bit_depth,
            comments.delivered,
        )
        try:
            encoded.write(master, comments.master, False)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        return master, beside

    def _report(self, master: Level) -> RenditionReport:
        """Return what the sent samples are, where they differ from the master."""
        rendition, level = self.spec.rendition, master
        if self._own_level is not None:
            sent = np.concatenate(self._delivered, axis=1)
            lufs, peak = measured(sent, rendition.sample_rate, False)
            level = Level(lufs=lufs, peak_dbfs=peak, limited_db=self._own_level.limited_db)
        return RenditionReport(
            format=rendition.format,
            sample_rate=rendition.sample_rate,
            duration_s=self._sent_frames / rendition.sample_rate,
            loudness_lufs=level.rounded_lufs,
            true_peak_dbfs=level.rounded_peak_dbfs,
            bit_depth=rendition.bit_depth,
            channels=len(self._delivered[0]) if rendition.mono else UNSET,
            warnings=rendition.shortfall(level.rounded_lufs),
        )
