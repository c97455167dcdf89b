"""``[presets.NAME]``: presets that a configuration brings.

Owns: PresetConfig, and the preset that one comes to.
Must not know: what presets do, where others are kept.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from audio_pool.presets import Preset, PresetMetadata, PresetPriority, PresetType, checked_preset
from audio_pool.types import EngineName

__all__ = ["PresetConfig"]


class PresetConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[presets.NAME]``: a named set of words or parameters; one that is set in the store takes its place."""

    type: PresetType = "prompt"
    content: dict[str, Any] = {}  # opaque until the preset is checked
    """Words (``before``, ``after``, ``negative``, ``scene``), or fields of a request."""
    engines: Annotated[list[EngineName], Meta(max_length=32)] = []
    """Names of engines and ``kind:NAME`` that it is for; []: all."""
    priority: PresetPriority = 50

    def preset(self, name: str) -> Preset:
        """Return the preset. Raises InvalidRequest."""
        fields = {"id": name, "type": self.type, "content": self.content, "engines": self.engines}
        return checked_preset(fields, metadata=PresetMetadata(source="config", priority=self.priority))
