"""``leases`` and ``workers`` of the clients: ordered of a served pool by whoever blocks and by whoever awaits.

Owns: the four classes, and the questions that they put.
Must not know: sockets, how an answer is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audio_pool.client.control import QUESTION_TIMEOUT_S, Question, status
from audio_pool.client.library import Ask, AskLater
from audio_pool.staffing import LeaseReport, LeaseReturned, LeasesApi, WorkersApi, WorkersOrdered

__all__ = ["AsyncClientLeases", "AsyncClientWorkers", "ClientLeases", "ClientWorkers"]

_ENDING_S = 20.0
"""Beyond the time that was allowed: until a process has ended, and the answer is here."""
_FINISHING_S = 300.0
"""What a worker holds may take so long."""


def _take(
    device: str, within_s: float, for_s: float | None, holder: str | None, while_connected: bool
) -> Question[LeaseReport]:
    fields = {"device": device, "within_s": within_s, "for_s": for_s, "holder": holder}
    return Question("lease", LeaseReport, {**fields, "while_connected": while_connected})


def _add(name: str, like: str | None, fields: Mapping[str, Any]) -> Question[WorkersOrdered]:
    return Question("worker_add", WorkersOrdered, {"worker": {**fields, "name": name}, "like": like})


def _drain(name: str, *, drained: bool) -> Question[WorkersOrdered]:
    return Question("worker_drain", WorkersOrdered, {"worker": name, "drained": drained})


def _scale(name: str, count: int) -> Question[WorkersOrdered]:
    return Question("workers_scale", WorkersOrdered, {"worker": name, "count": count})


def _remove(name: str, within_s: float | None) -> Question[WorkersOrdered]:
    return Question("worker_remove", WorkersOrdered, {"worker": name, "within_s": within_s})


class ClientLeases(LeasesApi):
    """See LeasesApi; every method takes ``timeout_s``."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def take(
        self,
        device: str,
        *,
        within_s: float = 10.0,
        for_s: float | None = 600.0,
        holder: str | None = None,
        while_connected: bool = False,
        timeout_s: float | None = None,
    ) -> LeaseReport:
        """Have every worker leave a device; return when it is free, after ``within_s`` and a little at most."""
        asked = _take(device, within_s, for_s, holder, while_connected)
        return self._ask(asked, within_s + _ENDING_S if timeout_s is None else timeout_s)

    def give_back(self, device: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> LeaseReturned:
        """Return a device: its workers come back."""
        return self._ask(Question("lease_return", LeaseReturned, {"device": device}), timeout_s)

    def list(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> tuple[LeaseReport, ...]:
        """Get the devices that are lent."""
        return (self._ask(status(False), timeout_s)).leases


class ClientWorkers(WorkersApi):
    """See WorkersApi; every method takes ``timeout_s``."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def add(
        self, name: str, *, like: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S, **fields: Any
    ) -> WorkersOrdered:
        """Start a worker more; ``fields`` as those of ``[[workers]]``."""
        return self._ask(_add(name, like, fields), timeout_s)

    def drain(self, name: str, *, timeout_s: float = _FINISHING_S) -> WorkersOrdered:
        """Give a worker nothing new; return when it has done what it holds."""
        return self._ask(_drain(name, drained=True), timeout_s)

    def resume(self, name: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> WorkersOrdered:
        """Give a drained worker work again."""
        return self._ask(_drain(name, drained=False), timeout_s)

    def scale(self, name: str, count: int, *, timeout_s: float = QUESTION_TIMEOUT_S) -> WorkersOrdered:
        """Have so many workers of a name."""
        return self._ask(_scale(name, count), timeout_s)

    def remove(
        self, name: str, *, within_s: float | None = None, timeout_s: float = _FINISHING_S
    ) -> WorkersOrdered:
        """Have a worker do what it holds, and end for good; return when its process is gone."""
        return self._ask(_remove(name, within_s), timeout_s)


class AsyncClientLeases(LeasesApi):
    """As ClientLeases; every answer is awaited."""

    def __init__(self, ask: AskLater) -> None:
        self._ask = ask

    async def take(
        self,
        device: str,
        *,
        within_s: float = 10.0,
        for_s: float | None = 600.0,
        holder: str | None = None,
        while_connected: bool = False,
        timeout_s: float | None = None,
    ) -> LeaseReport:
        """As ClientLeases.take."""
        asked = _take(device, within_s, for_s, holder, while_connected)
        return await self._ask(asked, within_s + _ENDING_S if timeout_s is None else timeout_s)

    async def give_back(self, device: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> LeaseReturned:
        """As ClientLeases.give_back."""
        return await self._ask(Question("lease_return", LeaseReturned, {"device": device}), timeout_s)

    async def list(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> tuple[LeaseReport, ...]:
        """As ClientLeases.list."""
        return (await self._ask(status(False), timeout_s)).leases


class AsyncClientWorkers(WorkersApi):
    """As ClientWorkers; every answer is awaited."""

    def __init__(self, ask: AskLater) -> None:
        self._ask = ask

    async def add(
        self, name: str, *, like: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S, **fields: Any
    ) -> WorkersOrdered:
        """As ClientWorkers.add."""
        return await self._ask(_add(name, like, fields), timeout_s)

    async def drain(self, name: str, *, timeout_s: float = _FINISHING_S) -> WorkersOrdered:
        """As ClientWorkers.drain."""
        return await self._ask(_drain(name, drained=True), timeout_s)

    async def resume(self, name: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> WorkersOrdered:
        """As ClientWorkers.resume."""
        return await self._ask(_drain(name, drained=False), timeout_s)

    async def scale(self, name: str, count: int, *, timeout_s: float = QUESTION_TIMEOUT_S) -> WorkersOrdered:
        """As ClientWorkers.scale."""
        return await self._ask(_scale(name, count), timeout_s)

    async def remove(
        self, name: str, *, within_s: float | None = None, timeout_s: float = _FINISHING_S
    ) -> WorkersOrdered:
        """As ClientWorkers.remove."""
        return await self._ask(_remove(name, within_s), timeout_s)
