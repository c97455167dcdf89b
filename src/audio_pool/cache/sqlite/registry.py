"""The registry in SQLite.

Owns: the tables ``registry``, ``registry_files`` and ``fingerprints``.
Must not know: how a fingerprint is made or compared.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.entry import read_stored
from audio_pool.cache.noted import samples_of
from audio_pool.cache.registry import REMEMBERED, KeptFingerprint, Noted, Registered, Unregistered
from audio_pool.cache.sqlite.database import ID_LIST, Database, id_list, transaction
from audio_pool.origin import Made, made_of
from audio_pool.results import FinishedSound

__all__ = ["TABLES", "SqliteRegistry", "another_file", "forget", "gone_in", "register", "trim"]

TABLES = """
CREATE TABLE registry (
    id        INTEGER PRIMARY KEY,
    entry_id  INTEGER REFERENCES entries (id) ON DELETE SET NULL,   -- NULL: it is not kept any more
    recipe_id TEXT NOT NULL,
    namespace TEXT NOT NULL,
    samples   BLOB NOT NULL,                                        -- MD5; empty: not known
    made      BLOB NOT NULL                                         -- origin.Made, as JSON
);
CREATE INDEX registry_entry ON registry (entry_id);
CREATE INDEX registry_recipe ON registry (recipe_id);
CREATE INDEX registry_samples ON registry (samples) WHERE samples <> x'';
CREATE TABLE registry_files (
    sha256 BLOB NOT NULL,
    sound  INTEGER NOT NULL REFERENCES registry (id) ON DELETE CASCADE,
    PRIMARY KEY (sha256, sound)
) WITHOUT ROWID;
CREATE INDEX registry_files_sound ON registry_files (sound);
CREATE TABLE fingerprints (
    number INTEGER PRIMARY KEY AUTOINCREMENT,                       -- a reader that follows reads on from its last
    sound  INTEGER NOT NULL UNIQUE REFERENCES registry (id) ON DELETE CASCADE,
    data   BLOB NOT NULL
);
"""
_ROW = "registry.id, entry_id, namespace, made FROM registry"


class SqliteRegistry:
    """See ``registry.Registry``."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def with_file(self, sha256: bytes) -> list[Registered]:
        joined = "JOIN registry_files ON sound = registry.id WHERE sha256 = ? ORDER BY registry.id DESC LIMIT 64"
        return self._found(joined, sha256)

    def with_samples(self, md5: bytes) -> list[Registered]:
        return self._found("WHERE samples = ? AND samples <> x'' ORDER BY id DESC LIMIT 64", md5)

    def with_recipe(self, identity: str) -> list[Registered]:
        return self._found("WHERE recipe_id = ? ORDER BY id DESC LIMIT 64", identity)

    def _found(self, where: str, value: bytes | str) -> list[Registered]:
        rows = self._database.query(f"SELECT {_ROW} {where}", (value,))
        return [one for row in rows if (one := _registered(row)) is not None]

    def with_fingerprint(self, number: int) -> tuple[Registered, bytes] | None:
        sql = f"SELECT data, {_ROW} JOIN fingerprints ON sound = registry.id WHERE number = ?"
        for data, *row in self._database.query(sql, (number,)):
            if (one := _registered(row)) is not None:
                return one, data
        return None

    def fingerprints_after(self, number: int, limit: int) -> list[KeptFingerprint]:
        sql = "SELECT number, data FROM fingerprints WHERE number > ? ORDER BY number LIMIT ?"
        return [KeptFingerprint._make(row) for row in self._database.bulk(sql, (number, limit))]

    def counts(self) -> tuple[int, int, int]:
        sql = (
            "SELECT (SELECT count(*) FROM registry), (SELECT count(*) FROM registry WHERE entry_id IS NULL),"
            f" (SELECT count(*) FROM entries WHERE {_WITHOUT})"
        )
        every, gone, without = self._database.query(sql)[0]
        return every, gone, without

    def without(self, after: int, limit: int) -> list[Unregistered]:
        sql = f"SELECT id, file, loop FROM entries WHERE id > ? AND {_WITHOUT} ORDER BY id LIMIT ?"
        rows = self._database.bulk(sql, (after, limit))
        return [Unregistered(entry_id, self._blobs.path_of(file), bool(loop)) for entry_id, file, loop in rows]

    def fill(self, found: Sequence[tuple[int, bytes]]) -> None:
        with self._database.writing("keeping fingerprints") as db, transaction(db):
            for entry_id, data in found:
                self._fill(db, entry_id, data)

    def _fill(self, db: sqlite3.Connection, entry_id: int, data: bytes) -> None:
        known = db.execute("SELECT id FROM registry WHERE entry_id = ?", (entry_id,)).fetchone()
        if known is not None:
            number = known[0]
        else:  # kept before there was a registry
            row = db.execute(_STORED, (entry_id,)).fetchone()
            stored = None if row is None else read_stored(row[3], row[4])
            if stored is None:
                return
            sound = FinishedSound(path="", recipe=stored[0], metadata=stored[1], accepted=True)
            path = Path(self._blobs.path_of(row[0]))
            number = register(db, entry_id, sound, samples_of(path), [row[1]], made_at=row[2])
            others = "SELECT sha256 FROM renditions WHERE entry_id = ? AND sha256 <> x''"
            for (sha256,) in db.execute(others, (entry_id,)).fetchall():
                db.execute(_FILE, (sha256, number))
        db.execute("INSERT OR REPLACE INTO fingerprints (sound, data) VALUES (?, ?)", (number, data))

    def note(self, sounds: Iterable[Noted]) -> None:
        with self._database.writing("remembering sounds") as db, transaction(db):
            for one in sounds:
                _insert(db, None, one)
            trim(db)

    def forget_gone(self) -> int:
        with self._database.writing("forgetting sounds") as db, transaction(db):
            return db.execute("DELETE FROM registry WHERE entry_id IS NULL").rowcount

    def settle(self, remembered: int) -> None:
        found = self._database.query("SELECT value FROM facts WHERE name = 'remembered'")
        if (int(found[0][0]) if found else REMEMBERED) == remembered or self._database.read_only:
            return
        with self._database.writing("opening the cache") as db, transaction(db):
            db.execute("INSERT OR REPLACE INTO facts VALUES ('remembered', ?)", (str(remembered),))
            trim(db)


