"""Recipes of weapons and fireworks: shots, bursts of fire, whips, arrows."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.procedural.canvas import Canvas
from audio_pool.engines.procedural.grains import arch, burst, glide, ping, texture
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, lowpass


def _n_wave(c: Canvas, seconds: float) -> Floats:
    """Return the pressure of a shock: up at once, straight down to as far below, up again."""
    count = max(6, round(seconds * c.rate))
    wave = np.linspace(1.0, -1.0, count, dtype=np.float32)
    return np.concatenate([wave, np.zeros(4, dtype=np.float32)])


def _shot(c: Canvas, p: Character, at_s: float, strength: float, pan: float, *, tail_s: float, echoes: int = 7) -> None:
    """A muzzle's blast: the shock, the gas behind it, the ground and the land that answer."""
    size = p.size
    c.place(_n_wave(c, 0.0011 * size), at_s, 0.9 * strength, pan)
    c.place(ping(c.rate, p.low(110), 0.03 * size, attack_s=0.0008, bend=0.8), at_s, 0.8 * strength, pan)
    gas = burst(c.noise, c.rate, band(p.low(180), 6500, tilt_db=-3), attack_s=0.0005, decay_s=0.028 * size)
    c.place(gas, at_s + 0.0006, 1.6 * strength, pan)
    c.place(_n_wave(c, 0.0015 * size), at_s + 0.0065, -0.35 * strength, pan)  # off the ground
    for _ in range(echoes):  # walls, trees, hills
        later = float(c.rng.uniform(0.03, 0.3)) * tail_s
        echo = burst(
            c.noise, c.rate, band(p.low(120), 2600 / (1 + 4 * later), tilt_db=-3), attack_s=0.004, decay_s=0.04
        )
        c.place(
            echo, at_s + later, 0.45 * strength * float(np.exp(-3 * later / tail_s)), float(c.rng.uniform(-0.9, 0.9))
        )
    tail = texture(c.noise, c.rate, tail_s, band(p.low(80), 1500, tilt_db=-4))
    fade = np.exp(-np.linspace(0, 6.5, len(tail), dtype=np.float32))
    c.place(np.asarray(tail * fade, dtype=np.float32), at_s + 0.01, 0.55 * strength, -0.3)


@recipe(
    keys="gunshot, gun, gun shot, gun fire, pistol, rifle, shotgun, shot, gunfire, shoot gun, revolver, sniper,"
    "handgun, musket, shooting, shotgun blast, gun blast,"
    "gunshot fire, shot fire, pistol fire, rifle fire",
    near="weapon bullet trigger shoot war hunt",
    expects="decay silence",
    highpass_hz=30,
    once=True,
    summary="a gunshot",
)
def gunshot(c: Canvas, p: Character) -> None:
    tail_s = 1.5 * p.size**0.5 * c.squeeze(1.6)
    for at_s in c.occasions(1.1 / p.speed, p.count, jitter=0.3, lasts_s=tail_s):
        _shot(c, p, at_s, float(c.rng.uniform(0.85, 1.0)), float(c.rng.uniform(-0.15, 0.15)), tail_s=tail_s)


@recipe(
    keys="machine gun, machinegun, machinegun fire, automatic rifle, submachine gun, assault rifle,"
    "minigun, automatic fire, gatling",
    near="war soldier burst army",
    expects="silence",
    highpass_hz=30,
    summary="a machine gun firing bursts",
)
def machine_gun(c: Canvas, p: Character) -> None:
    period = 0.085 / p.speed
    for at_s in c.occasions(1.9, None, jitter=0.15, lasts_s=0.9):
        for k in range(p.count or int(c.rng.integers(5, 12))):
            _shot(
                c,
                p,
                at_s + k * period * float(c.rng.uniform(0.98, 1.02)),
                float(c.rng.uniform(0.75, 0.9)),
                0.05,
                tail_s=0.35, echoes=2,
            )


