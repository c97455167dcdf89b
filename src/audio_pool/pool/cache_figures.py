"""Figures about the whole cache, counted beside everything else, and once for everybody who asks meanwhile.

Owns: when a count begins, and who is told of it.
Must not know: sockets, what is counted.

Not the writer's thread, which stores and delivers everybody's sounds, and never one count for each who asks: a
count looks at every file of the cache, and the question is a few bytes that any client may send.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from audio_pool.api import CacheStats
from audio_pool.errors import AudioPoolError

__all__ = ["CacheFigures"]

log = logging.getLogger(__name__)

Done = Callable[[CacheStats | AudioPoolError], None]


class CacheFigures:
    """Router's thread only; the count itself has a thread of its own."""

    def __init__(self, directory: Path, thread: Executor, post: Callable[[Callable[[], None]], None]) -> None:
        """
        Args:
            directory: of the cache.
            thread: counts.
            post: has something done on the router's thread.
        """
        self._directory = directory
        self._thread = thread
        self._post = post
        self._waiting: list[Done] = []
        self._counting = False

    def ask(self, done: Done) -> None:
        """Have the figures told as they are from now on: by the next count, where one is under way."""
        self._waiting.append(done)
        if not self._counting:
            self._begin()

    def _begin(self) -> None:
        asked, self._waiting = self._waiting, []
        self._counting = True

        def count() -> None:
            found = self._count()
            self._post(lambda: self._counted(asked, found))

        self._thread.submit(count)

    def _count(self) -> CacheStats | AudioPoolError:
        try:
            from audio_pool.cache.manage import AudioSemanticCache

            with AudioSemanticCache(self._directory) as managed:
                return managed.get_cache_stats()
        except AudioPoolError as exc:
            return exc
        except BaseException:  # whatever it is: nobody may be left without an answer
            log.exception("counting the cache failed")
            return AudioPoolError("counting the cache met a bug in the server; its log says more")

    def _counted(self, asked: list[Done], found: CacheStats | AudioPoolError) -> None:
        self._counting = False
        if self._waiting:
            self._begin()
        for done in asked:
            done(found)
