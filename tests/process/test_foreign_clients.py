"""Clients made from docs/protocol.md alone, each a process of its own, against a served pool."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NODE_CLIENT = ROOT / "examples" / "node"
PYTHON_CLIENT = ROOT / "examples" / "python_foreign_client.py"
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A pool served with the procedural engine."""
    home = tmp_path_factory.mktemp("served")
    config = home / "pool.toml"
    config.write_text('[cache]\nencoder = "off"\n')
    server = subprocess.Popen(
        [
            sys.executable, "-c", "from audio_pool.cli import main; main()", "serve", "--json", "--config", str(config),
            "--bind", f"ipc://{home}/s", "--cache-dir", str(home / "cache"),
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        lines = []
        for line in server.stdout:
            lines.append(line)
            if "ready" in line:
                break
        else:
            pytest.fail(f"the server did not become ready: {lines}")
        yield f"ipc://{home}/s"
        server.send_signal(signal.SIGTERM)
        assert server.wait(DEADLINE_S) == 0
    finally:
        server.kill()
        server.wait(DEADLINE_S)
        server.stdout.close()


@pytest.fixture(params=["req", "dealer", "node"])
def client(request: pytest.FixtureRequest) -> list[str]:
    """The command of one foreign client."""
    if request.param == "node":
        node = shutil.which("node")
        if node is None:
            pytest.skip("Node.js is not installed")
        if not (NODE_CLIENT / "node_modules" / "zeromq").is_dir():
            pytest.skip("examples/node: run 'npm install' there first")
        return [node, str(NODE_CLIENT / "client.js")]
    # -S and -E would lose the virtual environment; the client itself must not lean on the package
    return [sys.executable, str(PYTHON_CLIENT)] + (["--events"] if request.param == "dealer" else [])


def run(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, env={**os.environ, "PYTHONPATH": ""}
    )


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def seconds(path: str) -> float:
    with wave.open(path) as file:
        return file.getnframes() / file.getframerate()


def test_a_sound_by_path(endpoint: str, client: list[str]) -> None:
    found = answer(run(client, endpoint, "rain on a tin roof", "--duration", "1.5", "--loop"))
    assert seconds(found["path"]) == pytest.approx(1.5, abs=1e-4)
    assert found["metadata"]["prompt"] == "rain on a tin roof"
    assert found["metadata"]["is_loop"] is True


def test_a_sound_sent_along(endpoint: str, client: list[str], tmp_path: Path) -> None:
    out = tmp_path / "wind.wav"
    found = answer(run(client, endpoint, "wind", "--duration", "1", "--out", str(out)))
    assert found["path"] == str(out)
    assert seconds(str(out)) == pytest.approx(1.0, abs=1e-4)


def test_events_tell_how_it_goes(endpoint: str, client: list[str]) -> None:
    done = run(client, endpoint, f"thunder {os.getpid()} {len(client)} {Path(client[0]).name}", "--duration", "1")
    answer(done)
    told = [line.split(" ", 1) for line in done.stderr.splitlines()]
    if client[-1] == str(PYTHON_CLIENT):
        assert told == [], "a REQ gets its final reply only"
    else:
        assert told[0][0] == "accepted"
        assert json.loads(told[0][1])["queue_position"] == 0


def test_an_error_says_what_to_do(endpoint: str, client: list[str]) -> None:
    done = run(client, endpoint, "rain", "--duration", "1e9")
    assert done.returncode == 1
    assert "bad_request" in done.stderr
    assert "duration_s" in done.stderr


def test_the_python_client_leans_on_nothing_of_ours() -> None:
    assert "audio_pool" not in PYTHON_CLIENT.read_text().replace("audio-pool", "")


HOSTILE = """
const { AudioClient } = require(process.argv[1] + "/client.js");
const { spawn } = require("node:child_process");
const [, , python, script, endpoint] = process.argv;
(async () => {
  const serve = () => new Promise((resolve) => {
    const child = spawn(python, [script, endpoint]);
    child.stdout.once("data", () => resolve(child));
  });
  let server = await serve();
  const client = new AudioClient(endpoint);
  const many = await Promise.all(Array.from({ length: 200 }, (_, n) => client.generate(`sound ${n}`)));
  const told = [many.every((result, n) => result.metadata.prompt === `sound ${n}`)];
  const inline = await client.generate("rain", { delivery: "inline" });
  told.push(inline.data.toString());
  const codes = async (promise) => promise.then(() => "result", (error) => error.code);
  told.push(await codes(client.generate("silence", {}, { timeoutMs: 300 })));
  told.push((await client.question("status")).clients.cancels);
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 50);
  told.push(await codes(client.generate("silence", {}, { signal: stop.signal })));
  const start = Date.now();
  told.push(await codes(client.generate("die", {}, { timeoutMs: 30000 })));
  told.push(Date.now() - start < 10000);
  server = await serve();
  told.push((await client.generate("rain", {}, { timeoutMs: 20000 })).path);
  client.close();
  server.kill("SIGKILL");
  console.log(JSON.stringify(told));
})();
"""


def test_the_node_client_survives_silence_and_death(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    if not (NODE_CLIENT / "node_modules" / "zeromq").is_dir():
        pytest.skip("examples/node: run 'npm install' there first")
    script = Path(__file__).with_name("scripted_server.py")
    done = run([node, "-e", HOSTILE, str(NODE_CLIENT), sys.executable, str(script), f"ipc://{tmp_path}/s"])
    told = answer(done)
    assert told == [True, "rainrainrain", "timeout", 1, "cancelled", "disconnected", True, "/sounds/x.wav"]
