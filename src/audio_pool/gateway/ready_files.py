"""Kept sounds' files as they were answered last, for those who ask for the same again within a moment.

Owns: which answers are held, for how long and within how many bytes.
Must not know: routes, the pool, who may have which file.

A kept sound's file never changes, and its address is told to be immutable; only whether it is still there, the
pool alone knows. So an answer is given again for a second, and then the pool is asked anew.

Whatever its size, a file that is on its way to somebody is in memory once, however many it goes to: who asks for what
is being asked for waits for that, and who comes later is sent from the bytes that are there.
"""

from __future__ import annotations

import asyncio
import collections
import time
import weakref
from collections.abc import Awaitable, Callable, Hashable
from typing import NamedTuple

from audio_pool.gateway.audio_response import AudioFile, AudioResponse, Header

__all__ = ["ReadyFiles"]

HOLDS_S = 1.0
"""A sound that was removed by another way than this gateway is handed out for so long."""
_SHARE = 8
"""A file larger than this part of the whole is not held."""


class _Ready(NamedTuple):
    file: AudioFile
    headers: tuple[Header, ...]
    until: float


class _Fetch:
    """What is being asked of the pool, for so many."""

    def __init__(self, work: Awaitable[AudioResponse]) -> None:
        self.found = asyncio.ensure_future(work)
        self.waiting = 0


class ReadyFiles:
    """Answers by what was asked for.

    Args:
        most_bytes: of all files together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._ready: collections.OrderedDict[tuple[int, Hashable], _Ready] = collections.OrderedDict()
        self._sent: weakref.WeakValueDictionary[tuple[int, Hashable], AudioFile] = weakref.WeakValueDictionary()
        """Files that are held here, or on their way to somebody."""
        self._fetches: dict[tuple[int, Hashable], _Fetch] = {}
        self.size_bytes = 0

    async def answer(
        self, entry: int, asked: Hashable, fetch: Callable[[], Awaitable[AudioResponse]]
    ) -> AudioResponse:
        """Return the answer that was given a moment ago, or what ``fetch`` returns by ``keep``, once for all."""
        ready = self.find(entry, asked)
        if ready is not None:
            return ready
        key = entry, asked
        under_way = self._fetches.get(key)
        if under_way is None:
            under_way = self._fetches[key] = _Fetch(fetch())
        under_way.waiting += 1
        try:
            return await asyncio.shield(under_way.found)
        finally:
            under_way.waiting -= 1
            if not under_way.waiting or under_way.found.done():
                under_way.found.cancel()
                if self._fetches.get(key) is under_way:
                    del self._fetches[key]

    def find(self, entry: int, asked: Hashable) -> AudioResponse | None:
        """Return the answer that was given a moment ago; None: the pool is to be asked."""
        ready = self._ready.get((entry, asked))
        if ready is None:
            return None
        if ready.until <= time.monotonic():
            self._drop((entry, asked))
            return None
        return AudioResponse(ready.file, ready.headers)

    def keep(self, entry: int, asked: Hashable, file: AudioFile, headers: tuple[Header, ...]) -> AudioResponse:
        """Return an answer, and hold it."""
        self._drop((entry, asked))
        known = self._sent.get((entry, asked))
        if known is not None and known.etag == file.etag:
            file = known
        self._sent[entry, asked] = file
        if len(file.data) <= self._most_bytes // _SHARE:
            self._ready[entry, asked] = _Ready(file, headers, time.monotonic() + HOLDS_S)
            self.size_bytes += len(file.data)
            while self.size_bytes > self._most_bytes:
                self._drop(next(iter(self._ready)))
        return AudioResponse(file, headers)

    def forget(self, entry: int) -> None:
        """Forget all answers about one sound."""
        for key in [key for key in self._ready if key[0] == entry]:
            self._drop(key)

    def _drop(self, key: tuple[int, Hashable]) -> None:
        ready = self._ready.pop(key, None)
        if ready is not None:
            self.size_bytes -= len(ready.file.data)
