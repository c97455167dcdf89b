"""The file that an index is kept in: a head, arrays, FAISS's structure, and a SHA-256 over all of it.

Owns: the format, and writing and reading it piece by piece: a copy of a large index would not fit beside it.
Must not know: how an index is searched.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from audio_pool.cache.faiss_library import faiss_here
from audio_pool.errors import StorageError

__all__ = ["SnapshotUnusable", "read_head", "read_snapshot", "write_snapshot"]

_MAGIC = b"APVIX\x02\n\0"
_DIGEST = 32
_AT_ONCE = 1 << 20
_LONGEST_HEAD = 1 << 20

Head = Mapping[str, Any]  # JSON
Array = npt.NDArray[Any]  # Any: each has its own type


class SnapshotUnusable(StorageError):
    """A snapshot is missing, torn, damaged or of another encoder: build the index from the store."""


def write_snapshot(path: Path, head: Head, arrays: Sequence[Array], structure: Any) -> None:
    """Write: temporary file, fsync, rename, fsync of the directory.

    Raises:
        StorageError: it cannot be written; an older snapshot is then still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    written = json.dumps(head).encode()
    digest = hashlib.sha256()
    failed: list[OSError] = []
    try:
        with temporary.open("wb") as file:

            def put(data: bytes) -> int:
                try:
                    digest.update(data)
                    return file.write(data)
                except OSError as exc:
                    failed.append(exc)
                    raise

            for part in (_MAGIC, struct.pack("<Q", len(written)), written, *(one.tobytes() for one in arrays)):
                put(part)
            faiss = faiss_here()
            try:
                faiss.write_index(structure, faiss.PyCallbackIOWriter(put, _AT_ONCE))
            except RuntimeError:
                if failed:
                    raise failed[0] from None
                raise
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"the index snapshot {path} cannot be written: {exc.strerror or exc}") from exc


def read_head(path: Path) -> dict[str, Any]:  # JSON
    """Return the head, unchecked.

    Raises:
        SnapshotUnusable: there is none.
    """
    try:
        with path.open("rb") as file:
            return _head_in(file, path)
    except OSError as exc:
        raise SnapshotUnusable(f"the index snapshot {path} cannot be read: {exc.strerror or exc}") from exc


def _head_in(file: BinaryIO, path: Path) -> dict[str, Any]:  # JSON
    start = file.read(len(_MAGIC) + 8)
    length = struct.unpack_from("<Q", start, len(_MAGIC))[0] if len(start) == len(_MAGIC) + 8 else 0
    if not start.startswith(_MAGIC) or not 0 < length <= _LONGEST_HEAD:
        raise _damaged(path)
    try:
        found: dict[str, Any] = json.loads(file.read(length))
    except ValueError:
        raise _damaged(path) from None
    return found


def _damaged(path: Path) -> SnapshotUnusable:
    return SnapshotUnusable(f"the index snapshot {path} is torn, damaged or of another version")


def read_snapshot(
    path: Path, types: Sequence[npt.DTypeLike]
) -> tuple[dict[str, Any], list[Array], Any]:  # JSON; each array's type; FAISS's structure
    """Return head, arrays (``head["count"]`` items of each type) and structure of a snapshot that is whole.

    Raises:
        SnapshotUnusable: missing, torn, damaged or of another version.
        EngineUnavailable: faiss is not installed.
    """
    try:
        with path.open("rb") as file:
            faiss = faiss_here()  # where there is something to read
            _check(file, path)
            file.seek(0)
            head = _head_in(file, path)
            arrays = [
                np.frombuffer(file.read(head["count"] * np.dtype(one).itemsize), one) for one in types
            ]
            structure = faiss.read_index(faiss.PyCallbackIOReader(file.read, _AT_ONCE))
    except OSError as exc:
        raise SnapshotUnusable(f"the index snapshot {path} cannot be read: {exc.strerror or exc}") from exc
    return head, arrays, structure


def _check(file: BinaryIO, path: Path) -> None:
    left = os.fstat(file.fileno()).st_size - _DIGEST
    digest = hashlib.sha256()
    while left > 0:
        part = file.read(min(_AT_ONCE, left))
        if not part:
            break
        digest.update(part)
        left -= len(part)
    if left != 0 or digest.digest() != file.read(_DIGEST):
        raise _damaged(path)
