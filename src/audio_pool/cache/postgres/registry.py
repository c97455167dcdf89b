"""The registry in PostgreSQL: what any head has made.

Owns: the tables ``registry``, ``registry_files`` and ``fingerprints``.
Must not know: how a fingerprint is made or compared.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.entry import read_stored
from audio_pool.cache.noted import samples_of
from audio_pool.cache.postgres.database import PostgresDatabase, Unreachable
from audio_pool.cache.postgres.migrations import Cursor, Rows
from audio_pool.cache.registry import REMEMBERED, KeptFingerprint, Noted, Registered, Unregistered
from audio_pool.origin import Made, made_of
from audio_pool.results import FinishedSound

__all__ = ["PostgresRegistry", "another_file", "register", "trim"]

_log = logging.getLogger(__name__)

_ROW = "registry.id, entry_id, namespace, made FROM registry"
_WITHOUT = (
    "NOT EXISTS (SELECT 1 FROM registry JOIN fingerprints ON sound = registry.id WHERE registry.entry_id = entries.id)"
)


class PostgresRegistry:
    """See ``registry.Registry``."""

    def __init__(self, database: PostgresDatabase, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def with_file(self, sha256: bytes) -> list[Registered]:
        joined = "JOIN registry_files ON sound = registry.id WHERE sha256 = %s ORDER BY registry.id DESC LIMIT 64"
        return self._found(joined, sha256)

    def with_samples(self, md5: bytes) -> list[Registered]:
        return self._found("WHERE samples = %s AND samples <> '' ORDER BY id DESC LIMIT 64", md5)

    def with_recipe(self, identity: str) -> list[Registered]:
        return self._found("WHERE recipe_id = %s ORDER BY id DESC LIMIT 64", identity)

    def _found(self, where: str, value: bytes | str) -> list[Registered]:
        rows = self._database.read(f"SELECT {_ROW} {where}", (value,))
        return [one for row in rows if (one := _registered(row)) is not None]

    def with_fingerprint(self, number: int) -> tuple[Registered, bytes] | None:
        sql = f"SELECT data, {_ROW} JOIN fingerprints ON sound = registry.id WHERE number = %s"
        for data, *row in self._database.read(sql, (number,)):
            if (one := _registered(row)) is not None:
                return one, data
        return None

    def fingerprints_after(self, number: int, limit: int) -> list[KeptFingerprint]:
        sql = "SELECT number, data FROM fingerprints WHERE number > %s ORDER BY number LIMIT %s"
        return [KeptFingerprint._make(row) for row in self._database.read(sql, (number, limit))]

    def counts(self) -> tuple[int, int, int]:
        sql = (
            "SELECT (SELECT count(*) FROM registry), (SELECT count(*) FROM registry WHERE entry_id IS NULL),"
            f" (SELECT count(*) FROM entries WHERE {_WITHOUT})"
        )
        every, gone, without = self._database.read(sql)[0]
        return every, gone, without

    def without(self, after: int, limit: int) -> list[Unregistered]:
        sql = f"SELECT id, file, recipe, metadata FROM entries WHERE id > %s AND {_WITHOUT} ORDER BY id LIMIT %s"
        found = []
        for entry_id, file, recipe, metadata in self._database.read(sql, (after, limit)):
            stored = read_stored(recipe, metadata)
            found.append(Unregistered(entry_id, self._blobs.path_of(file), stored is not None and stored[0].loop))
        return found

    def fill(self, found: Sequence[tuple[int, bytes]]) -> None:
        def work(db: Rows) -> None:
            for entry_id, data in sorted(found):
                number = self._number_of(db, entry_id)
                if number is not None:
                    _keep_fingerprint(db, number, data)

        self._database.write("keeping fingerprints", work)

    def _number_of(self, db: Rows, entry_id: int) -> int | None:
        known = db.execute("SELECT id FROM registry WHERE entry_id = %s", (entry_id,)).fetchone()
        if known is not None:
            return int(known[0])
        row = db.execute(
            "SELECT file, sha256, created_at, recipe, metadata FROM entries WHERE id = %s FOR KEY SHARE", (entry_id,)
        ).fetchone()
        stored = None if row is None else read_stored(row[3], row[4])
        if row is None or stored is None:
            return None
        sound = FinishedSound(path="", recipe=stored[0], metadata=stored[1], accepted=True)
        samples = samples_of(Path(self._blobs.path_of(row[0])))
        (number,) = register(db, entry_id, sound, samples, [row[1]], made_at=row[2]).fetchone() or (0,)
        db.execute(
            "INSERT INTO registry_files SELECT sha256, %s FROM renditions WHERE entry_id = %s AND sha256 <> ''"
            " ON CONFLICT DO NOTHING",
            (number, entry_id),
        )
        return int(number)

    def note(self, sounds: Iterable[Noted]) -> None:
        noted = list(sounds)

        def work(db: Rows) -> None:
            for one in noted:
                _insert(db, None, one)
            trim(db)

        try:
            self._database.write("remembering sounds", work)
        except Unreachable as exc:  # it is delivered all the same, and not known afterwards
            _log.warning("%s", exc)

    def forget_gone(self) -> int:
        return self._database.write(
            "forgetting sounds", lambda db: int(db.execute("DELETE FROM registry WHERE entry_id IS NULL").rowcount)
        )

    def settle(self, remembered: int) -> None:
        def work(db: Rows) -> None:
            changed = db.execute(
                "INSERT INTO facts VALUES ('remembered', %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
                " WHERE facts.value <> excluded.value",
                (str(remembered),),
            ).rowcount
            if changed:
                trim(db)

        self._database.write("opening the cache", work)


def _registered(row: Sequence[Any]) -> Registered | None:  # Any: what PostgreSQL stores
    try:
        return Registered(row[0], row[1], row[2], msgspec.json.decode(row[3], type=Made))
    except msgspec.DecodeError:  # of a later version
        return None


# -- for whoever keeps and removes entries, inside their transactions


def register(
    db: Rows, entry_id: int, sound: FinishedSound, samples: bytes, files: Sequence[bytes], *, made_at: float
) -> Cursor:
    """Enter a sound that is kept, as the last thing of a transaction; what is returned gives its number."""
    made = made_of(sound.recipe, sound.metadata, made_at)
    return _insert(db, entry_id, Noted(sound.recipe.namespace, made, samples, tuple(files), sound.fingerprint))


def _insert(db: Rows, entry_id: int | None, noted: Noted) -> Cursor:
    """Enter a sound; what is returned gives its number."""
    if noted.fingerprint:
        db.execute(_NUMBERED_IN_ORDER)
    return db.execute(
        "WITH r AS (INSERT INTO registry (entry_id, recipe_id, namespace, samples, made)"
        "  VALUES (%s, %s, %s, %s, %s) RETURNING id),"
        " f AS (INSERT INTO registry_files SELECT DISTINCT sha256, r.id FROM r, unnest(%s::bytea[]) AS given (sha256)),"
        " p AS (INSERT INTO fingerprints (sound, data) SELECT id, %s::bytea FROM r WHERE %s::bytea <> '')"
        " SELECT id FROM r",
        (
            entry_id, noted.made.recipe_id, noted.namespace, noted.samples, msgspec.json.encode(noted.made),
            [one for one in noted.files if one], noted.fingerprint, noted.fingerprint,
        ),
    )  # fmt: skip


_NUMBERED_IN_ORDER = (  # until the commit: whoever reads on by number misses none
    "SELECT pg_advisory_xact_lock(hashtextextended('audio_pool fingerprints ' || current_schema(), 0))"
)


def _keep_fingerprint(db: Rows, number: int, data: bytes) -> None:
    db.execute(_NUMBERED_IN_ORDER)
    db.execute("DELETE FROM fingerprints WHERE sound = %s", (number,))
    db.execute("INSERT INTO fingerprints (sound, data) VALUES (%s, %s)", (number, data))


def another_file(db: Rows, entry_id: int, sha256: bytes) -> None:
    """Note a rendition's file of an entry."""
    db.execute(
        "INSERT INTO registry_files SELECT %s, id FROM registry WHERE entry_id = %s ON CONFLICT DO NOTHING",
        (sha256, entry_id),
    )


def trim(db: Rows) -> None:
    """Forget the oldest of those that are not kept any more, beyond as many as are to be remembered."""
    row = db.execute("SELECT value FROM facts WHERE name = 'remembered'").fetchone()
    gone = "SELECT id FROM registry WHERE entry_id IS NULL ORDER BY id DESC LIMIT 1 OFFSET %s"
    db.execute(
        f"DELETE FROM registry WHERE entry_id IS NULL AND id <= ({gone})", (int(row[0]) if row else REMEMBERED,)
    )
