"""TypeScript's types of the API are those of its document, both Node clients keep to them, and the one that speaks
HTTP does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import soundfile
from tests.http.conftest import Gateway
from tests.support.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
NODE = ROOT / "examples" / "node"
TSC = NODE / "node_modules" / ".bin" / "tsc"

needs_packages = pytest.mark.skipif(not TSC.exists(), reason="examples/node: run 'npm install' there first")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")


def run(*command: object, cwd: Path = NODE) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S)


@needs_packages
def test_the_types_are_what_the_document_gives() -> None:
    done = run(sys.executable, ROOT / "scripts" / "node_types.py", "--check", cwd=ROOT)
    assert done.returncode == 0, done.stderr


@needs_packages
def test_the_clients_keep_to_the_types_and_whoever_does_not_is_told(tmp_path: Path) -> None:
    done = run(TSC, "--noEmit")
    assert done.returncode == 0, done.stdout
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    (tmp_path / "tsconfig.json").write_text(json.dumps({"extends": str(NODE / "tsconfig.json"), "include": ["*.js"]}))
    (tmp_path / "wrong.js").write_text(
        f'const {{ GatewayClient }} = require("{NODE}/http_client.js");\n'
        f'const {{ AudioClient }} = require("{NODE}/client.js");\n'
        'const gateway = new GatewayClient("http://127.0.0.1:8080"), pool = new AudioClient("ipc:///s");\n'
        'gateway.make({ prompt: "rain", durations: 2 });\n'
        'gateway.search({ words: "rain", loop: "yes" });\n'
        'gateway.make({ prompt: "rain" }).then(({ sound }) => sound.metadata.seams);\n'
        'pool.generate("rain", { duration_s: "2" });\n'
        'pool.question("health").then((health) => health.status);\n'
    )
    told = run(TSC, "--noEmit", cwd=tmp_path).stdout
    assert [line.split("(")[1].split(",")[0] for line in told.splitlines() if line.startswith("wrong.js")] == [
        "4", "5", "6", "7", "8",
    ], told  # fmt: skip


@needs_node
def test_a_sound_is_made_over_http_with_nothing_but_node(gateway: Gateway, tmp_path: Path) -> None:
    out, prompt = tmp_path / "rain.wav", f"rain on a tin roof {uuid.uuid4().hex[:6]}"
    client = NODE / "http_client.js"
    done = run("node", client, gateway.url, prompt, "--duration", "0.5", "--loop", "--out", out)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["bytes"] == out.stat().st_size and told["metadata"]["is_loop"]
    assert soundfile.info(out).duration == pytest.approx(0.5)
    script = (
        f'const {{ GatewayClient }} = require("{client}");'
        f'new GatewayClient("{gateway.url}").search({{ words: "{prompt.split()[-1]}", tags: [] }})'
        ".then((page) => console.log(JSON.stringify(page.sounds.map((one) => one.id))));"
    )
    assert json.loads(run("node", "-e", script).stdout) == [told["id"]]
    wrong = run("node", client, gateway.url, "rain", "--duration", "9999")
    assert wrong.returncode == 1 and "duration_s" in wrong.stderr
    nobody = run("node", client, "http://127.0.0.1:9", "rain")
    assert nobody.returncode == 1 and nobody.stderr
