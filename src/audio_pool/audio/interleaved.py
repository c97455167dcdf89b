"""Samples as they lie in a WAV, and as this package computes with them.

Owns: ``planar``.
Must not know: files, where samples come from.
"""

from __future__ import annotations

import numpy as np

from audio_pool.audio import Audio

__all__ = ["planar"]


def planar(samples: bytes, channels: int) -> Audio:
    """Return float32 [C, T] of interleaved 32-bit floats, little-endian: a view of them, not to be written to."""
    return np.frombuffer(samples, "<f4").astype(np.float32, copy=False).reshape(-1, channels).T
