"""The queue of works: priority with ageing, and removal in constant time.

Owns: the order of waiting. Must not know: what waits, or for whom.

Ageing lifts a waiting work by one priority every ``ageing_s``. As all works age at the same speed,
their order never changes while they wait: it is the order of ``arrival + priority * ageing_s``, and
a plain heap does, where a sort at every look would cost as much as the queue is long.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

__all__ = ["Waiting"]


class Waiting:
    """Works by key (an engine's or a duty's name), each in order of urgency."""

    def __init__(self, ageing_s: float) -> None:
        self._ageing_s = ageing_s
        self._heaps: dict[str, list[tuple[float, int, int]]] = {}
        self._place: dict[int, tuple[str, int]] = {}
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, work: int) -> bool:
        return work in self._place

    def put(self, key: str, work: int, *, priority: int, arrival: float) -> None:
        """Adds, or moves a work that waits already."""
        number = next(self._count)
        self._place[work] = (key, number)
        heap = self._heaps.setdefault(key, [])
        heapq.heappush(heap, (arrival + priority * self._ageing_s, number, work))
        if len(heap) > 64 and len(heap) > 4 * len(self._place):  # a flood of removed works must not stay
            heap[:] = [entry for entry in heap if self._place.get(entry[2]) == (key, entry[1])]
            heapq.heapify(heap)

    def remove(self, work: int) -> bool:
        """Whether it was waiting. Its heap entry is dropped when it comes up."""
        return self._place.pop(work, None) is not None

    def urgency(self, key: str) -> float | None:
        """Of the first work under ``key``; None where none waits. Smaller is more urgent."""
        head = self._head(key)
        return head[0] if head else None

    def take(self, key: str, fits: Callable[[int], bool] | None = None) -> int | None:
        """Removes and gives the first work under ``key``; None where none waits, or the first does not fit."""
        head = self._head(key)
        if head is None or (fits is not None and not fits(head[2])):
            return None
        heapq.heappop(self._heaps[key])
        del self._place[head[2]]
        return head[2]

    def ahead(self, key: str, work: int, *, priority: int, arrival: float) -> int:
        """How many works under ``key`` go before this one, which waits there or is about to."""
        place = self._place.get(work)
        number = place[1] if place is not None and place[0] == key else math.inf
        mine = arrival + priority * self._ageing_s, number
        return sum(
            (urgency, count) < mine and self._place.get(other) == (key, count)
            for urgency, count, other in self._heaps.get(key, ())
        )

    def names(self) -> list[str]:
        """Keys under which something may wait."""
        return [key for key, heap in self._heaps.items() if heap]

    def all(self) -> list[int]:
        return list(self._place)

    def _head(self, key: str) -> tuple[float, int, int] | None:
        heap = self._heaps.get(key)
        while heap:
            head = heap[0]
            if self._place.get(head[2]) == (key, head[1]):
                return head
            heapq.heappop(heap)
        return None
