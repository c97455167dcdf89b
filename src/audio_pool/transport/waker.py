"""Waking a thread that waits for sockets.

Owns: Waker.
Must not know: what the thread is woken for.
"""

from __future__ import annotations

import os
import threading

__all__ = ["Waker"]


class Waker:
    """Wakes a Poller from another thread, and costs one system call."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        """A number that was closed may be another file's by the time it is written to."""

    def fileno(self) -> int:
        return self._fd

    def wake(self) -> None:
        """Wake the poller that waits for this, from any thread; allowed after ``close``."""
        with self._lock:
            if self._fd >= 0:
                try:
                    os.eventfd_write(self._fd, 1)
                except BlockingIOError:  # already woken 2**64 times
                    pass

    def clear(self) -> None:
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            pass

    def close(self) -> None:
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
