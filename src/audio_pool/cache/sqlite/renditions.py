"""Other formats, rates and levels of kept sounds, made once and kept beside their master.

Owns: finding and keeping a rendition.
Must not know: how one is made, what counts as a hit.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from audio_pool.cache.sqlite.store import Store, transaction
from audio_pool.errors import StorageError
from audio_pool.types import Rendition

__all__ = ["Kept", "all_renditions", "drop_renditions", "find_rendition", "put_rendition"]


class Kept(NamedTuple):
    entry_id: int
    spec: str
    """The Rendition as JSON."""
    file: str
    """Relative to the cache directory."""
    size_bytes: int


def _spec(rendition: Rendition) -> str:
    return msgspec.json.encode(rendition, order="deterministic").decode()


def all_renditions(store: Store) -> list[Kept]:
    """Every rendition there is."""
    return [Kept(*row) for row in store.query("SELECT entry_id, spec, file, size_bytes FROM renditions")]


def find_rendition(store: Store, entry_id: int, rendition: Rendition) -> str | None:
    """The path of the entry in another format, where it has been made and its file is there."""
    sql = "SELECT file FROM renditions WHERE entry_id = ? AND spec = ?"
    found = store.query(sql, (entry_id, _spec(rendition)))
    if not found:
        return None
    path = f"{store.folder.root}/{found[0][0]}"
    return path if os.path.isfile(path) else None


def put_rendition(store: Store, entry_id: int, rendition: Rendition, source: Path | str) -> str:
    """Moves a file from ``incoming`` beside its entry; returns its path. An older one gives way.

    Raises:
        StorageError: nothing was kept; also where the entry has been removed meanwhile.
    """
    key = secrets.token_hex(16)
    file = f"renditions/{key[:2]}/{key}.{rendition.format}"
    at = (entry_id, _spec(rendition))
    with store.writing("keeping a rendition") as db:
        size = os.stat(source).st_size
        mark = store.folder.place(Path(source), file, durably=True)
        try:
            with transaction(db):
                if not db.execute("SELECT 1 FROM entries WHERE id = ?", (entry_id,)).fetchone():
                    raise StorageError(f"keeping a rendition: entry {entry_id} has been removed")
                _forget(db, at)
                db.execute("INSERT INTO renditions VALUES (?, ?, ?, ?)", (*at, file, size))
        except BaseException:
            store.folder.withdraw(mark, file, Path(source))
            raise
        mark.unlink(missing_ok=True)
        store.unlink_doomed(db)
    return str(store.folder.root / file)


def drop_renditions(store: Store, which: Iterable[tuple[int, str]]) -> None:
    """Removes renditions by (entry id, spec), and their files."""
    with store.writing("removing renditions") as db:
        with transaction(db):
            for at in which:
                _forget(db, at)
        store.unlink_doomed(db)


def _forget(db: sqlite3.Connection, at: tuple[int, str]) -> None:
    here = "FROM renditions WHERE entry_id = ? AND spec = ?"
    db.execute(f"INSERT OR IGNORE INTO doomed SELECT file {here}", at)
    db.execute(f"DELETE {here}", at)
