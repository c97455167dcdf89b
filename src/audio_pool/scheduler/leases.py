"""Devices that are lent: to whom, by when they are to be left, and until when. Pure.

Owns: the leases, one for each device; when one ends by itself.
Must not know: workers, what leaving a device takes (staffing.py).

Two things lend a device: somebody who asks for it ("leave GPU 1 within 10 s, for ten minutes"), and other programs
that have taken its memory (``holder`` is ``OTHERS`` then). What was asked for is stronger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from msgspec import Struct

__all__ = ["OTHERS", "Lease", "LeaseTable"]

OTHERS = "other programs"
"""The holder of a device whose memory has been taken by nobody who asked."""
_TO_END_S = 1.0
"""What a process that is killed may take to give its memory back."""


class Lease(Struct, kw_only=True):
    """One device, lent."""

    device: str
    holder: str
    taken_at: float
    leave_by: float
    for_s: float | None
    """From when the device is free; None: until it is returned."""
    free_at: float | None = None
    """When everything on it had ended; None: not yet."""
    begun_again: int = 0
    """Jobs that had to be stopped for it."""
    asked: list[int]
    """Requests that are answered when it is free."""

    @property
    def stop_at(self) -> float:
        """When what is still at work is stopped, so that the device is free in time."""
        return self.leave_by - min(_TO_END_S, (self.leave_by - self.taken_at) / 2)

    @property
    def ends_at(self) -> float | None:
        """When it ends by itself."""
        return None if self.for_s is None else (self.leave_by if self.free_at is None else self.free_at) + self.for_s

    def told(self, now: float) -> str:
        """Return in words who has it, and for how long."""
        if self.holder == OTHERS:
            return f"other programs have the memory of device {self.device}"
        ends_at = self.ends_at
        left = "until it is returned" if ends_at is None else f"for {max(0.0, ends_at - now):.0f} s more"
        return f"device {self.device} is lent to {self.holder!r} {left}"


class LeaseTable(dict[str, Lease]):
    """Leases by device."""

    def of(self, devices: Collection[str]) -> Lease | None:
        """Return the lease that keeps a worker with these devices from its work; the longest, where there are more."""
        found = [self[device] for device in devices if device in self]
        return max(found, key=lambda one: (one.ends_at is None, one.ends_at or 0.0), default=None)

    def over(self, now: float) -> list[Lease]:
        """Return those that have ended by themselves."""
        return [one for one in self.values() if one.ends_at is not None and one.ends_at <= now]

    def times(self) -> Iterator[float]:
        """Yield when each ends by itself."""
        return (one.ends_at for one in self.values() if one.ends_at is not None)
