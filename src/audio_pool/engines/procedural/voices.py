"""Recipes of single voices: speech without words, laughter, whispers, breath, screams, coughs, snores, a baby."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas
from audio_pool.engines.procedural.grains import arch, burst, texture
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, formants
from audio_pool.engines.procedural.throat import Tract, resized, utter

_VOWELS: tuple[Tract, ...] = (
    ((300, 70, 1.0), (2300, 140, 0.35), (3000, 200, 0.25), (3900, 300, 0.1)),
    ((530, 80, 1.0), (1850, 130, 0.45), (2500, 200, 0.25), (3700, 300, 0.1)),
    ((730, 90, 1.0), (1200, 120, 0.6), (2500, 200, 0.25), (3600, 300, 0.1)),
    ((570, 80, 1.0), (900, 110, 0.55), (2450, 200, 0.15), (3500, 300, 0.06)),
    ((320, 70, 1.0), (900, 110, 0.3), (2250, 200, 0.1), (3400, 300, 0.05)),
)
"""i, e, a, o, u: formants after Peterson & Barney (1952), bandwidths after Dunn (1961)."""


def _person(c: Canvas, p: Character) -> tuple[float, float]:
    """Return (pitch in Hz, length factor of the tract) of somebody: a man, a woman or in between."""
    low, width = {"man": (0.0, 0.25), "woman": (0.75, 0.25)}.get(p.kind, (0.0, 1.0))
    high = low + width * float(c.rng.random())
    return p.hz or p.low(105.0 + 115.0 * high), 1.0 + 0.17 * high


@recipe(
    keys="speech, talk, speak, voice, man speak, woman speak, man talk, woman talk, conversation, male voice,"
    "female voice, male speak, female speak, child speak, announcer, announcement, narrator, monologue",
    near="say human dialogue announcement read word",
    expects="silence",
    summary="a voice talking",
)
def speech(c: Canvas, p: Character) -> None:
    base, factor = _person(c, p)
    bank = [[_syllable(c, base * fall, factor, p.speed) for _ in range(7)] for fall in (1.12, 1.02, 0.92, 0.84)]
    at_s = FIRST_S
    while at_s < c.last_s:
        syllables = int(c.rng.integers(4, 11))
        for k in range(syllables):
            vowel = bank[min(3, int(4 * k / syllables + c.rng.uniform(0, 0.8)))][int(c.rng.integers(7))]
            length = len(vowel) / c.rate
            if at_s + length > c.seconds and at_s > FIRST_S and not c.loop:
                break
            kind = int(c.rng.integers(4))
            if kind == 0:  # a fricative leads
                c.place(burst(c.noise, c.rate, band(3500, 8500), attack_s=0.02, decay_s=0.025), at_s, 0.22)
                at_s += 0.05
            elif kind == 1:  # a stop: silence, then a puff
                at_s += 0.045
                c.place(burst(c.noise, c.rate, band(800, 4500), attack_s=0.001, decay_s=0.008), at_s, 0.3)
            c.place(vowel, at_s, 0.5 * float(c.rng.uniform(0.75, 1.0)))
            at_s += 1.05 * length
        at_s += float(c.rng.uniform(0.15, 0.45)) / p.speed
    c.reflect(0.1)


def _syllable(c: Canvas, hz: float, factor: float, speed: float) -> Floats:
    """Return one vowel gliding into another; a sentence's pitch declines, so ``hz`` says where in it this stands."""
    length = float(c.rng.uniform(0.11, 0.24)) / speed
    hz *= float(np.exp(c.rng.normal(0, 0.04)))
    one, two = (resized(_VOWELS[int(v)], factor) for v in c.rng.integers(0, 5, 2))
    pitch = [(0.0, hz), (0.4 * length, 1.06 * hz), (length, 0.95 * hz)]
    shapes = [(0.0, one), (length, two)]
    return utter(
        c.rng, c.rate, pitch, shapes, attack_s=0.025, release_s=0.05, breath=0.03, jitter=0.008, shimmer=0.05
    )


