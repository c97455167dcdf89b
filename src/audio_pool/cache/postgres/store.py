"""The Store on PostgreSQL: one schema that several heads share, as one of them has it open.

Owns: putting its parts together, and what every opening does.
Must not know: what counts as a hit, the index, engines, the pool.

Rows are written to the database, which is the truth, and looked up in a replica (replica.py), which follows it: a hit
costs what it costs on one machine, and is found while the database is gone. Files are the BlobStore's: shared, too.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.objects.opening import open_files, warm_from
from audio_pool.cache.postgres.checks import PostgresChecks
from audio_pool.cache.postgres.claims import PostgresClaims
from audio_pool.cache.postgres.database import PostgresDatabase, Unreachable
from audio_pool.cache.postgres.entries import PostgresEntries
from audio_pool.cache.postgres.follower import SHARED_ID, Follower
from audio_pool.cache.postgres.heads import HeadLease
from audio_pool.cache.postgres.judgements import PostgresCalibrations, PostgresJudgements
from audio_pool.cache.postgres.leaving import PostgresLeaving
from audio_pool.cache.postgres.marks import PostgresMarks, PostgresPins
from audio_pool.cache.postgres.presets import PostgresPresets
from audio_pool.cache.postgres.registry import PostgresRegistry
from audio_pool.cache.postgres.renditions import PostgresRenditions
from audio_pool.cache.postgres.replica import FOLDER, Replica
from audio_pool.cache.postgres.uses import PostgresFigures, PostgresUses
from audio_pool.cache.postgres.vectors import PostgresVectors
from audio_pool.cache.shared import SharedStore
from audio_pool.cache.sqlite.database import FILE
from audio_pool.cache.sqlite.folders import SqliteFolders
from audio_pool.cache.sqlite.inventory import SqliteInventory
from audio_pool.cache.sqlite.seen import SqliteSeen
from audio_pool.cache.sqlite.sources import SqliteSources
from audio_pool.errors import NotFound, StorageError

__all__ = ["PostgresStore"]

_log = logging.getLogger(__name__)


class PostgresStore:
    """See ``store.Store``."""

    def __init__(
        self,
        directory: Path | str,
        shared: SharedStore,
        *,
        create: bool = True,
        render_dir: Path | str | None = None,
        blobs: BlobStore | None = None,
        grace_s: float | None = None,
        patience_s: float = 20.0,
    ) -> None:
        """
        Args:
            directory: this head's own: the replica, indexes, files in the making; the files, too, where ``blobs`` is
                None: its ``audio`` and ``renditions`` are then to be shared with the other heads.
            shared: the database.
            create: make the directory where it does not exist.
            render_dir: where delivered results that are not kept go; ``renders`` in it where None.
            blobs: holds the files.
            grace_s: how long a file stays after its removal, for every head from now on; None: as it was.
            patience_s: how long a write to the replica waits for another process's.

        Raises:
            NotFound: the directory does not exist and ``create`` is False.
            InvalidRequest: the address cannot be read.
            StorageError: the database cannot be reached and nothing of it is known here yet; or a newer version of this
                package wrote it.
        """
        root = Path(os.path.abspath(directory))
        if not create and not (root / FOLDER / FILE).is_file():
            lacking = f"holds no sound cache of a head (no {FOLDER}/{FILE})" if root.is_dir() else "does not exist"
            raise NotFound(f"directory {str(directory)!r} {lacking}", hint="check its path")
        self.blobs = blobs or open_files(directory, create=create, renders=render_dir)
        self.location = str(root)
        self._database = PostgresDatabase(shared)
        with contextlib.ExitStack() as undo:
            undo.callback(self._database.close)
            warm_from(self.blobs, root / FOLDER / FILE)
            self._replica = replica = Replica(root / FOLDER, self.blobs, patience_s=patience_s)
            undo.callback(replica.close)
            self._follower = Follower(self._database, replica)
            self._database.greet = self._follower.greet
            self.leaving = PostgresLeaving(self._database, self.blobs, grace_s, replica.leaving)
            self._open()
            undo.pop_all()
        self.store_id = replica.store_id
        self.blobs.belongs_to(replica.fact(SHARED_ID))
        self.index_dir = replica.index_dir
        self.entries = PostgresEntries(self._database, self.blobs, self.leaving, replica)
        self.vectors = PostgresVectors(self._database, replica)
        self.renditions = PostgresRenditions(self._database, self.blobs, self.leaving, replica)
        self.pins = PostgresPins(self._database, replica)
        self.marks = PostgresMarks(self._database, replica)
        self.library = replica.library
        self.words = replica.words
        self.judgements = PostgresJudgements(self._database, replica)
        self.calibrations = PostgresCalibrations(self._database, replica)
        self.presets = PostgresPresets(self._database, replica)
        self.changes = replica.changes
        self.inventory = SqliteInventory(
            replica.database, replica.sums, SqliteFolders(replica.database, self.blobs)
        )
        self.checks = PostgresChecks(self._database, replica, self.vectors)
        self.sources = SqliteSources(replica.database)
        self.seen = SqliteSeen(replica.database)
        self.lease = HeadLease(self._database, self.blobs.owner, shared.address)
        self.claims = PostgresClaims(self._database, self.lease.id, self.follow)
        self.registry = PostgresRegistry(self._database, self.blobs)
        self.uses = PostgresUses(self._database, replica)
        self.figures = PostgresFigures(self._database, replica)
        with contextlib.suppress(StorageError):  # else it begins when the database is back
            self.lease.begin()
        self._follower.start(self.lease)

    def _open(self) -> None:
        try:
            self._follower.follow()
            self.leaving.settle()
            self.sweep()
        except Unreachable as exc:
            if not self._follower.filled:
                raise
            _log.warning("%s; the %s sounds known here are offered", exc.message, len(self._replica.known()))

    @property
    def others(self) -> tuple[str, ...]:
        """Addresses of the other heads that live, the one that has been there for longest first."""
        return tuple(head.address for head in self.lease.others)

    @property
    def trouble(self) -> str:
        """Why the database cannot be asked; "" while it can."""
        return self._database.trouble or self._follower.trouble

    def now(self) -> float:
        """Return the database's time."""
        return self._database.now()

    @property
    def read_only(self) -> bool:
        """True where this head's own directory takes no writes."""
        return self._replica.database.read_only

    @property
    def database_path(self) -> Path:
        """The replica."""
        return self._replica.database.path

    def probe(self, size_bytes: int) -> None:
        """Try whether a sound of this size could be kept now. Raises StorageError."""
        self.blobs.probe(size_bytes)
        self._replica.database.probe()
        self._database.write(
            "trying the shared cache",
            lambda db: db.execute(
                "INSERT INTO facts VALUES ('tried', clock_timestamp()::text)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            ).rowcount,
        )

    def rescue(self) -> None:
        """Write the replica again where its file was deleted while it was open here. Raises StorageError."""
        self._replica.database.rescue()

    def renew_keys(self, most: int) -> bool:
        """File up to so many entries of the replica under today's keys; return True while some are left."""
        return self._replica.keys.renew(most)

    def follow(self) -> None:
        """Take over now what other heads wrote. Raises StorageError."""
        self._follower.follow()

    def sweep(self) -> None:
        """Clear away what processes that are gone left behind, as every opening does."""
        swept = self.blobs.sweep(self._names, self._home)
        if swept:
            _log.info("cleared %d files that an interrupted process left in %s", len(swept), self.location)

    def _names(self, file: str) -> bool:
        table = "renditions" if file.startswith("renditions/") else "entries"
        return bool(self._database.read(f"SELECT 1 FROM {table} WHERE file = %s", (file,)))

    def _home(self, origin: str) -> str:
        found = self._database.read("SELECT file FROM entries WHERE origin = %s AND origin <> ''", (origin,))
        return str(found[0][0]) if found else ""

    def close(self, *, keep_files: bool = False) -> None:
        """Close the connections and the replica, and give lease and incoming folder back, unless ``keep_files``."""
        if not keep_files:  # else it is another opening's
            self.lease.leave()
        self._follower.stop()
        self._replica.close()
        self._database.close()
        if not keep_files:
            self.blobs.release()
