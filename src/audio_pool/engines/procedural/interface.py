"""Recipes of interfaces and games: what buttons, messages, power and magic sound like."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas
from audio_pool.engines.procedural.grains import arch, burst, glide, modes, ping, texture
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band

_GLASS = ((1.0, 2.0, 3.01, 4.1, 6.2), (0.32, 0.2, 0.12, 0.08, 0.05), (1.0, 0.35, 0.22, 0.1, 0.06))
"""Ratios, decays (s) and levels of a soft struck-glass voice: what interfaces are played on."""


def _note(c: Canvas, hz: float, *, decay: float = 1.0) -> Floats:
    ratios, decays, levels = _GLASS
    return modes(c.rate, [hz * r for r in ratios], [decay * d for d in decays], levels, attack_s=0.002)


def _chosen(c: Canvas, choices: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    return choices[int(c.rng.integers(len(choices)))]


@recipe(
    keys="confirm, confirmation, ui confirm, ok, accept, accepted, success chime, check mark, done, correct answer,"
    "correct, save, saved",
    near="success positive yes login unlock interface finish complete",
    expects="silence decay",
    once=True,
    summary="a confirmation sound of an interface",
)
def confirm(c: Canvas, p: Character) -> None:
    root = p.hz or p.low(587.3) * float(2 ** (c.rng.integers(-2, 3) / 12))
    steps = _chosen(c, ((0, 7), (0, 5), (0, 4, 7), (0, 12)))
    for at_s in c.occasions(1.4 / p.speed, p.count, jitter=0.05):
        for k, step in enumerate(steps):
            c.place(_note(c, root * 2 ** (step / 12)), at_s + 0.095 * k / p.speed, 0.4, 0.15 * (k - 0.5))
    c.reflect(0.12)


@recipe(
    keys="error, ui error, error message, error buzzer, error buzz, denied, access denied, wrong,"
    "wrong answer, invalid, fail, failed, failure, incorrect, negative, gameover, gameover jingle",
    near="refuse reject no bad lose warning buzz forbidden game over die battery",
    expects="silence decay",
    once=True,
    summary="an error message of an interface",
)
def error(c: Canvas, p: Character) -> None:
    root = p.hz or p.low(196.0) * float(2 ** (c.rng.integers(-2, 3) / 12))
    partials = (1.0, 0.0, 0.45, 0.0, 0.28, 0.0, 0.16)
    for at_s in c.occasions(1.4 / p.speed, p.count, jitter=0.05):
        for k, step in enumerate(_chosen(c, ((0, 0), (0, -1), (1, -5)))):
            hz = root * 2 ** (step / 12)
            length = (0.11, 0.2)[k] / p.speed
            for skew, pan in ((0.997, -0.3), (1.004, 0.3)):  # a narrow beat makes it rough
                tone = glide(
                    c.rate, [(0.0, skew * hz), (length, skew * hz)], partials=partials, attack_s=0.003, release_s=0.05
                )
                c.place(tone, at_s + 0.14 * k / p.speed, 0.2, pan)
    c.reflect(0.1)


@recipe(
    keys="hover, ui hover, button hover, rollover, menu move, cursor, navigate, scroll tick, menu hover",
    near="highlight select focus soft menu scroll",
    expects="silence decay",
    once=True,
    summary="hovering over a menu",
)
def hover(c: Canvas, p: Character) -> None:
    hz = p.hz or p.low(1900.0) * float(c.rng.uniform(0.85, 1.15))
    for at_s in c.occasions(0.6 / p.speed, p.count, jitter=0.08):
        c.place(ping(c.rate, hz, 0.014, attack_s=0.0012, bend=0.12), at_s, 0.35)
        c.place(burst(c.noise, c.rate, band(3000, 9000), attack_s=0.0006, decay_s=0.0025), at_s, 0.25)
    c.reflect(0.1)


@recipe(
    keys="notification, notification bell, message, new message, incoming message, text message, ping, email,"
    "mail, chat message,"
    "push notification, message alert, reminder, ding, elevator ding, lift ding",
    near="alert inform toast ding phone",
    expects="silence decay",
    once=True,
    summary="a notification ping",
)
def notification(c: Canvas, p: Character) -> None:
    root = p.hz or p.low(1046.5) * float(2 ** (c.rng.integers(-3, 3) / 12))
    steps = _chosen(c, ((0, -5), (0, 5), (0, 4, -3), (7, 0, 4)))
    for at_s in c.occasions(2.0 / p.speed, p.count, jitter=0.05):
        for k, step in enumerate(steps):
            hz = root * 2 ** (step / 12)
            # a marimba bar: its first overtone is two octaves up
            bar = modes(c.rate, [hz, 3.98 * hz, 9.2 * hz], [0.3, 0.07, 0.02], [1.0, 0.3, 0.1], attack_s=0.001)
            c.place(bar, at_s + 0.13 * k / p.speed, 0.45, 0.2 * (k - 1))
    c.reflect(0.15)


@recipe(
    keys="pop, plop, cork, bubble pop, cork pop, pop up, bottle pop, champagne",
    near="bubble balloon lip burst soda",
    expects="silence decay",
    once=True,
    summary="a pop",
)
def pop(c: Canvas, p: Character) -> None:
    hz = p.hz or p.low(420.0) * float(c.rng.uniform(0.8, 1.25))
    for at_s in c.occasions(0.9 / p.speed, p.count, jitter=0.1):
        length = 0.06 * p.size
        # the mouth of the bottle opens: its cavity's pitch leaps up while the air in it rings out
        points = [(0.0, 0.6 * hz), (0.25 * length, 1.5 * hz), (length, 2.4 * hz)]
        c.place(glide(c.rate, points, attack_s=0.001, release_s=0.7 * length), at_s, 0.8)
        c.place(burst(c.noise, c.rate, band(700, 6000), attack_s=0.0004, decay_s=0.004), at_s, 0.5)
    c.reflect(0.15)


@recipe(
    keys="power up, powerup, level up, level up jingle, upgrade, level complete, victory, fanfare, bonus, extra life",
    near="win achievement reward gain charge retro bit",
    expects="silence decay",
    once=True,
    summary="a power-up in a game, rising",
)
def power_up(c: Canvas, p: Character) -> None:
    root = p.hz or p.low(261.6) * float(2 ** (c.rng.integers(-3, 4) / 12))
    steps = _chosen(c, ((0, 4, 7, 12, 16, 19, 24), (0, 5, 7, 12, 17, 19, 24), (0, 2, 4, 7, 9, 12, 16, 24)))
    square = (1.0, 0.0, 0.33, 0.0, 0.2, 0.0, 0.14)
    each_s = 0.065 / p.speed
    for at_s in c.occasions(1.8 / p.speed, p.count, jitter=0.06):
        for k, step in enumerate(steps):
            hz = root * 2 ** (step / 12)
            length = each_s if k < len(steps) - 1 else 5 * each_s
            tone = glide(c.rate, [(0.0, hz), (length, hz)], partials=square, attack_s=0.001, release_s=0.5 * length)
            c.place(tone, at_s + k * each_s, 0.22, -0.4 + 0.8 * k / len(steps))
        sweep = [(0.0, root), (each_s * len(steps), 4 * root)]
        c.place(glide(c.rate, sweep, partials=(1.0, 0.3), attack_s=0.05, release_s=0.1), at_s, 0.08)


@recipe(
    keys="player jump, game jump, bit jump, platformer jump, retro jump, character jump, jump retro",
    near="game retro arcade hop leap bit player",
    expects="silence decay",
    once=True,
    summary="a jump in a retro game",
)
def jump(c: Canvas, p: Character) -> None:
    low = p.hz or p.low(240.0) * float(c.rng.uniform(0.85, 1.2))
    rise = float(c.rng.uniform(2.2, 3.4))
    square = (1.0, 0.0, 0.33, 0.0, 0.2, 0.0, 0.14)
    length = 0.24 * p.size**0.5 / p.speed
    for at_s in c.occasions(1.0 / p.speed, p.count, jitter=0.1):
        # a pulse wave's pitch swept up, as the sound chips of consoles do it: in steps of a 60th of a second
        steps = max(2, round(60 * length))
        points = []
        for k in range(steps):
            hz = low * rise ** ((k / steps) ** 1.2)
            points += [(k * length / steps, hz), ((k + 0.9) * length / steps, hz)]
        tone = glide(c.rate, points, partials=square, attack_s=0.002, release_s=0.4 * length)
        c.place(tone, at_s, 0.3)
    c.reflect(0.06)


@recipe(
    keys="magic, magic spell, spell, spell cast, cast spell, enchant, enchantment, wizard, magic wand, wand, fairy,"
    "healing, heal",
    near="mystical fantasy teleport potion summon charm portal fireball",
    expects="silence decay",
    once=True,
    summary="a magic spell cast",
)
def magic(c: Canvas, p: Character) -> None:
    root = p.hz or p.low(392.0) * float(2 ** (c.rng.integers(-4, 4) / 12))
    scale = np.array([0, 2, 4, 7, 9, 12, 14, 16, 19, 21, 24, 26, 28])
    natural = 1.9 * p.size / p.speed
    length = natural * c.squeeze(natural + 0.8)
    for at_s in c.occasions(2.8 / p.speed, p.count, jitter=0.08, lasts_s=length):
        # Air is drawn in, then a run of bells scatters upwards round the head.
        t = np.linspace(0, 1, max(64, round(0.8 * length * c.rate)), dtype=np.float32)
        air = texture(c.noise, c.rate, 0.8 * length + 0.01, band(900, 7000, tilt_db=-2))[: len(t)]
        c.place(np.asarray(air * arch(len(t), 2, lean=0.7), dtype=np.float32), at_s, 0.16)
        shimmer = [(0.0, root), (0.7 * length, 2.02 * root)]
        for skew, pan in ((0.994, -0.7), (1.006, 0.7)):
            points = [(s, skew * hz) for s, hz in shimmer]
            c.place(
                glide(c.rate, points, partials=(1.0, 0.4, 0.2), attack_s=0.3 * length, release_s=0.3 * length),
                at_s,
                0.07,
                pan,
            )
        for k in range(22):
            when = length * (0.08 + 0.85 * (k / 22) ** 0.8) * float(c.rng.uniform(0.95, 1.05))
            step = scale[min(len(scale) - 1, int(k / 22 * 9) + int(c.rng.integers(0, 4)))]
            note = _note(c, 2 * root * 2 ** (float(step) / 12), decay=1.3)
            c.place(note, at_s + when, 0.14 * float(c.rng.uniform(0.5, 1.0)), float(c.rng.uniform(-0.9, 0.9)))


@recipe(
    keys="sparkle, twinkle, glitter, shimmer, fairy dust, pixie dust, stars twinkle",
    near="shine gem crystal bright glint",
    expects="decay silence",
    summary="sparkles twinkling",
)
def sparkle(c: Canvas, p: Character) -> None:
    high = p.hz or p.low(2100.0) * float(2 ** (c.rng.integers(-3, 4) / 12))
    steps = (0, 2, 4, 7, 9, 12, 14, 16, 19)
    highest = 0.4 * c.rate
    pitches = [high * 2 ** (step / 12) for step in steps]
    bank = [_note(c, hz if hz < highest else highest * hz / pitches[-1], decay=0.9) for hz in pitches]
    times = c.scatter(9 * p.intensity * p.speed, first_s=FIRST_S)
    c.sprinkle(times, bank, gain=0.16, depth=0.6, spread=1.0)
    c.sprinkle([t + 0.07 for t in times if c.rng.random() < 0.4], bank, gain=0.09, depth=0.5, spread=1.0)


@recipe(
    keys="boing, spring, cartoon spring, bounce spring, jaw harp, cartoon jump, spring bounce",
    near="cartoon jump trampoline comic wobble",
    expects="silence decay",
    once=True,
    summary="a cartoon spring, boing",
)
def boing(c: Canvas, p: Character) -> None:
    base = p.hz or p.low(115.0) * float(c.rng.uniform(0.85, 1.2))
    natural = 0.9 * p.size / p.speed
    for at_s in c.occasions(1.6 / p.speed, p.count, jitter=0.08, lasts_s=natural):
        length = natural * c.squeeze(natural)
        count = 60
        t = np.linspace(0, length, count)
        # the free end swings faster as it comes to rest, and bends the pitch with it
        swing = np.sin(2 * np.pi * (9.0 * t + 7.0 * t * t / length)) * np.exp(-2.2 * t / length)
        hz = base * (1 + 0.35 * t / length) * np.exp(0.28 * swing)
        points = [(float(a), float(b)) for a, b in zip(t, hz, strict=True)]
        partials = [1.0 / k**0.7 * (1.6 if k in (4, 5, 9) else 0.8) for k in range(1, 24)]
        twang = glide(c.rate, points, partials=partials, attack_s=0.002, release_s=0.75 * length)
        fade = np.exp(-3.0 * np.linspace(0, 1, len(twang), dtype=np.float32))
        c.place(np.asarray(twang * fade, dtype=np.float32), at_s, 0.14)
        c.place(burst(c.noise, c.rate, band(800, 4000), attack_s=0.0005, decay_s=0.006), at_s, 0.3)
    c.reflect(0.12)
