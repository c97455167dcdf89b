"""A pool watched by many at a time, and asked once for all of them: never while nobody looks.

Owns: how often the pool is asked, what is told to whom in which second.
Must not know: routes, what is seen (pool_look.py).
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

import msgspec
from msgspec import structs

from audio_pool.api import Health, PoolStatus
from audio_pool.errors import AudioPoolError
from audio_pool.gateway.pool_look import PoolLook, look_of
from audio_pool.numbers import PoolNumbers

__all__ = ["Change", "PoolWatch"]

_EVERY_S = 1.0
_ANSWER_S = 3.0
"""A pool that says nothing within this is taken for gone."""
_LATELY_S = 60.0
_NOTED_S = 0.5
"""Who asks more often than that is told as much, and has no more kept."""
Change = dict[str, msgspec.Raw]
"""Parts of a PoolLook, by field, as JSON."""


class Asked(Protocol):
    """What tells of a pool."""

    async def status(self, *, numbers: bool, timeout_s: float) -> PoolStatus:
        """Return what it is doing. Raises AudioPoolError."""
        ...

    async def health(self, *, timeout_s: float) -> Health:
        """Return how it is. Raises AudioPoolError."""
        ...


class _Said(NamedTuple):
    """What the pool said at one time."""

    at: float
    """On the clock that only goes on."""
    instance: str
    numbers: PoolNumbers


class PoolWatch:
    """What those see who look at a pool. Of one event loop."""

    def __init__(self, pool: Asked) -> None:
        self._pool = pool
        self._lookers = 0
        self._asking: asyncio.Task[None] | None = None
        self._said: collections.deque[_Said] = collections.deque()
        self._seen: dict[bool, Change] = {}
        """By whether whoever looks may not see what others asked for: all of the latest look."""
        self._next = asyncio.Event()
        """Set at the next look; then there is another one."""

    @property
    def asking(self) -> bool:
        """True while the pool is asked, because somebody looks."""
        return self._asking is not None

    @property
    def kept(self) -> int:
        """How many of the pool's answers are kept to compare with."""
        return len(self._said)

    async def look(self, *, discreet: bool) -> PoolLook:
        """Return the pool as it is now."""
        looks = await self._look()
        return looks[discreet]

    async def changes(self, *, discreet: bool) -> AsyncIterator[Change]:
        """Yield all of a look, and from then on what has changed, once a second, for as long as it is asked for."""
        self._lookers += 1
        known: Change = {}
        try:
            if self._asking is None:
                self._seen = {}
                self._asking = asyncio.ensure_future(self._ask())
            while True:
                following = self._next  # before looking: what comes while this is told counts
                seen = self._seen.get(discreet, {})
                change = {name: part for name, part in seen.items() if bytes(part) != bytes(known.get(name, b""))}
                if change:
                    yield change
                    known = seen
                if self._asking.done():
                    self._asking.result()  # a bug, which is told to whoever looks
                await following.wait()
        finally:
            self._lookers -= 1
            if not self._lookers and self._asking is not None:
                self._asking.cancel()
                self._asking = None

    async def _ask(self) -> None:
        try:
            while True:
                began = time.monotonic()
                looks = await self._look()
                self._seen = {discreet: _parts(look) for discreet, look in looks.items()}
                self._wake()
                await asyncio.sleep(max(0.0, began + _EVERY_S - time.monotonic()))
        finally:
            self._wake()

    def _wake(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    async def _look(self) -> dict[bool, PoolLook]:
        """Ask the pool; return what is seen, by whether whoever looks may not see all."""
        try:
            status = await self._pool.status(numbers=True, timeout_s=_ANSWER_S)
            health = await self._pool.health(timeout_s=_ANSWER_S)
        except AudioPoolError:
            reason = ("the pool does not answer",)
            gone = PoolLook(at=time.time(), health=Health(state="down", reasons=reason, blockers=reason))
            return {True: gone, False: gone}
        before = self._note(_Said(time.monotonic(), health.instance, status.numbers or PoolNumbers()))
        window_s = time.monotonic() - before.at

        def seen(discreet: bool) -> PoolLook:
            return look_of(status, health, before.numbers, at=time.time(), window_s=window_s, discreet=discreet)

        return {True: seen(True), False: seen(False)}

    def _note(self, said: _Said) -> _Said:
        """Keep what the pool says for a while; return the oldest of the same start."""
        if self._said and self._said[-1].instance != said.instance:
            self._said.clear()  # another start has counted less
        if not self._said or said.at - self._said[-1].at >= _NOTED_S:
            self._said.append(said)
        while said.at - self._said[0].at > _LATELY_S:
            self._said.popleft()
        return self._said[0]


def _parts(look: PoolLook) -> Change:
    return {name: msgspec.Raw(msgspec.json.encode(part)) for name, part in structs.asdict(look).items()}
