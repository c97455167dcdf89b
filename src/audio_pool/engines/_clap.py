"""The common half of both CLAP engines: their settings, and the way from a sound to one vector.

Owns: ClapSettings; audio prepared for CLAP: mono, 48 kHz, deterministic 10 s windows (start, middle, end),
and the mean over them.
Must not know: any model, torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from audio_pool.engines._settings import Device, ModelSettings
from audio_pool.engines.base import Audio, Vectors
from audio_pool.errors import EngineUnavailable, InvalidAudio

__all__ = [
    "RATE",
    "WINDOW",
    "ClapSettings",
    "Mono",
    "embed_windows",
    "mean_of_windows",
    "mono_at_rate",
    "unit_rows",
    "windows",
]

RATE = 48_000
"""Hz; every LAION CLAP model was trained at it."""
WINDOW = 10 * RATE
"""Samples of one window: 10 s."""
Mono = npt.NDArray[np.float32]
"""float32 [T], -1..1 by intent."""


class ClapSettings(ModelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a CLAP engine.

    ``model`` may also be a LAION ``.pt`` file, or a directory that has one.
    """

    device: Device = "cpu"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    text_model: Annotated[str, Meta(max_length=4096)] = ""
    """Tokenizer for a LAION ``.pt``, which has none: hub id or directory of roberta-base; empty: a directory
    ``roberta-base`` beside the file, else in ``models_dir``, else in the hub's cache."""
    batch_size: Annotated[int, Meta(ge=1, le=256)] = 8
    """Windows or texts in one forward pass."""


def embed_windows(
    sounds: Sequence[Audio],
    sample_rate: int,
    *,
    dimensions: int,
    batch_size: int,
    embed: Callable[[Sequence[Mono]], Vectors],
) -> Vectors:
    """Return float32 [N, D], rows of unit length: each sound's mean over its windows.

    Args:
        sounds: float32 [C, T] at ``sample_rate`` (Hz).
        dimensions: D.
        batch_size: most windows in one call of ``embed``.
        embed: unit vectors float32 [B, D] of mono windows at 48 kHz, at most 10 s each.

    Raises:
        InvalidAudio; EngineUnavailable: soxr is needed and missing; whatever ``embed`` raises.
    """
    parts = [windows(mono_at_rate(sound, sample_rate)) for sound in sounds]
    flat = [window for each in parts for window in each]
    vectors = np.zeros((len(flat), dimensions), np.float32)
    for start in range(0, len(flat), batch_size):
        batch = flat[start : start + batch_size]
        vectors[start : start + len(batch)] = embed(batch)
    return mean_of_windows(vectors, [len(each) for each in parts])


def mono_at_rate(sound: Audio, sample_rate: int) -> Mono:
    """Return the sound folded to one channel (mean) at 48 kHz.

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
            f"CLAP works at {RATE} Hz and the sound is at {sample_rate} Hz: resampling needs soxr, "
            "which is not installed in this interpreter",
            hint="pip install soxr",
        ) from None
    resampled: Mono = soxr.resample(mono, sample_rate, RATE).astype(np.float32, copy=False)
    if resampled.size == 0:
        raise InvalidAudio(f"a sound of {mono.size} samples at {sample_rate} Hz is too short for CLAP")
    return resampled


def windows(mono: Mono) -> list[Mono]:
    """Return the sound itself up to 10 s; of a longer one its start, middle and end, 10 s each.

    The models' own processors take one window at random from numpy's global state instead, so that the
    same sound scores differently each time.
    """
    surplus = mono.size - WINDOW
    if surplus <= 0:
        return [mono]
    return [mono[start : start + WINDOW] for start in (0, surplus // 2, surplus)]


def mean_of_windows(vectors: npt.NDArray[np.float32], counts: Sequence[int]) -> Vectors:
    """Return one unit vector per sound from the unit vectors of its windows.

    Args:
        vectors: float32 [sum(counts), D].
        counts: windows of each sound, in order.
    """
    ends = np.cumsum(counts)
    means = [vectors[end - count : end].mean(axis=0) for end, count in zip(ends, counts, strict=True)]
    return unit_rows(np.stack(means)) if means else vectors


def unit_rows(vectors: npt.NDArray[np.float32]) -> Vectors:
    """Return float32 [N, D] scaled to unit length; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
