"""Recipes of what flies on beating wings: bees, mosquitoes."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.procedural.canvas import Canvas, Curve
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import band


@recipe(
    keys="bee, wasp, hornet, bumblebee, bee buzz, swarm, beehive, bee hive",
    near="insect buzz hum",
    summary="a bee buzzing about",
)
def bee(c: Canvas, p: Character) -> None:
    count = 9 if p.several or p.intensity > 1 else 2
    for k in range(count):
        wing = p.hz or p.low(215.0) * float(c.rng.uniform(0.85, 1.25))
        flight = c.drift(0.7 / p.speed, 0.05).points
        near = np.exp(c.drift(1.3 / p.speed, 0.7).points.clip(-1.6, 1.1)) * (1.0 if k == 0 else 0.35)
        partials = [1.0, 0.8, 0.55, 0.5, 0.35, 0.3, 0.22, 0.18, 0.13, 0.1, 0.07, 0.05]
        wobble = c.wave(float(c.rng.uniform(9, 17)), 0.01, 1.0).points
        tone = np.exp(np.interp(np.linspace(0, 1, len(wobble)), np.linspace(0, 1, len(flight)), flight)) * wobble
        side = float(c.rng.uniform(-0.8, 0.8)) if k else -0.1
        c.tone(Curve(wing * tone), Curve(0.09 * near), partials, pan=side, phase=float(c.rng.random()))
    c.bed(band(300, 4000, tilt_db=-3), 0.003, width=0.8)


@recipe(
    keys="mosquito, gnat, midge, mosquito buzz, mosquito whine, mosquito swarm, gnat swarm",
    near="insect ear summer night tent",
    expects="silence",
    summary="a mosquito whining past an ear",
)
def mosquito(c: Canvas, p: Character) -> None:
    # Females beat 400 to 600 times a second, males faster still: a thin line with few overtones (Arthur, Emr,
    # Wyttenbach & Hoy, "Mosquito flight tones", J. Acoust. Soc. Am. 135, 2014). It hovers, drifts and comes near.
    for k in range(5 if p.several or p.intensity > 1 else 1):
        wing = (p.hz or p.low(540.0)) * float(np.exp(c.rng.uniform(-0.26, 0.26)))
        count = max(200, round(c.seconds * 100))
        t = np.arange(count) * (c.seconds / count)
        reach = _passes(c, t, 3.4 / p.speed)
        side = _on_grid(c.drift(1.1 / p.speed, 0.6), count).clip(-0.95, 0.95)
        wander = _on_grid(c.drift(1.6 / p.speed, 0.028), count) + _on_grid(c.drift(0.09, 0.004), count)
        strain = 1 + 0.02 * reach / max(1.0, float(reach.max()))  # it works harder in a turn
        hz = Curve(wing * np.exp(wander) * strain)
        flutter = 1 + 0.12 * _on_grid(c.drift(0.06, 1.0), count).clip(-2, 2)
        level = (0.09 if k == 0 else 0.04) * reach * flutter
        phase = float(c.rng.random())
        for pan, gain in ((-1.0, np.sqrt(0.5 * (1 - side))), (1.0, np.sqrt(0.5 * (1 + side)))):
            c.tone(hz, Curve(level * gain), [1.0, 0.6, 0.28, 0.2, 0.09, 0.06, 0.03], pan=pan, phase=phase)


def _on_grid(curve: Curve, count: int) -> np.ndarray:
    """Return a curve read at ``count`` evenly spaced points."""
    return curve.part(0, count, count).astype(np.float64)


def _passes(c: Canvas, t: np.ndarray, every_s: float) -> np.ndarray:
    """Return how near it is over time, about 0.05..1: it flies by, the first time soon, and hovers between."""
    total = np.full(len(t), 0.05)
    first = min(0.9, 0.4 * c.seconds)
    for at_s in c.pulse(every_s, jitter=0.25, start_s=first):
        width, peak = float(c.rng.uniform(0.25, 0.7)), float(c.rng.uniform(0.5, 1.0))
        for turn in (-1, 0, 1) if c.loop else (0,):
            total += peak / (1 + ((t - at_s + turn * c.seconds) / width) ** 2) ** 1.2
    return total
