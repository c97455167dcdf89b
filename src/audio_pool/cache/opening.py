"""Opening a cache's store: rows in the directory itself, or in a database that several heads share.

Owns: which implementation of Store that is; nothing of the other one is loaded.
Must not know: configuration, hits, the pool.
"""

from __future__ import annotations

from pathlib import Path

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.objects.opening import open_files, warm_from
from audio_pool.cache.shared import SharedStore, read_shared, write_shared
from audio_pool.cache.sqlite.database import FILE, PATIENCE_S
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.store import Store
from audio_pool.errors import InvalidConfig

__all__ = ["open_store"]


def open_store(
    directory: Path | str,
    *,
    shared: SharedStore | None = None,
    create: bool = True,
    render_dir: Path | str | None = None,
    blobs: BlobStore | None = None,
    grace_s: float | None = None,
    patience_s: float = PATIENCE_S,
) -> Store:
    """Open a store; for the arguments see ``SqliteStore`` and ``PostgresStore``.

    Args:
        shared: the database that holds the rows, which is written down in the directory; None: as the directory says.

    Raises:
        NotFound, StorageError.
        InvalidConfig: psycopg is not installed.
    """
    told = shared or read_shared(directory)
    if told is None:
        return SqliteStore(
            directory, create=create, render_dir=render_dir, blobs=blobs, grace_s=grace_s, patience_s=patience_s
        )
    try:
        from audio_pool.cache.postgres.replica import FOLDER
        from audio_pool.cache.postgres.store import PostgresStore
    except ImportError as exc:
        raise InvalidConfig(
            f"the cache's rows are in a PostgreSQL database, and {exc.name} is not installed",
            hint="pip install 'audio-pool[cluster]'",
        ) from exc
    files = blobs
    if create:
        files = blobs or open_files(directory, renders=render_dir)
        warm_from(files, Path(directory).absolute() / FOLDER / FILE)
    store = PostgresStore(
        directory, told, create=create, render_dir=render_dir, blobs=files, grace_s=grace_s, patience_s=patience_s
    )
    if shared is not None:
        write_shared(Path(store.location), shared)
    return store
