"""Rows and objects that do not agree.

Owns: finding them, by one listing of every object, and how each is mended.
Must not know: what counts as much of it (cache/verify.py), local copies.

Whether an object holds the bytes that it is called by is found out whenever it is fetched; here its size is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from audio_pool.cache.checks import KeptFile
from audio_pool.cache.objects.bucket import Bucket
from audio_pool.cache.objects.collector import Collector
from audio_pool.cache.objects.files import ObjectFiles
from audio_pool.cache.objects.names import FANS, SOUNDS, content_of, trash_of
from audio_pool.cache.store import KeptRendition, Store

__all__ = ["Amiss", "objects_amiss"]


class Amiss(NamedTuple):
    """One thing that does not agree, and how it is mended."""

    problem: tuple[str, str, str]
    """Its kind, what it is of, and what it is."""
    run: Callable[[], int | None]
    loses: bool
    """Something that nothing else knows goes for good."""


def objects_amiss(store: Store) -> Iterator[Amiss]:
    """Compare every row with its object, and every object with the rows.

    Raises:
        StorageError: the store cannot be asked.
    """
    files = store.blobs
    assert isinstance(files, ObjectFiles)
    files.claim_prefix()
    collector = Collector(store, files.bucket, files.settings.orphan_grace_s)
    now = collector.now()
    for fan in FANS:
        sizes = {one.key: one.size_bytes for one in files.bucket.list(f"{SOUNDS}/{fan}")}
        kept: list[KeptFile | KeptRendition] = [*store.checks.masters_in(f"audio/{fan}")]
        kept += store.renditions.within(f"renditions/{fan}")
        for one in kept:
            found = _amiss(store, files.bucket, one, sizes)
            if found is not None:
                yield found
        for orphan in collector.orphans(fan, now) if sizes else ():
            told = ("orphan_object", orphan.key, "no entry names this object")
            yield Amiss(told, partial(_put_aside, collector, orphan.key, orphan.size_bytes), loses=False)


def _amiss(store: Store, bucket: Bucket, kept: KeptFile | KeptRendition, sizes: dict[str, int]) -> Amiss | None:
    content = content_of(kept.file)
    if content is None or sizes.get(content.key) == kept.size_bytes:
        return None
    there = bucket.look(content.key)  # it may have come meanwhile
    if there is not None and there.size_bytes == kept.size_bytes:
        return None
    if there is None and any(bucket.list(trash_of(content.key))):
        return None  # the next collection, or whoever asks for it, brings it back
    if there is None:
        told = ("missing_object", content.key, f"entry {kept.entry_id}: its object is gone")
    else:
        sizes_told = f"has {there.size_bytes:,} bytes, was stored with {kept.size_bytes:,}"
        told = ("damaged_object", content.key, f"entry {kept.entry_id}: {sizes_told}")
    if isinstance(kept, KeptRendition):
        if kept not in store.renditions.of(kept.entry_id):
            return None
        return Amiss(told, partial(store.renditions.drop, kept.entry_id, kept.spec), loses=False)
    if not store.checks.exists(kept.entry_id):
        return None
    return Amiss(told, partial(_expel, store, kept.entry_id), loses=True)


def _expel(store: Store, entry_id: int) -> int:
    store.entries.expel([entry_id])
    return 0


def _put_aside(collector: Collector, key: str, size_bytes: int) -> int:
    return size_bytes if collector.put_aside(key).put_aside else 0
