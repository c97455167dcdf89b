"""The file that answers a hit, where it must be brought here first.

Owns: which file that is; having it brought.
Must not know: where it comes from (cache/blobs.py), what counts as a hit, sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from audio_pool.cache.lookup import Hit
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import NotFound, StorageError
from audio_pool.pool.metadata import is_master
from audio_pool.types import Rendition

__all__ = ["Absent", "absent_file", "bring"]


class Absent(NamedTuple):
    """A kept file that is not here."""

    file: str
    size_bytes: int


def absent_file(cache: SoundCache, hit: Hit, rendition: Rendition) -> Absent | None:
    """Return the file that a hit is answered from, or rendered from, where it is not here; on the router's thread."""
    blobs = cache.store.blobs
    if not blobs.remote:
        return None
    assert hit.entry.id is not None
    kept = None if is_master(hit.metadata, rendition) else cache.kept_rendition(hit.entry.id, rendition)
    file, size = (hit.row.file, hit.row.size_bytes) if kept is None else (kept.file, kept.size_bytes)
    return None if blobs.state_of(file, size) is not None else Absent(file, size)


def bring(cache: SoundCache, absent: Absent, done: Callable[[StorageError | NotFound | None], None]) -> None:
    """Have it brought; ``done`` is called on another thread, mostly."""
    cache.store.blobs.bring_soon(absent.file, absent.size_bytes, done)
