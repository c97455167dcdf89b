"""The database fails over to its standby: nothing acknowledged is lost where it is synchronous, and it heals."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.cluster.counted import Counted, are, pool_on
from tests.cluster.heads import Heads, finds, keep, store_of
from tests.support.cache_sounds import sound
from tests.support.postgres import PostgresServer, StandbyServer, postgres_programs
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.cache.postgres.database import Unsure
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import StorageError


@pytest.fixture
def standby() -> Iterator[StandbyServer]:
    """A primary of its own, which is to die, and what follows it."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL: apt-get install postgresql, or AUDIO_POOL_POSTGRES=FOLDER")
    with PostgresServer(programs) as primary, StandbyServer(primary) as standby:
        yield standby


@pytest.fixture
def both(standby: StandbyServer, tmp_path: Path) -> Iterator[Heads]:
    """Heads on whichever of both takes writes."""
    with Heads(standby.either(), tmp_path, statement_timeout_s=3.0, connect_timeout_s=3.0) as heads:
        yield heads


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


def test_what_an_asynchronous_standby_had_not_heard_of_is_offered_no_more_and_its_ids_stay_its_own(
    standby: StandbyServer, both: Heads
) -> None:
    a, b = both.open("a"), both.open("b")
    stays, comes_back = keep(a, "both servers know it"), keep(a, "its removal is not heard of")
    caught_up = "SELECT pg_current_wal_lsn() = replay_lsn FROM pg_stat_replication"
    eventually(lambda: _rows(standby.primary.url(), caught_up) == [(True,)], "the standby has it")
    standby.stop()
    lost = [keep(b, f"lost {number}") for number in range(40)]
    b.remove([comes_back.id])
    eventually(lambda: finds(a, "its removal is not heard of") is None, "the other head has heard of all that")
    standby.primary.stop(signal.SIGQUIT)
    standby.start()
    standby.promote()
    for head in (a, b):
        eventually(lambda head=head: head.store.trouble == "", "it follows the new one")
        eventually(lambda head=head: finds(head, "its removal is not heard of") == comes_back.id, "as it is there")
        assert finds(head, "both servers know it") == stays.id
        assert [finds(head, f"lost {number}") for number in range(40)] == [None] * 40, "what is lost is not offered"
    given = [_at_last(head, f"kept after {n} on {name}") for n in range(3) for name, head in (("a", a), ("b", b))]
    assert not {one.id for one in lost} & set(given), "who was told an id gets no other sound by it"
    again = _at_last(a, "lost 3")
    assert again not in given and finds(a, "lost 3") == again


def test_ids_are_left_out_before_the_first_sound_is_kept_on_another_server(
    standby: StandbyServer, both: Heads, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = both.open("a")
    keep(a, "both servers know it")
    standby.stop()
    lost = {keep(a, f"lost {number}").id for number in range(40)}
    a.store._follower.stop()  # it is later than whoever keeps a sound, by as much as it takes
    standby.primary.stop(signal.SIGQUIT)
    standby.start()
    standby.promote()
    with contextlib.suppress(StorageError):
        keep(a, "found out by it")
    store_of(a)._database.look()
    kept = eventually(lambda: _kept(a, "kept after"), "it writes again")
    assert kept not in lost


def _kept(cache: SoundCache, prompt: str) -> int | None:
    try:
        return keep(cache, prompt).id
    except StorageError:
        store_of(cache)._database.look()
        return None


def _at_last(cache: SoundCache, prompt: str) -> int:
    return eventually(lambda: _kept(cache, prompt), f"{prompt!r} is kept") or 0


@pytest.mark.parametrize("ended", ["by its primary", "by the head"])
def test_a_commit_that_waits_for_a_standby_in_vain_loses_nothing(
    standby: StandbyServer, both: Heads, ended: str
) -> None:
    a = both.open("a")
    known = keep(a, "known")
    standby.synchronous()
    standby.stop()
    made = sound(a.incoming, "waits", seed=1)
    failed: list[BaseException] = []

    def put() -> None:
        try:
            a.put(made, {})
        except BaseException as exc:
            failed.append(exc)

    thread = threading.Thread(target=put)
    thread.start()
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'COMMIT'"
    eventually(lambda: _rows(standby.primary.url(), waits) == [(1,)], "the commit waits")
    assert finds(a, "known") == known.id, "nobody else does"
    if ended == "by its primary":
        standby.primary.stop(signal.SIGINT)
        standby.primary.start()
    thread.join(PATIENCE_S)
    assert [type(exc) for exc in failed] == [Unsure]
    assert os.path.exists(made.path), "it can be delivered"
    standby.start()
    eventually(lambda: a.store.trouble == "", "it is well again by itself")
    entry_id = eventually(lambda: finds(a, "waits"), "what was committed is offered")
    entry = a.store.entries.entry(entry_id)
    assert entry is not None and os.path.exists(entry.path)
