"""Sounds in the making, among all heads: the table ``claims``.

Owns: its rows. Must not know: what a key stands for.

Leases are counted by the database's clock. A claim ends with its head's lease (heads.py); one that its living head has
lost sight of ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from audio_pool.cache.making import LEASE_S
from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.postgres.heads import LIVES
from audio_pool.cache.postgres.migrations import Rows

__all__ = ["PostgresClaims"]

_LIVES = LIVES.format(head="claims.owner")
_DUE = "clock_timestamp() + make_interval(secs => %(lease)s)"


class PostgresClaims:
    """See ``making.MakingClaims``."""

    def __init__(self, database: PostgresDatabase, owner: str, follow: Callable[[], None]) -> None:
        """
        Args:
            owner: the head whose claims they are.
            follow: brings the replica up to date.
        """
        self._database = database
        self._owner = owner
        self._follow = follow

    def alone(self) -> bool:
        """Nobody knows how many heads there are."""
        return False

    def take(self, key: bytes) -> bool:
        values = {"key": key, "owner": self._owner, "lease": LEASE_S}

        def work(db: Rows) -> bool:
            taken = db.execute(
                f"INSERT INTO claims VALUES (%(key)s, %(owner)s, {_DUE}) ON CONFLICT (key) DO UPDATE SET"
                " owner = excluded.owner, due = excluded.due"
                " WHERE claims.owner = excluded.owner OR claims.due < clock_timestamp()"
                f" OR NOT {_LIVES} RETURNING key",
                values,
            ).fetchone()
            return taken is not None

        taken = self._database.write("claiming a sound", work)
        if taken:  # whoever had it may just have kept the sound, which is looked up here next
            self._follow()
        return taken

    def give_back(self, key: bytes) -> None:
        values = (key, self._owner)
        self._database.write(
            "giving a claim back",
            lambda db: db.execute("DELETE FROM claims WHERE key = %s AND owner = %s", values).rowcount,
        )

    def renew(self, keys: Iterable[bytes]) -> None:
        values = {"keys": sorted(keys), "owner": self._owner, "lease": LEASE_S}
        self._database.write(
            "renewing claims",
            lambda db: db.execute(
                f"UPDATE claims SET due = {_DUE} WHERE key = ANY(%(keys)s::bytea[]) AND owner = %(owner)s", values
            ).rowcount,
        )
