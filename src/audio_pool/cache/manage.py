"""Keeping a cache directory tidy, with or without a server on it.

Owns: AudioSemanticCache: what is in there, what to remove, and removing it.
Must not know: how a hit is decided, the pool, the terminal.

Every removal is made in two steps: a Selection says what would go (so that a person can be asked), and
``remove`` takes exactly that away; a sound kept in between is never taken along.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_pool.cache.duplicates import Group, Method, duplicate_groups
from audio_pool.cache.regex_search import matching
from audio_pool.cache.sqlite.store import ID_LIST, Removal, Store, id_list
from audio_pool.cache.verify import as_json, audit
from audio_pool.errors import InvalidRequest, NotFound, nearest_name

__all__ = ["AudioSemanticCache", "Selection"]

_MB = 1024 * 1024
_SORTS = {
    "timestamp": "created_at",
    "clap_similarity": "clap_similarity",
    "duration": "duration_s",
    "duration_s": "duration_s",
    "prompt": "prompt COLLATE NOCASE",
}
_ITEM = "id, file, prompt, duration_s, clap_similarity, quality, created_at, size_bytes, engine, namespace, loop"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a removal would take away."""

    items: list[Json] = field(default_factory=list)
    """As ``list_cache_items`` gives them."""
    size_bytes: int = 0
    """Of masters, renditions and renders."""
    renders: tuple[Path, ...] = ()
    """Delivered results that are not entries."""

    @property
    def size_mb(self) -> float:
        return self.size_bytes / _MB


