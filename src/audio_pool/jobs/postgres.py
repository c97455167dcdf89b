"""The journal in PostgreSQL, shared by several heads: any of them takes a job, and answers for all.

Owns: every SQL statement about the table ``jobs``, and what becomes of errors there.
Must not know: threads, who asks, how a sound is made, how long a head lives (leases.py).

A job that nobody has in hand is taken with ``FOR UPDATE SKIP LOCKED``, by priority, then in the order in which jobs
came; each time it gets the next attempt. What a head writes about a job in its hand names number, attempt and head:
where that finds no row another one has taken the job since, and what came of the former attempt is nobody's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import msgspec

from audio_pool.api import JobState
from audio_pool.cache.postgres.database import PostgresDatabase, Unreachable
from audio_pool.cache.postgres.migrations import Rows
from audio_pool.errors import NotFound, StorageError
from audio_pool.jobs.leases import CANCEL, ENDED, READY, has_lease, leave, renew, ring
from audio_pool.jobs.record import Held, JobKey, JobRecord, Look, Outcome
from audio_pool.results import Failure, SoundMetadata
from audio_pool.types import AudioRequest, Priority

__all__ = ["PostgresJournal", "mark_made"]

log = logging.getLogger(__name__)

_COUNTED_S = 1.0
"""How old the count of all heads' jobs may be: it bounds them, and is asked for with every new one."""
_LATE_AT_ONCE = 100
_COLUMNS = (
    "owner, request_id, request, body, rights, created_at, deadline_at, state, attempts, lives, finished_at, "
    "expires_at, path, metadata, failure, id, coalesce(head, ''), attempt, cancelled, coalesce(entry_id, 0)"
)
_ONE = "owner = %s AND request_id = %s"
_FENCE = "id = %s AND attempt = %s AND head = %s AND expires_at IS NULL"
_FREE = "head IS NULL AND expires_at IS NULL AND NOT id = ANY(%(strange)s)"
_TAKE = f"UPDATE jobs SET head = %(head)s, attempt = attempt + 1 WHERE id IN ({{}}) RETURNING {_COLUMNS}"
_NEXT = _TAKE.format(f"SELECT id FROM jobs WHERE {_FREE} ORDER BY priority, id LIMIT %(most)s FOR UPDATE SKIP LOCKED")
_LATE = _TAKE.format(
    f"SELECT id FROM jobs WHERE {_FREE} AND deadline_at <= %(now)s ORDER BY deadline_at LIMIT %(most)s "
    "FOR UPDATE SKIP LOCKED"
)

_THERE = (
    f"SELECT EXISTS (SELECT 1 FROM jobs WHERE {_FREE}), "
    f"EXISTS (SELECT 1 FROM jobs WHERE {_FREE} AND deadline_at <= %(now)s)"
)

_encode = msgspec.msgpack.Encoder().encode
_REQUEST = msgspec.msgpack.Decoder(AudioRequest)
_METADATA = msgspec.msgpack.Decoder(SoundMetadata)
_FAILURE = msgspec.msgpack.Decoder(Failure)


