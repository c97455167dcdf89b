"""``make console``: the page is served where it says, a taken port is named, and Ctrl-C ends it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.waiting import PATIENCE_S

SCRIPT = Path(__file__).parents[2] / "examples" / "console.py"


@pytest.fixture
def place() -> Iterator[Path]:
    """A user's folders. Not tmp_path: a socket's path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="console-") as folder:
        yield Path(folder)


def begun(place: Path, port: int) -> subprocess.Popen[str]:
    """The script as ``make console`` starts it, for a user whose folders lie in ``place``."""
    folders = {"XDG_CACHE_HOME": str(place / "cache"), "XDG_RUNTIME_DIR": str(place / "run")}
    for folder in folders.values():
        Path(folder).mkdir(mode=0o700, exist_ok=True)
    command = [sys.executable, str(SCRIPT), "--port", str(port)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **folders},
        start_new_session=True,
    )  # fmt: skip


def test_it_says_where_the_page_is_and_ends_by_ctrl_c(place: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with begun(place, port) as served:
        assert served.stdout is not None
        line = next((line for line in served.stdout if "http://" in line), "")
        assert line, served.communicate(timeout=PATIENCE_S)
        address = line.split()[-1]
        assert address == f"http://127.0.0.1:{port}/"
        assert "<title>audio_pool</title>" in httpx.get(address, trust_env=False).text
        os.killpg(served.pid, signal.SIGINT)  # as a terminal does: to all of them
        rest, wrong = served.communicate(timeout=PATIENCE_S)
        assert served.returncode == 0 and rest.strip().endswith("ended"), (rest, wrong)
        assert wrong == "", "nothing of how it ends is to be seen"


def test_a_port_that_is_taken_is_named(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        _, wrong = begun(place, port).communicate(timeout=PATIENCE_S)
    assert f"port {port} of this machine is taken" in wrong and f"PORT={port + 1}" in wrong
