"""The queue of jobs: priority with ageing, fair between clients, and removal in constant time.

Owns: the order of waiting. Must not know: what waits, or for whom.

Each need (an engine's sounds, mastering, a worker's calls) has a line, in which each client has a line of its own.

- *One client's jobs* go by priority and arrival. Ageing lifts a waiting job by one priority every ``ageing_s``. As
  all of them age at the same speed, their order never changes while they wait: it is the order of ``arrival +
  priority * ageing_s``, and a plain heap does, where a sort at every look would cost as much as the queue is long.
- *Between clients* the priority of each one's first job counts, lifted by how long this client has waited for its
  turn: since that job came or the client was last served here, whichever is later. Time behind one's own flood
  lifts nothing. Within a priority it is the turn of who has had least (shares.py).

So nobody starves: once a client has waited for ``k`` times ``ageing_s`` beyond its priority, another can go before it
once at most, as a turn sets its waiting back to nothing.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Collection, Iterator
from typing import Literal, NamedTuple

from msgspec import Struct, field

from audio_pool.scheduler.shares import FairShares

__all__ = ["Backlog", "JobQueue", "Need", "Turn"]


_LOOKED_AT = 256
"""Waiting jobs among which company for a batch is sought."""

NeededOf = Literal["generate", "master", "embed", "engine", "worker", "any"]
"""A worker's role; or, for calls, who must answer: a host of an engine, a worker by name, anyone."""


class Need(NamedTuple):
    """What a waiting job needs next, and so which line it waits in."""

    role: NeededOf
    name: str = ""
    """generate, embed, engine: the engine's name; worker: the worker's; master, any: empty."""
    alone: bool = False
    """A worker that does nothing else, and that nobody else needs."""


class Turn(NamedTuple):
    """The first of a line, and how it compares with the first of others. Smaller goes first."""

    level: int
    """Its priority, lifted by how long its client has waited for a turn; below 0 beyond all priorities."""
    start: float
    """On the clock of shares."""
    urgency: float
    number: int
    job: int
    client: str


class _Waiting(NamedTuple):
    """One job in its client's line."""

    urgency: float
    number: int
    job: int
    priority: int
    arrival: float
    cost_s: float


class _Line(Struct):
    """One client's jobs with one need."""

    heap: list[_Waiting] = field(default_factory=list)
    """Those that were removed are dropped when they come up."""
    living: int = 0
    """Those of the heap that wait; a line without any is removed."""
    served_at: float = -math.inf


class _Place(NamedTuple):
    need: Need
    client: str
    number: int
    cost_s: float


class Backlog(NamedTuple):
    """What waits in one line."""

    jobs: int
    cost_s: float
    """What all of them are expected to take."""


_NOTHING = Backlog(0, 0.0)


