"""High-pass and resampler: a tone in, a tone out; no transient at a start, no seam in a loop."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.audio_signals import RATE, amplitude_at, tone, white

from audio_pool.audio.filter import highpass, resample
from audio_pool.errors import InvalidRequest


@pytest.mark.parametrize("order", [1, 2, 4, 8])
def test_three_decibels_at_the_cutoff_and_six_per_octave_and_order(order):
    second = slice(RATE, 3 * RATE)
    at = {hz: amplitude_at(highpass(tone(3 * RATE, hz), RATE, 400.0, order)[:, second], hz) / 0.3 for hz in (100, 400)}
    assert 20 * np.log10(at[400]) == pytest.approx(-3.01, abs=0.05)
    # two octaves below; the asymptote is met the better the higher the order
    assert 20 * np.log10(at[100]) == pytest.approx(-12.04 * order, abs=0.4)
    passed = highpass(tone(3 * RATE, 4000), RATE, 400.0, order)[:, second]
    assert amplitude_at(passed, 4000) == pytest.approx(0.3, rel=0.01)


def test_an_offset_leaves_no_thump():
    offset = np.full((2, RATE), 0.5, np.float32)
    assert np.abs(highpass(offset, RATE, 80.0)).max() < 1e-6


def test_silence_before_a_rumble_stays_silence():
    rumble = np.cumsum(white(2 * RATE), axis=1, dtype=np.float64)
    rumble = (0.3 * (rumble - rumble[:, :1]) / np.abs(rumble).max()).astype(np.float32)
    late = np.concatenate([np.zeros_like(rumble), rumble], axis=1)
    assert np.abs(late.mean(axis=1)).min() > 1e-3
    assert not highpass(late, RATE, 80.0)[:, : 2 * RATE].any()


def test_nothing_is_heard_before_a_click():
    click = np.zeros((1, RATE), np.float32)
    click[0, 20_000] = 1.0
    out = highpass(click, RATE, 80.0)
    assert np.abs(out[0, :19_999]).max() < 1e-4
    assert out[0, 20_000] > 0.9


@pytest.mark.parametrize("frames", [300, 4001, 3 * RATE])
def test_circular_filtering_is_that_of_the_endless_sound(frames):
    turn = white(frames)
    endless = highpass(np.tile(turn, 20 if frames < RATE else 3), RATE, 80.0)
    assert np.abs(highpass(turn, RATE, 80.0, circular=True) - endless[:, -frames:]).max() < 1e-5


def test_circular_filtering_turns_with_the_sound():
    turn = white(30_000)
    filtered = highpass(turn, RATE, 80.0, circular=True)
    assert np.abs(highpass(np.roll(turn, 7777, 1), RATE, 80.0, circular=True) - np.roll(filtered, 7777, 1)).max() < 1e-6


def test_no_cutoff_is_no_filter():
    sound = white(1000)
    assert highpass(sound, RATE, 0.0) is sound


@pytest.mark.parametrize(("cutoff", "order"), [(22_050, 4), (30_000, 4), (80, 0), (80, 13)])
def test_impossible_filters_are_refused_with_what_is_allowed(cutoff, order):
    with pytest.raises(InvalidRequest, match=r"allowed is (below half the sample rate, 22050 Hz|1\.\.12)"):
        highpass(white(100), RATE, cutoff, order)


@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(48_000, 44_100), (44_100, 48_000), (16_000, 44_100), (96_000, 8_000)]
)
@pytest.mark.parametrize("circular", [False, True])
def test_a_tone_stays_the_same_tone_at_another_rate(from_rate, to_rate, circular):
    out = resample(tone(2 * from_rate, 1000, rate=from_rate), from_rate, to_rate, circular)
    assert out.shape == (2, 2 * to_rate)
    assert out.dtype == np.float32
    inner = slice(0, None) if circular else slice(to_rate // 10, -to_rate // 10)
    assert np.abs(out - tone(2 * to_rate, 1000, rate=to_rate))[:, inner].max() < 1e-4


def test_what_the_new_rate_cannot_hold_does_not_alias():
    for circular in (False, True):
        out = resample(tone(48_000, 7000, rate=48_000), 48_000, 8000, circular)
        assert np.abs(out[:, 500:-500]).max() < 1e-3


def test_circular_resampling_has_no_seam():
    turn = tone(44_100, 441.0)
    out = resample(turn, 44_100, 48_000, circular=True)
    inner = float(np.abs(np.diff(out)).max())
    assert np.abs(out[:, 0] - out[:, -1]).max() <= inner


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("frames", [44_099, 44_100, 44_101, 50_000])
def test_the_number_of_frames_is_exact(frames, circular):
    assert resample(white(48_000), 48_000, 44_100, circular, frames).shape == (2, frames)
    assert resample(white(44_100), 44_100, 44_100, circular, frames).shape == (2, frames)


def test_level_is_kept_in_time_and_channels_stay_apart():
    sound = tone(RATE, 3000) * np.linspace(0, 1, RATE, dtype=np.float32)
    sound[1] = 0
    out = resample(sound, RATE, 48_000)
    assert not out[1].any()
    for third in range(3):
        before, after = sound[0, third * 14_700 :][:14_700], out[0, third * 16_000 :][:16_000]
        assert np.square(after).mean() == pytest.approx(np.square(before).mean(), rel=0.01)
