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
from audio_pool.errors import InvalidAudio, InvalidRequest, NotSupported
from audio_pool.prompts.lint import Reader, lint
from audio_pool.roots import ANYWHERE
from audio_pool.tasks import GeneratePart
from audio_pool.types import MAX_DURATION_S, STRICT_WARNINGS, Recipe, Shape, frames_of
from audio_pool.worker.checked import unusable
from audio_pool.worker.given_sound import Lost, lost_of
from audio_pool.worker.input_files import read_input

__all__ = ["Planned", "plan_of"]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One candidate to generate."""

    item: Item
    notes: Notes
    looped: bool
    lost: Lost | None = None
    """What the engine cannot hear of the given sound that it is to keep."""

    def made_at(self, info: EngineInfo) -> int:
        """Return the rate of what comes of ``restored``."""
        if self.lost is not None:
            return self.lost.rate
        return self.item.sample_rate if info.any_rate and self.item.sample_rate else info.sample_rate

    def restored(self, made: Audio) -> Audio:
        """Return what the engine made of the item, with what it cannot hear of the given sound."""
        return made if self.lost is None else self.lost.restored(made)


def plan_of(engine: Generator, info: EngineInfo, part: GeneratePart, max_input_s: float) -> list[Planned]:
    """Return the items of a part, with the tail that its loop needs where the engine cannot loop by itself.

    Args:
        max_input_s: what a file that the part names may decode to.

    Raises:
        NotSupported: strict, and the engine would only come near what the words ask for; a native loop that the engine
            cannot make. NotFound, InvalidAudio.
        InvalidRequest: what is to be done to a given sound that is too short for it.
    """
    recipe = part.recipe
    given = _given(part, max_input_s)
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
        init_audio=_heard(given, recipe, info),
        init_strength=recipe.init_strength,
        options=dict(recipe.options),
    )
    item = _edited(item, recipe, part.mastering.shape, info)
    notes = _with_advice(engine.notes(item), info, recipe)
    if part.strict:
        _refuse_approximations(notes)
    looped = item.loop and notes.loops
    if recipe.loop_method == "native" and not looped:
        raise NotSupported(
            f"loop_method: engine {info.name!r} makes no loop of {recipe.duration_s:g} s of itself",
            hint="ask for another length, or leave loop_method out",
        )
    if not recipe.edit:
        item = dataclasses.replace(item, duration_s=_raw_duration(recipe, part.mastering.shape, info, looped))
    item = dataclasses.replace(item, loop=looped)
    if recipe.loop and not looped:
        notes = _of_material(notes, engine.notes(item))
    lost = _lost(given, recipe, info)
    return [
        Planned(item=dataclasses.replace(item, seed=seed), notes=notes, looped=looped, lost=lost) for seed in part.seeds
    ]


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


def _of_material(notes: Notes, material: Notes) -> Notes:
    """Return the notes of a loop that is put together of a longer sound: a silent end of that goes into none."""
    warnings = tuple(warning for warning in notes.warnings if not warning.startswith("silent_end:"))
    return structs.replace(notes, warnings=warnings, made_s=material.made_s)


def _refuse_approximations(notes: Notes) -> None:
    """Raise NotSupported for an engine's warning that its sound will not be quite what the words ask for."""
    found = [warning for warning in notes.warnings if warning.partition(":")[0] in STRICT_WARNINGS]
    if found:
        raise NotSupported(
            f"strict: {'; '.join(found)}", hint="ask in other words, for another engine, or without 'strict'"
        )


def _given(part: GeneratePart, max_input_s: float) -> tuple[Audio, int] | None:
    if part.init_audio is None:
        return None
    sha256 = part.recipe.init_audio_sha256
    audio, rate = read_input(part.init_audio, ANYWHERE, "init_audio", max_input_s, sha256=sha256, alone=True)
    if wrong := unusable(audio):  # what comes of it would be, too, and the engine be blamed for it
        raise InvalidAudio(f"init_audio: given a sound with {wrong}", hint="samples lie between -1 and 1")
    return audio, rate


def _heard(given: tuple[Audio, int] | None, recipe: Recipe, info: EngineInfo) -> Audio | None:
    """Return the given sound at the engine's rate."""
    if given is None:
        return None
    from audio_pool.audio import filter

    audio, rate = given
    wanted = _rate(recipe, info)
    return audio if rate == wanted else filter.resample(audio, rate, wanted)


def _lost(given: tuple[Audio, int] | None, recipe: Recipe, info: EngineInfo) -> Lost | None:
    """Return what the engine cannot hear of a given sound of which something, or all, is to stay."""
    if given is None or recipe.loop or not (recipe.edit or recipe.init_strength == 0):
        return None
    engine = _rate(recipe, info), info.channels
    lost = lost_of(*given, engine=engine, rate=recipe.sample_rate, edit=recipe.edit or None)
    if lost is None or recipe.edit:
        return lost
    return dataclasses.replace(lost, audio=lost.audio[:, : recipe.frames])


def _rate(recipe: Recipe, info: EngineInfo) -> int:
    """Return the rate that the engine makes the sound at."""
    return recipe.sample_rate if info.any_rate else info.sample_rate


def _edited(item: Item, recipe: Recipe, shape: Shape, info: EngineInfo) -> Item:
    """Return the item with what is to be done to its given sound, whose length decides that of the result.

    Raises:
        InvalidRequest: the given sound is too short, or what becomes of it too long.
    """
    edit, sound, rate = recipe.edit, item.init_audio, _rate(recipe, info)
    if not edit or sound is None:
        return item
    given_s = sound.shape[1] / rate
    if edit.extend_s is not None:
        whole = sound.shape[1] + frames_of(edit.extend_s, rate)
        if whole > MAX_DURATION_S * rate:
            most = f"0 to {MAX_DURATION_S - given_s:g}" if given_s < MAX_DURATION_S else "none"
            raise InvalidRequest(
                f"extend_s: given {edit.extend_s:g}, allowed is {most}: init_audio has {given_s:g} s, "
                f"a sound at most {MAX_DURATION_S:g} s"
            )
        return dataclasses.replace(item, extend_s=edit.extend_s, duration_s=whole / rate)
    duration_s = given_s if shape.natural_length else recipe.duration_s
    slack = 0.5 / rate + 0.5 / recipe.sample_rate
    for field, seconds in (
        ("duration_s", duration_s),
        ("mask_start_s", edit.mask_start_s),
        ("mask_end_s", edit.mask_end_s),
    ):
        if seconds is not None and seconds > given_s + slack:
            raise InvalidRequest(f"{field}: given {seconds:g}, allowed are at most the {given_s:g} s of init_audio")
    if edit.mask_start_s is None or edit.mask_end_s is None:
        return item
    end = min(edit.mask_end_s, sound.shape[1] / rate, frames_of(duration_s, rate) / rate)
    return dataclasses.replace(item, mask=(edit.mask_start_s, end), duration_s=duration_s)


def _raw_duration(recipe: Recipe, shape: Shape, info: EngineInfo, looped: bool) -> float:
    if looped or not recipe.loop:
        return recipe.duration_s
    # at the engine's limit there is no tail; make_loop then extends what there is, with a warning
    longest_s = info.longest_s if recipe.init_audio_sha256 is None else info.window_s or info.longest_s
    return min(recipe.duration_s + shape.tail_s, max(longest_s, recipe.duration_s))
