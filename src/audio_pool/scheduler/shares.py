"""Whose turn it is: start-time fair queueing between clients (Goyal, Vin and Cheng, SIGCOMM 1996). Pure.

Owns: how much of the workers' time each client has had, as tags on a virtual clock.
Must not know: what waits, how urgent it is, how long anything takes.

A client's next task has a *start tag*; the client with the least goes first, and what its task is expected to
cost, divided by the client's weight, is added to its tag. The clock shows the greatest start tag served so far.
Who begins to wait starts at the clock: time that it did not use before is not saved up, and a flood that came
first is not before it but beside it. Start tags, rather than finish tags (weighted fair queueing), need no cost
before a task is taken and stay fair when workers come and go. Deficit round robin would do as well among
equals, but every newcomer would have to wait for a whole round.
"""

from __future__ import annotations

from collections.abc import Callable, Container

__all__ = ["FairShares"]

_MOST_TAGS = 2048


class FairShares:
    """One virtual clock: of all the workers' threads for one sort of work."""

    def __init__(self, weight_of: Callable[[str], float], credit_s: float) -> None:
        """``credit_s``: the most that the clock of who waits all the time falls behind; a client that is served
        elsewhere beyond it is not held back for longer."""
        self._weight_of = weight_of
        self._credit_s = credit_s
        self._clock = 0.0
        self._tags: dict[str, float] = {}

    def start(self, client: str) -> float:
        """Return the start tag of a client's next task."""
        return max(self._tags.get(client, self._clock), self._clock - self._credit_s)

    def join(self, client: str, waiting: Container[str]) -> None:
        """Note that a client begins to wait. ``waiting``: those that wait already."""
        self._tags[client] = max(self._tags.get(client, self._clock), self._clock)
        if len(self._tags) > _MOST_TAGS:  # who is gone owes at most what its last task cost
            kept = {name: tag for name, tag in self._tags.items() if name in waiting or name == client}
            self._tags = kept

    def charge(self, client: str, cost_s: float) -> None:
        """Note that a client's task is taken, which is expected to cost that much."""
        start = self.start(client)
        self._clock = max(self._clock, start)
        self._tags[client] = start + cost_s / self._weight_of(client)

    def refund(self, client: str, cost_s: float) -> None:
        """Take back the charge for a task that was not begun."""
        if client in self._tags:
            self._tags[client] -= cost_s / self._weight_of(client)

    def turns_before(self, other: str, client: str, tasks_before: int, cost_s: float) -> int:
        """Estimate how many tasks of another client go before one of this client, behind ``tasks_before`` of its
        own, where each costs about the same."""
        mine = self.start(client) + tasks_before * cost_s / self._weight_of(client)
        behind = (mine - self.start(other)) * self._weight_of(other) / cost_s
        return max(0, -int(-behind // 1))
