"""The cache as the pool sees it: find a fitting sound, keep a new one. Never waits, never embeds.

Owns: SoundCache: which entries are asked for in which order, the draw among several.
Must not know: the pool, engines, sockets; how rows and files are stored (store.py, blobs.py).

Threads: ``find_exact`` on one (the pool's router thread), ``find_near`` on another (its index thread), ``put`` and
``remove`` on a third (its writer thread), ``tidy`` on a fourth. They share the store and the index, which are made for
it, and plain dicts of what was met lately.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from audio_pool.cache.bags import Bags
from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.cap import VariantCap
from audio_pool.cache.encoders import calibration_of, roles
from audio_pool.cache.entry import Entry, Row, same_key
from audio_pool.cache.eviction import Eviction
from audio_pool.cache.former import nearest_of_former
from audio_pool.cache.judgements import Given
from audio_pool.cache.lately import Lately
from audio_pool.cache.limits import UNBOUNDED, Limits
from audio_pool.cache.lookup import Hit, HitType, Lookup, figure, offer, refused
from audio_pool.cache.noted import noted_of
from audio_pool.cache.objects.opening import upkeep_of
from audio_pool.cache.opening import open_store
from audio_pool.cache.policy import Candidate, Verdict, judge
from audio_pool.cache.selection import CapStrategy, Standing, draw, of_nearest_length, of_nearest_prompts
from audio_pool.cache.settings import filters_of
from audio_pool.cache.shared import SharedStore
from audio_pool.cache.spaces import Spaces
from audio_pool.cache.sqlite.database import PATIENCE_S
from audio_pool.cache.store import Also, Removal, Store, Vector
from audio_pool.cache.teaching import Teaching
from audio_pool.cache.trust import Trust
from audio_pool.cache.usage import Usage
from audio_pool.errors import EngineError, StorageError
from audio_pool.reports import HitRule
from audio_pool.results import FinishedSound
from audio_pool.tasks import SOUND_PREFIX
from audio_pool.types import Query, Recipe, Rendition

_log = logging.getLogger(__name__)

__all__ = ["SoundCache"]

_TYPES: dict[str, HitType] = {
    "text": "exact", "canonical": "canonical", "words": "semantic", "cosine": "semantic", "sound": "global",
    "confirmed": "semantic",
}  # fmt: skip
"""By the policy's rule."""
_SPARE = 16
"""Neighbours asked for beyond ``reuse_k``: some do not fit, are gone, or are variants of one prompt."""
_MOST_LOOKED_AT = 1024
_BLUR = 0.005
"""A large index's cosines are nearer than that to those of the vectors: ten times what a byte per dimension costs."""
_KEYS_AT_ONCE = 2000
_COUNT_S = 0.05
_UNLINK_S = 0.1
"""Whoever has a sound to keep waits as long at most."""
_MISS = Lookup()


