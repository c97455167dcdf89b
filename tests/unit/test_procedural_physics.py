"""Crowds, songbirds, fires, steps, rain, wings and gears against the physics that they are made by."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from benchmarks import realism
from tests.unit.procedural_physics import (
    RATE,
    centroid,
    crest,
    envelope,
    made,
    mono,
    onsets,
    painted,
    power,
    share,
    unevenness,
)

from audio_pool.engines.procedural import crowd, rain
from audio_pool.engines.procedural.canvas import Canvas
from audio_pool.engines.procedural.recipe import Character


def _bands(sound: np.ndarray) -> np.ndarray:
    hz, energy = power(sound)
    shares = np.array([energy[(hz >= low) & (hz < high)].sum() for low, high in pairwise(np.geomspace(40, 16_000, 28))])
    return 10 * np.log10(shares / shares.sum() + 1e-6)


def _apart_db(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.mean((_bands(one) - _bands(other)) ** 2)))


def _low_rate(sound: np.ndarray, low_hz: float, high_hz: float) -> float:
    """The strongest modulation between two rates of what sounds below 200 Hz, Hz."""
    wave = mono(sound)
    spectrum = np.fft.rfft(wave)
    spectrum[np.fft.rfftfreq(len(wave), 1 / RATE) > 200] = 0
    levels = envelope(np.fft.irfft(spectrum, len(wave)), 0.02)
    rates = np.fft.rfftfreq(len(levels), 0.02)
    strength = np.abs(np.fft.rfft(levels - levels.mean()))
    return float(rates[np.argmax(np.where((rates > low_hz) & (rates < high_hz), strength, 0))])


# -- a crowd --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pitch", [110.0, 205.0])
def test_a_talker_speaks_at_its_own_pitch_and_in_its_own_place(pitch: float) -> None:
    canvas = Canvas(4 * RATE, RATE, loop=False, seed=(1, 1))
    talker = crowd._Talker(pitch=pitch, tract=int(pitch > 150), syllables_per_s=4.5, gains=(1.0, 0.25), talking=0.7)
    sound = crowd._section(canvas, [talker], 4.0)
    assert realism._pitch(mono(sound)) == pytest.approx(pitch, rel=0.2)
    assert np.std(sound[0]) == pytest.approx(4 * np.std(sound[1]), rel=0.01)
    levels = envelope(sound, 0.02)
    assert (levels < 0.1 * levels.max()).mean() > 0.1  # it pauses
    assert share(sound, 80, 4500) > 0.95


def test_forty_talk_at_once_and_each_for_themselves() -> None:
    talkers = [crowd._talker(Canvas(100, RATE, loop=False, seed=(k, 1)), Character(), k) for k in range(40)]
    assert len({talker.pitch for talker in talkers}) == 40
    assert max(t.pitch for t in talkers) > 2.5 * min(t.pitch for t in talkers)
    loudness = [sum(gain**2 for gain in talker.gains) ** 0.5 for talker in talkers]
    assert max(loudness) > 4 * min(loudness)


def test_a_long_crowd_has_no_holes_where_its_sections_meet() -> None:
    levels = envelope(made("a crowd", duration_s=30.0, loop=True), 0.5)
    assert levels.min() > 0.55 * np.median(levels)
    levels = envelope(np.roll(made("a crowd", duration_s=3.0, loop=True), RATE, axis=1), 0.25)
    assert levels.min() > 0.4 * np.median(levels)


# -- songbirds ------------------------------------------------------------------------------------------------

_SPECIES = ("blackbird", "chaffinch", "great tit", "robin", "thrush", "sparrow")


def test_each_species_has_its_own_song() -> None:
    songs = {name: made(f"a {name}", duration_s=6.0) for name in _SPECIES}
    for one, other in combinations(_SPECIES, 2):
        assert _apart_db(songs[one], songs[other]) > 2, (one, other)
    assert centroid(songs["blackbird"]) < 3000 < centroid(songs["great tit"])


def test_both_halves_of_a_syrinx_sound_in_a_sparrows_chirp() -> None:
    sound = mono(made("a sparrow", duration_s=3.0))
    size = 2048
    parts = sound[: len(sound) // size * size].reshape(-1, size)
    spectrum = np.abs(np.fft.rfft(parts[np.argmax((parts**2).sum(axis=1))] * np.hanning(size)))
    hz = np.fft.rfftfreq(size, 1 / RATE)
    peak = hz[np.argmax(spectrum)]
    ratios = (1.37, 1 / 1.37)
    beside = [spectrum[(hz > 0.93 * r * peak) & (hz < 1.07 * r * peak)].max() for r in ratios]
    assert max(beside) > 0.15 * spectrum.max()


# -- a fire ---------------------------------------------------------------------------------------------------


def test_a_fires_crackles_are_many_small_and_few_large() -> None:
    wave = np.diff(mono(made("a fire", duration_s=20.0)), n=2)  # crackles without the flames
    peaks = envelope(wave, 0.002)
    loud = np.sort(peaks[peaks > 3 * np.median(peaks)])[::-1]
    counts = [int((loud > part * loud[0]).sum()) for part in (0.5, 0.25, 0.125)]
    assert counts[0] < 0.6 * counts[1] < 0.6 * counts[2]
    assert counts[2] > 30


def test_flames_puff_the_slower_the_larger_the_fire() -> None:
    rates = [np.median([_low_rate(made(prompt, seed=seed, duration_s=12.0), 0.8, 9.0) for seed in (1, 2, 3)])
             for prompt in ("a tiny fire", "a huge fire")]  # fmt: skip
    assert rates[0] > 1.15 * rates[1]


# -- steps ----------------------------------------------------------------------------------------------------


def test_a_runner_steps_faster_than_a_walker() -> None:
    gaits = ("footsteps", "running footsteps")
    walking, running = (np.diff(onsets(made(gait), gap_s=0.2)).mean() for gait in gaits)
    assert 60 / walking == pytest.approx(108, rel=0.15)
    assert 60 / running == pytest.approx(168, rel=0.15)


@pytest.mark.parametrize("ground", ["gravel", "snow"])
def test_what_lies_on_the_ground_gives_way_as_the_force_changes(ground: str) -> None:
    sound = np.diff(mono(made(f"footsteps on {ground} at 60 BPM", duration_s=8.0)), prepend=0.0)
    levels = envelope(sound, 0.01)[:800].reshape(8, 100).mean(axis=0)  # one step a second, eight laid together
    stance = 75  # of a hundred parts
    loading, middle = levels[: stance // 4].mean(), levels[round(0.35 * stance) : round(0.6 * stance)].mean()
    swinging = levels[85:98].mean()
    assert loading > 1.5 * middle
    assert middle > 2 * swinging


# -- rain -----------------------------------------------------------------------------------------------------

_SURFACES = ("rain", "rain on a tent", "rain on a window", "rain on a lake", "rain on pavement", "rain on a tin roof",
             "rain on leaves")  # fmt: skip


def test_rain_sounds_of_what_it_falls_on() -> None:
    sounds = {prompt: made(prompt, duration_s=4.0) for prompt in _SURFACES}
    for one, other in combinations(_SURFACES, 2):
        assert _apart_db(sounds[one], sounds[other]) > 2, (one, other)
    bright = [centroid(sounds[prompt]) for prompt in ("rain on a tent", "rain on a window", "rain on pavement")]
    assert bright == sorted(bright)
    assert crest(sounds["rain on a window"]) > crest(sounds["rain"])
    assert share(sounds["rain on a lake"], 0, 400) < 0.02  # bubbles ring, water does not thump


def test_heavier_rain_has_more_drops_and_larger_ones() -> None:
    drops = []
    for intensity in (0.5, 2.0):
        canvas = Canvas(4 * RATE, RATE, loop=False, seed=(1, 1))
        rain._fall(canvas, Character(intensity=intensity), 50.0, [np.ones(1, dtype=np.float32)], 0.1)
        blows = np.sqrt((canvas.sound**2).sum(axis=0))
        drops.append((np.count_nonzero(blows), float(np.median(blows[blows > 0]))))
    (few, small), (many, large) = drops
    assert many > 3 * few
    assert large > 1.1 * small


# -- wings and gears --------------------------------------------------------------------------------------------


def test_a_mosquito_whines_thinly_and_flies_past() -> None:
    sound = made("a mosquito", duration_s=8.0)
    assert 380 < realism._pitch(mono(sound)) < 850
    assert share(sound, 380, 6000) > 0.95
    assert unevenness(sound) > 0.3
    assert realism._pitch(mono(made("a bee", duration_s=8.0))) < 320


@pytest.mark.parametrize("vehicle", ["motorcycle", "truck", "car"])
def test_a_gearshift_drops_the_engines_pitch_and_its_load(vehicle: str) -> None:
    levels = envelope(made(f"a {vehicle} accelerating through the gears", duration_s=8.0), 0.05)
    shifts = [k for k in range(4, len(levels) - 4) if levels[k : k + 3].mean() < 0.62 * levels[k - 4 : k].mean()]
    groups = [k for n, k in enumerate(shifts) if n == 0 or k - shifts[n - 1] > 8]
    assert 2 <= len(groups) <= 6
    steady = envelope(made(f"a {vehicle} idling", duration_s=8.0), 0.25)[1:-1]
    assert vehicle == "motorcycle" or steady.min() > 0.8 * steady.mean()


def test_a_horse_walks_trots_and_gallops() -> None:
    beats = {gait: len(onsets(made(f"a horse {gait}", duration_s=8.0), gap_s=0.06)) / 8
             for gait in ("walking", "trotting", "galloping")}  # fmt: skip
    assert beats["walking"] == pytest.approx(4 / 1.1, rel=0.15)  # four even beats a stride
    assert beats["trotting"] == pytest.approx(2 / 0.72, rel=0.15)  # two, each of a diagonal pair
    assert beats["galloping"] > 1.4 * beats["walking"]


def test_a_steam_train_puffs() -> None:
    def puffing(prompt: str) -> float:
        levels = envelope(np.diff(mono(made(prompt, duration_s=8.0))), 0.01)
        rates = np.fft.rfftfreq(len(levels), 0.01)
        strength = np.abs(np.fft.rfft(levels - levels.mean()))
        return float(strength[(rates > 4.6) & (rates < 6.0)].max() / strength[rates > 1].mean())

    assert puffing("a steam train") > 2 * puffing("a subway")


def test_an_overdriven_guitar_has_more_overtones_and_none_that_fold_back() -> None:
    clean, driven = (painted("guitar", hz=220.0, kind=kind, rate=22_050, duration_s=4.0) for kind in ("", "electric"))
    assert crest(driven) < 0.8 * crest(clean)
    full = painted("guitar", hz=220.0, kind="electric", rate=88_200, duration_s=4.0)
    shares = [share(sound, 7000, 9500, rate) for sound, rate in ((driven, 22_050), (full, 88_200))]
    assert shares[0] < 3 * shares[1] + 1e-4


def test_men_and_women_differ_in_pitch() -> None:
    man, woman = (realism._pitch(mono(made(f"a {who} speaking", duration_s=4.0))) for who in ("man", "woman"))
    assert 70 < man < 150 < woman < 280


@pytest.mark.parametrize("prompt", ["a crowd", "birds", "a mosquito", "a truck accelerating", "rain on a tent"])
def test_nothing_folds_back_at_a_low_rate(prompt: str) -> None:
    def bands(rate: int) -> np.ndarray:
        hz, energy = power(made(prompt, duration_s=3.0, rate=rate), rate)
        edges = np.geomspace(60, 3400, 16)
        shares = np.array([energy[(hz >= low) & (hz < high)].sum() for low, high in pairwise(edges)])
        return 10 * np.log10(shares / shares.sum() + 1e-5)

    assert float(np.sqrt(np.mean((bands(8000) - bands(RATE)) ** 2))) < 1.0
