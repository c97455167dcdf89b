"""A file carried to its place, which may be on another disk.

Owns: the move in one step; the copy beside the place where a move cannot be, and its name.
Must not know: rows, marks, what the files are.

``audio`` and ``renditions`` may be mounts, or links to another disk, of their own.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

__all__ = ["READ_ONLY", "carry", "fsync_folder", "part_of"]

READ_ONLY = 0o444
"""Mode of finished sounds: their paths are handed out, and an edit would be everybody's."""


def part_of(final: Path) -> Path:
    """Return where the copy for a place lies until it is whole; a crash may leave it there."""
    return final.with_suffix(".part")


def carry(source: Path, final: Path) -> bool:
    """Move a file into place, read-only from then on: there as a whole or not at all.

    Returns:
        True where it came from another disk: as a copy, so that a power cut cannot bring the source back.

    Raises:
        OSError: the source is where it was.
    """
    os.chmod(source, READ_ONLY)
    try:
        os.replace(source, final)
        return False
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
    part = part_of(final)
    try:
        with source.open("rb") as read, part.open("xb") as write:
            shutil.copyfileobj(read, write, 1 << 20)
            write.flush()
            os.fchmod(write.fileno(), READ_ONLY)
            os.fsync(write.fileno())
        os.replace(part, final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    source.unlink(missing_ok=True)
    return True


def fsync_folder(folder: Path) -> None:
    """Make sure that what was moved into a folder is there after a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
