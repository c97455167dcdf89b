"""The presets that come with the program.

Owns: SHIPPED.
Must not know: where the operator's are kept, how presets are merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audio_pool.presets import Preset, PresetMetadata, checked_preset

__all__ = ["SHIPPED"]

_BUILT_IN = PresetMetadata(source="built-in", priority=20)
"""Weaker than what an operator sets without saying how strong it is."""


def _scene(name: str, negative: str = "", **aspects: str) -> Preset:
    content: dict[str, Any] = {"scene": aspects} | ({"negative": negative} if negative else {})  # opaque: as a file's
    return checked_preset({"id": name, "type": "prompt", "content": content}, metadata=_BUILT_IN)


def _parameters(name: str, **fields: float | bool | str) -> Preset:
    return checked_preset({"id": name, "type": "generation_parameters", "content": fields}, metadata=_BUILT_IN)


SHIPPED: Mapping[str, Preset] = {
    preset.id: preset
    for preset in (
        _scene("calm night", mood="calm", time="night", space="open"),
        _scene("cave", place="cave"),
        _scene("cathedral", place="cathedral", space="hall"),
        _scene("far away", distance="far", space="open"),
        _scene("horror", mood="tense", space="hall", negative="cheerful music"),
        _scene("old radio", period="old radio"),
        _scene("storm", weather="storm", space="open"),
        _scene("underwater", place="underwater"),
        _parameters("seamless loop", loop=True, crossfade_s=1.0),
        _parameters("user interface", duration_s=0.5, loop=False, target_lufs=-20.0),
        _parameters("best of four", candidates=4),
    )
}
"""By id."""
