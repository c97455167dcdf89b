"""Which sounds were taken over from where, so that taking them over again doubles nothing.

Owns: the table ``sources``: what stands for a file and the words that it was taken over for.
Must not know: directories that sounds come from, what is decoded.

The metadata of such a sound name its source. Rows that are made anew from a master, a backup or a damaged database
are therefore filed here again.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable

from audio_pool.cache.entry import Adopted, text_digest
from audio_pool.cache.sqlite.database import Database
from audio_pool.results import SoundMetadata

__all__ = ["IMPORTED", "TABLES", "SqliteSources", "file_source", "is_there", "master_source", "source_of"]

TABLES = """
CREATE TABLE sources (
    digest   BLOB PRIMARY KEY,         -- of the file and the words that it answers
    entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX sources_entry ON sources (entry_id);
"""

IMPORTED = "imported"
"""The key of ``engine_details`` under which a sound that was taken over says whence."""
_AT_ONCE = 500


class SqliteSources:
    """The sources of one opened cache."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, digests: Iterable[bytes]) -> set[bytes]:
        """Return those of the sources that an entry was made from."""
        wanted, found = list(digests), set()
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            sql = f"SELECT digest FROM sources WHERE digest IN ({marks})"
            found |= {bytes(row[0]) for row in self._database.query(sql, tuple(part))}
        return found

    def has_master(self, namespace: str, prompt: str, sha256: bytes) -> bool:
        """Return True where a master of these very bytes is kept for these words."""
        return self.entry_of(namespace, prompt, sha256) is not None

    def entry_of(self, namespace: str, prompt: str, sha256: bytes) -> int | None:
        """Return the entry of that master; None where there is none."""
        found = self._database.query(_SAME_MASTER, (text_digest(namespace, prompt), sha256))
        if not found:  # written anew from the same samples
            sql = "SELECT entry_id FROM sources WHERE digest = ?"
            found = self._database.query(sql, (master_source(namespace, prompt, sha256),))
        return int(found[0][0]) if found else None


_SAME_MASTER = "SELECT id FROM entries WHERE text_key = ? AND sha256 = ? LIMIT 1"


def master_source(namespace: str, prompt: str, sha256: bytes) -> bytes:
    """Return what stands for another cache's master and its words."""
    return hashlib.sha256(b"master" + sha256 + text_digest(namespace, prompt)).digest()


def source_of(metadata: SoundMetadata) -> bytes:
    """Return what stands for the source of a sound that was taken over; b"" for one that was made here."""
    told = metadata.engine_details.get(IMPORTED)
    source = told.get("source") if isinstance(told, dict) else None
    try:
        return bytes.fromhex(source) if isinstance(source, str) else b""
    except ValueError:
        return b""


def is_there(db: sqlite3.Connection, one: Adopted) -> bool:
    """Return True where the sound's source, or its very bytes for the same words, has an entry."""
    source = one.source or source_of(one.sound.metadata)
    if source and db.execute("SELECT 1 FROM sources WHERE digest = ?", (source,)).fetchone():
        return True
    recipe = one.sound.recipe
    key = text_digest(recipe.namespace, recipe.prompt)
    return db.execute(_SAME_MASTER, (key, one.sha256)).fetchone() is not None


def file_source(db: sqlite3.Connection, entry_id: int, source: bytes) -> None:
    """File a new entry under its source, inside the transaction that makes it."""
    db.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", (source, entry_id))
