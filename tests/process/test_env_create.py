"""``audio-pool env create`` with real environments, from wheels made on the spot: no index is asked."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from audio_pool.cli.env import group
from audio_pool.errors import AudioPoolError, InvalidRequest, NotFound, Timeout

MODULES = {"pyzmq": "zmq"}


def wheel(folder: Path, name: str, version: str, module: str = "") -> None:
    """A pure wheel of one module that knows its version."""
    module = module or MODULES.get(name, name)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{module}.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, version in (("numpy", "1.26.4"), ("msgpack", "1.1.0"), ("msgspec", "0.20.0"), ("pyzmq", "26.0.0")):
        wheel(folder, name, version)
    wheel(folder, "safetensors", "0.5.0")
    wheel(folder, "clashing", "1.0")
    wheel(folder, "clashing", "2.0")
    for variable in [key for key in os.environ if key.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    return folder


def create(tmp_path: Path, name: str, requirements: str, *more: str):
    file = tmp_path / "requirements.txt"
    file.write_text(requirements)
    return CliRunner().invoke(
        group, ["create", name, "-r", str(file), "--directory", str(tmp_path / "envs"), *more]
    )


def test_two_environments_hold_two_versions_and_what_a_worker_needs(wheels, tmp_path, monkeypatch):
    # What lies on PYTHONPATH would count as installed, and not be there without it.
    outside = tmp_path / "outside"
    outside.mkdir()
    with zipfile.ZipFile(wheels / "clashing-1.0-py3-none-any.whl") as archive:
        archive.extractall(outside)
    monkeypatch.setenv("PYTHONPATH", str(outside))
    ran = create(tmp_path, "old", "clashing==1.0\n", "--json")
    assert ran.exit_code == 0, ran.exception
    told = json.loads(ran.stdout)
    assert told["installed"]["clashing"] == "1.0" and told["installed"]["numpy"] == "1.26.4"
    assert {"msgpack", "msgspec", "pyzmq", "safetensors"} <= set(told["installed"])
    assert "audio-pool" not in told["installed"]
    assert told["setting"] == f'python = "{tmp_path / "envs" / "old" / "bin" / "python"}"'

    ran = create(tmp_path, "new", "clashing>=2\n")
    assert ran.exit_code == 0, ran.exception
    assert ran.stdout.count("$ ") == 2 and "clashing" not in ran.stdout.split("[[workers]]")[1]
    assert f'python = "{tmp_path / "envs" / "new" / "bin" / "python"}"' in ran.stdout

    for name, version in (("old", "1.0"), ("new", "2.0")):
        python = tmp_path / "envs" / name / "bin" / "python"
        code = "import clashing, sys; print(clashing.__version__); print(sys.prefix)"
        said = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert said.stdout.split() == [version, str(tmp_path / "envs" / name)]


def test_an_environment_that_fails_is_not_left_half_made(wheels, tmp_path):
    ran = create(tmp_path, "bad", "no-such-package-anywhere\n")
    assert isinstance(ran.exception, AudioPoolError) and "no-such-package-anywhere" in ran.exception.message
    assert "bad.log" in ran.exception.hint
    assert not (tmp_path / "envs" / "bad").exists()
    assert "no-such-package-anywhere" in (tmp_path / "envs" / "bad.log").read_text()


def test_an_environment_that_could_not_host_a_worker_is_refused(wheels, tmp_path):
    for file in wheels.glob("pyzmq-*"):
        file.unlink()
    wheel(wheels, "pyzmq", "26.0.0", module="something_else")
    ran = create(tmp_path, "odd", "clashing\n")
    assert isinstance(ran.exception, AudioPoolError) and "zmq" in ran.exception.message
    assert not (tmp_path / "envs" / "odd").exists()


def test_a_step_that_takes_too_long_is_stopped(wheels, tmp_path):
    ran = create(tmp_path, "slow", "clashing\n", "--timeout", "0.05")
    assert isinstance(ran.exception, Timeout) and "--timeout" in ran.exception.hint
    assert not (tmp_path / "envs" / "slow").exists()


def test_what_is_there_already_is_left_alone(tmp_path):
    (tmp_path / "envs" / "mine").mkdir(parents=True)
    (tmp_path / "envs" / "mine" / "kept").touch()
    ran = create(tmp_path, "mine", "")
    assert isinstance(ran.exception, InvalidRequest) and "exists already" in ran.exception.message
    assert (tmp_path / "envs" / "mine" / "kept").exists()


def test_bad_names_files_and_interpreters_are_refused(wheels, tmp_path):
    assert isinstance(create(tmp_path, "../up", "").exception, InvalidRequest)
    gone = CliRunner().invoke(group, ["create", "x", "-r", str(tmp_path / "gone.txt")])
    assert isinstance(gone.exception, NotFound)
    absent = create(tmp_path, "x", "", "--python", str(tmp_path / "python9"))
    assert isinstance(absent.exception, AudioPoolError) and "python9" in absent.exception.message
    assert CliRunner().invoke(group, ["create", "x"]).exit_code == 2
