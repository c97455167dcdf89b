"""The loop around the schedule: sockets in, events through the schedule, actions out.

Owns: the router's thread, its sockets, and carrying out what the schedule decides.
Must not know: any rule of its own; signal processing; torch.

Everything here stays under about 200 microseconds a step. What touches the disk goes to the clerk,
what starts processes to the factory, what computes to workers; each answers with an event.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from audio_pool.errors import AudioPoolError, BadMessage, PoolClosed
from audio_pool.pool.replies import Caller, Final
from audio_pool.scheduler import events
from audio_pool.scheduler.scheduler import Schedule
from audio_pool.server.image_server import ImageDoor
from audio_pool.server.outbox import Outbox
from audio_pool.telemetry import Telemetry
from audio_pool.transport import client_messages, packing, worker_messages
from audio_pool.transport.keys import ServerKeys
from audio_pool.transport.sockets import Channel, Poller, Waker, router

__all__ = ["Hands", "Router"]

log = logging.getLogger(__name__)

_DELIVERY_S = 10.0
_MOST_AT_ONCE = 64
"""Messages taken from one socket before the others get their turn."""


class Hands:
    """What a pool does for its router: the actions that need the cache, the disk or a caller's file.

    Each method answers at once; what takes time ends in ``router.post(event)``.
    """

    def find_exact(self, work: int, ticket: int) -> events.Found:
        raise NotImplementedError

    def find_near(self, work: int, ticket: int, vectors: dict[str, Any]) -> events.Found:
        raise NotImplementedError

    def task(self, action: events.SendJob) -> tuple[worker_messages.Task, list[dict[str, Any]], list[bytes]]:
        """The task of a job, the slots granted to it, and binary frames that go with it."""
        raise NotImplementedError

    def landed(
        self,
        job: int,
        holder: str,
        parts: dict[int, dict[str, Any]],
        frames: list[bytes],
        unwritable: Sequence[int] = (),
    ) -> None:
        """A job has ended: takes over the slots and frames that its outcome refers to, frees the rest.

        Args:
            unwritable: generations of granted slots that could not be made.
        """
        raise NotImplementedError

    def forget(self, work: int) -> None:
        raise NotImplementedError

    def keep(self, action: events.Keep) -> None:
        raise NotImplementedError

    def discard(self, outcome: dict[str, Any]) -> None:
        raise NotImplementedError

    def answer(self, action: events.Answer, caller: Caller) -> Final | None:
        """The final reply, or None where it comes later through ``router.post``."""
        raise NotImplementedError

    def load(self, worker: str) -> worker_messages.Load:
        raise NotImplementedError

    def worker_ready(self, worker: str, message: worker_messages.Ready) -> None: ...

    def worker_died(self, worker: str, incarnation: int) -> None: ...

    def spawn(self, worker: str, incarnation: int) -> None:
        raise NotImplementedError

    def kill(self, worker: str, incarnation: int, why: str) -> None:
        raise NotImplementedError

    def client_said(self, frames: list[bytes], outbox: Outbox) -> None:
        """A client's message, its identity first."""
        raise NotImplementedError

    def image_server_said(self, frame: bytes, send: Callable[[bytes], None]) -> None:
        """A message from the PULL address; ``send`` answers it."""
        raise NotImplementedError


@dataclass
class _Peer:
    """What the router has heard of one worker's incarnation."""

    incarnation: int
    lanes: set[str] = field(default_factory=set)
    ready: worker_messages.Ready | None = None


