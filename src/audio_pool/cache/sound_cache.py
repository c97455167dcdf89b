"""The cache as the pool sees it: find a fitting sound, keep a new one. Never waits, never embeds.

Owns: Query, Hit, SoundCache: which entries are asked for in which order, the draw among several, the cap
on variants of a prompt.
Must not know: the pool, engines, sockets; how rows are stored (store.py).

Threads: ``find_*`` on one (the pool's router thread), ``put``, ``remove`` and ``follow`` on another (its
writer thread). They share nothing but the store and the index, which are made for it.
"""

from __future__ import annotations

import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from audio_pool.cache.entry import DESCRIPTORS, SOUND_PREFIX, Entry, Filters, Row, score_of
from audio_pool.cache.policy import CALIBRATIONS, Near, Verdict, judge
from audio_pool.cache.selection import CapStrategy, Variant, draw, of_nearest_length, surplus
from audio_pool.cache.sqlite.renditions import find_rendition, put_rendition
from audio_pool.cache.sqlite.store import Removal, Store, Vector
from audio_pool.errors import AudioPoolError, EngineError
from audio_pool.prompts.normalize import text_key
from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.types import Recipe, Rendition

if TYPE_CHECKING:
    from audio_pool.cache.vectors import Neighbours

_log = logging.getLogger(__name__)

__all__ = ["CacheType", "Hit", "Query", "SoundCache", "encoder_of"]

_STAGES: dict[str, CacheType] = {
    "text": "exact", "canonical": "canonical", "words": "semantic", "cosine": "semantic", "sound": "global"
}  # fmt: skip
_SPARE = 16
"""Neighbours asked for beyond ``reuse_k``: some differ too much in length or are gone."""
_MOST_LOOKED_AT = 1024
_SAME_LENGTH = 0.2
"""Relative difference up to which two sounds count as variants of each other."""

_ENTRIES_KNOWN = 2048

