"""What a caller's judgement of a result teaches the cache.

Owns: which judgement a verdict is, and having it written down.
Must not know: who may judge what (front ends), what look-ups make of it (cache/teaching.py).

    wrong, of a sound kept for these very words      that sound is not offered for them again
    wrong, of a hit by key, by meaning or by sound   the pair of both prompts is denied
    right                                            the same, confirmed
    good, bad_sound                                  nothing: they are counted
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from audio_pool.api import FeedbackNoted, FeedbackVerdict
from audio_pool.cache.judgements import Given
from audio_pool.cache.keeper import CacheKeeper
from audio_pool.errors import AudioPoolError, PoolClosed
from audio_pool.pool.answered import Answered, Delivered
from audio_pool.pool.caller import Caller
from audio_pool.pool.turns import Turns

__all__ = ["Feedback"]

log = logging.getLogger(__name__)

Done = Callable[[FeedbackNoted | AudioPoolError], None]


class Feedback:
    """Router's thread only; judgements are written on the writer's."""

    def __init__(
        self,
        answered: Answered,
        cache: CacheKeeper | None,
        writer: Turns,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        """
        Args:
            answered: what was delivered.
            cache: None: there is nothing to teach.
            writer: writes.
            post: has something done on the router's thread.
        """
        self._answered = answered
        self._cache = cache
        self._writer = writer
        self._post = post

    def take(self, target: str, verdict: FeedbackVerdict, caller: Caller, done: Done) -> None:
        """Take a verdict; ``done`` is called once it is in force for every process on the cache directory.

        Raises:
            Busy: too much of this caller waits to be written.
        """
        heard = self._answered.find(caller.owner, target, anybody=caller.operator)
        given = _judgement(heard, verdict)
        cache = self._cache
        if given is None or cache is None:
            done(FeedbackNoted(target=target))
            return

        def write() -> None:
            told = self._written(cache, given, target)
            self._post(lambda: done(told))

        try:
            self._writer.submit(caller.client, write)
        except RuntimeError:  # the writer takes nothing any more
            done(PoolClosed("the pool has stopped"))

    @staticmethod
    def _written(cache: CacheKeeper, given: Given, target: str) -> FeedbackNoted | AudioPoolError:
        try:
            cache.current.learn([given])
        except AudioPoolError as exc:
            return exc
        except BaseException:  # whatever it is: nobody may be left without an answer
            log.exception("noting a judgement failed")
            return AudioPoolError("noting the judgement met a bug in the server; its log says more")
        return FeedbackNoted(target=target, effect="denied" if given.verdict == "wrong" else "confirmed")


def _judgement(heard: Delivered | None, verdict: FeedbackVerdict) -> Given | None:
    if heard is None or heard.entry_id is None or (verdict != "wrong" and verdict != "right"):
        return None
    pair = Given(heard.namespace, heard.query, heard.prompt, verdict, "feedback")
    return pair._replace(entry_id=heard.entry_id) if pair.is_one_text else pair
