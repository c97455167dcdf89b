"""The folder that an agent's sounds are written into.

Owns: which names may be given, that a file is never replaced, that nothing outside the folder is written or read.
Must not know: what is in the files.
"""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from audio_pool.agents.addresses import MEDIA_TYPES
from audio_pool.agents.arguments import FileFormat
from audio_pool.errors import InvalidRequest, NotFound, StorageError
from audio_pool.packs.names import slug, write_unused

__all__ = ["OutputFolder", "stem_and_format"]

_ENDING = re.compile(r"\.([A-Za-z][A-Za-z0-9]{1,4})\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f/\\]")
_MOST_READ = 64 * 1024 * 1024
_LONGEST_BYTES = 200
"""A file system takes 255; the rest is left to a number and the ending."""


def stem_and_format(text: str, file_name: str | None, form: FileFormat | None) -> tuple[str, str]:
    """Return the name of a file without its ending, and the format that it is written in.

    Args:
        text: the name is made of it where none is given.
        file_name: with or without an ending; its ending chooses the format where ``form`` is None.

    Raises:
        InvalidRequest: it is no plain name, or its ending is not that of the format.
    """
    if file_name is None:
        return slug(text), form or "wav"
    if _CONTROL.search(file_name) or file_name.startswith(".") or not file_name.strip(". "):
        raise InvalidRequest(
            f"file_name: given {file_name!r}, allowed is a name without a folder that does not begin with a dot"
        )
    size = len(file_name.encode(errors="replace"))
    if size > _LONGEST_BYTES:
        raise InvalidRequest(f"file_name: given {size} bytes of UTF-8, allowed are {_LONGEST_BYTES}; a shorter name")
    found = _ENDING.search(file_name)
    if found is None:
        return file_name, form or "wav"
    ending = found[1].lower()
    if ending not in MEDIA_TYPES:
        allowed = ", ".join(f".{one}" for one in MEDIA_TYPES)
        raise InvalidRequest(f"file_name: given {file_name!r}, allowed are the endings {allowed}, or none")
    if form is not None and form != ending:
        raise InvalidRequest(
            f"file_name: given {file_name!r} with format {form!r}; leave one of them out, or let them agree"
        )
    return file_name[: found.start()], ending


class OutputFolder:
    """One folder; it is made with the first file."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder.expanduser()))

    def write(self, stem: str, form: str, data: bytes) -> Path:
        """Write a file under a name that is free; return its path. Raises StorageError."""
        try:
            return write_unused(self.folder, stem, f".{form}", io.BytesIO(data))
        except OSError as exc:
            raise StorageError(
                f"{self.folder}: cannot be written: {exc.strerror}",
                hint="start this server with --output DIR, a folder that its user may write to",
            ) from None

    def read(self, uri: str) -> tuple[bytes, str]:
        """Return the bytes of a sound of this folder and its media type, by the ``file`` address of its link.

        Raises:
            NotFound: nothing is there, or it lies elsewhere, or it is no sound: all say the same.
        """
        missing = NotFound(f"{uri:.300}: no sound of this server", hint="read the links that its tools answer with")
        try:
            parts = urlsplit(uri)
        except ValueError:  # it is no address at all
            raise missing from None
        path = Path(unquote(parts.path))
        media = MEDIA_TYPES.get(path.suffix.removeprefix("."))
        if parts.scheme != "file" or parts.netloc or path.parent != self.folder or media is None:
            raise missing
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_READ:
                    raise missing
                return file.read(), media
        except (OSError, ValueError):  # a name with a NUL in it is none
            raise missing from None
