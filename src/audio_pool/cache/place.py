"""What has become of a directory or file since it was opened.

Owns: Pinned, which tells a thing that was deleted from one that was moved away or replaced.
Must not know: what lies there.

Descriptors that are already open go on working wherever their file has gone, so nothing fails by itself; and
SQLite would write on into a file that nobody will ever find again. Only the path tells, when it is asked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

__all__ = ["Fate", "Pinned"]

Fate = Literal["there", "deleted", "moved", "replaced"]


class Pinned:
    """A path and what was found at it."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where nothing is there."""
        self.path = path
        # O_PATH: unlike that of any other descriptor, its closing does not drop SQLite's locks on the file
        self._held = os.open(path, os.O_PATH)
        found = os.fstat(self._held)
        self._identity = (found.st_dev, found.st_ino)

    def close(self) -> None:
        """Let go of it."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    @property
    def fate(self) -> Fate:
        """What has become of it. Raises OSError where the disk does not say."""
        try:
            found = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            gone = os.fstat(self._held).st_nlink == 0 or self.whereabouts.endswith(" (deleted)")
            return "deleted" if gone else "moved"
        return "there" if (found.st_dev, found.st_ino) == self._identity else "replaced"

    @property
    def whereabouts(self) -> str:
        """Where it is now, as far as the kernel knows."""
        try:
            return os.readlink(f"/proc/self/fd/{self._held}")
        except OSError:
            return "elsewhere"
