"""The workers' socket: their messages become events, tasks and orders leave through it.

Owns: which of a worker's threads can be addressed, and the start-up conversation (hello, load, ready).
Must not know: when a task is sent, what a result means.
"""

from __future__ import annotations

import collections
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from audio_pool.errors import BadMessage, WorkerStartFailed
from audio_pool.results import SAMPLE_BYTES, Chunk, Failure, Progress
from audio_pool.scheduler import events
from audio_pool.scheduler.batches import batching_of
from audio_pool.transport import packing
from audio_pool.transport.sockets import Channel, SendResult, router
from audio_pool.transport.worker_messages import (
    WORKER_PROTOCOL,
    FromWorker,
    Heartbeat,
    Hello,
    Load,
    LoadFailed,
    Ready,
    Stop,
    TaskChunk,
    TaskDone,
    TaskFailed,
    TaskProgress,
    TaskReturned,
    ToWorker,
    from_worker,
    worker_identity,
)

if TYPE_CHECKING:
    from audio_pool.pool.remote_link import RemoteLink

__all__ = ["Received", "WorkerLink"]

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 64
"""Messages taken from the socket before the others get their turn."""
_THREADS = {"control", "generate", "aux"}
_TOLD_EVERY_S = 10.0
Frames = Sequence[bytes | memoryview]


class Received(Struct, frozen=True, kw_only=True):
    """An event from a worker, and what came with it."""

    event: events.Event
    frames: Frames = ()
    """Inline tensors of a TaskDone."""
    unwritable: tuple[int, ...] = ()
    """Generations of granted slots that a TaskDone's worker could not write."""
    ready: Ready | None = None
    """Of a WorkerReady: what the worker says of its engines."""


@dataclass
class _Peer:
    """One incarnation of one worker."""

    incarnation: int
    threads: set[str] = field(default_factory=set)
    """Those that have been heard of, and so can be addressed."""
    ready: Ready | None = None
    """Until all threads can be addressed."""
    pid: int = 0
    """The process that said hello; 0 where zmq does not know."""
    settled: bool = False
    """It has said what has come of its start."""


