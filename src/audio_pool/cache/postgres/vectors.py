"""The vectors of kept sounds in PostgreSQL; read in the replica.

Owns: keeping those that were made later than their sounds.
Must not know: the index.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.postgres.feed import tell
from audio_pool.cache.postgres.migrations import Rows
from audio_pool.cache.postgres.replica import Replica
from audio_pool.cache.postgres.states import states_of
from audio_pool.cache.store import Adopted, Vector

__all__ = ["PostgresVectors"]


class PostgresVectors:
    """See ``store.Vectors``."""

    def __init__(self, database: PostgresDatabase, replica: Replica) -> None:
        self._database = database
        self._replica = replica
        here = replica.vectors
        self.spaces = here.spaces
        self.has_space = here.has_space
        self.counts = here.counts
        self.of = here.of
        self.searchable = here.searchable
        self.searchable_after = here.searchable_after
        self.searchable_ids = here.searchable_ids
        self.count_lacking = here.count_lacking
        self.lacking = here.lacking
        self.batches = here.batches
        self.sample = here.sample
        self.settings = here.settings

    def keep(self, space: str, found: Mapping[int, Vector]) -> int:
        flat = {entry_id: np.ascontiguousarray(vector, np.float32) for entry_id, vector in sorted(found.items())}
        told = {
            entry_id: vector.tobytes()
            for entry_id, vector in flat.items()
            if vector.ndim == 1 and np.isfinite(vector).all() and vector.any()
        }

        def work(db: Rows) -> list[Adopted]:
            rows = db.execute(
                "INSERT INTO vectors SELECT id, %s, data FROM unnest(%s::bigint[], %s::bytea[]) AS given (id, data)"
                " WHERE EXISTS (SELECT 1 FROM entries WHERE entries.id = given.id) ON CONFLICT DO NOTHING"
                " RETURNING entry_id",
                (space, list(told), list(told.values())),
            ).fetchall()
            kept = sorted(entry_id for (entry_id,) in rows)
            tell(db, self._database.schema, "entry", kept)
            return states_of(db, kept)

        states = self._database.write("keeping vectors", work)
        self._replica.keep(states)
        return len(states)

    def remove(self, space: str, size_bytes: int) -> None:
        """Remove the vectors of a length from a space: no entry is another for it, so nobody is told."""
        self._database.write(
            "removing odd vectors",
            lambda db: db.execute(
                "DELETE FROM vectors WHERE encoder = %s AND length(data) = %s", (space, size_bytes)
            ).rowcount,
        )
