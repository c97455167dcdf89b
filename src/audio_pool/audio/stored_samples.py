"""The samples of a finished WAV or headerless file, read as they lie there: nothing is decoded.

Owns: where they begin, and what they are; the head of a WAV that is sent before its length is known.
Must not know: why they are read. Light: a process that never imports soundfile reads them, too.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from audio_pool.errors import InvalidAudio

__all__ = ["StoredSamples", "opened", "streamed_wav_head"]

_MOST_CHUNKS = 64
_EXTENSIBLE = 0xFFFE
_KINDS = ((1, 16), (1, 24), (3, 32))
"""WAVE_FORMAT_PCM or _IEEE_FLOAT, and bits."""


@dataclass(frozen=True, kw_only=True)
class StoredSamples:
    """An open file's samples. ``close`` it."""

    descriptor: int
    offset: int
    """Of the first sample, in bytes."""
    frames: int
    sample_rate: int
    channels: int
    bit_depth: int
    """16 or 24, signed; 32: float."""

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self.channels * self.bit_depth // 8

    def read(self, start: int, frames: int) -> bytes:
        """Return frames from ``start`` on, fewer at the end. Raises InvalidAudio: the file has been cut short."""
        wanted = max(0, min(frames, self.frames - start)) * self.frame_bytes
        data = os.pread(self.descriptor, wanted, self.offset + start * self.frame_bytes)
        if len(data) < wanted:
            raise InvalidAudio(f"cut short: {len(data):,} of {wanted:,} bytes of samples can be read")
        return data

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


def opened(path: Path, sample_rate: int) -> StoredSamples:
    """Open a WAV, or a file of headerless 16-bit samples of one channel.

    Args:
        sample_rate: of a headerless file.

    Raises:
        OSError. InvalidAudio: another kind of file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if path.suffix != ".wav" and os.pread(descriptor, 4, 0) != b"RIFF":
            frames = os.fstat(descriptor).st_size // 2
            return StoredSamples(
                descriptor=descriptor, offset=0, frames=frames, sample_rate=sample_rate, channels=1, bit_depth=16
            )
        return _wav(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise


def streamed_wav_head(sample_rate: int, channels: int, bit_depth: int, frames: int | None = None) -> bytes:
    """Return what stands before a WAV's samples.

    Args:
        bit_depth: 16 or 24, signed; 32: float.
        frames: None: not known yet; both sizes are then 0xFFFFFFFF, as programs write that send WAV through a pipe.
    """
    frame_bytes = channels * bit_depth // 8
    size = 0xFFFF_FFFF if frames is None else frames * frame_bytes
    layout = struct.pack(
        "<HHIIHH", 3 if bit_depth == 32 else 1, channels, sample_rate, sample_rate * frame_bytes, frame_bytes, bit_depth
    )
    body = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", size if frames is None else len(body) + size) + body


def _wav(descriptor: int, path: Path) -> StoredSamples:
    at, layout = 12, b""
    for _ in range(_MOST_CHUNKS):
        head = os.pread(descriptor, 8, at)
        if len(head) < 8:
            break
        name, size = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"fmt ":
            layout = os.pread(descriptor, min(size, 40), at + 8)
        elif name == b"data" and len(layout) >= 16:
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", layout)
            if kind == _EXTENSIBLE and len(layout) >= 26:
                kind = struct.unpack_from("<H", layout, 24)[0]
            if (kind, bits) in _KINDS:
                return StoredSamples(
                    descriptor=descriptor,
                    offset=at + 8,
                    frames=size // (channels * bits // 8),
                    sample_rate=rate,
                    channels=channels,
                    bit_depth=bits,
                )
        at += 8 + size + size % 2
    raise InvalidAudio(f"{path}: not a WAV of 16 or 24 bits or of 32-bit float")
