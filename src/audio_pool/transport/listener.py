"""A listening socket of our own that zmq accepts from, until it is shut.

Owns: the socket that a bound endpoint listens on, and the moment from which newcomers are turned away.
Must not know: zmq, how many may be connected (connections.py).

zmq accepts whoever comes, and to unbind would end the connections that there are. So zmq is given the number of
a duplicate, and to shut the listener is to put another socket behind that number, one to which nobody comes.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Listener"]

_TCP = re.compile(r"tcp://(\*|localhost|\d+\.\d+\.\d+\.\d+):(\d+|\*)")
_IPC_BACKLOG, _TCP_BACKLOG = 16, 100
"""A crowd that comes over ipc at once is let in bit by bit: zmq's own try again 0.1 s later. On tcp the kernel
would make them wait for a second."""
_AT_ONCE = 64


class Listener:
    """One listening socket. Not thread-safe."""

    def __init__(self, endpoint: str) -> None:
        """Listen at an ``ipc://`` or ``tcp://`` endpoint that ``handles`` is true of. Raises OSError."""
        if endpoint.startswith("ipc://"):
            self._real = _listen_at(Path(endpoint.removeprefix("ipc://")))
            self.endpoint = endpoint
        else:
            self._real = _listen_on(endpoint)
            self.endpoint = "tcp://{}:{}".format(*self._real.getsockname())
        with tempfile.TemporaryDirectory() as nowhere:
            self._dead = _listen_at(Path(nowhere) / "s")
        self.fd = os.dup(self._real.fileno())
        """Zmq's, which closes it."""
        self.is_shut = False
        self.waiting = select.epoll()
        """Readable while somebody is to be turned away."""

    @staticmethod
    def handles(endpoint: str) -> bool:
        """Return True for addresses whose meaning needs no resolver."""
        return endpoint.startswith("ipc://") or _TCP.fullmatch(endpoint) is not None

    def shut(self) -> None:
        """Let zmq accept nobody from now on."""
        if not self.is_shut:
            self.is_shut = True
            os.dup2(self._dead.fileno(), self.fd, inheritable=False)
            self.waiting.register(self._real, select.EPOLLIN)

    def open(self) -> None:
        """Let zmq accept again."""
        if self.is_shut:
            self.is_shut = False
            self.waiting.unregister(self._real)
            os.dup2(self._real.fileno(), self.fd, inheritable=False)

    def turn_away(self) -> int:
        """End the connections of those who wait while this is shut; return how many there were."""
        turned_away = 0
        while self.is_shut and turned_away < _AT_ONCE:
            try:
                self._real.accept()[0].close()
            except OSError:  # nobody waits any more
                break
            turned_away += 1
        return turned_away

    def close(self) -> None:
        """End it. Zmq's duplicate, if it was given one, is zmq's to close: as the socket that zmq has polled."""
        self.open()
        self.waiting.close()
        self._real.close()
        self._dead.close()


def _listen_at(path: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    with _closed_unless_all_is_well(one):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.fchmod(one.fileno(), 0o600)  # the file's mode from the moment that it is there
        one.bind(str(path))
        path.chmod(0o600)
        one.listen(_IPC_BACKLOG)
        one.setblocking(False)
    return one


def _listen_on(endpoint: str) -> socket.socket:
    found = _TCP.fullmatch(endpoint)
    assert found is not None
    host, port = found.groups()
    one = socket.socket(socket.AF_INET)
    with _closed_unless_all_is_well(one):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("0.0.0.0" if host == "*" else host, 0 if port == "*" else int(port)))
        one.listen(_TCP_BACKLOG)
        one.setblocking(False)
    return one


@contextlib.contextmanager
def _closed_unless_all_is_well(one: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        one.close()
        raise
