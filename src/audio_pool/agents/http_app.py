"""A server over HTTP, at an address of its own: the protocol's streamable HTTP, behind what guards the gateway.

Owns: the application: who gets in (Host and Origin without keys, else a key), and as whom tools are called.
Must not know: tools, how uvicorn is set (gateway/process.py).

It is no route of the gateway: the protocol's libraries weigh twice what the gateway does, its sessions and streams
live long, and a tool that goes wrong takes no sound of anybody else's along.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from litestar import Litestar, asgi
from litestar.config.cors import CORSConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from audio_pool.agents.asker import Asker
from audio_pool.agents.server import agents_server
from audio_pool.agents.sessions import Sessions
from audio_pool.agents.tools import Tools
from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.client.connection import Keys
from audio_pool.config import HttpConfig
from audio_pool.gateway.accounts import Accounts
from audio_pool.gateway.callers import HttpCaller
from audio_pool.gateway.guard import Guard
from audio_pool.gateway.keyring import Keyring
from audio_pool.gateway.problems import PROBLEM_HANDLERS

__all__ = ["PATH", "create_agents_app"]

PATH = "/mcp"
_MOST_MESSAGE_BYTES = 1 << 20
_MOST_SESSIONS = 1000
_MOST_SESSIONS_EACH = 100
"""Of one key."""
_IDLE_S = 1800.0
# Any: users and sessions of the framework, which this product has no use for
_Http = ASGIConnection[Any, Any, Any, State]


def create_agents_app(
    endpoint: str, tools: Tools, settings: HttpConfig, *, keys: Keys = None, ports: tuple[int, ...] = ()
) -> ASGIApp:
    """Return the application, which connects to the pool when it is first asked.

    Args:
        endpoint: of the pool.
        settings: of ``[http]``: its keys, names, origins and bounds.
        keys: CURVE keys for the endpoint.
        ports: where it listens.
    """
    keyring = Keyring(Path(settings.keys_file).expanduser()) if settings.keys_file else None
    accounts = Accounts(lambda: AsyncAudioClient(endpoint, timeout_s=settings.timeout_s, keys=keys), keyring)

    def asker_of(request: Any) -> Asker:  # Any: Starlette's, of the HTTP request that a call came with
        caller: HttpCaller = request.scope["state"]["caller"]
        return Asker(
            client=accounts.client_of(caller),
            endpoint=endpoint,
            namespace=caller.namespace,
            turn=lambda: accounts.turn(caller),
            elsewhere=accounts.has_keys,
        )

    async def admit(http: _Http, handler: BaseRouteHandler) -> None:
        caller = accounts.admit(http.headers.get("authorization", ""), http.headers.get("xi-api-key", ""))
        http.scope["state"]["caller"] = caller
        if caller.key is not None:  # a session is heeded under the key that began it alone
            http.scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=caller.mark, scopes=[]))

    sessions = StreamableHTTPSessionManager(
        agents_server(tools, asker_of),
        max_request_body_size=_MOST_MESSAGE_BYTES,
        session_idle_timeout=_IDLE_S,
        max_sessions=_MOST_SESSIONS,
    )

    each = Sessions(sessions.handle_request, _MOST_SESSIONS_EACH)

    @asgi(PATH, is_mount=True, copy_scope=True)
    async def protocol(scope: Scope, receive: Receive, send: Send) -> None:
        caller: HttpCaller = scope["state"]["caller"]
        await each.answer("" if caller.key is None else caller.mark, scope, receive, send)

    @contextlib.asynccontextmanager
    async def connected(app: Litestar) -> AsyncIterator[None]:
        try:
            async with sessions.run():
                yield
        finally:
            await accounts.close()

    app = Litestar(
        [protocol],
        lifespan=[connected],
        guards=[admit],
        cors_config=_cors(settings),
        exception_handlers=PROBLEM_HANDLERS,
        openapi_config=None,
        logging_config=None,
        pdb_on_exception=False,
        debug=False,
    )
    return Guard(app, settings, ports)


def _cors(settings: HttpConfig) -> CORSConfig | None:
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "DELETE", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=["mcp-session-id", "x-request-id"],
        max_age=600,
    )
