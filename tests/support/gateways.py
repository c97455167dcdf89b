"""A real pool and a real gateway before it, as the processes that people start.

``Pool`` is ``audio-pool serve`` with the built-in engine, ``Gateway`` is ``audio-pool gateway``.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.waiting import PATIENCE_S


class Process:
    """A command of ours that runs until it is stopped, and says in lines of JSON what happens."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "audio_pool.cli", *arguments, "--json"],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def hear(self, event: str) -> dict[str, str]:
        """The next line about this event."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                told: dict[str, str] = json.loads(self._lines.get(timeout=1.0))
            except queue.Empty:
                ended = self.process.poll()
                assert ended is None and time.monotonic() < until, f"no {event!r}, {ended}: {self.log.read_text()}"
            else:
                if told.get("event") == event:
                    return told

    def stop(self) -> int:
        """End it; return the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(PATIENCE_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Pool(Process):
    """``audio-pool serve`` with the built-in engine; ``place`` holds its cache, its logs and its socket."""

    def __init__(self, place: Path, *arguments: str, config: str = "", bind: str = "") -> None:
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        self.endpoint = bind or f"ipc://{place}/s"
        (place / "pool.toml").write_text('[cache]\nencoder = "off"\n' + config if "[cache]" not in config else config)
        options = ("--config", str(place / "pool.toml"), "--bind", self.endpoint, "--cache-dir", str(place / "cache"))
        super().__init__(place / "pool.log", "serve", *options, *arguments)


class Gateway(Process):
    """``audio-pool gateway`` on a port that the system chooses; ``config`` is TOML with a section [http]."""

    def __init__(self, place: Path, endpoint: str, *arguments: str, config: str = "", name: str = "gateway") -> None:
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.toml").write_text(config or "[http]\n")
        options = ("--connect", endpoint, "--config", str(place / f"{name}.toml"), "--bind", "127.0.0.1:0")
        super().__init__(place / f"{name}.log", "gateway", *options, *arguments)
        try:
            self.url = self.hear("listening")["url"]
        except BaseException:
            self.stop()
            raise


class Agents(Process):
    """``audio-pool mcp --http`` on a port that the system chooses; its files lie in ``place/out``."""

    def __init__(self, place: Path, endpoint: str, *, config: str = "", name: str = "agents") -> None:
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.toml").write_text(config or "[http]\n")
        options = ("--connect", endpoint, "--config", str(place / f"{name}.toml"), "--http", "127.0.0.1:0")
        super().__init__(place / f"{name}.log", "mcp", *options, "--output", str(place / "out"))
        try:
            self.url = self.hear("listening")["url"]
        except BaseException:
            self.stop()
            raise


@contextlib.contextmanager
def running(process: Process) -> Iterator[Process]:
    """Stop it at the end, whatever happens."""
    try:
        yield process
    finally:
        process.stop()
