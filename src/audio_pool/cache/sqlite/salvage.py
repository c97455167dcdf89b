"""What can still be read of a damaged database, row by row.

Owns: reading around pages that cannot be read.
Must not know: masters, what becomes of the rows.

SQLite gives up a scan at the first damaged page. A range of ids that cannot be read is halved until the rows are
found that can; the number of such attempts is bounded, for a damaged root loses every range.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec
import numpy as np

from audio_pool.cache.calibration import Measured
from audio_pool.cache.entry import read_stored
from audio_pool.cache.judgements import Given, Judged
from audio_pool.cache.marks import Marked
from audio_pool.cache.registry import Noted
from audio_pool.cache.sqlite.presets import preset_of
from audio_pool.cache.sqlite.registry import gone_in
from audio_pool.cache.store import Adopted
from audio_pool.errors import AudioPoolError
from audio_pool.presets import Preset, PresetMetadata, checked_preset
from audio_pool.results import FinishedSound

__all__ = ["Salvage", "Saved"]

_AT_ONCE = 256
_MOST_ATTEMPTS = 100_000
_ENTRY = "id, file, origin, size_bytes, sha256, created_at"


class Saved(NamedTuple):
    """One entry's row, and its sound where recipe and metadata could be read."""

    entry_id: int
    file: str
    origin: str
    size_bytes: int
    sha256: bytes
    created_at: float
    adopted: Adopted | None


