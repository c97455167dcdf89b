"""Files that a disk may refuse: what is told of it, and that nothing is left behind.

Owns: errors of writing in this package's words.
Must not know: what is written.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from audio_pool.errors import StorageError

__all__ = ["ErrorRecorder", "storing"]


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Map what a disk refuses, and leave no file behind an error."""
    try:
        yield
    except OSError as exc:
        _discard(path)
        raise _storage_error(path, exc) from exc
    except BaseException:
        _discard(path)
        raise


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):  # a disk that takes no writes forbids this as well, and nothing is there
        path.unlink()


def _storage_error(path: Path, exc: OSError) -> StorageError:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"the disk that holds {path.parent} is full", hint="free some space and try again")
    return StorageError(f"{path.parent} takes no file {path.name!r}: {exc.strerror}", hint="check its owner and mount")


class ErrorRecorder:
    """A file that records the error of a failed write and accepts all later ones.

    libsndfile would report "System error" at best, and truncates compressed files silently.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        try:
            while rest and self.error is None:
                rest = rest[self._file.write(rest) :]
        except OSError as exc:
            self.error = exc
        return len(data)
