"""The way to workers on other machines: an encrypted socket with an I/O thread of its own, a thread for large messages.

Owns: RemoteLink: who of them is let in and heard, messages in pieces, files of tasks on their way there and back.
Must not know: what a message makes anybody do (worker_link.py); when a task is sent.

A small message changes no thread: the router's sends it, and takes it from the socket; waking another costs more than
that. A large one is put together, decoded and sent on the link's thread; files are read by one thread behind it, and
written and fsynced by two. The router gets whole messages whose files lie where the task said.

The socket is used by one thread at a time (``_using``). Its descriptor tells of a change once, and who sends may take
that in: whoever has used it looks whether something has arrived, and wakes the router.
"""

from __future__ import annotations

import collections
import functools
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from audio_pool.errors import AudioPoolError, BadMessage, StorageError
from audio_pool.pool.remote_files import inlined, needs_reading, put_back, read_inputs
from audio_pool.results import Failure
from audio_pool.tasks import GenerateTask, Task
from audio_pool.transport import packing
from audio_pool.transport.compression import best_codec
from audio_pool.transport.pieces import Assembly, Parting
from audio_pool.transport.poller import Poller
from audio_pool.transport.remote_channel import HIGH_WATER, MOST_BYTES
from audio_pool.transport.sockets import SendResult, router
from audio_pool.transport.task_files import inputs_of
from audio_pool.transport.tensors import SlotReader
from audio_pool.transport.waker import Waker
from audio_pool.transport.worker_keys import WorkerKeys
from audio_pool.transport.worker_messages import (
    FromWorker,
    RunTask,
    TaskDone,
    TaskFailed,
    TaskReturned,
    ToWorker,
    from_worker,
)

__all__ = ["Arrived", "Carry", "RemoteLink"]

log = logging.getLogger(__name__)

Frames = Sequence[bytes | memoryview]
Carry = Callable[[str, int, str, Callable[[str | None], None]], None]
"""Brings a file (worker, incarnation, path) to a worker's machine by another way, and tells where it lies there; None:
it could not be brought."""

_FRAME_BYTES = 2 << 20
"""Largest frame taken: a piece, and what it says of itself."""
_RETRY_S = 0.005
"""Between two tries to send to a worker that is slow."""
_MOST_AT_ONCE = 64
_MOST_BEHIND, _GO_ON_AT = 8, 2
"""Pieces that wait for the thread: with more of them nothing is read, so that senders wait and not everybody else; it
goes on once there are as few as this."""
_STOP_S = 10.0
_CARRY_S = 10.0
"""A file that was not brought by another way in so long travels with its task."""
_TOLD_EVERY_S = 10.0


@dataclass(frozen=True)
class Arrived:
    """A whole message, as the router reads it."""

    identity: bytes
    message: FromWorker | None
    frames: list[bytes | memoryview] = field(default_factory=list)
    error: BadMessage | None = None
    """It is no message."""


