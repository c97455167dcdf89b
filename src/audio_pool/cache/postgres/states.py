"""Entries as they are now in the shared database, for replicas: the row and everything that lies beside it.

Owns: the queries. Must not know: what is done with a state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from audio_pool.cache.entry import Adopted, read_stored
from audio_pool.cache.judgements import Given, Judgement
from audio_pool.cache.marks import Marked
from audio_pool.cache.postgres.migrations import Rows
from audio_pool.cache.uses import Use
from audio_pool.results import FinishedSound

__all__ = ["JUDGED", "judgement", "judgements_of", "states_of", "uses_since"]

_ENTRIES = (
    "SELECT e.id, e.file, e.size_bytes, e.sha256, e.created_at, e.origin, e.preferred, e.recipe, e.metadata,"
    " p.entry_id IS NOT NULL, coalesce(u.hits, 0), coalesce(u.last_used, 0), m.rating, coalesce(m.favourite, false),"
    " m.tags, s.digest"
    " FROM entries e LEFT JOIN pins p ON p.entry_id = e.id LEFT JOIN uses u ON u.entry_id = e.id"
    " LEFT JOIN marks m ON m.entry_id = e.id LEFT JOIN sources s ON s.entry_id = e.id"
    " WHERE e.id = ANY(%s) ORDER BY e.id"
)
JUDGED = "seq, namespace, query, prompt, verdict, source, entry_id, judged_at FROM judgements"


def states_of(db: Rows, ids: Sequence[int]) -> list[Adopted]:
    """Return those of the entries that exist; one that cannot be read is left out."""
    which = (list(ids),)
    vectors: dict[int, dict[str, Any]] = {}  # float32 [D]
    for entry_id, encoder, data in db.execute(
        "SELECT entry_id, encoder, data FROM vectors WHERE entry_id = ANY(%s)", which
    ):
        if len(data) % 4 == 0:
            vectors.setdefault(entry_id, {})[encoder] = np.frombuffer(data, np.float32)
    renditions: dict[int, list[tuple[str, str, int, bytes]]] = {}
    for entry_id, *kept in db.execute(
        "SELECT entry_id, spec, file, size_bytes, sha256 FROM renditions WHERE entry_id = ANY(%s) ORDER BY spec", which
    ):
        renditions.setdefault(entry_id, []).append((kept[0], kept[1], kept[2], kept[3]))
    found: dict[int, Adopted] = {}
    # the entries last: what is added beside one meanwhile has a line of its own in the feed
    for row in db.execute(_ENTRIES, which):
        stored = read_stored(row[7], row[8])
        if stored is None:
            continue
        recipe, metadata = stored
        found[row[0]] = Adopted(
            sound=FinishedSound(path="", recipe=recipe, metadata=metadata, accepted=True),
            entry_id=row[0],
            file=row[1],
            size_bytes=row[2],
            sha256=row[3],
            created_at=row[4],
            origin=row[5],
            preferred=row[6],
            vectors=vectors.get(row[0], {}),
            renditions=tuple(renditions.get(row[0], ())),
            pinned=row[9],
            hits=row[10],
            last_used=row[11],
            marked=Marked(row[12], row[13], None if row[14] is None else tuple(row[14])),
            source=row[15] or b"",
        )
    return list(found.values())


def uses_since(db: Rows, moment: float, limit: int) -> list[tuple[int, Use]]:
    """Return how entries are used that were used since a moment."""
    rows = db.execute(
        "SELECT entry_id, hits, last_used, cost_s FROM uses WHERE last_used >= %s AND hits > 0"
        " ORDER BY last_used DESC LIMIT %s",
        (moment, limit),
    )
    return [(entry_id, Use(hits, last_used, cost_s)) for entry_id, hits, last_used, cost_s in rows]


def judgements_of(db: Rows, numbers: Iterable[int]) -> list[Judgement]:
    """Return those of the judgements that are still in force, in their order."""
    rows = db.execute(f"SELECT {JUDGED} WHERE seq = ANY(%s) ORDER BY seq", (list(numbers),))
    return [judgement(row) for row in rows]


def judgement(row: tuple[Any, ...]) -> Judgement:  # Any: what PostgreSQL stores
    """Return the judgement of a row of ``JUDGED``."""
    seq, namespace, query, prompt, verdict, source, entry_id, judged_at = row
    return Judgement(seq, Given(namespace, query, prompt, verdict, source, entry_id), judged_at)
