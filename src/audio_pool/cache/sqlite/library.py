"""Kept sounds as a library, in SQLite: pages by key, never by counting rows off.

Owns: the queries of ``library.Library``.
Must not know: how words and meaning are searched.

Everything goes through the connection for what takes its time: no look-up of the router's waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from audio_pool.cache.library import Place, Wanted
from audio_pool.cache.sqlite.database import ID_LIST, Database, id_list
from audio_pool.library import KeptSound, SoundSort
from audio_pool.types import Label

__all__ = ["SqliteLibrary"]

_COLUMNS = (
    "e.id, e.prompt, e.namespace, e.engine, e.model, e.duration_s, e.sample_rate, e.loop, e.commercial, e.created_at,"
    " e.size_bytes, e.quality, e.clap_similarity, e.voice, m.rating, coalesce(m.favourite, 0), p.entry_id IS NOT NULL,"
    " coalesce(u.hits, 0), u.last_used,"
    " (SELECT json_group_array(tag) FROM (SELECT tag FROM tags WHERE entry_id = e.id ORDER BY tag)),"
    " (SELECT json_group_object(name, json(value)) FROM labels WHERE entry_id = e.id)"
)
_FROM = (
    "FROM entries e LEFT JOIN marks m ON m.entry_id = e.id LEFT JOIN pins p ON p.entry_id = e.id"
    " LEFT JOIN uses u ON u.entry_id = e.id"
)
_LEAST = -1.0e308
"""What stands for a value that is not there, so that places can be compared."""
_SORTS: dict[SoundSort, tuple[str, str]] = {
    "newest": ("e.created_at", "DESC"),
    "oldest": ("e.created_at", "ASC"),
    "rating": (f"coalesce(m.rating, {_LEAST})", "DESC"),
    "quality": (f"coalesce(e.quality, {_LEAST})", "DESC"),
    "longest": ("e.duration_s", "DESC"),
    "shortest": ("e.duration_s", "ASC"),
    "last_used": (f"CASE WHEN u.hits > 0 THEN u.last_used ELSE {_LEAST} END", "DESC"),
}
_WHERE = {
    "engine": "e.engine = ?",
    "shortest_s": "e.duration_s >= ?",
    "longest_s": "e.duration_s <= ?",
    "loop": "e.loop = ?",
    "min_quality": "e.quality >= ?",
    # of the few that are rated, and not asked of each of the many
    "min_rating": "e.id IN (SELECT entry_id FROM marks WHERE rating >= ?)",
    "favourite": "coalesce(m.favourite, 0) = ?",
    "pinned": "(p.entry_id IS NOT NULL) = ?",
    "commercial_use": "e.commercial = ?",
}


class SqliteLibrary:
    """See ``library.Library``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, wanted: Wanted, sort: SoundSort, limit: int, after: Place | None) -> list[tuple[KeptSound, Place]]:
        where, values = _conditions(wanted)
        column, direction = _SORTS[sort]
        if after is not None:
            where += f" AND ({column}, e.id) {'<' if direction == 'DESC' else '>'} (?, ?)"
            values += after
        order = f"ORDER BY {column} {direction}, e.id {direction} LIMIT ?"
        rows = self._database.bulk(f"SELECT {column}, {_COLUMNS} {_FROM} WHERE {where} {order}", (*values, limit))
        return [(_sound(row[1:]), Place(float(row[0]), row[1])) for row in rows]

    def sounds(self, wanted: Wanted) -> dict[int, KeptSound]:
        where, values = _conditions(wanted)
        rows = self._database.bulk(f"SELECT {_COLUMNS} {_FROM} WHERE {where}", values)
        return {row[0]: _sound(row) for row in rows}

    def ids(self, wanted: Wanted, limit: int) -> list[int]:
        where, values = _conditions(wanted)
        sql = f"SELECT e.id {_FROM} WHERE {where} ORDER BY e.created_at DESC, e.id DESC LIMIT ?"
        return [found for (found,) in self._database.bulk(sql, (*values, limit))]

    def prompts_of(self, ids: Iterable[int]) -> list[tuple[int, str]]:
        return self._database.bulk(f"SELECT id, prompt FROM entries WHERE id IN {ID_LIST}", (id_list(ids),))

    def prompts_after(self, after: int, limit: int) -> list[tuple[int, str]]:
        sql = "SELECT id, prompt FROM entries WHERE id > ? ORDER BY id LIMIT ?"
        return self._database.bulk(sql, (after, limit))

    def with_words(self, namespace: str, words: Sequence[str]) -> list[int]:
        begins = " AND ".join("instr(' ' || replace(lower(prompt), '-', ' '), ' ' || ?) > 0" for _ in words)
        sql = f"SELECT id FROM entries WHERE namespace = ? AND {begins or '1'}"
        return [found for (found,) in self._database.bulk(sql, (namespace, *words))]


def _conditions(wanted: Wanted) -> tuple[str, list[Any]]:  # Any: what SQLite stores
    where = ["e.namespace = ?"]
    found: list[Any] = [wanted.namespace]
    if wanted.ids is not None:
        where.append(f"e.id IN {ID_LIST}")
        found.append(id_list(wanted.ids))
    if wanted.engines:
        where.append("e.engine IN (SELECT value FROM json_each(?))")
        found.append(msgspec.json.encode(list(wanted.engines)).decode())
    for tag in wanted.tags:
        where.append("e.id IN (SELECT entry_id FROM tags WHERE tag = ?)")
        found.append(tag)
    for name, condition in _WHERE.items():
        value = getattr(wanted, name)
        if value is not None:
            where.append(condition)
            found.append(value)
    return " AND ".join(where), found


def _sound(row: tuple[Any, ...]) -> KeptSound:  # Any: what SQLite stores
    return KeptSound(
        id=row[0],
        prompt=row[1],
        namespace=row[2],
        engine=row[3],
        model=row[4],
        duration_s=row[5],
        sample_rate=row[6],
        is_loop=bool(row[7]),
        commercial_use=bool(row[8]),
        created_at=row[9],
        size_bytes=row[10],
        quality=row[11],
        clap_similarity=row[12],
        voice=row[13] or None,
        rating=row[14],
        favourite=bool(row[15]),
        pinned=bool(row[16]),
        hits=row[17],
        last_used=row[18] if row[17] else None,
        tags=tuple(msgspec.json.decode(row[19], type=list[str])),
        labels=msgspec.json.decode(row[20], type=dict[str, Label]),
    )