class PostgresJournal:
    """A Journal for one of several heads."""

    def __init__(self, database: PostgresDatabase, head: str, lease_s: float) -> None:
        """
        Args:
            head: a name that no other process has, on whichever machine; "": only to look.
            lease_s: for how long after its last sign of life others leave it what it has in hand.

        Raises:
            StorageError: the database cannot be reached, or a newer version of this package wrote it.
        """
        self._database = database
        self._head = head
        self._lease_s = lease_s
        self._db: Rows | None = None
        """Inside a transaction."""
        self._may_take: bool | None = None
        self._news: dict[str, None] = {}
        self._strange: set[int] = set()
        """Jobs of another version's making: they wait for that version."""
        self._counted: tuple[float, int, int] = (-_COUNTED_S, 0, 0)
        self._there = True
        with self._errors("opening the jobs"), database.using("opening the jobs") as db:
            database.ask_time(db)

    @property
    def head(self) -> str:
        """The name of this process."""
        return self._head

    def now(self) -> float:
        """Return the database's time, as far as it is known here."""
        return self._database.now()

    def ring(self, news: str) -> None:
        """Let the heads hear something, once this transaction is committed."""
        self._news[news] = None

    def leave(self) -> None:
        """Let others have what this head has in hand."""
        with self.transaction():
            leave(self._inside, self._database.schema, self._head)

    def close(self) -> None:
        """Nothing is held open between two transactions."""

    # -- writing -----------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all that the ``with`` block writes, or nothing; other heads are told once it is committed."""
        with self._errors("writing down jobs"), self._database.using("writing down jobs") as db, db.transaction():
            self._db, self._may_take, self._news = db, None, {}
            before = self._counted
            try:
                yield
                if self._news:
                    ring(db, self._database.schema, self._news)
            except BaseException:
                self._counted = before
                raise
            finally:
                self._db = None

    def there(self) -> bool:
        """Return False once the database could not be asked: another opening tries again."""
        return self._there

    def probe(self) -> None:
        """Write something that changes nothing."""
        self._write("UPDATE job_heads SET lease_until = lease_until WHERE head = %s", (self._head,))

    def add(self, record: JobRecord, size_bytes: int, sent: bytes = b"", *, take: bool = True) -> JobRecord | None:
        """Add a pending job, and the sound that came with it; None: another head has just added one of that name."""
        mine = take and self._takes()
        rows = self._read(
            "INSERT INTO jobs (owner, request_id, request, body, rights, priority, state, created_at, deadline_at, "
            "bytes, head, attempt) VALUES (%s, %s, %s, %s, %s, %s, 'pending', %s, %s, %s, %s, %s) "
            f"ON CONFLICT (owner, request_id) DO NOTHING RETURNING {_COLUMNS}",
            (
                *record.key,
                _encode(record.request),
                record.body,
                record.rights,
                _turn(record)[0],
                record.created_at,
                record.deadline_at,
                size_bytes,
                self._head if mine else None,
                int(mine),
            ),
        )
        if not rows:
            return None
        added = _record(rows[0])
        if sent:
            self._write("INSERT INTO job_sounds VALUES (%s, %s)", (added.number, sent))
        if not mine:
            self._news[READY] = None
        self._count(1, size_bytes)
        return added

    def recover(self) -> list[JobRecord]:
        """Begin this head's lease; what others left is had by ``look``."""
        if self._head:
            with self.transaction():
                self._renewed(self._inside)
        return []

    def _renewed(self, db: Rows) -> None:
        with self._errors("beginning a head's lease"):
            renew(db, self._head, self._lease_s)

    def look(self, room: int, mine: Mapping[int, int], watched: Collection[int]) -> Look:
        """Take up to ``room`` jobs in hand that nobody has; tell what became of others."""
        again: list[int] = []
        held = self._in_hand()
        if mine.keys() - held.keys():
            self._renewed(self._inside)  # it stood still, and looks before its bell has rung
            self._may_take = True
            again = self._again({number: mine[number] for number in mine.keys() - held.keys()})
            held = self._in_hand()
        taken: list[JobRecord] = []
        if strays := [number for number in held if number not in mine]:
            # taken by a transaction whose end was never heard of here
            taken = self._records(self._read(f"SELECT {_COLUMNS} FROM jobs WHERE id = ANY(%s)", (strays,)))
        more = False
        if room >= 0:
            rows = self._free(room)
            more = 0 < room <= len(rows)
            taken += sorted(self._records(rows), key=_turn)  # an UPDATE returns rows as it pleases
            held.update((one.number, Held(one.attempt, one.cancelled)) for one in taken)
        ended, gone = self._become_of(watched) if watched else ([], [])
        return Look(held=held, again=again, taken=taken, ended=ended, gone=gone, more=more)

    def _free(self, room: int) -> list[Any]:  # opaque: rows of _COLUMNS
        """Take in hand what nobody has: as many as there is room for, the first ones; and what is too late anyway."""
        values = {"head": self._head, "now": self.now(), "strange": list(self._strange), "most": room}
        ((ready, late),) = self._read(_THERE, values)  # so that a look that finds nothing writes nothing
        found: list[Any] = []
        if ready and room and self._takes():
            found += self._read(_NEXT, values)
        if late and self._takes():
            found += self._read(_LATE, {**values, "most": _LATE_AT_ONCE})
        return found

    def _in_hand(self) -> dict[int, Held]:
        """Return what this head has."""
        rows = self._read(
            "SELECT id, attempt, cancelled FROM jobs WHERE head = %s AND expires_at IS NULL", (self._head,)
        )
        return {number: Held(attempt, cancelled) for number, attempt, cancelled in rows}

    def _again(self, lost: Mapping[int, int]) -> list[int]:
        """Take in hand again what nobody else has had since this head's lease ended: what is done of it counts."""
        rows = self._read(
            "UPDATE jobs SET head = %s, attempt = jobs.attempt + 1 FROM unnest(%s::bigint[], %s::bigint[]) AS mine "
            "(id, attempt) WHERE jobs.id = mine.id AND jobs.attempt = mine.attempt AND head IS NULL "
            "AND expires_at IS NULL RETURNING jobs.id",
            (self._head, list(lost), list(lost.values())),
        )
        return [number for (number,) in rows]

    def _become_of(self, watched: Collection[int]) -> tuple[list[JobRecord], list[int]]:
        rows = self._read("SELECT id, expires_at IS NOT NULL FROM jobs WHERE id = ANY(%s)", (list(watched),))
        over = [number for number, ended in rows if ended]
        ended = self._read(f"SELECT {_COLUMNS} FROM jobs WHERE id = ANY(%s)", (over,)) if over else []
        return self._records(ended), sorted(set(watched) - {number for number, _ in rows})

    def begin(self, record: JobRecord) -> None:
        """Note that a worker is given the job to do, where it is in hand still."""
        self._write(f"UPDATE jobs SET state = 'running', attempts = attempts + 1 WHERE {_FENCE}", _fence(record))

    def finish(self, record: JobRecord, outcome: Outcome) -> bool:
        """Note what a job came to; False: another head has it in hand now, or had."""
        done = self._read(
            "UPDATE jobs SET state = %s, finished_at = %s, expires_at = %s, path = %s, metadata = %s, failure = %s, "
            f"bytes = bytes + %s WHERE {_FENCE} RETURNING id",
            (*_ending(outcome), *_fence(record)),
        )
        if done:
            self._news[f"{ENDED} {record.number}"] = None
            self._count(0, outcome.size_bytes)
        return bool(done)

    def cancel(self, key: JobKey, outcome: Outcome) -> JobRecord | None:
        """Have an unfinished job end: at once where nobody has it in hand, else its head is told."""
        rows = self._read(
            f"UPDATE jobs SET cancelled = true WHERE {_ONE} AND expires_at IS NULL RETURNING {_COLUMNS}", key
        )
        if not rows:
            return None
        found = _record(rows[0])
        if found.head:
            self._news[f"{CANCEL} {found.number}"] = None
            return found
        ended = self._read(
            "UPDATE jobs SET state = %s, finished_at = %s, expires_at = %s, path = %s, metadata = %s, failure = %s, "
            f"bytes = bytes + %s WHERE id = %s RETURNING {_COLUMNS}",
            (*_ending(outcome), found.number),
        )
        self._news[f"{ENDED} {found.number}"] = None
        return _record(ended[0])

    def reopen(self, key: JobKey, deadline_at: float | None) -> None:
        """Make a finished job pending again, with nothing held against it; whoever has room takes it in hand."""
        self._write(
            "UPDATE jobs SET state = 'pending', attempts = 0, lives = 0, finished_at = NULL, expires_at = NULL, "
            "path = NULL, metadata = NULL, failure = NULL, head = NULL, cancelled = false, entry_id = NULL, "
            f"made_at = NULL, deadline_at = %s WHERE {_ONE} AND expires_at IS NOT NULL",
            (deadline_at, *key),
        )
        self._news[READY] = None

    def forget_expired(self, now: float, most: int) -> list[str | None]:
        """Remove up to ``most`` finished jobs whose time is over; return their files."""
        gone = self._read(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE expires_at <= %s ORDER BY expires_at LIMIT %s "
            "FOR UPDATE SKIP LOCKED) RETURNING path, expires_at",
            (now, most),
        )
        self._counted = (-_COUNTED_S, 0, 0)
        return [path for path, _ in sorted(gone, key=lambda row: float(row[1]))]

    # -- reading -----------------------------------------------------------------------------------

    def sent(self, key: JobKey) -> bytes:
        """Return the sound that came with a job; it is there as long as the job."""
        found = self._read(f"SELECT data FROM job_sounds JOIN jobs ON id = job WHERE {_ONE}", key)
        if not found:
            raise NotFound(f"the sound that came with job {key[1]!r} is gone")
        data: bytes = found[0][0]
        return data

    def find(self, key: JobKey) -> JobRecord | None:
        """Return a job, or None where there is none of that owner and id."""
        found = self._read(f"SELECT {_COLUMNS} FROM jobs WHERE {_ONE}", key)
        try:
            return _record(found[0]) if found else None
        except msgspec.MsgspecError as exc:
            raise StorageError(f"job {key[1]} was written by another version: {exc}") from exc

    def newest(
        self, owner: str, states: Sequence[JobState], limit: int, before: float | None = None
    ) -> list[JobRecord]:
        """Return an owner's jobs, the newest first; ``before``: only those created earlier."""
        rows = self._read(
            f"SELECT {_COLUMNS} FROM jobs WHERE owner = %s AND state = ANY(%s) AND created_at < %s "
            "ORDER BY created_at DESC, request_id LIMIT %s",
            (owner, list(states), float("inf") if before is None else before, limit),
        )
        return [_record(row) for row in rows]

    def owners(self) -> list[str]:
        """Return everybody who has jobs here."""
        return [owner for (owner,) in self._read("SELECT DISTINCT owner FROM jobs ORDER BY owner", ())]

    def totals(self) -> tuple[int, int]:
        """Return how many jobs there are, and their bytes; other heads' latest may be lacking."""
        when, jobs, size = self._counted
        if time.monotonic() - when > _COUNTED_S:
            ((jobs, size),) = self._read("SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM jobs", ())
            self._counted = (time.monotonic(), jobs, size)
        return jobs, size

    def _count(self, jobs: int, size_bytes: int) -> None:
        when, there, size = self._counted
        self._counted = (when, there + jobs, size + size_bytes)

    def soonest_expiry(self) -> float | None:
        """Return when the next finished job is forgotten."""
        ((soonest,),) = self._read("SELECT min(expires_at) FROM jobs WHERE expires_at IS NOT NULL", ())
        found: float | None = soonest
        return found

    def paths(self) -> set[str]:
        """Return the files of all jobs."""
        return {path for (path,) in self._read("SELECT path FROM jobs WHERE path IS NOT NULL", ())}

    # -- inside ------------------------------------------------------------------------------------

    @property
    def _inside(self) -> Rows:
        assert self._db is not None, "inside a transaction"
        return self._db

    def _takes(self) -> bool:
        """Return whether this head may take jobs in hand in this transaction."""
        if self._may_take is None:
            with self._errors("looking at a head's lease"):
                self._may_take = bool(self._head) and has_lease(self._inside, self._head)
        return self._may_take

    def _records(self, rows: Sequence[Any]) -> list[JobRecord]:  # opaque: rows of _COLUMNS
        found = []
        for row in rows:
            try:
                found.append(_record(row))
            except msgspec.MsgspecError as exc:
                number = row[15]
                log.error("job %s is not understood: %s", row[1], exc)
                self._strange.add(number)
                self._write("UPDATE jobs SET head = NULL WHERE id = %s AND head = %s", (number, self._head))
        return found

    def _read(self, sql: str, values: Any) -> list[Any]:  # opaque: what PostgreSQL stores
        with self._errors("reading the jobs"):
            if self._db is not None:
                found: list[Any] = self._db.execute(sql, values).fetchall()
                return found
            return self._database.read(sql, values, "reading the jobs")

    def _write(self, sql: str, values: Sequence[Any]) -> None:  # opaque: what PostgreSQL stores
        with self._errors("writing down jobs"):
            self._inside.execute(sql, values)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            with self._database.errors(doing):
                yield
        except Unreachable:
            self._there = False
            raise


