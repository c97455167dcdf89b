"""The numbered changes that readers with a copy of their own follow.

Owns: reading them.
Must not know: who follows.
"""

from __future__ import annotations

from audio_pool.cache.sqlite.database import Database
from audio_pool.cache.store import Change

__all__ = ["SqliteChanges"]


class SqliteChanges:
    """See ``store.Changes``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def version(self) -> int:
        found: int = self._database.query("PRAGMA data_version")[0][0]
        return found

    def last_seq(self) -> int:
        # not max(seq): old changes are pruned, and the sequence must not fall back
        found = self._database.query("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")
        return int(found[0][0]) if found else 0

    def since(self, seq: int, limit: int = 100_000) -> list[Change] | None:
        sql = "SELECT seq, entry_id, removed FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"
        found = [Change(row[0], row[1], bool(row[2])) for row in self._database.query(sql, (seq, limit))]
        first = found[0].seq if found else self.last_seq() + 1
        return found if first == seq + 1 else None
