"""Recipes of struck metal: doorbells, chimes, gongs, bowls, anvils, blades, keys, chains.

The mode tables are those of the bodies: a tubular bell's and a wind chime's of a free bar, a gong's and a bowl's
of their shells (Rossing, "Science of Percussion Instruments", 2000).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas
from audio_pool.engines.procedural.grains import arch, burst, modes, texture
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, peaks

_FREE_BAR = (1.0, 2.756, 5.404, 8.933, 13.34)
"""Of a bar free at both ends (Fletcher & Rossing, 1998, equation 2.64)."""
_CLAMPED_BAR = (1.0, 6.267, 17.55, 34.39)
"""Of a bar clamped at one end."""


def _struck(
    c: Canvas,
    hz: float,
    ratios: Sequence[float] | Floats,
    decay_s: float,
    levels: Sequence[float],
    *,
    damping: float = 0.5,
    spread: float = 0.0,
) -> Floats:
    """Return a body struck: each mode rings shorter the higher it is, and no two blows excite them alike."""
    uneven = c.rng.uniform(0.75, 1.15, len(ratios))
    tuned = np.asarray(ratios) * (1 + spread * c.rng.normal(0, 1, len(ratios)))
    decays = decay_s / tuned**damping
    # what rings past the end of a sound that does not loop is not made, with a margin for its own fade
    longest_s = 9.0 if c.loop else min(9.0, 0.1 + 1.2 * c.seconds)
    levels = (np.asarray(levels) * uneven).tolist()
    return modes(c.rate, (hz * tuned).tolist(), decays.tolist(), levels, longest_s=longest_s)


@recipe(
    keys="doorbell, door chime, ding dong, house bell, front door bell, ring doorbell",
    near="visitor entrance ring ding",
    expects="decay silence",
    once=True,
    summary="a doorbell, ding-dong",
)
def doorbell(c: Canvas, p: Character) -> None:
    high = p.hz or p.low(659.3) * float(2 ** (c.rng.integers(-2, 3) / 12))
    for at_s in c.occasions(4.0 / p.speed, p.count, jitter=0.04, lasts_s=1.5):
        for k, hz in enumerate((high, high * 2 ** (-4 / 12))):
            # a chime's bar over a tuned resonator, hit by the plunger of its solenoid
            bar = _struck(c, hz, _FREE_BAR, 0.75, (1.0, 0.3, 0.16, 0.06, 0.03), damping=0.9)
            c.place(bar, at_s + 0.62 * k / p.speed, 0.5, -0.15 + 0.3 * k)
            c.place(
                burst(c.noise, c.rate, band(1200, 6000), attack_s=0.0004, decay_s=0.004),
                at_s + 0.62 * k / p.speed,
                0.25,
            )
    c.reflect(0.2)


@recipe(
    keys="wind chime, windchime, chime, wind bell, chimes",
    near="breeze garden porch tinkle",
    expects="decay silence",
    summary="wind chimes tinkling",
)
def wind_chimes(c: Canvas, p: Character) -> None:
    root = p.hz or p.low(880.0) * float(2 ** (c.rng.integers(-4, 5) / 12))
    tubes = [root * 2 ** (step / 12) for step in (0, 2, 4, 7, 9, 12)]
    sounds = [_struck(c, hz, _FREE_BAR, 1.7, (1.0, 0.5, 0.22, 0.1, 0.05), damping=0.8) for hz in tubes]
    gust = c.swells(2.5 / p.speed, 0.8)
    for at_s in c.scatter(3.2 * p.intensity * p.speed, first_s=FIRST_S):
        blow = gust.at(at_s / c.seconds)
        k = int(c.rng.integers(len(tubes)))
        strength = min(1.0, 0.45 * blow) * float(c.rng.uniform(0.4, 1.0))
        c.place(sounds[k], at_s, 0.3 * strength, -0.8 + 1.6 * k / len(tubes))
        if c.rng.random() < 0.35 * blow:  # the clapper rebounds to a neighbour
            other = (k + int(c.rng.integers(1, 3))) % len(tubes)
            later = float(c.rng.uniform(0.05, 0.16))
            c.place(sounds[other], at_s + later, 0.2 * strength, -0.8 + 1.6 * other / len(tubes))


@recipe(
    keys="gong, tam tam, chinese gong, temple gong, tamtam",
    near="temple ritual crash cymbal",
    expects="decay",
    highpass_hz=30,
    once=True,
    summary="a gong struck, swelling and ringing on",
)
def gong(c: Canvas, p: Character) -> None:
    base = p.hz or p.low(72.0) * float(c.rng.uniform(0.85, 1.15))
    ratios = np.sort(np.concatenate([[1.0, 1.47, 2.05, 2.61], c.rng.uniform(2.8, 38.0, 46)]))
    for at_s in c.occasions(9.0 / p.speed, p.count, jitter=0.03, lasts_s=4.0):
        for pan in (-0.6, 0.6):
            skew = float(c.rng.uniform(0.998, 1.002))
            low = _struck(
                c, skew * base, ratios[:10], 3.4 * p.size**0.5, (0.5 / np.arange(1, 11) ** 0.35).tolist(), damping=0.45
            )
            c.place(low, at_s, 0.34, pan)
            high = _struck(
                c, skew * base, ratios[10:], 2.4 * p.size**0.5, (0.5 / ratios[10:] ** 0.4).tolist(), damping=0.35
            )
            # the shimmer is not struck: it builds up as the low modes feed the high ones (nonlinear coupling)
            t = np.arange(len(high), dtype=np.float32) / np.float32(c.rate)
            c.place(np.asarray(high * (1 - np.exp(-t / 0.25)), dtype=np.float32), at_s, 0.4, pan)
        c.place(burst(c.noise, c.rate, band(80, 700, tilt_db=-3), attack_s=0.003, decay_s=0.03), at_s, 0.8)


@recipe(
    keys="cowbell, cow bell, goat bell, sheep bell",
    near="alps pasture herd",
    expects="decay silence",
    once=True,
    summary="a cowbell",
)
def cowbell(c: Canvas, p: Character) -> None:
    hz = p.hz or p.low(562.0) * float(c.rng.uniform(0.9, 1.12))
    for at_s in c.occasions(p.beat_s(90.0), p.count, jitter=0.04):
        bell = _struck(c, hz, (1.0, 1.504, 2.37, 3.1, 3.92, 5.4), 0.14, (1.0, 0.8, 0.45, 0.3, 0.25, 0.15), damping=0.6)
        c.place(bell, at_s, 0.35 * float(c.rng.uniform(0.8, 1.0)))
        c.place(burst(c.noise, c.rate, band(900, 5000), attack_s=0.0004, decay_s=0.005), at_s, 0.35)
    c.reflect(0.15)


@recipe(
    keys="singing bowl, tibetan bowl, bowl, meditation bowl, meditation bell, bowl ring, zen bell",
    near="meditation yoga monk calm",
    expects="decay",
    once=True,
    summary="a singing bowl struck softly",
)
def singing_bowl(c: Canvas, p: Character) -> None:
    base = p.hz or p.low(226.0) * float(c.rng.uniform(0.85, 1.2))
    ratios, levels = (1.0, 2.77, 5.18, 8.14, 11.6), (1.0, 0.55, 0.22, 0.1, 0.04)
    for at_s in c.occasions(10.0 / p.speed, p.count, jitter=0.03, lasts_s=5.0):
        for skew, pan in ((1.0, -0.35), (1.0035, 0.35)):  # its two orthogonal modes beat slowly
            ring = _struck(c, skew * base, ratios, 4.5 * p.size**0.5, levels, damping=0.7)
            t = np.arange(len(ring), dtype=np.float32) / np.float32(c.rate)
            c.place(np.asarray(ring * np.minimum(1, 0.35 + t / 0.03), dtype=np.float32), at_s, 0.26, pan)
        c.place(burst(c.noise, c.rate, band(150, 900, tilt_db=-3), attack_s=0.004, decay_s=0.02), at_s, 0.25)


@recipe(
    keys="anvil, blacksmith, hammer anvil, hammer metal, forge, smith, hammering metal, clang, metal clang,"
    "metal hit, metal impact, clank, pipe hit",
    near="hammer iron steel pipe strike",
    expects="decay silence",
    bar=1,
    summary="a hammer on an anvil",
)
def anvil(c: Canvas, p: Character) -> None:
    hz = p.hz or p.low(1180.0) * float(c.rng.uniform(0.88, 1.12))
    ratios = (1.0, 1.58, 2.24, 2.92, 3.78, 4.67, 5.9, 7.4)
    for at_s in c.occasions(p.beat_s(62.0), p.count, jitter=0.04):
        strength = float(c.rng.uniform(0.75, 1.0))
        ring = _struck(c, hz, ratios, 0.55 * p.size**0.5, (0.8, 1.0, 0.7, 0.6, 0.4, 0.3, 0.25, 0.15), damping=0.5)
        c.place(ring, at_s, 0.22 * strength, 0.05)
        c.place(
            burst(c.noise, c.rate, band(300, 3000, tilt_db=-2), attack_s=0.0004, decay_s=0.008), at_s, 0.6 * strength
        )
        # the hammer bounces once, lightly
        c.place(ring, at_s + float(c.rng.uniform(0.11, 0.16)), 0.05 * strength, 0.05)
    c.reflect(0.2)


@recipe(
    keys="sword, sword clash, sword fight, blade, blades clash, sword swing, swords, unsheathe, sword unsheathe,"
    "unsheathed, sword unsheathed, sword draw, knife, knife sharpen, dagger, clash swords, katana, slash, sword slash",
    near="fight duel knight steel weapon axe sheath scabbard",
    expects="decay silence",
    once=True,
    summary="a sword clash",
)
def sword(c: Canvas, p: Character) -> None:
    if p.kind in ("swing", "draw"):
        for at_s in c.occasions(1.1 / p.speed, p.count, jitter=0.15, lasts_s=0.6):
            (_swung if p.kind == "swing" else _drawn)(c, p, at_s)
        c.reflect(0.12)
        return
    for at_s in c.occasions(0.75 / p.speed, p.count, jitter=0.3):
        hz = p.low(1650.0) * float(c.rng.uniform(0.8, 1.3))
        for k, pan in enumerate((-0.35, 0.35)):
            # two blades, each a long thin bar held at one end: many close modes, the high ones loudest
            ratios = np.cumsum(c.rng.uniform(0.35, 0.75, 14)) + 0.6
            ring = _struck(
                c,
                hz * (1.0 + 0.13 * k),
                ratios,
                0.42 * p.size**0.5,
                (1 / (1 + 0.12 * np.arange(14))).tolist(),
                damping=0.4,
            )
            c.place(ring, at_s + 0.004 * k, 0.1, pan)
        c.place(burst(c.noise, c.rate, band(2500, 14_000), attack_s=0.0003, decay_s=0.012), at_s, 0.9)
        # the edges slide along each other
        scrape_s = float(c.rng.uniform(0.08, 0.2))
        scrape = burst(
            c.noise,
            c.rate,
            peaks([hz * 1.9, hz * 2.7, hz * 4.1], 0.12, floor=0.05),
            attack_s=0.02,
            decay_s=0.5 * scrape_s,
        )
        c.place(scrape, at_s + 0.01, 0.35)
    c.reflect(0.15)


def _swung(c: Canvas, p: Character, at_s: float) -> None:
    """Swing a blade: the air sheds vortices behind it at 0.2 times its speed over its width (Strouhal)."""
    natural = float(c.rng.uniform(0.22, 0.32)) * p.size / p.speed
    length = natural * c.squeeze(natural)
    top_hz = 0.2 * 35.0 * p.speed / (0.006 * p.size) * float(c.rng.uniform(0.85, 1.15))
    air = texture(c.noise, c.rate, length, band(200, 9000, tilt_db=-2))
    x = np.linspace(0, 1, len(air), dtype=np.float32)
    speed = np.maximum(0.02, arch(len(air), 1.5))
    total = np.zeros((2, len(air)), dtype=np.float32)
    pan = np.stack([np.cos(0.5 * np.pi * x), np.sin(0.5 * np.pi * x)])
    for share in (0.25, 0.5, 0.75, 1.0):  # parts of the blade from the hilt to the tip, each at its own speed
        whistle = texture(c.noise, c.rate, length, peaks([share * top_hz], 0.25, floor=0.01))[: len(air)]
        near = np.exp(-(((speed - share) / 0.3) ** 2))
        total += pan * (whistle * near * speed**2 * share**2)
    c.place(total + pan * (0.3 * air * speed**3), at_s, 0.9)


def _drawn(c: Canvas, p: Character, at_s: float) -> None:
    """Draw a blade along an edge: it scrapes faster and faster, and rings on when it is free."""
    natural = float(c.rng.uniform(0.35, 0.55)) * p.size**0.5 / p.speed
    length = natural * c.squeeze(natural + 0.6)
    hz = p.low(1900.0) * float(c.rng.uniform(0.85, 1.2))
    scrape = texture(c.noise, c.rate, length, peaks([hz, 1.63 * hz, 2.5 * hz, 3.7 * hz, 5.1 * hz], 0.08, floor=0.1))
    x = np.linspace(0, 1, len(scrape), dtype=np.float32)
    c.place(np.asarray(scrape * x**1.3 * np.minimum(1, 25 * (1 - x)), dtype=np.float32), at_s, 0.5, -0.2)
    ring = _struck(
        c, hz, (1.0, 1.63, 2.5, 3.7, 5.1), 0.5 * p.size**0.5, (0.7, 1.0, 0.9, 0.6, 0.4), damping=0.4
    )
    t = np.arange(len(ring), dtype=np.float32) / np.float32(c.rate)
    c.place(np.asarray(ring * np.minimum(1, t / 0.03), dtype=np.float32), at_s + 0.85 * length, 0.12, 0.2)


@recipe(
    keys="keys, key jingle, keychain, jingle, keys jingle, bunch of keys, sleigh bell, jingle bell, spurs,"
    "coins jingle",
    near="metal pocket lock rattle tambourine",
    expects="silence decay",
    summary="a bunch of keys jingling",
)
def keys(c: Canvas, p: Character) -> None:
    bank = [
        _struck(c, p.low(float(hz)), (1.0, 1.61, 2.43, 3.37), 0.09 * p.size, (0.8, 1.0, 0.5, 0.2), damping=0.9)
        for hz in np.exp(c.rng.uniform(np.log(2600), np.log(6800), 40))  # a key has many ways to be hit
    ]
    shakes = c.pulse(0.26 / p.speed, jitter=0.25, start_s=FIRST_S)
    for at_s in shakes:
        hits = FIRST_S + c.rng.gamma(1.6, 0.022, int(6 + 6 * p.intensity))
        strength = float(c.rng.uniform(0.4, 1.0))
        c.sprinkle([at_s + float(d) for d in np.sort(hits)], bank, gain=0.11 * strength, depth=0.6, spread=0.6)
    c.reflect(0.12)


@recipe(
    keys="chain, chains, chain rattle, rattling chains, shackles, anchor chain, handcuffs",
    near="prison dungeon ghost iron rattle drag",
    expects="silence",
    summary="a heavy chain rattling",
)
def chain(c: Canvas, p: Character) -> None:
    bank = [
        _struck(
            c, p.low(float(hz)), (1.0, 1.72, 2.68, 3.9, 5.3), 0.045 * p.size, (1.0, 0.8, 0.7, 0.5, 0.35), damping=0.4
        )
        for hz in np.exp(c.rng.uniform(np.log(700), np.log(2100), 20))
    ]
    thuds = [burst(c.noise, c.rate, band(180, 1400, tilt_db=-3), attack_s=0.0006, decay_s=0.012) for _ in range(6)]
    for at_s in c.pulse(0.75 / p.speed, jitter=0.3, start_s=FIRST_S):
        # a pull runs through the links: they fall on each other in a dense run that thins out
        run = np.cumsum(
            c.rng.exponential(0.018, int(14 * p.intensity**0.5)) * np.linspace(0.7, 2.2, int(14 * p.intensity**0.5))
        )
        times = [at_s + float(t) for t in run]
        strength = float(c.rng.uniform(0.5, 1.0))
        c.sprinkle(times, bank, gain=0.22 * strength, depth=0.7, spread=0.5)
        c.sprinkle(times[::2], thuds, gain=0.35 * strength, depth=0.5, spread=0.4)
    c.reflect(0.15)


@recipe(
    keys="cymbal, crash cymbal, cymbal crash, ride cymbal, hi hat, splash cymbal",
    near="drum crash",
    expects="decay noise",
    once=True,
    summary="a cymbal crash",
)
def cymbal(c: Canvas, p: Character) -> None:
    # (lowest wash in Hz, its decay and the ring's in s, levels of both): a hi-hat's halves damp each other, and a ride
    # is hit on its thick bow, which pings more than it washes
    low_hz, wash_s, ring_s, wash_level, ring_level = {
        "hi hat": (5500.0, 0.045, 0.06, 0.7, 0.04), "ride": (3000.0, 0.45, 1.1, 0.25, 0.09),
    }.get(p.kind, (2200.0, 0.75, 1.4, 0.7, 0.05))  # fmt: skip
    for at_s in c.occasions((0.6 if p.kind else 3.2) / p.speed, p.count, jitter=0.05, lasts_s=2 * wash_s):
        for pan in (-0.6, 0.6):
            size = p.size**0.5
            wash = texture(c.noise, c.rate, 7 * wash_s * size, band(p.low(low_hz), 15_000, tilt_db=-1))
            t = np.arange(len(wash), dtype=np.float32) / np.float32(c.rate)
            rise = np.minimum(1, t / (0.016 * wash_s) + 0.2)
            c.place(np.asarray(wash * np.exp(-t / (wash_s * size)) * rise, dtype=np.float32), at_s, wash_level, pan)
            ratios = np.exp(c.rng.uniform(0, np.log(24), 30))
            levels = (0.4 / (1 + 0.05 * ratios)).tolist()
            ring = _struck(c, p.low(0.155 * low_hz), ratios, ring_s * size, levels, damping=0.25)
            c.place(ring, at_s, ring_level, pan)
        c.place(burst(c.noise, c.rate, band(500, 5000), attack_s=0.0004, decay_s=0.01), at_s, 0.5)
