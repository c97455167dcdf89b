"""Files whose row is gone, until nobody counts on them any more.

Owns: the table ``leaving``: what is to be unlinked, from when on, and doing it.
Must not know: why a row went.

A path that was delivered stays readable for a grace time. Nobody writes down what was delivered, which would
cost every hit a write; instead no file whose row could have been offered is unlinked before the grace has
passed since its removal, whoever removed it and in which process. Names are written in the transaction that
removes the row, so that a crash between the two leaves work to do and not a file nobody knows.
"""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Iterable
from typing import Literal

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.sqlite.database import Database, Values, transaction
from audio_pool.cache.store import Removal
from audio_pool.cache.uptime import clock_name, uptime_s

__all__ = ["BY_TIME", "GRACE_S", "SqliteLeaving"]

_log = logging.getLogger(__name__)

GRACE_S = 600.0
_AT_ONCE = 200
"""Files that one pass unlinks: whoever wants to write waits for one at most."""

BY_TIME = """
CREATE INDEX leaving_due ON leaving (clock, due);
"""

Fate = Literal["unlink", "quarantine"]


class SqliteLeaving:
    """See ``store.Leaving``."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs
        self.grace_s = self._known_grace_s()
        self._told: set[str] = set()
        """Files that were warned of."""

    def settle(self, grace_s: float | None) -> None:
        """Do what every opening does: note a new grace, take over what older versions let go, unlink what is due.

        Args:
            grace_s: kept in the database for every process; None: as it is.
        """
        with self._database.writing("opening the cache") as db:
            with transaction(db):
                if grace_s is not None and grace_s != self.grace_s:
                    db.execute("INSERT OR REPLACE INTO facts VALUES ('delivered_grace_s', ?)", (repr(grace_s),))
                    self.grace_s = grace_s
                if self.doom(db, "SELECT file FROM doomed"):
                    db.execute("DELETE FROM doomed")
            self.pass_over(db)

    def _known_grace_s(self) -> float:
        found = self._database.query("SELECT value FROM facts WHERE name = 'delivered_grace_s'")
        return float(found[0][0]) if found else GRACE_S

    # -- letting go

    def doom(self, db: sqlite3.Connection, select: str, values: Values = (), fate: Fate = "unlink") -> list[str]:
        """Name the files that a SELECT gives, inside the transaction that removes their rows; return them."""
        found = [file for (file,) in db.execute(select, values).fetchall()]
        self.name(db, found, fate)
        return found

    def let_go(self, files: Iterable[str]) -> Removal:
        """Let go of files that no row names."""
        with self._database.writing("removing files") as db:
            chosen = list(files)
            with transaction(db):
                self.name(db, chosen, "unlink")
        return self.counted(chosen)

    def set_apart(self, file: str) -> None:
        self._blobs.quarantine(file, leave=True)
        self.let_go([file])

    def name(self, db: sqlite3.Connection, files: Iterable[str], fate: Fate) -> None:
        """Name files, inside the transaction that removes their rows."""
        due = (clock_name(), uptime_s() + self.grace_s, fate)
        db.executemany("INSERT OR IGNORE INTO leaving VALUES (?, ?, ?, ?)", [(file, *due) for file in files])

    def counted(self, files: Iterable[str]) -> Removal:
        """Return what files that are let go will give back."""
        sizes = [self._blobs.size_of(file) for file in files]
        there = [size for size in sizes if size is not None]
        return Removal(files=len(there), freed_bytes=sum(there))

    # -- reading

    def files(self) -> set[str]:
        return {file for (file,) in self._database.query("SELECT file FROM leaving")}

    def names(self, file: str) -> bool:
        return bool(self._database.query("SELECT 1 FROM leaving WHERE file = ?", (file,)))

    # -- when their time has come

    def unlink_due(self, *, at_once: bool = False, within_s: float = math.inf) -> Removal:
        total, end = Removal(), uptime_s() + within_s
        while True:
            with self._database.writing("removing files") as db:
                seen, removal = self.pass_over(db, at_once=at_once)
            total = total.and_also(removal)
            if seen < _AT_ONCE or uptime_s() >= end:
                return total

    def pass_over(self, db: sqlite3.Connection, *, at_once: bool = False) -> tuple[int, Removal]:
        """Unlink up to a number of files whose time has come; return how many were done with, and what that freed."""
        now, clock = uptime_s(), clock_name()
        if db.execute("SELECT 1 FROM leaving WHERE clock < ? OR clock > ? LIMIT 1", (clock, clock)).fetchone():
            # The machine was started since: how long ago that was nobody can say, so their grace begins again.
            db.execute("UPDATE leaving SET clock = ?, due = ? WHERE clock <> ?", (clock, now + self.grace_s, clock))
        which = "" if at_once else " AND due <= ?"
        sql = f"SELECT file, fate FROM leaving WHERE clock = ?{which} ORDER BY due LIMIT {_AT_ONCE + len(self._told)}"
        done, total = [], Removal()
        for file, fate in db.execute(sql, (clock,) if at_once else (clock, now)).fetchall():
            freed = self._part_with(file, fate)
            if freed is not None:
                done.append((file,))
                total = total.and_also(Removal(files=1 if freed else 0, freed_bytes=freed))
        if done:
            with transaction(db):
                db.executemany("DELETE FROM leaving WHERE file = ?", done)
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
