"""A durable job has its effect once, whenever its head dies: its sound is made once, kept once, and answered by any."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.served_heads import ServedHeads, asking
from tests.support.object_server import KEYS, ObjectServer, served
from tests.support.postgres import PostgresServer, StandbyServer, postgres_programs
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient
from audio_pool.errors import AudioPoolError, NotFound

NO_ENDS = (
    "CREATE FUNCTION no_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " RAISE EXCEPTION 'no job ends now'; END $$",
    "CREATE TRIGGER no_ends BEFORE UPDATE ON jobs FOR EACH ROW WHEN (new.expires_at IS NOT NULL)"
    " EXECUTE FUNCTION no_end()",
)
"""The moment between a job's sound and its end lasts until this trigger goes."""


@pytest.fixture
def heads(database: str, tmp_path: Path) -> Iterator[ServedHeads]:
    with ServedHeads(database, tmp_path, lease_s=2.0) as found:
        yield found


def made(heads: ServedHeads) -> list[Any]:
    return heads.rows("SELECT request_id FROM jobs WHERE made_at IS NOT NULL AND entry_id IS NOT NULL")


def idle(client: AudioClient) -> bool:
    found = client.status()
    return found.requests == 0 and all(worker.tasks == 0 for worker in found.workers.values())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_head_that_dies_between_a_sound_and_its_jobs_end_leaves_nothing_to_be_made(
    heads: ServedHeads, how: signal.Signals
) -> None:
    one, two = heads.start("one").ready(), heads.start("two").ready()
    heads.count_ends()
    for statement in NO_ENDS:
        heads.rows(statement)
    with asking(one) as client, asking(two) as other:
        client.submit("tone once", durable=True, request_id="once", force=True, format="ogg")
        eventually(lambda: made(heads) == [("once",)], "its sound is kept, and it has not ended")
        assert other.job("once").state in ("pending", "running")
        one.process.send_signal(how)
        heads.rows("DROP TRIGGER no_ends ON jobs")
        told = other.job("once", wait_s=PATIENCE_S)
        assert told.state == "done" and told.metadata is not None and told.path is not None
        assert "made for this very request" in told.metadata.hit_reason
        assert told.metadata.format == "ogg" and Path(told.path).is_file()
        if how is signal.SIGSTOP:
            one.process.send_signal(signal.SIGCONT)
            assert client.job("once", wait_s=PATIENCE_S).path == told.path
    assert heads.diary() == ["tone once"], "it is made once"
    assert heads.rows("SELECT request_id, state FROM ends") == [("once", "done")]
    assert heads.rows("SELECT count(*) FROM entries") == [(1,)]


def test_a_sound_that_comes_when_another_head_has_its_job_is_not_kept(heads: ServedHeads, tmp_path: Path) -> None:
    one, two = heads.start("one").ready(), heads.start("two").ready()
    heads.count_ends()
    gate = tmp_path / "gate"
    prompt = f"hold {gate}"
    with asking(one) as client, asking(two) as other:
        pending = client.submit(prompt, durable=True, request_id="late", force=True)
        eventually(one.diary, "the first is at it")
        one.process.send_signal(signal.SIGSTOP)
        eventually(two.diary, "the second has taken it over")
        gate.touch()
        told = other.job("late", wait_s=PATIENCE_S)
        assert told.state == "done"
        one.process.send_signal(signal.SIGCONT)
        assert pending.result(PATIENCE_S).metadata["entry_id"] == told.metadata.entry_id, "whoever waited has that one"
        eventually(lambda: idle(client), "what the first was at is over")
    assert sorted(heads.diary()) == [prompt, prompt], "at least once"
    assert heads.rows("SELECT request_id, state FROM ends") == [("late", "done")]
    assert heads.rows("SELECT count(*) FROM entries") == [(1,)], "and once"
    files = tmp_path / "files"
    eventually(lambda: sum(path.is_file() for path in files.rglob("*")) == 2, "one sound and one rendition are left")


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")
    pytest.importorskip("moto", reason="moto is not installed: make test-cluster")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with served() as server:
            yield server


@pytest.fixture
def apart(database: str, tmp_path: Path, server: ObjectServer) -> Iterator[tuple[ServedHeads, Any]]:
    """Heads that share a database and an object store, and no folder."""
    place = server.place()
    objects = {name: getattr(place.settings, name) for name in place.settings.__struct_fields__}
    with ServedHeads(database, tmp_path, cache={"blobs": place.url, "objects": objects}) as heads:
        yield heads, place
    server.proxy.set("pass")


