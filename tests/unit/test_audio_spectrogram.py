"""The picture shows the sound: its level, its frequencies, its time; with no library beside numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.audio_signals import RATE, tone, white
from tests.support.png_pixels import png_colours

from audio_pool.audio.spectrogram import available, require_directory, write_png, write_tile
from audio_pool.errors import InvalidAudio, StorageError

PANEL = (slice(143, 461), slice(93, 875))
"""Inside the spectrogram's frame."""
LANES = (slice(41, 84), slice(85, 127))


def brightness(path: Path) -> np.ndarray:
    """The picture as int [H, W]."""
    return png_colours(path.read_bytes()).astype(int).sum(axis=2)


def drawn(path: Path, audio: np.ndarray, rate: int = RATE, title: str = "") -> np.ndarray:
    """The brightness of a sound's picture."""
    write_png(path, audio, rate, title)
    return brightness(path)


def test_the_picture_has_the_promised_size(tmp_path: Path) -> None:
    assert drawn(tmp_path / "x.png", tone(RATE)).shape == (500, 1000)


@pytest.mark.parametrize("hz", [300.0, 1_000.0, 5_000.0, 12_000.0])
def test_a_tone_is_drawn_at_its_place_on_the_mel_scale(tmp_path: Path, hz: float) -> None:
    panel = drawn(tmp_path / "x.png", tone(RATE, hz))[PANEL]
    mel, top = (2595 * np.log10(1 + f / 700) for f in (hz, 20_000))
    expected = (1 - mel / top) * (len(panel) - 1)
    assert abs(int(panel.mean(axis=1).argmax()) - expected) <= 2


def test_a_tone_is_as_bright_wherever_it_is(tmp_path: Path) -> None:
    brightest = [drawn(tmp_path / "x.png", tone(RATE, hz))[PANEL][:, 400].max() for hz in (200.0, 2_000.0, 15_000.0)]
    assert max(brightest) - min(brightest) < 60


@pytest.mark.parametrize("hz", [300.0, 1_000.0, 3_000.0])
def test_the_top_of_the_picture_can_be_chosen(tmp_path: Path, hz: float) -> None:
    write_png(tmp_path / "x.png", tone(RATE, hz), RATE, highest_hz=4_000.0)
    panel = brightness(tmp_path / "x.png")[PANEL]
    mel, top = (2595 * np.log10(1 + f / 700) for f in (hz, 4_000))
    assert abs(int(panel.mean(axis=1).argmax()) - (1 - mel / top) * (len(panel) - 1)) <= 2


