"""The journal's thread: orders carried out in their order, many in one commit; answers posted to the router.

Owns: the thread, group commit, opening and opening again, forgetting what has expired, timers.
Must not know: what the orders are for, SQL.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from audio_pool.errors import AudioPoolError, StorageError
from audio_pool.jobs.journal import Journal
from audio_pool.jobs.record import JobRecord
from audio_pool.jobs.result_files import ResultFiles

__all__ = ["JournalWriter"]

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 256
"""Orders in one commit."""
_MOST_FORGOTTEN = 100
"""Expired jobs removed in one transaction, so that no order waits for a thousand."""
_LOOK_EVERY_S = 2.0
"""Between two looks for what has expired, and two attempts to open."""
_ABANDONED_S = 86_400.0
"""A file of no job is that old before it is taken for nobody's, where other heads keep theirs in the same place."""
_SWEEP_EVERY_S = 21_600.0
_CLOSE_S = 10.0
T = TypeVar("T")


class _Order(Generic[T]):
    """Something to be done with the journal, and who is told what came of it.

    It may be run more than once: what one run wrote was then rolled back.
    """

    def __init__(self, work: Callable[[Journal], T], done: Callable[[T | AudioPoolError], None]) -> None:
        self._work = work
        self._done = done
        self._result: T | AudioPoolError = StorageError("the journal is closed")

    def run(self, journal: Journal) -> None:
        """Do the work; an error that is the caller's is its result. Raises StorageError."""
        try:
            self._result = self._work(journal)
        except StorageError:
            raise
        except AudioPoolError as exc:
            self._result = exc
        except Exception:
            log.exception("an order to the journal failed")
            self._result = AudioPoolError("this job met a bug in the journal; the server's log says more")

    def fail(self, error: AudioPoolError) -> None:
        """Have the error told."""
        self._result = error

    def tell(self) -> None:
        """Tell what came of it."""
        self._done(self._result)


