"""Faults of a sound, each found by a function of its own from what can be measured.

Owns: ``Fault``, and ``Measured``, what all of them need to know of a sound.
Must not know: what a caller declared, which faults count, engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.kernels import Moments, moments, rfft

__all__ = ["FRAME_S", "SILENT", "Fault", "Floats", "Measured"]

FRAME_S = 0.02
SILENT = 1e-3
"""-60 dBFS: a sound whose loudest frame is below counts as silence."""
_LONG_S = 0.186
"""Long enough to resolve the harmonics of an engine at 25 revolutions per second."""
_LONG_COUNT = 48
_SHORT_COUNT = 384

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault by its name in the metadata."""

    name: str
    penalty: float
    """0..100, subtracted from the score."""
    severe: bool = False
    """The sound must not be used."""


class Measured:
    """A sound, float32 [C, T] with T at least 1, and what several faults look at; each is measured once."""

    def __init__(self, audio: Audio, sample_rate: int) -> None:
        self.audio = audio
        self.sample_rate = sample_rate

    @cached_property
    def levels(self) -> Floats:
        """Root mean square, linear, of each 20 ms of the louder channel; at least one frame."""
        audio = self.audio
        hop = max(1, min(round(FRAME_S * self.sample_rate), audio.shape[1]))
        whole = audio[:, : audio.shape[1] // hop * hop].reshape(len(audio), -1, hop)
        power: Floats = np.einsum("cnt,cnt->cn", whole, whole).max(axis=0).astype(np.float64) / hop
        return np.sqrt(power)

    @cached_property
    def moments(self) -> Moments:
        """Sums of the whole sound."""
        return moments(self.audio)

    @property
    def products(self) -> tuple[Floats, float]:
        """Mean square of each channel, and the mean product of the first two (0 where there is one)."""
        length = self.audio.shape[1]
        return self.moments.squares / length, self.moments.product / length if len(self.audio) > 1 else 0.0

    @property
    def is_finite(self) -> bool:
        """Return whether all samples are numbers: a float64 holds the square of any, and of any number of them."""
        return bool(np.isfinite(self.moments.squares).all())

    @property
    def peak(self) -> float:
        """The highest sample, whatever its sign."""
        return float(self.moments.tops.max())

    @cached_property
    def long_size(self) -> int:
        """Frames of a long spectrum."""
        return 1 << max(6, round(_LONG_S * self.sample_rate).bit_length() - 1)

    @property
    def has_spectra(self) -> bool:
        """Return whether the sound is long enough for two long spectra."""
        return bool(self.audio.shape[1] >= 2 * self.long_size)

    @cached_property
    def long_places(self) -> npt.NDArray[np.int64]:
        """First frames of the long spectra."""
        return np.linspace(0, self.audio.shape[1] - self.long_size, _LONG_COUNT).astype(np.int64)

    @cached_property
    def long(self) -> Floats:
        """Power spectra of 48 windows of about 186 ms spread over the sound: [C, 48, bins]."""
        return self._spectra(self.long_size, self.long_places)

    @cached_property
    def hz(self) -> Floats:
        """Frequencies of the long spectra's bins."""
        return np.fft.rfftfreq(self.long_size, 1 / self.sample_rate).astype(np.float64)

    @cached_property
    def short(self) -> Floats:
        """Power spectra of 384 windows of about 12 ms, spread over the sound: [C, 384, bins]."""
        size = self.long_size // 16
        return self._spectra(size, np.linspace(0, self.audio.shape[1] - size, _SHORT_COUNT).astype(np.int64))

    @cached_property
    def short_hz(self) -> Floats:
        """Frequencies of the short spectra's bins."""
        return np.fft.rfftfreq(self.long_size // 16, 1 / self.sample_rate).astype(np.float64)

    def _spectra(self, size: int, places: npt.NDArray[np.int64]) -> Floats:
        windows = np.lib.stride_tricks.sliding_window_view(self.audio, size, axis=1)[:, places]
        spectrum = rfft(windows * np.hanning(size).astype(np.float32))
        power = np.square(spectrum.real, dtype=np.float64) + np.square(spectrum.imag, dtype=np.float64)
        return power + 1e-12
