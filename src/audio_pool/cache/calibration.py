"""What one encoder's cosines are worth, measured on judged pairs of prompts and on the cache's own prompts.

Owns: ``measure`` and Measured: the thresholds for a wished error rate, and the curve that they were read from. Pure.
Must not know: encoders, the store, files; what speaks against a pair besides its cosine (policy.py).

Two things bound the cosine from below. Of pairs that a person judged to ask for different sounds no more than the
wished share may be accepted, as tolerant matching accepts: the words agree and the cosine reaches. And of pairs of
prompts that have nothing to do with each other, as any two of a cache mostly do, no more than that share may reach
it at all: where the guards let none of the judged pairs pass, any cosine would do for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from audio_pool.errors import InvalidRequest
from audio_pool.plain_mapping import PlainMapping

__all__ = ["LEAST_PAIRS", "CurvePoint", "JudgedPair", "Measured", "measure"]

LEAST_PAIRS = 10
"""Of either verdict: fewer say nothing."""
_HIGHEST = 0.9999
"""The scale of ``tau_prompt_sem`` is a line through (1, 1)."""
_STEP = 1e-4
_POINTS = 101

Floats = npt.NDArray[np.float64]


class JudgedPair(NamedTuple):
    """Two prompts, and whether a sound of one does for the other."""

    query: str
    prompt: str
    same: bool


class CurvePoint(PlainMapping, Struct, frozen=True, kw_only=True):
    """Shares of the pairs that are accepted where a cosine is asked for."""

    cosine: float
    same: float
    """Of pairs that ask for the same sound, words and cosine."""
    different: float
    """Of pairs that ask for different ones, words and cosine."""
    different_by_cosine: float
    """Of those, by the cosine alone."""
    unrelated: float
    """Of any two prompts of the cache, by the cosine alone."""


class Measured(PlainMapping, Struct, frozen=True, kw_only=True):
    """One encoder, measured."""

    space: str
    error: float
    """As wished."""
    at_070: float
    """Least cosine for ``tau_prompt_sem`` 0.70, its default: the threshold of tolerant matching."""
    plain: float
    """Least cosine that keeps the error without a look at the words: ``tau_prompt_sem`` of ``threshold``."""
    same_pairs: int
    different_pairs: int
    unrelated_pairs: int
    accepted_same: float
    """Share of them accepted at ``at_070``."""
    accepted_different: float
    """Likewise: the error that was measured."""
    error_at_most: float
    """The error's upper bound with 95 % confidence: few pairs promise little."""
    accepted_same_plain: float
    """Share of pairs that ask for the same sound that ``plain`` alone accepts."""
    held: bool = False
    """The pairs would do with a lower cosine, and are too few for it: what was known of the encoder stays."""
    curve: tuple[CurvePoint, ...] = ()


def measure(
    space: str,
    same: Floats,
    different: Floats,
    *,
    same_agrees: Sequence[bool],
    different_agrees: Sequence[bool],
    unrelated: Floats,
    error: float,
    known: float | None = None,
) -> Measured:
    """Find the least cosines that keep the error.

    Args:
        space: of the vectors.
        same, different: float64 [N], cosines of the judged pairs; without pairs that have one canonical key, which
            no cosine decides.
        same_agrees, different_agrees: no guard of the words objects to the pair.
        unrelated: cosines of random pairs of prompts; may be empty.
        error: greatest share of pairs that may be accepted wrongly, over 0 and under 1.
        known: what is held to be the encoder's threshold so far; pairs too few to show the error do not lower it.

    Raises:
        InvalidRequest: there are too few pairs of either verdict.
    """
    if min(len(same), len(different)) < LEAST_PAIRS:
        raise InvalidRequest(
            f"{len(same)} pairs that ask for the same sound and {len(different)} that ask for different ones were "
            f"judged; needed are {LEAST_PAIRS} of each, and some hundreds for an error of 1 %",
            hint="answer questions at a terminal, or give --pairs FILE.csv",
        )
    agree_same, agree_different = np.array(same_agrees, bool), np.array(different_agrees, bool)
    floor = _least(unrelated, len(unrelated), error) if len(unrelated) else -1.0
    at_070 = max(floor, _least(different[agree_different], len(different), error))
    plain = max(floor, _least(different, len(different), error))

    def point(cosine: float) -> CurvePoint:
        return CurvePoint(
            cosine=cosine,
            same=float(np.mean(agree_same & (same >= cosine))),
            different=float(np.mean(agree_different & (different >= cosine))),
            different_by_cosine=float(np.mean(different >= cosine)),
            unrelated=float(np.mean(unrelated >= cosine)) if len(unrelated) else 0.0,
        )

    at = point(at_070)
    bound = _upper_bound(round(at.different * len(different)), len(different))
    held = known is not None and at_070 < known and bound > error
    if held and known is not None:
        at_070, at = known, point(known)
    lowest = math.floor(10 * min(float(np.min(same)), float(np.min(different)), at_070)) / 10
    return Measured(
        space=space,
        error=error,
        at_070=at_070,
        plain=plain,
        same_pairs=len(same),
        different_pairs=len(different),
        unrelated_pairs=len(unrelated),
        accepted_same=at.same,
        accepted_different=at.different,
        error_at_most=bound,
        held=held,
        accepted_same_plain=float(np.mean(same >= plain)),
        curve=tuple(point(float(cosine)) for cosine in np.linspace(max(-1.0, lowest), 1.0, _POINTS)),
    )


def _least(cosines: Floats, of: int, error: float) -> float:
    """Return the least cosine that at most ``error * of`` of these reach."""
    allowed = math.floor(error * of + 1e-9)
    if len(cosines) <= allowed:
        return -1.0
    first_too_many = float(np.sort(cosines)[::-1][allowed])
    return min(_HIGHEST, math.floor(first_too_many / _STEP) * _STEP + _STEP)


def _upper_bound(errors: int, of: int) -> float:
    """Return the one-sided 95 % bound of Clopper and Pearson (1934) on a share seen ``errors`` times."""
    if errors >= of:
        return 1.0
    low, high = errors / of, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        at_most = sum(math.comb(of, k) * middle**k * (1 - middle) ** (of - k) for k in range(errors + 1))
        low, high = (middle, high) if at_most > 0.05 else (low, middle)
    return high
