"""CURVE keys of workers on other machines: a pair for each start of each, made for it and worth nothing after its end.

Owns: who may connect to the workers' socket, what a worker is told of its keys.
Must not know: sockets, what a worker sends.
"""

from __future__ import annotations

import threading

import msgspec
from msgspec import Struct

from audio_pool.errors import BadMessage
from audio_pool.transport.keys import ClientKeys, new_pair

__all__ = ["WorkerCredentials", "WorkerKeys"]


class WorkerCredentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one start of a worker proves itself with; the line that its standard input holds."""

    secret: str
    """Part of its sockets' routing ids."""
    server: str
    """The public key that it expects at the other end; Z85, as the next two."""
    public: str
    private: str
    link_mbit: float
    """Of the network between it and there."""

    @property
    def keys(self) -> ClientKeys:
        """Its keys as a socket takes them."""
        return ClientKeys(self.public.encode(), self.private.encode(), self.server.encode())

    def line(self) -> str:
        """Return it as one line of text."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def of(cls, line: str) -> WorkerCredentials:
        """Return what a line holds. Raises BadMessage."""
        try:
            return msgspec.json.decode(line, type=cls)
        except msgspec.DecodeError as exc:
            raise BadMessage(f"a worker's credentials: {exc}") from None


class WorkerKeys:
    """The pool's own pair, made at its start, and the keys that get in now. May be asked from any thread."""

    def __init__(self) -> None:
        self.public, self.secret = new_pair()
        self._lock = threading.Lock()
        self._owners: dict[str, tuple[str, int]] = {}

    @property
    def allowed(self) -> WorkerKeys:
        """Who is asked about a key."""
        return self

    def callback(self, domain: str, key: bytes) -> bool:
        """Tell zmq's authenticator, on its thread, whether a worker's public key (Z85) is allowed."""
        return self.owner(key.decode("ascii", "replace")) is not None

    def owner(self, key: str) -> tuple[str, int] | None:
        """Return the worker and incarnation that a key was made for; None: it is worth nothing (any more)."""
        with self._lock:
            return self._owners.get(key)

    def make(self, worker: str, incarnation: int, secret: str, link_mbit: float) -> WorkerCredentials:
        """Return keys that get in from now on."""
        public, private = new_pair()
        with self._lock:
            self._owners[public.decode()] = worker, incarnation
        return WorkerCredentials(
            secret=secret,
            server=self.public.decode(),
            public=public.decode(),
            private=private.decode(),
            link_mbit=link_mbit,
        )

    def revoke(self, worker: str, incarnation: int) -> None:
        """Let nobody in any more with the keys of this start of a worker, or of an earlier one."""
        with self._lock:
            self._owners = {
                key: owner for key, owner in self._owners.items() if owner[0] != worker or owner[1] > incarnation
            }
