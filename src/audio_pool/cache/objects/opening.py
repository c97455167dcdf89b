"""The files of a cache directory, opened: here, or in the object store that the directory names.

Owns: which of both it is. Loads nothing of the other.
Must not know: rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.files import LocalFiles
from audio_pool.cache.objects.place import ObjectPlace, read_place, write_place
from audio_pool.cache.store import Store

__all__ = ["open_files", "upkeep_of", "warm_from"]


def warm_from(files: BlobStore, rows: Path) -> None:
    """Bring another head's rows and indexes, where these files are shared and there are no rows yet."""
    if files.remote and not rows.exists():
        from audio_pool.cache.objects.files import ObjectFiles
        from audio_pool.cache.objects.warming import warm

        assert isinstance(files, ObjectFiles)
        warm(files, rows)


def upkeep_of(store: Store, save_indexes: Callable[[], None]) -> Callable[[], None]:
    """Return what is to be done for a store's files now and then."""
    if not store.blobs.remote:
        return lambda: None
    from audio_pool.cache.objects.files import ObjectFiles
    from audio_pool.cache.objects.upkeep import ObjectUpkeep

    assert isinstance(store.blobs, ObjectFiles)
    return ObjectUpkeep(store, store.blobs, save_indexes).work


def open_files(
    directory: Path | str,
    *,
    create: bool = True,
    renders: Path | str | None = None,
    place: ObjectPlace | None = None,
) -> BlobStore:
    """Return the files of a cache directory.

    Args:
        place: where a configuration has them; it is written down in the directory. None: as the directory says.

    Raises:
        NotFound, StorageError; EngineUnavailable: obstore is not installed.
    """
    told = place or read_place(directory)
    if told is None:
        return LocalFiles(directory, create=create, renders=renders)
    from audio_pool.cache.objects.files import ObjectFiles  # obstore, where it is asked for

    files = ObjectFiles(directory, told, create=create, renders=renders)
    if place is not None:
        write_place(files.root, place)
    return files
