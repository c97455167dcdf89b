"""Recipes of single instruments: each plays a few bars in the prompt's mood and tempo, or one long note."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas
from audio_pool.engines.procedural.grains import arch, burst, glide, modes, texture
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, formants

_SCALES = {
    "": (0, 2, 4, 7, 9),
    "happy": (0, 2, 4, 7, 9),
    "sad": (0, 2, 3, 7, 8),
    "calm": (0, 2, 4, 7, 11),
    "tense": (0, 1, 3, 6, 8),
}
_CHORDS = {
    "": ((0, 4, 7), (-3, 0, 4), (5, 9, 12), (7, 11, 14)),
    "happy": ((0, 4, 7), (5, 9, 12), (7, 11, 14), (5, 9, 12)),
    "sad": ((0, 3, 7), (-4, 0, 3), (3, 7, 10), (-2, 2, 5)),
    "calm": ((0, 4, 7), (5, 9, 12), (0, 4, 7), (-3, 0, 4)),
    "tense": ((0, 3, 7), (1, 5, 8), (0, 3, 6), (-1, 3, 6)),
}
_TEMPI = {"": 92.0, "happy": 118.0, "sad": 64.0, "calm": 68.0, "tense": 100.0}


def _root(c: Canvas, p: Character, hz: float) -> float:
    return p.hz or p.low(hz) * 2 ** (float(c.rng.integers(-4, 5)) / 12)


def _bars(c: Canvas, p: Character) -> Iterator[tuple[int, float, float]]:
    """Yield (bar, its start in seconds, seconds per beat) of four beats each until the time is up."""
    beat_s = c.beat_s(p.beat_s(_TEMPI[p.mood]))
    for bar in range(max(1, round(c.seconds / (4 * beat_s) + 0.499))):
        if 4 * bar * beat_s < c.last_s:
            yield bar, FIRST_S + 4 * bar * beat_s, beat_s


def _melody(c: Canvas, p: Character, play: Callable[[float, float, float, float], None], root: float) -> None:
    """Play a wandering tune of the mood's scale, phrase by phrase: play(at_s, hz, length_s, strength)."""
    scale = _SCALES[p.mood]
    degree = int(c.rng.integers(0, 5))
    for bar, start, beat_s in _bars(c, p):
        at = 0.0
        while at < 3.99:
            length = float(c.rng.choice([0.5, 1.0, 1.0, 2.0])) if bar % 4 != 3 or at < 2 else 4.0 - at
            length = min(length, 4.0 - at)
            degree = int(np.clip(degree + c.rng.integers(-2, 3), -3, 8))
            step = scale[degree % 5] + 12 * (degree // 5)
            if start + at * beat_s < c.last_s:
                play(start + at * beat_s, root * 2 ** (step / 12), length * beat_s, float(c.rng.uniform(0.8, 1.0)))
            at += length


def _pluck(c: Canvas, hz: float, seconds: float, *, bright: float, loss: float) -> Floats:
    """Return a plucked string: a burst of noise goes round a delay line whose ends take the highs away.

    Karplus & Strong, "Digital synthesis of plucked-string and drum timbres", Computer Music Journal 7(2), 1983;
    the pluck's place as a comb after Jaffe & Smith in the same issue.
    """
    period = max(4, round(c.rate / hz - 0.5))
    line = c.noise.standard_normal(period)
    line -= np.roll(line, max(1, period // 5))  # plucked at a fifth of its length
    for _ in range(max(0, round(3 * (1 - bright)))):
        line = 0.5 * (line + np.roll(line, 1))
    line -= line.mean()
    rounds = max(2, int(seconds * c.rate / period) + 1)
    wave = np.empty((rounds, period))
    for turn in range(rounds):
        wave[turn] = line
        carried = np.empty(period)
        carried[1:] = line[:-1]
        carried[0] = line[-1]
        line = loss * (0.5 * line + 0.5 * carried)
    sound = wave.reshape(-1)
    # the line is a whole number of samples long: played at the ratio that makes the pitch exact
    ratio = hz * (period + 0.5) / c.rate
    count = int(len(sound) / ratio) - 1
    tuned = np.interp(np.arange(count) * ratio, np.arange(len(sound)), sound)
    tuned *= 0.5 / (np.abs(tuned).max() or 1.0)
    fall = max(1, min(count, round(0.03 * c.rate)))
    tuned[-fall:] *= np.linspace(1, 0, fall)
    return np.asarray(tuned, dtype=np.float32)


@recipe(
    keys="guitar, electric guitar, acoustic guitar, guitar strum, strum, guitar chord, ukulele, lute,"
    "pluck, plucked string, mandolin, guitar melody, guitar music",
    near="string folk campfire instrument sitar koto lyre banjo harp",
    highpass_hz=50,
    bar=4,
    covers=("chords",),
    summary="an acoustic guitar playing",
)
def guitar(c: Canvas, p: Character) -> None:
    root = _root(c, p, 146.8)
    string = lru_cache(maxsize=64)(lambda hz: _pluck(c, hz, 2.2, bright=0.7, loss=0.9965))
    for bar, start, beat_s in _bars(c, p):
        chord = _CHORDS[p.mood][bar % 4]
        strings = [root * 2 ** (step / 12) for step in (chord[0] - 12, *chord, chord[0] + 12, chord[1] + 12)]
        for half in range(8):
            at_s = start + 0.5 * half * beat_s
            if at_s > c.last_s:
                break
            if half in (0, 3, 4, 6):  # a strum: string after string
                for k, hz in enumerate(strings):
                    c.place(string(hz), at_s + 0.012 * k, 0.2 if half == 0 else 0.12, -0.3 + 0.1 * k)
            else:
                c.place(string(strings[1 + int(c.rng.integers(5))]), at_s, 0.14, float(c.rng.uniform(-0.3, 0.3)))
    if p.kind == "electric":  # an amplifier driven past its limits: odd overtones, kept below half the rate
        c.sound[:] = _overdriven(c)
    c.reflect(0.15)


def _overdriven(c: Canvas) -> Floats:
    """Return the layer through a soft limit, made at four times the rate so that no overtone folds back."""
    out = np.empty_like(c.sound)
    block, edge = 1 << 15, 256
    for side in (0, 1):
        padded = np.pad(c.sound[side], edge, "wrap" if c.loop else "constant")
        for start in range(0, c.frames, block):
            part = padded[start : start + block + 2 * edge]
            wide = np.zeros(2 * len(part) + 1, dtype=np.complex128)
            narrow = np.fft.rfft(part)
            wide[: len(narrow)] = narrow
            driven = np.tanh(7.0 * np.fft.irfft(4 * wide, 4 * len(part)))
            back = np.fft.rfft(driven)[: len(part) // 2 + 1] / 4
            back *= 1 / (1 + (np.fft.rfftfreq(len(part), 1 / c.rate) / 4200) ** 4)  # the loudspeaker
            stop = min(c.frames, start + block)
            out[side, start:stop] = 0.3 * np.fft.irfft(back, len(part))[edge : edge + stop - start]
    return out


@recipe(
    keys="piano, piano music, grand piano, piano melody, piano note, piano chord, piano piece, pianist, keyboard music,"
    "piano solo",
    near="sonata harpsichord celesta instrument",
    highpass_hz=30,
    bar=4,
    covers=("chords",),
    summary="a piano playing",
)
def piano(c: Canvas, p: Character) -> None:
    root = _root(c, p, 261.6)
    key = lru_cache(maxsize=96)(lambda hz, strength: _hammered(c, hz, strength))
    _melody(c, p, lambda at_s, hz, length, strength: c.place(key(hz, 1.0), at_s, 0.3 * strength, 0.2), root)
    for bar, start, beat_s in _bars(c, p):
        for beat, step in zip((0, 1, 2, 3), (_CHORDS[p.mood][bar % 4][k] for k in (0, 1, 2, 1)), strict=True):
            if start + beat * beat_s < c.last_s:
                c.place(key(0.5 * root * 2 ** (step / 12), 0.7), start + beat * beat_s, 0.24, -0.25)
    c.reflect(0.12)


def _hammered(c: Canvas, hz: float, strength: float) -> Floats:
    """Return two strings of one key, hammered: stiff (sharp overtones), coupled (a fast and a slow decay)."""
    decay_s = 1.5 * (261.6 / hz) ** 0.5
    overtones, decays, levels = [], [], []
    for k in range(1, 10):
        overtone = k * hz * (1 + 0.0005 * k * k) ** 0.5
        level = strength ** (0.15 * k) / k**1.15 * abs(np.sin(np.pi * k / 8.2))  # the hammer strikes near an eighth
        for skew in (0.9996, 1.0005):
            overtones += [skew * overtone, skew * overtone]
            decays += [decay_s / (1.4 + 0.55 * k), 0.9 * decay_s / (1 + 0.25 * k)]
            levels += [0.26 * level, 0.09 * level]
    sound = modes(c.rate, overtones, decays, levels, attack_s=0.003, longest_s=2.8)
    knock = burst(c.noise, c.rate, band(150, 1500, tilt_db=-3), attack_s=0.001, decay_s=0.012)
    sound[: len(knock)] += np.float32(0.08) * knock[: len(sound)]
    return np.asarray(sound, dtype=np.float32)


@recipe(
    keys="flute, recorder, pan flute, wooden flute, ocarina, piccolo, tin whistle, shakuhachi",
    near="wind woodwind instrument bamboo clarinet",
    bar=4,
    covers=("chords",),
    summary="a flute playing",
)
def flute(c: Canvas, p: Character) -> None:
    root = _root(c, p, 523.3)

    def play(at_s: float, hz: float, length: float, strength: float) -> None:
        length = max(0.12, 0.96 * length)
        t = np.linspace(0, length, max(12, int(60 * length)))
        vibrato = 1 + 0.006 * np.sin(2 * np.pi * 5.1 * t) * np.clip((t - 0.15) / 0.3, 0, 1)
        points = [(float(a), float(b)) for a, b in zip(t, hz * vibrato, strict=True)]
        tone = glide(c.rate, points, partials=(1.0, 0.28, 0.16, 0.05, 0.03), attack_s=0.05, release_s=0.07)
        c.place(tone, at_s, 0.32 * strength)
        air = texture(c.noise, c.rate, length, band(0.9 * hz, 4.5 * hz, tilt_db=-3))
        c.place(np.asarray(air * arch(len(air), 0.3), dtype=np.float32), at_s, 0.035 * strength)
        c.place(burst(c.noise, c.rate, band(1500, 6000), attack_s=0.006, decay_s=0.012), at_s, 0.08 * strength)

    _melody(c, p, play, root)
    c.reflect(0.2)


@recipe(
    keys="violin, cello, string, strings, fiddle, string section, viola, orchestra, orchestral, string quartet,"
    "violin melody, symphony",
    near="bow classical film score instrument double bass",
    bar=4,
    covers=("chords",),
    summary="strings playing",
)
def strings(c: Canvas, p: Character) -> None:
    root = _root(c, p, 196.0)
    body = formants((290, 80, 0.8), (450, 120, 0.9), (1000, 400, 0.7), (2400, 900, 0.6), (3600, 1500, 0.3))

    def bowed(at_s: float, hz: float, length: float, strength: float, pan: float) -> None:
        numbers = np.arange(1, max(2, min(40, int(0.42 * c.rate / hz))), dtype=np.float32)
        levels = (0.25 + body(numbers * np.float32(hz))) / numbers**0.9
        levels /= np.sqrt(np.sum(levels**2))
        t = np.linspace(0, length, max(16, int(50 * length)))
        vibrato = 1 + 0.0045 * np.sin(2 * np.pi * 5.6 * t + c.rng.uniform(0, 6)) * np.clip(t / 0.4, 0, 1)
        points = [(float(a), float(b)) for a, b in zip(t, hz * vibrato * c.rng.uniform(0.998, 1.002), strict=True)]
        tone = glide(
            c.rate, points, partials=levels.tolist(), attack_s=min(0.14, 0.3 * length), release_s=min(0.2, 0.3 * length)
        )
        c.place(tone, at_s, 0.3 * strength, pan)

    for bar, start, beat_s in _bars(c, p):
        if p.kind == "solo":  # one instrument, one line
            break
        for k, step in enumerate(_CHORDS[p.mood][bar % 4]):
            for pan in (-0.6 + 0.3 * k, 0.1 + 0.25 * k):
                bowed(start, root * 2 ** (step / 12), 4.2 * beat_s, 0.4, pan)
    _melody(c, p, lambda at_s, hz, length, strength: bowed(at_s, hz, 1.05 * length, 0.7 * strength, -0.2), 2 * root)
    c.reflect(0.2)


@recipe(
    keys="organ, church organ, pipe organ, organ music, cathedral organ",
    near="church mass gothic instrument accordion harmonica",
    highpass_hz=25,
    bar=4,
    covers=("chords",),
    summary="an organ playing",
)
def organ(c: Canvas, p: Character) -> None:
    root = _root(c, p, 130.8)
    for bar, start, beat_s in _bars(c, p):
        length = 4.0 * beat_s
        for step in (*_CHORDS[p.mood][bar % 4], _CHORDS[p.mood][bar % 4][0] - 12):
            hz = root * 2 ** (step / 12)
            for stop, level in (
                (1, 1.0),
                (2, 0.7),
                (3, 0.28),
                (4, 0.4),
                (8, 0.16),
            ):  # ranks of pipes, each a little off
                if stop * hz > 0.3 * c.rate:
                    continue
                exact = stop * hz * float(c.rng.uniform(0.9985, 1.0015))
                pipe = glide(
                    c.rate,
                    [(0.0, exact), (length, exact)],
                    partials=(1.0, 0.25, 0.3, 0.08, 0.1),
                    attack_s=0.04,
                    release_s=0.09,
                )
                c.place(pipe, start, 0.055 * level, float(c.rng.uniform(-0.6, 0.6)))
        c.place(burst(c.noise, c.rate, band(800, 4000), attack_s=0.01, decay_s=0.02), start, 0.05)
    c.reflect(0.25)


@recipe(
    keys="choir, choral, choir sing, sing, chant, monk chant, gregorian, angel choir, choir pad, hymn, sing choir, "
    "gregorian chant",
    near="church voice angelic heavenly vowel",
    highpass_hz=50,
    bar=4,
    covers=("chords",),
    summary="a choir singing",
)
def choir(c: Canvas, p: Character) -> None:
    root = _root(c, p, 174.6)
    vowels = (
        formants((650, 100, 1.0), (1080, 110, 0.6), (2650, 180, 0.25), (2900, 200, 0.25)),
        formants((400, 80, 1.0), (800, 100, 0.5), (2600, 180, 0.15), (2800, 200, 0.15)),
    )
    for bar, start, beat_s in _bars(c, p):
        vowel = vowels[bar % 2]
        for k, step in enumerate((*_CHORDS[p.mood][bar % 4], _CHORDS[p.mood][bar % 4][0] - 12)):
            hz = root * 2 ** (step / 12)
            numbers = np.arange(1, max(2, min(40, int(0.42 * c.rate / hz))), dtype=np.float32)
            levels = (0.02 + vowel(numbers * np.float32(hz))) / numbers**0.6
            levels /= np.sqrt(np.sum(levels**2))
            for _ in range(4):  # each singer has a vibrato, a tuning and an onset of their own
                length = 4.15 * beat_s
                t = np.linspace(0, length, max(16, int(40 * length)))
                waver = 1 + 0.007 * np.sin(2 * np.pi * float(c.rng.uniform(4.6, 6.0)) * t + float(c.rng.uniform(0, 6)))
                drift = float(c.rng.uniform(0.995, 1.005))
                points = [(float(a), float(b)) for a, b in zip(t, hz * drift * waver, strict=True)]
                voice = glide(
                    c.rate, points, partials=levels.tolist(), attack_s=0.25 * beat_s + 0.05, release_s=0.3 * beat_s
                )
                c.place(
                    voice,
                    start + float(c.rng.uniform(0, 0.05)),
                    0.075,
                    -0.75 + 0.5 * k + float(c.rng.uniform(-0.2, 0.2)),
                )
    c.reflect(0.3)


@recipe(
    keys="synth bass, bass, bass guitar, bassline, sub bass, electronic bass, dubstep, bass drop",
    near="techno groove low instrument",
    highpass_hz=25,
    bar=4,
    covers=("chords",),
    summary="a bass line",
)
def bass(c: Canvas, p: Character) -> None:
    root = _root(c, p, 87.3)
    note = lru_cache(maxsize=64)(lambda hz, finger: _pluck(c, hz, 1.2, bright=0.42 + 0.06 * finger, loss=0.995))
    for bar, start, beat_s in _bars(c, p):
        chord = _CHORDS[p.mood][bar % 4]
        for half, tone in zip(range(8), (0, 0, 2, 0, 1, 0, 2, 1), strict=True):
            if half in (1, 6) and c.rng.random() < 0.5:
                continue
            at_s = start + 0.5 * half * beat_s
            if at_s < c.last_s:
                hz = root * 2 ** (chord[tone] / 12)
                c.place(note(hz, int(c.rng.integers(3))), at_s, 0.5 if half % 2 == 0 else 0.32)
                held_s = (0.4 + 0.1 * float(c.rng.random())) * beat_s
                points = [(0.0, hz), (held_s, hz * float(c.rng.uniform(0.998, 1.002)))]
                sub = glide(c.rate, points, partials=(1.0, 0.35, 0.1), attack_s=0.006, release_s=0.1)
                c.place(sub, at_s, 0.35)
    c.reflect(0.06)
