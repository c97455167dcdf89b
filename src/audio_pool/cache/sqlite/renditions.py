"""Other formats, rates and levels of kept sounds, made once and kept beside their master.

Owns: finding and keeping a rendition.
Must not know: how one is made, what counts as a hit.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.sqlite.database import ID_LIST, Database, id_list, transaction
from audio_pool.cache.sqlite.entries import unlink_doomed
from audio_pool.cache.store import KeptRendition
from audio_pool.errors import StorageError
from audio_pool.types import Rendition

__all__ = ["SqliteRenditions"]


class SqliteRenditions:
    """See ``store.Renditions``."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def find(self, entry_id: int, rendition: Rendition) -> str | None:
        sql = "SELECT file FROM renditions WHERE entry_id = ? AND spec = ?"
        found = self._database.query(sql, (entry_id, _spec(rendition)))
        return self._blobs.path_of(found[0][0]) if found and self._blobs.exists(found[0][0]) else None

    def put(self, entry_id: int, rendition: Rendition, source: Path | str) -> str:
        key = secrets.token_hex(16)
        file = f"renditions/{key[:2]}/{key}.{rendition.format}"
        at = (entry_id, _spec(rendition))
        with self._database.writing("keeping a rendition") as db:
            size = os.stat(source).st_size
            placement = self._blobs.place(Path(source), file)
            try:
                with transaction(db):
                    if not db.execute("SELECT 1 FROM entries WHERE id = ?", (entry_id,)).fetchone():
                        raise StorageError(f"keeping a rendition: entry {entry_id} has been removed")
                    _forget(db, at)
                    db.execute("INSERT INTO renditions VALUES (?, ?, ?, ?)", (*at, file, size))
            except BaseException:
                self._blobs.withdraw(placement)
                raise
            self._blobs.settle(placement)
            unlink_doomed(db, self._blobs)
        return self._blobs.path_of(file)

    def all(self) -> list[KeptRendition]:
        sql = "SELECT entry_id, spec, file, size_bytes FROM renditions"
        return [KeptRendition._make(row) for row in self._database.query(sql)]

    def drop(self, entry_id: int, spec: str) -> None:
        with self._database.writing("removing a rendition") as db:
            with transaction(db):
                _forget(db, (entry_id, spec))
            unlink_doomed(db, self._blobs)

    def size_bytes(self, ids: Iterable[int]) -> int:
        sql = f"SELECT coalesce(sum(size_bytes), 0) FROM renditions WHERE entry_id IN {ID_LIST}"
        return int(self._database.query(sql, (id_list(ids),))[0][0])


def _spec(rendition: Rendition) -> str:
    return msgspec.json.encode(rendition, order="deterministic").decode()


def _forget(db: sqlite3.Connection, at: tuple[int, str]) -> None:
    here = "FROM renditions WHERE entry_id = ? AND spec = ?"
    db.execute(f"INSERT OR IGNORE INTO doomed SELECT file {here}", at)
    db.execute(f"DELETE {here}", at)
