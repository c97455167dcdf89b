"""Measurements of encoders in SQLite.

Owns: the table ``calibrations``.
Must not know: how an encoder is measured, what a threshold does.
"""

from __future__ import annotations

import contextlib
import time

import msgspec

from audio_pool.cache.calibration import Measured
from audio_pool.cache.sqlite.database import Database, transaction

__all__ = ["SqliteCalibrations"]


class SqliteCalibrations:
    """See ``calibrations.Calibrations``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def at_070(self, space: str) -> float | None:
        found = self._database.query("SELECT at_070 FROM calibrations WHERE space = ?", (space,))
        return float(found[0][0]) if found and isinstance(found[0][0], float) else None

    def all(self) -> list[Measured]:
        found = []
        for (report,) in self._database.query("SELECT report FROM calibrations ORDER BY space"):
            with contextlib.suppress(msgspec.DecodeError):  # of a later version: its threshold is used all the same
                found.append(msgspec.json.decode(report, type=Measured))
        return found

    def keep(self, measured: Measured) -> None:
        report = msgspec.json.encode(msgspec.structs.replace(measured, curve=()))
        row = (measured.space, measured.at_070, report, time.time())
        with self._database.writing("keeping a calibration") as db, transaction(db):
            db.execute("INSERT OR REPLACE INTO calibrations VALUES (?, ?, ?, ?)", row)

    def forget(self, space: str) -> bool:
        with self._database.writing("forgetting a calibration") as db, transaction(db):
            return db.execute("DELETE FROM calibrations WHERE space = ?", (space,)).rowcount > 0
