"""Where a configuration has a cache's files.

Owns: reading that off ``[cache]``.
Must not know: what is kept there.
"""

from __future__ import annotations

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.objects.opening import open_files
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.config import Config

__all__ = ["configured_files", "configured_place"]


def configured_place(config: Config) -> ObjectPlace | None:
    """Return the object store of ``cache.blobs``; None where it names none."""
    cache = config.cache
    if not cache.blobs:
        return None
    return ObjectPlace(url=cache.blobs, settings=cache.objects, grace_s=cache.delivered_grace_s)


def configured_files(config: Config) -> BlobStore | None:
    """Return the files in an object store; None: the store opens those of its directory.

    Raises:
        StorageError, EngineUnavailable, InvalidConfig.
    """
    place = configured_place(config)
    return None if place is None else open_files(config.cache_dir, renders=config.render_dir, place=place)