@recipe(
    keys="firework, fireworks, firecracker, sky rocket, pyrotechnics, sparkler, new year",
    near="celebration festival explosion night",
    expects="silence decay",
    highpass_hz=30,
    summary="fireworks exploding in the sky",
)
def fireworks(c: Canvas, p: Character) -> None:
    for at_s in c.occasions(2.9 / p.speed, p.count, jitter=0.25, lasts_s=2.4):
        pan = float(c.rng.uniform(-0.7, 0.7))
        rise_s = float(c.rng.uniform(0.7, 1.0)) * c.squeeze(2.6)
        top = p.low(float(c.rng.uniform(1900, 2700)))
        whistle = glide(
            c.rate,
            [(0.0, 0.6 * top), (0.5 * rise_s, top), (rise_s, 0.75 * top)],
            partials=(1.0, 0.15, 0.1),
            attack_s=0.05,
            release_s=0.1,
        )
        c.place(whistle, at_s, 0.07, pan)
        bang = at_s + rise_s + 0.12
        c.place(ping(c.rate, p.low(62), 0.09, attack_s=0.001, bend=0.8), bang, 0.9, pan)
        c.place(burst(c.noise, c.rate, lowpass(p.low(900)), attack_s=0.001, decay_s=0.13), bang, 1.4, pan)
        c.place(burst(c.noise, c.rate, band(300, 5000, tilt_db=-3), attack_s=0.0006, decay_s=0.03), bang, 1.0, pan)
        crackles = [
            burst(c.noise, c.rate, band(f, 13_000), attack_s=0.0002, decay_s=0.0025) for f in (1500, 2500, 4000)
        ]
        delays = 0.25 + c.rng.gamma(3.0, 0.22, int(70 * p.intensity))
        c.sprinkle([bang + float(d) for d in delays], crackles, gain=0.35, depth=0.7, spread=0.9)


@recipe(
    keys="whip, whip crack, whip lash, bullwhip, lash",
    near="crack leather circus tame",
    expects="decay silence",
    once=True,
    summary="a whip cracking",
)
def whip(c: Canvas, p: Character) -> None:
    for at_s in c.occasions(1.5 / p.speed, p.count, jitter=0.2, lasts_s=0.5):
        swing_s = 0.16 / p.speed * c.squeeze(0.45)
        air = texture(c.noise, c.rate, swing_s, band(600, 5000))
        x = np.linspace(0, 1, len(air), dtype=np.float32)
        c.place(np.asarray(air * x**3, dtype=np.float32), at_s, 0.35, -0.4)
        crack = at_s + swing_s
        c.place(_n_wave(c, 0.0004), crack, 1.0, 0.2)  # its tip passes the speed of sound
        c.place(burst(c.noise, c.rate, band(1500, 15_000), attack_s=0.0002, decay_s=0.006), crack, 1.3, 0.2)
        c.place(
            burst(c.noise, c.rate, band(300, 3000, tilt_db=-3), attack_s=0.001, decay_s=0.04), crack + 0.004, 0.35, 0.0
        )
    c.reflect(0.25)


@recipe(
    keys="bow, arrow, bow shot, arrow shot, archery, crossbow, bow release, bow string, arrow hit, shoot arrow",
    near="archer medieval hunt string draw release",
    expects="decay silence",
    once=True,
    summary="an arrow shot from a bow",
)
def arrow(c: Canvas, p: Character) -> None:
    for at_s in c.occasions(1.8 / p.speed, p.count, jitter=0.2, lasts_s=0.8):
        twang = p.low(float(c.rng.uniform(120, 165)))
        string = ping(c.rate, twang, 0.055, attack_s=0.0006, bend=0.05)
        c.place(string, at_s, 0.55, -0.2)
        c.place(ping(c.rate, 2.02 * twang, 0.035), at_s, 0.25, -0.2)
        c.place(burst(c.noise, c.rate, band(700, 6000), attack_s=0.0008, decay_s=0.02), at_s, 0.6, -0.2)
        fly_s = float(c.rng.uniform(0.22, 0.34)) * c.squeeze(0.8)
        air = texture(c.noise, c.rate, fly_s, band(1800, 8000))
        x = np.linspace(0, 1, len(air), dtype=np.float32)
        flutter = arch(len(air), 1.5) * (0.75 + 0.25 * np.sin(2 * np.pi * 42 * fly_s * x))
        c.place(np.asarray(air * flutter, dtype=np.float32), at_s + 0.02, 0.3, 0.1)
        c.place(ping(c.rate, p.low(190), 0.025, bend=0.5), at_s + fly_s, 0.6, 0.4)
        c.place(
            burst(c.noise, c.rate, band(400, 4000, tilt_db=-2), attack_s=0.0005, decay_s=0.012), at_s + fly_s, 0.9, 0.4
        )
