"""A new head's rows and indexes, taken over from another head by way of the object store.

Owns: which files make such a set, making it of an opened store, and bringing it where none is yet.
Must not know: the database that is the truth; how rows and indexes are followed on from.

The rows of a head are a copy of a database's, with the place in its feed up to which they are known, so whoever takes
the copy over follows on from there. Indexes first, then the rows: what an index knows its rows know, too. Words are
filed anew.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from audio_pool.cache.objects.bucket import Missing
from audio_pool.cache.objects.files import MARKER, ObjectFiles
from audio_pool.cache.objects.snapshots import Snapshots
from audio_pool.cache.sqlite.copying import SCHEMA_VERSION, copy_database
from audio_pool.cache.store import Store
from audio_pool.errors import AudioPoolError

__all__ = ["Warming", "warm"]

_log = logging.getLogger(__name__)

_FRESH = ".snapshot"
_INDEX = ".index"
"""The ending of an index's file."""


def warm(files: ObjectFiles, rows: Path) -> bool:
    """Bring the newest set where there are no rows yet; False where there is none of use.

    Args:
        rows: the file of rows; indexes go into ``index`` beside it.
    """
    try:
        whose = files.bucket.read(MARKER).decode(errors="replace")
        snapshots = Snapshots(files.bucket)
        latest = snapshots.latest()
        if latest is None or latest.of != _of(whose):
            return False
        rows.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        snapshots.fetch(latest, rows.parent)
    except Missing:
        return False
    except (AudioPoolError, OSError) as exc:
        _log.warning("rows and indexes could not be taken over from the object store, and are made anew: %s", exc)
        return False
    _log.info("rows and indexes were taken over from the object store: %d files", len(latest.files))
    return True


def _of(whose: str) -> str:
    return f"{whose}/{SCHEMA_VERSION}"


class Warming:
    """Makes such sets of one opened store, now and then."""

    def __init__(self, store: Store, files: ObjectFiles, save_indexes: Callable[[], None]) -> None:
        self._store = store
        self._files = files
        self._save_indexes = save_indexes
        self._snapshots = Snapshots(files.bucket)
        self._seq = 0
        """The last change that the newest set of this process knows."""
        rows = store.database_path
        self._folder = rows.parent if str(rows.parent) != store.location else None
        """None: the rows are the truth itself, and not a copy."""

    @property
    def wanted(self) -> bool:
        """There is something to tell that was not told by this process yet."""
        return self._folder is not None and self._store.changes.last_seq() != self._seq

    def work(self, every_s: float) -> bool:
        """Make a set, unless any head has done so lately; return whether one was made.

        Raises:
            StorageError: the object store takes none. OSError.
        """
        if self._folder is None:
            return False
        age_s = self._snapshots.age_s()
        if age_s is not None and age_s < every_s:
            return False
        seq = self._store.changes.last_seq()
        self._save_indexes()
        for left in self._folder.glob(f"{_FRESH}*"):  # of a process that was killed
            left.unlink(missing_ok=True)
        fresh: dict[str, Path] = {}
        try:
            for path in sorted(self._store.index_dir.glob(f"*{_INDEX}")) if self._store.index_dir.is_dir() else ():
                linked = self._folder / f"{_FRESH}-{os.getpid()}-{path.name}"
                os.link(path, linked)  # it may be replaced meanwhile
                fresh[str(path.relative_to(self._folder))] = linked
            rows = self._store.database_path
            copied = self._folder / f"{_FRESH}-{os.getpid()}-{rows.name}"
            copy_database(rows, copied)
            self._snapshots.put(_of(self._files.store_id), str(seq), {rows.name: copied, **fresh})
        finally:
            for path in self._folder.glob(f"{_FRESH}-{os.getpid()}-*"):
                path.unlink(missing_ok=True)
        self._seq = seq
        return True
