"""Recipes of things that call: beeps, sirens, alarms, bells, clocks, the sounds of games."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas, Curve
from audio_pool.engines.procedural.grains import burst, glide, modes, ping, texture
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band


@recipe(
    keys="beep, bleep, tone, sine, blip, beeper, censor, sine wave",
    near="hz hertz signal electronic digital pure morse code telegraph microwave",
    expects="silence",
    highpass_hz=20,
    exact=True,
    summary="an electronic beep",
    bar=1,
)
def beep(c: Canvas, p: Character) -> None:
    hz = p.hz or p.low(1000) * float(c.rng.uniform(0.9, 1.1))
    period = p.beat_s(60.0)
    length = min(0.45 * period, 0.25 / p.speed)
    sound = glide(c.rate, [(0.0, hz), (length, hz)], partials=(1.0, 0.0, 0.08), release_s=0.008)
    for at_s in c.pulse(period, start_s=FIRST_S)[: p.count]:
        c.place(sound, at_s, 0.5)
    c.reflect(0.12)


@recipe(
    keys="siren, police, ambulance, fire truck, fire engine, police car, police siren, air raid, ambulance siren,"
    "emergency vehicle, emergency siren, fire siren, emergency",
    near="warning howl",
    summary="a siren wailing up and down",
)
def siren(c: Canvas, p: Character) -> None:
    centre = p.hz or p.low(870) * float(c.rng.uniform(0.93, 1.07))
    turns = c.wave(0.26 * p.speed, 1.0, phase=-0.25).points
    hz = Curve(centre * 1.65**turns)
    # A horn squeezes the wave; its bell lets the upper harmonics out the louder the higher the tone.
    c.tone(hz, Curve(0.22 * (1 + 0.2 * turns)), [1.0, 0.5, 0.45, 0.22, 0.2, 0.1, 0.08, 0.05])
    for pan, cents in ((-0.8, 0.994), (0.8, 1.006)):
        c.tone(Curve(hz.points * cents), Curve(0.05 * c.swells(0.4, 0.3).points), [1.0, 0.4, 0.3, 0.1], pan=pan)
    c.bed(band(500, 4000, tilt_db=-3), 0.004, width=1.0)


@recipe(
    keys="alarm, alarm clock, buzzer, smoke alarm, fire alarm, smoke detector, car alarm, burglar alarm,"
    "spaceship alarm, alert, timer",
    near="warning danger emergency wake microwave oven buzz countdown",
    expects="silence",
    summary="an alarm beeping urgently",
    bar=1,
)
def alarm(c: Canvas, p: Character) -> None:
    hz = p.hz or p.low(2050) * float(c.rng.uniform(0.85, 1.15))
    for at_s in c.pulse(p.beat_s(60.0), start_s=FIRST_S):
        for k in range(4):
            at = at_s + 0.13 * k / p.speed
            length = 0.075 / p.speed
            beep_ = glide(c.rate, [(0.0, hz), (length, hz)], partials=(1.0, 0.15, 0.35, 0.05, 0.15), release_s=0.006)
            c.place(beep_, at, 0.4)
    c.reflect()


# Partials of a church bell against its strike note: hum, prime, tierce, quint, nominal and above
# (Rossing, "Science of Percussion Instruments", chapter on carillon bells).
_BELL = (0.5, 1.0, 1.183, 1.506, 2.0, 2.514, 2.662, 3.011, 4.166, 5.433, 6.796)
_BELL_LEVELS = (0.5, 0.6, 0.75, 0.3, 1.0, 0.35, 0.3, 0.45, 0.35, 0.25, 0.15)
_BELL_DECAYS = (2.6, 1.8, 1.6, 1.0, 1.1, 0.6, 0.55, 0.5, 0.32, 0.22, 0.15)


@recipe(
    keys="bell, church bell, toll, bell ring, bell toll, carillon, dinner bell, bell chime",
    near="ring ding church temple strike brass",
    expects="decay",
    summary="a bell struck, ringing on",
    once=True,
    bar=1,
)
def bell(c: Canvas, p: Character) -> None:
    strike = p.hz or p.low(420) * float(c.rng.uniform(0.85, 1.18))
    decays = [(p.size**0.7) * (420 / strike) ** 0.4 * decay for decay in _BELL_DECAYS]
    sides = []
    for skew in (0.9992, 1.0008):
        # Two sides slightly out of tune: a bell is never quite round, so it warbles.
        levels = [0.12 * level * float(c.rng.uniform(0.7, 1.1)) for level in _BELL_LEVELS]
        sides.append(modes(c.rate, [strike * skew * ratio for ratio in _BELL], decays, levels))
    for at_s in c.occasions(p.beat_s(22.0), p.count, jitter=0.03, lasts_s=1.2):
        strength = float(c.rng.uniform(0.8, 1.0))
        for pan, side in zip((-0.5, 0.5), sides, strict=True):
            c.place(side, at_s, strength, pan)
        c.place(burst(c.noise, c.rate, band(1500, 7000), decay_s=0.008), at_s, 0.3)


@recipe(
    keys="clock, tick, tock, ticking clock, watch tick, metronome, stopwatch, bomb tick,"
    "clock tick, tick tock, clockwork",
    near="time watch hour seconds grandfather pendulum countdown bomb",
    expects="silence",
    summary="a clock ticking",
    bar=2,
)
def clock(c: Canvas, p: Character) -> None:
    tick, tock = (_tick(c, p.low(hz)) for hz in (2100.0, 1650.0))
    for k, at_s in enumerate(c.pulse(p.beat_s(120.0), jitter=0.003, start_s=FIRST_S, bar=2)[: p.count]):
        c.place(tock if k % 2 else tick, at_s, 0.5 * float(c.rng.uniform(0.92, 1.0)), 0.1)
    c.reflect()


def _tick(c: Canvas, hz: float) -> Floats:
    """Return one tick: the pallet falls on the wheel, then the case answers: a small metal click in a wooden box."""
    metal = modes(c.rate, [hz, 1.62 * hz, 2.55 * hz, 3.9 * hz], [0.012, 0.008, 0.006, 0.004], [0.6, 0.5, 0.4, 0.3])
    case = modes(c.rate, [0.14 * hz, 0.26 * hz, 0.41 * hz], [0.02, 0.016, 0.012], [0.3, 0.3, 0.25])
    total = np.zeros(max(len(metal), len(case)) + round(0.008 * c.rate), dtype=np.float32)
    total[: len(case)] += case
    total[: len(metal)] += metal
    second = round(0.006 * c.rate)
    total[second : second + len(metal)] += np.float32(0.5) * metal
    return total


@recipe(
    keys="explosion, explode, bomb, detonation, grenade, boom, explosive, artillery, blast, mine explode",
    near="war crash collapse burst impact weapon missile",
    expects="decay silence",
    highpass_hz=25,
    summary="an explosion with debris",
    once=True,
)
def explosion(c: Canvas, p: Character) -> None:
    natural = 0.55 * p.size * p.intensity**0.3
    length = natural * c.squeeze(5.5 * natural)
    for at_s in c.occasions(5.5 / p.speed, p.count, lasts_s=5.5 * length):
        pressure = ping(c.rate, p.low(48), 0.4 * length, attack_s=0.003, bend=0.9)
        c.place(pressure, at_s, 0.9)
        for low, high, decay, gain in ((30, 180, 1.1, 1.6), (100, 900, 0.6, 1.3), (600, 6000, 0.22, 0.9)):
            for pan in (-0.6, 0.6):
                shape = band(p.low(low), p.low(high), tilt_db=-3)
                cloud = burst(c.noise, c.rate, shape, attack_s=0.002, decay_s=decay * length)
                c.place(cloud, at_s, 0.6 * gain, pan)
        for later in c.rng.exponential(0.6 * length, 24) + 0.15:
            shard = burst(c.noise, c.rate, band(400, 5000, tilt_db=-2), decay_s=float(c.rng.uniform(0.004, 0.02)))
            c.place(shard, at_s + float(later), 0.35 * float(np.exp(-later)), float(c.rng.uniform(-0.9, 0.9)))


@recipe(
    keys="laser, laser blast, zap, blaster, ray gun, phaser, laser gun, laser pistol, laser shot, plasma, plasma rifle,"
    "plasma rifle shot, plasma shot, sci fi weapon, pew",
    near="weapon electric futuristic spaceship energy robot scifi arcade teleport lightsaber",
    expects="decay silence",
    summary="a laser gun firing",
    once=True,
)
def laser(c: Canvas, p: Character) -> None:
    top, bottom = p.low(3200), p.low(180)
    length = 0.28 * p.size / p.speed
    for at_s in c.occasions(0.8 / p.speed, p.count):
        skew = float(c.rng.uniform(0.85, 1.15))
        fall = [(length * k / 8, skew * bottom * (top / bottom) ** ((1 - k / 8) ** 1.4)) for k in range(9)]
        for pan, detune in ((-0.4, 0.99), (0.4, 1.01)):
            points = [(t, hz * detune) for t, hz in fall]
            partials = [1.0, 0.5, 0.4, 0.25, 0.2, 0.1]
            beam = glide(c.rate, points, partials=partials, attack_s=0.002, release_s=0.5 * length)
            c.place(beam, at_s, 0.25, pan)
        c.place(burst(c.noise, c.rate, band(1500, 9000), decay_s=0.012), at_s, 0.5)


@recipe(
    keys="whoosh, swoosh, swish, swipe, pass by, passing by, transition, swoop, "
    "spaceship door, sci fi door, scifi door, airlock",
    near="menu swing throw dash jump air motion teleport",
    expects="noise decay silence",
    summary="a whoosh of something rushing past",
    once=True,
)
def whoosh(c: Canvas, p: Character) -> None:
    length = 0.75 * p.size / p.speed
    length *= c.squeeze(length)
    t = np.arange(max(64, round(length * c.rate)), dtype=np.float32) / np.float32(c.rate * length)
    pan = 2 * t - 1
    sides = np.stack([np.cos((pan + 1) * np.pi / 4), np.sin((pan + 1) * np.pi / 4)])
    layers = []
    for k, hz in enumerate(np.geomspace(p.low(180), p.low(6500), 9)):
        # The middle of the pass is bright: high bands swell later, die sooner and are narrow in time.
        swell = np.exp(-(((t - 0.52) / (0.3 - 0.022 * k)) ** 2)) * np.minimum(1, 10 * t) * np.minimum(1, 10 * (1 - t))
        noise = texture(c.noise, c.rate, 2 * length, band(float(hz), 1.7 * float(hz)))
        layers.append((noise, (swell / (1 + 0.25 * k)).astype(np.float32)))
    for at_s in c.occasions(1.6 * length + 0.3, p.count, jitter=0.08, lasts_s=length):
        begin = int(c.rng.random() * 0.9 * len(t))
        total = sum(noise[begin : begin + len(t)] * swell for noise, swell in layers)
        c.place(np.asarray(sides * total, dtype=np.float32), at_s, 0.6 * float(c.rng.uniform(0.8, 1.0)))


@recipe(
    keys="coin, pickup, pick up, collect, reward, treasure, coin collect",
    near="money game arcade gold score cash retro bit",
    expects="decay silence",
    summary="a coin picked up in a game",
    once=True,
)
def coin(c: Canvas, p: Character) -> None:
    low = p.low(987.8)
    high = low * 4 / 3
    square = (1.0, 0.0, 0.33, 0.0, 0.2, 0.0, 0.14)
    for at_s in c.occasions(1.1 / p.speed, p.count, jitter=0.1):
        first = glide(c.rate, [(0.0, low), (0.085, low)], partials=square, attack_s=0.001, release_s=0.004)
        c.place(first, at_s, 0.3)
        hz = [high, 2 * high, 3 * high, 5.4 * high]
        ring = modes(c.rate, hz, [0.16, 0.08, 0.09, 0.05], [0.8, 0.15, 0.3, 0.12])
        c.place(ring, at_s + 0.085, 0.4)
        for pan, shift in ((-0.7, 1.003), (0.7, 0.997)):
            c.place(ping(c.rate, 2 * high * shift, 0.2), at_s + 0.085, 0.06 * float(c.rng.uniform(0.8, 1.2)), pan)


@recipe(
    keys="referee whistle, sport whistle, coach whistle, pea whistle, police whistle, blow whistle, match whistle",
    near="whistle football referee",
    expects="silence decay",
    summary="a referee's whistle blown",
    once=True,
)
def whistle(c: Canvas, p: Character) -> None:
    base = p.hz or p.low(2850.0) * float(c.rng.uniform(0.92, 1.1))
    for at_s in c.occasions(1.5 / p.speed, p.count, jitter=0.2, lasts_s=0.8):
        natural = float(c.rng.uniform(0.45, 0.8)) / p.speed
        length = natural * c.squeeze(natural)
        t = np.arange(max(16, round(length * c.rate))) / c.rate
        # the pea goes round and uncovers the slot some forty times a second
        round_hz = float(c.rng.uniform(34, 46))
        pea = np.sin(2 * np.pi * round_hz * (t + 0.1 * t * t / length))
        turns = np.cumsum(base * (1 + 0.035 * pea)) / c.rate
        blown = np.minimum(1, t / 0.02) * np.minimum(1, (length - t) / 0.05).clip(0)
        tone = np.sin(2 * np.pi * turns) + 0.35 * np.sin(2 * np.pi * (1.083 * turns + 0.2))
        if 2.2 * base < 0.45 * c.rate:
            tone += 0.12 * np.sin(4 * np.pi * turns)
        c.place(np.asarray(0.5 * tone * blown * (0.65 + 0.35 * pea), dtype=np.float32), at_s, 0.5)
        air = texture(c.noise, c.rate, length, band(2000, 9000))[: len(t)]
        c.place(np.asarray(air * blown[: len(air)], dtype=np.float32), at_s, 0.06)
    c.reflect(0.15)
