"""The table ``claims``: sounds in the making.

Owns: its rows. Must not know: what a key stands for.

A claim need not survive a power cut, so taking one waits for no disk: it costs a few tens of microseconds where a
sound's row costs an fsync.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.making import LEASE_S
from audio_pool.cache.sqlite.database import Database, transaction
from audio_pool.cache.uptime import clock_name, uptime_s

__all__ = ["SqliteClaims"]


class SqliteClaims:
    """See ``making.MakingClaims``."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def alone(self) -> bool:
        """Return True where it is known that no other process is on this directory."""
        return self._blobs.neighbours.alone(self._blobs.owner)

    def take(self, key: bytes) -> bool:
        """Take a claim, or keep one's own; False while another holds it, who lives and has renewed it."""
        owner = self._blobs.owner
        with self._writing("claiming a sound") as db:
            row = db.execute("SELECT owner, clock, due FROM claims WHERE key = ?", (key,)).fetchone()
            if row is not None and row[0] != owner and self._holds(*row):
                return False
            with transaction(db):
                again = db.execute("SELECT owner, clock, due FROM claims WHERE key = ?", (key,)).fetchone()
                if again != row:
                    return False  # somebody was quicker; the next try says more
                db.execute(
                    "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)",
                    (key, owner, clock_name(), uptime_s() + LEASE_S),
                )
        return True

    def give_back(self, key: bytes) -> None:
        """Give up a claim of one's own."""
        with self._writing("giving a claim back") as db, transaction(db):
            db.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self._blobs.owner))

    def renew(self, keys: Iterable[bytes]) -> None:
        """Keep claims of one's own for another lease."""
        due, owner = uptime_s() + LEASE_S, self._blobs.owner
        with self._writing("renewing claims") as db, transaction(db):
            db.executemany(
                "UPDATE claims SET due = ? WHERE key = ? AND owner = ?", [(due, key, owner) for key in keys]
            )

    def _holds(self, owner: str, clock: str, due: float) -> bool:
        # a clock of before a restart, or of another machine, tells nothing: only whether its owner lives does
        return (clock != clock_name() or due > uptime_s()) and self._blobs.neighbours.lives(owner)

    @contextmanager
    def _writing(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._database.writing(doing) as db:
            db.execute("PRAGMA synchronous = NORMAL")  # in a WAL database: no fsync at a commit, never a torn file
            try:
                yield db
            finally:
                db.execute("PRAGMA synchronous = FULL")