class Salvage:
    """A copy of a damaged database, opened for reading."""

    def __init__(self, copy: Path) -> None:
        self._db = sqlite3.connect(copy, isolation_level=None)
        self._attempts = 0

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def leaving(self) -> list[str]:
        """Return the files of sounds that had been removed."""
        return [str(file) for (file,) in self._try("SELECT file FROM leaving", ())]

    def judgements(self) -> list[Given]:
        """Return what people judged, the oldest first: of sounds under the ids that they have here."""
        kept = "SELECT namespace, query, prompt, verdict, source, entry_id FROM judgements ORDER BY seq"
        return [
            Given._make(row)
            for row in self._try(kept, ())
            if all(isinstance(part, str) for part in row[:5]) and row[3] in get_args(Judged)
        ]

    def calibrations(self) -> list[Measured]:
        """Return what was measured of encoders."""
        found = []
        for (report,) in self._try("SELECT report FROM calibrations", ()):
            with contextlib.suppress(msgspec.DecodeError, TypeError):
                found.append(msgspec.json.decode(report, type=Measured))
        return found

    def gone(self) -> list[Noted]:
        """Return the sounds that are remembered though they are not kept any more, the oldest first."""
        files: dict[int, list[bytes]] = {}
        for number, sha256 in self._try(_GONE_FILES, ()):
            files.setdefault(number, []).append(sha256)
        return gone_in((*row, files.get(row[0], [])) for row in self._try(_GONE, ()))

    def presets(self) -> list[Preset]:
        """Return the presets that can be read."""
        found = []
        for row in self._try("SELECT id, type, priority, set_at, engines, content FROM presets", ()):
            # a damaged page may hold anything
            with contextlib.suppress(msgspec.MsgspecError, AudioPoolError, TypeError, ValueError):
                preset = preset_of(row)
                metadata = msgspec.convert(msgspec.to_builtins(preset.metadata), PresetMetadata)
                found.append(checked_preset(_fields(preset), metadata=metadata))
        return found

    def entries(self) -> Iterator[Saved]:
        """Yield every entry whose row can be read, by id."""
        pins = {row[0] for row in self._try("SELECT entry_id FROM pins", ())}
        preferred = {row[0] for row in self._try("SELECT id FROM entries WHERE preferred > 0", ())}
        marked = _marked(self._try(_MARKS, ()), self._try(_TAGS, ()))
        recognised = bool(self._try("SELECT 1 FROM fingerprints LIMIT 1", ()))
        last = max((self._greatest(sql) for sql in _GREATEST), default=0)
        for first in range(1, last + 1, _AT_ONCE):
            ids = (first, min(first + _AT_ONCE, last + 1))
            provenance = {row[0]: row[1:] for row in self._between(_PROVENANCE, *ids)}
            vectors = list(self._between(_VECTORS, *ids))
            renditions = list(self._between(_RENDITIONS, *ids))
            known_by = dict(self._between(_FINGERPRINTS, *ids)) if recognised else {}
            uses = {row[0]: row[1:] for row in self._between(_USES, *ids) if _is_use(row)}
            for row in self._between(_ENTRIES, *ids):
                if _is_sane(row):
                    known = {space: np.frombuffer(data, np.float32) for n, space, data in vectors if n == row[0]}
                    others = tuple((*one[1:], b"")[:4] for one in renditions if one[0] == row[0])
                    saved = _saved(row, provenance.get(row[0]), known, others, row[0] in pins)
                    if saved.adopted is not None:
                        hits, last_used = uses.get(row[0], (0, 0.0))
                        # a damaged page takes the answer for all rows with it; each row's metadata tell it, too
                        leads = row[0] in preferred or saved.adopted.sound.metadata.forced
                        adopted = saved.adopted._replace(hits=hits, last_used=last_used, preferred=leads)
                        adopted = adopted._replace(marked=marked.get(row[0], Marked()))
                        if isinstance(print_ := known_by.get(row[0]), bytes):
                            sound = msgspec.structs.replace(adopted.sound, fingerprint=print_)
                            adopted = adopted._replace(sound=sound)
                        saved = saved._replace(adopted=adopted)
                    yield saved

    def _greatest(self, sql: str) -> int:
        found = self._try(sql, ())
        value = found[0][0] if found else 0
        return min(value, 1 << 40) if isinstance(value, int) else 0

    def _between(self, sql: str, first: int, end: int) -> Iterator[tuple[Any, ...]]:  # Any: rows as SQLite gives them
        """Yield the rows with ids from ``first`` to before ``end`` that can be read."""
        if self._attempts > _MOST_ATTEMPTS:
            return
        try:
            rows = self._db.execute(sql, (first, end)).fetchall()
        except sqlite3.Error:
            self._attempts += 1
            if end - first > 1:
                middle = (first + end) // 2
                yield from self._between(sql, first, middle)
                yield from self._between(sql, middle, end)
            return
        yield from rows

    def _try(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        with contextlib.suppress(sqlite3.Error):
            return self._db.execute(sql, values).fetchall()
        return []


_ENTRIES = f"SELECT {_ENTRY} FROM entries WHERE id >= ? AND id < ?"
_PROVENANCE = "SELECT entry_id, recipe, metadata FROM provenance WHERE entry_id >= ? AND entry_id < ?"
_VECTORS = "SELECT entry_id, encoder, data FROM vectors WHERE entry_id >= ? AND entry_id < ?"
_RENDITIONS = "SELECT * FROM renditions WHERE entry_id >= ? AND entry_id < ?"
_USES = "SELECT entry_id, hits, last_used FROM uses WHERE entry_id >= ? AND entry_id < ? AND hits > 0"
_FINGERPRINTS = (
    "SELECT entry_id, data FROM registry JOIN fingerprints ON sound = registry.id"
    " WHERE entry_id >= ? AND entry_id < ?"
)
_GONE = (
    "SELECT registry.id, namespace, made, samples, data FROM registry LEFT JOIN fingerprints ON sound = registry.id"
    " WHERE entry_id IS NULL ORDER BY registry.id"
)
_GONE_FILES = "SELECT sound, sha256 FROM registry_files JOIN registry ON sound = registry.id WHERE entry_id IS NULL"
_MARKS = "SELECT entry_id, rating, favourite, retagged FROM marks"
_TAGS = "SELECT entry_id, tag FROM tags WHERE entry_id IN (SELECT entry_id FROM marks WHERE retagged = 1)"
_GREATEST = (
    "SELECT seq FROM sqlite_sequence WHERE name = 'entries'",
    "SELECT max(id) FROM entries",
    "SELECT max(entry_id) FROM provenance",
)


def _is_sane(row: tuple[Any, ...]) -> bool:
    """Return True where the columns are what they must be: a damaged page may be read as anything."""
    entry_id, file, origin, size, sha256, created_at = row
    return (
        isinstance(entry_id, int)
        and isinstance(file, str)
        and file.startswith("audio/")
        and ".." not in file
        and isinstance(origin, str)
        and isinstance(size, int)
        and isinstance(sha256, bytes)
        and len(sha256) == 32
        and isinstance(created_at, float)
    )


def _is_use(row: tuple[Any, ...]) -> bool:
    return isinstance(row[1], int) and 0 < row[1] < 1 << 53 and isinstance(row[2], float)


def _fields(preset: Preset) -> dict[str, Any]:
    return {"id": preset.id, "type": preset.type, "content": preset.content, "engines": list(preset.engines)}


def _marked(marks: Iterable[tuple[Any, ...]], tags: Iterable[tuple[Any, ...]]) -> dict[int, Marked]:
    """Return marks by entry, without those that are not what they must be."""
    by_entry: dict[int, list[str]] = {}
    for entry_id, tag in tags:
        if isinstance(tag, str):
            by_entry.setdefault(entry_id, []).append(tag)
    found = {}
    for entry_id, rating, favourite, retagged in marks:
        known = tuple(sorted(by_entry.get(entry_id, []))) if retagged == 1 else None
        found[entry_id] = Marked(rating if rating in range(1, 6) else None, favourite == 1, known)
    return found


def _saved(
    row: tuple[Any, ...],
    provenance: tuple[Any, ...] | None,
    vectors: dict[str, Any],
    renditions: tuple[Any, ...],
    pinned: bool,
) -> Saved:
    entry_id, file, origin, size, sha256, created_at = row
    adopted = None
    stored = read_stored(*provenance) if provenance and all(isinstance(part, bytes) for part in provenance) else None
    if stored is not None:
        sound = FinishedSound(path="", recipe=stored[0], metadata=stored[1], accepted=True)
        adopted = Adopted(sound, file, size, sha256, created_at, vectors, entry_id, origin, renditions, pinned)
    return Saved(entry_id, file, origin, size, sha256, created_at, adopted)
