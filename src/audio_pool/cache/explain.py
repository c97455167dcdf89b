"""Why a request hits or misses: every entry that came near, and what spoke for or against it.

Owns: ``explain``.
Must not know: the terminal; how a hit is decided (policy.py, semantic.py): it asks them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from audio_pool.cache.entry import SOUND_PREFIX
from audio_pool.cache.policy import words_agree
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.store import Vector
from audio_pool.types import Query, Recipe

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of one entry."""

    entry_id: int
    prompt: str
    accepted: bool
    stage: str
    """exact, canonical, semantic, global; settings where the sound settings do not fit."""
    reason: str
    cosine: float | None
    clap: float | None


def explain(
    cache: SoundCache, recipe: Recipe, query: Query, vectors: Mapping[str, Vector]
) -> list[Explanation]:
    """The entry that is offered (first, where there is one) and the near misses.

    Args:
        cache: opened on the directory.
        recipe, query: what is asked for, and how.
        vectors: the prompt's, as for ``SoundCache.find_near``; empty: only words are compared.
    """
    told: dict[int, Explanation] = {}
    hit = cache.find_exact(recipe, query) or (cache.find_near(recipe, query, vectors) if vectors else None)
    if hit is not None and hit.entry.id is not None:
        told[hit.entry.id] = Explanation(
            hit.entry.id, hit.entry.recipe.prompt, True, hit.cache_type, hit.reason, hit.similarity, None
        )
    for found in (*_judged(cache, recipe, query, vectors), *_misfits(cache, recipe, query, vectors)):
        told.setdefault(found.entry_id, found)
    return list(told.values())


def _judged(
    cache: SoundCache, recipe: Recipe, query: Query, vectors: Mapping[str, Vector]
) -> Iterator[Explanation]:
    if not vectors:
        return
    rows, verdicts = cache.judged(recipe, query, vectors)
    for verdict in verdicts:
        stage = "global" if verdict.rule == "sound" else verdict.rule or "semantic"
        cosine = None if math.isnan(verdict.cosine) else verdict.cosine
        prompt = rows[verdict.entry_id].prompt
        yield Explanation(verdict.entry_id, prompt, verdict.accepted, stage, verdict.reason, cosine, verdict.clap)


def _misfits(
    cache: SoundCache, recipe: Recipe, query: Query, vectors: Mapping[str, Vector]
) -> Iterator[Explanation]:
    """Entries of the same or nearest words whose sound settings do not fit."""
    prompts = next((name for name in vectors if not cache.store.has_space(SOUND_PREFIX + name)), "")
    cosines = cache.nearest_whatever(prompts, vectors[prompts], query.reuse_k) if prompts else {}
    ids = dict.fromkeys([*cache.store.ids_with_words(recipe.namespace, recipe.prompt), *cosines])
    for entry_id in ids:
        entry = cache.store.entry(entry_id)
        if entry is None:
            continue
        differing = _differences(entry.recipe, recipe, query, entry.metadata.get("commercial_use") is True)
        if differing:
            words = words_agree(recipe.prompt, entry.recipe.prompt)
            reason = f"settings do not fit: {'; '.join(differing)}" + (f"; and {words}" if words else "")
            cosine = cosines.get(entry_id)
            yield Explanation(entry_id, entry.recipe.prompt, False, "settings", reason, cosine, None)


def _differences(kept: Recipe, asked: Recipe, query: Query, commercial: bool) -> list[str]:
    found = [
        f"{name} is {getattr(kept, name)!r}, asked for is {getattr(asked, name)!r}"
        for name in ("namespace", "loop", "voice", "negative_prompt")
        if getattr(kept, name) != getattr(asked, name)
    ]
    if not query.any_engine and kept.engine != asked.engine:
        found.append(f"engine is {kept.engine!r}, asked for is {asked.engine!r}")
    slack = query.duration_tolerance * asked.duration_s + 0.5 / asked.sample_rate
    if abs(kept.duration_s - asked.duration_s) > slack:
        found.append(f"length is {kept.duration_s:.3f} s, asked for is {asked.duration_s:.3f} s")
    if kept.sample_rate < asked.sample_rate:
        found.append(f"sample rate is {kept.sample_rate} Hz, asked for is {asked.sample_rate} Hz")
    if asked.seed is not None and kept.identity() != asked.identity():
        found.append("an explicit seed matches only the identical recipe")
    if query.commercial_only and not commercial:
        found.append("its licence is not known to allow commercial use")
    return found
