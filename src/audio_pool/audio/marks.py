"""Marks: what fingerprints consist of, and how they are kept as bytes.

Owns: Marks, Fingerprint, Probe.
Must not know: how a sound comes to have them (audio/fingerprint.py), how they are compared (audio/overlay.py).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["HOP_S", "PHASES", "Fingerprint", "Marks", "Probe", "Words"]

HOP_S = 0.03
"""Between frames."""
PHASES = 4
"""A probe has so many frames a hop: it may begin anywhere between two frames of what it is compared with."""
_HEAD = struct.Struct("<Bd")
_VERSION = 1

Words = npt.NDArray[np.uint32]


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
