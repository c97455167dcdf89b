"""Figures about the whole that are kept while rows come and go, so that asking for them costs no scan.

Owns: the tables of sums, the triggers that keep them, and counting them afresh.
Must not know: what the figures are shown or decided by.

Triggers and not code: whatever process or tool writes a row, also one of an earlier version that has the
database open, keeps them right in the same transaction. Seconds and scores are summed as whole millionths: sums of
floats drift when what was added is taken away again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from audio_pool.cache.checks import VectorSize
from audio_pool.cache.inventory import Share, Totals
from audio_pool.cache.sqlite.database import Database, transaction
from audio_pool.cache.sqlite.figures import COUNTED as SPREAD

__all__ = ["INDEXES", "TABLES", "SqliteSums", "recount"]

# What asking by file or age, and the first look at every opening, must not scan for.
INDEXES = """
CREATE INDEX IF NOT EXISTS entries_file ON entries (file);
CREATE INDEX IF NOT EXISTS entries_origin ON entries (origin) WHERE origin <> '';
CREATE INDEX IF NOT EXISTS entries_created ON entries (created_at);
CREATE INDEX IF NOT EXISTS entries_unfilled ON entries (id) WHERE implementation = '';
CREATE INDEX IF NOT EXISTS renditions_file ON renditions (file);
"""

_ADDED = """
    INSERT INTO entry_sums VALUES (
        NEW.namespace, NEW.engine, 1, NEW.size_bytes,
        CAST(round(1e6 * NEW.duration_s) AS INTEGER), NEW.clap_similarity IS NOT NULL,
        coalesce(CAST(round(1e6 * NEW.clap_similarity) AS INTEGER), 0), 0, 0
    ) ON CONFLICT DO UPDATE SET
        entries = entries + 1, size_bytes = size_bytes + excluded.size_bytes,
        duration_us = duration_us + excluded.duration_us, judged = judged + excluded.judged,
        clap_millionths = clap_millionths + excluded.clap_millionths;
    INSERT INTO folder_sums VALUES (substr(NEW.file, 1, 8), 1) ON CONFLICT DO UPDATE SET entries = entries + 1;
    INSERT INTO prompt_sums SELECT NEW.namespace, 1 WHERE NOT EXISTS (
        SELECT 1 FROM entries WHERE text_key = NEW.text_key AND +namespace = NEW.namespace AND id <> NEW.id
    ) ON CONFLICT DO UPDATE SET prompts = prompts + 1;
"""
_TAKEN_AWAY = """
    UPDATE entry_sums SET
        entries = entries - 1, size_bytes = size_bytes - OLD.size_bytes,
        duration_us = duration_us - CAST(round(1e6 * OLD.duration_s) AS INTEGER),
        judged = judged - (OLD.clap_similarity IS NOT NULL),
        clap_millionths = clap_millionths - coalesce(CAST(round(1e6 * OLD.clap_similarity) AS INTEGER), 0)
    WHERE namespace = OLD.namespace AND engine = OLD.engine;
    UPDATE folder_sums SET entries = entries - 1 WHERE folder = substr(OLD.file, 1, 8);
    UPDATE prompt_sums SET prompts = prompts - 1 WHERE namespace = OLD.namespace AND NOT EXISTS (
        SELECT 1 FROM entries WHERE text_key = OLD.text_key AND +namespace = OLD.namespace AND id <> OLD.id
    );
