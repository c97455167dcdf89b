"""Short sounds: hits, bursts, drops, chirps, voices; mono float32 [L], about -1..1.

Owns: the functions that make one such sound.
Must not know: where it is placed, recipes, words.

All take ``rate`` in Hz and times in seconds; those with chance in them take the generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from audio_pool.engines.procedural.canvas import HIGHEST, audible, harmonics
from audio_pool.engines.procedural.spectra import Floats, Shape

__all__ = ["arch", "balanced", "bubble", "burst", "envelope", "glide", "modes", "ping", "texture", "voice"]


def _times(rate: int, seconds: float) -> Floats:
    return np.arange(max(2, round(seconds * rate)), dtype=np.float32) / np.float32(rate)


def arch(count: int, power: float = 1.0, *, lean: float = 1.0) -> Floats:
    """Return a swell, float32 [count], 0 at both ends and 1 within; ``lean`` below 1 peaks early, above 1 late."""
    x = np.linspace(0, 1, count, dtype=np.float32) ** np.float32(lean)
    return np.asarray(np.maximum(0, np.sin(np.pi * x)) ** np.float32(power), dtype=np.float32)


def envelope(rate: int, attack_s: float, decay_s: float, *, hold_s: float = 0.0) -> Floats:
    """Return a quick rise, a hold, an exponential fall of time constant ``decay_s`` down to -60 dB, then zero."""
    t = _times(rate, attack_s + hold_s + 6.9 * decay_s)
    contour = np.exp(np.minimum(0.0, (attack_s + hold_s - t) / decay_s))
    rise = max(1, round(attack_s * rate))
    contour[:rise] *= np.sin(0.5 * np.pi * np.arange(rise) / rate / max(attack_s, 1e-4))[: len(t)]
    # The last tenth goes to zero, so that the cut at -60 dB is no step.
    tail = max(1, len(t) // 10)
    contour[-tail:] *= np.linspace(1, 0, tail)
    return np.asarray(contour, dtype=np.float32)


def texture(rng: np.random.Generator, rate: int, seconds: float, shape: Shape) -> Floats:
    """Shaped noise of RMS 0.3."""
    count = max(2, round(seconds * rate))
    size = 1 << math.ceil(math.log2(count))
    hz = np.fft.rfftfreq(size, 1 / rate).astype(np.float32)
    amplitude = shape(hz)
    amplitude[0] = 0.0
    parts = rng.standard_normal(2 * len(hz), dtype=np.float32).view(np.complex64)
    noise = np.fft.irfft(parts * amplitude, size)[:count]
    rms = math.sqrt(float(np.mean(noise**2))) or 1.0
    return np.asarray(noise * (0.3 / rms), dtype=np.float32)


def burst(
    rng: np.random.Generator, rate: int, shape: Shape, *, attack_s: float = 0.001, decay_s: float = 0.02,
    hold_s: float = 0.0,
) -> Floats:
    """Shaped noise under an envelope: a splash, a puff, a scrape."""
    contour = envelope(rate, attack_s, decay_s, hold_s=hold_s)
    return texture(rng, rate, len(contour) / rate, shape)[: len(contour)] * contour


def ping(rate: int, hz: float, decay_s: float, *, attack_s: float = 0.001, bend: float = 0.0) -> Floats:
    """Return a damped sine; ``bend`` is the relative change of pitch, dying away with the sound."""
    contour = envelope(rate, attack_s, decay_s)
    t = _times(rate, len(contour) / rate)[: len(contour)]
    turns = hz * (t + bend * decay_s * (1 - np.exp(-t / decay_s)))
    return np.asarray(contour * np.sin(2 * np.pi * turns), dtype=np.float32)


def _ringing(rate: int, hz: float, decay_s: float, attack_s: float, longest_s: float) -> Floats:
    """Return a damped sine of steady pitch, as powers of one complex number: exact and quick however long."""
    count = max(2, round(min(longest_s, attack_s + 6.9 * decay_s) * rate))
    exponent = (2j * np.pi * hz - 1 / decay_s) / rate
    inner = 512
    fine = np.exp(exponent * np.arange(inner)).astype(np.complex64)
    coarse = np.exp(exponent * inner * np.arange(math.ceil(count / inner))).astype(np.complex64)
    wave = (coarse[:, None] * fine).imag.reshape(-1)[:count]
    return _softened(wave, rate, attack_s, 0.1 * count / rate)


def modes(
    rate: int, hz_list: Sequence[float], decays_s: Sequence[float], levels: Sequence[float], *,
    attack_s: float = 0.0005, longest_s: float = math.inf,
) -> Floats:
    """Return a struck body: the sum of its damped modes, each to -60 dB or for ``longest_s``.

    Modes above the Nyquist frequency are left out.
    """
    kept = [
        _ringing(rate, hz, decay, attack_s, longest_s) * np.float32(level)
        for hz, decay, level in zip(hz_list, decays_s, levels, strict=True)
        if hz < 0.47 * rate
    ]
    longest = max((len(part) for part in kept), default=2)
    total = np.zeros(longest, dtype=np.float32)
    for part in kept:
        total[: len(part)] += part
    return total


def bubble(rate: int, hz: float, *, rise: float = 0.1) -> Floats:
    """Return an air bubble in water: a damped sine that rises as it nears the surface; small ones ring shorter.

    Damping and rise after van den Doel, "Physically based models for liquid sounds" (2005), equations
    for a bubble of radius r = 3 m/s / f: d = 0.13/r + 0.0072 r^-1.5, f(t) = f (1 + rise d t).
    """
    damping = 0.043 * hz + 0.0014 * hz**1.5
    contour = envelope(rate, 0.0008, 1 / damping)
    t = _times(rate, len(contour) / rate)[: len(contour)]
    turns = hz * t * (1 + 0.5 * rise * damping * t)
    return np.asarray(contour * np.sin(2 * np.pi * turns), dtype=np.float32)


def balanced(sound: Floats) -> Floats:
    """Return a pulse whose mean is 0, so that many of them add up to no offset: its own fading contour is taken off."""
    contour = np.exp(-4.0 * np.linspace(0, 1, len(sound), dtype=np.float32))
    contour[: max(1, len(sound) // 50)] *= np.linspace(0, 1, max(1, len(sound) // 50), dtype=np.float32)
    return np.asarray(sound - contour * (sound.sum() / contour.sum()), dtype=np.float32)


def glide(
    rate: int, points: Sequence[tuple[float, float]], *, partials: Sequence[float] = (1.0,),
    attack_s: float = 0.005, release_s: float = 0.01,
) -> Floats:
    """Return a tone whose pitch goes through (seconds, Hz) points in straight lines, softly begun and ended."""
    t = _times(rate, points[-1][0])
    hz = np.interp(t, [p[0] for p in points], [p[1] for p in points])
    top = max(p[1] for p in points)
    table = harmonics(tuple(partials[: max(1, int(0.45 * rate / top))]))
    turns = np.cumsum(hz) / rate
    wave = table[(turns * len(table)).astype(np.int64) & (len(table) - 1)]
    if top > HIGHEST * rate:
        wave = wave * audible(hz, rate)
    return _softened(wave, rate, attack_s, release_s)


def _softened(wave: Floats, rate: int, attack_s: float, release_s: float) -> Floats:
    """Return the sound with a quarter sine of fade at both ends, in place."""
    rise = min(len(wave), max(1, round(attack_s * rate)))
    fall = min(len(wave), max(1, round(release_s * rate)))
    wave[:rise] *= np.sin(np.linspace(0, 0.5 * np.pi, rise))
    wave[-fall:] *= np.cos(np.linspace(0, 0.5 * np.pi, fall))
    return wave


def voice(
    rate: int, points: Sequence[tuple[float, float]], tract: Callable[[Floats], Floats], *,
    attack_s: float = 0.03, release_s: float = 0.06, tilt: float = 1.0,
) -> Floats:
    """Return a throat: pulses at a gliding pitch through a vocal tract; peak about 1."""
    base = points[0][1]
    numbers = np.arange(1, max(2, min(60, int(0.45 * rate / base))), dtype=np.float32)
    levels = tract(numbers * np.float32(base)) / numbers**tilt
    total = float(np.sqrt(np.sum(levels**2))) or 1.0
    return glide(
        rate, points, partials=[float(level) / total for level in levels], attack_s=attack_s,
        release_s=release_s,
    ) * np.float32(0.7)
