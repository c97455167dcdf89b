"""Lines over one axis as a PNG: shares from 0 to 1 against a value.

Owns: ``write_chart`` and its layout.
Must not know: what the lines mean; numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_pool.audio import png
from audio_pool.audio.pixel_font import render, width
from audio_pool.errors import StorageError

__all__ = ["Line", "write_chart"]

_WIDTH, _HEIGHT = 900, 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 876, 96, 460
"""Of the panel."""
_TEXT = 2
_PAPER, _INK, _GREY, _GRID = range(4)
_PALETTE: tuple[png.Colour, ...] = ((255, 255, 255), (26, 24, 34), (112, 110, 124), (226, 224, 232))
_LINES: tuple[png.Colour, ...] = ((38, 122, 76), (178, 44, 44), (206, 142, 40), (70, 96, 168))
_TICKS = 10

Picture = npt.NDArray[np.uint8]
"""uint8 [H, W]: indices into the palette."""


class Line(NamedTuple):
    """One line: ``y`` is cut to 0..1."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def write_chart(path: Path, lines: Sequence[Line], *, title: str, axis: str, mark: float, mark_name: str) -> None:
    """Write a PNG of 900 by 520 pixels.

    Args:
        lines: four at most, with at least two points each.
        title: cut to the picture's width.
        axis: what x is.
        mark: value of x with an upright line.
        mark_name: what stands beside it.

    Raises:
        StorageError: the file cannot be written.
    """
    low = min(min(line.x) for line in lines)
    high = max(max(line.x) for line in lines)
    picture = np.full((_HEIGHT, _WIDTH), _PAPER, np.uint8)
    while width(title, _TEXT) > _WIDTH - _LEFT:
        title = title[:-1]
    _write(picture, _LEFT, 14, title, _INK)
    for tick in range(_TICKS + 1):
        row = _BOTTOM - round(tick / _TICKS * (_BOTTOM - _TOP))
        column = _LEFT + round(tick / _TICKS * (_RIGHT - _LEFT))
        picture[row, _LEFT:_RIGHT] = picture[_TOP:_BOTTOM, min(column, _RIGHT - 1)] = _GRID
        if tick % 2 == 0:
            _write(picture, _LEFT - 10, row - 7, f"{10 * tick} %", _GREY, "right")
            _write(picture, column, _BOTTOM + 10, f"{low + (high - low) * tick / _TICKS:.2f}", _GREY, "centre")
    _write(picture, (_LEFT + _RIGHT) // 2, _BOTTOM + 34, axis, _GREY, "centre")
    picture[_BOTTOM, _LEFT:_RIGHT] = picture[_TOP : _BOTTOM + 1, _LEFT] = _INK
    at = np.linspace(low, high, _RIGHT - _LEFT)
    place = _LEFT
    for number, line in enumerate(lines):
        colour = len(_PALETTE) + number
        rows = _BOTTOM - np.rint(np.clip(np.interp(at, line.x, line.y), 0, 1) * (_BOTTOM - _TOP)).astype(int)
        for offset in range(len(at)):
            top, bottom = sorted((int(rows[max(0, offset - 1)]), int(rows[offset])))
            picture[top : bottom + 2, _LEFT + offset] = colour
        picture[56:62, place : place + 22] = colour
        _write(picture, place + 28, 52, line.name, _INK)
        place += 28 + width(line.name, _TEXT) + 24
    column = _LEFT + round((min(max(mark, low), high) - low) / (high - low) * (_RIGHT - _LEFT - 1))
    picture[_TOP:_BOTTOM:4, column] = picture[_TOP + 1 : _BOTTOM : 4, column] = _INK
    side = "right" if column > (_LEFT + _RIGHT) // 2 else "left"
    _write(picture, column + (-8 if side == "right" else 8), _TOP - 16, mark_name, _INK, side)
    try:
        path.write_bytes(png.encode(picture, (*_PALETTE, *_LINES[: len(lines)])))
    except OSError as exc:
        raise StorageError(f"the picture {str(path)!r} cannot be written: {exc.strerror}") from exc


def _write(picture: Picture, column: int, row: int, text: str, colour: int, align: str = "left") -> None:
    """Write a text whose top is at ``row``, to the right of, around or to the left of ``column``."""
    ink = render(text, _TEXT)
    left = column - {"left": 0, "centre": ink.shape[1] // 2, "right": ink.shape[1]}[align]
    left = max(0, min(left, picture.shape[1] - ink.shape[1]))
    picture[row : row + len(ink), left : left + ink.shape[1]][ink] = colour