class Router:
    """One thread, one schedule, the workers' socket and (when serving) the clients' socket."""

    def __init__(
        self,
        schedule: Schedule,
        workers_endpoint: str,
        *,
        clients_endpoint: str | None = None,
        keys: ServerKeys | None = None,
        parked_bytes: int = 64 << 20,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.schedule = schedule
        self.telemetry = telemetry or Telemetry()
        self.hands: Hands = Hands()
        self.callers: dict[int, Caller] = {}
        self.counts: collections.Counter[str] = collections.Counter()
        self.stopped = threading.Event()
        self.failure: BaseException | None = None
        self._peers: dict[str, _Peer] = {}
        self._posts: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waker = Waker()
        self._workers = router(workers_endpoint)
        self._clients: Channel | None = None
        self.outbox: Outbox | None = None
        self.image_door: ImageDoor | None = None
        if clients_endpoint is not None:
            try:
                self._clients = router(clients_endpoint, max_bytes=client_messages.MAX_CLIENT_BYTES, keys=keys)
            except BaseException:
                self._workers.close()
                raise
            self.outbox = Outbox(self._clients, parked_bytes)
        self._thread = threading.Thread(target=self._run, name="audio-pool-router", daemon=True)

    @property
    def endpoint(self) -> str | None:
        """Where clients connect."""
        return self._clients.endpoint if self._clients is not None else None

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Whether the loop has ended within ``timeout_s``."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """After ``join`` (or instead of ``start``), and after everything that posts has ended."""
        if self._thread.ident is None:  # a pool that could not be built gives its addresses back
            self._close_sockets()
        self._waker.close()

    def _close_sockets(self) -> None:
        self._workers.close()
        for door in (self._clients, self.image_door):
            if door is not None:
                door.close()

    def post(self, what: events.Event | Callable[[], None]) -> None:
        """From any thread: an event for the schedule, or something to do on the router's thread."""
        self._posts.put(what if callable(what) else lambda: self.feed(what))
        self._waker.wake()

    # -- the loop ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as exc:
            self.failure = exc
            log.exception("the router failed")
        finally:
            self.stopped.set()  # first: who posts from now on sees it, who posted before is answered
            self._fail_callers()
            self._close_sockets()

    def _loop(self) -> None:
        poller = Poller()
        poller.add(self._workers, "workers")
        poller.add(self._waker, "posts")
        if self._clients is not None:
            poller.add(self._clients, "clients")
        if self.image_door is not None:
            poller.add(self.image_door.pull, "images")
        self.feed(events.Tick())
        while not self.schedule.roster.gone:
            deadline = self.schedule.next_deadline()
            if deadline is not None and time.monotonic() >= deadline:
                self.feed(events.Tick())
                deadline = self.schedule.next_deadline()
            sources = poller.wait(self._timeout(deadline))
            if "posts" in sources:
                self._waker.clear()
            while not self._posts.empty():
                self._posts.get()()
            if "workers" in sources:
                self._hear_workers()
            if "clients" in sources:
                self._hear_clients()
            if "images" in sources:
                self._hear_image_server()
            for outgoing in (self.outbox, self.image_door):
                if outgoing is not None and outgoing.parked:
                    outgoing.flush()

        self._await_deliveries()

    def _await_deliveries(self) -> None:
        """Replies that were decided leave, though the clerk is still reading or linking their files."""
        poller = Poller()
        poller.add(self._waker, "posts")
        deadline = time.monotonic() + _DELIVERY_S
        while self.callers and time.monotonic() < deadline:
            if poller.wait(deadline - time.monotonic()):
                self._waker.clear()
            while not self._posts.empty():
                self._posts.get()()

    def _timeout(self, deadline: float | None) -> float:
        if not self._posts.empty():
            return 0.0
        wait = 3600.0 if deadline is None else max(0.0, deadline - time.monotonic())
        if any(outgoing is not None and outgoing.parked for outgoing in (self.outbox, self.image_door)):
            wait = min(wait, 0.02)
        return wait

    def _fail_callers(self) -> None:
        """The loop is over: nobody may be left waiting."""
        while not self._posts.empty():
            with contextlib.suppress(Exception):
                self._posts.get()()
        for caller in list(self.callers.values()):
            with contextlib.suppress(Exception):
                caller.finish(Final(kind="error", error=PoolClosed("the pool has stopped")))
        self.callers.clear()

    # -- hearing -----------------------------------------------------------------------------------

    def _hear_workers(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            frames = self._workers.receive()
            if frames is None:
                return
            try:
                name, incarnation, lane = frames[0].decode().rsplit(":", 2)
                self._worker_said(name, int(incarnation), lane, worker_messages.from_worker(frames[1]), frames[2:])
            except (BadMessage, ValueError, IndexError) as exc:
                self.counts["bad_worker_messages"] += 1
                log.warning("a message that is not a worker's: %s", exc)

    def _worker_said(self, name: str, incarnation: int, lane: str, message: Any, frames: list[bytes]) -> None:
        peer = self._peers.get(name)
        if peer is None or peer.incarnation != incarnation:
            if not isinstance(message, worker_messages.Hello):
                self.counts["late_worker_messages"] += 1
                return
            peer = self._peers[name] = _Peer(incarnation)
        peer.lanes.add(lane)
        match message:
            case worker_messages.Hello():
                self.feed(events.Said(worker=name, incarnation=incarnation))
                if self.schedule.roster.current(name, incarnation) is not None:
                    self._send(name, incarnation, "control", [packing.pack(self.hands.load(name))])
            case worker_messages.Ready():
                peer.ready = message
            case worker_messages.LoadFailed():
                error = client_messages.error_of(message.error)
                self.feed(events.LoadFailed(worker=name, incarnation=incarnation, error=error))
                self._send(name, incarnation, "control", [packing.pack(worker_messages.Stop())])  # heard: it may go
            case worker_messages.Beat():
                self.feed(events.Beaten(worker=name, incarnation=incarnation))
            case worker_messages.Progress():
                body = {"stage": message.stage, "done": message.done, "total": message.total}
                body["fraction"] = message.done / message.total if message.total else 0.0
                self.feed(
                    events.JobProgress(
                        worker=name, incarnation=incarnation, job=message.job, attempt=message.attempt, body=body
                    )
                )
            case worker_messages.Done():
                self._done(name, incarnation, message, frames)
            case worker_messages.Failed():
                self.hands.landed(message.job, f"{name}:{incarnation}", {}, [])
                self.feed(
                    events.JobFailed(
                        worker=name,
                        incarnation=incarnation,
                        job=message.job,
                        attempt=message.attempt,
                        error=client_messages.error_of(message.error),
                    )
                )
        if peer.ready is not None and {"control", "make", "quick"} <= peer.lanes:
            ready, peer.ready = peer.ready, None
            self.hands.worker_ready(name, ready)
            batching = frozenset(
                engine for engine, info in ready.engines.items() if info.get("batch") and info.get("steps")
            )
            self.feed(
                events.Ready(worker=name, incarnation=incarnation, engines=frozenset(ready.engines), batching=batching)
            )

    def _done(self, name: str, incarnation: int, message: worker_messages.Done, frames: list[bytes]) -> None:
        result = message.result
        if "parts" in result:
            parts = {int(work): part for work, part in result["parts"].items()}
        else:  # a task of one work: the schedule knows which
            worker = self.schedule.roster.current(name, incarnation)
            held = worker.jobs.get(message.job) if worker is not None else None
            parts = dict.fromkeys(held.works if held is not None else (), result)
        self.hands.landed(message.job, f"{name}:{incarnation}", parts, frames, result.get("unwritable", ()))
        self.feed(
            events.JobDone(worker=name, incarnation=incarnation, job=message.job, attempt=message.attempt, parts=parts)
        )

    def _hear_clients(self) -> None:
        assert self._clients is not None and self.outbox is not None
        for _ in range(_MOST_AT_ONCE):
            frames = self._clients.receive()
            if frames is None:
                return
            self.hands.client_said(frames, self.outbox)

    def _hear_image_server(self) -> None:
        assert self.image_door is not None
        for _ in range(_MOST_AT_ONCE):
            frames = self.image_door.pull.receive()
            if frames is None:
                return
            self.hands.image_server_said(frames[-1], self.image_door.send)

    # -- deciding and doing ------------------------------------------------------------------------

    def feed(self, event: events.Event) -> None:
        """Router's thread only: the schedule decides, and what it decides is done."""
        pending: collections.deque[events.Event] = collections.deque([event])
        while pending:
            for action in self.schedule.handle(pending.popleft(), time.monotonic()):
                answer = self._do(action)
                if answer is not None:
                    pending.append(answer)

    def _do(self, action: events.Action) -> events.Event | None:
        match action:
            case events.Answer():
                self._answer(action)
            case events.Notify():
                caller = self.callers.get(action.ticket)
                if caller is not None:
                    caller.notify(action.type, action.body)
            case events.FindExact():
                return self.hands.find_exact(action.work, action.ticket)
            case events.FindNear():
                return self.hands.find_near(action.work, action.ticket, action.vectors)
            case events.SendJob():
                return self._send_job(action)
            case events.SendCancel():
                message = worker_messages.CancelJob(job=action.job, attempt=action.attempt)
                self._send(action.worker, action.incarnation, "control", [packing.pack(message)])
            case events.SendStop():
                self._send(action.worker, action.incarnation, "control", [packing.pack(worker_messages.Stop())])
            case events.Keep():
                self.hands.keep(action)
            case events.Discard():
                self.hands.discard(action.outcome)
            case events.Forget():
                self.hands.forget(action.work)
            case events.Spawn():
                self.hands.spawn(action.worker, action.incarnation)
            case events.Kill():
                self.hands.kill(action.worker, action.incarnation, action.why)
        return None

    def _send_job(self, action: events.SendJob) -> events.Event | None:
        try:
            task, grants, frames = self.hands.task(action)
        except AudioPoolError as exc:
            return events.JobFailed(
                worker=action.worker,
                incarnation=action.incarnation,
                job=action.job,
                attempt=action.attempt,
                error=exc,
            )
        ids = [self.callers[ticket].request_id for ticket in action.tickets if ticket in self.callers]
        job = worker_messages.Job(
            job=action.job,
            attempt=action.attempt,
            incarnation=action.incarnation,
            task=task,
            grants=grants,
            request_ids=ids,
        )
        self.telemetry.count("jobs", kind=action.kind)
        lane = "make" if action.kind == "make" else "quick"
        # a peer that does not take it is dying or hung: its death or its silence brings the job back
        self._send(action.worker, action.incarnation, lane, [packing.pack(job), *frames])
        return None

    def _send(self, name: str, incarnation: int, lane: str, frames: list[bytes]) -> None:
        if not self._workers.send_to(f"{name}:{incarnation}:{lane}".encode(), frames):
            self.counts["unsent_to_workers"] += 1
            log.warning("worker %s (%s) does not take messages", name, lane)

    def _answer(self, action: events.Answer) -> None:
        caller = self.callers.get(action.ticket)
        if caller is None:
            return
        self.counts[action.kind] += 1
        self.telemetry.count("answers", kind=action.kind)
        if "total" in action.times_ms:
            self.telemetry.timing("request_seconds", action.times_ms["total"] / 1000, kind=action.kind)
        final = self.hands.answer(action, caller)
        if final is not None:
            self.finish(action.ticket, final)

    def finish(self, ticket: int, final: Final) -> None:
        """Router's thread only: the reply leaves, once."""
        caller = self.callers.pop(ticket, None)
        if caller is not None:
            caller.finish(final)

    def died(self, name: str, incarnation: int, reason: str) -> None:
        """Router's thread only: a worker's process is gone."""
        # what it said before it died counts: a finished job must not be made again
        self._hear_workers()
        peer = self._peers.get(name)
        if peer is not None and peer.incarnation == incarnation:
            del self._peers[name]
        if not self.schedule.roster.stopping:
            self.telemetry.count("worker_deaths", worker=name)
        self.hands.worker_died(name, incarnation)
        self.feed(events.Died(worker=name, incarnation=incarnation, reason=reason))
