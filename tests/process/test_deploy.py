"""What stands in deploy/: unit files that systemd understands, and commands that there are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))


def commands(unit: Path) -> list[list[str]]:
    """What ``ExecStart`` starts, without the path of the program."""
    text = unit.read_text().replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_to_say_of_a_unit(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    # the program is not installed where the unit looks for it: this interpreter stands in for it
    text = re.sub(r"/opt/audio-pool/\.venv/bin/audio-pool", sys.executable, unit.read_text())
    (tmp_path / unit.name).write_text(text)
    for other in UNITS:
        if other != unit:
            (tmp_path / other.name).write_text(re.sub(r"/opt/\S*/audio-pool", sys.executable, other.read_text()))
    name = unit.name.replace("@.", "@8080.")
    if name != unit.name:
        (tmp_path / name).write_text(text)
    # an unknown key is a warning and no failure: whatever it says is a fault
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / name)], capture_output=True, text=True, timeout=60
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "audio-pool" in line]
    assert done.returncode == 0, done.stderr
    assert not ours


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_names_options_that_the_command_has(unit: Path) -> None:
    from audio_pool.cli import main

    (command,) = commands(unit)
    with main.make_context("audio-pool", [command[0]], resilient_parsing=True) as context:
        found = main.get_command(context, command[0])
    assert found is not None, f"{command[0]} is no command"
    known = {option for parameter in found.params for option in parameter.opts}
    used = {word for word in command[1:] if word.startswith("--")}
    assert used and used <= known


def test_the_container_installs_extras_that_there_are_and_copies_what_is_there() -> None:
    text = (ROOT / "deploy" / "Containerfile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = re.findall(r"^ARG EXTRAS=(.*)$", text, re.MULTILINE)
    assert set(asked.split(",")) <= set(extras)
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        if "--from=" not in line:
            *sources, _ = line.split()
            assert sources and all((ROOT / source).exists() for source in sources), line


def test_the_container_s_configuration_keeps_everything_in_the_volume_and_has_keys() -> None:
    from audio_pool.config import load_config

    config = load_config(ROOT / "deploy" / "container.toml")
    (volume,) = re.findall(r'^VOLUME \["(.*)"\]$', (ROOT / "deploy" / "Containerfile").read_text(), re.MULTILINE)
    for kept in (config.cache.dir, config.jobs.dir, config.http.keys_file):
        assert kept.startswith(f"{volume}/")
    assert config.http.bind.endswith(":8080")
    assert config.server.bind in (ROOT / "deploy" / "Containerfile").read_text(), "the health check asks there"
