"""Keeping one head's replica in step with the shared database.

Owns: Follower: its thread, what is read when, what is compared where the feed does not lead on.
Must not know: hits; who writes.

It is woken by NOTIFY and looks twice a second whether it is or not. Where a connection is lost it connects again, for
as long as it takes; what happened meanwhile stands in the feed. Where the feed's numbers are another server's, or lines
that were not read are gone, every entry is compared: ids and files, and what differs is taken over.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Sequence

import psycopg
from psycopg import sql

from audio_pool.cache.postgres.database import PostgresDatabase, Unreachable
from audio_pool.cache.postgres.feed import (
    Line,
    Place,
    channel,
    compact,
    epoch_of,
    floor_of,
    leave_out_ids,
    now_at,
    read_on,
)
from audio_pool.cache.postgres.heads import HeadLease
from audio_pool.cache.postgres.migrations import Rows, migrate
from audio_pool.cache.postgres.presets import presets_of
from audio_pool.cache.postgres.replica import Replica
from audio_pool.cache.postgres.states import JUDGED, judgement, judgements_of, states_of, uses_since
from audio_pool.errors import AudioPoolError, StorageError

__all__ = ["SHARED_ID", "Follower"]

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_AGAIN_S = 0.5
_LINES_AT_ONCE = 2_000
_STATES_AT_ONCE = 500
_USES_EVERY_S = 15.0
_USES_OVERLAP_S = 60.0
_USES_AT_ONCE = 5_000
_COMPACT_EVERY_S = 60.0
SHARED_ID = "shared_id"
"""The fact that says which shared cache it is."""
_SEQ, _EPOCH = "feed_place", "feed_epoch"


class Follower:
    """One replica's."""

    def __init__(self, database: PostgresDatabase, replica: Replica) -> None:
        self._database = database
        self._lease: HeadLease | None = None
        self._replica = replica
        self._stopping = threading.Event()
        self._connected: Rows | None = None
        self._early: set[int] = set()
        """Lines that were heeded although one may yet come before them."""
        self._following = threading.Lock()
        self._comparing = False
        self._uses_at = 0.0
        self._uses_due = self._compact_due = 0.0
        self._told = ""
        self.trouble = ""
        """Why it does not follow, though the database can be asked; "" where it does."""
        self._thread = threading.Thread(target=self._run, name="shared-cache-feed", daemon=True)

    @property
    def filled(self) -> bool:
        """False until the replica has been brought up to date once, by whichever process."""
        return bool(self._replica.fact(_EPOCH))

    def greet(self, db: Rows) -> None:
        """See to it that a new connection can be written by: it may be to a server that lacks what another one had."""
        before = self._replica.fact(_EPOCH)
        epoch = epoch_of(db) if before else ""
        if epoch != before:
            with contextlib.suppress(psycopg.errors.ReadOnlySqlTransaction):
                leave_out_ids(db, epoch, self._replica.last_id())

    def start(self, lease: HeadLease) -> None:
        """Follow from now on, and renew the head's lease beside it: whoever does not hear of others has none."""
        self._lease = lease
        self._thread.start()

    def stop(self) -> None:
        """End the thread; wait for it."""
        self._stopping.set()
        connected = self._connected
        if connected is not None:
            self._database.shut(connected)
        if self._thread.ident is not None:
            self._thread.join(4 * self._database.timeout_s)

    @property
    def upto(self) -> str:
        """How far the feed has been read, for people."""
        return self._replica.fact(_SEQ)

    def follow(self) -> None:
        """Bring the replica up to date now, on the calling thread. Raises StorageError.

        Where everything is to be compared that is the thread's own, and nobody waits for it: it may take minutes.
        """
        with self._database.using("following the shared cache") as db:
            self._follow(db)

    # -- the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._database.listener() as db:
                    self._connected = db
                    self._listen(db)
            except AudioPoolError as exc:
                if self._stopping.is_set():
                    return
                if exc.message != self._told:
                    _log.warning("%s; what is known here is offered", exc.message)
                self._told = exc.message
                self.trouble = "" if isinstance(exc, Unreachable) else exc.message
            except Exception as exc:  # whatever it is: nobody else would hear what other heads remove
                _log.exception("following the shared cache failed; it is tried again")
                self.trouble = f"following the shared cache failed: {exc}"
            finally:
                self._connected = None
            self._stopping.wait(_AGAIN_S)

    def _listen(self, db: Rows) -> None:
        name = sql.Identifier(channel(self._database.schema))
        db.execute(sql.SQL("LISTEN {}").format(name))
        while not self._stopping.is_set():
            self._beat(db)
            self._follow(db)
            self.trouble = ""
            with contextlib.suppress(Unreachable):  # new connections: this one is well
                self._database.look()
            if self._told:
                _log.warning("the database %s is followed again", self._database.where)
                self._told = ""
            for heard in db.notifies(timeout=_LOOK_EVERY_S, stop_after=1):
                what, _, subjects = heard.payload.partition(" ")
                if what == "removed" and subjects:
                    self._replica.forget(map(int, subjects.split(",")))

    def _beat(self, db: Rows) -> None:
        if self._lease is not None:
            self._lease.beat(db)

    # -- the feed

    def _follow(self, db: Rows) -> None:
        while not self._following.acquire(timeout=0.05):
            if self._comparing:
                return
        try:
            self._database.ask_time(db)
            epoch, floor = epoch_of(db), floor_of(db)
            if self._replica.lost or epoch != self._replica.fact(_EPOCH) or self._place() < floor:
                if self._thread.is_alive() and threading.current_thread() is not self._thread:
                    return  # that does so, within half a second
                self._comparing = True
                self._compare(db, epoch)
                self._comparing = False
            self._read_on(db, self._place())
            self._look_at_doubtful(db)
            self._take_over_uses(db)
            self._compact(db)
        finally:
            self._comparing = False
            self._following.release()

    def _look_at_doubtful(self, db: Rows) -> None:
        doubtful = self._replica.doubtful
        if doubtful:
            found = states_of(db, list(doubtful))
            self._replica.keep(found)
            known = {one.entry_id for one in found}
            for entry_id, looks in list(doubtful.items()):
                doubtful[entry_id] = looks - 1
                if entry_id in known or looks <= 1:
                    del doubtful[entry_id]

    def _compact(self, db: Rows) -> None:
        now = time.monotonic()
        if now >= self._compact_due:
            self._compact_due = now + _COMPACT_EVERY_S
            with contextlib.suppress(psycopg.errors.ReadOnlySqlTransaction), db.transaction():
                compact(db)
                HeadLease.forget_dead(db)

    def _place(self) -> Place:
        xid, _, seq = (self._replica.fact(_SEQ) or "0 0").partition(" ")
        return Place(int(xid), int(seq))

    def _read_on(self, db: Rows, settled: Place) -> None:
        before, at = settled, settled
        while lines := read_on(db, at, _LINES_AT_ONCE):
            self._heed(db, [line for line in lines if line.at.seq not in self._early])
            done = [line.at for line in lines if line.settled]
            if done:
                settled = done[-1]
                self._early.difference_update(place.seq for place in done)
            self._early.update(line.at.seq for line in lines if not line.settled)
            at = lines[-1].at
            if settled != before:
                self._replica.note(_SEQ, f"{settled.xid} {settled.seq}")
                before = settled
            if len(lines) < _LINES_AT_ONCE or self._stopping.is_set():
                break

    def _heed(self, db: Rows, lines: Sequence[Line]) -> None:
        by_what: dict[str, list[str]] = {}
        for line in lines:
            by_what.setdefault(line.what, []).append(line.subject)
        removed = [int(one) for one in by_what.get("removed", ())]
        self._replica.forget(removed)
        changed = collections.Counter(map(int, by_what.get("entry", ())))
        news = {entry_id for entry_id, lines in changed.items() if self._replica.is_news(entry_id, lines)}
        self._take_over(db, news - set(removed))
        if judged := by_what.get("judgement"):
            self._replica.judge(judgements_of(db, map(int, judged)))
        if "calibration" in by_what:
            self._measure(db)
        if told := by_what.get("preset"):
            found = presets_of(db, told)
            self._replica.preset(found, set(told) - {row[0] for row in found})

    def _take_over(self, db: Rows, ids: Iterable[int]) -> None:
        wanted = sorted(ids)
        for start in range(0, len(wanted), _STATES_AT_ONCE):
            part = wanted[start : start + _STATES_AT_ONCE]
            self._beat(db)  # there may be a million of them
            found = states_of(db, part)
            self._replica.keep(found)
            self._replica.forget(set(part) - {one.entry_id for one in found})
            if self._stopping.is_set():
                raise StorageError("the cache is being closed")

    def _measure(self, db: Rows) -> None:
        rows = db.execute("SELECT space, at_070, report, measured_at FROM calibrations").fetchall()
        self._replica.measure([(row[0], row[1], row[2], row[3]) for row in rows])

    def _take_over_uses(self, db: Rows) -> None:
        now = time.monotonic()
        if now < self._uses_due:
            return
        found = uses_since(db, self._uses_at - _USES_OVERLAP_S, _USES_AT_ONCE)
        self._replica.keep_uses(found)
        self._uses_at = max((use.last_used for _, use in found), default=self._uses_at)
        self._uses_due = now + _USES_EVERY_S

    # -- everything

    def _compare(self, db: Rows, epoch: str) -> None:
        """Take over everything that differs, and read the feed on from before that."""
        migrate(db, self._database.schema)  # a copy that was brought back may be of an earlier version
        self.greet(db)
        place = now_at(db)
        self._replica.lost = False
        if self._replica.fact(_EPOCH):
            where = self._database.where
            _log.warning("the feed of %s does not lead on from what is known here; all is compared", where)
        self._early.clear()
        self._replica.note(_SEQ, f"{place.xid} {place.seq}")
        self._replica.forgive()
        there: dict[int, str] = {}
        last = 0
        while rows := self._files_after(db, last):
            there.update(rows)
            last = rows[-1][0]
        here = self._replica.known()
        self._replica.forget((entry_id for entry_id in here if here[entry_id] != there.get(entry_id)), for_good=False)
        # also what is known already, for marks, renditions and vectors may differ; what is not known comes first
        wanted = sorted(there, key=lambda entry_id: (entry_id in here, entry_id))
        for start in range(0, len(wanted), _STATES_AT_ONCE):
            self._take_over(db, wanted[start : start + _STATES_AT_ONCE])
            self._read_on(db, self._place())  # what is removed or made meanwhile
            self._beat(db)
        judged = db.execute(f"SELECT {JUDGED} ORDER BY seq").fetchall()
        self._replica.judge([judgement(row) for row in judged])
        self._measure(db)
        self._replica.preset(presets_of(db))
        self._replica.note(SHARED_ID, epoch.split("/")[2])
        self._replica.note(_EPOCH, epoch)

    def _files_after(self, db: Rows, last: int) -> list[tuple[int, str]]:
        rows = db.execute("SELECT id, file FROM entries WHERE id > %s ORDER BY id LIMIT 20000", (last,))
        return [(entry_id, file) for entry_id, file in rows]
