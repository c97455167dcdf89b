"""Recipes of people: their hearts and hands."""

from __future__ import annotations

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas
from audio_pool.engines.procedural.grains import burst, ping
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import band


@recipe(
    keys="heartbeat, heart, heart beat, pulse, cardiac",
    near="chest body alive medical ultrasound thump",
    expects="silence",
    highpass_hz=15,
    summary="a heartbeat, lub-dub",
    bar=1,
)
def heartbeat(c: Canvas, p: Character) -> None:
    beat_s = p.beat_s(70.0)
    # The second sound follows after a third of a beat, a little faster hearts shorten it less.
    gap_s = min(0.3, 0.36 * beat_s**0.6)
    lub_hz, dub_hz = p.low(48), p.low(62)
    for at_s in c.pulse(beat_s, jitter=0.01, start_s=FIRST_S):
        strength = float(c.rng.uniform(0.9, 1.0))
        for start, hz, decay, level in ((0.0, lub_hz, 0.045, 1.0), (gap_s, dub_hz, 0.034, 0.7)):
            c.place(ping(c.rate, hz, decay, attack_s=0.012, bend=0.35), at_s + start, 0.8 * level * strength)
            knock = burst(c.noise, c.rate, band(40, 140, tilt_db=-3), attack_s=0.01, decay_s=decay)
            c.place(knock, at_s + start, 0.5 * level * strength)
    c.reflect(0.12)


@recipe(
    keys="applause, clap, ovation, crowd clap, audience clap, audience applause, crowd applause, people clap, "
    "crowd cheer",
    near="cheer hand concert stadium theater theatre slap whip",
    expects="noise",
    summary="an audience applauding",
)
def applause(c: Canvas, p: Character) -> None:
    c.bed(band(700, 5000, tilt_db=-2), 0.045, per_second=900 * p.intensity, width=1.0)
    c.bed(band(400, 8000, tilt_db=-3), 0.02, width=1.0)
    for _ in range(round(22 * p.intensity)):
        # Cupped hands are lower than flat ones, and every pair keeps its own tempo.
        hz = float(c.rng.uniform(700, 2200)) * p.pitch
        hands = [burst(c.noise, c.rate, band(hz, 2.2 * hz), attack_s=0.0008, decay_s=0.006) for _ in range(2)]
        pan, near = float(c.rng.uniform(-1, 1)), float(c.rng.uniform(0.2, 1.0))
        period = float(c.rng.uniform(0.21, 0.34)) / p.speed
        for at_s in c.pulse(period, jitter=0.1, start_s=float(c.rng.uniform(0, period))):
            c.place(hands[int(c.rng.integers(2))], at_s, 0.4 * near, pan)
