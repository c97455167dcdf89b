"""Copies of objects in the cache directory, within a bound: what was not used for longest goes.

Owns: how much they take, when each was used, and what goes.
Must not know: the object store, rows.

The time of a copy's last use is its file's time of access, which is set here and does not depend on the mount. Several
processes may share a directory: one at a time removes, and each counts anew now and then what the others have added.

Threads: ``used`` and ``added`` any; the rest on one that may take its time.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from audio_pool.cache.objects.names import content_of
from audio_pool.claims import gate

__all__ = ["LocalCopies"]

_log = logging.getLogger(__name__)

_LOW_WATER = 0.9
_COUNT_EVERY_S = 60.0
_ROOTS = ("audio", "renditions")
_LOCK = "copies.lock"


class _Copy(NamedTuple):
    used_at: float
    size_bytes: int
    file: str


class LocalCopies:
    """Those of one cache directory. Files whose name does not say what they hold have no other place, and stay."""

    def __init__(
        self, root: Path, most_bytes: int, spare_s: float, *, now: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            most_bytes: of all copies; 0: no bound.
            spare_s: what was used so lately stays, whatever the bound: somebody may have its path.
        """
        self._root = root
        self._most_bytes = most_bytes
        self._spare_s = spare_s
        self._now = now
        self._lock = threading.Lock()
        self._used: set[str] = set()
        self._bytes = 0
        self._counted_at = -_COUNT_EVERY_S

    @property
    def size_bytes(self) -> int:
        """About what the copies take."""
        return self._bytes

    def used(self, file: str) -> None:
        """Note that a copy was offered; a set's ``add``, for whoever has no time."""
        self._used.add(file)

    def added(self, size_bytes: int) -> None:
        """Note that a copy has been made."""
        with self._lock:
            self._bytes += size_bytes

    def write_down(self) -> None:
        """Write down what was used since the last time."""
        used, self._used = self._used, set()
        now = self._now()
        for file in tuple(used):
            self._touch(file, now)

    def _touch(self, file: str, now: float) -> None:
        path = self._root / file
        try:
            os.utime(path, ns=(int(now * 1e9), path.stat().st_mtime_ns))
        except OSError:  # gone, or a disk that takes no writes: then nothing is removed either
            return

    @property
    def due(self) -> bool:
        """There is too much, or it is time to count."""
        over = 0 < self._most_bytes < self._bytes
        return over or time.monotonic() - self._counted_at >= _COUNT_EVERY_S

    def tidy(self, room_for: int = 0, *, down_to: int | None = None) -> int:
        """Count, and remove what is too much, so that ``room_for`` bytes more fit; return the bytes removed.

        Args:
            down_to: remove at least until so much is left: the disk itself is full.
        """
        self.write_down()
        copies = self._found()
        total = sum(copy.size_bytes for copy in copies)
        with self._lock:
            self._bytes, self._counted_at = total, time.monotonic()
        bound = self._most_bytes if down_to is None else down_to
        if (not bound and down_to is None) or total + room_for <= bound:
            return 0
        with gate(self._root / _LOCK, 0.0) as inside:
            return self._remove(sorted(copies), total, bound, room_for) if inside else 0

    def _remove(self, copies: list[_Copy], total: int, bound: int, room_for: int) -> int:
        left, latest = total, self._now() - self._spare_s
        for copy in copies:
            if left + room_for <= bound * _LOW_WATER or copy.used_at > latest:
                break
            if copy.file in self._used:
                continue
            try:
                (self._root / copy.file).unlink(missing_ok=True)
            except OSError as exc:
                _log.warning("the copy %s cannot be removed: %s", copy.file, exc)
                continue
            left -= copy.size_bytes
        with self._lock:
            self._bytes = left
        return total - left

    def _found(self) -> list[_Copy]:
        found = []
        for place in _ROOTS:
            for folder, _, names in os.walk(self._root / place):
                for name in names:
                    file = f"{place}/{os.path.basename(folder)}/{name}"
                    if content_of(file) is None:
                        continue
                    try:
                        status = os.lstat(os.path.join(folder, name))
                    except OSError:
                        continue
                    if stat.S_ISREG(status.st_mode):
                        found.append(_Copy(status.st_atime, status.st_size, file))
        return found
