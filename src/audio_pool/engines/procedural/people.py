"""Recipes of people: their steps, hearts, crowds and hands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas, Curve
from audio_pool.engines.procedural.grains import bubble, burst, ping, voice
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, formants


@recipe(
    keys="footstep, step, walk, high heel, boots, shoes, climb stairs, stair climb, stroll, jog, wade,"
    "run person, running person, tread",
    near="march feet foot gravel stair staircase floor hallway corridor pavement sidewalk concrete marble tile"
    " horse gallop hoof hooves clop sprint crunch chew eat",
    expects="silence",
    highpass_hz=50,
    summary="footsteps of someone walking",
    bar=2,
)
def footsteps(c: Canvas, p: Character) -> None:
    times = c.pulse(p.beat_s(108.0), jitter=0.02, start_s=FIRST_S, bar=2)
    for k, at_s in enumerate(times[: p.count]):
        pan = -0.2 if k % 2 else 0.2
        strength = float(c.rng.uniform(0.75, 1.0))
        firm = 0.45 if p.ground else 1.0
        # The heel lands hard and low, the ball of the foot follows, softer and scraping.
        body = p.low(float(c.rng.uniform(78, 96)))
        c.place(ping(c.rate, body, 0.035 * p.size, bend=0.8), at_s, 0.55 * firm * strength * p.intensity**0.5, pan)
        heel = burst(c.noise, c.rate, band(p.low(220), p.low(2600), tilt_db=-3), attack_s=0.001, decay_s=0.016)
        c.place(heel, at_s, 1.1 * firm * strength, pan)
        if p.ground:
            _give(c, p, at_s, strength, pan)
            continue
        click = burst(c.noise, c.rate, band(1800, 6500), attack_s=0.0005, decay_s=0.005)
        c.place(click, at_s, 0.28 * strength, pan)
        toe = burst(c.noise, c.rate, band(p.low(500), p.low(4500), tilt_db=-3), attack_s=0.012, decay_s=0.03)
        c.place(toe, at_s + 0.11 / p.speed**0.5, 0.22 * strength, pan)


@dataclass(frozen=True)
class _Ground:
    """What gives way under a sole: grains that break or shift, as many as the foot's force asks for (PhISEM,
    Cook, "Modeling Bill's gait", AES 22nd conference, 2002), and what they do together."""

    grains: int
    low_hz: float
    high_hz: float
    decay_s: float
    level: float
    swish: float = 0.0
    squeak: float = 0.0
    bubbles: int = 0


_GROUNDS = {
    "gravel": _Ground(70, 1200, 8000, 0.003, 0.6),
    "sand": _Ground(90, 900, 5000, 0.004, 0.35, swish=0.5),
    "snow": _Ground(80, 700, 4200, 0.004, 0.5, squeak=0.6),
    "grass": _Ground(14, 2000, 9000, 0.003, 0.3, swish=0.8),
    "water": _Ground(26, 1500, 9000, 0.005, 0.45, swish=0.4, bubbles=14),
}


def _give(c: Canvas, p: Character, at_s: float, strength: float, pan: float) -> None:
    """Let the ground give way for a quarter of a second, thickest as the sole rolls over it."""
    ground = _GROUNDS[p.ground]
    for delay in c.rng.beta(1.6, 2.6, ground.grains) * 0.26:
        grain = burst(c.noise, c.rate, band(ground.low_hz, ground.high_hz), attack_s=0.0005, decay_s=ground.decay_s)
        gain = ground.level * strength * float(c.rng.uniform(0.15, 0.8))
        c.place(grain, at_s + float(delay), gain, pan + float(c.rng.uniform(-0.3, 0.3)))
    if ground.swish:
        swish = burst(c.noise, c.rate, band(ground.low_hz, ground.high_hz), attack_s=0.05, decay_s=0.05)
        c.place(swish, at_s + 0.02, ground.swish * strength, pan)
    if ground.squeak:  # crystals under pressure: a low rasp of some ninety slips a second
        rasp = burst(c.noise, c.rate, band(250, 1100), attack_s=0.06, decay_s=0.05)
        slips = 0.5 + 0.5 * np.sin(2 * np.pi * 90 * np.arange(len(rasp)) / c.rate)
        c.place(np.asarray(rasp * slips, dtype=np.float32), at_s + 0.03, ground.squeak * strength, pan)
    for hz in np.exp(c.rng.uniform(np.log(500), np.log(2200), ground.bubbles)):
        c.place(bubble(c.rate, float(hz), rise=0.2), at_s + float(c.rng.gamma(2.0, 0.05)), 0.18 * strength, pan)


@recipe(
    keys="heartbeat, heart, heart beat, pulse, cardiac",
    near="chest body alive medical ultrasound thump",
    expects="silence",
    highpass_hz=15,
    summary="a heartbeat, lub-dub",
    bar=1,
)
def heartbeat(c: Canvas, p: Character) -> None:
    beat_s = p.beat_s(70.0)
    # The second sound follows after a third of a beat, a little faster hearts shorten it less.
    gap_s = min(0.3, 0.36 * beat_s**0.6)
    lub_hz, dub_hz = p.low(48), p.low(62)
    for at_s in c.pulse(beat_s, jitter=0.01, start_s=FIRST_S):
        strength = float(c.rng.uniform(0.9, 1.0))
        for start, hz, decay, level in ((0.0, lub_hz, 0.045, 1.0), (gap_s, dub_hz, 0.034, 0.7)):
            c.place(ping(c.rate, hz, decay, attack_s=0.012, bend=0.35), at_s + start, 0.8 * level * strength)
            knock = burst(c.noise, c.rate, band(40, 140, tilt_db=-3), attack_s=0.01, decay_s=decay)
            c.place(knock, at_s + start, 0.5 * level * strength)
    c.reflect(0.12)


# Formants (Hz) of five vowels, after Peterson & Barney (1952), averaged over speakers.
_VOWELS = ((300, 2300, 3000), (530, 1850, 2500), (730, 1200, 2500), (570, 900, 2450), (320, 900, 2250))


@recipe(
    keys="crowd, murmur, chatter, people talk, people speak, audience, restaurant, cafe, babble, walla, party,"
    "crowd murmur, marketplace, market, people, pub, cafeteria, mall",
    near="man woman male female children person adult human boy girl narrate groan moan zombie ghost",
    expects="noise",
    summary="the murmur of a crowd of people talking",
)
def crowd(c: Canvas, p: Character) -> None:
    c.bed(band(180, 900, tilt_db=-3), Curve(0.03 * c.swells(1.0, 0.2).points), width=0.9)
    c.bed(band(400, 3500, tilt_db=-5), Curve(0.015 * c.swells(0.6, 0.3).points), width=1.0)
    for k in range(round(7 + 5 * p.intensity**0.7)):
        # Men and women in turn; each speaker has a place, a distance and a way of talking.
        pitch = p.pitch * float(c.rng.uniform(95, 135) if k % 2 else c.rng.uniform(175, 240))
        syllables = [_syllable(c, pitch, 1.15 if k % 2 == 0 else 1.0) for _ in range(7)]
        pan, near = float(c.rng.uniform(-0.95, 0.95)), float(c.rng.uniform(0.25, 1.0))
        at_s = float(c.rng.uniform(-1.0, 0.3))
        while at_s < c.seconds:
            for _ in range(int(c.rng.integers(3, 12))):
                if 0 <= at_s < c.seconds:
                    gain = 0.12 * near * float(c.rng.uniform(0.5, 1.0))
                    c.place(syllables[int(c.rng.integers(7))], at_s, gain, pan)
                at_s += float(c.rng.uniform(0.13, 0.26)) / p.speed
            at_s += float(c.rng.exponential(0.7))


def _syllable(c: Canvas, pitch: float, tract: float) -> Floats:
    """Return a vowel with a falling or rising pitch, and in half of them a consonant's hiss before it."""
    first, second, third = (tract * hz for hz in _VOWELS[int(c.rng.integers(5))])
    length = float(c.rng.uniform(0.12, 0.28))
    one, two, three = pitch * np.exp(c.rng.normal(0, 0.1, 3))
    mouth = formants((first, 90, 1.0), (second, 120, 0.5), (third, 200, 0.25))
    vowel = voice(c.rate, [(0.0, one), (0.5 * length, two), (length, three * 0.93)], mouth, tilt=0.8)
    if c.rng.random() < 0.5:
        return vowel
    hiss = burst(c.noise, c.rate, band(2500, 7000), attack_s=0.015, decay_s=0.012) * np.float32(0.35)
    lead = round(0.03 * c.rate)
    total = np.zeros(max(lead + len(vowel), len(hiss)), dtype=np.float32)
    total[: len(hiss)] += hiss
    total[lead : lead + len(vowel)] += vowel
    return total


@recipe(
    keys="applause, clap, ovation, crowd clap, audience clap, audience applause, crowd applause, people clap, "
    "crowd cheer",
    near="cheer hand concert stadium theater theatre slap whip",
    expects="noise",
    summary="an audience applauding",
)
def applause(c: Canvas, p: Character) -> None:
    c.bed(band(700, 5000, tilt_db=-2), 0.045, per_second=900 * p.intensity, width=1.0)
    c.bed(band(400, 8000, tilt_db=-3), 0.02, width=1.0)
    for _ in range(round(22 * p.intensity)):
        # Cupped hands are lower than flat ones, and every pair keeps its own tempo.
        hz = float(c.rng.uniform(700, 2200)) * p.pitch
        hands = [burst(c.noise, c.rate, band(hz, 2.2 * hz), attack_s=0.0008, decay_s=0.006) for _ in range(2)]
        pan, near = float(c.rng.uniform(-1, 1)), float(c.rng.uniform(0.2, 1.0))
        period = float(c.rng.uniform(0.21, 0.34)) / p.speed
        for at_s in c.pulse(period, jitter=0.1, start_s=float(c.rng.uniform(0, period))):
            c.place(hands[int(c.rng.integers(2))], at_s, 0.4 * near, pan)
