"""The loop around the scheduler: messages in, events through the scheduler, actions out.

Owns: the router's thread, and whose messages are read when.
Must not know: any rule of order or retry (scheduler), how an action is executed (executor.py), what a front
end's messages mean; signal processing; torch.

Everything on this thread stays under about 200 microseconds per step. What touches the disk goes to the
writer, what starts processes to the launcher, what computes to workers; each answers with an event.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from audio_pool.errors import AudioPoolError, PoolClosed
from audio_pool.pool.executor import Executor
from audio_pool.pool.helper_threads import HelperThreads
from audio_pool.pool.inbox import Inbox, Item
from audio_pool.pool.replies import Reply
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.worker_link import WorkerLink
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import Action
from audio_pool.scheduler.concerned import requests_of
from audio_pool.scheduler.scheduler import Scheduler
from audio_pool.telemetry import Telemetry
from audio_pool.transport.connections import Connections
from audio_pool.transport.poller import Poller
from audio_pool.transport.sockets import Channel

__all__ = ["FrontEnd", "Router"]

log = logging.getLogger(__name__)

_DELIVERY_S = 10.0
_MOST_AT_ONCE = 64
"""Messages taken from one front end before the others get their turn."""
_FLUSH_EVERY_S = 0.02
_LOOK_EVERY_S = 1.0
"""Between two looks at whether the helper threads live."""
_DOWN_S = 2.0
"""How long a pool that is down still answers, so that who asks hears of it."""
_MOST_BAD_TICKS = 3


class FrontEnd(Protocol):
    """Where requests come in: the clients' socket, the image server's pair."""

    channel: Channel
    """To be polled."""

    @property
    def connections(self) -> Connections | None:
        """Who is connected, where that is watched: to be polled, too."""
        ...

    def on_message(self, frames: list[bytes]) -> None:
        """Take one multipart message; whatever is in it, nobody else is disturbed."""
        ...

    @property
    def parked(self) -> bool:
        """True while replies wait for slow peers."""
        ...

    def watch(self) -> float | None:
        """Look for peers that misuse their connections; return in how many seconds to look again, None: never,
        until the next one connects."""
        ...

    def flush(self) -> None:
        """Try the parked replies again."""
        ...

    @property
    def reply_counts(self) -> Mapping[str, int]:
        """Replies parked, dropped, or addressed to peers that have gone."""
        ...

    @property
    def message_counts(self) -> Mapping[str, int]:
        """Messages refused."""
        ...

    def close(self) -> None:
        """Close the sockets."""
        ...


class Router:
    """One thread, one scheduler, the workers' link and the front ends."""

    def __init__(
        self,
        scheduler: Scheduler,
        executor: Executor,
        link: WorkerLink,
        inbox: Inbox,
        requests: RequestTable,
        telemetry: Telemetry,
        helpers: HelperThreads,
    ) -> None:
        self.scheduler = scheduler
        self.front_ends: list[FrontEnd] = []
        self.stopped = threading.Event()
        self.failure: BaseException | None = None
        self._executor = executor
        self._link = link
        self._inbox = inbox
        self._requests = requests
        self._telemetry = telemetry
        self._helpers = helpers
        self._bad_ticks = 0
        """In a row that met a bug."""
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._watched: set[FrontEnd] = set()
        """Front ends with peers that are looked at from time to time."""
        self._timer_numbers = itertools.count()
        self._thread = threading.Thread(target=self._run, name="audio-pool-router", daemon=True)

    def add_front_end(self, front_end: FrontEnd) -> None:
        """Register a front end, before ``start``."""
        self.front_ends.append(front_end)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def thread_id(self) -> int:
        """``threading.get_ident()`` of the thread; 0 before ``start``."""
        return self._thread.ident or 0

    @property
    def link_counts(self) -> Mapping[str, int]:
        """What came over the workers' socket and was not taken."""
        return self._link.counts

    @property
    def takes_requests(self) -> bool:
        """False once the pool stops or is down: whoever asks then is refused."""
        return self.failure is None and self.scheduler.drain_deadline is None

    def post(self, item: Item) -> None:
        """Post an event, or something to do on the router's thread, from any thread."""
        self._inbox.post(item)

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Call at a time of the monotonic clock, or soon after, on the router's thread; asked for on that thread."""
        heapq.heappush(self._timers, (when, next(self._timer_numbers), call))

    def join(self, timeout_s: float) -> bool:
        """Wait for the loop to end; return True if it has, within ``timeout_s``."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Close after ``join`` (or instead of ``start``), and after everything that posts has ended."""
        if self._thread.ident is None:  # a pool that could not be built gives its addresses back
            self._close_sockets()
        self._inbox.close()

    def _close_sockets(self) -> None:
        self._link.close()
        for front_end in self.front_ends:
            front_end.close()

    def _look_after_helpers(self) -> None:
        try:
            self._helpers.look()
        except Exception as exc:
            self.failure = exc
        self.call_at(time.monotonic() + _LOOK_EVERY_S, self._look_after_helpers)

    # -- the loop ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            try:
                self._loop()
            except BaseException as exc:
                self.failure = exc
                log.exception("the router failed")
            if self.failure is not None:
                self._be_down(self.failure)
        except BaseException:
            log.exception("the router failed once more while it told that it is down")
        finally:
            self.stopped.set()  # first: who posts from now on sees it, who posted before is answered
            self._fail_open_requests()
            self._close_sockets()

    def _loop(self) -> None:
        poller = Poller[WorkerLink | Inbox | FrontEnd | Connections]()
        poller.add(self._link.channel, self._link)
        if self._link.remote is not None:
            poller.add(self._link.remote.waker, self._link)
            poller.add(self._link.remote.fileno(), self._link)
        poller.add(self._inbox.waker, self._inbox)
        for front_end in self.front_ends:
            poller.add(front_end.channel, front_end)
            if front_end.connections is not None:
                poller.add(front_end.connections.monitor, front_end.connections)
                if front_end.connections.waiting is not None:
                    poller.add(front_end.connections.waiting, front_end.connections)
        self._look_after_helpers()
        self.feed(events.Tick())
        while not self.scheduler.workers.gone and self.failure is None:
            deadline = self.scheduler.next_deadline()
            if deadline is not None and time.monotonic() >= deadline:
                self._excuse(deadline)
                self.feed(events.Tick())
                deadline = self.scheduler.next_deadline()
            ready = poller.wait(self._timeout(deadline))
            self._excuse(deadline)
            if self._inbox in ready:
                self._inbox.waker.clear()
            self._take_posted()
            self._call_timers()
            if self._link in ready:
                self._receive_from_workers()
            for front_end in self.front_ends:
                if front_end.connections is not None and front_end.connections in ready:
                    front_end.connections.take_in()
                    if front_end not in self._watched:
                        self._watch(front_end)
                if front_end in ready:
                    self._receive_from(front_end)
                if front_end.parked:
                    front_end.flush()
        if self.failure is None:
            self._await_deliveries()

    def _excuse(self, deadline: float | None) -> None:
        """Look whether something that was due is so late that this process has stood still, as one that is paused does.

        What workers sent meanwhile is yet to be read: they are not silent.
        """
        now = time.monotonic()
        if deadline is not None and now - deadline > (patience_s := self.scheduler.limits.heartbeat_s):
            log.warning("the server stood still for %.1f s", now - deadline)
            self.scheduler.workers.excuse(now - deadline + patience_s, now)

    def _timeout(self, deadline: float | None) -> float:
        if not self._inbox.empty():
            return 0.0
        dues = [due for due in (deadline, self._timers[0][0] if self._timers else None) if due is not None]
        wait = max(0.0, min(dues) - time.monotonic()) if dues else 3600.0
        return min(wait, _FLUSH_EVERY_S) if any(one.parked for one in self.front_ends) else wait

    def _take_posted(self) -> None:
        for item in self._inbox.drain():
            if isinstance(item, events.WorkerExited):
                self._worker_exited(item)
            elif callable(item):
                try:
                    item()
                except BaseException:  # one caller's trouble, whatever it is: nobody else's request ends with it
                    log.exception("something posted to the router failed")
            else:
                self.feed(item)

    def _call_timers(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            try:
                heapq.heappop(self._timers)[2]()
            except Exception:  # as with what is posted
                log.exception("something that was due on the router failed")

    def _watch(self, front_end: FrontEnd) -> None:
        again = front_end.watch()
        if again is None:
            self._watched.discard(front_end)
        else:
            self._watched.add(front_end)
            self.call_at(time.monotonic() + again, functools.partial(self._watch, front_end))

    def _worker_exited(self, exited: events.WorkerExited) -> None:
        # what it sent before it died counts: a finished task must not be done again
        self._receive_from_workers()
        if not self.scheduler.workers.stopping:
            self._telemetry.count("worker_deaths", worker=exited.worker)
        try:
            self._executor.worker_exited(exited.worker, exited.incarnation)
        except Exception:
            log.exception("what worker %s held could not be taken back", exited.worker)
        self.feed(exited)

    def _receive_from_workers(self) -> None:
        for received in self._link.receive():
            try:
                event = self._executor.take_in(received)
            except Exception:
                log.exception("a worker's %s met a bug", type(received.event).__name__)
                self._answer_for(received.event)
            else:
                self.feed(event)

    def _receive_from(self, front_end: FrontEnd) -> None:
        for _ in range(_MOST_AT_ONCE):
            frames = front_end.channel.receive()
            if frames is None:
                return
            try:
                front_end.on_message(frames)
            except Exception:  # it answers for its messages itself; this one is lost, and nobody else's
                log.exception("a client's message met a bug")

    def feed(self, event: events.Event) -> None:
        """Let the scheduler decide, and execute what it decides. Router's thread only.

        A bug on the way is the trouble of those whom the event is about: they are answered ``internal``.
        """
        if self.failure is not None:
            self._refuse(event, self.failure)
            return
        pending: collections.deque[events.Event] | None = None
        while True:
            try:
                actions = self.scheduler.handle(event, time.monotonic())
                self._bad_ticks = 0
            except Exception:
                if self._cannot_go_on(event):
                    raise
                log.exception("the event %s met a bug", type(event).__name__)
                pending = self._execute(self.scheduler.salvage(), pending)
                self._answer_for(event)
            else:
                pending = self._execute(actions, pending)
            if not pending:
                return
            event = pending.popleft()

    def _cannot_go_on(self, event: events.Event) -> bool:
        """Return True if time itself cannot be handled, again and again: no deadline would ever be kept."""
        if isinstance(event, events.Tick):
            self._bad_ticks += 1
        return self._bad_ticks >= _MOST_BAD_TICKS

    def _execute(
        self, actions: list[Action], pending: collections.deque[events.Event] | None
    ) -> collections.deque[events.Event] | None:
        """Execute actions; return ``pending`` with the events that answer them at once."""
        for action in actions:
            answer = self._executor.execute(action)
            if answer is not None:
                if pending is None:
                    pending = collections.deque()
                pending.append(answer)
        return pending

    def _answer_for(self, event: events.Event) -> None:
        """Answer the requests whose event could not be handled, and have the scheduler forget them."""
        failure = Failure.of(AudioPoolError("the request met a bug in the pool; its log says more"))
        for request in requests_of(event, self.scheduler.jobs):
            self._requests.finish(request, Reply(kind="error", failure=failure))
            if not isinstance(event, events.Cancel):
                self.feed(events.Cancel(request=request))

    # -- the end -----------------------------------------------------------------------------------

    def _be_down(self, why: BaseException) -> None:
        """Answer everybody, and whoever asks in the next moments: that the pool is down, and why."""
        log.critical("the pool is down: %s", why)
        self._requests.finish_all(_down(why))
        poller = Poller[Inbox | FrontEnd]()
        poller.add(self._inbox.waker, self._inbox)
        for front_end in self.front_ends:
            poller.add(front_end.channel, front_end)
        until = time.monotonic() + _DOWN_S
        while (left := until - time.monotonic()) > 0:
            ready = poller.wait(left)
            if self._inbox in ready:
                self._inbox.waker.clear()
            self._take_posted()
            for front_end in self.front_ends:
                if front_end in ready:
                    self._receive_from(front_end)
                if front_end.parked:
                    front_end.flush()

    def _refuse(self, event: events.Event, why: BaseException) -> None:
        """Answer a request that came after the pool had gone down; nothing else matters any more."""
        if isinstance(event, events.Submit | events.Call):
            self._requests.finish(event.request, _down(why))

    def _await_deliveries(self) -> None:
        """Let replies leave that were decided, though the writer is still reading or copying their files."""
        poller = Poller[str]()
        poller.add(self._inbox.waker, "posted")
        deadline = time.monotonic() + _DELIVERY_S
        while self._requests and time.monotonic() < deadline:
            if poller.wait(deadline - time.monotonic()):
                self._inbox.waker.clear()
            self._take_posted()

    def _fail_open_requests(self) -> None:
        """Answer everybody: the loop is over, and nobody may be left waiting."""
        for item in self._inbox.drain():
            if not isinstance(item, events.Event) and callable(item):
                with contextlib.suppress(Exception):
                    item()
        self._requests.finish_all(Reply(kind="error", failure=Failure.of(PoolClosed("the pool has stopped"))))


def _down(why: BaseException) -> Reply:
    return Reply(kind="error", failure=Failure.of(PoolClosed(f"the pool is down: {why}")))
