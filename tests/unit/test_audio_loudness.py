"""Loudness and true peak against the standard's own numbers, EBU's test signals and pyloudnorm."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from tests.support.audio_signals import RATE, decaying, gusts, pink, steps, tone, white

from audio_pool.audio import loudness
from audio_pool.audio.filter import resample
from audio_pool.audio.loudness import gain_db, gain_for, k_weighting, loudness_lufs, true_peak_dbfs


def test_the_filter_is_the_table_of_the_standard_at_48_khz():
    shelf, low_cut = k_weighting(48_000)
    assert shelf == pytest.approx(
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585], abs=1e-9
    )
    assert low_cut == pytest.approx([1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621], abs=1e-9)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000, 96_000])
def test_ebu_tech_3341_stereo_sine(rate):
    """Case 1 of EBU Tech 3341: 1 kHz at -23 dBFS in both channels reads -23.0 LUFS."""
    sine = tone(20 * rate, 1000, 10 ** (-23 / 20), rate)
    assert loudness_lufs(sine, rate) == pytest.approx(-23.0, abs=0.1)


def test_ebu_tech_3341_gating():
    """Case 3: 10 s at -36, 60 s at -23, 10 s at -36 dBFS still read -23.0 LUFS."""
    rate = 8_000
    levels = np.repeat([-36.0, -23.0, -36.0], np.array([10, 60, 10]) * rate)
    sine = tone(80 * rate, 1000, 1.0, rate) * (10 ** (levels / 20)).astype(np.float32)
    assert loudness_lufs(sine, rate) == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize("make", [white, pink, gusts, steps, decaying])
@pytest.mark.parametrize("seconds", [0.45, 3.0, 7.31])
def test_agrees_with_an_independent_meter(make, seconds):
    pyloudnorm = pytest.importorskip("pyloudnorm")
    sound = make(round(seconds * RATE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pyloudnorm.Meter(RATE).integrated_loudness(sound.T.astype(np.float64))
    assert loudness_lufs(sound, RATE) == pytest.approx(theirs, abs=0.1)


def test_half_the_amplitude_is_six_decibels_less():
    assert loudness_lufs(white(RATE), RATE) - loudness_lufs(0.5 * white(RATE), RATE) == pytest.approx(6.02, abs=0.01)


def test_silence_and_clips_under_400_ms_have_no_loudness():
    assert loudness_lufs(np.zeros((2, RATE), np.float32), RATE) == -math.inf
    assert loudness_lufs(white(round(0.399 * RATE)), RATE) == -math.inf
    assert loudness_lufs(white(round(0.4 * RATE)), RATE) > -40


def test_a_loop_reads_the_same_wherever_it_starts():
    turn = gusts(round(3.1 * RATE))
    turn[:, :2000] *= 3
    read = [loudness_lufs(np.roll(turn, shift, axis=1), RATE, circular=True) for shift in (0, 1111, 50_000, 99_000)]
    assert max(read) - min(read) < 0.05
    assert read[0] == pytest.approx(loudness_lufs(np.tile(turn, 20), RATE), abs=0.05)


def test_true_peak_finds_what_lies_between_samples():
    # a quarter of the rate, 45 degrees off: every sample is 3 dB below the crest
    n = np.arange(RATE)
    sine = np.sin(np.pi / 2 * n + np.pi / 4)[None].astype(np.float32)
    assert 20 * np.log10(np.abs(sine).max()) == pytest.approx(-3.01, abs=0.01)
    middle = sine[:, 100:-100]
    assert true_peak_dbfs(middle, RATE, circular=True) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("hz", [997, 5_000, 11_000, 15_000, 18_000])
def test_true_peak_of_a_tone_is_its_amplitude(hz):
    swell = np.sin(np.pi * np.arange(RATE) / RATE).astype(np.float32)  # cut off in mid-swing it would ring
    assert true_peak_dbfs(tone(RATE, hz, 0.5) * swell, RATE) == pytest.approx(-6.02, abs=0.02)


def test_a_meter_that_oversamples_sixteen_times_finds_no_more():
    for seed in range(5):
        noise = resample(white(20_000, seed=seed), 20, 22, circular=True)  # up to 20 kHz
        finer = float(np.abs(resample(noise, 1, 16, circular=True)).max())
        assert true_peak_dbfs(noise, RATE, circular=True) == pytest.approx(20 * math.log10(finer), abs=0.05)


@pytest.mark.parametrize("circular", [False, True])
def test_looking_only_near_high_samples_finds_the_same_peak(monkeypatch, circular):
    rng = np.random.default_rng(4)
    frames = 60_000
    noise = rng.standard_normal((2, frames))
    high = np.abs(np.fft.rfftfreq(frames) - 0.5) < 0.1
    sounds = {
        "noise": noise,
        "sparse": rng.laplace(size=(2, frames)) ** 3,
        "near half the rate": np.fft.irfft(np.fft.rfft(noise) * high, frames),
        "alternating": noise * np.resize([1, -1], frames),
        "pulses": noise * (rng.random((2, frames)) > 0.999),
    }
    for name, sound in sounds.items():
        audio = (0.5 * sound / np.abs(sound).max()).astype(np.float32)
        quick = true_peak_dbfs(audio, RATE, circular)
        with monkeypatch.context() as everywhere:
            everywhere.setattr(loudness, "_FEW", frames)
            assert quick == pytest.approx(true_peak_dbfs(audio, RATE, circular), abs=1e-6), name


def test_a_peak_at_the_joint_of_a_loop_is_seen():
    n = np.arange(4000)
    turn = np.sin(np.pi / 2 * n + np.pi / 4)[None].astype(np.float32)
    turn[:, 2:-2] *= 0.1
    assert true_peak_dbfs(turn, RATE, circular=True) > true_peak_dbfs(turn, RATE) + 0.5


def test_digital_silence_has_no_peak_and_gets_no_gain():
    silence = np.zeros((2, RATE), np.float32)
    assert true_peak_dbfs(silence, RATE) == -math.inf
    assert gain_db(silence, RATE, -23.0, -2.0) == 0.0


@pytest.mark.parametrize("circular", [False, True])
def test_the_gain_reaches_the_target(circular):
    for sound in (white(2 * RATE, 0.01), pink(2 * RATE, 0.3)):
        levelled = sound * np.float32(10 ** (gain_db(sound, RATE, -23.0, -2.0, circular) / 20))
        assert loudness_lufs(levelled, RATE, circular) == pytest.approx(-23.0, abs=0.01)


def test_the_true_peak_stops_the_gain():
    peaky = steps(3 * RATE, 1.4) + 0
    gained = peaky * np.float32(10 ** (gain_db(peaky, RATE, -12.0, -2.0) / 20))
    assert true_peak_dbfs(gained, RATE) == pytest.approx(-2.0, abs=0.01)
    assert true_peak_dbfs(gained, RATE) <= -2.0 + 1e-3
    assert loudness_lufs(gained, RATE) < -12.5


def test_short_clips_are_set_six_decibels_under_the_peak_limit():
    clip = decaying(round(0.3 * RATE), 0.05)
    gained = clip * np.float32(10 ** (gain_db(clip, RATE, -23.0, -2.0) / 20))
    assert true_peak_dbfs(gained, RATE) == pytest.approx(-8.0, abs=0.01)


def test_without_a_target_the_level_stays_unless_it_is_too_high():
    assert gain_for(-30.0, -10.0, None, -2.0) == 0.0
    assert gain_for(-3.0, 1.5, None, -2.0) == -3.5