class WorkerLink:
    """A bound ROUTER that workers connect to. Router's thread only."""

    def __init__(
        self,
        endpoint: str,
        loads: Mapping[str, Load],
        is_process_of: Callable[[str, int], bool] = lambda worker, pid: True,
        remote: RemoteLink | None = None,
        is_remote: Callable[[str], bool] = lambda worker: False,
    ) -> None:
        """
        Args:
            loads: by worker; a worker of another name is not let in.
            is_process_of: whether a worker's name may come from the process of this id.
            remote: where workers of other machines come in.
            is_remote: whether a worker is one of those.
        """
        self.remote = remote
        self._is_remote = is_remote
        self.channel: Channel = router(endpoint, private=True)
        self.counts: collections.Counter[str] = collections.Counter()
        self._loads = loads
        self._is_process_of = is_process_of
        self._peers: dict[str, _Peer] = {}
        self._secrets: dict[str, dict[int, str]] = {}
        """By worker and incarnation: the present one, and the one before, whose last messages may come late."""
        self._senders: dict[bytes, tuple[str, int, str]] = {}
        """Routing ids that have proved whose they are: worker, incarnation, thread. Until a secret changes."""
        self._tell_at = 0.0
        self._one_by_one: set[str] = set()
        """Workers that have ended while they loaded."""

    def close(self) -> None:
        """Close the socket."""
        self.channel.close()

    def expect(self, worker: str, incarnation: int) -> str:
        """Let an incarnation in that is about to be started; return the secret that it must know."""
        self._senders.clear()
        known = self._secrets.setdefault(worker, {})
        for old in [one for one in known if one < incarnation - 1]:
            del known[old]
        secret = known.setdefault(incarnation, secrets.token_hex(16))
        if self.remote is not None and self._is_remote(worker):
            return self.remote.expect(worker, incarnation, secret)
        return secret

    # -- to workers --------------------------------------------------------------------------------

    def send(
        self, worker: str, incarnation: int, thread: str, message: ToWorker, frames: Frames = ()
    ) -> None:
        """Send a message. A peer that does not take it is dying or hung: its death or silence brings tasks back."""
        identity = worker_identity(worker, incarnation, thread, self._secrets.get(worker, {}).get(incarnation, ""))
        if self.remote is not None and self._is_remote(worker):
            self.remote.send(identity, message, frames)
            return
        sent = self.channel.send_to(identity, [packing.pack(message), *frames], copy=not frames)
        if sent is not SendResult.SENT:
            self.counts["unsent_to_workers"] += 1
            log.warning("worker %s (%s) does not take messages: it is %s", worker, thread, sent.name.lower())

    # -- from workers ------------------------------------------------------------------------------

    def receive(self) -> Iterator[Received]:
        """Yield events for what has arrived.

        What a stranger sends is counted and dropped. What a worker sends that is no message is that worker's fault
        alone: ``WorkerMisspoke``.
        """
        for _ in range(_MOST_AT_ONCE):
            received = self.channel.receive_with_pid()
            if received is None:
                break
            frames, pid = received
            yield from self._received(frames[0], frames[1:], pid)
        if self.remote is not None:
            for arrived in self.remote.receive():
                yield from self._received(arrived.identity, arrived.frames, 0, arrived.message, arrived.error)

    def _received(
        self,
        identity: bytes,
        frames: Frames,
        pid: int,
        message: FromWorker | None = None,
        error: BadMessage | None = None,
    ) -> Iterator[Received]:
        """Yield events for one message.

        Args:
            message: what has been read already; None: the first frame is it.
            error: what is wrong with it.
        """
        sender = self._senders.get(identity) or self._recognised(identity, pid)
        if sender is None:
            return
        name, incarnation, thread = sender
        peer = self._peers.get(name)
        current = peer is not None and peer.incarnation == incarnation
        if peer is not None and current and pid != peer.pid:
            self._refuse(pid, f"process {peer.pid} has said hello as {name!r}")
            return
        try:
            if error is not None:
                raise error
            if message is None:
                message, frames = from_worker(frames[0]), frames[1:]
            yield from self._events_of(name, incarnation, thread, message, frames, pid)
        except (BadMessage, ValueError, IndexError) as exc:
            self.counts["bad_worker_messages"] += 1
            if not current:
                log.warning("a message that is not a worker's: %s", exc)
                return
            log.error("worker %s sent what is no message: %s", name, exc)
            del self._peers[name], self._secrets[name][incarnation]  # nothing else that it says counts
            self._senders.clear()
            yield Received(event=events.WorkerMisspoke(worker=name, incarnation=incarnation, reason=str(exc)[:500]))

    def _recognised(self, identity: bytes, pid: int) -> tuple[str, int, str] | None:
        """Return who has this routing id and knows the secret that goes with it; None: a stranger."""
        try:
            name, incarnation, thread, secret = _sender(identity)
        except ValueError:
            self._refuse(pid, "it says no worker's name")
            return None
        expected = self._secrets.get(name, {}).get(incarnation, "")
        if not expected or not hmac.compare_digest(secret, expected):
            self._refuse(pid, f"it says that it is {name[:60]!r} and does not know what that one knows")
            return None
        self._senders[identity] = name, incarnation, thread
        return self._senders[identity]

    def _refuse(self, pid: int, why: str) -> None:
        """Count a stranger's message, and tell of it now and then."""
        self.counts["strangers_refused"] += 1
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TOLD_EVERY_S
            log.warning(
                "refused a message on the workers' socket from process %d: %s; refused so far: %d",
                pid, why, self.counts["strangers_refused"],
            )  # fmt: skip

    def forget(self, worker: str, incarnation: int) -> None:
        """Forget a process that is gone."""
        if self.remote is not None and self._is_remote(worker):
            self.remote.revoke(worker, incarnation)
        peer = self._peers.get(worker)
        if peer is not None and peer.incarnation == incarnation:
            del self._peers[worker]
            if not peer.settled:  # one of its engines may be to blame: the next process says which
                self._one_by_one.add(worker)

    def _events_of(
        self, worker: str, incarnation: int, thread: str, message: FromWorker, frames: Frames, pid: int
    ) -> Iterator[Received]:
        peer = self._peers.get(worker)
        if peer is None or peer.incarnation != incarnation:
            if not isinstance(message, Hello) or worker not in self._loads:
                self.counts["late_worker_messages"] += 1
                return
            if pid and not self._is_process_of(worker, pid):
                self._refuse(pid, f"it says hello as {worker!r} and was not started as that")
                return
            peer = self._peers[worker] = _Peer(incarnation, pid=pid)
        elif isinstance(message, Hello):
            self._refuse(pid, f"{worker!r} has said hello before")
            return
        peer.threads.add(thread)
        match message:
            case Hello():
                yield from self._on_hello(worker, incarnation, message)
            case Ready():
                peer.ready, peer.settled = message, True
            case LoadFailed():
                peer.settled = True
                event = events.LoadFailed(worker=worker, incarnation=incarnation, failure=message.failure)
                yield Received(event=event)
                self.send(worker, incarnation, "control", Stop())  # it has been read: the process may end
            case Heartbeat():
                beat = events.Heartbeat(
                    worker=worker, incarnation=incarnation, lanes=message.lanes, tasks=message.tasks
                )
                yield Received(event=beat)
            case TaskProgress():
                yield Received(event=_progress(worker, incarnation, message))
            case TaskChunk():
                yield Received(event=_chunk(worker, incarnation, message, frames))
            case TaskDone():
                done = events.TaskDone(
                    worker=worker,
                    incarnation=incarnation,
                    task=message.task_id,
                    attempt=message.attempt,
                    results=message.results,
                )
                yield Received(event=done, frames=frames, unwritable=message.unwritable)
            case TaskFailed():
                failed = events.TaskFailed(
                    worker=worker,
                    incarnation=incarnation,
                    task=message.task_id,
                    attempt=message.attempt,
                    failure=message.failure,
                )
                yield Received(event=failed)
            case TaskReturned():
                returned = events.TaskReturned(
                    worker=worker, incarnation=incarnation, task=message.task_id, attempt=message.attempt
                )
                yield Received(event=returned)
        if peer.ready is not None and peer.threads >= _THREADS:
            ready, peer.ready = peer.ready, None
            yield Received(event=_ready(worker, incarnation, ready), ready=ready)

    def _on_hello(self, worker: str, incarnation: int, hello: Hello) -> Iterator[Received]:
        yield Received(event=events.WorkerHello(worker=worker, incarnation=incarnation))
        if hello.protocol != WORKER_PROTOCOL:
            error = WorkerStartFailed(
                f"worker {worker!r} speaks protocol {hello.protocol}, this pool {WORKER_PROTOCOL}: "
                "it runs another version of audio_pool",
                hint="stop everything that runs the old version, and start again",
            )
            failed = events.LoadFailed(worker=worker, incarnation=incarnation, failure=Failure.of(error))
            yield Received(event=failed)
            self.send(worker, incarnation, "control", Stop())
            return
        log.debug("worker %s: Python %s, pid %d", worker, hello.python, hello.pid)
        load = self._loads[worker]
        if worker in self._one_by_one:
            load = structs.replace(load, one_by_one=True)
        self.send(worker, incarnation, "control", load)


