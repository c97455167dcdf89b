"""Fingerprints: what a sound is known by after its level, rate, codec, ends or channels were changed.

Owns: how a sound becomes marks in time and frequency.
Must not know: how fingerprints are compared (audio/overlay.py), where they are kept.

A mark says that from one frame to the next a band rose or fell against the band above it, after Haitsma and Kalker,
"A Highly Robust Audio Fingerprinting System" (2002). Theirs has a bit for every cell; here a cell that says nothing
has no mark, so that silence, a steady tone and what lies under a codec's noise agree with nothing.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.kernels import window_powers

__all__ = ["HOP_S", "PHASES", "Fingerprint", "Marks", "Probe", "fingerprint", "folded", "probe"]

HOP_S = 0.03
"""Between frames."""
PHASES = 4
"""A probe has so many frames a hop: it may begin anywhere between two frames of what it is compared with."""
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
_HEAD = struct.Struct("<Bd")
_VERSION = 1

Words = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]


def _bounds() -> Places:
    bounds = np.rint(np.geomspace(_LOW_BIN, _HIGH_BIN, _BANDS + 1)).astype(np.int64)
    for at in range(1, len(bounds)):  # the lowest are a bin wide
        bounds[at] = max(bounds[at], bounds[at - 1] + 1)
    return bounds


_BOUNDS = _bounds()
_BITS = np.uint32(1) << np.arange(_BANDS - 1, dtype=np.uint32)


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Marks of frames in order: bit b of a word is band b against band b + 1."""

    rises: Words
    """[N]."""
    falls: Words
    """[N]."""

    @property
    def count(self) -> int:
        """Number of all marks; a sound with few of them cannot be told from others."""
        return int(np.bitwise_count(self.rises | self.falls).sum())


@dataclass(frozen=True, kw_only=True)
class Fingerprint(Marks):
    """A kept sound's marks, a frame every ``HOP_S``."""

    turn_s: float = 0.0
    """Of a loop: one turn, after which its first frame comes again; 0: it is none."""

    def to_bytes(self) -> bytes:
        """Return it as it is kept: 8 bytes a frame, and 9 more."""
        words = np.concatenate([self.rises, self.falls]).astype("<u4")
        return _HEAD.pack(_VERSION, self.turn_s) + words.tobytes()

    @staticmethod
    def from_bytes(data: bytes) -> Fingerprint | None:
        """Return what was kept; None where it is of another version, or damaged."""
        if len(data) <= _HEAD.size or (len(data) - _HEAD.size) % 8:
            return None
        version, turn_s = _HEAD.unpack_from(data)
        if version != _VERSION or not 0.0 <= turn_s < 86_400.0:
            return None
        words = np.frombuffer(data, "<u4", offset=_HEAD.size).astype(np.uint32)
        half = len(words) // 2
        return Fingerprint(rises=words[:half], falls=words[half:], turn_s=turn_s)


@dataclass(frozen=True, kw_only=True)
class Probe(Marks):
    """The marks of a sound that is looked for, ``PHASES`` frames every ``HOP_S``."""


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
    step = HOP_S / phases * rate
    count = math.ceil(length / step) if loop else 1 + int(length / step)
    # a frame's middle lies at its time, and each is compared with the one a hop before it
    before = size // 2 + math.ceil(step * phases)
    after = size + math.ceil(step)
    if loop:
        around = np.take(mono, np.arange(-before, length + after), axis=1, mode="wrap")
    else:
        around = np.pad(mono, ((0, 0), (before, after)))
    places = np.rint((np.arange(count + phases) - phases) * step).astype(np.int64) + before - size // 2
    power = window_powers(around, places, np.hanning(size).astype(np.float32), _BOUNDS)
    power /= float(size) ** 2
    level = 10 * np.log10(power + max(float(power.max()) * 10 ** (_FLOOR_DB / 10), _SMALLEST_POWER))
    slope = level[:, :-1] - level[:, 1:]
    change = slope[phases:] - slope[:-phases]
    rises = (change > _LEAST_DB) @ _BITS
    falls = (change < -_LEAST_DB) @ _BITS
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
