"""Endpoints: which are well formed, which may be bound without keys, and the default one.

Owns: the rules for ``ipc://`` and ``tcp://`` addresses.
Must not know: sockets.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import tempfile
from pathlib import Path

from audio_pool.errors import InvalidConfig, Refused

__all__ = [
    "MAX_IPC_PATH_BYTES",
    "check_bind",
    "check_connect",
    "default_bind",
    "default_connect",
    "local_endpoint",
    "loopback_port",
    "runtime_directories",
]

MAX_IPC_PATH_BYTES = 107
"""sockaddr_un on Linux holds 108 bytes with the closing zero."""


_ENDPOINT = re.compile(r"^(ipc://.+|tcp://(\[[0-9A-Fa-f:.]+\]|[^:/\[\]]+):(\d{1,5}|\*)|inproc://.+)$")


def check_connect(endpoint: str) -> str:
    """Return the endpoint itself, if one can connect to such a thing.

    Raises:
        InvalidConfig: what was given and which forms are allowed.
    """
    if not _ENDPOINT.match(endpoint) or endpoint.endswith(":*"):
        raise InvalidConfig(
            f"endpoint: given {endpoint!r}, allowed is ipc://PATH or tcp://HOST:PORT, e.g. tcp://127.0.0.1:5555"
        )
    return endpoint


def check_bind(endpoint: str, *, has_keys: bool = False) -> str:
    """Return the endpoint itself, if it may be bound: ipc, loopback, or anything with CURVE keys.

    Raises:
        InvalidConfig: an ipc path over 107 bytes, or not an endpoint.
        Refused: an address beyond this machine without keys.
    """
    found = _ENDPOINT.match(endpoint)
    if not found:
        raise InvalidConfig(
            f"bind: given {endpoint!r}, allowed is ipc://PATH or tcp://ADDRESS:PORT, e.g. tcp://127.0.0.1:5555"
        )
    if endpoint.startswith("ipc://"):
        size = len(os.fsencode(endpoint[len("ipc://") :]))
        if size > MAX_IPC_PATH_BYTES:
            raise InvalidConfig(
                f"bind: the socket's path has {size} bytes, allowed are at most {MAX_IPC_PATH_BYTES}; "
                f"use a shorter directory or tcp://127.0.0.1:PORT ({endpoint!r})"
            )
    elif endpoint.startswith("tcp://") and not has_keys and not _is_loopback(found.group(2)):
        raise Refused(
            f"bind: {endpoint!r} can be reached from other machines and no CURVE keys are set",
            hint="make keys with 'audio-pool keys create DIR' and set server.keys_dir (or --keys DIR), "
            "or bind tcp://127.0.0.1:PORT",
        )
    return endpoint


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # a name or an interface could be anything: treat it as reachable


def local_endpoint(path: Path) -> str:
    """Return the ipc endpoint of a socket file, its length checked."""
    return check_bind(f"ipc://{path}")


def runtime_directories() -> list[Path]:
    """Return where this user's servers keep their default socket and their tokens; the first is the usual one."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [Path(runtime) / "audio_pool"] if runtime else []
    return [*places, Path(tempfile.gettempdir()) / f"audio_pool-{os.getuid()}"]


def default_bind() -> str:
    """Return the ipc endpoint that a server binds, and its clients on this machine look for, by default."""
    return f"ipc://{runtime_directories()[0]}/serve.sock"


def default_connect() -> str:
    """Return the endpoint of ``default_bind`` for a client.

    Raises:
        Refused: its directory is another user's, or others can write to it: whoever listens there may be anybody.
    """
    endpoint = default_bind()
    directory = Path(endpoint.removeprefix("ipc://")).parent
    try:
        found = directory.lstat()
    except OSError:
        return endpoint  # nobody listens
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.getuid(), 0) or found.st_mode & 0o022:
        raise Refused(
            f"{directory} is not a directory that this user alone can write to: "
            "the server that listens there may be another user's",
            hint="remove it and start the server anew, or name the endpoint of a server that you trust",
        )
    return endpoint


def loopback_port(endpoint: str) -> int:
    """Return the port of a TCP endpoint that only this machine reaches; 0 for any other endpoint."""
    found = _ENDPOINT.match(endpoint)
    if not found or not endpoint.startswith("tcp://") or not _is_loopback(found.group(2)):
        return 0
    return 0 if found.group(3) == "*" else int(found.group(3))
