"""Which methods an address knows: the answer to OPTIONS, and the Allow header of a 405.

Owns: that both name all of them.
Must not know: what any route does.

The framework's own answer names the methods of one handler alone where an address has several, and its 405 none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from litestar.enums import ScopeType
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["AllowedMethods"]

_PARAMETER = re.compile(r"{\w+:(\w+)}")


class AllowedMethods:
    """An ASGI application around another.

    Args:
        routes: of that one.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[object]) -> None:
        self._app = app
        known: dict[str, set[str]] = {}
        for route in routes:
            if isinstance(route, HTTPRoute):
                known.setdefault(route.path, set()).update(route.route_handler_map)
        # what is written out goes before what is a parameter, as in the framework
        order = sorted(known, key=lambda path: len(_PARAMETER.findall(path)))
        self._known = [(_pattern(path), ", ".join(sorted(known[path])).encode()) for path in order]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) not in ("http", ScopeType.HTTP):
            await self._app(scope, receive, send)
            return
        if scope.get("method") == "OPTIONS" and not _is_preflight(scope):
            allowed = self._allowed(scope["path"])
            if allowed is not None:
                await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", allowed)]})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return

        async def send_allowing(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405:
                others = [(name, value) for name, value in message["headers"] if name.lower() != b"allow"]
                message["headers"] = [*others, (b"allow", self._allowed(scope["path"]) or b"")]
            await send(message)

        await self._app(scope, receive, send_allowing)

    def _allowed(self, path: str) -> bytes | None:
        return next((allowed for pattern, allowed in self._known if pattern.fullmatch(path)), None)


def _pattern(path: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(path)
    wild = [".+" if kind == "path" else "[^/]+" for kind in parts[1::2]]
    written = "".join(re.escape(text) + (wild[n] if n < len(wild) else "") for n, text in enumerate(parts[::2]))
    return re.compile(written.rstrip("/") + "/?")


def _is_preflight(scope: Scope) -> bool:
    """Return True where a browser asks what a page may do, which is CORS' to answer."""
    return any(name == b"access-control-request-method" for name, _ in scope["headers"])
