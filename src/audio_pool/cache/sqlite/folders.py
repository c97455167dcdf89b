"""How many masters are gone, folder by folder: a folder that has not changed is not looked into again.

Owns: the table of what was seen in each folder, and looking.
Must not know: what is done about a missing master.

A file comes or goes only with a change of its folder's time, and a row only with one of the folder's number of rows:
while both are as they were, so is what is missing.
"""

from __future__ import annotations

import time

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.listing import changed_ns, is_settled, listed
from audio_pool.cache.sqlite.database import Database, transaction

__all__ = ["LOOKED", "SqliteFolders"]

LOOKED = """
CREATE TABLE looked_folders (
    folder     TEXT PRIMARY KEY,
    changed_ns INTEGER NOT NULL,   -- the folder's time when it was looked into; 0 where it may have changed since
    entries    INTEGER NOT NULL,
    missing    INTEGER NOT NULL,
    looked_at  REAL NOT NULL       -- seconds since 1970
) WITHOUT ROWID;
"""
_AT_ONCE = 30_000
"""Masters that one question looks for: about 50 ms."""
_KNOWN = (
    "SELECT folder, s.entries, changed_ns, l.entries, missing FROM folder_sums s LEFT JOIN looked_folders l"
    " USING (folder) WHERE s.entries > 0 ORDER BY coalesce(looked_at, 0)"
)


class SqliteFolders:
    """The folders of masters."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def missing(self, at_once: int = _AT_ONCE) -> int:
        """Return the number of masters that are gone.

        Args:
            at_once: masters looked for in folders that have changed; of the rest it is what was seen last.
        """
        if self._blobs.remote:
            return len(self._blobs.lost)
        total, left, seen = 0, at_once, []
        for folder, entries, then_ns, entries_then, missing_then in self._database.query(_KNOWN):
            now_ns = changed_ns(self._blobs.path_of(folder))
            if now_ns is None:
                total += entries
                continue
            missing = missing_then or 0
            if (now_ns, entries) != (then_ns, entries_then) and left > 0:
                left -= entries
                missing = self._missing_in(folder)
                seen.append((folder, now_ns if is_settled(now_ns) else 0, entries, missing, time.time()))
            total += missing
        if seen and not self._database.read_only:
            with self._database.writing("looking for files") as db, transaction(db):
                db.executemany("INSERT OR REPLACE INTO looked_folders VALUES (?, ?, ?, ?, ?)", seen)
        return total

    def _missing_in(self, folder: str) -> int:
        there = {f"{folder}/{name}" for name in listed(self._blobs.path_of(folder))[0]}
        sql = "SELECT file FROM entries WHERE file >= ? AND file < ?"
        rows = self._database.query(sql, (folder, f"{folder}\U0010ffff"))
        return sum(file not in there for (file,) in rows)