@recipe(
    keys="laughter, laugh, giggle, chuckle, laugh man, laugh woman, laughing child, haha, cackle, evil laugh",
    near="joke happy funny comedy evil",
    expects="silence",
    summary="somebody laughing",
)
def laughter(c: Canvas, p: Character) -> None:
    people = 4 if p.several else 1
    for one in range(people):
        base, factor = _person(c, p)
        open_mouth = resized(_VOWELS[2] if c.rng.random() < 0.7 else _VOWELS[1], factor)
        open_mouth = ((1.75 * base, 120, 1.1), *open_mouth)  # an open larynx lets the fundamental through
        near, pan = (1.0, 0.0) if one == 0 else (float(c.rng.uniform(0.4, 0.8)), float(c.rng.uniform(-0.8, 0.8)))
        start = FIRST_S if one == 0 else float(c.rng.uniform(0.1, 0.8))
        # about five a second, each breathed out, each lower and softer than the last
        falls = [_ha(c, 1.75 * base * (1.1 - 0.06 * k), open_mouth, p.speed) for k in range(8)]
        for at_s in c.occasions(2.6 / p.speed, p.count, jitter=0.12, start_s=start, lasts_s=1.2):
            notes = int(c.rng.integers(5, 10))
            for k in range(notes):
                when = at_s + k * 0.195 / p.speed * float(c.rng.uniform(0.95, 1.05))
                c.place(falls[7 * k // notes], when, 0.55 * near * (1 - 0.5 * k / notes), pan)
                puff = burst(c.noise, c.rate, formants(*open_mouth), attack_s=0.015, decay_s=0.025)
                c.place(puff, when - 0.03 if when > 0.03 else when, 0.12 * near, pan)
    c.reflect(0.1)


def _ha(c: Canvas, hz: float, mouth: Tract, speed: float) -> Floats:
    length = 0.1 / speed**0.5
    hz *= float(c.rng.uniform(0.95, 1.05))
    pitch = [(0.0, 0.9 * hz), (0.4 * length, hz), (length, 0.85 * hz)]
    shapes = [(0.0, mouth), (length, mouth)]
    return utter(c.rng, c.rate, pitch, shapes, attack_s=0.02, release_s=0.05, breath=0.18, jitter=0.02)


@recipe(
    keys="whisper, whispering, whisper voice, whispers, creepy whisper, ghost whisper",
    near="secret ghost quiet voice",
    expects="noise silence",
    summary="somebody whispering",
)
def whisper(c: Canvas, p: Character) -> None:
    _, factor = _person(c, p)
    pan, at_s = 0.0, FIRST_S
    while at_s < c.last_s:
        for _ in range(int(c.rng.integers(3, 8))):
            length = float(c.rng.uniform(0.1, 0.22)) / p.speed
            if at_s + length > c.seconds and at_s > FIRST_S and not c.loop:
                return
            vowel = resized(_VOWELS[int(c.rng.integers(5))], factor)
            wide = tuple((hz, 2.5 * width, level * (hz / 800) ** 0.6) for hz, width, level in vowel)
            sound = burst(c.noise, c.rate, formants(*wide), attack_s=0.03, decay_s=0.04, hold_s=0.4 * length)
            c.place(sound, at_s, 0.4 * float(c.rng.uniform(0.6, 1.0)), pan)
            if c.rng.random() < 0.45:
                hiss = burst(c.noise, c.rate, band(4000, 11_000), attack_s=0.03, decay_s=0.03)
                c.place(hiss, at_s + 0.8 * length, 0.22, pan)
            at_s += 1.05 * length
        at_s += float(c.rng.uniform(0.2, 0.6)) / p.speed
        pan = float(c.rng.uniform(-0.6, 0.6))


@recipe(
    keys="breath, breathe, breathing, inhale, exhale, pant, gasp, sigh, heavy breath, respirator",
    near="run exhaust sleep lung diver",
    expects="noise silence",
    bar=1,
    summary="somebody breathing",
)
def breath(c: Canvas, p: Character) -> None:
    cycle_s = p.beat_s(17.0 * p.intensity)
    throat = float(c.rng.uniform(0.85, 1.2))
    for at_s in c.pulse(cycle_s, jitter=0.03, start_s=FIRST_S):
        cycle = min(cycle_s, c.seconds)
        for start, share, level, shape in (
            (0.0, 0.36, 0.55, formants((620 * throat, 500, 0.6), (1700 * throat, 700, 1.0), (3600, 1500, 0.8))),
            (0.45, 0.45, 0.8, formants((500 * throat, 450, 1.0), (1350 * throat, 700, 0.9), (2700, 1400, 0.35))),
        ):
            length = share * cycle
            air = texture(c.noise, c.rate, length + 0.01, shape)[: max(8, round(length * c.rate))]
            swell = arch(len(air), 1.3, lean=0.75)
            c.place(np.asarray(air * swell, dtype=np.float32), at_s + start * cycle, level, 0.0)
    c.reflect(0.1)


@recipe(
    keys="scream, shriek, yell, shout, scream woman, scream man, screech voice, battle cry, wail",
    near="horror fear cry panic pain",
    expects="silence decay",
    once=True,
    summary="somebody screaming",
)
def scream(c: Canvas, p: Character) -> None:
    base, factor = _person(c, p)
    mouth = tuple((hz * factor * 1.15, 1.6 * width, level) for hz, width, level in _VOWELS[2])
    loud: Tract = ((mouth[0][0], mouth[0][1], 0.7), (mouth[1][0], mouth[1][1], 0.9), (3000, 350, 0.9), (4100, 500, 0.5))
    for at_s in c.occasions(2.8 / p.speed, p.count, jitter=0.15, lasts_s=1.6):
        natural = float(c.rng.uniform(1.0, 1.6)) / p.speed**0.5
        length = natural * c.squeeze(natural)
        top = 4.2 * base * float(c.rng.uniform(0.9, 1.1))
        pitch = [(0.0, 0.6 * top), (0.12 * length, top), (0.7 * length, 0.95 * top), (length, 0.6 * top)]
        # what alarms in a scream is its roughness between 30 and 150 Hz (Arnal et al., 2015)
        call = utter(
            c.rng,
            c.rate,
            pitch,
            [(0.0, loud), (length, loud)],
            attack_s=0.04,
            release_s=0.25 * length,
            breath=0.2,
            jitter=0.04,
            shimmer=0.25,
            rough_hz=float(c.rng.uniform(60, 95)),
            rough=0.5,
        )
        c.place(call, at_s, 0.7)
    c.reflect(0.2)


@recipe(
    keys="cough, coughing, clear throat, choke",
    near="sick cold flu ill sneeze hiccup burp",
    expects="silence decay",
    once=True,
    summary="somebody coughing",
)
def cough(c: Canvas, p: Character) -> None:
    base, factor = _person(c, p)
    mouth = resized(_VOWELS[3], factor)
    for at_s in c.occasions(2.6 / p.speed, None if p.count is None else 1, jitter=0.2, lasts_s=1.0):
        for k in range(p.count or int(c.rng.integers(2, 4))):
            when = at_s + k * 0.38 / p.speed * float(c.rng.uniform(0.9, 1.1))
            strength = 0.9**k
            # the glottis bursts open, turbulent air, then a short voiced end
            blast = burst(
                c.noise, c.rate, formants(*((hz, 5 * w, lv) for hz, w, lv in mouth)), attack_s=0.003, decay_s=0.05
            )
            c.place(blast, when, 1.0 * strength)
            c.place(
                burst(c.noise, c.rate, band(1200, 7000, tilt_db=-2), attack_s=0.003, decay_s=0.03),
                when,
                0.35 * strength,
            )
            voiced = utter(
                c.rng,
                c.rate,
                [(0.0, 1.5 * base), (0.12, 0.9 * base)],
                [(0.0, mouth), (0.12, mouth)],
                attack_s=0.02,
                release_s=0.08,
                breath=0.5,
                jitter=0.08,
                shimmer=0.3,
            )
            c.place(voiced, when + 0.07, 0.3 * strength)
    c.reflect(0.15)


@recipe(
    keys="snore, snoring, snorer",
    near="sleep asleep bed nap",
    expects="noise silence",
    highpass_hz=40,
    bar=1,
    summary="somebody snoring",
)
def snore(c: Canvas, p: Character) -> None:
    cycle_s = c.beat_s(p.beat_s(15.0), bar=1)
    flutter = p.low(62.0) * float(c.rng.uniform(0.8, 1.25))
    tract: Tract = ((280, 150, 1.0), (700, 250, 0.5), (1500, 500, 0.3), (2700, 900, 0.12))
    for at_s in c.pulse(cycle_s, jitter=0.02, start_s=FIRST_S):
        length = min(0.38 * cycle_s, 1.6) * c.squeeze(min(0.38 * cycle_s, 1.6))
        pitch = [(0.0, 0.8 * flutter), (0.5 * length, flutter), (length, 0.75 * flutter)]
        loud = [(0.0, 0.3), (0.4 * length, 1.0), (length, 0.4)]
        inward = utter(
            c.rng,
            c.rate,
            pitch,
            [(0.0, tract), (length, tract)],
            attack_s=0.2 * length,
            release_s=0.2 * length,
            breath=0.5,
            jitter=0.1,
            shimmer=0.45,
            loudness=loud,
        )
        c.place(inward, at_s, 0.6)
        out = texture(c.noise, c.rate, length + 0.01, formants((450, 400, 1.0), (1500, 900, 0.4)))
        c.place(np.asarray(out * arch(len(out), 2), dtype=np.float32), at_s + 0.5 * cycle_s, 0.16)
    c.reflect(0.1)


@recipe(
    keys="baby, baby cry, cry baby, infant, infant cry, newborn, cry, sob, weep, crying child, toddler",
    near="sad tears nursery",
    expects="silence",
    summary="a baby crying",
)
def baby_cry(c: Canvas, p: Character) -> None:
    base = p.hz or p.low(430.0) * float(c.rng.uniform(0.88, 1.15))
    mouth: Tract = ((460, 160, 0.9), (1050, 180, 0.8), (2200, 280, 0.7), (3600, 450, 0.4), (5000, 700, 0.15))
    for at_s in c.occasions(1.5 / p.speed, p.count, jitter=0.08, lasts_s=1.0):
        length = float(c.rng.uniform(0.75, 1.05)) * c.squeeze(1.1)
        top = base * float(c.rng.uniform(1.1, 1.3))
        pitch = [(0.0, 0.85 * base), (0.2 * length, top), (0.75 * length, 1.02 * base), (length, 0.8 * base)]
        wail = utter(
            c.rng,
            c.rate,
            pitch,
            [(0.0, mouth), (0.6 * length, mouth), (length, resized(mouth, 0.8))],
            attack_s=0.06,
            release_s=0.2 * length,
            breath=0.06,
            jitter=0.02,
            shimmer=0.12,
            rough_hz=70,
            rough=0.2,
        )
        c.place(wail, at_s, 0.65)
        gasp = burst(c.noise, c.rate, formants((1100, 600, 1.0), (2600, 1200, 0.8)), attack_s=0.08, decay_s=0.05)
        c.place(gasp, at_s + length + 0.04, 0.12)
    c.reflect(0.1)
