"""Recipes of the sky: wind, thunder."""

from __future__ import annotations

import math

import numpy as np

from audio_pool.engines.procedural.canvas import Canvas, Curve
from audio_pool.engines.procedural.grains import burst, texture
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, lowpass, peaks


@recipe(
    keys="wind, windy, breeze, gust, gale, blizzard, hurricane, tornado, snowstorm, sandstorm, draft, draught",
    near="air blow storm mountain desert snow tree",
    expects="noise",
    highpass_hz=40,
    summary="wind blowing in gusts",
)
def wind(c: Canvas, p: Character) -> None:
    strength = 0.45 * p.intensity**0.3
    gusts = c.swells(1.6 / p.speed, strength).points * c.swells(6.0 / p.speed, 0.8 * strength).points
    gusts /= gusts.mean()
    c.bed(band(60, 420, tilt_db=-3), Curve(0.14 * gusts), width=0.6)
    # The harder it blows the brighter it gets: the upper bands rise faster than the gust itself.
    c.bed(band(p.low(260), p.low(1300), tilt_db=-2), Curve(0.08 * gusts**1.6), width=0.8)
    c.bed(band(1200, 6500, tilt_db=-4), Curve(0.02 * gusts**2.2), width=1.0)
    # Edges whistle, each pair of a narrow band sliding from one resonance to the next.
    for hz in (p.low(420), p.low(640), p.low(910)):
        slide = np.clip(c.drift(1.2, 0.6, 0.2).points, 0, 1)
        level = np.interp(np.linspace(0, 1, len(gusts)), np.linspace(0, 1, len(slide)), slide)
        c.bed(peaks([hz], 0.07), Curve(0.045 * level * gusts**1.5), width=0.7)


@recipe(
    keys="thunder, thunderclap, lightning, lightning strike, thunderous",
    near="rumble storm boom earthquake avalanche rockslide",
    expects="decay silence",
    highpass_hz=20,
    summary="thunder cracking and rolling away",
)
def thunder(c: Canvas, p: Character) -> None:
    length = 3.2 * p.size * p.intensity**0.3
    if not c.loop:
        length *= c.squeeze(2 * length)
    for at_s in c.occasions(6.0 / p.speed, p.count, jitter=0.2, lasts_s=2 * length):
        near = float(c.rng.uniform(0.5, 1.0)) * (1 - 0.8 * p.distance)
        c.place(_flash(c, p, length, near), at_s, 1.0)
        for k in range(round(6 * near)):  # close by, single sparks are heard apart: it tears
            tear = burst(c.noise, c.rate, band(300, 7000, tilt_db=-3), attack_s=0.001, decay_s=0.03)
            level, pan = 0.9 * near**2 * 0.75**k, float(c.rng.uniform(-0.5, 0.5))
            c.place(tear, at_s + float(c.rng.exponential(0.05)), level, pan)


_SEGMENTS = 480
_BANDS = ((0.0, 4500.0), (0.12, 1300.0), (0.4, 500.0), (1.0, 180.0))
"""(part of the roll, low-pass in Hz): air takes the highs of what comes from farther along the channel."""


def _flash(c: Canvas, p: Character, length: float, near: float) -> Floats:
    """Return one lightning's thunder, float32 [2, L].

    The channel is a crooked line of short segments, each a spark that sends an N-shaped pressure wave. They arrive
    as their distances differ: where the channel runs across the line of sight many come at once (a clap), where it
    runs away they come one by one (a roll). After Few, "Power spectrum of thunder", J. Geophys. Res. 74 (1969), and
    Ribner & Roy, "Acoustics of thunder", J. Acoust. Soc. Am. 72 (1982).
    """
    frames = max(64, round(2 * length * c.rate))
    steps = np.exp(c.rng.normal(0.0, 1.4, _SEGMENTS))
    for clap in c.rng.integers(0, _SEGMENTS - 24, 9):
        steps[clap : clap + 24] *= 0.04
    arrivals = np.cumsum(steps)
    arrivals *= 1.7 / arrivals[-1]
    gains = c.rng.gamma(0.8, 1.0, _SEGMENTS) * np.exp(-2.4 * arrivals) / (0.25 + arrivals)
    gains[: round(8 * near)] *= 5 * near  # the foot of the channel: the crack
    pans = np.clip(np.cumsum(c.rng.normal(0, 0.12, _SEGMENTS)), -0.9, 0.9)
    wave_s = 0.0065 * p.size / p.pitch
    count = max(4, round(wave_s * c.rate))
    span = max(64, round(0.06 * c.rate) + count)  # the wave, and what the low-pass leaves ringing
    size = 1 << math.ceil(math.log2(2 * span))
    pulse = np.fft.rfft(np.linspace(1.0, -1.0, count), size)
    hz = np.fft.rfftfreq(size, 1 / c.rate).astype(np.float32)
    total = np.zeros((2, frames + span), dtype=np.float32)
    for (begin, cutoff), (end, _) in zip(_BANDS, (*_BANDS[1:], (9.0, 0.0)), strict=True):
        dulled = pulse * lowpass(cutoff * (0.35 + 0.65 * near) / p.size, 1.0)(hz)
        wave = np.fft.irfft(dulled, size)[:span].astype(np.float32)
        for k in np.flatnonzero((arrivals >= begin) & (arrivals < end)):
            start = min(frames - 1, int(arrivals[k] * length * c.rate))
            angle = (pans[k] + 1) * math.pi / 4
            sides = np.array([[math.cos(angle)], [math.sin(angle)]], dtype=np.float32)
            total[:, start : start + span] += np.float32(gains[k]) * sides * wave
    total = total[:, :frames]
    # what the hills give back, long and low
    rumble = texture(c.noise, c.rate, 2 * length, band(p.low(22), p.low(110), tilt_db=-3))[:frames]
    t = np.arange(len(rumble), dtype=np.float32) / np.float32(c.rate)
    fade = np.minimum(1, t / 0.3) * np.exp(-t / (0.5 * length))
    total /= np.float32(np.abs(total).max() or 1.0)
    total[:, : len(rumble)] += np.float32(0.8) * rumble * fade
    total[:, -max(1, frames // 6) :] *= np.linspace(1, 0, max(1, frames // 6), dtype=np.float32)
    return total
