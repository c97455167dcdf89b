"""A head that is killed, stands still, is cut off or deaf: others go on with its jobs, and each ends once."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.served_heads import ServedHeads, asking, freeze, thaw, through
from tests.support.fault_proxy import FaultProxy
from tests.support.postgres import PostgresServer
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient
from audio_pool.errors import NotFound, StorageError, WorkerDied

SHORT_S = 4.0
"""A lease that ends while a test waits for it, and not because the machine is busy: nothing is lost if it does."""


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "gate"
    yield found
    found.touch()


@pytest.fixture
def heads(database: str, tmp_path: Path) -> Iterator[ServedHeads]:
    with ServedHeads(database, tmp_path, lease_s=SHORT_S) as found:
        yield found


def in_state(client: AudioClient, name: str, state: str) -> None:
    def found() -> bool:
        with contextlib.suppress(NotFound):
            return client.job(name).state == state
        return False

    eventually(found, f"{name} is {state}")


def made_by(head: Served, prompt: str) -> None:
    eventually(lambda: prompt in head.diary(), "it is being made there")


def results(heads: ServedHeads) -> set[str]:
    return {str(path) for path in (heads.place / "jobs" / "results").glob("*.*")}


def test_the_jobs_of_a_head_that_is_killed_are_done_by_another(heads: ServedHeads, gate: Path) -> None:
    a = heads.start("a").ready()
    prompts = [f"hold {gate} killed", "tone behind it", "tone waiting"]
    with asking(a, resume=True) as first:
        for number, prompt in enumerate(prompts):
            first.submit(prompt, durable=True, request_id=f"killed-{number}")
        in_state(first, "killed-2", "pending")
        made_by(a, prompts[0])
        b = heads.start("b").ready()
        with asking(b) as second:
            again = second.submit(prompts[0], durable=True, request_id="killed-0")
            in_state(second, "killed-0", "running")
            a.signal(signal.SIGKILL)
            a.wait()
            made_by(b, prompts[0])
            gate.touch()
            paths = [second.fetch(f"killed-{number}").path for number in range(3)]
            assert again.result(PATIENCE_S).path == paths[0]
            report = second.job("killed-0")
            assert (report.state, report.attempts) == ("done", 2)
            assert second.job("killed-2").attempts == 1
            assert all(Path(path).exists() for path in paths)


def test_who_shuts_down_leaves_its_jobs_at_once(database: str, tmp_path: Path, gate: Path) -> None:
    """The lease would last for minutes."""
    with ServedHeads(database, tmp_path, limits={"drain_timeout_s": 0.2}) as heads:
        a, b = heads.start("a").ready(), heads.start("b").ready()
        with asking(a) as first:
            first.submit(f"hold {gate} down", durable=True, request_id="down")
            made_by(a, f"hold {gate} down")
            a.signal(signal.SIGTERM)
            assert a.wait() == 0
        with asking(b) as second:
            made_by(b, f"hold {gate} down")
            gate.touch()
            assert second.fetch("down").path
            assert heads.rows("SELECT lives FROM jobs") == [(0,)]


def test_the_late_result_of_a_head_that_stood_still_is_dropped(heads: ServedHeads, gate: Path) -> None:
    a, b = heads.start("a").ready(), heads.start("b").ready()
    prompt = f"hold {gate} still"
    with asking(a) as first, asking(b) as second:
        heads.count_ends()
        pending = first.submit(prompt, durable=True, request_id="still")
        made_by(a, prompt)
        freeze(a)
        try:
            made_by(b, prompt)
            gate.touch()
            done = second.fetch("still").path
        finally:
            thaw(a)
        assert pending.result(PATIENCE_S).path == done, "whoever waits there hears of it, too"
        assert first.generate("tone goes on", durable=True, request_id="on").path
        eventually(lambda: first.health().state == "ready", "it is well")
        assert heads.rows("SELECT request_id, path FROM ends WHERE request_id = 'still'") == [("still", done)]
        eventually(lambda: results(heads) == {done, str(first.job("on").path)}, "nothing is left of the late one")


def test_a_head_that_stood_still_goes_on_where_nobody_had_a_place(heads: ServedHeads, gate: Path) -> None:
    """It was put out, and what it has done of its jobs counts."""
    a, b = heads.start("a").ready(), heads.start("b").ready()
    prompts = f"hold {gate} a", f"hold {gate} b"
    with asking(a) as first, asking(b) as second:
        pending = first.submit(prompts[0], durable=True, request_id="a")
        made_by(a, prompts[0])
        busy = second.submit(prompts[1], durable=True, request_id="b")
        made_by(b, prompts[1])
        freeze(a)
        try:
            state = "SELECT lives, head, attempt FROM jobs WHERE request_id = 'a'"
            eventually(lambda: heads.rows(state) == [(1, None, 1)], "it has been put out")
        finally:
            thaw(a)
        eventually(lambda: heads.rows(state)[0][1:] != (None, 1), "it has it again")
        gate.touch()
        assert pending.result(PATIENCE_S).path and busy.result(PATIENCE_S).path
        assert heads.diary().count(prompts[0]) == 1


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[FaultProxy]:
    found = FaultProxy(str(postgres.place), postgres.port)
    yield found
    found.close()


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_head_that_is_cut_off_from_the_database_alone(
    heads: ServedHeads, gate: Path, proxy: FaultProxy, how: str
) -> None:
    a = heads.start("a", url=through(proxy, heads.url), cache={"store_timeout_s": 1.0}).ready()
    b = heads.start("b").ready()
    prompt = f"hold {gate} cut"
    with asking(a) as first, asking(b) as second:
        heads.count_ends()
        pending = first.submit(prompt, durable=True, request_id="cut")
        made_by(a, prompt)
        proxy.set(how)  # type: ignore[arg-type]
        with pytest.raises(StorageError):
            first.generate("tone refused", durable=True, request_id="refused")
        with pytest.raises(StorageError):
            first.job("cut")
        made_by(b, prompt)
        gate.touch()
        done = second.fetch("cut").path
        assert first.generate("tone not durable", timeout_s=PATIENCE_S).path, "what is not durable goes on"
        assert not pending.done(), "nobody is told of an end that is not recorded"
        proxy.set("pass")
        assert pending.result(PATIENCE_S).path == done
        assert first.generate("tone after", durable=True, request_id="after").path
        assert heads.rows("SELECT path FROM ends WHERE request_id = 'cut'") == [(done,)]


def test_each_head_goes_on_with_its_own_once_the_database_is_back(
    heads: ServedHeads, gate: Path, postgres: PostgresServer
) -> None:
    """It was gone for longer than any lease lasts: whoever is there first does not take what the other has."""
    a, b = heads.start("a").ready(), heads.start("b").ready()
    prompts = f"hold {gate} a", f"hold {gate} b"
    with asking(a) as first, asking(b) as second:
        pending = []
        for head, client, prompt in ((a, first, prompts[0]), (b, second, prompts[1])):
            pending.append(client.submit(prompt, durable=True, request_id=prompt[-1]))
            made_by(head, prompt)
        with postgres.gone():
            time.sleep(2 * SHORT_S)
        eventually(lambda: first.health().state == second.health().state == "ready", "both are well again")
        gate.touch()
        assert all(one.result(PATIENCE_S).path for one in pending)
        assert sorted(heads.diary()) == sorted(prompts)
        assert heads.rows("SELECT DISTINCT lives, attempt, state FROM jobs") == [(0, 1, "done")]


def test_a_result_waits_for_the_database_to_be_back(heads: ServedHeads, gate: Path, proxy: FaultProxy) -> None:
    a = heads.start("a", url=through(proxy, heads.url)).ready()
    prompt = f"hold {gate} back"
    with asking(a) as first:
        pending = first.submit(prompt, durable=True, request_id="back")
        made_by(a, prompt)
        proxy.set("gone")
        gate.touch()
        eventually(lambda: results(heads), "its sound is there")
        assert not pending.done()
        proxy.set("pass")
        path = pending.result(PATIENCE_S).path
        assert first.job("back").path == path and a.diary().count(prompt) == 1


def test_jobs_that_a_head_had_before_it_shared_them_are_told_of(heads: ServedHeads, gate: Path) -> None:
    alone = heads.start("a", cache={"store": ""}).ready()
    with asking(alone) as client:
        client.submit(f"hold {gate} before", durable=True, request_id="before")
        made_by(alone, f"hold {gate} before")
        alone.signal(signal.SIGKILL)
        alone.wait()
    shared = heads.start("a").ready()
    with asking(shared) as client, pytest.raises(NotFound):
        client.job("before")
    assert "1 durable jobs in" in (shared.place / "cache" / "logs" / "server.log").read_text()


_DEAF = """
import time, psycopg
psycopg.Connection.notifies = lambda self, timeout=None, stop_after=None: (time.sleep(timeout or 0.0), iter(()))[1]
"""


def test_heads_that_hear_no_bell_find_out_by_looking(database: str, tmp_path: Path, gate: Path) -> None:
    with ServedHeads(database, tmp_path) as heads:
        a, b = heads.start("a", startup=_DEAF).ready(), heads.start("b", startup=_DEAF).ready()
        with asking(a) as first, asking(b) as second:
            held = first.submit(f"hold {gate} deaf", durable=True, request_id="deaf")
            made_by(a, f"hold {gate} deaf")
            assert first.generate("tone left", durable=True, request_id="left").path, "the other has found it"
            assert b.diary() == ["tone left"]
            assert second.cancel("deaf").cancelled
            assert first.job("deaf", wait_s=60).state == "cancelled" and held.exception(PATIENCE_S) is not None


_CLOCK = """
import time
real = time.time
time.time = lambda: real() + {off}
"""


def test_heads_whose_clocks_differ_do_the_same(database: str, tmp_path: Path, gate: Path) -> None:
    with ServedHeads(database, tmp_path, lease_s=20.0, jobs={"result_ttl_s": 40.0}) as heads:
        a = heads.start("a", startup=_CLOCK.format(off=60.0)).ready()
        b = heads.start("b", startup=_CLOCK.format(off=-60.0)).ready()
        with asking(a) as first, asking(b) as second:
            held = first.submit(f"hold {gate} clocks", durable=True, request_id="held")
            made_by(a, f"hold {gate} clocks")
            # of a head whose clock is two minutes ahead: it would have passed where heads' clocks counted
            assert first.generate("tone in time", durable=True, request_id="in-time", deadline_ms=50_000).path
            assert b.diary() == ["tone in time"]
            created = [one.created_at for one in second.jobs().jobs]
            assert created == sorted(created, reverse=True) and abs(created[0] - time.time()) < 30.0
            assert second.job("in-time").state == "done", "and it is not forgotten before its time"
            gate.touch()
            assert held.result(PATIENCE_S).path
            assert heads.rows("SELECT DISTINCT lives FROM jobs") == [(0,)], "no lease has ended"


def test_a_job_that_kills_heads_is_not_tried_for_ever(database: str, tmp_path: Path) -> None:
    mercy = tmp_path / "mercy"
    with ServedHeads(database, tmp_path, lease_s=SHORT_S, jobs={"max_attempts": 2}) as heads:
        a, b = heads.start("a").ready(), heads.start("b").ready()
        with asking(a) as first:
            first.submit(f"murder {mercy}", durable=True, request_id="murder")
            a.wait()
        b.wait()
        c = heads.start("c").ready()
        with asking(c) as asker:
            with pytest.raises(WorkerDied, match="ended 2 times"):
                asker.fetch("murder")
            assert asker.job("murder").attempts == 2
            mercy.touch()
            asker.retry("murder")
            assert asker.fetch("murder").path
