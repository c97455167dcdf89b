"""Which sounds share one run of a model. Pure.

Owns: Batching (what an engine needs of them) and ``pass_key`` (what they have in common).
Must not know: what waits, whose turn it is.
"""

from __future__ import annotations

from collections.abc import Hashable

from msgspec import Struct

from audio_pool.engine_info import EngineInfo, Likeness
from audio_pool.types import Recipe

__all__ = ["Batching", "batching_of", "pass_key"]


class Batching(Struct, frozen=True, kw_only=True):
    """How an engine, as it is loaded, makes several sounds at a time."""

    most: int = 0
    """Sounds of one pass; 0: as many as are asked for."""
    alike: tuple[Likeness, ...] = ("steps", "options")
    """What they must have in common."""


def batching_of(info: EngineInfo) -> Batching | None:
    """Return how an engine batches; None where it gains nothing from it."""
    # what has neither steps nor guidance makes its sounds one by one: together they would only wait
    if not info.batch or not (info.steps or info.guidance_scale) or info.max_batch == 1:
        return None
    return Batching(most=info.max_batch, alike=info.batch_alike)


def pass_key(recipe: Recipe, batching: Batching) -> Hashable:
    """Return what a sound shares with those that can be made in one pass with it."""
    return recipe.model, recipe.model_revision, *(_trait(recipe, name) for name in batching.alike)


def _trait(recipe: Recipe, name: Likeness) -> Hashable:
    match name:
        case "prompt":
            return recipe.prompt
        case "steps":
            return recipe.steps
        case "options":
            return recipe.options
        case "length":
            return recipe.frames, recipe.sample_rate, recipe.loop, recipe.crossfade_s
        case "guidance":
            return (recipe.guidance_scale or 0.0) > 1.0
        case "init_audio":
            # how long a given sound is decides how much is made of it
            return recipe.init_audio_sha256 if recipe.edit else recipe.init_audio_sha256 is None, recipe.init_strength