class SoundCache:
    """One cache directory, open for look-ups and new sounds."""

    def __init__(
        self,
        directory: Path | str,
        *,
        create: bool = True,
        max_per_prompt: int = 5,
        cap_strategy: CapStrategy = "quality",
        limits: Limits = UNBOUNDED,
        render_dir: Path | str | None = None,
        grace_s: float | None = None,
        patience_s: float = PATIENCE_S,
        blobs: BlobStore | None = None,
        shared: SharedStore | None = None,
        now: Callable[[], float] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """
        Args:
            directory: the cache directory, on a local disk.
            create: make it where it does not exist.
            max_per_prompt: variants kept of the same words and settings.
            cap_strategy: which one goes when there are more: the worst, or of the two most alike the worse.
            limits: what is evicted.
            render_dir: where delivered results that are not kept go; ``directory/renders`` where None.
            grace_s: how long a removed file stays, for every process on this directory; None: as it was (600).
            patience_s: how long a write waits for another process's.
            blobs: the files of an earlier opening that goes on.
            shared: the database that holds the rows; None: the directory.
            now: seconds since 1970; None: the store's.
            rng: draws where no ``variant_seed`` is given.

        Raises NotFound, StorageError.
        """
        self.store: Store = open_store(
            directory, shared=shared, create=create, render_dir=render_dir, blobs=blobs, grace_s=grace_s,
            patience_s=patience_s,
        )  # fmt: skip
        self.now = now = now or self.store.now
        self._cap = VariantCap(self.store, max_per_prompt, cap_strategy, now)
        self._rng = rng or random.Random()
        self.spaces = Spaces(self.store)
        self._upkeep = upkeep_of(self.store, self.spaces.save)
        self.prepare = self.spaces.prepare
        self._trust = Trust(self.store)
        self.doubt = self._trust.doubt
        self.usage = Usage(self.store.uses, now, grace_s=self.store.leaving.grace_s)
        self.eviction = Eviction(self.store, self.usage, limits, now)
        self.teaching = Teaching(self.store)
        self._lately = Lately(self.store, self._trust)
        self.kept_rendition = self._lately.rendition
        self._bags = Bags()
        self.near_off = ""
        """The reason why nothing is found by meaning (faiss is missing), or ""."""

    @property
    def incoming(self) -> Path:
        """The folder for files that are to be ``put``, written and fsynced by their maker; this process's own."""
        return self.store.blobs.incoming

    def close(self) -> None:
        """Save the indexes and close the store. Further calls are an error."""
        self.spaces.stop()
        self.spaces.save()
        self.usage.write_down()
        self.store.close()

    def follow(self) -> None:
        """Take over what other processes changed and judged. For a thread that may wait."""
        self.teaching.follow()
        self.spaces.follow()

    def tidy(self) -> None:
        """Do what is due for the indexes and the keys; may take minutes, for a thread that nobody waits for."""
        self.spaces.tidy()
        self._upkeep()
        self.store.renew_keys(_KEYS_AT_ONCE)

    def tend(self) -> None:
        """Write uses down, evict, unlink what is due, take damaged sounds out. For the writer thread, now and then."""
        self.usage.write_down(_COUNT_S)
        self.eviction.work()
        self.store.leaving.unlink_due(within_s=_UNLINK_S)
        self._trust.tend()

    # -- look-ups

    def find_exact(self, recipe: Recipe, query: Query, client: str = "") -> Lookup:
        """Find the entry for the same words, or for words that say the same, whose settings fit.

        An explicit seed or init audio only ever matches the identical recipe.

        Args:
            client: whose shuffle bag it is, where the query wants one.
        """
        filters = filters_of(recipe, query)
        entries = self.store.entries
        if recipe.seed is not None or recipe.init_audio_sha256 is not None:
            reason = "identical recipe" if recipe.seed is None else f"identical recipe, seed {recipe.seed}"
            return self._exact(entries.with_recipe(recipe, filters), recipe, query, "exact", "recipe", reason)
        rows = self._allowed(recipe, entries.with_text(recipe.prompt, filters))
        if query.variant is not None:
            return self._numbered(rows, recipe, query, query.variant)
        found = self._exact(rows, recipe, query, "exact", "text", "the same words", client)
        if found.hit is not None or query.speech:
            return found
        filters = filters_of(recipe, query, by_meaning=True)
        rows = self._allowed(recipe, entries.with_meaning(recipe.prompt, filters))
        found = self._exact(rows, recipe, query, "canonical", "canonical", "words that say the same", client)
        if found.hit is None and query.match != "strict":
            confirmed = self.teaching.confirmed(recipe.namespace, recipe.prompt)
            rows = self._allowed(recipe, [row for text in confirmed for row in entries.with_text(text, filters)])
            found = self._exact(rows, recipe, query, "semantic", "confirmed", "judged right for these words", client)
        return found

    def version(self) -> int:
        """Return a number that changes with everything that anybody commits, judgements among it."""
        return self.store.changes.version()

    def found_again(self, hit: Hit, version: int) -> bool:
        """Return True where a hit of ``find_exact`` that was ``alone`` is what the same words would find now.

        Args:
            version: before it was found. Nothing may have been committed since.
        """
        return (
            hit.alone
            and version == self.store.changes.version()
            and self.teaching.version == version
            and self._trust.master(hit.row)
        )

    def _allowed(self, recipe: Recipe, rows: Sequence[Row]) -> Sequence[Row]:
        return self.teaching.allowed(recipe.namespace, recipe.prompt, rows)

    def find_near(
        self, recipe: Recipe, query: Query, vectors: Mapping[str, Vector], client: str = ""
    ) -> Lookup:
        """Find the entry for words that mean the same, if the policy accepts one whose settings fit.

        Args:
            recipe: as for ``find_exact``, which is asked first.
            query: ``strict`` matching finds nothing here.
            vectors: float32 [D] of the prompt by encoder, a scorer's (CLAP) among them.
            client: as for ``find_exact``.
        """
        if query.match == "strict" or query.speech or recipe.seed is not None or recipe.init_audio_sha256:
            return _MISS
        try:
            rows, verdicts = self.judged(recipe, query, vectors)
        except EngineError as exc:
            self._without_near(exc)
            return _MISS
        unfit = tuple(verdict.reason for verdict in verdicts if verdict.unfit)
        accepted = {verdict.entry_id: verdict for verdict in verdicts if verdict.accepted}
        scores = {one.entry_id: one.clap if one.clap is not None else one.cosine for one in accepted.values()}
        found = self.present([rows[entry_id] for entry_id in accepted], recipe, query, scores, client)
        if found is None:
            return Lookup(refused=unfit)
        row, entry = found
        verdict = accepted[row.id]
        nearest = next((one for one in verdicts if not one.accepted), None)
        hit = offer(
            entry,
            row,
            recipe,
            _TYPES[verdict.rule],
            verdict.rule or "words",
            verdict.reason,
            self.now(),
            cosine=figure(verdict.cosine),
            clap=verdict.clap,
            nearest_refused=None if nearest is None else refused(nearest, rows[nearest.entry_id]),
        )
        return Lookup(hit=hit, refused=unfit)

    def judged(
        self, recipe: Recipe, query: Query, vectors: Mapping[str, Vector]
    ) -> tuple[dict[int, Row], list[Verdict]]:
        """Return the nearest entries that fit, by id, and the policy's verdict on each, nearest first."""
        prompts, scorer = roles(self.store, vectors, self.spaces.former)
        sounds = SOUND_PREFIX + scorer if scorer else ""
        nearest = functools.partial(self.nearest, recipe, query)
        found = nearest(prompts, vectors[prompts]) if prompts else []
        former = nearest_of_former(self.store, self.spaces, prompts, vectors, nearest)
        rows = {row.id: row for row, _ in (*found, *former)}
        cosines = {row.id: cosine for row, cosine in (*found, *former)}
        if scorer and query.match == "global":
            rows |= {row.id: row for row, _ in nearest(sounds, vectors[scorer])}
        of_sounds = self.store.vectors.of(sounds, rows) if scorer else {}
        clap = {entry_id: _cosine(vectors[scorer], sound) for entry_id, sound in of_sounds.items()}
        judged = functools.partial(self.teaching.of, recipe.namespace, recipe.prompt)
        same = functools.partial(same_key, recipe.namespace, recipe.prompt)
        candidates = [
            Candidate(n, row.prompt, cosines.get(n, math.nan), clap.get(n), judged(n, row.prompt), same(row), row.parse)
            for n, row in rows.items()
        ]
        judged_by = functools.partial(
            judge, recipe.prompt, mode=query.match, tau_prompt_sem=query.tau_prompt_sem, tau_use=query.tau_use
        )
        older = {row.id for row, _ in former}
        own = [one for one in candidates if one.entry_id not in older]
        verdicts = judged_by(own, calibration=calibration_of(self.store, prompts))
        if older:
            rest = [one for one in candidates if one.entry_id in older]
            verdicts += judged_by(rest, calibration=calibration_of(self.store, self.spaces.former))
        return rows, verdicts

    def _without_near(self, exc: EngineError) -> None:
        if not self.near_off:
            self.near_off = exc.message
            _log.warning("nothing is found by meaning: %s", exc.message)

    def nearest(self, recipe: Recipe, query: Query, space: str, vector: Vector) -> list[tuple[Row, float]]:
        """Return the entries of the ``reuse_k`` nearest prompts that fit, with their cosines, nearest first."""
        filters = filters_of(recipe, query, by_meaning=True)
        index, most = self.spaces.of(space), query.reuse_k + _SPARE
        while True:
            cosines = index.search(vector, most, filters)
            rows = self.store.entries.with_ids(list(cosines), filters)
            # a prompt's variants count once: they must not push out what was asked in other words
            prompts = len({row.prompt for row in rows})
            if prompts >= query.reuse_k or len(cosines) < most or most >= _MOST_LOOKED_AT:
                if not index.exact:
                    near = of_nearest_prompts(rows, cosines, query.reuse_k, _BLUR)
                    cosines = index.compared(vector, [row.id for row in near])
                    rows = [row for row in near if row.id in cosines]
                nearest = of_nearest_prompts(rows, cosines, query.reuse_k)
                return [(row, cosines[row.id]) for row in nearest]
            most *= 4

    def nearest_of_any_settings(self, space: str, vector: Vector, count: int) -> dict[int, float]:
        """Return cosines of the nearest entries by id, whether their settings fit or not."""
        index = self.spaces.of(space)
        found = index.search(vector, count, None)
        return found if index.exact else index.compared(vector, found)

    def _exact(
        self,
        rows: Sequence[Row],
        recipe: Recipe,
        query: Query,
        cache_type: HitType,
        rule: HitRule,
        reason: str,
        client: str = "",
    ) -> Lookup:
        found = self.present(rows, recipe, query, {row.id: row.score for row in rows}, client)
        if found is None:
            return _MISS
        row, entry = found
        similarity = 1.0 if cache_type == "exact" else None
        told = f"{reason}: {row.prompt!r}"
        # no draw, no bag, no number, no other rule that failed before
        alone = len(rows) == 1 and cache_type == "exact" and not query.shuffle and query.variant is None
        hit = offer(entry, row, recipe, cache_type, rule, told, self.now(), similarity=similarity, alone=alone)
        return Lookup(hit=hit)

    def present(
        self, rows: Sequence[Row], recipe: Recipe, query: Query, scores: Mapping[int, float], client: str = ""
    ) -> tuple[Row, Entry] | None:
        """Return one of the rows whose file is there: the nearest in length; among equals a draw by score."""
        left = list(rows)
        bag = (client, recipe.namespace, recipe.prompt) if query.shuffle else None
        while left:
            equals = of_nearest_length(left, recipe.duration_s)
            if bag is not None:
                equals = self._bags.left(bag, equals)
            row = draw(equals, scores, query.temperature, query.variant_seed, self._rng)
            entry = self._lately.entry(row) if self._trust.master(row) else None
            # a process of an earlier version beside this one files what was made of a given sound with all others
            if entry is not None and entry.recipe.init_audio_sha256 == recipe.init_audio_sha256:
                if bag is not None:
                    self._bags.give(bag, row.id)
                return row, entry
            left.remove(row)
        return None

    def _numbered(self, rows: Sequence[Row], recipe: Recipe, query: Query, number: int) -> Lookup:
        """Return the sound of these very words with a number, from 1; the nearest in length and the oldest first."""
        for row in sorted(rows, key=lambda row: (round(abs(row.duration_s - recipe.duration_s), 3), row.id)):
            number -= self._trust.master(row)
            if number == 0:
                return self._exact([row], recipe, query, "exact", "text", f"variant {query.variant} of the same words")
        return _MISS

    def count(self, recipe: Recipe, query: Query) -> int:
        """Return the number of kept sounds of these very words whose settings fit."""
        return len(self._allowed(recipe, self.store.entries.with_text(recipe.prompt, filters_of(recipe, query))))

    # -- keeping

    def put(
        self,
        sound: FinishedSound,
        vectors: Mapping[str, Vector],
        *,
        replace: bool = False,
        standing: Standing = "variant",
        also: Also | None = None,
    ) -> Entry:
        """Keep a sound; when this returns, it survives a crash.

        A sound that was not accepted, or that is the one too many of its prompt, is moved to ``renders``
        and never offered: its entry has the id None. A recipe (seed included) that is already kept gives
        the kept entry, unless ``replace``.

        Args:
            sound: its file lies in ``incoming``, fsynced. Tags and labels are those of its metadata.
            vectors: float32 [D] by encoder; names that start with ``sound:`` describe the sound (``sound:clap``
                in the space of the prompts' ``clap``), others the prompt.
            standing: ``preferred`` is offered before, ``instead`` takes the place of those of its words and
                settings that are not pinned.
            also: written in the same transaction, where the sound is kept; what it raises undoes the whole.

        Raises:
            StorageError: nothing was kept and the file is where it was (``set_aside`` may still deliver it).
            InvalidAudio: the file is not there, or is not FLAC.
        """
        if not sound.accepted:
            return self._aside(sound)
        too_many = self._cap.too_many(sound, vectors, standing)
        if None in too_many:
            return self._aside(sound)
        entry = self.store.entries.put(sound, vectors, replace=replace, preferred=standing != "variant", also=also)
        surplus_ids = [entry_id for entry_id in too_many if entry_id is not None and entry_id != entry.id]
        if surplus_ids:
            self.store.entries.remove(surplus_ids, remembered=True)
        self.usage.kept(entry.id)
        self.eviction.kept(entry.size_bytes)
        self.spaces.follow(wait=False)
        return entry

    def set_aside(self, path: Path | str) -> str:
        """Move a finished file that is not kept from ``incoming`` to ``renders``; return its path."""
        return str(self.store.blobs.set_aside(Path(path)))

    def _aside(self, sound: FinishedSound) -> Entry:
        path = self.set_aside(sound.path)
        with contextlib.suppress(StorageError, OSError):  # it is delivered all the same
            self.store.registry.note([noted_of(sound, Path(path), self.now())])
        return Entry(
            id=None,
            path=path,
            recipe=sound.recipe,
            metadata=sound.metadata,
            created_at=self.now(),
            size_bytes=os.stat(path).st_size,
        )

    def learn(self, given: Sequence[Given]) -> None:
        """Take judgements over: in force for every process when this returns. Raises NotFound, StorageError."""
        self.store.judgements.give(given)
        self.teaching.follow()

    def remove(self, ids: Iterable[int], *, spare_pinned: bool = False) -> Removal:
        """Remove entries and their files; from then on no process offers them."""
        removal = self.store.entries.remove(ids, spare_pinned=spare_pinned)
        self.spaces.follow(wait=False)
        return removal

    def has(self, entry_id: int, path: str) -> bool:
        """Return True where the entry is the one whose master lies there: ids of another opening say nothing."""
        return (entry := self.store.entries.entry(entry_id)) is not None and entry.path == path

    def find_rendition(self, entry_id: int, rendition: Rendition) -> str | None:
        """Return the path of the entry in another format, where it has been made and its file is whole."""
        known = self._lately.rendition(entry_id, rendition)
        return None if known is None else self.store.blobs.path_of(known.file)

    def put_rendition(self, entry_id: int, rendition: Rendition, path: Path | str) -> str:
        """Keep another format of an entry, a file in ``incoming``; return its new path.

        Raises:
            StorageError: nothing was kept; also where the entry has been removed meanwhile.
        """
        return self.store.renditions.put(entry_id, rendition, path)


def _cosine(asked: Vector, sound: Vector) -> float | None:
    """Return CLAP(query, sound); None for vectors that cannot be compared."""
    lengths = float(np.linalg.norm(asked) * np.linalg.norm(sound)) if len(asked) == len(sound) else 0.0
    return float(asked @ sound) / lengths if lengths > 0 else None
