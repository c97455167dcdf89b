"""Files whose row is gone, until nobody counts on them any more, whichever head removed it.

Owns: the table ``leaving``: what is to be unlinked, from when on, and doing it.
Must not know: why a row went.

The grace is counted by the database's clock. Whichever head looks first unlinks: two that are at it take different
files. Copies of objects are each head's own: it unlinks them when it has heard of the removal and its grace is over.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from typing import Literal

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.postgres.migrations import Rows
from audio_pool.cache.sqlite.leaving import SqliteLeaving
from audio_pool.cache.store import Removal

__all__ = ["GRACE_S", "Fate", "PostgresLeaving"]

_log = logging.getLogger(__name__)

GRACE_S = 600.0
_AT_ONCE = 200
"""Files that one pass unlinks."""
Fate = Literal["unlink", "quarantine"]


class PostgresLeaving:
    """See ``store.Leaving``."""

    def __init__(
        self, database: PostgresDatabase, blobs: BlobStore, grace_s: float | None, copies: SqliteLeaving
    ) -> None:
        """``copies``: those of this head alone, which the replica names."""
        self._database = database
        self._copies = copies
        self._blobs = blobs
        self._given_s = grace_s
        self.grace_s = GRACE_S if grace_s is None else grace_s
        self._told: set[str] = set()
        """Files that were warned of."""

    def settle(self) -> None:
        """Note a new grace for every head, or take theirs over. Raises StorageError."""
        self._settle()
        self._copies.grace_s = self.grace_s

    def _settle(self) -> None:
        if self._given_s is None:
            found = self._database.read("SELECT value FROM facts WHERE name = 'delivered_grace_s'")
            self.grace_s = float(found[0][0]) if found else GRACE_S
            return
        given = repr(self._given_s)
        self._database.write("opening the cache", lambda db: db.execute(
            "INSERT INTO facts VALUES ('delivered_grace_s', %s) ON CONFLICT (name) DO UPDATE"
            " SET value = excluded.value WHERE facts.value <> excluded.value", (given,),
        ))  # fmt: skip

    # -- letting go

    def name(self, db: Rows, files: Iterable[str], fate: Fate) -> None:
        """Name files, inside the transaction that removes their rows."""
        db.execute(
            "INSERT INTO leaving SELECT file, clock_timestamp() + make_interval(secs => %s), %s"
            " FROM unnest(%s::text[]) AS given (file) ORDER BY file ON CONFLICT DO NOTHING",
            (self.grace_s, fate, list(files)),
        )

    def let_go(self, files: Iterable[str]) -> Removal:
        chosen = list(files)
        self._database.write("removing files", lambda db: self.name(db, chosen, "unlink"))
        return self.counted(chosen)

    def set_apart(self, file: str) -> None:
        self._blobs.quarantine(file, leave=True)
        self.let_go([file])

    def counted(self, files: Iterable[str]) -> Removal:
        """Return what files that are let go will give back."""
        sizes = [self._blobs.size_of(file) for file in files]
        there = [size for size in sizes if size is not None]
        return Removal(files=len(there), freed_bytes=sum(there))

    # -- reading

    def files(self) -> set[str]:
        return {file for (file,) in self._database.read("SELECT file FROM leaving")} | self._copies.files()

    # -- when their time has come

    def unlink_due(self, *, at_once: bool = False, within_s: float = math.inf) -> Removal:
        total, end = Removal(), time.monotonic() + within_s
        while True:
            seen, removal = self._database.write("removing files", lambda db: self._pass_over(db, at_once=at_once))
            total = total.and_also(removal)
            if seen < _AT_ONCE or time.monotonic() >= end:
                break
        # last: what is damaged has been put into quarantine by now
        left_s = max(0.0, end - time.monotonic())
        return total.and_also(self._copies.unlink_due(at_once=at_once, within_s=left_s))

    def _pass_over(self, db: Rows, *, at_once: bool) -> tuple[int, Removal]:
        which = "" if at_once else "WHERE due <= clock_timestamp() "
        rows = db.execute(
            f"SELECT file, fate FROM leaving {which}ORDER BY due LIMIT %s FOR UPDATE SKIP LOCKED",
            (_AT_ONCE + len(self._told),),
        ).fetchall()
        done: list[str] = []
        total = Removal()
        for file, fate in rows:
            freed = self._part_with(file, fate)
            if freed is not None:
                done.append(file)
                total = total.and_also(Removal(files=1 if freed else 0, freed_bytes=freed))
        if done:
            db.execute("DELETE FROM leaving WHERE file = ANY(%s)", (done,))
        return len(done), total

    def _part_with(self, file: str, fate: Fate) -> int | None:
        """Return the bytes freed; None where the disk does not let it go now."""
        try:
            if fate == "unlink" and not self._blobs.is_odd(file):
                return self._blobs.discard(file)
            place = self._blobs.quarantine(file)
        except OSError as exc:
            if file not in self._told:
                self._told.add(file)
                _log.warning("could not remove %s: %s; it is tried again now and then", file, exc)
            return None
        if place is not None:
            _log.warning("%s was not what the cache had stored there; it lies in %s now", file, place)
        return 0
