"""Hits, last use and rank of every entry; look-ups by stage and hour; prompts that were missed.

Owns: the tables ``uses``, ``answers`` and ``missed``.
Must not know: who counts, which entries go.

A table of its own beside ``entries``, because it is written every few seconds while sounds are asked for: a page
holds the uses of a hundred entries. An entry gets its row in the transaction that keeps it; those that an earlier
version kept get theirs some hundreds at a time, so that opening a large cache waits for nothing.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from audio_pool.cache.entry import text_digest
from audio_pool.cache.sqlite.database import ID_LIST, Database, Values, id_list, transaction
from audio_pool.cache.uses import Answers, Candidate, Counted, Missed, Reach, Use
from audio_pool.cache.worth import base_of, heat_of, heated

__all__ = ["AGES", "TABLES", "SqliteUses", "begin_use", "carry_uses"]

TABLES = """
CREATE TABLE uses (
    entry_id  INTEGER PRIMARY KEY REFERENCES entries (id) ON DELETE CASCADE,
    namespace TEXT NOT NULL,
    hits      INTEGER NOT NULL,
    last_used REAL NOT NULL,           -- seconds since 1970; when it was made, where it was never hit
    cost_s    REAL NOT NULL,           -- seconds of generating
    base      REAL NOT NULL,           -- the part of the rank that never changes; see worth.py
    rank      REAL NOT NULL
);
CREATE INDEX uses_rank ON uses (rank);
CREATE INDEX uses_namespace ON uses (namespace, rank);

CREATE TABLE answers (
    hour    INTEGER NOT NULL,          -- hours since 1970
    stage   TEXT NOT NULL,
    count   INTEGER NOT NULL,
    saved_s REAL NOT NULL,             -- seconds of generating
    PRIMARY KEY (hour, stage)
) WITHOUT ROWID;

