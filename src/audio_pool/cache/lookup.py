"""What a look-up found.

Owns: Lookup and Hit.
Must not know: how it was found.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from audio_pool.cache.entry import Entry
from audio_pool.results import SoundMetadata

__all__ = ["Hit", "HitType", "Lookup"]

HitType = Literal["exact", "canonical", "semantic", "global"]


class Hit(Struct, frozen=True, kw_only=True):
    """A kept sound that answers a request, and why."""

    entry: Entry
    cache_type: HitType
    reason: str
    similarity: float | None
    """Cosine of the prompts; 1 for the same words, None where nothing was compared."""
    metadata: SoundMetadata
    """As stored, with the fields that say how it came to be offered."""
    warnings: tuple[str, ...] = ()
    """Added by this offer to the sound's own."""


class Lookup(Struct, frozen=True, kw_only=True):
    """The outcome of a look-up."""

    hit: Hit | None = None
    refused: tuple[str, ...] = ()
    """One reason for each entry whose words would do and whose sound does not fit them."""
