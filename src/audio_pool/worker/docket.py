"""The tasks of a worker between their arrival and their answer: which are cancelled, begun, or given back.

Owns: that record, kept by three threads: tasks arrive and begin on their own, cancels and recalls on the control
thread.
Must not know: sockets, what tasks are for, how they get on (lane.py).
"""

from __future__ import annotations

import threading

from audio_pool.errors import Cancelled

__all__ = ["Docket", "TaskKey"]

TaskKey = tuple[int, int]
"""A task and its attempt."""
_KEPT = 4096
"""Cancels may come before their task has been read or after it was answered, recalls soon after their task or
never: the oldest are forgotten."""


class Docket:
    """All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received: dict[int, None] = {}
        self._begun: dict[TaskKey, None] = {}
        self._cancelled: dict[TaskKey, None] = {}
        self._given_back: dict[TaskKey, None] = {}

    @property
    def open(self) -> frozenset[int]:
        """Tasks that were received and are not answered."""
        with self._lock:
            return frozenset(self._received)

    def receive(self, key: TaskKey) -> None:
        """Note that a task was read from its socket."""
        with self._lock:
            self._received[key[0]] = None

    def begin(self, key: TaskKey) -> bool:
        """Note that a task begins; False: it was given back, and must not."""
        with self._lock:
            if key in self._given_back:
                del self._given_back[key]
                self._received.pop(key[0], None)
                return False
            _note(self._begun, key)
            return True

    def give_back(self, key: TaskKey) -> bool:
        """Return True if a task has not begun, and see to it that it never does."""
        with self._lock:
            if key in self._begun:
                return False
            _note(self._given_back, key)
            return True

    def cancel(self, key: TaskKey) -> None:
        """Note that nobody wants a task any more."""
        with self._lock:
            _note(self._cancelled, key)

    def heed_cancel(self, key: TaskKey) -> None:
        """Raise Cancelled if nobody wants the task any more: before it begins, and between its steps."""
        if key in self._cancelled:
            raise Cancelled("cancelled by its caller")

    def close(self, key: TaskKey) -> None:
        """Note that a task was answered."""
        with self._lock:
            self._cancelled.pop(key, None)
            self._received.pop(key[0], None)


def _note(keys: dict[TaskKey, None], key: TaskKey) -> None:
    keys[key] = None
    if len(keys) > _KEPT:
        del keys[next(iter(keys))]
