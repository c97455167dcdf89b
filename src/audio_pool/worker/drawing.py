"""A kept sound drawn into a file that the cache can keep.

Owns: reading the master, and that the picture is on the disk when this returns.
Must not know: tasks, where pictures are kept.
"""

from __future__ import annotations

import os
from pathlib import Path

from audio_pool.types import Picture

__all__ = ["drawn"]


def drawn(master: Path, picture: Picture, out: Path, title: str) -> None:
    """Draw a master into a PNG.

    Raises:
        NotFound, InvalidAudio: the master. StorageError: the picture cannot be written.
    """
    from audio_pool.audio import codec
    from audio_pool.audio.spectrogram import write_png

    audio, rate = codec.read(master)
    bands, highest_hz = picture.mel_bands, picture.highest_hz
    write_png(out, audio, rate, title, mel_bands=bands, highest_hz=highest_hz, dark=picture.dark)
    with out.open("rb") as file:
        os.fsync(file.fileno())