def test_heads_without_a_common_folder_hand_out_each_others_results(
    apart: tuple[ServedHeads, Any], server: ObjectServer, tmp_path: Path
) -> None:
    heads, place = apart
    one, two = (heads.start(name, jobs={"dir": str(tmp_path / f"jobs_{name}")}).ready() for name in ("one", "two"))
    with asking(one) as client, asking(two) as other:
        kept = client.generate("tone apart", durable=True, request_id="apart")
        assert len(server.keys(place, "jobs/") - {"jobs/clock"}) == 1
        told = other.job("apart")
        assert told.path is not None and told.path.startswith(str(tmp_path / "jobs_two"))
        assert Path(told.path).read_bytes() == Path(kept.path).read_bytes()
        assert other.fetch("apart", delivery="inline").data == Path(kept.path).read_bytes()
        again = other.generate("tone apart", durable=True, request_id="apart")
        assert again.path == told.path
        one.process.kill()
        os.unlink(told.path)
        assert Path(other.job("apart").path or "").read_bytes() == Path(kept.path).read_bytes(), "its head is gone"
        listed = {job.request_id: job.path for job in other.jobs(["done"]).jobs}
        assert listed == {"apart": told.path}


def test_a_job_does_not_end_while_its_sound_could_not_be_handed_out_by_others(
    apart: tuple[ServedHeads, Any], server: ObjectServer, tmp_path: Path
) -> None:
    heads, place = apart
    one, two = (heads.start(name, jobs={"dir": str(tmp_path / f"jobs_{name}")}).ready() for name in ("one", "two"))
    with asking(one) as client, asking(two) as other:
        server.proxy.set("gone")
        pending = client.submit("tone away", durable=True, request_id="away")
        eventually(lambda: heads.diary() == ["tone away"], "it is made")
        with contextlib.suppress(AudioPoolError):
            assert other.job("away", wait_s=2.0).state in ("pending", "running")
        assert not pending.done()
        server.proxy.set("pass")
        assert pending.result(PATIENCE_S).path
        told = other.job("away", wait_s=PATIENCE_S)
        assert told.state == "done" and Path(told.path or "").is_file()
    assert len(server.keys(place, "jobs/") - {"jobs/clock"}) == 1


def test_the_object_of_a_job_goes_when_the_job_is_forgotten(
    apart: tuple[ServedHeads, Any], server: ObjectServer, tmp_path: Path
) -> None:
    heads, place = apart
    one = heads.start("one", jobs={"dir": str(tmp_path / "jobs_one"), "result_ttl_s": 1.0}).ready()
    with asking(one) as client:
        kept = client.generate("tone short", durable=True, request_id="short")
        eventually(lambda: not server.keys(place, "jobs/") - {"jobs/clock"}, "its object is gone")
        eventually(lambda: not Path(kept.path).exists(), "and its copy")
        with pytest.raises(NotFound):
            client.job("short")


def test_no_job_is_lost_or_done_twice_when_the_database_fails_over_to_a_synchronous_standby(tmp_path: Path) -> None:
    programs = postgres_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL: apt-get install postgresql, or AUDIO_POOL_POSTGRES=FOLDER")
    with (
        PostgresServer(programs) as primary,
        StandbyServer(primary) as standby,
        ServedHeads(standby.either(), tmp_path, lease_s=5.0) as heads,
    ):
        standby.synchronous()
        one, two = heads.start("one").ready(), heads.start("two").ready()
        heads.count_ends()
        gate = tmp_path / "gate"
        with asking(one) as client, asking(two) as other:
            done = client.generate("tone before", durable=True, request_id="before")
            pending = client.submit(f"hold {gate}", durable=True, request_id="across", force=True)
            eventually(lambda: len(heads.diary()) == 2, "it is under way")
            primary.stop(signal.SIGQUIT)
            standby.promote()
            gate.touch()
            assert pending.result(PATIENCE_S).path
            assert eventually(lambda: job_of(other, "across"), "the other head tells of it") == "done"
            assert other.job("before").path == done.path
        assert heads.rows("SELECT request_id, state FROM jobs ORDER BY id") == [("before", "done"), ("across", "done")]
        assert heads.rows("SELECT request_id, state FROM ends") == [("before", "done"), ("across", "done")]


def job_of(client: AudioClient, name: str) -> str:
    with contextlib.suppress(AudioPoolError):
        found = client.job(name)
        return found.state if found.finished_at is not None else ""
    return ""
