"""A file put in the place of another, as a whole or not at all.

Owns: what may be replaced (regular files), and that no link is followed.
Must not know: what is written, who asked for it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from typing import BinaryIO

from audio_pool.errors import InvalidAudio

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(folder: int, name: str, shown: str) -> Iterator[BinaryIO]:
    """Give a new file to write, which takes the name's place at the end of the block; its mode follows the umask.

    Args:
        folder: descriptor of the directory.
        shown: the whole place, as messages call it.

    Raises:
        InvalidAudio: something other than a regular file is there. OSError: it cannot be written.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise InvalidAudio(f"{shown} is there and is not a regular file; only those are replaced")
    temporary = f".{secrets.token_hex(12)}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(temporary, flags, 0o666, dir_fd=folder), "wb") as file:
            yield file
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
