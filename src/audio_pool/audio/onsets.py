"""Onsets: where the separate strokes of a sound begin, and what is usual between them.

Owns: the strength of onsets by spectral flux, which peaks of it are strokes, and the beat they keep, if any.
Must not know: what is done between strokes.

Levels cannot tell a tick from a noise floor that is nearly as loud; the rise of the spectrum within 20 ms can.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.kernels import window_powers

__all__ = ["STEADY", "Beat", "band_edges", "beat_of", "find_onsets"]

_HOP_S = 0.01
_ENOUGH_RATE = 32_000
"""At higher rates two samples are first averaged into one: strokes are heard well under 8 kHz."""
_BANDS = 16
_LOWEST_HZ = 100.0
_FLOOR_DB = -70.0
"""Below the loudest band, changes of level count for little."""
_NOISE_DB = 6.1
"""Standard deviation of the change of a noise's level in one bin of one channel; in n of them its nth root."""
_CLEAR = 7.0
"""Median absolute deviations over the median: steady noise reaches this once in hours."""
_LEAST_RISE = 1.9
"""Rise over the usual fluctuation, root mean square of all bands, which a stroke has at the least."""
_WEAK = 0.4
"""Share of the usual stroke's strength under which a rise is not one of the strokes."""
_APART_S = 0.08
"""Strokes that follow faster are heard as one."""
STEADY = 0.05
"""Root mean square distance of strokes from a regular grid, as a share of its period, up to which they keep a beat."""


@dataclass(frozen=True, kw_only=True)
class Beat:
    """A regular grid of strokes."""

    period: float
    """Frames."""


def find_onsets(audio: Audio, sample_rate: int, circular: bool = False) -> npt.NDArray[np.int64]:
    """Find where separate strokes begin, to within 10 ms; none in steady noise, tones and slow swells.

    Args:
        audio: float32 [C, T].
        circular: it is one turn of an endless loop.

    Returns:
        int64 [N]: frames, in order.
    """
    hop = round(_HOP_S * sample_rate)
    if audio.shape[1] < 12 * hop or hop < 16:
        return np.zeros(0, np.int64)
    rise = _rises(audio, sample_rate, hop, circular)
    middle = float(np.median(rise))
    spread = 1.4826 * float(np.median(np.abs(rise - middle)))
    least = max(_LEAST_RISE, middle + _CLEAR * spread)
    apart = max(1, round(_APART_S / _HOP_S))
    padded = np.pad(rise, apart, mode="wrap" if circular else "edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * apart + 1)
    peaks = np.flatnonzero((rise >= least) & (rise == around.max(axis=1)))
    if not peaks.size:
        return np.zeros(0, np.int64)
    peaks = peaks[rise[peaks] >= _WEAK * np.median(rise[peaks])]
    return peaks * hop


def beat_of(onsets: npt.NDArray[np.int64], steady: float = STEADY) -> Beat | None:
    """Return the beat that strokes keep, or None where they come as they like, or are fewer than four.

    Single strokes may be missing or come a little early or late, by ``steady`` of the period.
    """
    if len(onsets) < 4:
        return None
    gaps = np.diff(onsets)
    period = float(np.median(gaps))
    counts = np.concatenate([[0], np.cumsum(np.maximum(1, np.round(gaps / period)))])
    slope, first = np.polyfit(counts, onsets, 1)
    away = (onsets - first - slope * counts) / slope
    # a stroke that is not there must be the exception, else any times fit some grid
    if math.sqrt(float(np.square(away).mean())) > steady or len(onsets) < 0.75 * (counts[-1] + 1):
        return None
    return Beat(period=float(slope))


def _rises(audio: Audio, sample_rate: int, hop: int, circular: bool) -> npt.NDArray[np.float64]:
    """Measure each 10 ms how far the spectrum rises within 20 ms, in units of its usual fluctuation: [T // hop]."""
    count = audio.shape[1] // hop
    if sample_rate >= _ENOUGH_RATE:
        step = 2
        even = audio.shape[1] // 2 * 2
        audio = audio[:, :even:2] + audio[:, 1:even:2]
    else:
        step = 1
    size = 1 << max(5, round(1.2 * hop / step).bit_length() - 1)
    padded = np.pad(audio, ((0, 0), (0, size)), mode="wrap" if circular else "constant")
    places = (np.arange(count) * (hop / step)).astype(np.int64)
    edges = band_edges(size, sample_rate / step)
    # nearly flat: between two Hann windows a short tick would be lost
    taper = np.sin(np.pi / 2 * (np.arange(size // 8) + 0.5) / (size // 8)) ** 2
    window = np.concatenate([taper, np.ones(size - 2 * len(taper)), taper[::-1]]).astype(np.float32)
    power = window_powers(padded, places, window, edges + 1)
    loudest = float(power.max())
    if loudest <= 0:
        return np.zeros(count)
    level = 10 * np.log10(power + loudest * 10 ** (_FLOOR_DB / 10))
    before = np.roll(level, 2, axis=0)
    if not circular:
        before[:2] = level[:2]
    change = level - before
    spread = 1.4826 * np.median(np.abs(change), axis=0)
    risen = np.maximum(change, 0) / np.maximum(spread, _NOISE_DB / np.sqrt(np.diff(edges) * len(audio)))
    rises: npt.NDArray[np.float64] = np.sqrt(np.square(risen).mean(axis=1))
    return rises


def band_edges(size: int, sample_rate: float, count: int = _BANDS) -> npt.NDArray[np.int64]:
    """Return the bins at which bands of equal ratio meet, each at least one bin wide."""
    highest = size // 2
    lowest = max(1, round(_LOWEST_HZ * size / sample_rate))
    return np.unique(np.round(np.geomspace(lowest, highest, count + 1)).astype(np.int64))
