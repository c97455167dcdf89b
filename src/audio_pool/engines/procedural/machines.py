"""Recipes of machines: hums, trains, horns."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas, Curve
from audio_pool.engines.procedural.grains import burst, glide, modes
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import band, peaks


@recipe(
    keys="hum, machine hum, transformer, electric hum, machine, machinery, buzz, power line, spaceship,"
    "engine room, spaceship engine hum, spaceship engine,"
    "generator hum, electrical hum, spaceship hum",
    near="electronic appliance room mechanical industrial whir blender sewing elevator",
    expects="noise",
    highpass_hz=40,
    summary="the steady hum of a machine",
)
def hum(c: Canvas, p: Character) -> None:
    moved = p.low(1.0)
    if abs(np.log(moved)) < 0.35:  # specimens differ in everything but the mains
        moved = 1.0
    mains = p.hz or moved * float(c.rng.choice((50.0, 60.0)))
    phase = float(c.rng.random())  # one source: both sides in step, or its strongest line is lost in mono
    if p.kind == "mains":  # iron and wires pull twice a cycle: even harmonics of the mains, and nothing that turns
        partials = [0.02, 1.0, 0.02, 0.55, 0.01, 0.4, 0.01, 0.22, 0.01, 0.14, 0.0, 0.1]
        for pan in (-0.4, 0.4):
            levels = [level * float(c.rng.uniform(0.7, 1.2)) for level in partials]
            steady = Curve(0.05 * (1 + 0.06 * c.drift(1.5).points.clip(-2, 2)))
            c.tone(mains, steady, levels, pan=pan, phase=phase)
        c.bed(band(1500, 9000, tilt_db=-2), 0.0025 * p.intensity, width=0.8)
        return
    levels = [0.3, 1.0, 0.12, 0.5, 0.08, 0.3, 0.06, 0.2, 0.04, 0.12, 0.03, 0.08]
    for pan in (-0.5, 0.5):
        partials = [level * float(c.rng.uniform(0.6, 1.2)) for level in levels]
        breath = Curve(0.05 * (1 + 0.15 * c.drift(0.8).points.clip(-2, 2)))
        c.tone(mains, breath, partials, pan=pan, phase=phase)
    blades = c.fitted_hz(p.low(23.0) * p.speed)
    c.tone(blades * 8, 0.008, [1.0, 0.5, 0.3], pan=0.1)
    c.bed(band(80, 2500, tilt_db=-3), Curve(0.03 * p.intensity * (1 + 0.2 * c.wave(blades, 1.0).points)), width=0.8)
    c.bed(band(1500, 8000, tilt_db=-3), 0.006 * p.intensity, width=1.0)


@recipe(
    keys="train, railway, railroad, locomotive, rail, subway, tram, train track, steam train, steam engine, metro,"
    "railroad car, train car",
    near="station wagon track conveyor pass arrive depart",
    expects="noise",
    highpass_hz=35,
    summary="a train rolling over its rails, clickety-clack",
    bar=1,
)
def train(c: Canvas, p: Character) -> None:
    c.bed(band(35, 250, tilt_db=-3), Curve(0.1 * c.swells(0.6, 0.15).points), width=0.6)
    c.bed(band(250, 3500, tilt_db=-4), Curve(0.035 * c.swells(0.4, 0.2).points), width=0.9)
    if p.kind == "steam":  # four puffs for each turn of the wheels, the first the loudest
        puffs = [burst(c.noise, c.rate, band(140, 3200, tilt_db=-3), attack_s=0.02, decay_s=0.05) for _ in range(6)]
        for k, at_s in enumerate(c.pulse(0.19 / p.speed, jitter=0.02, start_s=FIRST_S, bar=4)):
            c.place(puffs[k % 6], at_s, 0.75 if k % 4 == 0 else 0.5, 0.1)
    c.bed(peaks([1900, 2750, 4100], 0.03), Curve(0.006 * c.swells(0.5, 0.6).points), width=0.8)
    rail = p.low(1) * np.array([310.0, 540.0, 890.0, 1450.0, 2300.0])
    # Two axles of one bogie, then two of the next: clickety-clack, clickety-clack, at every rail joint.
    for joint_s in c.pulse(p.beat_s(48.0), jitter=0.01, start_s=FIRST_S):
        for delay, level in ((0.0, 1.0), (0.13, 0.8), (0.42, 0.9), (0.55, 0.7)):
            at_s = joint_s + delay * min(1.0, 1.25 * p.beat_s(48.0)) / max(1.0, p.speed**0.3)
            strength = level * float(c.rng.uniform(0.8, 1.0))
            levels = (0.5 * c.rng.uniform(0.5, 1.0, 5)).tolist()
            clank = modes(c.rate, rail.tolist(), [0.045, 0.035, 0.028, 0.02, 0.014], levels)
            c.place(clank, at_s, 0.35 * strength, 0.2)
            thud = burst(c.noise, c.rate, band(60, 500, tilt_db=-3), attack_s=0.002, decay_s=0.035)
            c.place(thud, at_s, 1.1 * strength, -0.1)


@recipe(
    keys="horn, honk, train horn, car horn, foghorn, ship horn, train whistle, locomotive whistle, air horn,"
    "toot, horn honk, car honk, vehicle honk, truck honk, traffic honk, steam whistle, steam train whistle",
    near="whistle ship ferry brass bugle trumpet trombone tuba elephant bellow",
    expects="silence",
    summary="a horn sounding",
    once=True,
)
def horn(c: Canvas, p: Character) -> None:
    root = p.hz or p.low(311.0)
    partials = [1.0, 0.8, 0.75, 0.5, 0.42, 0.3, 0.22, 0.15, 0.1, 0.07]
    period = 3.4 / p.speed
    for at_s in c.occasions(period, p.count, jitter=0.06, lasts_s=2.0 / p.speed):
        length = float(c.rng.uniform(1.1, 1.8)) / p.speed
        length *= c.squeeze(length + 0.2)
        for ratio, pan in ((1.0, -0.4), (1.189, 0.0), (1.498, 0.4), (1.782, 0.2)):
            points = [(0.0, 0.965 * root * ratio), (0.12, root * ratio), (length, root * ratio * 0.995)]
            c.place(glide(c.rate, points, partials=partials, attack_s=0.07, release_s=0.18), at_s, 0.13, pan)
        breath = burst(c.noise, c.rate, band(400, 5000, tilt_db=-3), attack_s=0.05, decay_s=0.1, hold_s=0.8 * length)
        c.place(breath, at_s, 0.05)


@recipe(
    keys="steam, hiss, gas leak, air leak, steam release, air release, pressure release, compressed air, spray,"
    "spray can, spray paint, aerosol",
    near="gas pneumatic hydraulic valve snake",
    expects="noise",
    summary="steam hissing from a pipe",
)
def steam(c: Canvas, p: Character) -> None:
    # A turbulent jet: a broad hump round 0.2 times speed over diameter, a little unsteady.
    top = p.low(5200.0) * float(c.rng.uniform(0.75, 1.3))
    unsteady = c.swells(0.25, 0.08).points
    c.bed(band(0.5 * top, 1.9 * top, order=1.2), Curve(0.16 * p.intensity**0.5 * unsteady), width=0.5)
    c.bed(band(350, 1400, tilt_db=-3), Curve(0.012 * c.swells(0.6, 0.3).points), width=0.7, per_second=900)
