"""deploy/cluster/pool.toml and steps of docs/cluster.md as they stand, but for their addresses.

Heads are real, and so are their database, object store and Ray cluster. Without HTTP doors and probes, whose libraries
these tests' environment does not have.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: make test-cluster")
pytest.importorskip("moto", reason="moto is not installed: make test-cluster")

from tests.support.object_server import KEYS, ObjectServer, served
from tests.support.ray_cluster import RayCluster
from tests.support.waiting import PATIENCE_S, eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Two boxes with a card each, beside Ray's own head."""
    cluster = RayCluster()
    cluster.add(gpus=1)
    cluster.add(gpus=1)
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectServer]:
    with served() as store:
        yield store


def step(number: int) -> str:
    """The configuration of a step of the way."""
    page = (ROOT / "docs" / "cluster.md").read_text()
    found = re.findall(rf"^### {number}\. .*?^```toml\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return str(found[0])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Heads(contextlib.ExitStack):
    """Servers by one text, each with ports and a directory of its own."""

    def __init__(self, place: Path, cluster: RayCluster, text: str, changed: dict[str, str]) -> None:
        super().__init__()
        self._place, self.keys = place, place / "keys"
        self.endpoints: list[str] = []
        self._servers: list[subprocess.Popen[bytes]] = []
        self._text = re.sub(
            r"^metrics_bind = .*\n|^\[http\]\nbind = .*\nkeys_file = .*\n", "", text, flags=re.MULTILINE
        )
        if "\naddress = " not in self._text:  # its default would be any cluster of this machine
            self._text = self._text.replace('launcher = "ray"\n', f'launcher = "ray"\naddress = "{cluster.address}"\n')
        self._changed = {
            **changed,
            '"/etc/audio-pool/keys"': f'"{self.keys}"',
        }
        assert self.run("keys", "create", str(self.keys), "--operator").returncode == 0

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command, as one who has the object store's keys."""
        return subprocess.run(
            [sys.executable, "-m", "audio_pool.cli", *arguments],
            capture_output=True, text=True, timeout=PATIENCE_S, cwd=self._place, env={**os.environ, **KEYS},
        )  # fmt: skip

    def config(self, number: int) -> str:
        return str(self._place / f"{number}.toml")

    def add(self) -> None:
        """Start a head, and wait until it answers."""
        number, endpoint = len(self._servers) + 1, f"tcp://127.0.0.1:{free_port()}"
        own = self._text
        for old, new in {
            **self._changed,
            "tcp://0.0.0.0:5577": endpoint,
            "tcp://0.0.0.0:5580": f"tcp://0.0.0.0:{free_port()}",
        }.items():
            assert old in own, f"{old} is not in the file"
            own = own.replace(old, new)
        head = str(self._place / f"head-{number}")
        own = own.replace("/var/lib/audio-pool", head)
        Path(self.config(number)).write_text(own)
        with (self._place / f"{number}.log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "audio_pool.cli", "serve", "--config", self.config(number)],
                stdout=log, stderr=log, cwd=self._place,
                env={**os.environ, **KEYS, "AUDIO_POOL_CACHE_DIR": f"{head}/cache", "AUDIO_POOL_CACHE_ENCODER": "off"},
            )  # fmt: skip
        self._servers.append(server)
        self.callback(self.lose, number)
        self.endpoints.append(endpoint)
        eventually(lambda: "\nready " in self.log(number) or server.poll() is not None, f"head {number} is ready")
        assert server.poll() is None, self.log(number)

    def log(self, number: int) -> str:
        return (self._place / f"{number}.log").read_text()[-3000:]

    def lose(self, number: int) -> None:
        self._servers[number - 1].kill()
        self._servers[number - 1].wait(PATIENCE_S)

    def generate(self, prompt: str, *endpoints: str) -> Any:
        made = self.run(
            "generate", prompt, "--connect", ",".join(endpoints), "--keys", str(self.keys), "--duration", "0.5",
            "--timeout", "100", "--json",
        )  # fmt: skip
        assert made.returncode == 0, (made.stdout, made.stderr, self.log(1))
        return json.loads(made.stdout)

    def looked_at(self, number: int) -> dict[str, Any]:
        """What the doctor says, who finds nothing missing."""
        found = json.loads(self.run("doctor", "--cluster", "--json", "--config", self.config(number)).stdout)
        assert found["ok"], [one for one in found["findings"] if one["state"] == "problem"]
        return {one["what"]: one for one in found["findings"]}


def test_two_boxes_and_a_second_head_as_the_documentation_has_them(cluster: RayCluster, tmp_path: Path) -> None:
    text = step(1).replace("count = 2\n", "count = 1\n")  # as step 2 says
    with Heads(tmp_path, cluster, text, {}) as heads:
        heads.add()
        found = heads.looked_at(1)
        assert found["worker gpu"]["state"] == "ok" and found["cluster.advertise"]["state"] == "ok"
        heads.add()
        one, two = heads.endpoints
        assert heads.generate("rain on a tin roof", one)["cached"] is False
        assert heads.generate("rain on a tin roof", two)["cached"] is False, "each keeps its own"
        heads.lose(1)
        assert heads.generate("rain on a tin roof", one, two)["cached"] is True, "the other goes on"


def test_one_cache_as_the_documentation_has_it(
    cluster: RayCluster, store: ObjectServer, database: str, tmp_path: Path
) -> None:
    place = store.place()
    text = step(3).replace("local_bytes", "allow_http = true\nlocal_bytes")  # the stand-in has no certificate
    changed = {
        "postgresql://audio_pool@db.studio:5432/sounds": database,
        "s3://sounds/production": place.url,
        "https://objects.studio:9000": store.proxy.url,
    }
    with Heads(tmp_path, cluster, text, changed) as heads:
        heads.add()
        assert heads.generate("rain on a tin roof", *heads.endpoints)["cached"] is False
    assert store.keys(place, "sounds")


def test_two_heads_by_the_file_of_compose(
    cluster: RayCluster, store: ObjectServer, database: str, tmp_path: Path
) -> None:
    place = store.place()
    changed = {
        "postgresql://audio_pool@database:5432/sounds": database,
        "s3://sounds/cache": place.url,
        "http://objects:8333": store.proxy.url,
        "10.77.0.10:6379": cluster.address,
    }
    text = (ROOT / "deploy" / "cluster" / "pool.toml").read_text()
    with Heads(tmp_path, cluster, text, changed) as heads:
        heads.add()
        heads.add()
        one, two = heads.endpoints
        assert heads.generate("rain on a tin roof", one)["cached"] is False
        found = heads.looked_at(1)
        assert found["objects.prefix"]["told"] == "belongs to this cache" and found["worker gpu"]["state"] == "ok"
        heads.lose(1)
        eventually(lambda: heads.generate("rain on a tin roof", one, two)["cached"], "the other head has it")
