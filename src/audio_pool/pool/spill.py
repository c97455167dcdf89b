"""Where sounds go that neither the cache nor the render directory takes: memory, for a while.

Owns: the folder that workers write to meanwhile, and the one that such sounds are delivered from.
Must not know: why nobody else takes them.

Both lie beside the arena, in shared memory where there is some: a disk that is full or gone has no say there.
What was delivered stays for the grace time, also when the pool ends; the next pool's start or anybody's tidying
unlinks it then. A file's name begins with the uptime of its delivery, so that no jump of the wall clock does.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import shutil
from pathlib import Path

from audio_pool.cache.uptime import clock_name, uptime_s
from audio_pool.errors import StorageError

__all__ = ["Spill"]

log = logging.getLogger(__name__)

_MOST_BYTES = 256 << 20
"""Delivered sounds kept in memory at most: about three minutes at one sound a second."""


class Spill:
    """One pool's way out. Writer's thread only, but for ``making``."""

    def __init__(self, arena: Path, grace_s: float, most_bytes: int = _MOST_BYTES) -> None:
        """
        Args:
            arena: this pool's own directory; it goes when the pool ends, or is swept.
            grace_s: how long a delivered sound stays.
        """
        self.making = arena / "spill"
        """For workers whose own place takes no files."""
        self.making.mkdir(mode=0o700)
        self._grace_s = grace_s
        self._most_bytes = most_bytes
        start = hashlib.blake2b(clock_name().encode(), digest_size=6).hexdigest()
        self._delivered = arena.parent / f"spilled-{start}"
        self.tidy()

    def take(self, path: Path) -> str:
        """Move a finished sound here; return its path.

        Raises:
            StorageError: there is no room here either; the file is where it was.
        """
        target = self._delivered / f"{uptime_s():.0f}-{secrets.token_hex(8)}{path.suffix}"
        try:
            self._delivered.mkdir(mode=0o700, exist_ok=True)
            size = path.stat().st_size
            if self.tidy() + size > self._most_bytes:
                raise StorageError(
                    f"no disk takes the sound, and {self._delivered} holds {self._most_bytes >> 20} MB of others",
                    hint="health says what is wrong with the cache's disk",
                )
            shutil.move(path, target)
        except OSError as exc:
            with contextlib.suppress(OSError):
                target.unlink()
            raise StorageError(f"no disk takes the sound: {exc}", hint="free some space and try again") from exc
        return str(target)

    def tidy(self) -> int:
        """Unlink what was delivered a grace ago; return the bytes that are left."""
        left = 0
        for path in sorted(self._delivered.iterdir()) if self._delivered.is_dir() else ():
            with contextlib.suppress(OSError, ValueError):
                if float(path.name.split("-")[0]) + self._grace_s <= uptime_s():
                    path.unlink()
                else:
                    left += path.stat().st_size
        return left
