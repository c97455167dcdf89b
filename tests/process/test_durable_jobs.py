"""Durable jobs of a real server that is killed: none lost, none made twice after its result was recorded."""

from __future__ import annotations

import asyncio
import json
import random
import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from tests.support.command_line import command
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AsyncAudioClient, AudioClient, AudioPool
from audio_pool.api import JobReport
from audio_pool.errors import (
    Busy,
    Cancelled,
    Conflict,
    Disconnected,
    EngineError,
    Expired,
    InvalidRequest,
    NotFound,
    NotSupported,
    PoolClosed,
    ServerRestarted,
    StorageError,
    Timeout,
    WorkerDied,
)


def client(server: Served, **options: Any) -> AudioClient:
    return AudioClient(server.bind, timeout_s=PATIENCE_S, **options)


def in_state(asking: AudioClient, request_id: str, state: str) -> JobReport:
    return eventually(
        lambda: report if (report := asking.job(request_id)).state == state else None, f"{request_id} is {state}"
    )


def killed(server: Served, **sections: Any) -> Served:
    """Its successor, at the same place."""
    server.signal(signal.SIGKILL)
    server.wait()
    return Served(server.place, **sections).ready()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """For whatever needs no restart."""
    with Served(tmp_path_factory.mktemp("served")) as served:
        yield served.ready()


