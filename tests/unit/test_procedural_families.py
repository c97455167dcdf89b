"""The newer families of the built-in engine against the physics of what they claim to be."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from benchmarks import realism
from tests.unit.procedural_physics import (
    RATE,
    centroid,
    description,
    envelope,
    made,
    mono,
    onsets,
    painted,
    power,
    share,
    strongest,
)

from audio_pool.engines.procedural.recipe import RECIPES


def _slope_db(sound: np.ndarray, low_hz: float, high_hz: float) -> float:
    hz, energy = power(sound)
    edges = np.geomspace(low_hz, high_hz, 25)
    levels = [10 * np.log10(energy[(hz >= low) & (hz < high)].mean()) for low, high in pairwise(edges)]
    return float(np.polyfit(np.log2(np.sqrt(edges[1:] * edges[:-1])), levels, 1)[0])


@pytest.mark.parametrize(("name", "slope"), [("white_noise", 0.0), ("pink_noise", -3.01), ("brown_noise", -6.02)])
def test_noise_falls_exactly_as_its_colour_says(name: str, slope: float) -> None:
    sound = made(RECIPES[name].summary, duration_s=12.0)
    assert _slope_db(sound, 40, 16_000) == pytest.approx(slope, abs=0.1)
    hz, energy = power(sound)  # no hum: no line stands out of the noise
    for mains in (50, 60, 100, 120):
        near = energy[(hz > mains - 5) & (hz < mains + 5)]
        assert energy[np.argmin(np.abs(hz - mains))] < 12 * near.mean()


def test_telephones_use_their_standard_tones() -> None:
    hz, energy = power(painted("dial_tone"))
    lines = [float(hz[k]) for k in np.argsort(energy)[-2:]]
    assert sorted(lines) == pytest.approx([350, 440], abs=1)
    tones = (697, 770, 852, 941, 1209, 1336, 1477)
    sound = painted("dtmf")
    assert sum(share(sound, tone * 0.97, tone * 1.03) for tone in tones) > 0.9


@pytest.mark.parametrize(("name", "hz", "firing"), [("tractor", 14.0, 14.0), ("helicopter", 12.0, 12.0)])
def test_machines_fire_at_their_rate(name: str, hz: float, firing: float) -> None:
    levels = envelope(painted(name, hz=hz), 0.004)
    rates = np.fft.rfftfreq(len(levels), 0.004)
    modulation = np.abs(np.fft.rfft(levels - levels.mean()))
    peak = rates[np.argmax(np.where((rates > 4) & (rates < 40), modulation, 0))]
    assert min(abs(peak - firing * k) for k in (0.5, 1.0)) < 0.6


def test_a_motorcycle_revs() -> None:
    sound = made("a motorcycle revving")
    levels = envelope(sound, 0.25)
    assert levels.max() > 1.6 * np.median(levels)


@pytest.mark.parametrize(("name", "hz"), [("guitar", 220.0), ("piano", 220.0), ("flute", 440.0)])
def test_instruments_are_in_tune(name: str, hz: float) -> None:
    spectrum_hz, energy = power(painted(name, hz=hz, duration_s=6.0))
    semitones = 12 * np.log2(np.maximum(spectrum_hz, 1) / hz)
    inside = (semitones > -14) & (semitones < 14)
    off = np.abs(semitones - np.round(semitones))
    assert energy[inside & (off < 0.2)].sum() > 0.9 * energy[inside].sum()


def test_a_glass_fills_and_its_pitch_rises() -> None:
    sound = made("pouring water into a glass", duration_s=7.0)
    assert centroid(sound[:, -2 * RATE :]) > 1.2 * centroid(sound[:, : 2 * RATE])


def test_a_car_that_passes_comes_from_one_side_and_goes_to_the_other() -> None:
    sound = made("a car passing by", duration_s=8.0)
    levels = envelope(sound, 0.25)
    loudest = int(np.argmax(levels))
    assert 0.3 * len(levels) < loudest < 0.7 * len(levels)
    assert levels[0] < 0.15 * levels.max()
    before, after = sound[:, RATE : 3 * RATE], sound[:, 5 * RATE : 7 * RATE]
    balance = [float(np.mean(part[0] ** 2) / np.mean(part[1] ** 2)) for part in (before, after)]
    assert max(balance) > 1.3
    assert min(balance) < 1 / 1.3


def test_every_ground_sounds_its_own() -> None:
    prompts = ["footsteps", *(f"footsteps on {ground}" for ground in ("gravel", "snow", "grass", "sand", "mud"))]
    prompts += ["footsteps on wood", "footsteps on metal"]
    descriptions = {prompt: description(made(prompt, duration_s=6.0)) for prompt in prompts}
    for one, other in combinations(prompts, 2):
        assert np.sqrt(np.mean((descriptions[one] - descriptions[other]) ** 2)) > 1.5, (one, other)


def test_thunder_is_a_crack_and_a_roll() -> None:
    near, far = made("thunder", duration_s=8.0), made("distant thunder", duration_s=8.0)
    assert centroid(near) > 1.2 * centroid(far)
    levels = envelope(mono(near), 0.25)
    assert int(np.argmax(levels)) < len(levels) // 3
    assert levels[len(levels) // 2] > 0.005 * levels.max()


def test_a_gunshot_rises_at_once_and_is_followed_by_echoes() -> None:
    wave = np.abs(mono(made("a gunshot", duration_s=3.0)))
    begin = int(np.argmax(wave > 0.02 * wave.max()))
    assert int(np.argmax(wave)) - begin < 0.012 * RATE
    assert len(onsets(made("three gunshots", duration_s=4.0), gap_s=0.5)) == 3


def test_a_howl_is_one_tone_that_rises_and_falls() -> None:
    sound = made("a wolf howling", duration_s=5.0)
    assert 150 < strongest(sound) < 780


def test_the_sheets_mean_distance_stays_small() -> None:
    """A sample of the sheets: all of them are ``python -m benchmarks.realism``."""
    sheets = realism.sheets()
    found = [realism.row(name, sheets[name])["distance"] for name in list(sheets)[::15]]
    assert sum(found) / len(found) < 0.3
