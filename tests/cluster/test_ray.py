"""Workers as actors of a real Ray cluster of several nodes on this machine: placed, pinned, lost, scaled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
from tests.support.ray_cluster import RayCluster
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient, AudioPool
from audio_pool.errors import WorkerStartFailed
from audio_pool.pending import Pending

pytest.importorskip("ray", reason="Ray is not installed: make test-cluster")

LIMITS = {"heartbeat_s": 0.3, "missed_heartbeats": 5, "restart_backoff_s": 0.05, "max_attempts": 4}
MASTER = {"name": "master", "engines": [], "roles": ["master"], "local": True}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    hub = tmp_path_factory.mktemp("hub")  # of the nodes
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_CACHE", str(hub))
        cluster = RayCluster()
        cluster.add(gpus=2, near=8)
    yield cluster
    cluster.close()


def served(cluster: RayCluster, place: Path, *workers: dict[str, Any], **cluster_keys: Any) -> Served:
    return Served(
        place,
        cluster={"launcher": "ray", "address": cluster.address, **cluster_keys},
        limits=LIMITS,
        workers=[*workers, MASTER],
    )


@pytest.fixture(scope="module")
def server(cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two workers that share a card, and one without."""
    on_card = {"roles": ["generate"], "resources": {"near": 1}}
    gpu = {"name": "g", "engines": ["stage"], "gpus": 0.5, "count": 2, **on_card}
    none = {"name": "p", "engines": ["procedural"], "memory": "64MB", **on_card}
    with served(cluster, tmp_path_factory.mktemp("server"), gpu, none) as server:
        yield server.ready()


@pytest.fixture
def client(server: Served) -> Iterator[AudioClient]:
    with AudioClient(server.endpoint, timeout_s=PATIENCE_S) as client:
        up(client)
        yield client


def asking(server: Served) -> AudioClient:
    return AudioClient(server.ready().endpoint, timeout_s=PATIENCE_S)


def up(client: AudioClient, *but: str) -> None:
    eventually(
        lambda: all(one.state == "ready" for name, one in client.status().workers.items() if name not in but),
        "all workers are up",
    )


