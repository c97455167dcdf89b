"""CURVE keys: read, made, and checked when a client shows one.

Owns: the files of keys and the list of clients that may connect.
Must not know: messages, what a client may do.
"""

from __future__ import annotations

import logging
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.auth

from audio_pool.errors import InvalidConfig, NotFound, Refused

log = logging.getLogger(__name__)

__all__ = ["ClientKeys", "ServerKeys", "create_keys"]

@dataclass(frozen=True)
class ServerKeys:
    """A server's own key pair and the public keys of the clients it lets in (Z85 bytes)."""

    public: bytes
    secret: bytes
    allowed: Path
    """Directory of clients' ``*.key`` files."""

    @classmethod
    def read(cls, directory: Path) -> ServerKeys:
        """Return keys as ``create_keys`` lays them out. Raises NotFound naming what is missing."""
        public, secret = _read_pair(directory / "server.key_secret")
        allowed = directory / "allowed_clients"
        if not allowed.is_dir():
            raise NotFound(f"no allow list at {allowed}; make keys with 'audio-pool keys create {directory}'")
        return cls(public, secret, allowed)


@dataclass(frozen=True)
class ClientKeys:
    """A client's key pair and the public key of the server it trusts (Z85 bytes)."""

    public: bytes
    secret: bytes
    server: bytes

    @classmethod
    def read(cls, directory: Path, name: str = "client") -> ClientKeys:
        """Return ``NAME.key_secret`` and ``server.key`` of a directory. Raises NotFound naming what is missing."""
        public, secret = _read_pair(directory / f"{name}.key_secret")
        server_file = directory / "server.key"
        if not server_file.is_file():
            raise NotFound(f"no server key at {server_file}; copy server.key from the server's keys directory")
        return cls(public, secret, zmq.auth.load_certificate(server_file)[0])


class _AllowList:
    """Which clients get in, read anew for each that comes: what is put in or taken out counts at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def callback(self, domain: str, key: bytes) -> bool:
        """Tell zmq's authenticator, on its thread, whether a client's public key (Z85) is allowed."""
        for file in self._directory.glob("*.key"):
            try:
                if zmq.auth.load_certificate(file)[0] == key:
                    return True
            except (OSError, ValueError) as exc:
                log.warning("%s in the allow list is not a CURVE key file: %s", file, exc)
        return False


def _read_pair(path: Path) -> tuple[bytes, bytes]:
    if not path.is_file():
        raise NotFound(f"no key at {path}; make keys with 'audio-pool keys create {path.parent}'")
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (ValueError, OSError) as exc:
        raise InvalidConfig(f"{path} is not a CURVE key file: {exc}") from None
    if secret is None:
        raise InvalidConfig(f"{path} holds no secret key; the file must be the one ending in .key_secret")
    return public, secret


def create_keys(directory: Path, name: str = "client") -> list[Path]:
    """Make a server pair (unless there is one) and a client pair, and allow that client.

    Returns:
        The files written, secrets readable by their owner only.

    Raises:
        InvalidConfig: the name cannot be a file's, or is the server's.
        Refused: a client of that name has keys already; they are never overwritten.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}", name) or name == "server":
        raise InvalidConfig(f"name: given {name!r}, allowed are 1 to 64 letters, digits, _, . and -, but not 'server'")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    allowed = directory / "allowed_clients"
    allowed.mkdir(exist_ok=True, mode=0o700)
    if (directory / f"{name}.key_secret").exists():
        raise Refused(f"{directory / name}.key_secret exists; keys are never overwritten", hint="use --name OTHER")
    written: list[Path] = []
    with tempfile.TemporaryDirectory(dir=directory) as private:  # nobody else's eyes before the mode is set
        for owner in ("server", name):
            if (directory / f"{owner}.key_secret").exists():
                continue
            for path in map(Path, zmq.auth.create_certificates(private, owner)):
                path.chmod(0o600 if path.suffix == ".key_secret" else 0o644)
                written.append(path.rename(directory / path.name))
    entry = allowed / f"{name}.key"
    entry.write_bytes((directory / f"{name}.key").read_bytes())
    return [*written, entry]
