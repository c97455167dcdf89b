"""Recipes of combustion engines and what they drive: cars, motorcycles, tractors, chainsaws, aircraft.

An engine is its firings: each a pressure pulse through the exhaust's pipe, no two cylinders quite alike, their
rate the crankshaft's speed along a curve.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audio_pool.engines.procedural.canvas import Canvas, Curve
from audio_pool.engines.procedural.grains import balanced, burst, glide, modes
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, Shape, band, peaks

_VARIANTS = 4
"""Firings of one cylinder that are told apart."""


def _firing(c: Canvas, pipe_hz: float, *, cylinders: int, damping_s: float, crack: float, hiss: Shape) -> list[Floats]:
    """Return the exhaust pulses of all cylinders in turn: the pipe's odd modes, and the gas rushing out."""
    bank = []
    for cylinder in range(cylinders * _VARIANTS):
        strength = 1.0 + 0.22 * np.sin(2.4 * (cylinder % cylinders) + 1.0)
        ratios = np.array([1.0, 3.0, 5.0, 7.0, 9.0, 13.0]) * c.rng.uniform(0.985, 1.015, 6)
        decays = damping_s / ratios**0.5
        levels = np.array([1.0, 0.55, 0.35, 0.22, 0.15, 0.08]) * c.rng.uniform(0.8, 1.2, 6)
        pulse = modes(c.rate, (pipe_hz * ratios).tolist(), decays.tolist(), levels.tolist(), attack_s=0.0012)
        gas = burst(c.noise, c.rate, hiss, attack_s=0.001, decay_s=0.4 * damping_s)[: len(pulse)]
        pulse[: len(gas)] += np.float32(crack) * gas
        bank.append(balanced(np.asarray(strength * pulse, dtype=np.float32)))
    return bank


def _run(
    c: Canvas,
    bank: Sequence[Floats],
    hz: Curve,
    *,
    cylinders: int,
    gain: float,
    load: Curve | None = None,
    pan: float = 0.0,
) -> None:
    """Fire the cylinders in turn at ``hz`` firings per second; in a loop a whole number of turns."""
    frames = 4096
    rates = hz.part(0, frames, frames).astype(np.float64)
    turns = np.cumsum(rates) * (c.seconds / frames)
    total = float(turns[-1])
    if c.loop:
        turns *= max(cylinders, cylinders * round(total / cylinders)) / total
        total = float(turns[-1])
    counts = np.arange(int(total))
    times = np.interp(counts + 0.02, turns, (np.arange(frames) + 1) * (c.seconds / frames))
    times += c.rng.normal(0, 0.012, len(times)) / np.maximum(rates.mean(), 1.0)
    strengths = gain * np.exp(c.rng.normal(0, 0.09, len(times)))
    variants = c.rng.integers(0, _VARIANTS, len(times))
    for number, (at_s, strength, variant) in enumerate(zip(times, strengths, variants, strict=True)):
        level = float(strength) * (load.at(at_s / c.seconds) if load is not None else 1.0)
        c.place(bank[(number % cylinders) * _VARIANTS + int(variant)], max(0.0, float(at_s)), level, pan)


def _revving(c: Canvas, low_hz: float, high_hz: float, *, blips: float, sharp: float = 1.0) -> tuple[Curve, Curve]:
    """Return firings per second and load: an idle, and now and then the throttle opened for a moment."""
    count = max(64, round(c.seconds * 50))
    t = np.arange(count) * (c.seconds / count)
    open_ = np.zeros(count)
    for at_s in c.pulse(blips, jitter=0.12, start_s=0.3 * blips):
        for turn in (-1, 0, 1):
            d = (t - at_s + turn * c.seconds) * sharp if c.loop or turn == 0 else np.full(count, -9.0)
            open_ += np.where(d < 0, np.exp(-((d / 0.16) ** 2)), np.exp(-np.maximum(d, 0) / 0.55))
    open_ = np.minimum(1.0, open_)
    wander = 1 + 0.02 * np.interp(np.linspace(0, 1, count), np.linspace(0, 1, 64), c.drift(0.5).part(0, 64, 64))
    return Curve(low_hz * (high_hz / low_hz) ** open_ * wander), Curve(0.55 + 0.6 * open_)