@pytest.fixture
def gate(server: Served, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file that ``hold`` waits for; made in the end, so that a test that fails holds up no other."""
    found = server.place / re.sub(r"\W", "-", request.node.name)
    yield found
    found.touch()


@pytest.fixture
def ask(server: Served) -> Iterator[AudioClient]:
    with client(server) as found:
        yield found


# -- one server ------------------------------------------------------------------------------------


def test_the_same_id_and_words_are_the_same_job(server: Served, ask: AudioClient) -> None:
    first = ask.generate("tone one", durable=True, request_id="same")
    with client(server) as other:
        again = other.generate("tone one", durable=True, request_id="same", delivery="path")
    assert again.path == first.path and again.metadata == first.metadata
    assert server.diary().count("tone one") == 1
    with pytest.raises(Conflict, match="another durable request"):
        ask.generate("tone two", durable=True, request_id="same")
    assert "tone two" not in server.diary()


def test_the_same_job_is_joined_while_it_runs(gate: Path, server: Served, ask: AudioClient) -> None:
    prompt = f"hold {gate} join"
    with client(server) as other:
        pending = [one.submit(prompt, durable=True, request_id="joined") for one in (ask, other)]
        in_state(ask, "joined", "running")
        with pytest.raises(Conflict), client(server) as third:
            third.generate(prompt, durable=True, request_id="joined", loop=True)
        gate.touch()
        paths = {one.result(PATIENCE_S).path for one in pending}
    assert len(paths) == 1 and server.diary().count(prompt) == 1


def test_a_job_says_what_became_of_it(gate: Path, server: Served, ask: AudioClient) -> None:
    ask.submit(f"hold {gate} states", durable=True, request_id="held")
    ask.submit("tone behind it", durable=True, request_id="behind")
    assert in_state(ask, "held", "running").attempts == 1
    assert ask.job("behind").state == "pending" and ask.job("behind").path is None
    begun = time.monotonic()
    assert ask.job("held", wait_s=0.2).state == "running" and time.monotonic() - begun >= 0.2
    with pytest.raises(Timeout, match="has not ended"):
        ask.fetch("held", timeout_s=0.3)
    gate.touch()
    done = ask.job("held", wait_s=30)
    assert done.state == "done" and done.metadata is not None and done.expires_at is not None
    assert Path(str(done.path)).read_bytes() == ask.fetch("held", delivery="inline").data
    assert ask.job("behind", wait_s=30, delivery="inline").data
    with pytest.raises(EngineError):
        ask.generate("fail now", durable=True, request_id="failing")
    failed = ask.job("failing")
    assert failed.state == "failed" and failed.error is not None and failed.error.code == "engine_failed"
    with pytest.raises(EngineError):
        ask.fetch("failing")
    with pytest.raises(NotFound):
        ask.job("unheard-of")
    listed = ask.jobs()
    assert {"held", "behind", "failing"} <= {one.request_id for one in listed.jobs}
    assert [one.request_id for one in ask.jobs(["failed"]).jobs] == ["failing"]


def test_a_job_can_be_cancelled_and_done_again(gate: Path, server: Served, ask: AudioClient) -> None:
    pending = ask.submit(f"hold {gate} cancel", durable=True, request_id="unwanted")
    in_state(ask, "unwanted", "running")
    with client(server) as other:
        assert other.cancel("unwanted").cancelled
    with pytest.raises(Cancelled):
        pending.result(PATIENCE_S)
    assert ask.job("unwanted").state == "cancelled"
    assert not ask.cancel("unwanted").cancelled, "it has ended"
    gate.touch()
    assert ask.retry("unwanted").state == "pending"
    assert ask.fetch("unwanted").path
    with pytest.raises(InvalidRequest, match="is done"):
        ask.retry("unwanted")
    with pytest.raises(NotFound):
        ask.retry("unheard-of")


def test_who_stops_waiting_does_not_cancel(gate: Path, server: Served, ask: AudioClient) -> None:
    ask.health()  # it is connected: else the error would be that
    with pytest.raises(Timeout, match="no answer"):
        ask.generate(f"hold {gate} patience", durable=True, request_id="slow", timeout_s=0.5)
    assert ask.job("slow").state in ("pending", "running")
    gate.touch()
    assert ask.fetch("slow").path


def test_a_connection_gets_one_reply_however_often_it_asks(gate: Path, server: Served) -> None:
    request = {"prompt": f"hold {gate} once", "durable": True}
    asked = msgpack.packb({"v": 1, "type": "generate", "request_id": "once", "request": request, "events": True})
    dealer = zmq.Context.instance().socket(zmq.DEALER)
    dealer.linger = 0
    try:
        dealer.connect(server.endpoint)
        for _ in range(3):
            dealer.send(asked)
        assert dealer.poll(PATIENCE_S * 1000)
        with client(server) as other:
            in_state(other, "once", "running")
        gate.touch()
        kinds: list[str] = []
        while "result" not in kinds:
            assert dealer.poll(PATIENCE_S * 1000)
            kinds.append(msgpack.unpackb(dealer.recv())["type"])
        assert not dealer.poll(300), "a second one"
        assert kinds[0] == "accepted" and kinds.count("result") == 1
        dealer.send(asked)  # a new question, after the answer
        assert dealer.poll(PATIENCE_S * 1000) and msgpack.unpackb(dealer.recv())["type"] == "result"
    finally:
        dealer.close()


def test_a_req_socket_has_its_job_kept(server: Served) -> None:
    asking = zmq.Context.instance().socket(zmq.REQ)
    asking.linger = 0
    try:
        asking.connect(server.endpoint)
        request = {"prompt": "tone for a req", "durable": True}
        asking.send(msgpack.packb({"v": 1, "type": "generate", "request_id": "req", "request": request}))
        assert asking.poll(PATIENCE_S * 1000)
        path = msgpack.unpackb(asking.recv())["path"]
    finally:
        asking.close()
    with client(server) as other:
        assert other.job("req").path == path


def test_output_path_is_written_and_the_copy_is_the_jobs_own(server: Served, ask: AudioClient) -> None:
    target = server.place / "mine.wav"
    result = ask.generate("tone out", durable=True, request_id="out", output_path=str(target))
    assert result.path == str(target)
    kept = str(ask.job("out").path)
    target.unlink()
    assert kept != str(target) and Path(kept).stat().st_size > 0


def test_a_bad_request_is_refused_before_it_is_kept(ask: AudioClient) -> None:
    with pytest.raises(InvalidRequest):
        ask.submit("tone", durable=True, request_id="two words")
    with pytest.raises(Exception, match="nowhere"):
        ask.generate("tone", durable=True, request_id="refused", engine="nowhere")
    with pytest.raises(NotFound):
        ask.job("refused")


def test_the_command_line_tells_of_jobs(gate: Path, server: Served, ask: AudioClient) -> None:
    where = ["--connect", server.endpoint]
    made = command("generate", "tone cli", *where, "--durable", "--request-id", "cli-1", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["path"] == ask.job("cli-1").path
    shown = json.loads(command("jobs", "show", "cli-1", *where, "--json").stdout)
    assert (shown["state"], shown["metadata"]["prompt"]) == ("done", "tone cli")
    ask.submit(f"hold {gate} cli", durable=True, request_id="cli-2")
    assert command("jobs", "cancel", "cli-2", *where).stdout == "cancelled cli-2\n"
    assert command("jobs", "show", "cli-2", *where).returncode == 1
    gate.touch()
    assert command("jobs", "retry", "cli-2", *where).returncode == 0
    assert "done" in command("jobs", "show", "cli-2", "--wait", "30", *where).stdout
    assert command("jobs", "retry", "cli-2", *where).returncode == 2
    assert command("jobs", "show", "unheard", *where).returncode == 2
    listed = command("jobs", "list", "--state", "done", *where).stdout
    assert "cli-1" in listed and "tone cli" in listed
    offline = json.loads(command("jobs", "list", "--offline", str(server.place / "cache/jobs"), "--json").stdout)
    assert {"cli-1", "cli-2"} <= {one["request_id"] for one in offline["jobs"]}
    assert command("jobs", "list", "--offline", str(server.place)).returncode == 2
    assert command("generate", "tone", "--request-id", "x").returncode == 2


def test_only_a_server_keeps_jobs(tmp_path: Path) -> None:
    settings = {"cache": {"dir": str(tmp_path), "encoder": "off"}, "workers": [{"name": "w", "engines": ["mock"]}]}
    pool = AudioPool.from_config({**settings, "defaults": {"engine": "mock"}})
    with pool, pytest.raises(NotSupported, match="served pool"):
        pool.submit("tone", durable=True)
    assert not (tmp_path / "jobs").exists()


# -- restarts --------------------------------------------------------------------------------------


def test_a_killed_server_loses_nothing_and_makes_nothing_twice(tmp_path: Path) -> None:
    """One that runs, one that waits, one that is done, one that was cancelled, one whose deadline passes."""
    gate = tmp_path / "gate"
    hold = f"hold {gate} all"
    first = Served(tmp_path, queue={"ageing_s": 1000.0}).ready()
    with client(first, resume=True) as resuming, client(first) as plain:
        done = resuming.generate("tone done", durable=True, request_id="done")
        running = resuming.submit(hold, durable=True, request_id="running", events=True)
        in_state(resuming, "running", "running")
        waiting = resuming.submit("tone waiting", durable=True, request_id="waiting")
        late = resuming.submit("tone late", durable=True, request_id="late", deadline_ms=1500)
        cancelled = resuming.submit("tone cancelled", durable=True, request_id="cancelled")
        for name in ("waiting", "late", "cancelled"):
            in_state(resuming, name, "pending")
        assert resuming.cancel("cancelled").cancelled
        fleeting = resuming.submit("tone fleeting", force=True)
        lost = plain.submit("tone plain", durable=True, request_id="plain")
        in_state(plain, "plain", "pending")
        met = eventually(lambda: resuming.server_instance, "the first instance is known")
        assert resuming.connected and plain.connected
        second = killed(first, queue={"ageing_s": 1000.0})
        with second:
            with pytest.raises(Disconnected):  # not durable: at once, and not made anew
                fleeting.result(PATIENCE_S)
            with pytest.raises(Disconnected):
                lost.result(PATIENCE_S)
            in_state(resuming, "running", "running")
            assert resuming.server_instance not in ("", met)
            time.sleep(1.5)
            gate.touch()
            for one in (running, waiting):
                assert one.result(PATIENCE_S).metadata.request_id == one.request_id
            with pytest.raises(Expired):
                late.result(PATIENCE_S)
            with pytest.raises(Cancelled):
                cancelled.result(PATIENCE_S)
            assert plain.fetch("plain").path, "its client did not resume, and can fetch it all the same"
            again = resuming.generate("tone done", durable=True, request_id="done")
            assert again.path == done.path and Path(done.path).exists()
            with pytest.raises(Conflict):
                resuming.generate("tone other", durable=True, request_id="done")
            states = {one.request_id: one.state for one in resuming.jobs().jobs}
            assert states == {
                "done": "done", "running": "done", "waiting": "done", "late": "expired", "cancelled": "cancelled",
                "plain": "done",
            }  # fmt: skip
    diary = second.diary()
    assert diary.count(hold) == 2, "made once by each server that had it"
    made = {name: diary.count(f"tone {name}") for name in ("done", "waiting", "late", "cancelled", "plain")}
    assert made == {"done": 1, "waiting": 1, "late": 0, "cancelled": 0, "plain": 1}


def test_kills_at_random_moments(tmp_path: Path) -> None:
    """Before it is accepted, queued, generating, storing, recorded and not sent: whatever it hits."""
    names = [f"job-{number}" for number in range(16)]
    moments = random.Random(9)
    server = Served(tmp_path).ready()
    answers: dict[str, list[str]] = {name: [] for name in names}
    recorded: dict[str, str] = {}
    with client(server, resume=True) as resuming:
        pending = {}
        for round_ in range(4):
            for name in names[round_ * 4 : round_ * 4 + 4]:
                pending[name] = resuming.submit(f"take 0.05 {name}", durable=True, request_id=name, force=True)
            time.sleep(moments.uniform(0.0, 0.4))
            server.signal(signal.SIGKILL)
            server.wait()
            recorded |= _done_in(tmp_path)
            server = Served(tmp_path).ready()
        with server:
            for name, one in pending.items():
                answers[name].append(one.result(PATIENCE_S).path)
            for name in names:
                report = resuming.job(name)
                assert report.state == "done" and [report.path] == answers[name] and Path(str(report.path)).exists()
            assert {name: resuming.job(name).path for name in recorded} == recorded, "made twice"
            assert not resuming.jobs(["pending", "running", "failed"]).jobs


def _done_in(place: Path) -> dict[str, str]:
    where = str(place / "cache/jobs")
    listed = command("jobs", "list", "--offline", where, "--state", "done", "--json")
    if listed.returncode:
        assert "holds no jobs" in listed.stdout + listed.stderr, "it was killed before it had any"
        return {}
    return {one["request_id"]: one["path"] for one in json.loads(listed.stdout)["jobs"]}


def test_an_awaiting_client_resumes_too(tmp_path: Path) -> None:
    """Over TCP, where each start of the server has a token of its own; what is asked for in between waits for it."""
    gate = tmp_path / "gate"
    with socket.create_server(("127.0.0.1", 0)) as free:
        bind = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    server = Served(tmp_path, bind=bind).ready()
    servers = [server]

    async def scenario() -> list[str]:
        async with AsyncAudioClient(server.bind, timeout_s=PATIENCE_S, resume=True) as asking:
            pending = asking.submit(f"hold {gate} async", durable=True, request_id="async")
            while (await asking.job("async")).state != "running":
                await asyncio.sleep(0.02)
            fetched = asyncio.ensure_future(asking.fetch("async"))
            server.signal(signal.SIGKILL)
            await asyncio.to_thread(server.wait)
            while asking._session.connected:
                await asyncio.sleep(0.02)
            between = asking.submit("tone between", durable=True, request_id="between")
            servers.append(await asyncio.to_thread(lambda: Served(tmp_path, bind=bind).ready()))
            gate.touch()
            assert (await between).path == (await asking.job("between")).path
            listed = (await asking.jobs()).jobs
            return [(await pending).path, (await fetched).path, listed[-1].request_id]

    try:
        path, fetched, listed = asyncio.run(scenario())
        assert path == fetched and listed == "async"
    finally:
        for one in servers:
            one.close()


def test_a_job_that_kills_the_server_is_not_tried_for_ever(tmp_path: Path) -> None:
    mercy = tmp_path / "mercy"
    prompt = f"murder {mercy}"
    server = Served(tmp_path, jobs={"max_attempts": 2}).ready()
    with client(server, resume=True) as asking:
        pending = asking.submit(prompt, durable=True, request_id="murder")
        innocent = asking.submit("tone innocent", durable=True, request_id="innocent")
        for _ in range(2):
            server.wait()
            server = Served(tmp_path, jobs={"max_attempts": 2})
        with server.ready():
            with pytest.raises(WorkerDied, match="ended 2 times"):
                pending.result(PATIENCE_S)
            assert innocent.result(PATIENCE_S).path
            assert asking.job("murder").attempts == 2
            mercy.touch()
            asking.retry("murder")
            assert asking.fetch("murder").path
            assert server.diary().count(prompt) == 3


def test_a_server_that_stops_leaves_its_jobs_to_the_next(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    limits = {"drain_timeout_s": 0.2}
    with Served(tmp_path, limits=limits).ready() as server, client(server) as asking:
        pending = [
            asking.submit(f"hold {gate} drain", durable=True, request_id="one"),
            asking.submit("tone drain", durable=True, request_id="two"),
        ]
        in_state(asking, "two", "pending")
        told: list[JobReport] = []
        waiting = threading.Thread(target=lambda: told.append(asking.job("two", wait_s=60)))
        waiting.start()
        server.signal(signal.SIGTERM)
        for one in pending:
            with pytest.raises(PoolClosed):
                one.result(PATIENCE_S)
        assert server.wait() == 0
        waiting.join(PATIENCE_S)
        assert [one.state for one in told] == ["pending"], "nobody is kept waiting by a server that ends"
    gate.touch()
    with Served(tmp_path).ready() as server, client(server) as asking:
        assert asking.fetch("one").path and asking.fetch("two").path


def test_results_wait_for_their_time_and_ids_are_free_again(tmp_path: Path) -> None:
    with Served(tmp_path, jobs={"result_ttl_s": 1.0, "max_jobs": 2}).ready() as server, client(server) as asking:
        first = asking.generate("tone brief", durable=True, request_id="brief")
        asking.generate("tone brief", durable=True, request_id="other")
        with pytest.raises(Busy, match="2 durable jobs") as full:
            asking.generate("tone brief", durable=True, request_id="third")
        assert 0 < full.value.retry_after_ms <= 60_000
        assert asking.generate("tone brief").path, "what is not durable goes on"
        eventually(lambda: not Path(first.path).exists(), "the file is gone")
        eventually(lambda: not asking.jobs().jobs, "the jobs are gone")
        with pytest.raises(NotFound, match="may be over"):
            asking.job("brief")
        assert asking.generate("tone anew", durable=True, request_id="brief").path


@pytest.mark.sqlite
def test_a_journal_that_takes_no_writes_costs_durable_requests_alone(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file in the way")
    with Served(tmp_path, jobs={"dir": str(blocked)}).ready() as server, client(server) as asking:
        with pytest.raises(StorageError):
            asking.generate("tone kept", durable=True, request_id="kept")
        assert asking.generate("tone not kept").path
        health = asking.health()
        assert health.state == "degraded" and any(str(blocked) in reason for reason in health.reasons)
        with pytest.raises(StorageError):
            asking.job("kept")
        blocked.unlink()
        eventually(lambda: asking.health().state == "ready", "it heals")
        assert asking.generate("tone kept", durable=True, request_id="kept").path


@pytest.mark.sqlite
def test_a_disk_that_fills_up_costs_durable_requests_alone(tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk: no write of the server's succeeds beyond it."""
    gate = tmp_path / "gate"
    with Served(tmp_path).ready() as server, client(server) as asking:
        held = asking.submit(f"hold {gate} full", durable=True, request_id="held")
        in_state(asking, "held", "running")
        unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, unlimited[1]))
        with pytest.raises(StorageError):
            asking.generate("tone refused", durable=True, request_id="refused")
        assert asking.health().state == "degraded"
        gate.touch()
        assert asking.generate("tone by the way").path
        warnings = held.result(PATIENCE_S).metadata.warnings
        assert any(warning.startswith("not_recorded") for warning in warnings), "it had been accepted: it is answered"
        assert not asking.cancel("held").cancelled, "answered already: nobody waits for room on the disk to hear so"
        again = asking.submit(f"hold {gate} full", durable=True, request_id="held")
        assert again.result(PATIENCE_S).path
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
        in_state(asking, "held", "done")
        eventually(lambda: asking.health().state == "ready", "it heals")
        assert "tone refused" not in server.diary()
        assert asking.generate("tone refused", durable=True, request_id="refused").path


