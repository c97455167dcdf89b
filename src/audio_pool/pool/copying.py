"""A file copied to a place that a caller named.

Owns: how it is copied, and what may be replaced there.
Must not know: which file, who asks.
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

from audio_pool.errors import InvalidAudio
from audio_pool.replacement import replacing
from audio_pool.roots import ANYWHERE, Roots

__all__ = ["copy_file"]

_FICLONE = 0x40049409
"""ioctl of linux/fs.h: make a file share another's blocks, copied on write."""


def copy_file(source: Path, target: Path, roots: Roots = ANYWHERE) -> str:
    """Copy a file to a place that a caller named, atomically; return the place.

    The copy shares the source's blocks where the file system can (copied on write), never the file itself: an
    edit of it reaches nobody else. Its mode follows the umask. Only regular files are replaced.

    Args:
        roots: where the caller may name files.

    Raises:
        InvalidAudio: the target is relative, or something other than a regular file is there.
        PathNotAllowed: it does not lie beneath the roots, or only by way of a link.
        OSError: it cannot be written.
    """
    if not target.is_absolute():
        raise InvalidAudio(f"output_path: given {str(target)!r}, allowed is an absolute path")
    with (
        source.open("rb") as read,
        roots.folder_for("output_path", str(target)) as (folder, name),
        replacing(folder, name, f"output_path: {str(target)!r}") as write,
    ):
        try:
            fcntl.ioctl(write.fileno(), _FICLONE, read.fileno())
        except OSError:  # another file system, or one that cannot
            shutil.copyfileobj(read, write, 1 << 20)
    return str(target)