class JournalWriter:
    """Owns the journal. ``order`` and ``at`` may be called from any thread; answers come by ``post``."""

    def __init__(
        self,
        opened: Callable[[], Journal],
        files: ResultFiles,
        post: Callable[[Callable[[], None]], None],
        *,
        wanted: bool,
        recovered: Callable[[list[JobRecord]], None],
    ) -> None:
        """
        Args:
            opened: opens the journal; raises StorageError.
            post: has something done on the router's thread.
            wanted: open it at once; else with the first order.
            recovered: told, on the router's thread, of the jobs that were unfinished when it was opened.
        """
        self.trouble = ""
        """Why the journal takes no jobs; "" while all is well."""
        self.now: Callable[[], float] = time.time
        """The time by the journal's clock, as it was known last; on any thread."""
        self._opened = opened
        self._files = files
        self._post = post
        self._wanted = wanted
        self._recovered = recovered
        self._journal: Journal | None = None
        self._sweep_at = 0.0
        self._orders: queue.SimpleQueue[_Order[Any] | Literal["wake", "close"]] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._next_look = 0.0
        self._thread = threading.Thread(target=self._run, name="audio-pool-journal", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def order(self, work: Callable[[Journal], T], done: Callable[[T | AudioPoolError], None]) -> None:
        """Have ``work`` done and committed; ``done`` is then called on the router's thread."""
        self._orders.put(_Order(work, done))

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Have ``call`` called on the router's thread at a time of ``time.monotonic``."""
        with self._lock:
            heapq.heappush(self._timers, (when, next(self._numbers), call))
            soonest = self._timers[0][0] == when
        if soonest:
            self._orders.put("wake")

    def close(self) -> None:
        """Carry out what was ordered, then end."""
        self._orders.put("close")
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_S)

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            going = True
            while going:
                orders, going = self._next_orders()
                try:
                    self._carry_out(orders)
                    self._ring()
                    self._look_round()
                except Exception:  # the thread must outlive whatever it meets
                    log.exception("the journal's thread met a bug")
        finally:
            if self._journal is not None:
                with contextlib.suppress(StorageError):  # others wait for the end of its lease then
                    self._journal.leave()
                self._journal.close()

    def _next_orders(self) -> tuple[list[_Order[Any]], bool]:
        """Wait for orders, a timer or the next look; return them, and False once no more will come."""
        orders: list[_Order[Any]] = []
        with self._lock:
            due = self._timers[0][0] if self._timers else math.inf
        wait_s = max(0.0, min(due, self._next_look) - time.monotonic())
        while len(orders) < _MOST_AT_ONCE:
            try:
                order = self._orders.get(timeout=wait_s) if wait_s and not orders else self._orders.get_nowait()
            except queue.Empty:
                break
            if order == "close":
                return orders, False
            if order == "wake":
                break
            orders.append(order)
        return orders, True

    def _carry_out(self, orders: list[_Order[Any]]) -> None:
        if not orders:
            return
        journal = self._ready()
        if journal is None:
            for order in orders:
                order.fail(StorageError(self.trouble))
        else:
            self._commit(journal, orders)
        for order in orders:
            self._post(order.tell)

    def _commit(self, journal: Journal, orders: list[_Order[Any]]) -> None:
        """Carry out all in one commit; where that fails, each in its own, so that one fails alone."""
        try:
            with journal.transaction():
                for order in orders:
                    order.run(journal)
        except StorageError as exc:
            if len(orders) > 1 and journal.there():
                for order in orders:
                    self._commit(journal, [order])
                return
            log.error("%s", exc)
            for order in orders:
                order.fail(exc)
            self._failed(exc)
        else:
            self.trouble = ""

    def _failed(self, exc: StorageError) -> None:
        self.trouble = str(exc)
        if self._journal is not None and not self._journal.there():
            self._journal.close()
            self._journal = None
        self._next_look = min(self._next_look, time.monotonic() + _LOOK_EVERY_S)

    def _ready(self) -> Journal | None:
        """Return the journal, opened where it is not; None: it cannot be."""
        if self._journal is not None:
            return self._journal
        self._wanted = True
        try:
            journal = self._opened()
        except StorageError as exc:
            if str(exc) != self.trouble:
                log.error("no durable jobs: %s", exc)
            self._failed(exc)
            return None
        try:
            unfinished = journal.recover()
            if not self._sweep_at:  # later there may be some that are about to be noted
                self._sweep(journal)
        except StorageError as exc:
            journal.close()
            self._failed(exc)
            return None
        self._journal, self.trouble, self.now = journal, "", journal.now
        if unfinished:
            log.info("%d durable jobs were unfinished; they are taken up again", len(unfinished))
        self._post(lambda: self._recovered(unfinished))
        return journal

    def _sweep(self, journal: Journal) -> None:
        """Have files removed that no job knows: at the start; where other heads may have left some, now and then."""
        self._files.sweep(journal.paths(), older_than_s=_ABANDONED_S if journal.head else 0.0)
        self._sweep_at = time.monotonic() + _SWEEP_EVERY_S if journal.head else math.inf

    def _ring(self) -> None:
        now = time.monotonic()
        while True:
            with self._lock:
                if not self._timers or self._timers[0][0] > now:
                    return
                _, _, call = heapq.heappop(self._timers)
            self._post(call)

    def _look_round(self) -> None:
        """Open what should be open, try again what failed, forget what has expired."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY_S
        journal = self._ready() if self._wanted else None
        if journal is None:
            return
        try:
            soonest = journal.soonest_expiry()
            if soonest is not None and soonest <= journal.now():
                with journal.transaction():
                    files = journal.forget_expired(journal.now(), _MOST_FORGOTTEN)
                self._files.remove([file for file in files if file is not None])
                if len(files) == _MOST_FORGOTTEN:
                    self._next_look = now
            elif now >= self._sweep_at > 0.0:
                self._sweep(journal)
            elif self.trouble:
                with journal.transaction():  # is there room again?
                    journal.probe()
            self.trouble = ""
        except StorageError as exc:
            self._failed(exc)
