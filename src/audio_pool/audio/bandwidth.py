"""How high a sound reaches: the edge of its spectrum.

Owns: the measure.
Must not know: what made the sound, what is told of it.
"""

from __future__ import annotations

import numpy as np

from audio_pool.audio import Audio
from audio_pool.audio.kernels import window_powers

__all__ = ["bandwidth_hz", "spectral_edge_hz"]

_WINDOW = 4096
_MOST_WINDOWS = 512
"""Evenly over the sound, where it has more."""
_BAND_BINS = 4
_WITHIN_DB = 80.0
"""Below its strongest band what a sound has at a frequency is not heard, and may be rounding or a filter's tail."""


def bandwidth_hz(audio: Audio, sample_rate: int, *limits: float | None) -> float | None:
    """Return up to which frequency there is anything, in whole Hz; None for silence.

    Args:
        limits: frequencies above which nothing can have been made: what is there is a resampler's slope.
    """
    edge = spectral_edge_hz(audio, sample_rate)
    least = min((one for one in limits if one is not None), default=sample_rate / 2)
    return None if edge is None else float(round(min(edge, least)))


def spectral_edge_hz(audio: Audio, sample_rate: int) -> float | None:
    """Measure the highest frequency that a sound has anything at, in Hz; None for silence.

    That is the upper end of the highest band, four bins of 4,096 wide, whose power, averaged over the whole sound,
    is within 80 dB of the strongest band's.

    Args:
        audio: float32 [C, T] at ``sample_rate``.
    """
    length = audio.shape[1]
    if length < _WINDOW:
        audio = np.pad(audio, ((0, 0), (0, _WINDOW - length)))
        length = _WINDOW
    count = min(_MOST_WINDOWS, 2 * (length // _WINDOW))
    places = np.linspace(0, length - _WINDOW, max(1, count)).round().astype(np.int64)
    # Blackman-Harris: its side lobes lie 92 dB down, and those of Hann would reach the threshold
    turns = 2 * np.pi * np.arange(_WINDOW) / _WINDOW
    window = 0.35875 - 0.48829 * np.cos(turns) + 0.14128 * np.cos(2 * turns) - 0.01168 * np.cos(3 * turns)
    bounds = np.arange(0, _WINDOW // 2 + 1, _BAND_BINS, dtype=np.int64)
    powers = window_powers(np.ascontiguousarray(audio), places, window.astype(np.float32), bounds).sum(axis=0)
    if not powers.max() > 0:
        return None
    highest = int(np.flatnonzero(powers >= powers.max() * 10 ** (-_WITHIN_DB / 10))[-1])
    return float(bounds[highest + 1]) * sample_rate / _WINDOW
