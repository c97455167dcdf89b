"""The built-in engine: sounds synthesised from recipes, without weights and without a GPU.

Owns: the names by which it is loaded as an engine.
Must not know: any single recipe.
"""

from audio_pool.engines.procedural.engine import INFO, Settings, load

__all__ = ["INFO", "Settings", "load"]
