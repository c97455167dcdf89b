"""Recipes, renditions and shapes for tests to which it does not matter which."""

from __future__ import annotations

from typing import Any

from audio_pool.types import Recipe, Rendition, Shape

RENDITION = Rendition(format="wav", sample_rate=44_100, bit_depth=16, target_lufs=None, true_peak_dbfs=-2.0)
SHAPE = Shape(sample_rate=44_100, frames=44_100, loop=False, tail_s=1.5, highpass_hz=None, highpass_order=4)


def recipe(engine: str = "tone", **fields: Any) -> Recipe:
    """Return a recipe for one second of rain; ``fields`` are a Recipe's own."""
    usual: dict[str, Any] = {
        "prompt": "rain",
        "negative_prompt": "",
        "engine": engine,
        "model": engine,
        "frames": 44_100,
        "sample_rate": 44_100,
        "loop": False,
        "seed": None,
        "steps": 8,
        "guidance_scale": None,
        "candidates": 1,
        "voice": None,
        "init_audio_sha256": None,
        "init_strength": None,
        "namespace": "default",
    }
    return Recipe(**{**usual, **fields})
