"""Recipes of things that call: beeps, sirens, alarms, bells, clocks, the sounds of games."""

from __future__ import annotations

from audio_pool.engines.synthesis.canvas import Canvas
from audio_pool.engines.synthesis.grains import glide
from audio_pool.engines.synthesis.recipe import Character, recipe


@recipe(
    keys="beep, bleep, tone, sine, hz, blip, beeper, dial tone, censor",
    near="signal electronic digital notification phone telephone ring sonar radar pure",
    expects="silence",
    highpass_hz=20,
    summary="an electronic beep",
)
def beep(c: Canvas, p: Character) -> None:
    hz = p.hz or p.low(1000)
    period = p.beat_s(60.0)
    length = min(0.45 * period, 0.25 / p.speed)
    sound = glide(c.rate, [(0.0, hz), (length, hz)], partials=(1.0, 0.0, 0.08), release_s=0.008)
    for at_s in c.pulse(period, start_s=0.0)[: p.count]:
        c.place(sound, at_s, 0.5)