def _sender(identity: bytes) -> tuple[str, int, str, str]:
    """Return worker, incarnation, thread and secret of a routing id. Raises ValueError."""
    name, number, thread, secret = identity.decode().rsplit(":", 3)
    if thread not in _THREADS:
        raise ValueError("no such thread")
    return name, int(number), thread, secret


def _ready(worker: str, incarnation: int, ready: Ready) -> events.WorkerReady:
    still = f", still loading {', '.join(ready.coming)}" if ready.coming else ""
    log.info("worker %s has loaded %s in %.2f s%s", worker, ", ".join(ready.engines) or "nothing", ready.load_s, still)
    for name, failure in ready.failed.items():
        log.warning("worker %s works without %s: %s", worker, name, failure.message)
    return events.WorkerReady(
        worker=worker,
        incarnation=incarnation,
        engines=frozenset(ready.engines) | frozenset(ready.later),
        loaded=frozenset(ready.engines) if ready.later else None,
        sizes={name: size for name, size in ready.sizes.items() if size > 0},
        failed=ready.failed,
        coming=frozenset(ready.coming),
        batching={name: how for name, info in ready.engines.items() if (how := batching_of(info)) is not None},
    )


def _chunk(worker: str, incarnation: int, message: TaskChunk, frames: Frames) -> events.TaskChunk:
    """Raises ValueError: the samples are not those that the message tells of."""
    expected = message.frames * message.channels * SAMPLE_BYTES[message.encoding]
    if len(frames) != 1 or len(frames[0]) != expected:
        raise ValueError(f"a chunk of {sum(map(len, frames)):,} bytes of samples, told were {expected:,}")
    chunk = Chunk(
        number=0,
        start=message.start,
        frames=message.frames,
        sample_rate=message.sample_rate,
        channels=message.channels,
        encoding=message.encoding,
        data=bytes(frames[0]),
    )
    return events.TaskChunk(
        worker=worker,
        incarnation=incarnation,
        task=message.task_id,
        attempt=message.attempt,
        job=message.job,
        chunk=chunk,
    )


def _progress(worker: str, incarnation: int, message: TaskProgress) -> events.TaskProgress:
    progress = Progress(
        stage=message.stage,
        done=message.done,
        total=message.total,
        fraction=message.done / message.total if message.total else 0.0,
    )
    return events.TaskProgress(
        worker=worker, incarnation=incarnation, task=message.task_id, attempt=message.attempt, progress=progress
    )
