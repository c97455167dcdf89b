"""Sentences that were said one at a time, as one sound.

Owns: the silences between them, and that no edge clicks.
Must not know: text, any model.

Levels are left as the voice made them: a voice that is scaled sentence by sentence is not steady.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from audio_pool.audio import Audio
from audio_pool.engines._speech.sentences import Ending

__all__ = ["between", "edged"]

_PAUSES: Mapping[Ending, float] = {"clause": 0.25, "sentence": 1.0, "trailing": 1.7, "paragraph": 2.2}
"""Of a silence, in silences after a sentence."""
_FADE_S = 0.004
_QUIET_DB = -48.0
"""Under the loudest of a piece: what is below it is silence already."""


def edged(said: Audio, sample_rate: int) -> Audio:
    """Return a piece that begins and ends at zero: float32 [C, T], its very ends faded where they are not silent."""
    frames = min(round(_FADE_S * sample_rate), said.shape[1] // 2)
    if frames < 1:
        return said
    rise = (0.5 - 0.5 * np.cos(np.pi * (np.arange(frames) + 0.5) / frames)).astype(np.float32)
    said = said.copy()
    said[:, :frames] *= rise
    said[:, -frames:] *= rise[::-1]
    return said


def between(before: Audio, after: Audio, ends: Ending, pause_s: float, sample_rate: int) -> Audio:
    """Return the silence that two pieces lack between them: float32 [C, T], none where they bring enough.

    Args:
        before, after: the pieces on both sides, with whatever silence the model left at their edges.
        ends: how the first of them ends.
        pause_s: seconds after a sentence.
    """
    wanted = pause_s * _PAUSES[ends] * sample_rate
    there = _quiet(before[:, ::-1]) + _quiet(after)
    return np.zeros((before.shape[0], max(0, round(wanted - there))), np.float32)


def _quiet(said: Audio) -> int:
    """Return how many frames a piece begins with that are as good as silent."""
    loud = np.abs(said).max(axis=0)
    if not loud.size or loud.max() == 0.0:
        return int(loud.size)
    return int(np.argmax(loud > loud.max() * math.pow(10.0, _QUIET_DB / 20)))