def mark_made(db: Rows, record: JobRecord, entry_id: int) -> bool:
    """Note that a job's sound is kept, inside the transaction that keeps it; False: another head has had the job since.

    Where this head's lease has ended and nobody has taken the job, whoever does finds it made.
    """
    done = db.execute(
        "UPDATE jobs SET entry_id = %s, made_at = clock_timestamp() WHERE id = %s AND attempt = %s"
        " AND (head = %s OR head IS NULL) AND expires_at IS NULL RETURNING id",
        (entry_id, *_fence(record)),
    )
    return done.fetchone() is not None


def _turn(record: JobRecord) -> tuple[int, int]:
    """Return what says which of two jobs is taken first: the lesser one."""
    return get_args(Priority).index(record.request.priority), record.number


def _fence(record: JobRecord) -> tuple[int, int, str]:
    return record.number, record.attempt, record.head


def _ending(outcome: Outcome) -> tuple[Any, ...]:  # opaque: what PostgreSQL stores
    return (
        outcome.state,
        outcome.finished_at,
        outcome.expires_at,
        outcome.path,
        None if outcome.metadata is None else _encode(outcome.metadata),
        None if outcome.failure is None else _encode(outcome.failure),
        outcome.size_bytes,
    )


def _record(row: Sequence[Any]) -> JobRecord:  # opaque: a row of _COLUMNS
    (
        owner, request_id, request, body, rights, created_at, deadline_at, state, attempts, lives, finished_at,
        expires_at, path, metadata, failure, number, head, attempt, cancelled, entry_id,
    ) = row  # fmt: skip
    return JobRecord(
        owner=owner,
        request_id=request_id,
        request=_REQUEST.decode(request),
        body=body,
        rights=rights,
        created_at=created_at,
        deadline_at=deadline_at,
        state=state,
        attempts=attempts,
        lives=lives,
        finished_at=finished_at,
        expires_at=expires_at,
        path=path,
        metadata=None if metadata is None else _METADATA.decode(metadata),
        failure=None if failure is None else _FAILURE.decode(failure),
        number=number,
        head=head,
        attempt=attempt,
        cancelled=cancelled,
        entry_id=entry_id,
    )