CREATE TABLE missed (
    text_key  BLOB PRIMARY KEY,        -- as entries.text_key
    namespace TEXT NOT NULL,
    prompt    TEXT NOT NULL,
    count     INTEGER NOT NULL,
    last      REAL NOT NULL
) WITHOUT ROWID;
"""
AGES = """
CREATE INDEX IF NOT EXISTS entries_ages ON entries (namespace, created_at);
"""
_AT_ONCE = 500
"""Entries that one transaction writes: whoever wants to keep a sound waits for one at most."""
_MISSED_KEPT = 10_000
"""Prompts; beyond a tenth more the rarest go, among equals the oldest."""
_LAST_USE, _KNOWN = "latest_use", "uses_known"
"""Facts: the latest time of any use, and the entry up to which each has its row."""
_START = Reach(-math.inf, 0)
_CANDIDATE = (
    "u.entry_id, u.namespace, e.prompt, e.size_bytes + coalesce((SELECT sum(size_bytes) FROM renditions"
    " WHERE renditions.entry_id = u.entry_id), 0), u.rank, u.cost_s, u.hits, u.last_used, e.quality, e.created_at,"
    " e.text_key"
)
_LOOSE = "u.entry_id NOT IN (SELECT entry_id FROM pins)"
_MADE = (
    "SELECT id, namespace, quality, size_bytes, created_at, metadata FROM entries"
    " LEFT JOIN provenance ON provenance.entry_id = id"
)


class SqliteUses:
    """See ``uses.Uses``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- reading

    def of(self, ids: Iterable[int]) -> dict[int, Use]:
        sql = f"SELECT entry_id, hits, last_used, cost_s FROM uses WHERE entry_id IN {ID_LIST}"
        return {row[0]: Use(*row[1:]) for row in self._database.query(sql, (id_list(ids),))}

    def answers(self, since_hour: int = 0) -> list[Answers]:
        sql = "SELECT hour, stage, count, saved_s FROM answers WHERE hour >= ? ORDER BY hour, stage"
        return [Answers._make(row) for row in self._database.query(sql, (since_hour,))]

    def missed(self, limit: int = 100) -> list[Missed]:
        sql = "SELECT namespace, prompt, count, last FROM missed ORDER BY count DESC, last DESC LIMIT ?"
        return [Missed._make(row) for row in self._database.query(sql, (limit,))]

    def least(self, namespace: str, after: Reach | None, limit: int) -> list[Candidate]:
        where = "(u.rank, u.entry_id) > (:figure, :id)" + (" AND u.namespace = :namespace" if namespace else "")
        sql = f"SELECT {_CANDIDATE} FROM uses u CROSS JOIN entries e ON e.id = u.entry_id WHERE {where} AND {_LOOSE}"
        figure, entry_id = after or _START
        values = {"namespace": namespace, "figure": figure, "id": entry_id, "limit": limit}
        return self._candidates(f"{sql} ORDER BY u.rank, u.entry_id LIMIT :limit", values)

    def made_before(self, namespace: str, moment: float, after: Reach | None, limit: int) -> list[Candidate]:
        where = "e.namespace = :namespace AND e.created_at < :moment AND (e.created_at, e.id) > (:figure, :id)"
        sql = f"SELECT {_CANDIDATE} FROM entries e CROSS JOIN uses u ON u.entry_id = e.id WHERE {where} AND {_LOOSE}"
        figure, entry_id = after or _START
        values = {"namespace": namespace, "moment": moment, "figure": figure, "id": entry_id, "limit": limit}
        return self._candidates(f"{sql} ORDER BY e.created_at, e.id LIMIT :limit", values)

    def _candidates(self, sql: str, values: Values) -> list[Candidate]:
        found = self._read(sql, values)
        ids = id_list(row[0] for row in found)
        sql = (
            "SELECT e.text_key, u.entry_id FROM entries e JOIN uses u ON u.entry_id = e.id WHERE e.text_key IN"
            f" (SELECT text_key FROM entries WHERE id IN {ID_LIST}) ORDER BY u.rank DESC, u.entry_id"
        )
        places: dict[int, int] = {}
        variants: dict[bytes, int] = {}
        for key, entry_id in self._read(sql, (ids,)):
            places[entry_id] = variants[key] = variants.get(key, 0) + 1
        return [Candidate._make((*row[:-1], places.get(row[0], 1), variants.get(row[-1], 1))) for row in found]

    def _read(self, sql: str, values: Values) -> list[Any]:  # Any: rows as SQLite gives them
        """Return rows over the connection that writes: the other one is the router's, who must not wait for it."""
        if self._database.read_only:
            return self._database.query(sql, values)
        with self._database.writing("looking for what is worth least") as db:
            return db.execute(sql, values).fetchall()

    # -- writing

    def record(self, counted: Counted, now: float) -> None:
        with self._database.writing("counting hits") as db, transaction(db):
            at = _not_before(db, now)
            _add_hits(db, list(counted.hits.items()), at)
            _add_answers(db, counted, at)
            _add_missed(db, counted, at)

    def catch_up(self) -> bool:
        with self._database.writing("counting hits") as db:
            found = db.execute("SELECT value FROM facts WHERE name = ?", (_KNOWN,)).fetchone()
            known = int(found[0]) if found else 0
            sql = f"SELECT id FROM entries WHERE id > ? ORDER BY id LIMIT {_AT_ONCE}"
            ids = [entry_id for (entry_id,) in db.execute(sql, (known,))]
            if ids:
                with transaction(db):
                    _begin_missing(db, ids)
                    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_KNOWN, str(ids[-1])))
        return len(ids) == _AT_ONCE


def begin_use(
    db: sqlite3.Connection,
    entry_id: int,
    namespace: str,
    *,
    cost_s: float,
    quality: float | None,
    size_bytes: int,
    made: float,
) -> None:
    """Write the row of an entry that has just got its own, inside that transaction."""
    base = base_of(cost_s, quality, size_bytes)
    db.execute(
        "INSERT OR IGNORE INTO uses VALUES (?, ?, 0, ?, ?, ?, ?)",
        (entry_id, namespace, made, cost_s, base, base + heat_of(1, made)),
    )


