"""What other threads want done on the router's thread.

Owns: a queue of events and calls, and the wake-up of the thread that reads it.
Must not know: what the events mean.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator

from audio_pool.scheduler.events import Event
from audio_pool.transport.waker import Waker

__all__ = ["Inbox", "Item"]

Item = Event | Callable[[], None]
"""An event for the scheduler, or something to do on the router's thread."""


class Inbox:
    """Filled from any thread, emptied on one."""

    def __init__(self) -> None:
        self.waker = Waker()
        """To be polled; readable once something was posted."""
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()

    def post(self, item: Item) -> None:
        """Add an item, from any thread."""
        self._items.put(item)
        self.waker.wake()

    def empty(self) -> bool:
        """Return True if nothing waits."""
        return self._items.empty()

    def drain(self) -> Iterator[Item]:
        """Yield what waits, and what is posted meanwhile."""
        while not self._items.empty():
            yield self._items.get()

    def close(self) -> None:
        """Close after everything that posts has ended."""
        self.waker.close()