class RemoteLink:
    """Its methods may be called from any thread, but for ``receive``; none waits but ``close``."""

    def __init__(self, bind: str, arena: Path, link_mbit: float) -> None:
        """
        Args:
            bind: where workers connect.
            arena: slots are read there whose tensors go to a worker of another machine.
            link_mbit: of the network.

        Raises:
            InvalidConfig, Refused: it cannot or may not be bound.
        """
        self.keys = WorkerKeys()
        self.waker = Waker()
        """To be polled, with the link itself; readable once something has arrived."""
        self.counts: collections.Counter[str] = collections.Counter()
        self.carry: Carry | None = None
        """For files that several tasks may read; None: they travel with each."""
        self._channel = router(
            bind, keys=self.keys, high_water=HIGH_WATER, max_bytes=_FRAME_BYTES, knows_senders=True, apart=True
        )
        self._using = threading.Lock()
        self.endpoint = self._channel.endpoint
        self._link_mbit = link_mbit
        self._parting = Parting(best_codec(link_mbit))
        self._arrived: queue.SimpleQueue[Arrived] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._orders_waker = Waker()
        self._assemblies: dict[bytes, Assembly] = {}
        self._untaken: dict[bytes, int] = {}
        """Frames of large messages that wait for the thread, by who sent them: what he sends next waits behind them."""
        self._paused = False
        self._leaving: dict[bytes, collections.deque[Iterator[list[bytes | memoryview]]]] = {}
        """Messages that are not sent whole yet, by who gets them; what he gets next waits behind them."""
        self._held: dict[bytes, list[bytes | memoryview]] = {}
        """A piece that a slow worker has not taken."""
        self._under_way: dict[tuple[str, int, int, int], Task] = {}
        """Tasks that are not answered, by worker, incarnation, task and attempt."""
        self._slots = SlotReader(arena)
        # one thread: tasks reach a worker in the order in which they were sent, whatever has to be read for them
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audio-pool-remote-reading")
        self._writing = ThreadPoolExecutor(max_workers=2, thread_name_prefix="audio-pool-remote-writing")
        self._unread, self._unread_lock = 0, threading.Lock()
        """Tasks for which something is being read."""
        self._tell_at = 0.0
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="audio-pool-remote", daemon=True)
        self._thread.start()

    # -- from any thread ---------------------------------------------------------------------------

    def expect(self, worker: str, incarnation: int, secret: str) -> str:
        """Let a start of a worker in; return the line that tells it of its keys."""
        self._order(lambda: self._revoke(worker, incarnation - 1))
        return self.keys.make(worker, incarnation, secret, self._link_mbit).line()

    def revoke(self, worker: str, incarnation: int) -> None:
        """Hear nothing more of a start of a worker, whatever it goes on sending."""
        self.keys.revoke(worker, incarnation)
        self._order(lambda: self._revoke(worker, incarnation))

    def send(self, identity: bytes, message: ToWorker, frames: Frames = ()) -> None:
        """Send a message; a task with all that it reads."""
        if isinstance(message, RunTask):
            worker, incarnation = _owner(identity)
            self._under_way[worker, incarnation, message.task_id, message.attempt] = message.task
            run, given = message, list(frames)
            with self._unread_lock:
                at_once = not (self._unread or given or needs_reading(run.task))
                self._unread += not at_once
            if at_once:  # nothing waits to be read that it would overtake
                self._send_with_files(identity, run, given, {})
            else:
                _submit(self._reading, lambda: self._send_task(identity, run, given))
        else:
            self._leave(identity, self._parting.parted([packing.pack(message), *frames]))

    def fileno(self) -> int:
        """To be polled; it tells of a change once, then ``receive`` is to be called."""
        return self._channel.fileno()

    def receive(self) -> Iterator[Arrived]:
        """Yield messages that have arrived, not too many at once. Router's thread only."""
        self.waker.clear()
        for _ in range(_MOST_AT_ONCE):
            while not self._arrived.empty():
                yield self._arrived.get()
            with self._using:
                self._paused = sum(self._untaken.values()) >= _MOST_BEHIND
                frames = None if self._ended or self._paused else self._channel.receive()
                if frames is None:
                    return
                attached, key = self._channel.attached, self._channel.sender_key
            identity = frames[0]
            if self._is_known(identity, key):
                arrived = self._taken(identity, [*frames[1:], *attached])
                if arrived is not None:
                    yield arrived
        self.waker.wake()

    def _taken(self, identity: bytes, frames: list[bytes | memoryview]) -> Arrived | None:
        """Return a small message; leave a large one to the thread, and what comes behind it."""
        if identity in self._untaken or not Assembly.is_whole(frames):
            with self._using:
                self._untaken[identity] = self._untaken.get(identity, 0) + 1
            self._order(lambda: self._assemble(identity, frames))
            return None
        try:
            return self._whole(identity, frames[1:])
        except BadMessage as exc:
            return self._misspoken(identity, exc)
        except Exception:  # whatever it was: everybody else's messages come through here, too
            log.exception("a remote worker's message met a bug")
            return None

    def close(self) -> None:
        """Close the socket and end the threads."""
        self._reading.shutdown(cancel_futures=True)
        self._writing.shutdown(cancel_futures=True)

        def end() -> None:
            self._ended = True

        self._order(end)
        self._thread.join(_STOP_S)
        self.waker.close()

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)
        self._orders_waker.wake()

    # -- on the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        poller = Poller[str]()
        poller.add(self._orders_waker, "order")
        while not self._ended:
            try:
                if poller.wait(_RETRY_S if self._leaving else 3600.0):
                    self._orders_waker.clear()
                while not self._orders.empty():
                    self._orders.get()()
                for identity in list(self._leaving):
                    self._flush(identity)
            except Exception:  # whatever it was: all the others' messages come through here, too
                log.exception("the link to remote workers met a bug and goes on")
                time.sleep(_RETRY_S)
        with self._using:
            self._channel.close()
        self._orders_waker.close()

    def _assemble(self, identity: bytes, frames: list[bytes | memoryview]) -> None:
        """Take a piece of a large message, or what came behind one."""
        try:
            whole = self._assemblies.setdefault(identity, Assembly(MOST_BYTES)).take(frames)
            if whole is not None and (arrived := self._whole(identity, whole)) is not None:
                self._arrive(arrived)
        except BadMessage as exc:
            self._arrive(self._misspoken(identity, exc))
        finally:
            with self._using:
                left = self._untaken.pop(identity, 1) - 1
                if left:
                    self._untaken[identity] = left
                goes_on = self._paused and sum(self._untaken.values()) <= _GO_ON_AT
                self._paused = self._paused and not goes_on
            if goes_on:
                self.waker.wake()

    def _is_known(self, identity: bytes, key: str) -> bool:
        """Return True for who shows the key that the worker was given whose name he says."""
        owner = self.keys.owner(key)
        try:
            known = owner is not None and owner == _owner(identity)
        except ValueError:
            known = False
        if not known:
            self.counts["remote_refused"] += 1
            now = time.monotonic()
            if now >= self._tell_at:
                self._tell_at = now + _TOLD_EVERY_S
                who = "a key that is worth nothing any more" if owner is None else f"the key of {owner[0]!r}"
                log.warning(
                    "dropped a message of a remote worker: it came under %r with %s; dropped so far: %d",
                    identity[:60].rpartition(b":")[0], who, self.counts["remote_refused"],
                )  # fmt: skip
        return known

    def _whole(self, identity: bytes, frames: Sequence[bytes | memoryview]) -> Arrived | None:
        """Return a whole message; None: it arrives once its files have found their places. Raises BadMessage."""
        if not frames:
            raise BadMessage("a message without a frame")
        message = from_worker(bytes(frames[0]))
        task = None
        if isinstance(message, TaskDone | TaskFailed | TaskReturned):
            key = (*_owner(identity), message.task_id, message.attempt)
            task = self._under_way.pop(key, None)
        if isinstance(message, TaskDone) and message.files:
            if task is None:
                self.counts["late_remote_files"] += 1
            else:
                done = message
                _submit(self._writing, lambda: self._put_back(identity, done, task, list(frames[1:])))
            return None
        return Arrived(identity, message, list(frames[1:]))

    def _misspoken(self, identity: bytes, exc: BadMessage) -> Arrived:
        self.keys.revoke(*_owner(identity))
        return Arrived(identity, None, error=exc)

    def _arrive(self, arrived: Arrived) -> None:
        self._arrived.put(arrived)
        self.waker.wake()

    def _leave(self, identity: bytes, pieces: Iterator[list[bytes | memoryview]]) -> None:
        """Send a small message at once, where none waits before it; leave the others to the thread."""
        first = next(pieces)
        with self._using:
            if self._ended:
                return
            waiting = self._leaving.get(identity)
            sent = SendResult.SLOW
            if waiting is None and Assembly.is_whole(first):
                sent = self._channel.send_to(identity, first)
            if sent is SendResult.SLOW:
                pieces = itertools.chain([first], pieces)
                self._leaving.setdefault(identity, collections.deque()).append(pieces)
            missed = self._channel.readable()
        if missed:
            self.waker.wake()
        if sent is SendResult.GONE:  # its silence brings the tasks back
            self.counts["unsent_to_remote"] += 1
        elif sent is SendResult.SLOW:
            self._orders_waker.wake()

    def _flush(self, identity: bytes) -> None:
        """Send what a worker takes now."""
        while self._flush_piece(identity):
            pass

    def _flush_piece(self, identity: bytes) -> bool:
        """Send a piece; return True if more may follow at once."""
        waiting = self._leaving.get(identity)
        piece = None
        if waiting:
            piece = self._held.pop(identity, None) or next(waiting[0], None)  # parted here, without the lock
        with self._using:
            if not waiting:
                self._leaving.pop(identity, None)
                return False
            if piece is None:
                waiting.popleft()
                if not waiting:  # under the lock: whoever sends next finds either all of this or nothing
                    self._leaving.pop(identity, None)
                return bool(waiting)
            sent = self._channel.send_to(identity, piece)
            if sent is SendResult.SLOW:
                self._held[identity] = piece
            elif sent is SendResult.GONE:  # its silence brings the tasks back
                self.counts["unsent_to_remote"] += 1
                waiting.clear()
                self._leaving.pop(identity, None)
            missed = self._channel.readable()
        if missed:
            self.waker.wake()
        return sent is SendResult.SENT

    def _revoke(self, worker: str, incarnation: int) -> None:
        with self._using:
            for known in (self._assemblies, self._leaving, self._held, self._untaken):
                for identity in list(known):
                    name, number = _owner(identity)
                    if name == worker and number <= incarnation:
                        known.pop(identity)
        self.waker.wake()  # it may be that nothing was read because of what is gone now
        for key in list(self._under_way):
            if key[0] == worker and key[1] <= incarnation:
                self._under_way.pop(key, None)

    # -- on the threads for files ------------------------------------------------------------------

    def _send_task(self, identity: bytes, run: RunTask, frames: list[bytes | memoryview]) -> None:
        """Send a task with what it reads, and does not lie on its worker's machine."""
        placed: dict[str, str] = {}
        try:
            if self.carry is not None and isinstance(run.task, GenerateTask):
                placed = self._carried(self.carry, identity, [one.path for one in inputs_of(run.task)])
            self._send_with_files(identity, run, frames, placed)
        finally:
            with self._unread_lock:
                self._unread -= 1

    def _carried(self, carry: Carry, identity: bytes, paths: Sequence[str]) -> dict[str, str]:
        """Have files brought by another way; return where they lie now. What is not there in time is none of them."""
        answers: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
        for path in paths:
            carry(*_owner(identity), path, functools.partial(_answered, answers, path))
        placed: dict[str, str] = {}
        until = time.monotonic() + _CARRY_S
        for _ in paths:
            try:
                path, there = answers.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                log.warning("a file was not brought to worker %s within %g s", _owner(identity)[0], _CARRY_S)
                break
            if there is not None:
                placed[path] = there
        return placed

    def _send_with_files(
        self, identity: bytes, run: RunTask, frames: list[bytes | memoryview], placed: Mapping[str, str]
    ) -> None:
        try:
            task, tensors = inlined(run.task, frames, self._slots)
            files = read_inputs(task, set(placed))
            sent = structs.replace(run, task=task, grants=(), files=tuple(files), placed=dict(placed))
            # here, not where messages are received: compressing sounds would keep heartbeats from being heard
            pieces = iter(list(self._parting.parted([packing.pack(sent), *tensors, *files.values()])))
        except Exception as exc:
            if not isinstance(exc, AudioPoolError):
                log.exception("task %d could not be sent to a remote worker", run.task_id)
                exc = StorageError(f"the task could not be sent to its worker: {exc}")
            self._fail(identity, run.incarnation, run.task_id, run.attempt, exc)
        else:
            self._leave(identity, pieces)

    def _put_back(self, identity: bytes, done: TaskDone, task: Task, frames: list[bytes | memoryview]) -> None:
        try:
            results, rest = put_back(done, task, frames)
        except Exception as exc:
            if isinstance(exc, BadMessage):
                self._arrive(Arrived(identity, None, error=exc))
                return
            if not isinstance(exc, AudioPoolError):
                log.exception("the files of task %d could not be kept", done.task_id)
                exc = StorageError(f"a finished sound could not be kept: {exc}")
            self._fail(identity, done.incarnation, done.task_id, done.attempt, exc)
        else:
            self._arrive(Arrived(identity, structs.replace(done, results=results, files=()), rest))

    def _fail(self, identity: bytes, incarnation: int, task: int, attempt: int, exc: AudioPoolError) -> None:
        failed = TaskFailed(incarnation=incarnation, task_id=task, attempt=attempt, failure=Failure.of(exc))
        self._arrive(Arrived(identity, failed))


def _submit(threads: ThreadPoolExecutor, work: Callable[[], None]) -> None:
    try:
        threads.submit(work)
    except RuntimeError:  # the pool stops
        log.debug("nothing is sent to remote workers any more")


def _answered(answers: queue.SimpleQueue[tuple[str, str | None]], path: str, there: str | None) -> None:
    answers.put((path, there))


def _owner(identity: bytes) -> tuple[str, int]:
    """Return the worker and incarnation that a routing id names. Raises ValueError."""
    name, number, _, _ = identity.decode().rsplit(":", 3)
    return name, int(number)
