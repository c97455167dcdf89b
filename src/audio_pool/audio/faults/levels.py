"""Faults of level over time: nothing there, too late, too early over, holes, a start cut off, an offset.

Owns: silence, faintness, silent starts, dead tails, dropouts, cut-off starts, offsets.
Must not know: spectra, channels against each other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.faults import FRAME_S, SILENT, Fault, Floats, Measured
from audio_pool.audio.runs import runs

__all__ = ["cut_off_start", "dead_tail", "dropouts", "faint", "offset", "silence", "silent_start"]

_QUIET_DB = -50.0
"""Level of a pause or a dead tail, relative to the loudest frame."""
_FAINT = 0.005
"""-46 dBFS: what is no louder in its loudest 400 ms, or as a whole, was hardly made at all."""
_FAINT_PEAK = 0.1
"""-20 dBFS: with peaks over it, sparse events are not faint, however low their mean is."""
_BLOCK_S = 0.4
_SPLIT_S = 0.002
_HOLE_DB = -40.0
"""Level in a hole, relative to what is right before and after it."""
_LONGEST_HOLE_S = 0.5


def silence(sound: Measured) -> Iterator[Fault]:
    """Detect a sound that is not there."""
    if sound.levels.max() < SILENT:
        yield Fault(name="silence", penalty=100, severe=True)


def faint(sound: Measured) -> Iterator[Fault]:
    """Detect a sound that is nowhere loud enough to be one."""
    power = np.square(sound.levels)
    block = max(1, min(round(_BLOCK_S / FRAME_S), len(power)))
    loudest = np.convolve(power, np.ones(block) / block, "valid").max()
    low = sound.products[0].max() < _FAINT**2 and sound.peak < _FAINT_PEAK
    if sound.levels.max() >= SILENT and (loudest < _FAINT**2 or low):
        yield Fault(name="faint", penalty=60)


def offset(sound: Measured) -> Iterator[Fault]:
    """Detect an offset of over a tenth of the level."""
    away = np.abs(sound.moments.sums / sound.audio.shape[1])
    swing = np.sqrt(np.maximum(sound.products[0] - away**2, 0))
    share = float((away / np.maximum(swing, 1e-9))[away > 0.003].max(initial=0.0))
    if share > 0.1:
        yield Fault(name="dc", penalty=min(60.0, 15 + 50 * share), severe=share > 0.5)


def silent_start(sound: Measured) -> Iterator[Fault]:
    """Detect a one-shot that begins with a long silence."""
    quiet = _quiet(sound.levels)
    waiting = int(np.argmin(quiet))
    if waiting * FRAME_S > 0.5 and waiting > 0.15 * len(quiet):
        yield Fault(name="silent_start", penalty=min(70.0, 30 + 70 * waiting / len(quiet)))


def dead_tail(sound: Measured, loop: bool) -> Iterator[Fault]:
    """Detect silence well before the end; in a loop, one hole."""
    quiet = _quiet(sound.levels)
    total = len(quiet)
    if loop:
        pauses = sorted(_pauses_of_loop(quiet), reverse=True)
        # one long hole among regular pauses, or in a sound that otherwise never pauses; but a single short
        # event per turn is a rhythm, not a fault
        hole = len(pauses) == 1 and pauses[0] < 0.5 * total
        if not hole and (len(pauses) < 3 or pauses[0] < 2.5 * pauses[1]):
            return
        tail = pauses[0]
    else:
        tail = total - 1 - int(np.flatnonzero(~quiet)[-1])
    if tail * FRAME_S > 0.5 and tail > 0.15 * total:
        yield Fault(name="dead_tail", penalty=min(60.0, 102 * tail / total), severe=tail > 0.8 * total)


def _quiet(levels: Floats) -> npt.NDArray[np.bool_]:
    quiet: npt.NDArray[np.bool_] = levels < levels.max() * 10 ** (_QUIET_DB / 20)
    return quiet


def _pauses_of_loop(quiet: npt.NDArray[np.bool_]) -> list[int]:
    """Measure the quiet stretches of an endless loop, in frames."""
    rotated = np.roll(quiet, -int(np.argmin(quiet)))
    return [int(end - start) for start, end in runs(rotated)]


def dropouts(raw: Audio, raw_rate: int) -> Iterator[Fault]:
    """Detect holes: the level falls by 40 dB at once and comes back at once, where the sound elsewhere does not.

    What decays into silence falls slowly, and beeps with pauses have more pauses than a fault has holes.
    """
    hop = max(8, round(_SPLIT_S * raw_rate))
    count = raw.shape[1] // hop
    if count < 50:
        return
    whole = raw[:, : count * hop].reshape(len(raw), count, hop)
    power = np.einsum("cnt,cnt->n", whole, whole).astype(np.float64)
    if power.max() < SILENT**2 * hop:
        return
    low = power < 10 ** (_HOLE_DB / 10) * np.percentile(power, 75)
    share, holes = 0.0, 0
    for first, end in runs(low):
        if first < 8 or end > count - 8 or (end - first) * _SPLIT_S > _LONGEST_HOLE_S or end - first < 2:
            continue
        before, after = power[first - 4 : first].mean(), power[end : end + 4].mean()
        inside = power[first + 1 : end - 1].mean() if end - first > 2 else power[first:end].min()
        edge = 10 ** (-_HOLE_DB / 10) * inside
        # at once: the last split before the hole is as loud as those before it
        at_once = power[first - 2] > 0.1 * before and power[end + 1] > 0.1 * after
        if min(before, after) > edge and at_once and _alike(before, power[first - 8 : first - 4].mean()):
            holes += 1
            share += (end - first) / count
    rest = power[~low]
    steady = len(rest) > 0.7 * count
    if holes and steady and share < 0.25:
        yield Fault(name="dropouts", penalty=min(75.0, 52 + 5 * holes + 100 * share))


def _alike(a: float, b: float) -> bool:
    return 0.1 < a / max(b, 1e-12) < 10


def cut_off_start(sound: Measured) -> Iterator[Fault]:
    """Detect a first sample far from zero in a first moment that is among the loudest of an event."""
    audio, levels = sound.audio, sound.levels
    peak = sound.peak
    first = audio[:, : max(1, round(0.002 * sound.sample_rate))].astype(np.float64)
    start = float(np.sqrt(np.square(first).mean(axis=1)).max())
    jump = float(np.abs(audio[:, 0]).max())
    event = float(levels[:3].max()) > 2 * float(np.median(levels))
    if len(levels) >= 5 and event and jump > 0.1 * peak and start > 0.25 * float(levels.max()):
        yield Fault(name="cut_off_start", penalty=25)
