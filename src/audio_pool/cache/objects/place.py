"""Which object store holds a cache directory's sounds: written down in the directory, for everybody who opens it.

Owns: the file ``objects.json``.
Must not know: what speaks to the store. No secrets: only where they are read from.

A program that opens the directory without a configuration, the manager's say, must not take the sounds that have no
copy there for lost.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec
from msgspec import Struct

from audio_pool.errors import StorageError
from audio_pool.object_settings import ObjectsConfig

__all__ = ["ObjectPlace", "read_place", "write_place"]

FILE = "objects.json"


class ObjectPlace(Struct, frozen=True, kw_only=True):
    """An object store, and how it is spoken to."""

    url: str
    settings: ObjectsConfig = ObjectsConfig()
    grace_s: float = 600.0
    """A local copy whose path may have been delivered stays for so long."""


def read_place(directory: Path | str) -> ObjectPlace | None:
    """Return what a cache directory says; None where it holds its sounds itself.

    Raises:
        StorageError: it says something that cannot be read.
    """
    path = f"{directory}/{FILE}"
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        return msgspec.json.decode(data, type=ObjectPlace)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StorageError(f"{path} does not say where the sounds are: {exc}", hint="bring it back") from exc


def write_place(directory: Path, place: ObjectPlace) -> None:
    """Say where a directory's sounds are; as a whole or not at all. Raises OSError."""
    if read_place(directory) == place:
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = directory / f".{FILE}.{secrets.token_hex(4)}"
    with part.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(place)))
        file.flush()
        os.fsync(file.fileno())
    part.replace(directory / FILE)