class AudioSemanticCache:
    """A cache directory, opened for management. A server may be running on it."""

    def __init__(self, cache_dir: Path | str, *, now: Callable[[], float] = time.time) -> None:
        """
        Args:
            cache_dir: an existing cache directory; it is never created.
            now: seconds since 1970.

        Raises:
            NotFound: there is no such directory, or no cache in it.
            StorageError: it cannot be read.
        """
        self._store = Store(cache_dir, create=False)
        self._now = now

    def close(self) -> None:
        """Closes the directory."""
        self._store.close()

    def __enter__(self) -> AudioSemanticCache:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def directory(self) -> Path:
        """The cache directory, absolute."""
        return self._store.folder.root

    # -- what is there

    def get_cache_stats(self) -> Json:
        """Figures about the whole cache.

        Sizes in MiB; ``oldest_item`` and ``newest_item`` in seconds since 1970; averages over the entries
        that have the value; None where there is none.
        """
        row = self._store.query(
            "SELECT count(*), coalesce(sum(size_bytes), 0), min(created_at), max(created_at), avg(duration_s),"
            " count(DISTINCT text_key), avg(clap_similarity), coalesce(sum(duration_s), 0) FROM entries"
        )[0]
        renditions = self._store.query("SELECT count(*), coalesce(sum(size_bytes), 0) FROM renditions")[0]
        renders = self._renders()
        return {
            "total_items": row[0],
            "total_size_mb": (row[1] + renditions[1]) / _MB,
            "oldest_item": row[2],
            "newest_item": row[3],
            "average_duration": row[4],
            "unique_prompts": row[5],
            "average_clap_similarity": row[6],
            "missing_files": sum(
                not os.path.isfile(self._path(file))
                for (file,) in self._store.query("SELECT file FROM entries")
            ),
            "total_duration_s": row[7],
            "renditions": renditions[0],
            "engines": dict(self._store.query("SELECT engine, count(*) FROM entries GROUP BY engine")),
            "encoders": self._store.encoders(),
            "renders": len(renders),
            "renders_size_mb": _total(renders) / _MB,
            "cache_dir": str(self._store.folder.root),
        }

    def list_cache_items(
        self, limit: int | None = 20, sort_by: str = "timestamp", reverse: bool = True
    ) -> list[Json]:
        """Entries, by default the newest first; one without the value sorted by comes last.

        Args:
            limit: how many; None: all.
            sort_by: ``timestamp``, ``clap_similarity``, ``duration`` (or ``duration_s``) or ``prompt``.
            reverse: greatest (newest) first.

        Raises:
            InvalidRequest: another ``sort_by``, or a limit below 1.
        """
        if sort_by not in _SORTS:
            near = nearest_name(sort_by, _SORTS)
            hint = f"did you mean {near!r}?" if near else ""
            raise InvalidRequest(f"sort_by: given {sort_by!r}, allowed is one of {', '.join(_SORTS)}", hint=hint)
        if limit is not None and limit < 1:
            raise InvalidRequest(f"limit: given {limit}, allowed is 1 or more")
        column, direction = _SORTS[sort_by], "DESC" if reverse else "ASC"
        order = f"ORDER BY {column} IS NULL, {column} {direction}, id {direction} LIMIT ?"
        return self._items(order, (-1 if limit is None else limit,))

    def group_by_prompt(self, limit: int | None = 20) -> list[Json]:
        """Prompts with their entries, those with most entries first."""
        if limit is not None and limit < 1:
            raise InvalidRequest(f"limit: given {limit}, allowed is 1 or more")
        keys = self._store.query(
            "SELECT text_key FROM entries GROUP BY text_key ORDER BY count(*) DESC, max(created_at) DESC LIMIT ?",
            (-1 if limit is None else limit,),
        )
        groups = []
        for (key,) in keys:
            items = self._items("WHERE text_key = ? ORDER BY created_at DESC", (key,))
            if items:
                size_mb = sum(item["file_size_kb"] for item in items) / 1024
                groups.append({"prompt": items[0]["prompt"], "count": len(items), "size_mb": size_mb, "items": items})
        return groups

    def find_duplicates(self, by: Method = "any") -> list[Json]:
        """Entries that are one too many, in groups.

        Args:
            by: ``prompt``: the same words and settings; ``sound``: the same bytes, or vectors of the sound
                that hardly differ; ``any``: either.

        Returns:
            One mapping a group: ``reason``, ``prompt``, ``keep`` (the item with the best score, then the
            newest) and ``duplicates`` (the other items).
        """
        groups = duplicate_groups(self._store, by)
        items = {item["id"]: item for item in self._by_ids([i for group in groups for i in group.ids])}
        return [told for group in groups if (told := _told(group, items))]

    def verify(self, fix: bool = False, quick: bool = False) -> Json:
        """Whether rows, files, vectors and index agree.

        Args:
            fix: remove what has no other half.
            quick: trust files that have the right size and header.

        Returns:
            ok, entries, files, problems (each kind, what, detail), fixed, freed_space_mb.
        """
        return as_json(audit(self._store, fix=fix, quick=quick))

    # -- what would go

    def select_older_than(self, days: float) -> Selection:
        """Entries and renders older than that many days."""
        if not math.isfinite(days) or days < 0:
            raise InvalidRequest(f"days: given {days}, allowed is a number from 0 up")
        limit = self._now() - days * 86_400
        items = self._items("WHERE created_at < ? ORDER BY created_at", (limit,))
        return self._selection(items, [path for path in self._renders() if _mtime(path) < limit])

    def select_pattern(self, regex: str) -> Selection:
        """Entries in whose prompt the expression is found, letter case ignored."""
        rows = self._store.query("SELECT id, prompt FROM entries ORDER BY id")
        return self.select_ids([rows[n][0] for n in matching(regex, [row[1] for row in rows])])

    def select_ids(self, ids: Iterable[int]) -> Selection:
        """The entries with these ids.

        Raises:
            NotFound: one does not exist.
        """
        wanted = list(dict.fromkeys(ids))
        items = self._by_ids(wanted)
        missing = set(wanted) - {item["id"] for item in items}
        if missing:
            raise NotFound(f"no entry with id {', '.join(map(str, sorted(missing)))}")
        return self._selection(items)

    def select_duplicates(self, by: Method = "any") -> Selection:
        """All that ``find_duplicates`` would not keep."""
        ids = [item["id"] for group in self.find_duplicates(by) for item in group["duplicates"]]
        return self._selection(self._by_ids(ids))

    def select_all(self) -> Selection:
        """Everything, renders included."""
        return self._selection(self._items("ORDER BY id"), self._renders())

    # -- taking it away

    def remove(self, selection: Selection) -> Json:
        """Removes what was selected: rows, files, renditions and vectors; at once for every process.

        Returns:
            removed_items, removed_files, freed_space_mb.

        Raises:
            StorageError: what is already removed stays removed.
        """
        removal = self._store.remove(item["id"] for item in selection.items)
        for path in selection.renders:
            freed = self._store.folder.discard(str(path.relative_to(self._store.folder.root)))
            removal += Removal(files=1 if freed else 0, freed_bytes=freed)
        return {
            "removed_items": removal.items,
            "removed_files": removal.files,
            "freed_space_mb": removal.freed_bytes / _MB,
        }

    def remove_old_items(self, days_old: float) -> Json:
        """Removes entries and renders older than that; see ``remove`` for what is returned."""
        return self.remove(self.select_older_than(days_old))

    def remove_by_prompt_pattern(self, regex: str, confirm: bool = False) -> Json:
        """Removes entries by their prompt. Without ``confirm`` nothing is removed and ``error`` says what would be.

        Returns:
            as ``remove``, and ``pattern``; or ``error`` and ``pattern`` (also for a bad expression).
        """
        try:
            selection = self.select_pattern(regex)
        except InvalidRequest as exc:
            return {"error": exc.message, "pattern": regex}
        return {**self._confirmed(selection, confirm), "pattern": regex}

    def clear_cache(self, confirm: bool = False) -> Json:
        """Removes everything. Without ``confirm`` nothing is removed and ``error`` says what would be."""
        return self._confirmed(self.select_all(), confirm)

    def remove_duplicates(self, by: Method = "any", confirm: bool = False) -> Json:
        """Removes all but the best of each group of ``find_duplicates``."""
        return self._confirmed(self.select_duplicates(by), confirm)

    def delete(self, ids: Iterable[int]) -> Json:
        """Removes entries by id.

        Raises:
            NotFound: one does not exist; nothing was removed.
        """
        return self.remove(self.select_ids(ids))

    def _confirmed(self, selection: Selection, confirm: bool) -> Json:
        if confirm:
            return self.remove(selection)
        count, size = len(selection.items), selection.size_mb
        return {"error": f"not confirmed: would remove {count} items ({size:.1f} MB); pass confirm=True"}

    # -- small parts

    def _path(self, file: str) -> str:
        return f"{self._store.folder.root}/{file}"

    def _items(self, rest: str, values: tuple[Any, ...] = ()) -> list[Json]:
        return [self._item(row) for row in self._store.query(f"SELECT {_ITEM} FROM entries {rest}", values)]

    def _by_ids(self, ids: Iterable[int]) -> list[Json]:
        return self._items(f"WHERE id IN {ID_LIST} ORDER BY id", (id_list(ids),))

    def _item(self, row: tuple[Any, ...]) -> Json:
        entry_id, file, prompt, duration_s, clap, quality, created_at, size, engine, namespace, loop = row
        return {
            "id": entry_id,
            "path": self._path(file),
            "prompt": prompt,
            "duration_s": duration_s,
            "clap_similarity": clap,
            "quality": quality,
            "timestamp": created_at,
            "age_days": max(0.0, (self._now() - created_at) / 86_400),
            "file_exists": os.path.isfile(self._path(file)),
            "file_size_kb": size / 1024,
            "engine": engine,
            "namespace": namespace,
            "is_loop": bool(loop),
        }

    def _selection(self, items: list[Json], renders: Iterable[Path] = ()) -> Selection:
        files = tuple(renders)
        beside = self._store.query(
            f"SELECT coalesce(sum(size_bytes), 0) FROM renditions WHERE entry_id IN {ID_LIST}",
            (id_list(item["id"] for item in items),),
        )
        masters = sum(round(item["file_size_kb"] * 1024) for item in items)
        return Selection(items, masters + beside[0][0] + _total(files), files)

    def _renders(self) -> list[Path]:
        folder = self._store.folder.renders
        return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _total(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _told(group: Group, items: dict[int, Json]) -> Json | None:
    """The group as JSON, unless a removal by someone else has left too little of it."""
    members = [items[entry_id] for entry_id in group.ids if entry_id in items]
    if len(members) < 2:
        return None
    keep = next((item for item in members if item["file_exists"]), members[0])
    others = [item for item in members if item is not keep]
    return {"reason": group.reason, "prompt": keep["prompt"], "keep": keep, "duplicates": others}
