"""The kept sound that was made for one very request, found by its id.

Owns: what is offered of it. Must not know: who remembers the id, and why nobody got the sound then.
"""

from __future__ import annotations

import os

from audio_pool.cache.entry import Row
from audio_pool.cache.lookup import Lookup, offer
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.types import Query, Recipe

__all__ = ["find_made"]


def find_made(cache: SoundCache, entry_id: int, recipe: Recipe) -> Lookup:
    """Return the entry as a hit, whatever else the cache has for the recipe; none where it is gone or damaged."""
    entry = cache.store.entries.entry(entry_id)
    if entry is None or entry.recipe.namespace != recipe.namespace:
        return Lookup()
    metadata = entry.metadata
    row = Row(
        id=entry_id,
        prompt=entry.recipe.prompt,
        engine=entry.recipe.engine,
        duration_s=metadata.duration_s,
        sample_rate=metadata.sample_rate,
        clap_similarity=metadata.clap_similarity,
        quality=metadata.quality.score,
        created_at=entry.created_at,
        file=os.path.relpath(entry.path, cache.store.blobs.location),
        size_bytes=entry.size_bytes,
    )
    found = cache.present([row], recipe, Query(), {entry_id: row.score})
    if found is None:
        return Lookup()
    told = "made for this very request before its server ended"
    return Lookup(hit=offer(entry, row, recipe, "exact", "recipe", told, cache.now(), similarity=1.0))
