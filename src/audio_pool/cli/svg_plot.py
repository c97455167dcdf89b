"""Plots as SVG text: bars in layers, lines over them, an axis with round figures.

Owns: the plots' geometry and marks. Colours are CSS classes, which the page gives their values.
Must not know: what is plotted, the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

__all__ = ["Bar", "Line", "plot"]

_WIDTH, _HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 30
_FLOOR = _HEIGHT - _BOTTOM
_ROOM = _WIDTH - _LEFT - _RIGHT
_GAP = 0.18
"""Of a bar's room."""
_WIDEST = 46
_TICKS = 4
_MOST_LABELS = 9
_ROUND = (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10)


class Bar(NamedTuple):
    """One place on the horizontal axis."""

    label: str
    """Under it; some are left out where there are many."""
    parts: tuple[tuple[str, float], ...]
    """CSS class and height of each layer, from the floor up."""
    tip: str
    """Shown where the pointer rests on it."""


class Line(NamedTuple):
    """A line over the bars, on a scale of its own from 0 to 1 at the right; a gap where a value is None."""

    name: str
    values: tuple[float | None, ...]


def plot(title: str, bars: Sequence[Bar], *, unit: str = "", line: Line | None = None) -> str:
    """Return an ``<svg>``.

    Args:
        title: read aloud to whoever cannot see it.
        unit: after the figures of the axis.
        line: one value for each bar.
    """
    top = _round_up(max((sum(height for _, height in bar.parts) for bar in bars), default=0.0))
    right = _LEFT + _ROOM - (38 if line else 0)
    step = (right - _LEFT) / max(1, len(bars))
    width = min(_WIDEST, step * (1 - _GAP))
    out = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}" preserveAspectRatio="xMinYMid">'
    ]
    out += _axis(top, right, unit)
    every = math.ceil(len(bars) / _MOST_LABELS) if bars else 1
    for number, bar in enumerate(bars):
        middle = _LEFT + (number + 0.5) * step
        out.append(f"<g><title>{escape(bar.tip)}</title>")
        # the whole column shows the tip, be the bar ever so low
        out.append(f'<rect class="hover" x="{middle - step / 2:.1f}" y="{_TOP}" width="{step:.1f}"'
                   f' height="{_FLOOR - _TOP}"/>')  # fmt: skip
        out += _bar(bar, middle - width / 2, width, top)
        out.append("</g>")
        if number % every == 0:
            out.append(f'<text class="label" x="{middle:.1f}" y="{_FLOOR + 18}">{escape(bar.label)}</text>')
    if line is not None:
        out += _line(line, step, right)
    return "\n".join([*out, "</svg>"])


def _bar(bar: Bar, left: float, width: float, top: float) -> list[str]:
    out, floor = [], float(_FLOOR)
    for css, value in bar.parts:
        height = value / top * (_FLOOR - _TOP)
        if height > 0:
            floor -= height
            place = f'x="{left:.1f}" y="{floor:.2f}" width="{width:.1f}" height="{height:.2f}"'
            out.append(f'<rect class="{css}" {place}/>')
    return out


def _axis(top: float, right: float, unit: str) -> list[str]:
    out = []
    for number in range(_TICKS + 1):
        value = top * number / _TICKS
        row = _FLOOR - (_FLOOR - _TOP) * number / _TICKS
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{row:.1f}" y2="{row:.1f}"/>')
        out.append(f'<text class="tick" x="{_LEFT - 8}" y="{row + 4:.1f}">{_figure(value)}{escape(unit)}</text>')
    return out


def _line(line: Line, step: float, right: float) -> list[str]:
    out, points = [], []
    for number, value in enumerate((*line.values, None)):
        if value is not None:
            points.append((_LEFT + (number + 0.5) * step, _FLOOR - value * (_FLOOR - _TOP)))
            continue
        if points:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            out.append(f'<polyline class="line" points="{path}"/>')
            out += [f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points]
        points = []
    for share in (0, 50, 100):
        row = _FLOOR - share / 100 * (_FLOOR - _TOP)
        out.append(f'<text class="share" x="{right + 6:.0f}" y="{row + 4:.1f}">{share} %</text>')
    return out


def _round_up(value: float) -> float:
    """Return the next figure that reads well, and that four parts divide into such."""
    if value <= 0:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(value))
    return next(factor * magnitude for factor in _ROUND if factor * magnitude >= value * 0.9999)


def _figure(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    if value >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:,g}" if value >= 1 or value == 0 else f"{value:.2g}"