def _through_gears(
    c: Canvas, low_hz: float, high_hz: float, *, pull_s: float, ratio: float = 0.68
) -> tuple[Curve, Curve]:
    """Return firings per second and load of pulling away: each gear pulls longer than the last, and falls to ``ratio``.

    In a loop it slows down against the engine again, so that the end meets the start.
    """
    count = max(64, round(c.seconds * 100))
    t = np.arange(count) * (c.seconds / count)
    slowing = 0.3 * c.seconds if c.loop else 0.0
    end = c.seconds - slowing
    times, rates, loads = [0.0], [low_hz], [0.55]
    at_s, rate, pull = 0.0, low_hz, min(pull_s, 0.6 * end)
    while at_s < end:
        # torque falls as the gears grow longer: a saturating climb to the shift
        top = high_hz * float(c.rng.uniform(0.92, 1.0))
        for part in (0.25, 0.5, 0.75, 1.0):
            times.append(at_s + part * pull)
            rates.append(rate + (top - rate) * (1 - np.exp(-1.1 * part)) / (1 - np.exp(-1.1)))
            loads.append(1.15)
        at_s += pull
        lift = min(0.16, 0.2 * pull)  # clutch down, throttle shut
        times += [at_s + 0.2 * lift, at_s + lift]
        rate = ratio * top
        rates += [0.97 * top, rate]
        loads += [0.35, 0.45]
        at_s += lift
        pull *= 1.32
        ratio = min(0.86, ratio + 0.05)
    hz, load = np.interp(t, times, rates), np.interp(t, times, loads)
    if c.loop:
        late = t > end
        x = (t[late] - end) / slowing
        begin = float(np.interp(end, times, rates))
        hz[late] = begin * (low_hz / begin) ** np.sin(0.5 * np.pi * x)
        load[late] = 0.4 + 0.15 * x
    return Curve(hz), Curve(load)


def _driven(
    c: Canvas, p: Character, low_hz: float, high_hz: float, *, usual: str = "", blips: float = 2.7, pull_s: float = 1.3,
    sharp: float = 1.0,
) -> tuple[Curve, Curve]:
    """Return firings per second and load: at idle, blipped or through the gears, as is asked for or ``usual``."""
    drive = p.drive or usual
    if drive == "gears":
        return _through_gears(c, low_hz, high_hz, pull_s=pull_s / p.speed)
    if drive == "rev":
        return _revving(c, low_hz, high_hz, blips=blips / p.speed, sharp=sharp)
    return Curve(low_hz * (1 + c.drift(0.5, 0.012).points)), Curve(np.ones(8))


@recipe(
    keys="engine, car, vehicle, idle, car engine, engine idle, rev, race car, automobile, engine buzz,"
    "engine start, taxi, van",
    near="pass accelerate highway road bike race machine vibrate sedan",
    expects="noise",
    highpass_hz=30,
    summary="an engine running",
)
def engine(c: Canvas, p: Character) -> None:
    cylinders = 4
    firing = p.hz or 28.0 * p.speed * p.low(1) * float(c.rng.uniform(0.85, 1.2))
    bank = _firing(
        c,
        p.low(float(c.rng.uniform(58, 80))),
        cylinders=cylinders,
        damping_s=0.028,
        crack=0.5,
        hiss=band(150, 1800, tilt_db=-4),
    )
    hz, load = _driven(c, p, firing, 6.2 * firing)
    _run(c, bank, hz, cylinders=cylinders, gain=0.28, load=load, pan=-0.05)
    # valves, belts and the block that answers them
    tick = [burst(c.noise, c.rate, peaks([1100, 2300, 3600], 0.3, floor=0.1), decay_s=0.003) for _ in range(8)]
    _run(c, tick, hz, cylinders=2, gain=0.09 * p.intensity**0.5, pan=0.1)
    c.bed(band(60, 500, tilt_db=-3), Curve(0.022 * c.swells(0.3, 0.12).points), width=0.6)
    c.bed(band(900, 6000, tilt_db=-4), Curve(0.006 * p.intensity * load.points), width=1.0)


