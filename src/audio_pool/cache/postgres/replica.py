"""What one head knows of the shared cache: the rows that look-ups read, in a local file, in step with the feed.

Owns: Replica: the file, taking states over, and how far the feed has been read.
Must not know: PostgreSQL; what counts as a hit.

It has the tables and the code of a cache of one machine, so a hit costs here what it costs there, needs no network,
and is found while the database is gone. Its own numbered changes are what indexes follow. It can be thrown away: it
is filled again. Several processes of one directory share it: whoever takes over a state that another one has taken
over already changes nothing.

Nothing here waits for the disk: what a power cut takes is taken over again.
"""

from __future__ import annotations

import collections
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.entry import Adopted
from audio_pool.cache.judgements import Judgement
from audio_pool.cache.marks import Marked
from audio_pool.cache.sqlite.calibrations import SqliteCalibrations
from audio_pool.cache.sqlite.changes import SqliteChanges
from audio_pool.cache.sqlite.database import ID_LIST, Database, id_list, transaction
from audio_pool.cache.sqlite.entries import SqliteEntries, insert
from audio_pool.cache.sqlite.judgements import SqliteJudgements, file_judgement
from audio_pool.cache.sqlite.keys import SqliteKeys
from audio_pool.cache.sqlite.leaving import SqliteLeaving
from audio_pool.cache.sqlite.library import SqliteLibrary
from audio_pool.cache.sqlite.marks import SqliteMarks, carry_marks, marks_of
from audio_pool.cache.sqlite.migrations import migrate, version_of
from audio_pool.cache.sqlite.pins import SqlitePins
from audio_pool.cache.sqlite.presets import SqlitePresets
from audio_pool.cache.sqlite.renditions import KEPT, SqliteRenditions
from audio_pool.cache.sqlite.rows import columns_of
from audio_pool.cache.sqlite.sources import file_source
from audio_pool.cache.sqlite.sums import SqliteSums
from audio_pool.cache.sqlite.uses import carry_uses
from audio_pool.cache.sqlite.vectors import SqliteVectors
from audio_pool.cache.sqlite.words import SqliteWords
from audio_pool.cache.uses import Use

__all__ = ["FOLDER", "PresetRow", "Replica"]

FOLDER = "replica"
"""Beneath the cache directory; the indexes are built from it and lie in it."""
PresetRow = tuple[str, str, int, float, str, str]
"""Id, type, priority, time, engines, content: the columns of the table."""
_LOOKS = 20
"""A commit whose connection is gone is over by then."""
_GONE_KEPT = 100_000
_PARTS = 200
"""Entries of one transaction."""


