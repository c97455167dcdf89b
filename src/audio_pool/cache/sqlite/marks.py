"""Ratings, favourites and tags in SQLite.

Owns: the table ``marks``, and changes of ``tags``. A row goes with its entry.
Must not know: who marks, what is found by it.

A table of its own beside ``entries``: it is written whenever somebody clicks, and a page of it holds the marks of
hundreds of sounds. Only entries that are marked have a row.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

from audio_pool.cache.marks import Marked
from audio_pool.cache.sqlite.database import ID_LIST, Database, id_list, transaction
from audio_pool.errors import AudioPoolError, CallerError, InvalidRequest, NotFound
from audio_pool.library import SoundMarks
from audio_pool.types import MAX_LABELS

__all__ = ["TABLES", "SqliteMarks", "carry_marks", "marks_of"]

TABLES = """
CREATE TABLE marks (
    entry_id  INTEGER PRIMARY KEY REFERENCES entries (id) ON DELETE CASCADE,
    rating    INTEGER,                 -- 1 to 5; NULL: none
    favourite INTEGER NOT NULL,
    retagged  INTEGER NOT NULL,        -- 1: its tags are not those of its metadata any more
    marked_at REAL NOT NULL
);
CREATE INDEX marks_rating ON marks (rating) WHERE rating IS NOT NULL;
"""
_WRITE = (
    "INSERT INTO marks VALUES (:entry_id, :rating, :favourite, :retagged, :at) ON CONFLICT DO UPDATE SET"
    " rating = :rating, favourite = :favourite, retagged = :retagged, marked_at = :at"
)

_PIN, _UNPIN = "INSERT OR IGNORE INTO pins VALUES (?)", "DELETE FROM pins WHERE entry_id = ?"


class SqliteMarks:
    """See ``marks.Marks``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mark(self, entry_id: int, change: SoundMarks) -> None:
        with self._database.writing("marking a sound") as db, transaction(db):
            _mark(db, entry_id, change)

    def mark_many(self, ids: Iterable[int], change: SoundMarks) -> dict[int, AudioPoolError]:
        failed: dict[int, AudioPoolError] = {}
        with self._database.writing("marking sounds") as db, transaction(db):
            for entry_id in ids:
                try:
                    _mark(db, entry_id, change)
                except CallerError as exc:  # raised before anything of this entry is written
                    failed[entry_id] = exc
        return failed

    def of(self, ids: Iterable[int]) -> dict[int, Marked]:
        wanted = id_list(ids)
        sql = f"SELECT entry_id, rating, favourite, retagged FROM marks WHERE entry_id IN {ID_LIST}"
        found = {row[0]: row[1:] for row in self._database.query(sql, (wanted,))}
        tags: dict[int, list[str]] = {}
        retagged = id_list(entry_id for entry_id, row in found.items() if row[2])
        sql = f"SELECT entry_id, tag FROM tags WHERE entry_id IN {ID_LIST} ORDER BY tag"
        for entry_id, tag in self._database.query(sql, (retagged,)):
            tags.setdefault(entry_id, []).append(tag)
        return {
            entry_id: Marked(rating, bool(favourite), tuple(tags.get(entry_id, ())) if is_retagged else None)
            for entry_id, (rating, favourite, is_retagged) in found.items()
        }


def _mark(db: sqlite3.Connection, entry_id: int, change: SoundMarks) -> None:
    """Change the marks of one entry, inside a transaction. Raises NotFound, InvalidRequest: nothing was written."""
    if not db.execute("SELECT 1 FROM entries WHERE id = ?", (entry_id,)).fetchone():
        raise NotFound(f"no entry with id {entry_id}; nothing was marked")
    before = marks_of(db, entry_id)
    tags = _tags_after(db, entry_id, change)
    rating = before.rating if change.rating is None else change.rating or None
    favourite = before.favourite if change.favourite is None else change.favourite
    after = Marked(rating, favourite, before.tags if tags is None else tags)
    if after != before:
        carry_marks(db, entry_id, after)
    if change.pinned is not None:
        db.execute(_PIN if change.pinned else _UNPIN, (entry_id,))


def marks_of(db: sqlite3.Connection, entry_id: int) -> Marked:
    """Return the marks of one entry, inside a transaction."""
    row = db.execute("SELECT rating, favourite, retagged FROM marks WHERE entry_id = ?", (entry_id,)).fetchone()
    if row is None:
        return Marked()
    return Marked(row[0], bool(row[1]), _tags(db, entry_id) if row[2] else None)


def carry_marks(db: sqlite3.Connection, entry_id: int, marked: Marked) -> None:
    """Write the marks of an entry, inside a transaction."""
    values = {
        "entry_id": entry_id, "rating": marked.rating, "favourite": marked.favourite,
        "retagged": marked.tags is not None, "at": time.time(),
    }  # fmt: skip
    db.execute(_WRITE, values)
    if marked.tags is not None:
        db.execute("DELETE FROM tags WHERE entry_id = ?", (entry_id,))
        db.executemany("INSERT INTO tags VALUES (?, ?)", [(entry_id, tag) for tag in dict.fromkeys(marked.tags)])


def _tags_after(db: sqlite3.Connection, entry_id: int, change: SoundMarks) -> tuple[str, ...] | None:
    """Return the tags that an entry has afterwards; None: nothing changes."""
    if change.tags is None and not change.add_tags and not change.remove_tags:
        return None
    present = _tags(db, entry_id)
    left = present if change.tags is None else change.tags
    after = tuple(sorted({*left, *change.add_tags} - set(change.remove_tags)))
    if len(after) > MAX_LABELS:
        raise InvalidRequest(f"tags: entry {entry_id} would have {len(after)}, allowed are {MAX_LABELS}")
    return None if after == present else after


def _tags(db: sqlite3.Connection, entry_id: int) -> tuple[str, ...]:
    found = db.execute("SELECT tag FROM tags WHERE entry_id = ? ORDER BY tag", (entry_id,))
    return tuple(tag for (tag,) in found)
