"""Loudness, true peak and the one gain that follows from them.

Owns: ITU-R BS.1770-4 integrated loudness and an oversampled true peak, also for endless loops.
Must not know: what the level is for, or how the sound is written.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.signal

from audio_pool.audio import Audio

__all__ = ["SHORT_CLIP_S", "gain_db", "gain_for", "k_weighting", "loudness_lufs", "true_peak_dbfs"]

SHORT_CLIP_S = 0.4
"""One gating block of BS.1770-4: anything shorter has no integrated loudness."""
SHORT_CLIP_HEADROOM_DB = 6.0
"""A click levelled by its peak alone sounds too loud beside levelled sounds."""
_HOP_S = 0.1
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
_WARM_S = 0.25
"""The K-weighting's slowest pole (38 Hz, critically damped) has died away by -400 dB after this."""

_OVERSAMPLING = 4
_TAPS = 32
"""Taps per phase of the interpolator: exact to 0.02 dB up to 20 kHz at 44.1 kHz, where the 12 of BS.1770-4
read several tenths too little."""
_HOP = 32


def k_weighting(sample_rate: int) -> npt.NDArray[np.float64]:
    """The two biquads of BS.1770-4 (tables 1 and 2) at any rate: float64 [2, 6], second-order sections.

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
    """Integrated loudness, LUFS.

    Args:
        audio: float32 [C, T], one or two channels, each of weight 1.
        circular: measured as an endless loop: the filter is settled and blocks run across the joint.

    Returns:
        minus infinity for silence and for clips under 400 ms.
    """
    length = audio.shape[1]
    block = round(SHORT_CLIP_S * sample_rate)
    if length < block:
        return -math.inf
    signal = audio.astype(np.float64)
    warm = 0
    if circular:
        warm = min(round(_WARM_S * sample_rate), length)
        signal = np.concatenate([signal[:, length - warm :], signal], axis=1)
    weighted = scipy.signal.sosfilt(k_weighting(sample_rate), signal, axis=1)[:, warm:]
    power = np.einsum("ct,ct->t", weighted, weighted)
    hop = _HOP_S * sample_rate
    if circular:
        power = np.concatenate([power, power[:block]])
        starts = np.arange(0, length - hop / 2, hop)
    else:
        starts = np.arange(0, length - block + 0.5, hop)
    running = np.concatenate([[0.0], np.cumsum(power)])
    first = np.round(starts).astype(np.int64)
    energy = (running[np.minimum(first + block, len(power))] - running[first]) / block
    return _gated(energy)


def _gated(energy: npt.NDArray[np.float64]) -> float:
    """BS.1770-4, section 5.1: absolute gate, then relative gate, on the blocks' mean squares."""
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
    """The highest level between or at samples, dBFS (dBTP); minus infinity for digital silence.

    BS.1770-4, annex 2: four times oversampled, here with a longer interpolator and a parabola through the
    highest points, so that a meter which oversamples more finds no more.
    """
    del sample_rate  # the measure is per sample; the parameter keeps the three functions alike
    peak = max((_peak_of(channel, circular) for channel in audio), default=0.0)
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def _interpolator() -> Audio:
    """float32 [_HOP + _TAPS - 1, _HOP * _OVERSAMPLING]: one product turns a stretch into its oversampling.

    A Toeplitz product through BLAS costs a tenth of a polyphase filter in a scalar loop.
    """
    span = np.arange(_TAPS) - (_TAPS // 2 - 1)
    matrix = np.zeros((_HOP + _TAPS - 1, _HOP * _OVERSAMPLING), np.float32)
    for phase in range(_OVERSAMPLING):
        x = span - phase / _OVERSAMPLING
        inside = np.clip(1 - (x / (_TAPS / 2)) ** 2, 0, None)
        taps = np.sinc(x) * np.i0(5.0 * np.sqrt(inside)) / np.i0(5.0)
        taps /= taps.sum()
        for step in range(_HOP):
            matrix[step : step + _TAPS, step * _OVERSAMPLING + phase] = taps
    return matrix


_MATRIX = _interpolator()
_STRETCH = 1 << 17


def _peak_of(channel: Audio, circular: bool) -> float:
    before, after = _TAPS // 2 - 1, _TAPS // 2 + _HOP
    padded = np.pad(channel, (before, after), mode="wrap" if circular and len(channel) else "constant")
    peak = 0.0
    for start in range(0, len(channel), _STRETCH):
        part = padded[start : start + _STRETCH + before + after]
        rows = (len(part) - (_TAPS - 1)) // _HOP
        windows = np.lib.stride_tricks.sliding_window_view(part, _HOP + _TAPS - 1)[::_HOP][:rows]
        peak = max(peak, _refined(np.abs(windows @ _MATRIX).ravel()))
    return peak


def _refined(curve: Audio) -> float:
    """The highest vertex of parabolas through a curve's highest points."""
    top = float(curve.max(initial=0.0))
    if top == 0.0 or len(curve) < 3:
        return top
    at = np.flatnonzero(curve[1:-1] > 0.9 * top) + 1
    left, mid, right = (curve[at + shift].astype(np.float64) for shift in (-1, 0, 1))
    crest = (mid >= left) & (mid >= right) & (left + right < 2 * mid)
    left, mid, right = left[crest], mid[crest], right[crest]
    vertex = mid + (left - right) ** 2 / (8 * (2 * mid - left - right))
    return max(top, float(vertex.max(initial=0.0)))


def gain_db(
    audio: Audio, sample_rate: int, target_lufs: float | None, true_peak_limit_dbfs: float, circular: bool = False
) -> float:
    """The one constant gain, dB, that reaches the target or stops at the true peak; see ``gain_for``."""
    lufs = loudness_lufs(audio, sample_rate, circular)
    return gain_for(lufs, true_peak_dbfs(audio, sample_rate, circular), target_lufs, true_peak_limit_dbfs)


def gain_for(lufs: float, peak_dbfs: float, target_lufs: float | None, true_peak_limit_dbfs: float) -> float:
    """The gain, dB, for a sound of measured loudness and true peak (either may be minus infinity).

    A sound without a loudness (under 400 ms, or too faint for the gate) is set by its peak: 6 dB below the
    limit. Rounded down to a thousandth, so that the last bit of a measurement does not change the sound.

    Args:
        target_lufs: None leaves the level, as far as the true peak allows.
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