class Replica:
    """The local rows."""

    def __init__(self, directory: Path, blobs: BlobStore, *, patience_s: float) -> None:
        """
        Args:
            directory: made where it does not exist; on a local disk.
            blobs: the files that rows name.
            patience_s: how long a write waits for another process's.

        Raises:
            StorageError: the file cannot be made or read.
        """
        directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        self.directory = directory
        self.index_dir = directory / "index"
        self._lock = threading.RLock()
        """A state is taken over as a whole before the next."""
        self._own: collections.Counter[int] = collections.Counter()
        """New entries of this process whose line was not met yet."""
        self.doubtful: dict[int, int] = {}
        """New entries whose commit was not heard of, with the looks at them that are left."""
        self.lost = False
        """Something could not be taken over: everything is to be compared."""
        self.database = Database(
            directory, create=True, prepare=self._prepare, check=lambda db: None, patience_s=patience_s
        )
        self._blobs = blobs
        self.leaving = leaving = SqliteLeaving(self.database, blobs)
        """Copies of this head's own whose entry or format is gone, whichever head removed it."""
        self.sums = SqliteSums(self.database)
        self.entries = SqliteEntries(self.database, blobs, leaving)
        self.vectors = SqliteVectors(self.database, self.sums)
        self.renditions = SqliteRenditions(self.database, blobs, leaving)
        self.pins = SqlitePins(self.database)
        self.marks = SqliteMarks(self.database)
        self.library = SqliteLibrary(self.database)
        self.judgements = SqliteJudgements(self.database)
        self.calibrations = SqliteCalibrations(self.database)
        self.presets = SqlitePresets(self.database)
        self.changes = SqliteChanges(self.database)
        self.keys = SqliteKeys(self.database)
        self.store_id = self.fact("store_id")
        self.words = SqliteWords(self.index_dir, self.store_id, self.changes, self.library)

    def _prepare(self, db: sqlite3.Connection) -> None:
        name = str(self.directory)
        db.execute("PRAGMA synchronous = NORMAL")  # in a WAL database: no fsync at a commit, never a torn file
        if version_of(db, name) == 0:
            self.index_dir.mkdir(mode=0o700, exist_ok=True)
        migrate(db, name)
        with transaction(db):
            db.execute("INSERT OR IGNORE INTO facts VALUES ('store_id', ?)", (secrets.token_hex(16),))
            # entries that are known to have gone: their ids are never given again
            db.execute("CREATE TABLE IF NOT EXISTS gone (entry_id INTEGER PRIMARY KEY)")
            db.execute(
                "DELETE FROM gone WHERE entry_id < (SELECT entry_id FROM gone ORDER BY entry_id DESC LIMIT 1 OFFSET ?)",
                (_GONE_KEPT,),
            )

    def close(self) -> None:
        """Close its files."""
        self.words.close()
        self.database.close()

    @contextmanager
    def _writing(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self.database.writing(doing) as db:
            yield db

    # -- facts

    def fact(self, name: str) -> str:
        """Return what was noted; "" where nothing was."""
        found = self.database.query("SELECT value FROM facts WHERE name = ?", (name,))
        return found[0][0] if found else ""

    def note(self, name: str, value: str) -> None:
        """Note something of one's own, e.g. how far the feed has been read."""
        with self._writing("noting how far the shared cache is known") as db, transaction(db):
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    # -- taking over

    def expect(self, entry_id: int) -> None:
        """Note before its commit that a new entry is taken over by its keeper: its line in the feed is no news."""
        self._own[entry_id] += 1

    def doubt(self, ids: Iterable[int]) -> None:
        """Note that it is not known what became of new entries: whoever follows has a look at them."""
        for entry_id in ids:
            self._own.pop(entry_id, None)
            self.doubtful[entry_id] = _LOOKS

    def is_news(self, entry_id: int, lines: int) -> bool:
        """Return True where so many lines about an entry say more than what was taken over without them."""
        own = self._own.pop(entry_id, 0)
        if lines < own:
            self._own[entry_id] = own - lines
        return lines > own

    def keep(self, found: Sequence[Adopted]) -> None:
        """Take over entries as they are now, whether they are known or not; those that have gone stay away."""
        try:
            self._keep(found)
        except BaseException:
            self.lost = True
            raise

    def _keep(self, found: Sequence[Adopted]) -> None:
        for start in range(0, len(found), _PARTS):
            part = {one.entry_id: one for one in found[start : start + _PARTS] if one.entry_id is not None}
            with self._lock:
                here = self._files(part)
                moved = [entry_id for entry_id, file in here.items() if file != part[entry_id].file]
                self.forget(moved, for_good=False)
                known = [one for entry_id, one in part.items() if here.get(entry_id) == one.file]
                gone = self._gone(part)
                fresh = [one for entry_id, one in part.items() if entry_id not in here or entry_id in moved]
                self._adopt([one for one in fresh if one.entry_id not in gone])
                if known:
                    with self._writing("following the shared cache") as db, transaction(db):
                        for one in known:
                            self._let_go(db, _refresh(db, one))
                # another process that shares the file may have heard meanwhile that one has gone
                self.forget(self._gone(part))

    def _adopt(self, fresh: Sequence[Adopted]) -> None:
        if fresh:
            with self._writing("following the shared cache") as db, transaction(db):
                for one in fresh:
                    _insert(db, one)

    def _files(self, ids: Iterable[int]) -> dict[int, str]:
        return dict(self.database.query(f"SELECT id, file FROM entries WHERE id IN {ID_LIST}", (id_list(ids),)))

    def _gone(self, ids: Iterable[int]) -> set[int]:
        found = self.database.query(f"SELECT entry_id FROM gone WHERE entry_id IN {ID_LIST}", (id_list(ids),))
        return {entry_id for (entry_id,) in found}

    def forget(self, ids: Iterable[int], *, for_good: bool = True) -> None:
        """Offer entries no more from now on.

        Files that all heads share are not touched. A copy that is this head's alone stays for the grace.
        """
        wanted = sorted(set(ids))
        if not wanted:
            return
        which = (id_list(wanted),)
        with self._writing("following the shared cache") as db, transaction(db):
            if for_good:
                db.executemany("INSERT OR IGNORE INTO gone VALUES (?)", [(entry_id,) for entry_id in wanted])
            left = f"SELECT id, 1 FROM entries WHERE id IN {ID_LIST} ORDER BY id"
            db.execute(f"INSERT INTO changes (entry_id, removed) {left}", which)
            theirs = f"FROM entries WHERE id IN {ID_LIST} UNION SELECT file FROM renditions WHERE entry_id IN {ID_LIST}"
            self._let_go(db, (file for (file,) in db.execute(f"SELECT file {theirs}", which * 2).fetchall()))
            db.execute(f"DELETE FROM entries WHERE id IN {ID_LIST}", which)

    def _let_go(self, db: sqlite3.Connection, files: Iterable[str]) -> None:
        """Name copies that no row names any more, inside the transaction that takes these rows away."""
        self.leaving.name(db, filter(self._blobs.is_copy, files), "unlink")

    def forgive(self) -> None:
        """Forget which entries have gone: ids of another epoch of the database mean something else."""
        with self._writing("following the shared cache") as db, transaction(db):
            db.execute("DELETE FROM gone")

    def last_id(self) -> int:
        """Return the greatest id that an entry has had."""
        ((last,),) = self.database.query(
            "SELECT max(coalesce((SELECT max(id) FROM entries), 0), coalesce((SELECT max(entry_id) FROM gone), 0))"
        )
        return int(last)

    def known(self) -> dict[int, str]:
        """Return every entry and its file."""
        return dict(self.database.bulk("SELECT id, file FROM entries"))

    def keep_uses(self, found: Iterable[tuple[int, Use]]) -> None:
        """Take over how entries are used, for listings."""
        with self._writing("following the shared cache") as db, transaction(db):
            db.executemany(
                "UPDATE uses SET hits = ?, last_used = ? WHERE entry_id = ?",
                [(use.hits, use.last_used, entry_id) for entry_id, use in found],
            )

    def judge(self, found: Iterable[Judgement]) -> None:
        """Take over judgements, in their order."""
        with self._writing("following the shared cache") as db, transaction(db):
            for one in found:
                given = one.given
                if given.entry_id is None or db.execute(
                    "SELECT 1 FROM entries WHERE id = ?", (given.entry_id,)
                ).fetchone():
                    file_judgement(db, given, one.judged_at)

    def preset(self, found: Iterable[PresetRow], gone: Iterable[str] | None = None) -> None:
        """Take over presets; without ``gone`` they are all that there are."""
        with self._writing("following the shared cache") as db, transaction(db):
            if gone is None:
                db.execute("DELETE FROM presets")
            else:
                db.executemany("DELETE FROM presets WHERE id = ?", [(one,) for one in gone])
            db.executemany("INSERT OR REPLACE INTO presets VALUES (?, ?, ?, ?, ?, ?)", found)

    def measure(self, found: Iterable[tuple[str, float, bytes, float]]) -> None:
        """Take over what was measured of encoders, as rows: space, threshold, report, time."""
        with self._writing("following the shared cache") as db, transaction(db):
            db.execute("DELETE FROM calibrations")
            db.executemany("INSERT INTO calibrations VALUES (?, ?, ?, ?)", found)


def _insert(db: sqlite3.Connection, one: Adopted) -> None:
    """Write the rows of an entry that is not known yet, inside a transaction."""
    entry_id = one.entry_id
    if db.execute("SELECT 1 FROM entries WHERE id = ?", (entry_id,)).fetchone():
        return  # another process that shares the file was quicker
    values = columns_of(one.sound, one.file, one.origin, one.size_bytes, one.sha256)
    values |= {"created_at": one.created_at, "preferred": one.preferred, "id": entry_id}
    insert(db, values, one.sound, one.vectors)
    assert entry_id is not None
    if one.source:
        file_source(db, entry_id, one.source)
    if one.hits:
        carry_uses(db, entry_id, one.hits, one.last_used)
    _refresh(db, one)


def _refresh(db: sqlite3.Connection, one: Adopted) -> list[str]:
    """Make what lies beside a known entry what it is now, inside a transaction; return files that went."""
    entry_id = one.entry_id
    assert entry_id is not None
    if one.pinned:
        db.execute("INSERT OR IGNORE INTO pins VALUES (?)", (entry_id,))
    else:
        db.execute("DELETE FROM pins WHERE entry_id = ?", (entry_id,))
    if marks_of(db, entry_id) != one.marked:
        carry_marks(db, entry_id, one.marked)
    if one.marked == Marked():
        db.execute("DELETE FROM marks WHERE entry_id = ?", (entry_id,))
    db.execute("UPDATE entries SET preferred = ? WHERE id = ? AND preferred <> ?",
               (one.preferred, entry_id, one.preferred))  # fmt: skip
    kept = {(entry_id, *rendition) for rendition in one.renditions}
    here = set(db.execute(f"SELECT {KEPT} FROM renditions WHERE entry_id = ?", (entry_id,)))
    went = [row[2] for row in here - kept]
    for row in here - kept:
        db.execute("DELETE FROM renditions WHERE entry_id = ? AND spec = ?", row[:2])
    db.executemany(f"INSERT INTO renditions ({KEPT}) VALUES (?, ?, ?, ?, ?)", sorted(kept - here))
    spaces = {space for (space,) in db.execute("SELECT encoder FROM vectors WHERE entry_id = ?", (entry_id,))}
    added = [space for space in one.vectors if space not in spaces]
    for space in added:
        db.execute("INSERT INTO vectors VALUES (?, ?, ?)", (entry_id, space, one.vectors[space].tobytes()))
        db.execute("INSERT OR IGNORE INTO spaces VALUES (?)", (space,))
    if added:
        db.execute("INSERT INTO changes (entry_id, removed) VALUES (?, 0)", (entry_id,))
    return went