class JobQueue:
    """Jobs by need and client."""

    def __init__(self, ageing_s: float, weight_of: Callable[[str], float] = lambda client: 1.0) -> None:
        self._ageing_s = ageing_s
        self._lines: dict[Need, dict[str, _Line]] = {}
        self._backlog: dict[Need, Backlog] = {}
        self._place: dict[int, _Place] = {}
        self._count = itertools.count()
        # generating and everything beside it use threads of their own, and so are shared on clocks of their own
        self._shares = {True: FairShares(weight_of, ageing_s), False: FairShares(weight_of, ageing_s)}
        self._waiting: dict[bool, dict[str, int]] = {True: {}, False: {}}
        self._firsts: dict[tuple[Need, float], Turn | None] = {}
        """What ``first`` has said since anything changed here."""

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, job: int) -> bool:
        return job in self._place

    def put(
        self, need: Need, job: int, *, priority: int, arrival: float, client: str = "", cost_s: float = 1.0
    ) -> None:
        """Add a job, or move one that waits already. ``cost_s``: what it is expected to take."""
        self.remove(job)
        self._firsts.clear()
        generates = need.role == "generate"
        waiting = self._waiting[generates]
        if client not in waiting:
            self._shares[generates].join(client, waiting)
        waiting[client] = waiting.get(client, 0) + 1
        number = next(self._count)
        self._place[job] = _Place(need, client, number, cost_s)
        before = self._backlog.get(need, _NOTHING)
        self._backlog[need] = Backlog(before.jobs + 1, before.cost_s + cost_s)
        line = self._lines.setdefault(need, {}).setdefault(client, _Line())
        line.living += 1
        urgency = arrival + priority * self._ageing_s
        heapq.heappush(line.heap, _Waiting(urgency, number, job, priority, arrival, cost_s))
        if len(line.heap) > 64 and len(line.heap) > 4 * line.living:  # a flood of removed jobs must not stay
            line.heap = [entry for entry in line.heap if self._waits(entry)]
            heapq.heapify(line.heap)

    def remove(self, job: int) -> bool:
        """Remove a job; return whether it was waiting."""
        place = self._place.pop(job, None)
        if place is None:
            return False
        self._firsts.clear()
        lines = self._lines[place.need]
        lines[place.client].living -= 1
        if not lines[place.client].living:
            del lines[place.client]
            if not lines:
                del self._lines[place.need]
        backlog = self._backlog[place.need]
        if backlog.jobs > 1:
            self._backlog[place.need] = Backlog(backlog.jobs - 1, backlog.cost_s - place.cost_s)
        else:
            del self._backlog[place.need]
        waiting = self._waiting[place.need.role == "generate"]
        waiting[place.client] -= 1
        if not waiting[place.client]:
            del waiting[place.client]
        return True

    def first(self, need: Need, now: float, barred: Collection[str] = ()) -> Turn | None:
        """Return whose turn it is in a line; None where none waits that may have it. ``barred``: clients."""
        if barred:
            return self._first(need, now, barred)
        key = need, now
        if key not in self._firsts:
            self._firsts[key] = self._first(need, now)
        return self._firsts[key]

    def _first(self, need: Need, now: float, barred: Collection[str] = ()) -> Turn | None:
        shares, ageing_s = self._shares[need.role == "generate"], self._ageing_s
        best: Turn | None = None
        for client, line in self._lines.get(need, {}).items():
            if client in barred:
                continue
            head = self._head(line)
            since = line.served_at if line.served_at > head.arrival else head.arrival
            level = math.ceil(head.priority - (now - since) / ageing_s)
            if best is None or level <= best.level:
                turn = Turn(level, shares.start(client), head.urgency, head.number, head.job, client)
                if best is None or turn < best:
                    best = turn
        return best

    def take_turn(self, need: Need, turn: Turn, now: float) -> None:
        """Remove the job whose turn it is, as ``first`` has just said."""
        line = self._lines[need][turn.client]
        taken = heapq.heappop(line.heap)
        line.served_at = now
        self.remove(turn.job)  # the line too, where that was its last: the next in it has not waited either
        self._charge(need, turn.client, taken.cost_s)

    def take_alike(
        self,
        need: Need,
        now: float,
        room: int,
        size: Callable[[int], int],
        may_take: Callable[[str], bool],
    ) -> Iterator[int]:
        """Remove and yield jobs of a line that go with one that was taken, wherever in it they wait.

        Within a client the most urgent first; between clients the one that has had least. At most ``_LOOKED_AT`` are
        looked at, of each client the same number: a long queue must not cost the router more than a short one.

        Args:
            room: sum of the sizes that may be taken.
            size: of a job; 0: it does not go with the other.
            may_take: whether a client may have one more; asked before each.
        """
        lines, shares = self._lines.get(need, {}), self._shares[need.role == "generate"]
        most = max(1, _LOOKED_AT // max(1, len(lines)))
        found: dict[str, list[_Waiting]] = {}
        for client, line in itertools.islice(lines.items(), _LOOKED_AT):
            # the front of a heap: not its first entries in order, but all of them are among its most urgent
            entries = [entry for entry in line.heap[:most] if self._waits(entry) and 0 < size(entry.job) <= room]
            if entries:
                found[client] = sorted(entries, reverse=True)
        while room > 0 and found:
            client = min(found, key=lambda one: (shares.start(one), found[one][-1]))
            entry = found[client].pop() if may_take(client) else None
            if entry is None or not found[client]:
                del found[client]
            if entry is not None and size(entry.job) <= room:
                room -= size(entry.job)
                if self._head(lines[client]).number == entry.number:
                    lines[client].served_at = now  # else its first still waits, and company is no turn of its own
                self.remove(entry.job)
                self._charge(need, client, entry.cost_s)
                yield entry.job

    def pass_by(self, need: Need, client: str, cost_s: float) -> None:
        """Charge a client for a job that goes at once, as ``put`` and ``take`` would; asked where nobody waits."""
        self._shares[need.role == "generate"].join(client, ())
        self._charge(need, client, cost_s)

    def _charge(self, need: Need, client: str, cost_s: float) -> None:
        self._firsts.clear()
        self._shares[need.role == "generate"].charge(client, cost_s)

    def give_back(self, need: Need, client: str, cost_s: float) -> None:
        """Take back what a client was charged for a job that was taken and not begun."""
        self._firsts.clear()
        self._shares[need.role == "generate"].refund(client, cost_s)

    def ahead(
        self, need: Need, job: int, *, priority: int, arrival: float, client: str = "", cost_s: float = 1.0
    ) -> int:
        """Estimate how many jobs of a line go before this one, which waits there or is about to.

        Exact where it waits among its client's own; of other clients those count that are more urgent, and of
        those that are as urgent as many as have their turn before.
        """
        place = self._place.get(job)
        number = place.number if place is not None and place.need == need and place.client == client else math.inf
        mine = arrival + priority * self._ageing_s, number
        lines = self._lines.get(need, {})
        own = lines.get(client, _Line()).heap
        before = sum((entry.urgency, entry.number) < mine and self._waits(entry) for entry in own)
        shares = self._shares[need.role == "generate"]
        count = before
        for other, line in lines.items():
            if other != client:
                living = [entry.priority for entry in line.heap if self._waits(entry)]
                equals = sum(its == priority for its in living)
                turns = shares.turns_before(other, client, before, cost_s) if equals else 0
                count += sum(its < priority for its in living) + min(equals, turns)
        return count

    def need_of(self, job: int) -> Need | None:
        """Return which line a job waits in; None: it does not wait."""
        place = self._place.get(job)
        return None if place is None else place.need

    def needs(self) -> list[Need]:
        """Return the needs in whose lines something waits."""
        return list(self._lines)

    def backlog(self, need: Need) -> Backlog:
        """Return how much waits in a line."""
        return self._backlog.get(need, _NOTHING)

    def clients(self, need: Need) -> int:
        """Return of how many clients something waits in a line."""
        return len(self._lines.get(need, ()))

    def waiting(self, need: Need) -> list[int]:
        """Return the jobs of a line, in no order."""
        lines = self._lines.get(need, {}).values()
        return [entry.job for line in lines for entry in line.heap if self._waits(entry)]

    def all(self) -> list[int]:
        """Return every waiting job."""
        return list(self._place)

    def _waits(self, entry: _Waiting) -> bool:
        place = self._place.get(entry.job)
        return place is not None and place.number == entry.number

    def _head(self, line: _Line) -> _Waiting:
        while not self._waits(line.heap[0]):  # a line has one at least that waits
            heapq.heappop(line.heap)
        return line.heap[0]
