"""The look-ahead limiter for a sound that comes in pieces, and the fades at its ends.

Owns: RunningLimiter and RunningFades: what each holds back until it knows what follows.
Must not know: targets of loudness, where pieces come from.

The gain's course is that of limiter.py. It is reckoned in blocks that are counted from the sound's start, so that the
result does not depend on the pieces. A ceiling cannot be measured and approached again in what has left already:
levels between samples are therefore reckoned exactly, and the aim is lower by what a gain that moves may add
between two samples.
"""

from __future__ import annotations

import math

import numpy as np

from audio_pool.audio import Audio
from audio_pool.audio.edges import AT_REST, FADE_IN_S, FADE_OUT_S, fade_ramp
from audio_pool.audio.kernels import irfft, rfft
from audio_pool.audio.limiter import WINDOW_S

__all__ = ["RunningFades", "RunningLimiter"]

_TRANSFORMED = 16_384
"""Frames of which levels between samples are reckoned at a time, with all that stands around a block."""
_OVERSAMPLING = 4
_MARGIN = 512
"""Tapered ends of what is transformed; nothing there counts."""
_SAFE_DB = 0.3
_MOST_BETWEEN = 2.0
"""Highest ratio of a level between two samples to the samples nearby, in any music, speech or noise."""


class RunningLimiter:
    """One smooth gain for all channels that keeps true peaks under a ceiling."""

    def __init__(self, channels: int, sample_rate: int, ceiling_dbfs: float) -> None:
        """``ceiling_dbfs``: highest true peak of what comes out."""
        self.deepest_db = 0.0
        """By how much the gain has gone down at the most."""
        self._aim = 10 ** ((ceiling_dbfs - _SAFE_DB) / 20)
        self._window = 2 * max(1, round(WINDOW_S * sample_rate / 2)) + 1
        self._half = self._window // 2 + 1
        self._half -= 1 - self._half % 2
        reach = self._window // 2 + 2 * (self._half // 2)
        self._context = reach + _MARGIN
        self._block = max(1024, _TRANSFORMED - 2 * self._context)
        # silence before the sound: its start is limited like any other place
        self._held = np.zeros((channels, self._context), np.float32)

    def push(self, audio: Audio) -> Audio:
        """Take the next piece, float32 [C, T]; return what no further one can change."""
        self._held = np.concatenate([self._held, audio], axis=1)
        out = [self._held[:, :0]]
        while self._held.shape[1] >= 2 * self._context + self._block:
            out.append(self._limited(self._block))
        return np.concatenate(out, axis=1)

    def end(self) -> Audio:
        """Return the rest."""
        left = self._held.shape[1] - self._context
        filled = -left % self._block + self._context
        silence = np.zeros((len(self._held), filled), np.float32)
        return self.push(silence)[:, :left]

    def _limited(self, frames: int) -> Audio:
        """Return the next frames and drop what is no longer needed before them."""
        around = self._held[:, : frames + 2 * self._context]
        inside = around[:, self._context : self._context + frames]
        self._held = self._held[:, frames:]
        if _MOST_BETWEEN * float(np.abs(around).max(initial=0.0)) <= self._aim:
            return inside
        needed = np.minimum(1.0, self._aim / np.maximum(_peaks(around), 1e-9))
        if needed.min() >= 1.0:
            return inside
        lowest = _lowest(needed, self._window)
        gain = _mean(_mean(lowest, self._half), self._half)
        self.deepest_db = max(self.deepest_db, -20 * math.log10(float(gain.min())))
        limited: Audio = (inside * gain).astype(np.float32)
        return limited


class RunningFades:
    """A sound's edges faded where they would click, as ``edges.faded``; its last hundredth is held back for that."""

    def __init__(self, first: Audio, sample_rate: int, frames: int | None = None) -> None:
        """
        Args:
            first: the sound's beginning, float32 [C, T]: what is at rest is judged by its highest sample.
            frames: of the whole sound, where that is known; no edge takes more than a quarter of it.
        """
        most = max(1, frames // 4) if frames is not None else first.shape[1]
        self._top = float(np.abs(first).max(initial=0.0))
        self._rise = min(round(FADE_IN_S * sample_rate), most)
        self._fall = min(round(FADE_OUT_S * sample_rate), most)
        self._begun = False
        self._held = np.zeros((len(first), 0), np.float32)

    def push(self, audio: Audio) -> Audio:
        """Take the next piece, float32 [C, T]; return all but what may be the end."""
        if audio.shape[1]:
            self._top = max(self._top, float(np.abs(audio).max()))
        held = np.concatenate([self._held, audio], axis=1)
        if not self._begun:
            if held.shape[1] < self._rise + self._fall:
                self._held = held
                return held[:, :0]
            self._begin(held)
        keep = held.shape[1] - self._fall
        self._held = held[:, max(0, keep) :]
        return held[:, : max(0, keep)]

    def end(self) -> Audio:
        """Return the rest."""
        held, self._held = self._held, self._held[:, :0]
        if not self._begun:
            self._rise = min(self._rise, held.shape[1])
            self._begin(held)
        fall = min(self._fall, held.shape[1])
        if fall >= 2 and float(np.abs(held[:, -1]).max()) > AT_REST * self._top:
            held[:, -fall:] *= fade_ramp(fall)[::-1]
        return held

    def _begin(self, held: Audio) -> None:
        self._begun = True
        if self._rise >= 2 and held.shape[1] and float(np.abs(held[:, 0]).max()) > AT_REST * self._top:
            held[:, : self._rise] *= fade_ramp(self._rise)


def _peaks(around: Audio) -> Audio:
    """Measure the highest level at and between samples round each frame, of all channels: [T - 2 * margin]."""
    length = around.shape[1]
    ramp = fade_ramp(_MARGIN)
    taper = np.concatenate([ramp, np.ones(length - 2 * _MARGIN, np.float32), ramp[::-1]])
    fine = np.abs(irfft(rfft(around * taper), length * _OVERSAMPLING)).max(axis=0) * _OVERSAMPLING
    stretches = fine.reshape(-1, _OVERSAMPLING).max(axis=1)
    stretches[1:] = np.maximum(stretches[1:], stretches[:-1])  # the stretch after a frame and the one before it
    inside: Audio = stretches[_MARGIN : length - _MARGIN]
    return inside


def _lowest(values: Audio, window: int) -> Audio:
    """Return the least value of every window: [T - window + 1] (van Herk, 1992)."""
    count = len(values) - window + 1
    rows = np.pad(values, (0, -len(values) % window), constant_values=1.0).reshape(-1, window)
    rising = np.minimum.accumulate(rows, axis=1).ravel()
    falling = np.minimum.accumulate(rows[:, ::-1], axis=1)[:, ::-1].ravel()
    lowest: Audio = np.minimum(falling[:count], rising[window - 1 :][:count])
    return lowest


def _mean(values: Audio, window: int) -> Audio:
    """Return the mean of every window: [T - window + 1]."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    mean: Audio = ((sums[window:] - sums[:-window]) / window).astype(np.float32)
    return mean