@recipe(
    keys="truck, lorry, diesel, diesel engine, diesel truck, truck engine, bus, semi truck, garbage truck, dump truck,"
    "bus engine, diesel motor, truck idle, eighteen wheeler",
    near="cargo haul highway freight",
    expects="noise",
    highpass_hz=25,
    summary="a diesel truck idling",
)
def truck(c: Canvas, p: Character) -> None:
    # six cylinders that burn with a knock: each firing strikes the block, one injector a little harder than the rest
    cylinders = 6
    firing = p.hz or 31.0 * p.speed**0.5 * p.low(1) * float(c.rng.uniform(0.88, 1.15))
    bank = _firing(
        c, p.low(float(c.rng.uniform(40, 52))), cylinders=cylinders, damping_s=0.034, crack=0.45,
        hiss=band(90, 900, tilt_db=-4),
    )
    block = [p.low(float(f)) for f in np.array([640.0, 1180.0, 1950.0, 3100.0]) * c.rng.uniform(0.9, 1.1, 4)]
    for number, pulse in enumerate(bank):
        knock = burst(c.noise, c.rate, peaks(block, 0.22, floor=0.05), attack_s=0.0006, decay_s=0.006)[: len(pulse)]
        pulse[: len(knock)] += np.float32(1.5 if number // _VARIANTS == 2 else 0.9) * knock
        bank[number] = balanced(pulse)
    hz, load = _driven(c, p, firing, 3.4 * firing, blips=3.4, pull_s=1.8)
    _run(c, bank, hz, cylinders=cylinders, gain=0.3, load=load)
    # the fan and the air the turbine draws, and its whistle as it spins up
    c.bed(band(120, 900, tilt_db=-3), Curve(0.03 * load.points), width=0.7)
    c.bed(band(1200, 7000, tilt_db=-3), Curve(0.008 * p.intensity * load.points), width=0.9)
    spun = np.interp(np.linspace(0, 1, len(hz.points)), np.linspace(0, 1, len(load.points)), load.points) * hz.points
    smooth = Curve(np.convolve(np.concatenate([spun, spun, spun]), np.ones(25) / 25, "same")[len(spun) : 2 * len(spun)])
    whistle = p.low(2300.0) * (0.5 + 0.5 * smooth.points / (1.4 * firing)).clip(0.4, 2.2)
    c.tone(Curve(whistle), Curve(0.0022 * load.points))


@recipe(
    keys="motorcycle, motorbike, motorcycle engine, motor bike, scooter, dirt bike, moped, harley, chopper engine",
    near="biker ride",
    expects="noise",
    highpass_hz=35,
    summary="a motorcycle revving",
)
def motorcycle(c: Canvas, p: Character) -> None:
    # two cylinders that fire unevenly (a V-twin: 315 and 405 degrees), through short loud pipes
    low = p.hz or 21.0 * p.low(1) * p.speed**0.5 * float(c.rng.uniform(0.9, 1.15))
    bank = _firing(
        c,
        p.low(float(c.rng.uniform(105, 135))),
        cylinders=2,
        damping_s=0.02,
        crack=1.1,
        hiss=band(200, 3500, tilt_db=-3),
    )
    for k in range(_VARIANTS):  # the second cylinder comes early and weaker
        bank[_VARIANTS + k] = bank[_VARIANTS + k] * np.float32(0.72)
    hz, load = _driven(c, p, low, 5.2 * low, usual="rev", pull_s=1.1)
    _run(c, bank, hz, cylinders=2, gain=0.34, load=load)
    c.bed(band(700, 6000, tilt_db=-3), Curve(0.012 * load.points), width=0.8)


@recipe(
    keys="chainsaw, chain saw",
    near="lumberjack saw garden cut lawnmower mower",
    expects="noise",
    summary="a chainsaw cutting",
)
def chainsaw(c: Canvas, p: Character) -> None:
    # one two-stroke cylinder: it fires every turn, 50 to 160 times a second
    low = p.hz or 62.0 * p.low(1) * float(c.rng.uniform(0.9, 1.15))
    bank = _firing(
        c,
        p.low(float(c.rng.uniform(240, 310))),
        cylinders=1,
        damping_s=0.007,
        crack=1.3,
        hiss=band(600, 7000, tilt_db=-2),
    )
    hz, load = _driven(c, p, low, 2.5 * low, usual="rev", blips=2.4, sharp=0.6)
    _run(c, bank, hz, cylinders=1, gain=0.3, load=load)
    # teeth through wood
    bite = np.interp(np.linspace(0, 1, 200), np.linspace(0, 1, len(load.points)), load.points) - 0.5
    c.bed(peaks([1600, 2900, 4600], 0.4, floor=0.15), Curve(0.1 * np.maximum(0.0, bite)), width=0.7, per_second=1500)


@recipe(
    keys="tractor, farm tractor",
    near="farm field plough construction army",
    expects="noise",
    highpass_hz=25,
    summary="a tractor chugging",
)
def tractor(c: Canvas, p: Character) -> None:
    firing = p.hz or 13.0 * p.speed * p.low(1) * float(c.rng.uniform(0.85, 1.15))
    bank = _firing(
        c, p.low(float(c.rng.uniform(44, 58))), cylinders=2, damping_s=0.05, crack=0.8, hiss=band(100, 1200, tilt_db=-4)
    )
    hz, load = _driven(c, p, firing, 2.9 * firing, blips=3.6, pull_s=2.2)
    _run(c, bank, hz, cylinders=2, gain=0.42, load=load)
    rattle = [
        modes(c.rate, [p.low(f), p.low(1.7 * f)], [0.012, 0.008], [0.6, 0.5]) for f in c.rng.uniform(500, 1500, 8)
    ]
    c.sprinkle(c.pulse(0.5 / firing, jitter=0.15), rattle, gain=0.05 * p.intensity, depth=0.7, spread=0.5)
    c.bed(band(50, 400, tilt_db=-3), 0.03, width=0.6)


@recipe(
    keys="car passing, car pass, passing car, drive by, car drive by, car passes, traffic passing,"
    "race car past, car past, car drive past, vehicle pass, vehicle drive by, truck drive by, race car pass,"
    "car zoom by, pass by car, highway,"
    "truck passing, passing traffic",
    near="road street speed vehicle overtake",
    expects="noise",
    highpass_hz=35,
    covers=("engine",),
    summary="a car passing by",
)
def car_passing(c: Canvas, p: Character) -> None:
    speed = 19.0 * p.speed  # m/s
    far = 5.0 + 6.0 * p.distance
    span = max(c.seconds, 0.3)
    every = span if not p.several and span < 12 else 6.0 / p.intensity
    count = max(200, round(c.seconds * 100))
    t = np.arange(count) * (c.seconds / count)
    for number, at_s in enumerate(c.pulse(every, jitter=0.0 if every == span else 0.15, start_s=0.5 * every)):
        way = -1.0 if number % 2 else 1.0
        d = t - at_s
        if c.loop:
            d = (d + 0.5 * c.seconds) % c.seconds - 0.5 * c.seconds
        x = speed * d
        r = np.sqrt(x * x + far * far)
        near = far / r
        edge = np.clip((0.5 * span - np.abs(d)) / (0.12 * span), 0, 1)  # it comes out of nothing and goes there
        level = near**1.2 * edge
        bright = near**2.4 * edge
        side = np.clip(way * x / (r + 1e-6), -0.95, 0.95)
        left, right = np.sqrt(0.5 * (1 - side)), np.sqrt(0.5 * (1 + side))
        closing = -speed * x / r
        doppler = 343.0 / (343.0 - closing)
        for pan, gain in ((-1.0, left), (1.0, right)):
            _tyres(c, gain, level, bright, pan, p)
            # above 40 km/h the tyres drown the engine (Sandberg & Ejsmont, 2002)
            orders = [1.0, 0.7, 0.55, 0.6, 0.35, 0.3, 0.22, 0.16, 0.12]
            c.tone(Curve(p.low(62.0) * p.speed**0.3 * doppler), Curve(0.012 * gain * level), orders, pan=pan)


def _tyres(c: Canvas, side: Floats, level: Floats, bright: Floats, pan: float, p: Character) -> None:
    before = c.sound.copy()
    c.sound[:] = 0
    c.bed(band(80, 500, tilt_db=-2), Curve(0.06 * side * level), width=0.0)
    c.bed(band(700, 1300, tilt_db=-2), Curve(0.1 * side * level), width=0.0)
    c.bed(band(500, 2600, tilt_db=-2), Curve(0.1 * side * level), width=0.0)
    c.bed(band(2000, 9000, tilt_db=-3), Curve(0.06 * side * bright), width=0.0)
    c.sound[0 if pan > 0 else 1] = 0
    c.sound += before


@recipe(
    keys="helicopter, chopper, helicopter blade, rotor, helicopter flying, drone rotor",
    near="rescue military hover blade",
    expects="noise",
    highpass_hz=20,
    summary="a helicopter flying",
)
def helicopter(c: Canvas, p: Character) -> None:
    rate_hz = p.hz or 14.5 * p.speed * float(c.rng.uniform(0.9, 1.2))
    slaps = []
    for _ in range(5):
        thump = modes(c.rate, [p.low(34), p.low(61), p.low(97)], [0.03, 0.022, 0.016], [1.0, 0.8, 0.5], attack_s=0.004)
        wash = burst(c.noise, c.rate, band(120, 2200, tilt_db=-4), attack_s=0.012, decay_s=0.02)
        total = np.zeros(max(len(thump), len(wash)), dtype=np.float32)
        total[: len(thump)] += thump
        total[: len(wash)] += np.float32(0.9) * wash
        slaps.append(balanced(total))
    breath = c.swells(2.5, 0.18)
    for k, at_s in enumerate(c.pulse(1 / rate_hz, jitter=0.015)):
        # the blade that comes towards you is the louder one
        c.place(slaps[k % 5], at_s, 0.75 * breath.at(at_s / c.seconds) * (1.0 if k % 2 else 0.82), 0.1)
    c.bed(band(200, 3000, tilt_db=-4), Curve(0.035 * breath.points), width=0.9)
    # turbine and gearbox
    for hz, level in ((p.low(640), 0.006), (p.low(1870), 0.004), (p.low(2950), 0.0025)):
        c.tone(Curve(hz * (1 + c.drift(0.9, 0.003).points)), level, [1.0, 0.3], pan=0.2)
    c.bed(band(2500, 9000, tilt_db=-3), 0.008, width=1.0)


@recipe(
    keys="jet, jet engine, airplane, aeroplane, aircraft, plane, jet plane, airliner, jet flyover,"
    "fighter jet, turbine,"
    "airplane takeoff, plane fly over, airplane cabin, plane take off, jet take off",
    near="airport runway takeoff flight pilot space launch rocket fly overhead",
    expects="noise",
    highpass_hz=25,
    summary="a jet flying over",
)
def jet(c: Canvas, p: Character) -> None:
    count = max(200, round(c.seconds * 50))
    x = np.linspace(-1, 1, count, endpoint=False)
    if c.loop:
        level, bright = np.ones(count), np.ones(count)
    else:  # it comes, and leaves a long low rumble behind
        level = np.where(x < 0, np.exp(-((x / 0.5) ** 2)), np.exp(-((x / 0.75) ** 2)))
        bright = np.exp(-(((x + 0.08) / 0.34) ** 2))
    tremble = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, 400), c.swells(0.12, 0.2).part(0, 400, 400))
    c.bed(band(35, 300, tilt_db=-2), Curve(0.16 * level * tremble), width=0.7)
    c.bed(band(250, 1800, tilt_db=-3), Curve(0.11 * level * tremble**0.5), width=0.8)
    c.bed(band(1500, 9000, tilt_db=-3), Curve(0.07 * bright), width=0.9)
    whine = p.hz or p.low(2350.0) * float(c.rng.uniform(0.85, 1.15))
    fall = np.ones(count) if c.loop else 1.12 - 0.24 / (1 + np.exp(-x / 0.12))
    c.tone(Curve(whine * fall), Curve(0.012 * bright), [1.0, 0.3, 0.25], pan=-0.1)
    c.tone(Curve(1.37 * whine * fall), Curve(0.007 * bright), [1.0, 0.2], pan=0.2)


