"""The Store on SQLite: one cache directory, opened.

Owns: putting its parts together, and what every opening does: bringing the schema and the keys up to date,
clearing away what an interrupted process left.
Must not know: what counts as a hit, the index, engines, the pool.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import time
from pathlib import Path

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.objects.opening import open_files
from audio_pool.cache.sqlite.calibrations import SqliteCalibrations
from audio_pool.cache.sqlite.changes import SqliteChanges
from audio_pool.cache.sqlite.checks import SqliteChecks
from audio_pool.cache.sqlite.claims import SqliteClaims
from audio_pool.cache.sqlite.database import FILE, PATIENCE_S, Database, transaction
from audio_pool.cache.sqlite.entries import SqliteEntries
from audio_pool.cache.sqlite.figures import SqliteFigures
from audio_pool.cache.sqlite.folders import SqliteFolders
from audio_pool.cache.sqlite.inventory import SqliteInventory
from audio_pool.cache.sqlite.judgements import SqliteJudgements
from audio_pool.cache.sqlite.keys import SqliteKeys
from audio_pool.cache.sqlite.leaving import SqliteLeaving
from audio_pool.cache.sqlite.library import SqliteLibrary
from audio_pool.cache.sqlite.marks import SqliteMarks
from audio_pool.cache.sqlite.migrations import SCHEMA_VERSION, fill_unfilled, has_unfilled, migrate, version_of
from audio_pool.cache.sqlite.pins import SqlitePins
from audio_pool.cache.sqlite.presets import SqlitePresets
from audio_pool.cache.sqlite.registry import SqliteRegistry
from audio_pool.cache.sqlite.renditions import SqliteRenditions
from audio_pool.cache.sqlite.seen import SqliteSeen
from audio_pool.cache.sqlite.sources import SqliteSources
from audio_pool.cache.sqlite.sums import SqliteSums
from audio_pool.cache.sqlite.uses import SqliteUses
from audio_pool.cache.sqlite.vectors import SqliteVectors
from audio_pool.cache.sqlite.words import SqliteWords
from audio_pool.cache.uptime import clock_name, uptime_s
from audio_pool.errors import StorageError

__all__ = ["SqliteStore"]

_log = logging.getLogger(__name__)

_CHANGES_KEPT = 200_000
_WHOLE_SETTINGS = 2
"""The schema since which entries have all settings that an index groups by."""
_KEYS_AT_ONCE = 2_000
"""Entries whose keys are made anew at opening, where another version made them: half a second."""


class SqliteStore:
    """See ``store.Store``. Management opens one of its own beside the pool's."""

    def __init__(
        self,
        directory: Path | str,
        *,
        create: bool = True,
        render_dir: Path | str | None = None,
        blobs: BlobStore | None = None,
        grace_s: float | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """
        Args:
            directory: the cache directory.
            create: make it where it does not exist.
            render_dir: where delivered results that are not kept go; ``renders`` in it where None.
            blobs: holds the files; the directory itself where None.
            grace_s: how long a file stays after its removal, for every process from now on; None: as it was.
            patience_s: how long a write waits for another process's.

        Raises:
            NotFound: it does not exist and ``create`` is False.
            StorageError: it cannot be read, or a newer version of this package wrote it.
        """
        root = Path(os.path.abspath(directory))
        self.blobs = blobs or open_files(directory, create=create, renders=render_dir)
        self.location = str(root)
        self.index_dir = root / "index"
        self._file = str(root / FILE)
        self.database = Database(
            root, create=create, prepare=self._prepare, check=self._check, patience_s=patience_s
        )
        self.leaving = SqliteLeaving(self.database, self.blobs)
        self._settle_graces(grace_s)
        self.entries = SqliteEntries(self.database, self.blobs, self.leaving)
        sums = SqliteSums(self.database)
        self.vectors = SqliteVectors(self.database, sums)
        self.renditions = SqliteRenditions(self.database, self.blobs, self.leaving)
        self.registry = SqliteRegistry(self.database, self.blobs)
        self.pins = SqlitePins(self.database)
        self.marks = SqliteMarks(self.database)
        self.presets = SqlitePresets(self.database)
        self.library = SqliteLibrary(self.database)
        self.judgements = SqliteJudgements(self.database)
        self.calibrations = SqliteCalibrations(self.database)
        self.changes = SqliteChanges(self.database)
        self.inventory = SqliteInventory(self.database, sums, SqliteFolders(self.database, self.blobs))
        self.checks = SqliteChecks(self.database, sums)
        self.seen = SqliteSeen(self.database)
        self.keys = SqliteKeys(self.database)
        self._settle_keys()
        self.claims = SqliteClaims(self.database, self.blobs)
        self.uses = SqliteUses(self.database)
        self.figures = SqliteFigures(self.database)
        self.sources = SqliteSources(self.database)
        found = self.database.query("SELECT value FROM facts WHERE name = 'store_id'")
        self.store_id = found[0][0] if found else ""
        self.blobs.belongs_to(self.store_id)
        self.words = SqliteWords(self.index_dir, self.store_id, self.changes, self.library)

    def _settle_graces(self, grace_s: float | None) -> None:
        try:
            if not self.read_only:
                self.leaving.settle(grace_s)
        except StorageError as exc:  # a disk that is full: what is kept can be offered all the same
            _log.warning("%s; files that are leaving stay for now", exc)

    def _settle_keys(self) -> None:
        try:
            self.keys.renew(_KEYS_AT_ONCE)
        except StorageError as exc:  # as above; ``renew_keys`` goes on
            _log.warning("%s; keys of another version stay for now", exc)

    def renew_keys(self, most: int) -> bool:
        """File up to so many entries under today's keys; return True while some are left."""
        return self.keys.renew(most)

    def now(self) -> float:
        """Return this machine's time."""
        return time.time()

    @property
    def others(self) -> tuple[str, ...]:
        """Nobody tells."""
        return ()

    @property
    def trouble(self) -> str:
        """Nothing is known of a disk without trying."""
        return ""

    @property
    def read_only(self) -> bool:
        """True where the directory's disk takes no writes; reading goes on."""
        return self.database.read_only

    @property
    def database_path(self) -> Path:
        """The file that all rows are in."""
        return self.database.path

    def probe(self, size_bytes: int) -> None:
        """Try whether a sound of this size could be kept now. Raises StorageError."""
        self.blobs.probe(size_bytes)
        self.database.probe()
        self.database.keep_reserve()

    def rescue(self) -> None:
        """Write the database again where its file was deleted while it was open here. Raises StorageError."""
        self.database.rescue()

    def close(self, *, keep_files: bool = False) -> None:
        """Close both connections and give the incoming folder back, unless ``keep_files``."""
        self.words.close()
        self.database.close()
        if not keep_files:
            self.blobs.release()

    def sweep(self) -> None:
        """Clear away what processes that are gone left behind, as every opening does."""
        with self.database.writing("sweeping the cache") as db:
            self._sweep(db)

    def _check(self, db: sqlite3.Connection) -> None:
        found = version_of(db, self._file)
        if found < SCHEMA_VERSION:
            raise StorageError(
                f"{self._file} has schema version {found} and takes no writes, so it cannot be brought to "
                f"{SCHEMA_VERSION}",
                hint="make it writable, or open it once where it is",
            )

    def _prepare(self, db: sqlite3.Connection) -> None:
        found = version_of(db, self._file)
        if (found < _WHOLE_SETTINGS or has_unfilled(db)) and self.index_dir.is_dir():
            for snapshot in self.index_dir.iterdir():  # its groups are those of the old settings
                snapshot.unlink(missing_ok=True)
        migrate(db, self._file)
        fill_unfilled(db)
        with transaction(db):
            db.execute("INSERT OR IGNORE INTO facts VALUES ('store_id', ?)", (secrets.token_hex(16),))
            db.execute("DELETE FROM claims WHERE clock <> ? OR due < ?", (clock_name(), uptime_s()))
            last = db.execute("SELECT coalesce(max(seq), 0) FROM changes").fetchone()[0]
            db.execute("DELETE FROM changes WHERE seq < ?", (last - _CHANGES_KEPT,))
        swept = self._sweep(db)
        if swept:
            _log.info("cleared %d files that an interrupted process left in %s", len(swept), self.location)

    def _sweep(self, db: sqlite3.Connection) -> list[str]:
        return self.blobs.sweep(lambda file: _names(db, file), lambda origin: _home(db, origin))


def _names(db: sqlite3.Connection, file: str) -> bool:
    table = "renditions" if file.startswith("renditions/") else "entries"
    return db.execute(f"SELECT 1 FROM {table} WHERE file = ?", (file,)).fetchone() is not None


def _home(db: sqlite3.Connection, origin: str) -> str:
    # beside the parameter: SQLite uses the index of those alone only where the query says so
    found = db.execute("SELECT file FROM entries WHERE origin = ? AND origin <> ''", (origin,)).fetchone()
    return found[0] if found else ""
