"""The threads that the router cannot do without: looked after, and started anew where one has ended.

Owns: how often one may be started anew before the pool is given up.
Must not know: what the threads do.
"""

from __future__ import annotations

import collections
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from audio_pool.errors import AudioPoolError

__all__ = ["Helper", "HelperThreads"]

log = logging.getLogger(__name__)

_MOST_STARTS, _WITHIN_S = 3, 60.0


class Helper(Protocol):
    """Something that has a thread of its own."""

    name: str

    @property
    def alive(self) -> bool:
        """True while the thread does its work."""
        ...

    def revive(self) -> None:
        """Start the thread anew where it has ended."""
        ...


class HelperThreads:
    """Router's thread only."""

    def __init__(self, helpers: Sequence[Helper], clock: Callable[[], float] = time.monotonic) -> None:
        self._helpers = helpers
        self._clock = clock
        self._starts: dict[str, collections.deque[float]] = {
            helper.name: collections.deque(maxlen=_MOST_STARTS) for helper in helpers
        }

    def look(self) -> None:
        """Start anew what has ended.

        Raises:
            AudioPoolError: one cannot be brought back, or has ended again and again.
        """
        for helper in self._helpers:
            if helper.alive:
                continue
            starts, now = self._starts[helper.name], self._clock()
            if len(starts) == _MOST_STARTS and now - starts[0] < _WITHIN_S:
                raise AudioPoolError(f"the {helper.name} has ended {_MOST_STARTS + 1} times within {_WITHIN_S:g} s")
            starts.append(now)
            log.critical("the thread of the %s has ended: a bug; it is started anew", helper.name)
            try:
                helper.revive()
            except Exception as exc:
                raise AudioPoolError(f"the {helper.name} has ended and cannot be started anew: {exc}") from exc