_WITHOUT = (
    "NOT EXISTS (SELECT 1 FROM registry JOIN fingerprints ON sound = registry.id WHERE registry.entry_id = entries.id)"
)
_STORED = (
    "SELECT file, sha256, created_at, recipe, metadata FROM entries JOIN provenance ON entry_id = id WHERE id = ?"
)
_FILE = "INSERT OR IGNORE INTO registry_files VALUES (?, ?)"


def _registered(row: Sequence[Any]) -> Registered | None:  # Any: what SQLite stores
    try:
        return Registered(row[0], row[1], row[2], msgspec.json.decode(row[3], type=Made))
    except msgspec.DecodeError:  # of a later version, or damaged
        return None


# -- for whoever keeps and removes entries, inside their transactions


def register(
    db: sqlite3.Connection,
    entry_id: int,
    sound: FinishedSound,
    samples: bytes,
    files: Sequence[bytes],
    *,
    made_at: float,
) -> int:
    """Enter a sound that is kept; return its number."""
    made = made_of(sound.recipe, sound.metadata, made_at)
    noted = Noted(sound.recipe.namespace, made, samples, tuple(files), sound.fingerprint)
    return _insert(db, entry_id, noted)


def _insert(db: sqlite3.Connection, entry_id: int | None, noted: Noted) -> int:
    values = (entry_id, noted.made.recipe_id, noted.namespace, noted.samples, msgspec.json.encode(noted.made))
    columns = "entry_id, recipe_id, namespace, samples, made"
    number = db.execute(f"INSERT INTO registry ({columns}) VALUES (?, ?, ?, ?, ?)", values).lastrowid
    assert number is not None
    db.executemany(_FILE, [(sha256, number) for sha256 in noted.files if sha256])
    if noted.fingerprint:
        db.execute("INSERT INTO fingerprints (sound, data) VALUES (?, ?)", (number, noted.fingerprint))
    return number


def another_file(db: sqlite3.Connection, entry_id: int, sha256: bytes) -> None:
    """Note a rendition's file of an entry."""
    sql = "INSERT OR IGNORE INTO registry_files SELECT ?, id FROM registry WHERE entry_id = ?"
    db.execute(sql, (sha256, entry_id))


def forget(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Forget entries before they are removed."""
    db.execute(f"DELETE FROM registry WHERE entry_id IN {ID_LIST}", (id_list(ids),))


def trim(db: sqlite3.Connection) -> None:
    """Forget the oldest of those that are not kept any more, beyond as many as are to be remembered."""
    found = db.execute("SELECT value FROM facts WHERE name = 'remembered'").fetchone()
    most = int(found[0]) if found else REMEMBERED
    gone = "SELECT id FROM registry WHERE entry_id IS NULL ORDER BY id DESC LIMIT 1 OFFSET ?"
    db.execute(f"DELETE FROM registry WHERE entry_id IS NULL AND id <= ({gone})", (most,))


def gone_in(rows: Iterable[tuple[Any, ...]]) -> list[Noted]:  # Any: what SQLite stores
    """Return what rows remember of sounds that are not kept: (id, namespace, made, samples, data, files) each.

    What cannot be read is left out.
    """
    found = []
    for _, namespace, made, samples, data, files in rows:
        with contextlib.suppress(msgspec.DecodeError, TypeError):
            hashes = tuple(one for one in files if isinstance(one, bytes))
            read = msgspec.json.decode(made, type=Made)
            found.append(Noted(str(namespace), read, bytes(samples), hashes, bytes(data or b"")))
    return found
