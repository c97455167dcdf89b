"""An entry's master had here, for whoever reads it as a file and may wait.

Owns: which file that is.
Must not know: where it comes from (blobs.py), what it is read for.
"""

from __future__ import annotations

import contextlib

from audio_pool.cache.store import Store
from audio_pool.errors import AudioPoolError

__all__ = ["bring_entry", "bring_entry_if_it_can_be"]


def bring_entry(store: Store, entry_id: int) -> None:
    """Have an entry's master here. Raises NotFound: its bytes are gone; StorageError: they do not come."""
    if not store.blobs.remote:
        return
    master = store.checks.master(entry_id)
    if master is not None:
        store.blobs.bring(master.file, master.size_bytes)


def bring_entry_if_it_can_be(store: Store, entry_id: int) -> None:
    """Likewise; whoever reads it finds out that it is not there."""
    with contextlib.suppress(AudioPoolError):
        bring_entry(store, entry_id)
