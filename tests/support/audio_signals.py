"""Sounds whose every property is known, and real recordings where the machine has some.

All are float32 [C, T] at RATE, within -1..1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from audio_pool.audio import Audio

RATE = 44_100
RECORDINGS = (Path("/usr/share/sounds/freedesktop/stereo"), Path("/usr/share/sounds/alsa"))


def tone(frames: int, hz: float = 440.0, amplitude: float = 0.3, rate: int = RATE, channels: int = 2) -> Audio:
    """A sine that starts at zero; the right channel a quarter turn ahead."""
    phase = np.arange(channels)[:, None] * np.pi / 2
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(frames) / rate + phase)).astype(np.float32)


def chord(frames: int, rate: int = RATE) -> Audio:
    """Four partials, none of which fits a whole number of times."""
    return sum(tone(frames, hz, 0.1, rate) for hz in (220.13, 277.18, 329.63, 441.3))  # type: ignore[return-value]


def white(frames: int, rms: float = 0.1, seed: int = 0, channels: int = 2) -> Audio:
    return (rms * np.random.default_rng(seed).standard_normal((channels, frames))).astype(np.float32)


def pink(frames: int, rms: float = 0.1, seed: int = 0) -> Audio:
    """Noise of equal power in every octave."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal((2, frames)))
    shaped = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(spectrum.shape[1]), 1)), frames)
    return (rms * shaped / shaped.std()).astype(np.float32)


def gusts(frames: int, seed: int = 0) -> Audio:
    """Noise whose level swells every 3.1 s."""
    swell = 1 + 0.7 * np.sin(2 * np.pi * np.arange(frames) / RATE / 3.1)
    return (pink(frames, 0.06, seed) * swell).astype(np.float32)


def drone(frames: int, seed: int = 0) -> Audio:
    return tone(frames, 55.3) + tone(frames, 110.7, 0.06) + white(frames, 0.002, seed)


def decaying(frames: int, time_s: float = 0.15, seed: int = 0, rate: int = RATE) -> Audio:
    """A burst of noise with an attack of 2 ms that dies away."""
    t = np.arange(frames) / rate
    envelope = np.minimum(t / 0.002, 1) * np.exp(-t / time_s)
    return (0.25 * np.random.default_rng(seed).standard_normal((2, frames)) * envelope).astype(np.float32)


def steps(frames: int, period_s: float = 0.53, seed: int = 0) -> Audio:
    """Footsteps: short bursts in near silence."""
    out = white(frames, 1e-4, seed)
    for start in range(0, frames, round(period_s * RATE)):
        length = min(8000, frames - start)
        out[:, start : start + length] += decaying(length, 0.03, seed + start)
    return out


def growing(frames: int, seed: int = 0) -> Audio:
    """Noise that ends three times as loud as it starts."""
    return (white(frames, 0.1, seed) * np.linspace(0.5, 1.5, frames)).astype(np.float32)


def level_db(audio: Audio) -> float:
    """Root mean square over everything, dBFS."""
    return float(10 * np.log10(np.square(audio, dtype=np.float64).mean() + 1e-30))


def amplitude_at(audio: Audio, hz: float, rate: int = RATE) -> float:
    """Amplitude of one frequency in the first channel."""
    window = np.hanning(audio.shape[1])
    turning = np.exp(-2j * np.pi * hz * np.arange(audio.shape[1]) / rate)
    return float(2 * abs((audio[0] * window * turning).sum()) / window.sum())


MATERIAL: dict[str, Callable[[int, int], Audio]] = {
    "white": lambda frames, seed: white(frames, 0.1, seed),
    "pink": lambda frames, seed: pink(frames, 0.1, seed),
    "gusts": gusts,
    "growing": growing,
    "steps": lambda frames, seed: steps(frames, 0.41 + 0.03 * seed, seed),
    "tone": lambda frames, seed: tone(frames, 301.7 + 97.3 * seed),
    "chord": lambda frames, seed: chord(frames),
    "drone": drone,
}
"""Sounds to make loops of, by (frames, seed)."""


def recordings() -> list[Path]:
    """Real recordings, or a skip that says how to get them."""
    found = [path for folder in RECORDINGS if folder.is_dir() for path in sorted(folder.iterdir())]
    if not found:
        pytest.skip("no real recordings here; to run this: apt-get install sound-theme-freedesktop alsa-utils")
    return found
