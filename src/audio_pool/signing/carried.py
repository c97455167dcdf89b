"""What a given sound's manifest says, kept in the master that the cache has of what was made of it.

Owns: the block of the FLAC file that holds it.
Must not know: how a master is written, when it is signed.

The given file may be gone when a rendition of the master is asked for.
"""

from __future__ import annotations

from pathlib import Path

from audio_pool.audio.flac_blocks import add_application, application_in
from audio_pool.audio.storing import storing

__all__ = ["GIVEN", "GIVEN_TITLE", "carried_in", "carry"]

GIVEN, GIVEN_TITLE = "given", "given sound"
"""What a manifest calls the sound that was given."""
_BLOCK = b"apGi"


def carry(archive: bytes, master: Path) -> None:
    """Keep a given sound's manifest in a master that has just been written. Raises StorageError: the master is gone.

    Args:
        archive: as ``ingredient_of`` gives it; empty: nothing is kept.
    """
    if archive:
        with storing(master):
            add_application(master, _BLOCK, archive)


def carried_in(master: Path) -> bytes:
    """Return the archive that a master keeps; b"" where it keeps none, or cannot be read."""
    try:
        return application_in(master, _BLOCK)
    except OSError:  # whoever reads its sound says it better
        return b""
