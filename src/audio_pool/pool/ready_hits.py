"""Hits answered at once: a request whose very words are kept needs no place in the queue, and no job.

Owns: looking a request up before it is handed to the scheduler, and what is ready to be answered again.
Must not know: what counts as a hit (cache), how a sound is delivered (executor.py), sockets.

Games ask for the same thing again and again. All of an answer that is the same for everybody who sends these very
fields is kept, as long as nobody has committed anything to the cache since and the files are as they were.
"""

from __future__ import annotations

import time

from msgspec import Struct, structs

from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.lookup import Hit
from audio_pool.cache.made import find_made
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.pool.bringing import absent_file
from audio_pool.pool.executor import Executor
from audio_pool.pool.in_time import wants_in_time
from audio_pool.pool.kept import file_of
from audio_pool.pool.metadata import as_delivered, rendition_report, result_metadata
from audio_pool.pool.requests import LookedUp, OpenRequest
from audio_pool.reports import Timings
from audio_pool.results import SoundMetadata

__all__ = ["ReadyHits"]

_MOST = 1024


class _Ready(Struct, frozen=True):
    """What answers the same fields again."""

    cache: SoundCache
    """Ids mean nothing in another opening."""
    version: int
    """Of the cache, before the hit was found."""
    hit: Hit
    path: str
    told: SoundMetadata
    """Complete but for whose request it is, how old the sound is, and how long this took."""


class ReadyHits:
    """Router's thread only."""

    def __init__(self, executor: Executor, cache: CacheKeeper) -> None:
        self._executor = executor
        self._cache = cache
        self._ready: dict[bytes, _Ready] = {}

    def forget(self) -> None:
        """Forget what is ready: the same fields may mean something else now."""
        self._ready.clear()

    def answer(self, number: int, asked: OpenRequest, key: bytes) -> bool:
        """Answer a request that has just been opened, if what it asks for is kept as it is asked for.

        Args:
            key: the same for the same fields, and for no others; b"": they are not remembered.

        Returns:
            False: it is the scheduler's to answer. What was found is left with the request, for its first look-up.
        """
        try:
            ready = self._ready.get(key) if key else None
            if ready is None or not self._still_holds(ready, asked):
                ready = self._look(asked, key)
                if ready is None:
                    return False
        except Exception:  # the look-up that the scheduler asks for meets it again, and says so
            return False
        hit, took_ms = ready.hit, round((time.monotonic() - asked.opened) * 1000, 3)
        metadata = structs.replace(
            ready.told,
            request_id=asked.sink.request_id,
            cache_age_seconds=max(0.0, ready.cache.now() - hit.entry.created_at),
            timings_ms=Timings(lookup=took_ms, total=took_ms),
        )
        self._executor.answer_hit(number, asked, hit, ready.path, metadata, took_ms)
        return True

    def knows(self, entry_id: int) -> bool:
        """Return True for an entry that is kept, as far as it is known here."""
        return self._cache.current.store.entries.entry(entry_id) is not None

    def take_made(self, asked: OpenRequest, entry_id: int) -> bool:
        """Leave the sound that was made for a request with it, for its first look-up; False where it is gone."""
        cache = self._cache.current
        found = find_made(cache, entry_id, asked.sound.recipe)
        if found.hit is not None:
            asked.looked_up = LookedUp(cache, found)
        return found.hit is not None

    def _still_holds(self, ready: _Ready, asked: OpenRequest) -> bool:
        cache = self._cache.current
        return (
            ready.cache is cache
            and cache.found_again(ready.hit, ready.version)
            and file_of(cache, ready.hit, asked.sound.rendition) == ready.path
            and absent_file(cache, ready.hit, asked.sound.rendition) is None
        )

    def _look(self, asked: OpenRequest, key: bytes) -> _Ready | None:
        resolved, cache = asked.sound, self._cache.current
        version = cache.version()
        lookup = cache.find_exact(resolved.recipe, resolved.query, asked.caller.client)
        hit = lookup.hit
        path = None if hit is None or hit.entry.id is None else file_of(cache, hit, resolved.rendition)
        if hit is None or path is None or absent_file(cache, hit, resolved.rendition) is not None:
            asked.looked_up = LookedUp(cache, lookup)
            return None
        told = as_delivered(hit.metadata, resolved.rendition, rendition_report(hit.metadata, resolved.rendition))
        told = result_metadata(told, resolved, "", cache_type=None, times_ms={}, warnings=resolved.warnings)
        if wants_in_time(resolved.request):
            told = structs.replace(told, approximate=False, rung="exact")
        ready = _Ready(cache, version, hit, path, told)
        if key and hit.alone:
            if len(self._ready) >= _MOST:
                self._ready.clear()
            self._ready[key] = ready
        return ready
