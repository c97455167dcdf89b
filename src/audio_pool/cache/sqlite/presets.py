"""Presets in SQLite.

Owns: the table ``presets``.
Must not know: who sets presets, what they do.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import structs

from audio_pool.cache.presets import Expected
from audio_pool.cache.sqlite.database import Database, transaction
from audio_pool.errors import Conflict, InvalidRequest
from audio_pool.presets import MAX_PRESETS, Preset, PresetMetadata, PresetType

__all__ = ["TABLES", "SqlitePresets", "preset_of"]

TABLES = """
CREATE TABLE presets (
    id       TEXT PRIMARY KEY,
    type     TEXT NOT NULL,
    priority INTEGER NOT NULL,
    set_at   REAL NOT NULL,
    engines  TEXT NOT NULL,            -- a JSON list; [] all
    content  TEXT NOT NULL             -- JSON
) WITHOUT ROWID;
"""
_COLUMNS = "id, type, priority, set_at, engines, content"
_LIKENESSES = 300


class SqlitePresets:
    """See ``presets.KeptPresets``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, ids: Sequence[str]) -> dict[str, Preset]:
        sql = f"SELECT {_COLUMNS} FROM presets WHERE id IN (SELECT value FROM json_each(?))"
        rows = self._database.query(sql, (msgspec.json.encode(ids).decode(),))
        return {row[0]: preset_of(row) for row in rows}

    def page(
        self, *, type: PresetType | None, suiting: Sequence[str], after: str, limit: int
    ) -> list[Preset]:
        sql, values = f"SELECT {_COLUMNS} FROM presets WHERE id > ?", [after]
        if type is not None:
            sql, values = f"{sql} AND type = ?", [*values, type]
        if suiting:
            sql += (
                " AND (engines = '[]' OR EXISTS (SELECT 1 FROM json_each(engines) AS own"
                " WHERE own.value IN (SELECT value FROM json_each(?))))"
            )
            values.append(msgspec.json.encode(suiting).decode())
        rows = self._database.bulk(f"{sql} ORDER BY id LIMIT {int(limit)}", values)
        return [preset_of(row) for row in rows]

    def like(self, name: str) -> list[str]:
        sql = "SELECT id FROM presets WHERE substr(id, 1, 1) = ? AND length(id) BETWEEN ? AND ? LIMIT ?"
        rows = self._database.query(sql, (name[:1], len(name) - 3, len(name) + 3, _LIKENESSES))
        return [row[0] for row in rows]

    def set(self, presets: Sequence[Preset], expected: Expected | None = None) -> tuple[Preset, ...]:
        now = time.time()
        stamped = tuple(
            structs.replace(one, metadata=structs.replace(one.metadata, source="user", timestamp=now))
            for one in presets
        )
        with self._database.writing("keeping presets") as db, transaction(db):
            for one in stamped:
                _hold(db, one.id, expected)
                _write(db, one, "REPLACE")
            count = db.execute("SELECT count(*) FROM presets").fetchone()[0]
            if count > MAX_PRESETS:
                raise InvalidRequest(f"presets: there would be {count:,}, allowed are {MAX_PRESETS:,}; nothing was set")
        return stamped

    def restore(self, presets: Sequence[Preset]) -> None:
        with self._database.writing("restoring presets") as db, transaction(db):
            for one in presets[:MAX_PRESETS]:
                _write(db, one, "IGNORE")

    def remove(self, preset_id: str, expected: Expected | None = None) -> bool:
        with self._database.writing("removing a preset") as db, transaction(db):
            _hold(db, preset_id, expected)
            return db.execute("DELETE FROM presets WHERE id = ?", (preset_id,)).rowcount > 0


def _write(db: sqlite3.Connection, preset: Preset, otherwise: str) -> None:
    """Write a preset, inside a transaction; ``otherwise`` is what SQLite does where its id is kept."""
    values = (
        preset.id,
        preset.type,
        preset.metadata.priority,
        preset.metadata.timestamp,
        msgspec.json.encode(preset.engines).decode(),
        msgspec.json.encode(preset.content).decode(),
    )
    db.execute(f"INSERT OR {otherwise} INTO presets ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", values)


def _hold(db: sqlite3.Connection, preset_id: str, expected: Expected | None) -> None:
    """Raise Conflict where a preset does not say what it was expected to, inside a transaction."""
    if expected is None:
        return
    row = db.execute(f"SELECT {_COLUMNS} FROM presets WHERE id = ?", (preset_id,)).fetchone()
    said = "" if row is None else preset_of(row).revision
    if said != expected.revision and not (row is None and expected.or_none):
        raise Conflict(
            f"preset {preset_id!r}: {'is no more' if row is None else 'says something else now'}; nothing was changed",
            hint="get it again, and decide by what it says",
        )


def preset_of(row: tuple[Any, ...]) -> Preset:  # opaque: as SQLite gives it
    """Return the preset of a row."""
    name, type_, priority, set_at, engines, content = row
    return Preset(
        id=name,
        type=type_,
        content=msgspec.json.decode(content),
        engines=tuple(msgspec.json.decode(engines)),
        metadata=PresetMetadata(source="user", priority=priority, timestamp=set_at),
    )
