"""Clipping: flat tops, and what is left of them behind a low-pass.

Owns: how an overdriven wave is told from one that is square by nature.
Must not know: spectra.
"""

from __future__ import annotations

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
_PILED = 2.2
"""Samples near the top against those at half height: 0.3 in music and noise, up to 2 in a few tones."""
_TONE_S = 0.1
_MOST_FRAMES = 400


def clipping(raw: Audio, sample_rate: int, noise: bool) -> Iterator[Fault]:
    """Detect flat tops in a raw candidate; then tops that all end at the same height, as a low-pass leaves them.

    Args:
        noise: the sound is one by declaration: a crackle may be as high each time.
    """
    share = max(_share_at_top(side) for channel in raw for side in (channel, -channel))
    flat = [_flat_tops(channel) for channel in raw]
    if not share and any(_is_square(tops) for tops in flat):
        return
    flat_share = max(float((np.diff(tops)[:, 0] + 1).sum()) / raw.shape[1] for tops in flat)
    if share or flat_share > 2e-4:
        share = max(share, flat_share)
        yield Fault(name="clipping", penalty=min(60.0, 30 + 25_000 * share), severe=share >= 0.01)
        return
    if noise:
        return
    piled = max(_piled(side, sample_rate) for channel in raw for side in (channel, -channel))
    if piled > _PILED:
        yield Fault(name="clipping", penalty=55)


def _flat_tops(channel: Audio) -> npt.NDArray[np.int64]:
    """Find the runs of equal samples at the very top or bottom of the wave: int64 [N, 2], first and last index."""
    peak = float(np.abs(channel).max(initial=0.0))
    if peak < SILENT or len(channel) < _FLAT_RUN:
        return np.zeros((0, 2), np.int64)
    found = []
    for side in (channel, -channel):
        top = side >= side.max() * np.float32(0.995) if side.max() > 0.5 * peak else np.zeros(len(side), bool)
        alike = top[1:] & top[:-1] & (np.abs(np.diff(side)) <= 1e-6 * peak)
        flat = runs(alike)
        found.append(flat[np.diff(flat)[:, 0] + 1 >= _FLAT_RUN])  # a run of n equal pairs has n + 1 samples
    return np.concatenate(found)


def _share_at_top(side: Audio) -> float:
    """Return the share of samples at exactly one height, the highest, where hardly any are just below; else 0.

    What is cut off leaves single samples there, too, where a wave is so fast that none of its tops gets flat. A wave
    that repeats to the sample comes to its top from the same few heights each time, one that was cut from any.
    """
    top = float(side.max(initial=0.0))
    if top < SILENT:
        return 0.0
    high = side > top * np.float32(0.97)
    highest = side >= top * np.float32(1 - 1e-6)
    count = int(np.count_nonzero(highest))
    if count < _PILE_RUNS or 3 * count < np.count_nonzero(high):
        return 0.0
    places = runs(highest)
    before = np.unique(np.round(side[np.maximum(places[:, 0] - 1, 0)] / top, 4))
    return count / len(side) if len(places) >= _PILE_RUNS and 2 * len(before) >= len(places) else 0.0


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


def _piled(channel: Audio, sample_rate: int) -> float:
    """Compare the samples near the top with those at half height, in the loud half of a sound whose level varies."""
    hop = max(1, round(FRAME_S * sample_rate))
    count = len(channel) // hop
    if count < 8:
        return 0.0
    # a few hundred frames are enough to count in
    heights = channel[: count * hop].reshape(count, hop)[:: max(1, count // _MOST_FRAMES)]
    count = len(heights)
    tops = heights.max(axis=1)
    loud = heights[tops > 0.8 * np.percentile(tops, 95)]
    if len(loud) < max(8, 0.1 * count) or tops.max() < SILENT:
        return 0.0
    ceiling = float(np.percentile(loud.max(axis=1), 50))
    if ceiling <= 0 or _one_tone(channel, sample_rate):
        return 0.0
    at = loud[::4] / np.float32(ceiling)  # a quarter is enough to count
    high, middle = np.count_nonzero((at > 0.8) & (at <= 1.1)) / 0.3, np.count_nonzero((at > 0.45) & (at < 0.7)) / 0.25
    return high / max(middle, 1)


def _one_tone(channel: Audio, sample_rate: int) -> bool:
    """Return whether the loudest part is one tone or two, whose tops are their own."""
    size = round(_TONE_S * sample_rate)
    at = max(0, min(int(np.abs(channel).argmax()) - size // 2, len(channel) - size))
    part = channel[at : at + size]
    power = np.sort(np.square(np.abs(np.fft.rfft(part * np.hanning(len(part)).astype(np.float32)))))
    return float(power[-8:].sum()) > 0.8 * float(power.sum())
