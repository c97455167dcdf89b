"""How a sound is prepared for CLAP: one channel at 48 kHz, cut into windows that chance has no part in.

Owns: folding, resampling, windows and the mean over them, for both CLAP engines.
Must not know: any model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from audio_pool.engines.base import Audio, Vectors
from audio_pool.errors import EngineUnavailable, InvalidAudio

__all__ = ["RATE", "WINDOW", "Mono", "mean_of_windows", "mono_at_rate", "unit_rows", "windows"]

RATE = 48_000
"""Hz; every LAION CLAP model was trained at it."""
WINDOW = 10 * RATE
"""Samples of one window: 10 s."""
Mono = npt.NDArray[np.float32]
"""float32 [T], -1..1 by intent."""


def mono_at_rate(sound: Audio, sample_rate: int) -> Mono:
    """The sound folded to one channel (mean) at 48 kHz.

    Args:
        sound: float32 [C, T] or [T] at ``sample_rate``.
        sample_rate: Hz, 1,000..768,000.

    Raises:
        InvalidAudio: no samples, too many dimensions, or values that are not finite.
        EngineUnavailable: the rate differs from 48 kHz and soxr is not installed.
    """
    samples = np.asarray(sound, dtype=np.float32)
    if samples.ndim == 1:
        samples = samples[np.newaxis]
    if samples.ndim != 2 or samples.shape[0] == 0 or samples.shape[1] == 0:
        raise InvalidAudio(f"a sound of shape {np.shape(sound)} was given, allowed is [C, T] with samples in it")
    if not 1_000 <= sample_rate <= 768_000:
        raise InvalidAudio(f"a sample rate of {sample_rate} Hz was given, allowed is 1000..768000")
    mono: Mono = samples.mean(axis=0, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise InvalidAudio("the sound has values that are not finite numbers")
    if sample_rate == RATE:
        return mono
    try:
        import soxr
    except ImportError:
        raise EngineUnavailable(
            f"CLAP hears at {RATE} Hz and the sound is at {sample_rate} Hz: resampling needs soxr, "
            "which is not installed in this interpreter",
            hint="pip install soxr",
        ) from None
    resampled: Mono = soxr.resample(mono, sample_rate, RATE).astype(np.float32, copy=False)
    if resampled.size == 0:
        raise InvalidAudio(f"a sound of {mono.size} samples at {sample_rate} Hz is too short to be heard")
    return resampled


def windows(mono: Mono) -> list[Mono]:
    """At most 10 s: the sound itself. Longer: its start, middle and end, 10 s each.

    The models' own processors take one window at random from numpy's global state instead, so that the
    same sound scores differently each time.
    """
    surplus = mono.size - WINDOW
    if surplus <= 0:
        return [mono]
    return [mono[start : start + WINDOW] for start in (0, surplus // 2, surplus)]


def mean_of_windows(vectors: npt.NDArray[np.float32], counts: Sequence[int]) -> Vectors:
    """One unit vector a sound from the unit vectors of its windows.

    Args:
        vectors: float32 [sum(counts), D].
        counts: windows of each sound, in order.
    """
    ends = np.cumsum(counts)
    means = [vectors[end - count : end].mean(axis=0) for end, count in zip(ends, counts, strict=True)]
    return unit_rows(np.stack(means)) if means else vectors


def unit_rows(vectors: npt.NDArray[np.float32]) -> Vectors:
    """float32 [N, D] scaled to unit length; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
