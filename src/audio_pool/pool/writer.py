"""A thread that does what it is given, one thing after the other.

Owns: the thread and what waits for it. Unlike a ThreadPoolExecutor's, it can be started anew.
Must not know: what is done. A pool has three: the writer for everything that touches the disk for long, one for
look-ups by meaning, and one for the upkeep of what they search.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

__all__ = ["Writer"]

P = ParamSpec("P")
T = TypeVar("T")


class Writer(Executor):
    """An Executor of one thread, in order of submission."""

    def __init__(self, name: str = "writer", niceness: int = 0) -> None:
        """
        Args:
            name: for messages.
            niceness: above 0: the thread yields the processors to others.
        """
        self.name = name
        self._niceness = niceness
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = self._begun()

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Take something to do. Raises RuntimeError after ``shutdown``."""
        if self._closed:
            raise RuntimeError(f"the {self.name} has been shut down")
        future: Future[T] = Future()

        def do() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work(*args, **kwargs))
                except BaseException as exc:
                    future.set_exception(exc)

        self._waiting.put(do)
        return future

    @property
    def alive(self) -> bool:
        """True while the thread does its work."""
        return self._thread.is_alive()

    def revive(self) -> None:
        """Start the thread anew where it has ended; what waits is done."""
        if not self._thread.is_alive() and not self._closed:
            self._thread = self._begun()

    def _begun(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name=f"audio-pool-{self.name}", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        if self._niceness:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
        while (do := self._waiting.get()) is not None:
            do()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more; with ``wait`` return when everything that waits is done."""
        self._closed = True
        while cancel_futures and not self._waiting.empty():
            self._waiting.get()
        self._waiting.put(None)
        if wait:
            self._thread.join()
