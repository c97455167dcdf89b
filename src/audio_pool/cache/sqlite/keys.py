"""Canonical keys and parses made anew where another version made them: in small steps, while look-ups go on.

Owns: how far that is, kept in the database, so that whoever opens it next goes on.
Must not know: how a key is made.

An entry whose turn has not come yet is found by its very words and by its vector.
"""

from __future__ import annotations

from audio_pool.cache.entry import canonical_digest
from audio_pool.cache.sqlite.database import Database, transaction
from audio_pool.prompts.normalize import CANONICAL_VERSION
from audio_pool.prompts.parses import packed

__all__ = ["SqliteKeys"]

_IN_A_STEP = 200
"""Entries of one transaction: a few milliseconds for whoever wants to write."""


class SqliteKeys:
    """The keys of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        known = self._database.query("SELECT value FROM facts WHERE name = 'canonical_version'")
        self._due = not known or int(known[0][0]) < CANONICAL_VERSION

    def renew(self, most: int) -> bool:
        """File up to so many entries under today's keys; return True while some are left."""
        if not self._due or self._database.read_only:
            return False
        for _ in range(0, most, _IN_A_STEP):
            if not self._step():
                self._due = False
                return False
        return True

    def _step(self) -> bool:
        last = self._last()
        sql = "SELECT id, namespace, prompt FROM entries WHERE id > ? ORDER BY id LIMIT ?"
        rows = self._database.bulk(sql, (last, _IN_A_STEP))
        keys = [(canonical_digest(namespace, prompt), packed(prompt), entry_id) for entry_id, namespace, prompt in rows]
        with self._database.writing("making keys anew") as db, transaction(db):
            db.executemany("UPDATE entries SET canonical_key = ?, parse = ? WHERE id = ?", keys)
            if rows:
                position = f"{CANONICAL_VERSION} {rows[-1][0]}"
                db.execute("INSERT OR REPLACE INTO facts VALUES ('keys_renewed', ?)", (position,))
            else:
                db.execute("INSERT OR REPLACE INTO facts VALUES ('canonical_version', ?)", (str(CANONICAL_VERSION),))
                db.execute("DELETE FROM facts WHERE name = 'keys_renewed'")
        return bool(rows)

    def _last(self) -> int:
        """Return the last entry that was filed; whoever shares the database has perhaps gone further."""
        found = self._database.query("SELECT value FROM facts WHERE name = 'keys_renewed'")
        version, _, last = found[0][0].partition(" ") if found else ("", "", "0")
        return int(last) if version == str(CANONICAL_VERSION) else 0
