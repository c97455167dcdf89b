"""Loudness, true peak and the gain that follows from them.

Owns: ITU-R BS.1770-4 integrated loudness and an oversampled true peak, also for endless loops.
Must not know: the purpose of the level, file formats.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.kernels import filtered_powers, irfft, rfft

__all__ = [
    "SHORT_CLIP_S",
    "gain_db",
    "gain_for",
    "k_weighting",
    "loudness_lufs",
    "short_term_lufs",
    "true_peak_dbfs",
]

SHORT_CLIP_S = 0.4
"""One gating block of BS.1770-4: anything shorter has no integrated loudness."""
SHORT_CLIP_HEADROOM_DB = 6.0
"""A click normalised by its peak alone sounds too loud beside sounds normalised by loudness."""
_HOP_S = 0.1
_SHORT_TERM_S = 3.0
"""Window of the short-term loudness, EBU Tech 3341."""
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
_WARM_S = 0.25
"""The K-weighting's slowest pole (38 Hz, critically damped) has decayed by 400 dB after this."""

_OVERSAMPLING = 4
_WINDOW = 4096
_MARGIN = 512
"""Tapered ends of each window, so that it wraps without a step; ignored in the result."""
_ROWS = 32
_MOST_BETWEEN = 2.0
"""Highest ratio of a peak between two samples to the samples nearby, in any music, speech or noise."""

_NEAR = 0.6
_FEW = 8
_ALIKE = 0.8
"""Share of the highest estimate over which a window is looked at in full."""


def _short_taps() -> Audio:
    """Compute the weights that estimate what is a quarter, a half and three quarters of a sample away: [6, 25]."""
    reach = 12
    away = np.array([-0.75, -0.5, -0.25, 0.25, 0.5, 0.75])[:, None] - np.arange(-reach, reach + 1)
    taps: Audio = (np.sinc(away) * np.cos(np.pi / 2 * away / (reach + 1)) ** 2).astype(np.float32)
    return taps


_TAPS = _short_taps()


def k_weighting(sample_rate: int) -> npt.NDArray[np.float64]:
    """Compute the two biquads of BS.1770-4 (tables 1 and 2) at any rate: float64 [2, 6], second-order sections.

    The standard gives coefficients for 48 kHz only; these are the analogue prototypes behind them (De Man,
    "Evaluation of implementations of the EBU R128 loudness measurement", 2018), transformed bilinearly.
    """
    gain, q, f0 = 3.999843853973347, 0.7071752369554196, 1681.974450955533
    k = math.tan(math.pi * f0 / sample_rate)
    high = 10 ** (gain / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / q + k * k
    shelf = [
        (high + band * k / q + k * k) / a0,
        2 * (k * k - high) / a0,
        (high - band * k / q + k * k) / a0,
        1.0,
        2 * (k * k - 1) / a0,
        (1 - k / q + k * k) / a0,
    ]
    q, f0 = 0.5003270373238773, 38.13547087602444
    k = math.tan(math.pi * f0 / sample_rate)
    a0 = 1 + k / q + k * k
    low_cut = [1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]
    return np.array([shelf, low_cut])


def loudness_lufs(audio: Audio, sample_rate: int, circular: bool = False) -> float:
    """Measure the integrated loudness, LUFS.

    Args:
        audio: float32 [C, T], one or two channels, each of weight 1.
        circular: measure an endless loop: the filter is settled and blocks run across the seam.

    Returns:
        minus infinity for silence and for clips under 400 ms.
    """
    length = audio.shape[1]
    block = round(SHORT_CLIP_S * sample_rate)
    if length < block:
        return -math.inf
    warm = round(_WARM_S * sample_rate) if circular else 0
    hop = _HOP_S * sample_rate
    starts = np.arange(0, length - hop / 2, hop) if circular else np.arange(0, length - block + 0.5, hop)
    first = np.round(starts).astype(np.int64)
    end = first + block if circular else np.minimum(first + block, length)
    inside, beyond = np.minimum(end, length), np.maximum(end - length, 0)
    # blocks overlap: the stretches between all their ends are summed once
    bounds = np.unique(np.concatenate([[0], first, inside, beyond]))
    sums = filtered_powers(k_weighting(sample_rate), audio, bounds, warm)
    running = np.concatenate([[0.0], np.cumsum(sums)])
    energy = running[np.searchsorted(bounds, inside)] - running[np.searchsorted(bounds, first)]
    return _gated((energy + running[np.searchsorted(bounds, beyond)]) / block)


def short_term_lufs(audio: Audio, sample_rate: int) -> float:
    """Measure the highest short-term loudness, LUFS: of the loudest three seconds, or of all where there are fewer.

    Returns:
        minus infinity for silence and for clips under 400 ms.
    """
    length = audio.shape[1]
    if length < round(SHORT_CLIP_S * sample_rate):
        return -math.inf
    window = min(length, round(_SHORT_TERM_S * sample_rate))
    first = np.arange(0, length - window + 1, max(1, round(_HOP_S * sample_rate)))
    bounds = np.unique(np.concatenate([first, first + window]))
    running = np.concatenate([[0.0], np.cumsum(filtered_powers(k_weighting(sample_rate), audio, bounds))])
    energy = running[np.searchsorted(bounds, first + window)] - running[np.searchsorted(bounds, first)]
    loudest = float(energy.max()) / window
    return _lufs_of(loudest) if loudest > _energy_of(_ABSOLUTE_GATE) else -math.inf


def _gated(energy: npt.NDArray[np.float64]) -> float:
    """Apply BS.1770-4, section 5.1: absolute gate, then relative gate, on the blocks' mean squares."""
    kept = energy[energy > _energy_of(_ABSOLUTE_GATE)]
    if not kept.size:
        return -math.inf
    kept = kept[kept > _energy_of(_lufs_of(float(kept.mean())) + _RELATIVE_GATE)]
    return _lufs_of(float(kept.mean()))


def _lufs_of(energy: float) -> float:
    return -0.691 + 10 * math.log10(energy)


def _energy_of(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))


