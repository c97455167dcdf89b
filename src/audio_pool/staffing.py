"""Devices that are lent and workers that come and go, as those see them who order it.

Owns: what may be asked, what is answered, and the verbs of ``leases`` and ``workers``.
Must not know: who asks (in this process, over ZMQ), how a device is left.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any, Literal, Protocol

from msgspec import Meta, Struct

from audio_pool.plain_mapping import PlainMapping

__all__ = [
    "Device",
    "HasStaff",
    "Holder",
    "LeaseReport",
    "LeaseReturned",
    "LeaseS",
    "LeasesApi",
    "WithinS",
    "WorkerCount",
    "WorkersApi",
    "WorkersOrdered",
]

Device = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\A[A-Za-z0-9\-]+\Z")]
"""As a worker's ``gpu`` names it."""
Holder = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[^\x00-\x1f\x7f]+\Z")]
WithinS = Annotated[float, Meta(ge=0.0, le=3600.0)]
WorkerCount = Annotated[int, Meta(ge=0, le=1024)]
LeaseS = Annotated[float, Meta(ge=0.1, le=604_800.0)]


class LeaseReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """A device that is lent."""

    device: str
    holder: str
    state: Literal["leaving", "free"]
    """free: nothing of this pool is on it any more."""
    workers: tuple[str, ...] = ()
    """Those that are away for it."""
    free_in_s: float = 0.0
    """At most, while it is being left."""
    left_s: float | None = None
    """Until the workers come back; None: until it is returned."""
    begun_again: int = 0
    """Jobs that were stopped for it, and are made elsewhere or later."""


class LeaseReturned(PlainMapping, Struct, frozen=True, kw_only=True):
    """The answer to a return."""

    device: str
    returned: bool
    """False: it was not lent."""


class WorkersOrdered(PlainMapping, Struct, frozen=True, kw_only=True):
    """What has become of workers that something was ordered of."""

    workers: tuple[str, ...]
    state: Literal["starting", "lent", "drained", "resumed", "removed", "scaled"]
    """scaled: ``workers`` are those that there are from now on; some start, others do what they hold and end."""


class LeasesApi(Protocol):
    """The verbs of ``leases`` of AudioPool, AudioClient and AsyncAudioClient; the last one's answers are awaited."""

    def take(
        self,
        device: str,
        *,
        within_s: float = 10.0,
        for_s: float | None = 600.0,
        holder: str | None = None,
        while_connected: bool = False,
    ) -> LeaseReport | Awaitable[LeaseReport]:
        """Have every worker leave a device; return when it is free. Its memory is free then: the processes are gone.

        Args:
            device: as a worker's ``gpu`` names it, e.g. "1".
            within_s: what is at work there may end in this time, else it is begun again elsewhere.
            for_s: how long, from when it is free; None: until it is returned. Who asks again has it longer.
            holder: a name for who has it; None: the caller's own.
            while_connected: it also ends when this client's connection does.

        Raises:
            NotFound: no worker is on that device. Busy: another holder has it. Refused: this caller is no operator.
        """

    def give_back(self, device: str) -> LeaseReturned | Awaitable[LeaseReturned]:
        """Return a device: its workers come back."""

    def list(self) -> tuple[LeaseReport, ...] | Awaitable[tuple[LeaseReport, ...]]:
        """Get the devices that are lent."""


class WorkersApi(Protocol):
    """The verbs of ``workers`` of AudioPool, AudioClient and AsyncAudioClient; the last one's answers are awaited."""

    def add(self, name: str, *, like: str | None = None, **fields: Any) -> WorkersOrdered | Awaitable[WorkersOrdered]:
        """Start a worker more.

        Args:
            like: a worker whose settings it has, where ``fields`` do not say otherwise.
            fields: as those of ``[[workers]]``, e.g. ``engines=["procedural"], gpu="1"``.

        Raises:
            InvalidConfig: what was given, what is allowed. Refused: this caller is no operator.
        """

    def drain(self, name: str) -> WorkersOrdered | Awaitable[WorkersOrdered]:
        """Give a worker nothing new; return when it has done what it holds. It stays up. Raises NotFound."""

    def resume(self, name: str) -> WorkersOrdered | Awaitable[WorkersOrdered]:
        """Give a drained worker work again. Raises NotFound."""

    def scale(self, name: str, count: int) -> WorkersOrdered | Awaitable[WorkersOrdered]:
        """Have so many workers called ``name``, or ``name-1``, ``name-2``, ...; return at once.

        Those that are missing start with the settings of the first of them. Of those that are too many the ones without
        a place go first, then those of the highest numbers: each does what it holds, and ends for good.

        Raises:
            NotFound: there is none of that name. InvalidRequest: without them the pool could make nothing.
        """

    def remove(self, name: str, *, within_s: float | None = None) -> WorkersOrdered | Awaitable[WorkersOrdered]:
        """Have a worker do what it holds, and end for good; return when its process is gone.

        Args:
            within_s: after so long it is ended whatever it is at, which is begun again elsewhere.

        Raises:
            NotFound: there is no such worker. InvalidRequest: without it the pool could make nothing.
        """


class HasStaff(Protocol):
    """Where devices can be had and workers be ordered."""

    @property
    def leases(self) -> LeasesApi:
        """Devices lent to other programs, and returned."""

    @property
    def workers(self) -> WorkersApi:
        """Workers added, drained and removed while the pool runs."""
