"""The command line at a terminal: how far a start and a sound are, and the question before a file is replaced."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.engine_packages import engine_package
from tests.support.waiting import PATIENCE_S, eventually


class Terminal:
    """A command whose standard streams are a terminal; ``redirected`` leaves it only standard error and input."""

    def __init__(self, place: Path, *arguments: str, redirected: bool = False) -> None:
        package = engine_package(place / "package", "stage")
        (place / "pool.toml").write_text(
            '[defaults]\nengine = "stage"\nduration_s = 0.3\n[cache]\nencoder = "off"\n'
            f'[engines.stage]\ndiary = "{place}/diary"\ngate = "{place}/gate"\n'
            f'[[workers]]\nname = "w"\nengines = ["stage"]\nenv = {{ PYTHONPATH = "{package}" }}\n'
        )
        env = {
            **os.environ,
            "AUDIO_POOL_CACHE_DIR": str(place / "cache"),
            "PYTHONPATH": str(package),
            "COLUMNS": "200",
        }
        self._ours, theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        command = [sys.executable, "-m", "audio_pool.cli", *arguments, "--config", "pool.toml"]
        self.process = subprocess.Popen(
            command, cwd=place, env=env, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE if redirected else theirs
        )
        os.close(theirs)
        self.seen = ""

    def sees(self, words: str) -> str:
        """Wait until these words have been shown; return all that was."""

        def read() -> bool:
            with contextlib.suppress(BlockingIOError, OSError):  # OSError: the command has ended
                self.seen += os.read(self._ours, 1 << 16).decode()
            return words in self.seen

        eventually(read, f"{words!r} is shown")
        return self.seen

    def types(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._ours)


@pytest.mark.parametrize("command", ["generate", "variants"])
def test_a_long_start_and_a_long_sound_are_shown(tmp_path: Path, command: str) -> None:
    count = ["-n", "1"] if command == "variants" else []
    terminal = Terminal(tmp_path, command, f"hold {tmp_path}/done", *count)
    try:
        terminal.sees("starting a pool: ")
        terminal.sees("loading stage (")
        (tmp_path / "gate").touch()
        terminal.sees("25% generate")
        (tmp_path / "done").touch()
        shown = terminal.sees("seed ")
        assert terminal.process.wait(PATIENCE_S) == 0
        last_start = shown.rindex("starting a pool")
        assert "\r" in shown[last_start : shown.index("25%")], "the line of the start is removed"
    finally:
        terminal.close()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_it_asks_before_a_file_is_replaced(tmp_path: Path, answer: str, code: int) -> None:
    (tmp_path / "gate").touch()
    (tmp_path / "x.wav").write_text("precious")
    terminal = Terminal(tmp_path, "generate", "beep", "-o", "x.wav")
    try:
        terminal.sees("x.wav exists already. Replace? [y/N]")
        assert not (tmp_path / "cache").exists(), "asked before a sound is made"
        terminal.types(answer)
        assert terminal.process.wait(PATIENCE_S) == code
    finally:
        terminal.close()
    assert (tmp_path / "x.wav").read_bytes().startswith(b"precious" if code else b"RIFF")


def test_a_sound_is_not_written_to_a_terminal(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "generate", "beep", "-o", "-")
    try:
        terminal.sees("standard output is a terminal")
        assert terminal.process.wait(PATIENCE_S) == 2
    finally:
        terminal.close()


def test_progress_goes_to_the_terminal_and_the_sound_to_a_pipe(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "generate", f"hold {tmp_path}/done", "-o", "-", redirected=True)
    try:
        (tmp_path / "gate").touch()
        terminal.sees("25% generate")
        (tmp_path / "done").touch()
        assert terminal.process.stdout is not None
        assert terminal.process.stdout.read().startswith(b"RIFF")
        assert terminal.process.wait(PATIENCE_S) == 0
        terminal.sees("written to standard output")
    finally:
        terminal.close()
