"""The built-in engine: sounds synthesised from recipes, without weights and without a GPU.

Owns: the names by which it is loaded as an engine.
Must not know: any single recipe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audio_pool.engine_info import EngineInfo
from audio_pool.engines.procedural.info import INFO, Settings

if TYPE_CHECKING:
    from audio_pool.engines.procedural.engine import ProceduralEngine

__all__ = ["INFO", "Settings", "load"]


def load(info: EngineInfo, settings: Settings) -> ProceduralEngine:
    """Return the engine."""
    from audio_pool.engines.procedural.engine import ProceduralEngine

    return ProceduralEngine(info)
