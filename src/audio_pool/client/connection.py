"""A client's connection: made, and watched.

Owns: the socket of one session, and what zmq's monitor reports of it.
Must not know: what messages say, and whether its user blocks or awaits.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Protocol

from audio_pool.client.session import ClientSession, Frames
from audio_pool.errors import Busy, Disconnected, Refused
from audio_pool.transport.keys import ClientKeys
from audio_pool.transport.sockets import Channel, dealer
from audio_pool.transport.token import find_token

__all__ = ["CONNECT_RETRIED", "MONITORED", "Connection", "Keys", "Watch"]

Keys = ClientKeys | str | Path | None
"""A key pair, the directory that holds it, or nothing for a server without keys."""

# zmq's socket monitor: events as in zmq.h, each a frame of uint16 event, int32 value
CONNECT_RETRIED = 0x0004
"""Nobody listens, or nobody answered: zmq tries again by itself. Not monitored where there is one server."""
_DISCONNECTED = 0x0200
_HANDSHAKE_FAILED_NO_DETAIL = 0x0800
_HANDSHAKE_SUCCEEDED = 0x1000
_HANDSHAKE_FAILED_PROTOCOL = 0x2000  # not the protocol, or other keys
_HANDSHAKE_FAILED_AUTH = 0x4000
MONITORED = (
    _DISCONNECTED
    | _HANDSHAKE_FAILED_NO_DETAIL
    | _HANDSHAKE_SUCCEEDED
    | _HANDSHAKE_FAILED_PROTOCOL
    | _HANDSHAKE_FAILED_AUTH
)


class Watch(Protocol):
    """Whoever waits for sockets."""

    def add(self, source: Channel) -> None:
        """Wait for this one, too."""

    def remove(self, source: Channel) -> None:
        """Wait for it no more: it is about to be closed."""


class Connection:
    """The connection of one session to one server.

    Args:
        watch: where its channel and its monitor are told, to be waited for.
    """

    _monitored = MONITORED

    def __init__(self, endpoint: str, keys: Keys, session: ClientSession, watch: Watch | None = None) -> None:
        self.address = endpoint
        self._session = session
        self._watch = watch
        self._handshake_failed = False  # just now
        self._turned_away = False  # and zmq will not try again by itself
        self._has_keys = keys is not None
        self._doubt = "are the keys the server's?" if keys else "does the server ask for keys?"
        read = ClientKeys.read(Path(keys)) if isinstance(keys, str | Path) else keys
        self.channel = dealer(endpoint, keys=read, monitored=self._monitored)
        assert self.channel.monitor is not None
        self.monitor: Channel = self.channel.monitor
        if watch is not None:
            watch.add(self.channel)
            watch.add(self.monitor)
        self._session.token = self._token()

    def _token(self) -> str:
        """Return what shows this server that its own user asks; with keys it is the key that does."""
        return "" if self._has_keys else find_token(self.address)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.remove(self.channel)
            self._watch.remove(self.monitor)
        self.channel.close()

    def due(self) -> float | None:
        """When ``tend`` has something to do whatever arrives; None: nothing is in flight."""
        return self._session.next_deadline()

    def tend(self) -> None:
        """Take in whatever there is, and end what has waited too long."""
        self.receive()
        self.poll_monitor()
        self.expire()

    def send(self, frames: Frames) -> None:
        """Send a message. Raises Busy where a thousand wait to be sent already."""
        if not self.offer(frames):
            raise Busy(f"too many messages wait to be sent to {self.address}")

    def offer(self, frames: Frames) -> bool:
        """Send a message, over a new connection where the last was turned away; False: it was not taken."""
        if self._turned_away:  # the key may have been put in since
            self._turned_away = False
            self.channel.reconnect(self.address)
        return self.channel.send(frames)

    def receive(self) -> None:
        """Pass on everything that has arrived."""
        while (frames := self.channel.receive()) is not None:
            if not self._session.connected:  # made before the monitor was there to report it
                self._session.reconnected()
            self._session.on_message(frames)
        self._flush()

    def _flush(self) -> None:
        """Send what the session wants sent by itself."""
        outgoing, self._session.outgoing = self._session.outgoing, []
        for frames in outgoing:
            self.channel.send(frames)  # not taken: it is asked again by its timeout

    def expire(self) -> None:
        """End what has waited too long, here and on the server."""
        for frames in self._session.expire(time.monotonic()):
            self.channel.send(frames)
        self._flush()

    def poll_monitor(self) -> None:
        """Take in what happened to the connection; zmq itself makes it anew."""
        while (frames := self.monitor.receive()) is not None:
            event, value = struct.unpack("=HI", frames[0])
            if event == _HANDSHAKE_SUCCEEDED:
                self._made()
            elif event == _DISCONNECTED:
                # after a failed handshake nothing is lost: zmq tries again, with back-off
                if not self._handshake_failed:
                    self._lost()
                self._handshake_failed = False
            elif event == _HANDSHAKE_FAILED_AUTH:
                self._handshake_failed = self._turned_away = True
                self._refused(value)
            elif event in (_HANDSHAKE_FAILED_NO_DETAIL, _HANDSHAKE_FAILED_PROTOCOL):
                self._handshake_failed = True
                self._not_made(f"the handshake failed; {self._doubt}")
            elif event == CONNECT_RETRIED:
                self._not_made("no connection")
        self._flush()

    def _made(self) -> None:
        self._session.token = self._token()  # a new one at every start of the server
        self._session.reconnected()

    def _not_made(self, why: str) -> None:
        self._session.trouble = why

    def _refused(self, value: int) -> None:
        self._session.refuse(
            Refused(
                f"{self.address}: the server turned this client's key away ({value})",
                hint="have its .key file put into allowed_clients",
            )
        )

    def _lost(self) -> None:
        self.receive()  # what came before the end counts
        self._session.token = ""  # of a server that is no more
        self._session.disconnected(
            Disconnected(f"the server at {self.address} went away before the answer came", hint="ask again")
        )
