"""``/livez``, ``/readyz``, ``/metrics``: a gateway and the pool behind it, for probes and Prometheus.

Owns: the routes; that the pool is asked once for everybody who wants to know at about the same time.
Must not know: what the metrics are called (monitoring/exposition.py).
"""

from __future__ import annotations

import asyncio
import time

from litestar import Response, Router, get
from msgspec import Struct

from audio_pool.api import Health, PoolStatus
from audio_pool.errors import AudioPoolError
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.monitoring.exposition import exposition

__all__ = ["router"]

_ANSWER_S = 3.0
"""A pool that does not say within this what it is doing is taken for dead."""
_FRESH_S = 0.5
_UNKNOWN: tuple[PoolStatus | None, Health | None] = None, None


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether a new sound could be made."""

    ok: bool
    state: str
    """Of the pool: starting, ready, degraded, draining, down."""
    reasons: tuple[str, ...] = ()
    """Why none could."""


class _PoolAsked:
    """What the pool said last."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._lock = asyncio.Lock()
        self._asked_at = 0.0
        self._told = _UNKNOWN

    async def told(self) -> tuple[PoolStatus | None, Health | None]:
        """Return status and health; None where the pool does not answer."""
        async with self._lock:
            if time.monotonic() >= self._asked_at + _FRESH_S:
                client = self._door.client
                try:
                    status = await client.status(numbers=True, timeout_s=_ANSWER_S)
                    self._told = status, await client.health(timeout_s=_ANSWER_S)
                except AudioPoolError:
                    self._told = _UNKNOWN
                self._asked_at = time.monotonic()
            return self._told


def router(door: Door) -> Router:
    """Return the routes."""
    asked = _PoolAsked(door)

    ready = Answer(200, "A new sound could be made", Readiness)
    not_ready = Answer(503, "None could, and why", Readiness)
    lives = {**described(Answer(200, "It answers", Readiness)), "public": True}
    is_ready = {**described(ready, not_ready), "public": True}

    @get("/livez", opt=lives, summary="Say that the gateway answers", tags=["Operation"])
    async def livez() -> Readiness:
        return Readiness(ok=True, state="ready")

    @get("/readyz", opt=is_ready, summary="Say whether a new sound could be made", tags=["Operation"])
    async def readyz() -> Response[Readiness]:
        _, health = await asked.told()
        if health is None:
            told = Readiness(ok=False, state="down", reasons=("the pool does not answer",))
        else:
            told = Readiness(ok=not health.blockers, state=health.state, reasons=health.blockers)
        return Response(told, status_code=200 if told.ok else 503, headers={"cache-control": "no-store"})

    @get("/metrics", summary="Tell the numbers in Prometheus' form", include_in_schema=False)
    async def metrics(request: HttpRequest) -> Response[bytes]:
        status, health = await asked.told()
        if request.query_params.get("only") == "gateway":
            status = health = None
        body, content_type = exposition(request.headers.get("accept", ""), status, health, door.tally.told())
        return Response(body, media_type=content_type, headers={"cache-control": "no-store"})

    return Router("/", route_handlers=[livez, readyz, metrics])
