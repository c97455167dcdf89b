"""The limiter by physics: the ceiling holds between samples, the loudness is reached, nothing clicks or is bent."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from msgspec import structs
from tests.support.audio_signals import RATE, amplitude_at, steps, tone

from audio_pool.audio import codec
from audio_pool.audio.limiter import limited
from audio_pool.audio.loudness import loudness_lufs
from audio_pool.types import Rendition
from audio_pool.worker.files import encoded
from audio_pool.worker.levels import levelled


def peak_db(audio, circular):
    """True peak at eight times the rate, by a filter that shares nothing with ours."""
    padded = np.pad(audio, ((0, 0), (400, 400)), mode="wrap" if circular else "constant")
    fine = scipy.signal.resample_poly(padded.astype(np.float64), 8, 1, axis=1, window=("kaiser", 12.0))
    return float(20 * np.log10(np.abs(fine[:, 3200:-3200]).max()))


def rendition(lufs=-14.0, peak=-1.0, **more):
    return Rendition(
        format="flac", sample_rate=RATE, bit_depth=24, target_lufs=lufs, true_peak_dbfs=peak, limiter=True, **more
    )


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("made", [steps(5 * RATE, 0.4), steps(5 * RATE, 0.15) + tone(5 * RATE, 110, 0.05)])
def test_transients_reach_their_loudness_under_the_ceiling(made, circular):
    out, level = levelled(made, RATE, rendition(), circular)
    assert peak_db(out, circular) <= -1.0 + 0.03
    assert loudness_lufs(out, RATE, circular=circular) == pytest.approx(-14.0, abs=0.5)
    assert level.lufs == pytest.approx(-14.0, abs=0.5)
    assert level.limited_db > 3
    plain, without = levelled(made, RATE, rendition().__class__(**{**_fields(rendition()), "limiter": False}), circular)
    assert without.lufs < -15
    assert without.limited_db == 0
    assert plain.shape == out.shape


def _fields(one):
    return {name: getattr(one, name) for name in one.__struct_fields__}


def test_what_is_under_the_ceiling_is_not_touched():
    sound = tone(RATE, 440, 0.3)
    out, deepest = limited(sound, RATE, -1.0)
    assert deepest == 0
    assert out is sound


@pytest.mark.parametrize("hz", [60, 1000])
def test_a_tone_that_is_held_down_stays_a_tone(hz):
    """Distortion under 0.5 % while the gain stands 6 dB down."""
    sound = tone(2 * RATE, hz, 1.6)
    out, deepest = limited(sound, RATE, -2.0)
    assert deepest >= 20 * np.log10(1.6) + 2.0 - 0.1
    middle = out[:1, RATE // 2 : RATE // 2 + RATE]
    own = amplitude_at(middle, hz)
    assert 20 * np.log10(own) == pytest.approx(-2.0, abs=0.2)
    for harmonic in (2, 3, 5):
        assert amplitude_at(middle, harmonic * hz) < 0.005 * own


def test_the_gain_runs_round_the_joint_of_a_loop():
    """A stroke at the joint is held down on both sides, and turning the loop turns the result."""
    turn = tone(2 * RATE, 50, 0.3)
    turn[:, :300] += 0.9
    turn[:, -300:] += 0.9
    out, _ = limited(turn, RATE, -6.0, circular=True)
    rolled, _ = limited(np.roll(turn, RATE, axis=1), RATE, -6.0, circular=True)
    assert np.abs(np.roll(out, RATE, axis=1) - rolled).max() < 2e-3
    gain = out[0, :-1] / np.where(np.abs(turn[0, :-1]) < 0.05, np.nan, turn[0, :-1])
    steps_of = np.abs(np.diff(gain))
    assert np.nanmax(steps_of) < 0.005, "a gain without corners does not click"


def test_short_term_and_mono_are_what_they_say():
    sound = np.concatenate([0.02 * steps(6 * RATE, 0.2), steps(4 * RATE, 0.2)], axis=1)
    whole, _ = levelled(sound, RATE, rendition(-30.0), False)
    loudest, _ = levelled(sound, RATE, rendition(-30.0, measure="short_term"), False)
    assert loudness_lufs(loudest[:, -3 * RATE :], RATE) == pytest.approx(-30.0, abs=0.4)
    assert loudness_lufs(whole, RATE) == pytest.approx(-30.0, abs=0.05)
    narrow, level = levelled(sound, RATE, rendition(-30.0, mono=True), False)
    assert narrow.shape == (1, sound.shape[1])
    assert level.lufs == pytest.approx(loudness_lufs(narrow, RATE), abs=0.02)


def test_a_codec_that_raises_the_peaks_costs_a_limited_sound_no_loudness(tmp_path):
    rng = np.random.default_rng(2)
    at = np.arange(11_025) / RATE
    band = scipy.signal.butter(2, [300, 6000], "bandpass", fs=RATE, output="sos")
    clap = scipy.signal.sosfilt(band, rng.standard_normal((2, len(at))), axis=1) * np.exp(-at / 0.08)
    claps = (np.tile(0.2 * clap, 12) * np.repeat(rng.uniform(0.5, 1, 12), len(at))).astype(np.float32)
    asked = structs.replace(rendition(), format="mp3")
    audio, level = levelled(claps, RATE, asked, loop=False)
    told = encoded(audio, RATE, asked, tmp_path / "claps.mp3", False, "", level)
    assert told.loudness_lufs == pytest.approx(-14.0, abs=0.3)
    assert told.true_peak_dbfs <= -0.95
    decoded, rate = codec.read(tmp_path / "claps.mp3")
    assert loudness_lufs(decoded, rate) == pytest.approx(told.loudness_lufs, abs=0.01)
