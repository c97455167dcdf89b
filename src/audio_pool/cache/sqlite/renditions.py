"""Other formats, rates and levels of kept sounds, and pictures of them, made once and kept beside their master.

Owns: finding and keeping a rendition.
Must not know: how one is made, what counts as a hit.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.sqlite.database import ID_LIST, WITHIN, Database, id_list, transaction, within
from audio_pool.cache.sqlite.leaving import Fate, SqliteLeaving
from audio_pool.cache.sqlite.registry import another_file
from audio_pool.cache.store import KeptRendition
from audio_pool.errors import StorageError
from audio_pool.types import Peaks, Picture, Rendition

__all__ = ["KEPT", "SqliteRenditions"]


KEPT = "entry_id, spec, file, size_bytes, sha256"
"""The columns of a ``KeptRendition``, in order."""
_KEPT = f"SELECT {KEPT} FROM renditions"


class SqliteRenditions:
    """See ``store.Renditions``."""

    def __init__(self, database: Database, blobs: BlobStore, leaving: SqliteLeaving) -> None:
        self._database = database
        self._blobs = blobs
        self._leaving = leaving

    def find(self, entry_id: int, rendition: Rendition | Picture | Peaks) -> KeptRendition | None:
        spec = _spec(rendition)
        found = self._database.query(f"{_KEPT} WHERE entry_id = ? AND spec = ?", (entry_id, spec))
        kept = KeptRendition._make(found[0]) if found else None
        if kept is None or self._blobs.is_whole(kept.file, kept.size_bytes) or self._blobs.elsewhere(kept.file):
            return kept
        return None

    def put(self, entry_id: int, rendition: Rendition | Picture | Peaks, source: Path | str) -> str:
        at = (entry_id, _spec(rendition))
        with self._database.writing("keeping a rendition") as db:
            digest, size = _hashed(Path(source))
            file = self._blobs.name_for("renditions", digest, f".{rendition.format}")
            placement = self._blobs.place(Path(source), file)
            try:
                with transaction(db):
                    if not db.execute("SELECT 1 FROM entries WHERE id = ?", (entry_id,)).fetchone():
                        raise StorageError(f"keeping a rendition: entry {entry_id} has been removed")
                    older = db.execute(f"{_KEPT} WHERE entry_id = ? AND spec = ?", at).fetchone()
                    if older is not None:
                        self._replace(db, KeptRendition._make(older))
                    db.execute(f"INSERT INTO renditions ({KEPT}) VALUES (?, ?, ?, ?, ?)", (*at, file, size, digest))
                    another_file(db, entry_id, digest)
            except _KeptAlready as exc:
                self._blobs.discard(file)
                self._blobs.settle(placement)
                return self._blobs.path_of(exc.file)
            except BaseException:
                self._blobs.withdraw(placement)
                raise
            self._blobs.settle(placement)
        return self._blobs.path_of(file)

    def _replace(self, db: sqlite3.Connection, older: KeptRendition) -> None:
        """Make room for another; one that is whole stays, for it may just be on its way to a caller."""
        if self._is_whole(older):
            raise _KeptAlready(older.file)
        self._forget(db, (older.entry_id, older.spec), "quarantine")

    def _is_whole(self, kept: KeptRendition) -> bool:
        """Compare its content, too: whoever made it anew may have found it damaged."""
        if not self._blobs.is_whole(kept.file, kept.size_bytes):
            return False
        try:
            return not kept.sha256 or _hashed(Path(self._blobs.path_of(kept.file)))[0] == kept.sha256
        except OSError:
            return False

    def of(self, entry_id: int) -> list[KeptRendition]:
        return [KeptRendition._make(row) for row in self._database.query(f"{_KEPT} WHERE entry_id = ?", (entry_id,))]

    def all(self) -> list[KeptRendition]:
        return [KeptRendition._make(row) for row in self._database.query(_KEPT)]

    def within(self, folder: str) -> list[KeptRendition]:
        return [KeptRendition._make(row) for row in self._database.bulk(f"{_KEPT} WHERE {WITHIN}", within(folder))]

    def drop(self, entry_id: int, spec: str, *, damaged: bool = False) -> None:
        with self._database.writing("removing a rendition") as db, transaction(db):
            self._forget(db, (entry_id, spec), "quarantine" if damaged else "unlink")

    def _forget(self, db: sqlite3.Connection, at: tuple[int, str], fate: Fate = "unlink") -> None:
        here = "FROM renditions WHERE entry_id = ? AND spec = ?"
        self._leaving.doom(db, f"SELECT file {here}", at, fate)
        db.execute(f"DELETE {here}", at)

    def size_bytes(self, ids: Iterable[int]) -> int:
        sql = f"SELECT coalesce(sum(size_bytes), 0) FROM renditions WHERE entry_id IN {ID_LIST}"
        return int(self._database.query(sql, (id_list(ids),))[0][0])


def _hashed(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        return digest, file.tell()


def _spec(rendition: Rendition | Picture | Peaks) -> str:
    return msgspec.json.encode(rendition, order="deterministic").decode()


class _KeptAlready(Exception):
    def __init__(self, file: str) -> None:
        self.file = file
