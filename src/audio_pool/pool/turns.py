"""Work for one thread, done by turns: one thing of each client that has any, then the next of each.

Owns: whose work is next, and how much of one client's may wait.
Must not know: what the work is.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from concurrent.futures import Executor

from audio_pool.errors import Busy

__all__ = ["Turns"]

Work = Callable[[], None]


class Turns:
    """Fills an executor of one thread. ``submit`` may be called from any thread."""

    def __init__(self, thread: Executor, most: int) -> None:
        """``most``: of one client that wait; the pool's own work, of the client "", has no such bound."""
        self._thread = thread
        self._most = most
        self._lock = threading.Lock()
        self._waiting: collections.OrderedDict[str, collections.deque[Work]] = collections.OrderedDict()
        """By client; the one whose turn is next comes first."""

    def submit(self, client: str, work: Work, *, bounded: bool = True) -> None:
        """Have something done in its turn; what one client has is done in its order.

        Args:
            bounded: False for what has to be done, however much of the client's waits.

        Raises:
            Busy: the client has as much waiting as it may. RuntimeError: the thread takes nothing any more.
        """
        with self._lock:
            waiting = self._waiting.get(client)
            if bounded and client and waiting is not None and len(waiting) >= self._most:
                raise Busy(
                    f"{len(waiting)} files of this client wait to be copied or read, allowed are {self._most}",
                    retry_after_ms=1000,
                )
            self._thread.submit(self._next)
            if waiting is None:
                waiting = self._waiting[client] = collections.deque()
            waiting.append(work)

    def _next(self) -> None:
        with self._lock:
            client, waiting = next(iter(self._waiting.items()))
            work = waiting.popleft()
            if waiting:
                self._waiting.move_to_end(client)
            else:
                del self._waiting[client]
        work()
