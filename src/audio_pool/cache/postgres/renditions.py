"""Other formats of kept sounds in PostgreSQL; found in the replica.

Owns: keeping and dropping a rendition.
Must not know: how one is made, what counts as a hit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.files import storage_errors
from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.postgres.feed import tell
from audio_pool.cache.postgres.leaving import PostgresLeaving
from audio_pool.cache.postgres.migrations import Rows
from audio_pool.cache.postgres.registry import another_file
from audio_pool.cache.postgres.replica import Replica
from audio_pool.cache.postgres.states import states_of
from audio_pool.cache.store import Adopted, KeptRendition
from audio_pool.errors import NotFound, StorageError
from audio_pool.types import Peaks, Picture, Rendition

__all__ = ["PostgresRenditions"]


class _KeptAlready(Exception):
    def __init__(self, kept: KeptRendition, states: list[Adopted]) -> None:
        self.kept, self.states = kept, states


class PostgresRenditions:
    """See ``store.Renditions``."""

    def __init__(
        self, database: PostgresDatabase, blobs: BlobStore, leaving: PostgresLeaving, replica: Replica
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._leaving = leaving
        self._replica = replica

    def find(self, entry_id: int, rendition: Rendition | Picture | Peaks) -> KeptRendition | None:
        return self._replica.renditions.find(entry_id, rendition)

    def of(self, entry_id: int) -> list[KeptRendition]:
        return self._replica.renditions.of(entry_id)

    def all(self) -> list[KeptRendition]:
        return self._replica.renditions.all()

    def within(self, folder: str) -> list[KeptRendition]:
        return self._replica.renditions.within(folder)

    def size_bytes(self, ids: Iterable[int]) -> int:
        return self._replica.renditions.size_bytes(ids)

    def put(self, entry_id: int, rendition: Rendition | Picture | Peaks, source: Path | str) -> str:
        spec = msgspec.json.encode(rendition, order="deterministic").decode()
        with storage_errors("keeping a rendition", self._blobs.location):
            digest, size = _hashed(Path(source))
            file = self._blobs.name_for("renditions", digest, f".{rendition.format}")
            placement = self._blobs.place(Path(source), file)
        try:
            states = self._database.write(
                "keeping a rendition", lambda db: self._put(db, KeptRendition(entry_id, spec, file, size, digest))
            )
        except _KeptAlready as exc:
            self._replica.keep(exc.states)
            try:  # another head may have made it
                self._blobs.bring(exc.kept.file, exc.kept.size_bytes)
            except (NotFound, StorageError) as why:
                self._blobs.withdraw(placement)
                raise StorageError(f"keeping a rendition: one is kept already, and does not come: {why}") from why
            self._blobs.discard(file)
            self._blobs.settle(placement)
            return self._blobs.path_of(exc.kept.file)
        except BaseException:
            self._blobs.withdraw(placement)
            raise
        self._blobs.settle(placement)
        self._replica.keep(states)
        return self._blobs.path_of(file)

    def _put(self, db: Rows, new: KeptRendition) -> list[Adopted]:
        at = (new.entry_id, new.spec)
        if not db.execute("SELECT 1 FROM entries WHERE id = %s FOR NO KEY UPDATE", at[:1]).fetchone():
            raise StorageError(f"keeping a rendition: entry {new.entry_id} has been removed")
        row = db.execute(
            "SELECT entry_id, spec, file, size_bytes, sha256 FROM renditions WHERE entry_id = %s AND spec = %s", at
        ).fetchone()
        if row is not None:
            older = KeptRendition._make(row)
            if self._is_whole(older):  # it may just be on its way to a caller
                raise _KeptAlready(older, states_of(db, at[:1]))
            self._leaving.name(db, [older.file], "quarantine")
            db.execute("DELETE FROM renditions WHERE entry_id = %s AND spec = %s", at)
        db.execute("INSERT INTO renditions VALUES (%s, %s, %s, %s, %s)", new)
        another_file(db, new.entry_id, new.sha256)
        tell(db, self._database.schema, "entry", at[:1])
        return states_of(db, at[:1])

    def _is_whole(self, kept: KeptRendition) -> bool:
        """Compare its content, too: whoever made it anew may have found it damaged."""
        if not self._blobs.is_whole(kept.file, kept.size_bytes):
            return self._blobs.elsewhere(kept.file)
        try:
            return not kept.sha256 or _hashed(Path(self._blobs.path_of(kept.file)))[0] == kept.sha256
        except OSError:
            return False

    def drop(self, entry_id: int, spec: str, *, damaged: bool = False) -> None:
        def work(db: Rows) -> list[Adopted]:
            gone = db.execute(
                "DELETE FROM renditions WHERE entry_id = %s AND spec = %s RETURNING file", (entry_id, spec)
            ).fetchall()
            self._leaving.name(db, [file for (file,) in gone], "quarantine" if damaged else "unlink")
            tell(db, self._database.schema, "entry", [entry_id])
            return states_of(db, [entry_id])

        self._replica.keep(self._database.write("removing a rendition", work))


def _hashed(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        return digest, file.tell()
