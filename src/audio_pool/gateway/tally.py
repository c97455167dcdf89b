"""What a gateway counts of the requests for sounds that come to it, by API.

Owns: the counts, and which request counts as what. Must not know: routes, who asks for the numbers.

The pool counts every request that reaches it, whichever door it came by. Here those are counted, too, that did not,
and by the API that was spoken: the file of ``dialects/`` that answered.
"""

from __future__ import annotations

import collections
import http
import time

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from audio_pool.gateway.problems import CLIENT_GONE
from audio_pool.numbers import DoorNumbers, Measured

__all__ = ["Counted", "HttpTally"]

_DIALECTS = "audio_pool.gateway.dialects."
_OWN = "http"
"""Our own API."""


class HttpTally:
    """One gateway's counts."""

    def __init__(self) -> None:
        self._requests: collections.Counter[tuple[str, str, str, str]] = collections.Counter()
        self._seconds: collections.defaultdict[str, Measured] = collections.defaultdict(Measured)

    def count(self, dialect: str, engine: str, status: str, cache: str, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests[dialect, engine, status, cache] += 1
        self._seconds[dialect].add(seconds)

    def told(self) -> DoorNumbers:
        """Return the counts as they are now."""
        seconds = {dialect: measured.told() for dialect, measured in self._seconds.items()}
        return DoorNumbers(requests=dict(self._requests), seconds=seconds)


class Counted:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, tally: HttpTally) -> None:
        self._app = app
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) != "http":
            await self._app(scope, receive, send)
            return
        status, busy, began = CLIENT_GONE, False, time.monotonic()

        async def send_seen(message: Message) -> None:
            nonlocal status, busy
            if message["type"] == "http.response.start":
                status = message["status"]
                busy = any(name == b"retry-after" for name, _ in message["headers"])
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        finally:
            dialect = dialect_of(scope)
            if dialect:
                engine, cache = scope["state"].get("answered", ("", ""))
                seconds = time.monotonic() - began
                self._tally.count(dialect, engine, _outcome(status, busy=busy), cache, seconds)


def dialect_of(scope: Scope) -> str:
    """Return which API a request for a sound came by; "": it was none."""
    handler = scope.get("route_handler")
    module = getattr(getattr(handler, "fn", None), "__module__", "")
    if module.startswith(_DIALECTS):
        return module.removeprefix(_DIALECTS) if scope.get("method") == "POST" else ""
    return _OWN if "asked" in scope.get("state", {}) else ""


def _outcome(status: int, *, busy: bool) -> str:
    """Return what a request came to, in the words of the pool where these fit."""
    if status == http.HTTPStatus.ACCEPTED:
        return "accepted"
    if status < http.HTTPStatus.BAD_REQUEST:
        return "result"
    if status == http.HTTPStatus.TOO_MANY_REQUESTS or (status == http.HTTPStatus.SERVICE_UNAVAILABLE and busy):
        return "busy"
    if status == CLIENT_GONE:
        return "cancelled"
    if status == http.HTTPStatus.GATEWAY_TIMEOUT:
        return "expired"
    return "refused" if status < http.HTTPStatus.INTERNAL_SERVER_ERROR else "error"
