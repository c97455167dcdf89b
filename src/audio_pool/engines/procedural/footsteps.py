"""The recipe of footsteps: the force of a foot on the ground, and what the ground answers.

A sole loads the ground in two humps, one as the heel takes the weight and one as the toes push off; what lies there
breaks and shifts as fast as that force changes. Each grain is an event of its own whose chance follows the force
(PhISEM: Cook, "Modeling Bill's gait", AES 22nd conference, 2002; forces after Winter, "Biomechanics and Motor Control
of Human Movement").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas
from audio_pool.engines.procedural.grains import bubble, burst, modes, ping
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band

_X = np.linspace(0.0, 1.0, 201)
"""Parts of the time that a foot stands on the ground."""
_FORCE = np.interp(_X, [0.0, 0.03, 0.06, 0.2, 0.48, 0.77, 0.93, 1.0], [0.0, 0.55, 0.4, 1.1, 0.75, 1.15, 0.25, 0.0])
"""Vertical force over body weight: the heel's spike, the load, mid-stance, the push."""


@dataclass(frozen=True)
class _Ground:
    """What gives way under a sole: grains that break or shift, and what they do together."""

    grains: int
    low_hz: float
    high_hz: float
    decay_s: float
    level: float
    ring: float = 0.0
    """How much a grain rings, as stones do."""
    push: float = 0.4
    """Share of what the toes' push moves, against the heel's load."""
    swish: float = 0.0
    squeak: float = 0.0
    bubbles: int = 0


_GROUNDS = {
    "gravel": _Ground(120, 1100, 7500, 0.0025, 0.55, ring=0.8, push=0.35),
    "sand": _Ground(160, 700, 4500, 0.005, 0.26, swish=0.35, push=0.4),
    "snow": _Ground(230, 500, 3600, 0.0035, 0.34, squeak=0.6, push=0.2),
    "grass": _Ground(26, 2000, 9000, 0.0025, 0.24, swish=0.8, push=0.35),
    "water": _Ground(30, 1500, 9000, 0.005, 0.42, swish=0.4, bubbles=18, push=0.3),
}


@recipe(
    keys="footstep, step, walk, high heel, boots, shoes, climb stairs, stair climb, stroll, jog, wade,"
    "run person, running person, run footstep, sprint, jogger, tread",
    near="march feet foot gravel stair staircase floor hallway corridor pavement sidewalk concrete marble tile"
    " feet",
    expects="silence",
    highpass_hz=50,
    summary="footsteps of someone walking",
    bar=2,
)
def footsteps(c: Canvas, p: Character) -> None:
    step_s = p.beat_s(168.0 if p.gait == "run" else 108.0)
    times = c.pulse(step_s, jitter=0.02, start_s=FIRST_S, bar=2)
    running = p.gait == "run" or step_s < 0.4
    stance_s = min(0.75, (0.7 if running else 1.12) * step_s)
    ground = _GROUNDS.get(p.ground)
    bank = _grains(c, p, ground) if ground else []
    for k, at_s in enumerate(times[: p.count]):
        pan = -0.2 if k % 2 else 0.2
        strength = float(c.rng.uniform(0.75, 1.0)) * (1.25 if running else 1.0)
        firm = 0.45 if ground else 1.0
        # The heel lands hard and low, the ball of the foot follows, softer and scraping.
        body = p.low(float(c.rng.uniform(78, 96)))
        c.place(ping(c.rate, body, 0.035 * p.size, bend=0.8), at_s, 0.55 * firm * strength * p.intensity**0.5, pan)
        heel = burst(c.noise, c.rate, band(p.low(220), p.low(2600), tilt_db=-3), attack_s=0.001, decay_s=0.016)
        c.place(heel, at_s, 1.1 * firm * strength, pan)
        if ground:
            _give(c, ground, bank, at_s, stance_s, strength * p.intensity**0.3, pan)
            continue
        click = burst(c.noise, c.rate, band(1800, 6500), attack_s=0.0005, decay_s=0.005)
        c.place(click, at_s, 0.28 * strength, pan)
        toe = burst(c.noise, c.rate, band(p.low(500), p.low(4500), tilt_db=-3), attack_s=0.006, decay_s=0.022)
        c.place(toe, at_s + (0.03 if running else 0.2 * stance_s), 0.25 * strength, pan)
        scuff = burst(c.noise, c.rate, band(p.low(900), p.low(6000), tilt_db=-3), attack_s=0.03, decay_s=0.02)
        c.place(scuff, at_s + 0.8 * stance_s, 0.06 * strength, pan)


