"""Waiting for several sockets at once, always with a deadline.

Owns: Poller.
Must not know: what the sockets carry.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import zmq

from audio_pool.transport.sockets import Channel
from audio_pool.transport.waker import Waker

__all__ = ["Poller"]

T = TypeVar("T")


class Poller(Generic[T]):
    """Waits for any of several channels, wakers and descriptors."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._names: dict[zmq.Socket[bytes] | int, T] = {}

    def add(self, source: Channel | Waker | int, name: T) -> None:
        """``name`` is what ``wait`` answers for this source."""
        key = self._key(source)
        self._names[key] = name
        self._poller.register(key, zmq.POLLIN)

    def remove(self, source: Channel | Waker | int) -> None:
        """Poll a source no more."""
        key = self._key(source)
        self._names.pop(key, None)
        self._poller.unregister(key)

    @staticmethod
    def _key(source: Channel | Waker | int) -> zmq.Socket[bytes] | int:
        if isinstance(source, Channel):
            return source.raw
        return source if isinstance(source, int) else source.fileno()

    def wait(self, timeout_s: float) -> list[T]:
        """Names of the sources that have something, within ``timeout_s`` (rounded up to a millisecond)."""
        milliseconds = max(0, int(min(3_600.0, timeout_s) * 1000 + 0.999))
        return [self._names[key] for key, _ in self._poller.poll(milliseconds)]
