"""A kept sound drawn, or outlined, into a file that the cache can keep.

Owns: reading the master, and that the file is on the disk when this returns.
Must not know: tasks, where pictures are kept.
"""

from __future__ import annotations

import os
from pathlib import Path

from audio_pool.errors import StorageError
from audio_pool.types import Peaks, Picture

__all__ = ["drawn"]


def drawn(master: Path, picture: Picture | Peaks, out: Path, title: str) -> None:
    """Draw a master into a PNG, or write the least and greatest samples of its buckets.

    Raises:
        NotFound, InvalidAudio: the master. StorageError: the file cannot be written.
    """
    from audio_pool.audio import codec

    audio, rate = codec.read(master)
    if isinstance(picture, Peaks):
        from audio_pool.audio.peaks import encode, outline_of

        try:
            out.write_bytes(encode(outline_of(audio, rate, picture.buckets)))
        except OSError as exc:
            raise StorageError(f"{out}: {exc.strerror}") from exc
    elif picture.tile:
        from audio_pool.audio.spectrogram import write_tile

        write_tile(out, audio, rate)
    else:
        from audio_pool.audio.spectrogram import write_png

        bands, highest_hz = picture.mel_bands, picture.highest_hz
        write_png(out, audio, rate, title, mel_bands=bands, highest_hz=highest_hz, dark=picture.dark)
    with out.open("rb") as file:
        os.fsync(file.fileno())
