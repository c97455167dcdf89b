"""Recipes of water at hand: drips, pouring, boiling, bubbles, splashes, waterfalls, rivers."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas, Curve
from audio_pool.engines.procedural.grains import bubble, burst, modes, texture
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, peaks


def _bubbles(c: Canvas, p: Character, low_hz: float, high_hz: float, count: int, *, rise: float = 0.1) -> list[Floats]:
    """Return bubbles whose radii are spread evenly on a logarithmic scale between those of the two pitches."""
    pitches = np.exp(c.rng.uniform(np.log(p.low(low_hz)), np.log(p.low(high_hz)), count))
    return [bubble(c.rate, float(hz), rise=rise * float(c.rng.uniform(0.3, 1.7))) for hz in pitches]


@recipe(
    keys="drip, water drip, drop water, dripping tap, dripping faucet, leak, cave drip, water drop, drop, leaky faucet",
    near="cave sink pipe puddle",
    expects="silence",
    summary="water dripping",
)
def drip(c: Canvas, p: Character) -> None:
    bank = _bubbles(c, p, 700, 1900, 8, rise=0.35)
    for at_s in c.occasions(0.8 / p.speed, p.count, jitter=0.18):
        drop = bank[int(c.rng.integers(8))]
        strength = float(c.rng.uniform(0.6, 1.0))
        # it lands with a tick, and some 20 ms later the bubble that it drew under sings
        c.place(burst(c.noise, c.rate, band(2500, 11_000), attack_s=0.0003, decay_s=0.002), at_s, 0.2 * strength)
        c.place(drop, at_s + 0.018, 0.7 * strength, 0.1)
        if c.rng.random() < 0.4:
            c.place(bank[int(c.rng.integers(8))], at_s + 0.05, 0.15 * strength, -0.1)
    c.reflect(0.3)


@recipe(
    keys="pour, pouring, pour water, pouring water, pour glass, pour drink, fill glass, pour coffee,"
    "pour tea, pour liquid,"
    "pour wine, pour beer, glass water, pour water glass",
    near="drink cup jug bartender beverage juice",
    expects="noise",
    summary="water poured into a glass",
)
def pouring(c: Canvas, p: Character) -> None:
    span = max(0.3, min(c.seconds, 7.0 / p.speed))
    count = max(64, round(c.seconds * 50))
    t = np.arange(count) * (c.seconds / count)
    filled = (t % span) / span
    flow = np.clip((t % span) / 0.08, 0, 1) * np.clip((span - t % span) / 0.25, 0, 1)
    # the air column above the water is a quarter-wave pipe that grows shorter
    pipe = 343.0 / (4 * (0.135 * p.size * (1 - 0.88 * filled) + 0.012))
    for ratio, level in ((1.0, 0.05), (3.0, 0.03), (5.0, 0.012)):
        wobble = np.exp(
            0.02 * np.interp(np.linspace(0, 1, count), np.linspace(0, 1, 200), c.drift(0.08).part(0, 200, 200))
        )
        c.tone(
            Curve(np.minimum(pipe * ratio * wobble, 0.4 * c.rate)),
            Curve(level * flow * c.swells(0.05, 0.5).part(0, count, count)),
        )
    c.bed(band(700, 6000, tilt_db=-2), Curve(0.045 * flow), width=0.6, per_second=1500)
    bank = _bubbles(c, p, 500, 3200, 40)
    times = [t_ for t_ in c.scatter(85 * p.intensity, first_s=FIRST_S) if float(np.interp(t_, t, flow)) > 0.5]
    c.sprinkle(times, bank, gain=0.12, depth=0.6, spread=0.4)
    c.reflect(0.1)


@recipe(
    keys="boil, boiling, boiling water, kettle, boiling kettle, simmer, boil pot, boiling pot, cauldron,"
    "tea kettle",
    near="cook kitchen stove pasta potion pan lava",
    expects="noise",
    highpass_hz=50,
    summary="water boiling in a pot",
)
def boiling(c: Canvas, p: Character) -> None:
    bank = _bubbles(c, p, 160, 900, 40, rise=0.25)
    small = _bubbles(c, p, 900, 3000, 24)
    roll = c.swells(0.4 / p.speed, 0.35)
    times = c.scatter(60 * p.intensity * p.speed, first_s=FIRST_S)
    for at_s in times:
        sound = bank[int(c.rng.integers(40))]
        c.place(
            sound,
            at_s,
            0.2 * roll.at(at_s / c.seconds) * float(c.rng.uniform(0.3, 1.0)),
            float(c.rng.uniform(-0.4, 0.4)),
        )
    c.sprinkle(c.scatter(60 * p.intensity), small, gain=0.035, depth=0.6, spread=0.5)
    c.bed(peaks([210, 470, 820], 0.4, floor=0.1), Curve(0.05 * roll.points), width=0.5)
    c.bed(band(1500, 8000, tilt_db=-3), 0.014, width=0.8)


@recipe(
    keys="bubble, bubbles, bubbling, underwater bubbles, fish tank, aquarium, blow bubbles, diver bubbles,"
    "scuba, potion",
    near="underwater submarine laboratory fizz",
    expects="silence",
    summary="bubbles rising in water",
)
def bubbles(c: Canvas, p: Character) -> None:
    bank = _bubbles(c, p, 260, 1500, 32, rise=0.3)
    for at_s in c.pulse(0.75 / p.speed, jitter=0.35, start_s=FIRST_S):
        # a gulp of air comes apart: large ones first, then smaller, ever thinner
        count = int(c.rng.integers(5, 15) * p.intensity**0.5)
        delays = np.sort(c.rng.exponential(0.16, count))
        for k, later in enumerate(delays):
            sound = bank[int(c.rng.integers(32))]
            c.place(
                sound,
                at_s + float(later),
                0.32 * float(c.rng.uniform(0.4, 1.0)) * 0.95**k,
                float(c.rng.uniform(-0.4, 0.4)),
            )
    c.bed(band(80, 500, tilt_db=-4), 0.006, width=0.8)


@recipe(
    keys="splash, water splash, dive, plunge, jump water, cannonball, stone water, stone pond,"
    "throw stone pond, rock water, puddle splash, splashing",
    near="swim pool lake throw fish",
    expects="decay silence",
    once=True,
    summary="a splash in water",
)
def splash(c: Canvas, p: Character) -> None:
    bank = _bubbles(c, p, 260, 2400, 40, rise=0.2)
    for at_s in c.occasions(2.2 / p.speed, p.count, jitter=0.2, lasts_s=1.2):
        size = p.size**0.5
        slap = burst(c.noise, c.rate, band(p.low(180), 5000, tilt_db=-3), attack_s=0.002, decay_s=0.035 * size)
        c.place(slap, at_s, 1.3)
        crown = burst(c.noise, c.rate, band(900, 11_000, tilt_db=-2), attack_s=0.03, decay_s=0.17 * size)
        for pan in (-0.6, 0.6):
            c.place(np.roll(crown, round(0.002 * c.rate * (1 + pan))), at_s + 0.01, 0.8, pan)
        # the cavity closes: one deep bubble, then drops rain back
        c.place(bubble(c.rate, p.low(210), rise=0.4), at_s + 0.07 * size, 0.7)
        delays = 0.08 + c.rng.gamma(2.0, 0.14 * size, int(60 * p.intensity))
        c.sprinkle([at_s + float(d) for d in delays], bank, gain=0.14, depth=0.7, spread=0.8)
    c.reflect(0.12)


@recipe(
    keys="waterfall, cascade, rapids, white water, dam, weir, niagara",
    near="river gorge torrent",
    expects="noise",
    highpass_hz=35,
    summary="a waterfall roaring",
)
def waterfall(c: Canvas, p: Character) -> None:
    c.bed(band(45, 400, tilt_db=-2), Curve(0.1 * p.size**0.5 * c.swells(0.6, 0.12).points), width=0.7)
    c.bed(band(300, 3000, tilt_db=-3), Curve(0.11 * c.swells(0.35, 0.08).points), width=0.9)
    c.bed(band(1800, 12_000, tilt_db=-3), 0.07 * p.intensity**0.5, width=1.0, per_second=6000)
    c.sprinkle(c.scatter(60), _bubbles(c, p, 300, 1500, 30), gain=0.035, depth=0.6, spread=1.0)


@recipe(
    keys="river, river flow, flowing river, rapid river, river rapids",
    near="raft bank fish canoe",
    expects="noise",
    highpass_hz=45,
    summary="a river flowing",
)
def river(c: Canvas, p: Character) -> None:
    flow = p.intensity * p.speed
    c.bed(band(90, 700, tilt_db=-3), Curve(0.07 * c.swells(1.6, 0.2).points), width=0.8)
    c.bed(band(500, 4500, tilt_db=-3), Curve(0.06 * flow**0.5 * c.swells(0.9, 0.18).points), width=1.0)
    c.bed(band(1500, 8000, tilt_db=-2), 0.02, width=1.0, per_second=1800)
    bank = _bubbles(c, p, 180, 1100, 48, rise=0.12)
    eddies = np.asarray(c.scatter(3.5 * flow, first_s=0.01))
    times = np.repeat(eddies, 8) + c.rng.exponential(0.12, 8 * len(eddies))
    c.sprinkle([float(t) for t in times], bank, gain=0.09, depth=0.7, spread=1.0)


@recipe(
    keys="shower, bathroom shower, faucet, tap water, running water, sink, bath, water tap, garden hose, "
    "sprinkler, bathtub, water run, fill bath",
    near="bathroom wash drain hygiene",
    expects="noise",
    summary="water running from a tap",
)
def running_water(c: Canvas, p: Character) -> None:
    basin = [p.low(float(f)) for f in c.rng.uniform(260, 1900, 7)]
    c.bed(peaks(basin, 0.12, floor=0.12), Curve(0.07 * c.swells(0.5, 0.1).points), width=0.5, per_second=2200)
    c.bed(band(1200, 9000, tilt_db=-1.5), 0.08 * p.intensity**0.5, width=0.7)
    c.sprinkle(c.scatter(70 * p.intensity), _bubbles(c, p, 450, 2600, 36), gain=0.07, depth=0.6, spread=0.5)
    ring = modes(c.rate, basin[:3], [0.05, 0.04, 0.03], [0.5, 0.4, 0.3])
    c.sprinkle(c.scatter(9), [ring], gain=0.04, depth=0.5, spread=0.3)
    hiss = texture(c.noise, c.rate, 0.02, band(3000, 9000))
    c.sprinkle(c.scatter(30), [hiss], gain=0.01, spread=0.4)
    c.reflect(0.15)
