"""Kept sounds in PostgreSQL: keeping and removing them so that a crash, of whichever head, loses at most one.

Owns: the order of a put and of a removal.
Must not know: what counts as a hit, how what is kept is looked up: that is the replica's.

Order of a put: file fsynced by its maker, mark, rename, row committed, mark removed; then the replica. Of one recipe
with a seed there is one sound: whoever keeps it second, in whichever head, gets the first one's.
Order of a removal: row deleted and its file named among those that are leaving in one transaction; then the replica,
before it returns. Other heads hear of it when it is committed.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.entry import Entry, Row, read_stored, text_digest
from audio_pool.cache.files import storage_errors
from audio_pool.cache.marks import Marked
from audio_pool.cache.noted import samples_of
from audio_pool.cache.postgres.database import PostgresDatabase, Unsure
from audio_pool.cache.postgres.feed import tell
from audio_pool.cache.postgres.leaving import Fate, PostgresLeaving
from audio_pool.cache.postgres.marks import write_marks
from audio_pool.cache.postgres.migrations import Rows
from audio_pool.cache.postgres.registry import register, trim
from audio_pool.cache.postgres.replica import Replica
from audio_pool.cache.postgres.states import states_of
from audio_pool.cache.settings import Filters, Settings, family_of, identity_of
from audio_pool.cache.sqlite.sources import source_of
from audio_pool.cache.store import Adopted, Also, Removal, Vector
from audio_pool.cache.trust import fingerprint
from audio_pool.cache.worth import base_of, heat_of, heated
from audio_pool.results import FinishedSound
from audio_pool.types import Recipe

__all__ = ["PostgresEntries"]

_log = logging.getLogger(__name__)

_REMOVE_AT_ONCE = 200
_KEPT = "SELECT id, file, size_bytes, created_at, recipe, metadata FROM entries WHERE family = %s AND identity = %s"
_INSERT = (
    "WITH e AS (INSERT INTO entries (identity, family, seeded, text_key, namespace, prompt, quality, created_at,"
    "  file, origin, size_bytes, sha256, preferred, recipe, metadata) VALUES ("
    "  %(identity)s, %(family)s, %(seeded)s,"
    "  %(text_key)s, %(namespace)s, %(prompt)s, %(quality)s, coalesce(%(created_at)s, greatest("
    "   extract(epoch FROM clock_timestamp())::float8, (SELECT created_at FROM entries ORDER BY id DESC LIMIT 1))),"
    "  %(file)s, %(origin)s, %(size_bytes)s, %(sha256)s, %(preferred)s, %(recipe)s, %(metadata)s)"
    "  RETURNING id, created_at),"
    " v AS (INSERT INTO vectors SELECT e.id, encoder, data FROM e,"
    "  unnest(%(encoders)s::text[], %(vectors)s::bytea[]) AS given (encoder, data)),"
    " s AS (INSERT INTO sources SELECT %(source)s::bytea, e.id FROM e WHERE %(source)s::bytea IS NOT NULL"
    "  ON CONFLICT (digest) DO UPDATE SET entry_id = excluded.entry_id)"
    " SELECT id, created_at FROM e"
)


class _Stored(NamedTuple):
    id: int
    file: str
    size_bytes: int
    created_at: float
    recipe: bytes
    metadata: bytes


class _Known(NamedTuple):
    stored: _Stored
    entry: Entry


class PostgresEntries:
    """See ``store.Entries``."""

    def __init__(
        self, database: PostgresDatabase, blobs: BlobStore, leaving: PostgresLeaving, replica: Replica
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._leaving = leaving
        self._replica = replica
        self._here = replica.entries

    # -- looking up

    def with_text(self, prompt: str, filters: Filters) -> list[Row]:
        return self._here.with_text(prompt, filters)

    def with_meaning(self, prompt: str, filters: Filters) -> list[Row]:
        return self._here.with_meaning(prompt, filters)

    def with_recipe(self, recipe: Recipe, filters: Filters) -> list[Row]:
        return self._here.with_recipe(recipe, filters)

    def with_ids(self, ids: Sequence[int], filters: Filters) -> list[Row]:
        return self._here.with_ids(ids, filters)

    def with_words(self, namespace: str, prompt: str) -> list[int]:
        return self._here.with_words(namespace, prompt)

    def variants(self, prompt: str, settings: Settings, length_tolerance: float) -> list[Row]:
        return self._here.variants(prompt, settings, length_tolerance)

    def identical(self, sound: FinishedSound) -> int | None:
        return self._here.identical(sound)

    def entry(self, entry_id: int) -> Entry | None:
        return self._here.entry(entry_id)

    def preferred_among(self, ids: Sequence[int]) -> set[int]:
        """Return those that are offered before others of their words."""
        return self._here.preferred_among(ids)

    # -- keeping

    def put(
        self,
        sound: FinishedSound,
        vectors: Mapping[str, Vector],
        *,
        replace: bool = False,
        preferred: bool = False,
        also: Also | None = None,
    ) -> Entry:
        doing = "keeping a sound"
        source = Path(sound.path)
        with storage_errors(doing, self._blobs.location):
            digest, size = fingerprint(source)
        # what the replica knows may have gone meanwhile, and what it does not know is met in the transaction
        if not replace and self._here.identical(sound) is not None:
            known = self._known(sound, doing, also)
            if known is not None:
                source.unlink(missing_ok=True)
                return self._taken_over(*known)
        file = self._blobs.name_for("audio", digest, ".flac")
        one = Adopted(
            sound, file, size, digest, 0.0, _sound_ones(vectors), origin=self._blobs.origin_of(source),
            preferred=preferred, source=source_of(sound.metadata),
        )  # fmt: skip
        samples = samples_of(source)
        with storage_errors(doing, self._blobs.location):
            placement = self._blobs.place(source, file)
        try:
            with self._own() as own:
                kept, gone = self._database.write(
                    doing, lambda db: self._insert_instead(db, one, samples, own, replace=replace, also=also)
                )
        except Unsure:
            # it may be committed: the file stays, and whoever sweeps finds out by the rows; a copy is delivered
            with storage_errors(doing, self._blobs.location):
                shutil.copyfile(self._blobs.path_of(file), source)
            raise
        except BaseException:
            self._blobs.withdraw(placement)
            raise
        if isinstance(kept, _Known):
            self._blobs.discard(file)
            self._blobs.settle(placement)
            return self._taken_over(*kept)
        self._blobs.settle(placement)
        self._replica.forget(gone)
        self._replica.keep([kept])
        return Entry(
            id=kept.entry_id,
            path=self._blobs.path_of(file),
            recipe=sound.recipe,
            metadata=sound.metadata,
            created_at=kept.created_at,
            size_bytes=size,
        )

    @contextlib.contextmanager
    def _own(self) -> Iterator[list[int]]:
        """Yield where the ids go that are inserted; where that fails, what became of them is looked at by itself."""
        own: list[int] = []
        try:
            yield own
        except BaseException:
            self._replica.doubt(own)
            raise

    def _known(self, sound: FinishedSound, doing: str, also: Also | None) -> _Known | None:
        """Return what is kept of the recipe, and write beside it what is to be written with the sound."""
        sql, values = _kept(sound)
        if also is None:
            return self._whole(self._database.read(sql, values, doing=doing))

        def work(db: Rows) -> _Known | None:
            known = self._whole(db.execute(f"{sql} FOR KEY SHARE", values).fetchall())  # it must not go meanwhile
            if known is not None:
                also(db, known.stored.id)
            return known

        return self._database.write(doing, work)

    def _whole(self, rows: Sequence[tuple[Any, ...]]) -> _Known | None:  # Any: as PostgreSQL gives them
        """Return what is kept of a recipe, where it can be read and its file is whole."""
        for row in rows:
            kept = _Stored._make(row)
            found = read_stored(kept.recipe, kept.metadata)
            there = self._blobs.is_whole(kept.file, kept.size_bytes) or self._blobs.elsewhere(kept.file)
            if found is not None and there:
                return _Known(kept, Entry(
                    id=kept.id, path=self._blobs.path_of(kept.file), recipe=found[0], metadata=found[1],
                    created_at=kept.created_at, size_bytes=kept.size_bytes,
                ))  # fmt: skip
        return None

    def _taken_over(self, kept: _Stored, entry: Entry) -> Entry:
        """Return an entry that another head may just have kept; it is offered here from now on."""
        if self._here.entry(kept.id) is None:
            self._replica.keep(self._database.write("following the shared cache", lambda db: states_of(db, [kept.id])))
        return entry

    def _insert_instead(
        self, db: Rows, one: Adopted, samples: bytes, own: list[int], *, replace: bool, also: Also | None
    ) -> tuple[Adopted | _Known, list[int]]:
        """Insert a sound, in the place of the one of the same recipe where there is one; return both.

        What another head has kept meanwhile stays, and is returned instead.
        """
        pinned, marked = False, Marked()
        gone: list[int] = []
        if one.sound.recipe.seed is not None:
            sql, values = _kept(one.sound)
            with db.pipeline():
                # who comes second waits here for the first, and then finds what he has kept
                db.execute("SELECT pg_advisory_xact_lock(hashtextextended(encode(%s, 'hex'), 0))", values[1:])
                rows = db.execute(f"{sql} FOR UPDATE", values).fetchall()
            known = None if replace else self._whole(rows)
            if known is not None:
                if also is not None:
                    also(db, known.stored.id)
                return known, []
            for row in rows:
                pinned = pinned or bool(db.execute("SELECT 1 FROM pins WHERE entry_id = %s", row[:1]).fetchone())
                marks = db.execute("SELECT rating, favourite, tags FROM marks WHERE entry_id = %s", row[:1]).fetchone()
                if marks:
                    marked = Marked(marks[0], marks[1], None if marks[2] is None else tuple(marks[2]))
            if rows:
                gone, _ = self._delete(db, [row[0] for row in rows])
        made = self._insert(db, one._replace(pinned=pinned, marked=marked), samples, own, made_now=True)
        if also is not None:
            assert made.entry_id is not None
            also(db, made.entry_id)
        return made, gone

    def _insert(self, db: Rows, one: Adopted, samples: bytes, own: list[int], *, made_now: bool = False) -> Adopted:
        """Write the rows of one sound; return it with its id and time."""
        recipe, metadata = one.sound.recipe, one.sound.metadata
        values = {
            "identity": identity_of(one.sound),
            "family": family_of(recipe),
            "seeded": recipe.seed is not None,
            "text_key": text_digest(recipe.namespace, recipe.prompt),
            "namespace": recipe.namespace,
            "prompt": recipe.prompt,
            "quality": metadata.quality.score,
            "created_at": None if made_now else one.created_at,
            "file": one.file,
            "origin": one.origin,
            "size_bytes": one.size_bytes,
            "sha256": one.sha256,
            "preferred": one.preferred,
            "recipe": msgspec.json.encode(recipe),
            "metadata": msgspec.json.encode(metadata),
            "encoders": list(one.vectors),
            "vectors": [np.ascontiguousarray(vector, np.float32).tobytes() for vector in one.vectors.values()],
            "source": one.source or None,
        }
        row = db.execute(_INSERT, values).fetchone()
        assert row is not None
        entry_id, created_at = row
        base = base_of(metadata.timings_ms.generate / 1000, metadata.quality.score, one.size_bytes)
        last_used = max(created_at, one.last_used)
        rank = base + heat_of(1, created_at)
        if one.hits:
            rank = base + heated(rank - base, one.hits, last_used)
        with db.pipeline():  # in one go, whatever it is
            db.execute(
                "INSERT INTO uses VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (entry_id, recipe.namespace, one.hits, last_used, metadata.timings_ms.generate / 1000, base, rank),
            )
            if one.pinned:
                db.execute("INSERT INTO pins VALUES (%s)", (entry_id,))
            if one.marked != Marked():
                write_marks(db, entry_id, one.marked)
            for rendition in one.renditions:
                db.execute("INSERT INTO renditions VALUES (%s, %s, %s, %s, %s)", (entry_id, *rendition))
            tell(db, self._database.schema, "entry", [entry_id])
            hashes = [one.sha256, *(rendition[3] for rendition in one.renditions)]
            register(db, entry_id, one.sound, samples, hashes, made_at=created_at)
        own.append(entry_id)
        self._replica.expect(entry_id)
        return one._replace(entry_id=entry_id, created_at=created_at)

    def adopt(self, found: Sequence[Adopted]) -> list[bool]:
        with self._own() as own:
            made = self._database.write(
                "making rows of masters", lambda db: [self._adopt(db, one, own) for one in found]
            )
        self._replica.keep([one for one in made if one is not None])
        return [one is not None for one in made]

    def _adopt(self, db: Rows, one: Adopted, own: list[int]) -> Adopted | None:
        if db.execute("SELECT 1 FROM entries WHERE file = %s", (one.file,)).fetchone():
            return None
        recipe = one.sound.recipe
        one = one._replace(source=one.source or source_of(one.sound.metadata), vectors=_sound_ones(one.vectors))
        if recipe.seed is not None:
            sql, values = _kept(one.sound)
            if db.execute(sql, values).fetchone():
                return None
        if one.entry_id is None:
            if one.source and db.execute("SELECT 1 FROM sources WHERE digest = %s", (one.source,)).fetchone():
                return None
            key = text_digest(recipe.namespace, recipe.prompt)
            same = "SELECT 1 FROM entries WHERE text_key = %s AND sha256 = %s"
            if db.execute(same, (key, one.sha256)).fetchone():
                return None
        db.execute("DELETE FROM leaving WHERE file = %s", (one.file,))
        # an id of another cache means nothing here
        return self._insert(db, one._replace(entry_id=None), samples_of(Path(self._blobs.path_of(one.file))), own)

    # -- removing

    def remove(self, ids: Iterable[int], *, spare_pinned: bool = False, remembered: bool = False) -> Removal:
        wanted = sorted(set(ids))
        total = Removal()
        for start in range(0, len(wanted), _REMOVE_AT_ONCE):
            part = wanted[start : start + _REMOVE_AT_ONCE]
            total = total.and_also(self._remove(part, spare_pinned=spare_pinned, remembered=remembered))
        return total

    def _remove(
        self, ids: Sequence[int], fate: Fate = "unlink", *, spare_pinned: bool = False, remembered: bool = True
    ) -> Removal:
        def work(db: Rows) -> tuple[list[int], list[str]]:
            gone = self._delete(db, ids, fate, spare_pinned=spare_pinned, remembered=remembered)
            trim(db)
            return gone

        gone, files = self._database.write("removing sounds", work)
        self._replica.forget(gone)
        return self._leaving.counted(files)._replace(items=len(gone))

    def expel(self, ids: Iterable[int]) -> None:
        for entry_id in ids:
            self._remove([entry_id], "quarantine")

    def _delete(
        self,
        db: Rows,
        ids: Sequence[int],
        fate: Fate = "unlink",
        *,
        spare_pinned: bool = False,
        remembered: bool = True,
    ) -> tuple[list[int], list[str]]:
        """Remove rows inside a transaction; return which there were, and the files that leave with them."""
        spared = " AND NOT EXISTS (SELECT 1 FROM pins WHERE entry_id = id)" if spare_pinned else ""
        # in order: two heads that remove the same do not wait for each other in a ring
        rows = db.execute(
            f"SELECT id, file FROM entries WHERE id = ANY(%s){spared} ORDER BY id FOR UPDATE", (list(ids),)
        ).fetchall()
        gone, files = [row[0] for row in rows], [row[1] for row in rows]
        if not gone:
            return [], []
        beside = db.execute("SELECT file FROM renditions WHERE entry_id = ANY(%s)", (gone,)).fetchall()
        if not remembered:
            db.execute("DELETE FROM registry WHERE entry_id = ANY(%s)", (gone,))
        self._leaving.name(db, files, fate)
        self._leaving.name(db, [file for (file,) in beside], "unlink")
        db.execute("DELETE FROM entries WHERE id = ANY(%s)", (gone,))
        tell(db, self._database.schema, "removed", gone)
        return gone, files + [file for (file,) in beside]


def _kept(sound: FinishedSound) -> tuple[str, tuple[bytes, bytes]]:
    return f"{_KEPT} AND seeded", (family_of(sound.recipe), identity_of(sound))


def _sound_ones(vectors: Mapping[str, Vector]) -> dict[str, Vector]:
    """Return those of the vectors that say something."""
    found: dict[str, Vector] = {}
    for encoder, vector in vectors.items():
        flat = np.ascontiguousarray(vector, np.float32)
        if flat.ndim == 1 and np.isfinite(flat).all() and flat.any():
            found[encoder] = flat
        else:
            _log.warning("a vector of %s says nothing and is not kept", encoder)
    return found
