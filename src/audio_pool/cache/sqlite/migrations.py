"""The store's tables, as numbered steps from an empty file to today's schema.

Owns: the SQL of every schema version, and bringing a database up to date.
Must not know: connections, how rows are searched.

A step that has been released is never edited; a change is a new step at the end. A step that fills columns
uses today's code for it: whoever changes what that code gives adds a step that fills them again.

What takes long in a large database (``_GRADUALLY``) is done in small transactions before the step that counts on it:
whoever else writes waits for one of them at most, and after a kill it goes on where it was.
"""

from __future__ import annotations

import functools
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping

from audio_pool.cache.entry import read_stored
from audio_pool.cache.sqlite.database import transaction
from audio_pool.cache.sqlite.figures import TABLES as SPREAD
from audio_pool.cache.sqlite.folders import LOOKED
from audio_pool.cache.sqlite.given_sounds import tell_apart
from audio_pool.cache.sqlite.leaving import BY_TIME
from audio_pool.cache.sqlite.marks import TABLES as MARKS
from audio_pool.cache.sqlite.presets import TABLES as PRESETS
from audio_pool.cache.sqlite.registry import TABLES as REGISTRY
from audio_pool.cache.sqlite.rows import made_columns
from audio_pool.cache.sqlite.seen import SEEN
from audio_pool.cache.sqlite.sources import TABLES as SOURCES
from audio_pool.cache.sqlite.sums import INDEXES, TABLES, recount
from audio_pool.cache.sqlite.uses import AGES
from audio_pool.cache.sqlite.uses import TABLES as USES
from audio_pool.errors import StorageError
from audio_pool.results import FinishedSound

__all__ = ["SCHEMA_VERSION", "fill_unfilled", "has_unfilled", "migrate", "version_of"]

_log = logging.getLogger(__name__)

_FILLED_AT_ONCE = 1000
"""Entries of one transaction: some tens of milliseconds."""
_TELL_EVERY_S = 5.0

_FIRST = """
CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Narrow on purpose: look-ups and listings read this table only. AUTOINCREMENT: an id is never given twice,
-- so that an index or a process that still knows a removed entry can never take another for it.
CREATE TABLE entries (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    identity        BLOB NOT NULL,     -- the recipe's identity
    family          BLOB NOT NULL,     -- the identity of the recipe without its seed
    text_key        BLOB NOT NULL,     -- digest of namespace and normalised prompt
    canonical_key   BLOB NOT NULL,     -- digest of namespace, canonical version and canonical prompt
    prompt          TEXT NOT NULL,
    namespace       TEXT NOT NULL,
    engine          TEXT NOT NULL,
    loop            INTEGER NOT NULL,
    voice           TEXT NOT NULL,     -- '' where the recipe has none
    negative        TEXT NOT NULL,     -- normalised; '' where there is none
    duration_s      REAL NOT NULL,
    sample_rate     INTEGER NOT NULL,
    commercial      INTEGER NOT NULL,  -- 1: the licence is known to allow commercial use
    spoken          INTEGER NOT NULL,  -- 1: words are spoken; never matched by meaning
    clap_similarity REAL,
    quality         REAL,
    created_at      REAL NOT NULL,     -- seconds since 1970
    file            TEXT NOT NULL,     -- relative to the cache directory
    origin          TEXT NOT NULL,     -- where it lay before; see folder.py
    size_bytes      INTEGER NOT NULL,
    sha256          BLOB NOT NULL
);
CREATE INDEX entries_text ON entries (text_key);
CREATE INDEX entries_canonical ON entries (canonical_key);
CREATE INDEX entries_family ON entries (family);

CREATE TABLE provenance (
    entry_id INTEGER PRIMARY KEY REFERENCES entries (id) ON DELETE CASCADE,
    recipe   BLOB NOT NULL,            -- JSON
    metadata BLOB NOT NULL             -- JSON
);

CREATE TABLE vectors (
    entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
    encoder  TEXT NOT NULL,
    data     BLOB NOT NULL,            -- float32, little-endian
    PRIMARY KEY (entry_id, encoder)
);

-- The encoders that vectors were ever kept of, so that asking for one costs no scan.
CREATE TABLE spaces (
    name TEXT PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE renditions (
    entry_id   INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
    spec       TEXT NOT NULL,          -- the Rendition as JSON
    file       TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (entry_id, spec)
) WITHOUT ROWID;

-- What other processes follow.
CREATE TABLE changes (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    entry_id INTEGER NOT NULL,
    removed  INTEGER NOT NULL
);

-- Files whose row is gone and which are still to be unlinked. Written in the transaction that removes the
-- row, so that a crash between the two leaves work to do and not a file nobody knows.
CREATE TABLE doomed (
    file TEXT PRIMARY KEY
) WITHOUT ROWID;
"""

