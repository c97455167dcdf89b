"""Recipes of music: pads, chords, drums."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.synthesis.canvas import Canvas, Curve
from audio_pool.engines.synthesis.recipe import Character, recipe
from audio_pool.engines.synthesis.spectra import band


@recipe(
    keys="drone, pad, ambient pad, ambient drone, ambience, ambient, atmosphere, soundscape, synth pad,"
    "space ambience, meditation, synth",
    near="background mysterious eerie ethereal dark dream space alien mystical calm relaxing spooky",
    highpass_hz=30,
    summary="a slow ambient drone, a synthesizer pad",
)
def drone(c: Canvas, p: Character) -> None:
    root = p.hz or p.low(98.0)
    third = 2.4 if p.mood in ("sad", "tense") else 2.5
    # Each voice is three strings a few cents apart, beating against each other at its own pace.
    for ratio, level in ((0.5, 0.2), (1.0, 0.35), (1.5, 0.3), (2.0, 0.35), (third, 0.25), (3.0, 0.2), (4.0, 0.12)):
        bright = float(c.rng.uniform(1.2, 1.8))
        partials = [1 / k**bright for k in range(1, 13)]
        for cents in (-6.0, 0.5, 7.0):
            detuned = root * ratio * 2 ** ((cents + float(c.rng.normal(0, 1))) / 1200)
            breath = np.exp(c.drift(3.0 / p.speed, 0.45).points.clip(-1.2, 0.9))
            c.tone(detuned, Curve(0.1 * level * breath), partials, pan=float(cents / 9), phase=float(c.rng.random()))
    c.bed(band(300, 2500, tilt_db=-4), Curve(0.008 * c.swells(3.0, 0.4).points), width=1.0)
