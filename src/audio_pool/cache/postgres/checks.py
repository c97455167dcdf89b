"""Consistency checks of a shared cache: of the replica's rows, by the database where a file's fate hangs on it.

Owns: what of verification must not be asked of a replica, which may be behind.
Must not know: what is reported.
"""

from __future__ import annotations

from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.postgres.replica import Replica
from audio_pool.cache.postgres.vectors import PostgresVectors
from audio_pool.cache.sqlite.checks import SqliteChecks
from audio_pool.cache.sqlite.database import within

__all__ = ["PostgresChecks"]


class PostgresChecks(SqliteChecks):
    """See ``store.Checks``."""

    def __init__(self, database: PostgresDatabase, replica: Replica, vectors: PostgresVectors) -> None:
        super().__init__(replica.database, replica.sums)
        self._shared = database
        self._vectors = vectors
        self._copies = replica.leaving

    def knows(self, file: str) -> bool:
        table = "renditions" if file.startswith("renditions/") else "entries"
        found = self._shared.read(
            f"SELECT 1 FROM {table} WHERE file = %s UNION ALL SELECT 1 FROM leaving WHERE file = %s", (file, file)
        )
        return bool(found) or self._copies.names(file)

    def known_files(self, folder: str = "") -> set[str]:
        tables = ("entries", "renditions", "leaving")
        sql = " UNION ALL ".join(f"SELECT file FROM {table} WHERE file >= %s AND file < %s" for table in tables)
        found = {file for (file,) in self._shared.read(sql, within(folder) * len(tables))}
        return found | {file for file in self._copies.files() if file.startswith(folder)}

    def remove_vectors(self, space: str, size_bytes: int) -> None:
        self._vectors.remove(space, size_bytes)
        super().remove_vectors(space, size_bytes)