# A sound's whole identity: which model of an engine made it, how well, and with which further settings.
_WHOLE_IDENTITY = """
ALTER TABLE entries ADD COLUMN implementation TEXT NOT NULL DEFAULT '';
ALTER TABLE entries ADD COLUMN model          TEXT NOT NULL DEFAULT '';
ALTER TABLE entries ADD COLUMN model_revision TEXT NOT NULL DEFAULT '';  -- '' where it is not known
ALTER TABLE entries ADD COLUMN dtype          TEXT NOT NULL DEFAULT '';
ALTER TABLE entries ADD COLUMN quantization   TEXT NOT NULL DEFAULT '';
ALTER TABLE entries ADD COLUMN seed           INTEGER;                   -- the base seed
ALTER TABLE entries ADD COLUMN steps          INTEGER;
ALTER TABLE entries ADD COLUMN guidance_scale REAL;
ALTER TABLE entries ADD COLUMN extras         TEXT NOT NULL DEFAULT '';  -- digest of options, crossfade, high-pass
ALTER TABLE entries ADD COLUMN inexact        INTEGER NOT NULL DEFAULT 0;  -- 1: has a warning of STRICT_WARNINGS

CREATE TABLE tags (
    entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
    tag      TEXT NOT NULL,
    PRIMARY KEY (entry_id, tag)
) WITHOUT ROWID;
CREATE INDEX tags_tag ON tags (tag);

CREATE TABLE labels (
    entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,            -- JSON
    PRIMARY KEY (entry_id, name)
) WITHOUT ROWID;
CREATE INDEX labels_label ON labels (name, value);
"""

# Files whose row is gone, with the time from which nobody counts on them. ``doomed`` stays for processes of an
# earlier version that have the database open, and is emptied into this table at every opening.
_LEAVING = """
CREATE TABLE leaving (
    file  TEXT PRIMARY KEY,
    clock TEXT NOT NULL,               -- whose seconds ``due`` is counted in; see uptime.py
    due   REAL NOT NULL,
    fate  TEXT NOT NULL                -- 'unlink' or 'quarantine'
) WITHOUT ROWID;
"""

# What is not known of a rendition of before is b'': it is believed by its size.
_HASHED_RENDITIONS = """
ALTER TABLE renditions ADD COLUMN sha256 BLOB NOT NULL DEFAULT x'';
"""

# Entries that no rule removes.
_PINS = """
CREATE TABLE pins (
    entry_id INTEGER PRIMARY KEY REFERENCES entries (id) ON DELETE CASCADE
);
"""

# Sounds in the making, so that two servers do not make the same.
_CLAIMS = """
CREATE TABLE claims (
    key   BLOB PRIMARY KEY,            -- digest of what is made; see claims.py
    owner TEXT NOT NULL,               -- the folder of the process that makes it
    clock TEXT NOT NULL,               -- whose seconds ``due`` is counted in; see uptime.py
    due   REAL NOT NULL                -- the end of its lease
) WITHOUT ROWID;
"""

# What people judged. A pair of prompts lies under its keys in order, so that it is one pair from either side.
_JUDGEMENTS = """
CREATE TABLE judgements (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,  -- what look-ups of every process follow
    namespace TEXT NOT NULL,
    query     TEXT NOT NULL,           -- the words asked for
    prompt    TEXT NOT NULL,           -- of the kept sounds
    low_key   BLOB NOT NULL,           -- digests as entries.text_key; of one sound: of query, then prompt
    high_key  BLOB NOT NULL,
    entry_id  INTEGER REFERENCES entries (id) ON DELETE CASCADE,  -- NULL: the pair, whatever sounds there are
    verdict   TEXT NOT NULL,           -- 'wrong', 'right' or 'none'
    source    TEXT NOT NULL,
    judged_at REAL NOT NULL
);
CREATE UNIQUE INDEX judgements_pair ON judgements (low_key, high_key, coalesce(entry_id, 0));
CREATE INDEX judgements_entry ON judgements (entry_id);
"""

# 1: made by force, in place of what was offered before.
_PREFERRED = """
ALTER TABLE entries ADD COLUMN preferred INTEGER NOT NULL DEFAULT 0;
"""

# What was measured of encoders.
_CALIBRATIONS = """
CREATE TABLE calibrations (
    space       TEXT PRIMARY KEY,
    at_070      REAL NOT NULL,         -- the cosine that tau_prompt_sem 0.70 stands for
    report      BLOB NOT NULL,         -- JSON
    measured_at REAL NOT NULL
) WITHOUT ROWID;
"""

# The parse of each prompt, for look-ups by meaning. It comes with the keys, which therefore are due once more.
_PARSES = """
ALTER TABLE entries ADD COLUMN parse BLOB NOT NULL DEFAULT x'';
DELETE FROM facts WHERE name IN ('canonical_version', 'keys_renewed');
"""


def has_unfilled(db: sqlite3.Connection) -> bool:
    """Return True where ``fill_unfilled`` has something to fill, in a database of version 2 or later."""
    left = db.execute(_UNFILLED, (0, -1))
    return any(read_stored(recipe, metadata) is not None for _, recipe, metadata in left)


