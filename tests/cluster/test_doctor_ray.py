"""``audio-pool doctor --cluster`` before a real Ray cluster: which workers get a place, and what nodes lack."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from tests.support.ray_cluster import RayCluster
from tests.support.served import as_toml
from tests.support.waiting import PATIENCE_S

from audio_pool.cli.doctor import doctor

pytest.importorskip("ray", reason="Ray is not installed: make test-cluster")

Told = dict[str, tuple[str, str, str]]
HOME = {"name": "home", "engines": ["procedural"], "local": True}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    cluster = RayCluster()
    cluster.add(gpus=2, near=8)
    cluster.add(gpus=1)
    yield cluster
    cluster.close()


@pytest.fixture
def ask(cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Told]:
    monkeypatch.chdir(tmp_path)

    def asked(*workers: dict[str, Any], **keys: Any) -> Told:
        tree = {
            "cache": {"dir": str(tmp_path / "cache")},
            "cluster": {"launcher": "ray", "address": cluster.address, **keys},
            "workers": [*({"roles": ["generate"], "engines": ["procedural"], **one} for one in workers), HOME],
        }
        (tmp_path / "pool.toml").write_text(as_toml(tree))
        done = CliRunner().invoke(doctor, ["--cluster", "--json", "--config", str(tmp_path / "pool.toml")])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        found = json.loads(done.stdout)
        told: Told = {}
        for one in found["findings"]:  # nodes of one machine have one name
            what = one["what"] if one["what"] not in told else f"{one['what']} #{len(told)}"
            told[what] = (one["state"], one["told"], one["mend"])
        return told

    return asked


def test_places_nodes_and_the_way_to_the_head_are_told(ask: Callable[..., Told]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = ask(
            {"name": "fits", "gpus": 0.5, "count": 2, "resources": {"near": 1}},
            {"name": "far", "gpus": 1, "engines": ["tangoflux"], "resources": {"far": 1}},
            {"name": "py", "python": "/no/such/python"},
            bind=f"tcp://127.0.0.1:{server.getsockname()[1]}",
            advertise="127.0.0.1",
        )
    assert "3 nodes with 5 cores and 3 GPUs" in found["ray"][1] and found["ray"][0] == "ok"
    assert found["worker fits"][0] == "ok" and "2 of them fit" in found["worker fits"][1]
    assert found["worker far"][0] == "problem" and "--resources" in found["worker far"][2]
    state, told, _ = found["cluster.advertise"]
    assert state == "ok" and "reached from 3 nodes" in told and "taken here" in told, "a server that runs is reached"
    nodes = [told for what, told in found.items() if "(" in what and what.startswith("node ")]
    assert [state for state, _, _ in nodes] == ["problem"] * 3
    assert all("/no/such/python is not there" in told for _, told, _ in nodes)
    assert found["engine tangoflux"][0] == "ok" and "on the nodes" in found["engine tangoflux"][1]


def test_a_head_that_nodes_do_not_reach_is_told(ask: Callable[..., Told]) -> None:
    state, told, mend = ask({"name": "w"}, advertise="no-such-host.invalid")["cluster.advertise"]
    assert state == "problem" and "3 of 3 nodes do not reach tcp://no-such-host.invalid" in told
    assert "cluster.advertise" in mend


def test_a_cluster_that_is_not_there_is_told_and_no_process_is_left(ask: Callable[..., Told]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    state, told, mend = ask({"name": "w"}, address=f"127.0.0.1:{free}")["ray"]
    assert state == "problem" and f"nobody listens at 127.0.0.1:{free}" in told and "ray start --head" in mend
    found = ask()
    assert found["ray"][0] == "note" and "every worker is local" in found["ray"][1]
    assert not [one for one in psutil.process_iter(["cmdline"]) if "ray_look" in " ".join(one.info["cmdline"] or [])]


_ANOTHER_PYTHON = """
import json, sys
import ray
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put
ray.init(address=sys.argv[1], log_to_driver=False)
told = json.loads(_internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster"))
told["python_version"] = "3.11.99"
_internal_kv_put(b"CLUSTER_METADATA", json.dumps(told).encode(), namespace=b"cluster")
"""


# the last one: nobody else gets into the cluster after it
def test_a_cluster_of_another_python_is_told(cluster: RayCluster, ask: Callable[..., Told]) -> None:
    subprocess.run([sys.executable, "-c", _ANOTHER_PYTHON, cluster.address], check=True, timeout=PATIENCE_S)
    state, told, mend = ask({"name": "w"})["ray"]
    assert state == "problem" and "3.11.99" in told and "to its last number" in mend