def true_peak_dbfs(audio: Audio, sample_rate: int, circular: bool = False) -> float:
    """Measure the highest level between or at samples, dBFS (dBTP); minus infinity for digital silence.

    BS.1770-4, annex 2: four times oversampled, here up to half the rate instead of through the standard's
    short filter, and with a parabola through the highest points, so that a meter which oversamples more
    finds no more.
    """
    del sample_rate  # the measure is per sample; the parameter keeps the three functions alike
    peak = max((_peak_of(channel, circular) for channel in audio), default=0.0)
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def _peak_of(channel: Audio, circular: bool) -> float:
    """Oversample in short windows in the frequency domain: one core, no thread pool."""
    hop = _WINDOW - 2 * _MARGIN
    filled = -len(channel) % hop + _MARGIN
    padded = np.pad(channel, (_MARGIN, filled), mode="wrap" if circular and len(channel) else "constant")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::hop]
    windows = windows[_near_the_peak(padded, windows, hop)]
    ramp = (0.5 - 0.5 * np.cos(np.pi * np.arange(_MARGIN) / _MARGIN)).astype(np.float32)
    taper = np.concatenate([ramp, np.ones(hop, np.float32), ramp[::-1]])
    inner = slice(_MARGIN * _OVERSAMPLING - 1, 1 - _MARGIN * _OVERSAMPLING)
    peak = 0.0
    for first in range(0, len(windows), _ROWS):
        spectrum = rfft(windows[first : first + _ROWS] * taper)
        fine = irfft(spectrum, _WINDOW * _OVERSAMPLING)
        peak = max(peak, _refined(np.abs(fine[:, inner]) * _OVERSAMPLING))
    return peak


def _near_the_peak(padded: Audio, windows: Audio, hop: int) -> npt.NDArray[np.bool_]:
    """Choose the windows, float32 [N, T] of a channel, which may hold its highest point.

    By a short interpolation round the samples that are over 0.6 of the highest one, which is right to a decibel or
    two; where nearly all are, as in a square wave, by the samples alone.
    """
    tops = np.maximum(windows.max(axis=1), -windows.min(axis=1))
    chosen: npt.NDArray[np.bool_] = tops * _MOST_BETWEEN >= tops.max()
    inside = np.abs(padded[_MARGIN:-_MARGIN])
    near = np.flatnonzero(inside > _NEAR * inside.max(initial=0.0))
    if not 0 < len(near) < len(inside) // 8 or chosen.sum() < _FEW:
        return chosen
    around = np.lib.stride_tricks.sliding_window_view(padded, _TAPS.shape[1])[near + _MARGIN - _TAPS.shape[1] // 2]
    between = np.abs(np.einsum("nt,pt->np", around, _TAPS)).max(axis=1)
    heights = np.maximum(inside[near], between)
    first = np.flatnonzero(np.diff(near // hop, prepend=-1))
    highest = np.zeros(len(windows), np.float32)
    highest[near[first] // hop] = np.maximum.reduceat(heights, first)
    chosen &= highest >= _ALIKE * highest.max()
    return chosen


def _refined(curves: Audio) -> float:
    """Find the highest vertex of parabolas through the highest points of curves, float32 [N, T]."""
    top = float(curves.max(initial=0.0))
    row, at = np.nonzero(curves[:, 1:-1] > 0.9 * top)
    left, mid, right = (curves[row, at + shift].astype(np.float64) for shift in (0, 1, 2))
    crest = (mid >= left) & (mid >= right) & (left + right < 2 * mid)
    left, mid, right = left[crest], mid[crest], right[crest]
    vertex = mid + (left - right) ** 2 / (8 * (2 * mid - left - right))
    return max(top, float(vertex.max(initial=0.0)))


def gain_db(
    audio: Audio, sample_rate: int, target_lufs: float | None, true_peak_limit_dbfs: float, circular: bool = False
) -> float:
    """Measure a sound and compute its gain, dB; see ``gain_for``."""
    lufs = loudness_lufs(audio, sample_rate, circular)
    return gain_for(lufs, true_peak_dbfs(audio, sample_rate, circular), target_lufs, true_peak_limit_dbfs)


def gain_for(lufs: float, peak_dbfs: float, target_lufs: float | None, true_peak_limit_dbfs: float) -> float:
    """Compute the constant gain, dB, that reaches the target loudness or stops at the true-peak limit.

    Without a measurable loudness (under 400 ms, or below the gate) the peak is set 6 dB below the limit.
    Rounded down to a thousandth, so that the last bit of a measurement does not change the sound.

    Args:
        lufs: measured loudness, may be minus infinity.
        peak_dbfs: measured true peak, may be minus infinity.
        target_lufs: None keeps the level, as far as the true peak allows.
        true_peak_limit_dbfs: the highest true peak of the result.
    """
    if peak_dbfs == -math.inf:
        return 0.0
    room = true_peak_limit_dbfs - peak_dbfs
    if target_lufs is None:
        gain = min(0.0, room)
    elif lufs == -math.inf:
        gain = room - SHORT_CLIP_HEADROOM_DB
    else:
        gain = min(target_lufs - lufs, room)
    return math.floor(gain * 1000) / 1000
