"""Recipes of land and water: waves, stream, fire, and what lives there."""

from __future__ import annotations

import math

import numpy as np

from audio_pool.engines.procedural.canvas import Canvas, Curve
from audio_pool.engines.procedural.grains import bubble, burst, glide, ping
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, blend


@recipe(
    keys="ocean, sea, wave, surf, beach, shore, seashore, seaside, coast, tide, shoreline",
    near="water boat ship sail swim harbor harbour lake island lap lapping sand",
    expects="noise",
    highpass_hz=40,
    summary="ocean waves breaking on a beach",
)
def ocean_waves(c: Canvas, p: Character) -> None:
    c.bed(band(60, 900, tilt_db=-4), Curve(0.05 * c.swells(5.0, 0.2).points), width=0.9)
    for start_s in (0.0, 3.1 / p.speed):
        times = c.pulse(7.5 * p.size**0.3 / p.speed, jitter=0.08, start_s=start_s)
        swell, crash, foam = (_wave_levels(c, times, p, *form) for form in _WAVE)
        c.bed(band(70, 500 * p.pitch, tilt_db=-3), Curve(0.16 * p.intensity**0.5 * swell), width=0.7)
        c.bed(band(250, 4500 * p.pitch, tilt_db=-3), Curve(0.2 * p.intensity**0.5 * crash), width=0.9)
        c.bed(band(2000, 12000, tilt_db=-2), Curve(0.05 * foam), width=1.0, per_second=5000)


# Rise and fall (s) and delay (s) of a wave's three voices: the swell, its breaking, the foam it leaves.
_WAVE = ((1.6, 1.3, -1.0), (0.7, 1.1, 0.3), (0.9, 2.4, 0.9))


def _wave_levels(c: Canvas, times: list[float], p: Character, rise: float, fall: float, delay: float) -> Floats:
    """Return the level over time of one voice of all waves, on the circle."""
    count = max(16, round(c.seconds * 50))
    t = np.arange(count) * (c.seconds / count)
    total = np.zeros(count)
    strengths = c.rng.uniform(0.5, 1.0, len(times))
    for at_s, strength in zip(times, strengths, strict=True):
        # Every wave is counted on the neighbouring turns of the circle too, so that it has no seam.
        for turn in (-1, 0, 1):
            d = (t - at_s - 1.2 - delay + turn * c.seconds) * p.speed
            total += strength * np.where(d < 0, np.exp(-((d / rise) ** 2)), np.exp(-np.maximum(d, 0) / fall))
    return total.astype(np.float32)


@recipe(
    keys="stream, brook, creek, trickle, water flow, fountain,"
    "water gurgle, gurgle, water trickle, flowing water, babbling brook",
    near="water liquid",
    expects="noise",
    summary="a small stream babbling over stones",
)
def stream(c: Canvas, p: Character) -> None:
    flow = p.intensity * p.speed
    c.bed(band(300, 3500, tilt_db=-3), Curve(0.05 * p.intensity * c.swells(0.5, 0.15).points), width=0.9)
    c.bed(band(2500, 9000, tilt_db=-3), Curve(0.02 * p.intensity * c.swells(0.3, 0.2).points), width=1.0)
    low, high = p.low(350), p.low(2600)
    pitches = np.exp(c.rng.uniform(np.log(low), np.log(high), 48))
    bank = [bubble(c.rate, float(f), rise=float(c.rng.uniform(0.02, 0.2))) for f in pitches]
    # Bubbles come in gulps: a hundred per second, crowding where the water turns over.
    gulps = np.asarray(c.scatter(9 * flow, first_s=0.01))
    times = np.repeat(gulps, 9) + c.rng.exponential(0.06, 9 * len(gulps))
    c.sprinkle([float(t) for t in times], bank, gain=0.12, depth=0.7, spread=0.8)
    c.sprinkle(c.scatter(45 * flow), bank, gain=0.06, depth=0.6, spread=1.0)


