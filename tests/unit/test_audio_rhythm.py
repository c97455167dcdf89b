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
from audio_pool.audio.trains import kinds_of, trains_of

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


def ticks_and_tocks(at_s, hz, seconds, floor_db=-40):
    """Strokes at given times, each of its own pitch, over white noise: float32 [2, T]."""
    t = np.arange(round(0.06 * RATE)) / RATE
    out = 10 ** (floor_db / 20) * np.random.default_rng(0).standard_normal((2, round((seconds + 0.1) * RATE)))
    for second, pitch in zip(at_s, hz, strict=True):
        first = round(second * RATE)
        out[:, first : first + len(t)] += np.sin(2 * np.pi * pitch * t) * np.exp(-t / 0.006)
    return (0.3 * out[:, : round(seconds * RATE)]).astype(np.float32)


def pitches(audio, at_s):
    """Which of two pitches is the louder one at each stroke."""
    found = []
    for first in np.round((np.asarray(at_s) - 0.01) * RATE).astype(int):
        power = np.square(np.abs(np.fft.rfft(audio[0, first : first + 2205])))
        found.append(2600 if power[100:160].max() > power[60:90].max() else 1500)
    return np.array(found)


@pytest.mark.parametrize(("period_s", "seconds"), [(0.4, 6.0), (0.62, 8.0), (0.62, 7.0)])
def test_tick_follows_tock_across_the_joint(period_s, seconds):
    at_s = np.arange(0.2, seconds + 1.5, period_s)
    material = ticks_and_tocks(at_s, np.resize([2600, 1500], len(at_s)), seconds + 1.5)
    loop = make_loop(material, round(seconds * RATE), round(1.5 * RATE), RATE)
    three = np.tile(loop.audio, 3)
    heard = counted(three, RATE)[1:-1]
    found = pitches(three, heard)
    assert (found[1:] != found[:-1]).all()
    assert np.diff(heard) == pytest.approx(np.full(len(heard) - 1, np.diff(heard).mean()), rel=0.05)
    assert seam_score(loop.audio, RATE, loop.crossfade_frames) > 90


@pytest.mark.parametrize(("period_s", "seconds"), [(0.8, 6.0), (1.24, 8.0), (1.24, 6.0)])
def test_a_limping_rhythm_goes_on_limping_across_the_joint(period_s, seconds):
    first = np.arange(0.2, seconds + 1.5, period_s)
    at_s = np.sort(np.concatenate([first, first + 0.33 * period_s]))
    at_s = at_s[at_s < seconds + 1.5]
    material = ticks_and_tocks(at_s, np.full(len(at_s), 1500), seconds + 1.5)
    loop = make_loop(material, round(seconds * RATE), round(1.5 * RATE), RATE)
    pauses = np.diff(counted(np.tile(loop.audio, 3), RATE)[1:-1])
    short = pauses < 0.5 * period_s
    assert (short[1:] != short[:-1]).all()
    assert np.ptp(pauses[short]) < 0.05 * period_s
    assert np.ptp(pauses[~short]) < 0.05 * period_s


def test_a_slow_beat_is_even_where_its_periods_do_not_fit_the_length():
    # neither 4 nor 5 strokes of 1.1 s are within four per cent of 5 s
    material = ticks_and_tocks(np.arange(0.2, 6.5, 1.1), np.full(6, 1500), 6.5)
    loop = make_loop(material, 5 * RATE, round(1.5 * RATE), RATE)
    assert np.diff(counted(np.tile(loop.audio, 3), RATE)) == pytest.approx(np.full(14, 1.0), abs=0.03)


def test_two_ticks_that_meet_at_the_seam_are_heard_though_they_are_even():
    seconds, at_s = 3.5, np.arange(0.25, 3.5, 0.5)
    assert len(at_s) == 7
    stumbling = ticks_and_tocks(at_s, np.resize([2600, 1500], 7), seconds)
    onsets = find_onsets(stumbling, RATE, circular=True)
    assert kinds_of(stumbling, onsets, RATE).max() == 0  # too few to tell
    at_s = np.arange(0.25, 7.5, 0.5)
    stumbling = ticks_and_tocks(at_s, np.resize([2600, 1500], 15), 7.5)
    assert seam_score(stumbling, RATE, 0) < 40
    assert seam_score(ticks_and_tocks(at_s, np.full(15, 1500), 7.5), RATE, 0) > 95


def test_strokes_fall_into_trains_by_sound_or_place_or_not_at_all():
    at_s = np.arange(0.2, 8, 0.5)
    frames = np.round(at_s * RATE).astype(np.int64)
    alike = np.zeros(16, np.int64)
    assert [list(train) for train in trains_of(frames, alike)] == [list(range(16))]
    kinds = kinds_of(ticks_and_tocks(at_s, np.resize([2600, 1500], 16), 8.2), frames, RATE)
    assert [list(train) for train in trains_of(frames, kinds)] == [[*range(0, 16, 2)], [*range(1, 16, 2)]]
    swung = frames + np.resize([0, 6000], 16)
    assert [list(train) for train in trains_of(swung, alike)] == [[*range(0, 16, 2)], [*range(1, 16, 2)]]
    anyhow = np.sort(np.random.default_rng(3).integers(0, 8 * RATE, 16))
    assert trains_of(anyhow, alike) == []
    # a clock whose ticks are never quite alike is one train
    one = strokes("clock", 1, period_s=0.73, seconds=9.8, floor_db=-50)
    onsets = find_onsets(one, RATE)
    assert len(trains_of(onsets, kinds_of(one, onsets, RATE))) == 1


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
