"""What a generator is asked for: one item per candidate of a part.

Owns: Planned, and how a recipe becomes an engine's items.
Must not know: how they are batched, what becomes of the sounds.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from msgspec import structs

from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.engines import Audio, Generator, Item
from audio_pool.errors import NotSupported
from audio_pool.prompts.lint import Reader, lint
from audio_pool.roots import ANYWHERE
from audio_pool.tasks import GeneratePart
from audio_pool.types import STRICT_WARNINGS, Recipe, Shape
from audio_pool.worker.input_files import read_input

__all__ = ["Planned", "plan_of"]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One candidate to generate."""

    item: Item
    notes: Notes
    looped: bool


def plan_of(engine: Generator, info: EngineInfo, part: GeneratePart, max_input_s: float) -> list[Planned]:
    """Return the items of a part, with the tail that its loop needs where the engine cannot loop by itself.

    Args:
        max_input_s: what a file that the part names may decode to.

    Raises:
        NotSupported: strict, and the engine would only come near what the words ask for. NotFound, InvalidAudio.
    """
    recipe = part.recipe
    item = Item(
        prompt=recipe.prompt,
        negative_prompt=recipe.negative_prompt,
        seed=part.seeds[0],
        duration_s=recipe.duration_s,
        steps=recipe.steps,
        guidance_scale=recipe.guidance_scale,
        loop=recipe.loop and info.loop and recipe.loop_method != "crossfade",
        sample_rate=recipe.sample_rate,
        voice=recipe.voice,
        init_audio=_init_audio(info, part, max_input_s),
        init_strength=recipe.init_strength,
        mask=_mask(recipe),
        extend_s=recipe.edit.extend_s if recipe.edit else None,
        options=dict(recipe.options),
    )
    notes = _with_advice(engine.notes(item), info, recipe)
    if part.strict:
        _refuse_approximations(notes)
    looped = item.loop and notes.loops
    duration_s = _raw_duration(recipe, part.mastering.shape, info, looped)
    item = dataclasses.replace(item, duration_s=duration_s, loop=looped)
    return [Planned(item=dataclasses.replace(item, seed=seed), notes=notes, looped=looped) for seed in part.seeds]


def _with_advice(notes: Notes, info: EngineInfo, recipe: Recipe) -> Notes:
    """Return the notes with what may be said against the prompt, where the engine has not said the same."""
    found = lint(
        recipe.prompt,
        Reader(speech=info.speech, languages=info.languages),
        negative_prompt=recipe.negative_prompt,
        loop=recipe.loop,
    )
    said = {warning.partition(":")[0] for warning in notes.warnings}
    advice = [str(one) for one in found if one.name != "prompt_language" or "not_english" not in said]
    return structs.replace(notes, warnings=(*notes.warnings, *advice)) if advice else notes


def _refuse_approximations(notes: Notes) -> None:
    """Raise NotSupported for an engine's warning that its sound will not be quite what the words ask for."""
    found = [warning for warning in notes.warnings if warning.partition(":")[0] in STRICT_WARNINGS]
    if found:
        raise NotSupported(
            f"strict: {'; '.join(found)}", hint="ask in other words, for another engine, or without 'strict'"
        )


def _init_audio(info: EngineInfo, part: GeneratePart, max_input_s: float) -> Audio | None:
    if part.init_audio is None:
        return None
    from audio_pool.audio import filter

    audio, rate = read_input(part.init_audio, ANYWHERE, "init_audio", max_input_s, sha256=part.recipe.init_audio_sha256)
    return audio if rate == info.sample_rate else filter.resample(audio, rate, info.sample_rate)


def _mask(recipe: Recipe) -> tuple[float, float] | None:
    edit = recipe.edit
    if not edit or edit.mask_start_s is None or edit.mask_end_s is None:
        return None
    return edit.mask_start_s, edit.mask_end_s


def _raw_duration(recipe: Recipe, shape: Shape, info: EngineInfo, looped: bool) -> float:
    if looped or not recipe.loop:
        return recipe.duration_s
    # at the engine's limit there is no tail; make_loop then extends what there is, with a warning
    return min(recipe.duration_s + shape.tail_s, max(info.longest_s, recipe.duration_s))
