"""Why a request hits or misses: every entry that came near, and what spoke for or against it.

Owns: ``explain``.
Must not know: the terminal, engines; how a hit is decided (policy.py, sound_cache.py): it asks them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from audio_pool.api import ExplainedEntry, Explanation, Making
from audio_pool.cache.encoders import calibration_of, roles
from audio_pool.cache.entry import Entry
from audio_pool.cache.lookup import Hit, figure
from audio_pool.cache.policy import fallback_warning, first_objection
from audio_pool.cache.settings import Filters, Settings, admits, family_of, filters_of, made_as, settings_of
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.store import Vector
from audio_pool.errors import EngineError
from audio_pool.tasks import SOUND_PREFIX
from audio_pool.types import Query, Recipe

__all__ = ["explain", "knows_space"]


def knows_space(cache: SoundCache, space: str) -> bool:
    """Return True where the cache has vectors in this space to compare a prompt with."""
    return cache.store.vectors.has_space(space)


def explain(
    cache: SoundCache,
    recipe: Recipe,
    query: Query,
    vectors: Mapping[str, Vector],
    *,
    across_namespaces: bool = True,
) -> Explanation:
    """Look a request up and give an account of it.

    Args:
        cache: opened on the directory.
        recipe, query: what is asked for, and how.
        vectors: the prompt's, as for ``SoundCache.find_near``; empty: only words are compared.
        across_namespaces: name near misses of other namespaces, too.
    """
    warnings: Sequence[str] = ()
    try:
        hit, found = _found(cache, recipe, query, vectors, across_namespaces)
    except EngineError as exc:  # no faiss
        warnings, vectors = (exc.message,), {}
        hit, found = _found(cache, recipe, query, vectors, across_namespaces)
    encoder = roles(cache.store, vectors, cache.spaces.former)[0]
    if encoder and query.match not in ("strict", "threshold") and calibration_of(cache.store, encoder) is None:
        warnings = (*warnings, fallback_warning(encoder))
    return Explanation(
        hit=any(near.accepted for near in found),
        encoder=encoder,
        entries=tuple(found),
        made=None if hit is None else _making(hit.entry),
        warnings=tuple(warnings),
    )


def _making(entry: Entry) -> Making:
    metadata = entry.metadata
    return Making(
        engine=metadata.engine,
        steps=metadata.steps,
        guidance_scale=metadata.guidance_scale,
        candidates=metadata.candidates_requested,
        duration_s=metadata.duration_s or entry.recipe.duration_s,
        tau_accept_new=metadata.tau_accept_new,
    )


def _found(
    cache: SoundCache, recipe: Recipe, query: Query, vectors: Mapping[str, Vector], across_namespaces: bool
) -> tuple[Hit | None, list[ExplainedEntry]]:
    by_id: dict[int, ExplainedEntry] = {}
    hit = cache.find_exact(recipe, query).hit
    if hit is None and vectors:
        hit = cache.find_near(recipe, query, vectors).hit
    if hit is not None and hit.entry.id is not None and hit.metadata.hit:
        by_id[hit.entry.id] = ExplainedEntry(
            id=hit.entry.id,
            prompt=hit.entry.recipe.prompt,
            accepted=True,
            stage=hit.cache_type,
            rule=hit.metadata.hit.rule,
            reason=hit.reason,
            cosine=hit.metadata.hit.cosine,
            clap=hit.metadata.hit.clap,
        )
    others = _judged(cache, recipe, query, vectors), _misfits(cache, recipe, query, vectors, across_namespaces)
    for near in chain(*others):
        by_id.setdefault(near.id, near)
    return hit, list(by_id.values())


def _judged(
    cache: SoundCache, recipe: Recipe, query: Query, vectors: Mapping[str, Vector]
) -> Iterator[ExplainedEntry]:
    if not vectors:
        return
    rows, verdicts = cache.judged(recipe, query, vectors)
    for verdict in verdicts:
        yield ExplainedEntry(
            id=verdict.entry_id,
            prompt=rows[verdict.entry_id].prompt,
            accepted=verdict.accepted,
            stage="global" if verdict.rule == "sound" else verdict.rule or "semantic",
            rule=verdict.rule or None,
            reason=verdict.reason,
            cosine=figure(verdict.cosine),
            clap=verdict.clap,
        )


def _misfits(
    cache: SoundCache, recipe: Recipe, query: Query, vectors: Mapping[str, Vector], across_namespaces: bool
) -> Iterator[ExplainedEntry]:
    """Yield entries of the same or nearest words that somebody denied, or whose settings do not fit."""
    prompts = next((name for name in vectors if not knows_space(cache, SOUND_PREFIX + name)), "")
    cosines = cache.nearest_of_any_settings(prompts, vectors[prompts], query.reuse_k) if prompts else {}
    ids = dict.fromkeys([*cache.store.entries.with_words(recipe.namespace, recipe.prompt), *cosines])
    for entry_id in ids:
        entry = cache.store.entries.entry(entry_id)
        if entry is None or not (across_namespaces or entry.recipe.namespace == recipe.namespace):
            continue
        differing, prompt, cosine = _differences(entry, recipe, query), entry.recipe.prompt, cosines.get(entry_id)
        if differing:
            objection = first_objection(recipe.prompt, prompt)
            reason = f"settings do not fit: {'; '.join(differing)}" + (f"; and {objection}" if objection else "")
            yield ExplainedEntry(
                id=entry_id, prompt=prompt, accepted=False, stage="settings", reason=reason, cosine=cosine
            )
        elif cache.teaching.of(recipe.namespace, recipe.prompt, entry_id, prompt) == "wrong":
            reason = "somebody judged it wrong for these words"
            yield ExplainedEntry(
                id=entry_id, prompt=prompt, accepted=False, stage="judged", reason=reason, cosine=cosine
            )


def _differences(entry: Entry, recipe: Recipe, query: Query) -> list[str]:
    """Name every setting that does not fit, in words; empty where all fit."""
    asked, kept = filters_of(recipe, query), settings_of(entry.recipe, entry.metadata)
    found = [] if admits(asked, kept) else [*_unequal(asked, kept), *_made_otherwise(asked, kept, recipe)]
    if (recipe.seed is not None or recipe.init_audio_sha256 is not None) and not _identical(entry, recipe):
        found.append("an explicit seed or init audio matches only the identical recipe")
    return found


def _identical(entry: Entry, recipe: Recipe) -> bool:
    made = made_as(entry.recipe, entry.metadata)
    named = ("model_revision", "dtype", "quantization")
    return (
        family_of(made) == family_of(recipe)
        and recipe.seed in (None, made.seed)
        and all(getattr(recipe, name) in ("", getattr(made, name)) for name in named)
    )


def _unequal(asked: Filters, kept: Settings) -> Iterator[str]:
    equal = [("namespace", "namespace"), ("loop", "loop"), ("voice", "voice"), ("negative", "negative_prompt")]
    if asked.same_settings == "model":
        equal += [("engine", "engine"), ("model", "model")]
        if asked.model_revision:
            equal.append(("model_revision", "model_revision"))
    if asked.same_settings != "any":
        equal.append(("implementation", "implementation"))
    for column, name in equal:
        mine, theirs = getattr(kept, column), getattr(asked, column)
        if mine != theirs:
            yield f"{name} is {mine!r}, asked for is {theirs!r}"
    if kept.extras != asked.extras:
        yield "options, crossfade_s, highpass_hz, loop_method or init_audio differ"


def _made_otherwise(asked: Filters, kept: Settings, recipe: Recipe) -> Iterator[str]:
    if not asked.shortest_s <= kept.duration_s <= asked.longest_s:
        yield f"length is {kept.duration_s:.3f} s, asked for is {recipe.duration_s:.3f} s"
    if kept.sample_rate < asked.sample_rate:
        yield f"sample rate is {kept.sample_rate} Hz, asked for is {asked.sample_rate} Hz"
    if kept.implementation == asked.implementation:
        if kept.steps is not None and kept.steps < asked.least_steps:
            yield f"it was made in {kept.steps} steps, asked for are at least {math.ceil(asked.least_steps)}"
        guidance = kept.guidance_scale
        if guidance is not None and not asked.least_guidance <= guidance <= asked.most_guidance:
            yield (
                f"guidance_scale is {guidance:g}, asked for is {asked.least_guidance:g} to {asked.most_guidance:g}"
            )
    if asked.commercial_only and not kept.commercial:
        yield "its licence is not known to allow commercial use"
    if asked.strict and kept.inexact:
        yield "it carries a warning that strict forbids"
