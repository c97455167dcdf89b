"""Draw a sound: its waveform above its spectrogram, as a PNG with axes and a colour scale.

Owns: ``write_png`` and the layout of the picture; ``write_tile``, which is the levels alone, small.
Must not know: where the sound comes from; numpy only, no plotting library.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio, png
from audio_pool.audio.pixel_font import render, width
from audio_pool.errors import InvalidAudio, StorageError

__all__ = ["FLAME", "available", "require_directory", "write_png", "write_tile"]

_WIDTH, _HEIGHT = 1000, 500
_TILE = 240, 120
"""Columns and rows."""
_LEFT, _RIGHT = 92, 876
"""Columns of both panels."""
_WAVE = (40, 128)
"""Rows of the waveform: first, and one past the last."""
_SPECTRUM = (142, 462)
_SCALE = (896, 914)
"""Columns of the colour scale."""
_TEXT = 2
"""Scale of the font: letters of 10 by 14 pixels."""

_DYNAMIC_DB = 80.0
_HIGHEST_HZ = 20_000.0
_WINDOW_S = 0.05
_WINDOWS_PER_SOUND = 12
"""A short sound gets shorter windows, so that its onset is not smeared."""
_BLOCK = 512
"""Transforms at a time: bounds the memory of long sounds."""
_HZ_TICKS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)

_SHADES = 224
FLAME = (
    (8, 6, 16), (20, 12, 40), (34, 17, 66), (50, 20, 90), (68, 22, 106), (86, 25, 112), (105, 30, 112),
    (124, 36, 107), (144, 43, 98), (164, 51, 86), (184, 62, 72), (203, 77, 56), (220, 97, 40), (234, 124, 28),
    (245, 164, 48), (252, 222, 120),
)  # fmt: skip
"""Colours of levels, dark to bright, perceptually even."""
_PAPER, _INK, _GREY, _LINE, _PEAK, _RMS = range(_SHADES, _SHADES + 6)
_LIGHT = ((255, 255, 255), (26, 24, 34), (112, 110, 124), (214, 212, 222), (166, 146, 196), (86, 25, 112))
"""Of the six names above, after the shades of the spectrogram."""
_DARK = ((22, 21, 26), (236, 234, 240), (161, 157, 171), (62, 60, 72), (104, 86, 142), (184, 160, 236))
_ROWS = _SPECTRUM[1] - _SPECTRUM[0]

Picture = npt.NDArray[np.uint8]
"""uint8 [H, W]: indices into the palette."""


def available() -> str:
    """Return what is missing to draw pictures and how to install it; "" since this needs no extra."""
    return ""


def require_directory(path: Path) -> None:
    """Check, before a sound is made for it, that a picture has a directory to be written to.

    Raises:
        StorageError: there is none.
    """
    if not path.parent.is_dir():
        raise StorageError(
            f"the picture {str(path)!r} cannot be written: {str(path.parent)!r} is not a directory",
            hint="create it, or choose another path",
        )


def write_png(
    path: Path,
    audio: Audio,
    sample_rate: int,
    title: str = "",
    *,
    mel_bands: int = 0,
    highest_hz: float | None = None,
    dark: bool = False,
) -> None:
    """Write a PNG of 1,000 by 500 pixels: title, waveform, and mel-scaled spectrogram over 80 dB.

    The waveform has one lane per channel, full scale: peaks pale, root mean square dark. Levels of the
    spectrogram are in dBFS (a sine of full scale has 0), averaged over the channels.

    Args:
        audio: float32 [C, T].
        title: cut to the picture's width.
        mel_bands: how many the frequencies are parted into, at most as many as there are rows; 0: one a row.
        highest_hz: top of the picture, at most half the sample rate; None: 20 kHz.
        dark: light text on a dark ground.

    Raises:
        InvalidAudio: nothing to draw. StorageError: the file cannot be written.
    """
    _check(audio)
    picture = np.full((_HEIGHT, _WIDTH), _PAPER, np.uint8)
    _draw_title(picture, audio, sample_rate, title)
    _draw_waveform(picture, audio)
    top_hz = min(highest_hz or _HIGHEST_HZ, sample_rate / 2)
    top_db = _draw_spectrogram(picture, audio, sample_rate, top_hz, mel_bands or _ROWS)
    _draw_time_axis(picture, audio.shape[1] / sample_rate)
    _draw_frequency_axis(picture, top_hz)
    _draw_colour_scale(picture, top_db)
    _write_file(path, png.encode(picture, _palette(_DARK if dark else _LIGHT)))


def write_tile(path: Path, audio: Audio, sample_rate: int) -> None:
    """Write a PNG of 240 by 120 pixels: the mel-scaled spectrogram over 80 dB, in sixteen colours and nothing else.

    Args:
        audio: float32 [C, T].

    Raises:
        InvalidAudio, StorageError: as ``write_png``.
    """
    _check(audio)
    columns, rows = _TILE
    levels, top_db = _levels(audio, sample_rate, columns, min(_HIGHEST_HZ, sample_rate / 2), rows)
    steps = np.clip((levels - top_db) / _DYNAMIC_DB + 1, 0, 1) * (len(FLAME) - 1)
    _write_file(path, png.encode(np.rint(steps).astype(np.uint8), FLAME))


def _check(audio: Audio) -> None:
    if audio.ndim != 2 or 0 in audio.shape or not np.isfinite(audio).all():
        raise InvalidAudio(f"cannot draw audio of shape {audio.shape}: it must be [C, T], not empty, all finite")


def _write_file(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as exc:
        raise StorageError(f"the picture {str(path)!r} cannot be written: {exc.strerror}") from exc


def _palette(plain: tuple[png.Colour, ...]) -> list[png.Colour]:
    at = np.linspace(0, len(FLAME) - 1, _SHADES)
    channels = [np.interp(at, range(len(FLAME)), [colour[part] for colour in FLAME]) for part in range(3)]
    shades = np.rint(np.stack(channels, axis=1)).astype(int)
    return [(int(red), int(green), int(blue)) for red, green, blue in shades] + list(plain)


def _draw_title(picture: Picture, audio: Audio, sample_rate: int, title: str) -> None:
    _write(picture, _LEFT, 12, _cut(" ".join(title.split()), _WIDTH - _LEFT - 16), _INK)
    channels = {1: "mono", 2: "stereo"}.get(len(audio), f"{len(audio)} ch")
    facts = (_seconds(audio.shape[1] / sample_rate), f"{sample_rate / 1000:g} kHz", channels)
    for row, fact in zip(range(_WAVE[0], _WAVE[1], 22), facts, strict=False):
        _write(picture, _SCALE[0], row, fact, _GREY)


def _cut(text: str, room: int) -> str:
    """Cut a text to a width in pixels, with an ellipsis where something is lost."""
    if width(text, _TEXT) <= room:
        return text
    while text and width(text + "...", _TEXT) > room:
        text = text[:-1]
    return text.rstrip() + "..."


def _draw_waveform(picture: Picture, audio: Audio) -> None:
    """Draw one lane per channel: extremes and root mean square of each column."""
    columns = _RIGHT - _LEFT
    ends = np.linspace(0, audio.shape[1], columns + 1)
    starts = ends[:-1].astype(np.int64)
    counts = np.maximum(1, ends[1:].astype(np.int64) - starts)
    lanes = np.linspace(*_WAVE, len(audio) + 1).astype(int)
    names = ("L", "R") if len(audio) == 2 else ("",) * len(audio)
    for channel, name, first, end in zip(audio, names, lanes[:-1], lanes[1:], strict=True):
        middle, half = (first + end - 1) / 2, max(1.0, (end - first) / 2 - 3)
        high, low = np.maximum.reduceat(channel, starts), np.minimum.reduceat(channel, starts)
        power = np.add.reduceat(np.square(channel, dtype=np.float64), starts) / counts
        level = np.minimum(np.sqrt(power), np.maximum(np.abs(high), np.abs(low)))
        rows = np.arange(first, end)[:, None]
        lane = picture[first:end, _LEFT:_RIGHT]
        lane[np.abs(rows[:, 0] - middle) < 0.6] = _LINE
        for top, bottom, colour in ((high, low, _PEAK), (level, -level, _RMS)):
            upper = np.rint(middle - half * np.clip(top, -1, 1))
            lower = np.rint(middle - half * np.clip(bottom, -1, 1))
            lane[(rows >= upper) & (rows <= lower)] = colour
        _write(picture, _LEFT - 10, round(middle) - 7, name, _GREY, align="right")
    _frame(picture, _WAVE)


def _draw_spectrogram(picture: Picture, audio: Audio, sample_rate: int, top_hz: float, bands: int) -> float:
    """Draw the levels; return the level in dBFS of the brightest colour."""
    levels, top_db = _levels(audio, sample_rate, _RIGHT - _LEFT, top_hz, bands)
    levels = levels[np.arange(_ROWS) * bands // _ROWS]
    shades = np.clip((levels - top_db) / _DYNAMIC_DB + 1, 0, 1) * (_SHADES - 1)
    first, end = _SPECTRUM
    picture[first:end, _LEFT:_RIGHT] = np.rint(shades).astype(np.uint8)
    _frame(picture, _SPECTRUM)
    return top_db


def _levels(
    audio: Audio, sample_rate: int, columns: int, top_hz: float, bands: int
) -> tuple[npt.NDArray[np.float64], float]:
    """Return the levels in dBFS, [bands, columns], and that of the brightest colour."""
    power, bin_hz = _column_powers(audio, sample_rate, columns)
    levels = 10 * np.log10(np.maximum(_bands_of(power, bin_hz, top_hz, bands), 1e-20))
    loudest = float(levels.max())
    return levels, 10.0 * math.ceil(loudest / 10) if loudest > -100 else 0.0


def _column_powers(audio: Audio, sample_rate: int, columns: int) -> tuple[npt.NDArray[np.float64], float]:
    """Compute a power spectrum per column of the picture.

    Returns:
        [bins, columns]: power relative to a sine of full scale, mean of the channels and of all windows
        centred in the column; and the bins' distance in Hz.
    """
    length = audio.shape[1]
    longest = min(_WINDOW_S * sample_rate, length / _WINDOWS_PER_SOUND)
    size = 1 << max(7, round(longest).bit_length() - 1)
    per_column = max(1, round(2 * length / columns / size))
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    gain = (2 / window.sum(dtype=np.float64)) ** 2 / len(audio) / per_column
    padded = np.pad(audio, ((0, 0), (size // 2, size)))
    centres = ((np.arange(columns * per_column) + 0.5) * length / (columns * per_column)).astype(np.int64)
    power = np.zeros((size // 2 + 1, columns))
    block = max(1, _BLOCK // per_column)
    for first in range(0, columns, block):
        places = centres[first * per_column : (first + block) * per_column]
        for channel in padded:
            frames = np.lib.stride_tricks.sliding_window_view(channel, size)[places] * window
            spectrum = np.fft.rfft(frames)
            found = np.square(spectrum.real) + np.square(spectrum.imag)
            power[:, first : first + block] += found.reshape(-1, per_column, size // 2 + 1).sum(axis=1).T
    return power * gain, sample_rate / size


def _bands_of(
    power: npt.NDArray[np.float64], bin_hz: float, top_hz: float, count: int
) -> npt.NDArray[np.float64]:
    """Resample bins to bands, top to bottom on a mel scale.

    A band that spans several bins shows the strongest, so that a tone is as bright at any height; a band within
    one bin is interpolated.
    """
    edges = _hz(np.linspace(_mel(top_hz), 0, count + 1)) / bin_hz
    rows = np.empty((count, power.shape[1]))
    for row in range(count):
        middle = min((edges[row] + edges[row + 1]) / 2, len(power) - 1.0)
        below = min(int(middle), len(power) - 2)
        rows[row] = power[below] + (middle - below) * (power[below + 1] - power[below])
        inside = power[math.ceil(edges[row + 1]) : math.floor(edges[row]) + 1]
        if len(inside):
            rows[row] = np.maximum(rows[row], inside.max(axis=0))
    return rows


def _mel(hz: float) -> float:
    """Convert to the mel scale of Stevens and Volkmann, 2595 log10(1 + f / 700)."""
    return 2595 * math.log10(1 + hz / 700)


def _hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    hz: npt.NDArray[np.float64] = 700 * (10 ** (mel / 2595) - 1)
    return hz


def _draw_time_axis(picture: Picture, duration_s: float) -> None:
    bottom = _SPECTRUM[1]
    for second in _time_ticks(duration_s):
        column = _LEFT + min(round(second / duration_s * (_RIGHT - _LEFT)), _RIGHT - _LEFT - 1)
        picture[bottom + 1 : bottom + 7, column] = _INK
        picture[_WAVE[1] + 1 : _WAVE[1] + 5, column] = _INK
        _write(picture, column, bottom + 11, _seconds(second), _INK, align="centre")


def _time_ticks(duration_s: float) -> Iterator[float]:
    """Yield round times from 0 to the end, ten at most."""
    rough = duration_s / 8
    magnitude = 10.0 ** math.floor(math.log10(rough))
    steps = [factor * magnitude for factor in (1, 2, 5, 10)]
    if rough > 6:
        steps = [10, 15, 30, 60, 120, 300, 600, *steps]
    step = min(step for step in steps if step >= rough)
    for number in range(int(duration_s / step + 1e-9) + 1):
        yield number * step


def _seconds(seconds: float) -> str:
    return f"{float(f'{seconds:.4g}'):g} s" if seconds < 1000 else f"{seconds:.0f} s"


def _draw_frequency_axis(picture: Picture, top_hz: float) -> None:
    first, end = _SPECTRUM
    free = end
    for hz in _HZ_TICKS:
        row = end - 1 - round(_mel(hz) / _mel(top_hz) * (end - first - 1))
        if row < first or row > free - 18:
            continue
        free = row
        picture[row, _LEFT - 7 : _LEFT - 1] = _INK
        _write(picture, _LEFT - 12, row - 7, f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz", _INK, align="right")


def _draw_colour_scale(picture: Picture, top_db: float) -> None:
    first, end = _SPECTRUM
    left, right = _SCALE
    shades = np.linspace(_SHADES - 1, 0, end - first)
    picture[first:end, left:right] = np.rint(shades).astype(np.uint8)[:, None]
    for step in range(0, round(_DYNAMIC_DB) + 1, 20):
        row = first + round(step / _DYNAMIC_DB * (end - first - 1))
        picture[row, right + 1 : right + 6] = _INK
        _write(picture, right + 12, min(max(row - 7, first), end - 14), f"{top_db - step:.0f}", _INK)
    _write(picture, left, first - 22, "dBFS", _GREY)


def _frame(picture: Picture, rows: tuple[int, int]) -> None:
    first, end = rows
    picture[[first - 1, end], _LEFT - 1 : _RIGHT + 1] = _INK
    picture[first - 1 : end + 1, [_LEFT - 1, _RIGHT]] = _INK


def _write(picture: Picture, column: int, row: int, text: str, colour: int, align: str = "left") -> None:
    """Write a text whose top is at ``row``, to the right of, around or to the left of ``column``."""
    ink = render(text, _TEXT)
    left = column - {"left": 0, "centre": ink.shape[1] // 2, "right": ink.shape[1]}[align]
    left = max(0, min(left, picture.shape[1] - ink.shape[1]))
    picture[row : row + len(ink), left : left + ink.shape[1]][ink] = colour
