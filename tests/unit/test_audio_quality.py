"""The gate: one crafted sound per fault, and no false alarm on clean ones."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from tests.support import faults
from tests.support.audio_signals import (
    RATE,
    chord,
    decaying,
    drone,
    growing,
    gusts,
    pink,
    recordings,
    steps,
    tone,
    white,
)

from audio_pool.audio import codec
from audio_pool.audio.faults.artefacts import stuck
from audio_pool.audio.faults.clipping import clipping
from audio_pool.audio.filter import highpass, resample
from audio_pool.audio.quality import EXPECTABLE, assess
from audio_pool.engines.base import Item
from audio_pool.engines.procedural.engine import ProceduralEngine

FRAMES = 4 * RATE


def judged(audio, expects=(), *, frames=None, loop=False, rate=RATE, raw=None, raw_rate=None):
    wanted = audio.shape[1] if frames is None else frames
    return assess(audio, rate, frames=wanted, loop=loop, expects=frozenset(expects), raw=raw, raw_rate=raw_rate)


def swelling(frames):
    """A chord that fades in over 50 ms."""
    return chord(frames) * np.minimum(np.arange(frames) / 2205, 1).astype(np.float32)


def with_nan():
    audio = swelling(FRAMES)
    audio[1, 777] = np.nan
    return audio


def with_infinity():
    audio = swelling(FRAMES)
    audio[0, 0] = np.inf
    return audio


def half_dead():
    audio = swelling(FRAMES)
    audio[:, FRAMES // 2 :] = 0
    return audio


def headless():
    """A decaying chord whose first 40 ms are missing."""
    t = np.arange(FRAMES) / RATE
    return (3 * chord(FRAMES) * np.exp(-t / 0.8)).astype(np.float32)[:, 1760:]


def one_sided():
    audio = swelling(FRAMES)
    audio[1] = 0
    return audio


FAULTS = {
    "nan": (with_nan(), True),
    "infinity": (with_infinity(), True),
    "silence": (1e-4 * swelling(FRAMES), True),
    "digital silence": (np.zeros((2, FRAMES), np.float32), True),
    "clipping": (np.clip(6 * swelling(FRAMES), -1, 1), True),
    "some clipping": (np.clip(swelling(FRAMES), -0.36, 0.36), False),
    "dc": (swelling(FRAMES) + np.float32(0.04), False),
    "much dc": (swelling(FRAMES) + np.float32(0.4), True),
    "hiss": (swelling(FRAMES) + white(FRAMES, 0.03), False),
    "pure noise": (white(FRAMES), True),
    "pure noise, quiet": (white(FRAMES, 0.01), True),
    "dead tail": (half_dead(), False),
    "long dead tail": (swelling(FRAMES) * (np.arange(FRAMES) < 15_000), True),
    "cut-off start": (headless(), False),
    "mono in stereo": (np.repeat(swelling(FRAMES)[:1], 2, axis=0), False),
    "one side empty": (one_sided(), False),
}
ISSUE = {
    "infinity": "nan", "digital silence": "silence", "some clipping": "clipping", "much dc": "dc",
    "pure noise": "hiss", "pure noise, quiet": "hiss", "dead tail": "dead_tail",
    "long dead tail": "dead_tail", "cut-off start": "cut_off_start", "mono in stereo": "mono_in_stereo",
    "one side empty": "mono_in_stereo",
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_alone(name):
    audio, severe = FAULTS[name]
    found = judged(audio)
    assert found.issues == (ISSUE.get(name, name),)
    assert found.failed == severe
    assert found.score <= (10 if severe else 95)


def test_wrong_length_fails_by_a_single_frame():
    for frames in (FRAMES - 1, FRAMES + 1):
        found = judged(swelling(FRAMES), frames=frames)
        assert found.failed
        assert found.issues == ("wrong_length",)
    empty = judged(np.zeros((2, 0), np.float32), frames=10)
    assert empty.failed


def test_a_severe_fault_fails_whatever_the_rest_and_leads_the_list():
    audio = np.repeat(swelling(FRAMES)[:1], 2, axis=0) + np.float32(0.5)
    found = judged(audio)
    assert found.failed
    assert found.issues == ("dc", "mono_in_stereo")
    assert found.score <= 10


CLEAN = {
    "tone": (tone(FRAMES), ()),
    "tone of 30 Hz": (tone(FRAMES, 30), ()),
    "chord": (swelling(FRAMES), ()),
    "drone": (drone(FRAMES), ()),
    "steps": (steps(FRAMES), ("silence",)),
    "hit": (decaying(FRAMES), ("decay",)),
    "short hit": (decaying(2000, 0.01), ("decay",)),
    "rain": (white(FRAMES), ("noise",)),
    "coloured noise": (pink(FRAMES), ()),
    "wind": (gusts(FRAMES), ("noise",)),
    "growing": (growing(FRAMES), ("noise",)),
    "silence": (np.zeros((2, FRAMES), np.float32), ("silence",)),
    "mono": (chord(FRAMES)[:1], ()),
    "loud": (swelling(FRAMES) * np.float32(0.99 / np.abs(swelling(FRAMES)).max()), ()),
    "beyond full scale": (swelling(FRAMES) * 4, ()),
    "faint hiss": (swelling(FRAMES) + white(FRAMES, 10 ** (-55 / 20)), ()),
}


@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.parametrize("loop", [False, True])
def test_clean_sounds_raise_no_alarm(name, loop):
    audio, expects = CLEAN[name]
    found = judged(audio, expects, loop=loop)
    assert found.issues == ()
    assert (found.score, found.failed) == (100.0, False)


@pytest.mark.parametrize(
    ("name", "expects"),
    [("silence", "silence"), ("clipping", "clipping"), ("pure noise", "noise"), ("dead tail", "decay"),
     ("dead tail", "silence"), ("cut-off start", "decay"), ("mono in stereo", "mono")],
)  # fmt: skip
def test_what_was_declared_is_no_fault(name, expects):
    assert expects in EXPECTABLE
    assert judged(FAULTS[name][0], (expects,)).issues == ()


def test_nothing_declares_away_a_broken_sound():
    assert judged(with_nan(), EXPECTABLE).failed
    assert judged(swelling(FRAMES), EXPECTABLE, frames=1).failed
    assert judged(swelling(FRAMES) + np.float32(0.4), EXPECTABLE).failed


def test_clipping_is_found_in_the_raw_candidate_behind_filter_and_resampler():
    raw = np.clip(6 * swelling(FRAMES), -1, 1)
    heard = resample(highpass(raw, RATE, 80.0), RATE, 48_000)
    assert judged(heard, rate=48_000).issues == ()
    assert judged(heard, rate=48_000, raw=raw).issues == ("clipping",)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
def test_rates_do_not_change_the_verdict(rate):
    frames = 3 * rate
    rng = np.random.default_rng(1)
    noise = (0.1 * rng.standard_normal((2, frames))).astype(np.float32)
    sine = tone(frames, 300, rate=rate)
    assert judged(noise, rate=rate).failed
    assert judged(sine, rate=rate).issues == ()
    assert judged(sine + 0.3 * noise, rate=rate).issues == ("hiss",)
    assert judged(np.clip(sine, -0.2, 0.2), rate=rate).issues[:1] == ("clipping",)


def test_a_white_sound_brought_up_from_a_lower_rate_is_still_pure_noise():
    low = (0.1 * np.random.default_rng(1).standard_normal((2, 48_000))).astype(np.float32)
    assert judged(resample(low, 16_000, RATE)).failed


def test_more_hiss_is_worse():
    scores = [judged(swelling(FRAMES) + white(FRAMES, rms)).score for rms in (0.002, 0.01, 0.02, 0.05)]
    assert scores[0] == 100
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 80


def test_a_hole_in_a_loop_of_regular_events_is_a_dead_tail():
    regular = steps(4 * RATE, 0.5)
    assert judged(regular, loop=True).issues == ()
    holed = regular.copy()
    holed[:, 2 * RATE :] = 0
    assert judged(holed, loop=True).issues == ("dead_tail",)
    ambience = chord(4 * RATE)
    ambience[:, 3 * RATE :] = 0
    assert judged(ambience, loop=True).issues == ("dead_tail",)
    # a single event a turn is a rhythm
    assert judged(decaying(2 * RATE, 0.05), loop=True).issues == ()


def test_real_recordings_are_clean_but_for_what_is_true_of_them():
    for path in recordings():
        audio, rate = codec.read(path)
        found = judged(audio, rate=rate)
        assert not found.failed, path.name
        true_of_it = set()
        if len(audio) == 2 and np.abs(audio[0] - audio[1]).max() < 1e-3 * np.abs(audio).max():
            true_of_it = {"mono_in_stereo"}
        assert set(found.issues) == true_of_it, path.name


FAULT_CASES = [(fault, material) for fault, (_, _, materials) in faults.FAULTS.items() for material in materials]
LIGHT = {"mono_in_stereo", "dc", "cut_off_start", "dead_tail"}
"""Faults that cost points and need not cost a round."""


@pytest.fixture(scope="module")
def materials():
    return {name: make(0) for name, make in faults.CLEAN.items()}


@pytest.mark.parametrize(("fault", "material"), FAULT_CASES)
def test_each_fault_is_found_in_each_material(materials, fault, material):
    issue, put, _ = faults.FAULTS[fault]
    found = judged(put(materials[material]), frames=faults.FRAMES)
    assert issue in found.issues
    assert found.failed or found.score < 50 or issue in LIGHT


@pytest.mark.parametrize("material", faults.CLEAN)
def test_no_material_is_faulty_in_itself(materials, material):
    for seed in range(3):
        audio = faults.CLEAN[material](seed) if seed else materials[material]
        for loop in (False, True):
            found = judged(audio, loop=loop)
            assert found.issues == ()
            assert found.score == 100


def test_declared_noise_is_no_hiss_in_any_band(materials):
    for fault in ("hiss above 14 kHz, 0 dB", "six of eight seconds of noise", "noise at -20 dB"):
        assert "hiss" not in judged(faults.FAULTS[fault][1](materials["tones"]), ("noise",)).issues


def test_declared_silence_allows_a_late_start_holes_and_a_faint_sound(materials):
    for fault in ("silent start", "dropouts", "RMS under 0.005"):
        assert judged(faults.FAULTS[fault][1](materials["tones"]), ("silence",)).issues == ()


@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_a_stuck_piece_is_found_in_the_raw_candidate_behind_a_resampler(materials, rate):
    raw = faults.FAULTS["stuck"][1](materials["rain"])
    heard = resample(raw, RATE, rate)
    assert judged(heard, rate=rate, raw=raw, raw_rate=RATE).issues == ("stuck",)


@pytest.mark.parametrize("hz", [41.2, 30.9, 27.5])
def test_a_low_note_that_is_equal_to_itself_a_period_later_is_not_stuck(hz):
    seconds = np.arange(2 * RATE) / RATE
    note = 0.3 * sum(np.sin(2 * np.pi * hz * k * seconds + k) / k for k in range(1, 30))
    rest = faults.CLEAN["rain"](1)[:, 2 * RATE :]
    material = np.concatenate([np.stack([note, 0.9 * np.roll(note, 40)]).astype(np.float32), rest], axis=1)
    assert "stuck" not in judged(material).issues


def test_a_tail_that_is_dead_for_over_half_of_the_sound_is_not_good_enough(materials):
    for name in ("rain", "machine", "tones"):
        audio = materials[name].copy()
        audio[:, round(0.45 * audio.shape[1]) :] = 0
        found = judged(audio)
        assert "dead_tail" in found.issues
        assert found.score < 50


def test_under_an_offset_or_a_deep_bass_nothing_is_stuck(materials):
    assert judged(materials["tones"] + np.float32(0.2)).issues[0] == "dc"
    seconds = np.arange(materials["rain"].shape[1]) / RATE
    bass = 0.4 * np.sin(2 * np.pi * 50 * seconds)
    for name in ("rain", "ambience"):
        deep = (bass + 0.1 * materials[name]).astype(np.float32)
        assert "stuck" not in judged(deep).issues
    assert "stuck" not in judged(materials["speech"] * 0.3 + np.float32(0.2)).issues


def test_white_noise_as_loud_as_the_sound_itself_is_hiss(materials):
    for name in ("tones", "music", "speech"):
        sound = materials[name]
        noise = np.random.default_rng(5).standard_normal(sound.shape).astype(np.float32)
        noise *= np.sqrt(np.square(sound).mean() / np.square(noise).mean())
        assert "hiss" in judged(0.5 * (sound + noise)).issues, name


def test_a_sound_of_two_channels_of_which_one_is_empty_is_not_good_enough(materials):
    for side, name in enumerate(("rain", "speech")):
        audio = materials[name].copy()
        audio[side] = 0
        found = judged(audio)
        assert found.issues == ("mono_in_stereo",)
        assert found.score < 50
        assert judged(audio, ("mono",)).issues == ()


@pytest.mark.parametrize("material", faults.ALL)
def test_what_was_cut_off_is_found_however_fast_the_wave_is(materials, material):
    audio = materials[material][:, 2 * RATE : 6 * RATE]
    audio = audio / np.abs(audio).max()
    assert not list(clipping(audio, RATE, False))
    for drive in (3, 6, 12):
        cut = np.clip(drive * audio, -1, 1)
        assert list(clipping(cut, RATE, False)), drive
        one_side = np.stack([audio[0], cut[1]])
        assert list(clipping(one_side, RATE, False)), drive


def test_a_wave_that_repeats_to_the_sample_is_not_cut_off():
    t = np.arange(2 * RATE) % 294
    for parts in ((3,), (3, 5), (7, 9, 11), (42, 49)):  # whole numbers of periods in 294 samples
        wave = sum(np.sin(2 * np.pi * part * t / 294 + part) for part in parts) / len(parts)
        sound = np.stack([0.5 * wave, 0.4 * np.roll(wave, 31)]).astype(np.float32)
        assert not list(clipping(sound, RATE, False)), parts


def test_a_sound_that_is_weak_throughout_is_faint_and_one_with_peaks_is_not(materials):
    for name, is_faint in (("events", True), ("fire", True), ("music", True), ("ticks", False)):
        audio = materials[name] * np.float32(0.004 / np.sqrt(np.square(materials[name]).mean()))
        assert ("faint" in judged(audio).issues) == is_faint, name


def test_clipping_is_found_behind_a_low_pass_in_most_materials(materials):
    least = {(3, 4_000): 5, (3, 8_000): 6, (6, 4_000): 6, (6, 8_000): 6, (12, 4_000): 9, (12, 8_000): 8}
    for (drive, hz), enough in least.items():
        low_pass = scipy.signal.butter(4, hz, fs=RATE, output="sos")
        found = 0
        for name in faults.ALL:
            audio = materials[name][:, 2 * RATE : 6 * RATE]
            cut = np.clip(drive * audio / np.abs(audio).max(), -1, 1)
            found += bool(list(clipping(scipy.signal.sosfilt(low_pass, cut).astype(np.float32), RATE, False)))
        assert found >= enough, (drive, hz)


@pytest.mark.parametrize("seed", range(3))
def test_tones_that_glide_and_swell_are_not_clipped(seed):
    t = np.arange(4 * RATE) / RATE
    rng = np.random.default_rng(seed)
    hz = 900 + 400 * np.sin(2 * np.pi * rng.uniform(0.5, 3) * t)
    swell = 0.4 * (0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.2, 2) * t))
    siren = (swell * np.sin(2 * np.pi * np.cumsum(hz) / RATE)).astype(np.float32)
    assert not list(clipping(np.stack([siren, siren]), RATE, False))


@pytest.mark.parametrize("material", faults.ALL)
def test_what_sticks_is_found_in_any_material_and_at_any_place(materials, material):
    audio = materials[material]
    for first_s, piece_s, times in ((1.0, 0.1, 3), (3.7, 0.05, 5), (6.1, 0.25, 3)):
        piece = audio[:, round(first_s * RATE) :][:, : round(piece_s * RATE)]
        stuck_there = audio.copy()
        stuck_there[:, round(first_s * RATE) :][:, : times * piece.shape[1]] = np.tile(piece, times)
        assert "stuck" in {fault.name for fault in stuck(stuck_there, RATE)}, (first_s, piece_s)
    assert not list(stuck(audio, RATE))


def test_beeps_and_a_drum_machine_are_not_stuck():
    t = np.arange(round(0.06 * RATE)) / RATE
    beep = np.concatenate([np.sin(2 * np.pi * 1500 * t) * np.hanning(len(t)), np.zeros(round(0.06 * RATE))])
    thrice = np.concatenate([np.tile(beep, 3), np.zeros(RATE)])
    for wave in (np.tile(thrice, 3), np.tile(np.random.default_rng(0).standard_normal(RATE // 8), 24)):
        assert not list(stuck((0.3 * np.stack([wave, wave])).astype(np.float32), RATE))


@pytest.mark.parametrize("prompt", ["bass", "beep"])
def test_lines_that_start_and_stop_do_not_ring_as_an_echo_does(prompt):
    item = Item(prompt=prompt, seed=1, duration_s=5.0, sample_rate=RATE)
    [made] = ProceduralEngine().generate([item])
    assert "comb_ringing" not in judged(made).issues


def test_what_rings_between_blows_is_no_whistle_and_the_same_line_held_is_one():
    t = np.arange(FRAMES) / RATE
    line = np.sin(2 * np.pi * 12_000 * t)
    ringing = (line * np.exp(-14 * (t % 0.5)) + 0.001 * np.random.default_rng(1).normal(size=FRAMES)).astype(np.float32)
    held = ringing + (0.01 * line).astype(np.float32)
    rumble = steps(FRAMES)
    assert [("whistle" in judged(rumble + 0.1 * one).issues) for one in (ringing, held)] == [False, True]
