"""Fingerprints: what a sound is known by after its level, rate, codec, ends or channels were changed.

Owns: how a sound becomes marks in time and frequency.
Must not know: how they are compared (audio/overlay.py), where they are kept.

A mark says that from one frame to the next a band rose or fell against the band above it, after Haitsma and Kalker,
"A Highly Robust Audio Fingerprinting System" (2002). Theirs has a bit for every cell; here a cell that says nothing
has no mark, so that silence, a steady tone and what lies under a codec's noise agree with nothing.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.kernels import window_powers
from audio_pool.audio.marks import HOP_S, PHASES, Fingerprint, Probe, Words

__all__ = ["fingerprint", "folded", "probe"]

_WINDOW_S = 0.06
"""Its bins lie at the same frequencies at every rate, and at the usual ones its length has small factors."""
_BANDS = 33
_LOW_BIN, _HIGH_BIN = 6, 420
"""100 Hz to 7 kHz: what a rate of 16 kHz and MP3 at 64 kb/s leave."""
_FLOOR_DB = -45.0
"""Against the loudest cell: what lies under it is silence."""
_LEAST_DB = 1.8
"""Change that makes a mark."""
_OUT_OF_PHASE = 0.01
"""Share of the channels' power in their sum under which the louder channel alone is taken."""
_SMALLEST_POWER = 1e-14
Places = npt.NDArray[np.int64]


def _bounds() -> Places:
    bounds = np.rint(np.geomspace(_LOW_BIN, _HIGH_BIN, _BANDS + 1)).astype(np.int64)
    for at in range(1, len(bounds)):  # the lowest are a bin wide
        bounds[at] = max(bounds[at], bounds[at - 1] + 1)
    return bounds


_BOUNDS = _bounds()
_BITS = np.uint32(1) << np.arange(_BANDS - 1, dtype=np.uint32)


def fingerprint(audio: Audio, sample_rate: int, *, loop: bool = False) -> Fingerprint:
    """Return what a sound is known by.

    Args:
        audio: float32 [C, T], finite, T at least 1.
        loop: it is one turn of a loop.
    """
    rises, falls = _marks(audio, sample_rate, 1, loop)
    return Fingerprint(rises=rises, falls=falls, turn_s=audio.shape[1] / sample_rate if loop else 0.0)


def probe(audio: Audio, sample_rate: int) -> Probe:
    """Return what a sound is looked for by; arguments as those of ``fingerprint``."""
    rises, falls = _marks(audio, sample_rate, PHASES, loop=False)
    return Probe(rises=rises, falls=falls)


def _marks(audio: Audio, rate: int, phases: int, loop: bool) -> tuple[Words, Words]:
    mono = folded(audio)
    size, length = round(_WINDOW_S * rate), mono.shape[1]
    bins = size // 2 + 1 if size else 0
    step = HOP_S / phases * rate
    count = math.ceil(length / step) if loop else 1 + int(length / step)
    if bins <= _LOW_BIN:  # no band is there
        return np.zeros(count, np.uint32), np.zeros(count, np.uint32)
    # a frame's middle lies at its time, and each is compared with the one a hop before it
    before = size // 2 + math.ceil(step * phases)
    after = size + math.ceil(step)
    if loop:
        around = np.take(mono, np.arange(-before, length + after), axis=1, mode="wrap")
    else:
        around = np.pad(mono, ((0, 0), (before, after)))
    places = np.rint((np.arange(count + phases) - phases) * step).astype(np.int64) + before - size // 2
    power = window_powers(around, places, np.hanning(size).astype(np.float32), np.minimum(_BOUNDS, bins))
    power /= float(size) ** 2
    level = 10 * np.log10(power + max(float(power.max()) * 10 ** (_FLOOR_DB / 10), _SMALLEST_POWER))
    slope = level[:, :-1] - level[:, 1:]
    change = slope[phases:] - slope[:-phases]
    there = np.where(_BOUNDS[2:] <= bins, _BITS, np.uint32(0))  # a low rate has not all bands
    rises = (change > _LEAST_DB) @ there
    falls = (change < -_LEAST_DB) @ there
    return rises.astype(np.uint32), falls.astype(np.uint32)


def folded(audio: Audio) -> Audio:
    """Return one channel, [1, T], which a fold to mono leaves as it is."""
    if len(audio) == 1:
        return audio
    mono: Audio = audio.mean(axis=0, keepdims=True, dtype=np.float32)
    powers = np.einsum("ct,ct->c", audio, audio, dtype=np.float64)
    if float(np.vdot(mono, mono)) >= _OUT_OF_PHASE * float(powers.max()):
        return mono
    return audio[[int(powers.argmax())]]
