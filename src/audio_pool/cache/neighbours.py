"""Which other processes have a cache directory open to make sounds for it.

Owns: reading the folders of ``incoming`` and their locks.
Must not know: what lies in the folders.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from audio_pool.claims import is_claimed

__all__ = ["LOCK", "Neighbours"]

LOCK = ".lock"
"""Held in its folder for as long as an owner lives."""
_SETTLED_NS = 100_000_000
"""A directory that changed so lately may change again without its time telling: clocks of files tick in ms."""


class Neighbours:
    """The owners of folders, by name."""

    def __init__(self, incoming: Path) -> None:
        """``incoming``: has a folder for each owner."""
        self._incoming = incoming
        self._path = str(incoming)
        self._seen_ns = -1
        self._alone = False

    def lives(self, owner: str) -> bool:
        """Return False where an owner is known to be gone."""
        return is_claimed(self._incoming / owner / LOCK)

    def alone(self, owner: str) -> bool:
        """Return True where nobody but this owner has a folder; a few microseconds while none comes or goes."""
        try:
            changed_ns = os.stat(self._path).st_mtime_ns
            if changed_ns != self._seen_ns:
                with os.scandir(self._path) as items:
                    self._alone = not any(self._other(item, owner) for item in items)
                self._seen_ns = changed_ns if time.time_ns() - changed_ns > _SETTLED_NS else -1
        except OSError:
            return False
        return self._alone

    def _other(self, item: os.DirEntry[str], owner: str) -> bool:
        if item.name == owner or not item.is_dir(follow_symlinks=False):
            return False
        lock = self._incoming / item.name / LOCK
        return not lock.exists() or is_claimed(lock)  # without a lock: it may just be coming
