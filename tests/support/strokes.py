"""Trains of separate strokes over a noise floor, and a counter of strokes that shares nothing with ours.

Clocks tick to the sample, steps come nearly in time, drips as they like. All are float32 [2, T].
"""

from __future__ import annotations

import numpy as np
import scipy.signal

from audio_pool.audio import Audio

KINDS = ("clock", "steps", "drips")
Times = np.ndarray[tuple[int], np.dtype[np.float64]]


def strokes(
    kind: str, seed: int, *, period_s: float, seconds: float, rate: int = 44_100, floor_db: float = -40.0,
    colour: str = "white", hum_db: float | None = None,
) -> Audio:  # fmt: skip
    """Strokes with a peak of about 0.3; floor and hum (RMS) are relative to the peak, dB."""
    rng = np.random.default_rng(seed)
    frames = round(seconds * rate)
    out = np.zeros((2, frames))
    at_s = rng.uniform(0, period_s)
    while at_s < seconds - 0.01:
        stroke = _stroke(kind, rng, rate)
        stroke *= {"clock": rng.uniform(0.85, 1), "steps": rng.uniform(0.7, 1), "drips": rng.uniform(0.4, 1)}[kind]
        first = round(at_s * rate)
        length = min(len(stroke), frames - first)
        out[:, first : first + length] += np.outer([1.0, rng.uniform(0.7, 1)], stroke[:length])
        at_s += {
            "clock": period_s,
            "steps": period_s * (1 + 0.03 * float(np.clip(rng.normal(), -2, 2))),
            "drips": period_s * rng.uniform(0.5, 1.8),
        }[kind]
    out += 10 ** (floor_db / 20) * _floor(rng, frames, colour)
    if hum_db is not None:
        t = np.arange(frames) / rate
        out += 10 ** (hum_db / 20) * (np.sin(2 * np.pi * 50.3 * t) + 0.5 * np.sin(2 * np.pi * 150.9 * t))
    return (0.3 * out).astype(np.float32)


def _stroke(kind: str, rng: np.random.Generator, rate: int) -> Times:
    t = np.arange(round((0.08 if kind == "clock" else 0.25) * rate)) / rate
    if kind == "clock":
        wave = 0.5 * rng.standard_normal(len(t)) * np.exp(-t / 0.002)
        for hz, decay_s, level in ((2300, 0.008, 0.6), (4100, 0.004, 0.4), (900, 0.015, 0.3)):
            wave += level * np.sin(2 * np.pi * hz * t + rng.uniform(0, 6)) * np.exp(-t / decay_s)
    elif kind == "steps":
        wave = 0.5 * rng.standard_normal(len(t)) * np.exp(-t / 0.03) * np.minimum(t / 0.002, 1)
        wave += np.sin(2 * np.pi * 90 * t) * np.exp(-t / 0.04)
    else:
        hz = rng.uniform(600, 2200)
        wave = np.sin(2 * np.pi * hz * (t + 0.6 * t * t)) * np.exp(-t / rng.uniform(0.02, 0.06))
        wave *= np.minimum(t / 0.001, 1)
    return wave / np.abs(wave).max()


def _floor(rng: np.random.Generator, frames: int, colour: str) -> Times:
    noise = rng.standard_normal((2, frames))
    if colour == "pink":
        spectrum = np.fft.rfft(noise)
        noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(spectrum.shape[1]), 1)), frames)
    return noise / noise.std()


def counted(audio: Audio, rate: int) -> Times:
    """When strokes begin, seconds: peaks of the flux of compressed magnitudes, 3 ms apart."""
    hop = max(1, round(0.003 * rate))
    size = 1 << round(0.012 * rate).bit_length()
    _, _, found = scipy.signal.stft(audio.sum(axis=0), rate, nperseg=size, noverlap=size - hop, boundary="zeros")
    magnitudes = np.sqrt(np.abs(found))
    flux = np.maximum(magnitudes[:, 4:] - magnitudes[:, :-4], 0).sum(axis=0)
    flux = np.convolve(flux, np.hanning(5) / 2, "same")
    middle = np.median(flux)
    spread = 1.4826 * np.median(np.abs(flux - middle))
    top = np.percentile(flux, 99.5)
    peaks, _ = scipy.signal.find_peaks(
        flux, height=max(middle + 7 * spread, middle + 0.25 * (top - middle)), distance=round(0.06 / 0.003)
    )
    return (peaks + 4) * hop / rate


def faults_at_joint(loop: Audio, rate: int, reach_s: float, kind: str) -> list[str]:
    """What a listener of the loop, played twice over, hears within ``reach_s`` of its joint that is nowhere else."""
    seconds = loop.shape[1] / rate
    onsets = counted(np.tile(loop, 2), rate)
    gaps = np.diff(onsets)
    near = (onsets[:-1] < seconds + reach_s + 0.02) & (onsets[1:] > seconds - 0.02)
    inside = (onsets[:-1] > 0.1 + reach_s) & (onsets[1:] < seconds - 0.1)
    usual, shortest, longest = np.median(gaps[inside]), gaps[inside].min(), gaps[inside].max()
    low, high = (0.8 * shortest, 1.25 * longest) if kind == "drips" else (0.65 * usual, 1.4 * usual)
    return [f"{gap:.3f} s beside {usual:.3f} s" for gap in gaps[near] if not low < gap < high]
