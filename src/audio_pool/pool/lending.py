"""Devices lent to those who ask: who may, who is answered when, and whose lease ends with his connection.

Owns: Lending. Router's thread only.
Must not know: what leaving a device takes (scheduler/staffing.py), messages, sockets.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable

from audio_pool.errors import Cancelled, Refused
from audio_pool.pool.caller import Caller
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.router import Router
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import TellLease
from audio_pool.scheduler.leases import Lease
from audio_pool.staffing import LeaseReport, LeaseReturned

__all__ = ["Lending", "only_operators"]

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
"""Between two looks at whether the holder of a lease is still connected."""


def only_operators(caller: Caller, what: str) -> None:
    """Raise Refused for a caller who may not order what concerns everybody."""
    if not caller.operator:
        raise Refused(
            f"{what}: only an operator may order that",
            hint="ask as the server's own user, or with a key made by `audio-pool keys create --operator`",
        )


class Lending:
    """Orders leases, and answers who asked."""

    def __init__(self, router: Router, requests: RequestTable) -> None:
        self._router = router
        self._requests = requests

    def take(
        self,
        device: str,
        sink: ReplySink,
        *,
        within_s: float,
        for_s: float | None,
        holder: str | None,
        caller: Caller,
        gone: Callable[[], bool] | None = None,
    ) -> None:
        """Have a device left; the answer comes when it is free.

        Args:
            gone: whether the connection that the lease is to end with has ended; None: it does not end with any.

        Raises:
            Refused: the caller is no operator.
        """
        only_operators(caller, "lease")
        holder = holder or caller.owner
        number = self._requests.open_question(sink)
        log.info("device %s is asked for by %r within %g s", device, holder, within_s)
        asked = events.TakeLease(asked=number, device=device, holder=holder, within_s=within_s, for_s=for_s)
        self._router.feed(asked)
        lease = self._router.scheduler.staffing.leases.get(device)
        if gone is not None and lease is not None and lease.holder == holder:
            self._watch(lease, gone)

    def give_back(self, device: str, *, caller: Caller) -> LeaseReturned:
        """Return a device, whoever has it. Raises Refused."""
        only_operators(caller, "lease")
        lent = device in self._router.scheduler.staffing.leases
        self._router.feed(events.EndLease(device=device))
        return LeaseReturned(device=device, returned=lent)

    def _watch(self, lease: Lease, gone: Callable[[], bool]) -> None:
        """End a lease once its holder's connection has ended; one that was asked for anew is another."""
        if self._router.scheduler.staffing.leases.get(lease.device) is not lease:
            return
        if gone():
            log.info("device %s comes back: the connection of %r has ended", lease.device, lease.holder)
            self._router.feed(events.EndLease(device=lease.device))
            return
        self._router.call_at(time.monotonic() + _LOOK_EVERY_S, functools.partial(self._watch, lease, gone))

    def told(self, told: TellLease) -> None:
        """Answer who asked for a lease."""
        if not told.asked:
            lent = told.state == "free"
            log.info("device %s %s", told.device, "is left to others" if lent else "comes back: its lease has ended")
            return
        match told.state:
            case "free":
                lease = self._router.scheduler.staffing.leases[told.device]
                log.info("device %s is free for %r", told.device, lease.holder)
                reply = Reply(kind="result", body=self._report(lease))
            case "ended":
                ended = Cancelled(f"the lease of device {told.device} ended before the device was free")
                reply = Reply(kind="cancelled", failure=Failure.of(ended))
            case "refused":
                failure = told.failure or Failure()
                reply = Reply(kind="busy" if failure.code == "busy" else "error", failure=failure)
        self._requests.finish(told.asked, reply)

    def reports(self) -> tuple[LeaseReport, ...]:
        """Return what is lent now."""
        leases = self._router.scheduler.staffing.leases
        return tuple(self._report(leases[device]) for device in sorted(leases))

    def _report(self, lease: Lease) -> LeaseReport:
        now = time.monotonic()
        workers = self._router.scheduler.workers.workers.values()
        return LeaseReport(
            device=lease.device,
            holder=lease.holder,
            state="leaving" if lease.free_at is None else "free",
            workers=tuple(one.plan.name for one in workers if lease.device in one.plan.devices),
            free_in_s=max(0.0, lease.leave_by - now) if lease.free_at is None else 0.0,
            left_s=None if lease.ends_at is None else max(0.0, lease.ends_at - now),
            begun_again=lease.begun_again,
        )
