"""The addresses of a gateway: bound by its own process, or by the one that keeps it running.

Owns: which addresses may be bound: none beyond this machine without keys.
Must not know: what is answered there.
"""

from __future__ import annotations

import ipaddress
import socket

from audio_pool.config import HttpConfig
from audio_pool.errors import InvalidConfig, Refused, StorageError

__all__ = ["bind_all", "url_of"]

_BACKLOG = 2048


def bind_all(settings: HttpConfig) -> list[socket.socket]:
    """Return the listening sockets of ``http.bind`` and of every service.

    Raises:
        Refused: an address beyond this machine without keys.
        InvalidConfig: what is none of this machine's addresses, or goes together with nothing else.
        StorageError: an address that cannot be bound.
    """
    if not settings.bind:
        raise InvalidConfig("http.bind: given nothing, allowed is HOST:PORT, e.g. 127.0.0.1:8080")
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise InvalidConfig("http.tls_certificate and http.tls_key are set together or not at all")
    if "*" in settings.cors_origins and not settings.keys_file:
        raise InvalidConfig(
            "http.cors_origins: given '*' without http.keys_file, which lets every page of the web in; "
            "allowed are origins by name, or make keys"
        )
    sockets: list[socket.socket] = []
    try:
        for bind in (settings.bind, *(service.bind for service in settings.services.values())):
            sockets.append(_bound(bind, has_keys=bool(settings.keys_file)))
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets


def url_of(one: socket.socket, settings: HttpConfig) -> str:
    """Return the address of a socket as a client writes it."""
    host, port = one.getsockname()[:2]
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


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
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise StorageError(f"http.bind: {bind!r} cannot be bound: {exc.strerror}") from None
    return listener
