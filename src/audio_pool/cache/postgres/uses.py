"""How sounds are used, over all heads: hits, last use and rank; look-ups by stage and hour; what was missed.

Owns: the tables ``uses``, ``answers`` and ``missed``.
Must not know: who counts, which entries go.

What is asked here decides what is evicted, so it is asked of the database and not of a replica.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from audio_pool.cache.entry import text_digest
from audio_pool.cache.figures import AnswersTold, UsedPrompt
from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.postgres.migrations import Rows
from audio_pool.cache.postgres.replica import Replica
from audio_pool.cache.sqlite.figures import SqliteFigures
from audio_pool.cache.uses import Answers, Candidate, Counted, Missed, Reach, Use
from audio_pool.cache.worth import heated

__all__ = ["PostgresFigures", "PostgresUses"]

_MISSED_KEPT = 10_000
"""Prompts; beyond a tenth more the rarest go, among equals the oldest."""
_START = Reach(-math.inf, 0)
_CANDIDATE = (
    "SELECT u.entry_id, u.namespace, e.prompt, e.size_bytes + coalesce((SELECT sum(size_bytes) FROM renditions"
    " WHERE renditions.entry_id = u.entry_id), 0)::bigint, u.rank, u.cost_s, u.hits, u.last_used, e.quality,"
    " e.created_at, e.text_key FROM uses u JOIN entries e ON e.id = u.entry_id"
    " WHERE NOT EXISTS (SELECT 1 FROM pins WHERE pins.entry_id = u.entry_id)"
)
_HITS_LOOKED_AT = 20
_MISSED_LOOKED_AT = 20


class PostgresUses:
    """See ``uses.Uses``."""

    def __init__(self, database: PostgresDatabase, replica: Replica) -> None:
        self._database = database
        self._replica = replica

    # -- reading

    def of(self, ids: Iterable[int]) -> dict[int, Use]:
        sql = "SELECT entry_id, hits, last_used, cost_s FROM uses WHERE entry_id = ANY(%s)"
        return {row[0]: Use(*row[1:]) for row in self._database.read(sql, (list(ids),))}

    def answers(self, since_hour: int = 0) -> list[Answers]:
        sql = "SELECT hour, stage, count, saved_s FROM answers WHERE hour >= %s ORDER BY hour, stage"
        return [Answers._make(row) for row in self._database.read(sql, (since_hour,))]

    def missed(self, limit: int = 100) -> list[Missed]:
        sql = "SELECT namespace, prompt, count, last FROM missed ORDER BY count DESC, last DESC LIMIT %s"
        return [Missed._make(row) for row in self._database.read(sql, (limit,))]

    def least(self, namespace: str, after: Reach | None, limit: int) -> list[Candidate]:
        where = " AND (u.rank, u.entry_id) > (%(figure)s, %(id)s)"
        where += " AND u.namespace = %(namespace)s" if namespace else ""
        sql = f"{_CANDIDATE}{where} ORDER BY u.rank, u.entry_id LIMIT %(limit)s"
        figure, entry_id = after or _START
        return self._candidates(sql, {"namespace": namespace, "figure": figure, "id": entry_id, "limit": limit})

    def made_before(self, namespace: str, moment: float, after: Reach | None, limit: int) -> list[Candidate]:
        where = (
            " AND e.namespace = %(namespace)s AND e.created_at < %(moment)s"
            " AND (e.created_at, e.id) > (%(figure)s, %(id)s)"
        )
        sql = f"{_CANDIDATE}{where} ORDER BY e.created_at, e.id LIMIT %(limit)s"
        figure, entry_id = after or _START
        values = {"namespace": namespace, "moment": moment, "figure": figure, "id": entry_id, "limit": limit}
        return self._candidates(sql, values)

    def _candidates(self, sql: str, values: dict[str, Any]) -> list[Candidate]:  # Any: what PostgreSQL stores
        found = self._database.read(sql, values)
        same = (
            "SELECT e.text_key, u.entry_id FROM entries e JOIN uses u ON u.entry_id = e.id"
            " WHERE e.text_key = ANY(%s) ORDER BY u.rank DESC, u.entry_id"
        )
        places: dict[int, int] = {}
        variants: dict[bytes, int] = {}
        for key, entry_id in self._database.read(same, ([row[-1] for row in found],)):
            places[entry_id] = variants[key] = variants.get(key, 0) + 1
        return [Candidate._make((*row[:-1], places.get(row[0], 1), variants.get(row[-1], 1))) for row in found]

    # -- writing

    def record(self, counted: Counted, now: float) -> None:
        def work(db: Rows) -> list[tuple[int, Use]]:
            at = _not_before(db, now)
            _add_answers(db, counted, at)
            _add_missed(db, counted, at)
            return _add_hits(db, counted.hits, at)

        self._replica.keep_uses(self._database.write("counting hits", work))

    def catch_up(self) -> bool:
        """Every entry has its row from the beginning."""
        return False


def _add_hits(db: Rows, hits: dict[int, int], at: float) -> list[tuple[int, Use]]:
    if not hits:
        return []
    # in order: two heads that count the same do not wait for each other in a ring
    rows = db.execute(
        "SELECT entry_id, hits, last_used, cost_s, base, rank FROM uses WHERE entry_id = ANY(%s)"
        " ORDER BY entry_id FOR NO KEY UPDATE",
        (list(hits),),
    ).fetchall()
    found = [
        (entry_id, Use(before + more, max(last_used, at), cost_s), base + heated(rank - base, more, at))
        for entry_id, before, last_used, cost_s, base, rank in rows
        for more in [hits[entry_id]]
    ]
    db.execute(
        "UPDATE uses SET hits = given.hits, last_used = given.last_used, rank = given.rank FROM"
        " unnest(%s::bigint[], %s::bigint[], %s::float8[], %s::float8[]) AS given (entry_id, hits, last_used, rank)"
        " WHERE uses.entry_id = given.entry_id",
        (
            [entry_id for entry_id, _, _ in found], [use.hits for _, use, _ in found],
            [use.last_used for _, use, _ in found], [rank for _, _, rank in found],
        ),
    )  # fmt: skip
    return [(entry_id, use) for entry_id, use, _ in found]


def _add_answers(db: Rows, counted: Counted, at: float) -> None:
    for stage, (count, saved_s) in sorted(counted.answers.items()):
        db.execute(
            "INSERT INTO answers VALUES (%s, %s, %s, %s) ON CONFLICT (hour, stage) DO UPDATE SET"
            " count = answers.count + excluded.count, saved_s = answers.saved_s + excluded.saved_s",
            (int(at // 3600), stage, count, saved_s),
        )


def _add_missed(db: Rows, counted: Counted, at: float) -> None:
    if not counted.missed:
        return
    told = sorted(
        (text_digest(namespace, prompt), namespace, prompt, count)
        for (namespace, prompt), count in counted.missed.items()
    )
    merged: dict[bytes, tuple[str, str, int]] = {}
    for key, namespace, prompt, count in told:
        merged[key] = (namespace, prompt, merged.get(key, ("", "", 0))[2] + count)
    db.execute(
        "INSERT INTO missed SELECT key, namespace, prompt, count, %s FROM"
        " unnest(%s::bytea[], %s::text[], %s::text[], %s::bigint[]) AS given (key, namespace, prompt, count)"
        " ON CONFLICT (text_key) DO UPDATE SET count = missed.count + excluded.count,"
        " last = greatest(missed.last, excluded.last)",
        (at, list(merged), *(list(column) for column in zip(*merged.values(), strict=True))),
    )
    (kept,) = db.execute("SELECT count(*) FROM missed").fetchone() or (0,)
    if kept > _MISSED_KEPT * 1.1:
        db.execute(
            "DELETE FROM missed WHERE text_key NOT IN"
            " (SELECT text_key FROM missed ORDER BY count DESC, last DESC LIMIT %s)",
            (_MISSED_KEPT,),
        )


def _not_before(db: Rows, now: float) -> float:
    """Return the time of a use: never before any other use, nor before the newest entry, whatever a clock does."""
    row = db.execute(
        "SELECT greatest(%s::float8, (SELECT max(last_used) FROM uses),"
        " (SELECT created_at FROM entries ORDER BY id DESC LIMIT 1))",
        (now,),
    ).fetchone()
    return float(row[0]) if row else now


class PostgresFigures(SqliteFigures):
    """See ``figures.Figures``: what is of entries in the replica, what is of use in the database."""

    def __init__(self, database: PostgresDatabase, replica: Replica) -> None:
        super().__init__(replica.database)
        self._shared = database

    def answers(self, since_hour: int, since_day: int) -> AnswersTold:
        sql = (
            "SELECT 'ever', 0, stage, sum(count)::bigint, sum(saved_s) FROM answers GROUP BY stage"
            " UNION ALL SELECT 'hour', hour, stage, count, saved_s FROM answers WHERE hour >= %s"
            " UNION ALL SELECT 'day', hour / 24 * 24, stage, sum(count)::bigint, sum(saved_s) FROM answers"
            " WHERE hour >= %s GROUP BY 2, 3 ORDER BY 2, 3"
        )
        return AnswersTold.of(self._shared.read(sql, (since_hour, since_day * 24)))

    def top_prompts(self, limit: int) -> list[UsedPrompt]:
        sql = (
            "SELECT min(namespace), min(prompt), sum(hits)::bigint, max(last_used) FROM ("
            "SELECT e.namespace, e.prompt, e.text_key, u.hits, u.last_used"
            " FROM uses u JOIN entries e ON e.id = u.entry_id WHERE u.hits > 0 ORDER BY u.hits DESC LIMIT %s"
            ") most GROUP BY text_key ORDER BY 3 DESC, 4 DESC LIMIT %s"
        )
        return [UsedPrompt._make(row) for row in self._shared.read(sql, (limit * _HITS_LOOKED_AT, limit))]

    def worth_warming(self, limit: int) -> list[Missed]:
        sql = (
            "SELECT namespace, prompt, count, last"
            " FROM (SELECT * FROM missed ORDER BY count DESC, last DESC LIMIT %s) m"
            " WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE e.text_key = m.text_key)"
            " ORDER BY count DESC, last DESC LIMIT %s"
        )
        return [Missed._make(row) for row in self._shared.read(sql, (limit * _MISSED_LOOKED_AT, limit))]
