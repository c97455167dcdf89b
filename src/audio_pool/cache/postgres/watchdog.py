"""An end for every wait for the database: also where it neither answers nor closes the connection.

Owns: WatchedConnection, and which connections are waited on until when.
Must not know: what is asked.

The server bounds a statement's time, and the kernel finds out that a host is gone. Neither helps where the server's
process is stopped, or a proxy holds the connection open: then the socket is shut from this side, and the wait fails.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg

__all__ = ["WatchedConnection", "shut"]

_EVERY_S = 0.25


class _Watchdog:
    """Connections that somebody waits on; its thread lives while there are any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[object, tuple[float, psycopg.Connection[Any]]] = {}
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watching(self, db: psycopg.Connection[Any], within_s: float) -> Iterator[None]:
        """Shut the connection where this lasts for longer."""
        mine = object()
        with self._changed:
            self._due[mine] = time.monotonic() + within_s, db
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="database-watchdog", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                del self._due[mine]

    def _run(self) -> None:
        idle_since = time.monotonic()
        while True:
            with self._changed:
                now = time.monotonic()
                if self._due:
                    idle_since = now
                elif now - idle_since > 2.0:
                    self._thread = None
                    return
                for due, db in self._due.values():
                    if now >= due:
                        shut(db)
                self._changed.wait(_EVERY_S)


def shut(db: psycopg.Connection[Any]) -> None:
    """Let whoever waits on a connection hear at once that it is over; on any thread."""
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(db.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


_WATCHDOG = _Watchdog()


class WatchedConnection(psycopg.Connection[tuple[Any, ...]]):  # type: ignore[misc]  # where psycopg is not installed
    """A connection of which no single wait lasts for ever; however many of them a transaction consists of."""

    limit_s = 30.0

    def wait(self, *args: Any, **options: Any) -> Any:  # opaque: psycopg's own, which all its waiting goes through
        """Wait as psycopg does; shut the connection where that lasts for too long."""
        with _WATCHDOG.watching(self, self.limit_s):
            return super().wait(*args, **options)
