"""Recipes of birds by name: owl, crow, gull, rooster, chicken, duck."""

from __future__ import annotations

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas
from audio_pool.engines.procedural.grains import burst, glide
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band
from audio_pool.engines.procedural.throat import Tract, resized, utter


@recipe(
    keys="owl, hoot, owl hoot, tawny owl",
    near="night dove pigeon coo cuckoo",
    expects="silence",
    summary="an owl hooting",
)
def owl(c: Canvas, p: Character) -> None:
    base = p.hz or p.low(390.0) * float(c.rng.uniform(0.85, 1.2))
    phrase = (
        ((0.0, 0.5), (1.15, 0.16), (1.45, 0.2), (1.8, 0.75))
        if c.rng.random() < 0.6
        else ((0.0, 0.35), (0.6, 0.2), (0.95, 0.45), (1.7, 0.4))
    )
    for at_s in c.occasions(4.8 / p.speed, p.count, jitter=0.1, lasts_s=2.6):
        for start, length in phrase:
            hz = base * float(c.rng.uniform(0.98, 1.02))
            points = [(0.0, 0.93 * hz), (0.25 * length, hz), (0.8 * length, 0.99 * hz), (length, 0.9 * hz)]
            hoot = glide(c.rate, points, partials=(1.0, 0.1, 0.05), attack_s=0.05, release_s=0.4 * length)
            c.place(hoot, at_s + start / p.speed, 0.5, 0.2)
            air = burst(c.noise, c.rate, band(0.8 * hz, 2.5 * hz, tilt_db=-3), attack_s=0.05, decay_s=0.3 * length)
            c.place(air, at_s + start / p.speed, 0.035, 0.2)
    c.reflect(0.3)


@recipe(
    keys="crow, raven, caw, crow caw, rook, jackdaw",
    near="magpie vulture",
    expects="silence",
    summary="a crow cawing",
)
def crow(c: Canvas, p: Character) -> None:
    base = p.hz or p.low(330.0) * float(c.rng.uniform(0.85, 1.2))
    tract: Tract = ((1250, 260, 1.0), (1750, 300, 0.8), (2900, 500, 0.35), (4300, 800, 0.15))
    for at_s in c.occasions(2.6 / p.speed, None if p.count is None else 1, jitter=0.15, lasts_s=1.4):
        for k in range(p.count or int(c.rng.integers(2, 5))):
            length = float(c.rng.uniform(0.26, 0.4)) / p.speed**0.5
            pitch = [(0.0, 0.9 * base), (0.3 * length, 1.15 * base), (length, 0.85 * base)]
            call = utter(
                c.rng,
                c.rate,
                pitch,
                [(0.0, tract), (length, resized(tract, 0.88))],
                attack_s=0.03,
                release_s=0.09,
                breath=0.3,
                jitter=0.09,
                shimmer=0.35,
                rough_hz=62,
                rough=0.55,
            )
            c.place(call, at_s + k * 0.52 / p.speed, 0.6 * float(c.rng.uniform(0.8, 1.0)), 0.15)
    c.reflect(0.22)


@recipe(
    keys="gull, seagull, sea bird, gull cry",
    near="harbor coast pier albatross",
    expects="silence",
    summary="seagulls crying",
)
def gull(c: Canvas, p: Character) -> None:
    tract: Tract = ((1500, 350, 1.0), (2700, 500, 0.7), (4100, 800, 0.3))

    def cry(base: float) -> Floats:
        length = float(c.rng.uniform(0.22, 0.42))
        pitch = [(0.0, 0.85 * base), (0.25 * length, 1.45 * base), (0.6 * length, 1.2 * base), (length, 0.8 * base)]
        shape = [(0.0, tract), (length, resized(tract, 0.9))]
        return utter(
            c.rng, c.rate, pitch, shape, attack_s=0.03, release_s=0.1, breath=0.08, jitter=0.02, shimmer=0.15
        )

    for k in range(3):
        base = p.low(950.0) * float(c.rng.uniform(0.85, 1.25))
        cries = [cry(base) for _ in range(3)]
        near = 1.0 if k == 0 else float(c.rng.uniform(0.25, 0.55))
        pan = float(c.rng.uniform(-0.9, 0.9)) if k else 0.1
        start = FIRST_S if k == 0 else float(c.rng.uniform(0.2, 2.0))
        for at_s in c.occasions(3.4 / p.speed, None, jitter=0.2, start_s=start, lasts_s=1.8):
            for number in range(int(c.rng.integers(2, 6))):
                sound = cries[int(c.rng.integers(3))]
                c.place(sound, at_s + number * 0.55 / p.speed, 0.4 * near * 0.93**number, pan)
    c.reflect(0.2)


