"""A block of one's own in a FLAC file: the APPLICATION block that the format keeps for other programs.

Owns: adding and reading one (RFC 9639, section 8.4: four bytes of name, and then anything).
Must not know: what is in it; standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from audio_pool.errors import InvalidAudio

__all__ = ["add_application", "application_in"]

_APPLICATION, _LAST = 2, 0x80
_MOST_BYTES = (1 << 24) - 1
_MOST_BLOCKS = 1024
_COPIED = 1 << 20


def add_application(path: Path, name: bytes, body: bytes) -> None:
    """Put a block behind the first one of a FLAC file, fsynced; all else is as it was.

    Args:
        name: four bytes.

    Raises:
        InvalidAudio: it is no FLAC file, or there is too much to put into it. OSError: the file is as it was.
    """
    if len(name) + len(body) > _MOST_BYTES:
        raise InvalidAudio(f"a FLAC block of {len(body):,} bytes, allowed are {_MOST_BYTES - 4:,}")
    beside = path.with_name(f"{path.name}.block")
    try:
        with path.open("rb") as source, beside.open("wb") as target:
            head = source.read(8)
            if head[:4] != b"fLaC" or len(head) < 8:
                raise InvalidAudio(f"{path}: not a FLAC file")
            stream_info = source.read(int.from_bytes(head[5:8], "big"))
            target.write(head[:4] + bytes([head[4] & ~_LAST]) + head[5:8] + stream_info)
            kind = _APPLICATION | head[4] & _LAST  # the first is the last where there is no other
            target.write(bytes([kind]) + (len(name) + len(body)).to_bytes(3, "big") + name + body)
            while part := source.read(_COPIED):
                target.write(part)
            target.flush()
            os.fsync(target.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def application_in(path: Path, name: bytes) -> bytes:
    """Return what a FLAC file's block of this name holds; b"" where there is none. Raises OSError."""
    with path.open("rb") as file:
        for kind, size in _blocks(file):
            if kind == _APPLICATION and size >= 4 and file.read(4) == name:
                return file.read(size - 4)
    return b""


def _blocks(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield kind and size of each block, with the file at its first byte."""
    if file.read(4) != b"fLaC":
        return
    at = 4
    for _ in range(_MOST_BLOCKS):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4:
            return
        size = int.from_bytes(head[1:], "big")
        yield head[0] & ~_LAST, size
        at += 4 + size
        if head[0] & _LAST:
            return
