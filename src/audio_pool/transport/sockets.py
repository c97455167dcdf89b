"""Framed sockets on zmq, which no module but this one, poller.py and keys.py imports.

Owns: contexts, sockets, authentication by CURVE.
Must not know: what the frames say, which endpoints are allowed (endpoints.py), where keys lie (keys.py).

Every receive and send is non-blocking here; who waits, waits in a Poller (poller.py) with a deadline.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import zmq
from zmq import MessageTracker

from audio_pool.errors import InvalidConfig
from audio_pool.transport.endpoints import check_bind, check_connect
from audio_pool.transport.keys import ClientKeys, OwnKeys
from audio_pool.transport.listener import Listener
from audio_pool.transport.sender import Sender, inode_of
from audio_pool.transport.socket_file import own_socket_file

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

__all__ = [
    "Channel",
    "MessageTracker",
    "SendResult",
    "dealer",
    "puller",
    "pusher",
    "router",
]

log = logging.getLogger(__name__)

# plain integers: pyzmq's enums cost more than some of the calls they are given to
_NOW = int(zmq.DONTWAIT)
_NOW_AND_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)
_EVENTS, _MORE, _POLLIN, _SRCFD = int(zmq.EVENTS), int(zmq.RCVMORE), int(zmq.POLLIN), int(zmq.SRCFD)


class SendResult(enum.Enum):
    """What became of a message for one peer."""

    SENT = enum.auto()
    SLOW = enum.auto()
    """The peer's queue is full: try again later."""
    GONE = enum.auto()
    """There is no such peer (any more)."""


