"""The picture shows the sound; without the extra the error names it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.support.audio_signals import RATE, tone, white

from audio_pool.audio.spectrogram import write_png
from audio_pool.errors import EngineUnavailable, InvalidAudio


def rows_lit(path):
    """The picture as brightness [H, W]."""
    image = pytest.importorskip("matplotlib.image")
    return image.imread(path)[:, :, :3].sum(axis=2)


def test_a_high_tone_is_drawn_above_a_low_one(tmp_path):
    pytest.importorskip("librosa")
    heights = []
    for hz in (200.0, 2000.0):
        path = tmp_path / f"{hz}.png"
        write_png(path, tone(RATE, hz), RATE, "a tone")
        picture = rows_lit(path)
        assert picture.shape == (500, 1000)
        column = picture[180:440, 400]  # through the spectrogram, clear of its axes
        heights.append(int(np.argmax(column)))
    assert heights[1] < heights[0] - 30


@pytest.mark.parametrize(("frames", "rate"), [(10, 8_000), (500, RATE), (30 * RATE, RATE), (4000, 192_000)])
def test_draws_any_length_and_rate_without_a_warning(tmp_path, frames, rate):
    pytest.importorskip("librosa")
    write_png(tmp_path / "x.png", white(frames, channels=1), rate)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    write_png(tmp_path / "silence.png", np.zeros((2, frames), np.float32), rate)


def test_leaves_the_display_alone(tmp_path):
    pytest.importorskip("librosa")
    write_png(tmp_path / "x.png", tone(RATE), RATE)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_nothing_to_draw_is_an_error(tmp_path):
    pytest.importorskip("librosa")
    with pytest.raises(InvalidAudio):
        write_png(tmp_path / "x.png", np.zeros((2, 0), np.float32), RATE)


def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(EngineUnavailable, match="librosa") as caught:
        write_png(tmp_path / "x.png", tone(RATE), RATE)
    assert caught.value.hint == "pip install 'audio-pool[plots]'"
