"""The level of a sound that is sent while it is made: one gain, taken from what comes first, and a limiter.

Owns: RunningLevel: channels, rate and level of what leaves, as a Rendition says.
Must not know: what comes before the level, samples as bytes, files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audio_pool.engines.base import Audio
from audio_pool.types import Rendition
from audio_pool.worker.levels import measured

__all__ = ["RunningLevel"]

_MOST_GAIN_DB = 20.0
"""A quiet beginning must not make what follows deafening, nor leave it to the limiter."""
_MOST_LIMITED_DB = 6.0
"""Of the first seconds, where the rendition asks for a limiter."""


@dataclass(kw_only=True)
class RunningLevel:
    """One gain and a limiter; the gain is taken from what comes first."""

    rate: int
    """Of what goes in."""
    rendition: Rendition
    channels: int
    gain_db: float = 0.0
    begun: bool = False

    def __post_init__(self) -> None:
        from audio_pool.audio.running_filter import RunningResampler
        from audio_pool.audio.running_limiter import RunningLimiter

        self._resampler = RunningResampler(self.channels, self.rate, self.rendition.sample_rate)
        self._limiter = RunningLimiter(self.channels, self.rendition.sample_rate, self.rendition.true_peak_dbfs)

    @property
    def limited_db(self) -> float:
        """By how much the limiter took peaks down at the most."""
        return self._limiter.deepest_db

    def push(self, audio: Audio, *, last: bool = False) -> Audio:
        """Return what can be said of the sound so far, at its level: float32 [C, T]."""
        if self.channels < len(audio):
            audio = audio.mean(axis=0, keepdims=True, dtype=np.float32)
        audio = self._resampler.push(audio, last=last)
        if not self.begun:
            self.begun, self.gain_db = True, self._gain(audio)
        out = self._limiter.push(audio * np.float32(10 ** (self.gain_db / 20)))
        return np.concatenate([out, self._limiter.end()], axis=1) if last else out

    def _gain(self, first: Audio) -> float:
        from audio_pool.audio import loudness

        rendition = self.rendition
        lufs, peak = measured(first, rendition.sample_rate, False)
        gain = loudness.gain_for(lufs, peak, rendition.target_lufs, rendition.true_peak_dbfs)
        if rendition.limiter and rendition.target_lufs is not None and np.isfinite(lufs):
            gain = min(rendition.target_lufs - lufs, gain + _MOST_LIMITED_DB)
        return min(gain, _MOST_GAIN_DB)
