"""Reads PNGs of indexed colours back, checksums included: an independent half of what writes them."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunks(png: bytes) -> dict[bytes, bytes]:
    """Every chunk's body by its name."""
    assert png.startswith(SIGNATURE)
    place, chunks = len(SIGNATURE), {}
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        body = png[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack(">I", png[place + 8 + length : place + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        assert kind not in chunks
        chunks[kind] = body
        place += 12 + length
    assert chunks[b"IEND"] == b""
    return chunks


def png_pixels(png: bytes) -> npt.NDArray[np.uint8]:
    """uint8 [H, W]: indices into the palette."""
    chunks = png_chunks(png)
    width, height, bits, colours, *methods = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (colours, methods) == (3, [0, 0, 0])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any(), "no row is filtered"
    pixels = rows[:, 1:]
    if bits == 4:
        pixels = np.stack([pixels >> 4, pixels & 15], axis=2).reshape(height, -1)
    return pixels[:, :width]


def png_colours(png: bytes) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3]."""
    palette = np.frombuffer(png_chunks(png)[b"PLTE"], np.uint8).reshape(-1, 3)
    return palette[png_pixels(png)]
