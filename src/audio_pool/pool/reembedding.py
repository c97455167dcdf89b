"""Vectors that kept sounds lack, made in the background: after another encoder or scorer was configured, or a rebuild.

Owns: which entries are next, how many are under way, and when to wait.
Must not know: engines, how vectors are searched.

What has been done stands in the store, so that whoever starts next goes on. Until an entry's turn has come it is found
by its words, and by the vectors of the encoder before (cache/former.py). A scorer's vectors are made of the masters,
one at a time. Vectors of former encoders stay beside the new ones.

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

from audio_pool.cache.bringing import bring_entry_if_it_can_be
from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.store import Vector
from audio_pool.errors import AudioPoolError, CallerError, Poisoned
from audio_pool.pool.replies import LocalSink, Reply
from audio_pool.tasks import SOUND_PREFIX, Called, ClapTask, Embedded, EmbedTask

if TYPE_CHECKING:
    from audio_pool.cache.sound_cache import SoundCache

__all__ = ["Reembedding"]

log = logging.getLogger(__name__)

_AT_ONCE = 8
"""Prompts under way: some tens of milliseconds of the thread that embeds requests' prompts, too."""
_REST_S = 10.0
"""Between two masters while somebody waits for a worker: listening to one may take a second of it."""
_READ_AT_ONCE = 512
_FIRST_LOOK_S, _LOOK_EVERY_S = 10.0, 600.0

Question = EmbedTask | ClapTask


class Reembedding:
    """What is lacking in one space after the other."""

    def __init__(
        self,
        cache: CacheKeeper,
        spaces: Mapping[str, str],
        *,
        ask: Callable[[Question, LocalSink], int],
        ready: Callable[[str], bool],
        busy: Callable[[], bool],
        post: Callable[[Callable[[], None]], None],
        upkeep: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            spaces: engine -> the space that its vectors are kept in: of prompts, or a scorer's of sounds.
            ask: has a worker embed a prompt, or listen to a master; on the router's thread.
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
        self._rest_until = 0.0
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
        now = self._clock()
        if not self._under_way and now >= self._rest_until and (self._left or now >= self._next_look):
            self._go_on()

    def _go_on(self) -> None:
        cache = self._cache.current
        if cache is not self._opening or not self._left:
            self._opening = cache
            self._begin(cache)
        while self._left:
            engine = self._left[0]
            batch = self._next(cache, engine)
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

    def _next(self, cache: SoundCache, engine: str) -> list[tuple[int, Question]]:
        space = self._spaces[engine]
        of_sounds = space.startswith(SOUND_PREFIX)
        batch: list[tuple[int, Question]] = []
        while not batch:
            if not self._lacking:
                self._lacking.extend(cache.store.vectors.lacking(space, self._after, _READ_AT_ONCE))
            chosen = [self._lacking.popleft() for _ in range(min(1 if of_sounds else _AT_ONCE, len(self._lacking)))]
            if not chosen:
                break
            self._after = chosen[-1][0]
            for entry_id, prompt in chosen:
                if not of_sounds:
                    batch.append((entry_id, EmbedTask(job=0, engine=engine, text=prompt)))
                elif (entry := cache.store.entries.entry(entry_id)) is not None:
                    bring_entry_if_it_can_be(cache.store, entry_id)
                    batch.append((entry_id, ClapTask(engine=engine, operation="embed", texts=[], paths=[entry.path])))
        return batch

    # -- on the router's thread

    def _embed(self, cache: SoundCache, engine: str, batch: list[tuple[int, Question]]) -> None:
        if not self._ready(engine):  # it is still being loaded, or started again
            self._upkeep.submit(self._put_back, batch)
            return
        found: dict[int, Vector] = {}
        failed: list[AudioPoolError] = []
        waiting = {entry_id for entry_id, _ in batch}

        def answered(entry_id: int, reply: Reply) -> None:
            vector = _vector_in(reply, engine)
            if vector is not None:
                found[entry_id] = vector
            elif reply.failure is not None:
                failed.append(reply.failure.error())
            done(entry_id)

        def done(entry_id: int) -> None:
            waiting.discard(entry_id)
            if not waiting:
                self._upkeep.submit(self._keep, cache, engine, found, failed, self._busy())

        for entry_id, task in batch:
            sink = LocalSink(request_id=f"embed-{entry_id}", on_reply=functools.partial(answered, entry_id))
            try:
                self._ask(task, sink)
            except AudioPoolError as exc:  # nobody embeds now
                failed.append(exc)
                done(entry_id)

    # -- on the upkeep thread

    def _put_back(self, batch: list[tuple[int, Question]]) -> None:
        self._under_way = False
        self._lacking.clear()  # they are read again
        self._after = batch[0][0] - 1

    def _keep(
        self, cache: SoundCache, engine: str, found: dict[int, Vector], failed: list[AudioPoolError], busy: bool
    ) -> None:
        self._under_way = False
        space = self._spaces[engine]
        try:
            self._done += cache.store.vectors.keep(space, found)
        except AudioPoolError as exc:
            failed.append(exc)
        others = [exc for exc in failed if not isinstance(exc, CallerError | Poisoned)]
        if others:
            log.warning("kept sounds are not embedded for now: %s", others[0])
            self._left.clear()  # and later from the beginning
            self._total = 0
            return
        for one in failed:  # of this sound alone, e.g. its master is damaged
            log.info("a kept sound is not embedded by %s: %s", engine, one)
        if not busy:
            self._go_on()
        elif space.startswith(SOUND_PREFIX):
            self._rest_until = self._clock() + _REST_S


def _vector_in(reply: Reply, engine: str) -> Vector | None:
    match reply.body:
        case Embedded(vectors=vectors) if engine in vectors:
            return np.frombuffer(vectors[engine], np.float32)
        case Called(body={"paths": [heard]}):
            return np.array(heard, np.float32)
    return None
