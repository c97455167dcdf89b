"""``leases`` and ``workers`` of AudioPool: ordered by the program that the pool runs in.

Owns: PoolLeases, PoolWorkers: that their arguments are checked as those of a client's message.
Must not know: how an order is carried out (lending.py, staff.py).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from audio_pool.errors import InvalidRequest
from audio_pool.pool.caller import HOST
from audio_pool.pool.questions import QUESTION_TIMEOUT_S, answer_of, on_router
from audio_pool.pool.router import Router
from audio_pool.pool.service import PoolService
from audio_pool.staffing import LeaseReport, LeaseReturned, LeasesApi, WorkersApi, WorkersOrdered
from audio_pool.transport.client_messages import (
    PROTOCOL_VERSION,
    LeaseRequest,
    LeaseReturnRequest,
    WorkerDrainRequest,
    WorkerRemoveRequest,
    WorkersScaleRequest,
)
from audio_pool.validation import parse

__all__ = ["PoolLeases", "PoolWorkers"]

T = TypeVar("T", bound=msgspec.Struct)
_ENDING_S = 20.0
_FINISHING_S = 300.0


class PoolLeases(LeasesApi):
    """See LeasesApi; every method takes ``timeout_s``."""

    def __init__(self, router: Router, service: PoolService) -> None:
        self._router = router
        self._lending = service.lending

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
        """Have every worker leave a device; return when it is free. It is this program's: it is always connected."""
        fields = {"device": device, "within_s": within_s, "for_s": for_s, "holder": holder}
        asked = _checked(LeaseRequest, "lease", fields)
        order = functools.partial(
            self._lending.take,
            asked.device,
            within_s=asked.within_s,
            for_s=asked.for_s,
            holder=asked.holder,
            caller=HOST,
        )
        return answer_of(
            self._router, LeaseReport, order, asked.within_s + _ENDING_S if timeout_s is None else timeout_s
        )[0]

    def give_back(self, device: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> LeaseReturned:
        """Return a device: its workers come back."""
        asked = _checked(LeaseReturnRequest, "lease_return", {"device": device})
        return on_router(self._router, lambda: self._lending.give_back(asked.device, caller=HOST), timeout_s)

    def list(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> tuple[LeaseReport, ...]:
        """Get the devices that are lent."""
        return on_router(self._router, self._lending.reports, timeout_s)


class PoolWorkers(WorkersApi):
    """See WorkersApi; every method takes ``timeout_s``."""

    def __init__(self, router: Router, service: PoolService) -> None:
        self._router = router
        self._staff = service.staff

    def add(
        self,
        name: str,
        *,
        like: str | None = None,
        timeout_s: float = QUESTION_TIMEOUT_S,
        **fields: Any,  # opaque until they are parsed
    ) -> WorkersOrdered:
        """Start a worker more; ``fields`` as those of ``[[workers]]``."""
        return on_router(self._router, lambda: self._staff.add({**fields, "name": name}, like=like), timeout_s)

    def drain(self, name: str, *, timeout_s: float = _FINISHING_S) -> WorkersOrdered:
        """Give a worker nothing new; return when it has done what it holds."""
        return self._drain(name, timeout_s, drained=True)

    def resume(self, name: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> WorkersOrdered:
        """Give a drained worker work again."""
        return self._drain(name, timeout_s, drained=False)

    def _drain(self, name: str, timeout_s: float, *, drained: bool) -> WorkersOrdered:
        asked = _checked(WorkerDrainRequest, "worker_drain", {"worker": name, "drained": drained})
        order = functools.partial(self._staff.drain, asked.worker, drained=asked.drained)
        return answer_of(self._router, WorkersOrdered, order, timeout_s)[0]

    def scale(self, name: str, count: int, *, timeout_s: float = QUESTION_TIMEOUT_S) -> WorkersOrdered:
        """Have so many workers of a name."""
        asked = _checked(WorkersScaleRequest, "workers_scale", {"worker": name, "count": count})
        return on_router(self._router, lambda: self._staff.scale(asked.worker, asked.count), timeout_s)

    def remove(
        self, name: str, *, within_s: float | None = None, timeout_s: float = _FINISHING_S
    ) -> WorkersOrdered:
        """Have a worker do what it holds, and end for good; return when its process is gone."""
        asked = _checked(WorkerRemoveRequest, "worker_remove", {"worker": name, "within_s": within_s})
        order = functools.partial(self._staff.remove, asked.worker, within_s=asked.within_s)
        return answer_of(self._router, WorkersOrdered, order, timeout_s)[0]


def _checked(cls: type[T], what: str, fields: Mapping[str, Any]) -> T:  # opaque until they are parsed
    return parse(
        cls, {"v": PROTOCOL_VERSION, "request_id": "local", **fields}, error=InvalidRequest, what=what
    )
