"""What is noted of a finished sound for the registry.

Owns: reading it from the sound and from its master's file.
Must not know: any database.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from audio_pool.audio.id3 import ID3_HEAD_BYTES, id3_bytes
from audio_pool.cache.registry import Noted
from audio_pool.origin import made_of
from audio_pool.results import FinishedSound

__all__ = ["noted_of", "samples_of"]

_FLAC_MD5 = slice(26, 42)
"""Of the samples, in the first block of every FLAC file (RFC 9639, section 8.2)."""


def samples_of(master: Path) -> bytes:
    """Return the MD5 of a FLAC file's samples as the file tells it; b"" where it does not, or cannot be read."""
    try:
        with master.open("rb") as file:
            file.seek(id3_bytes(file.read(ID3_HEAD_BYTES)))  # a signed file begins with a tag
            head = file.read(_FLAC_MD5.stop)
    except OSError:
        return b""
    found = head[_FLAC_MD5]
    return found if head.startswith(b"fLaC") and len(found) == 16 and any(found) else b""


def noted_of(sound: FinishedSound, master: Path, now: float) -> Noted:
    """Return what is remembered of a sound that is not kept. Raises OSError."""
    with master.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    made = made_of(sound.recipe, sound.metadata, now)
    return Noted(sound.recipe.namespace, made, samples_of(master), (digest,), sound.fingerprint)
