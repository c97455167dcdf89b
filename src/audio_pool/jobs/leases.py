"""Heads that take durable jobs: each holds one lease for all that it has in hand, by the database's clock.

Owns: the table ``job_heads``: renewing a head's lease, and taking from heads whose lease has ended what they had.
Must not know: what a job is for, threads.

Heads' clocks need not agree, nor go: nobody compares one with the database's. Whoever takes a job in hand holds its
head's row until that is committed, so that none is taken by a head which is being put out at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable

from audio_pool.cache.postgres.feed import channel
from audio_pool.cache.postgres.migrations import Rows

__all__ = ["CANCEL", "ENDED", "READY", "bell_of", "has_lease", "leave", "put_out", "renew", "ring"]

READY, ENDED, CANCEL = "ready", "ended", "cancel"
"""What heads are woken for: a job that nobody has; one that has ended, one that is to end (its number follows)."""
_OVER = "(lease_until < clock_timestamp() OR lease_until > clock_timestamp() + interval '2 hours')"
"""SQL: True of a lease that has ended, or is longer than one can be: the clock was set back since."""


def bell_of(schema: str) -> str:
    """Return the channel by which heads wake each other."""
    return f"{channel(schema)}_jobs"


def ring(db: Rows, schema: str, news: Iterable[str]) -> None:
    """Wake the heads, once the transaction is committed."""
    db.execute("SELECT pg_notify(%s, news) FROM unnest(%s::text[]) AS news", (bell_of(schema), list(news)))


def renew(db: Rows, head: str, lease_s: float) -> bool:
    """Have a head's lease begin anew; return False where it had none: what it had in hand may be others' now."""
    found = db.execute(
        "INSERT INTO job_heads VALUES (%(head)s, clock_timestamp() + make_interval(secs => %(lease)s))"
        " ON CONFLICT (head) DO UPDATE SET lease_until = excluded.lease_until RETURNING xmax <> 0",
        {"head": head, "lease": lease_s},
    ).fetchone()
    return bool(found and found[0])


def has_lease(db: Rows, head: str) -> bool:
    """Return whether a head may take jobs, and have it keep its lease until the transaction ends."""
    found = db.execute(
        "SELECT lease_until > clock_timestamp() FROM job_heads WHERE head = %s FOR KEY SHARE", (head,)
    ).fetchone()
    return bool(found and found[0])


def put_out(db: Rows, schema: str) -> list[str]:
    """Take from the heads whose lease has ended what they had in hand; return these heads."""
    if db.execute(f"SELECT 1 FROM job_heads WHERE {_OVER} LIMIT 1").fetchone() is None:
        return []
    with db.transaction():
        ended = f"SELECT head FROM job_heads WHERE {_OVER} FOR UPDATE SKIP LOCKED"
        heads = [head for (head,) in db.execute(ended)]
        _let_go(db, schema, heads, lives=1)
    return heads


def leave(db: Rows, schema: str, head: str) -> None:
    """Give back what a head has in hand, inside a transaction: it ends of its own will."""
    db.execute("SELECT 1 FROM job_heads WHERE head = %s FOR UPDATE", (head,))
    _let_go(db, schema, [head], lives=0)


def _let_go(db: Rows, schema: str, heads: list[str], lives: int) -> None:
    # a statement of its own: it sees what these heads had taken until their rows were locked
    freed = db.execute(
        "UPDATE jobs SET head = NULL, state = 'pending', lives = lives + %s"
        " WHERE head = ANY(%s) AND expires_at IS NULL",
        (lives, heads),
    ).rowcount
    db.execute("DELETE FROM job_heads WHERE head = ANY(%s)", (heads,))
    if freed:
        ring(db, schema, [READY])
