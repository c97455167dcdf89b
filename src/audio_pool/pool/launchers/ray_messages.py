"""What the pool and its Ray process say to each other: one JSON object a line.

Owns: the orders, the news, and a line of either.
Must not know: Ray, when anything is ordered.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from audio_pool.pool.launchers import ProcessSpec

__all__ = ["Bring", "Brought", "End", "Exited", "Lines", "News", "Order", "Pending", "Placed", "Spawn"]


class Spawn(Struct, frozen=True, kw_only=True, tag="spawn"):
    """Start a worker."""

    spec: ProcessSpec
    incarnation: int
    secret: str


class End(Struct, frozen=True, kw_only=True, tag="end"):
    """End a worker: gently now and by force a little later, or by force at once."""

    name: str
    incarnation: int
    why: str
    at_once: bool


class Bring(Struct, frozen=True, kw_only=True, tag="bring"):
    """Bring a file to the node of a worker."""

    number: int
    name: str
    incarnation: int
    path: str


Order = Spawn | End | Bring


class Pending(Struct, frozen=True, kw_only=True, tag="pending"):
    """A worker waits for a place."""

    name: str
    incarnation: int
    why: str
    within_s: float


class Placed(Struct, frozen=True, kw_only=True, tag="placed"):
    """A worker has found a place."""

    name: str
    incarnation: int
    where: str


class Exited(Struct, frozen=True, kw_only=True, tag="exited"):
    """A worker is gone for sure, or given up."""

    name: str
    incarnation: int
    reason: str
    lost: bool = False
    """Its actor is gone: its node, or what Ray has there."""


class Brought(Struct, frozen=True, kw_only=True, tag="brought"):
    """Where a file lies on a worker's node."""

    number: int
    place: str | None
    """None: it could not be brought."""


News = Pending | Placed | Exited | Brought

_ENCODE = msgspec.json.Encoder().encode
_ORDER: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_NEWS: msgspec.json.Decoder[News] = msgspec.json.Decoder(News)


class Lines:
    """One end of the conversation. ``send`` may be called from any thread."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._read = end.makefile("rb")
        self._lock = threading.Lock()

    def send(self, message: Order | News) -> None:
        """Send a message. Raises OSError: the other end is gone."""
        with self._lock:
            self._end.sendall(_ENCODE(message) + b"\n")

    def orders(self) -> Iterator[Order]:
        """Yield what is ordered, until the other end is gone."""
        for line in self._lines():
            yield _ORDER.decode(line)

    def news(self) -> Iterator[News]:
        """Yield what is told, until the other end is gone."""
        for line in self._lines():
            yield _NEWS.decode(line)

    def _lines(self) -> Iterator[bytes]:
        try:
            yield from self._read
        except OSError:  # reset by an end that was killed
            return

    def close(self) -> None:
        """Close this end."""
        self._read.close()
        self._end.close()
