"""What a verification has found well, in SQLite.

Owns: the table ``seen``.
Must not know: what the states mean.
"""

from __future__ import annotations

from collections.abc import Mapping

from audio_pool.cache.sqlite.database import Database, transaction

__all__ = ["SEEN", "SqliteSeen"]

SEEN = """
CREATE TABLE seen (
    what  TEXT PRIMARY KEY,
    state TEXT NOT NULL
) WITHOUT ROWID;
"""


class SqliteSeen:
    """See ``seen.Seen``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, str]:
        return dict(self._database.query("SELECT what, state FROM seen"))

    def note(self, states: Mapping[str, str]) -> None:
        if states and not self._database.read_only:
            with self._database.writing("noting what is well") as db, transaction(db):
                db.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", list(states.items()))
