"""Kept prompts by their words: an index beside the store that can always be made again from it.

Owns: SqliteWords: its file, following the store's changes, and finding by words.
Must not know: what else sounds are searched by.

SQLite's FTS5 with the Porter stemmer: *dogs barking* finds *a dog barks*. The index lies in a file of its own under
``index/``: a process whose SQLite has no FTS5 can go on writing to the store, and insertions pay nothing for it. It
follows the numbered changes when it is asked; of a hundred thousand prompts it is made in half a second. Where it
cannot be had the prompts themselves are read.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path

from audio_pool.cache.library import Library
from audio_pool.cache.sqlite.database import transaction
from audio_pool.cache.store import Changes

__all__ = ["FILES", "SqliteWords"]

_log = logging.getLogger(__name__)

FILES = "words.sqlite3"
"""What the names of its files begin with."""
_VERSION = "1"
_AT_ONCE = 2_000
_MOST_CHANGES = 50_000
"""Whoever is further behind makes it anew, which takes no longer."""
_PATIENCE_S = 5.0
_WORD = re.compile(r"\w+\*?")
_MAKE = (
    "DROP TABLE IF EXISTS words",
    "DROP TABLE IF EXISTS facts",
    "CREATE VIRTUAL TABLE words USING fts5 (prompt, tokenize = 'porter unicode61')",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)


class SqliteWords:
    """See ``library.Words``."""

    def __init__(self, folder: Path, store_id: str, changes: Changes, library: Library) -> None:
        """
        Args:
            folder: for its file; where it takes none, the index is in memory.
            store_id: of the store that the changes and prompts are of.
        """
        self._path = folder / FILES
        self._store_id = store_id
        self._changes = changes
        self._library = library
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._off = False

    def find(self, namespace: str, words: str) -> list[int]:
        wanted = _WORD.findall(words.casefold())
        if not wanted:
            return []
        with self._lock:
            try:
                return self._find(wanted)
            except sqlite3.Error as exc:
                self._doubt(exc)
            try:
                return self._find(wanted)
            except sqlite3.Error as exc:
                if not self._off:
                    _log.warning("prompts are read one by one: words cannot be indexed here (%s)", exc)
                self._off = True
        return self._library.with_words(namespace, [word.rstrip("*") for word in wanted])

    def close(self) -> None:
        """Close its file."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    # -- inside

    def _find(self, wanted: Iterable[str]) -> list[int]:
        if self._off:
            raise sqlite3.OperationalError("switched off")
        db = self._db = self._db or self._open()
        self._follow(db)
        asked = " ".join(f'"{word.rstrip("*")}"{word[-1:] if word.endswith("*") else ""}' for word in wanted)
        found = db.execute("SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid DESC", (asked,))
        return [entry_id for (entry_id,) in found]

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = _connected(self._path)
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except (OSError, sqlite3.OperationalError) as exc:
            _log.info("words are indexed in memory: %s", exc)
            db = _connected(None)
        return db

    def _doubt(self, exc: sqlite3.Error) -> None:
        """Throw away what cannot be used; it is made anew."""
        if self._db is not None:
            self._db.close()
            self._db = None
        if not self._off:
            _log.info("the index of words is made anew: %s", exc)
            for ending in ("", "-wal", "-shm"):
                with contextlib.suppress(OSError):
                    Path(f"{self._path}{ending}").unlink(missing_ok=True)

    def _follow(self, db: sqlite3.Connection) -> None:
        while (seq := self._known(db)) != (last := self._changes.last_seq()):
            with transaction(db):
                if self._known(db) != seq:  # another process was quicker
                    continue
                near = 0 <= seq <= last <= seq + _MOST_CHANGES
                changes = self._changes.since(seq, _AT_ONCE) if near else None
                if not changes:
                    self._make(db)
                    return
                came = {change.entry_id for change in changes}
                db.executemany("DELETE FROM words WHERE rowid = ?", [(entry_id,) for entry_id in came])
                prompts = self._library.prompts_of(came)  # of those that are there now, whatever came and went
                db.executemany("INSERT INTO words (rowid, prompt) VALUES (?, ?)", prompts)
                _note(db, "seq", str(changes[-1].seq))

    def _known(self, db: sqlite3.Connection) -> int:
        """Return the last change that is in the index; -1: it is not this store's, or none of this version."""
        try:
            facts = dict(db.execute("SELECT name, value FROM facts"))
        except sqlite3.OperationalError:
            return -1
        mine = facts.get("store_id") == self._store_id and facts.get("version") == _VERSION
        return int(facts.get("seq", "-1")) if mine else -1

    def _make(self, db: sqlite3.Connection) -> None:
        for statement in _MAKE:
            db.execute(statement)
        seq, after = self._changes.last_seq(), 0
        while prompts := self._library.prompts_after(after, _AT_ONCE):
            db.executemany("INSERT INTO words (rowid, prompt) VALUES (?, ?)", prompts)
            after = prompts[-1][0]
        for name, value in (("store_id", self._store_id), ("version", _VERSION), ("seq", str(seq))):
            _note(db, name, value)


def _connected(path: Path | None) -> sqlite3.Connection:
    place = ":memory:" if path is None else str(path)
    db = sqlite3.connect(place, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")  # it can be made again
    return db


def _note(db: sqlite3.Connection, name: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
