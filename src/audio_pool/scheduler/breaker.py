"""When a worker that has crashed is started again: a circuit breaker with half-open probes. Pure.

Owns: the count of crashes in a row, and the pauses that follow from it.
Must not know: processes, the worker's state (workers.py), why it crashed.

After a crash a worker is started again, after a pause that doubles. Too many crashes in a row, or a load that failed,
*open* the breaker: for a longer pause nothing is started. Then one start is the *probe*: the breaker is half open,
and the worker gets one task at a time. A finished task closes it; a crash or another failed load opens it again, for
twice as long, up to a bound. So nothing is given up for ever: memory may be free again, a disk may be back (Nygard,
Release It!, 2007).
"""

from __future__ import annotations

from msgspec import Struct

from audio_pool.config import LimitsConfig

__all__ = ["Breaker"]


class Breaker(Struct):
    """Of one worker."""

    crashes: int = 0
    """In a row, without a finished task."""
    opened: int = 0
    """Times in a row that it opened, without a finished task."""
    half_open: bool = False
    """The present start is a probe."""

    def crash(self, limits: LimitsConfig) -> tuple[bool, float]:
        """Count a crash; return whether the breaker is open now, and the pause until the next start."""
        self.crashes += 1
        if self.half_open or self.crashes > limits.max_restarts:
            return True, self.open(limits)
        return False, self.pause_s(limits)

    def pause_s(self, limits: LimitsConfig) -> float:
        """Return the pause before a start while the breaker is closed."""
        doubled = limits.restart_backoff_s * 2.0 ** max(0, min(self.crashes - 1, 64))
        return min(limits.restart_backoff_max_s, doubled)

    def open(self, limits: LimitsConfig) -> float:
        """Open; return the pause until the probe."""
        self.half_open = False
        pause = min(limits.breaker_max_s, limits.breaker_s * 2.0 ** min(self.opened, 64))
        self.opened += 1
        return pause

    def probe(self) -> None:
        """The pause is over: the start that follows is a probe."""
        self.half_open = True

    def close(self) -> None:
        """A task was finished: all is well."""
        self.crashes, self.opened, self.half_open = 0, 0, False
