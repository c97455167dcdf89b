"""A sound's outline: the least and the greatest sample of each bucket, to draw it by.

Owns: measuring them, making fewer buckets of them, and the file that they are kept in: the binary format 2 of
the program *audiowaveform* (its doc/DataFormat.md), 16 bits.
Must not know: which sound it is; numpy only.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_pool.errors import InvalidAudio

__all__ = ["Outline", "decode", "encode", "fewer", "outline_of"]

_HEADER = struct.Struct("<iIiiIi")
"""Version, flags, sample rate, frames of a bucket, buckets, channels."""
_VERSION, _SIXTEEN_BITS = 2, 0
Audio = npt.NDArray[np.float32]


class Outline(NamedTuple):
    """The buckets of one sound."""

    sample_rate: int
    frames_each: int
    """Frames of one bucket; the last may have fewer."""
    data: npt.NDArray[np.int16]
    """[N, C, 2]: least, greatest."""


def outline_of(audio: Audio, sample_rate: int, buckets: int) -> Outline:
    """Measure a sound.

    Args:
        audio: float32 [C, T], -1..1; what goes beyond is told as -1 or 1.
        buckets: at most so many; as many as there are frames where there are fewer.
    """
    channels, frames = audio.shape
    each = max(1, -(-frames // buckets))
    count = -(-frames // each)
    padded = np.pad(audio, ((0, 0), (0, count * each - frames)), mode="edge").reshape(channels, count, each)
    both = np.stack([padded.min(axis=2), padded.max(axis=2)], axis=-1)  # [C, N, 2]
    scaled = np.clip(np.round(both * 32768.0), -32768, 32767).astype(np.int16)
    return Outline(sample_rate, each, np.ascontiguousarray(scaled.transpose(1, 0, 2)))


def fewer(outline: Outline, buckets: int) -> Outline:
    """Return the same sound in at most so many buckets, each of a whole number of the given ones."""
    count = len(outline.data)
    together = max(1, -(-count // buckets))
    if together == 1:
        return outline
    starts = np.arange(0, count, together)
    least = np.minimum.reduceat(outline.data[:, :, 0], starts, axis=0)
    greatest = np.maximum.reduceat(outline.data[:, :, 1], starts, axis=0)
    return Outline(outline.sample_rate, outline.frames_each * together, np.stack([least, greatest], axis=-1))


def encode(outline: Outline) -> bytes:
    """Return the file."""
    count, channels, _ = outline.data.shape
    head = _HEADER.pack(_VERSION, _SIXTEEN_BITS, outline.sample_rate, outline.frames_each, count, channels)
    return head + outline.data.astype("<i2").tobytes()


def decode(data: bytes) -> Outline:
    """Return what a file of ``encode`` holds. Raises InvalidAudio."""
    if len(data) >= _HEADER.size:
        version, flags, sample_rate, each, count, channels = _HEADER.unpack_from(data)
        rest = memoryview(data)[_HEADER.size :]
        known = version == _VERSION and flags == _SIXTEEN_BITS and channels > 0
        if known and len(rest) == count * channels * 4:
            return Outline(sample_rate, each, np.frombuffer(rest, "<i2").reshape(count, channels, 2).astype(np.int16))
    raise InvalidAudio(f"{len(data):,} bytes that are no outline of a sound")
