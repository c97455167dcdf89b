"""Loops: exact, continuous, level, in tune; and a judge that hears what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.audio_signals import (
    MATERIAL,
    RATE,
    chord,
    decaying,
    drone,
    growing,
    level_db,
    pink,
    recordings,
    steps,
    tone,
    white,
)

from audio_pool.audio import codec
from audio_pool.audio.loop import make_loop, resample_periodic
from audio_pool.audio.seam import rotate_to_quiet_start, seam_score

TAIL = round(1.5 * RATE)


def largest_step(audio):
    """Of the endless loop, the wrap included."""
    return float(np.abs(np.diff(audio, axis=1, append=audio[:, :1])).max())


@pytest.mark.parametrize("name", MATERIAL)
@pytest.mark.parametrize("frames", [8 * RATE, 60_417])
def test_has_the_exact_length_and_no_larger_step_than_its_material(name, frames):
    material = MATERIAL[name](frames + TAIL, 1)
    loop = make_loop(material, frames, TAIL)
    assert loop.audio.shape == (2, frames)
    assert loop.audio.dtype == np.float32
    assert 0 < loop.crossfade_frames <= frames // 2
    assert not loop.warnings
    # a crossfade of two noises may meet a step a little larger than either has
    assert largest_step(loop.audio) < 1.25 * float(np.abs(np.diff(material, axis=1)).max())


def test_a_hard_cut_of_a_tone_is_heard_and_our_loop_is_not():
    frames = 60_417
    material = tone(frames + TAIL, 301.7)
    assert seam_score(material[:, :frames], RATE, 0) < 30
    loop = make_loop(material, frames, TAIL)
    assert seam_score(loop.audio, RATE, loop.crossfade_frames) > 99


def test_seams_are_as_good_as_random_places_of_the_same_sounds():
    rng = np.random.default_rng(5)
    seams, controls = [], []
    for name, make in MATERIAL.items():
        for seed in range(3):
            frames = int(rng.integers(RATE, 5 * RATE))
            loop = make_loop(make(frames + TAIL, seed), frames, TAIL)
            seams.append(seam_score(loop.audio, RATE, loop.crossfade_frames))
            assert seams[-1] > 60, f"a click in {name}, seed {seed}"
            places = rng.integers(0, frames, 2)
            controls += [seam_score(loop.audio, RATE, loop.crossfade_frames, int(place)) for place in places]
    assert np.mean(seams) > np.mean(controls) - 3
    assert np.mean(seams) > 97


def test_noise_keeps_its_level_through_the_crossfade():
    frames = 4 * RATE
    loop = make_loop(white(frames + TAIL, 0.1), frames, TAIL)
    assert loop.crossfade_frames == TAIL
    middle = loop.audio[:, TAIL // 2 - 5000 : TAIL // 2 + 5000]
    assert level_db(middle) == pytest.approx(level_db(loop.audio[:, 2 * TAIL :]), abs=0.3)


@pytest.mark.parametrize("hz", [41.3, 440.17, 3000.9])
def test_a_tone_does_not_cancel_and_stays_in_tune(hz):
    frames = 4 * RATE
    loop = make_loop(tone(frames + TAIL, hz), frames, TAIL)
    envelope = np.sqrt(np.square(loop.audio, dtype=np.float64).sum(axis=0))  # the channels are in quadrature
    assert envelope.min() > 0.9 * 0.3
    assert envelope.max() < 1.1 * 0.3
    spectrum = np.abs(np.fft.rfft(loop.audio[0] * np.hanning(frames)))
    found = np.argmax(spectrum) * RATE / frames
    assert 1200 * abs(np.log2(found / hz)) < 9 + 1200 * np.log2(1 + 0.25 / hz)


def test_a_chord_dips_by_less_than_two_decibels():
    frames = 8 * RATE
    loop = make_loop(chord(frames + TAIL), frames, TAIL)
    parts = loop.audio[:, : frames // 8820 * 8820].reshape(2, -1, 8820)
    levels = 10 * np.log10(np.square(parts, dtype=np.float64).mean(axis=(0, 2)))
    assert levels.min() > np.median(levels) - 2


def test_events_are_joined_in_a_gap_and_never_doubled():
    frames = round(4.4 * RATE)
    loop = make_loop(steps(frames + TAIL), frames, TAIL)
    assert loop.crossfade_frames < 0.53 * RATE
    power = np.square(np.tile(loop.audio, 2)).sum(axis=0)
    envelope = power[: len(power) // 441 * 441].reshape(-1, 441).mean(axis=1)
    loud = envelope > 0.1 * envelope.max()
    onsets = np.flatnonzero(loud[1:] & ~loud[:-1]) * 0.01
    gaps = np.diff(onsets)
    assert gaps.min() > 0.53 / 2
    assert gaps.max() < 0.53 * 1.6
    assert np.isclose(gaps, 0.53, atol=0.02).mean() > 0.7


def test_changes_of_level_are_spread_over_the_whole_tail():
    frames = 4 * RATE
    loop = make_loop(growing(frames + TAIL), frames, TAIL)
    assert loop.crossfade_frames == TAIL
    assert seam_score(loop.audio, RATE, loop.crossfade_frames) > 90
    assert seam_score(growing(frames), RATE, 0) < 10


@pytest.mark.parametrize("given", [8 * RATE, 5 * RATE, 2 * RATE])
@pytest.mark.parametrize("make", [white, drone, pink])
def test_without_a_tail_the_material_is_extended_and_says_so(make, given):
    loop = make_loop(make(given), 8 * RATE, TAIL)
    assert loop.audio.shape == (2, 8 * RATE)
    assert len(loop.warnings) == 1
    assert loop.warnings[0].startswith("loop_extended: ")
    assert f"{(8 * RATE + TAIL - given) / RATE:.2f} s" in loop.warnings[0]
    assert seam_score(loop.audio, RATE, loop.crossfade_frames) > 60
    # nor is there a click or a hole where it was stitched
    assert largest_step(loop.audio) < 1.25 * float(np.abs(np.diff(make(given), axis=1)).max())
    parts = loop.audio[:, : 8 * RATE // 4410 * 4410].reshape(2, -1, 4410)
    levels = 10 * np.log10(np.square(parts, dtype=np.float64).mean(axis=(0, 2)))
    reference = level_db(make(given))
    assert levels.min() > reference - 7


@pytest.mark.parametrize("frames", [1, 2, 7, 100, 2205])
@pytest.mark.parametrize("given", [0, 1, 5, 50, 5000])
def test_the_shortest_loops_are_still_exact_and_finite(frames, given):
    loop = make_loop(white(given), frames, 10)
    assert loop.audio.shape == (2, frames)
    assert np.isfinite(loop.audio).all()


def test_no_tail_at_all_still_does_not_click():
    loop = make_loop(tone(2 * RATE, 301.7), 60_417, 0)
    assert seam_score(loop.audio, RATE, loop.crossfade_frames) > 90


def test_silence_makes_a_silent_loop():
    loop = make_loop(np.zeros((2, RATE + TAIL), np.float32), RATE, TAIL)
    assert not loop.audio.any()


def test_is_deterministic():
    a, b = (make_loop(drone(4 * RATE + TAIL), 4 * RATE, TAIL).audio for _ in range(2))
    assert np.array_equal(a, b)


@pytest.mark.parametrize(("frames", "wanted"), [(44_100, 48_000), (44_100, 44_117), (48_000, 44_100), (1_009, 997)])
def test_resampling_a_turn_keeps_whole_cycles_and_their_level(frames, wanted):
    cycles = 57
    turn = tone(frames, cycles, 0.5, rate=frames)
    fitted = resample_periodic(turn, wanted)
    assert np.abs(fitted - tone(wanted, cycles, 0.5, rate=wanted)).max() < 1e-5


def test_resampling_a_turn_up_and_down_again_is_the_same_sound():
    turn = resample_periodic(white(40_000), 44_100)  # leaves the band edge empty
    assert np.abs(resample_periodic(resample_periodic(turn, 48_001), 44_100) - turn).max() < 1e-5


@pytest.mark.parametrize("make", [white, pink, drone])
def test_the_judge_hears_a_planted_click_and_only_at_its_place(make):
    frames = 3 * RATE
    loop = make_loop(make(frames + TAIL), frames, TAIL).audio
    loop[:, 30_000] += 4 * np.abs(loop).max()
    assert seam_score(loop, RATE, 0, position=30_000) < 50
    assert seam_score(loop, RATE, 10_000, position=20_000) < 50
    assert seam_score(loop, RATE, 0, position=80_000) == 100


def test_the_judge_hears_a_jump_of_level_and_of_timbre():
    frames = 4 * RATE
    assert seam_score(growing(frames), RATE, 0) < 10
    assert seam_score(np.roll(growing(frames), 30_000, axis=1), RATE, 0, position=30_000) < 10
    bright = white(frames)
    dull = resample_periodic(resample_periodic(bright, frames // 8), frames)
    dull *= 10 ** ((level_db(bright) - level_db(dull)) / 20)
    turning = np.linspace(0, np.pi / 2, frames, dtype=np.float32)
    darkening = bright * np.cos(turning) + dull * np.sin(turning)
    assert seam_score(darkening, RATE, 0) < 60
    assert seam_score(bright, RATE, 0) > 95


def test_one_click_elsewhere_does_not_excuse_one_at_the_joint():
    frames = 8 * RATE
    loop = make_loop(drone(frames + TAIL), frames, TAIL).audio
    loop[:, [0, frames // 2]] += 1
    assert seam_score(loop, RATE, 0) < 50


def test_differences_that_nobody_hears_do_not_count():
    silent = np.zeros((2, RATE), np.float32)
    silent[:, 0] = 5e-5
    assert seam_score(silent, RATE, 0) == 100
    steady = tone(RATE, 441.0)
    steady[:, : RATE // 2] *= np.float32(10 ** (0.05 / 20))
    assert seam_score(steady, RATE, 0) > 99


def test_not_a_number_scores_nothing():
    assert seam_score(np.full((2, RATE), np.nan, np.float32), RATE, 0) == 0


def test_a_bell_struck_at_frame_0_is_begun_a_little_earlier():
    bell = decaying(3 * RATE, 0.2)
    assert seam_score(bell, RATE, 0) < 50
    turned, score = rotate_to_quiet_start(bell, RATE)
    assert score >= 97
    assert np.array_equal(np.roll(turned, -round(0.15 * RATE), axis=1), bell)
    steady = drone(RATE * 3)
    steady = make_loop(steady, RATE, TAIL).audio
    assert np.array_equal(rotate_to_quiet_start(steady, RATE)[0], steady)


def test_real_recordings_loop():
    for path in recordings():
        audio, rate = codec.read(path)
        if audio.shape[1] < 0.5 * rate or audio.shape[1] > 3 * rate:
            continue
        tail = audio.shape[1] // 4
        frames = audio.shape[1] - tail
        loop = make_loop(audio, frames, tail, rate)
        assert loop.audio.shape == (len(audio), frames), path.name
        assert largest_step(loop.audio) <= 1.3 * float(np.abs(np.diff(audio, axis=1)).max()) + 1e-4, path.name


@pytest.mark.parametrize(("length", "frames"), [(20_011, 20_000), (19_989, 20_000)])
def test_a_turn_of_any_length_keeps_its_last_bit(length: int, frames: int) -> None:
    audio = white(length)
    spectra = np.fft.rfft(audio.astype(np.float64))[:, : min(length, frames) // 2 + 1]
    if frames < length:
        soft = int(spectra.shape[1] * 0.96)
        spectra[:, soft:] *= np.cos(np.linspace(0, np.pi / 2, spectra.shape[1] - soft)) ** 2
    exact = np.fft.irfft(spectra, frames) * (frames / length)
    np.testing.assert_allclose(resample_periodic(audio, frames), exact, rtol=0, atol=1.5 * 2.0**-23)
