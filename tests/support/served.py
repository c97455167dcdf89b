"""A real ``audio-pool serve`` whose engine does as its prompt says (``engines/stage_engine.py``)."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from tests.support.engine_packages import engine_package
from tests.support.waiting import PATIENCE_S
from tests.support.worker_processes import worker_processes


def as_toml(tree: dict[str, Any]) -> str:
    """Sections, one of them with a nested one each, and the list of workers."""

    def line(key: str, value: Any) -> str:
        if isinstance(value, dict):
            return f"{key} = {{ " + ", ".join(line(k, v) for k, v in value.items()) + " }"
        return f"{key} = {json.dumps(value)}"

    blocks = []
    for section, keys in tree.items():
        for table in keys if isinstance(keys, list) else [keys]:
            head = f"[[{section}]]" if isinstance(keys, list) else f"[{section}]"
            blocks.append("\n".join([head, *(line(key, value) for key, value in table.items())]))
    return "\n\n".join(blocks) + "\n"


class Served:
    """``audio-pool serve`` in a process of its own.

    Args:
        place: everything it writes lies here; the same place again is the same cache and address.
        sections: of the configuration, over those that every test wants.
        arguments: further options of the command.
        most_files: descriptors that the process may have; 0: as many as this one.
        brings: engines of ``engines/`` that it knows.
        env: further variables of its environment.
    """

    def __init__(
        self,
        place: Path,
        *arguments: str,
        bind: str = "",
        most_files: int = 0,
        brings: tuple[str, ...] = ("stage", "second"),
        env: Mapping[str, str] | None = None,
        **sections: Any,
    ) -> None:
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        package = engine_package(place / "package", *brings)
        self.diary_file = place / "diary"
        self.bind = bind or f"ipc://{place}/s"
        worker = {"name": "w", "engines": ["stage"], "credit": 1, "env": {"PYTHONPATH": str(package)}}
        tree: dict[str, Any] = {
            "defaults": {"engine": "stage", "duration_s": 0.2},
            "cache": {"encoder": "off"},
            "workers": [worker],
            "engines": {},
        }
        for section, keys in sections.items():
            tree[section] = keys if isinstance(keys, list) else {**tree.get(section, {}), **keys}
        for plan in tree["workers"]:
            plan.setdefault("env", {"PYTHONPATH": str(package)})
        for name in {name for plan in tree["workers"] for name in plan["engines"]}:
            own = tree["engines"].get(name, {})
            ours = own.get("implementation", name) in brings and name != "listener"  # which keeps no diary
            tree["engines"][name] = {"diary": str(self.diary_file), **own} if ours else own
        (place / "serve.toml").write_text(as_toml(tree))
        command = [sys.executable, "-m", "audio_pool.cli", "serve", "--config", str(place / "serve.toml")]
        command += ["--bind", self.bind, "--cache-dir", str(place / "cache"), *arguments]
        if most_files:
            command = ["sh", "-c", f'ulimit -n {most_files}; exec "$@"', "sh", *command]
        with (place / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, "PYTHONPATH": str(package), **(env or {})},
            )
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.strip())

    def hear(self, word: str) -> str:
        """The next line that begins with ``word``."""
        deadline = time.monotonic() + PATIENCE_S
        while not (self.said and self.said[-1].split()[0] == word):
            try:
                self.said.append(self.lines.get(timeout=max(0.01, min(1.0, deadline - time.monotonic()))))
            except queue.Empty:
                ended = self.process.poll() is not None
                assert not ended and time.monotonic() < deadline, f"no {word!r}; said {self.said}; {self.stderr()}"
        return self.said[-1]

    def heard(self, word: str) -> str:
        """The line that begins with ``word``, whenever it was said."""
        return next((line for line in self.said if line.split()[0] == word), "") or self.hear(word)

    def ready(self) -> Served:
        """Once it says that it is; ``endpoint`` is then where it listens."""
        self.endpoint = self.heard("ready").split()[1]
        return self

    def stderr(self) -> str:
        return (self.place / "stderr").read_text()[-3000:]

    def diary(self) -> list[str]:
        """The prompts of all sounds made, in order."""
        return self.diary_file.read_text().splitlines() if self.diary_file.exists() else []

    def workers(self) -> dict[str, psutil.Process]:
        """Its living worker processes, by name."""
        return worker_processes(self.process.pid)

    def rss_mb(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
