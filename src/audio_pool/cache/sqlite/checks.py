"""Consistency checks of the database, and the repairs.

Owns: the queries of verification.
Must not know: files, what is reported.
"""

from __future__ import annotations

from audio_pool.cache.checks import KeptFile
from audio_pool.cache.entry import read_stored
from audio_pool.cache.files import Damaged
from audio_pool.cache.sqlite.database import WITHIN, Database, transaction, within
from audio_pool.cache.sqlite.sums import SqliteSums

__all__ = ["SqliteChecks"]

_STRAY = {
    "provenance": "entry_id NOT IN (SELECT id FROM entries)",
    "vectors": "entry_id NOT IN (SELECT id FROM entries)",
    "renditions": "entry_id NOT IN (SELECT id FROM entries)",
    "tags": "entry_id NOT IN (SELECT id FROM entries)",
    "marks": "entry_id NOT IN (SELECT id FROM entries)",
    "pins": "entry_id NOT IN (SELECT id FROM entries)",
    "judgements": "entry_id IS NOT NULL AND entry_id NOT IN (SELECT id FROM entries)",
    "labels": "entry_id NOT IN (SELECT id FROM entries)",
    "entries": "id NOT IN (SELECT entry_id FROM provenance)",
}
"""Rows that cannot be: foreign keys and transactions forbid them, foreign tools do not."""


class SqliteChecks:
    """See ``store.Checks``."""

    def __init__(self, database: Database, sums: SqliteSums) -> None:
        self._database = database
        self.vector_sizes = sums.vector_sizes
        self.wrong_sums = sums.wrong
        self.recount = sums.recount

    def damage(self, after: int = 0) -> str:
        if after:
            return self._damage_after(after)
        verdict = "; ".join(row[0] for row in self._database.query("PRAGMA quick_check(5)"))
        return "" if verdict == "ok" else f"{self._database.path.name}: {verdict}"

    def _damage_after(self, after: int) -> str:
        """Read the rows that were written since a change."""
        lengths = "sum(length(recipe) + length(metadata) + (SELECT sum(length(data)) FROM vectors WHERE entry_id = id))"
        sql = (
            f"SELECT count(file), {lengths} FROM changes JOIN entries ON entries.id = changes.entry_id"
            " JOIN provenance ON provenance.entry_id = entries.id WHERE seq > ?"
        )
        try:
            self._database.bulk(sql, (after,))
        except Damaged as exc:
            return f"{self._database.path.name}: {exc.message}"
        return ""

    def masters(self) -> list[KeptFile]:
        sql = "SELECT id, file, size_bytes, sha256 FROM entries"
        return [KeptFile._make(row) for row in self._database.query(sql)]

    def masters_after(self, after: int, limit: int) -> list[KeptFile]:
        """Return the next masters by ascending id."""
        sql = "SELECT id, file, size_bytes, sha256 FROM entries WHERE id > ? ORDER BY id LIMIT ?"
        return [KeptFile._make(row) for row in self._database.query(sql, (after, limit))]

    def master(self, entry_id: int) -> KeptFile | None:
        sql = "SELECT id, file, size_bytes, sha256 FROM entries WHERE id = ?"
        found = self._database.query(sql, (entry_id,))
        return KeptFile._make(found[0]) if found else None

    def exists(self, entry_id: int) -> bool:
        return bool(self._database.query("SELECT 1 FROM entries WHERE id = ?", (entry_id,)))

    def knows(self, file: str) -> bool:
        table = "renditions" if file.startswith("renditions/") else "entries"
        # a removal names the file in ``leaving`` until it is gone: rows first, then ``leaving``
        return bool(
            self._database.query(f"SELECT 1 FROM {table} WHERE file = ?", (file,))
            or self._database.query("SELECT 1 FROM leaving WHERE file = ?", (file,))
        )

    def folders(self) -> set[str]:
        masters = "SELECT folder FROM folder_sums WHERE entries > 0"
        sql = f"{masters} UNION SELECT DISTINCT substr(file, 1, {len('renditions/ab')}) FROM renditions"
        return {folder for (folder,) in self._database.bulk(sql)}

    def rows_in(self, folder: str) -> int:
        table = "renditions" if folder.startswith("renditions") else "entries"
        sql = f"SELECT count(*) FROM {table} WHERE {WITHIN}"
        return int(self._database.bulk(sql, within(folder))[0][0])

    def masters_in(self, folder: str) -> list[KeptFile]:
        sql = f"SELECT id, file, size_bytes, sha256 FROM entries WHERE {WITHIN}"
        return [KeptFile._make(row) for row in self._database.bulk(sql, within(folder))]

    def known_files(self, folder: str = "") -> set[str]:
        tables = ("entries", "renditions", "leaving")
        sql = " UNION ALL ".join(f"SELECT file FROM {table} WHERE {WITHIN}" for table in tables)
        return {file for (file,) in self._database.bulk(sql, within(folder) * len(tables))}

    def unreadable(self) -> list[int]:
        found: list[int] = []
        last = 0
        sql = "SELECT entry_id, recipe, metadata FROM provenance WHERE entry_id > ? ORDER BY entry_id LIMIT 1000"
        while rows := self._database.query(sql, (last,)):
            found += [entry_id for entry_id, recipe, metadata in rows if read_stored(recipe, metadata) is None]
            last = rows[-1][0]
        return found

    def stray_rows(self) -> dict[str, int]:
        counts = {
            table: self._database.query(f"SELECT count(*) FROM {table} WHERE {stray}")[0][0]
            for table, stray in _STRAY.items()
        }
        return {table: count for table, count in counts.items() if count}

    def remove_stray_rows(self, table: str) -> None:
        with self._database.writing("removing stray rows") as db, transaction(db):
            db.execute(f"DELETE FROM {table} WHERE {_STRAY[table]}")

    def remove_vectors(self, space: str, size_bytes: int) -> None:
        with self._database.writing("removing odd vectors") as db, transaction(db):
            db.execute("DELETE FROM vectors WHERE encoder = ? AND length(data) = ?", (space, size_bytes))