def workers_of_nodes() -> dict[str, psutil.Process]:
    """The workers' processes, wherever on this machine, by name."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if len(command) > 6 and "audio_pool.worker.start" in " ".join(command) and command[4].startswith("tcp://"):
            found[command[5]] = process
    return found


def running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Flood:
    """Requests that are counted: each has one answer."""

    def __init__(self, client: AudioClient, count: int, take_s: float = 0.1) -> None:
        self.answers: list[int] = []
        self.asked: list[Pending] = []
        for number in range(count):
            self.asked.append(client.submit(f"take {take_s} sound {number} {time.monotonic_ns()}", force=True))
            self.asked[-1].add_done_callback(lambda _, number=number: self.answers.append(number))

    def under_way(self) -> None:
        eventually(lambda: self.answers, "the first are made")

    def all_made(self) -> None:
        for pending in self.asked:
            assert pending.result(PATIENCE_S).path is not None
        eventually(lambda: len(self.answers) >= len(self.asked), "all are told")
        assert sorted(self.answers) == list(range(len(self.asked)))


def test_a_worker_has_the_card_that_ray_gave_it_and_no_other(client: AudioClient) -> None:
    processes = workers_of_nodes()
    first, second = (processes[name].environ()["CUDA_VISIBLE_DEVICES"] for name in ("g-1", "g-2"))
    assert first == second and first in ("0", "1")
    assert processes["g-1"].environ()["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert processes["p"].environ()["CUDA_VISIBLE_DEVICES"] == ""


def test_sounds_are_made_on_a_node_and_init_audio_is_brought_there_once(
    server: Served, client: AudioClient
) -> None:
    made = client.generate("wind in a canyon", engine="procedural", duration_s=2.0, format="ogg")
    assert made.metadata.worker.id == "p" and made.path is not None
    given = server.place / "given.wav"
    soundfile.write(given, 0.1 * np.random.default_rng(1).standard_normal(22_050), 22_050)
    for seed in (1, 2):
        more = client.generate("rain", engine="procedural", init_audio=str(given), extend_s=0.5, seed=seed)
        assert more.path is not None and more.metadata.worker.id == "p"
    host = psutil.Process(workers_of_nodes()["p"].ppid())
    held = [Path(one.path) for one in host.open_files() if one.path.endswith(".lock")]
    brought = [path for lock in held for path in lock.parent.glob("?" * 64)]
    assert [path.read_bytes() for path in brought] == [given.read_bytes()]


@pytest.mark.parametrize("victim", ["worker", "silent worker", "actor", "driver"])
def test_what_is_killed_is_told_and_its_work_is_done(server: Served, client: AudioClient, victim: str) -> None:
    before = client.status().workers["g-1"].incarnation
    flood = Flood(client, 12)
    flood.under_way()
    process = workers_of_nodes()["g-1"]
    if victim == "driver":
        children = psutil.Process(server.process.pid).children()
        killed = next(one for one in children if "audio_pool.pool.launchers.ray_driver" in one.cmdline())
    else:
        killed = psutil.Process(process.ppid()) if victim == "actor" else process
    if victim == "silent worker":
        killed.suspend()  # it lives, and so does its actor: only its heartbeats are missing
    else:
        killed.kill()
    flood.all_made()
    up(client)
    assert client.status().workers["g-1"].incarnation > before
    eventually(lambda: not running(process), "it outlives neither")


def test_a_worker_of_this_machine_that_dies_takes_nothing_of_ray_along(server: Served, client: AudioClient) -> None:
    children = psutil.Process(server.process.pid).children()
    driver = next(one for one in children if "audio_pool.pool.launchers.ray_driver" in one.cmdline())
    before = {name: one.incarnation for name, one in client.status().workers.items()}
    server.workers()["master"].kill()
    eventually(lambda: client.status().workers["master"].incarnation > before["master"], "it is started again")
    up(client)
    assert client.generate("a sound", force=True).path is not None
    after = {name: one.incarnation for name, one in client.status().workers.items()}
    assert running(driver) and after == before | {"master": after["master"]}


def test_a_node_that_is_lost_in_a_flood_costs_nobody_an_answer(
    cluster: RayCluster, tmp_path: Path
) -> None:
    lost, left = cluster.add(far=2), cluster.add(far=2)
    far = {"name": "f", "engines": ["stage"], "roles": ["generate"], "resources": {"far": 1}, "count": 4}
    with served(cluster, tmp_path / "s", far) as server, asking(server) as client:
        up(client)
        flood = Flood(client, 40)
        flood.under_way()
        cluster.kill(lost)
        flood.all_made()

        # those that find no place wait, and say for what; a node more, and they are up
        def waiting() -> bool:
            pending = [one.pending or "" for one in client.status().workers.values() if one.state == "starting"]
            return len(pending) == 2 and all("1 far (the cluster has 2, 0 free)" in why for why in pending)

        eventually(waiting, "two wait for a place")
        assert client.status().health != "down"
        again = cluster.add(far=2)
        up(client)
        Flood(client, 8).all_made()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    for node in (left, again):
        cluster.kill(node)


def test_a_node_that_is_declared_dead_and_goes_on_sending_is_not_heard(cluster: RayCluster, tmp_path: Path) -> None:
    frozen = cluster.add(ice=1)
    cold = {"name": "cold", "engines": ["stage"], "roles": ["generate"], "resources": {"ice": 1}}
    near = {"name": "warm", "engines": ["stage"], "roles": ["generate"], "resources": {"near": 1}}
    with served(cluster, tmp_path / "s", cold, near) as server, asking(server) as client:
        up(client)
        flood = Flood(client, 16)
        flood.under_way()
        worker = workers_of_nodes()["cold"]
        raylet = cluster.raylet(frozen)
        raylet.suspend()
        try:
            eventually(lambda: client.status().workers["cold"].state != "ready", "it is taken for dead")
            assert worker.is_running()
            log = server.place / "cache" / "logs" / "server.log"
            eventually(lambda: "it came under b'cold:1:" in log.read_text(), "it goes on sending, to nobody")
            flood.all_made()
        finally:
            raylet.resume()
    cluster.kill(frozen)
    eventually(lambda: not running(worker), "it is gone with its node")


def test_a_server_that_is_killed_takes_its_workers_along_and_the_next_has_its_own(
    cluster: RayCluster, tmp_path: Path
) -> None:
    worker = {"name": "w", "engines": ["stage"], "roles": ["generate"], "resources": {"near": 1}}
    with served(cluster, tmp_path / "s", worker) as server:
        server.ready()
        before = workers_of_nodes()["w"]
        server.process.kill()
        eventually(lambda: not running(before), "its worker ends with it")
    with served(cluster, tmp_path / "s", worker) as server, asking(server) as client:
        up(client)
        assert client.generate("a sound", force=True).path is not None


def test_one_whose_actor_is_lost_before_it_was_ever_up_is_started_again(
    cluster: RayCluster, tmp_path: Path
) -> None:
    worker = {"name": "young", "engines": ["stage"], "roles": ["generate"], "resources": {"near": 1}}
    with served(cluster, tmp_path / "s", worker) as server:
        process = eventually(lambda: workers_of_nodes().get("young"), "its process is there")
        process.suspend()  # as it is, it comes up no more
        endpoint = server.hear("listening").split()[1]
        with AudioClient(endpoint, timeout_s=PATIENCE_S) as client:
            pending = client.submit("a sound")
            assert client.status().workers["young"].state == "starting"
            psutil.Process(process.ppid()).kill()
            assert pending.result(PATIENCE_S).path is not None
            assert client.status().workers["young"].incarnation > 1


def test_workers_come_and_go_while_sounds_are_made(server: Served, client: AudioClient) -> None:
    flood = Flood(client, 30)
    flood.under_way()
    assert client.workers.scale("g", 4).workers == ("g-1", "g-2", "g-3", "g-4")
    up(client)
    command = [sys.executable, "-m", "audio_pool.cli", "workers", "scale", "g", "1", "--connect", server.endpoint]
    told = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=os.environ)
    assert told.returncode == 0 and "g-1" in told.stdout, told.stderr
    flood.all_made()
    eventually(lambda: set(client.status().workers) == {"g-1", "p", "master"}, "three are gone")
    client.workers.scale("g", 2)
    up(client)


def test_a_model_that_a_node_lacks_is_brought_there_before_its_worker_starts(
    cluster: RayCluster, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ours = tmp_path / "hub" / "models--owner--tiny"
    snapshot = ours / "snapshots" / "c0ffee"
    (snapshot / "deep").mkdir(parents=True)
    files = {"weights.bin": os.urandom(20 << 20), "deep/config.json": b"{}", "empty": b""}
    for name, data in files.items():
        (snapshot / name).write_bytes(data)
    (ours / "refs").mkdir()
    (ours / "refs" / "main").write_text("c0ffee")
    pool = AudioPool.from_config(
        {
            "cluster": {"launcher": "ray", "address": cluster.address},
            "cache": {"dir": str(tmp_path / "cache"), "encoder": "off"},
            "engines": {"clap": {"model": "owner/tiny", "preload": False}},
            "workers": [
                {"name": "w", "engines": ["procedural", "clap"], "resources": {"near": 1}, "roles": ["generate"]},
                MASTER,
            ],
        }
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        pool.start(wait=False)
    try:
        assert pool.generate("rain", duration_s=0.5, timeout_s=PATIENCE_S).path is not None
        (theirs,) = tmp_path_factory.getbasetemp().glob("hub0/models--owner--tiny/snapshots/c0ffee")
        assert {name: (theirs / name).read_bytes() for name in files} == files
        assert (theirs.parent.parent / "refs" / "main").read_text() == "c0ffee"
        assert not list(theirs.parent.glob(".*"))
    finally:
        pool.stop()


def test_one_that_never_finds_a_place_says_what_it_lacked(cluster: RayCluster, tmp_path: Path) -> None:
    nowhere = {"name": "w", "engines": ["procedural"], "resources": {"gold": 1}}
    pool = AudioPool.from_config(
        {
            "cluster": {"launcher": "ray", "address": cluster.address, "placement_timeout_s": 1.5},
            "cache": {"dir": str(tmp_path), "encoder": "off"},
            "workers": [nowhere],
        }
    )
    with pytest.raises(WorkerStartFailed, match=r"no place for it within 1.5 s: it asks for 1 gold"):
        pool.start()


def test_a_cluster_that_is_lost_leaves_the_head_its_hits_and_its_own_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "")  # afterwards it is the other cluster's again
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")  # when Ray's library gives up, and its process
    cluster = RayCluster()
    far = {"name": "w", "engines": ["stage"], "roles": ["generate"], "resources": {"lost": 1}}
    here = {"name": "here", "engines": ["procedural"], "roles": ["generate"], "local": True}
    try:
        cluster.add(lost=1)
        with served(cluster, tmp_path / "s", far, here) as server, asking(server) as client:
            up(client)
            client.generate("rain", engine="procedural")
            cluster.lose()
            eventually(lambda: client.status().workers["w"].state != "ready", "its worker is gone with the cluster")
            assert "the Ray process has ended" in (client.status().workers["w"].error or "")
            assert client.generate("rain", engine="procedural").metadata.cached
            assert client.generate("wind", engine="procedural").metadata.worker.id == "here"
    finally:
        cluster.close()


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path) -> None:
    pool = AudioPool.from_config(
        {
            "cluster": {"launcher": "ray", "address": "127.0.0.1:1"},
            "cache": {"dir": str(tmp_path), "encoder": "off"},
            "workers": [{"name": "w", "engines": ["procedural"]}],
        }
    )
    with pytest.raises(WorkerStartFailed, match=r"Ray process has ended: exit code 1.*refused"):
        pool.start()
