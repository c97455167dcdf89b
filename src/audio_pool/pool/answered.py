"""Which sounds were delivered lately, to whom, and why they fitted: what a caller's judgement of one is about.

Owns: Answered, the bounded table of them.
Must not know: what is done with a judgement (feedback.py), sockets.
"""

from __future__ import annotations

from typing import NamedTuple

from audio_pool.reports import CacheType
from audio_pool.results import SoundMetadata

__all__ = ["Answered", "Delivered"]

_MOST = 10_000


class Delivered(NamedTuple):
    """One sound as it was delivered for a request."""

    namespace: str
    query: str
    """The words asked for."""
    prompt: str
    """Those that the sound was made from."""
    entry_id: int | None
    """None: it is not kept."""
    cache_type: CacheType


class Answered:
    """Router's thread only."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Delivered] = {}
        """By owner and request_id, the oldest first."""

    def note(self, owner: str, request_id: str, query: str, metadata: SoundMetadata) -> None:
        """Remember a delivery. A hit has the time for a tuple and two looks into a dict, not for more."""
        known, key = self._known, (owner, request_id)
        known.pop(key, None)
        if len(known) >= _MOST:
            del known[next(iter(known))]
        prompt = metadata.matched_prompt
        known[key] = Delivered(
            metadata.namespace, query, query if prompt is None else prompt, metadata.entry_id, metadata.cache_type
        )

    def replace(self, owner: str, request_id: str, entry_id: int) -> None:
        """Another sound is kept for a request now: a candidate of its own, which has been chosen."""
        key = (owner, request_id)
        if key in self._known:
            self._known[key] = self._known[key]._replace(entry_id=entry_id)

    def find(self, owner: str, request_id: str, *, anybody: bool = False) -> Delivered | None:
        """Return what was delivered for an owner's request; with ``anybody`` else the latest one of that name."""
        found = self._known.get((owner, request_id))
        if found is None and anybody:
            found = next((one for (_, name), one in reversed(self._known.items()) if name == request_id), None)
        return found