@recipe(
    keys="fire, campfire, bonfire, fireplace, flame, burn, crackle, hearth, blaze, inferno, torch",
    near="ember wood heat snap",
    expects="noise",
    highpass_hz=40,
    summary="a fire crackling",
)
def fire(c: Canvas, p: Character) -> None:
    # flames puff: air drawn in at their foot makes vortices, 1.5 / sqrt(width in m) a second (Cetegen & Ahmed,
    # "Experiments on the periodic instability of buoyant plumes and pool fires", Combustion and Flame 93, 1993)
    puffs = 1.5 / math.sqrt(0.22 * p.size) * p.speed
    count = max(64, round(c.seconds * 100))
    beat = np.ones(count)
    for hz in (puffs, 1.37 * puffs, 0.71 * puffs):  # several tongues, each with its own
        wander = np.cumsum(_read(c.drift(0.8, 0.25), count)) * (c.seconds / count) * 2 * np.pi * hz * 0.3
        wander -= wander[-1] * np.arange(count) / count  # so that a loop closes
        turns = c.fitted_hz(hz) * np.arange(count) * (c.seconds / count)
        beat += 0.3 * np.sin(2 * np.pi * turns + wander + float(c.rng.uniform(0, 6.28)))
    lick = np.maximum(0.3, beat) * _read(c.swells(1.2 / p.speed, 0.25), count)
    c.bed(band(28, 240, tilt_db=-3), Curve(0.06 * p.size * lick), width=0.5)
    c.bed(band(200, 1400, tilt_db=-3), Curve(0.022 * lick**1.4), width=0.8)
    c.bed(band(2500, 10_000, tilt_db=-2), Curve(0.007 * p.intensity * _read(c.swells(0.5, 0.4), count)), width=1.0)
    c.bed(band(1500, 11000), 0.012, per_second=60 * p.intensity, width=1.0)
    snaps = [
        burst(c.noise, c.rate, band(f, 4 * f), attack_s=0.0003, decay_s=0.0012 + 4.0 / f)
        for f in p.low(1) * np.geomspace(3600, 800, 16) * c.rng.uniform(0.85, 1.15, 16)
    ]
    pops = [
        burst(c.noise, c.rate, blend((1, band(f, 2.5 * f)), (0.5, band(2000, 8000))), attack_s=0.0005, decay_s=0.014)
        for f in p.low(1) * c.rng.uniform(250, 600, 6)
    ]
    # Wood cracks as rock does: energies follow a power law, many small for each large, and one crack loosens others
    # that grow rarer with the time since (Omori). The larger the crack the longer and lower it is.
    runs = np.asarray(c.scatter(4.4 * p.intensity * p.speed, first_s=0.01))
    sizes = np.minimum(30, np.ceil(c.rng.pareto(1.3, len(runs)) + 0.4)).astype(int)
    delays = 0.012 * (c.rng.random(int(sizes.sum())) ** -1.1 - 1)
    times = np.repeat(runs, sizes) + np.minimum(delays, 0.9)
    levels = np.minimum(0.08 * (1 + c.rng.pareto(1.0, len(times))), 1.6)
    for at_s, level, pan in zip(times, levels, c.rng.uniform(-0.8, 0.8, len(times)), strict=True):
        if c.loop or at_s < c.seconds:
            rank = float(np.interp(math.log(level), (math.log(0.08), math.log(1.6)), (0, len(snaps) - 1)))
            chosen = int(np.clip(round(rank + float(c.rng.normal(0, 2.0))), 0, len(snaps) - 1))
            c.place(snaps[chosen], float(at_s), float(level), float(pan))
    c.sprinkle(c.scatter(0.8 * p.intensity), pops, gain=0.8, depth=0.5, spread=0.5)


def _read(curve: Curve, count: int) -> Floats:
    """Return a curve at ``count`` evenly spaced points."""
    return curve.part(0, count, count).astype(np.float64)


@recipe(
    keys="cricket, grasshopper, insect, summer night, katydid, insect buzz",
    near="night bug field countryside evening",
    summary="crickets chirping on a summer night",
)
def crickets(c: Canvas, p: Character) -> None:
    c.bed(band(200, 2500, tilt_db=-4), 0.006, width=1.0)
    for k in range(round(3 + 3 * p.intensity)):
        hz = p.low(float(c.rng.uniform(3900, 5200)))
        near = 1.0 if k == 0 else float(c.rng.uniform(0.15, 0.5))
        pan = float(c.rng.uniform(-0.9, 0.9)) if k else 0.2
        chirp = _chirp(c, hz, pulses=int(c.rng.integers(3, 5)), pulse_s=0.017)
        period = float(c.rng.uniform(0.42, 0.75)) / p.speed
        start = 0.01 if k == 0 else float(c.rng.uniform(0, period))
        for at_s in c.pulse(period, jitter=0.03, start_s=start):
            c.place(chirp, at_s, 0.3 * near * float(c.rng.uniform(0.85, 1.0)), pan)
    # Tree crickets trill without end far behind.
    trill = c.fitted_hz(p.low(3100))
    c.tone(trill, c.wave(38 * p.speed, 0.0025, 0.003), pan=-0.6)
    c.tone(trill * 1.012, c.wave(41 * p.speed, 0.0025, 0.003), pan=0.7)