def _grains(c: Canvas, p: Character, ground: _Ground) -> list[Floats]:
    """Return the ground's grains from the smallest, which are many and high, to the largest."""
    bank = []
    for number in range(20):
        low = p.low(ground.low_hz) * float(2.2 - 1.4 * number / 20) * float(c.rng.uniform(0.85, 1.15))
        grain = burst(
            c.noise, c.rate, band(low, max(2.0 * low, ground.high_hz)), attack_s=0.0004,
            decay_s=ground.decay_s * (0.6 + 0.06 * number),
        )
        if ground.ring:  # two stones that knock
            hz = low * np.array([1.3, 2.1, 3.4]) * c.rng.uniform(0.9, 1.1, 3)
            knock = modes(c.rate, hz.tolist(), [0.006, 0.004, 0.002], [0.5, 0.4, 0.3])
            grain = _sum(grain, np.float32(ground.ring * 0.6) * knock)
        bank.append(grain)
    return bank


def _sum(one: Floats, other: Floats) -> Floats:
    total = np.zeros(max(len(one), len(other)), dtype=np.float32)
    total[: len(one)] += one
    total[: len(other)] += other
    return total


def _moments(c: Canvas, count: int, push: float) -> npt.NDArray[np.float64]:
    """Draw parts of the stance at which grains give way: the chance is how fast the force changes."""
    change = np.abs(np.gradient(_FORCE, _X))
    chance = np.cumsum(change * np.where(_X < 0.5, 1.0, push))
    return np.interp(c.rng.random(count), chance / chance[-1], _X)


def _give(
    c: Canvas, ground: _Ground, bank: list[Floats], at_s: float, stance_s: float, strength: float, pan: float
) -> None:
    """Let the ground give way under one step."""
    parts = _moments(c, ground.grains, ground.push)
    sizes = np.minimum(1.0, 0.12 * (1 + c.rng.pareto(1.6, ground.grains)))  # many small ones for each large
    picks = np.clip(sizes * len(bank), 0, len(bank) - 1).astype(int)
    pans = pan + c.rng.uniform(-0.3, 0.3, ground.grains)
    for part, size, pick, side in zip(parts, sizes, picks, pans, strict=True):
        c.place(bank[pick], at_s + float(part) * stance_s, ground.level * strength * float(size) ** 0.7, float(side))
    for begin, level in ((0.0, 1.0), (0.7, ground.push)):  # what is brushed aside, as the foot comes and as it goes
        if ground.swish:
            shape = band(0.8 * ground.low_hz, ground.high_hz)
            swish = burst(c.noise, c.rate, shape, attack_s=0.13 * stance_s, decay_s=0.06 * stance_s)
            c.place(swish, at_s + begin * stance_s, ground.swish * level * strength, pan)
    if ground.squeak:  # crystals under pressure stick and slip, the faster the harder they are pressed
        part = np.linspace(0.02, 0.3, round(0.28 * stance_s * c.rate))
        press = np.interp(part, _X, _FORCE)
        slips = np.cumsum(90 + 150 * press) / c.rate
        rasp = burst(c.noise, c.rate, band(260, 1500, tilt_db=-2), attack_s=0.3 * stance_s, decay_s=0.05)[: len(part)]
        rasp *= ((slips % 1.0 < 0.45) * press[: len(rasp)] * np.hanning(len(part)) ** 0.5)[: len(rasp)]
        c.place(np.asarray(rasp, dtype=np.float32), at_s + 0.02 * stance_s, 1.6 * ground.squeak * strength, pan)
    for hz in np.exp(c.rng.uniform(np.log(500), np.log(2200), ground.bubbles)):
        late = float(c.rng.gamma(2.0, 0.05)) + (0.7 * stance_s if c.rng.random() < 0.3 else 0.0)
        c.place(bubble(c.rate, float(hz), rise=0.2), at_s + late, 0.18 * strength, pan)
