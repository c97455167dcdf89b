"""The look-ups that the scheduler orders: a job's sound, looked for among those kept.

Owns: what FindExact, FindNear and FindLooser come to. A cache that cannot be read is a miss with a warning.
Must not know: what fits a request (cache/), what a hit or a miss leads to (scheduler).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Executor as Thread

import numpy as np
import numpy.typing as npt
from msgspec import structs

from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.lookup import Lookup
from audio_pool.cache.looser import find_looser
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.config import Config
from audio_pool.errors import AudioPoolError, NotFound, StorageError
from audio_pool.inscription import comment_of
from audio_pool.pool.bringing import absent_file, bring
from audio_pool.pool.inbox import Inbox
from audio_pool.pool.kept import file_of
from audio_pool.pool.plan import vector_space
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.resolve import ResolvedRequest
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import FindExact, FindLooser, FindNear
from audio_pool.scheduler.answers import HitFile
from audio_pool.types import Rendition

__all__ = ["LookUps", "by_space"]

log = logging.getLogger(__name__)

Vector = npt.NDArray[np.float32]


class LookUps:
    """Router's thread only."""

    def __init__(
        self, config: Config, inbox: Inbox, requests: RequestTable, cache: CacheKeeper, index: Thread
    ) -> None:
        """``index``: the thread that searches by meaning."""
        self._config = config
        self._inbox = inbox
        self._requests = requests
        self._cache = cache
        self._index = index

    def exact(self, action: FindExact) -> events.LookupDone | None:
        """Look for the same words, unless that was done on arrival; None: it is posted when its file is here."""
        asked = self._requests[action.request]
        resolved, client = asked.sound, asked.caller.client
        known, asked.looked_up = asked.looked_up, None
        cache = self._cache.current  # one opening for the whole look-up: its ids mean nothing in another
        try:
            if known is not None:
                return self._answered(action.job, known.cache, known.lookup, resolved.rendition)
            lookup = cache.find_exact(resolved.recipe, resolved.query, client)
            return self._answered(action.job, cache, lookup, resolved.rendition)
        except Exception as exc:  # a broken cache must not stop new sounds, still less the router
            return self._unreadable(action.job, exc)

    def near(self, action: FindNear) -> None:
        """Have it looked for on the index thread: a search among many takes longer than a step may."""
        asked = self._requests[action.request]
        resolved, client = asked.sound, asked.caller.client
        cache = self._cache.current
        self._requests.tally.lookups["semantic"] += 1

        def look() -> None:
            try:
                vectors = by_space(action.vectors, self._config)
                lookup = cache.find_near(resolved.recipe, resolved.query, vectors, client)
                found = self._answered(action.job, cache, lookup, resolved.rendition)
            except Exception as exc:
                found = self._unreadable(action.job, exc)
            if found is not None:
                self._inbox.post(found)

        self._index.submit(look)

    def looser(self, action: FindLooser) -> None:
        """Have a sound looked for that is like the one asked for, on the index thread."""
        asked = self._requests[action.request]
        like, rendition = asked.likened_to or asked.sound, asked.sound.rendition
        cache = self._cache.current

        def look() -> None:
            try:
                vectors = by_space(action.vectors, self._config)
                lookup = find_looser(cache, like.recipe, like.query, vectors)
                found = self._done(action.job, cache, lookup, rendition)
            except Exception as exc:
                found = self._unreadable(action.job, exc)
            self._inbox.post(found)

        self._index.submit(look)

    def count_kept(self, resolved: ResolvedRequest) -> int:
        """Count the kept sounds of a request's very words that fit; where that fails, as many as anybody wants."""
        try:
            return self._cache.current.count(resolved.recipe, resolved.query)
        except AudioPoolError as exc:
            log.info("kept sounds could not be counted: %s", exc)
            return 1 << 30

    def _unreadable(self, job: int, exc: Exception) -> events.LookupDone:
        if isinstance(exc, StorageError):
            self._cache.unreadable(exc)
        else:
            log.error("look-up failed: %s", exc, exc_info=exc)
        return events.LookupDone(job=job, warning=f"cache_unreadable: {exc}")

    def _answered(
        self, job: int, cache: SoundCache, lookup: Lookup, rendition: Rendition
    ) -> events.LookupDone | None:
        """Return the answer; None: the hit's file is brought first, by other threads, and the answer posted then."""
        hit = lookup.hit
        absent = None if hit is None or hit.entry.id is None else absent_file(cache, hit, rendition)
        if absent is None:
            return self._done(job, cache, lookup, rendition)

        def brought(exc: StorageError | NotFound | None) -> None:
            try:
                found = self._done(job, cache, lookup, rendition) if exc is None else self._unbrought(job, exc)
            except Exception as bug:
                found = self._unreadable(job, bug)
            self._inbox.post(found)

        bring(cache, absent, brought)
        return None

    def _unbrought(self, job: int, exc: StorageError | NotFound) -> events.LookupDone:
        """Return the miss that a hit is whose file does not come."""
        if isinstance(exc, NotFound):
            return events.LookupDone(job=job, warning=f"hit_vanished: {exc}")
        self._cache.unreadable(exc)
        return events.LookupDone(job=job, warning=f"hit_unreachable: {exc}")

    def _done(self, job: int, cache: SoundCache, lookup: Lookup, rendition: Rendition) -> events.LookupDone:
        hit = lookup.hit
        if hit is None or hit.entry.id is None:
            return events.LookupDone(job=job, warning=f"hit_refused: {lookup.refused[0]}" if lookup.refused else "")
        path = file_of(cache, hit, rendition)
        comment = ""
        if path is None:
            told = structs.replace(hit.entry.metadata, format=rendition.format)
            comment = comment_of(hit.entry.recipe, told, rendition, shared=True)
        file = HitFile(
            entry=hit.entry.id, master=hit.entry.path, path=path, metadata=hit.metadata, comment=comment
        )
        return events.LookupDone(job=job, hit=file)


def by_space(vectors: Mapping[str, bytes], config: Config) -> dict[str, Vector]:
    """Return vectors under the names that the cache knows their spaces by."""
    return {vector_space(name, config): np.frombuffer(vector, np.float32) for name, vector in vectors.items()}
