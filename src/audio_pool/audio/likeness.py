"""How far two recordings of what should be one sound are apart.

Owns: the largest difference of samples, the level of the difference, the distance of spectra.
Must not know: files, why they are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audio_pool.audio import Audio

__all__ = ["Likeness", "likeness"]

_WINDOW = 2048
_FLOOR_DB = -80.0
"""Under the loudest bin: what lies lower is not heard beside it."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """What was measured."""

    equal: bool
    """Bit for bit."""
    comparable: bool
    """They have as many channels, and a common length."""
    max_difference: float = 0.0
    """Of samples, full scale is 1."""
    difference_db: float | None = None
    """Level of the difference against the first; None: there is none."""
    spectral_distance_db: float = 0.0
    """Root of the mean square of the spectra's differences in dB (log-spectral distance)."""


def likeness(first: Audio, second: Audio) -> Likeness:
    """Compare two sounds, float32 [C, T], of one sample rate, over their common length."""
    if first.shape == second.shape and np.array_equal(first, second):
        return Likeness(equal=True, comparable=True)
    frames = min(first.shape[1], second.shape[1])
    if len(first) != len(second) or not frames:
        return Likeness(equal=False, comparable=False)
    one, other = first[:, :frames].astype(np.float64), second[:, :frames].astype(np.float64)
    error, power = float(np.mean((one - other) ** 2)), float(np.mean(one**2))
    return Likeness(
        equal=False,
        comparable=True,
        max_difference=float(np.abs(one - other).max()),
        difference_db=10 * float(np.log10(error / power)) if error and power else None,
        spectral_distance_db=_spectral_distance(one.mean(axis=0), other.mean(axis=0)),
    )


def _spectral_distance(one: np.ndarray, other: np.ndarray) -> float:
    levels = [_levels(signal) for signal in (one, other)]
    top = max(float(level.max()) for level in levels)
    heard = [np.maximum(level, top + _FLOOR_DB) for level in levels]
    return float(np.sqrt(np.mean((heard[0] - heard[1]) ** 2)))


def _levels(signal: np.ndarray) -> np.ndarray:
    """Return levels in dB [windows, bins] of a signal [T]."""
    size = max(_WINDOW, -(-len(signal) // _WINDOW) * _WINDOW)
    blocks = np.pad(signal, (0, size - len(signal))).reshape(-1, _WINDOW) * np.hanning(_WINDOW)
    levels: np.ndarray = 20 * np.log10(np.abs(np.fft.rfft(blocks, axis=1)) + 1e-12)
    return levels
