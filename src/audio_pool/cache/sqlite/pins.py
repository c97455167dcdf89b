"""Pinned entries in SQLite.

Owns: the table ``pins``. A row goes with its entry.
Must not know: what removes entries.
"""

from __future__ import annotations

from collections.abc import Iterable

from audio_pool.cache.sqlite.database import ID_LIST, Database, id_list, transaction
from audio_pool.errors import NotFound

__all__ = ["SqlitePins"]


class SqlitePins:
    """See ``pins.Pins``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pinned(self) -> set[int]:
        return {entry_id for (entry_id,) in self._database.query("SELECT entry_id FROM pins")}

    def pin(self, ids: Iterable[int]) -> list[int]:
        wanted = sorted(set(ids))
        which = (id_list(wanted),)
        with self._database.writing("pinning sounds") as db, transaction(db):
            known = {found for (found,) in db.execute(f"SELECT id FROM entries WHERE id IN {ID_LIST}", which)}
            missing = [str(entry_id) for entry_id in wanted if entry_id not in known]
            if missing:
                raise NotFound(f"no entry with id {', '.join(missing)}; nothing was pinned")
            new = "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT entry_id FROM pins)"
            fresh = [found for (found,) in db.execute(new, which)]
            db.executemany("INSERT INTO pins VALUES (?)", [(entry_id,) for entry_id in fresh])
        return fresh

    def unpin(self, ids: Iterable[int]) -> list[int]:
        with self._database.writing("taking pins off") as db, transaction(db):
            gone = f"DELETE FROM pins WHERE entry_id IN {ID_LIST} RETURNING entry_id"
            return sorted(found for (found,) in db.execute(gone, (id_list(ids),)).fetchall())
