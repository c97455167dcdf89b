"""Trains: strokes that follow each other in a time of their own, as tick and tock do, or two feet.

Owns: which strokes sound alike, and into which trains they fall.
Must not know: how loops are made or judged.

A clock that ticks and tocks is even, and still a turn of an odd number of its strokes stumbles: two ticks follow each
other at the joint. So a rhythm is taken apart, by sound first, then by place: every second, third or fourth stroke.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.kernels import window_powers
from audio_pool.audio.onsets import STEADY, band_edges, beat_of

__all__ = ["kinds_of", "trains_of"]

_BEFORE_S = 0.025
_LENGTH_S = 0.08
_EDGE_S = 0.01
"""What is looked at of a stroke: flat, as its onset is only found to within 10 ms, and too short for the next one."""
_BANDS = 16
_UNDER_DB = -30.0
"""Under a stroke's loudest band, the others count for nothing."""
_MOST_KINDS = 3
_APART_DB = 5.0
"""Strokes of one kind differ by two or three decibels in level."""
_APART = 2.5
"""Distance of two kinds, in distances within them: any one kind, cut in halves, has less."""
_LEAST = 4
"""Strokes that make a train."""
_MOST_PLACES = 4
_SAME = 0.03
"""Up to this share of each other two periods are one."""

Places = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def kinds_of(audio: Audio, onsets: Places, sample_rate: int) -> Places:
    """Number the kinds of strokes by their sound: int64 [N], all 0 where they are alike, or too few to tell.

    Args:
        audio: float32 [C, T].
        onsets: where its strokes begin, frames, in order.
    """
    kinds = np.zeros(len(onsets), np.int64)
    if len(onsets) < 2 * _LEAST:
        return kinds
    colours = _colours(audio, onsets, sample_rate)
    for number in range(1, _MOST_KINDS):
        splits = [(kind, _halves(colours[kinds == kind])) for kind in range(number)]
        found = [(kind, half) for kind, half in splits if half is not None]
        if not found:
            break
        kind, half = found[0]
        kinds[np.flatnonzero(kinds == kind)[half]] = number
    return kinds


def trains_of(onsets: Places, kinds: Places) -> list[Places]:
    """Take strokes apart into trains that each keep a beat.

    Returns:
        the indices of each train's strokes: one train where all strokes keep one beat and sound alike; none where
        they come as they like.
    """
    by_kind = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    if len(by_kind) > 1:
        by_kind = [train for train in by_kind if len(train) >= _LEAST]
        if len(by_kind) > 1 and all(beat_of(onsets[train]) is not None for train in by_kind):
            return by_kind
    for places in range(1, _MOST_PLACES + 1):
        if len(onsets) < places * _LEAST:
            break
        trains = [np.arange(place, len(onsets), places) for place in range(places)]
        beats = [beat_of(onsets[train], STEADY / places) for train in trains]
        periods = [beat.period for beat in beats if beat is not None]
        if len(periods) == places and max(periods) <= (1 + _SAME) * min(periods):
            return trains
    return []


def _colours(audio: Audio, onsets: Places, sample_rate: int) -> Floats:
    """Measure the level of each stroke in each band over what is usual before strokes, dB: [N, bands]."""
    size = max(64, round(_LENGTH_S * sample_rate))
    first = onsets - round(_BEFORE_S * sample_rate)
    padded = np.pad(audio, ((0, 0), (size + size // 2, size + size // 2)))
    edge = round(_EDGE_S * sample_rate)
    rise = np.sin(np.pi / 2 * (np.arange(edge) + 0.5) / edge) ** 2
    taper = np.concatenate([rise, np.ones(size - 2 * edge), rise[::-1]]).astype(np.float32)
    edges = band_edges(size, sample_rate, _BANDS)
    powers = []
    for places in (first + size // 2, first + size + size // 2):  # before it, in it
        inside = np.clip(places, 0, padded.shape[1] - size)
        powers.append(window_powers(padded, inside, taper, edges + 1))
    floor = np.median(powers[0], axis=0)
    risen = np.maximum(powers[1] - floor, floor)
    loudest = risen.max(axis=1, keepdims=True) + 1e-20
    levels: Floats = 10 * np.log10(np.maximum(risen, loudest * 10 ** (_UNDER_DB / 10)))
    return levels


def _halves(colours: Floats) -> npt.NDArray[np.bool_] | None:
    """Split strokes into two kinds by two means; None where they are of one."""
    if len(colours) < 2 * _LEAST:
        return None
    away = np.square(colours - colours.mean(axis=0)).mean(axis=1)
    one = colours[int(np.argmax(away))]
    other = colours[int(np.argmax(np.square(colours - one).mean(axis=1)))]
    half = np.zeros(len(colours), bool)
    for _ in range(8):
        half = np.square(colours - one).mean(axis=1) > np.square(colours - other).mean(axis=1)
        if min(half.sum(), (~half).sum()) < _LEAST:
            return None
        one, other = colours[~half].mean(axis=0), colours[half].mean(axis=0)
    within = np.square(colours - np.where(half[:, None], other, one)).mean()
    between = np.square(one - other).mean()
    return half if between > max(_APART_DB**2, _APART**2 * within) else None
