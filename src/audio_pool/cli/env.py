"""``audio-pool env``: an interpreter of its own for engines whose libraries clash with others'.

Owns: making such an environment with what a worker itself needs, and checking that it can host one.
Must not know: workers; audio_pool itself is never installed there (a worker brings it along).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from audio_pool.cli.command_group import CommandGroup
from audio_pool.cli.options import json_option
from audio_pool.cli.terminal import say, say_json
from audio_pool.errors import AudioPoolError, InvalidRequest, NotFound, StorageError, Timeout

__all__ = ["WORKER_NEEDS", "group"]

WORKER_NEEDS = ("numpy", "msgpack>=1.1", "msgspec>=0.20", "pyzmq>=26", "safetensors>=0.5")
"""numpy without a bound: an engine's own pins decide."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_OLDEST = (3, 11)
_PROBE = """
import importlib.metadata, json, sys
import msgpack, msgspec, numpy, safetensors, zmq
found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
print(json.dumps({"python": list(sys.version_info[:3]), "installed": found}))
"""


@click.group("env", cls=CommandGroup)
def group() -> None:
    """Interpreters of their own for engines whose libraries clash."""


@group.command("create")
@click.argument("name")
@click.option("--requirements", "-r", required=True, type=click.Path(path_type=Path), help="A pip requirements file.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where environments live. Default: $XDG_DATA_HOME/audio_pool/envs.",
)
@click.option("--python", default=sys.executable, help="The interpreter to build on. Default: this one.")
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds each step may take.")
@json_option
def create(
    name: str, requirements: Path, directory: Path | None, python: str, timeout_s: float, as_json: bool
) -> None:
    """Make the environment NAME with the packages of a requirements file and what a worker needs.

    With uv where it is installed, else with venv and pip. Their output is kept in NAME.log.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"NAME: given {name!r}, allowed are letters, digits, '_', '-' and '.', at most 64")
    if not requirements.is_file():
        raise NotFound(f"no requirements file at {requirements}")
    home = (directory or _data_home() / "audio_pool" / "envs").expanduser().absolute()
    place = home / name
    if place.exists():
        raise InvalidRequest(f"{place} exists already", hint="remove it, or choose another name")
    uv = shutil.which("uv")
    inside = place / "bin" / "python"
    made = [uv, "venv", "--python", python, str(place)] if uv else [python, "-m", "venv", str(place)]
    installed = [uv, "pip", "install", "--python", str(inside)] if uv else [str(inside), "-m", "pip", "install"]
    steps = [made, [*installed, "-r", str(requirements.absolute()), *WORKER_NEEDS]]
    try:
        home.mkdir(parents=True, exist_ok=True)
        log = home / f"{name}.log"
        log.write_bytes(b"")
    except OSError as exc:
        raise StorageError(f"{home} cannot be written: {exc.strerror}", hint="choose one with --directory") from None
    try:
        for step in steps:
            if not as_json:
                say("$ " + " ".join(step))
            _run(step, log, timeout_s)
        report = _probed(inside, timeout_s)
    except BaseException:
        # Half an environment would be taken for a whole one.
        shutil.rmtree(place, ignore_errors=True)
        raise
    wanted = {_canonical(re.split(r"[<>=!~\[; ]", line, maxsplit=1)[0]) for line in WORKER_NEEDS}
    found = {_canonical(package): version for package, version in report["installed"].items()}
    setting = f'python = "{inside}"'
    if as_json:
        summary = {"name": name, "python": str(inside), "tool": "uv" if uv else "venv", "log": str(log)}
        say_json({**summary, "steps": steps, "installed": found, "setting": setting}, indent=2)
        return
    version = ".".join(str(part) for part in report["python"])
    needs = ", ".join(f"{package} {found.get(package, '?')}" for package in sorted(wanted))
    say(f"{place}: Python {version} with {len(found)} packages ({needs})")
    for line in ("Give it to a worker:", "", "    [[workers]]", f"    {setting}"):
        say(line)


def _data_home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser()


def _canonical(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _environment() -> dict[str, str]:
    """Return ours without what would let this interpreter's packages into the new one; proxies and indexes stay."""
    left_out = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "CONDA_PREFIX"}
    return {key: value for key, value in os.environ.items() if key not in left_out}


def _run(command: list[str], log: Path, timeout_s: float) -> None:
    """Run one step, its output appended to the log.

    Raises:
        AudioPoolError: it failed, with its last line; NotFound: no such program; Timeout.
    """
    try:
        with log.open("ab") as written:
            written.write(("$ " + " ".join(command) + "\n").encode())
            written.flush()
            done = subprocess.run(
                command, env=_environment(), stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.STDOUT,
                timeout=timeout_s, check=False,
            )  # fmt: skip
    except FileNotFoundError:
        raise NotFound(f"no interpreter {command[0]!r}", hint="give a path with --python") from None
    except subprocess.TimeoutExpired:
        raise Timeout(
            f"{' '.join(command[:4])} ... took over {timeout_s:g} s", hint="allow more with --timeout"
        ) from None
    if done.returncode != 0:
        lines = log.read_text(errors="replace").strip().splitlines()
        last = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "")
        raise AudioPoolError(
            f"{' '.join(command[:4])} ... ended with {done.returncode}: {last.strip()}",
            hint=f"its whole output is in {log}; nothing was left behind",
        )


def _probed(python: Path, timeout_s: float) -> dict[str, Any]:
    """Ask the environment what it holds.

    Raises:
        AudioPoolError: it cannot host a worker, with the reason.
    """
    done = subprocess.run(
        [str(python), "-I", "-c", _PROBE], env=_environment(), capture_output=True, text=True,
        timeout=timeout_s, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise AudioPoolError(
            f"the environment cannot host a worker: {last}", hint="its requirements may rule out what a worker needs"
        )
    report: dict[str, Any] = json.loads(done.stdout)
    if tuple(report["python"])[:2] < _OLDEST:
        version = ".".join(str(part) for part in report["python"])
        raise InvalidRequest(f"the environment has Python {version}, a worker needs 3.11 or later", hint="--python")
    return report
