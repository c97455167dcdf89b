"""Clipping: flat tops, and what is left of them behind a low-pass.

Owns: how an overdriven wave is told from one that is square by nature.
Must not know: which faults count, what was declared but noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.faults import FRAME_S, SILENT, Fault
from audio_pool.audio.runs import runs

__all__ = ["clipping"]

_FLAT_RUN = 4
"""Equal samples in a row at the peak that count as clipped: a sine of 20 Hz has fewer at 192 kHz."""
_PILE_RUNS = 6
"""Places at the very top that are worth counting."""
_SQUARE_EDGE = 3
"""Frames between two flat tops of a wave that is square, and not a rounder one that was cut."""
_TONE_S = 0.1
_LOUD = 0.7
"""Of the usual highest top: frames in which a ceiling would be reached."""
_LEAST_FRAMES = 6
_MOST_FRAMES = 120
_LEAST_NEAR = 150
_SLOPE_RATE = 44_100
_FEW_BANDS = 4.0
_EVEN = 0.07
_OF_A_SINE = 0.75
_GLIDES = 0.6


def clipping(raw: Audio, sample_rate: int, noise: bool) -> Iterator[Fault]:
    """Detect flat tops in a raw candidate; then tops that all end at the same height, as a low-pass leaves them.

    Args:
        noise: the sound is one by declaration, and may have any distribution.
    """
    share = max(_share_at_top(channel, sign) for channel in raw for sign in (1, -1))
    flat = [_flat_tops(channel) for channel in raw]
    if not share and any(_is_square(tops) for tops in flat):
        return
    flat_share = max(float((np.diff(tops)[:, 0] + 1).sum()) / raw.shape[1] for tops in flat)
    if share or flat_share > 2e-4:
        share = max(share, flat_share)
        yield Fault(name="clipping", penalty=min(60.0, 30 + 25_000 * share), severe=share >= 0.01)
        return
    if any(_blunted(channel, sample_rate, noise) for channel in raw):
        yield Fault(name="clipping", penalty=55)


def _flat_tops(channel: Audio) -> npt.NDArray[np.int64]:
    """Find the runs of equal samples at the very top or bottom of the wave: int64 [N, 2], first and last index."""
    high, low = float(channel.max(initial=0.0)), -float(channel.min(initial=0.0))
    peak = max(high, low)
    if peak < SILENT or len(channel) < _FLAT_RUN:
        return np.zeros((0, 2), np.int64)
    found = []
    for sign, top in ((1, high), (-1, low)):
        if top <= 0.5 * peak:
            continue
        limit = np.float32(top) * np.float32(0.995)
        at = np.flatnonzero(channel >= limit if sign > 0 else channel <= -limit)
        alike = (np.diff(at) == 1) & (np.abs(np.diff(channel[at])) <= 1e-6 * peak)
        flat = runs(alike)
        # a run of n equal pairs has n + 1 samples
        found.append(at[flat[np.diff(flat)[:, 0] + 1 >= _FLAT_RUN]])
    return np.concatenate(found)


def _share_at_top(channel: Audio, sign: int) -> float:
    """Return the share of samples at exactly one height, the highest, where hardly any are just below; else 0.

    With ``sign`` -1 it is the lowest, and those just above.

    What is cut off leaves single samples there, too, where a wave is so fast that none of its tops gets flat. A wave
    that repeats to the sample comes to its top from the same few heights each time, one that was cut from any.
    """
    top = float(channel.max(initial=0.0)) if sign > 0 else -float(channel.min(initial=0.0))
    if top < SILENT:
        return 0.0
    high = np.flatnonzero(channel > top * np.float32(0.97) if sign > 0 else channel < -top * np.float32(0.97))
    highest = high[sign * channel[high] >= top * np.float32(1 - 1e-6)]
    if len(highest) < _PILE_RUNS or 3 * len(highest) < len(high):
        return 0.0
    first = highest[np.diff(highest, prepend=-2) > 1]
    before = np.unique(np.round(channel[np.maximum(first - 1, 0)] / top, 4))
    return len(highest) / len(channel) if len(first) >= _PILE_RUNS and 2 * len(before) >= len(first) else 0.0


def _is_square(flat: npt.NDArray[np.int64]) -> bool:
    """Return whether one flat top follows the other at once: a pulse wave, which has nothing but flat tops."""
    if len(flat) < 8:
        return False
    flat = flat[np.argsort(flat[:, 0])]
    between = flat[1:, 0] - flat[:-1, 1]
    within = between[between < np.median(np.diff(flat)[:, 0]) * 2 + 8]  # not the pauses between two beeps
    lengths = np.diff(flat)[:, 0]
    even = np.abs(lengths[2:] - lengths[:-2]) <= 1
    return len(within) > 4 and float(np.median(within)) <= _SQUARE_EDGE and float(even.mean()) > 0.8


def _blunted(channel: Audio, sample_rate: int, noise: bool) -> bool:
    """Return whether a wave has a ceiling, not to the sample but as a filter or a codec leaves it behind clipping.

    In noise the wave is as fast near its tops as at half height, in a tone a third as fast, in speech and music
    between; where tops were cut off it dwells there, and only ripple is left. The highest of all is then hardly
    higher than the usual top, and what fills many bands is less peaked than any mixture of many parts can be.
    """
    hop = max(8, round(FRAME_S * sample_rate))
    count = len(channel) // hop
    if count < _LEAST_FRAMES:
        return False
    frames = channel[: count * hop].reshape(count, hop)
    tops = np.maximum(frames.max(axis=1), -frames.min(axis=1))
    if tops.max() < SILENT:
        return False
    loud = np.flatnonzero(tops > _LOUD * np.percentile(tops, 97))
    if len(loud) < _LEAST_FRAMES:
        return False
    loud = loud[:: math.ceil(len(loud) / _MOST_FRAMES)]
    wave = frames[loud]
    ceiling = np.float32(np.median(tops[loud]))
    lag = max(1, round(sample_rate / _SLOPE_RATE))
    height = np.abs(wave[:, lag:-lag]) / ceiling
    moves = np.abs(wave[:, 2 * lag :] - wave[:, : -2 * lag])
    near, half = moves[(height > 0.85) & (height < 1.15)], moves[(height > 0.4) & (height < 0.65)]
    if len(near) < _LEAST_NEAR or not half.size:
        return False
    slope = float(near.mean() / max(float(half.mean()), 1e-12))
    if slope >= 1:
        return False
    beyond = float(np.percentile(np.abs(wave), 99.9) / ceiling)
    bands = _bands(wave, sample_rate)
    square = np.square(wave)
    mean = square.mean(axis=1)
    peaked = float((np.square(square).mean(axis=1) / np.square(mean)).mean())
    if slope < 0.45 and beyond < 1.2:
        bent = _curvature(wave, height, lag)
        glides = bands < 2.5 and bent > _GLIDES
        # of a tone that never swells a square wave is as likely
        even = float(np.std(np.log(tops[loud]))) < _EVEN
        tone = bands < _FEW_BANDS and (even or bent > _OF_A_SINE) and _one_tone(channel, sample_rate)
        return not (tone or glides)
    if slope < 0.8 and beyond < 1.05 and bands >= 6 and peaked < 5:
        return True
    return peaked < 2.8 and bands >= 10 and slope < 1 and not noise


def _curvature(wave: Audio, height: npt.NDArray[np.floating], lag: int) -> float:
    """Return how bent a wave is near its ceiling against at half height, per height: 1 for a sine and for noise."""
    bent = np.sign(wave[:, lag:-lag]) * (2 * wave[:, lag:-lag] - wave[:, 2 * lag :] - wave[:, : -2 * lag])
    near, half = (height > 0.85) & (height < 1.15), (height > 0.4) & (height < 0.65)
    usual = abs(float(bent[half].mean() / height[half].mean()))
    return float(bent[near].mean() / height[near].mean()) / max(usual, 1e-12)


def _bands(wave: Audio, sample_rate: int) -> float:
    """Return how many bands of some 170 Hz share the energy of most frames [N, T]: 1 for a tone, over 10 for rain."""
    size = min(1 << round(math.log2(sample_rate / 172)), wave.shape[1])
    spectrum = np.fft.rfft(wave[:, :size] * np.hanning(size).astype(np.float32))
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    shares = power / np.maximum(power.sum(axis=1, keepdims=True), 1e-20)
    return float(1 / np.median(np.square(shares).sum(axis=1)))


def _one_tone(channel: Audio, sample_rate: int) -> bool:
    """Return whether the loudest part is one tone or two, whose tops are their own."""
    size = round(_TONE_S * sample_rate)
    at = max(0, min(int(np.abs(channel).argmax()) - size // 2, len(channel) - size))
    part = channel[at : at + size]
    power = np.sort(np.square(np.abs(np.fft.rfft(part * np.hanning(len(part)).astype(np.float32)))))
    return float(power[-8:].sum()) > 0.8 * float(power.sum())
