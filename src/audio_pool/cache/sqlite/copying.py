"""A database copied while others write to it.

Owns: the copy, as the database is at one moment.
Must not know: what the copy is for.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from audio_pool.cache.sqlite.migrations import SCHEMA_VERSION
from audio_pool.errors import StorageError

__all__ = ["SCHEMA_VERSION", "copy_database"]


def copy_database(source: Path, to: Path) -> None:
    """Copy a database into a file of its own, which needs no other. Raises StorageError."""
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as live,
            contextlib.closing(sqlite3.connect(to, isolation_level=None)) as copy,
        ):
            live.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE").fetchall()
    except sqlite3.Error as exc:
        raise StorageError(f"copying {source}: {exc}") from exc
