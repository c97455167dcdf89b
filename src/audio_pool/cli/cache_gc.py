"""``audio-pool cache gc``: objects that no entry names, put aside and deleted now.

Owns: its options and what it prints.
Must not know: which objects these are, and the order of things (cache/objects/collector.py).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from audio_pool.cache.opening import open_store
from audio_pool.cli.cache_command import show, size
from audio_pool.cli.options import cache_dir_option, json_option, with_options
from audio_pool.config import load_config
from audio_pool.errors import InvalidRequest

__all__ = ["gc"]

_MB = 1024 * 1024


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be put aside.")
@with_options(cache_dir_option, json_option)
def gc(dry_run: bool, cache_dir: str | None, as_json: bool) -> None:
    """Put objects aside that no entry names, and delete those that have lain aside for their grace."""
    place = Path(cache_dir) if cache_dir is not None else load_config(None).cache_dir
    with contextlib.closing(open_store(place, create=False)) as store:
        if not store.blobs.remote:
            raise InvalidRequest(f"the cache in {place} holds its sounds itself: there are no objects to collect")
        from audio_pool.cache.objects.collector import Collected, Collector  # obstore, where it is asked for
        from audio_pool.cache.objects.files import ObjectFiles
        from audio_pool.cache.objects.names import FANS

        assert isinstance(store.blobs, ObjectFiles)
        store.blobs.claim_prefix()
        collector = Collector(store, store.blobs.bucket, store.blobs.settings.orphan_grace_s)
        if dry_run:
            now = collector.now()
            found = [one for fan in FANS for one in collector.orphans(fan, now)]
            done = Collected(put_aside=len(found))
        else:
            done = collector.collect()
        told = {
            "put_aside": done.put_aside,
            "brought_back": done.brought_back,
            "deleted": done.deleted,
            "freed_space_mb": done.freed_bytes / _MB,
            "dry_run": dry_run,
        }
        would = "would be " if dry_run else ""
        lines = [f"{done.put_aside:,} objects {would}put aside"]
        if not dry_run:
            lines.append(f"{done.deleted:,} deleted, {size(told['freed_space_mb'])} freed")
        if done.brought_back:
            lines.append(f"{done.brought_back:,} brought back: entries name them")
        show(told, as_json, lines)
