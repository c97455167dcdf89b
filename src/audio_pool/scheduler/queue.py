"""The queue of jobs: priority with ageing, and removal in constant time.

Owns: the order of waiting. Must not know: what waits, or for whom.

Ageing lifts a waiting job by one priority every ``ageing_s``. As all jobs age at the same speed,
their order never changes while they wait: it is the order of ``arrival + priority * ageing_s``, and
a plain heap does, where a sort at every look would cost as much as the queue is long.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

__all__ = ["JobQueue", "Need"]


NeededOf = Literal["generate", "master", "embed", "engine", "worker", "any"]
"""A worker's role; or, for calls, who must answer: a host of an engine, a worker by name, anyone."""


class Need(NamedTuple):
    """What a waiting job needs next, and so which line it waits in."""

    role: NeededOf
    name: str = ""
    """generate, embed, engine: the engine's name; worker: the worker's; master, any: empty."""


class JobQueue:
    """Jobs by need, each line in order of urgency."""

    def __init__(self, ageing_s: float) -> None:
        self._ageing_s = ageing_s
        self._heaps: dict[Need, list[tuple[float, int, int]]] = {}
        self._place: dict[int, tuple[Need, int]] = {}
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, job: int) -> bool:
        return job in self._place

    def put(self, need: Need, job: int, *, priority: int, arrival: float) -> None:
        """Add a job, or move one that waits already."""
        number = next(self._count)
        self._place[job] = (need, number)
        heap = self._heaps.setdefault(need, [])
        heapq.heappush(heap, (arrival + priority * self._ageing_s, number, job))
        if len(heap) > 64 and len(heap) > 4 * len(self._place):  # a flood of removed jobs must not stay
            heap[:] = [entry for entry in heap if self._place.get(entry[2]) == (need, entry[1])]
            heapq.heapify(heap)

    def remove(self, job: int) -> bool:
        """Remove a job; return whether it was waiting. Its heap entry is dropped when it comes up."""
        return self._place.pop(job, None) is not None

    def urgency(self, need: Need) -> float | None:
        """Return the urgency of the first job in a line; None where none waits. Smaller is more urgent."""
        head = self._head(need)
        return head[0] if head else None

    def first(self, need: Need) -> int | None:
        """Return the first job of a line, which stays there; None where none waits."""
        head = self._head(need)
        return head[2] if head else None

    def take(self, need: Need, fits: Callable[[int], bool] | None = None) -> int | None:
        """Remove and return the first job of a line; None where none waits, or the first does not fit."""
        head = self._head(need)
        if head is None or (fits is not None and not fits(head[2])):
            return None
        heapq.heappop(self._heaps[need])
        del self._place[head[2]]
        return head[2]

    def ahead(self, need: Need, job: int, *, priority: int, arrival: float) -> int:
        """Count the jobs of a line that go before this one, which waits there or is about to."""
        place = self._place.get(job)
        number = place[1] if place is not None and place[0] == need else math.inf
        mine = arrival + priority * self._ageing_s, number
        return sum(
            (urgency, count) < mine and self._place.get(other) == (need, count)
            for urgency, count, other in self._heaps.get(need, ())
        )

    def needs(self) -> list[Need]:
        """Return the needs in whose lines something may wait."""
        return [need for need, heap in self._heaps.items() if heap]

    def all(self) -> list[int]:
        """Return every waiting job."""
        return list(self._place)

    def _head(self, need: Need) -> tuple[float, int, int] | None:
        heap = self._heaps.get(need)
        while heap:
            head = heap[0]
            if self._place.get(head[2]) == (need, head[1]):
                return head
            heapq.heappop(heap)
        return None
