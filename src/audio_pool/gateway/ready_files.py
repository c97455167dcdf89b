"""Kept sounds' files as they were answered last, for those who ask for the same again within a moment.

Owns: which answers are held, for how long and within how many bytes.
Must not know: routes, the pool, who may have which file.

A kept sound's file never changes, and its address is told to be immutable; only whether it is still there, the
pool alone knows. So an answer is given again for a second, and then the pool is asked anew.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Hashable
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


class ReadyFiles:
    """Answers by what was asked for.

    Args:
        most_bytes: of all files together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._ready: collections.OrderedDict[tuple[int, Hashable], _Ready] = collections.OrderedDict()
        self.size_bytes = 0

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
