"""Where a configuration has a cache's files and rows.

Owns: reading that off ``[cache]``.
Must not know: what is kept there.
"""

from __future__ import annotations

import socket

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.objects.opening import open_files
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.cache.shared import SharedStore, write_shared
from audio_pool.config import Config
from audio_pool.transport.endpoints import default_bind

__all__ = ["configured_files", "configured_place", "configured_store"]


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


def configured_store(config: Config) -> SharedStore | None:
    """Return the database of ``cache.store``; None: the directory holds its rows itself, whatever it held before."""
    cache = config.cache
    if not cache.store:
        write_shared(config.cache_dir, None)
        return None
    return SharedStore(
        url=cache.store,
        schema=cache.store_schema,
        connect_timeout_s=cache.store_connect_s,
        statement_timeout_s=cache.store_timeout_s,
        connections=cache.store_connections,
        address=f"{config.server.bind or default_bind()} on {socket.gethostname()}",
    )
