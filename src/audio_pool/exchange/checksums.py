"""What an export wrote, by its SHA-256: for ``sha256sum -c``, and to tell what may be taken away again.

Owns: ``files.sha256``: read, gone on with, replaced, and the files of entries that were removed since.
Must not know: what the files hold, the database.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TextIO

from audio_pool.exchange.plain_files import replacing

__all__ = ["Checksums", "Gone"]

_NAME = "files.sha256"
_LONGEST_LINE = 4096


class Gone(NamedTuple):
    """What became of the files of entries that are not kept any more."""

    removed: int
    changed: list[str]
    """Files that are not what an export wrote; they stay."""


class Checksums:
    """The list of one export: what earlier runs noted, and behind it what this one does.

    A run notes everything that is kept, so that the next one knows it also where this one is interrupted.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._more: TextIO | None = None
        self._earlier = 0
        """Bytes that were there before."""

    def __enter__(self) -> Checksums:
        self._more = open(self._place / _NAME, "a", encoding="utf-8", opener=_opened)
        self._more.write("\n")  # ends a line that was torn
        self._more.flush()
        self._earlier = self._more.tell()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._more is not None, "opened on entering"
        self._more.close()

    def add(self, files: Iterable[tuple[str, str]]) -> None:
        """Note files that lie there as they were written, and the SHA-256 of each in hex."""
        assert self._more is not None, "opened on entering"
        self._more.writelines(f"{sha256}  {file}\n" for file, sha256 in files)
        self._more.flush()

    def settle(self, is_kept: Callable[[str], bool]) -> Gone:
        """Take away the files of what is not kept any more, where they are as they were written; list the rest."""
        assert self._more is not None, "opened on entering"
        self._more.flush()
        removed, changed = 0, dict[str, None]()
        with replacing(self._place / _NAME) as part, part.open("wb") as out:
            for line, offset in self._lines():
                found = _read(line)
                if found is None:
                    continue
                file, sha256 = found
                if is_kept(file):
                    if offset >= self._earlier:
                        out.write(line)
                elif self._is_as_written(file, sha256):
                    (self._place / file).unlink()
                    with suppress(OSError):  # others lie in it
                        (self._place / file).parent.rmdir()
                    removed += 1
                else:
                    changed[file] = None
        return Gone(removed, [file for file in changed if os.path.lexists(self._place / file)])

    def _lines(self) -> Iterator[tuple[bytes, int]]:
        offset = 0
        with (self._place / _NAME).open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                yield line, offset
                offset += len(line)

    def _is_as_written(self, file: str, sha256: bytes) -> bool:
        path = self._place / file
        try:
            if os.path.realpath(path) != str(path) or not path.is_file():  # a link may lead anywhere
                return False
            with path.open("rb") as opened:
                return hashlib.file_digest(opened, "sha256").digest() == sha256
        except OSError:  # it cannot be read, or no file can have such a name
            return False


def _opened(path: str, flags: int) -> int:
    """Open the list itself: a link there may lead anywhere, a pipe would be waited for."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def _read(line: bytes) -> tuple[str, bytes] | None:
    """Return a line's file and SHA-256; None where it is torn, or names nothing that can be."""
    try:
        digest, _, file = line.decode().rstrip("\n").partition("  ")
        sha256 = bytes.fromhex(digest)
    except ValueError:
        return None
    return (file, sha256) if len(sha256) == 32 and line.endswith(b"\n") and "\0" not in file else None
