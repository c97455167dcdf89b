"""Many kept sounds marked or removed by one question: those that cannot be are told, and the rest is done.

Owns: Bulk: that it is done a part at a time, so that whoever has a sound to store goes between.
Must not know: sockets, how a mark is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from audio_pool.cache.library import Wanted
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import NotFound, Refused
from audio_pool.library import NotChanged, SoundMarks, SoundsChanged
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.errands import Errand, Errands
from audio_pool.pool.library import own_namespace
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.turns import Turns
from audio_pool.results import Failure

__all__ = ["Bulk"]

_AT_ONCE = 100
"""Sounds of one transaction."""
Part = Callable[[SoundCache, list[int]], dict[int, Failure]]
"""Does it to sounds that are there; returns why it could not, by the sound."""


class Bulk:
    """Router's thread only, but for what other threads do."""

    def __init__(self, errands: Errands, writer: Turns) -> None:
        self._errands = errands
        self._writer = writer

    def mark(
        self, ids: Sequence[int], namespace: str | None, marks: SoundMarks, sink: ReplySink, *, caller: Caller = HOST
    ) -> None:
        """Answer with SoundsChanged.

        Raises:
            Refused: the namespace is not the caller's alone. NotFound: there is no cache. Busy: too many are under way.
        """

        def part(cache: SoundCache, some: list[int]) -> dict[int, Failure]:
            return {one: Failure.of(why) for one, why in cache.store.marks.mark_many(some, marks).items()}

        self._begin(ids, own_namespace(caller, namespace), part, sink, caller)

    def remove(
        self,
        ids: Sequence[int],
        namespace: str | None,
        sink: ReplySink,
        *,
        spare_pinned: bool = False,
        caller: Caller = HOST,
    ) -> None:
        """Answer with SoundsChanged; raises as ``mark``."""

        def part(cache: SoundCache, some: list[int]) -> dict[int, Failure]:
            stay = cache.store.pins.pinned().intersection(some) if spare_pinned else set()
            cache.remove([one for one in some if one not in stay], spare_pinned=spare_pinned)
            return {one: Failure.of(Refused(f"entry {one} is pinned", hint="take the pin off")) for one in stay}

        self._begin(ids, own_namespace(caller, namespace), part, sink, caller)

    def _begin(self, ids: Sequence[int], namespace: str, part: Part, sink: ReplySink, caller: Caller) -> None:
        errand = self._errands.begin(sink, caller)
        self._next(errand, list(dict.fromkeys(ids)), namespace, part, SoundsChanged())

    def _next(self, errand: Errand, left: list[int], namespace: str, part: Part, done: SoundsChanged) -> None:
        def work(cache: SoundCache) -> Reply | Callable[[], None]:
            some, rest = left[:_AT_ONCE], left[_AT_ONCE:]
            there = cache.store.library.sounds(Wanted(namespace, ids=some))
            failed = {
                one: Failure.of(NotFound(f"namespace {namespace!r} has no entry {one}"))
                for one in some
                if one not in there
            }
            failed |= part(cache, [one for one in some if one in there])
            now = SoundsChanged(
                changed=(*done.changed, *(one for one in some if one not in failed)),
                failed=(*done.failed, *(NotChanged(id=one, error=failed[one]) for one in some if one in failed)),
                freed_after_s=cache.store.leaving.grace_s,
            )
            if rest:
                return lambda: self._next(errand, rest, namespace, part, now)
            return Reply(kind="result", body=now)

        # what has been begun is finished, however much of the client's waits
        self._errands.do(errand, self._writer, work, bounded=not done.changed and not done.failed)
