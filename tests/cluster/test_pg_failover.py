"""The database fails over to its standby: nothing acknowledged is lost where it is synchronous, and it heals."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.cluster.counted import Counted, are, pool_on
from tests.cluster.heads import Heads
from tests.support.postgres import PostgresServer, StandbyServer, postgres_programs
from tests.support.waiting import PATIENCE_S, eventually


@pytest.fixture
def standby() -> Iterator[StandbyServer]:
    """A primary of its own, which is to die, and what follows it."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL: apt-get install postgresql, or AUDIO_POOL_POSTGRES=FOLDER")
    with PostgresServer(programs) as primary, StandbyServer(primary) as standby:
        yield standby


def _rows(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, options="-c search_path=audio_pool") as db:
        return db.execute(statement).fetchall()


def test_nothing_acknowledged_is_lost_by_a_failover_to_a_synchronous_standby(
    standby: StandbyServer, tmp_path: Path
) -> None:
    standby.synchronous()
    with Heads(standby.either(), tmp_path) as heads:
        pools = [pool_on(heads, name, standby.either()) for name in ("one", "two")]
        clients = [Counted(pool) for pool in pools]
        with clients[0], clients[1]:
            for client in clients:
                client.more(4)
            standby.primary.stop(signal.SIGQUIT)
            are("degraded", *pools)
            for client in clients:
                known = next(iter(client.kept))
                assert client.pool.generate(known, timeout_s=PATIENCE_S).metadata.cached, "hits go on"
            standby.promote()
            are("ready", *pools)
            for client in clients:
                client.more(4)
        rows = dict(_rows(standby.url(), "SELECT prompt, id FROM entries"))
        marks = dict(_rows(standby.url(), "SELECT entry_id, rating FROM marks"))
        for client in clients:
            assert client.kept.items() <= rows.items(), "what was acknowledged as kept is kept, under its id"
            assert not client.removed.keys() & rows.keys(), "what was removed stays away"
            assert client.marked.items() <= marks.items()
        given = [entry for client in clients for entry in (*client.kept.values(), *client.removed.values())]
        assert len(given) == len(set(given)), "no id is given twice"
        for pool in pools:
            presets = {one.id for one in pool.presets.list().presets}
            assert clients[0].presets | clients[1].presets <= presets
            for client in clients:
                prompts = list(client.kept)
                for prompt in (*prompts[:2], *prompts[-2:]):
                    hit = eventually(
                        lambda pool=pool, prompt=prompt: pool.generate(prompt, timeout_s=PATIENCE_S), "an answer"
                    )
                    assert hit.metadata.entry_id == client.kept[prompt]
