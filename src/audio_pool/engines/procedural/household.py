"""Recipes of the house: knocks, doors, glass, buttons, keyboards, radios."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.procedural.canvas import Canvas, Curve
from audio_pool.engines.procedural.grains import burst, modes, ping, voice
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, formants, peaks


@recipe(
    keys="knock, door knock, knock door, tap door, bang door, pound door, knock wood",
    near="door tap hammer wood table pound visitor chop saw",
    expects="silence decay",
    highpass_hz=60,
    summary="knocking on a wooden door",
    once=True,
)
def door_knock(c: Canvas, p: Character) -> None:
    panel = p.low(1) * np.array([118.0, 196.0, 287.0, 418.0, 640.0, 955.0])
    panel *= c.rng.uniform(0.96, 1.04, 6)
    knocks = p.count or 3
    gap_s = 0.2 / p.speed
    for at_s in c.occasions(knocks * gap_s + 1.6 / p.speed, 1 if p.count else None, jitter=0.08):
        for k in range(knocks):
            strength = float(c.rng.uniform(0.75, 1.0)) * p.intensity**0.3
            decays = 0.032 * p.size * (118 / panel * p.low(1)) ** 0.5
            levels = np.array([0.7, 0.8, 0.6, 0.45, 0.3, 0.2]) * c.rng.uniform(0.7, 1.1, 6)
            thud = modes(c.rate, panel.tolist(), decays.tolist(), levels.tolist())
            when = at_s + k * gap_s * float(c.rng.uniform(0.94, 1.06))
            c.place(thud, when, 0.3 * strength, 0.05)
            c.place(burst(c.noise, c.rate, band(700, 3500), attack_s=0.0005, decay_s=0.004), when, 0.5 * strength)
    c.reflect()


@recipe(
    keys="thud, thump, slam, door slam, slam door, slam shut, car door slam, impact, punch, hit, bang, body fall",
    near="fall bump land jump fight boxing stomp crash collide heavy ball bounce basketball pong",
    expects="silence decay",
    highpass_hz=35,
    summary="a heavy thud",
    once=True,
)
def thud(c: Canvas, p: Character) -> None:
    for at_s in c.occasions(2.2 / p.speed, p.count):
        strength = float(c.rng.uniform(0.8, 1.0)) * p.intensity**0.3
        c.place(ping(c.rate, p.low(58), 0.07 * p.size, attack_s=0.002, bend=0.7), at_s, 0.8 * strength)
        for pan in (-0.4, 0.4):
            slap = burst(c.noise, c.rate, band(p.low(90), p.low(900), tilt_db=-4), decay_s=0.04 * p.size)
            c.place(slap, at_s, 1.2 * strength, pan)
        c.place(burst(c.noise, c.rate, band(500, 4000, tilt_db=-3), decay_s=0.006), at_s, 0.5 * strength)
        # What was hit rattles on for a moment.
        for later in c.rng.exponential(0.06, 3) + 0.04:
            rattle = modes(c.rate, [p.low(210), p.low(370), p.low(680)], [0.02, 0.014, 0.01], [0.5, 0.4, 0.3])
            c.place(rattle, at_s + float(later), 0.08 * strength, float(c.rng.uniform(-0.5, 0.5)))


@recipe(
    keys="creak, door creak, creak door, door open, door close, squeak, squeaky door, hinge, floorboard, squeal,"
    "door, rusty, old door, gate",
    near="haunted horror ship wood rope chair bed swing floor scrape scratch drawer cabinet"
    " opening closing creaky ladder",
    expects="silence noise",
    summary="an old door creaking open",
    once=True,
)
def door_creak(c: Canvas, p: Character) -> None:
    for at_s in c.occasions(2.6 / p.speed, p.count, jitter=0.1, lasts_s=2.2 * p.size**0.5 / p.speed):
        length = float(c.rng.uniform(1.3, 2.0)) * p.size**0.5 / p.speed
        length *= c.squeeze(length + 0.1)
        # Stick and slip: the hinge lets go at a rate that wanders with the push, heard through the panel.
        steps = 11
        sway = np.cumsum(c.rng.normal(0, 0.16, steps))
        arch = np.sin(np.linspace(0.25, np.pi * 0.9, steps))
        hz = p.low(62) * np.exp(0.9 * arch + sway - sway.mean())
        points = [(length * k / (steps - 1), float(f)) for k, f in enumerate(hz)]
        panel = formants((430, 90, 0.7), (1060, 150, 1.0), (1900, 260, 0.7), (3300, 500, 0.4))
        groan = voice(c.rate, points, panel, attack_s=0.08, release_s=0.25, tilt=0.15)
        c.place(_roughened(c, groan), at_s, 0.8, -0.1)
        squeal = [(t, 7.3 * f) for t, f in points]
        hinge = voice(c.rate, squeal, peaks([p.low(1200), p.low(2600)], 0.5, floor=0.1), attack_s=0.3, release_s=0.4)
        c.place(_roughened(c, hinge), at_s, 0.25, 0.2)
        c.place(burst(c.noise, c.rate, band(300, 3000, tilt_db=-3), decay_s=0.02), at_s, 0.3)
    c.reflect()


def _roughened(c: Canvas, sound: Floats) -> Floats:
    """Return the same sound with an uneven grip: its level stumbles some twenty times per second."""
    count = max(4, round(len(sound) / c.rate * 22))
    grip = np.interp(np.arange(len(sound)), np.linspace(0, len(sound), count), c.rng.uniform(0.15, 1.0, count))
    return np.asarray(sound * grip, dtype=np.float32)


@recipe(
    keys="glass, glass break, glass shatter, break glass, shatter, window break, bottle break, smash, glass smash,"
    "window shatter",
    near="dish crockery plate cutlery fork spoon"
    " window bottle crash broken vase mirror ceramic ice crystal crack jar silverware",
    expects="decay silence",
    summary="glass shattering",
    once=True,
)
def glass(c: Canvas, p: Character) -> None:
    shards = [_shard(c, p, float(hz)) for hz in np.exp(c.rng.uniform(np.log(1900), np.log(11_000), 40))]
    for at_s in c.occasions(3.6 / p.speed, p.count, jitter=0.1, lasts_s=1.2):
        crash = burst(c.noise, c.rate, band(1800, 12_000), attack_s=0.0005, decay_s=0.045 * p.size)
        for pan in (-0.5, 0.5):
            c.place(np.roll(crash, round(0.001 * c.rate * (1 + pan))), at_s, 1.3, pan)
        c.place(ping(c.rate, p.low(310), 0.02), at_s, 0.25)
        # First the pane lets go all at once, then its pieces fall and ring one by one.
        count = round(70 * p.intensity)
        at_once = c.rng.exponential(0.05, count // 2)
        falling = 0.12 + c.rng.gamma(2.0, 0.22 * p.size, count // 2)
        for delay in np.concatenate([at_once, falling]):
            gain = 0.22 * float(np.exp(-1.3 * delay)) * float(c.rng.uniform(0.2, 1.0))
            shard = shards[int(c.rng.integers(len(shards)))]
            c.place(shard, at_s + float(delay), gain, float(c.rng.uniform(-0.9, 0.9)))


def _shard(c: Canvas, p: Character, hz: float) -> Floats:
    ratios = np.array([1.0, 1.47, 2.09, 2.56]) * c.rng.uniform(0.97, 1.03, 4)
    decays = np.array([1.0, 0.7, 0.5, 0.4]) * c.rng.uniform(0.02, 0.11) * p.size
    return modes(c.rate, (p.low(hz) * ratios).tolist(), decays.tolist(), (1.0, 0.6, 0.4, 0.3))


@recipe(
    keys="click, button, button click, mouse click, switch, ui click, button press, press button, ui tap, screen tap,"
    "snap, latch, lock, light switch, lever",
    near="interface menu mouse tap select toggle plastic pen trigger lid remote scissors",
    expects="decay silence",
    summary="a button clicked",
    once=True,
    bar=1,
)
def click(c: Canvas, p: Character) -> None:
    hz = p.low(2600)
    for at_s in c.occasions(p.beat_s(75.0), p.count, jitter=0.15):
        # Down and up again: the release is higher and softer.
        for delay, pitch, level in ((0.0, 1.0, 1.0), (0.085 / p.speed, 1.28, 0.55)):
            ring = [hz * pitch * ratio for ratio in (0.31, 1.0, 1.7, 2.9)]
            body = modes(c.rate, ring, [0.009, 0.005, 0.004, 0.003], [0.5, 0.7, 0.5, 0.4], attack_s=0.0002)
            when = at_s + delay * float(c.rng.uniform(0.9, 1.1))
            c.place(body, when, 0.45 * level)
            snap = burst(c.noise, c.rate, band(2000, 12_000), attack_s=0.0002, decay_s=0.0015)
            c.place(snap, when, 0.8 * level * float(c.rng.uniform(0.8, 1.1)))
    c.reflect()


@recipe(
    keys="typing, keyboard, computer keyboard, keystroke, type keyboard, mechanical keyboard",
    near="computer laptop office write text key desk mechanical",
    expects="silence",
    summary="typing on a keyboard",
)
def typing(c: Canvas, p: Character) -> None:
    keys = [_key(c, p, wide=False) for _ in range(14)]
    space = [_key(c, p, wide=True) for _ in range(3)]
    at_s = 0.02
    while at_s < c.last_s or at_s < 0.03:
        # Words of a few strokes, a space, now and then a thought.
        for _ in range(int(c.rng.integers(2, 8))):
            if at_s < c.seconds:
                picked = keys[int(c.rng.integers(len(keys)))]
                c.place(picked, at_s, float(c.rng.uniform(0.55, 1.0)), float(c.rng.uniform(-0.4, 0.4)))
            at_s += float(np.exp(c.rng.normal(np.log(0.125), 0.28))) / p.speed
        if at_s < c.seconds:
            c.place(space[int(c.rng.integers(len(space)))], at_s, 0.9)
        at_s += (0.15 + float(c.rng.exponential(0.12))) / p.speed


def _key(c: Canvas, p: Character, *, wide: bool) -> Floats:
    """Cap, plate and desk: bottoming out, then the lighter return 70 ms later."""
    desk = p.low(float(c.rng.uniform(150, 190) if wide else c.rng.uniform(210, 320)))
    down = burst(c.noise, c.rate, band(1200, 7000), attack_s=0.0004, decay_s=0.005)
    body = modes(c.rate, [desk, 2.3 * desk, 5.1 * desk], [0.014, 0.009, 0.005], [0.5, 0.35, 0.25])
    total = np.zeros(round(0.14 * c.rate) + max(len(down), len(body)), dtype=np.float32)
    total[: len(body)] += np.float32(0.35) * body
    total[: len(down)] += np.float32(1.2) * down
    up = burst(c.noise, c.rate, band(2200, 9000), attack_s=0.0004, decay_s=0.003)
    start = round(float(c.rng.uniform(0.055, 0.09)) * c.rate)
    total[start : start + len(up)] += np.float32(0.4) * up
    return total


@recipe(
    keys="frying, fry, sizzle, sizzling, frying pan, bacon, fry egg, cook, cooking, grill, barbecue, steak",
    near="kitchen stove oil pan meat food wok",
    expects="noise",
    summary="food frying in a pan",
)
def frying(c: Canvas, p: Character) -> None:
    c.bed(band(2200, 12_000, tilt_db=-1), Curve(0.06 * c.swells(0.8, 0.12).points), width=0.6, per_second=3500)
    c.bed(band(500, 2500, tilt_db=-2), 0.012, width=0.6)
    # Water leaves the fat in pops: each a tick with a little ring of the pan.
    spits = [burst(c.noise, c.rate, band(f, 5 * f), attack_s=0.0002, decay_s=0.003) for f in (900, 1500, 2400, 3600)]
    pan = [modes(c.rate, [p.low(f), p.low(1.6 * f)], [0.02, 0.012], [0.5, 0.4]) for f in c.rng.uniform(900, 2200, 5)]
    c.sprinkle(c.scatter(45 * p.intensity), spits, gain=0.12, depth=0.8, spread=0.6)
    c.sprinkle(c.scatter(5 * p.intensity, first_s=0.01), pan, gain=0.06, depth=0.6, spread=0.4)


@recipe(
    keys="static, radio static, television static, tv static, radio noise, interference",
    near="hiss radio broadcast untuned television tv signal air fuzz distortion",
    expects="noise",
    summary="radio static",
)
def static(c: Canvas, p: Character) -> None:
    c.bed(band(300, 15_000 * p.pitch, tilt_db=-0.5), Curve(0.1 * c.swells(0.8, 0.08).points), width=0.9)
    c.bed(band(200, 6000), 0.03 * p.intensity, per_second=30 * p.intensity, width=0.8)
    c.tone(c.fitted_hz(100.0), 0.006, [1.0, 0.6, 0.4, 0.3, 0.2, 0.15])
    # A far station's whistle drifts through the noise.
    c.tone(Curve(p.low(1400) * np.exp(c.drift(2.0, 0.25).points)), Curve(0.004 * c.swells(0.7, 0.8).points))
