"""The vocabulary of looking after a cache from afar: what goes next, what is there twice.

Owns: EvictionPlan and Duplicates, as operators are told them.
Must not know: which sound goes first, what makes two alike, who asks.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from audio_pool.library import MAX_PAGE, KeptSound
from audio_pool.plain_mapping import PlainMapping

__all__ = ["DuplicateGroup", "Duplicates", "EvictionPlan", "Leaver", "LikenessMethod", "Listed"]

LikenessMethod = Literal["any", "prompt", "sound"]
"""``prompt``: the same words and settings; ``sound``: the same bytes, or hardly different to hear; ``any``: either."""
Listed = Annotated[int, Meta(ge=1, le=MAX_PAGE)]


class Leaver(PlainMapping, Struct, frozen=True, kw_only=True):
    """A sound that goes, or would go next."""

    sound: KeptSound
    worth: float
    """Seconds of generating per megabyte, weighted: docs/cache.md has the formula."""
    why: str = ""
    """The bound that it goes for: ``max_items``, ``max_size_gb`` or ``ttl_days``; "": nothing is too much now."""
    scope: str = ""
    """The namespace whose bound that is; "": the whole cache's."""
    delivered_just_now: bool = False
    """It was made or delivered within the grace time: it goes only where there is nothing else."""


class EvictionPlan(PlainMapping, Struct, frozen=True, kw_only=True):
    """What eviction takes now and next, by the rules that it goes by itself. Sizes in bytes; 0 is no bound."""

    held_items: int
    held_bytes: int
    max_items: int = 0
    max_bytes: int = 0
    ttl_s: float = 0.0
    low_water: float = 0.9
    """Where there is too much, so much of the bound is left."""
    due_items: int = 0
    """That go now, whether they are listed or not."""
    due_bytes: int = 0
    pinned: int = 0
    """Sounds that no rule removes."""
    next: tuple[Leaver, ...] = ()
    """Those that are due, then those that would go first when more is kept; pinned ones are never among them."""


class DuplicateGroup(PlainMapping, Struct, frozen=True, kw_only=True):
    """Sounds of which one is enough."""

    reason: str
    keep: KeptSound
    """The one with the best score, among equals the newest."""
    duplicates: tuple[KeptSound, ...]
    """At most 20 of them."""
    more: int = 0
    """Further ones."""


class Duplicates(PlainMapping, Struct, frozen=True, kw_only=True):
    """Sounds that are one too many, in groups."""

    found: int = 0
    """Groups, listed or not."""
    duplicates: int = 0
    """Sounds that could go."""
    size_bytes: int = 0
    """Of those, renditions included."""
    groups: tuple[DuplicateGroup, ...] = ()
