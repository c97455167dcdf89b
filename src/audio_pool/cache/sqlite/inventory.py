"""The entries as a whole: counted, listed, compared.

Owns: the queries of management.
Must not know: files, what is shown or removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from audio_pool.cache.inventory import EVERYTHING, Chosen, Item, Length, Only, Ranked, Sort
from audio_pool.cache.sqlite.database import ID_LIST, Database, Values, id_list
from audio_pool.cache.sqlite.folders import SqliteFolders
from audio_pool.cache.sqlite.rows import SCORE, SETTINGS, settings_at
from audio_pool.cache.sqlite.sums import SqliteSums
from audio_pool.types import Label

__all__ = ["SqliteInventory"]

_ORDER: dict[Sort, str] = {
    "created_at": "created_at",
    "clap_similarity": "clap_similarity",
    "duration_s": "duration_s",
    "prompt": "prompt COLLATE NOCASE",
    "size_bytes": "size_bytes",
    "hits": "(SELECT hits FROM uses WHERE entry_id = id)",
    "last_used": "(SELECT last_used FROM uses WHERE entry_id = id AND hits > 0)",
}
_IDS_AT_ONCE = 10_000
_CHOSEN = (
    "SELECT id, size_bytes + coalesce((SELECT sum(size_bytes) FROM renditions WHERE entry_id = id), 0),"
    " EXISTS (SELECT 1 FROM pins WHERE entry_id = id) FROM entries"
)
_BEST_FIRST = f"{SCORE} DESC, created_at DESC, id DESC"
_MAY_LACK = ("clap_similarity", "hits", "last_used")
_FROM_OTHERS = ("tags", "labels", "pinned", "hits", "last_used", "rating", "favourite")
_COLUMNS = tuple(name for name in Item._fields if name not in _FROM_OTHERS)
_WHERE = {
    "engine": "engine = ?", "namespace": "namespace = ?", "since": "created_at >= ?", "until": "created_at < ?",
    "min_quality": "quality >= ?", "min_clap": "clap_similarity >= ?", "loop": "loop = ?",
    "tag": "id IN (SELECT entry_id FROM tags WHERE tag = ?)",
    "min_rating": "id IN (SELECT entry_id FROM marks WHERE rating >= ?)",
    "favourite": "coalesce((SELECT favourite FROM marks WHERE entry_id = id), 0) = ?",
}  # fmt: skip


class SqliteInventory:
    """See ``store.Inventory``."""

    def __init__(self, database: Database, sums: SqliteSums, folders: SqliteFolders) -> None:
        self._database = database
        self._folders = folders
        self.totals = sums.totals
        self.shares = sums.shares
        self.engines = sums.engines

    def missing_files(self) -> int:
        return self._folders.missing()

    def items(
        self,
        *,
        sort: Sort = "created_at",
        descending: bool = True,
        limit: int | None = None,
        only: Only = EVERYTHING,
    ) -> list[Item]:
        where: list[str] = []
        values: list[Any] = []  # what SQLite stores
        for name, condition in _WHERE.items():
            value = getattr(only, name)
            if value is not None:
                where.append(condition)
                values.append(value)
        if only.label is not None:
            where.append("id IN (SELECT entry_id FROM labels WHERE name = ? AND value IN (?, ?))")
            name, value = only.label
            written = msgspec.json.encode(value).decode()
            values += [name, written, value if isinstance(value, str) else written]
        wanted = f"WHERE {' AND '.join(where)}" if where else ""
        column, direction = _ORDER[sort], "DESC" if descending else "ASC"
        lacking = f"{column} IS NULL, " if sort in _MAY_LACK else ""  # else its index does
        order = f"ORDER BY {lacking}{column} {direction}, id {direction} LIMIT ?"
        return self._items(f"{wanted} {order}", (*values, -1 if limit is None else limit))

    def items_by_id(self, ids: Iterable[int]) -> list[Item]:
        return self._items(f"WHERE id IN {ID_LIST} ORDER BY id", (id_list(ids),))

    def chosen(self, ids: Sequence[int] | None = None, *, before: float | None = None) -> Iterator[Chosen]:
        parts: Iterable[tuple[str, Values]] = [("", ())]
        if before is not None:
            parts = [("WHERE created_at < ? ORDER BY created_at", (before,))]
        elif ids is not None:
            pages = (ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE))
            parts = ((f"WHERE id IN {ID_LIST} ORDER BY id", (id_list(page),)) for page in pages)
        for rest, values in parts:
            for row in self._database.stream(f"{_CHOSEN} {rest}", values):
                yield Chosen(row[0], row[1], bool(row[2]))

    def items_by_prompt(self, limit: int | None) -> list[list[Item]]:
        sql = "SELECT text_key FROM entries GROUP BY text_key ORDER BY count(*) DESC, max(created_at) DESC LIMIT ?"
        keys = self._database.query(sql, (-1 if limit is None else limit,))
        groups = [self._items("WHERE text_key = ? ORDER BY created_at DESC", key) for key in keys]
        return [group for group in groups if group]

    def _items(self, rest: str, values: Values) -> list[Item]:
        rows = self._database.query(f"SELECT {', '.join(_COLUMNS)} FROM entries {rest}", values)
        ids = id_list(row[0] for row in rows)
        tags: dict[int, list[str]] = {}
        tagged = f"SELECT entry_id, tag FROM tags WHERE entry_id IN {ID_LIST}"
        for entry_id, tag in self._database.query(tagged, (ids,)):
            tags.setdefault(entry_id, []).append(tag)
        labels: dict[int, dict[str, Label]] = {}
        named = f"SELECT entry_id, name, value FROM labels WHERE entry_id IN {ID_LIST}"
        for entry_id, name, value in self._database.query(named, (ids,)):
            labels.setdefault(entry_id, {})[name] = msgspec.json.decode(value, type=Label)
        pinned = set(self._database.query(f"SELECT entry_id FROM pins WHERE entry_id IN {ID_LIST}", (ids,)))
        used = f"SELECT entry_id, hits, last_used FROM uses WHERE hits > 0 AND entry_id IN {ID_LIST}"
        uses = {found[0]: found[1:] for found in self._database.query(used, (ids,))}
        marked = f"SELECT entry_id, rating, favourite FROM marks WHERE entry_id IN {ID_LIST}"
        marks = {found[0]: (found[1], bool(found[2])) for found in self._database.query(marked, (ids,))}
        return [
            Item._make(
                (
                    *row,
                    tuple(tags.get(row[0], ())),
                    labels.get(row[0], {}),
                    (row[0],) in pinned,
                    *uses.get(row[0], (0, None)),
                    *marks.get(row[0], (None, False)),
                )
            )
            for row in rows
        ]

    def prompts(self) -> Iterator[tuple[int, str]]:
        return ((row[0], row[1]) for row in self._database.stream("SELECT id, prompt FROM entries ORDER BY id"))

    def same_texts(self) -> Iterator[list[Ranked]]:
        return self._runs("text_key")

    def same_bytes(self) -> Iterator[list[Ranked]]:
        return self._runs("sha256")

    def _runs(self, column: str) -> Iterator[list[Ranked]]:
        several = f"SELECT {column} FROM entries GROUP BY {column} HAVING count(*) > 1"
        rows = self._database.stream(
            f"SELECT {column}, id, text_key, sha256, {SETTINGS} FROM entries WHERE {column} IN ({several})"
            f" ORDER BY {column}, {_BEST_FIRST}"
        )
        for _, run in groupby(rows, itemgetter(0)):
            yield [Ranked(row[1], row[2], row[3], settings_at(row, 4)) for row in run]

    def lengths(self) -> Iterator[Length]:
        rows = self._database.stream(f"SELECT id, namespace, loop, duration_s FROM entries ORDER BY {_BEST_FIRST}")
        return (Length(row[0], row[1], bool(row[2]), row[3]) for row in rows)
