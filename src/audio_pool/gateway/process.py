"""A gateway's process: uvicorn, and its end.

Owns: how uvicorn is set.
Must not know: routes, how addresses are bound.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from litestar.types import ASGIApp

from audio_pool.client.connection import Keys
from audio_pool.config import HttpConfig
from audio_pool.errors import AudioPoolError, InvalidConfig
from audio_pool.gateway.app import create_app
from audio_pool.gateway.connection import connections_within

__all__ = ["run_app", "run_gateway"]

_SEND_TIMEOUT_S = 120.0
_LEAVE_S = 10
"""What is under way at the end gets so long."""


def run_gateway(
    endpoint: str | None,
    settings: HttpConfig,
    sockets: list[socket.socket],
    *,
    keys: Keys = None,
    listening: Callable[[], None],
    heeds_interrupt: bool = True,
) -> None:
    """Serve HTTP until a signal.

    Args:
        endpoint: of the pool; None: this user's default one.
        settings: of ``[http]``.
        sockets: bound to the addresses (binding.py); they are closed at the end.
        keys: CURVE keys for the endpoint.
        listening: called once requests are answered.
        heeds_interrupt: SIGINT ends it, as SIGTERM does.

    Raises:
        InvalidConfig: TLS files that cannot be read, and what app.py refuses.
    """
    ports = tuple(int(one.getsockname()[1]) for one in sockets)
    app = create_app(endpoint, settings, keys=keys, ports=ports)
    run_app(app, settings, sockets, listening=listening, heeds_interrupt=heeds_interrupt)


def run_app(
    app: ASGIApp,
    settings: HttpConfig,
    sockets: list[socket.socket],
    *,
    listening: Callable[[], None],
    heeds_interrupt: bool = True,
) -> None:
    """Serve an application until a signal; otherwise as ``run_gateway``."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # whoever sends nonsense fills no log
    try:
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=connections_within(settings.receive_timeout_s, _SEND_TIMEOUT_S, settings.max_connections),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=_LEAVE_S,
            ssl_certfile=settings.tls_certificate or None,
            ssl_keyfile=settings.tls_key or None,
        )
        config.load()
    except (OSError, ValueError) as exc:
        raise InvalidConfig(f"http: TLS cannot be set up: {exc}") from None
    server = _Server(config, listening, heeds_interrupt=heeds_interrupt)
    server.run(sockets=sockets)
    if not server.started:
        raise AudioPoolError("the HTTP server did not start; its log says why")


class _Server(uvicorn.Server):
    """uvicorn's, that tells when it listens, and leaves this process's end to its caller."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None], *, heeds_interrupt: bool) -> None:
        super().__init__(config)
        self._listening = listening
        self._heeds_interrupt = heeds_interrupt

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGINT or self._heeds_interrupt:
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()