def fill_unfilled(db: sqlite3.Connection) -> int:
    """Fill the columns that version 2 added where they are empty; return how many entries that were.

    In small transactions, each entry once, whoever else is at it. Not only at the migration: a process of an earlier
    version that has the file open goes on writing rows.
    """
    last, filled, unreadable, told = 0, 0, 0, time.monotonic()
    while True:
        with transaction(db):
            rows = db.execute(_UNFILLED, (last, _FILLED_AT_ONCE)).fetchall()
            for entry_id, recipe, metadata in rows:
                stored = read_stored(recipe, metadata)
                if stored is None:
                    unreadable += 1  # never offered from now on; ``verify`` names it
                    continue
                values = made_columns(FinishedSound(path="", recipe=stored[0], metadata=stored[1], accepted=True))
                assigned = ", ".join(f"{column} = :{column}" for column in values)
                db.execute(f"UPDATE entries SET {assigned} WHERE id = :entry_id", {**values, "entry_id": entry_id})
                filled += 1
        if not rows:
            break
        last = rows[-1][0]
        if time.monotonic() - told > _TELL_EVERY_S:
            told = time.monotonic()
            _log.info("an older cache is brought up to date: %d sounds so far, up to entry %d", filled, last)
    if unreadable:
        _log.warning("%d entries cannot be read and are not offered; audio-pool cache verify names them", unreadable)
    return filled


def _made_one_by_one(indexes: str, db: sqlite3.Connection) -> None:
    """Make indexes that are not there yet, a transaction each."""
    for statement in _statements(indexes):
        _log.info("an older cache is brought up to date: %s", statement.split(" ON ")[0].split()[-1])
        with transaction(db):
            db.execute(statement)


_UNFILLED = (
    "SELECT entry_id, recipe, metadata FROM entries JOIN provenance ON entry_id = id"
    " WHERE implementation = '' AND id > ? ORDER BY id LIMIT ?"  # by an index of those alone
)
_Step = str | Callable[[sqlite3.Connection], None]
_STEPS: tuple[tuple[_Step, ...], ...] = (
    (_FIRST,), (_WHOLE_IDENTITY,), (_LEAVING,), (_HASHED_RENDITIONS,),
    (_PINS,),
    (_CLAIMS,),
    (INDEXES, TABLES, LOOKED, recount),
    (USES,),
    (_JUDGEMENTS,),
    (SOURCES,),
    (AGES, BY_TIME),
    (SPREAD, functools.partial(recount, tables=("spread_sums",))),
    (_PREFERRED,),
    (SEEN,),
    (_CALIBRATIONS,),
    (_PARSES,),
    (MARKS,),
    (),  # sounds made of given ones are told apart, before it
    (REGISTRY,),
    (PRESETS,),
)  # fmt: skip
SCHEMA_VERSION = len(_STEPS)
_GRADUALLY: Mapping[int, Callable[[sqlite3.Connection], object]] = {
    2: fill_unfilled,
    6: functools.partial(_made_one_by_one, INDEXES),
    10: functools.partial(_made_one_by_one, AGES),
    17: tell_apart,
}
"""Work on a database of that version, before the next step."""


def migrate(db: sqlite3.Connection, name: str) -> int:
    """Bring a database to ``SCHEMA_VERSION``; two processes may do so at once.

    Args:
        db: a connection in autocommit mode that may write.
        name: the file, for messages.

    Returns:
        The version that was found.

    Raises:
        StorageError: the database was written by a newer version of this package.
    """
    found = version_of(db, name)
    if found == SCHEMA_VERSION:
        return found
    # Takes effect only before the first table: pages of removed rows can be given back to the disk.
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    _use_wal(db)
    while (version := version_of(db, name)) < SCHEMA_VERSION:
        if version in _GRADUALLY:
            _GRADUALLY[version](db)
        _take_steps(db, name, version)
    return found


def _take_steps(db: sqlite3.Connection, name: str, version: int) -> None:
    """Take all steps up to the next that something is to be done before; an empty database has nothing to do."""
    until = min((at for at in _GRADUALLY if at > version > 0), default=SCHEMA_VERSION)
    with transaction(db):
        if version_of(db, name) != version:  # another process took them
            return
        for parts in _STEPS[version:until]:
            for part in parts:
                if isinstance(part, str):
                    for statement in _statements(part):
                        db.execute(statement)
                else:
                    part(db)
        db.execute(f"PRAGMA user_version = {until}")


def version_of(db: sqlite3.Connection, name: str) -> int:
    """Return the schema version of a database; 0 where it is empty.

    Raises:
        StorageError: it is newer than this package knows.
    """
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    if found > SCHEMA_VERSION:
        raise StorageError(
            f"{name} has schema version {found}; this version of audio_pool knows versions up to {SCHEMA_VERSION}",
            hint="upgrade audio_pool, or use another cache directory",
        )
    return found


def _use_wal(db: sqlite3.Connection) -> None:
    # SQLite does not call the busy handler for this pragma, so two first openers would trip over each other.
    deadline = time.monotonic() + 10.0
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _statements(script: str) -> list[str]:
    """Return the script's statements one by one: ``executescript`` would commit our transaction first."""
    found, rest = [], ""
    for line in script.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    return found
