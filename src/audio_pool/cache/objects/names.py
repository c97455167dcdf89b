"""What kept files and their objects are called.

Owns: the names of files whose bytes lie in an object store, and the keys of these objects.
Must not know: the store, rows.

A file's name belongs to one row, and says which bytes it holds; the object of these bytes belongs to all rows whose
files hold them.

    audio/ab/SHA256-KEY.flac     a row's file, and where its copy lies in the cache directory
    sounds/ab/SHA256.flac        the object
"""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple

__all__ = ["FANS", "SOUNDS", "TRASH", "Content", "content_of", "name_for", "trash_of"]

SOUNDS = "sounds"
TRASH = "trash"
"""What no row named lies here for a while: nothing is deleted at once."""
FANS = tuple(f"{number:02x}" for number in range(256))
"""The folders that objects lie in, by the first byte of their hash."""
_NAME = re.compile(r"\A(?:audio|renditions)/(?:[0-9a-f]{2})/([0-9a-f]{64})-[0-9a-f]{16}(\.[a-z0-9]{1,8})\Z")
_KEY = re.compile(r"\Asounds/[0-9a-f]{2}/([0-9a-f]{64})(\.[a-z0-9]{1,8})\Z")


class Content(NamedTuple):
    """The bytes of a file, by what they are."""

    sha256: str
    """In hex."""
    suffix: str

    @property
    def fan(self) -> str:
        """The folder of its objects, one of ``FANS``."""
        return self.sha256[:2]

    @property
    def key(self) -> str:
        """Its object's key."""
        return f"{SOUNDS}/{self.fan}/{self.sha256}{self.suffix}"


def name_for(folder: str, digest: bytes, suffix: str) -> str:
    """Return a new name in ``audio`` or ``renditions`` for a file of these bytes; no other row ever has it."""
    sha256 = digest.hex()
    return f"{folder}/{sha256[:2]}/{sha256}-{secrets.token_hex(8)}{suffix}"


def content_of(name: str) -> Content | None:
    """Return what a file, or an object, holds; None for a name that does not say so, as those of local stores."""
    found = _NAME.match(name) or _KEY.match(name)
    return None if found is None else Content(found[1], found[2])


def trash_of(key: str) -> str:
    """Return where an object that no row names is put aside."""
    return f"{TRASH}/{key.removeprefix(SOUNDS + '/')}"
