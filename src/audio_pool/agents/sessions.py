"""Sessions of the protocol's older clients over HTTP: no key takes the room of all.

Owns: Sessions: how many each key has; who opens one more than that loses the one that was used least lately.
Must not know: what is asked in a session, how keys are checked.
"""

from __future__ import annotations

from collections.abc import Iterable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

__all__ = ["Sessions"]

_ID = b"mcp-session-id"


class Sessions:
    """An ASGI application around the protocol's own, which knows all sessions and bounds them together.

    Args:
        app: what lies behind: it names a new session in its answer, and DELETE ends one.
        most_each: sessions of one key.
    """

    def __init__(self, app: ASGIApp, most_each: int) -> None:
        self._app = app
        self._most_each = most_each
        self._of: dict[str, dict[str, None]] = {}
        """By key, the sessions that were opened; the one used last comes last."""

    async def answer(self, whose: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of a key's; "": there are no keys, and nobody to share the room with."""
        if not whose or scope["type"] == ScopeType.WEBSOCKET:
            await self._app(scope, receive, send)
            return
        given = _session_in(scope["headers"])
        sessions = self._of.setdefault(whose, {})
        if given in sessions:
            sessions[given] = sessions.pop(given)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and not given and message["status"] < 400:
                opened = _session_in(message["headers"])
                if opened:
                    sessions[opened] = None
                    while len(sessions) > self._most_each:
                        await self._end(next(iter(sessions)), sessions, scope)
            await send(message)

        await self._app(scope, receive, noting)
        if given in sessions and scope["method"] == "DELETE":
            sessions.pop(given, None)

    async def _end(self, session: str, sessions: dict[str, None], scope: HTTPScope) -> None:
        """End a session as its own client would."""
        del sessions[session]

        async def nothing() -> ReceiveMessage:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def unheard(message: Message) -> None:
            """It may have ended by itself."""

        ending = scope.copy()
        ending["method"], ending["headers"] = "DELETE", [(_ID, session.encode())]
        await self._app(ending, nothing, unheard)


def _session_in(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the session that headers name; "": none."""
    return next((value.decode("latin-1") for name, value in headers if name.lower() == _ID), "")
