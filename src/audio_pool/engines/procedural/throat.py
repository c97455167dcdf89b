"""Throats: pulses of a larynx (or syrinx) through the moving resonances of a tract, with breath beside them.

Owns: ``utter``, ``resized``, Tract.
Must not know: which animal or person it is, where the sound is placed.

Each pulse excites the tract's formants, which ring until they are damped (the formant wave functions of Rodet,
"Time-domain formant-wave-function synthesis", Computer Music Journal 8(3), 1984).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from audio_pool.engines.procedural.grains import balanced
from audio_pool.engines.procedural.spectra import Floats

__all__ = ["Tract", "resized", "utter"]

Tract = tuple[tuple[float, float, float], ...]
"""Formants: (centre Hz, bandwidth Hz, amplitude) each."""
_STEPS = 12
"""Shapes of the tract that are told apart along one utterance."""
_RING_S = 0.035


def resized(tract: Tract, factor: float) -> Tract:
    """Return the tract of a smaller (above 1) or larger (below 1) throat."""
    return tuple((hz * factor, width * factor, level) for hz, width, level in tract)


def utter(
    rng: np.random.Generator,
    rate: int,
    pitch: Sequence[tuple[float, float]],
    tract: Sequence[tuple[float, Tract]],
    *,
    attack_s: float = 0.02,
    release_s: float = 0.06,
    breath: float = 0.05,
    jitter: float = 0.01,
    shimmer: float = 0.08,
    rough_hz: float = 0.0,
    rough: float = 0.0,
    loudness: Sequence[tuple[float, float]] = (),
) -> Floats:
    """Return one call or syllable, mono float32 [L], peak about 1.

    Args:
        pitch: (seconds, Hz) of the pulses, joined by straight lines; the last second is its length.
        tract: (seconds, formants); between two shapes the formants move evenly. All have as many formants.
        breath: level of the noise beside the pulses, 0..1.
        jitter, shimmer: deviation of each pulse's time and strength.
        rough_hz, rough: rate and depth of a rasp: every so often a pulse is weak.
        loudness: (seconds, level) over the call; () for even.
    """
    rng = np.random.default_rng(int(rng.integers(2**62)))  # one draw: what follows is the same at every rate
    seconds = pitch[-1][0]
    count = max(16, round(seconds * rate))
    t = np.arange(count) / rate
    hz = np.interp(t, [at for at, _ in pitch], [value for _, value in pitch])
    turns = np.cumsum(hz) / rate
    starts = np.flatnonzero(np.diff(np.floor(turns), prepend=-1.0) > 0)
    levels = np.interp(t, [at for at, _ in loudness], [v for _, v in loudness]) if loudness else np.ones(count)
    rings = [_ring(rate, _between(tract, (step + 0.5) / _STEPS * seconds)) for step in range(_STEPS)]
    length = len(rings[0])
    wave = np.zeros(count + length, dtype=np.float32)
    periods = rate / hz[starts]
    placed = (starts + rng.normal(0, jitter, len(starts)) * periods).clip(0, count - 1).astype(int)
    strengths = np.exp(rng.normal(0, shimmer, len(starts))) * levels[starts] * np.sqrt(periods / rate)
    if rough > 0:
        strengths *= 1 - rough * (0.5 + 0.5 * np.sin(2 * np.pi * rough_hz * starts / rate + rng.uniform(0, 6.28)))
    for start, strength in zip(placed, strengths, strict=True):
        wave[start : start + length] += np.float32(strength) * rings[min(_STEPS - 1, start * _STEPS // count)]
    wave = wave[:count]
    peak = float(np.abs(wave).max()) or 1.0
    wave *= np.float32(1 / peak)
    if breath > 0:
        wave += _breath(rng, rate, tract, count, seconds) * np.float32(breath) * levels.astype(np.float32)
    rise, fall = min(count, max(1, round(attack_s * rate))), min(count, max(1, round(release_s * rate)))
    wave[:rise] *= np.sin(np.linspace(0, 0.5 * np.pi, rise)).astype(np.float32)
    wave[-fall:] *= np.cos(np.linspace(0, 0.5 * np.pi, fall)).astype(np.float32)
    return np.asarray(wave, dtype=np.float32)


def _between(tract: Sequence[tuple[float, Tract]], at_s: float) -> Tract:
    times = [time for time, _ in tract]
    shapes = np.asarray([shape for _, shape in tract])  # [S, F, 3]
    values = [
        tuple(float(np.interp(at_s, times, shapes[:, formant, part])) for part in range(3))
        for formant in range(shapes.shape[1])
    ]
    return tuple((hz, width, level) for hz, width, level in values)


def _ring(rate: int, tract: Tract) -> Floats:
    """Return the answer to one pulse, float32 [L], its energy 1."""
    t = np.arange(max(8, round(_RING_S * rate)), dtype=np.float32) / np.float32(rate)
    total = np.zeros(len(t), dtype=np.float32)
    for hz, width, level in tract:
        if hz < 0.46 * rate:
            # a soft start of a third of a cycle takes the click out of each formant
            start = 1 - np.exp(-t * (2.0 * hz))
            total += level * start * np.exp(-np.pi * width * t) * np.sin(2 * np.pi * hz * t)
    total[-len(t) // 8 :] *= np.linspace(1, 0, len(total[-len(t) // 8 :]), dtype=np.float32)
    total = balanced(total)
    energy = math.sqrt(float(np.sum(total**2))) or 1.0
    return np.asarray(total / energy, dtype=np.float32)


def _breath(
    rng: np.random.Generator, rate: int, tract: Sequence[tuple[float, Tract]], count: int, seconds: float
) -> Floats:
    """Return noise through the tract, RMS about 0.3; its shape is drawn anew for each quarter of the call."""
    noise = np.zeros(count, dtype=np.float32)
    parts = 4
    hop = max(8, math.ceil(count / parts))
    window = np.hanning(2 * hop).astype(np.float32)
    hz = np.fft.rfftfreq(2 * hop, 1 / rate)
    for part in range(-1, parts):
        shape = np.zeros(len(hz))
        for centre, width, level in _between(tract, (part + 1) / parts * seconds):
            shape += level / (1 + ((hz - centre) / (0.5 * max(width, 80.0))) ** 2)
        spectrum = np.fft.rfft(rng.standard_normal(2 * hop)) * shape
        piece = np.fft.irfft(spectrum, 2 * hop)
        piece *= window / (float(np.sqrt(np.mean(piece**2))) or 1.0) * 0.3
        start = part * hop
        first, last = max(0, start), min(count, start + 2 * hop)
        noise[first:last] += piece[first - start : last - start].astype(np.float32)
    return noise
