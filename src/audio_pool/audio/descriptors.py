"""Spectral descriptors: a short vector per sound, to compare variants without a model.

Owns: spectral descriptors and their distance.
Must not know: prompts, models.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.kernels import powers_between, rfft

__all__ = ["descriptors", "distance"]

_BANDS = 24
_LOW_HZ, _HIGH_HZ = 40.0, 16_000.0
_FLOOR_DB = -60.0
_FRAME_S = 0.047
_MOST_FRAMES = 200
_SEGMENTS = 16
_MODULATION_HZ = np.array([0.5, 1, 2, 4, 8, 16, 32])


def descriptors(audio: Audio, sample_rate: int) -> npt.NDArray[np.float32]:
    """Compute four views of a sound, independent of its level and nearly of its rate and length.

    Band levels in 24 bands from 40 Hz to 16 kHz (dB relative to the total), their standard deviation over time
    (dB), the level's course in 16 equal parts (dB), and the envelope's modulation spectrum (share of its power
    in six bands from 0.5 to 32 Hz, in tens of per cent). Each view is divided by the square root of its size,
    so that a plain Euclidean distance weighs them equally and reads roughly as decibels.

    Args:
        audio: float32 [C, T], T at least 1.

    Returns:
        float32 [70].
    """
    power = _band_powers(audio, sample_rate)
    total = max(float(power.sum(axis=1).mean()), 1e-20)
    level = _db(power.mean(axis=0) / total)
    varying = _db(power / total).std(axis=0)
    course = _db(_course(audio))
    flutter = 10 * _modulation(audio, sample_rate)
    views = (level, varying, course, flutter)
    return np.concatenate([view / np.sqrt(len(view)) for view in views]).astype(np.float32)


def distance(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Compute the Euclidean distance of two descriptors, roughly decibels.

    0 for the same sound at any level, under 2 for two seeds of steady rain, 10 and more for clearly different
    sounds.
    """
    return float(np.linalg.norm(a.astype(np.float64) - b.astype(np.float64)))


def _band_powers(audio: Audio, sample_rate: int) -> npt.NDArray[np.float64]:
    """Compute the mean power of the channels in each band, [N, 24], of up to 200 frames spread over the sound."""
    size = 1 << max(5, round(_FRAME_S * sample_rate).bit_length() - 1)
    if audio.shape[1] < size:
        audio = np.pad(audio, ((0, 0), (0, size - audio.shape[1])))
    spare = audio.shape[1] - size
    count = min(_MOST_FRAMES, 1 + spare // (size // 2))
    places = np.linspace(0, spare, count).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(audio, size, axis=1)[:, places]
    spectrum = rfft(windows * np.hanning(size).astype(np.float32))
    power = (np.square(spectrum.real) + np.square(spectrum.imag)).mean(axis=0).astype(np.float64)
    power *= (8 / 3) * 2 / size**2
    # bins are split by their overlap with a band: the lowest bands are narrower than a bin
    step = sample_rate / size
    below = np.concatenate([np.zeros((len(power), 1)), np.cumsum(power, axis=1)], axis=1)
    at = np.clip(np.geomspace(_LOW_HZ, _HIGH_HZ, _BANDS + 1) / step + 0.5, 0, below.shape[1] - 1)
    whole = np.minimum(at.astype(np.int64), below.shape[1] - 2)
    reached = below[:, whole] + (at - whole) * power[:, whole]
    return np.diff(reached, axis=1)


def _course(audio: Audio) -> npt.NDArray[np.float64]:
    """Compute the power of equal parts relative to that of the whole: [16]."""
    edges = np.linspace(0, audio.shape[1], _SEGMENTS + 1).astype(np.int64)
    sums = powers_between(audio, edges)
    means: npt.NDArray[np.float64] = sums / np.maximum(np.diff(edges), 1)
    means /= max(float(sums.sum()) / audio.shape[1], 1e-20)
    return means


def _modulation(audio: Audio, sample_rate: int) -> npt.NDArray[np.float64]:
    """Compute the shares, [6], of the envelope's power between the edges of ``_MODULATION_HZ``; sum at most 1."""
    hop = max(1, round(sample_rate / 100))
    count = audio.shape[1] // hop
    if count < 4:
        return np.zeros(len(_MODULATION_HZ) - 1)
    whole = audio[:, : count * hop].reshape(len(audio), count, hop)
    envelope = np.sqrt(np.einsum("cnt,cnt->n", whole, whole) / hop)
    spectrum = np.square(np.abs(np.fft.rfft((envelope - envelope.mean()) * np.hanning(count))))
    band = np.searchsorted(_MODULATION_HZ, np.fft.rfftfreq(count, 0.01), side="right") - 1
    found: npt.NDArray[np.float64] = np.zeros(len(_MODULATION_HZ) - 1)
    for index in range(len(found)):
        found[index] = spectrum[band == index].sum()
    # a steady tone's envelope hardly varies: its tiny modulation must not count as much as a heartbeat's
    swing = np.square(envelope - envelope.mean()).sum() / max(float(np.square(envelope).sum()), 1e-20)
    found *= float(np.sqrt(swing)) / max(float(spectrum.sum()), 1e-20)
    return found


def _db(ratio: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    level: npt.NDArray[np.float64] = np.maximum(10 * np.log10(np.maximum(ratio, 1e-20)), _FLOOR_DB)
    return level
