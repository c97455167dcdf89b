"""Vectors that kept sounds lack, made in the background: after another encoder was configured, or a rebuild.

Owns: which entries are next, how many are under way, and when to wait.
Must not know: engines, how vectors are searched.

What has been done stands in the store, so that whoever starts next goes on. Until an entry's turn has come it is found
by its words; vectors of former encoders stay beside the new ones, and answer again where their encoder is configured.

Threads: ``look`` and the database on the upkeep thread, questions to workers and their answers on the router's.
"""

from __future__ import annotations

import collections
import functools
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING

import numpy as np

from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.store import Vector
from audio_pool.errors import AudioPoolError
from audio_pool.pool.replies import LocalSink, Reply
from audio_pool.tasks import Embedded, EmbedTask

if TYPE_CHECKING:
    from audio_pool.cache.sound_cache import SoundCache

__all__ = ["Reembedding"]

log = logging.getLogger(__name__)

_AT_ONCE = 8
"""Prompts under way: some tens of milliseconds of the thread that embeds requests' prompts, too."""
_READ_AT_ONCE = 512
_FIRST_LOOK_S, _LOOK_EVERY_S = 10.0, 600.0


class Reembedding:
    """What is lacking in one space after the other."""

    def __init__(
        self,
        cache: CacheKeeper,
        spaces: Mapping[str, str],
        *,
        ask: Callable[[EmbedTask, LocalSink], int],
        ready: Callable[[str], bool],
        busy: Callable[[], bool],
        post: Callable[[Callable[[], None]], None],
        upkeep: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            spaces: engine -> the space that its vectors of prompts are kept in.
            ask: has a worker embed a prompt; on the router's thread.
            ready: tells whether a worker has this engine loaded; on the router's thread.
            busy: tells whether somebody waits for a worker; then one batch a second is enough.
            post: has something done on the router's thread.
            upkeep: the thread of ``look``.
        """
        self._cache = cache
        self._spaces = dict(spaces)
        self._ask = ask
        self._ready = ready
        self._busy = busy
        self._post = post
        self._upkeep = upkeep
        self._clock = clock
        self._next_look = clock() + _FIRST_LOOK_S
        self._opening: SoundCache | None = None
        self._left: collections.deque[str] = collections.deque()
        """Engines whose space is still to be gone through."""
        self._lacking: collections.deque[tuple[int, str]] = collections.deque()
        self._after = 0
        self._under_way = False
        self._done = self._total = 0

    @property
    def progress(self) -> str:
        """What is being done; "" where nothing is lacking."""
        return f"{self._done:,} of {self._total:,} kept sounds embedded" if self._total else ""

    def look(self) -> None:
        """Go on where it is time to. For the upkeep thread, about once a second."""
        if not self._under_way and (self._left or self._clock() >= self._next_look):
            self._go_on()

    def _go_on(self) -> None:
        cache = self._cache.current
        if cache is not self._opening or not self._left:
            self._opening = cache
            self._begin(cache)
        while self._left:
            engine = self._left[0]
            batch = self._next(cache, self._spaces[engine])
            if batch:
                self._under_way = True
                self._post(functools.partial(self._embed, cache, engine, batch))
                return
            self._left.popleft()
            self._after = 0
        self._done = self._total = 0

    def _begin(self, cache: SoundCache) -> None:
        self._next_look = self._clock() + _LOOK_EVERY_S
        self._lacking.clear()
        self._after = self._done = 0
        vectors = cache.store.vectors
        self._left = collections.deque() if cache.store.read_only else collections.deque(self._spaces)
        self._total = sum(vectors.count_lacking(self._spaces[engine]) for engine in self._left)

    def _next(self, cache: SoundCache, space: str) -> list[tuple[int, str]]:
        if not self._lacking:
            self._lacking.extend(cache.store.vectors.lacking(space, self._after, _READ_AT_ONCE))
        batch = [self._lacking.popleft() for _ in range(min(_AT_ONCE, len(self._lacking)))]
        if batch:
            self._after = batch[-1][0]
        return batch

    # -- on the router's thread

    def _embed(self, cache: SoundCache, engine: str, batch: list[tuple[int, str]]) -> None:
        if not self._ready(engine):  # it is still being loaded, or started again
            self._upkeep.submit(self._put_back, batch)
            return
        found: dict[int, Vector] = {}
        waiting = {entry_id for entry_id, _ in batch}
        failed: list[AudioPoolError] = []

        def answered(entry_id: int, reply: Reply) -> None:
            waiting.discard(entry_id)
            if isinstance(reply.body, Embedded) and engine in reply.body.vectors:
                found[entry_id] = np.frombuffer(reply.body.vectors[engine], np.float32)
            elif reply.failure is not None:
                failed.append(reply.failure.error())
            if not waiting:
                busy = self._busy()
                self._upkeep.submit(self._keep, cache, self._spaces[engine], found, failed, busy)

        for entry_id, prompt in batch:
            sink = LocalSink(request_id=f"embed-{entry_id}", on_reply=functools.partial(answered, entry_id))
            try:
                self._ask(EmbedTask(job=0, engine=engine, text=prompt), sink)
            except AudioPoolError as exc:  # nobody embeds now
                failed.append(exc)
                waiting.discard(entry_id)
        if not waiting and not found:
            self._upkeep.submit(self._keep, cache, self._spaces[engine], found, failed, True)

    # -- on the upkeep thread

    def _put_back(self, batch: list[tuple[int, str]]) -> None:
        self._under_way = False
        self._lacking.extendleft(reversed(batch))

    def _keep(
        self, cache: SoundCache, space: str, found: dict[int, Vector], failed: list[AudioPoolError], busy: bool
    ) -> None:
        self._under_way = False
        try:
            self._done += cache.store.vectors.keep(space, found)
        except AudioPoolError as exc:
            failed.append(exc)
        if failed:
            log.warning("kept sounds are not embedded for now: %s", failed[0])
            self._left.clear()  # and later from the beginning
            self._total = 0
        elif not busy:
            self._go_on()
