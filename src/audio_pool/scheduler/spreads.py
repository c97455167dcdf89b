"""How long sounds take to make, as a function of their length, and how far that is off. Pure.

Owns: Span, and what is learnt by engine and steps: a straight line of seconds over seconds of sound, and how far whole
sounds, with every further round, their mastering and their storing, were off it.
Must not know: clocks, workers, what a span makes anybody do.

Estimates (estimates.py) say what the next task is expected to take; whoever promises a time needs to know how bad it
may get. Before a few sounds were made nothing is known, and nothing is said.
"""

from __future__ import annotations

import collections
from typing import NamedTuple

__all__ = ["Span", "Spreads"]

_FORGET = 0.97
"""Weight that older tasks keep with each new one: the last thirty or so count."""
_REMEMBERED = 512
"""Whole sounds whose deviation is remembered, by engine and steps."""
_LEAST_KNOWN = 3
_MOST_KINDS = 256
_LEAST_S = 0.001
_FLAT = 1e-3
"""Variance of lengths, relative to their mean's square, below which they are all one length."""


class Span(NamedTuple):
    """How long a sound takes to make once a worker begins, seconds."""

    low: float
    """None was as quick."""
    likely: float
    high: float
    """As long as the slowest of those remembered, and more where few are."""
    known: int
    """Sounds that it is learnt from."""


class _Line:
    """A straight line through tasks, and how far whole sounds were off it."""

    def __init__(self) -> None:
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._ratios: collections.deque[float] = collections.deque(maxlen=_REMEMBERED)
        self._sorted: list[float] | None = None
        self._spans: dict[float, Span] = {}
        """What has been said since anything was learnt, by length."""

    def learn(self, sound_s: float, seconds: float) -> None:
        self._spans.clear()
        keep = _FORGET
        self._n = keep * self._n + 1
        self._x, self._y = keep * self._x + sound_s, keep * self._y + seconds
        self._xx, self._xy = keep * self._xx + sound_s**2, keep * self._xy + sound_s * seconds

    def note(self, sound_s: float, seconds: float) -> None:
        self._ratios.append(seconds / self.at(sound_s))
        self._sorted = None
        self._spans.clear()

    def at(self, sound_s: float) -> float:
        if not self._n:
            return _LEAST_S
        mean_x, mean_y = self._x / self._n, self._y / self._n
        variance = self._xx / self._n - mean_x**2
        if variance < _FLAT * mean_x**2:  # of one length only: longer ones take longer in proportion, shorter as long
            return max(_LEAST_S, mean_y * max(1.0, sound_s / max(mean_x, _LEAST_S)))
        slope = max(0.0, (self._xy / self._n - mean_x * mean_y) / variance)
        base = mean_y - slope * mean_x
        if base < 0:  # nothing is made in less than no time: through the origin
            slope, base = self._xy / self._xx, 0.0
        return max(_LEAST_S, base + slope * sound_s)

    def span(self, sound_s: float) -> Span | None:
        said = self._spans.get(sound_s)
        if said is not None:
            return said
        known = len(self._ratios)
        if known < _LEAST_KNOWN:
            return None
        if self._sorted is None:
            self._sorted = sorted(self._ratios)
        ratios, likely = self._sorted, self.at(sound_s)
        # the next one is slower than all of n before it once in n + 1 times: the fewer, the more is allowed for
        said = self._spans[sound_s] = Span(
            low=likely * min(1.0, ratios[0]),
            likely=likely * ratios[known // 2],
            high=likely * max(1.0, ratios[-1]) * (1.1 + 3.0 / known),
            known=known,
        )
        return said


class Spreads:
    """Lines by engine and steps; all of an engine's together stand in where nothing is known of those steps."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, int], _Line] = {}

    def learn(self, engine: str, steps: int, sound_s: float, seconds: float) -> None:
        """Note how long a task took.

        Args:
            sound_s: of all its sounds together, every candidate counted.
        """
        for line in self._both(engine, steps):
            line.learn(sound_s, seconds)

    def note(self, engine: str, steps: int, sound_s: float, seconds: float) -> None:
        """Note how long a whole sound took, from when a worker began until it was kept."""
        for line in self._both(engine, steps):
            line.note(sound_s, seconds)

    def span(self, engine: str, steps: int, sound_s: float) -> Span | None:
        """Return how long such a sound takes; None: too little is known."""
        for key in ((engine, steps), (engine, 0)):
            line = self._lines.get(key)
            found = None if line is None else line.span(sound_s)
            if found is not None:
                return found
        return None

    def _both(self, engine: str, steps: int) -> list[_Line]:
        lines = []
        for key in dict.fromkeys(((engine, steps), (engine, 0))):
            if key not in self._lines:
                if len(self._lines) >= _MOST_KINDS:
                    del self._lines[next(iter(self._lines))]
                self._lines[key] = _Line()
            lines.append(self._lines[key])
        return lines
