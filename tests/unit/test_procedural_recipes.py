"""Each recipe against the physics of what it claims to be, on raw, unmastered sound."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.procedural_physics import (
    RATE,
    centroid,
    crest,
    envelope,
    made,
    onsets,
    painted,
    pitch_track,
    share,
    strongest,
    unevenness,
)

SEEDS = (1, 2, 3)


@pytest.mark.parametrize("seed", SEEDS)
class TestTwelve:
    def test_rain_is_steady_broad_and_bright(self, seed: int) -> None:
        sound = painted("rain", seed=seed)
        assert unevenness(sound) < 0.12
        assert 3000 < centroid(sound) < 8000
        assert share(sound, 0, 200) < 0.05
        assert 4 < crest(sound) < 16

    def test_rain_on_metal_rings_and_has_drops(self, seed: int) -> None:
        metal, plain = painted("rain_on_metal", seed=seed), painted("rain", seed=seed)
        assert unevenness(metal) < 0.25
        assert crest(metal) > 1.1 * crest(plain) or crest(metal) > 8
        assert _peakiness(metal) > 3 * _peakiness(plain)

    def test_wind_is_low_and_comes_in_gusts(self, seed: int) -> None:
        sound = painted("wind", seed=seed, duration_s=20)
        assert centroid(sound) < 900
        assert unevenness(sound) > 0.25
        # The louder, the brighter.
        parts = np.array_split(sound, 40, axis=1)
        levels = [float(np.sqrt(np.mean(part**2))) for part in parts]
        brightness = [share(part, 700, 8000) for part in parts]
        assert np.corrcoef(levels, brightness)[0, 1] > 0.3

    def test_waves_swell_slowly(self, seed: int) -> None:
        levels = envelope(painted("ocean_waves", seed=seed, duration_s=40), 0.25)
        spectrum = np.abs(np.fft.rfft(levels - levels.mean()))
        period_s = 40 / np.argmax(spectrum)
        assert 2.5 < period_s < 14
        assert levels.max() > 2 * np.quantile(levels, 0.1)

    def test_stream_bubbles_between_300_hz_and_5_khz(self, seed: int) -> None:
        sound = painted("stream", seed=seed)
        assert share(sound, 250, 5000) > 0.85
        assert len(onsets(sound, threshold=0.3, gap_s=0.02)) > 8 * 3

    def test_thunder_has_most_of_its_energy_under_200_hz_and_dies_away(self, seed: int) -> None:
        sound = painted("thunder", seed=seed, count=1)
        assert share(sound, 0, 200) > 0.7
        levels = envelope(sound, 0.5)
        assert levels[:4].max() > 5 * levels[-2]

    def test_fire_roars_below_and_crackles_above(self, seed: int) -> None:
        sound = painted("fire", seed=seed)
        assert share(sound, 20, 500) > 0.3
        assert crest(sound) > 9
        assert 1 < len(onsets(sound, threshold=0.3, gap_s=0.03)) / 8 < 15

    def test_crickets_chirp_in_trains_between_2500_and_6000_hz(self, seed: int) -> None:
        sound = painted("crickets", seed=seed)
        assert share(sound, 2500, 6000) > 0.9
        assert 3500 < strongest(sound) < 5500
        pulses = onsets(sound, threshold=0.4, gap_s=0.012)
        gaps = np.diff(pulses)
        assert ((gaps > 0.02) & (gaps < 0.06)).sum() > 12

    def test_footsteps_are_impulses_at_a_walking_rate(self, seed: int) -> None:
        sound = painted("footsteps", seed=seed)
        times = onsets(sound, gap_s=0.3)
        per_minute = 60 / np.diff(times).mean()
        assert 90 < per_minute < 130
        assert np.diff(times).std() < 0.08
        assert crest(sound) > 8

    def test_a_heart_beats_50_to_120_times_a_minute_lub_then_dub(self, seed: int) -> None:
        sound = painted("heartbeat", seed=seed, duration_s=20)
        times = onsets(sound, threshold=0.3, gap_s=0.12)
        gaps = np.diff(times)
        assert 50 < 60 / (gaps[:-1:2] + gaps[1::2]).mean() < 120
        lub_dub = gaps[::2].mean(), gaps[1::2].mean()
        assert min(lub_dub) < 0.7 * max(lub_dub)
        assert share(sound, 20, 150) > 0.85

    def test_drone_is_steady_harmonic_and_low(self, seed: int) -> None:
        sound = painted("drone", seed=seed)
        assert unevenness(sound, 0.5) < 0.5
        assert share(sound, 40, 1500) > 0.9
        assert 2 < crest(sound) < 6

    def test_beep_is_a_pure_tone_that_comes_and_goes(self, seed: int) -> None:
        sound = painted("beep", seed=seed, hz=440.0)
        assert strongest(sound) == pytest.approx(440, abs=1)
        assert share(sound, 400, 480) > 0.9
        assert np.diff(onsets(sound)).mean() == pytest.approx(1.0, abs=0.02)


def _peakiness(sound: np.ndarray) -> float:
    """How far single resonances stand above the spectrum around them: variance of the log spectrum's shape."""
    wave = sound.mean(axis=0)[: RATE * 4].reshape(-1, 4410)
    mean = (np.abs(np.fft.rfft(wave * np.hanning(4410), axis=1)) ** 2).mean(axis=0)[30:600]
    log = np.log(mean)
    smooth = np.convolve(log, np.ones(41) / 41, "valid")
    return float(np.var(log[20:-20] - smooth))


def test_numbers_in_the_prompt_are_obeyed() -> None:
    assert strongest(made("880 Hz beep")) == pytest.approx(880, abs=2)
    assert strongest(made("1.5 kHz beep")) == pytest.approx(1500, abs=2)
    assert len(onsets(made("three beeps"))) == 3
    assert np.diff(onsets(made("footsteps at 140 BPM"), gap_s=0.25)).mean() == pytest.approx(60 / 140, rel=0.03)
    assert np.median(pitch_track(made("440 Hz beep")[:, :8000])) == pytest.approx(440, abs=12)
