"""Entries and renditions that were asked for lately, decoded.

Owns: Lately: that neither is read from the database again for every hit.
Must not know: what counts as a hit; whether their files are whole (trust.py).

Neither ever changes. Plain dicts, cleared when full: safe from two threads, and no bookkeeping.
"""

from __future__ import annotations

from audio_pool.cache.entry import Entry, Row
from audio_pool.cache.store import KeptRendition, Store
from audio_pool.cache.trust import Trust
from audio_pool.types import Rendition

__all__ = ["Lately"]

_MOST = 2048


class Lately:
    """Those of one opening of the store."""

    def __init__(self, store: Store, trust: Trust) -> None:
        self._store = store
        self._trust = trust
        self._entries: dict[int, Entry] = {}
        self._renditions: dict[tuple[int, Rendition], KeptRendition] = {}

    def entry(self, row: Row) -> Entry | None:
        """Return the row's entry; None where it is gone or cannot be read."""
        known = self._entries.get(row.id)
        if known is None or known.created_at != row.created_at or not known.path.endswith(row.file):
            known = self._store.entries.entry(row.id)
            if known is not None:
                if len(self._entries) >= _MOST:
                    self._entries.clear()
                self._entries[row.id] = known
        return known

    def rendition(self, entry_id: int, rendition: Rendition) -> KeptRendition | None:
        """Return the entry in another format, where it has been made and its file is whole."""
        at = (entry_id, rendition)
        known = self._renditions.get(at)
        if known is None or not self._trust.rendition(known):  # a name is used once
            known = self._store.renditions.find(entry_id, rendition)
            if known is None or not self._trust.rendition(known):
                return None
            if len(self._renditions) >= _MOST:
                self._renditions.clear()
            self._renditions[at] = known
        return known
