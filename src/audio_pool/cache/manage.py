"""Keeping a cache directory tidy, with or without a server on it.

Owns: AudioSemanticCache: what is in there, what to remove, and removing it.
Must not know: how a hit is decided, the pool, the terminal.

Every removal is made in two steps: a Selection says what would go (so that a person can be asked), and
``remove`` takes exactly that away; a sound kept in between is never taken along.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from audio_pool.api import CacheStats
from audio_pool.cache.account import account_of, judge, judged
from audio_pool.cache.blobs import Render
from audio_pool.cache.chosen import Selection, selected
from audio_pool.cache.duplicates import Group, Method, duplicate_groups
from audio_pool.cache.eviction_plan import eviction_plan
from audio_pool.cache.inventory import Chosen, Item, Only, Sort
from audio_pool.cache.judgements import Judged
from audio_pool.cache.limits import Limits
from audio_pool.cache.opening import open_store
from audio_pool.cache.quarantine import Quarantine
from audio_pool.cache.regex_search import matching
from audio_pool.cache.search import search
from audio_pool.cache.spaces import Spaces
from audio_pool.cache.stats import stats_of
from audio_pool.cache.store import Vector
from audio_pool.cache.verify import as_json, verify
from audio_pool.errors import InvalidRequest, NotFound, nearest_name
from audio_pool.library import KeptSounds, SoundMarks, SoundSearch
from audio_pool.types import Label

__all__ = ["AudioSemanticCache", "Selection"]

_MB = 1024 * 1024
_PROMPTS_AT_ONCE = 100_000
_GROUPS_AT_ONCE = 200
_SORTS: dict[str, Sort] = {
    "timestamp": "created_at",
    "clap_similarity": "clap_similarity",
    "duration": "duration_s",
    "duration_s": "duration_s",
    "prompt": "prompt",
    "size": "size_bytes",
    "hits": "hits",
    "last_use": "last_used",
}
Json = dict[str, Any]  # the documented results of docs/manager.md


class AudioSemanticCache:
    """A cache directory, opened for management. A server may be running on it."""

    def __init__(self, cache_dir: Path | str, *, now: Callable[[], float] | None = None) -> None:
        """
        Args:
            cache_dir: an existing cache directory; it is never created.
            now: seconds since 1970; None: the store's.

        Raises:
            NotFound: there is no such directory, or no cache in it.
            StorageError: it cannot be read.
        """
        self._store = open_store(cache_dir, create=False)
        self._quarantine = Quarantine(self.directory)
        self._now = now or self._store.now

    def close(self) -> None:
        """Close the directory."""
        self._store.close()

    def __enter__(self) -> AudioSemanticCache:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def directory(self) -> Path:
        """The cache directory, absolute."""
        return Path(self._store.location)

    # -- what is there

    def get_cache_stats(self) -> CacheStats:
        """Return figures about the whole cache; they can be read as attributes and like a mapping."""
        return stats_of(self._store, self._now(), renders=self._renders(), apart=self._quarantine.items())

    def list_cache_items(
        self,
        limit: int | None = 20,
        sort_by: str = "timestamp",
        reverse: bool = True,
        *,
        tag: str | None = None,
        label: tuple[str, Label] | None = None,
        engine: str | None = None,
        namespace: str | None = None,
        since: float | None = None,
        until: float | None = None,
        min_quality: float | None = None,
        min_clap: float | None = None,
        loop: bool | None = None,
        min_rating: int | None = None,
        favourite: bool | None = None,
    ) -> list[Json]:
        """Return entries, by default the newest first; one without the value sorted by comes last.

        Args:
            limit: how many; None: all.
            sort_by: ``timestamp``, ``clap_similarity``, ``duration`` (or ``duration_s``), ``prompt``, ``size``,
                ``hits`` or ``last_use``.
            reverse: greatest (newest) first.
            tag: only entries that carry it.
            label: only entries with this name and value; a text also finds the number or truth value that is
                written so.
            engine: only entries of this named model.
            namespace: only those kept for it.
            since: only those kept then (seconds since 1970) or later.
            until: only those kept before.
            min_quality: least score of the quality gate.
            min_clap: least CLAP similarity; those without one are left out.
            loop: only loops, or only one-shots.
            min_rating: least rating; those that nobody rated are left out.
            favourite: only favourites, or none of them.

        Raises:
            InvalidRequest: another ``sort_by``, or a limit below 1.
        """
        if sort_by not in _SORTS:
            near = nearest_name(sort_by, _SORTS)
            hint = f"did you mean {near!r}?" if near else ""
            raise InvalidRequest(f"sort_by: given {sort_by!r}, allowed is one of {', '.join(_SORTS)}", hint=hint)
        sort = _SORTS[sort_by]
        only = Only(tag, label, engine, namespace, since, until, min_quality, min_clap, loop, min_rating, favourite)
        found = self._store.inventory.items(sort=sort, descending=reverse, limit=_limit(limit), only=only)
        return self._as_json(found)

    def group_by_prompt(self, limit: int | None = 20) -> list[Json]:
        """Return prompts with their entries, those with most entries first."""
        groups = []
        for found in self._store.inventory.items_by_prompt(_limit(limit)):
            size_mb = sum(item.size_bytes for item in found) / _MB
            items = self._as_json(found)
            groups.append({"prompt": items[0]["prompt"], "count": len(items), "size_mb": size_mb, "items": items})
        return groups

    def find_duplicates(self, by: Method = "any") -> list[Json]:
        """Return entries that are one too many, in groups.

        Args:
            by: ``prompt``: the same words and settings; ``sound``: the same bytes, or vectors of the sound
                that hardly differ; ``any``: either.

        Returns:
            One mapping per group: ``reason``, ``prompt``, ``keep`` (the item with the best score, then the
            newest) and ``duplicates`` (the other items).
        """
        return list(self._duplicates(by))

    def _duplicates(self, by: Method) -> Iterator[Json]:
        groups = iter(duplicate_groups(self._store, by))
        while part := list(islice(groups, _GROUPS_AT_ONCE)):
            items = {item["id"]: item for item in self._by_ids([i for group in part for i in group.ids])}
            yield from (one for group in part if (one := _group(group, items)))

    def verify(
        self, fix: bool = False, quick: bool = False, confirm: bool = False, *, however_many: bool = False
    ) -> Json:
        """Check that rows, files, vectors and index agree.

        Args:
            fix: put files that no entry knows into quarantine; remove dangling links and what is derived.
            quick: trust files that have the right size and header.
            confirm: with ``fix``: also remove rows without their sound; a damaged sound goes to quarantine.
            however_many: mend also where so much is amiss at once that a disk may not be mounted.

        Returns:
            ok, entries, files, problems (each kind, what, detail), fixed, freed_space_mb; refused (why nothing was
            mended), unconfirmed (how many problems are mended only with ``confirm``).
        """
        return as_json(verify(self._store, fix=fix, quick=quick, confirm=confirm, however_many=however_many))

    # -- what would go

    # Pinned entries are spared, unless ``pinned_too``; those that are named by their id are meant.

    def select_older_than(self, days: float, *, pinned_too: bool = False) -> Selection:
        """Return entries and renders older than that many days."""
        if not math.isfinite(days) or days < 0:
            raise InvalidRequest(f"days: given {days}, allowed is a number from 0 up")
        limit = self._now() - days * 86_400
        old = [render for render in self._renders() if render.modified_at < limit]
        return self._selection(self._store.inventory.chosen(before=limit), old, pinned_too=pinned_too)

    def select_pattern(self, regex: str, *, pinned_too: bool = False) -> Selection:
        """Return entries in whose prompt the expression is found, letter case ignored."""
        known, ids = self._store.inventory.prompts(), array("q")
        while True:
            part = list(islice(known, _PROMPTS_AT_ONCE))
            ids.extend(part[n][0] for n in matching(regex, [prompt for _, prompt in part]))
            if len(part) < _PROMPTS_AT_ONCE:
                break
        return self._selection(self._store.inventory.chosen(ids), pinned_too=pinned_too)

    def select_ids(self, ids: Iterable[int]) -> Selection:
        """Return the entries with these ids.

        Raises:
            NotFound: one does not exist.
        """
        wanted = list(dict.fromkeys(ids))
        items = self._store.inventory.items_by_id(wanted)
        missing = set(wanted) - {item.id for item in items}
        if missing:
            raise NotFound(f"no entry with id {', '.join(map(str, sorted(missing)))}")
        return self._selection(self._store.inventory.chosen(wanted), pinned_too=True)

    def select_duplicates(self, by: Method = "any", *, pinned_too: bool = False) -> Selection:
        """Return all that ``find_duplicates`` would not keep."""
        ids = array("q", (item["id"] for group in self._duplicates(by) for item in group["duplicates"]))
        return self._selection(self._store.inventory.chosen(ids), pinned_too=pinned_too)

    def select_all(self, *, pinned_too: bool = False) -> Selection:
        """Return everything, renders included."""
        return self._selection(self._store.inventory.chosen(), self._renders(), pinned_too=pinned_too)

    def plan_eviction(self, limits: Limits, limit: int = 50) -> Json:
        """Return what would be evicted under these limits, as ``eviction_plan`` tells it; nothing is removed."""
        return eviction_plan(self._store, limits, self._now(), limit)

    # -- taking it away

    def remove(self, selection: Selection, *, now: bool = False) -> Json:
        """Remove what was selected: rows, renditions and vectors; at once for every process.

        The files stay for the grace time (``cache.delivered_grace_s``), for their paths may just have been
        delivered; a running server unlinks them then, or whoever opens the directory next.

        Args:
            now: unlink them at once, and what earlier removals left to its grace.

        Returns:
            removed_items, removed_files, freed_space_mb, and freed_after_s.

        Raises:
            StorageError: what is already removed stays removed.
        """
        removal = self._store.entries.remove(selection.items.ids)
        removal = removal.and_also(self._store.leaving.let_go(render.file for render in selection.renders))
        if now:
            self._store.leaving.unlink_due(at_once=True)
        return {
            "removed_items": removal.items,
            "removed_files": removal.files,
            "freed_space_mb": removal.freed_bytes / _MB,
            "freed_after_s": 0.0 if now else self._store.leaving.grace_s,
        }

    def remove_old_items(self, days_old: float, *, now: bool = False, pinned_too: bool = False) -> Json:
        """Remove entries and renders older than that; see ``remove`` for ``now`` and what is returned."""
        return self.remove(self.select_older_than(days_old, pinned_too=pinned_too), now=now)

    def remove_by_prompt_pattern(
        self, regex: str, confirm: bool = False, *, now: bool = False, pinned_too: bool = False
    ) -> Json:
        """Remove entries by their prompt. Without ``confirm`` nothing is removed and ``error`` says what would be.

        Returns:
            as ``remove``, and ``pattern``; or ``error`` and ``pattern`` (also for a bad expression).
        """
        try:
            selection = self.select_pattern(regex, pinned_too=pinned_too)
        except InvalidRequest as exc:
            return {"error": exc.message, "pattern": regex}
        return {**self._confirmed(selection, confirm, now), "pattern": regex}

    def clear_cache(self, confirm: bool = False, *, now: bool = False, pinned_too: bool = False) -> Json:
        """Remove everything. Without ``confirm`` nothing is removed and ``error`` says what would be."""
        return self._confirmed(self.select_all(pinned_too=pinned_too), confirm, now)

    def remove_duplicates(
        self, by: Method = "any", confirm: bool = False, *, now: bool = False, pinned_too: bool = False
    ) -> Json:
        """Remove all but the best of each group of ``find_duplicates``."""
        return self._confirmed(self.select_duplicates(by, pinned_too=pinned_too), confirm, now)

    def delete(self, ids: Iterable[int], *, now: bool = False) -> Json:
        """Remove entries by id.

        Raises:
            NotFound: one does not exist; nothing was removed.
        """
        return self.remove(self.select_ids(ids), now=now)

    def _confirmed(self, selection: Selection, confirm: bool, now: bool) -> Json:
        if confirm:
            return self.remove(selection, now=now)
        count, size = len(selection.items), selection.size_mb
        return {"error": f"not confirmed: would remove {count} items ({size:.1f} MB); pass confirm=True"}

    # -- what was judged

    def show(self, entry_id: int) -> Json:
        """Return everything that is known of one entry: as in a list, and its recipe, metadata, vectors, ...

        Raises:
            NotFound: there is none.
        """
        known = account_of(self._store, entry_id)
        return {**self._by_ids([entry_id])[0], **known}

    def judge(
        self,
        query: str,
        verdict: Judged,
        *,
        prompt: str | None = None,
        entry_id: int | None = None,
        namespace: str = "default",
    ) -> Json:
        """Deny (``wrong``) or confirm (``right``) a prompt, or one sound, for these words; ``none`` takes it back.

        Raises:
            NotFound: there is no such entry.
        """
        return judge(self._store, query, verdict, prompt=prompt, entry_id=entry_id, namespace=namespace)

    def judged(self, limit: int = 20) -> list[Json]:
        """Return what people judged, the newest first."""
        return judged(self._store, limit)

    # -- what people mark

    def search(self, asked: SoundSearch, vectors: Mapping[str, Vector] | None = None) -> KeptSounds:
        """Return a page of kept sounds; ``vectors``: float32 [D] of its ``meaning`` by space. Raises InvalidRequest."""
        return search(self._store, asked, asked.namespace or "default", Spaces(self._store), vectors)

    def mark(self, entry_id: int, change: SoundMarks) -> Json:
        """Change an entry's rating, tags, pin, or whether it is a favourite; return it. Raises NotFound."""
        self._store.marks.mark(entry_id, change)
        return self._by_ids([entry_id])[0]

    # -- what stays

    def pin(self, ids: Iterable[int]) -> list[int]:
        """Pin entries: no rule removes them from now on. Return those that were not pinned before.

        Raises:
            NotFound: one does not exist; nothing was pinned.
        """
        return self._store.pins.pin(ids)

    def unpin(self, ids: Iterable[int]) -> list[int]:
        """Take pins off; return the entries that had one.

        Raises:
            NotFound: one does not exist; nothing was done.
        """
        return self._store.pins.unpin(item["id"] for item in self.select_ids(ids).items)

    # -- what was set apart

    def quarantined(self) -> list[Json]:
        """Return the files in quarantine, the newest last: name, size_kb, since (seconds since 1970)."""
        return [
            {"name": item.name, "size_kb": item.size_bytes / 1024, "since": item.since}
            for item in self._quarantine.items()
        ]

    def purge_quarantine(self, names: Iterable[str] | None = None, confirm: bool = False) -> Json:
        """Remove files from quarantine for good, all of them where None. Without ``confirm`` nothing is removed.

        Returns:
            removed_files, freed_space_mb; or ``error``.

        Raises:
            NotFound: one of them is not there; nothing was done.
        """
        known = {item.name: item.size_bytes for item in self._quarantine.items()}
        chosen = list(known) if names is None else self._quarantine.known(names)
        if not confirm:
            size_mb = sum(known[name] for name in chosen) / _MB
            return {"error": f"not confirmed: would remove {len(chosen)} files ({size_mb:.1f} MB) for good"}
        return {"removed_files": len(chosen), "freed_space_mb": self._quarantine.purge(chosen) / _MB}

    # -- small parts

    def _renders(self) -> list[Render]:
        """Return delivered results that are not kept, but for those removed already."""
        leaving = self._store.leaving.files()
        return [render for render in self._store.blobs.renders() if render.file not in leaving]

    def _by_ids(self, ids: Iterable[int]) -> list[Json]:
        return self._as_json(self._store.inventory.items_by_id(ids))

    def _as_json(self, items: Iterable[Item]) -> list[Json]:
        return [self._item(item) for item in items]

    def _item(self, item: Item) -> Json:
        return {
            "id": item.id,
            "path": self._store.blobs.path_of(item.file),
            "prompt": item.prompt,
            "duration_s": item.duration_s,
            "clap_similarity": item.clap_similarity,
            "quality": item.quality,
            "timestamp": item.created_at,
            "age_days": max(0.0, (self._now() - item.created_at) / 86_400),
            "file_exists": self._store.blobs.exists(item.file),
            "file_size_kb": item.size_bytes / 1024,
            "engine": item.engine,
            "namespace": item.namespace,
            "is_loop": bool(item.loop),
            "tags": list(item.tags),
            "labels": item.labels,
            "pinned": item.pinned,
            "hits": item.hits,
            "last_used": item.last_used,
            "rating": item.rating,
            "favourite": item.favourite,
        }

    def _selection(self, chosen: Iterable[Chosen], renders: Iterable[Render] = (), *, pinned_too: bool) -> Selection:
        return selected(chosen, self._by_ids, renders, pinned_too=pinned_too)


def _limit(limit: int | None) -> int | None:
    if limit is not None and limit < 1:
        raise InvalidRequest(f"limit: given {limit}, allowed is 1 or more")
    return limit


def _group(group: Group, items: dict[int, Json]) -> Json | None:
    """Return the group as JSON, unless a removal by someone else has left too little of it."""
    members = [items[entry_id] for entry_id in group.ids if entry_id in items]
    if len(members) < 2:
        return None
    keep = next((item for item in members if item["file_exists"]), members[0])
    others = [item for item in members if item is not keep]
    return {"reason": group.reason, "prompt": keep["prompt"], "keep": keep, "duplicates": others}
