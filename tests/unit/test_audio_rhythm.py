"""Loops of separate strokes: none doubled, none missing, and a judge that hears both."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.audio_signals import MATERIAL, RATE, recordings
from tests.support.strokes import KINDS, counted, faults_at_joint, strokes

from audio_pool.audio import codec
from audio_pool.audio.loop import make_loop
from audio_pool.audio.onsets import beat_of, find_onsets
from audio_pool.audio.rhythm import fit_pauses
from audio_pool.audio.seam import seam_score

TRAINS = ((0.5, 6.0, 44_100), (0.73, 8.3, 48_000), (1.0, 9.7, 22_050), (0.41, 5.1, 44_100), (0.62, 7.0, 48_000))
"""Period and length, seconds, none a multiple of the other; rate."""


def looped(kind, seed, floor_db, tail_s=1.5, **more):
    """One turn, its rate and its crossfade in seconds."""
    period_s, seconds, rate = TRAINS[seed % len(TRAINS)]
    material = strokes(kind, seed, period_s=period_s, seconds=seconds + tail_s, rate=rate, floor_db=floor_db, **more)
    loop = make_loop(material, round(seconds * rate), round(tail_s * rate), rate)
    assert loop.audio.shape == (2, round(seconds * rate))
    return loop.audio, rate, loop.crossfade_frames


@pytest.mark.parametrize("floor_db", [-60, -50, -40, -30, -20])
@pytest.mark.parametrize("kind", KINDS)
def test_no_stroke_is_doubled_or_missing_at_the_joint(kind, floor_db):
    for seed in range(5):
        # the counter itself misses the faintest drips in a loud rumble
        colour = "white" if seed % 2 or (kind == "drips" and floor_db == -20) else "pink"
        turn, rate, crossfade = looped(kind, seed, floor_db, colour=colour, hum_db=-40 if seed > 2 else None)
        assert not faults_at_joint(turn, rate, crossfade / rate, kind), (seed, colour)
        assert seam_score(turn, rate, crossfade) > 60


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_nor_where_the_engine_had_no_room_for_a_tail(kind, share):
    for seed, (period_s, seconds, rate) in enumerate(TRAINS):
        material = strokes(kind, seed, period_s=period_s, seconds=share * seconds, rate=rate, floor_db=-35)
        loop = make_loop(material, round(seconds * rate), round(1.5 * rate), rate)
        assert loop.warnings[0].startswith("loop_extended: ")
        assert not faults_at_joint(loop.audio, rate, loop.crossfade_frames / rate, kind)


def test_strokes_without_a_beat_are_joined_where_the_pause_is_one_of_theirs():
    # (period, length, tail, seed, floor): at the length that is asked for no start gives a usual pause
    for period_s, seconds, tail_s, seed, floor_db in ((0.714, 5.79, 1.5, 95, -50), (1.13, 4.74, 0.8, 56, -40)):
        material = strokes(
            "drips", seed, period_s=period_s, seconds=seconds + tail_s, rate=RATE, floor_db=floor_db, colour="pink"
        )
        loop = make_loop(material, round(seconds * RATE), round(tail_s * RATE), RATE)
        assert loop.audio.shape[1] == round(seconds * RATE)
        onsets = find_onsets(loop.audio, RATE, circular=True)
        gaps = np.diff(onsets, append=onsets[0] + loop.audio.shape[1])
        assert 0.8 * gaps[:-1].min() < gaps[-1] < 1.25 * gaps[:-1].max()
        assert seam_score(loop.audio, RATE, loop.crossfade_frames) > 90


def test_a_clock_keeps_its_time_to_four_per_cent_and_its_pitch():
    material = strokes("clock", 4, period_s=0.62, seconds=8.5, floor_db=-60)
    loop = make_loop(material, 7 * RATE, round(1.5 * RATE))
    gaps = np.diff(counted(np.tile(loop.audio, 2), RATE))
    assert len(gaps) == 21
    assert gaps == pytest.approx(np.full(21, 7 / 11), rel=0.045)
    # a tick's own tones are where they were: nothing was resampled
    for hz in (2300, 4100):
        assert _centre_of(loop.audio, hz) == pytest.approx(_centre_of(material, hz), abs=3)


def _centre_of(audio, hz):
    power = np.square(np.abs(np.fft.rfft(audio[0])))
    at = np.fft.rfftfreq(audio.shape[1], 1 / RATE)
    near = np.abs(at - hz) < 150
    return float((at[near] * power[near]).sum() / power[near].sum())


def test_the_judge_hears_a_doubled_and_a_missing_stroke():
    turn, rate, crossfade = looped("clock", 0, -40)
    assert seam_score(turn, rate, crossfade) > 95
    onsets = find_onsets(turn, rate, circular=True)
    doubled, missing = turn.copy(), turn.copy()
    stroke = turn[:, onsets[1] - 400 : onsets[1] + 4000]
    doubled[:, onsets[0] + 5000 : onsets[0] + 5000 + stroke.shape[1]] += stroke
    missing[:, onsets[0] - 400 : onsets[0] + 4000] = turn[:, onsets[0] + 8000 : onsets[0] + 12_400]
    joint = int(onsets[0]) + 3500
    assert seam_score(turn, rate, 0, joint) > 95
    assert seam_score(doubled, rate, 0, joint) < 40
    assert seam_score(missing, rate, 0, joint) < 40


def test_a_hard_cut_train_scores_low_where_its_beat_breaks():
    material = strokes("clock", 2, period_s=0.5, seconds=6.3, floor_db=-50)
    assert seam_score(material[:, : round(6.25 * RATE)], RATE, 0) < 60


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
@pytest.mark.parametrize("floor_db", [-60, -20])
def test_onsets_are_found_to_within_20_ms_down_to_a_loud_floor(rate, floor_db):
    found = find_onsets(strokes("clock", 1, period_s=0.5, seconds=6, rate=rate, floor_db=floor_db), rate) / rate
    first = np.random.default_rng(1).uniform(0, 0.5)
    assert found == pytest.approx(np.arange(first, 5.99, 0.5), abs=0.02)


@pytest.mark.parametrize("name", ["white", "pink", "gusts", "growing", "drone"])
def test_steady_sounds_have_no_strokes(name):
    for seed in range(3):
        assert len(find_onsets(MATERIAL[name](8 * RATE, seed), RATE)) <= 1  # the drone's own start


def test_a_beat_is_found_through_jitter_and_a_missing_stroke_and_only_in_what_has_one():
    rng = np.random.default_rng(0)
    even = np.arange(16) * 22_050
    assert beat_of(even).period == pytest.approx(22_050)
    assert beat_of(np.delete(even, 5) + rng.integers(-300, 300, 15)).period == pytest.approx(22_050, rel=0.01)
    assert beat_of(np.sort(rng.integers(0, 16 * 22_050, 16))) is None
    assert beat_of(even[:3]) is None


@pytest.mark.parametrize("change", [-0.035, 0.035])
def test_pauses_change_alike_and_strokes_not_at_all(change):
    turn = strokes("clock", 3, period_s=0.5, seconds=6, floor_db=-50, hum_db=-45)
    onsets = find_onsets(turn, RATE)
    frames = round(turn.shape[1] * (1 + change))
    fitted = fit_pauses(turn, onsets, frames, RATE)
    assert fitted.shape[1] == pytest.approx(frames, abs=0.005 * frames)
    moved = find_onsets(fitted, RATE)
    assert len(moved) == len(onsets)
    share = (len(onsets) - 1) / len(onsets) / (onsets[-1] - onsets[0]) * turn.shape[1]
    assert np.diff(moved) / np.diff(onsets) == pytest.approx(np.full(len(onsets) - 1, 1 + change * share), abs=0.03)
    loudest = turn[:, onsets[4] - 200 : onsets[4] + 2000]
    again = fitted[:, moved[4] - 1200 : moved[4] + 3000]
    places = np.correlate(again[0], loudest[0], "valid")
    at = int(np.argmax(places))
    assert np.array_equal(again[:, at : at + loudest.shape[1]], loudest)


def test_real_recordings_keep_their_strokes():
    """No interval between strokes at the joint is shorter than half of any within the material."""
    for path in recordings():
        audio, rate = codec.read(path)
        if not rate <= audio.shape[1] <= 5 * rate:
            continue
        tail = audio.shape[1] // 4
        loop = make_loop(audio, audio.shape[1] - tail, tail, rate)
        strokes_of = find_onsets(loop.audio, rate, circular=True)
        if len(strokes_of) < 4 or len(find_onsets(audio, rate)) < 4:
            continue
        gaps = np.diff(strokes_of, append=strokes_of[0] + loop.audio.shape[1])
        assert gaps.min() >= 0.5 * np.diff(find_onsets(audio, rate)).min(), path.name
