"""Questions that are answered in steps, off the router's thread: read here, done by a worker, written there.

Owns: Errands: that each question is answered once, whatever its steps meet, and how many may be under way.
Must not know: sockets, what is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec import Struct

from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import AudioPoolError, Busy, NotFound, PoolClosed
from audio_pool.pool.caller import Caller
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.turns import Turns
from audio_pool.results import Failure

__all__ = ["Errand", "Errands", "failed"]

log = logging.getLogger(__name__)

Next = Callable[[], None]
"""The next step, begun on the router's thread."""
Work = Callable[[SoundCache], Reply | Next]


class Errand(Struct, frozen=True):
    """One question."""

    number: int
    """Of the request table."""
    caller: Caller


class Errands:
    """Router's thread only, but for the work."""

    def __init__(
        self,
        what: str,
        requests: RequestTable,
        cache: CacheKeeper | None,
        post: Callable[[Callable[[], None]], None],
        *,
        most: int = 64,
    ) -> None:
        """
        Args:
            what: they are, in the plural, for messages.
            post: has something done on the router's thread.
            most: under way at once.
        """
        self._what = what
        self._requests = requests
        self._cache = cache
        self._post = post
        self._most = most
        self._under_way = 0

    def begin(self, sink: ReplySink, caller: Caller) -> Errand:
        """Take a question in. Raises NotFound (there is no cache), Busy."""
        if self._cache is None:
            raise NotFound("the cache is off (cache.enabled = false)")
        if self._under_way >= self._most:
            raise Busy(f"{self._under_way} {self._what} are under way, allowed are {self._most}", retry_after_ms=1000)
        self._under_way += 1
        return Errand(self._requests.open(sink, caller=caller), caller)

    def do(
        self,
        errand: Errand,
        thread: Turns,
        work: Work,
        *,
        end: Callable[[Reply], None] | None = None,
        bounded: bool = True,
    ) -> None:
        """Have something done on another thread; then answer with the reply it gives, or go on with the next step.

        Args:
            end: gets that reply, or what went wrong, instead; where others wait for the same.
            bounded: False for what has to be done, however much of the client's waits.
        """
        assert self._cache is not None, "begun before"
        keeper, answer = self._cache, end or (lambda reply: self.end(errand, reply))

        def do() -> None:
            told: Reply | Next
            try:
                told = work(keeper.current)
            except AudioPoolError as exc:
                told = failed(exc)
            except BaseException:  # whatever it is: nobody may be left without an answer
                log.exception("one of the %s met a bug", self._what)
                told = failed(AudioPoolError("this question met a bug in the server; its log says more"))
            step = told
            self._post(lambda: _go_on(step, answer))

        try:
            thread.submit(errand.caller.client, do, bounded=bounded)
        except Busy as exc:
            answer(failed(exc))
        except RuntimeError:  # it takes nothing any more
            answer(failed(PoolClosed("the pool has stopped")))

    def end(self, errand: Errand, reply: Reply) -> None:
        """Answer."""
        self._under_way -= 1
        self._requests.finish(errand.number, reply)


def _go_on(told: Reply | Next, answer: Callable[[Reply], None]) -> None:
    if isinstance(told, Reply):
        answer(told)
        return
    try:
        told()
    except AudioPoolError as exc:
        answer(failed(exc))


def failed(exc: AudioPoolError) -> Reply:
    """Return the reply that says so."""
    return Reply(kind="busy" if isinstance(exc, Busy) else "error", failure=Failure.of(exc))
