"""A pool's writer that a test runs by hand, so that what is read before and after is certain."""

from __future__ import annotations

import collections
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class HandWriter(Executor):
    """Keeps what it is given until ``run`` is called."""

    def __init__(self) -> None:
        self.waiting: collections.deque[Callable[[], Any]] = collections.deque()

    def submit(self, work: Any, /, *args: Any, **fields: Any) -> Future[Any]:
        """Take something to do."""
        future: Future[Any] = Future()
        self.waiting.append(lambda: future.set_result(work(*args, **fields)))
        return future

    def run(self) -> None:
        """Do everything that waits, in order."""
        while self.waiting:
            self.waiting.popleft()()
