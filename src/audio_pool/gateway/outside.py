"""Requests to addresses that clients named: only to allowed hosts, never to where the name secretly leads.

Owns: which addresses are allowed; one POST to one, to the very address that was looked at.
Must not know: what is posted, who wanted it.

A name is resolved once, here, and the connection goes to what it resolved to: a second answer of the name's
owner, pointing into this network, is never asked for. Redirects and proxies are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from urllib.parse import SplitResult, urlsplit

import httpcore

from audio_pool.errors import InvalidRequest, Refused

__all__ = ["Outside", "is_public"]

TIMEOUT_S = 15.0
_CONNECT_S = 5.0
_LONGEST_URL = 2048
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is public: what lies outside may be led into this network by its own translators."""
_NOT_GLOBAL = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("192.88.99.0/24"))
"""Counted as global by the standard library though nothing public is there."""


class Outside:
    """Posts to hosts that the configuration allows.

    Args:
        hosts: names, ``*.`` before one for whatever is beneath it, ``*`` for any; with ``:PORT`` for that port only.
        private: addresses of this machine and of private networks are allowed, too.
    """

    def __init__(self, hosts: Iterable[str], *, private: bool) -> None:
        self._hosts = tuple(host.lower() for host in hosts)
        self._private = private

    def check(self, field: str, url: str) -> str:
        """Return an address that may be asked for.

        Args:
            field: names it in messages.

        Raises:
            InvalidRequest: it is no http address. Refused: its host is not allowed.
        """
        parts = _split(url)
        if parts is None:
            raise InvalidRequest(
                f"{field}: given {url!r:.100}, allowed is http://HOST[:PORT]/PATH or https://, without user or fragment"
            )
        host = parts.hostname or ""
        literal = _address(host)
        allowed = any(_fits(pattern, host, _port(parts)) for pattern in self._hosts)
        if not allowed or (literal is not None and not (self._private or is_public(literal))):
            raise Refused(
                f"{field}: {host!r:.100} is not among the hosts that may be called",
                hint="who runs the gateway sets them: http.webhook_hosts, http.webhook_private",
            )
        return url

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Post to an address that was checked; return the answer's status. What the answer says is not read.

        Raises:
            OSError: the name is not resolved, leads where it may not, or nobody answers in time.
        """
        told: list[tuple[bytes | str, bytes | str]] = [("content-type", "application/json"), *headers.items()]
        waits = {"connect": _CONNECT_S, "read": TIMEOUT_S, "write": TIMEOUT_S, "pool": TIMEOUT_S}
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                httpcore.AsyncConnectionPool(
                    ssl_context=ssl.create_default_context(), network_backend=_Pinned(self._private)
                ) as pool,
                pool.stream("POST", url, headers=told, content=body, extensions={"timeout": waits}) as answer,
            ):
                return int(answer.status)
        except TimeoutError:
            raise OSError(f"no answer within {TIMEOUT_S:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as exc:
            raise OSError(f"{type(exc).__name__}: {exc}") from None


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to the address that a name was found to have, if that may be called."""

    def __init__(self, private: bool) -> None:
        self._private = private
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect. Raises OSError where one of the name's addresses may not be called."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        if not addresses or not (self._private or all(is_public(one) for one in addresses)):
            raise OSError(f"{host} leads to an address that may not be called")
        return await self._inner.connect_tcp(addresses[0], port, timeout, local_address, socket_options)


def is_public(address: str) -> bool:
    """Return whether an address lies on the public net, whichever way it is written."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip.version == 4 and ip in net for net in _NOT_GLOBAL)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if len(url) > _LONGEST_URL or any(not "!" <= char <= "~" for char in url) or "\\" in url:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.fragment:
        return None
    return None if port == 0 else parts


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _fits(pattern: str, host: str, port: int) -> bool:
    name, colon, number = pattern.rpartition(":")
    if colon and number.isdecimal() and not name.endswith(":"):
        if int(number) != port:
            return False
        pattern = name
    pattern = pattern.strip("[]")
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return pattern in ("*", host)


def _address(host: str) -> str | None:
    """Return a host that is an address by itself, also in its odd spellings (0x7f000001, 127.1)."""
    try:
        return str(ipaddress.ip_address(host.split("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, ValueError):
        return None
