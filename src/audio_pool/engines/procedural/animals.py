"""Recipes of animals: farm, house, forest and shore, each a throat with its own pitch, tract and habit."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas
from audio_pool.engines.procedural.grains import arch, burst, glide, ping, texture
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import band
from audio_pool.engines.procedural.throat import Tract, resized, utter

_DOG_SHUT: Tract = ((480, 180, 0.8), (1150, 260, 0.5), (2400, 420, 0.25), (3800, 700, 0.1))
_DOG_OPEN: Tract = ((820, 200, 1.0), (1550, 260, 0.9), (2700, 420, 0.45), (4200, 700, 0.2))


@recipe(
    keys="dog, bark, puppy, dog bark, hound, woof",
    near="howl yelp whine fox coyote",
    expects="silence decay",
    summary="a dog barking",
)
def dog(c: Canvas, p: Character) -> None:
    factor = p.low(1.0) ** 0.7 * float(c.rng.uniform(0.85, 1.2))
    base = p.hz or p.low(330.0) * float(c.rng.uniform(0.8, 1.3))
    barks = p.count or int(c.rng.integers(2, 4))
    for at_s in c.occasions(1.9 / p.speed, 1 if p.count else None, jitter=0.15, lasts_s=0.6):
        for k in range(barks):
            length = float(c.rng.uniform(0.15, 0.22)) / p.speed**0.3
            top = base * float(c.rng.uniform(1.35, 1.7))
            pitch = [(0.0, 0.8 * base), (0.3 * length, top), (length, 0.62 * base)]
            tract = [
                (0.0, resized(_DOG_SHUT, factor)),
                (0.3 * length, resized(_DOG_OPEN, factor)),
                (length, resized(_DOG_SHUT, factor)),
            ]
            bark = utter(
                c.rng,
                c.rate,
                pitch,
                tract,
                attack_s=0.008,
                release_s=0.5 * length,
                breath=0.22,
                jitter=0.04,
                shimmer=0.25,
                rough_hz=75,
                rough=0.35,
            )
            c.place(bark, at_s + k * 0.34 / p.speed * float(c.rng.uniform(0.9, 1.15)), 0.7, 0.1)
    c.reflect(0.18)


_MEOW: tuple[Tract, ...] = (
    ((420, 150, 0.7), (2300, 300, 0.35), (3300, 500, 0.2)),
    ((950, 170, 1.0), (1900, 260, 0.6), (3400, 500, 0.25)),
    ((560, 150, 0.8), (1150, 240, 0.4), (3100, 500, 0.1)),
)


@recipe(
    keys="cat, meow, kitten, cat meow, mew, feline",
    near="purr hiss pet",
    expects="silence decay",
    summary="a cat meowing",
)
def cat(c: Canvas, p: Character) -> None:
    base = p.hz or p.low(560.0) * float(c.rng.uniform(0.82, 1.3))
    factor = p.low(1.0) ** 0.7
    for at_s in c.occasions(2.4 / p.speed, p.count, jitter=0.2, lasts_s=1.0):
        length = float(c.rng.uniform(0.55, 0.95)) / p.speed**0.5
        length *= c.squeeze(length)
        top = float(c.rng.uniform(1.25, 1.5))
        pitch = [(0.0, 0.85 * base), (0.3 * length, top * base), (0.6 * length, 1.15 * base), (length, 0.8 * base)]
        tract = [(k * 0.5 * length, resized(shape, factor)) for k, shape in enumerate(_MEOW)]
        call = utter(c.rng, c.rate, pitch, tract, attack_s=0.06, release_s=0.25 * length, breath=0.06, jitter=0.008)
        c.place(call, at_s, 0.6, -0.1)
    c.reflect(0.12)


@recipe(
    keys="purr, cat purr, purring cat",
    near="cat calm",
    expects="noise",
    highpass_hz=20,
    summary="a cat purring",
)
def purr(c: Canvas, p: Character) -> None:
    # 21 to 27 pulses a second, in and out; breathing in is a little louder and higher (Schoetz & Eklund, 2011)
    rate_hz = 23.5 * p.speed * float(c.rng.uniform(0.92, 1.08))
    half_s = c.beat_s(1.25 / p.speed, bar=2)
    at_s, k = FIRST_S, 0
    inward = [burst(c.noise, c.rate, band(80, 900, tilt_db=-3), attack_s=0.004, decay_s=0.009) for _ in range(8)]
    outward = [burst(c.noise, c.rate, band(50, 500, tilt_db=-3), attack_s=0.006, decay_s=0.012) for _ in range(8)]
    while at_s < c.last_s:
        phase = (at_s / half_s) % 2.0
        swell = max(0.0, np.sin(np.pi * (phase % 1.0))) ** 0.4
        bank, level, quicker = (inward, 0.9, 1.03) if phase < 1 else (outward, 0.7, 0.97)
        c.place(bank[k % 8], at_s, level * float(swell) * float(c.rng.uniform(0.8, 1.0)), 0.05)
        at_s += float(c.rng.uniform(0.96, 1.04)) / (rate_hz * quicker)
        k += 1


_MOO: tuple[Tract, ...] = (
    ((260, 90, 1.0), (700, 160, 0.3), (1900, 300, 0.08)),
    ((560, 120, 1.0), (980, 180, 0.7), (2200, 320, 0.25)),
    ((380, 110, 1.0), (820, 180, 0.35), (2000, 320, 0.1)),
)


@recipe(
    keys="cow, moo, cattle, bull, cow moo, calf, ox",
    near="buffalo farm barn milk",
    expects="silence",
    highpass_hz=50,
    summary="a cow mooing",
)
def cow(c: Canvas, p: Character) -> None:
    base = p.hz or p.low(118.0) * float(c.rng.uniform(0.85, 1.25))
    for at_s in c.occasions(4.2 / p.speed, p.count, jitter=0.15, lasts_s=2.2):
        natural = float(c.rng.uniform(1.4, 2.1)) / p.speed**0.5
        length = natural * c.squeeze(natural)
        pitch = [(0.0, 0.78 * base), (0.25 * length, base), (0.7 * length, 1.12 * base), (length, 0.75 * base)]
        tract = [(0.5 * k * length, resized(shape, p.low(1.0) ** 0.5)) for k, shape in enumerate(_MOO)]
        call = utter(
            c.rng,
            c.rate,
            pitch,
            tract,
            attack_s=0.15,
            release_s=0.3 * length,
            breath=0.05,
            jitter=0.015,
            shimmer=0.1,
            rough_hz=27,
            rough=0.25,
        )
        c.place(call, at_s, 0.7, 0.1)
    c.reflect(0.2)


@recipe(
    keys="sheep, lamb, baa, bleat, sheep bleat",
    near="flock farm wool goat",
    expects="silence",
    summary="a sheep bleating",
)
def sheep(c: Canvas, p: Character) -> None:
    for k in range(2):
        base = p.low(215.0 if k == 0 else 290.0) * float(c.rng.uniform(0.85, 1.2))
        tract: Tract = ((250, 140, 0.9), (640, 130, 0.9), (1450, 200, 0.7), (2500, 320, 0.45), (3500, 500, 0.15))
        start = FIRST_S if k == 0 else float(c.rng.uniform(0.8, 2.2))
        if k and c.seconds < 3:
            break
        for at_s in c.occasions(2.6 / p.speed, p.count, jitter=0.2, start_s=start, lasts_s=1.0):
            length = float(c.rng.uniform(0.6, 1.0)) * c.squeeze(1.0)
            # the bleat's tremor: 7 to 9 times a second, in pitch and in strength
            t = np.linspace(0, length, 48)
            tremor = np.sin(2 * np.pi * float(c.rng.uniform(7, 9)) * t)
            hz = base * (1 - 0.12 * t / length) * (1 + 0.05 * tremor)
            loud = [(float(a), float(b)) for a, b in zip(t, 0.75 + 0.25 * tremor, strict=True)]
            points = [(float(a), float(b)) for a, b in zip(t, hz, strict=True)]
            call = utter(
                c.rng,
                c.rate,
                points,
                [(0.0, tract), (length, resized(tract, 0.9))],
                attack_s=0.03,
                release_s=0.15,
                breath=0.08,
                jitter=0.02,
                loudness=loud,
            )
            c.place(call, at_s, 0.6 if k == 0 else 0.25, 0.0 if k == 0 else 0.7)
    c.reflect(0.15)


@recipe(
    keys="pig, oink, grunt, pig grunt, hog, boar, piglet",
    near="snort farm sty",
    expects="silence",
    summary="a pig grunting",
)
def pig(c: Canvas, p: Character) -> None:
    tract: Tract = ((380, 160, 1.0), (900, 220, 0.7), (1700, 350, 0.4), (2900, 500, 0.2))
    for at_s in c.occasions(0.9 / p.speed, p.count, jitter=0.3, lasts_s=0.35):
        for k in range(int(c.rng.integers(1, 4))):
            length = float(c.rng.uniform(0.1, 0.22))
            base = p.low(75.0) * float(c.rng.uniform(0.8, 1.3))
            pitch = [(0.0, base), (0.4 * length, 1.3 * base), (length, 0.8 * base)]
            call = utter(
                c.rng,
                c.rate,
                pitch,
                [(0.0, tract), (length, resized(tract, 0.85))],
                attack_s=0.015,
                release_s=0.06,
                breath=0.55,
                jitter=0.12,
                shimmer=0.4,
            )
            c.place(call, at_s + 0.24 * k, 0.6 * float(c.rng.uniform(0.6, 1.0)), -0.1)
    c.reflect(0.12)


@recipe(
    keys="wolf, wolf howl, howl wolf, werewolf, dog howl",
    near="howl pack moon husky coyote",
    expects="silence",
    summary="a wolf howling",
)
def wolf(c: Canvas, p: Character) -> None:
    singers = 3 if p.several else 1
    for k in range(singers):
        base = p.hz or p.low(390.0) * float(c.rng.uniform(0.85, 1.2)) * (1.0, 1.19, 0.84)[k]
        near = 1.0 if k == 0 else float(c.rng.uniform(0.4, 0.7))
        start = FIRST_S if k == 0 else float(c.rng.uniform(0.3, 1.5))
        for at_s in c.occasions(6.0 / p.speed, p.count, jitter=0.15, start_s=start, lasts_s=3.5):
            natural = float(c.rng.uniform(2.8, 3.8)) / p.speed**0.5
            length = natural * c.squeeze(natural)
            t = np.linspace(0, 1, 60)
            bend = np.interp(t, [0, 0.12, 0.2, 0.65, 0.85, 1.0], [0.55, 0.95, 1.0, 0.97, 0.8, 0.55])
            waver = 1 + 0.012 * np.sin(2 * np.pi * 5.2 * t * length) * np.minimum(1, 3 * t)
            points = [(float(a * length), float(b)) for a, b in zip(t, base * bend * waver, strict=True)]
            howl = glide(
                c.rate, points, partials=(1.0, 0.42, 0.2, 0.1, 0.04), attack_s=0.2 * length, release_s=0.3 * length
            )
            breath = texture(c.noise, c.rate, length, band(400, 2500, tilt_db=-3))[: len(howl)]
            contour = arch(len(breath), 2)
            c.place(howl, at_s, 0.35 * near, (0.0, -0.7, 0.7)[k])
            c.place(np.asarray(breath * contour, dtype=np.float32), at_s, 0.03 * near, (0.0, -0.7, 0.7)[k])
    c.reflect(0.3)


_GAITS = {
    "walk": (1.1, (0.0, 0.25, 0.5, 0.75)),
    "trot": (0.72, (0.0, 0.02, 0.5, 0.52)),
    "gallop": (0.52, (0.0, 0.17, 0.34, 0.5)),
}
"""Seconds of a stride, and when in it the four hooves land: evenly, by diagonal pairs, close together
(Hildebrand, "Symmetrical gaits of horses", Science 150, 1965)."""


@recipe(
    keys="horse, hoof, hooves, gallop, horse gallop, horse walk, hoofbeat, trot, canter, cavalry, clip clop",
    near="pony donkey saddle ride carriage",
    expects="silence",
    highpass_hz=45,
    bar=4,
    summary="a horse galloping",
)
def horse(c: Canvas, p: Character) -> None:
    # a gallop: four beats close together, then the moment in the air; a slow one walks evenly
    gait = p.gait or ("walk" if p.speed < 0.8 else "gallop")
    natural_s, beats = _GAITS.get(gait, _GAITS["gallop"])
    stride_s = c.beat_s(natural_s / (1.0 if gait == "walk" else p.speed), bar=1)
    loose = 0.5 if p.ground else 1.0
    count = max(1, round(c.seconds / stride_s))
    for stride in range(count):
        for k, beat in enumerate(beats):
            at_s = FIRST_S + (stride + beat) * stride_s * float(c.rng.uniform(0.995, 1.005))
            if at_s > c.last_s:
                continue
            strength = (0.8, 0.9, 1.0, 0.85)[k] * float(c.rng.uniform(0.8, 1.0))
            pan = (-0.25, 0.2, -0.15, 0.25)[k]
            hoof = p.low(float(c.rng.uniform(300, 400)))
            c.place(ping(c.rate, hoof, 0.012, bend=0.3), at_s, 0.45 * loose * strength, pan)
            c.place(ping(c.rate, p.low(85), 0.03, bend=0.7), at_s, 0.6 * strength, pan)
            clop = burst(c.noise, c.rate, band(350, 2600, tilt_db=-2), attack_s=0.0008, decay_s=0.011)
            c.place(clop, at_s, 1.0 * loose * strength, pan)
            if p.ground:
                c.place(
                    burst(c.noise, c.rate, band(900, 6000), attack_s=0.004, decay_s=0.03), at_s, 0.3 * strength, pan
                )
    c.reflect(0.12)


@recipe(
    keys="neigh, whinny, horse neigh, horse whinny, horse snort",
    near="horse stable donkey",
    expects="silence decay",
    once=True,
    summary="a horse neighing",
)
def neigh(c: Canvas, p: Character) -> None:
    # two pitches at once: the folds' of 200 to 400 Hz and, louder at first, a whistle of the larynx of 1 to 1.5 kHz
    # that goes its own way (Briefer et al., Sci. Rep. 5, 2015; Lefevre et al., Current Biology)
    base = p.hz or p.low(300.0) * float(c.rng.uniform(0.85, 1.2))
    whistle_hz = 4.1 * base * float(c.rng.uniform(0.9, 1.1))
    tract: Tract = ((900, 220, 1.0), (1700, 300, 0.8), (2900, 450, 0.5), (4100, 700, 0.25))
    for at_s in c.occasions(4.0 / p.speed, p.count, jitter=0.1, lasts_s=2.3):
        natural = 1.9 / p.speed**0.5
        length = natural * c.squeeze(natural + 0.3)
        t = np.linspace(0, length, 90)
        x = t / length
        shape = np.interp(x, [0, 0.08, 0.3, 0.6, 1.0], [0.75, 1.25, 1.2, 1.0, 0.6])
        depth = np.interp(x, [0, 0.25, 0.6, 1.0], [0.01, 0.05, 0.09, 0.06])
        hz = base * shape * (1 + depth * np.sin(2 * np.pi * 13.0 * t))
        loud = (0.6 + 0.4 * np.sin(2 * np.pi * 13.0 * t)) * np.interp(x, [0, 0.1, 0.5, 1], [0.4, 1, 0.9, 0.5])
        pitch = [(float(a), float(b)) for a, b in zip(t, hz, strict=True)]
        call = utter(
            c.rng,
            c.rate,
            pitch,
            [(0.0, tract), (length, resized(tract, 0.75))],
            attack_s=0.05,
            release_s=0.25 * length,
            breath=0.12,
            jitter=0.02,
            loudness=[(float(a), float(b)) for a, b in zip(t, loud, strict=True)],
        )
        c.place(call, at_s, 0.5, 0.1)
        rise = np.interp(x, [0, 0.12, 0.45, 1.0], [0.85, 1.15, 1.05, 0.8])
        rise *= 1 + 0.6 * depth * np.sin(2 * np.pi * 13 * t)
        whistle = glide(
            c.rate, [(float(a), float(b)) for a, b in zip(t, whistle_hz * rise, strict=True)],
            partials=(1.0, 0.3, 0.12), attack_s=0.03, release_s=0.6 * length,
        )  # fmt: skip
        shiver = np.interp(np.linspace(0, 1, len(whistle)), x, loud).astype(np.float32)
        c.place(whistle * shiver, at_s, 0.22, 0.1)
        snort = texture(c.noise, c.rate, 0.35, band(200, 3500, tilt_db=-3))
        s = np.arange(len(snort), dtype=np.float32) / np.float32(c.rate)
        flutter = (0.55 + 0.45 * np.sin(2 * np.pi * 24 * s)) * np.exp(-s / 0.12) * np.minimum(1, s / 0.02)
        c.place(np.asarray(snort * flutter, dtype=np.float32), at_s + length, 0.35, 0.1)
    c.reflect(0.2)


_ROAR: tuple[Tract, ...] = (
    ((240, 120, 1.0), (620, 220, 0.5), (1500, 400, 0.2)),
    ((520, 200, 1.0), (1050, 300, 0.8), (2300, 600, 0.35)),
    ((300, 150, 1.0), (760, 260, 0.5), (1700, 500, 0.2)),
)


@recipe(
    keys="roar, growl, lion, tiger, dragon, monster, beast, bear growl, bear roar, leopard, dinosaur, lion roar, snarl,"
    "monster growl",
    near="bear creature alien demon ogre troll orc panther",
    expects="silence",
    highpass_hz=30,
    summary="a lion roaring",
)
def roar(c: Canvas, p: Character) -> None:
    # Flat, slack vocal folds: many weak pulses among strong ones, hardly a pitch (Klemuk et al. 2011).
    base = p.hz or p.low(72.0) * float(c.rng.uniform(0.8, 1.3))
    for at_s in c.occasions(3.4 / p.speed, p.count, jitter=0.2, lasts_s=2.0):
        natural = float(c.rng.uniform(1.2, 1.9)) * p.size**0.3 / p.speed**0.5
        length = natural * c.squeeze(natural)
        pitch = [(0.0, 0.7 * base), (0.3 * length, 1.5 * base), (0.6 * length, 1.3 * base), (length, 0.6 * base)]
        tract = [(0.5 * k * length, resized(shape, p.low(1.0) ** 0.5)) for k, shape in enumerate(_ROAR)]
        call = utter(
            c.rng, c.rate, pitch, tract,
            attack_s=0.12 * length, release_s=0.4 * length, breath=0.2, jitter=0.09, shimmer=0.45,
            rough_hz=float(c.rng.uniform(18, 30)), rough=0.6,
        )  # fmt: skip
        c.place(call, at_s, 0.7, -0.1)
    c.reflect(0.25)
