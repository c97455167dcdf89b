"""CURVE keys: read, made, and checked when a client shows one.

Owns: the files of keys, the list of clients that may connect, and what is written there of each.
Must not know: messages, how a client's rights are kept.
"""

from __future__ import annotations

import logging
import re
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import zmq
import zmq.auth
from msgspec import Meta, Struct

from audio_pool.errors import AudioPoolError, InvalidConfig, NotFound, Refused
from audio_pool.types import Name
from audio_pool.validation import parse

log = logging.getLogger(__name__)

__all__ = ["AllowList", "ClientKeys", "KeySettings", "OwnKeys", "ServerKeys", "create_keys", "new_pair"]

_MOST_BYTES = 1 << 16
"""Of a key's settings."""
Folder = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"\A/[^\x00]*\Z")]


class KeyCheck(Protocol):
    """Says who gets in."""

    def callback(self, domain: str, key: bytes) -> bool:
        """Tell zmq's authenticator, on its thread, whether a public key (Z85) is allowed."""
        ...


class OwnKeys(Protocol):
    """A bound socket's key pair (Z85), and who gets in."""

    @property
    def public(self) -> bytes: ...

    @property
    def secret(self) -> bytes: ...

    @property
    def allowed(self) -> KeyCheck: ...


class KeySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client with this key may do: ``allowed_clients/NAME.toml`` beside ``NAME.key``."""

    operator: bool = False
    """May cancel anybody's requests, see all that ``status`` knows, and name any path."""
    namespace: Name | None = None
    """The only one that it can name; None: any."""
    output_roots: list[Folder] | None = None
    """Where its ``output_path`` may lie; None: as ``server.output_roots`` says."""
    input_roots: list[Folder] | None = None
    """Where its ``init_audio`` and the paths of CLAP may lie; None: as ``server.input_roots`` says."""


@dataclass(frozen=True)
class ServerKeys:
    """A server's own key pair and the public keys of the clients it lets in (Z85 bytes)."""

    public: bytes
    secret: bytes
    allowed: AllowList

    @classmethod
    def read(cls, directory: Path) -> ServerKeys:
        """Return keys as ``create_keys`` lays them out. Raises NotFound naming what is missing."""
        public, secret = _read_pair(directory / "server.key_secret")
        allowed = directory / "allowed_clients"
        if not allowed.is_dir():
            raise NotFound(f"no allow list at {allowed}; make keys with 'audio-pool keys create {directory}'")
        return cls(public, secret, AllowList(allowed))


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


class AllowList:
    """Which clients get in, read anew for each that comes: what is put in or taken out counts at once.

    Args:
        directory: of the clients' ``*.key`` files, each with its settings beside it, if it has any.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._settings: dict[str, tuple[str, KeySettings]] = {}

    def callback(self, domain: str, key: bytes) -> bool:
        """Tell zmq's authenticator, on its thread, whether a client's public key (Z85) is allowed."""
        for file in sorted(self._directory.glob("*.key")):
            try:
                if zmq.auth.load_certificate(file)[0] != key:
                    continue
            except (OSError, ValueError) as exc:
                log.warning("%s in the allow list is not a CURVE key file: %s", file, exc)
                continue
            try:
                self._settings[key.decode("ascii")] = file.stem, _settings_of(file.with_suffix(".toml"))
            except (AudioPoolError, OSError, ValueError) as exc:  # whatever was meant is not known: no rights at all
                log.error("%s is turned away: its settings cannot be read: %s", file.stem, exc)
                return False
            return True
        return False

    def settings(self, key: str) -> tuple[str, KeySettings]:
        """Return the name of a key that got in, and what is written of it. May be called from any thread."""
        return self._settings.get(key, ("", KeySettings()))


def _settings_of(file: Path) -> KeySettings:
    try:
        with file.open("rb") as source:
            written = source.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return KeySettings()
    if len(written) > _MOST_BYTES:
        raise InvalidConfig(f"{file} is larger than {_MOST_BYTES:,} bytes")
    return parse(KeySettings, tomllib.loads(written.decode()), error=InvalidConfig, what=str(file))


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


def new_pair() -> tuple[bytes, bytes]:
    """Return a public key and its secret one (Z85)."""
    return zmq.curve_keypair()


def create_keys(directory: Path, name: str = "client", *, operator: bool = False) -> list[Path]:
    """Make a server pair (unless there is one) and a client pair, and allow that client.

    Args:
        operator: its settings say that it may do what an operator may.

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
    settings = entry.with_suffix(".toml")
    if operator:  # before the key is allowed, so that it never gets in with less
        settings.write_text("operator = true\n")
        written.append(settings)
    else:
        settings.unlink(missing_ok=True)  # of an earlier client of that name
    entry.write_bytes((directory / f"{name}.key").read_bytes())
    return [*written, entry]
