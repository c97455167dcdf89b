"""Recipes of people: their steps, hearts, crowds and hands."""

from __future__ import annotations

from audio_pool.engines.synthesis.canvas import Canvas
from audio_pool.engines.synthesis.grains import burst, ping
from audio_pool.engines.synthesis.recipe import Character, recipe
from audio_pool.engines.synthesis.spectra import band


@recipe(
    keys="footstep, step, walk, stroll, jog, run person, running person, tread, pace",
    near="march shoe boot feet foot gravel stair horse gallop hoof hooves clop sprint",
    expects="silence",
    highpass_hz=50,
    summary="footsteps of someone walking",
)
def footsteps(c: Canvas, p: Character) -> None:
    times = c.pulse(p.beat_s(108.0), jitter=0.02, start_s=0.02)
    for k, at_s in enumerate(times[: p.count]):
        pan = -0.2 if k % 2 else 0.2
        strength = float(c.rng.uniform(0.75, 1.0))
        # The heel lands hard and low, the ball of the foot follows, softer and scraping.
        body = p.low(float(c.rng.uniform(78, 96)))
        c.place(ping(c.rate, body, 0.035 * p.size, bend=0.8), at_s, 0.55 * strength * p.intensity**0.5, pan)
        heel = burst(c.rng, c.rate, band(p.low(220), p.low(2600), tilt_db=-3), attack_s=0.001, decay_s=0.016)
        c.place(heel, at_s, 1.1 * strength, pan)
        click = burst(c.rng, c.rate, band(1800, 6500), attack_s=0.0005, decay_s=0.005)
        c.place(click, at_s, 0.28 * strength, pan)
        toe = burst(c.rng, c.rate, band(p.low(500), p.low(4500), tilt_db=-3), attack_s=0.012, decay_s=0.03)
        c.place(toe, at_s + 0.11 / p.speed**0.5, 0.22 * strength, pan)


@recipe(
    keys="heartbeat, heart, heart beat, pulse, cardiac",
    near="chest body alive medical ultrasound thump",
    expects="silence",
    highpass_hz=15,
    summary="a heartbeat, lub-dub",
)
def heartbeat(c: Canvas, p: Character) -> None:
    beat_s = p.beat_s(70.0)
    # The second sound follows after a third of a beat, a little faster hearts shorten it less.
    gap_s = min(0.3, 0.36 * beat_s**0.6)
    lub_hz, dub_hz = p.low(48), p.low(62)
    for at_s in c.pulse(beat_s, jitter=0.01, start_s=0.02):
        strength = float(c.rng.uniform(0.9, 1.0))
        for start, hz, decay, level in ((0.0, lub_hz, 0.045, 1.0), (gap_s, dub_hz, 0.034, 0.7)):
            c.place(ping(c.rate, hz, decay, attack_s=0.012, bend=0.35), at_s + start, 0.8 * level * strength)
            knock = burst(c.rng, c.rate, band(40, 140, tilt_db=-3), attack_s=0.01, decay_s=decay)
            c.place(knock, at_s + start, 0.5 * level * strength)
