"""A master: a 24-bit FLAC whose sound is encoded before it is known what will be said of it.

Owns: how comment and loop points come into a file that is encoded already.
Must not know: what the comment says, where masters are kept.

Encoding takes a third of what finishing a sound does, and what goes into the comment (a loop's joint) nearly as much:
so the one runs in a thread beside the other.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from audio_pool.audio import Audio, codec
from audio_pool.audio.storing import storing
from audio_pool.audio.tags import tags_as_comments
from audio_pool.audio.vorbis_comments import flac_with

__all__ = ["EncodedMaster", "encode"]


@dataclass(frozen=True, kw_only=True)
class EncodedMaster:
    """A FLAC file in memory, without comments."""

    data: memoryview
    frames: int

    def write(self, path: Path, comment: str, loop: bool) -> None:
        """Write it, as ``codec.write`` does.

        Raises:
            StorageError: the disk is full, or the file cannot be created.
        """
        tags = [f"comment={comment}".encode()] if comment else []
        tags += tags_as_comments(comment, self.frames if loop else None)
        with storing(path), path.open("wb") as file:
            file.writelines(flac_with(self.data, tags))
            file.flush()
            os.fsync(file.fileno())


def encode(audio: Audio, sample_rate: int) -> EncodedMaster:
    """Encode a sound, float32 [C, T].

    Raises:
        InvalidAudio: not finite, empty, or refused by the encoder.
    """
    return EncodedMaster(data=codec.master_bytes(audio, sample_rate), frames=audio.shape[1])
