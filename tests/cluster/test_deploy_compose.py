"""deploy/cluster/pool.toml as it stands, addresses replaced: two heads, a database, an object store, Ray, one card.

Without its HTTP door and its probes, whose libraries these tests' environment does not have.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: make test-cluster")
pytest.importorskip("moto", reason="moto is not installed: make test-cluster")

from tests.support.command_line import command
from tests.support.object_server import KEYS, served
from tests.support.ray_cluster import RayCluster
from tests.support.waiting import PATIENCE_S, eventually

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_two_heads_by_the_file_of_compose(database: str, tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "cluster" / "pool.toml").read_text()
    text = re.sub(r"^metrics_bind = .*\n|^\[http\]\nbind = .*\nkeys_file = .*\n", "", text, flags=re.MULTILINE)
    keys = tmp_path / "keys"
    assert command("keys", "create", str(keys), "--operator").returncode == 0
    cluster = RayCluster()
    heads: list[subprocess.Popen[bytes]] = []
    try:
        cluster.add(gpus=1)
        with served() as store:
            place = store.place()
            for number in (1, 2):
                ports = {port: free_port() for port in ("5577", "5580")}
                changed = {
                    "postgresql://audio_pool@database:5432/sounds": database,
                    "s3://sounds/cache": place.url,
                    "http://objects:8333": store.proxy.url,
                    '"auto"': f'"{cluster.address}"',
                    "/etc/audio-pool/keys": str(keys),
                    "/var/lib/audio-pool": str(tmp_path / f"head-{number}"),
                    **{f"0.0.0.0:{port}": f"127.0.0.1:{ours}" for port, ours in ports.items()},
                }
                changed[f"tcp://127.0.0.1:{ports['5580']}"] = f"tcp://0.0.0.0:{ports['5580']}"
                own = text
                for old, new in changed.items():
                    assert old in own, f"{old} is not in the file"
                    own = own.replace(old, new)
                (tmp_path / f"{number}.toml").write_text(own)
                heads.append(_serve(tmp_path, number))
            _use(tmp_path, keys, heads)
    finally:
        for head in heads:
            head.kill()
            head.wait(PATIENCE_S)
        cluster.close()


def _serve(place: Path, number: int) -> subprocess.Popen[bytes]:
    with (place / f"{number}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "audio_pool.cli", "serve", "--config", str(place / f"{number}.toml")],
            stdout=log, stderr=log, cwd=place, env={**os.environ, **KEYS},
        )  # fmt: skip


def _use(place: Path, keys: Path, heads: list[Any]) -> None:
    """Look, make a sound, lose a head, and ask for it again: what README.md says."""
    binds = [re.findall(r'^bind = "(tcp://[^"]+)"', (place / f"{n}.toml").read_text(), re.M)[0] for n in (1, 2)]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "audio_pool.cli", *arguments],
            capture_output=True, text=True, timeout=PATIENCE_S, cwd=place, env={**os.environ, **KEYS},
        )  # fmt: skip

    def generate(*endpoints: str) -> Any:
        options = ("--connect", ",".join(endpoints), "--keys", str(keys), "--duration", "0.5", "--json")
        made = run("generate", "rain on a tin roof", "--timeout", "120", *options)
        assert made.returncode == 0, (made.stdout, made.stderr, (place / "1.log").read_text()[-3000:])
        return json.loads(made.stdout)

    for bind in binds:
        eventually(lambda bind=bind: run("status", "--connect", bind, "--keys", str(keys)).returncode == 0, "it is up")
    assert generate(binds[0])["cached"] is False
    looked = run("doctor", "--cluster", "--json", "--config", str(place / "1.toml"))
    findings = json.loads(looked.stdout)["findings"]
    wrong = [one for one in findings if one["state"] == "problem"]
    assert looked.returncode == 0 and not wrong, wrong
    found = {one["what"]: one for one in findings}
    assert found["objects.prefix"]["told"] == "belongs to this cache"
    assert found["worker gpu"]["state"] == "ok" and found["cluster.advertise"]["state"] == "ok"

    heads[0].kill()
    heads[0].wait(PATIENCE_S)
    eventually(lambda: generate(*binds)["cached"], "the other head has it")
