"""What one key may use: requests a minute, sounds at a time, sounds that wait.

Owns: Quota, one key's account within this gateway.
Must not know: HTTP, how sounds are made.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from audio_pool.gateway.key_file import HttpKey
from audio_pool.gateway.problems import TooMany

__all__ = ["Quota"]

_MINUTE_S = 60.0
_TURN_MS = 2000
"""What a full queue is told to wait: about a sound."""


class Quota:
    """One key's account. Of one event loop."""

    def __init__(self, key: HttpKey, now: float) -> None:
        self.key = key
        self._left = float(key.rate)
        self._counted = now
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def count(self, now: float) -> None:
        """Count one request.

        Raises:
            TooMany: the minute's are used up; says when there is one more.
        """
        rate = self.key.rate
        if not rate:
            return
        self._left = min(float(rate), self._left + (now - self._counted) * rate / _MINUTE_S)
        self._counted = now
        if self._left < 1.0:
            wait_s = (1.0 - self._left) * _MINUTE_S / rate
            raise TooMany(
                f"key {self.key.name!r}: allowed are {rate} requests a minute",
                hint="ask again later, or have its rate raised",
                retry_after_ms=round(wait_s * 1000),
            )
        self._left -= 1.0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a place to make a sound in, first come first served, and hold it.

        Raises:
            TooMany: too many wait already.
        """
        await self._enter()
        try:
            yield
        finally:
            self.leave()

    def take(self) -> None:
        """Count a sound that the pool is asked for at once; ``leave`` ends it.

        Raises:
            TooMany: as many are under way and waiting as may be.
        """
        if self._full and self._under_way + len(self._waiting) >= self.key.concurrency + self.key.queue:
            raise self._too_many()
        self._under_way += 1

    def leave(self) -> None:
        """Give a place to the next who waits."""
        self._under_way -= 1
        while self._waiting and not self._full:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._under_way += 1
                waiter.set_result(None)

    @property
    def idle(self) -> bool:
        """True where no sound is under way or waits."""
        return not self._under_way and not self._waiting

    @property
    def _full(self) -> bool:
        return bool(self.key.concurrency) and self._under_way >= self.key.concurrency

    async def _enter(self) -> None:
        if not self._full:
            self._under_way += 1
            return
        if len(self._waiting) >= self.key.queue:
            raise self._too_many()
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # it was given the place just now
                self.leave()
            else:
                self._waiting.remove(waiter)
            raise

    def _too_many(self) -> TooMany:
        key = self.key
        return TooMany(
            f"key {key.name!r}: allowed are {key.concurrency} sounds at a time and {key.queue} that wait",
            hint="ask again later, or have its quotas raised",
            retry_after_ms=_TURN_MS,
        )
