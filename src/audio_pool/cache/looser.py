"""A kept sound that is like the one asked for, short of what would be a hit: offered where time is short, and marked.

Owns: ``find_looser``: which settings may differ, how near it must be, and the bound below which nothing is offered.
Must not know: who is in a hurry, what else there is; hits by the usual rules (sound_cache.py, policy.py).

What sounds must be the same thing, whatever the encoder says (prompts/subjects.py): cosines of "a dog" and "rain" are
low, those of "a car horn" and "a car engine" are not. The encoder must agree, at a bound well below that of hits. Any
engine's sounds will do, of any steps; a loop is a loop, speech is never like other speech, and what is made of a given
sound is like nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import UNSET, structs

from audio_pool.cache.encoders import calibration_of, roles
from audio_pool.cache.entry import Row, Vector
from audio_pool.cache.lookup import Lookup, offer
from audio_pool.cache.settings import filters_of
from audio_pool.errors import EngineError
from audio_pool.prompts.subjects import likeness, same_subject, subject_words
from audio_pool.types import Query, Recipe

if TYPE_CHECKING:
    from audio_pool.cache.sound_cache import SoundCache

__all__ = ["find_looser"]

_TAU = 0.45
"""Least similarity of the prompts, on the calibrated scale; hits ask for 0.70."""
_LEAST_LIKENESS = 0.2
"""Where nothing compares meanings: least share of telling words in common."""
_LENGTH = 0.5
"""Relative difference in length."""
_MOST_OF_WORDS = 200


def find_looser(cache: SoundCache, recipe: Recipe, query: Query, vectors: Mapping[str, Vector]) -> Lookup:
    """Find the kept sound that is most like the one asked for; its metadata says that it is not quite that.

    Args:
        vectors: float32 [D] of the prompt by encoder; none: words alone decide.
    """
    if query.speech or recipe.init_audio_sha256 is not None:
        return Lookup()
    recipe, query = _any_settings(recipe), _any_maker(query)
    likely = {row.id: (row, 1.0) for row in _same_words(cache, recipe, query)}
    if not likely:
        likely = {row.id: (row, score) for row, score in _near(cache, recipe, query, vectors)}
    judged = [
        (row, score)
        for row, score in likely.values()
        if cache.teaching.of(recipe.namespace, recipe.prompt, row.id, row.prompt) != "wrong"
    ]
    if not judged:
        return Lookup()
    best = max(score for _, score in judged)
    scores = {row.id: score for row, score in judged if score > best - 1e-6}
    found = cache.present([row for row, _ in judged if row.id in scores], recipe, query, scores)
    if found is None:
        return Lookup()
    row, entry = found
    told = f"a looser match: likeness {scores[row.id]:.3f} (matched prompt: '{row.prompt}')"
    return Lookup(
        hit=offer(entry, row, recipe, "looser", "like", told, cache.now(), similarity=scores[row.id])
    )


def _same_words(cache: SoundCache, recipe: Recipe, query: Query) -> list[Row]:
    filters = filters_of(recipe, query)
    entries = cache.store.entries
    return entries.with_text(recipe.prompt, filters) or entries.with_meaning(recipe.prompt, filters)


def _near(
    cache: SoundCache, recipe: Recipe, query: Query, vectors: Mapping[str, Vector]
) -> list[tuple[Row, float]]:
    prompts, _ = roles(cache.store, vectors, cache.spaces.former)
    calibration = calibration_of(cache.store, prompts) if prompts else None
    if prompts and calibration is not None:
        try:
            found = cache.nearest(recipe, query, prompts, vectors[prompts])
        except EngineError:  # nothing is found by meaning here
            found = []
        least = calibration.cosine_at(_TAU)
        return [(row, cosine) for row, cosine in found if cosine >= least and same_subject(recipe.prompt, row.prompt)]
    return _by_words(cache, recipe, query)


def _by_words(cache: SoundCache, recipe: Recipe, query: Query) -> list[tuple[Row, float]]:
    """Return what has the words that say what sounds: where nothing compares meanings."""
    words = subject_words(recipe.prompt)
    ids = cache.store.words.find(recipe.namespace, " ".join(words))[:_MOST_OF_WORDS] if words else []
    rows = cache.store.entries.with_ids(ids, filters_of(recipe, query, by_meaning=True))
    scored = [(row, likeness(recipe.prompt, row.prompt)) for row in rows if same_subject(recipe.prompt, row.prompt)]
    return [(row, score) for row, score in scored if score >= _LEAST_LIKENESS]


def _any_settings(recipe: Recipe) -> Recipe:
    """Return the recipe without what decides only how its sound is made."""
    return structs.replace(
        recipe,
        seed=None,
        steps=None,
        guidance_scale=None,
        negative_prompt="",
        voice=None,
        options=(),
        crossfade_s=None,
        highpass_hz=None,
        edit=UNSET,
        loop_method=UNSET,
    )


def _any_maker(query: Query) -> Query:
    return structs.replace(
        query,
        same_settings="any",
        variant=None,
        shuffle=False,
        duration_tolerance=max(_LENGTH, query.duration_tolerance),
    )
