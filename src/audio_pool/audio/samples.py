"""Samples as bytes, as they are sent while a sound is made and as its file holds them: the same ones.

Owns: Quantizer, and a WAV or headerless file written of what has been quantised.
Must not know: who gets them, what a sound is made of.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio
from audio_pool.audio.codec import dithered, samples_file
from audio_pool.audio.kernels import in_24_bits
from audio_pool.audio.riff import append_chunks
from audio_pool.audio.storing import storing

__all__ = ["Quantizer", "write_samples"]

_BLOCK_FRAMES = 65_536


class Quantizer:
    """Rounds pieces of one sound, 16 bits with triangular dither, as ``codec.write`` does."""

    def __init__(self, bit_depth: int) -> None:
        """``bit_depth``: 16, 24 or 32 (float)."""
        self._depth = bit_depth
        self._noise = np.random.default_rng(0)

    def push(self, audio: Audio) -> bytes:
        """Return the next piece, float32 [C, T], as interleaved little-endian samples."""
        if self._depth == 32:
            return np.ascontiguousarray(audio.T, "<f4").tobytes()
        if self._depth == 24:
            steps = in_24_bits(np.ascontiguousarray(audio))
            # the topmost three bytes of four
            return np.ascontiguousarray(steps.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:]).tobytes()
        # drawn frame by frame, so that it does not depend on the pieces
        drawn = self._noise.random((audio.shape[1], 2, len(audio)), np.float32)
        return (dithered(audio.T, drawn[:, 0] - drawn[:, 1]) >> 16).astype("<i2").tobytes()


def write_samples(
    path: Path, pieces: Iterable[bytes], sample_rate: int, channels: int, format: str, bit_depth: int, comment: str
) -> None:
    """Write a file of quantised pieces, sample for sample, and fsync it.

    Args:
        format: wav or pcm.
        comment: the recipe as compact JSON.

    Raises:
        StorageError: the disk is full, or the file cannot be created.
    """
    with storing(path):
        frames = 0
        with samples_file(path, sample_rate, channels, format, bit_depth) as file:
            for piece in pieces:
                samples = _samples(piece, bit_depth).reshape(-1, channels)
                frames += len(samples)
                for start in range(0, len(samples), _BLOCK_FRAMES):
                    file.write(samples[start : start + _BLOCK_FRAMES])
        if format == "wav":
            append_chunks(path, frames, sample_rate, comment, False)
        with path.open("rb") as written:
            os.fsync(written.fileno())


def _samples(piece: bytes, bit_depth: int) -> npt.NDArray[np.int32] | npt.NDArray[np.float32]:
    """Return a piece as libsndfile takes it: integers in the topmost bits of 32."""
    if bit_depth == 32:
        return np.frombuffer(piece, "<f4")
    if bit_depth == 16:
        return np.frombuffer(piece, "<i2").astype(np.int32) << 16
    wide = np.zeros((len(piece) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(piece, np.uint8).reshape(-1, 3)
    return wide.view("<i4").ravel()
