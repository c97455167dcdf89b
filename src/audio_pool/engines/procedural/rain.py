"""Recipes of rain: falling by itself, and on what it falls on.

Each drop is an event of its own (PhISEM: Cook, "Physically informed sonic modeling", Computer Music Journal 21(3),
1997): its size is drawn from Marshall and Palmer's exponential law, its blow from size and distance, and the surface
answers as that surface does: a sheet rings, a leaf pats, canvas thumps, a pane ticks, a puddle makes bubbles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audio_pool.engines.procedural.canvas import Canvas, Curve
from audio_pool.engines.procedural.grains import bubble, burst, modes
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, peaks


@recipe(
    keys="rain, rainy, drizzle, downpour, rain shower, cloudburst, precipitation, rainstorm",
    near="hiss spray sprinkle wet weather monsoon",
    expects="noise",
    summary="steady rain falling outside",
)
def rain(c: Canvas, p: Character) -> None:
    heavy = p.intensity
    breath = c.swells(4.0, 0.06)
    # Many far drops melt into a hiss; heavier rain has more body under it. How much of each depends on the place.
    far, body, near = np.exp(c.rng.normal(0.0, 0.3, 3).clip(-0.5, 0.5))
    c.bed(band(500, 9000, tilt_db=-1.5), Curve(0.09 * far * breath.points), width=0.9)
    c.bed(band(150, 1500, tilt_db=-3), 0.035 * heavy * body, width=0.7)
    c.bed(band(2500, 13000, tilt_db=-1), 0.07 * near, per_second=2500 * heavy, width=1.0)
    c.bed(band(900, 5000), 0.045, per_second=900 * heavy, width=1.0)
    drops = [bubble(c.rate, c.rng.uniform(1100, 5200)) for _ in range(16)]
    splats = [burst(c.noise, c.rate, band(f, 6 * f), decay_s=0.004) for f in np.geomspace(2600, 900, 16)]
    c.sprinkle(c.scatter(26 * heavy), drops, gain=0.022, depth=0.45)
    _fall(c, p, 90.0, splats, 0.1)


@recipe(
    keys="rain metal, rain roof, rain gutter, rain car, metal roof, rain container, "
    "rain bucket",
    near="corrugated patter pelting",
    expects="noise",
    covers=("rain",),
    summary="rain drumming on a tin roof",
)
def rain_on_metal(c: Canvas, p: Character) -> None:
    heavy = p.intensity
    c.bed(band(400, 9000, tilt_db=-2), 0.04, width=0.9)
    # The sheet hums along in its own modes with every drop it takes.
    sheet = [float(f) for f in p.low(1) * np.exp(c.rng.uniform(np.log(220), np.log(6500), 40))]
    c.bed(peaks(sheet[:20], 0.05, floor=0.02), 0.07, per_second=900 * heavy, width=0.9)
    _fall(c, p, 230.0, [_on_sheet(c, p, sheet, soft=0.3 + 0.03 * n) for n in range(32)], 0.15, loudest=2.2)


def _on_sheet(c: Canvas, p: Character, sheet: list[float], soft: float) -> Floats:
    """Return one drop: a tick, and the few modes that have no node where it falls."""
    picked = c.rng.choice(len(sheet), 9, replace=False)
    hz = np.array([sheet[k] for k in picked]) * c.rng.uniform(0.99, 1.01, 9)
    levels = c.rng.gamma(1.0, 0.3, 9) * (700 / (700 + hz)) ** (0.5 * soft)
    decays = p.size * 0.03 * (600 / hz) ** 0.6 * c.rng.uniform(0.5, 1.3, 9)
    ring = modes(c.rate, hz.tolist(), decays.tolist(), levels.tolist())
    tick = burst(c.noise, c.rate, band(1500, 11000), attack_s=0.0003, decay_s=0.002)
    ring[: len(tick)] += np.float32(2.0) * tick[: len(ring)]
    return ring


@recipe(
    keys="rain leaf, rain forest, rain tree, rain garden, rain jungle, rain plant,"
    "rainforest rain, drizzle leaf, rain canopy, rain grass",
    near="",
    expects="noise",
    covers=("rain",),
    summary="rain dripping on leaves",
)
def rain_on_leaves(c: Canvas, p: Character) -> None:
    heavy = p.intensity
    breath = c.swells(5.0, 0.1)
    c.bed(band(350, 6000, tilt_db=-3), Curve(0.04 * breath.points), width=0.9)
    c.bed(band(1200, 7000, tilt_db=-2), 0.04, per_second=900 * heavy, width=1.0)
    # A leaf is a small soft drum: a dull pat with hardly any ring.
    pats = [
        burst(c.noise, c.rate, band(f, 3.5 * f), attack_s=0.001, decay_s=c.rng.uniform(0.004, 0.012))
        for f in np.geomspace(1700, 320, 24) * c.rng.uniform(0.8, 1.25, 24)
    ]
    drips = [bubble(c.rate, c.rng.uniform(700, 2400), rise=0.15) for _ in range(8)]
    _fall(c, p, 110.0, pats, 0.2)
    c.sprinkle(c.scatter(5 * heavy), drips, gain=0.04, depth=0.4)


_SMALLEST_MM, _LARGEST_MM = 0.6, 4.5


def _fall(
    c: Canvas, p: Character, per_second: float, bank: Sequence[Floats], gain: float, *, loudest: float = 4.0
) -> None:
    """Let drops fall round the listener.

    Args:
        bank: the surface's answers, from the smallest drop to the largest.
        loudest: the level that no drop passes, as a multiple of ``gain``.
    """
    times = c.scatter(per_second * p.intensity)
    mean_mm = 0.55 * p.intensity**0.21  # the law's slope is 4.1 R^-0.21 per mm
    sizes = np.minimum(_LARGEST_MM, _SMALLEST_MM + c.rng.exponential(mean_mm, len(times)))
    near = 1 / np.sqrt(c.rng.uniform(0.06, 1.0, len(times)))  # as many drops on each square metre
    blows = gain * (sizes / 1.5) ** 1.8 * near * 0.5
    ranks = ((sizes - _SMALLEST_MM) / (_LARGEST_MM - _SMALLEST_MM)) ** 0.7 * len(bank)
    picks = np.clip(ranks + c.rng.uniform(-1.5, 1.5, len(times)), 0, len(bank) - 1).astype(int)
    pans = c.rng.uniform(-0.95, 0.95, len(times))
    for at_s, pick, blow, pan in zip(times, picks, blows, pans, strict=True):
        c.place(bank[pick], at_s, float(min(blow, loudest * gain)), float(pan))


@recipe(
    keys="rain tent, rain canvas, rain umbrella, rain tarp, rain fabric, drizzle umbrella, drizzle tent, rain awning,"
    "rain tarpaulin, rain marquee",
    near="camping shelter",
    expects="noise",
    covers=("rain",),
    summary="rain pattering on a tent",
)
def rain_on_tent(c: Canvas, p: Character) -> None:
    # the far rain comes through the cloth; each drop beats a small drum whose skin is slack
    c.bed(band(250, 2200, tilt_db=-4), Curve(0.045 * c.swells(4.0, 0.08).points), width=0.8)
    c.bed(band(500, 3500, tilt_db=-4), 0.035 * p.intensity**0.5, per_second=700 * p.intensity, width=0.9)
    ratios = np.array([1.0, 1.593, 2.136, 2.296, 2.653, 2.918])  # a round membrane's modes
    bank = []
    for number in range(24):
        hz = p.low(430.0 - 240.0 * number / 24) * float(c.rng.uniform(0.8, 1.25))
        levels = np.array([1.0, 0.7, 0.5, 0.4, 0.3, 0.2]) * c.rng.uniform(0.4, 1.0, 6)
        decays = 0.011 * p.size / ratios**0.8 * float(c.rng.uniform(0.7, 1.4))
        skin = modes(c.rate, (hz * ratios).tolist(), decays.tolist(), levels.tolist(), attack_s=0.0012)
        tap = burst(c.noise, c.rate, band(700, 3800, tilt_db=-3), attack_s=0.0006, decay_s=0.0035)
        skin[: len(tap)] += np.float32(0.9) * tap[: len(skin)]
        bank.append(skin)
    _fall(c, p, 110.0, bank, 0.11)


@recipe(
    keys="rain window, rain glass, rain pane, rain windowpane, rain windshield, rain windscreen, rain skylight,"
    "drizzle window, rain car window, raindrops window pane",
    near="indoors cosy bedroom",
    expects="noise",
    covers=("rain",),
    summary="rain against a window",
)
def rain_on_window(c: Canvas, p: Character) -> None:
    # outside it rains beyond the pane, which lets little but the lows through; gusts throw the drops against it
    gusts = c.swells(1.8, 0.45).points
    c.bed(band(120, 1100, tilt_db=-4), Curve(0.05 * c.swells(4.0, 0.1).points), width=0.7)
    spray = Curve(0.028 * p.intensity**0.5 * gusts)
    c.bed(band(1500, 9000, tilt_db=-2), spray, per_second=500 * p.intensity, width=0.9)
    pane = [float(f) for f in p.low(1) * np.exp(c.rng.uniform(np.log(380), np.log(5200), 28))]
    bank = []
    for number in range(24):
        picked = c.rng.choice(len(pane), 6, replace=False)
        hz = np.array([pane[k] for k in picked])
        levels = c.rng.gamma(1.0, 0.3, 6) * (1200 / (1200 + hz)) ** (0.4 + number / 24)
        decays = 0.009 * (900 / hz) ** 0.5 * c.rng.uniform(0.5, 1.2, 6) * p.size
        ring = modes(c.rate, hz.tolist(), decays.tolist(), levels.tolist(), attack_s=0.0003)
        tick = burst(c.noise, c.rate, band(1800, 9500), attack_s=0.0002, decay_s=0.0012 + 0.0001 * number)
        ring[: len(tick)] += np.float32(1.4) * tick[: len(ring)]
        bank.append(ring)
    _fall(c, p, 55.0, bank, 0.13)
    for at_s in c.scatter(1.2 * p.intensity):  # a gust's handful
        for delay in c.rng.exponential(0.08, int(c.rng.integers(3, 12))):
            c.place(bank[int(c.rng.integers(4, 20))], at_s + float(delay), 0.1, float(c.rng.uniform(-0.7, 0.7)))


@recipe(
    keys="rain lake, rain pond, rain puddle, rain pool, rain water, rain water surface, drizzle lake, rain puddles",
    near="",
    expects="noise",
    covers=("rain",),
    summary="rain falling on a lake",
)
def rain_on_water(c: Canvas, p: Character) -> None:
    # a drop's blow is slight; what is heard is the bubble that it leaves: high for the small ones, plops for the large
    c.bed(band(900, 11_000, tilt_db=-1), Curve(0.03 * c.swells(4.0, 0.06).points), width=0.9)
    c.bed(band(3000, 14_000), 0.03 * p.intensity**0.5, per_second=1800 * p.intensity, width=1.0)
    pitches = np.geomspace(6800, 650, 32) * c.rng.uniform(0.8, 1.25, 32) * p.low(1)
    bank = [bubble(c.rate, float(hz), rise=float(c.rng.uniform(0.03, 0.25))) for hz in pitches if hz < 0.4 * c.rate]
    _fall(c, p, 200.0, bank, 0.19)


@recipe(
    keys="rain pavement, rain concrete, rain asphalt, rain street, rain road, rain sidewalk, rain hard surface,"
    "rain stone, rain ground, rain patio, rain cobblestones, rain driveway, rain tile",
    near="city",
    expects="noise",
    covers=("rain",),
    summary="rain splashing on pavement",
)
def rain_on_pavement(c: Canvas, p: Character) -> None:
    # stone gives nothing back: a drop is a tick as it flattens, then the crown of droplets that it throws falls again
    c.bed(band(700, 9000, tilt_db=-2), Curve(0.05 * c.swells(4.0, 0.06).points), width=0.9)
    c.bed(band(2000, 12_000, tilt_db=-1), 0.08 * p.intensity**0.5, per_second=1500 * p.intensity, width=1.0)
    bank = []
    for number in range(24):
        low = p.low(2600.0 - 1500.0 * number / 24) * float(c.rng.uniform(0.8, 1.25))
        splat = burst(c.noise, c.rate, band(low, 4.0 * low), attack_s=0.0003, decay_s=0.0015 + 0.00015 * number)
        crown = burst(c.noise, c.rate, band(2.0 * low, 12_000), attack_s=0.004, decay_s=0.004 + 0.0004 * number)
        total = np.zeros(max(len(splat), len(crown) + round(0.004 * c.rate)), dtype=np.float32)
        total[: len(splat)] += splat
        late = round(0.004 * c.rate)
        total[late : late + len(crown)] += np.float32(0.05 + 0.012 * number) * crown
        bank.append(total)
    _fall(c, p, 150.0, bank, 0.17)
    wet = [bubble(c.rate, float(hz)) for hz in c.rng.uniform(900, 3200, 8)]
    c.sprinkle(c.scatter(10 * p.intensity), wet, gain=0.03, depth=0.6)  # where a puddle stands
