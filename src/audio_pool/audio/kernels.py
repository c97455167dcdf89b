"""The compiled loops of scipy that every sound is finished with: filters in sections, and real Fourier transforms.

Owns: how they are reached without the rest of scipy, and a Butterworth filter's sections.
Must not know: what is filtered or transformed, and why.

``import scipy.signal`` takes half a second, for statistics and optimisers that nobody here uses; every worker would
begin with it. The two compiled files are loaded by themselves; where another scipy has them elsewhere, through its
front door. The results are the same, to the bit.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

__all__ = ["highpass_sections", "irfft", "rfft", "sosfilt"]

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]

_BACKWARD, _FORWARD = 0, 2
"""pocketfft's numbers: as it is, and divided by the length."""


@functools.cache
def _compiled(package: str, name: str) -> ModuleType | None:
    """Return a compiled module of scipy, without its package; None: it is not where it was."""
    scipy = importlib.util.find_spec("scipy")
    if scipy is None or scipy.origin is None:
        return None
    found = sorted(Path(scipy.origin).parent.joinpath(*package.split(".")).glob(f"{name}.*so"))
    spec = importlib.util.spec_from_file_location(f"scipy.{package}.{name}", found[0]) if found else None
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sosfilt(sections: Doubles, signal: Doubles | Floats, overwrite: bool = False) -> Doubles:
    """Filter a signal [T] from rest, by sections [N, 6] of second order; like ``scipy.signal.sosfilt`` in float64.

    Args:
        overwrite: a float64 signal may be changed in place.
    """
    kernel = getattr(_compiled("signal", "_sosfilt"), "_sosfilt", None)
    if kernel is None:
        import scipy.signal

        filtered: Doubles = scipy.signal.sosfilt(sections, np.asarray(signal, np.float64))
        return filtered
    out: Doubles = np.asarray(signal, np.float64) if overwrite else np.array(signal, np.float64)
    kernel(np.ascontiguousarray(sections, np.float64), out[np.newaxis], np.zeros((1, len(sections), 2)))
    return out


def rfft(rows: Floats) -> Spectrum:
    """Transform each row of [N, T]; like ``scipy.fft.rfft``."""
    transform = getattr(_pocketfft(), "r2c", None)
    if transform is None:
        import scipy.fft

        return np.asarray(scipy.fft.rfft(rows, axis=1), np.complex64)
    return np.asarray(transform(rows, (1,), True, _BACKWARD, None, 1), np.complex64)


def irfft(spectrum: Spectrum, length: int) -> Floats:
    """Transform each row of [N, F] back into ``length`` samples; a longer length interpolates between the samples."""
    transform = getattr(_pocketfft(), "c2r", None)
    if transform is None:
        import scipy.fft

        return np.asarray(scipy.fft.irfft(spectrum, length, axis=1), np.float32)
    wide = np.zeros((len(spectrum), length // 2 + 1), np.complex64)
    kept = min(wide.shape[1], spectrum.shape[1])
    wide[:, :kept] = spectrum[:, :kept]
    return np.asarray(transform(wide, (1,), length, False, _FORWARD, None, 1), np.float32)


def _pocketfft() -> ModuleType | None:
    return _compiled("fft._pocketfft", "pypocketfft")


def highpass_sections(order: int, cutoff_hz: float, sample_rate: int) -> Doubles:
    """Design a Butterworth high-pass by the bilinear transform: sections [N, 6], the least resonant first."""
    k = math.tan(math.pi * cutoff_hz / sample_rate)
    sections = []
    if order % 2:
        norm = 1 / (1 + k)
        sections.append([norm, -norm, 0.0, 1.0, (k - 1) * norm, 0.0])
    # damping 2 sin(angle) of the prototype's pole pairs, from the real axis on
    for number in reversed(range(order // 2)):
        damping = 2 * math.sin((2 * number + 1) * math.pi / (2 * order))
        norm = 1 / (1 + damping * k + k * k)
        sections.append([norm, -2 * norm, norm, 1.0, 2 * (k * k - 1) * norm, (1 - damping * k + k * k) * norm])
    return np.array(sections)
