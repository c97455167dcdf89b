"""Kept sounds in SQLite: looking them up, keeping and removing them so that a crash loses at most one.

Owns: the order of a put and of a removal.
Must not know: what counts as a hit, the index.

Order of a put: file fsynced by its maker, mark, rename, row committed, mark removed.
Order of a removal: row deleted and its file named among those that are ``leaving`` in one transaction; after
the grace file unlinked, name forgotten. Whatever is found half-way can therefore be judged by the rows alone.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.entry import (
    Entry,
    Row,
    canonical_digest,
    read_stored,
    text_digest,
)
from audio_pool.cache.files import DiskFull, storage_errors
from audio_pool.cache.marks import Marked
from audio_pool.cache.noted import samples_of
from audio_pool.cache.settings import Filters, Settings, family_of, identity_of
from audio_pool.cache.sqlite.database import ID_LIST, Database, id_list, transaction
from audio_pool.cache.sqlite.leaving import Fate, SqliteLeaving
from audio_pool.cache.sqlite.marks import carry_marks, marks_of
from audio_pool.cache.sqlite.registry import forget, register, trim
from audio_pool.cache.sqlite.renditions import KEPT
from audio_pool.cache.sqlite.rows import FITS, ROW, bound, columns_of
from audio_pool.cache.sqlite.sources import file_source, is_there, source_of
from audio_pool.cache.sqlite.uses import begin_use, carry_uses
from audio_pool.cache.store import Adopted, Also, Removal, Vector
from audio_pool.cache.trust import fingerprint
from audio_pool.errors import StorageError
from audio_pool.results import FinishedSound
from audio_pool.types import Recipe

__all__ = ["SqliteEntries"]

_log = logging.getLogger(__name__)

_REMOVE_AT_ONCE = 200
"""Rows a removal takes per transaction: a server that wants to write waits for one at most."""
_PAGES_BACK = 2_000
"""Pages given back to the disk after each such transaction, at most: 8 MB."""
_STORED = "id, file, size_bytes, created_at, recipe, metadata FROM entries JOIN provenance ON entry_id = id"
_SAME_MAKER = (  # beside FITS: what an explicit seed is compared by, where it is known
    "(:seed IS NULL OR seed = :seed) AND (:model_revision = '' OR model_revision = :model_revision)"
    " AND (:dtype = '' OR dtype = :dtype) AND (:quantization = '' OR quantization = :quantization)"
)
_NOT_THROUGHOUT = ("sample_rate", "commercial", "inexact", "duration_s")
# the plus: as in FITS, the words are searched by, and never a whole namespace
_SAME_SETTINGS = " AND ".join(f"+{name} IS :{name}" for name in Settings._fields if name not in _NOT_THROUGHOUT)


class _Stored(NamedTuple):
    """One entry as it is stored."""

    id: int
    file: str
    size_bytes: int
    created_at: float
    recipe: bytes
    metadata: bytes


class SqliteEntries:
    """See ``store.Entries``."""

    def __init__(self, database: Database, blobs: BlobStore, leaving: SqliteLeaving) -> None:
        self._database = database
        self._blobs = blobs
        self._leaving = leaving
        self._unreadable: set[int] = set()
        """Entries that were warned of."""

    # -- looking up

    def with_text(self, prompt: str, filters: Filters) -> list[Row]:
        rows = self._fitting("text_key", text_digest(filters.namespace, prompt), filters)
        return [row for row in rows if row.prompt == prompt] if filters.verbatim else rows

    def with_meaning(self, prompt: str, filters: Filters) -> list[Row]:
        return self._fitting("canonical_key", canonical_digest(filters.namespace, prompt), filters)

    def _fitting(self, column: str, key: bytes, filters: Filters) -> list[Row]:
        sql = f"SELECT {ROW} FROM entries WHERE {column} = :key AND {FITS}"
        return self._rows(sql, {"key": key, **bound(filters)})

    def _rows(self, sql: str, values: Mapping[str, Any]) -> list[Row]:  # Any: what SQLite stores
        """Return the rows of a SELECT; one that cannot be read is left out and costs no other."""
        try:
            found = self._database.query(sql, values)
        except StorageError:
            found = []
            for (entry_id,) in self._database.query(sql.replace(ROW, "id", 1), values):
                with contextlib.suppress(StorageError):
                    found += self._database.query(f"SELECT {ROW} FROM entries WHERE id = ?", (entry_id,))
        return [row for row in map(Row._make, found) if row.is_sane]

    def with_recipe(self, recipe: Recipe, filters: Filters) -> list[Row]:
        sql = f"SELECT {ROW} FROM entries WHERE family = :key AND {FITS} AND {_SAME_MAKER}"
        values = {"seed": recipe.seed, "dtype": recipe.dtype, "quantization": recipe.quantization}
        return self._rows(sql, {"key": family_of(recipe), **values, **bound(filters)})

    def with_ids(self, ids: Sequence[int], filters: Filters) -> list[Row]:
        sql = f"SELECT {ROW} FROM entries WHERE id IN (SELECT value FROM json_each(:ids)) AND {FITS}"
        return self._rows(sql, {"ids": id_list(ids), **bound(filters)})

    def with_words(self, namespace: str, prompt: str) -> list[int]:
        sql = "SELECT id FROM entries WHERE text_key = ? OR canonical_key = ? ORDER BY id"
        keys = (text_digest(namespace, prompt), canonical_digest(namespace, prompt))
        return [found[0] for found in self._database.query(sql, keys)]

    def variants(self, prompt: str, settings: Settings, length_tolerance: float) -> list[Row]:
        sql = (
            f"SELECT {ROW} FROM entries WHERE text_key = :key AND {_SAME_SETTINGS}"
            " AND abs(duration_s - :duration_s) <= :slack"
        )
        key = text_digest(settings.namespace, prompt)
        slack = length_tolerance * settings.duration_s + 0.5 / settings.sample_rate
        values = {"key": key, "slack": slack, **settings._asdict()}
        return self._rows(sql, values)

    def identical(self, sound: FinishedSound) -> int | None:
        if sound.recipe.seed is None:
            return None
        found = self._database.query(_IDENTICAL, (family_of(sound.recipe), identity_of(sound)))
        return found[0][0] if found else None

    def entry(self, entry_id: int) -> Entry | None:
        found = self._database.query(f"SELECT {_STORED} WHERE id = ?", (entry_id,))
        return self._entry(_Stored._make(found[0])) if found else None

    def _entry(self, stored: _Stored) -> Entry | None:
        found = read_stored(stored.recipe, stored.metadata)
        if found is None:
            if stored.id not in self._unreadable:
                self._unreadable.add(stored.id)
                _log.warning("entry %d cannot be read and is not offered; audio-pool cache verify names it", stored.id)
            return None
        recipe, metadata = found
        return Entry(
            id=stored.id,
            path=self._blobs.path_of(stored.file),
            recipe=recipe,
            metadata=metadata,
            created_at=stored.created_at,
            size_bytes=stored.size_bytes,
        )

    def preferred_among(self, ids: Sequence[int]) -> set[int]:
        """Return those that are offered before others of their words."""
        sql = f"SELECT id FROM entries WHERE preferred > 0 AND id IN {ID_LIST}"
        return {row[0] for row in self._database.query(sql, (id_list(ids),))}

    # -- keeping

    def put(
        self,
        sound: FinishedSound,
        vectors: Mapping[str, Vector],
        *,
        replace: bool = False,
        preferred: bool = False,
        also: Also | None = None,
    ) -> Entry:
        source = Path(sound.path)
        with storage_errors("keeping a sound", self._blobs.location):
            digest, size = fingerprint(source)
        with self._database.writing("keeping a sound") as db:
            old = self._kept(db, sound)
            whole = old is not None and self._blobs.is_whole(old.file, old.size_bytes)
            kept = self._entry(old) if old is not None and whole else None
            if kept is not None and not replace:
                _write_also(db, kept, also)
                source.unlink(missing_ok=True)
                return kept
            file = self._blobs.name_for("audio", digest, ".flac")
            values = columns_of(sound, file, self._blobs.origin_of(source), size, digest)
            values["preferred"] = preferred
            values["created_at"] = _not_before_the_last(db, values["created_at"])
            samples = samples_of(source)
            placement = self._blobs.place(source, file)
            try:
                with transaction(db):
                    # asked again inside the transaction: another process may have kept it meanwhile
                    newest, was_pinned, marked = self._kept(db, sound), False, Marked()
                    if newest is not None:
                        meanwhile = None if replace or newest == old else self._entry(newest)
                        if meanwhile is not None:
                            raise _KeptMeanwhile(meanwhile)
                        was_pinned = db.execute("DELETE FROM pins WHERE entry_id = ?", (newest.id,)).rowcount > 0
                        marked = marks_of(db, newest.id)
                        self._delete(db, [newest.id])
                    entry_id = insert(db, values, sound, vectors)
                    made_at = values["created_at"]
                    register(db, entry_id, sound, samples, [digest], made_at=made_at)
                    if was_pinned:
                        db.execute("INSERT INTO pins VALUES (?)", (entry_id,))
                    if marked != Marked():
                        carry_marks(db, entry_id, marked)
                    if also is not None:
                        also(db, entry_id)
            except _KeptMeanwhile as exc:
                self._blobs.discard(file)
                self._blobs.settle(placement)
                _write_also(db, exc.entry, also)
                return exc.entry
            except BaseException:
                self._blobs.withdraw(placement)
                raise
            self._blobs.settle(placement)
        return Entry(
            id=entry_id,
            path=self._blobs.path_of(file),
            recipe=sound.recipe,
            metadata=sound.metadata,
            created_at=values["created_at"],
            size_bytes=size,
        )

    @staticmethod
    def _kept(db: sqlite3.Connection, sound: FinishedSound) -> _Stored | None:
        if sound.recipe.seed is None:
            return None
        found = db.execute(_IDENTICAL, (family_of(sound.recipe), identity_of(sound))).fetchone()
        return None if found is None else _Stored._make(found)

    def adopt(self, found: Sequence[Adopted]) -> list[bool]:
        with self._database.writing("making rows of masters") as db, transaction(db):
            return [self._adopt(db, one) for one in found]

    def _adopt(self, db: sqlite3.Connection, one: Adopted) -> bool:
        known = db.execute("SELECT 1 FROM entries WHERE file = ?", (one.file,)).fetchone()
        if known or (one.entry_id is None and (self._kept(db, one.sound) is not None or is_there(db, one))):
            return False
        values = columns_of(one.sound, one.file, one.origin, one.size_bytes, one.sha256)
        values |= {"created_at": one.created_at, "preferred": one.preferred}
        if one.entry_id is not None:
            values["id"] = one.entry_id
        entry_id = insert(db, values, one.sound, one.vectors)
        hashes = [one.sha256, *(rendition[3] for rendition in one.renditions)]
        samples = samples_of(Path(self._blobs.path_of(one.file)))
        register(db, entry_id, one.sound, samples, hashes, made_at=one.created_at)
        db.execute("DELETE FROM leaving WHERE file = ?", (one.file,))
        if one.source:
            file_source(db, entry_id, one.source)
        if one.hits:
            carry_uses(db, entry_id, one.hits, one.last_used)
        if one.marked != Marked():
            carry_marks(db, entry_id, one.marked)
        if one.pinned:
            db.execute("INSERT OR IGNORE INTO pins VALUES (?)", (entry_id,))
        kept = [(entry_id, *rendition) for rendition in one.renditions]
        db.executemany(f"INSERT OR IGNORE INTO renditions ({KEPT}) VALUES (?, ?, ?, ?, ?)", kept)
        return True

    # -- removing

    def remove(self, ids: Iterable[int], *, spare_pinned: bool = False, remembered: bool = False) -> Removal:
        wanted = sorted(set(ids))
        total = Removal()
        for start in range(0, len(wanted), _REMOVE_AT_ONCE):
            part = wanted[start : start + _REMOVE_AT_ONCE]
            try:
                total = total.and_also(self._remove(part, spare_pinned=spare_pinned, remembered=remembered))
            except DiskFull:
                if not self._database.spend_reserve():
                    raise
                total = total.and_also(self._remove(part, spare_pinned=spare_pinned, remembered=remembered))
        return total

    def _remove(
        self, ids: Sequence[int], fate: Fate = "unlink", *, spare_pinned: bool = False, remembered: bool = True
    ) -> Removal:
        with self._database.writing("removing sounds") as db:
            with transaction(db):
                if spare_pinned:  # asked in the transaction: it may have been pinned a moment ago
                    pinned = set(db.execute(f"SELECT entry_id FROM pins WHERE entry_id IN {ID_LIST}", (id_list(ids),)))
                    ids = [entry_id for entry_id in ids if (entry_id,) not in pinned]
                if not remembered:
                    forget(db, ids)
                items, files = self._delete(db, ids, fate)
                trim(db)
            removal = self._leaving.counted(files)._replace(items=items)
            self._leaving.pass_over(db)
            db.execute(f"PRAGMA incremental_vacuum({_PAGES_BACK})").fetchall()
        return removal

    def expel(self, ids: Iterable[int]) -> None:
        for entry_id in ids:
            self._remove([entry_id], "quarantine")

    def _delete(
        self, db: sqlite3.Connection, ids: Sequence[int], fate: Fate = "unlink"
    ) -> tuple[int, list[str]]:
        """Remove rows inside a transaction; return their number and the files that leave with them."""
        which = (id_list(ids),)
        files = self._leaving.doom(db, f"SELECT file FROM entries WHERE id IN {ID_LIST}", which, fate)
        files += self._leaving.doom(db, f"SELECT file FROM renditions WHERE entry_id IN {ID_LIST}", which)
        gone = f"SELECT id, 1 FROM entries WHERE id IN {ID_LIST} ORDER BY id"
        db.execute(f"INSERT INTO changes (entry_id, removed) {gone}", which)
        return db.execute(f"DELETE FROM entries WHERE id IN {ID_LIST}", which).rowcount, files


_IDENTICAL = f"SELECT {_STORED} WHERE family = ? AND identity = ?"


def _not_before_the_last(db: sqlite3.Connection, now: float) -> float:
    """Return the time of a new entry: clocks are set back, and the order of entries is not."""
    last = db.execute("SELECT created_at FROM entries ORDER BY id DESC LIMIT 1").fetchone()
    return now if last is None or not isinstance(last[0], float) else max(now, last[0])


def _write_also(db: sqlite3.Connection, kept: Entry, also: Also | None) -> None:
    """Write what was to be written with a sound that is kept already."""
    if also is not None and kept.id is not None:
        with transaction(db):
            also(db, kept.id)


class _KeptMeanwhile(Exception):
    def __init__(self, entry: Entry) -> None:
        self.entry = entry


def insert(
    db: sqlite3.Connection,
    values: Mapping[str, Any],  # Any: what SQLite stores
    sound: FinishedSound,
    vectors: Mapping[str, Vector],
) -> int:
    """Write the rows of one sound, inside a transaction; return its id."""
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    entry_id = db.execute(f"INSERT INTO entries ({names}) VALUES ({marks})", values).lastrowid
    assert entry_id is not None
    recipe, metadata = msgspec.json.encode(sound.recipe), msgspec.json.encode(sound.metadata)
    db.execute("INSERT INTO provenance VALUES (?, ?, ?)", (entry_id, recipe, metadata))
    begin_use(
        db,
        entry_id,
        values["namespace"],
        cost_s=sound.metadata.timings_ms.generate / 1000,
        quality=values["quality"],
        size_bytes=values["size_bytes"],
        made=values["created_at"],
    )
    for tag in dict.fromkeys(sound.metadata.tags):
        db.execute("INSERT INTO tags VALUES (?, ?)", (entry_id, tag))
    for name, value in sound.metadata.labels.items():
        db.execute("INSERT INTO labels VALUES (?, ?, ?)", (entry_id, name, msgspec.json.encode(value).decode()))
    for encoder, vector in vectors.items():
        flat = np.ascontiguousarray(vector, np.float32)
        if flat.ndim != 1 or not np.isfinite(flat).all() or not flat.any():
            _log.warning("entry %d: its vector of %s says nothing and is not kept", entry_id, encoder)
            continue
        db.execute("INSERT INTO vectors VALUES (?, ?, ?)", (entry_id, encoder, flat.tobytes()))
        db.execute("INSERT OR IGNORE INTO spaces VALUES (?)", (encoder,))
    if source := source_of(sound.metadata):
        file_source(db, entry_id, source)
    db.execute("INSERT INTO changes (entry_id, removed) VALUES (?, 0)", (entry_id,))
    return entry_id