def test_frequencies_are_parted_into_as_many_bands_as_are_asked_for(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", white(RATE), RATE, mel_bands=16)
    rows = png_colours((tmp_path / "x.png").read_bytes()).astype(int)[PANEL][:, 400]
    steps = np.flatnonzero(np.abs(np.diff(rows, axis=0)).sum(axis=1))
    assert len(steps) == 15 and set(np.diff(steps)) == {20}
    write_png(tmp_path / "all.png", tone(RATE), RATE, mel_bands=320)
    assert (tmp_path / "all.png").read_bytes() == _drawn_plain(tmp_path / "plain.png")


def _drawn_plain(path: Path) -> bytes:
    write_png(path, tone(RATE), RATE)
    return path.read_bytes()


def test_on_a_dark_ground_only_ground_text_and_waveform_are_others(tmp_path: Path) -> None:
    light, dark = drawn(tmp_path / "l.png", tone(RATE)), tmp_path / "d.png"
    write_png(dark, tone(RATE), RATE, dark=True)
    assert np.array_equal(light[PANEL], brightness(dark)[PANEL])
    assert light[490, 500] == 3 * 255 and brightness(dark)[490, 500] < 100
    assert brightness(dark)[:, :90].max() > 600, "the axis can be read"


def test_time_runs_from_left_to_right(tmp_path: Path) -> None:
    sound = white(RATE)
    sound[:, : RATE // 2] = 0
    level = drawn(tmp_path / "x.png", sound)[PANEL].mean(axis=0)
    half = len(level) // 2
    assert level[half + 20 :].min() > level[: half - 20].max() + 200


def test_a_short_event_in_a_long_sound_is_seen(tmp_path: Path) -> None:
    sound = np.zeros((1, 120 * 8_000), np.float32)
    sound[:, 480_000:480_400] = white(400, channels=1)
    level = drawn(tmp_path / "x.png", sound, 8_000)[PANEL].mean(axis=0)
    assert abs(int(level.argmax()) - len(level) / 2) < 3


def test_each_channel_has_its_own_lane(tmp_path: Path) -> None:
    sound = np.concatenate([0.9 * white(RATE, channels=1), np.zeros((1, RATE), np.float32)])
    picture = drawn(tmp_path / "x.png", sound)
    left, right = (float((picture[rows, 93:875] < 600).mean()) for rows in LANES)
    assert left > 5 * right


def test_channels_out_of_phase_do_not_cancel(tmp_path: Path) -> None:
    mono = tone(RATE, 1_000.0)[:1]
    panel = drawn(tmp_path / "x.png", np.concatenate([mono, -mono]))[PANEL]
    assert panel.max() > 400


@pytest.mark.parametrize(
    ("frames", "rate"), [(1, 44_100), (10, 8_000), (500, RATE), (30 * RATE, RATE), (4_000, 192_000)]
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_draws_any_length_rate_and_number_of_channels(tmp_path: Path, frames: int, rate: int, channels: int) -> None:
    drawn(tmp_path / "x.png", white(frames, channels=channels), rate)
    drawn(tmp_path / "silence.png", np.zeros((channels, frames), np.float32), rate)


def test_silence_is_dark(tmp_path: Path) -> None:
    assert drawn(tmp_path / "x.png", np.zeros((2, RATE), np.float32))[PANEL].max() < 100


@pytest.mark.parametrize("title", ["", "rain", "a very long title " * 30, "дождь\n雨", "\t"])
def test_any_title_fits(tmp_path: Path, title: str) -> None:
    picture = drawn(tmp_path / "x.png", tone(RATE), title=title)
    assert (picture[:35, :90] == picture[0, 0]).all()
    assert (picture[:35, 990:] == picture[0, 0]).all()
    assert (picture[:35] < 300).any() == bool(title.strip())


def test_the_same_sound_gives_the_same_picture(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, white(RATE), RATE, "rain")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    "audio",
    [np.zeros((2, 0), np.float32), np.zeros((0, 5), np.float32), np.zeros(5, np.float32),
     np.full((1, 5), np.nan, np.float32)],
)  # fmt: skip
def test_nothing_to_draw_is_an_error(tmp_path: Path, audio: np.ndarray) -> None:
    with pytest.raises(InvalidAudio):
        write_png(tmp_path / "x.png", audio, RATE)


def test_a_directory_that_is_not_there_is_an_error_before_and_while_drawing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        require_directory(tmp_path / "nowhere" / "x.png")
    with pytest.raises(StorageError, match="nowhere"):
        write_png(tmp_path / "nowhere" / "x.png", tone(RATE), RATE)
    require_directory(tmp_path / "x.png")


def test_no_extra_is_needed() -> None:
    assert available() == ""


def test_a_tile_is_small_and_shows_the_levels_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    write_tile(path, tone(RATE, 2_000.0), RATE)
    shown = brightness(path)
    mel, top = (2595 * np.log10(1 + f / 700) for f in (2_000, 20_000))
    assert shown.shape == (120, 240) and path.stat().st_size < 16_384
    assert abs(int(shown.mean(axis=1).argmax()) - (1 - mel / top) * 119) <= 1
    with pytest.raises(InvalidAudio):
        write_tile(path, np.zeros((2, 0), np.float32), RATE)
