"""Spectral shapes: what noise is coloured with and what a filter lets through.

Owns: functions that build a Shape, amplitude over frequency.
Must not know: time, randomness, sample rates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Shape", "band", "blend", "formants", "lowpass", "peaks"]

Floats = npt.NDArray[np.floating[Any]]
"""Samples and amplitudes; what is painted with is float32."""
Shape = Callable[[Floats], Floats]
"""Frequencies in Hz, float32 [F] -> amplitude >= 0, float32 [F]."""


def band(low_hz: float, high_hz: float, *, tilt_db: float = 0.0, order: float = 2.0) -> Shape:
    """Return a band with soft edges: 3 dB down at both, ``tilt_db`` per octave inside (pink noise: -3)."""
    centre = (low_hz * high_hz) ** 0.5

    def shape(hz: Floats) -> Floats:
        f = np.maximum(hz.astype(np.float64), 0.5)  # steep orders overflow float32
        below = (low_hz / f) ** (2 * order)
        above = (f / high_hz) ** (2 * order)
        tilted = (f / centre) ** (tilt_db / 6.02)
        return np.asarray(tilted / np.sqrt((1 + below) * (1 + above)), dtype=np.float32)

    return shape


def lowpass(cutoff_hz: float, order: float = 2.0) -> Shape:
    """Return everything under the cutoff, 3 dB down there and 6 dB per octave and order above."""

    def shape(hz: Floats) -> Floats:
        return np.asarray(1 / np.sqrt(1 + (hz.astype(np.float64) / cutoff_hz) ** (2 * order)), dtype=np.float32)

    return shape


def peaks(hz_list: Sequence[float], width: float, *, floor: float = 0.0) -> Shape:
    """Resonances of relative ``width`` (0.1: a tenth of its frequency) over a level ``floor``."""

    def shape(hz: Floats) -> Floats:
        total = np.full(hz.shape, floor, dtype=np.float32)
        for centre in hz_list:
            total += 1 / (1 + ((hz - centre) / (0.5 * width * centre)) ** 2)
        return total

    return shape


def formants(*resonances: tuple[float, float, float]) -> Shape:
    """Return a vocal tract: (centre Hz, bandwidth Hz, amplitude) each."""

    def shape(hz: Floats) -> Floats:
        total = np.zeros(hz.shape, dtype=np.float32)
        for centre, bandwidth, amplitude in resonances:
            total += amplitude / (1 + ((hz - centre) / (0.5 * bandwidth)) ** 2)
        return total

    return shape


def blend(*parts: tuple[float, Shape]) -> Shape:
    """Return a weighted sum of shapes."""

    def shape(hz: Floats) -> Floats:
        total = np.zeros(hz.shape, dtype=np.float32)
        for weight, part in parts:
            total += np.float32(weight) * part(hz)
        return total

    return shape
