"""Before every route: the request's id, and whether whoever comes may use the door at all.

Owns: the check of Host and Origin without keys, ``x-request-id`` on every answer.
Must not know: routes.
"""

from __future__ import annotations

import http
import uuid

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from audio_pool.config import HttpConfig
from audio_pool.gateway.bodies import Bodies, Body
from audio_pool.gateway.callers import ANYBODY
from audio_pool.gateway.problems import Problem

__all__ = ["Guard"]

_BODIES = 4
"""As many of the largest bodies may be held at a time; of others so many more."""
_READ = (b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest")
_OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
"""By scheme; a client leaves it out of Host and Origin."""


class Guard:
    """An ASGI application around another.

    Args:
        app: what lies behind.
        settings: of ``[http]``.
        ports: where the gateway listens.
    """

    def __init__(self, app: ASGIApp, settings: HttpConfig, ports: tuple[int, ...]) -> None:
        self._app = app
        self._bodies = Bodies(_BODIES * settings.max_body_bytes, settings.receive_timeout_s)
        self._has_keys = bool(settings.keys_file)
        scheme = "https" if settings.tls_certificate else "http"
        own = _own_hosts(settings, ports, scheme)
        proxied = {host.lower() for host in settings.hosts}  # by a proxy that may speak TLS
        self._hosts = own | proxied
        self._origins = {f"{scheme}://{host}" for host in own} | {origin.lower() for origin in settings.cors_origins}
        self._origins |= {f"{other}://{host}" for host in proxied for other in _DEFAULT_PORTS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) not in ("http", ScopeType.HTTP):  # the lifespan
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {}).update(request_id=request_id, caller=ANYBODY)

        body = Body(self._bodies, receive, scope["headers"])

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                if body.unread:  # nobody reads the rest
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        why = "" if self._has_keys else self._refusal(scope)
        if why:
            await _answer_forbidden(send_named, why, request_id)
            return
        try:
            await self._app(scope, body.receive, send_named)
        finally:
            body.close()

    def _refusal(self, scope: Scope) -> str:
        """Return why a request is turned away; "": it is not. A page of the web must not reach this machine's door."""
        given: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            if name in _READ:
                given.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        hosts, origins = given.get("host", []), given.get("origin", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return f"Host: given {', '.join(hosts) or 'none'!r:.80}, allowed is one of {', '.join(sorted(self._hosts))}"
        if origins and (len(origins) > 1 or origins[0].lower() not in self._origins):
            return f"Origin: given {', '.join(origins)!r:.80}, allowed are none and those of http.cors_origins"
        elsewhere = not origins and {"cross-site", "same-site"} & set(given.get("sec-fetch-site", []))
        if elsewhere and not _is_visit(scope, given):
            return "a web page of another origin asks; allowed are those of http.cors_origins"
        return ""


def _own_hosts(settings: HttpConfig, ports: tuple[int, ...], scheme: str) -> set[str]:
    """Return what a Host header says of a request that was meant for this machine."""
    binds = (settings.bind, *(service.bind for service in settings.services.values()))
    names = {*_OWN_NAMES, *(bind.rpartition(":")[0].lower() for bind in binds)} - {""}
    hosts = {f"{name}:{port}" for name in names for port in ports}
    return hosts | (names if _DEFAULT_PORTS[scheme] in ports else set())


def _is_visit(scope: Scope, given: dict[str, list[str]]) -> bool:
    """Return whether somebody follows a link to the console, from whichever page: nothing of anybody's is there."""
    opened = given.get("sec-fetch-mode") == ["navigate"] and given.get("sec-fetch-dest") == ["document"]
    return opened and scope["path"] == "/" and scope.get("method") in ("GET", "HEAD")


async def _answer_forbidden(send: Send, why: str, request_id: str) -> None:
    status = http.HTTPStatus.FORBIDDEN
    problem = Problem(title=status.phrase, status=status, detail=why, code="refused", request_id=request_id)
    body = msgspec.json.encode(problem)
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
