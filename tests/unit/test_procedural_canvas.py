"""The canvas and its blocks: circles that close, pitches and levels as asked, rooms that ring."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.procedural_physics import crest, pitch_track, rms, share, strongest

from audio_pool.engines.procedural.canvas import Canvas, Curve
from audio_pool.engines.procedural.grains import bubble, envelope, glide, modes, ping
from audio_pool.engines.procedural.recipe import Character
from audio_pool.engines.procedural.space import surround
from audio_pool.engines.procedural.spectra import band, lowpass

RATE = 44_100


def _canvas(seconds: float = 2.0, *, loop: bool = False, rate: int = RATE, seed: int = 1) -> Canvas:
    return Canvas(round(seconds * rate), rate, loop=loop, seed=(seed,))


class TestBed:
    @pytest.mark.parametrize("seconds", [0.05, 0.7, 1.4861, 5.0])
    @pytest.mark.parametrize("per_second", [0.0, 3000.0])
    def test_its_level_is_its_rms_and_its_shape_its_spectrum(self, seconds: float, per_second: float) -> None:
        c = _canvas(seconds)
        c.bed(band(1000, 2000, order=6), 0.1, per_second=per_second)
        assert rms(c.sound) == pytest.approx(0.1, rel=0.35 if seconds < 0.1 else 0.1)
        assert share(c.sound, 750, 2600) > 0.96

    def test_it_is_level_across_its_blocks_joints(self) -> None:
        c = _canvas(8.0)
        c.bed(band(2000, 8000), 0.1)
        levels = np.sqrt((c.sound.reshape(2, 160, -1) ** 2).mean(axis=(0, 2)))
        assert levels.std() < 0.04 * levels.mean()
        assert levels.max() < 1.12 * levels.mean()

    def test_it_has_no_click_at_its_blocks_joints(self) -> None:
        c = _canvas(8.0)
        c.bed(band(20, 80, order=4), 0.1)
        bends = np.abs(np.diff(c.sound, 2))
        assert bends.max() < 7 * np.sqrt((bends**2).mean())

    def test_width_is_the_likeness_of_the_sides(self) -> None:
        for width, likeness in ((0.0, 1.0), (1.0, 0.0)):
            c = _canvas()
            c.bed(band(200, 8000), 0.1, width=width)
            assert np.corrcoef(c.sound)[0, 1] == pytest.approx(likeness, abs=0.06)

    def test_few_clicks_make_it_crackle(self) -> None:
        smooth, crackling = _canvas(), _canvas()
        smooth.bed(band(500, 10_000), 0.1)
        crackling.bed(band(500, 10_000), 0.1, per_second=40)
        assert crest(crackling.sound) > 2 * crest(smooth.sound)


class TestTime:
    def test_a_placed_sound_wraps_in_a_loop_and_is_cut_elsewhere(self) -> None:
        click = np.ones(1000, dtype=np.float32)
        for loop, head in ((True, 500), (False, 0)):
            c = _canvas(1.0, loop=loop)
            c.place(click, (RATE - 500) / RATE)
            assert (np.abs(c.sound[0, -500:]) > 0.5).all()
            assert (np.abs(c.sound[0, :1000]) > 0.5).sum() == head

    def test_a_sound_longer_than_the_loop_goes_round_several_times(self) -> None:
        c = _canvas(0.1, loop=True)
        c.place(np.ones(3 * c.frames, dtype=np.float32), 0.0)
        assert c.sound == pytest.approx(3.0, abs=1e-3)

    def test_pan(self) -> None:
        c = _canvas()
        c.place(np.ones(10, dtype=np.float32), 0.0, pan=-1.0)
        assert c.sound[0, 5] > 1
        assert c.sound[1, 5] == pytest.approx(0, abs=1e-6)

    def test_a_pulse_goes_round_a_loop_a_whole_number_of_times(self) -> None:
        times = _canvas(10.0, loop=True).pulse(0.7)
        assert len(times) == 14
        assert np.diff([*times, 10.0]) == pytest.approx(10 / 14)
        assert np.diff(_canvas(10.0).pulse(0.7)) == pytest.approx(0.7)

    def test_a_beat_in_a_loop_fits_bars_or_else_beats(self) -> None:
        assert _canvas(10.0, loop=True).beat_s(0.5) == pytest.approx(0.5)
        assert _canvas(8.1, loop=True).beat_s(0.5) == pytest.approx(8.1 / 16)
        assert _canvas(7.0, loop=True).beat_s(0.5) == pytest.approx(7.0 / 16)  # three and a half bars: four
        assert _canvas(1.1, loop=True).beat_s(0.5) == pytest.approx(0.55)  # half a bar: whole beats
        assert _canvas(7.3).beat_s(0.5) == 0.5

    def test_scattered_times_have_their_rate_and_never_none(self) -> None:
        assert len(_canvas(100.0, rate=100).scatter(5.0)) == pytest.approx(500, abs=80)
        assert _canvas(0.05).scatter(0.1, first_s=0.02) == [pytest.approx(0.01)]


class TestCurves:
    def test_a_drift_is_slow_and_closes(self) -> None:
        values = _canvas(20.0).drift(2.0).points
        assert values.std() == pytest.approx(1, abs=0.01)
        spectrum = np.abs(np.fft.rfft(values))
        assert spectrum[11:].max() < 1e-3 * spectrum.max()
        assert abs(values[0] - values[-1]) < 3 * np.abs(np.diff(values)).max()

    @pytest.mark.parametrize("rate", [8000, 44_100, 192_000])
    def test_a_curve_is_read_as_its_straight_lines(self, rate: int) -> None:
        curve = _canvas(1.0).wave(3.0, 1.0)
        read = curve.part(100, rate // 2, rate)
        exact = np.sin(2 * np.pi * 3 * np.arange(100, rate // 2) / rate)
        assert np.abs(read - exact).max() < 0.02

    def test_a_path_goes_through_its_points(self) -> None:
        path = _canvas(2.0).path((0.0, 1.0), (1.0, 3.0))
        assert path.at(0.25) == pytest.approx(2, abs=0.02)
        assert path.at(0.8) == pytest.approx(3, abs=0.02)


class TestTone:
    @pytest.mark.parametrize("rate", [8000, 44_100, 96_000])
    def test_pitch_and_level(self, rate: int) -> None:
        c = _canvas(2.0, rate=rate)
        c.tone(440.0, 0.5)
        assert strongest(c.sound, rate) == pytest.approx(440, abs=0.5)
        assert np.abs(c.sound).max() == pytest.approx(0.5, abs=0.01)

    def test_a_loop_closes_on_whole_cycles_fixed_or_gliding(self) -> None:
        for hz in (443.3, Curve(443.3 + 30 * np.sin(np.linspace(0, 2 * np.pi, 200, endpoint=False)))):
            c = _canvas(1.7, loop=True)
            c.tone(hz)
            around = np.concatenate([c.sound[0, -50:], c.sound[0, :50]])
            assert np.abs(np.diff(around, 2)).max() < 1.2 * np.abs(np.diff(c.sound[0, 100:300], 2)).max()

    def test_a_glide_follows_its_curve(self) -> None:
        c = _canvas(2.0)
        c.tone(c.path((0.0, 300.0), (2.0, 900.0)))
        track = pitch_track(c.sound)
        assert track[len(track) // 2] == pytest.approx(600, rel=0.05)
        assert (np.diff(track) >= -8).all()

    def test_harmonics_past_the_nyquist_frequency_are_left_out(self) -> None:
        c = _canvas(1.0, rate=8000)
        c.tone(1500.0, 1.0, [1.0] * 10)
        assert share(c.sound, 1490, 1510, 8000) + share(c.sound, 2990, 3010, 8000) > 0.999


class TestGrains:
    def test_a_ping_rings_at_its_pitch_and_decays_at_its_rate(self) -> None:
        for sound in (ping(RATE, 800.0, 0.1), modes(RATE, [800.0], [0.1], [1.0])):
            assert strongest(sound) == pytest.approx(800, abs=5)
            level = [np.abs(sound[k : k + 500]).max() for k in (1000, 1000 + 4410)]
            assert level[1] / level[0] == pytest.approx(np.exp(-1), rel=0.05)

    def test_modes_too_high_for_the_rate_are_left_out(self) -> None:
        assert not modes(8000, [5000.0], [0.1], [1.0]).any()

    def test_a_bubble_rises_and_a_small_one_is_shorter(self) -> None:
        big, small = bubble(RATE, 400.0, rise=0.3), bubble(RATE, 3000.0, rise=0.3)
        assert len(small) < 0.5 * len(big)
        crossings = np.flatnonzero(np.diff(np.signbit(big[: len(big) // 2])))
        assert np.diff(crossings)[-3:].mean() < np.diff(crossings)[:3].mean()

    def test_an_envelope_begins_and_ends_at_rest(self) -> None:
        contour = envelope(RATE, 0.01, 0.05)
        assert contour[0] == 0
        assert abs(contour[-1]) < 1e-3
        assert contour.argmax() == pytest.approx(0.01 * RATE, abs=2)


class TestSpace:
    def test_nothing_in_the_way_changes_nothing(self) -> None:
        c = _canvas()
        c.bed(band(100, 5000), 0.1)
        assert surround(c.sound, RATE, Character(), loop=False) is c.sound

    def test_a_lowpass_has_its_cutoff_and_no_pre_echo(self) -> None:
        c = _canvas(1.0)
        c.sound[:, RATE // 2] = 1.0
        heard = surround(c.sound, RATE, Character(cutoff_hz=1000.0), loop=False)
        spectrum = np.abs(np.fft.rfft(heard[0]))
        assert spectrum[100] == pytest.approx(1, abs=0.05)
        assert spectrum[1000] == pytest.approx(0.71, abs=0.06)
        assert spectrum[10_000] < 0.02
        assert not np.abs(heard[:, : RATE // 2 - 2]).max() > 1e-4

    def test_a_hall_rings_longer_than_a_room_and_round_a_loop(self) -> None:
        def late(room: str, *, loop: bool = False) -> float:
            c = _canvas(2.0, loop=loop)
            c.sound[:, round(1.2 * RATE)] = 1.0
            heard = surround(c.sound, RATE, Character(room=room), loop=loop)
            return rms(heard[:, round(1.8 * RATE) :]) if not loop else rms(heard[:, : RATE // 4])

        assert late("hall") > 3 * late("room")
        assert late("hall", loop=True) > 1e-5

    def test_a_reflection_makes_a_point_wide_and_goes_round_a_loop(self) -> None:
        for loop in (True, False):
            c = _canvas(4.0, loop=loop)
            c.sound[:, [100_000, c.frames - 10]] = 1.0
            c.reflect(0.5)
            assert c.sound[0, 100_000 + round(0.0073 * RATE)] == pytest.approx(0.4, abs=1e-3)
            assert c.sound[1, 100_000 + round(0.0098 * RATE)] == pytest.approx(0.4, abs=1e-3)
            assert np.count_nonzero(c.sound[:, :5000]) == (4 if loop else 0)
            assert np.count_nonzero(c.sound) == (12 if loop else 8)


def test_shapes() -> None:
    hz = np.array([100.0, 1000.0, 10_000.0], dtype=np.float32)
    assert lowpass(1000.0)(hz)[1] == pytest.approx(0.707, abs=0.01)
    pink = band(10, 40_000, tilt_db=-3.0)(hz)
    assert 20 * np.log10(pink[0] / pink[1]) == pytest.approx(3 * np.log2(10), abs=0.3)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000])
def test_a_pitch_that_rises_over_half_the_rate_fades_out_and_does_not_come_back_down(rate: int) -> None:
    top = 0.8 * rate
    sweep = glide(rate, [(0.0, 0.2 * rate), (2.0, top)], partials=(1.0, 0.3), attack_s=0.01, release_s=0.01)
    beyond = sweep[round(0.5 * len(sweep)) : -round(0.05 * len(sweep))]  # the pitch is over half the rate here
    assert np.abs(sweep[: len(sweep) // 4]).max() > 0.5
    assert np.abs(beyond).max() < 1e-3
