"""``audio-pool models`` in a process of its own against a hub on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tests.process import hub_server

CLAP = "laion/clap-htsat-unfused"
FLUX = "declare-lab/TangoFlux"
LARGE_BYTES = 28 << 20
COMMAND = """
import sys
from audio_pool.cli import main
main(["models", *sys.argv[1:]])
"""


def clap_files() -> dict[str, bytes]:
    tensor = np.random.default_rng(0).integers(0, 255, LARGE_BYTES, dtype=np.uint8)
    return {
        "README.md": b"---\nlicense: apache-2.0\n---\n",
        "config.json": b'{"model_type": "clap"}',
        "model.safetensors": save({"weight": tensor}),
        "pytorch_model.bin": b"\0" * 4096,
        "tf_model.h5": b"\0" * 64,
    }


@pytest.fixture
def hub():
    with hub_server.serving() as served:
        served.models[CLAP] = clap_files()
        yield served


@pytest.fixture
def environment(hub, tmp_path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "AUDIO_POOL"))}
    return {
        **kept,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def models(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=120
    )


def test_fetch_path_and_verify_in_the_hubs_cache(hub, environment):
    before = models(environment, "path", "clap")
    assert before.returncode == 1 and "audio-pool models fetch clap" in before.stderr

    fetched = models(environment, "fetch", "clap", "--json")
    assert fetched.returncode == 0, fetched.stderr
    folder = Path(json.loads(fetched.stdout)["fetched"][0]["path"])
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == hub.models[CLAP]["model.safetensors"]

    offline = {**environment, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    told = json.loads(models(offline, "path", "clap", "--json").stdout)
    assert (told["path"], told["place"], told["revision"]) == (str(folder), "hub_cache", hub_server.COMMIT)
    report = json.loads(models(offline, "verify", "clap", "--json").stdout)["reports"][0]
    assert report["problems"] == [] and report["files"] == 3 and report["hashed"] == 3

    asked = len(hub.asked)
    assert models(environment, "fetch", "clap").returncode == 0
    assert len(hub.asked) == asked, "what is there is not fetched again"

    damaged = bytearray((folder / "model.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / "model.safetensors").resolve().write_bytes(damaged)
    bad = models(offline, "verify", "clap")
    assert bad.returncode == 1 and "model.safetensors" in bad.stdout and "checksum" in bad.stdout
    assert models(offline, "verify", "clap", "--quick").returncode == 0


@pytest.mark.parametrize("plain_directory", [False, True])
def test_a_fetch_that_was_killed_goes_on_where_it_stopped(hub, environment, tmp_path, plain_directory):
    where = ["--models-dir", str(tmp_path / "models")] if plain_directory else []
    hub.stall_after = 22 << 20
    child = subprocess.Popen([sys.executable, "-c", COMMAND, "fetch", "clap", *where], env=environment)
    try:
        assert hub.stalled.wait(60)
        deadline = time.monotonic() + 30
        while not any(file.stat().st_size >= 20 << 20 for file in tmp_path.rglob("*.partial")):
            assert time.monotonic() < deadline, "nothing was kept"
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    assert models(environment, "path", "clap", *where).returncode == 1
    hub.stall_after = None
    hub.released.set()

    again = models(environment, "fetch", "clap", *where)
    assert again.returncode == 0, again.stderr
    starts = [first for name, first in hub.asked if name == "model.safetensors"]
    assert starts[0] == 0 and len(starts) == 2 and starts[1] >= 20 << 20
    folder = Path(models(environment, "path", "clap", *where).stdout.strip())
    assert (folder / "model.safetensors").read_bytes() == hub.models[CLAP]["model.safetensors"]
    assert models(environment, "verify", "clap", *where).returncode == 0
    assert not list(tmp_path.rglob("*.partial"))


LOCATE = """
import sys
from audio_pool.errors import AudioPoolError
from audio_pool.models import hub
try:
    print(hub.ensure(sys.argv[1], engine="clap", offline=sys.argv[2] != "fetch").path)
except AudioPoolError as exc:
    sys.exit(exc.message)
