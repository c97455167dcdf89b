"""Which files carry a C2PA manifest, told from their structure alone.

Owns: the formats that can hold one, and where in a file it lies.
Must not know: what a manifest says; standard library only, so that a file without one costs no library.

WAV holds it in a chunk ``C2PA``; MP3 and FLAC in a GEOB frame of an ID3v2 tag at the file's beginning (C2PA
specification, "Embedding manifests into various file formats"). A tag or chunk that merely points to a manifest
elsewhere is none: nothing is ever fetched.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from audio_pool.audio.id3 import id3_bytes

__all__ = ["MAX_MANIFEST_BYTES", "SIGNABLE", "EmbeddedManifest", "embedded_manifest"]

SIGNABLE = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg"}
"""Formats that can be signed, and their media types."""
MAX_MANIFEST_BYTES = 8 << 20
"""Of what is read: a manifest of ours has 4 KB, one with pictures of its history a few hundred."""
_RIFF_HEAD = 12
_MOST_CHUNKS = 1024
_MARKS = (b"application/c2pa\0", b"application/x-c2pa-manifest-store\0")


class EmbeddedManifest:
    """A manifest that is in a file: the file's media type, and how large the part is that holds it."""

    def __init__(self, media_type: str, size_bytes: int) -> None:
        self.media_type = media_type
        self.size_bytes = size_bytes

    @property
    def is_readable(self) -> bool:
        """Return False for one that is larger than anybody means it to be."""
        return self.size_bytes <= MAX_MANIFEST_BYTES


def embedded_manifest(path: Path) -> EmbeddedManifest | None:
    """Return where a file's manifest is; None: it carries none. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(_RIFF_HEAD)
        if head[:4] == b"RIFF" and head[8:] == b"WAVE":
            size = _wav_manifest(file)
            return None if size is None else EmbeddedManifest(SIGNABLE["wav"], size)
        tag = id3_bytes(head)
        if not tag:
            return None
        file.seek(0)
        data = file.read(min(tag, MAX_MANIFEST_BYTES))
        if not any(mark in data for mark in _MARKS):
            return None
        file.seek(tag)
        return EmbeddedManifest(SIGNABLE["flac" if file.read(4) == b"fLaC" else "mp3"], tag)


def _wav_manifest(file: BinaryIO) -> int | None:
    """Return the size of a WAV's chunk ``C2PA``."""
    file.seek(_RIFF_HEAD)
    for _ in range(_MOST_CHUNKS):
        if len(head := file.read(8)) < 8:
            return None
        name, size = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"C2PA":
            return int(size)
        file.seek(size + size % 2, os.SEEK_CUR)
    return None
