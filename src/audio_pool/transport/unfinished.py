"""Messages that never end: what a connection has sent of one is bounded from outside.

Owns: how much a connection may have sent since its last whole message, and the end of those that sent more.
Must not know: what messages say, what a front end does.

zmq hands up whole messages only and bounds single frames: the frames of one that has no last grow in its memory
without bound. So the process's memory is watched, which costs next to nothing, and while it grows every connection
is looked at: what the system says it has received, against the whole messages that came through it. On tcp the
system counts the bytes of each connection. On a local socket it does not: there the one that keeps sending, while
memory grows and nothing whole comes through it, is taken to be the one; only the server's own user can connect there.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import time

from msgspec import Struct

from audio_pool.transport.connections import Connection, Connections
from audio_pool.transport.sockets import Channel

__all__ = ["Unfinished"]

log = logging.getLogger(__name__)

_QUIET_S, _GROWING_S = 0.1, 0.01
"""Between two looks: while memory stays, and while it grows."""
_GROWTH_BYTES = 8 << 20
"""Memory that must have been added before connections are looked at."""
_LEAST_BYTES = 2 << 20
"""Of a connection that is ended because all of them together have too much: more than one whole frame."""
_NEVER_EMPTY_S = 5.0
"""A channel that is never emptied in this time hands up, by turns, whatever whole message a connection has."""
_LOOKS = 4
"""At which a local connection was sending, before it is taken for the one that fills the memory."""
_TRIM_AFTER_S = 1.0
_GROWS_BYTES = 1 << 20
_IDLE_LOOKS = 20
_SPARING = 20
"""The time between two looks, in times of what the last one took."""
_TIDY_BYTES, _TIDY_EVERY_S = 16 << 20, 10.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Since(Struct):
    """A connection when a whole message of it was last known to have come through."""

    whole: int
    received: int
    memory: int
    emptied: int
    at: float
    sending: int = 0
    """Looks since at which it had sent more than was read."""
    before: int = 0
    """Received at the last look."""


class Unfinished:
    """Watches one channel. Used by the thread that uses the channel.

    Args:
        channel: made with ``knows_senders``.
        connection_bytes, all_bytes: of unfinished messages, of one connection and of all of them.
    """

    def __init__(
        self, channel: Channel, connections: Connections, *, connection_bytes: int = 16 << 20, all_bytes: int = 64 << 20
    ) -> None:
        self._channel = channel
        self._connections = connections
        self._connection_bytes, self._all_bytes = connection_bytes, all_bytes
        self._whole: dict[int, int] = {}
        """Whole messages by descriptor."""
        self._since: dict[int, _Since] = {}
        self._ended: dict[int, Connection] = {}
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._floor = self._last = self._tidied = self._memory()
        self._tidy_at = 0.0
        self._idle_looks, self._looking = 0, False

    def handed_up(self, fd: int) -> None:
        """Note that a whole message came through a connection."""
        self._whole[fd] = self._whole.get(fd, 0) + 1

    def watch(self) -> float | None:
        """Look whether memory grows, and end connections that fill it; return in how many seconds to look again."""
        self._connections.take_in()  # a number may be another connection's by now
        if not self._connections.open:
            self._since.clear()
            self._whole.clear()
            self._floor, self._looking = self._memory(), False
            self._tidy(self._floor, time.monotonic())
            return None
        memory, begun = self._memory(), time.monotonic()
        self._tidy(memory, begun)
        grows, self._last = memory > self._last + _GROWS_BYTES, memory
        self._floor = min(self._floor, memory)
        if memory - self._floor < _GROWTH_BYTES and not self._looking:
            return _QUIET_S
        self._looking = True
        unfinished = self._look(memory, begun)
        self._idle_looks = 0 if unfinished else self._idle_looks + 1
        if self._idle_looks > _IDLE_LOOKS:  # it is something else that has grown
            self._floor, self._idle_looks, self._looking = memory, 0, False
            for since in self._since.values():
                since.memory, since.sending = memory, 0
            return _QUIET_S
        for fd in self._too_much(unfinished):
            self._end(fd)
        spent = time.monotonic() - begun
        return max(_GROWING_S if grows or not unfinished else _QUIET_S, _SPARING * spent)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._statm)

    # -- inside ------------------------------------------------------------------------------------

    def _tidy(self, memory: int, now: float) -> None:
        """Have memory given back to the system now and then, where it has grown: a crowd leaves it in pieces."""
        self._tidied = min(self._tidied, memory)
        if memory > self._tidied + _TIDY_BYTES and now >= self._tidy_at:
            self._tidied, self._tidy_at = memory, now + _TIDY_EVERY_S
            _give_back_soon()

    def _memory(self) -> int:
        return int(os.pread(self._statm, 64, 0).split()[1]) * _PAGE

    def _look(self, memory: int, now: float) -> dict[int, int]:
        """Return what each connection has surely sent of messages that did not end, in bytes, where it is any."""
        if not self._channel.readable():
            self._channel.emptied += 1
        emptied, found = self._channel.emptied, {}
        for gone in set(self._since) - set(self._connections.open):
            del self._since[gone]
        for gone in set(self._ended) - set(self._connections.open):
            del self._ended[gone]
        for gone in set(self._whole) - set(self._connections.open):
            del self._whole[gone]
        for fd, connection in self._connections.open.items():
            if self._ended.get(fd) is connection:  # zmq has yet to notice
                continue
            received, pending = self._connections.flow(fd)
            whole, since = self._whole.get(fd, 0), self._since.get(fd)
            if since is not None and since.at < connection.since:  # another connection, under the same number
                since = None
            if since is None or since.whole != whole:
                # of a new connection all counts: nothing whole has come through it
                first, least = (0, self._floor) if since is None and not whole else (received, memory)
                self._since[fd] = _Since(
                    whole=whole, received=first, memory=least, emptied=emptied, at=now, before=received
                )
                continue
            # what had been received before the channel was last seen empty would have come through by now
            settled = emptied > since.emptied or now - since.at > _NEVER_EMPTY_S
            if received >= 0:
                bytes_sent = since.before - since.received - pending
            else:
                since.sending += pending > 0
                bytes_sent = memory - since.memory if since.sending >= _LOOKS else 0
            since.before, since.emptied = received, emptied
            if (settled or received < 0) and bytes_sent > 0:
                found[fd] = bytes_sent
        return found

    def _too_much(self, unfinished: dict[int, int]) -> list[int]:
        """Return the descriptors of connections that are to be ended: the largest first, until the rest is allowed."""
        by_size = sorted(unfinished, key=lambda fd: unfinished[fd], reverse=True)
        if any(self._since[fd].received < 0 for fd in by_size):
            # memory tells how much, not whose: of local connections one is ended at a time
            most = self._connection_bytes + _GROWTH_BYTES
            local = [fd for fd in by_size if self._since[fd].received < 0 and unfinished[fd] > most]
            return sorted(local, key=lambda fd: self._since[fd].sending, reverse=True)[:1]
        total, ended = sum(unfinished.values()), []
        for fd in by_size:
            too_much = unfinished[fd] > self._connection_bytes
            if not too_much and (total <= self._all_bytes or unfinished[fd] < _LEAST_BYTES):
                break
            ended.append(fd)
            total -= unfinished[fd]
        return ended

    def _end(self, fd: int) -> None:
        connection = self._connections.open[fd]
        size = self._memory() - self._floor
        log.warning(
            "ended a connection of %s: a message of it does not end; memory had grown by %s MB",
            connection.peer or "somebody who has gone", round(size / 1e6),
        )  # fmt: skip
        self._connections.counts["connections_ended_unfinished"] += 1
        self._connections.shut(fd)
        self._ended[fd] = connection
        del self._since[fd]
        _give_back_soon()


def _give_back_soon() -> None:
    timer = threading.Timer(_TRIM_AFTER_S, _give_back)
    timer.daemon = True
    timer.start()


def _give_back() -> None:
    """Return freed memory to the system: the C library keeps what many small pieces were."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:  # another C library than glibc
        pass