@recipe(
    keys="tire screech, tyre screech, tire squeal, skid, car skid, tires skid, brake squeal, brake screech, car brake,"
    "car drift, handbrake, burnout",
    near="brake stop accident swerve",
    expects="decay silence",
    once=True,
    covers=("engine",),
    summary="a tire screech",
)
def skid(c: Canvas, p: Character) -> None:
    for at_s in c.occasions(3.0 / p.speed, p.count, jitter=0.15, lasts_s=1.6):
        natural = float(c.rng.uniform(1.0, 1.5)) / p.speed**0.5
        length = natural * c.squeeze(natural)
        # rubber sticks and slips: a few squeals that wander apart, through scraping noise
        for k in range(4):
            hz = p.low(780.0) * float(c.rng.uniform(0.8, 1.7))
            t = np.linspace(0, length, 60)
            wander = np.exp(np.cumsum(c.rng.normal(0, 0.012, 60)) - 0.18 * t / length)
            points = [(float(a), float(b)) for a, b in zip(t, hz * wander, strict=True)]
            squeal = glide(
                c.rate, points, partials=(1.0, 0.6, 0.35, 0.25, 0.15), attack_s=0.05, release_s=0.3 * length
            )
            c.place(squeal, at_s + 0.01 * k, 0.13, -0.4 + 0.27 * k)
        scrape = burst(
            c.noise, c.rate, band(400, 5000, tilt_db=-2), attack_s=0.04, decay_s=0.1 * length, hold_s=0.7 * length
        )
        c.place(scrape, at_s, 0.35, 0.0)
    c.reflect(0.15)
