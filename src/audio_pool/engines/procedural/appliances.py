"""Recipes of household machines: motors, fans, pumps and tools."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas, Curve
from audio_pool.engines.procedural.grains import burst, modes, ping
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import band, peaks


def _motor(c: Canvas, hz: float, level: float, *, wander: float = 0.004, buzz: float = 0.8) -> None:
    """Lay a universal motor's whine: its turns, its commutator's harmonics, two sides a hair apart."""
    partials = [float(v) / (k + 1) ** buzz for k, v in enumerate(c.rng.uniform(0.5, 1.2, 14))]
    slow = c.drift(0.8, wander).points
    for pan, skew in ((-0.4, 0.9995), (0.4, 1.0005)):
        c.tone(
            Curve(hz * skew * (1 + slow)),
            Curve(level * c.swells(0.4, 0.06).points),
            partials,
            pan=pan,
            phase=float(c.rng.random()),
        )


@recipe(
    keys="vacuum cleaner, vacuum, hoover, vacuum clean, dust buster",
    near="clean carpet suction",
    expects="noise",
    summary="a vacuum cleaner running",
)
def vacuum_cleaner(c: Canvas, p: Character) -> None:
    hz = p.hz or p.low(265.0) * float(c.rng.uniform(0.85, 1.2))
    _motor(c, hz, 0.05)
    c.tone(3 * hz * 1.004, 0.012, [1.0, 0.4, 0.2], pan=0.1)
    # air through hose and brush
    c.bed(
        peaks([520, 1150, 2300, 3900], 0.35, floor=0.35),
        Curve(0.1 * p.intensity**0.5 * c.swells(0.5, 0.08).points),
        width=0.7,
    )
    c.bed(band(1500, 10_000, tilt_db=-2), 0.05, width=0.9)


@recipe(
    keys="hair dryer, hairdryer, blow dryer, hair drier",
    near="salon bathroom blow dry",
    expects="noise",
    summary="a hair dryer blowing",
)
def hair_dryer(c: Canvas, p: Character) -> None:
    hz = p.hz or p.low(410.0) * float(c.rng.uniform(0.85, 1.2))
    _motor(c, hz, 0.022)
    c.bed(band(700, 9000, tilt_db=-1), Curve(0.13 * p.intensity**0.5 * c.swells(0.7, 0.04).points), width=0.8)
    c.bed(peaks([1450, 2900], 0.25), 0.04, width=0.5)


@recipe(
    keys="fan, electric fan, ventilator, ventilation, computer fan, ceiling fan, exhaust fan, server, server room, "
    "data center",
    near="cool air blow office",
    expects="noise",
    highpass_hz=40,
    summary="a fan turning",
)
def fan(c: Canvas, p: Character) -> None:
    turns = p.hz or 17.0 * p.speed * float(c.rng.uniform(0.8, 1.25))
    blades = c.fitted_hz(3 * turns)
    c.bed(band(90, 1400, tilt_db=-3), c.wave(blades, 0.03, 0.1 * p.intensity**0.5), width=0.6)
    c.bed(band(800, 7000, tilt_db=-4), c.wave(blades, 0.006, 0.025), width=0.9)
    c.tone(p.low(100.0), 0.012, [1.0, 0.5, 0.25, 0.12])
    c.tone(c.fitted_hz(blades * 2), 0.01, [1.0, 0.4], pan=0.1)


@recipe(
    keys="fridge, refrigerator, freezer, fridge hum",
    near="kitchen cool appliance",
    expects="noise",
    highpass_hz=35,
    summary="a refrigerator humming",
)
def fridge(c: Canvas, p: Character) -> None:
    mains = p.hz or p.low(50.0)
    for pan in (-0.3, 0.3):
        levels = np.array([0.5, 1.0, 0.3, 0.45, 0.12, 0.2, 0.06, 0.1]) * c.rng.uniform(0.7, 1.2, 8)
        c.tone(
            mains * 0.98,
            Curve(0.07 * c.swells(1.5, 0.06).points),
            levels.tolist(),
            pan=pan,
            phase=float(c.rng.random()),
        )
    c.bed(band(60, 500, tilt_db=-4), 0.022, width=0.5)
    c.bed(band(500, 3000, tilt_db=-4), 0.004, width=0.8)
    for at_s in c.scatter(0.5, first_s=1.2):  # coolant gurgles now and then
        for k in range(int(c.rng.integers(3, 9))):
            c.place(ping(c.rate, float(c.rng.uniform(300, 900)), 0.012, bend=0.2), at_s + 0.07 * k, 0.02)


@recipe(
    keys="washing machine, washer, laundry, spin cycle, wash machine",
    near="laundromat clean spin drum dishwasher",
    expects="noise",
    highpass_hz=35,
    bar=1,
    summary="a washing machine turning",
)
def washing_machine(c: Canvas, p: Character) -> None:
    turn_s = c.beat_s(p.beat_s(52.0), bar=1)
    _motor(c, p.hz or p.low(92.0) * float(c.rng.uniform(0.9, 1.1)), 0.03, buzz=1.1)
    c.bed(band(60, 600, tilt_db=-3), c.wave(1 / turn_s, 0.02, 0.04), width=0.6)
    for at_s in c.pulse(turn_s, jitter=0.02, start_s=FIRST_S):
        # clothes fall, water slaps
        c.place(ping(c.rate, p.low(63), 0.05, bend=0.4), at_s, 0.35 * float(c.rng.uniform(0.7, 1.0)))
        slosh = burst(c.noise, c.rate, band(250, 2600, tilt_db=-3), attack_s=0.09, decay_s=0.12)
        c.place(slosh, at_s + 0.1 * turn_s, 0.28 * float(c.rng.uniform(0.7, 1.0)), 0.2)
        c.place(slosh, at_s + 0.55 * turn_s, 0.16, -0.25)


@recipe(
    keys="drill, power drill, electric drill, drilling, screwdriver, electric screwdriver",
    near="workshop construction bore wall dentist grinder jackhammer pneumatic angle",
    expects="noise silence",
    summary="an electric drill",
)
def drill(c: Canvas, p: Character) -> None:
    hz = p.hz or p.low(340.0) * float(c.rng.uniform(0.85, 1.2))
    count = max(64, round(c.seconds * 50))
    t = np.arange(count) * (c.seconds / count)
    press = np.zeros(count)
    for at_s in c.pulse(2.6 / p.speed, jitter=0.08, start_s=0.0):
        d = t - at_s
        press += np.clip(d / 0.12, 0, 1) * np.clip((1.9 / p.speed - d) / 0.25, 0, 1)
    press = np.clip(press, 0, 1)
    partials = [float(v) / (k + 1) ** 0.7 for k, v in enumerate(c.rng.uniform(0.5, 1.2, 12))]
    c.tone(Curve(hz * (0.25 + 0.75 * press**0.5)), Curve(0.055 * press), partials)
    c.bed(band(900, 8000, tilt_db=-2), Curve(0.07 * press), width=0.6, per_second=2500)
    c.bed(peaks([700, 1900, 3300], 0.2), Curve(0.03 * press), width=0.4)


@recipe(
    keys="saw, sawing, hand saw, handsaw, saw wood, wood saw",
    near="cut timber workshop plane sand",
    expects="noise silence",
    bar=2,
    summary="a hand saw cutting wood",
)
def saw(c: Canvas, p: Character) -> None:
    stroke_s = c.beat_s(p.beat_s(105.0), bar=2)
    for k, at_s in enumerate(c.pulse(stroke_s, jitter=0.03, start_s=FIRST_S, bar=2)):
        push = k % 2 == 0
        length = 0.75 * stroke_s
        shape = peaks([p.low(820 if push else 680), p.low(1900), p.low(3400)], 0.5, floor=0.2)
        teeth = burst(c.noise, c.rate, shape, attack_s=0.3 * length, decay_s=0.16 * length, hold_s=0.35 * length)
        grain = np.arange(len(teeth)) / c.rate
        rasp = 0.6 + 0.4 * np.sign(np.sin(2 * np.pi * (150 if push else 120) * grain))
        c.place(np.asarray(teeth * rasp, dtype=np.float32), at_s, 0.75 if push else 0.45, 0.1 if push else -0.1)
    c.reflect(0.12)


@recipe(
    keys="hammer, hammering, nail, hammer nail, mallet",
    near="build wood work site woodpecker",
    expects="silence",
    bar=1,
    summary="a hammer driving a nail",
)
def hammer(c: Canvas, p: Character) -> None:
    for k, at_s in enumerate(c.occasions(p.beat_s(128.0), p.count, jitter=0.05)):
        strength = float(c.rng.uniform(0.75, 1.0))
        pitch = p.low(2300.0) * (1 + 0.04 * (k % 5))  # the nail's free end grows shorter
        nail = modes(c.rate, [pitch, 1.9 * pitch, 3.1 * pitch], [0.022, 0.014, 0.008], [0.5, 0.6, 0.35])
        board = modes(c.rate, [p.low(170), p.low(310), p.low(560)], [0.035, 0.024, 0.014], [0.9, 0.6, 0.4])
        c.place(nail, at_s, 0.2 * strength, 0.05)
        c.place(board, at_s, 0.42 * strength, -0.05)
        c.place(burst(c.noise, c.rate, band(900, 7000), attack_s=0.0003, decay_s=0.004), at_s, 0.7 * strength)
    c.reflect(0.2)
