"""Masters that come from elsewhere, put into their places and given rows, some at a time.

Owns: the order of these steps, by which a crash between any two leaves nothing that a sweep cannot judge.
Must not know: where the masters come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from audio_pool.cache.blobs import Placement
from audio_pool.cache.entry import Adopted
from audio_pool.cache.store import Store
from audio_pool.errors import StorageError

__all__ = ["Arrived", "arrive"]


class Arrived(NamedTuple):
    """A master in ``incoming``, fsynced, and what is known of it; its ``file`` says nothing yet."""

    source: Path
    adopted: Adopted


def arrive(store: Store, batch: Sequence[Arrived]) -> list[bool]:
    """Keep masters; return for each whether it is new. One that is kept already is removed again.

    Raises:
        StorageError: none of them was kept; they lie where they were.
    """
    placed: list[tuple[Adopted, Placement]] = []
    try:
        for source, one in batch:
            file = store.blobs.name_for("audio", one.sha256, ".flac")
            origin = store.blobs.origin_of(source)
            fresh = one._replace(file=file, entry_id=None, origin=origin, renditions=())
            placed.append((fresh, store.blobs.place(source, file)))
        made = store.entries.adopt([one for one, _ in placed])
    except (OSError, StorageError):
        for _, placement in placed:
            store.blobs.withdraw(placement)
        raise
    for (one, placement), is_new in zip(placed, made, strict=True):
        if not is_new:
            store.blobs.discard(one.file)
        store.blobs.settle(placement)
    return made
