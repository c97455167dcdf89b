"""What people judged, and what was measured of encoders, in PostgreSQL; read in the replica.

Owns: the tables ``judgements`` and ``calibrations``.
Must not know: what a judgement or a threshold does to a look-up.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from audio_pool.cache.calibration import Measured
from audio_pool.cache.entry import text_digest
from audio_pool.cache.judgements import Given, Judgement
from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.postgres.feed import tell
from audio_pool.cache.postgres.migrations import Rows
from audio_pool.cache.postgres.replica import Replica
from audio_pool.errors import NotFound

__all__ = ["PostgresCalibrations", "PostgresJudgements"]

_MOST = 100_000
"""Kept; the oldest go. Whoever may ask for sounds may judge them, and must not fill the disk by it."""


class PostgresJudgements:
    """See ``judgements.Judgements``. Their numbers are the replica's: each head follows its own."""

    def __init__(self, database: PostgresDatabase, replica: Replica) -> None:
        self._database = database
        self._replica = replica

    def give(self, given: Iterable[Given]) -> None:
        chosen = list(given)

        def work(db: Rows) -> list[Judgement]:
            # in one order: two heads that judge the same do not wait for each other in a ring
            order = sorted(range(len(chosen)), key=lambda number: (_pair(chosen[number]), number))
            now = self._database.now()
            kept = {number: self._give(db, chosen[number], now) for number in order}
            db.execute("DELETE FROM judgements WHERE seq <= (SELECT max(seq) FROM judgements) - %s", (_MOST,))
            tell(db, self._database.schema, "judgement", [one.seq for one in kept.values()])
            return [kept[number] for number in range(len(chosen))]

        self._replica.judge(self._database.write("noting a judgement", work))

    @staticmethod
    def _give(db: Rows, one: Given, now: float) -> Judgement:
        if one.entry_id is not None and not db.execute(
            "SELECT 1 FROM entries WHERE id = %s", (one.entry_id,)
        ).fetchone():
            raise NotFound(f"no entry with id {one.entry_id}; nothing was noted")
        low, high = _pair(one)
        db.execute(
            "DELETE FROM judgements WHERE low_key = %s AND high_key = %s AND coalesce(entry_id, 0) = %s",
            (low, high, one.entry_id or 0),
        )
        row = db.execute(
            "INSERT INTO judgements (namespace, query, prompt, low_key, high_key, entry_id, verdict, source, judged_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (low_key, high_key, coalesce(entry_id, 0))"
            " DO UPDATE SET verdict = excluded.verdict, source = excluded.source, judged_at = excluded.judged_at"
            " RETURNING seq",
            (one.namespace, one.query, one.prompt, low, high, one.entry_id, one.verdict, one.source, now),
        ).fetchone()
        assert row is not None
        return Judgement(row[0], one, now)

    def since(self, seq: int, limit: int = -1) -> list[Judgement]:
        return self._replica.judgements.since(seq, limit)

    def about(self, namespace: str, prompt: str, entry_id: int) -> list[Judgement]:
        return self._replica.judgements.about(namespace, prompt, entry_id)

    def newest(self, limit: int) -> list[Judgement]:
        return self._replica.judgements.newest(limit)


def _pair(one: Given) -> tuple[bytes, bytes]:
    query, prompt = (text_digest(one.namespace, text) for text in (one.query, one.prompt))
    if one.entry_id is not None:
        return query, prompt
    return min(query, prompt), max(query, prompt)


class PostgresCalibrations:
    """See ``calibrations.Calibrations``."""

    def __init__(self, database: PostgresDatabase, replica: Replica) -> None:
        self._database = database
        self._replica = replica

    def at_070(self, space: str) -> float | None:
        return self._replica.calibrations.at_070(space)

    def all(self) -> list[Measured]:
        return self._replica.calibrations.all()

    def keep(self, measured: Measured) -> None:
        report = msgspec.json.encode(msgspec.structs.replace(measured, curve=()))
        row = (measured.space, measured.at_070, report, self._database.now())

        def work(db: Rows) -> list[tuple[str, float, bytes, float]]:
            db.execute(
                "INSERT INTO calibrations VALUES (%s, %s, %s, %s) ON CONFLICT (space) DO UPDATE SET"
                " at_070 = excluded.at_070, report = excluded.report, measured_at = excluded.measured_at", row,
            )  # fmt: skip
            return self._told(db, measured.space)

        self._replica.measure(self._database.write("keeping a calibration", work))

    def forget(self, space: str) -> bool:
        def work(db: Rows) -> tuple[bool, list[tuple[str, float, bytes, float]]]:
            gone = db.execute("DELETE FROM calibrations WHERE space = %s", (space,)).rowcount > 0
            return gone, self._told(db, space)

        gone, left = self._database.write("forgetting a calibration", work)
        self._replica.measure(left)
        return gone

    def _told(self, db: Rows, space: str) -> list[tuple[str, float, bytes, float]]:
        tell(db, self._database.schema, "calibration", [space])
        rows = db.execute("SELECT space, at_070, report, measured_at FROM calibrations")
        return [(row[0], row[1], row[2], row[3]) for row in rows]
