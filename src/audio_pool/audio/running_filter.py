"""The high-pass filter and the resampler for a sound that comes in pieces.

Owns: RunningHighpass, RunningResampler: what each must remember between two pieces.
Must not know: where pieces come from, how long the sound will be.

Whatever pieces a sound comes in, it comes out the same: what filter.py makes of the whole of it.
"""

from __future__ import annotations

import numpy as np
import soxr

from audio_pool.audio import Audio
from audio_pool.audio.filter import QUALITY, checked_sections, offset_of
from audio_pool.audio.kernels import sosfilt_on

__all__ = ["RunningHighpass", "RunningResampler"]


class RunningHighpass:
    """A Butterworth high-pass, as ``filter.highpass``."""

    def __init__(self, first: Audio, sample_rate: int, cutoff_hz: float, order: int = 4) -> None:
        """
        Args:
            first: the sound's beginning, float32 [C, T]: whether it starts from an offset is judged by it.
            cutoff_hz: 0 filters nothing.

        Raises:
            InvalidRequest: cut-off or order out of range.
        """
        self._sections = checked_sections(sample_rate, cutoff_hz, order) if cutoff_hz > 0 else None
        self._offsets = [offset_of(channel, sample_rate) for channel in first]
        self._states = None if self._sections is None else np.zeros((len(first), 1, len(self._sections), 2))

    def push(self, audio: Audio) -> Audio:
        """Filter the next piece, float32 [C, T]."""
        if self._sections is None or self._states is None or not audio.shape[1]:
            return audio
        out = np.empty_like(audio)
        for channel, source, offset, state in zip(out, audio, self._offsets, self._states, strict=True):
            signal = source.astype(np.float64)
            signal -= offset
            channel[:] = sosfilt_on(self._sections, signal, state)
        return out


class RunningResampler:
    """A change of rate, as ``filter.resample``."""

    def __init__(self, channels: int, from_rate: int, to_rate: int) -> None:
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality=QUALITY)

    def push(self, audio: Audio, *, last: bool = False) -> Audio:
        """Take the next piece, float32 [C, T]; return what can be said of the sound so far, all of it with the last."""
        if self._stream is None:
            return audio
        out = self._stream.resample_chunk(np.ascontiguousarray(audio.T), last=last)
        return np.ascontiguousarray(out.T)
