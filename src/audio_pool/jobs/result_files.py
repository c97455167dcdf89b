"""The sounds of finished jobs: copies that nobody else removes, kept until their jobs are forgotten.

Owns: ResultFiles, the interface to where they lie; ResultFolder, one directory of files.
Must not know: the journal, the cache, object stores (pool/result_objects.py).
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, Protocol

from audio_pool.errors import StorageError

__all__ = ["KeptResult", "ResultFiles", "ResultFolder"]


class KeptResult(NamedTuple):
    """A copy of a sound."""

    name: str
    """What the journal knows it by, on every head."""
    path: str
    """Where it lies here."""
    size_bytes: int


class ResultFiles(Protocol):
    """From any thread."""

    remote: bool
    """Copies are kept elsewhere: where that cannot be reached for a while, it is worth waiting for."""

    def keep(self, source: str) -> KeptResult:
        """Copy a sound; the copy survives a crash when this returns. Raises StorageError."""

    def here(self, name: str) -> str | None:
        """Return where a copy lies on this machine; None where it must be brought, or is gone."""

    def bring(self, name: str) -> str:
        """Return where a copy lies on this machine, fetched where it is elsewhere; may take its time.

        Raises:
            NotFound: it is gone. StorageError: it cannot be had now.
        """

    def remove(self, names: Collection[str]) -> None:
        """Remove copies that were kept here, and nothing else."""

    def sweep(self, known: Collection[str], *, older_than_s: float = 0.0) -> None:
        """Remove what no job knows: copies of a process that was killed before it noted them.

        Args:
            older_than_s: leave alone what has been written since; another head may be about to note it.
        """

    def close(self) -> None:
        """Do no more."""


class ResultFolder:
    """Copies in ``directory`` (mode 0700), by their paths; heads that share their jobs share it."""

    remote = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, source: str) -> KeptResult:
        """Copy a sound here. It is on the disk when this returns.

        Where the file system can, the copy shares the source's blocks.

        Raises:
            StorageError: it cannot be copied.
        """
        target = self._directory / (secrets.token_hex(12) + Path(source).suffix)
        temporary = target.with_name(f".{target.name}")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(source, "rb") as read, open(temporary, "xb", opener=_open_private) as write:
                _copy(read.fileno(), write.fileno())
                size = os.fstat(write.fileno()).st_size
                os.fchmod(write.fileno(), 0o444)  # its path is what the client gets
                os.fsync(write.fileno())
            os.rename(temporary, target)
            _sync_directory(self._directory)
        except OSError as exc:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise StorageError(f"the sound of a job could not be kept in {self._directory}: {exc.strerror}") from exc
        return KeptResult(str(target), str(target), size)

    def here(self, name: str) -> str | None:
        """Return the path, where there is a file."""
        return name if os.path.isfile(name) else None

    def bring(self, name: str) -> str:
        """Return the path: whoever reads there finds out whether it is gone."""
        return name

    def close(self) -> None:
        """Nothing is held open."""

    def remove(self, names: Collection[str]) -> None:
        """Remove files that were kept here, and nothing else."""
        for path in names:
            if Path(path).parent == self._directory:
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def sweep(self, known: Collection[str], *, older_than_s: float = 0.0) -> None:
        """Remove what no job knows: copies of a process that was killed before it noted them.

        Args:
            older_than_s: leave alone what has been written since; another head may be about to note it.
        """
        until = time.time() - older_than_s if older_than_s else math.inf
        with contextlib.suppress(OSError):
            found = [entry for entry in os.scandir(self._directory) if entry.path not in known]
            self.remove([entry.path for entry in found if entry.stat(follow_symlinks=False).st_mtime < until])


def _copy(source: int, target: int) -> None:
    try:
        while os.copy_file_range(source, target, 1 << 30):
            pass
    except OSError as exc:
        if exc.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        os.lseek(source, 0, os.SEEK_SET)
        os.lseek(target, 0, os.SEEK_SET)
        with open(source, "rb", closefd=False) as read, open(target, "wb", closefd=False) as write:
            shutil.copyfileobj(read, write, 1 << 20)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
