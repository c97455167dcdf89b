"""The cap on variants: which sounds of the same words and settings must go when a new one comes.

Owns: which sounds count as variants of each other, and which of them stay whatever their score.
Must not know: how one is removed; how the worst is chosen (selection.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from audio_pool.cache.entry import Vector, score_of
from audio_pool.cache.selection import CapStrategy, Standing, Variant, preferred, surplus
from audio_pool.cache.settings import settings_of
from audio_pool.cache.store import Store
from audio_pool.results import FinishedSound
from audio_pool.tasks import DESCRIPTORS, SOUND_PREFIX

__all__ = ["over_the_cap"]

_SAME_LENGTH = 0.2
"""Relative difference up to which two sounds count as variants of each other."""


def over_the_cap(
    store: Store,
    sound: FinishedSound,
    vectors: Mapping[str, Vector],
    standing: Standing,
    most: int,
    strategy: CapStrategy,
    now: float,
) -> set[int | None]:
    """Return the variants of a sound's prompt, itself (None) included, that must go so that ``most`` are left.

    Pinned ones stay, and the one that is preferred. Where the sound stands ``instead``, all others go.
    """
    rows = store.entries.variants(sound.recipe.prompt, settings_of(sound.recipe, sound.metadata), _SAME_LENGTH)
    if standing != "instead" and (len(rows) < most or store.entries.identical(sound) is not None):
        return set()
    staying = store.pins.pinned()
    if standing == "instead":
        return {row.id for row in rows if row.id not in staying}
    # a scorer's before the descriptors: it judges what the words are about
    sounds = sorted((name == DESCRIPTORS, name) for name in vectors if name.startswith(SOUND_PREFIX))
    encoder = sounds[0][1] if sounds else ""
    known = store.vectors.of(encoder, [row.id for row in rows]) if encoder else {}
    first = preferred(rows) if standing == "variant" else None
    variants = [
        Variant(row.id, row.score, row.created_at, known.get(row.id), row.id in staying or row is first) for row in rows
    ]
    newcomer = Variant(None, score_of(sound.metadata), now, vectors.get(encoder), standing == "preferred")
    return surplus([*variants, newcomer], most, strategy)