"""


def located(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LOCATE, *arguments], env=environment, capture_output=True, text=True, timeout=120
    )


def test_an_engine_reaches_the_hub_only_where_its_setting_says_so(hub, environment):
    refused = located(environment, CLAP, "look")
    assert refused.returncode == 1 and "audio-pool models fetch clap" in refused.stderr
    assert not hub.asked
    fetched = located(environment, CLAP, "fetch")
    assert fetched.returncode == 0, fetched.stderr
    assert (Path(fetched.stdout.strip()) / "model.safetensors").exists()
    asked = len(hub.asked)
    offline = {**environment, "HF_ENDPOINT": "http://127.0.0.1:9"}
    assert located(offline, CLAP, "fetch").stdout == fetched.stdout, "what is here is not asked for"
    assert len(hub.asked) == asked


def test_weights_without_commercial_use_are_acknowledged_first(hub, environment, tmp_path):
    hub.models[FLUX] = {"config.json": b"{}", "tangoflux.safetensors": save({"a": np.zeros(4)})}
    hub.models["google/flan-t5-large"] = {
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "model.safetensors": save({"b": np.zeros(4)}),
    }
    where = ["--models-dir", str(tmp_path / "models")]
    refused = models(environment, "fetch", "tangoflux", *where)
    assert refused.returncode == 2 and "--accept-licence" in refused.stderr
    assert not (tmp_path / "models").exists()

    accepted = models(environment, "fetch", "tangoflux", *where, "--accept-licence")
    assert accepted.returncode == 0, accepted.stderr
    assert "commercial use not allowed" in accepted.stdout
    beside = sorted(file.name for file in (tmp_path / "models" / "flan-t5-large").iterdir())
    assert beside == [".cache", "config.json", "tokenizer.json"], "no weights of the text encoder"

    (tmp_path / "pool.toml").write_text('[policy]\naccepted_licences = ["tangoflux"]\n')
    assert models(environment, "fetch", "tangoflux", "--config", str(tmp_path / "pool.toml")).returncode == 0


def test_the_hubs_own_word_on_a_licence_is_heeded(hub, environment):
    hub.models["someone/clap"] = clap_files()
    hub.licences["someone/clap"] = "cc-by-nc-4.0"
    refused = models(environment, "fetch", "clap", "--model", "someone/clap")
    assert refused.returncode == 2 and "cc-by-nc-4.0" in refused.stderr
    assert models(environment, "fetch", "clap", "--model", "someone/clap", "--accept-licence").returncode == 0


@pytest.mark.parametrize(
    ("status", "code", "who"),
    [
        (401, "GatedRepo", "without knowing who asks: the model is gated"),
        (403, "GatedRepo", "to this account: the model is gated"),
        (401, "RepoNotFound", "gated, private or not there"),
    ],
)
def test_a_gated_models_refusal_names_the_steps(hub, environment, status, code, who):
    hub.refusals[CLAP] = (status, code)
    refused = models(environment, "fetch", "clap")
    assert refused.returncode == 2, refused.stderr
    last = refused.stderr.strip().splitlines()[-1]
    assert who in last
    for step in (f"https://huggingface.co/{CLAP}", "huggingface.co/settings/tokens", "HF_TOKEN"):
        assert step in last


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--model", "nobody/nothing"), "has no model 'nobody/nothing'"),
        (("--revision", "v9"), "no revision 'v9'"),
        (("--only", "*.gguf"), "no file that matches"),
    ],
)
def test_what_the_hub_does_not_have_is_said_in_one_line(environment, arguments, says):
    told = models(environment, "fetch", "clap", *arguments)
    assert told.returncode in (1, 2) and says in told.stderr.strip().splitlines()[-1]


def test_an_unreachable_hub_and_offline_mode_are_told_apart(environment):
    away = models({**environment, "HF_ENDPOINT": "http://127.0.0.1:9"}, "fetch", "clap")
    assert away.returncode == 1 and "check the connection" in away.stderr
    offline = models({**environment, "HF_HUB_OFFLINE": "1"}, "fetch", "clap")
    assert offline.returncode == 1 and "unset HF_HUB_OFFLINE" in offline.stderr
