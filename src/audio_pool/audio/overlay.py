"""Two fingerprints laid over one another: how well the marks of a kept sound are found in another.

Owns: counting marks that agree and differ, at every offset that may be meant, and what that is worth.
Must not know: which sounds are compared, and why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audio_pool.audio.marks import HOP_S, PHASES, Fingerprint, Probe

__all__ = ["FEWEST_MARKS", "Likeness", "every_offset", "likeness", "steps_in_a_turn"]

FEWEST_MARKS = 36
"""Of a kept sound, beneath which nothing can be told by them."""
_LIKELY = 6.0
_SURE = 7.0
_LEAST_SHARE = 0.45
_AT_ONCE = 1 << 21
"""Cells compared at a time."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How a kept sound agrees with another one, at the offset where it does best."""

    agree: int
    """Marks that both have."""
    differ: int
    """Marks that are the other way round."""
    marks: int
    """Those of the kept sound where the two overlap."""
    offset: int
    """Frame of the probe at which the kept sound's first one lies."""

    @property
    def strength(self) -> float:
        """Agreement in units of what chance gives: that of two different sounds stays under ``_LIKELY``."""
        return (self.agree - self.differ) / math.sqrt(max(1, self.marks))

    @property
    def share(self) -> float:
        """Share of the kept sound's marks that are found again, less those that are the other way round."""
        return (self.agree - self.differ) / max(1, self.marks)

    @property
    def bit_error_rate(self) -> float:
        """Of the marks that both have, the share that is the other way round."""
        return self.differ / max(1, self.agree + self.differ)

    @property
    def offset_s(self) -> float:
        """Where the kept sound begins in the other; negative: before it does."""
        return self.offset * HOP_S / PHASES

    @property
    def likely(self) -> bool:
        """It is the same sound, if the samples say so too."""
        return self.strength >= _LIKELY and self.share >= _LEAST_SHARE

    @property
    def sure(self) -> bool:
        """It is the same sound, or one that is made to be like it."""
        return self.strength >= _SURE and self.share >= _LEAST_SHARE


def steps_in_a_turn(kept: Fingerprint) -> float:
    """Return the frames of a probe that one turn of a loop takes."""
    return kept.turn_s / HOP_S * PHASES


def every_offset(kept: Fingerprint, probe: Probe) -> range:
    """Return all offsets at which the two overlap; those of one turn for a loop."""
    if kept.turn_s:
        return range(-math.ceil(steps_in_a_turn(kept)) + 1, 1)
    return range(-(len(kept.rises) - 1) * PHASES, len(probe.rises))


def likeness(kept: Fingerprint, probe: Probe, offsets: Sequence[int]) -> Likeness:
    """Compare a kept sound with another at some offsets; return the best.

    Args:
        offsets: frames of the probe, at least one; a loop goes on before and after what they say.
    """
    if kept.turn_s:
        turn = steps_in_a_turn(kept)
        offsets = sorted({round(one % turn - turn) for one in offsets})
        turns = np.arange(math.ceil(len(probe.rises) / turn) + 2)[:, None] * turn
        places = (turns + np.arange(len(kept.rises)) * PHASES).ravel()
        which = np.tile(np.arange(len(kept.rises)), len(turns))
    else:
        which = np.arange(len(kept.rises))
        places = which * float(PHASES)
    rises, falls = kept.rises[which], kept.falls[which]
    every = np.bitwise_count(rises | falls).astype(np.int64)
    rows = max(1, _AT_ONCE // max(1, len(places)))
    best: Likeness | None = None
    for first in range(0, len(offsets), rows):
        part = np.asarray(offsets[first : first + rows], np.int64)
        at = np.rint(places[None] + part[:, None]).astype(np.int64)
        inside = (at >= 0) & (at < len(probe.rises))
        at[~inside] = 0
        up, down = np.where(inside, probe.rises[at], 0), np.where(inside, probe.falls[at], 0)
        agree = (np.bitwise_count(rises & up) + np.bitwise_count(falls & down)).sum(axis=1, dtype=np.int64)
        differ = (np.bitwise_count(rises & down) + np.bitwise_count(falls & up)).sum(axis=1, dtype=np.int64)
        marks = (inside * every).sum(axis=1)
        winner = int(np.argmax((agree - differ) / np.sqrt(np.maximum(1, marks))))
        found = Likeness(
            agree=int(agree[winner]), differ=int(differ[winner]), marks=int(marks[winner]), offset=int(part[winner])
        )
        if best is None or found.strength > best.strength:
            best = found
    assert best is not None
    return best
