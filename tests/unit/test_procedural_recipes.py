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


@pytest.mark.parametrize("seed", SEEDS)
class TestNature:
    def test_rain_on_leaves_is_duller_than_rain_and_patters(self, seed: int) -> None:
        leaves, plain = painted("rain_on_leaves", seed=seed), painted("rain", seed=seed)
        assert centroid(leaves) < 0.8 * centroid(plain)
        assert crest(leaves) > crest(plain)

    def test_frogs_croak_in_pulse_trains(self, seed: int) -> None:
        sound = painted("frogs", seed=seed)
        assert share(sound, 150, 3500) > 0.9
        # The throat opens 20 to 70 times a second within a croak.
        levels = envelope(sound, 0.002)
        rates = np.fft.rfftfreq(len(levels), 0.002)
        modulation = np.abs(np.fft.rfft(levels - levels.mean())) ** 2
        assert modulation[(rates > 20) & (rates < 70)].sum() > 0.15 * modulation[(rates > 2)].sum()

    def test_birds_sweep_above_1500_hz(self, seed: int) -> None:
        sound = painted("birds", seed=seed)
        assert share(sound, 1500, 9000) > 0.95
        loud = envelope(sound, 0.046) > 0.3 * envelope(sound, 0.046).max()
        track = pitch_track(sound)
        count = min(len(track), len(loud))
        voiced = track[:count][loud[:count]]
        assert voiced.max() > 1.3 * voiced.min()
        assert (~loud).sum() > 0.2 * len(loud)


