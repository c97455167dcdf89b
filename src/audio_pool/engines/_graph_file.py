"""Model files that are made from a model's weights once, and kept for the next process.

Owns: where they are kept, and the proof that one is whole.
Must not know: what is in one, how it is made.

A file that is missing, torn or damaged is made anew; one that cannot be kept is made for each process. Processes that
make the same at the same time put equal files in each other's place.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
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
    try:
        kept = (folder / name).read_bytes()
    except OSError:
        kept = b""
    if _is_whole(kept):
        return kept
    if kept:
        log.warning("%s is damaged and is made anew", folder / name)
    made = _sealed(make())
    try:
        _keep(folder, name, made)
    except (OSError, InvalidAudio) as exc:
        log.warning("%s is not kept, and is made at each start: %s", folder / name, exc)
    return made


def _sealed(content: bytes) -> bytes:
    return content + property_entry(_SEAL, hashlib.sha256(content).hexdigest())


def _is_whole(file: bytes) -> bool:
    content = memoryview(file)[:-_SEAL_BYTES]
    return bool(content) and file[-_SEAL_BYTES:] == property_entry(_SEAL, hashlib.sha256(content).hexdigest())


def _keep(folder: Path, name: str, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with replacing(descriptor, name, str(folder / name)) as file:
            file.write(content)
    finally:
        os.close(descriptor)
