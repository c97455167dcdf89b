"""What the ear would notice, as numbers: spectra, envelopes, onsets, rhythms.

Sounds are float32 [2, T] or mono [T].
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from audio_pool.engines.base import Audio, Item
from audio_pool.engines.procedural.canvas import Canvas
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.recipe import RECIPES, Character

RATE = 44_100


def made(prompt: str, *, seed: int = 1, duration_s: float = 8.0, loop: bool = False, rate: int = RATE) -> Audio:
    """The engine's own output for a prompt."""
    item = Item(prompt=prompt, seed=seed, duration_s=duration_s, loop=loop, sample_rate=rate)
    return ProceduralEngine().generate([item])[0]


def painted(
    name: str, *, seed: int = 1, duration_s: float = 8.0, loop: bool = False, rate: int = RATE, **character: object
) -> Audio:
    """One recipe's raw layer, before levels and rooms."""
    canvas = Canvas(round(duration_s * rate), rate, loop=loop, seed=(seed, 1))
    RECIPES[name].paint(canvas, Character(**character))  # type: ignore[arg-type]
    return canvas.sound  # type: ignore[return-value]


def mono(sound: Audio) -> np.ndarray:
    return np.asarray(sound.mean(axis=0) if sound.ndim == 2 else sound, dtype=np.float64)


def power(sound: Audio, rate: int = RATE) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and power."""
    wave = mono(sound)
    return np.fft.rfftfreq(len(wave), 1 / rate), np.abs(np.fft.rfft(wave)) ** 2


def share(sound: Audio, low_hz: float, high_hz: float, rate: int = RATE) -> float:
    """The part of the energy between two frequencies, 0..1."""
    hz, energy = power(sound, rate)
    return float(energy[(hz >= low_hz) & (hz < high_hz)].sum() / energy.sum())


def centroid(sound: Audio, rate: int = RATE) -> float:
    hz, energy = power(sound, rate)
    return float((hz * energy).sum() / energy.sum())


def strongest(sound: Audio, rate: int = RATE, low_hz: float = 20.0) -> float:
    """The frequency with the most power, Hz."""
    hz, energy = power(sound, rate)
    return float(hz[np.argmax(np.where(hz >= low_hz, energy, 0))])


def rms(sound: Audio) -> float:
    return float(np.sqrt(np.mean(np.asarray(sound, dtype=np.float64) ** 2)))


def crest(sound: Audio) -> float:
    return float(np.abs(sound).max() / rms(sound))


def envelope(sound: Audio, window_s: float = 0.01, rate: int = RATE) -> np.ndarray:
    """RMS of consecutive windows, both channels."""
    size = max(1, round(window_s * rate))
    count = sound.shape[-1] // size
    parts = np.atleast_2d(sound)[:, : count * size].astype(np.float64).reshape(-1, count, size)
    return np.sqrt((parts**2).mean(axis=(0, 2)))


def unevenness(sound: Audio, window_s: float = 0.25, rate: int = RATE) -> float:
    """Standard deviation of the envelope over its mean."""
    levels = envelope(sound, window_s, rate)
    return float(levels.std() / levels.mean())


def onsets(sound: Audio, rate: int = RATE, *, threshold: float = 0.25, gap_s: float = 0.1) -> np.ndarray:
    """Times (s) at which the level rises past a part of its maximum, ``gap_s`` apart at least."""
    step_s = 0.005
    levels = envelope(sound, step_s, rate)
    loud = levels > threshold * levels.max()
    rises = np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]])) * step_s
    kept: list[float] = []
    for at_s in rises:
        if not kept or at_s - kept[-1] >= gap_s:
            kept.append(float(at_s))
    return np.array(kept)


def pitch_track(sound: Audio, rate: int = RATE, *, window_s: float = 0.046, low_hz: float = 80.0) -> np.ndarray:
    """The strongest frequency of consecutive windows, Hz."""
    wave = mono(sound)
    size = round(window_s * rate)
    tracks = []
    for start in range(0, len(wave) - size, size):
        spectrum = np.abs(np.fft.rfft(wave[start : start + size] * np.hanning(size), 4 * size))
        hz = np.fft.rfftfreq(4 * size, 1 / rate)
        tracks.append(hz[np.argmax(np.where(hz >= low_hz, spectrum, 0))])
    return np.array(tracks)


def wrap_steps(sound: Audio) -> tuple[float, float]:
    """The step from the last sample to the first, and the 99.9th percentile of the steps around it."""
    around = np.concatenate([sound[:, -2000:], sound[:, :2000]], axis=1)
    steps = np.abs(np.diff(around, axis=1))
    return float(np.abs(sound[:, 0] - sound[:, -1]).max()), float(np.quantile(steps, 0.999))


def description(sound: np.ndarray) -> np.ndarray:
    """The shares of the energy in thirds of octaves from 40 Hz to 16 kHz, in dB [27]."""
    hz, energy = power(sound)
    edges = np.geomspace(40, 16_000, 28)
    shares = np.array([energy[(hz >= low) & (hz < high)].sum() for low, high in pairwise(edges)])
    return 10 * np.log10(shares / shares.sum() + 1e-6)
