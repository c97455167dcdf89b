"""``audio-pool cache pin`` and ``unpin``.

Owns: their options and what they print.
Must not know: what removes entries, and how it spares the pinned ones (cache/manage.py).
"""

from __future__ import annotations

import click

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cli.cache_command import cache_command, show

__all__ = ["pin", "unpin"]

_ids = click.argument("ids", type=click.IntRange(1), nargs=-1, required=True)


@click.command()
@_ids
@cache_command
def pin(cache: AudioSemanticCache, as_json: bool, ids: tuple[int, ...]) -> None:
    """Pin entries by id: only ``delete``, or --pinned-too, removes them from now on."""
    fresh = cache.pin(ids)
    show({"pinned": fresh}, as_json, [f"{len(fresh)} pinned, {len(set(ids)) - len(fresh)} were so already"])


@click.command()
@_ids
@cache_command
def unpin(cache: AudioSemanticCache, as_json: bool, ids: tuple[int, ...]) -> None:
    """Take pins off entries."""
    freed = cache.unpin(ids)
    show({"unpinned": freed}, as_json, [f"{len(freed)} unpinned, {len(set(ids)) - len(freed)} had no pin"])
