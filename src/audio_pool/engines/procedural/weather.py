"""Recipes of the sky: rain in its kinds, wind, thunder."""

from __future__ import annotations

import math

import numpy as np

from audio_pool.engines.procedural.canvas import Canvas, Curve
from audio_pool.engines.procedural.grains import bubble, burst, modes, texture
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, lowpass, peaks


@recipe(
    keys="rain, rainy, drizzle, downpour, rain shower, cloudburst, precipitation, rainstorm",
    near="hiss spray sprinkle wet weather monsoon sleet window pane",
    expects="noise",
    summary="steady rain falling outside",
)
def rain(c: Canvas, p: Character) -> None:
    heavy = p.intensity
    breath = c.swells(4.0, 0.06)
    # Many far drops melt into a hiss; heavier rain has more body under it.
    c.bed(band(500, 9000, tilt_db=-1.5), Curve(0.09 * breath.points), width=0.9)
    c.bed(band(150, 1500, tilt_db=-3), 0.035 * heavy, width=0.7)
    c.bed(band(2500, 13000, tilt_db=-1), 0.07, per_second=2500 * heavy, width=1.0)
    c.bed(band(900, 5000), 0.045, per_second=900 * heavy, width=1.0)
    drops = [bubble(c.rate, c.rng.uniform(1100, 5200)) for _ in range(16)]
    splats = [burst(c.noise, c.rate, band(1500, 9000), decay_s=0.004) for _ in range(8)]
    c.sprinkle(c.scatter(26 * heavy), drops, gain=0.022, depth=0.45)
    c.sprinkle(c.scatter(45 * heavy), splats, gain=0.06, depth=0.45)


@recipe(
    keys="rain metal, rain roof, rain gutter, rain car, metal roof, hail, hailstone, rain awning, rain container,"
    "rain windshield, rain bucket",
    near="corrugated patter pelting",
    expects="noise",
    covers=("rain",),
    summary="rain drumming on a tin roof",
)
def rain_on_metal(c: Canvas, p: Character) -> None:
    heavy = p.intensity
    c.bed(band(400, 9000, tilt_db=-2), 0.04, width=0.9)
    # The sheet hums along in its own modes with every drop it takes.
    sheet = [float(f) for f in p.low(1) * np.exp(c.rng.uniform(np.log(220), np.log(6500), 40))]
    c.bed(peaks(sheet[:20], 0.05, floor=0.02), 0.04, per_second=700 * heavy, width=0.9)
    near = [_on_sheet(c, p, sheet, soft=0.5) for _ in range(32)]
    far = [_on_sheet(c, p, sheet, soft=1.0) for _ in range(16)]
    c.sprinkle(c.scatter(55 * heavy), near, gain=0.16, depth=0.6)
    c.sprinkle(c.scatter(130 * heavy), far, gain=0.07, depth=0.5)


def _on_sheet(c: Canvas, p: Character, sheet: list[float], soft: float) -> Floats:
    """Return one drop: a tick, and the few modes that have no node where it falls."""
    picked = c.rng.choice(len(sheet), 9, replace=False)
    hz = np.array([sheet[k] for k in picked]) * c.rng.uniform(0.99, 1.01, 9)
    levels = c.rng.gamma(1.0, 0.3, 9) * (700 / (700 + hz)) ** (0.5 * soft)
    decays = p.size * 0.03 * (600 / hz) ** 0.6 * c.rng.uniform(0.5, 1.3, 9)
    ring = modes(c.rate, hz.tolist(), decays.tolist(), levels.tolist())
    tick = burst(c.noise, c.rate, band(1500, 11000), attack_s=0.0003, decay_s=0.002)
    ring[: len(tick)] += np.float32(2.0) * tick[: len(ring)]
    return ring


@recipe(
    keys="rain leaf, rain forest, rain tree, rain garden, rain jungle, rain plant,"
    "rainforest rain, drizzle leaf, rain canopy, rain grass, rain umbrella, rain tent",
    near="",
    expects="noise",
    covers=("rain",),
    summary="rain dripping on leaves",
)
def rain_on_leaves(c: Canvas, p: Character) -> None:
    heavy = p.intensity
    breath = c.swells(5.0, 0.1)
    c.bed(band(350, 6000, tilt_db=-3), Curve(0.06 * breath.points), width=0.9)
    c.bed(band(1200, 7000, tilt_db=-2), 0.05, per_second=900 * heavy, width=1.0)
    # A leaf is a small soft drum: a dull pat with hardly any ring.
    pats = [
        burst(c.noise, c.rate, band(f, 3.5 * f), attack_s=0.001, decay_s=c.rng.uniform(0.004, 0.012))
        for f in c.rng.uniform(300, 1500, 20)
    ]
    drips = [bubble(c.rate, c.rng.uniform(700, 2400), rise=0.15) for _ in range(8)]
    c.sprinkle(c.scatter(60 * heavy), pats, gain=0.16, depth=0.5)
    c.sprinkle(c.scatter(5 * heavy), drips, gain=0.04, depth=0.4)


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
_BANDS = ((0.0, 4500.0), (0.12, 900.0), (0.4, 320.0), (1.0, 140.0))
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
    wave_s = 0.009 * p.size / p.pitch
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