def _chirp(c: Canvas, hz: float, *, pulses: int, pulse_s: float) -> Floats:
    """Return wing strokes: short pulses of a nearly pure tone, the first the softest."""
    gap = 1.9 * pulse_s
    total = np.zeros(round(c.rate * gap * (pulses + 1)), dtype=np.float32)
    for k in range(pulses):
        bend = float(c.rng.uniform(0.985, 1.0))
        points = [(0.0, hz), (pulse_s, hz * bend)]
        stroke = glide(c.rate, points, partials=(1.0, 0.06), attack_s=0.4 * pulse_s, release_s=0.5 * pulse_s)
        start = round(c.rate * gap * k)
        total[start : start + len(stroke)] += stroke * np.float32(0.6 + 0.4 * k / pulses)
    return total


@recipe(
    keys="frog, toad, croak, ribbit, bullfrog, treefrog",
    near="pond swamp amphibian reptile lizard",
    summary="frogs croaking at a pond",
)
def frogs(c: Canvas, p: Character) -> None:
    c.bed(band(250, 3000, tilt_db=-4), 0.004, width=1.0)
    for k in range(round(3 + 2 * p.intensity)):
        deep = k % 3 == 2
        near = 1.0 if k == 0 else float(c.rng.uniform(0.2, 0.6))
        pan = float(c.rng.uniform(-0.9, 0.9)) if k else -0.1
        hz = p.low(float(c.rng.uniform(240, 330) if deep else c.rng.uniform(650, 1150)))
        calls = [_croak(c, hz * float(c.rng.uniform(0.97, 1.03)), slow=deep) for _ in range(3)]
        period = float(c.rng.uniform(0.9, 1.7)) * (1.6 if deep else 1.0) / p.speed
        for at_s in c.pulse(period, jitter=0.12, start_s=0.02 if k == 0 else float(c.rng.uniform(0, period))):
            c.place(calls[int(c.rng.integers(3))], at_s, 0.35 * near, pan)


def _croak(c: Canvas, hz: float, *, slow: bool) -> Floats:
    """Return a train of throat pulses, each a damped ring at two resonances, rising a little towards its end."""
    rate_hz, count = (28.0, 14) if slow else (float(c.rng.uniform(42, 60)), int(c.rng.integers(9, 16)))
    pulses = [ping(c.rate, hz * (0.94 + 0.1 * k / count), 0.008 if slow else 0.006) for k in range(count)]
    total = np.zeros(round(c.rate * (count + 3) / rate_hz), dtype=np.float32)
    for k, pulse in enumerate(pulses):
        upper = ping(c.rate, 2.4 * hz, 0.004) * np.float32(0.4)
        start = round(c.rate * k / rate_hz)
        loud = np.float32(np.sin(np.pi * (k + 1) / (count + 1)) ** 0.6)
        for part in (pulse, upper):
            part = part[: len(total) - start]
            total[start : start + len(part)] += loud * part
    return total


@recipe(
    keys="leaf, leaves rustle, rustle leaves, tree leaves, dry leaves, bush, bush rustle, undergrowth, hedge",
    near="tree branch straw hay",
    expects="noise",
    summary="leaves rustling in a tree",
)
def leaves(c: Canvas, p: Character) -> None:
    # Leaves brush each other: a broad hump at a few kHz that comes and goes with the gusts, single leaves over it.
    gusts = c.swells(2.2 / p.speed, 0.6).points
    strong = 0.08 * p.intensity**0.5
    shape = band(p.low(1700.0), 9000, tilt_db=-1.5)
    c.bed(shape, Curve(strong * gusts), width=0.9, per_second=2500)
    c.bed(band(2500, 11_000), Curve(0.8 * strong * gusts**1.5), width=0.9, per_second=260)
    bank = [
        burst(c.noise, c.rate, band(f, 2.5 * f), attack_s=0.004, decay_s=float(c.rng.uniform(0.004, 0.02)))
        for f in c.rng.uniform(1500, 4000, 12)
    ]
    c.sprinkle(c.scatter(9.0 * p.intensity, first_s=0.05), bank, gain=0.1, depth=0.7)
