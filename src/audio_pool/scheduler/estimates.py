"""How long tasks take, learnt from those that were done: what is expected of the next, and when it hangs. Pure.

Owns: moving averages by kind of task, and the limits that follow from them.
Must not know: clocks, workers, what a limit that has passed makes anybody do.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from audio_pool.config import LimitsConfig
from audio_pool.types import Recipe

__all__ = ["Estimates", "TaskKind"]

_MOST_KINDS = 1024
_NEWEST = 0.2
"""Weight of the newest task in a moving average."""
_UNLIKE = ("craft",)
"""Roles whose tasks say nothing of the next: a given sound lasts a second or ten minutes, as its reader finds out."""
_FIRST_GUESS_S = 1.0
_LEAST_S = 0.001
"""Nothing is for nothing: who asks for it again and again has turns like others."""


class TaskKind(NamedTuple):
    """Tasks of a kind take about as long as one another."""

    role: str
    name: str = ""
    """The engine's."""
    steps: int = 0
    length: int = 0
    """Of all its sounds together, in doublings of a second: 8 s are 3, 0.5 s are -1."""

    @classmethod
    def of_sounds(cls, *recipes: Recipe) -> TaskKind:
        """Return the kind of a task that generates these sounds, all of one engine."""
        seconds = sum(recipe.duration_s * recipe.candidates for recipe in recipes)
        return cls("generate", recipes[0].engine, recipes[0].steps or 0, math.ceil(math.log2(max(seconds, 1 / 64))))


@functools.lru_cache(_MOST_KINDS)
def _standing_in(kind: TaskKind) -> tuple[TaskKind, ...]:
    """Return the kinds of which something is learnt by a task of this one, the nearest first."""
    return tuple(dict.fromkeys((kind, TaskKind(kind.role, kind.name), TaskKind(kind.role))))


class Estimates:
    """Moving averages by kind, by engine and by role, each standing in where the one before knows nothing."""

    def __init__(self, limits: LimitsConfig) -> None:
        self.limits = limits
        self._seconds: dict[TaskKind, float] = {}

    def learn(self, kind: TaskKind, seconds: float) -> None:
        """Note how long a task took."""
        for one in _standing_in(kind):
            known = self._seconds.get(one)
            if known is None and len(self._seconds) >= _MOST_KINDS:
                del self._seconds[next(iter(self._seconds))]
            self._seconds[one] = seconds if known is None else known + _NEWEST * (seconds - known)

    def expect(self, kind: TaskKind, guess_s: float = _FIRST_GUESS_S) -> float:
        """Return how many seconds such a task is expected to take; ``guess_s``: where nothing is known of its like."""
        return self.known_s(kind) or guess_s

    def known_s(self, kind: TaskKind) -> float:
        """Return how many seconds its like has taken; 0: none was done before."""
        for one in _standing_in(kind):
            known = self._seconds.get(one)
            if known is not None:
                return max(known, _LEAST_S)
        return 0.0

    def hang_s(self, kind: TaskKind) -> float:
        """Return how long such a task may go without getting on, before it counts as hung.

        Many times what its like has taken: work that is merely slow must not be killed. Of a kind that was never
        done nothing is known: its first may have to compile kernels or read weights.
        """
        limits = self.limits
        known = self._seconds.get(kind)
        if known is None or kind.role in _UNLIKE:
            return min(limits.task_timeout_s, max(limits.hang_floor_s, limits.hang_unknown_s))
        return min(limits.task_timeout_s, max(limits.hang_floor_s, limits.hang_factor * known))
