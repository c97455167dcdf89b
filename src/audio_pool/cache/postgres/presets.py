"""Presets in PostgreSQL; read in the replica.

Owns: the table ``presets``.
Must not know: who sets presets, what they do.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import structs

from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.postgres.feed import tell
from audio_pool.cache.postgres.migrations import Rows
from audio_pool.cache.postgres.replica import PresetRow, Replica
from audio_pool.cache.presets import Expected
from audio_pool.cache.sqlite.presets import preset_of
from audio_pool.errors import Conflict, InvalidRequest
from audio_pool.presets import MAX_PRESETS, Preset

__all__ = ["PostgresPresets", "presets_of"]

_COLUMNS = "id, type, priority, set_at, engines, content"
_ONE_AT_A_TIME = "LOCK TABLE presets IN SHARE ROW EXCLUSIVE MODE"


class PostgresPresets:
    """See ``presets.KeptPresets``."""

    def __init__(self, database: PostgresDatabase, replica: Replica) -> None:
        self._database = database
        self._replica = replica
        self.of = replica.presets.of
        self.page = replica.presets.page
        self.like = replica.presets.like

    def set(self, presets: Sequence[Preset], expected: Expected | None = None) -> tuple[Preset, ...]:
        now = self._database.now()
        stamped = tuple(
            structs.replace(one, metadata=structs.replace(one.metadata, source="user", timestamp=now))
            for one in presets
        )

        def work(db: Rows) -> list[PresetRow]:
            db.execute(_ONE_AT_A_TIME)
            for one in stamped:
                _hold(db, one.id, expected)
                db.execute(
                    f"INSERT INTO presets ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET"
                    " type = excluded.type, priority = excluded.priority, set_at = excluded.set_at,"
                    " engines = excluded.engines, content = excluded.content",
                    _row(one),
                )
            (count,) = db.execute("SELECT count(*) FROM presets").fetchone() or (0,)
            if count > MAX_PRESETS:
                raise InvalidRequest(f"presets: there would be {count:,}, allowed are {MAX_PRESETS:,}; nothing was set")
            return self._told(db, [one.id for one in stamped])

        self._replica.preset(self._database.write("keeping presets", work), ())
        return stamped

    def restore(self, presets: Sequence[Preset]) -> None:
        def work(db: Rows) -> list[PresetRow]:
            db.execute(_ONE_AT_A_TIME)
            for one in presets[:MAX_PRESETS]:
                sql = f"INSERT INTO presets ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
                db.execute(sql, _row(one))
            return self._told(db, [one.id for one in presets[:MAX_PRESETS]])

        self._replica.preset(self._database.write("restoring presets", work), ())

    def remove(self, preset_id: str, expected: Expected | None = None) -> bool:
        def work(db: Rows) -> bool:
            db.execute(_ONE_AT_A_TIME)
            _hold(db, preset_id, expected)
            gone: bool = db.execute("DELETE FROM presets WHERE id = %s", (preset_id,)).rowcount > 0
            tell(db, self._database.schema, "preset", [preset_id])
            return gone

        gone = self._database.write("removing a preset", work)
        self._replica.preset((), [preset_id])
        return gone

    def _told(self, db: Rows, ids: Sequence[str]) -> list[PresetRow]:
        tell(db, self._database.schema, "preset", ids)
        return presets_of(db, ids)


def presets_of(db: Rows, ids: Sequence[str] | None = None) -> list[PresetRow]:
    """Return those of the presets that there are, as rows; all of them where None."""
    which = "" if ids is None else " WHERE id = ANY(%s)"
    rows = db.execute(f"SELECT {_COLUMNS} FROM presets{which}", () if ids is None else (list(ids),))
    return [(row[0], row[1], row[2], row[3], row[4], row[5]) for row in rows]


def _row(preset: Preset) -> PresetRow:
    return (
        preset.id,
        preset.type,
        preset.metadata.priority,
        preset.metadata.timestamp,
        msgspec.json.encode(preset.engines).decode(),
        msgspec.json.encode(preset.content).decode(),
    )


def _hold(db: Rows, preset_id: str, expected: Expected | None) -> None:
    """Raise Conflict where a preset does not say what it was expected to, inside a transaction."""
    if expected is None:
        return
    row = db.execute(f"SELECT {_COLUMNS} FROM presets WHERE id = %s", (preset_id,)).fetchone()
    said = "" if row is None else preset_of(row).revision
    if said != expected.revision and not (row is None and expected.or_none):
        raise Conflict(
            f"preset {preset_id!r}: {'is no more' if row is None else 'says something else now'}; nothing was changed",
            hint="get it again, and decide by what it says",
        )
