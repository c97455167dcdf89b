"""Recipes of music: pads, chords, drums."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from audio_pool.engines.procedural.canvas import Canvas, Curve
from audio_pool.engines.procedural.grains import burst, envelope, glide, ping
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band


@recipe(
    keys="drone, pad, ambient pad, ambient drone, ambience, ambient, ambiance, atmosphere, soundscape, synth pad,"
    "space ambience, meditation, synth",
    near="background mysterious eerie ethereal dark dream space alien mystical calm relaxing spooky",
    highpass_hz=30,
    summary="a slow ambient drone, a synthesizer pad",
)
def drone(c: Canvas, p: Character) -> None:
    root = p.hz or p.low(98.0) * 2 ** (float(c.rng.integers(-3, 4)) / 12)
    third = 2.4 if p.mood in ("sad", "tense") else 2.5
    # Each voice is three strings a few cents apart, beating against each other at its own pace.
    for ratio, level in ((0.5, 0.2), (1.0, 0.35), (1.5, 0.3), (2.0, 0.35), (third, 0.25), (3.0, 0.2), (4.0, 0.12)):
        bright = float(c.rng.uniform(1.2, 1.8))
        partials = [1 / k**bright for k in range(1, 13)]
        for cents in (-6.0, 0.5, 7.0) if ratio < 2.5 else (-5.0, 5.0):
            detuned = root * ratio * 2 ** ((cents + float(c.rng.normal(0, 1))) / 1200)
            breath = np.exp(c.drift(3.0 / p.speed, 0.45).points.clip(-1.2, 0.9))
            c.tone(detuned, Curve(0.1 * level * breath), partials, pan=float(cents / 9), phase=float(c.rng.random()))
    c.bed(band(300, 2500, tilt_db=-4), Curve(0.003 * c.swells(3.0, 0.4).points), width=1.0)


# Chords as semitones above the key's root; one per bar.
_PROGRESSIONS = {
    "": ((0, 4, 7, 11), (9, 12, 16, 19), (5, 9, 12, 16), (7, 11, 14, 17)),
    "happy": ((0, 4, 7, 12), (5, 9, 12, 17), (7, 11, 14, 19), (5, 9, 12, 16)),
    "sad": ((0, 3, 7, 12), (8, 12, 15, 20), (3, 7, 10, 15), (5, 8, 12, 17)),
    "calm": ((0, 4, 7, 11), (5, 9, 12, 16), (0, 4, 7, 14), (9, 12, 16, 19)),
    "tense": ((0, 3, 7, 12), (1, 5, 8, 13), (0, 3, 6, 12), (8, 11, 14, 20)),
}
_TEMPI = {"": 96.0, "happy": 124.0, "sad": 68.0, "calm": 72.0, "tense": 104.0}


@recipe(
    keys="music, chord, melody, song, harmony, tune, arpeggio, background music, lullaby, chord progression,"
    "soundtrack",
    near="play instrument musical band concert theme score",
    highpass_hz=40,
    summary="simple chord music",
    bar=4,
)
def chords(c: Canvas, p: Character) -> None:
    beat_s = c.beat_s(p.beat_s(_TEMPI[p.mood]))
    root = p.hz or p.low(130.8) * 2 ** (float(c.rng.integers(-3, 4)) / 12)
    progression = _PROGRESSIONS[p.mood]
    key = lru_cache(maxsize=64)(partial(_key, c))
    beats = max(1, round(c.seconds / beat_s + 0.49))
    for beat in range(beats):
        at_s = beat * beat_s
        if at_s >= c.last_s:
            break
        chord = progression[(beat // 4) % 4]
        if beat % 4 == 0:
            held = min(4 * beat_s, c.seconds - at_s + 0.3)
            for k, tone in enumerate(chord):
                c.place(_string(c, root * 2 ** (tone / 12), held), at_s, 0.09, -0.6 + 0.4 * k)
        if beat % 2 == 0:
            c.place(key(root * 2 ** (chord[0] / 12) / 2, 0.7), at_s, 0.2)
        # An arpeggio in quavers over it, never twice quite the same.
        for half in (0, 1):
            tone = chord[(2 * beat + half + int(c.rng.integers(0, 2))) % len(chord)] + 12
            strength = (0.2 if half == 0 else 0.13) * float(c.rng.uniform(0.8, 1.0))
            note = key(root * 2 ** (tone / 12), 0.4)
            c.place(note, at_s + 0.5 * half * beat_s, strength, float(c.rng.uniform(-0.4, 0.4)))


def _key(c: Canvas, hz: float, decay_s: float) -> Floats:
    """Return a struck string: its upper partials die first."""
    total = envelope(c.rate, 0.004, decay_s)
    t = np.arange(len(total), dtype=np.float32) / np.float32(c.rate)
    sound = np.zeros(len(total), dtype=np.float32)
    for k in range(1, 8):
        # Stiffness makes real strings' partials a little sharp.
        overtone = k * hz * (1 + 0.0004 * k * k) ** 0.5
        if overtone < 0.45 * c.rate:
            sound += np.exp(-0.7 * (k - 1) * t / decay_s) / k**1.3 * np.sin(2 * np.pi * overtone * t)
    return np.asarray(0.6 * sound * total, dtype=np.float32)


def _string(c: Canvas, hz: float, seconds: float) -> Floats:
    points = [(0.0, hz * 0.998), (0.5 * seconds, hz * 1.002), (seconds, hz)]
    partials = [1 / k**1.8 for k in range(1, 9)]
    return glide(c.rate, points, partials=partials, attack_s=0.25 * seconds, release_s=0.3 * seconds)


@recipe(
    keys="drum, drum beat, beat, drums, percussion, rhythm, drum loop, groove, breakbeat, drum kit, drum machine,"
    "hip hop, techno, drum music",
    near="dance electronic cymbal bpm tambourine bongo conga disco rap tempo",
    expects="silence",
    highpass_hz=35,
    summary="a drum beat",
    bar=4,
)
def drums(c: Canvas, p: Character) -> None:
    beat_s = c.beat_s(p.beat_s(110.0))
    kick = _skin(c.rate, p.low(52), 0.11, rise=3.5, tight_s=0.018)
    thump = burst(c.noise, c.rate, band(800, 5000), attack_s=0.0005, decay_s=0.004)
    beats = max(1, round(c.seconds / beat_s + 0.49))
    busy = c.rng.random(8) < 0.25 * p.intensity**0.5
    for beat in range(beats):
        at_s = beat * beat_s
        if at_s >= c.last_s:
            break
        if beat % 2 == 0:
            c.place(kick, at_s, 0.7)
            c.place(thump, at_s, 0.4)
        else:
            _snare(c, p, at_s, 1.0)
        if busy[beat % 8] and beat % 2:
            c.place(kick, at_s + 0.5 * beat_s, 0.5)
        elif busy[(beat + 3) % 8]:
            _snare(c, p, at_s + 0.75 * beat_s, 0.15)
        for quarter in (0, 2) if p.intensity <= 1 else (0, 1, 2, 3):
            hat = burst(c.noise, c.rate, band(7000, 15_000), attack_s=0.0005, decay_s=0.02 if quarter else 0.03)
            c.place(hat, at_s + 0.25 * quarter * beat_s, 0.28 if quarter == 0 else 0.17, 0.3)


def _skin(rate: int, hz: float, decay_s: float, *, rise: float, tight_s: float) -> Floats:
    """Return a big drum: the struck skin is tighter at first, so that its pitch falls within some 20 ms."""
    contour = envelope(rate, 0.001, decay_s)
    t = np.arange(len(contour)) / rate
    turns = hz * (t + rise * tight_s * (1 - np.exp(-t / tight_s)))
    return np.asarray(contour * np.sin(2 * np.pi * turns), dtype=np.float32)


def _snare(c: Canvas, p: Character, at_s: float, level: float) -> None:
    wires = burst(c.noise, c.rate, band(1200, 9000, tilt_db=-1), attack_s=0.0008, decay_s=0.055)
    c.place(wires, at_s, 0.9 * level, -0.1)
    for hz in (185.0, 331.0):
        c.place(ping(c.rate, p.low(hz), 0.04, bend=0.3), at_s, 0.3 * level)


@recipe(
    keys="kick drum, bass drum, 808 kick, drum kick, kick sample",
    near="kick tom timpani taiko",
    expects="silence decay",
    highpass_hz=25,
    summary="a kick drum",
    once=True,
    bar=1,
)
def kick(c: Canvas, p: Character) -> None:
    hz = p.hz or p.low(50.0) * float(c.rng.uniform(0.85, 1.25))
    decay_s = float(c.rng.uniform(0.09, 0.16)) * p.size * c.squeeze(0.9)
    skin = _skin(c.rate, hz, decay_s, rise=float(c.rng.uniform(3.0, 5.0)), tight_s=float(c.rng.uniform(0.012, 0.022)))
    beater = burst(c.noise, c.rate, band(900, 5000), attack_s=0.0005, decay_s=0.004)
    for at_s in c.occasions(p.beat_s(120.0), p.count, jitter=0.0, lasts_s=0.5):
        c.place(skin, at_s, 0.75)
        c.place(beater, at_s, 0.3)
    c.reflect(0.15)


@recipe(
    keys="snare, snare drum, snare hit, rim shot",
    near="military march",
    expects="silence decay",
    summary="a snare drum",
    once=True,
    bar=1,
)
def snare(c: Canvas, p: Character) -> None:
    bright = float(c.rng.uniform(0.8, 1.25))
    wires_s = float(c.rng.uniform(0.05, 0.09)) * c.squeeze(0.6)
    for at_s in c.occasions(p.beat_s(120.0), p.count, jitter=0.0, lasts_s=0.4):
        wires = burst(c.noise, c.rate, band(1400 * bright, 9000, tilt_db=-1), attack_s=0.0008, decay_s=wires_s)
        c.place(wires, at_s, 0.8, -0.05)
        for hz, level in ((185.0, 0.4), (331.0, 0.3), (480.0, 0.12)):
            c.place(ping(c.rate, p.low(hz) * bright, 0.045, bend=0.25), at_s, level)