"""
_SUMMED = "namespace, engine, text_key, size_bytes, duration_s, clap_similarity, file"

TABLES = f"""
CREATE TABLE entry_sums (
    namespace             TEXT NOT NULL,
    engine                TEXT NOT NULL,
    entries               INTEGER NOT NULL,
    size_bytes            INTEGER NOT NULL,
    duration_us           INTEGER NOT NULL,
    judged                INTEGER NOT NULL,  -- entries with a CLAP similarity
    clap_millionths       INTEGER NOT NULL,
    renditions            INTEGER NOT NULL,
    renditions_size_bytes INTEGER NOT NULL,
    PRIMARY KEY (namespace, engine)
) WITHOUT ROWID;
CREATE TABLE prompt_sums (
    namespace TEXT PRIMARY KEY,
    prompts   INTEGER NOT NULL               -- different texts
) WITHOUT ROWID;
CREATE TABLE folder_sums (
    folder  TEXT PRIMARY KEY,                -- "audio/ab"
    entries INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE vector_sums (
    encoder    TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    vectors    INTEGER NOT NULL,
    PRIMARY KEY (encoder, size_bytes)
) WITHOUT ROWID;

CREATE TRIGGER sum_entry_added AFTER INSERT ON entries BEGIN {_ADDED} END;
CREATE TRIGGER sum_entry_removed AFTER DELETE ON entries BEGIN {_TAKEN_AWAY} END;
CREATE TRIGGER sum_entry_changed AFTER UPDATE OF {_SUMMED} ON entries BEGIN {_TAKEN_AWAY} {_ADDED}
    UPDATE entry_sums SET (renditions, renditions_size_bytes) = (renditions - r.count, renditions_size_bytes - r.size)
        FROM (SELECT count(*) AS count, coalesce(sum(size_bytes), 0) AS size FROM renditions WHERE entry_id = OLD.id) r
        WHERE namespace = OLD.namespace AND engine = OLD.engine;
    UPDATE entry_sums SET (renditions, renditions_size_bytes) = (renditions + r.count, renditions_size_bytes + r.size)
        FROM (SELECT count(*) AS count, coalesce(sum(size_bytes), 0) AS size FROM renditions WHERE entry_id = NEW.id) r
        WHERE namespace = NEW.namespace AND engine = NEW.engine;
END;
-- The row goes before its renditions do, and then nobody knows any more whose they were.
CREATE TRIGGER sum_entry_leaves BEFORE DELETE ON entries BEGIN
    UPDATE entry_sums SET (renditions, renditions_size_bytes) = (renditions - r.count, renditions_size_bytes - r.size)
        FROM (SELECT count(*) AS count, coalesce(sum(size_bytes), 0) AS size FROM renditions WHERE entry_id = OLD.id) r
        WHERE namespace = OLD.namespace AND engine = OLD.engine;
END;
CREATE TRIGGER sum_rendition_added AFTER INSERT ON renditions BEGIN
    UPDATE entry_sums
        SET renditions = renditions + 1, renditions_size_bytes = renditions_size_bytes + NEW.size_bytes
        WHERE (namespace, engine) = (SELECT namespace, engine FROM entries WHERE id = NEW.entry_id);
END;
CREATE TRIGGER sum_rendition_removed AFTER DELETE ON renditions BEGIN
    UPDATE entry_sums
        SET renditions = renditions - 1, renditions_size_bytes = renditions_size_bytes - OLD.size_bytes
        WHERE (namespace, engine) = (SELECT namespace, engine FROM entries WHERE id = OLD.entry_id);
END;
CREATE TRIGGER sum_vector_added AFTER INSERT ON vectors BEGIN
    INSERT INTO vector_sums VALUES (NEW.encoder, length(NEW.data), 1)
        ON CONFLICT DO UPDATE SET vectors = vectors + 1;
END;
CREATE TRIGGER sum_vector_removed AFTER DELETE ON vectors BEGIN
    UPDATE vector_sums SET vectors = vectors - 1 WHERE encoder = OLD.encoder AND size_bytes = length(OLD.data);
END;
CREATE TRIGGER sum_vector_changed AFTER UPDATE OF encoder, data ON vectors BEGIN
    UPDATE vector_sums SET vectors = vectors - 1 WHERE encoder = OLD.encoder AND size_bytes = length(OLD.data);
    INSERT INTO vector_sums VALUES (NEW.encoder, length(NEW.data), 1)
        ON CONFLICT DO UPDATE SET vectors = vectors + 1;
END;
"""

_COUNTED = {
    "entry_sums": (
        "SELECT e.namespace, e.engine, count(*), sum(e.size_bytes),"
        " sum(CAST(round(1e6 * e.duration_s) AS INTEGER)), count(e.clap_similarity),"
        " coalesce(sum(CAST(round(1e6 * e.clap_similarity) AS INTEGER)), 0), sum(coalesce(r.count, 0)),"
        " sum(coalesce(r.size, 0)) FROM entries e LEFT JOIN ("
        "SELECT entry_id, count(*) AS count, sum(size_bytes) AS size FROM renditions GROUP BY entry_id"
        ") r ON r.entry_id = e.id GROUP BY 1, 2"
    ),
    "prompt_sums": "SELECT namespace, count(DISTINCT text_key) FROM entries GROUP BY namespace",
    "folder_sums": "SELECT substr(file, 1, 8), count(*) FROM entries GROUP BY 1",
    "vector_sums": "SELECT encoder, length(data), count(*) FROM vectors GROUP BY 1, 2",
    "spread_sums": SPREAD,
}
_COUNT_OF = {"entry_sums": 2, "prompt_sums": 1, "folder_sums": 1, "vector_sums": 2, "spread_sums": 2}
"""The column that is 0 where nothing is left of what a row counts."""


def recount(db: sqlite3.Connection, tables: Iterable[str] = ()) -> None:
    """Fill the sums from the rows, inside a transaction; all of them, or those of some tables."""
    # while an old cache is brought up to date, the tables of later steps are not there yet
    there = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table in (name for name in tables or _COUNTED if name in there):
        counted = _COUNTED[table]
        db.execute(f"DELETE FROM {table}")
        db.execute(f"INSERT INTO {table} {counted}")


class SqliteSums:
    """The figures as they are now; each question costs a few rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def totals(self) -> Totals:
        """Return figures about the whole cache."""
        sql = (
            "SELECT sum(entries), sum(size_bytes), sum(duration_us), sum(judged), sum(clap_millionths),"
            " sum(renditions), sum(renditions_size_bytes), (SELECT sum(prompts) FROM prompt_sums),"
            " (SELECT min(created_at) FROM entries), (SELECT max(created_at) FROM entries) FROM entry_sums"
        )
        *sums, oldest, newest = self._database.query(sql)[0]
        entries, size, duration_us, judged, clap, renditions, renditions_size, prompts = (one or 0 for one in sums)
        return Totals(
            entries=entries,
            size_bytes=size,
            oldest=oldest,
            newest=newest,
            average_duration_s=duration_us / 1e6 / entries if entries else None,
            prompts=prompts,
            average_clap_similarity=clap / 1e6 / judged if judged else None,
            duration_s=duration_us / 1e6,
            renditions=renditions,
            renditions_size_bytes=renditions_size,
        )

    def shares(self) -> list[Share]:
        """Return what each engine has in each namespace; what is empty is left out."""
        sql = (
            "SELECT namespace, engine, entries, size_bytes, renditions_size_bytes, duration_us / 1e6 FROM entry_sums"
            " WHERE entries > 0 ORDER BY 1, 2"
        )
        return [Share._make(row) for row in self._database.query(sql)]

    def engines(self) -> dict[str, int]:
        """Return the number of entries by engine."""
        sql = "SELECT engine, sum(entries) FROM entry_sums WHERE entries > 0 GROUP BY engine"
        return dict(self._database.query(sql))

    def vector_sizes(self) -> list[VectorSize]:
        """Return the lengths that there are in each space, and how many vectors of each."""
        sql = "SELECT encoder, size_bytes, vectors FROM vector_sums WHERE vectors > 0 ORDER BY 1, 2"
        return [VectorSize._make(row) for row in self._database.query(sql)]

    def vectors(self) -> dict[str, int]:
        """Return the number of vectors by space."""
        counts: dict[str, int] = {}
        for one in self.vector_sizes():
            counts[one.space] = counts.get(one.space, 0) + one.vectors
        return counts

    def wrong(self) -> list[str]:
        """Return the tables that do not say what counting says; a look at every row."""
        return [table for table, counted in _COUNTED.items() if not self._agrees(table, counted)]

    def _agrees(self, table: str, counted: str) -> bool:
        kept = f"SELECT * FROM {table}"
        sql = f"SELECT * FROM ({kept} EXCEPT {counted})", f"SELECT * FROM ({counted} EXCEPT {kept})"
        surplus, missing = self._database.query(sql[0]), self._database.query(sql[1])
        # a sum that has come down to nothing stays as a row of zeros
        return not missing and all(row[_COUNT_OF[table]] == 0 for row in surplus)

    def recount(self) -> None:
        """Fill the sums from the rows."""
        with self._database.writing("counting the cache") as db, transaction(db):
            recount(db)
