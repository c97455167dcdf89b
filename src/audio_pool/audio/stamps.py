"""What encoders write differently each time, made to follow from the file: the same sound is the same bytes.

Owns: an Ogg stream's number, which libsndfile draws, and the time of a WAV's PEAK chunk.
Must not know: how sound is encoded; standard library only.

Ogg pages end their header with a CRC-32 of the polynomial 0x04C11DB7, most significant bit first, begun with 0 and
not inverted (xiph.org, "The Ogg container format", RFC 3533). zlib's has the same polynomial the other way round:
of bytes whose bits are reversed it is the same, with its own bits reversed.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

__all__ = ["ogg_crc", "steady"]

_OGG = ("ogg", "opus")
_SERIAL, _CRC, _SEGMENTS = 14, 22, 26
_HEAD_BYTES = 27
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_RIFF_HEAD = 12


def steady(path: Path, format: str) -> None:
    """Take what differs from one writing to the next out of a file that has just been written."""
    if format in _OGG:
        data = bytearray(path.read_bytes())
        _number_stream(data)
        path.write_bytes(data)
    elif format == "wav":
        _clear_peak_time(path)


def _number_stream(data: bytearray) -> None:
    """Number an Ogg stream by what is in it: two different files of one player are still told apart."""
    pages: list[tuple[int, int]] = []
    at, content = 0, 0
    while data[at : at + 4] == b"OggS" and at + _HEAD_BYTES <= len(data):
        body = at + _HEAD_BYTES + data[at + _SEGMENTS]
        end = body + sum(data[at + _HEAD_BYTES : body])
        content = zlib.crc32(data[body:end], content)
        pages.append((at, end))
        at = end
    for start, end in pages:
        struct.pack_into("<I", data, start + _SERIAL, content)
        struct.pack_into("<I", data, start + _CRC, 0)
        struct.pack_into("<I", data, start + _CRC, ogg_crc(data[start:end]))


def ogg_crc(page: bytes | bytearray) -> int:
    """Return the checksum of a page whose own checksum is zero."""
    register = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{register:032b}"[::-1], 2)


def _clear_peak_time(path: Path) -> None:
    """Set the time in a PEAK chunk, which only files of floats have, to zero; it stands before the samples."""
    with path.open("r+b") as file:
        at = _RIFF_HEAD
        while len(head := os.pread(file.fileno(), 8, at)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"PEAK" and size >= 8:
                file.seek(at + 12)
                file.write(b"\0\0\0\0")
            if name in (b"PEAK", b"data"):
                return
            at += 8 + size + size % 2

