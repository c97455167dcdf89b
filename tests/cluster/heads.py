"""Several heads of one cache: a database, a folder of files, and a directory for each of them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.support.cache_sounds import recipe, sound

from audio_pool.cache.entry import Entry
from audio_pool.cache.postgres.store import PostgresStore
from audio_pool.cache.shared import SharedStore
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.types import Query, Recipe

__all__ = ["Heads", "finds", "keep", "store_of"]


class Heads(contextlib.ExitStack):
    """Opens heads, and closes them again."""

    def __init__(self, url: str, place: Path, **settings: float) -> None:
        super().__init__()
        self.shared = SharedStore(url=url, **{"statement_timeout_s": 10.0, "connect_timeout_s": 5.0, **settings})
        self._place = place
        self._open: dict[str, SoundCache] = {}
        for folder in ("audio", "renditions"):
            (place / "files" / folder).mkdir(parents=True, exist_ok=True)

    def directory(self, name: str) -> Path:
        """A head's own directory; its sounds are everybody's."""
        directory = self._place / name
        directory.mkdir(exist_ok=True)
        for folder in ("audio", "renditions"):
            with contextlib.suppress(FileExistsError):
                (directory / folder).symlink_to(self._place / "files" / folder)
        return directory

    def open(self, name: str, shared: SharedStore | None = None, **how: object) -> SoundCache:
        """Open a head."""
        cache = SoundCache(self.directory(name), shared=shared or self.shared, **how)
        self._open[name] = cache
        self.callback(self.close_one, name)
        return cache

    def close_one(self, name: str) -> None:
        """Close a head, if it is open."""
        cache = self._open.pop(name, None)
        if cache is not None:
            cache.close()


def keep(cache: SoundCache, prompt: str, seed: int = 1, **what: object) -> Entry:
    """Keep a sound."""
    return cache.put(sound(cache.incoming, prompt, seed=seed, **what), {})


def finds(cache: SoundCache, prompt: str, **changes: object) -> int | None:
    """The id of the entry that a request for these words gets."""
    asked: Recipe = recipe(prompt, **changes)
    hit = cache.find_exact(asked, Query()).hit
    return None if hit is None else hit.entry.id


def store_of(cache: SoundCache) -> PostgresStore:
    """The store of a head."""
    assert isinstance(cache.store, PostgresStore)
    return cache.store
