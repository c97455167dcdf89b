"""What heads follow: which entry came, changed or went, which judgement was given, which encoder measured.

Owns: writing a line inside the transaction that it is about, reading on without missing any, compaction.
Must not know: what a head does with a line.

Lines are read in the order of (xid, seq). A line whose transaction began after the oldest that is still under way may
yet be preceded by one of that: it is given, because a line says only whose state to look at and may be met twice, but
the place up to which the feed has been read stays before it. Any long transaction on the server, in whichever
database, costs reading some lines again and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from audio_pool.cache.postgres.migrations import Rows

__all__ = [
    "LINES_KEPT",
    "Line",
    "Place",
    "channel",
    "compact",
    "epoch_of",
    "floor_of",
    "leave_out_ids",
    "now_at",
    "read_on",
    "tell",
]

LINES_KEPT = 200_000
_COMPACT_AT_ONCE = 20_000
_IDS_LEFT_OUT = 10_000
"""More than heads can have been given of which this one has not heard yet."""
_TOLD_AT_ONCE = 400
"""Ids in one notification, which may have 8,000 bytes."""


class Place(NamedTuple):
    """How far the feed has been read."""

    xid: int = 0
    seq: int = 0


class Line(NamedTuple):
    """Whose state is another now."""

    at: Place
    what: str
    subject: str
    settled: bool
    """No line can come before it any more."""


def channel(schema: str) -> str:
    """Return the name by which heads wake each other."""
    return "audio_pool_" + hashlib.blake2b(schema.encode(), digest_size=6).hexdigest()


def tell(db: Rows, schema: str, what: str, subjects: Iterable[object]) -> None:
    """Write lines, inside the transaction that they are about; who follows is woken when it is committed."""
    told = [str(one) for one in subjects]
    for start in range(0, len(told), _TOLD_AT_ONCE):
        part = told[start : start + _TOLD_AT_ONCE]
        payload = f"{what} {','.join(part)}"
        db.execute(
            "WITH written AS (INSERT INTO feed (what, subject) SELECT %s, unnest(%s::text[])) SELECT pg_notify(%s, %s)",
            (what, part, channel(schema), payload if len(payload) < 7_900 else what),
        )


def read_on(db: Rows, after: Place, limit: int) -> list[Line]:
    """Return the next lines."""
    rows = db.execute(
        "SELECT xid::text, seq, what, subject, xid < pg_snapshot_xmin(pg_current_snapshot()) FROM feed"
        " WHERE (xid, seq) > (%s::text::xid8, %s) ORDER BY xid, seq LIMIT %s",
        (str(after.xid), after.seq, limit),
    )
    return [Line(Place(int(xid), seq), what, subject, settled) for xid, seq, what, subject, settled in rows]


def now_at(db: Rows) -> Place:
    """Return the place that everything committed before lies behind, as far as no older transaction is under way."""
    (xid,) = db.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text").fetchone() or ("0",)
    return Place(int(xid) - 1, 2**62)


def epoch_of(db: Rows) -> str:
    """Return what tells this server's numbers of transactions from another's: restored, promoted or made anew.

    Where a copy is brought back into the same database its tables are new files.

    A standby that was promoted may lack what its primary had acknowledged, so its ids may mean something else.
    """
    row = db.execute(
        "SELECT (SELECT system_identifier FROM pg_control_system())::text,"
        " CASE WHEN pg_is_in_recovery() THEN (SELECT lpad(upper(to_hex(timeline_id)), 8, '0') FROM"
        "  pg_control_checkpoint()) ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END,"
        " (SELECT oid FROM pg_database WHERE datname = current_database())::text,"
        " (SELECT value FROM facts WHERE name = 'store_id'), pg_relation_filenode('feed')::text"
    ).fetchone()
    assert row is not None
    system, timeline, database, store, file = row
    return f"{system}/{database}/{store}/{timeline}/{file}"


def leave_out_ids(db: Rows, epoch: str, upto: int) -> None:
    """Give no new entry an id that one of before this epoch had, though this server may never have heard of that.

    Args:
        upto: the greatest id that is known to have been given before. Other heads may know of later ones.
    """
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(hashtextextended('audio_pool ids ' || current_schema(), 0))")
        noted = db.execute("SELECT value FROM facts WHERE name = 'ids_epoch'").fetchone()
        (last,) = db.execute("SELECT last_value FROM entries_id_seq").fetchone() or (0,)
        if noted != (epoch,) or last < upto:
            db.execute("SELECT setval('entries_id_seq', %s)", (max(last, upto) + _IDS_LEFT_OUT,))
            db.execute(
                "INSERT INTO facts VALUES ('ids_epoch', %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (epoch,),
            )


def floor_of(db: Rows) -> Place:
    """Return the last line that was compacted away: who has not read as far must compare everything."""
    row = db.execute("SELECT value FROM facts WHERE name = 'feed_floor'").fetchone()
    xid, _, seq = row[0].partition(" ") if row else ("0", "", "0")
    return Place(int(xid), int(seq))


def compact(db: Rows, kept: int = LINES_KEPT) -> int:
    """Remove the oldest settled lines beyond so many, inside a transaction; return how many."""
    (locked,) = db.execute(
        "SELECT pg_try_advisory_xact_lock(hashtextextended('audio_pool feed ' || current_schema(), 0))"
    ).fetchone() or (False,)
    if not locked:
        return 0
    gone = db.execute(
        "WITH old AS (SELECT xid, seq FROM feed WHERE xid < pg_snapshot_xmin(pg_current_snapshot())"
        " AND (xid, seq) <= (SELECT xid, seq FROM feed ORDER BY xid DESC, seq DESC OFFSET %s LIMIT 1)"
        " ORDER BY xid, seq LIMIT %s), gone AS (DELETE FROM feed USING old WHERE feed.seq = old.seq"
        " RETURNING feed.xid, feed.seq) SELECT xid::text, seq, count(*) OVER () FROM gone"
        " ORDER BY xid DESC, seq DESC LIMIT 1",
        (kept, _COMPACT_AT_ONCE),
    ).fetchone()
    if gone is None:
        return 0
    xid, seq, count = gone
    db.execute(
        "INSERT INTO facts VALUES ('feed_floor', %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (f"{xid} {seq}",),
    )
    return int(count)
