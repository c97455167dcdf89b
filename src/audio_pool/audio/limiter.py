"""A look-ahead limiter for true peaks: one smooth gain for all channels, also round the joint of a loop.

Owns: the gain's course and the ceiling it keeps.
Must not know: targets of loudness, file formats.

The gain goes down before a peak and comes up after it, each within a window, and its course is a minimum followed by
a mean over that window: so it is never above what a peak needs, and has no corner that would click.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from audio_pool.audio import Audio
from audio_pool.audio.loudness import true_peak_dbfs

__all__ = ["WINDOW_S", "limited"]

WINDOW_S = 0.02
"""Short enough that a stroke alone is held, long enough that 50 Hz is not bent."""
_OVERSAMPLING = 4
_MARGIN = 64
"""Frames before and after a finite sound or a turn, so that the interpolation has something to start from."""
_SAFE_DB = 0.02
_ROUNDS = 3


def limited(audio: Audio, sample_rate: int, ceiling_dbfs: float, circular: bool = False) -> tuple[Audio, float]:
    """Hold a sound's true peak under a ceiling.

    Args:
        audio: float32 [C, T], any level.
        ceiling_dbfs: highest true peak of the result, dBFS.
        circular: one turn of an endless loop: the gain, too, runs round its joint.

    Returns:
        float32 [C, T], and by how much the gain went down at the most, dB; 0 where it never had to.
    """
    out, deepest, aim = audio, 0.0, ceiling_dbfs
    for _ in range(_ROUNDS):
        peak = true_peak_dbfs(out, sample_rate, circular)
        if peak <= ceiling_dbfs:
            break
        aim -= _SAFE_DB if out is audio else peak - ceiling_dbfs + _SAFE_DB
        gain = _gain(audio, sample_rate, 10 ** (aim / 20), circular)
        deepest = -20 * math.log10(float(gain.min()))
        out = (audio * gain).astype(np.float32)
    else:  # what is left between samples after three rounds is hundredths of a decibel
        left = true_peak_dbfs(out, sample_rate, circular) - ceiling_dbfs
        if left > 0:
            out = out * np.float32(10 ** (-left / 20))
    return out, deepest


def _gain(audio: Audio, sample_rate: int, ceiling: float, circular: bool) -> Audio:
    """Compute the gain of each frame: float32 [T]."""
    needed = np.minimum(1.0, ceiling / np.maximum(_peaks(audio, circular), 1e-9))
    window = 2 * max(1, round(WINDOW_S * sample_rate / 2)) + 1
    # imported where something is limited: a worker that starts would wait half a second for them
    import scipy.ndimage

    mode: Literal["wrap", "nearest"] = "wrap" if circular else "nearest"
    lowest = scipy.ndimage.minimum_filter1d(needed, window, mode=mode)
    # two means of half the window: as safe as one of the whole, and smoother
    half = window // 2 + 1
    half -= 1 - half % 2
    smooth = scipy.ndimage.uniform_filter1d(lowest, half, mode=mode)
    gain: Audio = scipy.ndimage.uniform_filter1d(smooth, half, mode=mode).astype(np.float32)
    return gain


def _peaks(audio: Audio, circular: bool) -> Audio:
    """Measure the highest level at and around each frame, between samples too, of all channels: float32 [T]."""
    import scipy.signal

    length = audio.shape[1]
    padded = np.pad(audio, ((0, 0), (_MARGIN, _MARGIN)), mode="wrap" if circular else "constant")
    highest = np.zeros(length, np.float32)
    for channel in padded:
        fine = np.abs(scipy.signal.resample_poly(channel, _OVERSAMPLING, 1))
        around = fine.reshape(-1, _OVERSAMPLING).max(axis=1)
        around = np.maximum(around[1:-1], around[:-2])  # the stretch before a frame and the one after it
        np.maximum(highest, around[_MARGIN - 1 :][:length], out=highest)
    return highest
