"""Pins, ratings, favourites and tags in PostgreSQL; read in the replica.

Owns: the tables ``pins`` and ``marks``. A row goes with its entry.
Must not know: who marks, what is found by it, what removes entries.
"""

from __future__ import annotations

from collections.abc import Iterable

from audio_pool.cache.entry import read_stored
from audio_pool.cache.marks import Marked
from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.postgres.feed import tell
from audio_pool.cache.postgres.migrations import Rows
from audio_pool.cache.postgres.replica import Replica
from audio_pool.cache.postgres.states import states_of
from audio_pool.cache.store import Adopted
from audio_pool.errors import AudioPoolError, CallerError, InvalidRequest, NotFound
from audio_pool.library import SoundMarks
from audio_pool.types import MAX_LABELS

__all__ = ["PostgresMarks", "PostgresPins", "write_marks"]


class PostgresPins:
    """See ``pins.Pins``."""

    def __init__(self, database: PostgresDatabase, replica: Replica) -> None:
        self._database = database
        self._replica = replica

    def pinned(self) -> set[int]:
        return self._replica.pins.pinned()

    def pin(self, ids: Iterable[int]) -> list[int]:
        wanted = sorted(set(ids))

        def work(db: Rows) -> tuple[list[int], list[Adopted]]:
            rows = db.execute("SELECT id FROM entries WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE", (wanted,))
            known = {entry_id for (entry_id,) in rows}
            missing = [str(entry_id) for entry_id in wanted if entry_id not in known]
            if missing:
                raise NotFound(f"no entry with id {', '.join(missing)}; nothing was pinned")
            made = db.execute(
                "INSERT INTO pins SELECT unnest(%s::bigint[]) ON CONFLICT DO NOTHING RETURNING entry_id", (wanted,)
            ).fetchall()
            return self._changed(db, sorted(entry_id for (entry_id,) in made))

        return self._taken_over(*self._database.write("pinning sounds", work))

    def unpin(self, ids: Iterable[int]) -> list[int]:
        wanted = sorted(set(ids))

        def work(db: Rows) -> tuple[list[int], list[Adopted]]:
            gone = db.execute("DELETE FROM pins WHERE entry_id = ANY(%s) RETURNING entry_id", (wanted,)).fetchall()
            return self._changed(db, sorted(entry_id for (entry_id,) in gone))

        return self._taken_over(*self._database.write("taking pins off", work))

    def _changed(self, db: Rows, ids: list[int]) -> tuple[list[int], list[Adopted]]:
        tell(db, self._database.schema, "entry", ids)
        return ids, states_of(db, ids)

    def _taken_over(self, ids: list[int], states: list[Adopted]) -> list[int]:
        self._replica.keep(states)
        return ids


class PostgresMarks:
    """See ``marks.Marks``."""

    def __init__(self, database: PostgresDatabase, replica: Replica) -> None:
        self._database = database
        self._replica = replica

    def of(self, ids: Iterable[int]) -> dict[int, Marked]:
        return self._replica.marks.of(ids)

    def mark(self, entry_id: int, change: SoundMarks) -> None:
        def work(db: Rows) -> list[Adopted]:
            _mark(db, entry_id, change)
            return self._told(db, [entry_id])

        self._replica.keep(self._database.write("marking a sound", work))

    def mark_many(self, ids: Iterable[int], change: SoundMarks) -> dict[int, AudioPoolError]:
        wanted = list(ids)

        def work(db: Rows) -> tuple[dict[int, AudioPoolError], list[Adopted]]:
            failed: dict[int, AudioPoolError] = {}
            for entry_id in sorted(set(wanted)):
                try:
                    _mark(db, entry_id, change)
                except CallerError as exc:  # raised before anything of this entry is written
                    failed[entry_id] = exc
            return failed, self._told(db, [entry_id for entry_id in wanted if entry_id not in failed])

        failed, states = self._database.write("marking sounds", work)
        self._replica.keep(states)
        return failed

    def _told(self, db: Rows, ids: list[int]) -> list[Adopted]:
        tell(db, self._database.schema, "entry", ids)
        return states_of(db, ids)


def _mark(db: Rows, entry_id: int, change: SoundMarks) -> None:
    """Change the marks of one entry, inside a transaction. Raises NotFound, InvalidRequest: nothing was written."""
    row = db.execute("SELECT recipe, metadata FROM entries WHERE id = %s FOR NO KEY UPDATE", (entry_id,)).fetchone()
    if row is None:
        raise NotFound(f"no entry with id {entry_id}; nothing was marked")
    marks = db.execute("SELECT rating, favourite, tags FROM marks WHERE entry_id = %s", (entry_id,)).fetchone()
    before = Marked() if marks is None else Marked(marks[0], marks[1], None if marks[2] is None else tuple(marks[2]))
    tags = _tags_after(entry_id, before, row[0], row[1], change)
    rating = before.rating if change.rating is None else change.rating or None
    favourite = before.favourite if change.favourite is None else change.favourite
    after = Marked(rating, favourite, tags)
    if after != before:
        write_marks(db, entry_id, after)
    if change.pinned:
        db.execute("INSERT INTO pins VALUES (%s) ON CONFLICT DO NOTHING", (entry_id,))
    elif change.pinned is not None:
        db.execute("DELETE FROM pins WHERE entry_id = %s", (entry_id,))


def _tags_after(
    entry_id: int, before: Marked, recipe: bytes, metadata: bytes, change: SoundMarks
) -> tuple[str, ...] | None:
    """Return the tags that are in force afterwards; None: those of the metadata."""
    if change.tags is None and not change.add_tags and not change.remove_tags:
        return before.tags
    stored = read_stored(recipe, metadata)
    own = tuple(sorted(set(stored[1].tags))) if stored is not None else ()
    present = own if before.tags is None else before.tags
    left = present if change.tags is None else change.tags
    after = tuple(sorted({*left, *change.add_tags} - set(change.remove_tags)))
    if len(after) > MAX_LABELS:
        raise InvalidRequest(f"tags: entry {entry_id} would have {len(after)}, allowed are {MAX_LABELS}")
    return before.tags if after == present else after


def write_marks(db: Rows, entry_id: int, marked: Marked) -> None:
    """Write the marks of an entry, inside a transaction."""
    tags = None if marked.tags is None else list(dict.fromkeys(marked.tags))
    db.execute(
        "INSERT INTO marks VALUES (%s, %s, %s, %s, extract(epoch FROM clock_timestamp()))"
        " ON CONFLICT (entry_id) DO UPDATE SET rating = excluded.rating, favourite = excluded.favourite,"
        " tags = excluded.tags, marked_at = excluded.marked_at",
        (entry_id, marked.rating, marked.favourite, tags),
    )
