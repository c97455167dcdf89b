"""Loops of separate strokes (a clock, drips, steps): joined between two strokes, and kept in time.

Owns: where a turn of strokes is best joined, and how its pauses are shortened or lengthened.
Must not know: other kinds of sounds, files; numpy only.

A turn keeps its strokes in time where it is a whole number of periods long. Where the requested length is none,
the nearest whole number is cut out of the material, and every pause is shortened or lengthened alike, by at
most four per cent of the period, or ten where nothing nearer fits: pitch and strokes stay as they are.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.crossfade import Splice, aligned, blend, correlations
from audio_pool.audio.onsets import beat_of
from audio_pool.audio.trains import kinds_of, trains_of

__all__ = ["BEFORE_S", "MOST_MOVED", "fit_pauses", "stroke_splice"]

MOST_MOVED = 0.04
"""Share of the period by which pauses are changed."""
_MOST_STRAINED = 0.1
"""The same where no nearer length is a whole number of periods: a clock that is slow does not stumble."""
_NEARLY_WHOLE = 0.05
"""Share of a period by which a turn may miss a whole number of them, before a longer or shorter one is tried."""
_MANY_LENGTHS = 200
_LEAST_STROKES = 3
_FASTEST_S = 0.09
"""Median distance of strokes under which they are a texture and no events."""
BEFORE_S = 0.02
"""An onset is found to within 10 ms: no fade comes nearer from before."""
_AFTER_S = 0.06
"""The loudest part of a stroke."""
_REACH_S = 0.005
"""The turn may differ by this much to bring hum in phase: nobody hears it in a rhythm."""
_IN_PHASE = 0.3
_GRID_S = 0.005
_LONGEST_FADE_S = 0.25
_LEVEL_S = 0.01
_OTHER_LENGTHS = 9
_CHANGED = 10.0
"""Cost of an octave by which pauses are changed, against one by which the pause at the joint is strange: 4."""


def stroke_splice(
    audio: Audio, onsets: npt.NDArray[np.int64], frames: int, tail: int, shortest: int, sample_rate: int
) -> Splice | None:
    """Choose a splice between two strokes, or None where the sound is not made of strokes, or has no pause there.

    Args:
        audio: float32 [C, T].
        onsets: where its strokes begin, frames.
        frames: length of the turn that is asked for; the splice's may differ by ``MOST_MOVED``.
        tail: latest start of the turn.
        shortest: shortest crossfade.
    """
    if len(onsets) < _LEAST_STROKES or float(np.median(np.diff(onsets))) < _FASTEST_S * sample_rate:
        return None
    lengths, low, high = _turns(audio, onsets, frames, shortest, sample_rate)
    levels = _Levels(audio, sample_rate)
    found = [
        candidate
        for length in lengths
        if (candidate := _best_start(audio, levels, onsets, length, tail, shortest, (low, high), sample_rate))
        is not None
    ]
    if not found:
        return None
    # pauses that are left as they are sound best
    _, best = min(found, key=lambda one: one[0] + _CHANGED * abs(math.log2(one[1].length / lengths[0])))
    reach = min(round(_REACH_S * sample_rate), shortest // 2)
    if reach:
        in_phase, rho = aligned(audio, best.length, reach, best.start, best.fade)
        if rho >= _IN_PHASE:
            return in_phase
    return best


def _best_start(
    audio: Audio,
    levels: _Levels,
    onsets: npt.NDArray[np.int64],
    length: int,
    tail: int,
    shortest: int,
    usual: tuple[float, float],
    sample_rate: int,
) -> tuple[float, Splice] | None:
    """Choose where a turn of a given length starts; return how strange its joint is, and the splice."""
    low, high = usual
    reach = min(round(_REACH_S * sample_rate), shortest // 2)
    starts = np.arange(reach, min(tail, audio.shape[1] - length - reach - shortest) + 1, round(_GRID_S * sample_rate))
    if not starts.size:
        return None
    room = np.minimum(_room(onsets, starts, reach, sample_rate), _room(onsets, starts + length, reach, sample_rate))
    fades = np.minimum.reduce([room, audio.shape[1] - length - reach - starts, np.full(len(starts), length // 2)])
    fades = np.minimum(fades, round(_LONGEST_FADE_S * sample_rate))
    last = np.searchsorted(onsets, starts + length, side="right") - 1
    following = np.searchsorted(onsets, starts)
    known = (last >= 0) & (following < len(onsets)) & (fades >= shortest)
    if not known.any():
        return None
    starts, fades, last, following = starts[known], fades[known], last[known], following[known]
    pause = np.maximum(length - (onsets[last] - onsets[following]), 1)
    strange = np.maximum(np.maximum(np.log2(low / pause), np.log2(pause / high)), 0)
    loud = levels.db(starts, fades) + levels.db(starts + length, fades)
    costs = 4 * strange + 0.03 * loud - 0.3 * np.minimum(fades / (0.1 * sample_rate), 1)
    at = int(np.argmin(costs))
    return float(costs[at]), Splice(start=int(starts[at]), length=length, fade=int(fades[at]))


def fit_pauses(turn: Audio, onsets: npt.NDArray[np.int64], frames: int, sample_rate: int) -> Audio:
    """Shorten or lengthen every pause alike until a turn of strokes has a length, or nearly.

    Args:
        turn: float32 [C, T].
        onsets: where its strokes begin, frames, in order; what precedes the first and follows the last is kept.
        frames: the length that is wanted.

    Returns:
        float32 [C, about ``frames``]: what did not fit into a pause is left to a resampler.
    """
    owed = (frames - turn.shape[1]) / max(1, len(onsets) - 1)
    before, after = round(BEFORE_S * sample_rate), round(_AFTER_S * sample_rate)
    reach = round(_REACH_S * sample_rate)
    parts, done, due = [], 0, 0.0
    for first, following in pairwise(onsets.tolist()):
        due += owed
        change = round(due)
        earliest, end = max(first + after, done), following - before
        fade = min(round(0.05 * sample_rate), (end - earliest - abs(change) - 2 * reach) // 2)
        if not change or fade < reach:
            continue
        leave = end - fade - reach - max(0, -change)
        away = leave - change - reach
        if away < 0 or leave + fade > turn.shape[1]:
            continue
        rho = correlations(turn[:, leave : leave + fade], turn[:, away : away + 2 * reach + fade])
        best = int(np.argmax(rho))
        enter = away + (best if rho[best] >= _IN_PHASE else reach)
        parts += [turn[:, done:leave], blend(turn[:, leave : leave + fade], turn[:, enter : enter + fade])]
        done = enter + fade
        due -= leave - enter
    return np.concatenate([*parts, turn[:, done:]], axis=1)


def _turns(
    audio: Audio, onsets: npt.NDArray[np.int64], frames: int, shortest: int, sample_rate: int
) -> tuple[list[int], float, float]:
    """Return the lengths that a turn may have, the best first, and the shortest and longest usual pause, in frames.

    Strokes that keep a beat have one length, a whole number of periods of all their trains, or nearly. Others may be
    cut wherever the pause across the joint is one of theirs.
    """
    room = audio.shape[1] - 2 * shortest
    longest, least = min(math.floor(frames * (1 + MOST_MOVED)), room), math.ceil(frames * (1 - MOST_MOVED))
    low, high = np.percentile(np.diff(onsets), [10, 90])
    trains = trains_of(onsets, kinds_of(audio, onsets, sample_rate))
    beats = [beat for train in trains if (beat := beat_of(onsets[train])) is not None]
    if not beats:
        asked = min(frames, longest)
        others = np.linspace(least, max(longest, least), _OTHER_LENGTHS).astype(np.int64).tolist()
        return [asked, *others], float(low), float(high)
    if len(trains) == 1:
        low = high = beats[0].period
    periods = np.array([beat.period for beat in beats])
    for most in (MOST_MOVED, _MOST_STRAINED):
        ends = math.ceil(frames * (1 - most)), min(math.floor(frames * (1 + most)), room)
        whole, away = _whole_periods(periods, frames, *ends)
        if away <= _NEARLY_WHOLE:
            return [whole], float(low), float(high)
    whole, _ = _whole_periods(periods, frames, least, longest)
    return [whole], float(low), float(high)


def _whole_periods(periods: npt.NDArray[np.float64], frames: int, least: int, longest: int) -> tuple[int, float]:
    """Return the length between two that is nearest to whole numbers of several periods, and by how much it is off.

    By the mean of their distances, as shares of a period; of equally good ones that which is nearest to ``frames``.
    """
    if longest <= least:
        lengths = np.array([float(max(longest, 1))])
    else:
        whole = [np.arange(math.ceil(least / period), math.floor(longest / period) + 1) * period for period in periods]
        lengths = np.concatenate([np.linspace(least, longest, _MANY_LENGTHS), [min(frames, longest)], *whole])
    turns = lengths[:, None] / periods
    away = np.abs(turns - np.maximum(np.round(turns), 1)).mean(axis=1)
    best = int(np.argmin(away + 0.1 * np.abs(np.log2(lengths / frames))))
    return round(float(lengths[best])), float(away[best])


def _room(
    onsets: npt.NDArray[np.int64], places: npt.NDArray[np.int64], reach: int, sample_rate: int
) -> npt.NDArray[np.int64]:
    """Count the frames from each place to the next stroke; 0 within a stroke."""
    before, after = round(BEFORE_S * sample_rate) + reach, round(_AFTER_S * sample_rate) + reach
    after = min(after, int(np.median(np.diff(onsets))) // 4 + reach)
    following = np.searchsorted(onsets, places - after, side="right")
    bounded = np.concatenate([onsets, [np.iinfo(np.int64).max // 2]])
    return np.maximum(bounded[following] - before - places, 0)


class _Levels:
    """The levels of a sound's stretches over its quiet tenths."""

    def __init__(self, audio: Audio, sample_rate: int) -> None:
        self._hop = max(1, round(_LEVEL_S * sample_rate))
        self._count = audio.shape[1] // self._hop
        whole = audio[:, : self._count * self._hop].reshape(len(audio), self._count, self._hop)
        power = np.einsum("cnt,cnt->n", whole, whole)
        self._floor = max(float(np.percentile(power, 20)), float(power.max()) * 1e-7, 1e-12)
        self._running = np.concatenate([[0.0], np.cumsum(power, dtype=np.float64)])

    def db(self, places: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the mean level of each stretch, dB."""
        first = np.minimum(places // self._hop, self._count - 1)
        end = np.clip((places + lengths) // self._hop, first + 1, self._count)
        mean = (self._running[end] - self._running[first]) / (end - first)
        levels: npt.NDArray[np.float64] = np.maximum(10 * np.log10(np.maximum(mean, 1e-12) / self._floor), 0)
        return levels
