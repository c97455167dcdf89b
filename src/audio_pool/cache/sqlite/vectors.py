"""The vectors of kept sounds in SQLite.

Owns: reading them, alone and with the settings of their entries.
Must not know: the index, what is compared with what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_pool.cache.settings import Settings
from audio_pool.cache.sqlite.database import ID_LIST, Database, id_list, transaction
from audio_pool.cache.sqlite.rows import SETTINGS, settings_at
from audio_pool.cache.sqlite.sums import SqliteSums
from audio_pool.cache.store import KeptVector, Vector

__all__ = ["SqliteVectors"]

_SEARCHABLE = "vectors JOIN entries ON id = entry_id WHERE encoder = ? AND spoken = 0"
_LACKING = (
    "entries WHERE spoken = 0 AND NOT EXISTS (SELECT 1 FROM vectors WHERE entry_id = id AND encoder = ?)"
)
_KEPT = f"SELECT id, data, {SETTINGS} FROM {_SEARCHABLE}"


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
        return _kept(self._database.query(f"{_KEPT} AND entry_id IN {ID_LIST} ORDER BY id", (space, id_list(ids))))

    def searchable_after(self, space: str, after: int, limit: int) -> list[KeptVector]:
        return _kept(self._database.bulk(f"{_KEPT} AND entry_id > ? ORDER BY entry_id LIMIT ?", (space, after, limit)))

    def searchable_ids(self, space: str) -> list[int]:
        return [row[0] for row in self._database.bulk(f"SELECT id FROM {_SEARCHABLE}", (space,))]

    def sample(self, space: str, count: int) -> Vector:
        """See ``store.Vectors``: every n-th id, read from all over the space."""
        step = max(1, self.counts().get(space, 0) // max(1, count))
        parts: list[bytes] = []
        size, last = 0, 0
        sql = (
            "SELECT entry_id, data FROM vectors WHERE encoder = ? AND entry_id > ? AND entry_id % ? = 0"
            " ORDER BY entry_id LIMIT 1000"
        )
        while found := self._database.bulk(sql, (space, last, step)):
            size = size or len(found[0][1])
            parts.append(b"".join(data for _, data in found if len(data) == size))
            last = found[-1][0]
        if size == 0 or size % 4:
            return np.zeros((0, 1), np.float32)
        return np.frombuffer(b"".join(parts), np.float32).reshape(-1, size // 4)

    def count_lacking(self, space: str) -> int:
        return int(self._database.bulk(f"SELECT count(*) FROM {_LACKING}", (space,))[0][0])

    def lacking(self, space: str, after: int, limit: int) -> list[tuple[int, str]]:
        sql = f"SELECT id, prompt FROM {_LACKING} AND id > ? ORDER BY id LIMIT ?"
        return self._database.bulk(sql, (space, after, limit))

    def keep(self, space: str, found: Mapping[int, Vector]) -> int:
        kept = 0
        with self._database.writing("keeping vectors") as db, transaction(db):
            for entry_id, vector in found.items():
                flat = np.ascontiguousarray(vector, np.float32)
                if flat.ndim != 1 or not np.isfinite(flat).all() or not flat.any():
                    continue
                made = db.execute(
                    "INSERT OR IGNORE INTO vectors SELECT id, ?, ? FROM entries WHERE id = ?",
                    (space, flat.tobytes(), entry_id),
                ).rowcount
                if made:
                    db.execute("INSERT INTO changes (entry_id, removed) VALUES (?, 0)", (entry_id,))
                    kept += 1
            if kept:
                db.execute("INSERT OR IGNORE INTO spaces VALUES (?)", (space,))
        return kept

    def batches(self, space: str) -> Iterator[tuple[npt.NDArray[np.int64], Vector]]:
        size, last = 0, 0
        sql = "SELECT entry_id, data FROM vectors WHERE encoder = ? AND entry_id > ? ORDER BY entry_id LIMIT 4096"
        while found := self._database.bulk(sql, (space, last)):
            last, size = found[-1][0], size or len(found[0][1]) // 4 * 4
            kept = [(entry_id, data) for entry_id, data in found if len(data) == size > 0]
            rows = np.frombuffer(b"".join(data for _, data in kept), np.float32).reshape(len(kept), -1)
            yield np.array([entry_id for entry_id, _ in kept], np.int64), rows

    def settings(self) -> list[Settings]:
        found = self._database.bulk(f"SELECT DISTINCT {SETTINGS} FROM entries WHERE spoken = 0")
        return [settings_at(row, 0) for row in found]


def _kept(rows: Iterable[tuple[Any, ...]]) -> list[KeptVector]:  # Any: rows as SQLite gives them
    return [KeptVector(row[0], row[1], settings_at(row, 2)) for row in rows]