def carry_uses(db: sqlite3.Connection, entry_id: int, hits: int, last_used: float) -> None:
    """Give a new entry the hits that it had in another cache, inside the transaction that makes it."""
    (base, rank), = db.execute("SELECT base, rank FROM uses WHERE entry_id = ?", (entry_id,)).fetchall()
    db.execute(
        "UPDATE uses SET hits = ?, last_used = max(last_used, ?), rank = ? WHERE entry_id = ?",
        (hits, last_used, base + heated(rank - base, hits, last_used), entry_id),
    )


def _begin_missing(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Give those of the entries a row that have none."""
    without = f"WHERE id IN {ID_LIST} AND id NOT IN (SELECT entry_id FROM uses WHERE entry_id IN {ID_LIST})"
    which = id_list(ids)
    found = db.execute(f"{_MADE} {without}", (which, which)).fetchall()
    for entry_id, namespace, quality, size, made, metadata in found:
        begin_use(
            db,
            entry_id,
            namespace,
            cost_s=_cost_s(metadata),
            quality=quality if isinstance(quality, float) else None,
            size_bytes=size if isinstance(size, int) else 0,
            made=made if isinstance(made, float) else 0.0,
        )


def _add_hits(db: sqlite3.Connection, hits: Sequence[tuple[int, int]], at: float) -> None:
    if not hits:
        return
    _begin_missing(db, [entry_id for entry_id, _ in hits])
    more = dict(hits)
    sql = f"SELECT entry_id, base, rank FROM uses WHERE entry_id IN {ID_LIST}"
    found = db.execute(sql, (id_list(more),)).fetchall()
    db.executemany(
        "UPDATE uses SET hits = hits + ?, last_used = max(last_used, ?), rank = ? WHERE entry_id = ?",
        [
            (more[entry_id], at, base + heated(rank - base, more[entry_id], at), entry_id)
            for entry_id, base, rank in found
        ],
    )


def _add_answers(db: sqlite3.Connection, counted: Counted, at: float) -> None:
    db.executemany(
        "INSERT INTO answers VALUES (?, ?, ?, ?) ON CONFLICT (hour, stage)"
        " DO UPDATE SET count = count + excluded.count, saved_s = saved_s + excluded.saved_s",
        [(int(at // 3600), stage, count, saved_s) for stage, (count, saved_s) in counted.answers.items()],
    )


def _add_missed(db: sqlite3.Connection, counted: Counted, at: float) -> None:
    if not counted.missed:
        return
    db.executemany(
        "INSERT INTO missed VALUES (?, ?, ?, ?, ?) ON CONFLICT (text_key)"
        " DO UPDATE SET count = count + excluded.count, last = max(last, excluded.last)",
        [
            (text_digest(namespace, prompt), namespace, prompt, count, at)
            for (namespace, prompt), count in counted.missed.items()
        ],
    )
    if db.execute("SELECT count(*) FROM missed").fetchone()[0] > _MISSED_KEPT * 1.1:
        db.execute(
            "DELETE FROM missed WHERE text_key NOT IN"
            " (SELECT text_key FROM missed ORDER BY count DESC, last DESC LIMIT ?)",
            (_MISSED_KEPT,),
        )


def _not_before(db: sqlite3.Connection, now: float) -> float:
    """Return the time of a use: never before any other use, nor before the newest entry, whatever the clock does."""
    last = db.execute("SELECT value FROM facts WHERE name = ?", (_LAST_USE,)).fetchone()
    made = db.execute("SELECT created_at FROM entries ORDER BY id DESC LIMIT 1").fetchone()
    at = max(now, float(last[0]) if last else 0.0, made[0] if made and isinstance(made[0], float) else 0.0)
    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_LAST_USE, repr(at)))
    return at


class _Timings(msgspec.Struct):
    generate: float = 0.0


class _Made(msgspec.Struct):
    """The one thing of an entry's metadata that is wanted here; the rest is passed over unread."""

    timings_ms: _Timings = msgspec.field(default_factory=_Timings)


_decode_made = msgspec.json.Decoder(_Made).decode


def _cost_s(metadata: bytes | None) -> float:
    try:
        return max(0.0, _decode_made(metadata or b"{}").timings_ms.generate / 1000)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
        return 0.0
