"""The cap on variants of a prompt: whether a new sound is one too many, and which goes instead.

Owns: VariantCap: what counts as a variant of what.
Must not know: how sounds are found and kept; the strategies (selection.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from audio_pool.cache.entry import score_of
from audio_pool.cache.selection import CapStrategy, Standing, Variant, preferred, surplus
from audio_pool.cache.settings import settings_of
from audio_pool.cache.store import Store, Vector
from audio_pool.results import FinishedSound
from audio_pool.tasks import DESCRIPTORS, SOUND_PREFIX

__all__ = ["VariantCap"]

_SAME_LENGTH = 0.2
"""Relative difference up to which two sounds count as variants of each other."""


class VariantCap:
    """Of one opened cache."""

    def __init__(
        self, store: Store, most: int, strategy: CapStrategy, now: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            most: variants kept of the same words and settings.
            strategy: which one goes when there are more.
            now: seconds since 1970.
        """
        self._store = store
        self._most = most
        self._strategy = strategy
        self._now = now

    def too_many(
        self, sound: FinishedSound, vectors: Mapping[str, Vector], standing: Standing = "variant"
    ) -> set[int | None]:
        """Return the variants of this prompt, the new one (None) included, that are over the cap.

        Pinned ones stay, and the one that is preferred. Where the sound stands ``instead``, all others go.
        """
        settings = settings_of(sound.recipe, sound.metadata)
        rows = self._store.entries.variants(sound.recipe.prompt, settings, _SAME_LENGTH)
        staying = self._store.pins.pinned()
        if standing == "instead":
            return {row.id for row in rows if row.id not in staying}
        if len(rows) < self._most or self._store.entries.identical(sound) is not None:
            return set()
        # a scorer's before the descriptors: it judges what the words are about
        sounds = sorted((name == DESCRIPTORS, name) for name in vectors if name.startswith(SOUND_PREFIX))
        encoder = sounds[0][1] if sounds else ""
        known = self._store.vectors.of(encoder, [row.id for row in rows]) if encoder else {}
        first = preferred(rows) if standing == "variant" else None
        variants = [
            Variant(row.id, row.score, row.created_at, known.get(row.id), row.id in staying or row is first)
            for row in rows
        ]
        at, stays = self._now(), standing == "preferred"
        newcomer = Variant(None, score_of(sound.metadata), at, vectors.get(encoder), stays)
        return surplus([*variants, newcomer], self._most, self._strategy)
