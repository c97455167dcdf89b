"""The claims of this pool on sounds that it makes, among all pools on its cache directory.

Owns: which job holds which claim, renewing them. Asked on the router's thread; what the database does is the
writer's thread's.
Must not know: the scheduler, what a claim is for.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable

from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.making import key_of
from audio_pool.errors import AudioPoolError
from audio_pool.pool.turns import Turns
from audio_pool.types import Recipe

__all__ = ["Making"]

log = logging.getLogger(__name__)

_RENEW_EVERY = 5
"""Calls of ``tend`` between two renewals."""


class Making:
    """Claims by job. Two jobs of this pool may hold the same one: they ask for the same in different ways."""

    def __init__(self, writer: Turns, cache: CacheKeeper | None) -> None:
        """``writer``: runs one thing at a time."""
        self._writer = writer
        self._cache = cache
        self._asking: set[int] = set()
        """Jobs that have asked; router's thread only."""
        self._unclaimed: dict[int, Recipe] = {}
        """Jobs that needed no claim when they began, for there was nobody else."""
        self._held: dict[int, bytes] = {}
        """By job; writer's thread only, like all below."""
        self._holders: collections.Counter[bytes] = collections.Counter()
        self._renew_in = _RENEW_EVERY

    def needless(self, job: int, recipe: Recipe) -> bool:
        """Return True where a job makes its sound unasked: there is no cache, it is in trouble, or nobody shares it."""
        if self._cache is None or not self._cache.takes_sounds:
            return True
        if not self._cache.current.store.claims.alone():
            return False
        self._asking.add(job)
        self._unclaimed[job] = recipe
        return True

    def ask(self, job: int, recipe: Recipe, answer: Callable[[bool], None]) -> None:
        """Claim a job's sound; ``answer`` is told, on the writer's thread, whether this job is to make it."""
        self._asking.add(job)
        self._writer.submit("", lambda: answer(self._take(job, recipe)))

    def release(self, job: int) -> None:
        """Give back what a job that has ended holds."""
        if job in self._asking:
            self._asking.discard(job)
            if self._unclaimed.pop(job, None) is None:
                self._writer.submit("", lambda: self._give_back(job))

    def tend(self) -> None:
        """Renew what is held, and claim what is being made where somebody has come; about once a second."""
        self._claim_late()
        self._renew_in -= 1
        if self._renew_in <= 0:
            self._renew_in = _RENEW_EVERY
            if self._holders and self._cache is not None:
                try:
                    self._cache.current.store.claims.renew(self._holders)
                except AudioPoolError as exc:
                    log.warning("claims were not renewed: %s", exc)

    def _claim_late(self) -> None:
        if not self._unclaimed or self._cache is None:
            return
        if not self._cache.current.store.claims.alone():
            for job in list(self._unclaimed):
                recipe = self._unclaimed.pop(job, None)
                if recipe is not None:
                    self._take(job, recipe)

    def _take(self, job: int, recipe: Recipe) -> bool:
        assert self._cache is not None
        try:
            key = key_of(recipe)
            if not self._cache.current.store.claims.take(key):
                return False
        except Exception as exc:  # whatever it is: the request must not be left without its answer
            log.warning("a sound is made unclaimed: %s", exc)
            return True
        self._held[job] = key
        self._holders[key] += 1
        return True

    def _give_back(self, job: int) -> None:
        key = self._held.pop(job, None)
        if key is None or self._cache is None:
            return
        self._holders[key] -= 1
        if self._holders[key] > 0:
            return
        del self._holders[key]
        try:
            self._cache.current.store.claims.give_back(key)
        except Exception as exc:  # its lease ends
            log.warning("a claim was not given back: %s", exc)
