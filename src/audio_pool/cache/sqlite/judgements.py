"""Judgements in SQLite.

Owns: the table ``judgements``. What is judged of one entry goes with it.
Must not know: what a judgement does to a look-up.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import Any

from audio_pool.cache.entry import text_digest
from audio_pool.cache.judgements import Given, Judgement
from audio_pool.cache.sqlite.database import Database, transaction
from audio_pool.errors import NotFound

__all__ = ["SqliteJudgements", "file_judgement"]

_MOST = 100_000
"""Kept; the oldest go. Whoever may ask for sounds may judge them, and must not fill the disk by it."""
_COLUMNS = "seq, namespace, query, prompt, verdict, source, entry_id, judged_at FROM judgements"


class SqliteJudgements:
    """See ``judgements.Judgements``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def give(self, given: Iterable[Given]) -> None:
        chosen = list(given)
        with self._database.writing("noting a judgement") as db, transaction(db):
            for one in chosen:
                if one.entry_id is not None and not db.execute(
                    "SELECT 1 FROM entries WHERE id = ?", (one.entry_id,)
                ).fetchone():
                    raise NotFound(f"no entry with id {one.entry_id}; nothing was noted")
                file_judgement(db, one, time.time())
            last = db.execute("SELECT coalesce(max(seq), 0) FROM judgements").fetchone()[0]
            db.execute("DELETE FROM judgements WHERE seq <= ?", (last - _MOST,))

    def since(self, seq: int, limit: int = -1) -> list[Judgement]:
        sql = f"SELECT {_COLUMNS} WHERE seq > ? ORDER BY seq LIMIT ?"
        return [_judgement(row) for row in self._database.query(sql, (seq, limit))]

    def about(self, namespace: str, prompt: str, entry_id: int) -> list[Judgement]:
        key = text_digest(namespace, prompt)
        which = "entry_id = ? OR entry_id IS NULL AND (low_key = ? OR high_key = ?)"
        sql = f"SELECT {_COLUMNS} WHERE {which} ORDER BY seq DESC"
        return [_judgement(row) for row in self._database.query(sql, (entry_id, key, key))]

    def newest(self, limit: int) -> list[Judgement]:
        sql = f"SELECT {_COLUMNS} ORDER BY seq DESC LIMIT ?"
        return [_judgement(row) for row in self._database.query(sql, (limit,))]


def file_judgement(db: sqlite3.Connection, one: Given, judged_at: float) -> None:
    """Write a judgement in the place of its like, inside a transaction."""
    query, prompt = (text_digest(one.namespace, text) for text in (one.query, one.prompt))
    # a pair is one pair from either side: it is filed under its keys in order
    low, high = (query, prompt) if one.entry_id is not None else sorted((query, prompt))
    db.execute(
        "INSERT OR REPLACE INTO judgements (namespace, query, prompt, low_key, high_key, entry_id,"
        " verdict, source, judged_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (one.namespace, one.query, one.prompt, low, high, one.entry_id, one.verdict, one.source, judged_at),
    )


def _judgement(row: tuple[Any, ...]) -> Judgement:  # Any: what SQLite stores
    seq, namespace, query, prompt, verdict, source, entry_id, judged_at = row
    return Judgement(seq, Given(namespace, query, prompt, verdict, source, entry_id), judged_at)
