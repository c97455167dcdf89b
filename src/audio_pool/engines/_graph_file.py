"""Model files that are made from a model's weights once, and kept for the next process.

Owns: where they are kept, and the proof that one is whole.
Must not know: what is in one, how it is made.

The folder is this user's alone: what lies there is run. A file that is missing, torn or damaged is made anew; one that
cannot be kept is made for each process. Processes that make the same at the same time put equal files in each other's
place.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from audio_pool.engines._onnx_graph import property_entry
from audio_pool.errors import InvalidAudio
from audio_pool.replacement import replacing

__all__ = ["graph_files", "kept_graph"]

log = logging.getLogger(__name__)

_SEAL = "audio_pool_sha256"
_SEAL_BYTES = len(property_entry(_SEAL, "0" * 64))


def graph_files() -> Path:
    """Return the directory of files that were made: beside the sounds' cache, by the same variable."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(f"{base}/audio_pool-encoders").expanduser()


def kept_graph(key: str, make: Callable[[], bytes]) -> bytes:
    """Return the content of the ONNX file for ``key``, made where it is not kept whole.

    Args:
        key: names everything that the content depends on.
        make: returns the content; a metadata entry is put at its end.
    """
    folder, name = graph_files(), f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.onnx"
    with ExitStack() as rest:
        opened: int | None = None
        try:
            opened = _opened(folder)
        except OSError as exc:
            why = str(exc)
        else:
            rest.callback(os.close, opened)
        kept = _read(opened, name) if opened is not None else b""
        if _is_whole(kept):
            return kept
        if kept:
            log.warning("%s is damaged and is made anew", folder / name)
        made = _sealed(make())
        if opened is not None:
            try:
                with replacing(opened, name, str(folder / name)) as file:
                    file.write(made)
                return made
            except (OSError, InvalidAudio) as exc:
                why = str(exc)
    log.warning("%s is not kept, and is made at each start: %s", folder / name, why)
    return made


def _opened(folder: Path) -> int:
    """Open the directory, made where it is missing; an encoder runs what lies there, so nobody else may write to it.

    Raises:
        OSError: it cannot be made or opened, or others may write to it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    found = os.fstat(opened)
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        os.close(opened)
        raise PermissionError(errno.EPERM, "other users may write to it", str(folder))
    return opened


def _read(folder: int, name: str) -> bytes:
    """Return the file's content; b"" where there is none, or something else has its name."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would be waited for
        with open(os.open(name, flags, dir_fd=folder), "rb") as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return b""


def _sealed(content: bytes) -> bytes:
    return content + property_entry(_SEAL, hashlib.sha256(content).hexdigest())


def _is_whole(file: bytes) -> bool:
    content = memoryview(file)[:-_SEAL_BYTES]
    return bool(content) and file[-_SEAL_BYTES:] == property_entry(_SEAL, hashlib.sha256(content).hexdigest())
