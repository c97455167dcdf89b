"""A gateway's process: its sockets, uvicorn, its end.

Owns: which addresses it binds, that none beyond this machine is bound without keys, how uvicorn is set.
Must not know: routes.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

import uvicorn

from audio_pool.client.connection import Keys
from audio_pool.config import HttpConfig
from audio_pool.errors import AudioPoolError, InvalidConfig, Refused, StorageError
from audio_pool.gateway.app import create_app

__all__ = ["run_gateway"]

_LEAVE_S = 10
"""What is under way at the end gets so long."""


def run_gateway(
    endpoint: str | None, settings: HttpConfig, *, keys: Keys = None, listening: Callable[[list[str]], None]
) -> None:
    """Serve HTTP until a signal.

    Args:
        endpoint: of the pool; None: this user's default one.
        settings: of ``[http]``; ``bind`` is set.
        keys: CURVE keys for the endpoint.
        listening: called with the URLs once they are bound.

    Raises:
        Refused: an address beyond this machine without keys.
        InvalidConfig: an address that cannot be bound, TLS files that cannot be read.
    """
    binds = [settings.bind, *(service.bind for service in settings.services.values())]
    if not settings.bind:
        raise InvalidConfig("http.bind: given nothing, allowed is HOST:PORT, e.g. 127.0.0.1:8080")
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise InvalidConfig("http.tls_certificate and http.tls_key are set together or not at all")
    sockets = [_bound(bind, has_keys=bool(settings.keys_file)) for bind in binds]
    try:
        ports = tuple(int(one.getsockname()[1]) for one in sockets)
        config = uvicorn.Config(
            create_app(endpoint, settings, keys=keys, ports=ports),
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=_LEAVE_S,
            limit_concurrency=settings.max_connections,
            ssl_certfile=settings.tls_certificate or None,
            ssl_keyfile=settings.tls_key or None,
        )
        config.load()
    except (OSError, ValueError) as exc:
        for one in sockets:
            one.close()
        raise InvalidConfig(f"http: TLS cannot be set up: {exc}") from None
    scheme = "https" if settings.tls_certificate else "http"
    server = _Server(config, lambda: listening([f"{scheme}://{_shown(one)}" for one in sockets]))
    server.run(sockets=sockets)
    if not server.started:
        raise AudioPoolError("the gateway did not start; its log says why")


class _Server(uvicorn.Server):
    """uvicorn's, that tells when it listens, and leaves this process's end to its caller."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()


def _bound(bind: str, *, has_keys: bool) -> socket.socket:
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, OverflowError) as exc:
        raise InvalidConfig(f"http.bind: given {bind!r}, which is no address of this machine: {exc}") from None
    family, _, _, _, address = found[0]
    if not has_keys and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise Refused(
            f"http.bind: {bind!r} can be reached from other machines and no keys are set",
            hint="make keys with 'audio-pool keys http create' and set http.keys_file, or bind 127.0.0.1:PORT",
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as exc:
        listener.close()
        raise StorageError(f"http.bind: {bind!r} cannot be bound: {exc.strerror}") from None
    return listener


def _shown(one: socket.socket) -> str:
    host, port = one.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