CacheType = Literal["exact", "canonical", "semantic", "global"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """How a request wants the cache to be read."""

    match: Literal["strict", "tolerant", "threshold", "global"] = "tolerant"
    any_engine: bool = False
    duration_tolerance: float = 0.2
    """Relative to the length asked for; 0 is exact to the frame."""
    temperature: float = 0.25
    """Of the softmax draw among fitting entries; 0 takes the best."""
    variant_seed: int | None = None
    """The same one draws the same entry, as long as it is there."""
    tau_use: float = 0.35
    """Least CLAP(query, sound), where there are CLAP vectors."""
    tau_prompt_sem: float = 0.70
    """Least similarity of prompts, on the calibrated scale."""
    reuse_k: int = 8
    """Nearest entries looked at."""
    commercial_only: bool = False
    speech: bool = False
    """The engine speaks words: only the very same words will do."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A kept sound that answers a request, and why."""

    entry: Entry
    cache_type: CacheType
    reason: str
    similarity: float | None
    """Cosine of the prompts; 1 for the same words, None where nothing was compared."""
    warnings: tuple[str, ...]
    metadata: SoundMetadata
    """How the sound was made, as it was stored, and how it came to be offered."""


class SoundCache:
    """One cache directory, open for look-ups and new sounds."""

    def __init__(
        self,
        directory: Path | str,
        *,
        create: bool = True,
        max_per_prompt: int = 5,
        cap_strategy: CapStrategy = "quality",
        render_dir: Path | str | None = None,
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        """
        Args:
            directory: the cache directory, on a local disk.
            create: make it where it does not exist.
            max_per_prompt: variants kept of the same words and settings.
            cap_strategy: which one goes when there are more: the worst, or of the two most alike the worse.
            render_dir: where delivered results that are not kept go; ``directory/renders`` where None.
            now: seconds since 1970.
            rng: draws where no ``variant_seed`` is given.

        Raises:
            NotFound, StorageError.
        """
        self.store = Store(directory, create=create, render_dir=render_dir)
        self._max_per_prompt = max_per_prompt
        self._cap_strategy = cap_strategy
        self._now = now
        self._rng = rng or random.Random()
        self._neighbours: dict[str, Neighbours] = {}
        self._preparing = threading.Lock()
        self.vanished: set[int] = set()
        """Entries that look-ups met without their file."""
        self._known: dict[int, Entry] = {}
        self._renditions: dict[tuple[int, Rendition], str] = {}
        self.near_off = ""
        """Why nothing is found by meaning (faiss is missing), or ""."""

    @property
    def incoming(self) -> Path:
        """Where a mastering worker writes and fsyncs what is to be ``put``; this process's own."""
        return self.store.folder.incoming

    def close(self) -> None:
        """Saves the indexes and closes the store. Further calls are an error."""
        for neighbours in self._neighbours.values():
            neighbours.save()
        self.store.close()

    def prepare(self, spaces: Iterable[str]) -> None:
        """Loads or rebuilds the indexes of these spaces; otherwise the first look-up by meaning does.

        Raises:
            EngineUnavailable: faiss is not installed.
        """
        for space in spaces:
            self._neighbours_in(space)

    def follow(self) -> None:
        """Takes over what other processes changed. For the writer thread, now and then."""
        for neighbours in list(self._neighbours.values()):
            try:
                neighbours.follow()
            except AudioPoolError as exc:  # the index is derived: what goes wrong in it costs no sound
                _log.warning("the index of %s does not follow: %s", neighbours.space, exc)

    def tidy(self) -> None:
        """Compacts and saves indexes where it is time to. For the writer thread, when there is nothing to do."""
        self.follow()
        for neighbours in list(self._neighbours.values()):
            neighbours.tidy()

    def _neighbours_in(self, space: str) -> Neighbours:
        found = self._neighbours.get(space)
        if found is None:
            from audio_pool.cache.vectors import Neighbours

            with self._preparing:
                found = self._neighbours.get(space) or Neighbours(self.store, space)
                self._neighbours[space] = found
        return found

    # -- look-ups

    def find_exact(self, recipe: Recipe, query: Query) -> Hit | None:
        """The entry for the same words, or for words that say the same, whose settings fit.

        An explicit seed or init audio only ever matches the identical recipe.
        """
        filters = _filters(recipe, query)
        if recipe.seed is not None or recipe.init_audio_sha256 is not None:
            reason = "identical recipe" if recipe.seed is None else f"identical recipe, seed {recipe.seed}"
            return self._hit(self.store.with_recipe(recipe, filters), recipe, query, "exact", reason)
        hit = self._hit(
            self.store.with_text(recipe.prompt, filters), recipe, query, "exact", "the same words"
        )
        if hit is None and not query.speech:
            rows = self.store.with_meaning(recipe.prompt, replace_fields(filters, by_meaning=True))
            hit = self._hit(rows, recipe, query, "canonical", "words that say the same")
        return hit

    def find_near(
        self,
        recipe: Recipe,
        query: Query,
        vectors: Mapping[str, Vector],
        *,
        refused: list[str] | None = None,
    ) -> Hit | None:
        """The entry for words that mean the same, if the policy accepts one whose settings fit.

        Args:
            recipe: as for ``find_exact``, which is asked first.
            query: ``strict`` finds nothing here.
            vectors: float32 [D] of the prompt by encoder, a scorer's (CLAP) among them.
            refused: gets the reason for each entry whose words would do and whose sound does not fit.
        """
        if query.match == "strict" or query.speech or recipe.seed is not None or recipe.init_audio_sha256:
            return None
        try:
            rows, verdicts = self.judged(recipe, query, vectors)
        except EngineError as exc:
            self._without_near(exc)
            return None
        if refused is not None:
            refused += [verdict.reason for verdict in verdicts if verdict.unfit]
        accepted = [verdict for verdict in verdicts if verdict.accepted]
        scores = {v.entry_id: v.clap if v.clap is not None else v.cosine for v in accepted}
        row = self._present([rows[v.entry_id] for v in accepted], recipe, query, scores)
        entry = self._entry_of(row) if row else None
        if row is None or entry is None:
            return None
        verdict = next(v for v in accepted if v.entry_id == row.id)
        cosine = None if math.isnan(verdict.cosine) else verdict.cosine
        similarity = verdict.clap if verdict.rule == "sound" or cosine is None else cosine
        return self._told(entry, row, recipe, _STAGES[verdict.rule], verdict.reason, similarity)

    def judged(
        self, recipe: Recipe, query: Query, vectors: Mapping[str, Vector]
    ) -> tuple[dict[int, Row], list[Verdict]]:
        """The nearest entries that fit, by id, and what the policy says of each, nearest first."""
        prompts, scorer = self._roles(vectors)
        sounds = SOUND_PREFIX + scorer if scorer else ""
        found = self.nearest(recipe, query, prompts, vectors[prompts]) if prompts else []
        rows = {row.id: row for row, _ in found}
        cosines = {row.id: cosine for row, cosine in found}
        if scorer and query.match == "global":
            rows |= {row.id: row for row, _ in self.nearest(recipe, query, sounds, vectors[scorer])}
        heard = self.store.vectors_of(sounds, rows) if scorer else {}
        clap = {entry_id: _cosine(vectors[scorer], sound) for entry_id, sound in heard.items()}
        near = [
            Near(entry_id, row.prompt, cosines.get(entry_id, math.nan), clap.get(entry_id))
            for entry_id, row in rows.items()
        ]
        verdicts = judge(
            recipe.prompt,
            near,
            mode=query.match,
            calibration=CALIBRATIONS.get(encoder_of(prompts)),
            tau_prompt_sem=query.tau_prompt_sem,
            tau_use=query.tau_use,
        )
        return rows, verdicts

    def _roles(self, vectors: Mapping[str, Vector]) -> tuple[str, str]:
        """Which of these encoders compares prompts, and which hears sounds; "" for neither.

        A scorer is one in whose space sounds' vectors are kept.
        """
        names = [name for name in vectors if not name.startswith(SOUND_PREFIX)]
        scorer = next((name for name in names if self.store.has_space(SOUND_PREFIX + name)), "")
        others = [name for name in names if name != scorer]
        # a scorer that has heard none of the sounds yet must not take the place of the prompts' encoder
        prompts = [name for name in others if encoder_of(name) in CALIBRATIONS] or others
        return prompts[0] if prompts else "", scorer

    def _without_near(self, exc: EngineError) -> None:
        if not self.near_off:
            self.near_off = exc.message
            _log.warning("nothing is found by meaning: %s", exc.message)

    def _hit(
        self, rows: Sequence[Row], recipe: Recipe, query: Query, cache_type: CacheType, reason: str
    ) -> Hit | None:
        row = self._present(rows, recipe, query, {row.id: row.score for row in rows})
        entry = self._entry_of(row) if row else None
        if row is None or entry is None:
            return None
        similarity = 1.0 if cache_type == "exact" else None
        return self._told(entry, row, recipe, cache_type, f"{reason}: {row.prompt!r}", similarity)

    def _entry_of(self, row: Row) -> Entry | None:
        """The row's entry. What an entry says never changes, so those asked for lately are kept decoded."""
        known = self._known.get(row.id)
        if known is None or known.created_at != row.created_at or not known.path.endswith(row.file):
            known = self.store.entry(row.id)
            if known is not None:
                if len(self._known) >= _ENTRIES_KNOWN:
                    self._known.clear()  # a plain dict, cleared when full: safe from two threads, no bookkeeping a hit
                self._known[row.id] = known
        return known

    def nearest(self, recipe: Recipe, query: Query, space: str, vector: Vector) -> list[tuple[Row, float]]:
        """Up to ``reuse_k`` entries that fit, with the cosine of their vector, nearest first."""
        filters = replace_fields(_filters(recipe, query), by_meaning=True)
        neighbours, most = self._neighbours_in(space), query.reuse_k + _SPARE
        while True:
            cosines = neighbours.search(vector, most, filters)
            rows = self.store.with_ids(list(cosines), filters)
            if len(rows) >= query.reuse_k or len(cosines) < most or most >= _MOST_LOOKED_AT:
                found = [(row, cosines[row.id]) for row in rows]
                return sorted(found, key=lambda pair: -pair[1])[: query.reuse_k]
            most *= 4

    def nearest_whatever(self, space: str, vector: Vector, count: int) -> dict[int, float]:
        """Cosines of the nearest entries by id, whatever their sound settings."""
        return self._neighbours_in(space).search(vector, count, None)

    def _present(
        self, rows: Sequence[Row], recipe: Recipe, query: Query, scores: Mapping[int, float]
    ) -> Row | None:
        """One of the rows whose file is there: the nearest in length; among equals a draw by score."""
        left = list(rows)
        while left:
            near = of_nearest_length(left, recipe.duration_s)
            row = draw(near, scores, query.temperature, query.variant_seed, self._rng)
            if os.path.isfile(f"{self.store.folder.root}/{row.file}"):
                return row
            # not removed from the store: a disk that is not mounted would empty it. ``verify`` does that.
            self.vanished.add(row.id)
            left.remove(row)
        return None

    def _told(
        self,
        entry: Entry,
        row: Row,
        recipe: Recipe,
        cache_type: CacheType,
        reason: str,
        similarity: float | None,
    ) -> Hit:
        warnings: tuple[str, ...] = ()
        if abs(row.duration_s - recipe.duration_s) > 0.5 / recipe.sample_rate:
            warnings = (
                f"duration_differs: {recipe.duration_s:.3f} s were asked for, this sound has {row.duration_s:.3f} s",
            )
        metadata = {
            **entry.metadata,
            "cached": True,
            "cache_type": cache_type,
            "hit_reason": reason,
            "cache_similarity": similarity,
            "cache_age_seconds": max(0.0, self._now() - entry.created_at),
            "matched_prompt": row.prompt,
            "warnings": [*entry.metadata.get("warnings", ()), *warnings],
        }
        return Hit(entry, cache_type, reason, similarity, warnings, metadata)

    def count(self, recipe: Recipe, query: Query) -> int:
        """How many kept sounds fit these very words and settings."""
        return len(self.store.with_text(recipe.prompt, _filters(recipe, query)))

    # -- keeping

    def put(self, sound: FinishedSound, vectors: Mapping[str, Vector], *, replace: bool = False) -> Entry:
        """Keeps a sound; when this returns, it survives a crash.

        A sound that was not accepted, or that is the one too many of its prompt, is moved to ``renders``
        and never offered: its entry has the id None. A recipe (seed included) that is already kept gives
        the kept entry, unless ``replace``.

        Args:
            sound: its file lies in ``incoming``, fsynced.
            vectors: float32 [D] by encoder; names that start with ``sound:`` describe the sound (``sound:clap``
                in the space of the prompts' ``clap``), others the prompt.

        Raises:
            StorageError: nothing was kept and the file is where it was (``set_aside`` may still deliver it).
            InvalidAudio: the file is not there, or is not FLAC.
        """
        if not sound.accepted:
            return self._aside(sound)
        too_many = self._too_many(sound, vectors)
        if None in too_many:
            return self._aside(sound)
        entry = self.store.put(sound, vectors, replace=replace)
        surplus_ids = [entry_id for entry_id in too_many if entry_id is not None and entry_id != entry.id]
        if surplus_ids:
            self.store.remove(surplus_ids)
        self.follow()
        return entry

    def _too_many(self, sound: FinishedSound, vectors: Mapping[str, Vector]) -> set[int | None]:
        """Which of this prompt's variants, the new one (None) included, are over the cap."""
        recipe = sound.recipe
        filters = _filters(recipe, Query(duration_tolerance=_SAME_LENGTH))
        rows = self.store.with_text(recipe.prompt, replace_fields(filters, sample_rate=0))
        if len(rows) < self._max_per_prompt or (
            recipe.seed is not None and self.store.with_recipe(recipe, filters)
        ):
            return set()
        # a scorer's before the descriptors: it hears what the words are about
        sounds = sorted((name == DESCRIPTORS, name) for name in vectors if name.startswith(SOUND_PREFIX))
        encoder = sounds[0][1] if sounds else ""
        known = self.store.vectors_of(encoder, [row.id for row in rows]) if encoder else {}
        variants = [Variant(row.id, row.score, row.created_at, known.get(row.id)) for row in rows]
        newcomer = Variant(None, score_of(sound.metadata), self._now(), vectors.get(encoder))
        return surplus([*variants, newcomer], self._max_per_prompt, self._cap_strategy)

    def set_aside(self, path: Path | str) -> str:
        """Moves a finished file that is not kept from ``incoming`` to ``renders``; returns its path."""
        return str(self.store.folder.set_aside(Path(path)))

    def _aside(self, sound: FinishedSound) -> Entry:
        path = self.set_aside(sound.path)
        return Entry(None, path, sound.recipe, sound.metadata, self._now(), os.stat(path).st_size)

    def remove(self, ids: Iterable[int]) -> Removal:
        """Removes entries and their files; from then on no process offers them."""
        removal = self.store.remove(ids)
        self.follow()
        return removal

    def find_rendition(self, entry_id: int, rendition: Rendition) -> str | None:
        """The path of the entry in another format, where it has been made and its file is there."""
        known = self._renditions.get((entry_id, rendition))
        if known is not None and os.path.isfile(known):  # a name is used once: the file is that rendition or gone
            return known
        found = find_rendition(self.store, entry_id, rendition)
        if found is not None:
            if len(self._renditions) >= _ENTRIES_KNOWN:
                self._renditions.clear()
            self._renditions[entry_id, rendition] = found
        return found

    def put_rendition(self, entry_id: int, rendition: Rendition, path: Path | str) -> str:
        """Keeps another format of an entry, a file in ``incoming``; returns its new path.

        Raises:
            StorageError: nothing was kept; also where the entry has been removed meanwhile.
        """
        return put_rendition(self.store, entry_id, rendition, path)


def _filters(recipe: Recipe, query: Query) -> Filters:
    # half a frame: lengths are whole frames at the entry's own rate
    slack = query.duration_tolerance * recipe.duration_s + 0.5 / recipe.sample_rate
    return Filters(
        namespace=recipe.namespace,
        engine=None if query.any_engine else recipe.engine,
        loop=recipe.loop,
        voice=recipe.voice or "",
        negative=text_key(recipe.negative_prompt) if recipe.negative_prompt else "",
        shortest_s=recipe.duration_s - slack,
        longest_s=recipe.duration_s + slack,
        sample_rate=recipe.sample_rate,
        commercial_only=query.commercial_only,
    )


def encoder_of(space: str) -> str:
    """The embedder engine that a space of vectors is of: its name up to the first ``@``."""
    return space.split("@", 1)[0]


def _cosine(asked: Vector, heard: Vector) -> float | None:
    """CLAP(query, sound); None for vectors that cannot be compared."""
    lengths = float(np.linalg.norm(asked) * np.linalg.norm(heard)) if len(asked) == len(heard) else 0.0
    return float(asked @ heard) / lengths if lengths > 0 else None
