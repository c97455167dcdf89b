"""Further variants of what was just asked for, made in the background until enough of them are kept.

They count against the share of whoever asked, behind everything else that is asked for.

Owns: Prefetch: how many are made, for what, and how many at a time.
Must not know: how a sound is made or found.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable

from msgspec import structs

from audio_pool.config import CacheConfig
from audio_pool.errors import AudioPoolError
from audio_pool.pool.caller import Caller
from audio_pool.pool.intake import Intake
from audio_pool.pool.replies import LocalSink, Reply
from audio_pool.pool.resolve import ResolvedRequest
from audio_pool.scheduler.events import JoinKey

__all__ = ["Prefetch"]

log = logging.getLogger(__name__)

_UNDER_WAY = 64
"""Sounds that are made ahead at a time; what is asked for meanwhile waits for a later answer."""
_SATED = 4096
"""Requests that are known to have enough."""
_SATED_S = 60.0
"""How long that is believed: sounds are evicted."""


class Prefetch:
    """Router's thread only."""

    def __init__(
        self,
        config: CacheConfig,
        intake: Intake,
        count: Callable[[ResolvedRequest], int],
        post: Callable[[Callable[[], None]], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            count: says how many kept sounds of these words fit.
            post: has something done after what is being done now.
            now: seconds.
        """
        self._config = config
        self._intake = intake
        self._count = count
        self._post = post
        self._now = now
        self._under_way: dict[JoinKey, int] = {}
        self._sated: dict[tuple[JoinKey, int], float] = {}
        """When it was last seen that there are so many."""

    def answered(self, resolved: ResolvedRequest, caller: Caller) -> None:
        """Look whether a request that has got its sound wants more of them made."""
        request, key = resolved.request, resolved.join_key
        wanted = self._config.target_per_prompt * self._config.prefetch_new
        if request.prefetch is not None:
            wanted = request.prefetch
        if wanted <= 0 or key is None or request.variant is not None or request.seed is not None or not request.store:
            return
        if key not in self._under_way and self._now() >= self._sated.get((key, wanted), 0.0):
            self._post(lambda: self._look(resolved, key, wanted, caller))

    def _look(self, resolved: ResolvedRequest, key: JoinKey, wanted: int, caller: Caller) -> None:
        if key in self._under_way:
            return
        # more than are kept of a prompt would push one another out
        missing = min(wanted, self._config.max_per_prompt) - self._count(resolved)
        if missing <= 0:
            if len(self._sated) >= _SATED:
                self._sated.clear()
            self._sated[key, wanted] = self._now() + _SATED_S
            return
        for _ in range(min(missing, self._config.max_new_when_prefetch)):
            if sum(self._under_way.values()) < _UNDER_WAY:
                self._make(resolved, key, caller)

    def _make(self, resolved: ResolvedRequest, key: JoinKey, caller: Caller) -> None:
        request = structs.replace(
            resolved.request,
            force=True,
            replace=False,
            priority="background",
            output_path=None,
            deadline_ms=None,
            delivery="path",
            prefetch=0,
            stream=False,  # nobody listens to it
            keep_candidates=False,
        )
        more = structs.replace(resolved, request=request, join_key=None)
        self._under_way[key] = self._under_way.get(key, 0) + 1

        def done(reply: Reply) -> None:
            left = self._under_way.pop(key, 1) - 1
            if left > 0:
                self._under_way[key] = left
            if reply.failure is not None:
                log.info("a sound was not made ahead: %s", reply.failure.message)

        try:
            sink = LocalSink(request_id=f"prefetch-{secrets.token_hex(4)}", on_reply=done)
            self._intake.submit_resolved(more, sink, caller=caller)
        except AudioPoolError as exc:
            done(Reply(kind="error"))
            log.info("a sound was not made ahead: %s", exc)
