"""The heads of a shared database, and which of them live: the table ``heads``.

Owns: a head's row and its lease, which is counted by the database's clock. Must not know: what a head holds by it.

Whatever is held in a head's name (a claim, a job) ends with its lease: whoever looks asks for ``LIVES``. A head that
stands still for longer has lost what others took meanwhile; what nobody took is its own again at the next beat.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from typing import Final, NamedTuple

import psycopg

from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.postgres.migrations import Rows
from audio_pool.errors import StorageError

__all__ = ["LEASE_S", "LIVES", "Head", "HeadLease"]

LEASE_S = 10.0
"""What a head holds is free so long after its last beat: five times as long as it takes from one to the next, for a
machine with too much to do."""
BEAT_EVERY_S: Final = 2.0
LIVES: Final = (
    "EXISTS (SELECT 1 FROM heads WHERE heads.id = {head} AND heads.due >= clock_timestamp()"
    " AND heads.seen_at <= clock_timestamp() + interval '5 s')"
)
"""SQL: True while the head named by a column or a value lives; ``LIVES.format(head="jobs.head")``. One that was seen at
a time yet to come was so before the database's clock was set back: it is seen again soon, or has died."""
_FORGOTTEN_AFTER: Final = "interval '1 hour'"
_PROCESS: Final = secrets.token_hex(8)
"""Heads have process ids and folders of the same names on their machines."""


class Head(NamedTuple):
    """A head that lives."""

    id: str
    address: str
    started_at: float
    """Seconds since 1970, by the database's clock."""


class HeadLease:
    """One head's. On any thread; ``beat`` is for one that works as long as the head does."""

    def __init__(self, database: PostgresDatabase, name: str = "", address: str = "") -> None:
        """
        Args:
            name: what tells it from others of this process; made where it is empty.
            address: how clients reach it, for people.
        """
        self._database = database
        self.id = f"{_PROCESS}/{name or secrets.token_hex(4)}"
        """No other head has it, or ever will, on whichever machine."""
        self._address = address
        self._due = 0.0
        self._left = False
        self._lock = threading.Lock()
        self.others: tuple[Head, ...] = ()
        """The other heads that lived at the last beat, the oldest first; those alone that clients can reach."""

    def begin(self) -> None:
        """Be there from now on. Raises StorageError."""
        self._left = False
        self._database.write("taking a head's place", lambda db: self.beat(db, at_once=True))

    def beat(self, db: Rows, *, at_once: bool = False) -> None:
        """Renew the lease where it is time to. Where the database takes no writes there is none.

        Args:
            db: outside of a transaction, or in one that is short: others that beat for this head wait for its end.
            at_once: whether it is time to or not.
        """
        now = time.monotonic()
        if now < self._due and not at_once:
            return
        self._due = now + BEAT_EVERY_S
        with self._lock:
            if not self._left:
                self._beat(db)
        found = db.execute(
            "SELECT id, address, extract(epoch FROM started_at)::float8 FROM heads"
            " WHERE due >= clock_timestamp() AND id <> %s AND address <> '' ORDER BY started_at, id",
            (self.id,),
        ).fetchall()
        self.others = tuple(Head._make(row) for row in found)

    def _beat(self, db: Rows) -> None:
        with contextlib.suppress(psycopg.errors.ReadOnlySqlTransaction), db.transaction():
            db.execute(
                "INSERT INTO heads SELECT %(id)s, %(address)s, now, now, now + make_interval(secs => %(lease)s)"
                " FROM clock_timestamp() AS now"
                " ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, due = excluded.due",
                {"id": self.id, "address": self._address, "lease": LEASE_S},
            )

    def leave(self) -> None:
        """End the lease, and with it what is held by it, as a head that shuts down does; no beat renews it.

        Where the database cannot be asked it ends by itself.
        """
        delete = "DELETE FROM heads WHERE id = %s"
        with self._lock:
            self._left = True
        with contextlib.suppress(StorageError):
            self._database.write("leaving", lambda db: db.execute(delete, (self.id,)).rowcount)

    @staticmethod
    def forget_dead(db: Rows) -> None:
        """Remove rows of heads that died long ago, and claims that nobody has asked for since."""
        db.execute(f"DELETE FROM heads WHERE due < clock_timestamp() - {_FORGOTTEN_AFTER}")
        db.execute(f"DELETE FROM claims WHERE due < clock_timestamp() - {_FORGOTTEN_AFTER}")