class Channel:
    """One socket. Not thread-safe: used by the thread that made it."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        authenticator: ThreadAuthenticator | None = None,
        file: Path | None = None,
        monitor: Channel | None = None,
        listener: Listener | None = None,
        *,
        knows_senders: bool = False,
    ) -> None:
        """
        Args:
            file: of a bound ipc socket; removed at the end, as zmq leaves it.
            monitor: tells of the socket's connections.
            listener: what zmq accepts from, where it can be shut.
        """
        self._socket = socket
        self._send_frame = super(zmq.Socket, socket).send
        """Without what pyzmq's own does for sockets of other kinds, which is a third of what sending costs."""
        self.monitor = monitor
        self.listener = listener
        self._authenticator = authenticator
        self._file = (file, file.stat().st_ino) if file is not None else None
        self._local = file is not None
        self.from_req = False
        """True if the last message came from a REQ socket, which accepts a single reply. Only where
        ``knows_senders`` is set, and only determined for messages with a delimiter that contain ``events``."""
        self.emptied = 0
        """How often ``receive`` found nothing: every whole message had been taken."""
        self.attached: list[memoryview] = []
        """Of the last message, the frames behind the first that says something, not copied; see ``knows_senders``."""
        self.sender_fd = -1
        """The descriptor that the last message came through; −1 where it came from this process, or
        ``knows_senders`` is not set."""
        self._head: zmq.Frame | None = None
        """The last message's first frame, with what zmq knows of who sent it; see ``knows_senders`` of ``router``."""
        self._knows_senders = knows_senders
        self.own_context: zmq.Context[zmq.Socket[bytes]] | None = None
        """Ends with the channel."""

    @property
    def raw(self) -> zmq.Socket[bytes]:
        """For a Poller of this module."""
        return self._socket

    @property
    def endpoint(self) -> str:
        """Where it is bound, with the port the system chose."""
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def reconnect(self, endpoint: str) -> None:
        """Connect anew, where zmq has given up; what waits to be sent is dropped."""
        with contextlib.suppress(zmq.ZMQError):  # it is connected no more
            self._socket.disconnect(endpoint)
        self._socket.connect(endpoint)

    def fileno(self) -> int:
        """Return an edge-triggered descriptor for event loops: after each wake call ``receive`` until it gives None."""
        return int(self._socket.getsockopt(zmq.FD))

    def receive(self) -> list[bytes] | None:
        """Return the next multipart message, or None where there is none now."""
        if not self.readable():  # an eighth of what a refused receive and its exception cost
            self.emptied += 1
            return None
        try:
            if self._knows_senders:
                self._head = head = self._socket.recv(_NOW, copy=False)
                frames = [head.bytes]
                try:
                    self.sender_fd = int(head.get(_SRCFD))
                except zmq.ZMQError:  # of inproc
                    self.sender_fd = -1
            else:
                frames = [self._socket.recv(_NOW)]
            if self.attached:
                self.attached = []
            while self._socket.get(_MORE):
                if len(frames) == 2 and not frames[1]:
                    frames.append(self._behind_delimiter())
                elif self._knows_senders and len(frames) >= 2:
                    self.attached.append(self._socket.recv(_NOW, copy=False).buffer)
                else:
                    frames.append(self._socket.recv(_NOW))
        except zmq.Again:
            return None
        return frames

    def receive_with_pid(self) -> tuple[list[bytes], int] | None:
        """Return the next message and who sent it: a process's id on ipc, 0 where zmq does not know."""
        if not self.readable():
            return None
        try:
            first = self._socket.recv(_NOW, copy=False)
            frames = [first.bytes]
            while self._socket.get(_MORE):
                frames.append(self._socket.recv(_NOW))
        except zmq.Again:
            return None
        try:
            pid = str(first.get("Peer-Address")).rpartition(":")[2]  # localhost:GID:UID:PID
        except zmq.ZMQError:
            pid = ""
        return frames, int(pid) if pid.isdecimal() else 0

    def _behind_delimiter(self) -> bytes:
        data = self._socket.recv(_NOW)
        self.from_req = b"events" in data and self._property("Socket-Type") == "REQ"
        return data

    def sender(self) -> Sender:
        """Return what zmq and the system know of who sent the last message; nothing of it is the sender's word."""
        fd = self.sender_fd
        if self._head is None or fd < 0:
            return Sender(uid=os.getuid())
        address = str(self._head.get("Peer-Address"))
        credentials = address.split(":")[-3:] if self._local else []
        return Sender(
            fd=fd,
            inode=inode_of(fd),
            uid=int(credentials[0]) if credentials else None,
            key=self._property("User-Id"),
            chose_its_id=bool(self._property("Identity")),
        )

    @property
    def sender_key(self) -> str:
        """The public key (Z85) that the last message's sender has shown; "": none, or ``knows_senders`` is not set."""
        return self._property("User-Id")

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until a message can be sent; return False where there is no room in time."""
        return bool(self._socket.poll(int(timeout_s * 1000), zmq.POLLOUT))

    def _property(self, name: str) -> str:
        try:
            return "" if self._head is None else str(self._head.get(name))
        except zmq.ZMQError:  # it has none
            return ""

    def readable(self) -> bool:
        """Return whether a message waits (needed after a send on an edge-triggered descriptor)."""
        return bool(int(self._socket.get(_EVENTS)) & _POLLIN)

    def send(self, frames: Sequence[bytes | memoryview]) -> bool:
        """Return whether the message was taken. False: the peer is slow, its queue is full, or nobody is there yet."""
        try:
            self._send(frames)
        except zmq.Again:
            return False
        return True

    def _send(self, frames: Sequence[bytes | memoryview], copy: bool = True) -> None:
        last = len(frames) - 1
        for number, frame in enumerate(frames):
            if copy:
                self._send_frame(frame, _NOW if number == last else _NOW_AND_MORE)
            else:
                self._socket.send(frame, _NOW if number == last else _NOW_AND_MORE, copy=False)

    def send_to(self, identity: bytes, frames: Sequence[bytes | memoryview], *, copy: bool = True) -> SendResult:
        """Send to one peer of a ROUTER; not ``copy``: large frames stay as they are until they are sent."""
        try:
            self._send([identity, *frames], copy)
        except zmq.Again:
            return SendResult.SLOW
        except zmq.ZMQError as exc:
            if exc.errno == zmq.EHOSTUNREACH:
                return SendResult.GONE
            raise
        return SendResult.SENT

    def send_large_to(self, identity: bytes, frames: Sequence[bytes | memoryview]) -> SendResult | MessageTracker:
        """Do as ``send_to`` without copying the last frame; the tracker says when zmq has let go of it."""
        try:
            for frame in (identity, *frames[:-1]):
                self._socket.send(frame, _NOW_AND_MORE)
            tracker: MessageTracker = self._socket.send(frames[-1], _NOW, copy=False, track=True)
        except zmq.Again:
            return SendResult.SLOW
        except zmq.ZMQError as exc:
            if exc.errno == zmq.EHOSTUNREACH:
                return SendResult.GONE
            raise
        return tracker

    def close(self) -> None:
        """Close at once; unsent messages have half a second to leave."""
        if self._file is not None:
            file, number = self._file
            with contextlib.suppress(OSError):
                if file.stat().st_ino == number:  # not another server's, bound where ours had been removed
                    file.unlink()
            self._file = None
        if self.listener is not None:
            self.listener.close()
        if self.monitor is not None:
            _end_monitor(self._socket, self.monitor)
            self.monitor = None
        self._socket.close(linger=500)
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        if self.own_context is not None:
            self.own_context.term()
            self.own_context = None


def _end_monitor(socket: zmq.Socket[bytes], monitor: Channel) -> None:
    """End what tells of a socket's connections.

    zmq waits for room at our end while it holds the lock that ending takes, so that there must be some: ours is read
    empty first, and closed last. Where it was gone, a connection that ended in between was waited for without end.
    """
    while monitor.receive() is not None:
        pass
    socket.disable_monitor()
    monitor.close()


def _socket(
    kind: int, *, high_water: int, max_bytes: int, context: zmq.Context[zmq.Socket[bytes]] | None = None
) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = (context or zmq.Context.instance()).socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, high_water)
    socket.setsockopt(zmq.RCVHWM, high_water)
    if max_bytes:
        socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    return socket


def _hide_routing_ids() -> None:
    """Have the next ROUTER count its connections' ids from where nobody can tell.

    zmq takes the first from the C library's rand(), which is the same number in every process. A client may choose
    any id, and where it chose the one that zmq gives out next, zmq aborts the process.
    """
    ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))


def router(
    endpoint: str,
    *,
    high_water: int = 1000,
    max_bytes: int = 0,
    keys: OwnKeys | None = None,
    monitored: int = 0,
    knows_senders: bool = False,
    private: bool = False,
    apart: bool = False,
) -> Channel:
    """Return a bound ROUTER with ROUTER_MANDATORY: a reply to a vanished peer is reported, not swallowed.

    Args:
        endpoint: checked with ``check_bind``.
        max_bytes: largest frame taken (0: no limit); a larger one closes its connection.
        keys: CURVE; only whom they allow gets in.
        monitored: events of zmq.h that the channel's monitor tells, from before the first connection.
        knows_senders: ``Channel.sender`` says who sent the last message.
        private: for this pool's own processes: the kernel tells of an end, not heartbeats.
        apart: with an I/O thread of its own: what comes here, and is decrypted, delays no other socket.

    Raises:
        InvalidConfig, Refused: the endpoint cannot or may not be bound.
    """
    check_bind(endpoint, has_keys=keys is not None)
    _hide_routing_ids()
    context = zmq.Context() if apart else zmq.Context.instance()
    socket = _socket(zmq.ROUTER, high_water=high_water, max_bytes=max_bytes, context=context)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    # a second connection under the same routing id must get nothing of the first one's: it is not heard
    socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
    if not private:
        _set_heartbeats(socket)
    authenticator = None
    if keys is not None:
        from zmq.auth.thread import ThreadAuthenticator  # brings asyncio, for which no worker's start should wait

        authenticator = ThreadAuthenticator(context)
        authenticator.start()
        authenticator.configure_curve_callback(domain="*", credentials_provider=keys.allowed)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
    monitor = Channel(socket.get_monitor_socket(monitored)) if monitored else None
    channel = _bound(socket, endpoint, authenticator, monitor, knows_senders=knows_senders)
    channel.own_context = context if apart else None
    return channel


def _set_heartbeats(socket: zmq.Socket[bytes]) -> None:
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 20_000)


def _bound(
    socket: zmq.Socket[bytes],
    endpoint: str,
    authenticator: ThreadAuthenticator | None = None,
    monitor: Channel | None = None,
    *,
    knows_senders: bool = False,
) -> Channel:
    file = Path(endpoint[len("ipc://") :]) if endpoint.startswith("ipc://") else None
    listener: Listener | None = None
    try:
        if file is not None:
            own_socket_file(endpoint)
        if monitor is not None and Listener.handles(endpoint):
            listener = Listener(endpoint)
            socket.setsockopt(zmq.USE_FD, listener.fd)
            endpoint = listener.endpoint
        socket.bind(endpoint)
        if file is not None:
            file.chmod(0o600)
    except (zmq.ZMQError, OSError) as exc:
        if listener is not None:
            listener.close()
        if monitor is not None:
            _end_monitor(socket, monitor)
        socket.close(0)
        if authenticator is not None:
            authenticator.stop()
        raise InvalidConfig(
            f"bind: {endpoint!r} cannot be bound: {exc}", hint="is another server running there?"
        ) from None
    return Channel(socket, authenticator, file, monitor, listener, knows_senders=knows_senders)


def dealer(
    endpoint: str,
    *,
    identity: bytes | None = None,
    high_water: int = 1000,
    keys: ClientKeys | None = None,
    monitored: int = 0,
    private: bool = False,
) -> Channel:
    """Return a DEALER connected to ``endpoint``; zmq itself reconnects with back-off (50 ms to 2 s).

    It does not where the other side has turned it away: see ``Channel.reconnect``.

    Args:
        monitored: events of zmq.h that the channel's monitor tells, from before the first connection.
        private: to a ROUTER that is.

    Raises:
        InvalidConfig: the endpoint is none, or none that zmq takes.
    """
    check_connect(endpoint)
    socket = _socket(zmq.DEALER, high_water=high_water, max_bytes=0)
    if identity is not None:
        socket.setsockopt(zmq.IDENTITY, identity)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
    if not private:
        _set_heartbeats(socket)
    if keys is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
    monitor = Channel(socket.get_monitor_socket(monitored)) if monitored else None
    channel = Channel(socket, monitor=monitor)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as exc:
        channel.close()
        raise InvalidConfig(f"endpoint: {endpoint!r} cannot be connected to: {exc.strerror}") from None
    return channel


def puller(
    endpoint: str, *, bind: bool, high_water: int = 1000, max_bytes: int = 0, knows_senders: bool = False
) -> Channel:
    """Return a PULL socket, bound or connected."""
    socket = _socket(zmq.PULL, high_water=high_water, max_bytes=max_bytes)
    if bind:
        check_bind(endpoint)
        return _bound(socket, endpoint, knows_senders=knows_senders)
    socket.connect(check_connect(endpoint))
    return Channel(socket)


def pusher(endpoint: str, *, bind: bool, high_water: int = 1000) -> Channel:
    """Return a PUSH socket, bound or connected."""
    socket = _socket(zmq.PUSH, high_water=high_water, max_bytes=0)
    if bind:
        check_bind(endpoint)
        return _bound(socket, endpoint)
    socket.connect(check_connect(endpoint))
    return Channel(socket)
