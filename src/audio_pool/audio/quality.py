"""The quality gate: named faults of a sound, and one score.

Owns: which faults are looked for, in which order, and what a caller may declare.
Must not know: engines, prompts, what happens to a sound that fails; numpy only.

Faults are detected after filter, resampler and loop, in the signal to be played; only clipping and holes are
detected in the raw candidate, because a filter tilts flat tops and fills holes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from audio_pool.audio import Audio
from audio_pool.audio.faults import SILENT, Fault, Measured, artefacts, levels, stereo
from audio_pool.audio.faults.clipping import clipping
from audio_pool.audio.faults.noise import noise

__all__ = ["EXPECTABLE", "Quality", "assess"]

EXPECTABLE = frozenset({"noise", "silence", "pauses", "decay", "mono", "clipping"})
"""Properties that a recipe or engine may declare; each disables the checks that would take it for a fault."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The result of the quality gate."""

    score: float
    """0..100, 100 without any fault."""
    issues: tuple[str, ...] = ()
    """Names of the faults, worst first."""
    failed: bool = False
    """The sound must not be used."""


def assess(
    audio: Audio,
    sample_rate: int,
    *,
    frames: int,
    loop: bool,
    expects: frozenset[str] = frozenset(),
    raw: Audio | None = None,
    raw_rate: int | None = None,
) -> Quality:
    """Detect the faults of one sound and score it.

    ========================  ==========================================================  ==============
    issue                     fault                                                       disabled by
    ========================  ==========================================================  ==============
    nan                       not a number, or infinite: always fails
    wrong_length              not ``frames`` long: always fails
    silence                   nothing above -60 dBFS: fails                               silence
    faint                     nowhere louder than -46 dBFS, or not as a whole             silence
    clipping                  a ceiling, also behind a low-pass; fails from 1 % of all    clipping
    dc                        an offset over a tenth of the level; fails from its half
    hiss                      added noise: white, in a band of its own, a floor; fails    noise
                              where it is white and hardly anything else is there
    silent_start              begins with a long silence                                  pauses, silence
    dead_tail                 ends in silence too early; fails from four fifths           decay, silence
    dropouts                  holes                                                       pauses, silence
    stuck                     a short piece repeated to the sample
    whistle                   a steady line above 10 kHz
    comb_ringing              resonances at equal distances
    cut_off_start             starts in the middle of its loudest event                   decay, noise
    mono_in_stereo            both channels alike, or one of them empty                   mono
    unbalanced                one channel over 15 dB louder                               mono
    out_of_phase              the channels cancel; fails where they do wholly
    ========================  ==========================================================  ==============

    Args:
        audio: float32 [C, T] at ``sample_rate``, before its final gain.
        frames: its required length.
        loop: it will be played endlessly.
        expects: properties that recipe or engine declare for this sound; see EXPECTABLE.
        raw: float32 [C, T'] of the candidate before filter and resampler, where there is one.
        raw_rate: its rate in Hz; ``sample_rate`` where None.

    Returns:
        score and faults; a severe fault makes ``failed`` true and the score at most 10.
    """
    found = _faults(audio, sample_rate, frames, loop, expects, audio if raw is None else raw, raw_rate or sample_rate)
    faults = sorted(found, key=lambda fault: (not fault.severe, -fault.penalty))
    failed = any(fault.severe for fault in faults)
    score = max(0.0, 100.0 - sum(fault.penalty for fault in faults))
    return Quality(
        score=round(min(score, 10.0) if failed else score, 2),
        issues=tuple(fault.name for fault in faults),
        failed=failed,
    )


def _faults(
    audio: Audio, sample_rate: int, frames: int, loop: bool, expects: frozenset[str], raw: Audio, raw_rate: int
) -> Iterator[Fault]:
    sound = Measured(audio, sample_rate)
    if not (sound.is_finite and np.isfinite(raw).all()):
        yield Fault(name="nan", penalty=100, severe=True)
        return
    if audio.shape[1] != frames:
        yield Fault(name="wrong_length", penalty=100, severe=True)
    if audio.shape[1] == 0:
        return
    if sound.levels.max() < SILENT:
        if "silence" not in expects:
            yield from levels.silence(sound)
        return
    clipped = [] if "clipping" in expects else list(clipping(raw, raw_rate, "noise" in expects))
    yield from clipped
    yield from levels.offset(sound)
    yield from stereo.out_of_phase(sound)
    if "mono" not in expects:
        yield from stereo.mono_in_stereo(sound)
        yield from stereo.unbalanced(sound)
    if "silence" not in expects:
        yield from levels.faint(sound)
    if not expects & {"pauses", "silence"}:
        yield from levels.dropouts(raw, raw_rate)
        if not loop:
            yield from levels.silent_start(sound)
    if not expects & {"decay", "silence"}:
        yield from levels.dead_tail(sound, loop)
    if not loop and not expects & {"decay", "noise"}:
        yield from levels.cut_off_start(sound)
    if "noise" not in expects:
        yield from noise(sound)
    yield from artefacts.whistle(sound)
    if not clipped:  # what is cut off comes back as lines
        yield from artefacts.comb(sound)
    yield from artefacts.stuck(raw, raw_rate)
