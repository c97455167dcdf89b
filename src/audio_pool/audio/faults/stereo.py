"""Faults between two channels: alike, one missing, one far louder, one turned over.

Owns: what two channels owe each other.
Must not know: time, spectra.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from audio_pool.audio.faults import Fault, Measured

__all__ = ["mono_in_stereo", "out_of_phase", "unbalanced"]

_EMPTY = 1e-3
_UNBALANCED_DB = 15.0
_LOST_IN_MONO = 0.12
"""Share of the power that the sum of both channels keeps; unrelated channels keep a half, inverted ones nothing."""


def mono_in_stereo(sound: Measured) -> Iterator[Fault]:
    """Detect two equal channels, or an empty one."""
    audio = sound.audio
    if len(audio) < 2:
        return
    levels = np.sqrt(sound.products[0])
    if float(levels.min()) < _EMPTY * float(levels.max()):
        yield Fault(name="mono_in_stereo", penalty=60)
        return
    if len(audio) > 2:
        difference = np.square(audio[1:] - audio[:1], dtype=np.float32).mean(axis=1, dtype=np.float64)
    else:
        powers, product = sound.products
        difference = np.maximum(powers.sum(keepdims=True) - 2 * product, 0)
    if math.sqrt(float(difference.max())) < _EMPTY * float(levels.max()):
        yield Fault(name="mono_in_stereo", penalty=10)


def unbalanced(sound: Measured) -> Iterator[Fault]:
    """Detect one channel far louder than the other."""
    levels = np.sqrt(sound.products[0])
    if len(levels) != 2 or levels.min() < _EMPTY * levels.max():
        return
    apart_db = 20 * math.log10(float(levels.max() / levels.min()))
    if apart_db > _UNBALANCED_DB:
        yield Fault(name="unbalanced", penalty=min(70.0, 40 + apart_db))


def out_of_phase(sound: Measured) -> Iterator[Fault]:
    """Detect channels that cancel each other where they are summed, as a phone's one loudspeaker does."""
    powers, product = sound.products
    if len(powers) != 2 or powers.min() < 1e-2 * powers.max():
        return
    kept = (powers.sum() + 2 * product) / (2 * powers.sum())
    if kept < _LOST_IN_MONO:
        yield Fault(name="out_of_phase", penalty=60, severe=kept < 0.01)
