"""The token by which a local client on TCP shows that it is the same user as the server.

Owns: the file that holds it, who may have written that file, and the comparison.
Must not know: messages, what the token is good for.

TCP does not tell who is at the other end, and a file with mode 0600 is readable by one user. It is made anew at
every start: whoever listened on the port in between, and was told an old one, has learned nothing.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import secrets
import stat
from pathlib import Path

from audio_pool.transport.endpoints import loopback_port, runtime_directories

__all__ = ["LocalToken", "find_token"]

log = logging.getLogger(__name__)

_MOST_BYTES = 128


class LocalToken:
    """The token of one server, in its file."""

    def __init__(self, value: str, path: Path) -> None:
        self._value = value.encode()
        self.path = path

    @classmethod
    def create(cls, endpoint: str) -> LocalToken | None:
        """Write a new token for a bound endpoint; return None where it needs none, or there is no safe place."""
        port = loopback_port(endpoint)
        if not port:
            return None
        directory = runtime_directories()[0]
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            trouble = _trouble_with(directory)
            if trouble:
                raise OSError(trouble)
            value, path = secrets.token_urlsafe(32), _file(directory, port)
            new = path.with_name(f".{secrets.token_hex(8)}")
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(value)
            os.replace(new, path)
        except OSError as exc:
            log.warning("no token for clients on this machine, which may name no paths over %s: %s", endpoint, exc)
            return None
        return cls(value, path)

    def matches(self, given: str) -> bool:
        """Compare in a time that does not tell how much of it is right."""
        return hmac.compare_digest(self._value, given.encode())

    def remove(self) -> None:
        """Remove the file, unless it is another server's by now."""
        with contextlib.suppress(OSError):
            if self.path.read_bytes() == self._value:
                self.path.unlink()


def find_token(endpoint: str) -> str:
    """Return the token for a server on this machine, as its client finds it; "" where there is none to be trusted."""
    port = loopback_port(endpoint)
    for directory in runtime_directories() if port else ():
        if _trouble_with(directory):
            continue
        with contextlib.suppress(OSError, UnicodeDecodeError):
            handle = os.open(_file(directory, port), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(handle, "rb") as file:
                found = os.fstat(handle)
                if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
                    return file.read(_MOST_BYTES).decode()
    return ""


def _file(directory: Path, port: int) -> Path:
    return directory / f"tcp-{port}.token"


def _trouble_with(directory: Path) -> str:
    """Return why a directory is not safe to keep secrets in; "" where it is."""
    try:
        found = directory.lstat()
    except OSError as exc:
        return f"{directory}: {exc.strerror}"
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        return f"{directory} is not a directory that this user alone can write to"
    return ""