@recipe(
    keys="rooster, cock crow, cock a doodle doo, rooster crow, cockerel",
    near="farm morning chicken hen",
    expects="silence decay",
    once=True,
    summary="a rooster crowing",
)
def rooster(c: Canvas, p: Character) -> None:
    base = p.hz or p.low(560.0) * float(c.rng.uniform(0.88, 1.15))
    tract: Tract = ((1050, 240, 1.0), (1900, 320, 0.8), (3000, 500, 0.4), (4200, 800, 0.2))
    for at_s in c.occasions(4.5 / p.speed, p.count, jitter=0.1, lasts_s=2.0):
        scale = c.squeeze(2.0) / p.speed**0.5
        for start, length, one, two, three in (
            (0.0, 0.2, 0.75, 0.95, 0.9),
            (0.25, 0.16, 1.0, 1.15, 1.05),
            (0.45, 0.3, 1.1, 1.35, 1.2),
            (0.8, 1.05, 1.15, 1.5, 0.7),
        ):
            span = length * scale
            pitch = [
                (0.0, one * base),
                (0.35 * span, two * base),
                (0.7 * span, 0.5 * (two + three) * base),
                (span, three * base),
            ]
            call = utter(
                c.rng,
                c.rate,
                pitch,
                [(0.0, tract), (span, resized(tract, 0.85))],
                attack_s=0.025,
                release_s=0.3 * span,
                breath=0.08,
                jitter=0.02,
                shimmer=0.15,
                rough_hz=45,
                rough=0.25,
            )
            c.place(call, at_s + start * scale, 0.6, 0.1)
    c.reflect(0.2)


@recipe(
    keys="chicken, hen, cluck, chicken cluck, poultry, chick",
    near="farm egg coop turkey",
    expects="silence",
    summary="a chicken clucking",
)
def chicken(c: Canvas, p: Character) -> None:
    base = p.hz or p.low(430.0) * float(c.rng.uniform(0.85, 1.2))
    tract: Tract = ((900, 260, 1.0), (1800, 350, 0.7), (3100, 600, 0.3))

    def cluck(length: float, rise: float) -> Floats:
        pitch = [(0.0, 0.8 * base), (0.4 * length, rise * base), (length, 0.75 * base)]
        return utter(
            c.rng,
            c.rate,
            pitch,
            [(0.0, tract), (length, tract)],
            attack_s=0.008,
            release_s=0.4 * length,
            breath=0.15,
            jitter=0.03,
            shimmer=0.2,
        )

    for at_s in c.occasions(2.4 / p.speed, p.count, jitter=0.15, lasts_s=1.6):
        count = int(c.rng.integers(3, 7))
        for k in range(count):
            last = k == count - 1
            when = at_s + k * 0.24 / p.speed * float(c.rng.uniform(0.85, 1.2))
            c.place(cluck(0.3 if last else 0.085, 1.7 if last else 1.1), when, 0.55 if last else 0.35, -0.1)
    c.reflect(0.12)


@recipe(
    keys="duck, quack, duck quack, mallard",
    near="pond waterfowl swan goose geese honk",
    expects="silence",
    summary="a duck quacking",
)
def duck(c: Canvas, p: Character) -> None:
    base = p.hz or p.low(230.0) * float(c.rng.uniform(0.85, 1.2))
    tract: Tract = ((750, 180, 0.8), (1350, 220, 1.0), (2500, 400, 0.6), (3700, 700, 0.25))
    for at_s in c.occasions(2.6 / p.speed, None if p.count is None else 1, jitter=0.15, lasts_s=1.3):
        for k in range(p.count or int(c.rng.integers(3, 6))):
            length = (0.2 if k == 0 else 0.15) / p.speed**0.3
            pitch = [(0.0, 1.05 * base), (0.3 * length, 1.12 * base), (length, 0.82 * base)]
            call = utter(
                c.rng,
                c.rate,
                pitch,
                [(0.0, resized(tract, 0.85)), (0.4 * length, tract), (length, resized(tract, 0.9))],
                attack_s=0.01,
                release_s=0.06,
                breath=0.15,
                jitter=0.06,
                shimmer=0.25,
                rough_hz=110,
                rough=0.4,
            )
            c.place(call, at_s + k * 0.27 / p.speed, 0.6 * 0.92**k, -0.1)
    c.reflect(0.12)
