"""Recipes of plain noise, with exact slopes and nothing else in it."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.procedural.canvas import Canvas
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, Shape

_LOWEST_HZ = 15.0
"""Below it the slopes end: nobody hears it, and a falling spectrum would put all its energy there."""


def _slope(db_per_octave: float) -> Shape:
    def shape(hz: Floats) -> Floats:
        return np.asarray((np.maximum(hz, _LOWEST_HZ) / 1000.0) ** (db_per_octave / 6.0206), dtype=np.float32)

    return shape


@recipe(
    keys="white noise",
    near="fuzz",
    expects="noise",
    highpass_hz=10,
    exact=True,
    summary="white noise",
)
def white_noise(c: Canvas, p: Character) -> None:
    c.bed(_slope(0.0), 0.15, width=1.0)


@recipe(
    keys="pink noise",
    near="noise",
    expects="noise",
    highpass_hz=10,
    exact=True,
    summary="pink noise",
)
def pink_noise(c: Canvas, p: Character) -> None:
    c.bed(_slope(-3.0103), 0.15, width=1.0)


@recipe(
    keys="brown noise, red noise, brownian noise",
    near="rumble",
    expects="noise",
    highpass_hz=10,
    exact=True,
    summary="brown noise",
)
def brown_noise(c: Canvas, p: Character) -> None:
    c.bed(_slope(-6.0206), 0.15, width=1.0)
