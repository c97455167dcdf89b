"""A cache looked after from afar: what goes next, what is there twice, for operators of a running pool.

Owns: CacheView: on which thread it is looked at, and who may ask.
Must not know: sockets, which sound goes first, what makes two alike.

Off every other thread, by connections of its own: all sounds may be compared for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from audio_pool.cache.duplicates import found_duplicates
from audio_pool.cache.eviction_plan import coming_eviction
from audio_pool.cache.opening import open_store
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.store import Store
from audio_pool.errors import Refused
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.errands import Errands
from audio_pool.pool.replies import Body, Reply, ReplySink
from audio_pool.pool.turns import Turns
from audio_pool.stock import LikenessMethod

__all__ = ["CacheView"]


class CacheView:
    """Router's thread only, but for what its own thread does."""

    def __init__(self, errands: Errands, thread: Turns) -> None:
        self._errands = errands
        self._thread = thread

    def eviction(self, limit: int, sink: ReplySink, *, caller: Caller = HOST) -> None:
        """Answer with an EvictionPlan of so many sounds.

        Raises:
            Refused: an operator alone may ask. NotFound: there is no cache. Busy: too many are under way.
        """
        self._look(
            sink,
            caller,
            lambda cache, store: coming_eviction(
                store, cache.eviction.limits, cache.now(), limit, is_recent=cache.usage.is_recent
            ),
        )

    def duplicates(self, by: LikenessMethod, limit: int, sink: ReplySink, *, caller: Caller = HOST) -> None:
        """Answer with Duplicates, so many groups; raises as ``eviction``."""
        self._look(sink, caller, lambda cache, store: found_duplicates(store, by, limit))

    def _look(self, sink: ReplySink, caller: Caller, look: Callable[[SoundCache, Store], Body]) -> None:
        if not caller.operator:
            raise Refused("this is of everybody's sounds", hint="ask as an operator")

        def work(cache: SoundCache) -> Reply:
            store = open_store(Path(cache.store.location), create=False)
            try:
                return Reply(kind="result", body=look(cache, store))
            finally:
                store.close()

        self._errands.do(self._errands.begin(sink, caller), self._thread, work)
