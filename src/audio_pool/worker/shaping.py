"""A raw candidate becomes a sound of its shape, judged by the quality gate.

Owns: RawCandidate, Shaped, the order of high-pass, resampler, loop and gate, and what lowers the high-pass.
Must not know: which candidate is chosen, levels, files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from audio_pool.engine_info import Notes
from audio_pool.engines.base import Audio, Vectors
from audio_pool.errors import InvalidAudio
from audio_pool.prompts.expectations import names_low_sound, names_noise
from audio_pool.reports import CandidateVerdict, HighpassReport, HighpassWhy
from audio_pool.types import Recipe, Shape
from audio_pool.worker.closing import Closing, by_crossfade

if TYPE_CHECKING:
    from audio_pool.audio.quality import Quality

__all__ = ["RawCandidate", "Shaped", "cutoff_of", "shaped"]

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


def shaped(raw: RawCandidate, shape: Shape, recipe: Recipe, words: str) -> Shaped:
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