def test_what_was_accepted_is_known_to_the_next_server(tmp_path: Path) -> None:
    """A client that saw ``accepted`` need not ask again; its connection is gone, and it does not resume."""
    moments = random.Random(5)
    server = Served(tmp_path).ready()
    for round_ in range(2):
        with client(server) as asking:
            pending = [
                asking.submit(f"take 0.2 {round_} {number}", durable=True, request_id=f"{round_}-{number}", events=True)
                for number in range(20)
            ]
            time.sleep(moments.uniform(0.0, 0.06))
            server.signal(signal.SIGKILL)
            server.wait()
            accepted = []
            for one in pending:
                with pytest.raises(Disconnected):
                    one.result(PATIENCE_S)
                accepted += [event.request_id for event in one.events() if event.type == "accepted"]
        server = Served(tmp_path).ready()
        with client(server) as asking:
            for name in accepted:
                assert asking.fetch(name).metadata.request_id == name
    server.close()


@pytest.mark.sqlite
def test_a_job_whose_journal_is_gone_ends_at_once(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = Served(tmp_path).ready()
    with client(server, resume=True) as asking:
        pending = asking.submit(f"hold {gate} gone", durable=True, request_id="gone", events=True)
        in_state(asking, "gone", "running")
        with killed(server, jobs={"dir": str(tmp_path / "another")}), pytest.raises(ServerRestarted):
            pending.result(PATIENCE_S)


@pytest.mark.sqlite
def test_two_servers_do_not_share_a_journal(tmp_path: Path) -> None:
    jobs = {"dir": str(tmp_path / "jobs")}
    with (
        Served(tmp_path / "a", jobs=jobs).ready() as first,
        Served(tmp_path / "b", jobs=jobs).ready() as second,
        client(first) as one,
        client(second) as other,
    ):
        assert one.generate("tone", durable=True, request_id="mine").path
        with pytest.raises(StorageError, match="another running server"):
            other.generate("tone", durable=True, request_id="mine")
        first.signal(signal.SIGKILL)
        first.wait()
        eventually(lambda: other.health().state == "ready", "it takes the journal over")
        assert other.job("mine").state == "done"


def test_many_requests_share_commits_and_queue_up_beyond_the_pools_room(tmp_path: Path) -> None:
    with Served(tmp_path, queue={"max_requests": 8}).ready() as server, client(server) as asking:
        pending = [
            asking.submit(f"tone {number}", durable=True, request_id=f"r{number}", force=True) for number in range(40)
        ]
        assert len({one.result(PATIENCE_S).path for one in pending}) == 40
        assert len(asking.jobs(["done"]).jobs) == 40


def test_threads_may_wait_for_one_job_through_a_restart(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = Served(tmp_path).ready()
    paths: list[str] = []
    with client(server, resume=True) as asking:
        asking.submit(f"hold {gate} many", durable=True, request_id="many")
        in_state(asking, "many", "running")
        threads = [threading.Thread(target=lambda: paths.append(asking.fetch("many").path)) for _ in range(4)]
        for thread in threads:
            thread.start()
        with killed(server):
            gate.touch()
            for thread in threads:
                thread.join(PATIENCE_S)
    assert len(paths) == 4 and len(set(paths)) == 1
