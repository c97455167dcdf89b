"""Encode pictures as PNG (PNG specification, second edition, sections 4 and 11).

Owns: ``encode``, for pixels that are indices into a palette.
Must not know: what the picture shows; numpy and zlib only.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["encode"]

Colour = tuple[int, int, int]
"""Red, green, blue, 0..255."""


def encode(pixels: npt.NDArray[np.uint8], palette: Sequence[Colour]) -> bytes:
    """Encode a picture of at most 256 colours.

    Args:
        pixels: uint8 [H, W], indices into the palette.
        palette: up to 16 colours take four bits per pixel, up to 256 take eight.
    """
    height, width = pixels.shape
    bits = 4 if len(palette) <= 16 else 8
    if bits == 4:
        even = np.pad(pixels, ((0, 0), (0, width % 2)))
        pixels = (even[:, ::2] << 4 | even[:, 1::2]).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # 0: unfiltered
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 3, 0, 0, 0)),  # 3: indexed colour
            _chunk(b"PLTE", bytes(value for colour in palette for value in colour)),
            _chunk(b"IDAT", zlib.compress(rows, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
