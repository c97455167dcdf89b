"""GPUs lent and returned, workers added and removed, while a real server is flooded: every request has one answer.

The devices are logical: each worker's environment is pinned to its own, and its memory is its process's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AsyncAudioClient, AudioClient
from audio_pool.cli import main
from audio_pool.errors import Busy, Cancelled, InvalidConfig, InvalidRequest, NotFound, Refused
from audio_pool.pending import Pending
from audio_pool.staffing import LeaseReport

WORKERS = [
    {"name": "a", "engines": ["stage"], "roles": ["generate"], "gpu": "0"},
    {"name": "b", "engines": ["stage"], "roles": ["generate"], "gpu": "1"},
    {"name": "m", "engines": [], "roles": ["master"]},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("server"), workers=WORKERS) as served:
        yield served.ready()


@pytest.fixture
def client(server: Served) -> Iterator[AudioClient]:
    with AudioClient(server.endpoint, timeout_s=PATIENCE_S) as client:
        yield client
        for lease in client.leases.list():
            client.leases.give_back(lease.device)
        settled(client, "a", "b", "m")


def settled(client: AudioClient, *names: str) -> None:
    eventually(
        lambda: {name: one.state for name, one in client.status().workers.items()} == dict.fromkeys(names, "ready"),
        f"{names} are up, and nobody else",
    )


def state(client: AudioClient, name: str) -> str:
    return client.status().workers[name].state


def at_work(client: AudioClient, *names: str) -> None:
    eventually(
        lambda: all(client.status().workers[name].tasks for name in names), f"{names} have something in hand"
    )


def test_every_request_of_a_flood_has_one_answer_while_devices_and_workers_come_and_go(
    server: Served, client: AudioClient
) -> None:
    replies: list[int] = []
    asked: list[Pending] = []
    enough = threading.Event()

    def flood() -> None:
        while not enough.is_set():
            if sum(not pending.done() for pending in asked) < 12:
                number = len(asked)
                asked.append(client.submit(f"take 0.02 sound {number}", force=True))
                asked[-1].add_done_callback(lambda _, number=number: replies.append(number))
            else:
                enough.wait(0.005)

    asking = threading.Thread(target=flood)
    asking.start()
    try:
        for device, name in (("1", "b"), ("0", "a")):
            at_work(client, name)
            lease = client.leases.take(device, within_s=2.0, for_s=60.0, holder="image server")
            assert lease.state == "free" and lease.workers == (name,)
            assert name not in server.workers(), "its process is gone, and all that it had with it"
            done = len(replies)
            eventually(lambda done=done: len(replies) > done + 10, "the other goes on")
            assert client.leases.give_back(device).returned
            eventually(lambda name=name: state(client, name) == "ready", "it is back")
        client.workers.add("more", like="a", gpu="2")
        at_work(client, "more")
        client.workers.drain("a")
        assert state(client, "a") == "drained" and client.status().workers["a"].tasks == 0
        assert "a" in server.workers(), "a drained worker stays up"
        client.workers.resume("a")
        at_work(client, "a", "b")
        assert client.workers.remove("more").state == "removed"
        assert "more" not in server.workers() and "more" not in client.status().workers
    finally:
        enough.set()
        asking.join()
    for pending in asked:
        assert pending.result(PATIENCE_S).metadata.prompt
    eventually(lambda: len(replies) == len(asked), "all have been told")
    assert sorted(replies) == list(range(len(asked))), "each once"
    assert client.status().workers["b"].crashes == client.status().workers["a"].crashes == 0


def test_what_does_not_end_in_time_is_made_elsewhere_and_says_why(
    server: Served, client: AudioClient, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    held = [client.submit(f"hold {go} {number}", force=True) for number in range(2)]
    at_work(client, "a", "b")
    lease = client.leases.take("1", within_s=0.5, holder="image server")
    assert lease.begun_again == 1 and "b" not in server.workers()
    go.touch()
    warnings = [pending.result(PATIENCE_S).metadata.warnings for pending in held]
    assert sum(any("begun_again: device 1 is lent to 'image server'" in one for one in said) for said in warnings) == 1


def test_what_no_other_device_makes_waits_and_its_expiry_says_for_whom(client: AudioClient) -> None:
    for device in "01":
        client.leases.take(device, for_s=None, holder="image server")
    waiting = client.submit("tone that waits", force=True)
    hurried = client.submit("tone in a hurry", force=True, deadline_ms=200)
    with pytest.raises(Exception, match=r"device [01] is lent to 'image server'"):
        hurried.result(PATIENCE_S)
    health = client.health()
    assert health.engines["stage"] == "lent" and any("is lent to 'image server'" in one for one in health.reasons)
    assert not waiting.done()
    client.leases.give_back("0")
    assert waiting.result(PATIENCE_S).metadata.prompt == "tone that waits"


def test_a_lease_ends_with_its_holders_connection(server: Served, client: AudioClient) -> None:
    with AudioClient(server.endpoint) as image_server:
        image_server.leases.take("1", for_s=None, holder="image server", while_connected=True)
        assert [lease.holder for lease in client.leases.list()] == ["image server"]
    eventually(lambda: not client.leases.list(), "it has ended")


def test_a_lease_ends_by_itself(client: AudioClient) -> None:
    lease = client.leases.take("1", for_s=0.3)
    assert lease.left_s is not None and lease.left_s <= 0.3
    eventually(lambda: not client.leases.list(), "it has ended")


def test_there_are_as_many_of_a_name_as_were_ordered(server: Served, client: AudioClient) -> None:
    assert client.workers.scale("b", 3).workers == ("b", "b-1", "b-2")
    settled(client, "a", "b", "b-1", "b-2", "m")
    assert server.workers()["b-2"].environ()["CUDA_VISIBLE_DEVICES"] == "1"
    assert audio_pool(server, "workers", "scale", "b", "1") == "worker b: scaled\n"
    settled(client, "a", "b", "m")
    assert client.workers.scale("b", 0).workers == ()
    settled(client, "a", "m")
    client.workers.scale("b", 1)  # though none is left to be like
    settled(client, "a", "b-1", "m")
    client.workers.add("b", like="b-1")
    client.workers.remove("b-1")
    with pytest.raises(InvalidRequest, match="the last that masters"):
        client.workers.scale("m", 0)
    with pytest.raises(NotFound, match="there are: a, b, m"):
        client.workers.scale("zebra", 2)


def test_what_cannot_be_had_is_refused_by_name(client: AudioClient) -> None:
    with pytest.raises(NotFound, match="no worker of this pool is on device '7'; there are: 0, 1"):
        client.leases.take("7")
    client.leases.take("1", holder="image server")
    with pytest.raises(Busy, match="lent to 'image server'"):
        client.leases.take("1", holder="video server")
    assert not client.leases.give_back("0").returned
    with pytest.raises(NotFound, match=r"did you mean 'a'|there are: a, b, m"):
        client.workers.drain("aa")
    with pytest.raises(InvalidRequest, match="the last that masters"):
        client.workers.remove("m")
    with pytest.raises(InvalidConfig, match="there is one named 'a'"):
        client.workers.add("a", like="b")
    with pytest.raises(InvalidConfig, match="gpuu"):
        client.workers.add("c", gpuu="1")
    with pytest.raises(Refused, match="configuration alone"):
        client.workers.add("c", like="b", python="/bin/sh")


def test_who_awaits_orders_likewise(server: Served, client: AudioClient) -> None:
    async def order() -> tuple[LeaseReport, ...]:
        async with AsyncAudioClient(server.endpoint) as other:
            await other.leases.take("1", holder="image server")
            leases = await other.leases.list()
            await other.leases.give_back("1")
            added = await other.workers.add("later", like="b")
            assert added.state in ("starting", "lent")
            assert (await other.workers.drain("later")).state == "drained"
            assert (await other.workers.resume("later")).state == "resumed"
            assert (await other.workers.remove("later", within_s=0.0)).state == "removed"
            return leases

    assert [lease.device for lease in asyncio.run(order())] == ["1"]


def test_a_lease_given_back_while_it_is_left_is_answered(
    server: Served, client: AudioClient, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    held = [client.submit(f"hold {go} {number}", force=True) for number in range(2)]
    at_work(client, "a", "b")
    with AudioClient(server.endpoint) as other:
        told: list[BaseException] = []

        def take() -> None:
            try:
                other.leases.take("1", within_s=100.0)
            except Cancelled as exc:
                told.append(exc)

        taking = threading.Thread(target=take)
        taking.start()
        eventually(lambda: [lease.state for lease in client.leases.list()] == ["leaving"], "it is being left")
        client.leases.give_back("1")
        taking.join()
    assert "before the device was free" in str(told[0])
    go.touch()
    for pending in held:
        pending.result(PATIENCE_S)


def test_workers_of_a_changed_configuration_come_and_go_at_a_reload(server: Served, client: AudioClient) -> None:
    file = server.place / "serve.toml"
    before = file.read_text()
    b = before[before.index('[[workers]]\nname = "b"') :].partition("\n\n")[0]
    try:
        file.write_text(before + "\n" + b.replace('"b"', '"written"'))
        server.signal(signal.SIGHUP)
        eventually(lambda: "written" in client.status().workers, "it is added")
        with pytest.raises(InvalidConfig, match="there is one named 'written'"):
            client.workers.add("written", like="a")
    finally:
        file.write_text(before)
    server.signal(signal.SIGHUP)
    settled(client, "a", "b", "m")
    assert "written" not in server.workers()


# -- the command line --------------------------------------------------------------------------------


def audio_pool(server: Served, group: str, verb: str, *arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, [group, verb, "--connect", server.endpoint, *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_the_commands(server: Served, client: AudioClient) -> None:
    took = audio_pool(server, "lease", "take", "1", "--within", "5", "--for", "60", "--holder", "image server")
    assert took.startswith("device 1: free, lent to 'image server' for") and "away: b" in took
    assert "device 1: free" in audio_pool(server, "lease", "list")
    assert "b: lent, stage (generate) on GPU 1" in audio_pool(server, "workers", "list")
    assert "is returned" in audio_pool(server, "lease", "return", "1")
    assert "is not lent" in audio_pool(server, "lease", "return", "1", code=2)
    assert audio_pool(server, "workers", "add", "c", "--like", "b", "--set", "credit=1") == "worker c: starting\n"
    assert audio_pool(server, "workers", "drain", "c") == "worker c: drained\n"
    assert audio_pool(server, "workers", "remove", "c") == "worker c: removed\n"


def test_a_command_runs_while_it_has_a_device(server: Served, client: AudioClient, tmp_path: Path) -> None:
    seen, go = tmp_path / "seen", tmp_path / "go"
    script = f"touch {seen}; while [ ! -e {go} ]; do sleep 0.05; done; exit 7"
    command = [sys.executable, "-m", "audio_pool.cli", "lease", "run", "--connect", server.endpoint, "1", "sh", "-c"]
    with subprocess.Popen([*command, script]) as running:
        eventually(seen.exists, "the command runs")
        assert [lease.state for lease in client.leases.list()] == ["free"] and "b" not in server.workers()
        go.touch()
        assert running.wait(PATIENCE_S) == 7
    assert not client.leases.list()
    go.unlink()
    seen.unlink()
    with subprocess.Popen([*command, script], process_group=0) as running:
        eventually(seen.exists, "the command runs")
        os.killpg(running.pid, 9)
    eventually(lambda: not client.leases.list(), "the lease has ended with its holder")
