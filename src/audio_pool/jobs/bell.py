"""The bell of a head: it is woken when there is a job to be had, or one has ended; and others know that it lives.

Owns: one connection and the thread that waits on it: LISTEN, this head's lease, a look for heads whose lease has ended.
Must not know: jobs.

What is not heard, because the connection is broken or the server forgets it, is seen by whoever looks now and then;
nothing depends on a ring. Lease and bell share a connection, so a head that is cut off loses both at once. The lease is
renewed only while the router's thread does its work: a head that hangs is as good as dead, others go on with its jobs.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from psycopg import sql

from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.postgres.migrations import Rows
from audio_pool.errors import AudioPoolError
from audio_pool.jobs.leases import bell_of, put_out, renew

__all__ = ["Bell"]

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
"""Between two looks for heads whose lease has ended."""
_AGAIN_S = 0.5
_RENEWED = 3
"""Times in one lease that it is renewed."""
_MOST_AT_ONCE = 200
"""Rings that are told together."""


class Bell:
    """One head's."""

    def __init__(
        self,
        database: PostgresDatabase,
        head: str,
        lease_s: float,
        post: Callable[[Callable[[], None]], None],
        rung: Callable[[set[str]], None],
    ) -> None:
        """
        Args:
            post: has something done on the router's thread.
            rung: told there what happened; nothing: anything may have.
        """
        self._database = database
        self._head = head
        self._lease_s = lease_s
        self._post = post
        self._rung = rung
        self._stopping = threading.Event()
        self._connected: Rows | None = None
        self._alive_at = time.monotonic()
        """When the router's thread was at work last."""
        self._renew_at = self._put_out_at = 0.0
        self._told = ""
        self._thread = threading.Thread(target=self._run, name="audio-pool-bell", daemon=True)

    def start(self) -> None:
        """Listen from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; wait for it."""
        self._stopping.set()
        if self._thread.ident is None:
            return
        self._thread.join(2 * _LOOK_EVERY_S)
        connected = self._connected
        if self._thread.is_alive() and connected is not None:  # then the database is taken to be gone
            self._database.shut(connected)
            self._thread.join(4 * self._database.timeout_s)

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._database.listener() as db:
                    self._connected = db
                    self._listen(db)
            except AudioPoolError as exc:
                if not self._stopping.is_set() and exc.message != self._told:
                    log.warning("%s; others may take the jobs of this head", exc.message)
                self._told = exc.message
            except Exception:  # the thread must outlive whatever it meets
                log.exception("the bell of the durable jobs met a bug")
            finally:
                self._connected = None
            self._stopping.wait(_AGAIN_S)

    def _listen(self, db: Rows) -> None:
        db.execute(sql.SQL("LISTEN {}").format(sql.Identifier(bell_of(self._database.schema))))
        self._renew_at = 0.0
        # whoever has just come, or could not reach the database either, gives the others time to be there again
        self._put_out_at = time.monotonic() + self._lease_s / _RENEWED
        self._tell(set())  # whatever rang before is not known
        while not self._stopping.is_set():
            self._beat(db)
            self._told = ""
            heard = {one.payload for one in db.notifies(timeout=_LOOK_EVERY_S, stop_after=1)}
            if heard:  # what has come with it is told with it
                more = db.notifies(timeout=0.0, stop_after=_MOST_AT_ONCE)
                self._tell(heard | {one.payload for one in more})

    def _beat(self, db: Rows) -> None:
        """Renew this head's lease, and put out the heads whose lease has ended."""
        self._database.look()  # another connection may have broken alone
        self._database.ask_time(db)
        now = time.monotonic()
        self._post(self._alive)
        if now >= self._renew_at and now - self._alive_at < self._lease_s:
            self._renew_at = now + self._lease_s / _RENEWED
            if not renew(db, self._head, self._lease_s):
                self._tell(set())  # what this head had in hand may be others' now
        for head in put_out(db, self._database.schema) if now >= self._put_out_at else ():
            log.warning("head %s gives no sign of life; others go on with its jobs", head)

    def _alive(self) -> None:
        self._alive_at = time.monotonic()

    def _tell(self, news: set[str]) -> None:
        with contextlib.suppress(RuntimeError):  # the pool is being closed
            self._post(lambda: self._rung(news))
