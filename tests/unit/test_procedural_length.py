"""Sounds that fit their length: single events that end by themselves, loops of whole bars."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.unit.procedural_physics import RATE, envelope, made, mono, onsets

from audio_pool.engines.base import Item
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.recipe import RECIPES

ONCE = [name for name, recipe in RECIPES.items() if recipe.once]


def _levels_db(sound: np.ndarray) -> np.ndarray:
    """Level of every 10 ms against the loudest, in dB."""
    levels = envelope(sound, 0.01)
    return 20 * np.log10(levels / levels.max() + 1e-9)


@pytest.mark.parametrize("duration_s", [0.5, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("name", ONCE)
def test_a_single_event_has_died_away_at_the_end(name: str, duration_s: float) -> None:
    levels = _levels_db(made(RECIPES[name].summary, duration_s=duration_s))
    assert levels[-2:].max() < -45
    if duration_s >= 6.0:  # and there is no second one
        assert levels[round(0.7 * len(levels)) :].max() < -30


@pytest.mark.parametrize("name", [name for name in ONCE if name not in ("whoosh", "magic", "whip")])  # which swell
def test_it_begins_at_once(name: str) -> None:
    wave = np.abs(mono(made(RECIPES[name].summary, duration_s=2.0)))
    first = int(np.argmax(wave > 10 ** (-50 / 20) * wave.max()))
    assert first / RATE < 0.004


def test_one_explosion_one_gong_and_as_many_as_are_asked_for() -> None:
    assert len(onsets(made("an explosion", duration_s=6.0), gap_s=0.8)) == 1
    assert len(onsets(made("a bell", duration_s=6.0), gap_s=1.5)) == 1
    assert len(onsets(made("three bells", duration_s=6.0), gap_s=1.5)) == 3
    assert len(onsets(made("laser guns firing", duration_s=6.0), gap_s=0.4)) > 3


@pytest.mark.parametrize("duration_s", [0.3, 0.5, 0.8, 2.0])
def test_a_whoosh_passes_within_its_length(duration_s: float) -> None:
    levels = envelope(made("a whoosh", duration_s=duration_s), 0.01)
    loudest = int(np.argmax(levels))
    assert 0.15 * len(levels) < loudest < 0.85 * len(levels) or duration_s == 2.0
    assert levels[0] < 0.3 * levels.max()
    assert levels[-1] < 0.1 * levels.max()


@pytest.mark.parametrize("seconds", [7.3, 8.0, 10.0, 17.0])
def test_music_that_loops_has_whole_bars(seconds: float) -> None:
    beats = 4 * round(seconds / (4 * 60 / 110))
    levels = np.diff(envelope(made("a drum beat", duration_s=seconds, loop=True), 0.002)).clip(0)
    turns = np.abs(np.fft.rfft(levels))  # how often something comes round in the loop
    near = turns[2 * beats - 3 : 2 * beats + 4]
    assert np.argmax(near) == 3  # the hi-hat's quavers
    assert near[3] > 3 * np.median(near)


def test_a_stated_tempo_is_kept_or_told() -> None:
    assert _warnings("drum beat at 120 BPM", 8.0, loop=True) == ()
    assert _warnings("drum beat at 100 BPM", 8.0, loop=False) == ()
    assert _warnings("drum beat at 100 BPM", 8.0, loop=True) == (
        "tempo_fitted: asked for 100 BPM; used 90 BPM, so that the loop has whole bars",
    )
    assert _warnings("a clock at 70 BPM", 8.0, loop=True)[0].startswith("tempo_fitted: asked for 70 BPM; used 75 BPM")


def _warnings(prompt: str, seconds: float, *, loop: bool) -> tuple[str, ...]:
    return ProceduralEngine().notes(Item(prompt=prompt, seed=1, duration_s=seconds, loop=loop)).warnings


@pytest.mark.parametrize("material", ["wooden", "metallic"])
def test_wood_and_metal_keep_their_level_in_mono(material: str) -> None:
    sound = made(f"{material} footsteps")
    sides = math.sqrt(float(np.mean(sound**2)))
    assert 20 * math.log10(float(np.sqrt(np.mean(mono(sound) ** 2))) / sides) > -2.0
