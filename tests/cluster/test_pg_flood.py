"""The database is gone for a while, in the middle of a flood: every request has its answer, hits go on, it heals."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psycopg
from tests.cluster.counted import Counted, are, kept_by, pool_on
from tests.cluster.heads import Heads
from tests.support.postgres import PostgresServer
from tests.support.waiting import PATIENCE_S

_GONE_S = float(os.environ.get("AUDIO_POOL_GONE_S", "6"))
"""How long; 30 to see what an outage as of an upgrade does."""


def test_a_flood_goes_on_while_the_database_is_gone(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    with Heads(database, tmp_path) as heads:
        pool = pool_on(heads, "head", database)
        known = [kept_by(pool, f"known {number}") for number in range(8)]
        took: list[float] = []
        with Counted(pool) as one, Counted(pool) as two:
            one.more(2)
            two.more(2)
            with postgres.gone(signal.SIGQUIT):
                end = time.monotonic() + _GONE_S
                while time.monotonic() < end:
                    number = len(took) % len(known)
                    begun = time.monotonic()
                    hit = pool.generate(f"known {number}", timeout_s=PATIENCE_S)
                    took.append(time.monotonic() - begun)
                    assert hit.metadata.cached and hit.metadata.entry_id == known[number]
                are("degraded", pool)
                unkept = one.not_kept + two.not_kept
            are("ready", pool)
            one.more(2)
            two.more(2)
        assert unkept > 0, "new sounds were made and delivered"
        with psycopg.connect(database, options="-c search_path=audio_pool") as db:
            rows = dict(db.execute("SELECT prompt, id FROM entries").fetchall())
        for client in (one, two):
            assert client.kept.items() <= rows.items() and not client.removed.keys() & rows.keys()
            # but for what was under way when it went
            assert len(client.unsure & rows.keys()) <= 2, "what was made meanwhile is not kept"
        took.sort()
        print(f"{len(took)} hits while it was gone: p50 {1e3 * took[len(took) // 2]:.1f} ms, "
              f"p99 {1e3 * took[len(took) * 99 // 100]:.1f} ms; {unkept} sounds made and not kept")  # fmt: skip
