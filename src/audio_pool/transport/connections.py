"""Who is connected to a bound channel, told by the socket's monitor.

Owns: the accepted descriptors of one channel, how many there may be, and the end of one from outside.
Must not know: messages, clients, what a front end does.

Where a process has no descriptor left it cannot start a worker, and zmq aborts the whole process when it accepts
on ipc. So from ``most`` connections on the listener is shut; whoever zmq took in before that is shut down.
"""

from __future__ import annotations

import collections
import fcntl
import logging
import os
import resource
import socket
import struct
import sys
import termios
import time

from msgspec import Struct

from audio_pool.transport.sockets import Channel

__all__ = ["MONITORED", "Connection", "Connections", "most_connections"]

log = logging.getLogger(__name__)

# events of zmq.h, each a frame of uint16 event and int32 value (a descriptor)
ACCEPTED, DISCONNECTED = 0x0020, 0x0200
MONITORED = ACCEPTED | DISCONNECTED
_BYTES_RECEIVED, _BYTES_RECEIVED_AT = struct.Struct("=Q"), 128
"""``tcpi_bytes_received`` of linux/tcp.h."""
_MOST_TOLD = 256
"""Events read at a time: a crowd that comes and goes without end keeps the thread from nothing else."""
_TOLD_EVERY_S = 10.0
_LEAST_KEPT, _MOST_KEPT = 64, 1024
_PER_WORKER = 8
"""Descriptors that one worker costs this process: its three connections, its output, its end."""


class Connection(Struct, frozen=True):
    """One accepted connection."""

    fd: int
    peer: str
    """``pid 7 of user 1000`` on ipc, ``127.0.0.1:5000`` on tcp, "" where it was gone before it was looked at."""
    since: float
    """By ``time.monotonic()``."""


class Connections:
    """The connections of a channel made with ``monitored=MONITORED``. Used by the thread that uses the channel."""

    def __init__(self, channel: Channel, most: int) -> None:
        """``most``: may be open at a time; those who come later are turned away."""
        assert channel.monitor is not None, "the channel was made without a monitor"
        self.monitor: Channel = channel.monitor
        """To be polled, like ``waiting``; ``take_in`` reads both."""
        self._listener = channel.listener
        self.most = most
        self.open: dict[int, Connection] = {}
        """By descriptor."""
        self.counts: collections.Counter[str] = collections.Counter()
        self._place = channel.endpoint
        self._tell_at = 0.0
        self._hand = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        """A number of ours to look at others' descriptors through: it is there when no other is to be had."""
        self._empty = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def take_in(self) -> None:
        """Read what the monitor has told since the last time, or the first of it where that is much."""
        for _ in range(_MOST_TOLD):
            frames = self.monitor.receive()
            if frames is None:
                break
            event, value = struct.unpack("=Hi", frames[0])
            if event == ACCEPTED:
                self._accepted(value)
            elif event == DISCONNECTED:
                self.open.pop(value, None)
            if self._listener is not None and len(self.open) >= self.most:
                self._listener.shut()  # at once: while the rest is read zmq would take in the rest of a crowd
        if self._listener is not None:
            if len(self.open) < self.most:
                self._listener.open()
            else:
                self._listener.shut()
                self._turned_away(self._listener.turn_away())

    @property
    def waiting(self) -> int | None:
        """The descriptor that is readable while somebody is to be turned away."""
        return self._listener.waiting.fileno() if self._listener is not None else None

    def _accepted(self, fd: int) -> None:
        if len(self.open) < self.most:
            self.open[fd] = Connection(fd, self._look(fd), time.monotonic())
        else:
            self._look(fd, end=True)
            self._turned_away(1)

    def _turned_away(self, number: int) -> None:
        if not number:
            return
        self.counts["connections_turned_away"] += number
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TOLD_EVERY_S
            log.warning(
                "%d connections are open and server.max_connections allows no more; turned away so far: %d",
                len(self.open), self.counts["connections_turned_away"],
            )  # fmt: skip

    def shut(self, fd: int) -> None:
        """End an open connection from outside, and what is still on its way in it; zmq forgets it by itself."""
        if fd in self.open:
            self._look(fd, end=True, abruptly=True)

    def flow(self, fd: int) -> tuple[int, int]:
        """Return the bytes that the system has received through a connection, −1 where it does not count them, and
        those of them that zmq has not read yet."""
        try:
            os.dup2(fd, self._hand, inheritable=False)
            one = socket.socket(fileno=self._hand)
        except OSError:
            return -1, 0
        try:
            if not self._is_ours(one):
                return -1, 0
            waiting = bytearray(4)
            fcntl.ioctl(self._hand, termios.FIONREAD, waiting)
            received = -1
            if one.family != socket.AF_UNIX:
                told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                if len(told) >= _BYTES_RECEIVED.size + _BYTES_RECEIVED_AT:
                    (received,) = _BYTES_RECEIVED.unpack_from(told, _BYTES_RECEIVED_AT)
            return received, int.from_bytes(waiting, sys.byteorder)
        except OSError:
            return -1, 0
        finally:
            one.detach()
            os.dup2(self._empty, self._hand, inheritable=False)

    def _look(self, fd: int, *, end: bool = False, abruptly: bool = False) -> str:
        """Return the peer's name, and shut the connection down where wanted.

        zmq may close a descriptor at any time, and its number may be another file's a moment later: so it is
        looked at through a duplicate, and only a socket bound where this channel listens is touched.
        """
        try:
            os.dup2(fd, self._hand, inheritable=False)
            one = socket.socket(fileno=self._hand)
        except OSError:  # not a socket any more
            return ""
        try:
            if not self._is_ours(one):
                return ""
            peer = _peer(one)
            if abruptly:  # a peer that goes on sending is told by a reset; else it would wait for room for minutes
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if end:
                one.shutdown(socket.SHUT_RDWR)
            return peer
        except OSError:  # its peer has gone
            return ""
        finally:
            one.detach()
            os.dup2(self._empty, self._hand, inheritable=False)

    def _is_ours(self, one: socket.socket) -> bool:
        if one.family == socket.AF_UNIX:
            return self._place == f"ipc://{one.getsockname()}"
        return one.family in (socket.AF_INET, socket.AF_INET6) and self._place.endswith(f":{one.getsockname()[1]}")

    def close(self) -> None:
        """Give both descriptors back; the channel closes its monitor."""
        os.close(self._hand)
        os.close(self._empty)


def _peer(one: socket.socket) -> str:
    if one.family == socket.AF_UNIX:
        credentials = one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("3i", credentials)
        return f"pid {pid} of user {uid}"
    host, port = one.getpeername()[:2]
    return f"{host}:{port}"


def most_connections(wanted: int, workers: int) -> int:
    """Return how many clients may be connected, so that this process keeps descriptors for everything else.

    Args:
        wanted: by the configuration; 0: as many as there is room for.
        workers: processes of this pool.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) - 1  # the listing's own
    kept = max(_LEAST_KEPT, min(_MOST_KEPT, limit // 4))
    room = max(1, limit - used - kept - workers * _PER_WORKER)
    if wanted > room:
        log.warning(
            "server.max_connections: given %d, but a process here has %d descriptors: %d clients can be connected",
            wanted, limit, room,
        )  # fmt: skip
    return min(wanted or room, room)
