"""How entries are spread, and how the cache is used, in SQLite.

Owns: the table ``spread_sums`` and its triggers; the questions about use that are put to several tables.
Must not know: what the figures are shown in.

Triggers and not code, as with the sums (sums.py).
"""

from __future__ import annotations

from audio_pool.cache.figures import CLAP_STEP, QUALITY_STEP, AnswersTold, Kept, UsedPrompt
from audio_pool.cache.sqlite.database import Database
from audio_pool.cache.uses import Missed

__all__ = ["COUNTED", "TABLES", "SqliteFigures"]

_LAST_QUALITY = 100 // QUALITY_STEP - 1
_LAST_CLAP = round(2 / CLAP_STEP) - 1
_BINS = {
    "quality": f"max(0, min({_LAST_QUALITY}, CAST({{row}}.quality / {QUALITY_STEP} AS INTEGER)))",
    # a millionth, because 0.35 is a little less than seven steps
    "similarity": f"max(0, min({_LAST_CLAP}, CAST(({{row}}.clap_similarity + 1.000001) / {CLAP_STEP} AS INTEGER)))",
    "day": "CAST({row}.created_at / 86400 AS INTEGER)",
}
_OF = {"quality": "quality", "similarity": "clap_similarity", "day": "created_at"}
_ADDED = "\n".join(
    f"    INSERT INTO spread_sums SELECT '{kind}', {where.format(row='NEW')}, 1, NEW.size_bytes"
    f" WHERE NEW.{_OF[kind]} IS NOT NULL ON CONFLICT DO UPDATE SET entries = entries + 1,"
    " size_bytes = size_bytes + excluded.size_bytes;"
    for kind, where in _BINS.items()
)
_TAKEN_AWAY = "\n".join(
    "    UPDATE spread_sums SET entries = entries - 1, size_bytes = size_bytes - OLD.size_bytes"
    f" WHERE kind = '{kind}' AND bin = {where.format(row='OLD')};"
    for kind, where in _BINS.items()
)
TABLES = f"""
CREATE TABLE spread_sums (
    kind       TEXT NOT NULL,
    bin        INTEGER NOT NULL,
    entries    INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (kind, bin)
) WITHOUT ROWID;
CREATE INDEX uses_hits ON uses (hits) WHERE hits > 0;

CREATE TRIGGER spread_added AFTER INSERT ON entries BEGIN
{_ADDED}
END;
CREATE TRIGGER spread_removed AFTER DELETE ON entries BEGIN
{_TAKEN_AWAY}
END;
CREATE TRIGGER spread_changed AFTER UPDATE OF quality, clap_similarity, created_at, size_bytes ON entries BEGIN
{_TAKEN_AWAY}
{_ADDED}
END;
"""
_HITS_LOOKED_AT = 20
"""Entries that are looked at for each of the prompts asked for: a prompt may have several variants."""
_MISSED_LOOKED_AT = 20


_EACH = " UNION ALL ".join(
    f"SELECT '{kind}', {where.format(row='entries')}, count(*), sum(size_bytes)"
    f" FROM entries WHERE {_OF[kind]} IS NOT NULL GROUP BY 2"
    for kind, where in _BINS.items()
)
COUNTED = f"SELECT * FROM ({_EACH})"
"""What ``spread_sums`` is to say, counted from the rows."""


class SqliteFigures:
    """See ``figures.Figures``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def answers(self, since_hour: int, since_day: int) -> AnswersTold:
        # one statement: what is written down meanwhile counts in all of them or in none
        sql = (
            "SELECT 'ever', 0, stage, sum(count), sum(saved_s) FROM answers GROUP BY stage"
            " UNION ALL SELECT 'hour', hour, stage, count, saved_s FROM answers WHERE hour >= ?"
            " UNION ALL SELECT 'day', hour / 24 * 24, stage, sum(count), sum(saved_s) FROM answers WHERE hour >= ?"
            " GROUP BY 2, 3 ORDER BY 2, 3"
        )
        return AnswersTold.of(self._database.query(sql, (since_hour, since_day * 24)))

    def days(self) -> list[Kept]:
        sql = "SELECT bin, entries, size_bytes FROM spread_sums WHERE kind = 'day' AND entries > 0 ORDER BY bin"
        return [Kept._make(row) for row in self._database.query(sql)]

    def qualities(self) -> dict[int, int]:
        return self._bins("quality")

    def similarities(self) -> dict[int, int]:
        return self._bins("similarity")

    def _bins(self, kind: str) -> dict[int, int]:
        sql = "SELECT bin, entries FROM spread_sums WHERE kind = ? AND entries > 0"
        return dict(self._database.query(sql, (kind,)))

    def top_prompts(self, limit: int) -> list[UsedPrompt]:
        sql = (
            "SELECT namespace, prompt, sum(hits), max(last_used) FROM ("
            "SELECT e.namespace, e.prompt, e.text_key, u.hits, u.last_used"
            " FROM uses u JOIN entries e ON e.id = u.entry_id WHERE u.hits > 0 ORDER BY u.hits DESC LIMIT ?"
            ") GROUP BY text_key ORDER BY 3 DESC, 4 DESC LIMIT ?"
        )
        found = self._database.query(sql, (limit * _HITS_LOOKED_AT, limit))
        return [UsedPrompt._make(row) for row in found]

    def worth_warming(self, limit: int) -> list[Missed]:
        sql = (
            "SELECT namespace, prompt, count, last FROM (SELECT * FROM missed ORDER BY count DESC, last DESC LIMIT ?) m"
            " WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE e.text_key = m.text_key)"
            " ORDER BY count DESC, last DESC LIMIT ?"
        )
        return [Missed._make(row) for row in self._database.query(sql, (limit * _MISSED_LOOKED_AT, limit))]
