"""The settings of a kept sound, and the rule by which they fit a request.

Owns: Settings (of one sound), Filters (of one request), and the rule between the two.
Must not know: prompts, the database. The rule is stated twice, here and in SQL (sqlite/rows.py), because
both kinds of search filter inside; a test holds the two together.
"""

from __future__ import annotations

import functools
import hashlib
import math
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from audio_pool.prompts.normalize import text_key
from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.types import MAX_DURATION_S, STRICT_WARNINGS, Query, Recipe, SameSettings

__all__ = [
    "Filters",
    "Settings",
    "admits",
    "extras_of",
    "family_of",
    "filters_of",
    "identity_of",
    "made_as",
    "settings_of",
]


class Settings(NamedTuple):
    """The settings of one sound; columns of the same names are kept with every entry."""

    namespace: str
    loop: bool
    voice: str
    """"" where there is none."""
    negative: str
    """Normalised by ``text_key``; "" where there is none."""
    extras: str
    """As ``extras_of`` gives it."""
    engine: str
    """The named model."""
    implementation: str
    model: str
    model_revision: str
    """"" where it is not known."""
    steps: int | None
    guidance_scale: float | None
    sample_rate: int
    commercial: bool
    """The licence is known to allow commercial use."""
    inexact: bool
    """It carries a warning of ``STRICT_WARNINGS``."""
    duration_s: float


class Filters(NamedTuple):
    """The settings an entry must have to be offered."""

    namespace: str
    loop: bool
    voice: str
    negative: str
    extras: str
    same_settings: SameSettings
    engine: str
    implementation: str
    model: str
    model_revision: str
    """"": any."""
    least_steps: float
    """0 where the request has none."""
    least_guidance: float
    """Minus infinity where the request has none."""
    most_guidance: float
    shortest_s: float
    longest_s: float
    sample_rate: int
    """Hz; an entry below it does not fit."""
    commercial_only: bool
    strict: bool
    by_meaning: bool = False
    """True leaves out entries that speak words."""
    verbatim: bool = False
    """True leaves out entries of these words in other letters or with other marks: "US" is not said like "us"."""


@functools.lru_cache(256)
def filters_of(recipe: Recipe, query: Query, *, by_meaning: bool = False) -> Filters:
    """Derive from a request the settings that an entry must have."""
    # half a frame: lengths are whole frames at the entry's own rate
    slack = min(query.duration_tolerance * recipe.duration_s + 0.5 / recipe.sample_rate, 2 * MAX_DURATION_S)
    guidance, tolerance = recipe.guidance_scale, query.guidance_tolerance + 1e-9
    return Filters(
        namespace=recipe.namespace,
        loop=recipe.loop,
        voice=recipe.voice or "",
        negative=text_key(recipe.negative_prompt) if recipe.negative_prompt else "",
        extras=extras_of(recipe),
        same_settings=query.same_settings,
        engine=recipe.engine,
        implementation=recipe.implementation or recipe.engine,
        model=recipe.model,
        model_revision=recipe.model_revision,
        least_steps=query.min_steps_ratio * (recipe.steps or 0) - 1e-9,
        least_guidance=-math.inf if guidance is None else guidance - tolerance,
        most_guidance=math.inf if guidance is None else guidance + tolerance,
        shortest_s=recipe.duration_s - slack,
        longest_s=recipe.duration_s + slack,
        sample_rate=recipe.sample_rate,
        commercial_only=query.commercial_only,
        strict=query.strict,
        by_meaning=by_meaning,
        verbatim=query.speech,
    )


def admits(filters: Filters, sound: Settings) -> bool:
    """Return True where a sound of these settings may be offered; the caller asks ``by_meaning`` and ``verbatim``."""
    return (
        filters.shortest_s <= sound.duration_s <= filters.longest_s
        and filters[:5] == sound[:5]  # namespace, loop, voice, negative, extras
        and _same_maker(filters, sound)
        and _made_well_enough(filters, sound)
        and sound.sample_rate >= filters.sample_rate
        and sound.commercial >= filters.commercial_only
        and not (filters.strict and sound.inexact)
    )


def _same_maker(filters: Filters, sound: Settings) -> bool:
    if filters.same_settings == "any":
        return True
    if sound.implementation != filters.implementation:
        return False
    return filters.same_settings == "family" or (
        sound.engine == filters.engine
        and sound.model == filters.model
        and filters.model_revision in ("", sound.model_revision)
    )


def _made_well_enough(filters: Filters, sound: Settings) -> bool:
    """Return True if steps and guidance are good enough; between implementations they cannot be compared."""
    if sound.implementation != filters.implementation:
        return True
    guidance = sound.guidance_scale
    return (sound.steps is None or sound.steps >= filters.least_steps) and (
        guidance is None or filters.least_guidance <= guidance <= filters.most_guidance
    )


def settings_of(recipe: Recipe, metadata: SoundMetadata) -> Settings:
    """Return the settings of a finished sound."""
    made = made_as(recipe, metadata)
    return Settings(
        namespace=made.namespace,
        loop=made.loop,
        voice=made.voice or "",
        negative=text_key(made.negative_prompt) if made.negative_prompt else "",
        extras=extras_of(made),
        engine=made.engine,
        implementation=made.implementation,
        model=made.model,
        model_revision=made.model_revision,
        steps=made.steps,
        guidance_scale=made.guidance_scale,
        sample_rate=made.sample_rate,
        commercial=metadata.commercial_use,
        inexact=any(warning.partition(":")[0] in STRICT_WARNINGS for warning in metadata.warnings),
        duration_s=metadata.duration_s if metadata.natural_length else made.duration_s,
    )


def made_as(recipe: Recipe, metadata: SoundMetadata) -> Recipe:
    """Return the recipe with what only the worker may have known: revision, dtype, quantization."""
    return msgspec.structs.replace(
        recipe,
        implementation=recipe.implementation or recipe.engine,
        model_revision=metadata.model_revision or recipe.model_revision,
        dtype=recipe.dtype or metadata.dtype,
        quantization=recipe.quantization or metadata.quantization,
    )


def identity_of(sound: FinishedSound) -> bytes:
    """Return the identity of the sound's recipe as it was made: 32 bytes."""
    return bytes.fromhex(made_as(sound.recipe, sound.metadata).identity())


def family_of(recipe: Recipe) -> bytes:
    """Return the identity of a recipe whatever its seed and whatever may be unknown of its model: 32 bytes."""
    plain = msgspec.structs.replace(
        recipe,
        seed=None,
        implementation=recipe.implementation or recipe.engine,
        model_revision="",
        dtype="",
        quantization="",
    )
    return bytes.fromhex(plain.identity())


def extras_of(recipe: Recipe) -> str:
    """Return a digest of options, crossfade, filter, and of what it is made of; "" where all are the defaults.

    A sound that is made of a given one, or closes in a way that was asked for, answers no plain request, nor a plain
    one theirs.
    """
    made_of = (recipe.init_audio_sha256, recipe.init_strength, recipe.edit, recipe.loop_method)
    plain = made_of == (None, None, UNSET, UNSET)
    if plain and not recipe.options and recipe.crossfade_s is None and recipe.highpass_hz is None:
        return ""
    told: list[object] = [recipe.options, recipe.crossfade_s, recipe.highpass_hz]
    if not plain:
        told.append([None if one is UNSET else one for one in made_of])
    return hashlib.blake2b(msgspec.json.encode(told), digest_size=12).hexdigest()
