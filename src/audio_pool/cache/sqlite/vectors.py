"""The vectors of kept sounds in SQLite.

Owns: reading them, alone and with the settings of their entries.
Must not know: the index, what is compared with what.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from audio_pool.cache.settings import Settings
from audio_pool.cache.sqlite.database import ID_LIST, Database, Values, id_list
from audio_pool.cache.sqlite.rows import SETTINGS, settings_at
from audio_pool.cache.sqlite.sums import SqliteSums
from audio_pool.cache.store import KeptVector, Vector

__all__ = ["SqliteVectors"]

_SEARCHABLE = "vectors JOIN entries ON id = entry_id WHERE encoder = ? AND spoken = 0"


class SqliteVectors:
    """See ``store.Vectors``."""

    def __init__(self, database: Database, sums: SqliteSums) -> None:
        self._database = database
        self.counts = sums.vectors

    def spaces(self) -> list[str]:
        return [name for (name,) in self._database.query("SELECT name FROM spaces ORDER BY name")]

    def has_space(self, space: str) -> bool:
        return bool(self._database.query("SELECT 1 FROM spaces WHERE name = ?", (space,)))

    def of(self, space: str, ids: Iterable[int]) -> dict[int, Vector]:
        sql = f"SELECT entry_id, data FROM vectors WHERE encoder = ? AND entry_id IN {ID_LIST}"
        found = self._database.query(sql, (space, id_list(ids)))
        return {entry_id: np.frombuffer(data, np.float32) for entry_id, data in found if len(data) % 4 == 0}

    def searchable(self, space: str, ids: Iterable[int]) -> list[KeptVector]:
        return self._searchable(f"AND entry_id IN {ID_LIST} ORDER BY id", (space, id_list(ids)))

    def searchable_after(self, space: str, after: int, limit: int) -> list[KeptVector]:
        return self._searchable("AND entry_id > ? ORDER BY entry_id LIMIT ?", (space, after, limit))

    def _searchable(self, rest: str, values: Values) -> list[KeptVector]:
        found = self._database.query(f"SELECT id, data, {SETTINGS} FROM {_SEARCHABLE} {rest}", values)
        return [KeptVector(row[0], row[1], settings_at(row, 2)) for row in found]

    def searchable_ids(self, space: str) -> list[int]:
        return [row[0] for row in self._database.query(f"SELECT id FROM {_SEARCHABLE}", (space,))]

    def settings(self) -> list[Settings]:
        found = self._database.query(f"SELECT DISTINCT {SETTINGS} FROM entries WHERE spoken = 0")
        return [settings_at(row, 0) for row in found]
