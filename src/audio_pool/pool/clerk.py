"""The one thread that writes: rows, renditions, deliveries. Its completions come back as events.

Owns: the order of everything that touches the disk on the pool's side.
Must not know: what is written, or why.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

__all__ = ["Clerk"]

log = logging.getLogger(__name__)


class Clerk:
    """Does errands one after the other, off the router's thread."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="audio-pool-clerk", daemon=True)
        self._thread.start()

    def order(self, errand: Callable[[], None]) -> None:
        """The errand catches its own errors and posts its own completion."""
        self._orders.put(errand)

    def close(self, timeout_s: float = 30.0) -> bool:
        """Finishes what was ordered. Whether it did within ``timeout_s``."""
        self._orders.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (errand := self._orders.get()) is not None:
            try:
                errand()
            except Exception:
                log.exception("an errand failed without saying so")
