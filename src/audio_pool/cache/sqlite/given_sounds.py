"""Kept sounds that were made of a given one: their settings filled in again.

Before this, settings did not tell them from sounds that were made of words alone, and they answered plain requests.

Owns: ``tell_apart``: finding them by their recipes, filing them under today's settings, letting every index know.
Must not know: what the settings of a sound are (settings.py).
"""

from __future__ import annotations

import logging
import sqlite3
import time

from audio_pool.cache.entry import read_stored
from audio_pool.cache.sqlite.database import transaction
from audio_pool.cache.sqlite.rows import made_columns
from audio_pool.results import FinishedSound

__all__ = ["tell_apart"]

_log = logging.getLogger(__name__)

_LOOKED_AT_ONCE = 20_000
"""Recipes that one query looks through."""
_FILED_AT_ONCE = 1000
_TELL_EVERY_S = 5.0
_GIVEN = (
    # words cannot say so: their quotes are escaped
    "SELECT entry_id, recipe, metadata FROM provenance WHERE entry_id > ? AND entry_id <= ?"
    """ AND instr(CAST(recipe AS BLOB), CAST('"init_audio_sha256":null' AS BLOB)) = 0"""
)


def tell_apart(db: sqlite3.Connection) -> int:
    """File every sound that was made of a given one under today's settings; return how many they were.

    In small transactions, and the same again after a kill. To an index such a sound goes and comes back.
    """
    (last,) = db.execute("SELECT coalesce(max(entry_id), 0) FROM provenance").fetchone()
    filed, told = 0, time.monotonic()
    for start in range(0, last, _LOOKED_AT_ONCE):
        rows = db.execute(_GIVEN, (start, start + _LOOKED_AT_ONCE)).fetchall()
        for at in range(0, len(rows), _FILED_AT_ONCE):
            with transaction(db):
                filed += sum(_file(db, *row) for row in rows[at : at + _FILED_AT_ONCE])
        if time.monotonic() - told > _TELL_EVERY_S:
            told = time.monotonic()
            _log.info("sounds made of given ones are told apart: looked at %d of %d", start + _LOOKED_AT_ONCE, last)
    return filed


def _file(db: sqlite3.Connection, entry_id: int, recipe: bytes, metadata: bytes) -> bool:
    stored = read_stored(recipe, metadata)
    if stored is None or stored[0].init_audio_sha256 is None:
        return False
    values = made_columns(FinishedSound(path="", recipe=stored[0], metadata=stored[1], accepted=True))
    assigned = ", ".join(f"{column} = :{column}" for column in values)
    found = db.execute(
        f"UPDATE entries SET {assigned} WHERE id = :entry_id AND extras <> :extras", {**values, "entry_id": entry_id}
    )
    if found.rowcount:
        changes = [(entry_id, 1), (entry_id, 0)]
        db.executemany("INSERT INTO changes (entry_id, removed) VALUES (?, ?)", changes)
    return bool(found.rowcount)
