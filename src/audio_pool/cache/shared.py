"""Which database a head's cache directory shares with others: written down there, for everybody who opens it.

Owns: SharedStore, and the file ``shared.json``.
Must not know: any database library: nothing of it is loaded on one machine.

A program that opens the directory without a configuration, the manager's say, must not take it for an empty one. The
address may hold a password, so the file is its owner's alone.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from audio_pool.errors import NotSupported, StorageError

__all__ = ["FILE", "SharedStore", "read_shared", "refuse_shared", "write_shared"]

FILE = "shared.json"


class SharedStore(Struct, frozen=True, kw_only=True):
    """A database that several heads share, and how long is waited for it."""

    url: str
    """``postgresql://USER@HOST:5432/NAME``; may hold a password, so it is not for messages."""
    schema: str = "audio_pool"
    """One for each set of namespaces that has nothing to do with another."""
    connect_timeout_s: float = 3.0
    statement_timeout_s: float = 10.0
    connections: int = 4
    """Most at once, beside the one that listens."""
    address: str = ""
    """Of the head that shares it, for people; not written down."""

    def __repr__(self) -> str:
        return f"SharedStore(schema={self.schema!r})"


def read_shared(directory: Path | str) -> SharedStore | None:
    """Return what a cache directory says; None where its rows are its own.

    Raises:
        StorageError: it says something that cannot be read.
    """
    path = f"{directory}/{FILE}"
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise StorageError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        return msgspec.json.decode(data, type=SharedStore)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StorageError(f"{path} does not say where the rows are", hint="serve once with cache.store set") from exc


def refuse_shared(directory: Path | str, doing: str, instead: str) -> None:
    """Refuse what is done to a database file where the rows are elsewhere. Raises NotSupported."""
    if read_shared(directory) is not None:
        raise NotSupported(f"{doing}: the rows of {str(directory)!r} are in PostgreSQL", hint=instead)


def write_shared(directory: Path, shared: SharedStore | None) -> None:
    """Say where a directory's rows are, as a whole or not at all; None: in itself, as without this. Raises OSError."""
    shared = None if shared is None else structs.replace(shared, address="")
    if read_shared(directory) == shared:
        return
    if shared is None:
        (directory / FILE).unlink(missing_ok=True)
        return
    part = directory / f".{FILE}.{secrets.token_hex(4)}"
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(shared)))
        file.flush()
        os.fsync(file.fileno())
    part.replace(directory / FILE)
