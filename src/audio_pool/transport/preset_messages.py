"""Messages about presets: listed, told, set and removed.

Owns: their fields and bounds.
Must not know: sockets, who may set presets, what a message makes anybody do.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from audio_pool.presets import MAX_AT_ONCE, PresetPriority, PresetType
from audio_pool.transport.asked import Asked
from audio_pool.types import EngineName, PresetId

__all__ = ["PresetRemoveRequest", "PresetRequest", "PresetSetRequest", "PresetsRequest"]

_Revision = Annotated[str, Meta(max_length=64)]


class PresetsRequest(Asked, frozen=True, kw_only=True, tag="presets"):
    """Asks which presets there are."""

    of: PresetType | None = None
    """Those of this type alone."""
    engine: EngineName | None = None
    """Those that suit it, or ``kind:NAME``, alone."""
    after: PresetId | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_AT_ONCE)] = MAX_AT_ONCE


class PresetRequest(Asked, frozen=True, kw_only=True, tag="preset"):
    """Asks what a preset says."""

    id: PresetId


class PresetSetRequest(Asked, frozen=True, kw_only=True, tag="preset_set"):
    """Asks that a preset be kept, in the place of what has its id."""

    id: PresetId
    of: PresetType
    content: dict[str, Any]  # checked when it becomes a preset's
    engines: Annotated[list[EngineName], Meta(max_length=32)] = []
    priority: PresetPriority = 50
    if_revision: _Revision | None = None
    """Only where this is what the id says now; "": only where there is none."""


class PresetRemoveRequest(Asked, frozen=True, kw_only=True, tag="preset_remove"):
    """Asks that a preset be kept no more."""

    id: PresetId
    if_revision: _Revision | None = None
