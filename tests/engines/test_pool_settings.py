"""An engine's section of the configuration in a pool: what it sets is set, what cannot work is said at start."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import checkpoints
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient, AudioPool
from audio_pool.audio import codec
from audio_pool.errors import EngineUnavailable, InvalidConfig

pytest.importorskip("diffusers")

MISSING = "audio-pool models fetch tangoflux"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(checkpoints.tangoflux(tmp_path_factory.mktemp("models")))


def pool(tmp_path: Path, **settings: Any) -> AudioPool:
    """On a thread of this process, where torch is imported already."""
    return AudioPool.from_config(
        {
            "defaults": {"engine": "tangoflux", "duration_s": 0.5, "steps": 2, "format": "flac", "bit_depth": 24},
            "cache": {"dir": str(tmp_path / "cache"), "encoder": "off"},
            "engines": {"tangoflux": settings},
            "workers": [{"name": "all", "engines": ["tangoflux"], "thread": True}],
        }
    )


def sound(tmp_path: Path, model: str, **settings: Any) -> np.ndarray:
    with pool(tmp_path, model=model, device="cpu", **settings) as running:
        return codec.read(Path(running.generate("rain", seed=3, timeout_s=PATIENCE_S).path))[0]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, model: str) -> np.ndarray:
    return sound(tmp_path_factory.mktemp("plain"), model, dtype="float32")


# they cost 0.2, 0.4 and 3 % of this sound's peak; another seed differs by over 20 %
@pytest.mark.parametrize(
    "settings", [{"quantization": "8bit"}, {"dtype": "bfloat16"}, {"quantization": "4bit", "offload": "model"}], ids=str
)
def test_fewer_bits_change_a_sound_a_little(
    tmp_path: Path, model: str, plain: np.ndarray, settings: dict[str, Any]
) -> None:
    difference = np.abs(sound(tmp_path, model, **settings) - plain).max() / np.abs(plain).max()
    assert 1e-4 < difference < 0.1


@pytest.mark.parametrize("settings", [{"offload": "model"}, {"vae_slicing": True, "chunked_decode": True}], ids=str)
def test_where_the_parts_wait_changes_nothing(
    tmp_path: Path, model: str, plain: np.ndarray, settings: dict[str, Any]
) -> None:
    assert np.abs(sound(tmp_path, model, **settings) - plain).max() < 1e-3 * np.abs(plain).max()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quantisation": "8bit"}, r"engine 'tangoflux'.*quantisation.*did you mean 'quantization'"),
        ({"quantization": "9bit"}, r"'quantization': given '9bit', allowed is one of 4bit, 8bit, none"),
        ({"max_memory": "64GB"}, r"max_memory = '64GB' limits a GPU; the device is cpu"),
        ({"offload_modules": ["vea"]}, r"offload_modules: given 'vea', allowed is any of encoder"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_that_cannot_work_is_an_error_at_start(
    tmp_path: Path, model: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidConfig, match=said):
        pool(tmp_path, model=model, device="cpu", **settings).start()


@pytest.mark.parametrize("name", ["bge", "tangoflux"])
def test_a_scorer_that_is_none_is_refused_at_start(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidConfig, match=rf"cache.scorer '{name}' is a .*; allowed is off or a scorer"):
        AudioPool.from_config({"cache": {"dir": str(tmp_path), "encoder": "off", "scorer": name}}).start()


# -- a model that is not there ---------------------------------------------------------------------


def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "hub").mkdir()
    return {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


def test_a_missing_model_is_an_error_at_start_that_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(EngineUnavailable, match=MISSING):
        pool(tmp_path).start()


def test_generate_says_what_to_fetch(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "audio_pool.cli", "generate", "rain", "--engine", "tangoflux"]
    ran = subprocess.run(
        [*command, "--cache-dir", str(tmp_path / "cache")],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 1 and ran.stdout == ""
    assert MISSING in ran.stderr and "Traceback" not in ran.stderr


@contextlib.contextmanager
def serving(tmp_path: Path, tree: str) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "pool.toml").write_text(tree)
    command = [sys.executable, "-m", "audio_pool.cli", "serve", "--config", str(tmp_path / "pool.toml"), "--json"]
    with (
        (tmp_path / "stderr").open("w") as stderr,
        subprocess.Popen(
            command, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as server,
    ):
        try:
            yield server
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(PATIENCE_S)


def test_a_server_without_its_model_is_degraded_and_says_what_to_fetch(tmp_path: Path) -> None:
    tree = f"""
        [cache]
        dir = "{tmp_path}/cache"
        encoder = "off"
        [server]
        bind = "ipc://{tmp_path}/pool"
        [[workers]]
        name = "gpu0"
        engines = ["tangoflux"]
        roles = ["generate"]
        [[workers]]
        name = "desk"
        engines = ["procedural"]
    """
    with serving(tmp_path, tree) as server:
        assert server.stdout is not None
        endpoint = json.loads(server.stdout.readline())["endpoint"]
        with AudioClient(endpoint, timeout_s=PATIENCE_S) as client:
            health = eventually(lambda: (found := client.health())["state"] == "degraded" and found, "degraded")
            (reason,) = health["reasons"]
            assert "gpu0" in reason and MISSING in reason
            with pytest.raises(EngineUnavailable, match=MISSING):
                client.generate("rain", engine="tangoflux")
            assert client.generate("rain", engine="procedural", duration_s=0.5).metadata["engine"] == "procedural"
        told = eventually(lambda: (tmp_path / "stderr").read_text(), "the reason on stderr")
    assert re.search(r"^degraded: .*" + MISSING, told, re.MULTILINE)