@pytest.mark.parametrize("seed", SEEDS)
class TestPeopleAndHouse:
    def test_a_crowd_speaks_in_syllables(self, seed: int) -> None:
        sound = painted("crowd", seed=seed)
        assert share(sound, 100, 4000) > 0.9
        assert unevenness(sound) < 0.5
        levels = envelope(sound, 0.02)
        rates = np.fft.rfftfreq(len(levels), 0.02)
        modulation = np.abs(np.fft.rfft(levels - levels.mean())) ** 2
        syllabic = modulation[(rates > 2) & (rates < 8)].mean()
        assert syllabic > 1.5 * modulation[rates > 16].mean()

    def test_applause_is_a_dense_rattle_of_claps(self, seed: int) -> None:
        sound = painted("applause", seed=seed)
        assert share(sound, 500, 7000) > 0.85
        assert unevenness(sound) < 0.2
        assert crest(sound) > 6

    def test_a_door_is_knocked_three_times_in_a_second(self, seed: int) -> None:
        sound = painted("door_knock", seed=seed, duration_s=1.5)
        times = onsets(sound, gap_s=0.1)
        assert len(times) == 3
        assert np.diff(times).mean() == pytest.approx(0.2, rel=0.1)
        assert share(sound, 80, 1200) > 0.8
        assert len(onsets(painted("door_knock", seed=seed, count=5), gap_s=0.1)) == 5

    def test_a_thud_is_one_low_blow(self, seed: int) -> None:
        sound = painted("thud", seed=seed, duration_s=1.5, count=1)
        assert share(sound, 20, 300) > 0.7
        assert len(onsets(sound, gap_s=0.2)) == 1
        levels = envelope(sound, 0.05)
        assert levels[0] > 20 * levels[-1]

    def test_a_creak_is_a_gliding_stick_slip(self, seed: int) -> None:
        sound = painted("door_creak", seed=seed, duration_s=1.2)
        assert share(sound, 200, 9000) > 0.9
        # Its pulses come at a rate that wanders: the period found by autocorrelation changes.
        wave = sound.mean(axis=0)
        periods = []
        for start in range(4000, len(wave) - 4096, 4096):
            part = wave[start : start + 4096].astype(np.float64)
            likeness = np.fft.irfft(np.abs(np.fft.rfft(part, 8192)) ** 2)[:2000]
            periods.append(200 + int(np.argmax(likeness[200:1500])))
        hz = RATE / np.array(periods)
        assert 30 < np.median(hz) < 230
        assert hz.max() > 1.15 * hz.min()

    def test_glass_breaks_at_once_then_its_shards_ring_high(self, seed: int) -> None:
        sound = painted("glass", seed=seed, duration_s=3.0)
        assert centroid(sound) > 3000
        levels = envelope(sound, 0.1)
        assert levels[0] > 2.5 * levels[3]
        assert levels[5] > 5 * levels[-1]
        assert crest(sound[:, RATE // 2 : 2 * RATE]) > 8  # single shards; noise would have 4 or 5

    def test_a_click_is_over_in_a_few_milliseconds(self, seed: int) -> None:
        sound = painted("click", seed=seed, duration_s=0.6)
        levels = envelope(sound, 0.005)
        assert (levels > 0.1 * levels.max()).sum() * 0.005 < 0.08
        assert centroid(sound) > 1500

    def test_typing_is_uneven_strokes_at_a_typists_rate(self, seed: int) -> None:
        times = onsets(painted("typing", seed=seed, duration_s=15), threshold=0.3, gap_s=0.04)
        assert 3 < len(times) / 15 < 12
        assert np.diff(times).std() > 0.25 * np.diff(times).mean()

    def test_static_is_flat_and_steady(self, seed: int) -> None:
        sound = painted("static", seed=seed)
        assert unevenness(sound) < 0.15
        low, high = share(sound, 1000, 3000) / 2000, share(sound, 6000, 12_000) / 6000
        assert 0.3 < high / low < 2


@pytest.mark.parametrize("seed", SEEDS)
class TestMachines:
    def test_an_engine_fires_at_its_rate_and_follows_speed(self, seed: int) -> None:
        for hz in (30.0, 48.0):
            sound = painted("engine", seed=seed, hz=hz)
            lines = [share(sound, k * hz * 0.96, k * hz * 1.04) for k in (1, 2, 3)]
            between = [share(sound, (k + 0.23) * hz * 0.97, (k + 0.23) * hz * 1.03) for k in (1, 2, 3)]
            assert sum(lines) > 3 * sum(between)
        assert share(painted("engine", seed=seed), 0, 1000) > 0.9

    def test_a_hum_is_steady_on_the_harmonics_of_the_mains(self, seed: int) -> None:
        sound = painted("hum", seed=seed)
        assert unevenness(sound) < 0.25
        assert min(abs(strongest(sound) - hz) for hz in (100, 120)) < 1  # twice the mains, here or there

    def test_a_train_clacks_in_fours_over_a_rumble(self, seed: int) -> None:
        sound = painted("train", seed=seed, duration_s=12)
        assert share(sound, 20, 500) > 0.6
        levels = envelope(sound, 0.01)
        lag = np.correlate(levels - levels.mean(), levels - levels.mean(), "full")[len(levels) - 1 :]
        assert 0.01 * (60 + int(np.argmax(lag[60:180]))) == pytest.approx(1.25, abs=0.06)

    def test_a_horn_is_a_chord_of_steady_pitches(self, seed: int) -> None:
        sound = painted("horn", seed=seed, duration_s=1.0)
        part = sound[:, RATE // 4 :]
        pitches = [k * 311 * ratio for ratio in (1.0, 1.189, 1.498) for k in (1, 2, 3)]
        assert sum(share(part, hz * 0.985, hz * 1.015) for hz in pitches) > 0.5


@pytest.mark.parametrize("seed", SEEDS)
class TestSignals:
    def test_a_siren_sweeps_up_and_down(self, seed: int) -> None:
        track = pitch_track(painted("siren", seed=seed, duration_s=12))
        assert track.max() > 2 * track.min()
        smooth = np.abs(np.diff(track)) / track[1:]
        assert np.median(smooth) < 0.05
        turning = np.abs(np.fft.rfft(track - track.mean()))
        assert np.argmax(turning) / 12 == pytest.approx(0.26, abs=0.09)

    def test_an_alarm_beeps_in_groups_of_four(self, seed: int) -> None:
        times = onsets(painted("alarm", seed=seed, duration_s=4), gap_s=0.05)
        assert len(times) == 16
        assert np.diff(times)[:3].mean() == pytest.approx(0.13, abs=0.02)
        assert times[4] - times[0] == pytest.approx(1.0, abs=0.05)

    def test_a_bells_partials_are_inharmonic_and_die_away_the_high_ones_first(self, seed: int) -> None:
        sound = painted("bell", seed=seed, duration_s=4, count=1, hz=400.0)
        for ratio in (0.5, 1.0, 1.183, 2.0):
            near = share(sound, 400 * ratio * 0.985, 400 * ratio * 1.015)
            assert near > 5 * share(sound, 400 * ratio * 1.05, 400 * ratio * 1.08)
        early, late = sound[:, : RATE // 2], sound[:, 3 * RATE :]
        assert np.abs(late).max() < 0.5 * np.abs(early).max()
        assert share(late, 900, 10_000) < 0.3 * share(early, 900, 10_000)

    def test_a_clock_ticks_twice_a_second_like_clockwork(self, seed: int) -> None:
        times = onsets(painted("clock", seed=seed), threshold=0.2, gap_s=0.2)
        assert np.diff(times).mean() == pytest.approx(0.5, abs=0.01)
        assert np.diff(times).std() < 0.01

    def test_an_explosion_is_a_low_blast_that_dies(self, seed: int) -> None:
        sound = painted("explosion", seed=seed, duration_s=4, count=1)
        assert share(sound, 0, 300) > 0.6
        levels = envelope(sound, 0.1)
        assert int(np.argmax(levels)) <= 2
        assert levels[-3:].max() < 0.05 * levels.max()

    def test_a_laser_falls(self, seed: int) -> None:
        track = pitch_track(painted("laser", seed=seed, duration_s=0.3, count=1), window_s=0.03)
        assert track[0] > 3 * track[7]
        assert track[:3].mean() > 1.5 * track[3:6].mean()

    def test_a_whoosh_swells_and_passes_from_left_to_right(self, seed: int) -> None:
        sound = painted("whoosh", seed=seed, duration_s=0.8, count=1)
        levels = envelope(sound, 0.05)
        assert 4 <= int(np.argmax(levels)) <= 12
        assert levels[0] < 0.3 * levels.max()
        start, end = sound[:, : RATE // 3], sound[:, RATE // 2 : 3 * RATE // 4]
        assert np.std(start[0]) > 1.3 * np.std(start[1])
        assert np.std(end[1]) > 1.3 * np.std(end[0])

    def test_a_coin_steps_up_a_fourth(self, seed: int) -> None:
        sound = painted("coin", seed=seed, duration_s=0.6, count=1)
        first = strongest(sound[:, round(0.03 * RATE) : round(0.1 * RATE)])
        second = strongest(sound[:, round(0.15 * RATE) : round(0.5 * RATE)])
        assert second / first == pytest.approx(4 / 3, rel=0.02)


@pytest.mark.parametrize("seed", SEEDS)
class TestMusic:
    @pytest.mark.parametrize("bpm", [90.0, 120.0])
    def test_drums_keep_the_tempo(self, seed: int, bpm: float) -> None:
        sound = painted("drums", seed=seed, bpm=bpm, intensity=0.2)
        times = onsets(sound, threshold=0.3, gap_s=0.2)
        beats = np.arange(0, 7.9, 60 / bpm)
        distance = np.abs(times[:, None] - beats[None, :]).min(axis=0)
        assert distance.max() < 0.02

    def test_chords_change_every_bar_and_follow_the_tempo(self, seed: int) -> None:
        sound = painted("chords", seed=seed, bpm=120.0)
        # Notes begin on quavers of 0.25 s: the rises of the treble repeat at that lag.
        rises = np.maximum(0, np.diff(np.log(envelope(np.diff(sound), 0.01) + 1e-4)))
        lag = np.correlate(rises, rises, "full")[len(rises) - 1 :]
        assert abs(15 + int(np.argmax(lag[15:36])) - 25) <= 1
        bars = [sound[:, k * 2 * RATE : (k + 1) * 2 * RATE] for k in range(4)]
        spectra = [np.abs(np.fft.rfft(bar.mean(axis=0)))[200:2000] for bar in bars]
        likeness = [float(np.corrcoef(spectra[k], spectra[k + 1])[0, 1]) for k in range(3)]
        assert max(likeness) < 0.9

    def test_sad_music_has_a_minor_third_and_happy_music_a_major_one(self, seed: int) -> None:
        def third(mood: str) -> float:
            sound = painted("chords", seed=seed, mood=mood, hz=220.0, bpm=60.0, duration_s=3.9)
            minor, major = (
                sum(share(sound, f * 0.99, f * 1.01) for f in (220 * 2 ** (s / 12), 440 * 2 ** (s / 12)))
                for s in (3, 4)
            )
            return major / (major + minor)

        assert third("sad") < 0.3
        assert third("happy") > 0.7


def test_120_bpm_in_words_gives_an_onset_every_half_second() -> None:
    sound = made("drum beat, 120 BPM", duration_s=10, loop=True)
    levels = envelope(sound, 0.01)
    rises = np.maximum(0, np.diff(levels))
    lag = np.correlate(rises, rises, "full")[len(rises) - 1 :]
    assert lag[50] > 3 * np.median(lag[20:48])
    assert 48 <= 40 + int(np.argmax(lag[40:60])) <= 52
